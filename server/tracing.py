"""Traces of turns, for OpenTelemetry: when each stage was done, and never what was said.

The one module that knows the SDK, and imported only when `ANTIPHON_OTEL_ENDPOINT` asks for it.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from importlib.metadata import version

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Status, StatusCode, set_span_in_context

from pipeline.events import Latency, ReplyDone
from session.records import Identity

FLUSH_MS = 3_000
"""The longest that the end of the server waits for the last spans to leave."""
NS_PER_MS = 1_000_000


class Tracing:
    """Makes a trace of each turn when its reply is over: until then nobody knows how it went."""

    def __init__(self, processor: SpanProcessor) -> None:
        resource = Resource.create({"service.name": "antiphon", "service.version": _VERSION})
        # OTEL_TRACES_SAMPLER and its like are read by the SDK.
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("antiphon", _VERSION)

    @classmethod
    def to(cls, endpoint: str) -> Tracing:
        """To a collector's address, as OTLP over HTTP; a thread of its own sends, in batches."""
        exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
        return cls(BatchSpanProcessor(exporter))

    def told(self, identity: Identity, event: object) -> None:
        """A session tells its client something; the end of a reply is the end of a trace."""
        if isinstance(event, ReplyDone):
            self._turn(identity, event)

    def close(self) -> None:
        """Send what is left; blocks for some seconds where nobody takes it."""
        self._provider.force_flush(FLUSH_MS)
        self._provider.shutdown()

    def _turn(self, identity: Identity, done: ReplyDone) -> None:
        end = time.time_ns()
        begin = end - time.monotonic_ns() + round(done.voiced_at * 1e9)

        def at(ms: int) -> int:
            return begin + ms * NS_PER_MS

        turn = self._tracer.start_span(
            "turn",
            start_time=begin,
            attributes={
                "antiphon.session": identity.session,
                "antiphon.protocol": identity.protocol,
                "antiphon.turn": done.turn,
                "antiphon.reply": done.reply,
                "antiphon.status": done.status,
                "antiphon.spoken": done.spoken,
                "antiphon.apology": done.apology,
                "antiphon.cut_short": done.cut_short,
            },
        )
        for step, ms in asdict(done.timeline).items():
            if ms is not None:
                turn.add_event(step, timestamp=at(ms))
        inside = set_span_in_context(turn)
        for name, from_ms, to_ms in stages(done.latency):
            span = self._tracer.start_span(name, context=inside, start_time=at(from_ms))
            span.end(at(to_ms))
        if done.latency is not None:
            sent = at(done.latency.total)
            span = self._tracer.start_span("playback", context=inside, start_time=sent)
            span.end(max(sent, end))
        if done.status == "failed":
            turn.set_status(Status(StatusCode.ERROR))
        turn.end(end)


def stages(latency: Latency | None) -> list[tuple[str, int, int]]:
    """What was waited for until the first audio: name, begin and end in milliseconds, one after
    the other without a gap. A stage that ran beside another counts from the other's end."""
    found, at_ms = [], 0
    for name, took_ms in asdict(latency).items() if latency is not None else ():
        found.append((name, at_ms, at_ms + took_ms))
        at_ms += took_ms
    return found


_VERSION = version("antiphon")
