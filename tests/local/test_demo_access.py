"""What the demo says of who read: one thing that is not as it must be, and it is not proven."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from teleprefetch.domain.audit.completeness import Span
from teleprefetch.domain.audit.record import AuditRecord
from teleprefetch.edge.audit.checkpointing import Checkpointer
from teleprefetch.edge.audit.lane import Lane
from teleprefetch.edge.audit.log import AuditLog
from teleprefetch.edge.audit.opening import HereAlone
from teleprefetch.edge.audit.signing import make_key, signer
from teleprefetch.local.demo_access import AccessFacts, Asked, AuditFacts, audit_facts

SOUND = AuditFacts(records=9, given=5, recorded_once=5, problems=())
NOBODY = Asked(asked=4, given=0)


def facts(
    *, unassigned: Asked = NOBODY, without_token: Asked = NOBODY, audit: AuditFacts = SOUND
) -> AccessFacts:
    return AccessFacts(
        reader="reader-1", unassigned=unassigned, without_token=without_token, audit=audit
    )


def test_nothing_to_others_and_everything_on_record_is_proven() -> None:
    assert facts().is_proven
    assert facts().sentence == (
        "Access: 5 answers to reader-1, 5 of them recorded once; 0 of 4 without an assignment, "
        "0 of 4 without a token; audit of 9 records sound and complete"
    )


@pytest.mark.parametrize(
    "wrong",
    [
        facts(unassigned=Asked(asked=4, given=1)),
        facts(without_token=Asked(asked=4, given=1)),
        facts(unassigned=Asked(asked=0, given=0)),
        facts(without_token=Asked(asked=0, given=0)),
        facts(audit=AuditFacts(records=9, given=5, recorded_once=4, problems=())),
        facts(audit=AuditFacts(records=9, given=0, recorded_once=0, problems=())),
        facts(audit=AuditFacts(records=9, given=5, recorded_once=5, problems=("forked",))),
    ],
)
def test_anything_else_is_not(wrong: AccessFacts) -> None:
    assert not wrong.is_proven


@pytest.fixture
def audit(tmp_path: Path) -> tuple[Path, Span]:
    """An audit of three answers, one of them written twice, as a node leaves it behind."""
    folder = tmp_path / "audit"
    since = datetime.now(UTC)
    folder.mkdir()
    make_key(folder / "checkpoint-key.pem")
    log = AuditLog(Lane(folder, node="node-a", name="serve-0"), on_full="deny")
    points = Checkpointer(
        log,
        folder=folder / "serve-0",
        node="node-a",
        lane="serve-0",
        sign=signer(folder / "checkpoint-key.pem"),
        sink=HereAlone(),
    )
    points.start()
    for name in ("a-1", "a-2", "a-3", "a-3"):
        log.commit(AuditRecord(kind="served", request=name, status=200))
    log.commit(AuditRecord(kind="refused", request="a-4", status=404))
    span = Span(since, datetime.now(UTC))
    log.close()
    points.close()
    return folder, span


def test_an_answer_counts_if_it_is_there_once_as_served(audit: tuple[Path, Span]) -> None:
    folder, span = audit

    told = audit_facts(folder, ["a-1", "a-2"], span=span)
    assert told.is_proven
    assert told.records >= 5

    for name in ("a-3", "a-4", "a-5"):
        told = audit_facts(folder, ["a-1", name], span=span)
        assert (told.recorded_once, told.problems) == (1, ())
        assert not told.is_proven


def test_a_line_that_was_taken_out_or_changed_is_a_problem(audit: tuple[Path, Span]) -> None:
    folder, span = audit
    [segment] = (path for path in (folder / "serve-0").iterdir() if b'"a-2"' in path.read_bytes())
    whole = segment.read_bytes()

    lines = [line for line in whole.splitlines(keepends=True) if b'"a-2"' not in line]
    segment.write_bytes(b"".join(lines))
    assert audit_facts(folder, ["a-1"], span=span).problems
    segment.write_bytes(whole.replace(b'"a-2"', b'"a-9"'))
    assert audit_facts(folder, ["a-1"], span=span).problems
    segment.write_bytes(whole)
    assert audit_facts(folder, ["a-1"], span=span).is_proven


def test_a_time_after_the_last_checkpoint_is_not_proven(audit: tuple[Path, Span]) -> None:
    folder, span = audit
    later = Span(span.since, span.until + timedelta(hours=1))

    [problem] = audit_facts(folder, ["a-1"], span=later).problems

    assert "checkpoint" in problem


def test_no_audit_at_all_is_a_problem(tmp_path: Path) -> None:
    now = datetime.now(UTC)

    told = audit_facts(tmp_path, ["a-1"], span=Span(now, now))

    assert (told.recorded_once, told.is_proven) == (0, False)
    assert told.problems
