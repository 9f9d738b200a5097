"""What becomes of a call whose replica dies or hangs under it: the rest is heard, or it fails."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import EngineConfig, ScriptConfig
from pipeline.engines.ports import Float32, SpeechRequest, Stop
from pipeline.engines.ray_plan import Part
from pipeline.engines.ray_serve import RaySynthesizer
from pipeline.engines.scripted import ScriptedSynthesizer
from pipeline.errors import TtsFailed
from pipeline.pool import TTS, ResourcePool, Supply
from tests.cluster_ray.conftest import Standing
from tests.cluster_ray.mortal import mortal

SLOW = ScriptConfig(tts_first_s=0.01, tts_rtf=0.3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mortal")


@pytest.fixture(scope="module")
def link(
    standing: Standing, scripted_parts: Callable[..., tuple[Part, ...]], folder: Path
) -> Standing:
    parts = scripted_parts(folder, SLOW, make=mortal, hang_s=2.0, check_s=0.5)
    standing.deploy(*[part for part in parts if part.kind == "tts"])
    return standing


@pytest.fixture
async def voice(link: Standing) -> AsyncIterator[RaySynthesizer]:
    await whole(link)
    engine = RaySynthesizer(link)
    await engine.start()
    yield engine
    await engine.close()


async def whole(link: Standing) -> None:
    """Wait until both replicas run."""
    async with asyncio.timeout(100):
        while True:
            status = await asyncio.to_thread(link.status)
            if status.deployments["tts"].replicas == {"RUNNING": 2}:
                return
            await asyncio.sleep(0.2)


async def say(voice: RaySynthesizer, text: str) -> Float32:
    request = SpeechRequest(text, "tone")
    return np.concatenate([chunk async for chunk in voice.synthesize(request, Stop())])


async def as_one_machine_says(text: str) -> Float32:
    engine = ScriptedSynthesizer(ScriptConfig(tts_first_s=0, tts_rtf=0))
    request = SpeechRequest(text, "tone")
    return np.concatenate([chunk async for chunk in engine.synthesize(request, Stop())])


def gone(folder: Path, what: str) -> bool:
    """Whether the replica that it happened to is no more."""
    pid = int((folder / what).read_text())
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def test_a_replica_killed_in_mid_clause_is_not_heard(
    voice: RaySynthesizer, folder: Path
) -> None:
    text = "who says this dies"
    heard, *beside = await asyncio.gather(
        say(voice, text), *[say(voice, f"another one, {number}") for number in range(3)]
    )
    assert gone(folder, "dies")
    np.testing.assert_allclose(heard, await as_one_machine_says(text), atol=1e-6)
    for number, audio in enumerate(beside):
        assert len(audio) == len(await as_one_machine_says(f"another one, {number}"))


async def test_one_killed_before_it_spoke_is_replaced_by_another(
    voice: RaySynthesizer, folder: Path
) -> None:
    text = "too early"
    np.testing.assert_array_equal(await say(voice, text), await as_one_machine_says(text))
    assert gone(folder, "early")


async def test_the_slots_are_right_after_a_loss(voice: RaySynthesizer, folder: Path) -> None:
    (folder / "dies").unlink(missing_ok=True)
    async with ResourcePool({TTS: Supply((voice,), seats=3)}) as pool:
        async with pool.lease(TTS, "a session") as slot:
            request = SpeechRequest("once more one dies", "tone")
            chunks = [c async for c in slot.stream(lambda e, stop: e.synthesize(request, stop))]
            assert sum(map(len, chunks)) == len(await as_one_machine_says(request.text))
            assert pool.status()["tts"].claimed == 1
        async with asyncio.timeout(5):
            while pool.status()["tts"].busy or pool.status()["tts"].stopping:
                await asyncio.sleep(0.01)
        assert pool.status()["tts"].claimed == 0
    assert gone(folder, "dies")


async def test_a_replica_that_hangs_fails_its_call_and_is_killed_and_rebuilt(
    voice: RaySynthesizer, link: Standing, folder: Path
) -> None:
    with pytest.raises(TtsFailed, match="does not answer"):
        await say(voice, "this hangs")
    async with asyncio.timeout(90):
        while not gone(folder, "hangs"):
            await asyncio.sleep(0.2)
    await whole(link)
    assert len(await say(voice, "still here"))


async def test_one_that_breaks_for_good_is_killed_and_rebuilt(
    voice: RaySynthesizer, link: Standing, folder: Path
) -> None:
    """As an engine whose CUDA context is broken: it lives, and fails each call."""
    with pytest.raises(TtsFailed):
        await say(voice, "this breaks")
    async with asyncio.timeout(90):
        while not gone(folder, "breaks"):
            await asyncio.sleep(0.2)
    await whole(link)
    for number in range(4):  # neither of the two is the broken one
        assert len(await say(voice, f"still here, {number}"))


async def test_what_kills_every_replica_is_given_up(voice: RaySynthesizer) -> None:
    """Three of them at most, and `TTS_FAILED` within two seconds of the first."""
    with pytest.raises(TtsFailed):
        await say(voice, "this kills")


def test_a_part_can_be_made_by_name_only() -> None:
    """What a replica is made with crosses a process border: it must be found there."""
    config = EngineConfig(Path("nowhere"))
    assert mortal(config).__module__ == mortal.__module__ == "tests.cluster_ray.mortal"
