"""RealtimeSTT's recorders in the gateway, the model that they share in a replica."""

from __future__ import annotations

import importlib.util
import wave
from pathlib import Path

import httpx
import pytest

from pipeline.engines.ray_cluster import DIRECT
from tests.contract.test_transcribers import SPEECH
from tests.realtimestt import realtimestt
from tests.support import SCRIPTED, call, server_process

pytestmark = [
    pytest.mark.models, pytest.mark.slow, pytest.mark.timeout(240),
    pytest.mark.skipif(
        importlib.util.find_spec("ray") is None,
        reason="Ray is not installed: make setup EXTRAS=ray",
    ),
]  # fmt: skip


async def test_a_session_is_heard_by_its_own_recorder_and_the_model_on_ray(
    models_dir: Path,
) -> None:
    realtimestt(models_dir)  # or it is skipped
    with wave.open(str(SPEECH / "LJ001-0008.wav")) as file:
        pcm = file.readframes(file.getnframes())
    environ = {
        **SCRIPTED, **DIRECT, "ANTIPHON_CLUSTER": "ray", "ANTIPHON_STT_ENGINE": "realtimestt",
        "ANTIPHON_VAD_ENGINE": "silero", "ANTIPHON_MODELS_DIR": str(models_dir),
    }  # fmt: skip
    with server_process(**environ) as server:
        async with httpx.AsyncClient(base_url=server.url) as http:
            status = (await http.get("/status")).json()
        ear = status["engines"]["stt"]
        assert (ear["name"], ear["device"]) == ("realtimestt", "ray/cpu")
        assert status["pool"]["stt"]["breaker"] == "closed"
        async with call(server.ws_url, {}) as caller:
            await caller.speak(pcm)
            final = await caller.until("transcript", final=True, within_s=60)
            assert "surpassed" in final["text"]
            assert (await caller.play())["status"] == "completed"
