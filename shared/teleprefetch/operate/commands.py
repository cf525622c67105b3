"""Operators' commands that look: status, find, why, doctor."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from teleprefetch.dicom import is_uid
from teleprefetch.domain.times import WRITTEN, time_of
from teleprefetch.errors import InvalidPayloadError
from teleprefetch.model import PatientKey
from teleprefetch.operate.doctor import examine
from teleprefetch.operate.findings import Finding
from teleprefetch.operate.present import (
    PROBLEM,
    answered,
    out,
    print_json,
    print_table,
)
from teleprefetch.operate.site import STACK_VARIABLE, Site, stack_of
from teleprefetch.operate.status import Status, status_of
from teleprefetch.operate.timeline import Story, story_of, studies_named
from teleprefetch.run_records import Run, RunFilter, patient_words

StackName = Annotated[
    str | None,
    typer.Option(
        "--stack",
        envvar=STACK_VARIABLE,
        help="The CloudFormation stack; else the functions' own variables in the environment.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Since = Annotated[str, typer.Option(help=f"{WRITTEN}.")]


def open_site(stack: str | None) -> Site:
    """The stack that an operator means."""
    return Site(stack_of(stack, os.environ), os.environ)


def now() -> datetime:
    """The time, aware."""
    return datetime.now(UTC)


def status(stack: StackName = None, since: Since = "24h", as_json: AsJson = False) -> None:
    """Tell how the stack is: notices that wait, prefetches, queues, dead letters, nodes.

    Exit code 0: nothing needs attention. 1: something does, or AWS does not answer. 2: an option
    is not what it should be.
    """

    def act() -> int:
        told = status_of(
            open_site(stack), since=time_of(since, now=now(), option="--since"), now=now()
        )
        if as_json:
            print_json({**told.model_dump(mode="json"), "problems": told.problems})
        else:
            _print_status(told)
        return PROBLEM if told.problems else 0

    answered(act)


def _print_status(told: Status) -> None:
    console = out()
    due = f", the next at {told.next_deadline_at:%H:%M:%SZ}" if told.next_deadline_at else ""
    console.print(f"notices: {told.waiting} wait{due}; {told.overdue} are past their deadline")
    console.print(f"prefetches under way: {told.warming}")
    for kind, counts in told.outcomes.items():
        if counts:
            listed = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
            console.print(f"{kind} since {told.since:%Y-%m-%d %H:%M:%SZ}: {listed}", markup=False)
    for name, count in told.dead_letters.items():
        console.print(f"{name}: {count} messages")
    print_table(
        "",
        ("node", "state", "drained", "orders waiting", "under way"),
        (
            (one.node, one.told, "yes" if one.drained else "", one.orders_waiting,
             one.orders_under_way)
            for one in told.nodes
        ),
        empty="no nodes",
    )  # fmt: skip
    for problem in told.problems:
        console.print(f"look at: {problem}", markup=False)


def find(
    stack: StackName = None,
    study: Annotated[str | None, typer.Option(help="StudyInstanceUID.")] = None,
    accession: Annotated[str | None, typer.Option(help="Accession number.")] = None,
    patient: Annotated[str | None, typer.Option(help="PatientID.")] = None,
    issuer: Annotated[
        str, typer.Option(help="With --patient: IssuerOfPatientID, if the archive has one.")
    ] = "",
    reader: Annotated[str | None, typer.Option(help="The reader's subject, or a group.")] = None,
    location: Annotated[str | None, typer.Option(help="The reading location.")] = None,
    event: Annotated[
        str | None, typer.Option(help="The event that it came of: its id in EventBridge.")
    ] = None,
    kind: Annotated[
        str | None, typer.Option(help="import, prefetch, warm, notice, replay or command.")
    ] = None,
    outcome: Annotated[
        str | None, typer.Option(help="warm, partial, cold, failed, waiting, ...")
    ] = None,
    since: Annotated[str | None, typer.Option(help=f"From: {WRITTEN}.")] = None,
    until: Annotated[str | None, typer.Option(help=f"To: {WRITTEN}.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="The most to show.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Find imports, prefetches, orders, notices, replays; all criteria together, newest first.

    Accession number and PatientID are looked up by their keyed digest: the key's use is in
    CloudTrail. Exit code 0: found. 1: nothing is, or AWS does not answer. 2: an option is not what
    it should be.
    """

    def act() -> int:
        site = open_site(stack)
        wanted: dict[str, Any] = {
            "study_instance_uid": study,
            "reader": reader,
            "reading_location": location,
            "event_id": event,
            "kind": kind,
            "outcome": outcome,
        }
        if accession is not None:
            wanted["accession_key"] = site.lookup_keys.key_of("accession", accession.strip())
        if patient is not None:
            whose = PatientKey(patient_id=patient, issuer_of_patient_id=issuer)
            wanted["patient_key"] = site.lookup_keys.key_of("patient", patient_words(whose))
        for name, text in (("since", since), ("until", until)):
            if text is not None:
                wanted[name] = time_of(text, now=now(), option=f"--{name}")
        runs = site.runs.find(RunFilter.parse(wanted, at="options"), limit=limit)
        if as_json:
            print_json({"runs": [run.model_dump(mode="json", exclude_none=True) for run in runs]})
        else:
            _print_runs(runs)
        return 0 if runs else PROBLEM

    answered(act)


def _print_runs(runs: tuple[Run, ...]) -> None:
    print_table(
        "",
        ("at", "kind", "outcome", "run", "where", "cause"),
        (
            (run.at, run.kind, run.outcome, run.run_id, run.node or run.reading_location, run.cause)
            for run in runs
        ),
        empty="nothing is recorded that agrees with all of this",
    )  # fmt: skip


def why(
    what: Annotated[
        str,
        typer.Argument(help="StudyInstanceUID, a run's name, an assignment's or an event's id."),
    ],
    stack: StackName = None,
    audit: Annotated[
        Path | None,
        typer.Option(help="A copy of a node's audit folder: also tell who opened it, and when."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Tell what happened to a study: event, priors, rank and why, plan, warm, notice, opened.

    Begins with the short of it, ends with what may help. Exit code 0: told. 1: nothing is recorded
    of it, or AWS does not answer. 2: an option is not what it should be.
    """

    def act() -> int:
        site = open_site(stack)
        story = story_of(site, _study_of(site, what), audit=audit, now=now())
        if as_json:
            print_json(story.model_dump(mode="json"))
        else:
            _print_story(story)
        return 0 if story.moments else PROBLEM

    answered(act)


def _study_of(site: Site, what: str) -> str:
    if is_uid(what):
        return what
    studies = studies_named(site, what)
    if len(studies) > 1:
        raise InvalidPayloadError(f"WHAT: {len(studies)} studies came of that event; find --event")
    if not studies:
        raise InvalidPayloadError("WHAT: no study, run, assignment or event is known by that name")
    return studies[0]


def _print_story(story: Story) -> None:
    console = out()
    console.print(f"{story.study_instance_uid}: {story.answer}", markup=False)
    if story.event_id:
        console.print(f"event of the newest prefetch: {story.event_id}", markup=False)
    if story.moments:
        print_table(
            "\nWhat happened",
            ("at", "what", "told"),
            ((moment.at, moment.what, moment.told) for moment in story.moments),
            empty="",
        )
        _print_priors(story)
    if story.next:
        console.print(f"\nNext: {story.next}", markup=False)


def _print_priors(story: Story) -> None:
    console = out()
    console.print(
        "\nPriors of the newest plan, by rank" if story.priors else "\nNo prior is planned"
    )
    for prior in story.priors:
        frames = f", {prior.frames} frames proven" if prior.taken else ""
        lacking = f": {prior.why}" if prior.why else ""
        console.print(f"{prior.rank:>3}  {prior.study_instance_uid}", markup=False)
        console.print(f"     {prior.warm}{frames}{lacking}", markup=False)
        console.print(f"     {prior.score:.0f} points: {'; '.join(prior.reasons)}", markup=False)


def doctor(stack: StackName = None, as_json: AsJson = False) -> None:
    """Check settings, permissions, rules, queues, keys, clocks, quota and nodes; name each cure.

    Changes nothing. Exit code 0: no failure (there may be warnings). 1: a failure, or AWS does not
    answer. 2: an option is not what it should be.
    """

    def act() -> int:
        findings = []
        for finding in examine(stack_of(stack, os.environ), os.environ, now=now):
            findings.append(finding)
            if not as_json:
                _print_finding(finding)
        if as_json:
            print_json({"findings": [finding.model_dump(mode="json") for finding in findings]})
        return PROBLEM if any(one.health == "failure" for one in findings) else 0

    answered(act)


_COLOURS = {"ok": "green", "warning": "yellow", "failure": "red", "unknown": "magenta"}


def _print_finding(finding: Finding) -> None:
    console = out()
    console.print(f"{finding.health:<8}", style=_COLOURS[finding.health], end=" ")
    console.print(f"{finding.check}: {finding.found}", markup=False)
    if finding.cure:
        console.print(f"{'':9}cure: {finding.cure}", markup=False)
