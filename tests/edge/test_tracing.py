"""Traces of orders and of readers' misses: true, without a patient, and nothing where unwanted."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from teleprefetch.edge.archives.traced import TracedReads
from teleprefetch.edge.watching.tracing import Tracing, open_tracing
from teleprefetch.errors import InvalidPayloadError, OriginThrottledError, OriginUnavailableError
from tests.edge.fakes_for_node import ORIGIN, content, order, plan, pointer
from tests.edge.served import FRAME, Client
from tests.edge.test_server_misses import FakeMisses

trace_export = pytest.importorskip("opentelemetry.sdk.trace.export")
EVENT = "6a7e8feb-b491-4cf7-a9f1-bf3703467718"


@pytest.fixture
def exporter():
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    return InMemorySpanExporter()


@pytest.fixture
def tracing(exporter):
    from opentelemetry.sdk.trace import TracerProvider

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(trace_export.SimpleSpanProcessor(exporter))
    tracing = Tracing(provider)
    yield tracing
    tracing.close()


def said(span):
    return {
        name.removeprefix("teleprefetch."): value
        for name, value in span.attributes.items()
        if name.startswith("teleprefetch.")
    }


def warmed(warmer, documents, *series, **changed):
    warmer._tracing = changed.pop("tracing")
    stop = threading.Event()
    wanted = order(documents, plan(*series)).model_copy(update={"event_id": EVENT})
    return warmer.run(wanted, tell=lambda _report: None, stop=stop)


def test_an_order_is_a_span_with_one_for_each_group_that_it_fetches(
    warmer, documents, origin, tracing, exporter
):
    current, prior = origin.hold(pointer(1), 3), origin.hold(pointer(2), 2)
    outcome = warmed(warmer, documents, current, prior, tracing=tracing)
    spans = exporter.get_finished_spans()
    [root] = [one for one in spans if one.parent is None]
    groups = sorted((said(one) | {"name": one.name} for one in spans if one.parent), key=str)
    assert root.name == "warm order"
    assert said(root) == {
        "order": "p1",
        "event_id": EVENT,
        "node": "n1",
        "priority": "high",
        "series": 2,
        "outcome": "warm",
        "frames_planned": 5,
        "frames_verified": 5,
        "frames_fetched": 5,
        "fetched_bytes": outcome.report.bytes_fetched,
    }
    whole = {"failed": 0, "not_awaited": 0}
    assert [one for one in groups if one["name"] == "fetch metadata"] == [
        {"name": "fetch metadata", "asked": 2, "came": 2, "fetched_bytes": 0} | whole
    ]
    frames = [one for one in groups if one["name"] == "fetch frames"]
    sizes = {one["series"]: one.pop("fetched_bytes") for one in frames}
    assert sizes == {1: sum(len(content(n)) for n in (1, 2, 3)),
                     2: sum(len(content(n)) for n in (1, 2))}  # fmt: skip
    assert sorted(frames, key=lambda one: one["series"]) == [
        {"name": "fetch frames", "series": 1, "rank": 0, "asked": 3, "came": 3} | whole,
        {"name": "fetch frames", "series": 2, "rank": 1, "asked": 2, "came": 2} | whole,
    ]
    assert {one.parent.span_id for one in spans if one.parent} == {root.context.span_id}


def test_a_second_order_of_the_same_series_fetches_no_group(
    warmer, documents, origin, tracing, exporter
):
    series = origin.hold(pointer(1), 3)
    warmed(warmer, documents, series, tracing=None)
    warmed(warmer, documents, series, tracing=tracing)
    [span] = exporter.get_finished_spans()
    assert (said(span)["outcome"], said(span)["frames_fetched"]) == ("warm", 0)


def test_what_fails_and_what_is_given_up_is_counted(warmer, documents, origin, tracing, exporter):
    series = origin.hold(pointer(1), 40)

    def fail(_frame):
        raise OriginUnavailableError("down")

    origin.before_frame = fail
    outcome = warmed(warmer, documents, series, tracing=tracing)
    spans = {one.name: said(one) for one in exporter.get_finished_spans()}
    assert outcome.report.state == spans["warm order"]["outcome"] == "partial"
    group = spans["fetch frames"]
    assert group["failed"] >= 3
    assert group["failed"] + group["came"] + group["not_awaited"] == group["asked"] == 40


def test_an_order_that_breaks_has_its_span_ended_as_an_error(
    warmer, documents, origin, tracing, exporter, monkeypatch
):
    from opentelemetry.trace import StatusCode

    series = origin.hold(pointer(1), 2)

    def broken(*_given, **_named):
        raise ZeroDivisionError

    monkeypatch.setattr(warmer._needs.store, "want", broken)
    with pytest.raises(ZeroDivisionError):
        warmed(warmer, documents, series, tracing=tracing)
    [span] = exporter.get_finished_spans()
    assert said(span)["outcome"] == "broken"
    assert span.status.status_code is StatusCode.ERROR


def test_nothing_of_a_patient_or_a_study_is_in_a_trace(
    warmer, documents, origin, tracing, exporter, store, serve_store
):
    warmed(warmer, documents, origin.hold(pointer(2), 2), tracing=tracing)
    client = Client(serve_store(misses=TracedReads(FakeMisses(store), tracing)).port)
    assert client(FRAME, Accept="image/jphc").status == 200
    client.close()
    text = json.dumps([json.loads(one.to_json()) for one in exporter.get_finished_spans()])
    for personal in ("Doe", "P1", "Thorax", "20260301", "1.2.1", "1.2.2", ORIGIN):
        assert personal not in text.replace("teleprefetch.", ""), personal


def test_a_hit_begins_no_span_and_a_miss_begins_one(store, serve_store, tracing, exporter):
    misses = FakeMisses(store)
    client = Client(serve_store(misses=TracedReads(misses, tracing)).port)
    assert client(FRAME, Accept="image/jphc").content == content(2)
    [span] = exporter.get_finished_spans()
    assert (span.name, said(span)) == (
        "reader's miss",
        {"what": "frames", "asked": 1, "outcome": "found", "size_bytes": len(content(2))},
    )
    begun = []
    tracing.begin = lambda *given, **named: begun.append((given, named))
    for _ in range(20):
        assert client(FRAME, Accept="image/jphc").content == content(2)
    client.close()
    assert begun == []


@pytest.mark.parametrize("error", [OriginUnavailableError, OriginThrottledError])
def test_a_miss_that_fails_says_so_by_the_name_of_the_error(store, tracing, exporter, error):
    misses = FakeMisses(store)

    def fail():
        raise error("1.2.3 of Doe^Jane")

    misses.before = fail
    reads = TracedReads(misses, tracing)
    for ask in (
        lambda: reads.frames("1.2.1", "1.2.1.1", "1.2.1.1.1", [1], bearer=""),
        lambda: reads.metadata("1.2.1", "1.2.1.1", bearer=""),
        lambda: reads.study("1.2.1", bearer=""),
    ):
        with pytest.raises(error):
            ask()
    spans = exporter.get_finished_spans()
    assert [said(one)["outcome"] for one in spans] == [error.__name__] * 3
    assert [one.status.description for one in spans] == [error.__name__] * 3
    assert all(not one.events for one in spans)
    assert reads.retry_after_s() == 7


class Collector(HTTPServer):
    """Takes what is exported, as a collector does."""

    def __init__(self):
        self.taken = []
        super().__init__(("127.0.0.1", 0), _Taking)


class _Taking(BaseHTTPRequestHandler):
    def do_POST(self):
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
            ExportTraceServiceRequest,
        )

        body = self.rfile.read(int(self.headers["Content-Length"]))
        request = ExportTraceServiceRequest()
        request.ParseFromString(body)
        self.server.taken.append((self.path, request))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_given):
        pass


@pytest.fixture
def collector():
    collector = Collector()
    thread = threading.Thread(target=collector.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield collector
    collector.shutdown()
    thread.join()
    collector.server_close()


def test_a_collector_that_the_environment_names_gets_the_spans(collector, monkeypatch):
    monkeypatch.setenv(
        "OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_address[1]}"
    )
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
    tracing = open_tracing(os.environ, node="n1")
    span = tracing.begin("warm order", order="p1", event_id=None)
    span.begin("fetch metadata", asked=2).end(came=2)
    span.end(error="NodeUnavailableError", outcome="partial")
    tracing.close()
    [(path, request)] = collector.taken
    assert path == "/v1/traces"
    [resource] = request.resource_spans
    about = {one.key: one.value.string_value for one in resource.resource.attributes}
    assert about["service.name"] == "teleprefetch-node"
    assert about["service.instance.id"] == "n1"
    assert about["deployment.environment"] == "test"
    part, whole = resource.scope_spans[0].spans
    assert (part.name, whole.name) == ("fetch metadata", "warm order")
    assert part.parent_span_id == whole.span_id
    assert [one.key for one in whole.attributes] == ["teleprefetch.order", "teleprefetch.outcome"]
    assert whole.status.message == "NodeUnavailableError"


@pytest.mark.parametrize(
    "environment",
    [{}, {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
     {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"}],
)  # fmt: skip
def test_without_a_collector_there_is_no_tracing(environment):
    assert open_tracing(environment, node="n1") is None


def test_without_a_collector_nothing_of_opentelemetry_is_imported():
    code = (
        "import sys, teleprefetch.edge.__main__, teleprefetch.edge.sibling\n"
        "from teleprefetch.edge.watching.tracing import open_tracing\n"
        "assert open_tracing({}, node='n1') is None\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_another_protocol_is_refused_by_the_name_of_the_variable():
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
    }
    with pytest.raises(InvalidPayloadError, match="OTEL_EXPORTER_OTLP_PROTOCOL: only http"):
        open_tracing(environment, node="n1")


def test_a_collector_without_the_extra_is_a_setting_that_is_wrong(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(InvalidPayloadError, match="extra `telemetry`"):
        open_tracing({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, node="n1")
