"""Ten and thirty users at once through the whole server, with scripted engines that take as long as
a GPU's would: everything around the models at the pace of a fleet.

The times are quoted or assumed, not measured: `benchmarks/results/README.md` says which.
"""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from pipeline import config
from tests.support import call, live_server, murmur, silence

AUDIO_S_PER_S = 130
"""Of one clause at a time; quoted."""
A_GPU = partial(
    config.ScriptConfig,
    stt_s=0.05,
    llm_first_token_s=0.1,
    llm_tokens_per_s=80,
    tts_first_s=0.05,
    tts_rtf=1 / AUDIO_S_PER_S,
)
TURNS = 2
FRAME_S = 0.1


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
