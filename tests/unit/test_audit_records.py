"""What a record says, in one form only; and what it never says."""

import hashlib
import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teleprefetch.domain.audit.entry import GENESIS, Chain, hash_of, read_line, stamp
from teleprefetch.domain.audit.record import (
    KINDS,
    AuditRecord,
    canonical_json,
    frame_ranges,
    token_reference,
)
from teleprefetch.errors import InvalidPayloadError
from tests.audit_builders import LANE, NODE, START, a_record, lines_of

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
KEYS = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=8)


@given(st.dictionaries(KEYS, TEXT | st.integers(-(2**62), 2**62) | st.lists(TEXT, max_size=3)))
def test_canonical_json_is_what_another_encoder_writes_with_sorted_keys(document) -> None:
    other = json.dumps(document, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    assert canonical_json(document) == other.encode()


@given(subject=TEXT, reason=TEXT, status=st.integers(0, 599), kind=st.sampled_from(sorted(KINDS)))
def test_a_record_reads_back_as_it_was(subject, reason, status, kind) -> None:
    record = a_record(subject=subject, reason=reason, status=status, kind=kind)
    (line,) = lines_of([record])
    entry = read_line(line)
    assert entry.event == record
    assert entry.is_intact
    assert (entry.node, entry.lane, entry.seq, entry.at) == (NODE, LANE, 1, START)


def test_the_hash_is_sha256_of_the_hash_before_and_the_canonical_record() -> None:
    first, second = lines_of([a_record(), a_record(request="r-2")])
    document = json.loads(second)
    before = json.loads(first)["hash"]
    body = json.dumps(
        document["record"], sort_keys=True, ensure_ascii=False, separators=(",", ":")
    ).encode()
    assert document["record"]["prev"] == before
    assert document["hash"] == hashlib.sha256(before.encode() + body).hexdigest()
    assert json.loads(first)["record"]["prev"] == GENESIS


def test_a_line_with_spaces_another_order_or_a_field_twice_is_no_record() -> None:
    (line,) = lines_of([a_record()])
    document = json.loads(line)
    reordered = json.dumps(document["record"], separators=(",", ":")).encode()
    turned = json.dumps(dict(reversed(document["record"].items())), separators=(",", ":")).encode()
    assert reordered != turned
    for body in (
        json.dumps(document["record"]).encode(),
        turned,
        reordered[:-1] + b',"v":1}',
    ):
        head = hash_of(GENESIS, body).encode()
        with pytest.raises(InvalidPayloadError):
            read_line(b'{"hash":"' + head + b'","record":' + body + b"}")


@pytest.mark.parametrize("token", ["eyJhbGciOiJSUzI1NiJ9.e30.c2ln", "sha256:abc", "jti:two words"])
def test_a_record_with_anything_but_a_reference_to_a_token_is_refused(token: str) -> None:
    with pytest.raises(InvalidPayloadError, match=r"audit\.token"):
        a_record(token=token).canonical()


def test_a_token_is_named_by_its_jti_or_else_by_its_digest() -> None:
    digest = "d" * 64
    assert token_reference(token_id="t-1", token_sha256=digest) == "jti:t-1"
    assert token_reference(token_id=None, token_sha256=digest) == f"sha256:{digest}"
    assert token_reference(token_id="line\nfeed", token_sha256=digest) == f"sha256:{digest}"


def test_a_text_beyond_its_bound_is_refused_by_the_name_of_its_field_alone() -> None:
    with pytest.raises(InvalidPayloadError) as caught:
        a_record(subject="secret" * 300).canonical()
    assert str(caught.value) == "audit.subject: too long"


def test_half_a_surrogate_pair_is_refused_before_it_can_reach_the_chain() -> None:
    with pytest.raises(InvalidPayloadError, match="JSON"):
        a_record(reason="\ud800").canonical()


def test_a_newline_in_a_field_does_not_make_a_second_line() -> None:
    chain = Chain(node=NODE, lane=LANE)
    line = chain.link(a_record(reason='a\n{"hash":"x"}').canonical(), stamp(START))
    assert line.count(b"\n") == 1


def test_empty_fields_are_left_out_and_a_record_has_no_field_for_a_name() -> None:
    said = json.loads(AuditRecord(kind="started").canonical())
    assert said == {"kind": "started"}
    assert not {"name", "patient_name", "patient_id", "user_name"} & set(AuditRecord.__slots__)


@pytest.mark.parametrize("change", [{"kind": "seen"}, {"status": "200"}, {"colour": "red"}])
def test_an_event_of_unknown_kind_type_or_field_is_no_record(change) -> None:
    document = json.loads(a_record().canonical()) | change
    with pytest.raises(InvalidPayloadError):
        AuditRecord.read(document)


@given(st.sets(st.integers(1, 60)))
def test_ranges_of_frames_stand_for_exactly_the_numbers(numbers) -> None:
    text = frame_ranges(numbers)
    spans = [part.split("-") for part in text.split(",") if part]
    stood_for = [n for span in spans for n in range(int(span[0]), int(span[-1]) + 1)]
    assert stood_for == sorted(numbers)
    assert all(int(b[0]) - int(a[-1]) > 1 for a, b in itertools.pairwise(spans))
