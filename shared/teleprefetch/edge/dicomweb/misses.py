"""What the server asks for what is not held here: the archive, by way of the node's store."""

from collections.abc import Sequence
from typing import Protocol

from teleprefetch.edge.store.holdings import StoredFrame


class MissReader(Protocol):
    """Reads through to the archive; every method may wait for it, so never on the event loop.

    Beside what each method names, they raise OriginUnavailableError or OriginThrottledError when
    the archive does not answer, CorruptPayloadError when it answers something else, and
    AccessDeniedError when it refuses the node. `bearer` is the token of who asks: an archive that
    is asked in readers' names is asked with it, and what it does not give them is not found.
    """

    def frames(
        self,
        study_instance_uid: str,
        series_instance_uid: str,
        sop_instance_uid: str,
        frame_numbers: Sequence[int],
        *,
        bearer: str,
    ) -> list[StoredFrame]:
        """The frames in that order, held and proven now.

        Raises:
            StudyNotFoundError: the archive does not hold one of them.
        """

    def metadata(self, study_instance_uid: str, series_instance_uid: str, *, bearer: str) -> bytes:
        """The series' DICOM JSON in gzip, held now.

        Raises:
            StudyNotFoundError: the archive does not hold the series.
        """

    def study(self, study_instance_uid: str, *, bearer: str) -> None:
        """Hold the metadata of every series of a study.

        Raises:
            StudyNotFoundError: the archive does not hold the study.
        """

    def retry_after_s(self) -> int:
        """In how many seconds a client that was refused may ask again."""
