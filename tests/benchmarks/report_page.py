"""The report as a page of Markdown with plots, made of saved results and nothing else."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from tests.benchmarks.report_catalogue import CATALOGUE, Benchmark, Figure
from tests.benchmarks.report_plots import Row, plot

Results = Mapping[str, Any]
_HEAD: Final = """# Benchmarks

Made by `uv run python -m tests.benchmarks --report` from `benchmarks/results.json`, which holds
every figure; a test fails when this page is not made of it. A ratio is of two things measured on
one machine in one run, in turn, and is the median of the rounds; beside it stand the least and the
most. What could not be measured is said where it would stand.

```console
uv run python -m tests.benchmarks --report                         # all, about 45 minutes; as root
uv run python -m tests.benchmarks --report --only serving,warming  # these anew, others as they are
uv run python -m tests.benchmarks --report --from results.json     # the page and plots alone
```
"""
_QUICK: Final = (
    "**Some of this was run with `--quick`: the smallest settings, to see that it runs. Such "
    "figures measure nothing, and hold nothing.**"
)


def page(results: Results) -> str:
    """The page."""
    found = results.get("benchmarks", {})
    parts = [_HEAD, _machines(found)]
    if any(one.get("quick") for one in found.values()):
        parts.append(_QUICK + "\n")
    parts += ["## Held, and not\n", _summary(found)]
    for benchmark in CATALOGUE:
        parts += _section(benchmark, found.get(benchmark.name))
    return "\n".join(parts)


def plots(results: Results) -> dict[str, str]:
    """The plot of each benchmark that has ratios, by the name of its file."""
    made = {}
    for benchmark in CATALOGUE:
        ran = results.get("benchmarks", {}).get(benchmark.name) or {}
        rows = _rows(benchmark, ran)
        if rows:
            made[f"{benchmark.name}.svg"] = plot(benchmark.title, rows)
    return made


def verdict(figure: Figure, ran: Mapping[str, Any] | None) -> str:
    """Whether a figure of a run holds its bar, in a word."""
    value = None if ran is None else figure.of(ran.get("figures", {}))
    if ran is None or value is None:
        return "not measured"
    if ran.get("quick"):
        return "quick run"
    held = figure.is_held(value)
    return {True: "held", False: "**not held**", None: ""}[held]


def _machines(found: Mapping[str, Any]) -> str:
    """Every machine that something was run on."""
    told = [_machine(one["machine"]) for one in found.values() if "machine" in one]
    return "\n".join([*dict.fromkeys(told), ""]) if told else "Nothing has been run yet.\n"


def _machine(told: Mapping[str, Any]) -> str:
    memory = f"{told['memory_gib']} GiB" if told.get("memory_gib") else "unknown memory"
    return (
        f"Machine: {told['cpu']}, {told['cores']} cores, {memory}, {told['system']}, "
        f"Python {told['python']}, {told['congestion_control']}.\n"
    )


def _summary(found: Mapping[str, Any]) -> str:
    lines = ["| benchmark | bars held | not held | not measured |", "| --- | --- | --- | --- |"]
    for benchmark in CATALOGUE:
        ran = found.get(benchmark.name)
        words = [verdict(one, ran) for one in benchmark.figures if one.bar is not None]
        if not words:
            continue
        held, missed = words.count("held"), words.count("**not held**")
        link = f"[{benchmark.title}](#{_anchor(benchmark.title)})"
        rest = len(words) - held - missed
        lines.append(f"| {link} | {held} of {len(words)} | {missed} | {rest} |")
    return "\n".join([*lines, ""])


def _section(benchmark: Benchmark, ran: Mapping[str, Any] | None) -> Iterator[str]:
    yield f"## {benchmark.title}\n\n{benchmark.told}\n"
    command = " ".join(("uv run python -m", benchmark.module, *benchmark.arguments, "--json"))
    yield f"`{command}`\n"
    if ran is None:
        yield "Not run yet.\n"
        return
    yield _circumstances(ran)
    for word in ("skipped", "failed"):
        if word in ran:
            yield f"**{word.capitalize()}**: {ran[word]}.\n"
    yield from (f"**Without**: {one}.\n" for one in ran.get("lacking", ()))
    figures = ran.get("figures", {})
    if not figures:
        return
    if _rows(benchmark, ran):
        yield f"![{benchmark.title}](benchmarks/{benchmark.name}.svg)\n"
    yield _table(benchmark, ran)


def _circumstances(ran: Mapping[str, Any]) -> str:
    words = [f"Run {ran['at']}"]
    words += [f"{ran['seconds']} s"] if "seconds" in ran else []
    words += [f"{name} {version}" for name, version in ran.get("versions", {}).items()]
    figures = ran.get("figures", {})
    words += [f"load before {ran['machine']['load_before']}"] if "machine" in ran else []
    words += [f"{figures[name]} {name}" for name in ("rounds", "runs") if _is_count(figures, name)]
    return "; ".join(words) + ".\n"


def _table(benchmark: Benchmark, ran: Mapping[str, Any]) -> str:
    figures = ran["figures"]
    lines = ["| figure | median | least - most | asked | |", "| --- | --- | --- | --- | --- |"]
    for one in benchmark.figures:
        value = one.of(figures)
        shown = "-" if value is None else f"{_number(value)} {one.unit}".strip()
        apart = _spread(one, figures)
        rounds = f"{_number(apart[0])} - {_number(apart[1])}" if apart else ""
        asked = "" if one.bar is None else f"{one.sense} {one.bar:g}"
        lines.append(f"| {one.told} | {shown} | {rounds} | {asked} | {verdict(one, ran)} |")
    return "\n".join([*lines, ""])


def _rows(benchmark: Benchmark, ran: Mapping[str, Any]) -> list[Row]:
    """The ratios of a benchmark: what can stand on one axis."""
    figures = ran.get("figures", {})
    rows = []
    for one in benchmark.figures:
        value = one.of(figures)
        is_held = None if value is None or ran.get("quick") else one.is_held(value)
        if value is not None and one.unit == "x":
            rows.append(Row(one.told, value, _spread(one, figures), one.bar, is_held))
    return rows


def _spread(figure: Figure, figures: Mapping[str, Any]) -> tuple[float, float] | None:
    found = figures.get("spread", {}).get(figure.path)
    return (float(found[0]), float(found[1])) if found else None


def _is_count(figures: Mapping[str, Any], name: str) -> bool:
    return isinstance(figures.get(name), int)


def _anchor(title: str) -> str:
    kept = "".join(one for one in title.lower() if one.isalnum() or one in "-_ ")
    return kept.replace(" ", "-")


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
