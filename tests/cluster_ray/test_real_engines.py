"""The default engines as replicas: one spoken turn, understood and answered through Ray."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path

import httpx
import pytest

from benchmarks.client import calling
from benchmarks.clips import clips_without_pauses
from benchmarks.wer import word_errors
from pipeline.engines.ray_cluster import DIRECT
from server.cli.wav import read_wav
from tests.e2e.conftest import HearAgain, hear_again  # noqa: F401 - a fixture
from tests.support import NO_AUDIT, server_process

pytestmark = [
    pytest.mark.models, pytest.mark.slow, pytest.mark.timeout(240),
    pytest.mark.skipif(
        importlib.util.find_spec("ray") is None,
        reason="Ray is not installed: make setup EXTRAS=ray",
    ),
]  # fmt: skip


async def test_a_spoken_turn_is_understood_and_answered_by_engines_on_ray(
    models_dir: Path,
    hear_again: HearAgain,  # noqa: F811
) -> None:
    clip = clips_without_pauses()[0]
    environ = {
        **NO_AUDIT, **DIRECT, "ANTIPHON_CLUSTER": "ray", "ANTIPHON_LLM_ENGINE": "scripted",
        "ANTIPHON_MODELS_DIR": str(models_dir),
    }  # fmt: skip
    with server_process(**environ) as server:
        async with httpx.AsyncClient(base_url=server.url) as http:
            engines = (await http.get("/status")).json()["engines"]
        where = {kind: (engines[kind]["name"], engines[kind]["device"]) for kind in engines}
        assert where["stt"] == ("faster-whisper", "ray/cpu")
        assert where["tts"] == ("kokoro-onnx", "ray/cpu")
        assert where["eot"] == ("smart-turn", "ray/cpu")
        async with calling(server.ws_url) as caller:
            turn = await caller.say(read_wav(clip.path), listen_s=4.0)
    assert not turn.cut_off
    assert word_errors(clip.words, " ".join(turn.transcripts)).rate <= 0.2, turn.transcripts
    said = await asyncio.to_thread(hear_again, turn.playback.audio.tobytes())
    assert word_errors("This is a scripted reply. It has two sentences.", said).rate <= 0.3, said
