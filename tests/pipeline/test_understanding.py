"""Looks: which of several windows is transcribed, how, and which of them answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pipeline.engines.ports import SpeechWindow, Stop, Transcript
from pipeline.engines.scripted import ScriptedVoiceActivity
from pipeline.manager import SpeechPipelineManager
from pipeline.pool import STT, ResourcePool
from pipeline.signals import Event, Look, Looked
from pipeline.vad import VadBatcher


class Ear:
    """Hears the same in every window, once it is let."""

    languages = frozenset({"en"})

    def __init__(self) -> None:
        self.windows: list[SpeechWindow] = []
        self._answers = asyncio.Event()

    async def transcribe(self, window: SpeechWindow, stop: Stop) -> Transcript:
        self.windows.append(window)
        await self._answers.wait()
        return Transcript("Stop.", "en")

    async def answer(self) -> None:
        """Everything that was asked, and what follows from it."""
        self._answers.set()
        await settle()
        self._answers.clear()


class Scene:
    """A session's pipeline with that ear, and what it posts."""

    def __init__(self) -> None:
        self.ear = Ear()
        self.posted: list[Event] = []
        self.manager: SpeechPipelineManager

    async def post(self, event: Event) -> None:
        self.posted.append(event)

    async def look(self, attempt: int, *, over_reply: bool, final: bool = False) -> None:
        look = Look(1, 0, attempt, 0, 512 * attempt, final=final, over_reply=over_reply)
        self.manager.look(look, None)
        await settle()

    @property
    def looked(self) -> list[tuple[int, int]]:
        """Attempt, and end of the window."""
        return [(e.attempt, e.end) for e in self.posted if isinstance(e, Looked)]


async def settle() -> None:
    for _ in range(100):
        await asyncio.sleep(0)


@asynccontextmanager
async def listening() -> AsyncIterator[Scene]:
    async def alive() -> bool:
        return True

    scene = Scene()
    async with (
        ResourcePool({STT: [scene.ear]}) as pool,
        VadBatcher(ScriptedVoiceActivity()) as vad,
        SpeechPipelineManager(
            "anna", pool, vad, scene.post, hear=lambda _: None,
            microphone_hz=16_000, expects_frames=lambda: False, peer_answers=alive,
        ) as scene.manager,
    ):  # fmt: skip
        yield scene


async def test_over_a_reply_a_look_that_is_under_way_still_answers() -> None:
    async with listening() as scene:
        await scene.look(1, over_reply=True)
        await scene.look(2, over_reply=True)
        await scene.look(3, over_reply=True)
        await scene.ear.answer()
    assert scene.looked == [(1, 512), (3, 1_536)]
    assert len(scene.ear.windows) == 2


async def test_of_a_turn_of_its_own_only_the_latest_look_answers() -> None:
    async with listening() as scene:
        await scene.look(1, over_reply=False)
        await scene.look(2, over_reply=False)
        await scene.ear.answer()
    assert scene.looked == [(2, 1_024)]


async def test_words_over_a_reply_are_wanted_soon_and_a_turns_surely() -> None:
    async with listening() as scene:
        await scene.look(1, over_reply=True)
        await scene.ear.answer()
        await scene.look(2, over_reply=False)
        await scene.ear.answer()
        await scene.look(3, over_reply=True, final=True)
        await scene.ear.answer()
    assert [window.quick for window in scene.ear.windows] == [True, False, False]
