"""What AWS leaves undocumented about HealthImaging, or what a test wants otherwise."""

from dataclasses import dataclass, field
from pathlib import Path

from teleprefetch.local.healthimaging.documents import FrameSize
from teleprefetch.local.healthimaging.imports import ImportSettings
from teleprefetch.local.healthimaging.notices import EventOutputUri
from teleprefetch.local.healthimaging.searching import SearchPairs


@dataclass(frozen=True, slots=True)
class Settings:
    """How the stand-in behaves where the documentation is silent or says two things.

    Attributes:
        event_output_uri: whether an import event's outputS3Uri has the folder of the job.
        imports: when the manifest is written, how many files a job may have, how many workers.
        processing_s: how long the metadata of a new version answers 409, from the first read on.
        delete_s: how long an image set is DELETING.
        frame_size: what FrameSizeInBytes counts.
        search_pairs: which filters of SearchImageSets go together.
        work_dir: where the segment file is; None: the system's place for temporary files.
    """

    event_output_uri: EventOutputUri = "as-passed"
    imports: ImportSettings = field(default_factory=ImportSettings)
    processing_s: float = 0.0
    delete_s: float = 0.0
    frame_size: FrameSize = "stored"
    search_pairs: SearchPairs = "documented"
    work_dir: Path | None = None
