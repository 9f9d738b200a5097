"""How many replicas there are is decided by how late what is due comes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.config import ScriptConfig
from pipeline.engines.ports import SpeechRequest, Stop
from pipeline.engines.ray_cluster import BUSY
from pipeline.engines.ray_plan import Part
from pipeline.engines.ray_serve import RaySynthesizer
from tests.cluster_ray.conftest import Standing

SLOW = ScriptConfig(tts_first_s=1.0, tts_rtf=0)
AT_ONCE = 2
"""One is voiced and one waits, overdue: no more than one replica may have under way."""


async def until(link: Standing, running: int) -> None:
    async with asyncio.timeout(90):
        while True:
            status = await asyncio.to_thread(link.status)
            if status.deployments["tts"].replicas == {"RUNNING": running}:
                return
            await asyncio.sleep(0.2)


# What is to take the place of this field Ray 2.60 does not read yet.
@pytest.mark.filterwarnings("ignore:The `metrics_interval_s` field:DeprecationWarning")
async def test_while_clauses_come_late_there_is_another_replica_and_later_there_is_not(
    standing: Standing, scripted_parts: Callable[..., tuple[Part, ...]], tmp_path: Path
) -> None:
    parts = scripted_parts(tmp_path, SLOW, seats=1, least=1, most=2, rest_s=1.0)
    await asyncio.to_thread(standing.deploy, *[part for part in parts if part.kind == "tts"])
    voice = RaySynthesizer(standing)
    await voice.start()

    async def speaks() -> None:
        while True:
            async for _ in voice.synthesize(SpeechRequest("hello", "tone"), Stop()):
                pass

    assert AT_ONCE <= BUSY, "the calls under way alone want no other"
    await until(standing, 1)
    async with asyncio.TaskGroup() as group:
        people = [group.create_task(speaks()) for _ in range(AT_ONCE)]
        await until(standing, 2)
        for person in people:
            person.cancel()
    await until(standing, 1)
    await voice.close()
