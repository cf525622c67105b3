"""The words of descriptions as packaged data: `data/lexicon.toml`, read once per process."""

import re
import tomllib
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

Meaning = tuple[str, str]
Meanings = tuple[Meaning, ...]

SHORTEST_STEM: Final = 3
_WORD: Final = re.compile(r"[^\W_]+")
_HUMP: Final = re.compile(r"(?<=[a-z])(?=[A-Z][a-z])")
_MARKS: Final = {0x300 + offset: None for offset in range(0x70)}
_UTF_8_TAKEN_FOR_LATIN: Final = {
    pair.decode(taken, errors="ignore"): pair.decode()
    for pair in (bytes((lead, tail)) for lead in (0xC2, 0xC3) for tail in range(0x80, 0xC0))
    for taken in ("latin-1", "cp1252")
    if len(pair.decode(taken, errors="ignore")) > 1
}
_TAKEN: Final = re.compile("|".join(map(re.escape, _UTF_8_TAKEN_FOR_LATIN)))
_UMLAUTS: Final = {"ä": "ae", "ö": "oe", "ü": "ue"}


@dataclass(frozen=True, slots=True)
class Lexicon:
    """Words, stems and phrases with their meanings; phrases are indexed by their first word.

    `longest` is the number of words of the longest phrase that starts with a word, and
    `phrase_stems` maps all words but the last of a phrase to the stems its last may have;
    `stem_lengths` maps the first letters of stems, which most words lack, to falling lengths.
    """

    exact: dict[str, Meanings]
    stems: dict[str, Meanings]
    phrase_stems: dict[str, tuple[tuple[str, Meanings], ...]]
    longest: dict[str, int]
    stem_lengths: dict[str, tuple[int, ...]]


def words_of(text: str) -> list[str]:
    """The words of a text, folded: no case, no diacritics, no punctuation; "WholeBody" is two.

    Two letters that a wrong SpecificCharacterSet (PS3.5 6.1) made of one, UTF-8 taken for
    Latin-1, are turned back.
    """
    if not text.isascii():
        text = _TAKEN.sub(lambda pair: _UTF_8_TAKEN_FOR_LATIN[pair[0]], text)
    parted = _HUMP.sub(" ", text)
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
        stem_lengths={
            head: tuple(sorted({len(stem) for stem in some}, reverse=True))
            for head, some in _by_head(stems).items()
        },
    )


def _by_head(stems: Iterable[str]) -> dict[str, list[str]]:
    heads: dict[str, list[str]] = {}
    for stem in stems:
        heads.setdefault(stem[:SHORTEST_STEM], []).append(stem)
    return heads


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
def _misspellings() -> tuple[dict[str, Meanings], dict[str, Meanings], dict[str, Meanings]]:
    """Region words of six letters and more, the same less one letter, and of five, swapped."""
    table = lexicon()
    named = {
        word: meanings
        for word, meanings in {**table.stems, **table.exact}.items()
        if len(word) > 4 and " " not in word and any(kind == "region" for kind, _ in meanings)
    }
    whole = {word: meanings for word, meanings in named.items() if len(word) > 5}
    shorter = {cut: meanings for word, meanings in whole.items() for cut in _without_one(word)}
    swapped = {slip: meanings for word, meanings in named.items() for slip in _swapped(word)}
    return whole, shorter, swapped


def _swapped(word: str) -> Iterator[str]:
    return (word[:at] + word[at + 1] + word[at] + word[at + 2 :] for at in range(1, len(word) - 1))


def _without_one(word: str) -> Iterator[str]:
    return (word[:at] + word[at + 1 :] for at in range(1, len(word)))


def misspelt(word: str) -> Meanings:
    """The meanings of the region word that `word` is one slip of the keys away from.

    One letter too few or too many, or two neighbours swapped; for seven letters and more also
    one wrong. The first letter is always taken as it is.
    """
    if not 5 <= len(word) <= 24 or not word.isalpha():
        return ()
    whole, shorter, swapped = _misspellings()
    if meanings := swapped.get(word) or shorter.get(word):
        return meanings
    likest: Meanings = ()
    for at in range(1, len(word)):
        cut = word[:at] + word[at + 1 :]
        if cut in whole:
            return whole[cut]
        if cut in shorter and not likest and len(word) > 6:
            likest = shorter[cut]
    return likest
