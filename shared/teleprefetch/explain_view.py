"""An explanation as a person reads it: a table that fits 80 columns, and what rules change."""

from collections.abc import Iterable

from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from teleprefetch.domain.explain import ExplainedPrior, Explanation, RuleEffect, Seen

_MB = 1_000_000
_COLOURS = {"taken": "green", "partial": "yellow", "left out": "dim"}


def tell(console: Console, explained: Explanation) -> None:
    """Print the current study, the table of its priors, and what the plan comes to."""
    console.print(_current(explained))
    if explained.priors:
        console.print(_table(explained.priors))
    else:
        console.print("The patient has no other study.")
    for doubt in explained.doubtful:
        console.print(_change(f"doubtful, not warmed ({doubt.reason})", doubt.seen, "red"))
    console.print(_sum(explained))


def tell_effect(
    console: Console, effect: RuleEffect, *, after: Explanation, new: str, old: str
) -> None:
    """Print what enters the plan under the new rules, what leaves it, and what moves."""
    seen = {prior.seen.study_instance_uid: prior.seen for prior in after.priors}
    console.print()
    console.print(_line(f"What {new} changes against {old}", "bold"))
    for verb, colour, priors in (
        ("enters", "green", effect.enters),
        ("leaves", "red", effect.leaves),
    ):
        for prior in priors:
            console.print(_change(verb, prior.seen, colour))
    for uid, old_rank, new_rank in effect.moves:
        console.print(_change(f"moves from {old_rank} to {new_rank}", seen[uid], ""))
    if not (effect.enters or effect.leaves or effect.moves):
        console.print("  nothing")


def _change(what: str, seen: Seen, colour: str) -> Text:
    lines = (f"{what}: {_date(seen)} {_description(seen)}", f"  {seen.study_instance_uid}")
    return Text("\n".join(f"  {line}" for line in lines), style=colour)


def _current(explained: Explanation) -> Group:
    seen = explained.current
    read = [
        f"regions {' '.join(seen.regions) or 'unknown'} ({seen.regions_from})",
        f"modality {seen.modality or 'unknown'} ({seen.modality_from})",
        *([f"side {seen.side}"] if seen.side else []),
    ]
    name = f"{_date(seen)} {_description(seen)}"
    lines = [
        _line(name, "bold"),
        _line(seen.study_instance_uid, ""),
        _line(f"read as {', '.join(read)}", ""),
    ]
    if explained.current_reason:
        lines.append(_line(f"not whole in the plan: {explained.current_reason}", "yellow"))
    return Group(*lines)


def _table(priors: Iterable[ExplainedPrior]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), expand=False)
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("date", no_wrap=True)
    table.add_column("prior, and why", ratio=1, overflow="fold")
    table.add_column("points", justify="right", no_wrap=True)
    table.add_column("P", justify="right", no_wrap=True)
    table.add_column("MB", justify="right", no_wrap=True)
    for prior in priors:
        colour = _COLOURS[prior.fate]
        table.add_row(
            Text(str(prior.rank)),
            Text(_date(prior.seen)),
            _why(prior),
            Text(f"{prior.score:.1f}"),
            Text(f"{prior.probability:.2f}"),
            Text(f"{prior.planned_bytes / _MB:.1f}" if prior.planned_bytes else "-", style=colour),
        )
    return table


def _why(prior: ExplainedPrior) -> Text:
    text = Text(_description(prior.seen), style="bold" if prior.fate != "left out" else "")
    for term in prior.terms:
        text.append(f"\n{term.points:+6.1f} {_plain(term.reason)}", style="not bold")
    if prior.reason:
        told = prior.reason if prior.fate == "partial" else f"left out: {prior.reason}"
        text.append(f"\n{_plain(told)}", style=f"not bold {_COLOURS[prior.fate]}")
    return text


def _sum(explained: Explanation) -> Text:
    taken = sum(prior.fate != "left out" for prior in explained.priors)
    return _line(
        f"{taken} of {len(explained.priors)} priors in the plan, "
        f"{explained.planned_bytes / _MB:.1f} of {explained.budget_bytes / _MB:.1f} MB with the "
        f"study's own {explained.current_planned_bytes / _MB:.1f}; "
        f"floor {explained.floor:.0%}",
        "",
    )


def _date(seen: Seen) -> str:
    day = seen.study_date
    is_day = len(day) == 8 and day.isdecimal()
    return f"{day[:4]}-{day[4:6]}-{day[6:]}" if is_day else _plain(day) or "no date"


def _description(seen: Seen) -> str:
    words = _plain(seen.study_description) or "no description"
    return f"{words} [{seen.modality}]" if seen.modality else words


def _plain(text: str) -> str:
    """The text without control characters: an archive's words may not steer the terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in text).strip()


def _line(text: str, style: str) -> Text:
    return Text(_plain(text), style=style)
