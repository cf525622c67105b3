"""Any single change of a log is found, and the first record that is wrong is named."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from teleprefetch.domain.audit.chain import Fault, Lane
from teleprefetch.domain.audit.checkpoint import Checkpoint, SignedCheckpoint, check
from teleprefetch.domain.audit.completeness import Proof, Span, missing_lanes, prove
from teleprefetch.domain.audit.entry import GENESIS, hash_of, read_line, stamp
from teleprefetch.domain.audit.record import AuditRecord
from tests.audit_builders import LANE, NODE, START, a_record, lines_of, read_back, some_lines

KEY, OTHER_KEY = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
COUNT = 8
LINES = some_lines(COUNT)


def is_signed(message: bytes, signature: bytes) -> bool:
    try:
        KEY.public_key().verify(signature, message)
    except InvalidSignature:
        return False
    return True


def checkpoints_of(lines, *seqs, key=KEY, late_s=100) -> tuple[SignedCheckpoint, ...]:
    made: list[SignedCheckpoint] = []
    for seq in seqs:
        point = Checkpoint(
            node=NODE,
            lane=LANE,
            number=len(made) + 1,
            previous=made[-1].checkpoint.digest if made else GENESIS,
            seq=seq,
            hash=read_line(lines[seq - 1]).hash,
            at=stamp(START + timedelta(seconds=late_s)),
        )
        made.append(SignedCheckpoint(point, key.sign(point.message)))
    return tuple(made)


def checked(lines: list[bytes], checkpoints: tuple[SignedCheckpoint, ...]) -> Lane:
    lane = read_back(lines, wanted={each.checkpoint.seq for each in checkpoints})
    check(lane, checkpoints, is_signed=is_signed)
    return lane


def first_of(lane: Lane) -> tuple[Fault, int]:
    return lane.findings[0].fault, lane.findings[0].seq


def rehashed(line: bytes, **changes) -> bytes:
    """The line with other content and a hash that fits it: what a careful forger writes."""
    record = json.loads(line)["record"] | changes
    body = json.dumps(record, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
    head = hash_of(record["prev"], body).encode()
    return b'{"hash":"' + head + b'","record":' + body + b"}"


def test_a_log_as_written_has_nothing_wrong_with_it() -> None:
    lane = checked(LINES, checkpoints_of(LINES, 3, COUNT))
    assert lane.findings == []
    assert lane.first is not None
    assert (lane.first.seq, lane.last and lane.last.seq) == (1, COUNT)


@given(st.integers(0, COUNT - 1), st.data())
@settings(max_examples=400, deadline=None)
def test_any_byte_changed_is_found_and_the_record_is_named(index, data) -> None:
    line = LINES[index]
    at = data.draw(st.integers(0, len(line) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda b: b != line[at] and b != 10))
    lane = read_back(
        [*LINES[:index], line[:at] + bytes([byte]) + line[at + 1 :], *LINES[index + 1 :]]
    )
    assert lane.findings
    assert lane.findings[0].seq in {index + 1, index}
    assert min(finding.seq for finding in lane.findings) >= index


@given(st.integers(1, COUNT - 1))
def test_a_record_edited_with_a_hash_that_fits_is_named(index) -> None:
    forged = rehashed(LINES[index - 1], at=stamp(START + timedelta(hours=1)))
    lane = read_back([*LINES[: index - 1], forged, *LINES[index:]])
    assert first_of(lane) == (Fault.REWRITTEN, index)


@given(st.sets(st.integers(2, COUNT - 1), min_size=1, max_size=3))
def test_records_deleted_from_the_middle_are_named(gone) -> None:
    lane = read_back([line for n, line in enumerate(LINES, start=1) if n not in gone])
    assert first_of(lane) == (Fault.MISSING, min(gone))


@given(st.permutations(range(COUNT)).filter(lambda order: list(order) != sorted(order)))
def test_any_other_order_is_found_at_the_first_record_that_is_out_of_place(order) -> None:
    lane = read_back([LINES[n] for n in order])
    expected = next(place for place, n in enumerate(order) if place != n) + 1
    if expected == 1:  # it begins too late, which only a checkpoint may excuse
        check(lane, (), is_signed=is_signed)
        assert Fault.BEHEADED in {finding.fault for finding in lane.findings}
    else:
        assert first_of(lane) == (Fault.MISSING, expected)


@given(st.integers(1, COUNT))
def test_a_record_that_is_there_twice_is_named(index) -> None:
    lane = read_back([*LINES[:index], LINES[index - 1], *LINES[index:]])
    assert first_of(lane) == (Fault.REPEATED, index)


@given(st.integers(1, COUNT - 1))
def test_a_tail_that_was_cut_is_named_by_a_checkpoint_and_by_nothing_else(kept) -> None:
    assert read_back(LINES[:kept]).findings == []
    lane = checked(LINES[:kept], checkpoints_of(LINES, COUNT))
    assert first_of(lane) == (Fault.TAIL_CUT, kept + 1)


@given(st.integers(2, COUNT))
def test_a_head_that_was_cut_is_named(first) -> None:
    lane = checked(LINES[first - 1 :], ())
    assert first_of(lane) == (Fault.BEHEADED, first)


def test_older_segments_may_be_elsewhere_if_a_checkpoint_ends_with_them() -> None:
    assert checked(LINES[4:], checkpoints_of(LINES, 4, COUNT)).findings == []


def test_a_checkpoint_of_another_branch_does_not_vouch_for_a_cut_head() -> None:
    other = lines_of([a_record()], seq=4, head="f" * 64)
    lane = checked(other, checkpoints_of(LINES, 4))
    assert first_of(lane) == (Fault.BEHEADED, 5)


@given(st.integers(1, COUNT - 1))
def test_a_fork_is_found_by_the_checkpoint_of_the_branch_that_is_not_here(shared) -> None:
    head = read_line(LINES[shared - 1]).hash
    other = lines_of(
        [a_record(request=f"other-{n}") for n in range(COUNT - shared)], seq=shared, head=head
    )
    lane = checked([*LINES[:shared], *other], checkpoints_of(LINES, COUNT))
    assert first_of(lane) == (Fault.FORKED, COUNT)


def test_two_branches_in_one_log_are_found_without_a_checkpoint() -> None:
    head = read_line(LINES[3]).hash
    other = lines_of([a_record(request="other")], seq=4, head=head)
    lane = read_back([*LINES, *other])
    assert first_of(lane) == (Fault.REPEATED, 5)


def test_a_log_rewritten_whole_is_found_by_its_checkpoint_alone() -> None:
    forged = lines_of([a_record(subject="somebody-else") for _ in range(COUNT)])
    assert read_back(forged).findings == []
    assert first_of(checked(forged, checkpoints_of(LINES, COUNT))) == (Fault.FORKED, COUNT)


def test_a_last_line_without_an_end_is_called_torn_and_one_in_the_midst_unreadable() -> None:
    torn = read_back([*LINES[:3], LINES[3][:50]], whole=False)
    assert first_of(torn) == (Fault.TORN, 4)
    whole_but_endless = read_back(LINES[:3], whole=False)
    assert first_of(whole_but_endless) == (Fault.TORN, 3)
    midst = read_back([*LINES[:3], LINES[3][:50], *LINES[4:]])
    assert first_of(midst) == (Fault.UNREADABLE, 4)


def test_a_record_of_another_node_or_lane_is_named() -> None:
    other = some_lines(1, node="node-b")
    assert first_of(read_back(other)) == (Fault.FOREIGN, 1)
    assert first_of(read_back(some_lines(1, lane="worker"))) == (Fault.FOREIGN, 1)


def test_a_first_record_that_names_one_before_it_is_named() -> None:
    assert first_of(read_back(lines_of([a_record()], head="f" * 64))) == (Fault.EDITED, 1)


def test_a_checkpoint_of_another_key_proves_nothing_and_is_named() -> None:
    lane = read_back(LINES)
    held = check(lane, checkpoints_of(LINES, COUNT, key=OTHER_KEY), is_signed=is_signed)
    assert held == ()
    assert first_of(lane) == (Fault.CHECKPOINT, COUNT)


@pytest.mark.parametrize(
    "change", [{"seq": 1}, {"hash": "0" * 64}, {"at": stamp(START)}, {"number": 2}]
)
def test_an_edited_checkpoint_is_named(change) -> None:
    (signed,) = checkpoints_of(LINES, COUNT)
    lane = read_back(LINES)
    edited = SignedCheckpoint(replace(signed.checkpoint, **change), signed.signature)
    check(lane, [edited], is_signed=is_signed)
    assert lane.findings[0].fault == Fault.CHECKPOINT


def test_a_checkpoint_that_was_taken_away_is_named() -> None:
    first, _second, third = checkpoints_of(LINES, 2, 4, 6)
    lane = checked(LINES, (first, third))
    assert "checkpoint 2 is not there" in lane.findings[0].words


def resigned(signed: SignedCheckpoint, **changes) -> SignedCheckpoint:
    point = replace(signed.checkpoint, **changes)
    return SignedCheckpoint(point, KEY.sign(point.message))


def test_a_checkpoint_that_follows_another_one_than_is_here_is_named() -> None:
    first, second = checkpoints_of(LINES, 2, 4)
    lane = checked(LINES, (first, resigned(second, previous="0" * 64)))
    assert "names another checkpoint" in lane.findings[0].words
    assert lane.findings[0].fault == Fault.CHECKPOINT


def test_a_checkpoint_of_fewer_records_than_an_earlier_one_is_a_fork() -> None:
    first, second = checkpoints_of(LINES, 6, 6)
    back = resigned(second, seq=4, hash=read_line(LINES[3]).hash)
    lane = checked(LINES, (first, back))
    assert first_of(lane) == (Fault.FORKED, 4)


def test_two_checkpoints_of_one_number_are_a_fork() -> None:
    (one,) = checkpoints_of(LINES, 4)
    (other,) = checkpoints_of(LINES, 5)
    assert Fault.FORKED in {f.fault for f in checked(LINES, (one, other)).findings}


def test_a_checkpoint_document_reads_back_and_a_damaged_one_does_not() -> None:
    (signed,) = checkpoints_of(LINES, COUNT)
    assert SignedCheckpoint.load(signed.dump()) == signed
    with pytest.raises(Exception, match="not a checkpoint"):
        SignedCheckpoint.load(signed.dump()[:-5])


SPAN = Span(START + timedelta(seconds=2), START + timedelta(seconds=6))


def proven(
    lines: list[bytes], checkpoints: tuple[SignedCheckpoint, ...], span: Span = SPAN
) -> Proof:
    lane = read_back(lines, wanted={each.checkpoint.seq for each in checkpoints})
    held = check(lane, checkpoints, is_signed=is_signed)
    return prove([lane], {LANE: held}, span)


def test_a_time_is_complete_if_a_later_checkpoint_covers_an_unbroken_chain() -> None:
    assert proven(LINES, checkpoints_of(LINES, COUNT)).is_complete


def test_without_a_later_checkpoint_a_time_is_not_proven_complete() -> None:
    proof = proven(LINES, checkpoints_of(LINES, COUNT, late_s=5))
    assert "no checkpoint was made after the time" in proof.reasons[0]


def test_a_gap_makes_a_time_incomplete_and_says_how_much_is_lost() -> None:
    detail: dict[str, str | int] = {
        "began_at": stamp(START + timedelta(seconds=4)),
        "unrecorded": 3,
    }
    gap = AuditRecord(kind="gap", reason="no space", detail=detail)
    lines = lines_of([*(a_record() for _ in range(COUNT)), gap])
    points = checkpoints_of(lines, COUNT + 1)
    assert "3 events could not be recorded" in proven(lines, points).reasons[0]
    earlier = Span(START, START + timedelta(seconds=3))
    assert proven(lines, points, earlier).is_complete


def test_a_gap_in_which_everything_was_denied_or_recorded_late_leaves_a_time_complete() -> None:
    detail = {"began_at": stamp(START), "unrecorded": 0, "denied": 7, "late": 2}
    lines = lines_of([a_record() for _ in range(COUNT)] + [AuditRecord(kind="gap", detail=detail)])
    assert proven(lines, checkpoints_of(lines, COUNT + 1)).is_complete


def test_a_lane_that_begins_within_the_time_without_its_older_part_is_not_complete() -> None:
    proof = proven(LINES[4:], checkpoints_of(LINES, 4, COUNT))
    assert "begins after the time does" in proof.reasons[0]


def test_a_clock_that_went_back_is_told_and_leaves_open_what_no_checkpoint_covers() -> None:
    times = iter([*(START + timedelta(seconds=n) for n in range(4)), START, START])
    lines = lines_of([a_record() for _ in range(6)], times=times)
    lane = read_back(lines, wanted={4})
    held = check(lane, checkpoints_of(lines, 4), is_signed=is_signed)
    assert lane.findings == []
    assert lane.clock_went_back == [5]
    proof = prove([lane], {LANE: held}, Span(START, START + timedelta(seconds=2)))
    assert "the clock went back" in proof.reasons[0]


def test_a_lane_that_only_checkpoints_know_is_missing() -> None:
    lane = read_back(LINES)
    (finding,) = missing_lanes([lane], {LANE: (), "worker": ()})
    assert (finding.fault, finding.lane) == (Fault.LANE_MISSING, "worker")
    assert not prove([lane], {"worker": ()}, SPAN).is_complete
