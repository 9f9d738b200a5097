"""Ten and thirty users at once through the whole server, with scripted engines that take as long as
a GPU's would: everything around the models at the pace of a fleet.

The times are those of a file in `benchmarks/results` where one is there. Without one they are
quoted or assumed, not measured: the README beside it says which.
"""

from __future__ import annotations

import asyncio
import json
from functools import partial
from pathlib import Path

import pytest

from pipeline import config
from tests.support import ROOT, call, live_server, murmur, silence

AUDIO_S_PER_S = 130
"""Of one clause at a time; quoted."""
QUOTED = {"stt_s": 0.05, "tts_first_s": 0.05, "tts_rtf": 1 / AUDIO_S_PER_S}


def measured(folder: Path) -> dict[str, float] | None:
    """What `benchmarks.gpu` found of one call at a time, in the first of the results there; None
    where there is none of a device."""
    for path in sorted(folder.glob("*.json")):
        result = json.loads(path.read_text())
        if result["tiny"] or result["device"].startswith("no GPU"):
            continue
        alone = {row["work"]: row for row in result["rows"] if row["batch"] == 1}
        later = alone["later"]
        return {
            "stt_s": alone["hear"]["seconds"], "tts_first_s": alone["first"]["seconds"],
            "tts_rtf": later["seconds"] / later["audio_s"],
        }  # fmt: skip
    return None


A_GPU = partial(
    config.ScriptConfig,
    llm_first_token_s=0.1,
    llm_tokens_per_s=80,
    **(measured(ROOT / "benchmarks" / "results") or QUOTED),
)
TURNS = 2
FRAME_S = 0.1


def test_what_was_measured_takes_the_place_of_what_was_quoted(tmp_path: Path) -> None:
    rows = [
        {"work": "first", "batch": 1, "seconds": 0.02, "audio_s": 1.0},
        {"work": "later", "batch": 1, "seconds": 0.03, "audio_s": 3.0},
        {"work": "later", "batch": 4, "seconds": 0.05, "audio_s": 3.0},
        {"work": "hear", "batch": 1, "seconds": 0.04, "audio_s": 10.0},
    ]
    result = {"tiny": True, "device": "NVIDIA", "rows": []}
    (tmp_path / "a.json").write_text(json.dumps(result))
    (tmp_path / "b.json").write_text(
        json.dumps({**result, "tiny": False, "device": "no GPU: x86_64 processor"})
    )
    assert measured(tmp_path) is None
    (tmp_path / "c.json").write_text(json.dumps({**result, "tiny": False, "rows": rows}))
    found = measured(tmp_path)
    assert found is not None
    assert config.ScriptConfig(**found).tts_rtf == pytest.approx(0.01)
    assert (found["stt_s"], found["tts_first_s"]) == (0.04, 0.02)


@pytest.mark.parametrize("users", [10, 30])
async def test_every_turn_of_every_user_is_answered_whole(
    users: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "ScriptConfig", A_GPU)
    async with live_server(
        ANTIPHON_MAX_SESSIONS=str(users),
        ANTIPHON_TTS_SLOTS="8",
        ANTIPHON_STT_SLOTS="8",
        ANTIPHON_LLM_SLOTS=str(users),
    ) as server:

        async def converse(number: int) -> list[str]:
            await asyncio.sleep(number * FRAME_S)  # they do not all begin at once
            async with call(server.ws_url, {}) as caller:
                done = []
                for _ in range(TURNS):
                    speaking = asyncio.create_task(speak(caller))
                    await caller.until("transcript", final=True, within_s=60)
                    done.append((await caller.play())["status"])
                    await speaking
                assert not caller.of("error")
                assert not caller.of("warning")
                return done

        async def speak(caller: object) -> None:
            """In real time, as a microphone does."""
            pcm = murmur(0.8) + silence(2.5)
            step = int(FRAME_S * 16_000) * 2
            for at in range(0, len(pcm), step):
                await caller.socket.send(pcm[at : at + step])  # type: ignore[attr-defined]
                await asyncio.sleep(FRAME_S)

        done = await asyncio.gather(*map(converse, range(users)))
        assert done == [["completed"] * TURNS] * users
        assert all(not place.claimed for place in server.house.pool.status().values())
