"""Traces over OpenTelemetry, if the environment names a collector; else nothing of it is imported.

The variables are OpenTelemetry's own (its specification's "Environment Variable Specification" and
"OpenTelemetry Protocol Exporter"): OTEL_EXPORTER_OTLP_ENDPOINT and its like, OTEL_SERVICE_NAME,
OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER, OTEL_SDK_DISABLED. Spans go out in batches, on a
thread of their own. They tell ids of orders and events, counts and outcomes: nothing of a patient,
and no study.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from teleprefetch.errors import InvalidPayloadError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span as OtelSpan
    from opentelemetry.trace import Tracer

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_OVER_HTTP: Final = "http/protobuf"
Said = str | int | bool


class Span:
    """Something that takes time; any thread may end it."""

    def __init__(self, tracer: "Tracer", span: "OtelSpan") -> None:
        self._tracer = tracer
        self._span = span

    def begin(self, name: str, **said: Said | None) -> "Span":
        """A part of it."""
        from opentelemetry import trace

        context = trace.set_span_in_context(self._span)
        span = self._tracer.start_span(name, context=context, attributes=_attributes(said))
        return Span(self._tracer, span)

    def end(self, *, error: str = "", **said: Said | None) -> None:
        """End it, with what came of it; `error` is the name of an error, never its words."""
        from opentelemetry.trace import StatusCode

        self._span.set_attributes(_attributes(said))
        if error:
            self._span.set_status(StatusCode.ERROR, error)
        self._span.end()


class Tracing:
    """Begins spans.

    Args:
        provider: where they go.
    """

    def __init__(self, provider: "TracerProvider") -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("teleprefetch")

    def begin(self, name: str, **said: Said | None) -> Span:
        """A span that is no part of another."""
        return Span(self._tracer, self._tracer.start_span(name, attributes=_attributes(said)))

    def close(self) -> None:
        """Send what is not sent yet, and end."""
        self._provider.shutdown()


def open_tracing(environment: Mapping[str, str], *, node: str) -> Tracing | None:
    """Tracing by the environment; None if no collector is named, or OpenTelemetry is disabled.

    Raises:
        InvalidPayloadError: a collector is named, and the package's extra `telemetry` is not
            installed, or another protocol is wanted.
    """
    endpoint = next((name for name in _ENDPOINTS if environment.get(name)), None)
    if endpoint is None or environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    for name in _PROTOCOLS:
        if environment.get(name, _OVER_HTTP) not in {"", _OVER_HTTP}:
            raise InvalidPayloadError(f"{name}: only {_OVER_HTTP}")
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise InvalidPayloadError(
            f"{endpoint}: needs the package's extra `telemetry`, which is not installed"
        ) from None
    about = {"service.instance.id": node}
    if not environment.get("OTEL_SERVICE_NAME"):
        about["service.name"] = "teleprefetch-node"
    provider = TracerProvider(resource=Resource.create(about), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider)


def _attributes(said: Mapping[str, Said | None]) -> dict[str, Said]:
    return {f"teleprefetch.{name}": value for name, value in said.items() if value is not None}
