"""A peer's processes: ready when they say so, measured, and gone with the block."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.peers.pipecat.options import BotOptions
from benchmarks.peers.pipecat.processes import running
from benchmarks.serving import ServerFailed

OPTIONS = BotOptions(
    tts="kokoro",
    models="shared",
    whisper="whisper",
    kokoro="kokoro.onnx",
    kokoro_voices="voices.npz",
    kokoro_voice="af_heart",
    llm_url="http://127.0.0.1:1/v1",
    llm_model="m",
    llm_request={"max_tokens": 9, "temperature": 0.5},
    instructions='Say "yes".',
)
WAITS = 'import sys; print(\'{"url": "ws://here"}\', flush=True); sys.stdin.read()'


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


def test_a_process_is_ready_when_it_says_where_it_listens() -> None:
    with running(python(WAITS)) as process:
        assert process.url == "ws://here"
        assert 0 < process.rss_mb <= process.peak_rss_mb
        assert Path(f"/proc/{process.pid}").exists()
    assert not Path(f"/proc/{process.pid}").exists()


def test_one_that_fails_is_reported_with_the_end_of_its_log() -> None:
    failing = python("import sys; sys.exit('no such model')")
    with pytest.raises(ServerFailed, match="no such model"), running(failing):
        pass


def test_options_survive_the_command_line() -> None:
    assert BotOptions.from_json(OPTIONS.to_json()) == OPTIONS


def test_every_requirement_is_pinned() -> None:
    requirements = Path(sys.modules[BotOptions.__module__].__file__ or "").with_name(
        "requirements.txt"
    )
    lines = [line.partition(";")[0].strip() for line in requirements.read_text().splitlines()]
    needs = [line for line in lines if line and not line.startswith("#")]
    assert "pipecat-ai[kokoro,piper,websocket,whisper]==1.14.0" in needs
    assert all(need.count("==") == 1 for need in needs)
