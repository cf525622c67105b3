"""domain.import_manifest: what a job wrote, or a clear word that the manifest is not whole."""

import json

import pytest

from teleprefetch.domain.import_manifest import read_manifest
from teleprefetch.errors import CorruptPayloadError

MANIFEST = json.dumps(
    {
        "jobSummary": {
            "jobId": "0987",
            "numberOfScannedFiles": 5,
            "numberOfImportedFiles": 3,
            "numberOfFilesWithCustomerError": 2,
            "numberOfFilesWithServerError": 1,
            "imageSetsSummary": [
                {"imageSetId": "a" * 32, "numberOfMatchedSOPInstances": 2},
                {"imageSetId": "b" * 32, "numberOfMatchedSOPInstances": 1, "isPrimary": False},
                {"imageSetId": "a" * 32, "numberOfMatchedSOPInstances": 2},
            ],
        }
    }
).encode()


def test_each_image_set_is_listed_once_and_failed_files_are_counted() -> None:
    manifest = read_manifest(MANIFEST)

    assert manifest.image_set_ids == ("a" * 32, "b" * 32)
    assert manifest.files_failed == 3


@pytest.mark.parametrize("length", [0, 1, 40, len(MANIFEST) - 1])
def test_a_manifest_that_is_cut_short_is_corrupt(length: int) -> None:
    with pytest.raises(CorruptPayloadError, match=r"job-output-manifest\.json"):
        read_manifest(MANIFEST[:length])


@pytest.mark.parametrize("content", [b"[]", b"{}", b'{"jobSummary": 1}', b"[" * 100_000, b"\xff"])
def test_a_manifest_of_another_shape_is_corrupt(content: bytes) -> None:
    with pytest.raises(CorruptPayloadError):
        read_manifest(content)
