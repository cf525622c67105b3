"""The command `teleprefetch explain`: the priors that a study's plan takes, in order, and why."""

import json
import math
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer
from rich.console import Console

from teleprefetch.dicom import is_uid
from teleprefetch.domain.explain import Explanation, document_of, effect
from teleprefetch.domain.explain import explain as explained_by
from teleprefetch.domain.rules import DEFAULT_RULES
from teleprefetch.errors import InvalidPayloadError, PrefetchError
from teleprefetch.model import StudyRecord
from teleprefetch.rule_files import read_rules
from teleprefetch.settings import DicomwebOrigin, HealthImagingOrigin

_PROBLEM, _MISUSE = 1, 2
_CONNECTIONS: Final = 8
_MB: Final = 1_000_000
_DATASTORE_ID: Final = re.compile(r"[0-9a-z]{32}")  # HealthImaging API, CreateDatastore


@dataclass(frozen=True, slots=True)
class _Source:
    """Where the studies are, as the options name it."""

    study: str | None
    dicom: Path | None
    origin_url: str | None
    datastore: str | None
    region: str


def explain(
    study: Annotated[
        str | None,
        typer.Argument(
            help="StudyInstanceUID of the current study; a folder's newest if left out."
        ),
    ] = None,
    dicom: Annotated[
        Path | None, typer.Option(help="Use the studies of this folder of DICOM files.")
    ] = None,
    origin_url: Annotated[
        str | None,
        typer.Option(
            help="Ask the archive at this DICOMweb address; with --datastore, its DICOMweb service."
        ),
    ] = None,
    datastore: Annotated[
        str | None,
        typer.Option(help="Ask this HealthImaging data store, with the AWS credentials at hand."),
    ] = None,
    region: Annotated[str, typer.Option(help="With --datastore: its region.")] = "us-east-1",
    budget_mb: Annotated[
        float, typer.Option(min=0.000001, help="What the plan may take, in MB (10^6 bytes).")
    ] = 2000,
    rules: Annotated[
        Path | None, typer.Option(help="TOML of new rules: also tell what they change.")
    ] = None,
    current_rules: Annotated[
        Path | None, typer.Option(help="TOML of the rules in force; else the shipped ones.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object and nothing else.")
    ] = False,
) -> None:
    """Tell which priors a study's plan takes within a budget, what it leaves out, and why.

    Exit code 0: told. 1: the archive does not hold the study, or does not answer. 2: an option,
    a rule or a file is not what it should be. Nothing is warmed, and only searches are made.
    """
    if not math.isfinite(budget_mb):
        _fail("--budget-mb: not a number of megabytes", _MISUSE)
    source = _Source(study, dicom, origin_url, datastore, region)
    try:
        old = read_rules(current_rules, at="--current-rules") if current_rules else DEFAULT_RULES
        new = read_rules(rules, at="--rules") if rules is not None else old
        current, others = _studies(source)
    except InvalidPayloadError as error:
        _fail(str(error), _MISUSE)
    except PrefetchError as error:
        _fail(str(error), _PROBLEM)
    budget_bytes = max(1, int(budget_mb * _MB))
    before, after = (
        explained_by(
            current, others, rules=each, budget_bytes=budget_bytes, now=datetime.now(UTC).date()
        )
        for each in (old, new)
    )
    names = (_name(rules), _name(current_rules)) if rules is not None else None
    if as_json:
        _print_document(before, after, names)
    else:
        _print(before, after, names)


def _print(before: Explanation, after: Explanation, names: tuple[str, str] | None) -> None:
    from teleprefetch.explain_view import tell, tell_effect

    console = Console(highlight=False, markup=False, emoji=False)
    tell(console, after)
    if names is not None:
        tell_effect(console, effect(before, after), after=after, new=names[0], old=names[1])


def _print_document(before: Explanation, after: Explanation, names: tuple[str, str] | None) -> None:
    document = document_of(after)
    if names is not None:
        document["effect"] = document_of(effect(before, after))
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


def _name(rules: Path | None) -> str:
    return rules.name if rules is not None else "the shipped rules"


def _studies(source: _Source) -> tuple[StudyRecord, Sequence[StudyRecord]]:
    """The current study and the patient's others, from wherever the options say."""
    if source.study is not None and not is_uid(source.study):
        raise InvalidPayloadError("STUDY: not a DICOM UID (PS3.5 9.1)")
    if source.dicom is not None:
        if source.origin_url is not None or source.datastore is not None:
            raise InvalidPayloadError("--dicom goes without --origin-url and --datastore")
        return _from_folder(source.dicom, source.study)
    if source.origin_url is None and source.datastore is None:
        raise InvalidPayloadError("one of --dicom, --origin-url and --datastore is needed")
    if source.study is None:
        raise InvalidPayloadError("STUDY: needed where an archive is asked")
    return _from_archive(source, source.study)


def _from_folder(
    folder: Path, study_instance_uid: str | None
) -> tuple[StudyRecord, Sequence[StudyRecord]]:
    from teleprefetch.local.dicom_folder import choose_current, read_folder
    from teleprefetch.local.folder_records import record_of

    try:
        archive = read_folder(folder)
        choice = choose_current(archive, study_instance_uid)
    except InvalidPayloadError as error:
        told = str(error).replace("folder:", "--dicom:", 1).replace("--study:", "STUDY:", 1)
        raise InvalidPayloadError(told) from error
    for file in archive.refused:
        typer.echo(f"left out: {file.name}: {file.reason}", err=True)
    return record_of(choice.current), tuple(map(record_of, choice.priors))


def _from_archive(
    source: _Source, study_instance_uid: str
) -> tuple[StudyRecord, Sequence[StudyRecord]]:
    from contextlib import closing

    from teleprefetch.adapters.origins import open_origin
    from teleprefetch.adapters.retrying import RetryPolicy

    settings = _settings(source)
    with closing(
        open_origin(
            source.datastore or "archive",
            settings,
            connections=_CONNECTIONS,
            retries=RetryPolicy(),
        )
    ) as origin:
        current = origin.search_for_study(study_instance_uid)
        return current, origin.search_for_patient(current.patient)


def _settings(source: _Source) -> HealthImagingOrigin | DicomwebOrigin:
    try:
        if source.datastore is None:
            return DicomwebOrigin.parse({"kind": "dicomweb", "url": source.origin_url})
        if not _DATASTORE_ID.fullmatch(source.datastore):
            raise InvalidPayloadError("--datastore: not the id of a data store")
        named = {"region": source.region, "dicomweb_url": source.origin_url}
        return HealthImagingOrigin.parse({"kind": "healthimaging", **named})
    except InvalidPayloadError as error:
        told = str(error).removeprefix("dicomweb_").removeprefix("url")
        raise InvalidPayloadError(f"--origin-url{told}" if told[:1] == ":" else told) from error


def _fail(message: str, exit_code: int) -> NoReturn:
    Console(stderr=True, soft_wrap=True).print(
        f"teleprefetch: {message}", markup=False, highlight=False
    )
    raise typer.Exit(exit_code)
