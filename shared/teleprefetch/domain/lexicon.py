"""The words of descriptions as packaged data: `data/lexicon.toml`, read once per process."""

import re
import tomllib
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

Meaning = tuple[str, str]
Meanings = tuple[Meaning, ...]

MAX_TEXT: Final = 256  # characters; LO holds 64 (PS3.5 6.2), so more is noise, and read in part
_WORD: Final = re.compile(r"[^\W_]+")
_HUMP: Final = re.compile(r"(?<=[a-z])(?=[A-Z][a-z])")
_MARKS: Final = {0x300 + offset: None for offset in range(0x70)}
_UMLAUTS: Final = {"ä": "ae", "ö": "oe", "ü": "ue"}


@dataclass(frozen=True, slots=True)
class Lexicon:
    """Words, stems and phrases with their meanings; phrases are indexed by their first word.

    `longest` is the number of words of the longest phrase that starts with a word, and
    `phrase_stems` maps all words but the last of a phrase to the stems its last may have.
    """

    exact: dict[str, Meanings]
    stems: dict[str, Meanings]
    phrase_stems: dict[str, tuple[tuple[str, Meanings], ...]]
    longest: dict[str, int]
    longest_stem: int


def words_of(text: str) -> list[str]:
    """The words of a text, folded: no case, no diacritics, no punctuation; "WholeBody" is two.

    A character that a wrong SpecificCharacterSet destroyed (U+FFFD) is left out of its word.
    """
    parted = _HUMP.sub(" ", text[:MAX_TEXT].replace("\ufffd", ""))
    folded = unicodedata.normalize("NFKD", parted.casefold())
    return _WORD.findall(folded.translate(_MARKS))


@cache
def lexicon() -> Lexicon:
    """The packaged lexicon."""
    document = tomllib.loads(
        (files("teleprefetch.domain") / "data/lexicon.toml").read_text("utf-8")
    )
    gathered: dict[str, dict[Meaning, None]] = {}
    for kind, group in document.items():
        for name, languages in group.items():
            for entry in ",".join(languages.values()).split(","):
                for spelling in _spellings(entry.strip()):
                    gathered.setdefault(spelling, {})[kind, name] = None
    return _indexed({spelling: tuple(meanings) for spelling, meanings in gathered.items()})


def _spellings(entry: str) -> Iterator[str]:
    star = "*" if entry.endswith("*") else ""
    lost = expanded = entry.casefold()
    for umlaut, pair in _UMLAUTS.items():
        expanded = expanded.replace(umlaut, pair)
        lost = lost.replace(umlaut, "")
    for spelling in dict.fromkeys((entry, expanded, lost)):
        if words := words_of(spelling):
            yield " ".join(words) + star


def _indexed(meanings: dict[str, Meanings]) -> Lexicon:
    exact: dict[str, Meanings] = {}
    stems: dict[str, Meanings] = {}
    phrase_stems: dict[str, list[tuple[str, Meanings]]] = {}
    longest: dict[str, int] = {}
    for spelling, meaning in meanings.items():
        words = spelling.removesuffix("*").split()
        longest[words[0]] = max(longest.get(words[0], 1), len(words))
        if not spelling.endswith("*"):
            exact[spelling] = meaning + _within(words, meaning, meanings)
        elif len(words) == 1:
            stems[words[0]] = meaning
        else:
            phrase_stems.setdefault(" ".join(words[:-1]), []).append(
                (words[-1], meaning + _within(words, meaning, meanings))
            )
    return Lexicon(
        exact=exact,
        stems=stems,
        phrase_stems={head: tuple(tails) for head, tails in phrase_stems.items()},
        longest={word: length for word, length in longest.items() if length > 1},
        longest_stem=max(map(len, stems)),
    )


def _within(words: list[str], phrase: Meanings, meanings: dict[str, Meanings]) -> Meanings:
    """What the words of a phrase mean by themselves and the phrase must not hide.

    Their modality always, and "both sides"; their region, too, if the phrase is about modality
    alone.
    """
    if len(words) == 1 or {kind for kind, _ in phrase} <= {"side", "contrast"}:
        return ()
    if ("flag", "filler") in phrase:
        return ()
    is_modality = all(kind == "modality" for kind, _ in phrase)
    shown = ("modality", "region") if is_modality else ("modality",)
    return tuple(
        meaning
        for word in words
        for meaning in meanings.get(word, meanings.get(f"{word}*", ()))
        if meaning[0] in shown or meaning == ("side", "B")
    )


@cache
def _misspellings() -> tuple[dict[str, Meanings], dict[str, Meanings]]:
    """Region words of six letters and more, and the same with any one letter left out."""
    table = lexicon()
    whole = {
        word: meanings
        for word, meanings in {**table.stems, **table.exact}.items()
        if len(word) > 5 and " " not in word and any(kind == "region" for kind, _ in meanings)
    }
    shorter = {cut: meanings for word, meanings in whole.items() for cut in _without_one(word)}
    return whole, shorter


def _without_one(word: str) -> Iterator[str]:
    return (word[:at] + word[at + 1 :] for at in range(1, len(word)))


def misspelt(word: str) -> Meanings:
    """The meanings of the region word that `word` is one slip of the keys away from.

    One letter too few or too many; for seven letters and more also one wrong, or two swapped.
    The first letter is always taken as it is.
    """
    if not 5 <= len(word) <= 24 or not word.isalpha():
        return ()
    whole, shorter = _misspellings()
    cuts = tuple(_without_one(word))
    candidates = (
        shorter.get(word, ()),
        *(whole.get(cut, ()) for cut in cuts),
        *(shorter.get(cut, ()) for cut in cuts if len(word) > 6),
    )
    return next((meanings for meanings in candidates if meanings), ())
