"""The command `teleprefetch audit`: verify a node's log, ask it, export it."""

import csv
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import orjson
import typer

from teleprefetch.audit_access import record_reading
from teleprefetch.domain.audit.checkpoint import SignedCheckpoint
from teleprefetch.domain.audit.completeness import Span
from teleprefetch.domain.audit.dicom_xml import audit_message
from teleprefetch.domain.audit.entry import Entry
from teleprefetch.domain.audit.fhir import audit_event
from teleprefetch.domain.audit.questions import Question, answers, never_viewed
from teleprefetch.domain.times import WRITTEN, time_of
from teleprefetch.edge.audit import reading
from teleprefetch.edge.audit.checkpointing import read_local
from teleprefetch.edge.audit.reading import Checkpoints, Verdict
from teleprefetch.edge.audit.signing import make_key, verifier
from teleprefetch.errors import PrefetchError

app = typer.Typer(name="audit", help="Verify, ask and export a node's audit.", no_args_is_help=True)
_PROBLEM, _MISUSE = 1, 2

Folder = Annotated[Path, typer.Argument(help="A node's audit folder, or a copy of it.")]
Since = Annotated[str | None, typer.Option(help=f"From: {WRITTEN}.")]
Until = Annotated[str | None, typer.Option(help=f"To: {WRITTEN}.")]
Who = Annotated[str | None, typer.Option("--as", help="Who reads the audit; else the login name.")]
IsCopy = Annotated[
    bool,
    typer.Option("--copy", help="The folder is a copy; that it is read is not recorded."),
]
Field = Annotated[
    list[str],
    typer.Option(
        "--where",
        help="FIELD=VALUE, repeatable: kind, study, series, subject, issuer, token, client,"
        " source, order, assignment, event_id, request, action, origin, image_set, site, policy.",
    ),
]


@app.command()
def verify(
    folder: Folder,
    key: Annotated[Path | None, typer.Option(help="The public key of the checkpoints.")] = None,
    checkpoints: Annotated[
        str | None,
        typer.Option(help="A folder, or s3://bucket/prefix; else those kept beside the log."),
    ] = None,
    since: Since = None,
    until: Until = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Name the first bad record of each lane, and prove completeness between two times.

    Exit code 0: sound (and complete, if times are given). 1: not. 2: an option is wrong. Without
    checkpoints from elsewhere nobody can tell that the end was cut off.
    """
    try:
        span = _span(since, until)
        verdict = reading.verify(
            folder,
            checkpoints=_checkpoints(folder, checkpoints),
            is_signed=verifier(key) if key is not None else None,
            span=span,
        )
    except PrefetchError as error:
        _refuse(str(error))
    if as_json:
        sys.stdout.write(json.dumps(_verdict(verdict), indent=2) + "\n")
    else:
        _tell(verdict, has_key=key is not None)
    raise typer.Exit(0 if verdict.is_sound else _PROBLEM)


@app.command()
def query(
    folder: Folder,
    where: Field = [],  # noqa: B006  # typer's way
    since: Since = None,
    until: Until = None,
    unviewed: Annotated[
        bool, typer.Option("--never-viewed", help="What was warmed and never served.")
    ] = False,
    who: Who = None,
    is_copy: IsCopy = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Print the records that agree with every condition; that they are read is recorded."""
    for entry in _found(folder, where, (since, until), unviewed, (who, is_copy)):
        sys.stdout.write((_json_line(entry) if as_json else _words(entry)) + "\n")


@app.command()
def export(
    folder: Folder,
    form: Annotated[
        Literal["dicom", "fhir"],
        typer.Option("--format", help="DICOM PS3.15 A.5 XML, or FHIR R4 AuditEvent."),
    ],
    where: Field = [],  # noqa: B006  # typer's way
    since: Since = None,
    until: Until = None,
    patients: Annotated[
        Path | None, typer.Option(help="CSV of StudyInstanceUID,PatientID; the audit has none.")
    ] = None,
    who: Who = None,
    is_copy: IsCopy = False,
) -> None:
    """Print one document a line for each record that agrees with every condition."""
    patient_ids = _patients(patients) if patients is not None else {}
    for entry in _found(folder, where, (since, until), False, (who, is_copy)):
        if form == "dicom":
            line = audit_message(entry, patient_ids=patient_ids)
        else:
            line = orjson.dumps(audit_event(entry, patient_ids=patient_ids)).decode()
        sys.stdout.write(line + "\n")


@app.command()
def key(
    path: Annotated[Path, typer.Argument(help="Where the private key goes; .pub beside it.")],
) -> None:
    """Make a key for checkpoints."""
    try:
        typer.echo(make_key(path))
    except PrefetchError as error:
        _refuse(str(error))


def _found(
    folder: Path,
    where: list[str],
    times: tuple[str | None, str | None],
    unviewed: bool,
    reader: tuple[str | None, bool],
) -> Iterator[Entry]:
    question = _question(where, times)
    try:
        if not reader[1]:
            record_reading(folder, reader[0], asked=" ".join(where) or "everything")
        entries = reading.entries(folder)
        if unviewed:
            entries = iter(never_viewed(entries))
        yield from answers(question, entries)
    except PrefetchError as error:
        _refuse(str(error))


def _question(where: list[str], times: tuple[str | None, str | None]) -> Question:
    fields: dict[str, Any] = {}
    for condition in where:
        name, _, value = condition.partition("=")
        if not value or name not in Question.__slots__ or name in {"since", "until"}:
            _refuse(f"--where {name}: not FIELD=VALUE with a field that is known")
        fields[name] = value
    since, until = times
    return Question(
        **fields,
        since=_instant(since, "--since") if since else None,
        until=_instant(until, "--until") if until else None,
    )


def _span(since: str | None, until: str | None) -> Span | None:
    if (since is None) != (until is None):
        _refuse("--since and --until go together")
    if since is None or until is None:
        return None
    return Span(_instant(since, "--since"), _instant(until, "--until"))


def _instant(text: str, name: str) -> datetime:
    try:
        return time_of(text, now=datetime.now(UTC), option=name)
    except PrefetchError as error:
        _refuse(str(error))


def _checkpoints(folder: Path, where: str | None) -> Checkpoints:
    lanes = reading.lane_folders(folder)
    if where is None:
        return {path.name: read_local(path) for path in lanes}
    from teleprefetch.adapters.checkpoints import FolderCheckpoints, S3Checkpoints

    node = reading.node_of(folder)
    sink: FolderCheckpoints | S3Checkpoints
    if where.startswith("s3://"):
        import boto3

        bucket, _, prefix = where.removeprefix("s3://").partition("/")
        sink = S3Checkpoints(boto3.client("s3"), bucket=bucket, prefix=prefix)
    else:
        sink = FolderCheckpoints(Path(where))
    return {
        lane: tuple(map(SignedCheckpoint.load, sink.after(node=node, lane=lane, number=0)))
        for lane in sink.lanes(node=node)
    }


def _patients(path: Path) -> dict[str, str]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return {row[0]: row[1] for row in csv.reader(file) if len(row) == 2}
    except (OSError, UnicodeDecodeError, csv.Error):
        _refuse("--patients: not a readable CSV file")


def _tell(verdict: Verdict, *, has_key: bool) -> None:
    typer.echo(f"node {verdict.node}: {verdict.records} records in {len(verdict.lanes)} lanes")
    for lane in verdict.lanes:
        held = verdict.checkpoints.get(lane.name, ())
        last = lane.last.seq if lane.last is not None else 0
        covered = f"checkpoints to record {held[-1].seq}" if held else "no checkpoints"
        typer.echo(f"  {lane.name}: to record {last}, {covered}")
        if lane.clock_went_back:
            typer.echo(f"    the clock went back at records {lane.clock_went_back[:5]}")
        for finding in lane.findings[:1]:
            typer.echo(f"    first bad record: {finding}")
    for finding in verdict.findings:
        typer.echo(f"bad: {finding}")
    if verdict.proof is not None:
        typer.echo("complete" if verdict.proof.is_complete else "not proven complete:")
        for reason in verdict.proof.reasons:
            typer.echo(f"  {reason}")
    if not has_key:
        typer.echo("no key: checkpoints are not used, and a cut end cannot be seen")


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "node": verdict.node,
        "sound": verdict.is_sound,
        "records": verdict.records,
        "lanes": [
            {
                "lane": lane.name,
                "first": lane.first.seq if lane.first is not None else None,
                "last": lane.last.seq if lane.last is not None else None,
                "checkpoints": len(verdict.checkpoints.get(lane.name, ())),
                "clock_went_back_at": lane.clock_went_back,
            }
            for lane in verdict.lanes
        ],
        "findings": [
            {"fault": each.fault, "lane": each.lane, "record": each.seq, "where": each.where,
             "words": each.words}
            for each in verdict.findings
        ],
        "complete": verdict.proof.is_complete if verdict.proof is not None else None,
        "reasons": list(verdict.proof.reasons) if verdict.proof is not None else [],
    }  # fmt: skip


def _json_line(entry: Entry) -> str:
    return f'{{"hash":"{entry.hash}","record":{entry.body.decode()}}}'


def _words(entry: Entry) -> str:
    event = entry.event
    said = (
        entry.at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), event.kind, event.action, event.subject,
        event.client, event.study, event.series, event.frames, event.source,
        ",".join(event.policies), event.reason,
    )  # fmt: skip
    place = f"{entry.lane}/{entry.seq}"
    return "  ".join(part for part in (place, *said) if part)


def _refuse(message: str) -> NoReturn:
    typer.echo(f"teleprefetch: {message}", err=True)
    raise typer.Exit(_MISUSE)
