"""HealthImaging's image sets that changed lately, whether or not an event told of them.

Those that came by STOW-RS have no import job, so that a search is the only way to find them.
"""

import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Final

from teleprefetch.adapters.healthimaging_errors import translated
from teleprefetch.domain.image_set_search import ImageSetRow, read_rows
from teleprefetch.prefetch import ChangedImageSet

if TYPE_CHECKING:
    from mypy_boto3_medical_imaging.client import HealthImagingClient

_PAGE_ROWS: Final = 50  # the most that SearchImageSets gives at once
# A fifth of what SearchImageSets allows an account (developer guide, "Throttling limits": 25 a
# second), so that nobody who searches for a study waits for this.
_BETWEEN_PAGES_S: Final = 0.2
_MOST_PAGES: Final = 600


class HealthImagingChanges:
    """What `steps.sweep_imports` looks through: the changes of one data store.

    Args:
        client: asks.
        datastore_id: the data store.
        sleep: waits for seconds.
    """

    def __init__(
        self,
        client: "HealthImagingClient",
        datastore_id: str,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._datastore_id = datastore_id
        self._sleep = sleep

    def between(self, since: datetime, until: datetime) -> tuple[ChangedImageSet, ...]:
        """Those whose latest change was between the two, the newest first; 30,000 at most.

        `updatedAt` is `createdAt` as long as nothing was changed, as the guide's answers have it
        ("Searching image sets"), so that one search finds both.
        """
        with translated("SearchImageSets"):
            return tuple(
                ChangedImageSet(
                    datastore_id=self._datastore_id,
                    image_set_id=row.image_set_id,
                    version_id=row.version,
                    changed_at=row.updated_at or until,
                )
                for row in self._rows(since, until)
            )

    def _rows(self, since: datetime, until: datetime) -> Iterator[ImageSetRow]:
        pages = self._client.get_paginator("search_image_sets").paginate(
            datastoreId=self._datastore_id,
            searchCriteria={
                "filters": [
                    {"operator": "BETWEEN", "values": [{"updatedAt": since}, {"updatedAt": until}]}
                ],
                "sort": {"sortField": "updatedAt", "sortOrder": "DESC"},
            },
            PaginationConfig={"PageSize": _PAGE_ROWS, "MaxItems": _MOST_PAGES * _PAGE_ROWS},
        )
        for number, page in enumerate(pages):
            if number:
                self._sleep(_BETWEEN_PAGES_S)
            yield from read_rows(page)
