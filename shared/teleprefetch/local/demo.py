"""The demo: a study arrives, its priors are warmed, and only then its notice goes out.

It does what the world around the pipeline does - modality, worklist, viewer - and watches.
"""

import contextlib
import json
import tempfile
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import boto3

from teleprefetch import runtime
from teleprefetch.adapters.origins import open_origins
from teleprefetch.assignment import Notice, prefetch_id_of_assignment
from teleprefetch.domain.audit.completeness import Span
from teleprefetch.errors import OriginUnavailableError
from teleprefetch.local import demo_input
from teleprefetch.local.comparing import Claim, Comparison, NodeReader, compare
from teleprefetch.local.demo_access import AccessFacts, audit_facts, try_to_read
from teleprefetch.local.demo_input import DemoInput
from teleprefetch.local.demo_result import DemoResult, result_of
from teleprefetch.local.demo_telling import DemoTelling
from teleprefetch.local.demo_view import DemoView
from teleprefetch.local.login.people import COLLEAGUE, READER
from teleprefetch.local.stack import DATASTORE_ID, LOCATION, LocalStack, StackOptions
from teleprefetch.local.watching import Watch
from teleprefetch.model import AssignedTo, SeriesPointer
from teleprefetch.prefetch import Outcome

ASSIGNMENT_ID: Final = "demo-1"
PREFETCH_ID: Final = prefetch_id_of_assignment(ASSIGNMENT_ID)
_AFTER_DEADLINE_S: Final = 15
_RESUMED_WITHIN_S: Final = 120
_LOOK_EVERY_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What to demonstrate on, and how long the notice may wait.

    `kill_node` kills the node once a third of the frames is warm, and starts it again when the
    notice is out. `bandwidth_mbit_s` limits the data store's link.
    """

    dicom: Path | None = None
    study_instance_uid: str | None = None
    dicomweb_url: str | None = None
    deadline_s: float = 45
    scale: float = 1
    bandwidth_mbit_s: float | None = None
    kill_node: bool = False


def run_demo(options: DemoOptions, view: DemoView) -> DemoResult:
    """Run the pipeline end to end, and compare what the node holds with the archive.

    Raises:
        InvalidPayloadError: an option, or a file, is not what it should be.
        StudyNotFoundError: the study is not in the archive.
        OriginUnavailableError: the import failed, or no notice came.
    """
    began = time.monotonic()
    began_at = datetime.now(UTC)
    with contextlib.ExitStack() as opening:
        folder = Path(opening.enter_context(tempfile.TemporaryDirectory(prefix="teleprefetch-")))
        given = _input(options, folder)
        stack = opening.enter_context(LocalStack(_stack_options(options)))
        telling = DemoTelling(view, PREFETCH_ID)
        watch = opening.enter_context(
            Watch(telling, prefetch_id=PREFETCH_ID, machines=_machines(stack))
        )
        if options.dicomweb_url is None:
            _import(given)
        _assign(given, options, view, reader=stack.provider.reads)
        kill = _Kill(stack) if options.kill_node else None
        notice = _notice(options, watch, kill)
        telling.notice(notice)
        outcome = _outcome(stack)
        telling.warmed()
        asked = stack.data_store.request_log.count("GetImageFrame")
        comparison, access = _read(stack, telling.studies(), began_at=began_at)
        view.verification(compared=comparison.compared, differing=len(comparison.differing))
        view.access(access.sentence, passed=access.is_proven)
        return result_of(
            notices=watch.notices,
            outcome=outcome,
            proof=telling.proof(),
            reports=telling.reports,
            comparison=comparison,
            access=access,
            frame_requests=asked if options.dicomweb_url is None else None,
            frames_unproven_at_kill=kill.frames_unproven if kill else None,
            files_left_out=given.left_out,
            seconds=time.monotonic() - began,
        )


def _input(options: DemoOptions, folder: Path) -> DemoInput:
    if options.dicomweb_url is not None:
        return demo_input.of_archive(options.dicomweb_url, options.study_instance_uid)
    if options.dicom is not None:
        return demo_input.of_folder(options.dicom, options.study_instance_uid)
    today = datetime.now(UTC).date()
    return demo_input.made_up(folder / "samples", today=today, scale=options.scale)


def _stack_options(options: DemoOptions) -> StackOptions:
    limit = options.bandwidth_mbit_s
    return StackOptions(
        dicomweb_url=options.dicomweb_url,
        bandwidth_bps=None if limit is None else int(limit * 1_000_000),
    )


def _machines(stack: LocalStack) -> dict[str, str]:
    return {
        name: stack.aws.outputs[f"{name.capitalize()}MachineArn"]
        for name in ("import", "prefetch", "assignment")
    }


def _import(given: DemoInput) -> None:
    s3, client = boto3.client("s3"), boto3.client("medical-imaging")
    demo_input.import_files(given.history, name="history", s3=s3, client=client)
    demo_input.import_files(given.current, name="current", s3=s3, client=client)


def _assign(given: DemoInput, options: DemoOptions, view: DemoView, *, reader: AssignedTo) -> None:
    now = datetime.now(UTC)
    deadline_at = now + timedelta(seconds=options.deadline_s)
    detail = {
        "schema_version": "1",
        "assignment_id": ASSIGNMENT_ID,
        "origin_id": DATASTORE_ID if options.dicomweb_url is None else "archive",
        "study_instance_uid": given.study_instance_uid,
        "reading_location": LOCATION,
        "priority": "high",
        "deadline_at": deadline_at.isoformat(),
        "assigned_to": reader.model_dump(),
    }
    view.assigned(at=now, deadline=deadline_at)
    boto3.client("events").put_events(
        Entries=[
            {"Source": "worklist", "DetailType": "Study Assigned", "Detail": json.dumps(detail)}
        ]
    )


class _Kill:
    """Kills the node once: when a third of the assigned study is warm, at last after the notice."""

    def __init__(self, stack: LocalStack) -> None:
        self._stack = stack
        self.frames_unproven: int | None = None

    def when_due(self, *, notice_is_out: bool) -> None:
        """Look, and kill if it is time; counts what was asked for and not yet proven."""
        if self.frames_unproven is not None or not (notice_is_out or _is_third_warm()):
            return
        held = self._stack.node.holdings()["series"]
        self._stack.node.kill()
        asked = self._stack.data_store.request_log.count("GetImageFrame")
        self.frames_unproven = asked - sum(series["frames_held"] for series in held)


def _notice(options: DemoOptions, watch: Watch, kill: _Kill | None) -> Notice:
    """The notice; on the way there the node may be killed."""
    for _ in _looking(options.deadline_s + _AFTER_DEADLINE_S):
        if kill is not None:
            kill.when_due(notice_is_out=bool(watch.notices))
        if watch.notices:
            return watch.notices[0]
    raise OriginUnavailableError("notice: none came, not even after the deadline")


def _is_third_warm() -> bool:
    reports = runtime.progress().reports(PREFETCH_ID)
    return any(3 * report.frames_warmed > report.frames_planned > 0 for report in reports)


def _outcome(stack: LocalStack) -> Outcome:
    """How the prefetch ended; a node that died is started again, as its supervisor would."""
    if not stack.node.is_running:
        stack.node.start()
    for _ in _looking(_RESUMED_WITHIN_S):
        if outcome := runtime.outcomes().outcome(PREFETCH_ID):
            return outcome
    raise OriginUnavailableError("prefetch: has no outcome")


def _looking(within_s: float) -> Iterator[None]:
    ends = time.monotonic() + within_s
    while time.monotonic() < ends:
        yield
        time.sleep(_LOOK_EVERY_S)


def _read(
    stack: LocalStack, studies: Collection[str], *, began_at: datetime
) -> tuple[Comparison, AccessFacts]:
    """Every frame that was assigned, as its reader, against the archive's; others get nothing."""
    claims = [_claim(held) for held in stack.node.holdings()["series"]]
    assigned = [claim for claim in claims if claim.series.study_instance_uid in studies]
    with contextlib.ExitStack() as opened:
        origins = opened.enter_context(contextlib.closing(open_origins(runtime.settings().origins)))
        reader, colleague, nobody = (
            opened.enter_context(
                contextlib.closing(NodeReader(stack.node.url, name=name, bearer=bearer))
            )
            for name, bearer in (
                ("reader", stack.token_for(READER)),
                ("colleague", stack.token_for(COLLEAGUE)),
                ("nobody", None),
            )
        )
        comparison = compare(assigned, node=reader, origins=origins)
        unassigned = try_to_read(colleague, claims, origins=origins)
        without_token = try_to_read(nobody, claims, origins=origins)
    span = Span(began_at, datetime.now(UTC))
    stack.node.stop()  # which signs the ends of its audit's lanes
    given = (*reader.given, *colleague.given, *nobody.given)
    audit = audit_facts(stack.audit_folder, given, span=span)
    facts = AccessFacts(
        reader=READER.subject, unassigned=unassigned, without_token=without_token, audit=audit
    )
    return comparison, facts


def _claim(held: dict[str, Any]) -> Claim:
    pointer = {name: held[name] for name in SeriesPointer.model_fields}
    return Claim(
        origin_id=held["origin_id"],
        series=SeriesPointer.parse(pointer, at="warm"),
        frames_verified=held["frames_verified"],
    )
