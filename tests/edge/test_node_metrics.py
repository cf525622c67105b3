"""What a node writes for CloudWatch: lines in its format, and figures that are true."""

import errno
import json
import os
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit
from hypothesis import given
from hypothesis import strategies as st

from teleprefetch.domain.audit.record import AuditRecord
from teleprefetch.edge.audit import lane as lane_module
from teleprefetch.edge.audit.lag import Lag
from teleprefetch.edge.audit.opening import Audit
from teleprefetch.edge.watching.board import Board, Figure
from teleprefetch.edge.watching.emf import Measure, MetricsLog, metrics_line
from teleprefetch.edge.watching.lanes import ANSWERS, WARMING, tell_audit
from teleprefetch.edge.watching.measures import Measures, Sources
from teleprefetch.errors import InvalidPayloadError, NodeUnavailableError, OriginUnavailableError
from teleprefetch.settings import NodeSettings, from_environment
from tests.edge.fakes_for_node import eventually

AT = datetime(2026, 11, 25, 8, 30, tzinfo=UTC)


def settings(folder: Path, **changes: str) -> NodeSettings:
    environment = {
        "NODE": "n1",
        "QUEUE_URL": "http://127.0.0.1:1/queue",
        "ORIGINS": "{}",
        "TABLE_NAME": "table",
        "STORE_PATH": str(folder / "store"),
        "STORE_BYTES": "1000000",
    }
    return from_environment(NodeSettings, environment | changes)


def sources(board: Board, folder: Path, **changes: object) -> Sources:
    given: dict[str, object] = {
        "board": board,
        "used_bytes": lambda: 250_000,
        "limit_bytes": 1_000_000,
        "folders": (folder,),
        "quota_share": lambda _seconds: 0.5,
        "orders_taken": lambda: 7,
        "orders_waiting": lambda: 3,
        "fetches_waiting": lambda: 1200,
    }
    return Sources(**(given | changes))  # type: ignore[arg-type]


def values(measures: Measures) -> dict[str, float]:
    return {name: one.value for name, one in measures.take().items()}


@pytest.fixture
def board():
    board = Board(slots=2)
    yield board
    board.close()


def test_a_line_is_what_powertools_writes_for_the_same_figures():
    line = json.loads(
        metrics_line(
            {"AuditGap": Measure(2, "Count"), "QuotaShare": Measure(12.5, "Percent")},
            namespace="Teleprefetch",
            node="n1",
            at=AT,
        )
    )
    theirs = EphemeralMetrics(namespace="Teleprefetch")
    theirs.add_metric("AuditGap", MetricUnit.Count, 2)
    theirs.add_metric("QuotaShare", MetricUnit.Percent, 12.5)
    theirs.add_dimension("node", "n1")
    expected = theirs.serialize_metric_set()
    [directive] = expected["_aws"]["CloudWatchMetrics"]
    [told] = line["_aws"]["CloudWatchMetrics"]
    assert told["Namespace"] == directive["Namespace"]
    assert told["Dimensions"] == directive["Dimensions"]
    assert told["Metrics"] == directive["Metrics"]
    assert set(line) == set(expected)
    assert (line["AuditGap"], line["QuotaShare"], line["node"]) == (2, 12.5, "n1")
    assert line["_aws"]["Timestamp"] == 1_795_595_400_000


@given(st.dictionaries(st.from_regex(r"[A-Z][a-z]{1,20}", fullmatch=True), st.integers(0, 1 << 60)))
def test_each_metric_that_a_line_names_is_in_it(figures):
    measures = {name: Measure(value, "Count") for name, value in figures.items()}
    text = metrics_line(measures, namespace="N", node="n1", at=AT)
    line = json.loads(text)
    assert text.count("\n") == 1
    [directive] = line["_aws"]["CloudWatchMetrics"]
    assert {one["Name"]: line[one["Name"]] for one in directive["Metrics"]} == figures


def test_the_measures_are_those_of_the_board_and_its_surroundings(board, tmp_path):
    board.put(ANSWERS.owed, 4)
    board.put(WARMING.owed, 2)
    board.put(Figure.READS_THROTTLED, 5)
    measures = Measures(sources(board, tmp_path))
    told = values(measures)
    disk = shutil.disk_usage(tmp_path)
    assert told.pop("DiskFull") == pytest.approx(100 * disk.used / (disk.used + disk.free), abs=1.0)
    assert told == {
        "AuditGap": 0,
        "AuditDenied": 0,
        "AuditOwed": 6,
        "QuotaShare": 50.0,
        "ReadsThrottled": 5,
        "StoreFull": 25.0,
        "OrdersTaken": 7,
        "OrdersWaiting": 3,
        "FetchesWaiting": 1200,
    }
    assert values(measures)["ReadsThrottled"] == 0


def test_requests_that_were_denied_are_a_gap_also_when_it_is_over(board, tmp_path):
    measures = Measures(sources(board, tmp_path))
    board.put(ANSWERS.denied, 9)
    told = values(measures)
    assert (told["AuditGap"], told["AuditDenied"]) == (1, 9)
    assert values(measures)["AuditGap"] == 0


def test_each_lane_with_a_gap_counts_once(board, tmp_path):
    measures = Measures(sources(board, tmp_path))
    board.put(ANSWERS.gap, 1)
    board.put(WARMING.gap, 1)
    assert values(measures)["AuditGap"] == 2


def test_the_quota_is_asked_for_the_time_since_it_was_last_asked(board, tmp_path):
    asked: list[float] = []
    times = iter((100.0, 160.0, 280.0))

    def share(seconds: float) -> float:
        asked.append(seconds)
        return 0.0

    measures = Measures(
        sources(board, tmp_path, quota_share=share), monotonic_s=lambda: next(times)
    )
    measures.take()
    measures.take()
    assert asked == [60.0, 120.0]


def test_a_lane_that_cannot_be_written_is_a_gap_and_tells_what_it_owes(
    board, tmp_path, monkeypatch
):
    audit = Audit(settings(tmp_path), "serve-0")
    audit.log.commit(AuditRecord(kind="served"))
    tell_audit(board, audit, ANSWERS)
    assert board.total(ANSWERS.gap) == 0

    def refuse(*_given):
        raise OSError(errno.EIO, "injected")

    with monkeypatch.context() as broken:
        broken.setattr(lane_module.os, "pwrite", refuse)
        for kind in ("served", "purged"):
            with pytest.raises(NodeUnavailableError):
                audit.log.commit(AuditRecord(kind=kind))
        tell_audit(board, audit, ANSWERS)
        told = [board.total(figure) for figure in ANSWERS]
        assert told[:4] == [1, 1, 1, 1]  # failing, a gap, the purge is owed, the answer was denied
    audit.log.try_again()
    eventually(lambda: not audit.log.is_failing)
    tell_audit(board, audit, ANSWERS)
    assert [board.total(figure) for figure in ANSWERS][:4] == [0, 0, 0, 1]
    audit.close()


def test_a_lane_lags_from_the_moment_that_nothing_is_kept_elsewhere():
    now_s = 1000.0
    lag = Lag(lambda: now_s)
    assert lag.seconds(is_behind=False, kept=3) == 0
    now_s += 3600  # an hour without any record
    assert lag.seconds(is_behind=True, kept=3) == 0
    now_s += 299
    assert lag.seconds(is_behind=True, kept=3) == 299
    assert lag.seconds(is_behind=True, kept=4) == 0  # the sink took one, and more came
    now_s += 10
    assert lag.seconds(is_behind=True, kept=4) == 10
    assert lag.seconds(is_behind=False, kept=5) == 0


def test_a_lane_whose_checkpoints_nobody_takes_is_a_gap_after_five_minutes(tmp_path, monkeypatch):
    class Away:
        def put(self, **_given):
            raise OriginUnavailableError("checkpoints: away")

        def after(self, **_given):
            return ()

    now_s = 0.0
    monkeypatch.setattr("teleprefetch.edge.audit.opening._sink", lambda _settings: Away())
    monkeypatch.setattr("teleprefetch.edge.audit.opening.Lag", lambda: Lag(lambda: now_s))
    audit = Audit(settings(tmp_path), "serve-0")
    eventually(lambda: audit.unsent)
    assert not audit.has_gap
    now_s = 301.0
    assert audit.has_gap
    audit.close()


def written_by(take, *, every_s: float, until) -> list[dict]:
    reading, writing = os.pipe()
    log = MetricsLog(
        take, namespace="N", node="n1", clock=lambda: AT, at_thread_end=lambda: None,
        descriptor=writing, every_s=every_s,
    )  # fmt: skip
    log.start()
    eventually(until)
    log.close()
    os.close(writing)
    with os.fdopen(reading) as file:
        return [json.loads(line) for line in file]


def test_a_line_is_written_each_time_and_the_rest_at_the_end():
    taken: list[int] = []

    def take() -> dict[str, Measure]:
        taken.append(1)
        return {"Taken": Measure(len(taken), "Count")}

    lines = written_by(take, every_s=0.001, until=lambda: len(taken) >= 3)
    assert [line["Taken"] for line in lines] == list(range(1, len(taken) + 1))
    assert len(written_by(take, every_s=3600, until=lambda: True)) == 1


def test_a_minute_that_cannot_be_measured_is_told_and_the_next_one_is_written(caplog):
    def take() -> dict[str, Measure]:
        if not caplog.records:
            raise NodeUnavailableError("store: locked")
        return {"Taken": Measure(1, "Count")}

    lines = written_by(take, every_s=0.001, until=lambda: caplog.records)
    assert lines
    assert "not written: NodeUnavailableError" in caplog.text


@pytest.mark.parametrize("name", ["Teleprefetch", "site/teleprefetch-1", ""])
def test_a_namespace_is_what_cloudwatch_takes(tmp_path, name):
    assert settings(tmp_path, METRICS_NAMESPACE=name).metrics_namespace == name


@pytest.mark.parametrize("name", [":begins", "with spaces", "a" * 256])
def test_a_namespace_that_cloudwatch_does_not_take_is_refused(tmp_path, name):
    with pytest.raises(InvalidPayloadError, match="metrics_namespace"):
        settings(tmp_path, METRICS_NAMESPACE=name)


def test_prometheus_tells_of_both_lanes(board):
    board.put(ANSWERS.unsent, 2)
    board.put(WARMING.unsent, 5)
    text = "\n".join(board.prometheus())
    assert re.search(r"^teleprefetch_audit_checkpoints_unsent 2$", text, re.MULTILINE)
    assert re.search(r"^teleprefetch_worker_audit_checkpoints_unsent 5$", text, re.MULTILINE)
