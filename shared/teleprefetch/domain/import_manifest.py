"""The manifest that HealthImaging writes at the end of an import job.

Source: HealthImaging developer guide, "Understanding import jobs".
"""

import json
from typing import Final

from teleprefetch.errors import CorruptPayloadError
from teleprefetch.model import Value

_FIELD: Final = "job-output-manifest.json"


class ImportManifest(Value):
    """Which image sets a job wrote, and how many files it could not read."""

    image_set_ids: tuple[str, ...]
    files_failed: int


def read_manifest(content: bytes) -> ImportManifest:
    """Read a manifest; fields that are not needed here are ignored.

    Raises:
        CorruptPayloadError: it is cut short, or not of the documented shape.
    """
    try:
        summary = json.loads(content)["jobSummary"]
        listed = [str(entry["imageSetId"]) for entry in summary["imageSetsSummary"]]
        failed = int(summary.get("numberOfFilesWithCustomerError", 0))
        failed += int(summary.get("numberOfFilesWithServerError", 0))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CorruptPayloadError(f"{_FIELD}: cut short, or not a job summary") from error
    return ImportManifest(image_set_ids=tuple(dict.fromkeys(listed)), files_failed=failed)
