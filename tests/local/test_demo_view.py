"""local.demo_view: the same facts as a picture on a terminal and as lines everywhere else."""

import io
import threading
from datetime import UTC, datetime, timedelta

import pytest
from rich.cells import cell_len
from rich.console import Console

from teleprefetch.local.demo_state import (
    DemoState,
    Fate,
    NodeProgress,
    Notice,
    PriorRow,
    Verification,
)
from teleprefetch.local.demo_view import DemoView, picture

START = datetime(2026, 3, 2, 9, 15, tzinfo=UTC)


def later(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def a_prior(rank: int, *, fate: Fate = "taken", description: str = "CT CHEST W/ CON") -> PriorRow:
    return PriorRow(
        rank, "20250702", "CT", description, 96.4, "same region CHEST +55, 8 months old +6", fate
    )


def a_node(name: str = "edge-a", *, warmed: int = 253, verified: int = 253) -> NodeProgress:
    return NodeProgress(name, warmed, 253, verified, warmed * 216_000, 55_000_000)


def a_state() -> DemoState:
    return (
        DemoState()
        .event_seen(START, "Study Assigned")
        .assigned(at=START, deadline=later(60))
        .machine_state(machine="prefetch", execution="p-1f0c", state="RankPriors")
        .machine_state(machine="prefetch", execution="p-1f0c", state="WarmNode")
        .priors(tuple(a_prior(rank) for rank in range(12, 0, -1)))
        .progress(a_node(warmed=10, verified=2))
        .progress(a_node(warmed=120, verified=100))
        .notice(Notice("warm", later(18.7), later(60), "every planned frame is proven"))
        .verification(compared=253, differing=0)
    )


def rendered(state: DemoState, *, width: int = 80, height: int | None = None) -> list[str]:
    console = Console(file=io.StringIO(), width=width, record=True)
    console.print(picture(state, now=later(19), width=width, height=height))
    return console.export_text().splitlines()


def plain_view(width: int = 80) -> tuple[DemoView, io.StringIO]:
    out = io.StringIO()
    return DemoView(Console(file=out, width=width), clock=lambda: START), out


def test_a_state_is_never_changed_in_place() -> None:
    before = DemoState()

    after = before.event_seen(START, "Study Assigned")

    assert before == DemoState()
    assert after.events[0].detail_type == "Study Assigned"


def test_an_execution_shows_only_the_state_it_is_in() -> None:
    text = "\n".join(rendered(a_state()))

    assert "WarmNode" in text
    assert "RankPriors" not in text


def test_a_nodes_last_report_replaces_the_one_before() -> None:
    text = "\n".join(rendered(a_state()))

    assert "120/253 frames 100 verified 25.9/~55.0 MB" in text
    assert "10/253" not in text


def test_priors_are_shown_by_rank() -> None:
    ranks = [int(line.split()[1]) for line in rendered(a_state()) if "CT CHEST W/ CON" in line]

    assert ranks == list(range(1, 13))


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    assert all(cell_len(line) <= width for line in rendered(a_state(), width=width))


@pytest.mark.parametrize(("width", "height"), [(80, 24), (80, 40), (120, 24), (120, 50)])
def test_the_notice_and_the_proof_are_seen_in_a_low_terminal(width: int, height: int) -> None:
    lines = rendered(a_state(), width=width, height=height)

    assert len(lines) <= height
    assert any("Notice released 41.3 s before its deadline: warm" in line for line in lines)
    assert lines[-1] == "Verified: 253 frames compared with the archive, none differs"


def test_priors_that_do_not_fit_are_counted() -> None:
    text = "\n".join(rendered(a_state(), height=24))

    shown = text.count("CT CHEST W/ CON")
    assert 0 < shown < 12
    assert f"and {12 - shown} more" in text


def test_the_time_left_stops_when_the_notice_goes_out() -> None:
    waiting = DemoState().assigned(at=START, deadline=later(60))

    assert "41.0 s left" in "\n".join(rendered(waiting))
    late = Notice("deadline", later(60.4), later(60), "")
    assert "0.4 s over" in "\n".join(rendered(waiting.notice(late)))


@pytest.mark.parametrize(
    ("released_s", "sentence"),
    [
        (18.7, "Notice released 41.3 s before its deadline: warm (both nodes)"),
        (60.0, "Notice released at its deadline: warm (both nodes)"),
        (61.5, "Notice released 1.5 s after its deadline: warm (both nodes)"),
    ],
)
def test_the_notice_says_when_it_went_out(released_s: float, sentence: str) -> None:
    assert Notice("warm", later(released_s), later(60), "both nodes").sentence == sentence


def test_nothing_compared_is_no_proof() -> None:
    assert Verification(253, 0).passed
    assert not Verification(0, 0).passed
    assert not Verification(253, 2).passed
    assert Verification(253, 2).sentence == "Verification failed: 2 of 253 frames differ"


def test_markup_and_control_characters_of_a_description_are_only_text() -> None:
    state = DemoState().priors((a_prior(1, description="[red]A\x1b[31mB\nC"),))

    text = "\n".join(rendered(state, width=120))

    assert "[red]A [31mB C" in text
    assert "\x1b" not in text


def test_without_a_terminal_each_thing_is_one_line() -> None:
    view, out = plain_view()

    with view:
        view.event_seen(START, "Study Assigned")
        view.assigned(at=START, deadline=later(60))
        view.machine_state(machine="prefetch", execution="p-1f0c", state="RankPriors")
        view.machine_state(machine="prefetch", execution="p-1f0c", state="RankPriors")
        view.priors((a_prior(2), a_prior(1)))
        view.priors((a_prior(1, fate="warm"), a_prior(2)))
        view.progress(a_node(warmed=60, verified=60))
        view.notice(reason="warm", released_at=later(20), deadline=later(60), why="")
        view.verification(compared=253, differing=0)

    reason = "CT CHEST W/ CON; 96; same region CHEST +55, 8 months old +6"
    assert out.getvalue().splitlines() == [
        "09:15:00 event: Study Assigned",
        "notice due at 09:16:00",
        "prefetch p-1f0c: RankPriors",
        f"prior 1, taken: 2025-07-02 CT {reason}",
        f"prior 2, taken: 2025-07-02 CT {reason}",
        f"prior 1, warm: 2025-07-02 CT {reason}",
        "node edge-a: 60 of 253 frames, 60 verified, 13.0 of about 55.0 MB",
        "Notice released 40.0 s before its deadline: warm",
        "Verified: 253 frames compared with the archive, none differs",
    ]


def test_progress_is_told_a_quarter_at_a_time_and_when_proven() -> None:
    view, out = plain_view()

    for warmed in range(254):
        view.progress(a_node(warmed=warmed, verified=0))
    view.progress(a_node(warmed=253, verified=253))

    assert [line.split()[2] for line in out.getvalue().splitlines()] == [
        "0", "64", "127", "190", "253", "253",
    ]  # fmt: skip


def test_updates_from_many_threads_all_arrive() -> None:
    view, out = plain_view()

    def tell(name: int) -> None:
        for number in range(50):
            view.event_seen(START, f"{name}/{number}")

    threads = [threading.Thread(target=tell, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(view.state.events) == 400
    assert len(set(out.getvalue().splitlines())) == 400


def terminal_output(monkeypatch: pytest.MonkeyPatch, *, no_color: bool) -> str:
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    out = io.StringIO()
    console = Console(file=out, width=80, height=24, force_terminal=True)
    with DemoView(console, clock=lambda: later(19)) as view:
        view.machine_state(machine="import", execution="job", state="SUCCEEDED")
        view.priors(tuple(a_prior(rank) for rank in range(1, 31)))
        view.verification(compared=253, differing=0)
    return out.getvalue()


def test_on_a_terminal_the_last_picture_stays_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    text = terminal_output(monkeypatch, no_color=False)

    last = text[text.rindex("Events (0)") :]
    assert last.count("CT CHEST W/ CON") == 30
    assert "none differs" in last
    assert "\x1b[32m" in last  # green


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    text = terminal_output(monkeypatch, no_color=True)

    assert "SUCCEEDED" in text
    assert "\x1b[32m" not in text
    assert "\x1b[36m" not in text


def test_a_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    out = io.StringIO()

    with DemoView(Console(file=out, force_terminal=True), clock=lambda: START) as view:
        view.event_seen(START, "Study Assigned")

    assert out.getvalue() == "09:15:00 event: Study Assigned\n"
