"""domain.relevance: what text and dates do that no standard foresaw, in bulk and in time."""

import random
import string
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teleprefetch.domain.describe import MAX_TEXT, read
from teleprefetch.domain.exam import Exam, day_of, exam_of
from teleprefetch.domain.lexicon import words_of
from teleprefetch.domain.relevance import rank_priors
from teleprefetch.model import PatientKey, StudyRecord


def a_study(description: str, *, uid: str = "1.2.1", on: str = "20240101") -> StudyRecord:
    return StudyRecord(
        study_instance_uid=uid,
        patient=PatientKey(patient_id="P"),
        study_description=description,
        study_date=on,
    )


def an_exam(description: str) -> Exam:
    return exam_of(a_study(description))


def _seconds(descriptions: list[str]) -> float:
    priors = [a_study(text, uid=f"1.3.{n}") for n, text in enumerate(descriptions, 1)]
    started = time.process_time()
    ranking = rank_priors(a_study("CT CHEST"), priors, now=None)
    spent = time.process_time() - started
    assert len(ranking.priors) == len(descriptions)
    return spent


def _noise(length: int, seed: int) -> str:
    drawn = random.Random(seed)  # noqa: S311
    return "".join(drawn.choice(string.ascii_lowercase + "   ") for _ in range(length))


def test_a_thousand_characters_cost_what_their_readable_part_costs() -> None:
    read("CT CHEST")
    long = [_noise(1_000, seed) for seed in range(2_000)]

    cut = _seconds([text[:MAX_TEXT] for text in long])
    whole = _seconds([text[::-1] for text in long])

    assert whole < 2 * cut + 0.1


def test_ten_thousand_priors_of_a_thousand_characters_take_a_second_or_so() -> None:
    read("CT CHEST")

    assert _seconds([_noise(1_000, seed) for seed in range(10_000)]) < 3  # 0.6 s on the builder's


@pytest.mark.parametrize("unit", ["a", "ct", "c a p ", "-", "é", "\u0301", "l-", "検", "\ufffd"])
def test_no_repetition_makes_reading_slow(unit: str) -> None:
    started = time.process_time()

    read(unit * 200_000)

    assert time.process_time() - started < 0.5


@given(st.text(max_size=300))
def test_what_a_text_says_does_not_hang_on_case_or_composition(text: str) -> None:
    assert words_of(unicodedata.normalize("NFC", text)) == words_of(
        unicodedata.normalize("NFC", unicodedata.normalize("NFD", text))
    )


@pytest.mark.parametrize(
    ("written", "declared", "assumed", "region"),
    [
        ("Schädel-CT", "latin-1", "utf-8", "BRAIN"),
        ("Röntgen Schädel", "latin-1", "ascii", "SKULL"),
        ("Rö Hüfte links", "latin-1", "utf-8", "HIP"),
        ("IRM crâne", "latin-1", "utf-8", "BRAIN"),
        ("TC tórax", "latin-1", "utf-8", "CHEST"),
    ],
)
def test_a_word_that_lost_its_letters_to_a_wrong_character_set_is_still_read(
    written: str, declared: str, assumed: str, region: str
) -> None:
    """SpecificCharacterSet (PS3.5 6.1) missing or wrong: the bytes are read with U+FFFD."""
    garbled = written.encode(declared).decode(assumed, errors="replace")

    assert region in an_exam(garbled).regions


@pytest.mark.parametrize(
    "written", ["CT CHE\ufffdST", "CT CH\ufffdE\ufffdST", "CT THO\ufffd\ufffdRAX"]
)
def test_a_stray_mark_does_not_part_a_word(written: str) -> None:
    assert an_exam(written).regions == ("CHEST",)


@pytest.mark.parametrize(
    ("written", "regions"),
    [
        ("SchÃ¤del", {"SKULL"}),
        ("HÃ¼fte links", {"HIP"}),
        ("FÃ¼ÃŸe", {"FOOT"}),
        ("cÃ©rÃ©brale", {"BRAIN"}),
        ("tÃ³rax", {"CHEST"}),
        ("crÃ¢nio", {"SKULL"}),
    ],
)
def test_utf_8_taken_for_latin_1_is_turned_back(written: str, regions: set[str]) -> None:
    assert set(read(written).regions) == regions


@pytest.mark.parametrize(
    "on",
    [
        "20230230",
        "20231301",
        "00000000",
        "2023",
        "\uff12\uff10\uff12\uff13\uff10\uff11\uff10\uff11",
        "²0230101",
    ],
)
def test_a_date_that_is_none_has_no_day(on: str) -> None:
    assert day_of(on) is None


@given(st.text(max_size=12))
def test_no_date_whatever_raises(on: str) -> None:
    assert day_of(on) is None or len("".join(filter(str.isdigit, on))) == 8


def test_a_prior_dated_after_the_current_study_says_so_and_is_not_newest() -> None:
    later = a_study("CT CHEST", uid="1.3.1", on="20991231")
    earlier = a_study("CT CHEST", uid="1.3.2", on="20231231")

    ranking = rank_priors(a_study("CT CHEST"), [later, earlier], now=None)

    assert [one.study for one in ranking.priors] == [earlier, later]
    assert "dated after the current study" in {term.reason for term in ranking.priors[1].terms}
