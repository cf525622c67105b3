"""Gives the reader of a local stack something to read, and the link that opens it.

It does what modality, gateway and worklist do: import studies, assign the newest, and wait.
"""

import json
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

import boto3

from teleprefetch import runtime
from teleprefetch.assignment import Notice
from teleprefetch.domain.viewer_links import best_link
from teleprefetch.errors import InvalidPayloadError, OriginUnavailableError
from teleprefetch.local import demo_input
from teleprefetch.local.demo_input import DemoInput
from teleprefetch.local.stack import DATASTORE_ID, LOCATION
from teleprefetch.model import AssignedTo

ASSIGNMENT_ID: Final = "up-1"
_DEADLINE_S: Final = 120
_AFTER_DEADLINE_S: Final = 15
_LOOK_EVERY_S: Final = 0.1


def studies_to_read(
    folder: Path, *, dicom: Path | None, study_instance_uid: str | None, today: date
) -> DemoInput:
    """A user's own studies, or else the made-up patient's, which are written to `folder`.

    Raises:
        InvalidPayloadError: a file or the study is not what it should be.
    """
    if dicom is not None:
        return demo_input.of_folder(dicom, study_instance_uid)
    return demo_input.made_up(folder, today=today, scale=1)


def give(studies: DemoInput, *, reader: AssignedTo) -> Notice:
    """Import studies, assign the current one, and return the notice that lets the reader begin.

    Raises:
        OriginUnavailableError: the import failed, or no notice came.
    """
    s3, client = boto3.client("s3"), boto3.client("medical-imaging")
    demo_input.import_files(studies.history, name="history", s3=s3, client=client)
    demo_input.import_files(studies.current, name="current", s3=s3, client=client)
    assign(
        studies.study_instance_uid,
        assignment_id=ASSIGNMENT_ID,
        origin_id=DATASTORE_ID,
        assigned_to=reader,
    )
    return notice_of(ASSIGNMENT_ID)


def assign(
    study_instance_uid: str, *, assignment_id: str, origin_id: str, assigned_to: AssignedTo
) -> None:
    """Tell the bus, as a worklist does, who of this stack is to read a study."""
    detail = {
        "schema_version": "1",
        "assignment_id": assignment_id,
        "origin_id": origin_id,
        "study_instance_uid": study_instance_uid,
        "reading_location": LOCATION,
        "priority": "high",
        "deadline_at": (datetime.now(UTC) + timedelta(seconds=_DEADLINE_S)).isoformat(),
        "assigned_to": assigned_to.model_dump(),
    }
    boto3.client("events").put_events(
        Entries=[
            {"Source": "worklist", "DetailType": "Study Assigned", "Detail": json.dumps(detail)}
        ]
    )


def notice_of(assignment_id: str) -> Notice:
    """The notice of an assignment, as soon as it is there.

    Raises:
        OriginUnavailableError: none came, not even after the deadline.
    """
    ends = time.monotonic() + _DEADLINE_S + _AFTER_DEADLINE_S
    while time.monotonic() < ends:
        if notice := runtime.assignments().notice(assignment_id):
            return notice
        time.sleep(_LOOK_EVERY_S)
    raise OriginUnavailableError("notice: none came, not even after the deadline")


def viewer_link(node_url: str, notice: Notice) -> str:
    """The address that opens the study of a notice, beside the best prior that is warm.

    Raises:
        InvalidPayloadError: the notice names no study.
    """
    if notice.study_instance_uid is None:
        raise InvalidPayloadError("notice: names no study")
    return best_link(f"{node_url}/viewer", notice.study_instance_uid, notice.priors)
