"""Traces: a turn is one, with its stages in it; nothing of what was said; off unless asked for."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import pairwise

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from pipeline.errors import SettingsError
from pipeline.events import Latency
from server.app import build_house
from server.settings import load
from server.tracing import Tracing, stages
from tests.server.test_metrics import hears, speaks, talk
from tests.support import ROOT, SCRIPTED, LiveServer, call, live_server, murmur

STAGES = ["endpoint", "stt", "llm", "tts", "playback"]
STEPS = ["transcript", "commit", "first_token", "first_clause", "first_audio", "first_sent"]


@asynccontextmanager
async def traced() -> AsyncIterator[tuple[LiveServer, InMemorySpanExporter]]:
    exporter = InMemorySpanExporter()
    async with live_server() as server:
        server.house.tracing = Tracing(SimpleSpanProcessor(exporter))
        speaks(server, s_per_char=0.005)
        yield server, exporter


def ms(span: ReadableSpan) -> int:
    assert span.start_time is not None
    assert span.end_time is not None
    return round((span.end_time - span.start_time) / 1e6)


async def test_a_spoken_turn_is_a_trace_and_its_stages_are_the_latency_that_was_told() -> None:
    async with traced() as (server, exporter):
        async with call(server.ws_url, {}) as caller:
            await talk(caller)
            (done,) = caller.of("reply_done")
            (session,) = (message["session"] for message in caller.of("welcome"))
        *children, turn = exporter.get_finished_spans()
    assert turn.name == "turn"
    assert turn.parent is None
    assert [child.name for child in children] == STAGES
    assert {child.parent.span_id for child in children if child.parent} == {turn.context.span_id}
    latency_ms = done["latency_ms"]
    assert {child.name: ms(child) for child in children[:4]} == {
        part: latency_ms[part] for part in STAGES[:4]
    }
    for before, after in pairwise(children):
        assert before.end_time == after.start_time
    assert children[0].start_time == turn.start_time
    assert children[-1].end_time == turn.end_time
    assert [event.name for event in turn.events] == STEPS
    assert dict(turn.attributes or {}) == {
        "antiphon.session": session,
        "antiphon.protocol": "native",
        "antiphon.turn": 1,
        "antiphon.reply": 1,
        "antiphon.status": "completed",
        "antiphon.spoken": True,
        "antiphon.apology": False,
        "antiphon.cut_short": False,
    }


async def test_nothing_that_was_said_is_in_a_trace() -> None:
    async with traced() as (server, exporter):
        hears(server, "my secret is swordfish")
        async with call(server.ws_url, {"instructions": "Be a parrot."}) as caller:
            await talk(caller)
            reply = caller.of("reply_done")[-1]["text"]
        shown = "".join(span.to_json() for span in exporter.get_finished_spans())
    assert "turn" in shown
    for said in ("swordfish", "parrot", reply):
        assert said not in shown


async def test_a_reply_that_failed_is_an_error_and_one_cut_into_is_none() -> None:
    async with traced() as (server, exporter):
        speaks(server, s_per_char=0.06)
        async with call(server.ws_url, {}) as caller:
            await caller.say("text", text="hello")
            await caller.until("reply_audio_end")
            hears(server, "no, wait a moment")
            await caller.speak(murmur(1.0))
            await caller.until("reply_done", status="interrupted")
        turn = exporter.get_finished_spans()[-1]
        assert (turn.attributes or {})["antiphon.status"] == "interrupted"
        assert turn.status.is_unset
        exporter.clear()

        async def fails(*_: object) -> AsyncIterator[object]:
            raise RuntimeError("out of order")
            yield

        for voice in server.house.engines.synthesizers:
            voice.synthesize = fails  # type: ignore[assignment]
        async with call(server.ws_url, {}) as caller:
            await caller.say("text", text="hello")
            await caller.until("reply_done", status="failed")
        (turn,) = exporter.get_finished_spans()  # no audio left: it has no stages
        assert not turn.status.is_ok
        assert not turn.status.is_unset
        assert "out of order" not in turn.to_json()


def test_stages_follow_each_other_without_a_gap() -> None:
    assert stages(Latency(100, 0, 50, 25)) == [
        ("endpoint", 0, 100),
        ("stt", 100, 100),
        ("llm", 100, 150),
        ("tts", 150, 175),
    ]
    assert stages(None) == []


# --- where they go --------------------------------------------------------------------------------


@contextmanager
def collector() -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    """Takes what is sent to it by OTLP over HTTP."""
    taken: list[ExportTraceServiceRequest] = []

    class Takes(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            body = self.rfile.read(int(self.headers["content-length"]))
            taken.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Takes) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_address[1]}", taken
        finally:
            http.shutdown()
            thread.join()


async def test_a_collector_has_every_trace_when_the_server_has_ended() -> None:
    with collector() as (url, taken):
        async with live_server(ANTIPHON_OTEL_ENDPOINT=url) as server:
            speaks(server, s_per_char=0.005)
            async with call(server.ws_url, {}) as caller:
                await talk(caller)
    (resource,) = (spans for request in taken for spans in request.resource_spans)
    named = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
    assert named["service.name"] == "antiphon"
    names = [span.name for scope in resource.scope_spans for span in scope.spans]
    assert names == [*STAGES, "turn"]


def test_nothing_of_opentelemetry_is_imported_unless_it_is_asked_for() -> None:
    code = (
        "import sys; from server.app import build_house, create_app;"
        "from server.settings import load;"
        f"create_app(build_house(load({SCRIPTED!r}, env_file=None)));"
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_without_the_extra_the_start_fails_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "server.tracing", None)
    chosen = load({**SCRIPTED, "ANTIPHON_OTEL_ENDPOINT": "http://localhost:4318"}, env_file=None)
    with pytest.raises(SettingsError, match="EXTRAS=otel"):
        build_house(chosen)
