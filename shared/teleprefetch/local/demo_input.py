"""What the demo imports: the made-up patient, or the studies of a user's own folder."""

import contextlib
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from teleprefetch.adapters.dicomweb_service import DicomwebService
from teleprefetch.adapters.http_reader import HttpReader
from teleprefetch.errors import OriginUnavailableError, StudyNotFoundError
from teleprefetch.local.demo_state import printable
from teleprefetch.local.dicom_folder import choose_current, read_folder
from teleprefetch.local.samples import write_samples
from teleprefetch.local.stack import DATASTORE_ID, INPUT_BUCKET, OUTPUT_BUCKET

if TYPE_CHECKING:
    from mypy_boto3_medical_imaging.client import HealthImagingClient
    from mypy_boto3_s3.client import S3Client

_IMPORTED_WITHIN_S: Final = 300
_IMPORT_ROLE: Final = "arn:aws:iam::123456789012:role/local-import"


@dataclass(frozen=True, slots=True)
class DemoInput:
    """The study to be read, and the files to import: first the history, then the study.

    `left_out` are files that cannot be used, each with its name and why.
    """

    study_instance_uid: str
    history: tuple[Path, ...]
    current: tuple[Path, ...]
    strangers: tuple[str, ...]
    left_out: tuple[str, ...] = ()


def made_up(folder: Path, *, today: date, scale: float) -> DemoInput:
    """The made-up patient's studies, and one of somebody else with the same name."""
    archive = write_samples(folder, today=today, scale=scale)
    history = [study.folder for study in (*archive.priors, archive.stranger)]
    return DemoInput(
        study_instance_uid=archive.current.study_instance_uid,
        history=_files(history),
        current=_files([archive.current.folder]),
        strangers=(archive.stranger.study_instance_uid,),
    )


def of_folder(folder: Path, study_instance_uid: str | None) -> DemoInput:
    """The studies of a user's own folder; the current study is the newest, or the one named.

    Raises:
        InvalidPayloadError: the folder holds nothing usable, or not the study.
    """
    archive = read_folder(folder)
    choice = choose_current(archive, study_instance_uid)
    before = (*choice.priors, *choice.others)
    return DemoInput(
        study_instance_uid=choice.current.study_instance_uid,
        history=tuple(path for study in before for path in study.files),
        current=choice.current.files,
        strangers=tuple(study.study_instance_uid for study in choice.others),
        left_out=(
            *(f"{printable(file.name)}: {file.reason}" for file in archive.refused),
            *(f"{printable(name)}: not DICOM" for name in archive.ignored),
        ),
    )


def import_files(
    files: Sequence[Path], *, name: str, s3: "S3Client", client: "HealthImagingClient"
) -> None:
    """Upload files and import them with one job, as a modality's gateway does; waits for its end.

    Raises:
        OriginUnavailableError: the job failed, or did not end in time.
    """
    if not files:
        return
    _upload(files, name=name, s3=s3)
    job_id = client.start_dicom_import_job(
        jobName=name,
        datastoreId=DATASTORE_ID,
        dataAccessRoleArn=_IMPORT_ROLE,
        clientToken=name,
        inputS3Uri=f"s3://{INPUT_BUCKET}/{name}/",
        outputS3Uri=f"s3://{OUTPUT_BUCKET}/",
    )["jobId"]
    status = Retrying(
        retry=retry_if_result(lambda status: status in {"SUBMITTED", "IN_PROGRESS"}),
        stop=stop_after_delay(_IMPORTED_WITHIN_S),
        wait=wait_fixed(0.2),
        retry_error_callback=lambda _: "TIMED_OUT",
    )(lambda: _status(client, job_id))
    if status != "COMPLETED":
        raise OriginUnavailableError(f"import job {name}: {status}")


def _status(client: "HealthImagingClient", job_id: str) -> str:
    job = client.get_dicom_import_job(datastoreId=DATASTORE_ID, jobId=job_id)
    return job["jobProperties"]["jobStatus"]


def _upload(files: Sequence[Path], *, name: str, s3: "S3Client") -> None:
    def put(numbered: tuple[int, Path]) -> None:
        number, path = numbered
        s3.put_object(Bucket=INPUT_BUCKET, Key=f"{name}/{number:05d}.dcm", Body=path.read_bytes())

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(put, enumerate(files)))


def _files(folders: Iterable[Path]) -> tuple[Path, ...]:
    return tuple(sorted(path for folder in folders for path in folder.rglob("*.dcm")))


def of_archive(url: str, study_instance_uid: str | None) -> DemoInput:
    """A study that a DICOMweb archive holds already.

    It is the one named, or the newest of the patient with the most studies.

    Raises:
        InvalidPayloadError: there is no DICOMweb at the address.
        StudyNotFoundError: the archive holds no study, or not the one named.
    """
    reader = HttpReader(connections=1, connect_timeout_s=5, read_timeout_s=30)
    named = {"StudyInstanceUID": study_instance_uid} if study_instance_uid else {}
    with contextlib.closing(DicomwebService(url, reader)) as service:
        held = {
            study.study_instance_uid.text: study for study in service.search_for_studies(**named)
        }
    if study_instance_uid is None and held:
        studies_of = Counter(study.patient for study in held.values())
        study_instance_uid = max(
            held,
            key=lambda uid: (
                studies_of[held[uid].patient],
                held[uid].study_date.text,
                held[uid].study_time.text,
            ),
        )
    if study_instance_uid not in held:
        raise StudyNotFoundError("--study: not in the archive")
    return DemoInput(study_instance_uid, history=(), current=(), strangers=())
