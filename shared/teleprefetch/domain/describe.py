"""What a description says: regions, modality, side, contrast and flags, by the lexicon."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from teleprefetch.domain.lexicon import (
    SHORTEST_STEM,
    Meanings,
    lexicon,
    misspelt,
    words_of,
)

# Characters; LO holds 64 (PS3.5 6.2), so more is noise, and read in part.
MAX_TEXT: Final = 192
_DESTROYED: Final = "\ufffd"
_WITH_DIACRITICS: Final = "aeioucn"
# PET has CT with it, a nuclear scan too; of the others the first word decides, if it is one.
_ALWAYS_FIRST: Final = ("PT", "NM", "BMD")
_MODALITIES: Final = ("MR", "MG", "CT", "RF", "XA", "US", "XR", "OT")
_LEADING: Final = ("MR", "CT", "US", "XA")
_COMPOUNDED: Final = {"sono": "US", "szinti": "NM"}
_PREFIXES: Final = ("mri", "mrt", "irm", "cta", "mra", "pet", "ct", "mr", "us", "xr", "rx", "nm",
                    "rm", "tc", "ro", "x")  # fmt: skip
_SUFFIXES: Final = ("mri", "mrt", "pet", "ct")
_SIDE_WORDS: Final = frozenset({"left", "right", "lt", "rt", "bilateral", "bilat"})
# Sides only where they end a description: elsewhere they are articles, "without" or a letter.
_LAST_WORD_SIDES: Final = {
    "d": "R", "der": "R", "ds": "R", "dt": "R", "e": "L", "g": "L", "i": "L", "sin": "L", "sn": "L",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reading:
    """What one text says; empty where it says nothing.

    `side` is L, R, B (both) or empty; `contrast` is "with", "without" or empty; `words` are the
    words that carry meaning beyond what was read from them.
    """

    regions: tuple[str, ...] = ()
    modality: str = ""
    side: str = ""
    contrast: str = ""
    flags: frozenset[str] = frozenset()
    words: frozenset[str] = frozenset()


@lru_cache(maxsize=16_384)
def read(text: str) -> Reading:
    """Read a description in any of the lexicon's languages; linear in its length."""
    words = _placed(words_of(_restored(text[:MAX_TEXT])))
    found: dict[str, dict[str, None]] = {}
    for meanings in _meanings(words):
        for kind, name in meanings:
            found.setdefault(kind, {})[name] = None
    regions = tuple(found.get("region", ()))
    modalities = found.get("modality", {})
    return Reading(
        regions=regions,
        modality=_modality(modalities, words),
        side=_side(tuple(found.get("side", ())), words, has_region=bool(regions)),
        contrast=next(iter(found.get("contrast", ())), ""),
        flags=frozenset(found.get("flag", ())) - {"filler"},
        words=frozenset(word for word in words if len(word) > 1),
    )


def _restored(text: str) -> str:
    """The text with the letter put back that a wrong SpecificCharacterSet destroyed in a word.

    The letters that carry diacritics in the lexicon's languages are tried; a word that none of
    them completes goes without it.
    """
    if _DESTROYED not in text:
        return text
    return " ".join(
        next(filter(_is_known, _completions(word)), word.replace(_DESTROYED, ""))
        for word in text.split()
    )


def _completions(word: str) -> Iterator[str]:
    """The word with one destroyed letter put back in each way; nothing if it lacks more."""
    letters = _WITH_DIACRITICS if word.count(_DESTROYED) == 1 else ""
    return (word.replace(_DESTROYED, letter) for letter in letters)


def _is_known(text: str) -> bool:
    return all(_plain(word) for word in words_of(text))


def _placed(words: list[str]) -> list[str]:
    """The words, with those made plain whose meaning hangs on being the first.

    "PT" is a modality at the start and the patient elsewhere; "DX" is one at the start and
    Italian for right elsewhere; "BI" is breast imaging at the start, if a side follows, and
    bilateral elsewhere.
    """
    placed = [words[0], *(word for word in words[1:] if word != "pt")] if words else []
    if placed[:1] == ["dx"]:
        placed[0] = "xr"
    if placed[:1] == ["bi"] and not _SIDE_WORDS.isdisjoint(placed[1:]):
        placed[0] = "breast"
    return placed


def _meanings(words: list[str]) -> Iterator[Meanings]:
    start = 0
    while start < len(words):
        taken, meanings = _longest_phrase(words, start)
        yield meanings
        start += taken


def _longest_phrase(words: list[str], start: int) -> tuple[int, Meanings]:
    table = lexicon()
    for length in range(table.longest.get(words[start], 1), 1, -1):
        phrase = words[start : start + length]
        if len(phrase) < length:
            continue
        if meanings := table.exact.get(" ".join(phrase)):
            return length, meanings
        for stem, stem_meanings in table.phrase_stems.get(" ".join(phrase[:-1]), ()):
            if phrase[-1].startswith(stem):
                return length, stem_meanings
    return 1, _word(words[start])


@lru_cache(maxsize=16_384)
def _word(word: str) -> Meanings:
    if meanings := _plain(word):
        if word in lexicon().exact:
            return meanings
        compounded = _suffix_modality(word)
        kept = tuple(one for one in meanings if not compounded or one[0] != "modality")
        return kept + compounded
    for prefix in _PREFIXES if word.startswith(_PREFIXES) else ():
        rest = word[len(prefix) :]
        if len(rest) > 2 and word.startswith(prefix) and (meanings := _plain(rest)):
            return meanings + lexicon().exact.get(prefix, ())
    return misspelt(word)


def _plain(word: str) -> Meanings:
    """The word's own meanings, and those kinds of meaning that only a shorter stem of it has."""
    table = lexicon()
    meanings = table.exact.get(word, ())
    kinds = {kind for kind, _ in meanings}
    if kinds == {"flag"} and ("flag", "filler") in meanings:
        return meanings
    for length in table.stem_lengths.get(word[:SHORTEST_STEM], ()):
        more = table.stems.get(word[:length], ())
        if fresh := tuple(meaning for meaning in more if meaning[0] not in kinds):
            meanings += fresh
            kinds.update(kind for kind, _ in fresh)
    return meanings


def _suffix_modality(word: str) -> Meanings:
    """The modality in the tail of a compound: "ThoraxCT", "Nierensonographie"."""
    for infix, name in _COMPOUNDED.items():
        if infix in word[3:]:
            return (("modality", name),)
    suffix = next((ending for ending in _SUFFIXES if word.endswith(ending)), "")
    return tuple(one for one in lexicon().exact.get(suffix, ()) if one[0] == "modality")


def _modality(named: dict[str, None], words: list[str]) -> str:
    first = next((name for name in _ALWAYS_FIRST if name in named), "")
    if first or len(named) < 2:
        return first or next(iter(named), "")
    leading = [name for kind, name in lexicon().exact.get(words[0], ()) if kind == "modality"]
    if leading and (leading[0] in _LEADING or "MR" in named):
        return leading[0]
    if leading == ["XR"]:  # a radiograph of a line is no angiogram
        named = {name: None for name in named if name != "XA"}
    return next((name for name in _MODALITIES if name in named), "")


def _side(sides: tuple[str, ...], words: list[str], *, has_region: bool) -> str:
    if "B" in sides or ("L" in sides and "R" in sides):
        return "B"
    explicit = next((side for side in sides if side in "LR"), "")
    if explicit:
        return explicit
    if has_region and words[-1] in _LAST_WORD_SIDES:
        return _LAST_WORD_SIDES[words[-1]]
    return "B" if "P" in sides else ""
