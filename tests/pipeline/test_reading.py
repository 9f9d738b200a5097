"""A text read aloud for a request: all of it, in turns, and no more at once than is taken."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.clause_policy import READ_ALOUD
from pipeline.clauses import ClauseCutter
from pipeline.config import PoolConfig, ScriptConfig
from pipeline.engines.ports import Float32, SpeechRequest, Stop
from pipeline.engines.scripted import ScriptedSynthesizer
from pipeline.errors import PoolTimeout, TtsFailed, Unspeakable
from pipeline.pool import TTS, Purpose, ResourcePool
from pipeline.reading import ENDING_S, Reading
from pipeline.voicing import REPLY_HZ, VoiceChoice

QUICK = ScriptConfig(tts_first_s=0.0, tts_rtf=0.0, tts_s_per_char=0.002)


@dataclass
class Notes:
    """What the watcher is told."""

    waits: list[tuple[float, int]] = field(default_factory=list)
    skipped: list[tuple[int, int, str, str]] = field(default_factory=list)

    def queued(self, seconds: float, position: int) -> None:
        self.waits.append((seconds, position))

    def skip(self, start: int, end: int, text: str, reason: str) -> None:
        self.skipped.append((start, end, text, reason))


class Recorder(ScriptedSynthesizer):
    """Keeps what it was asked for, in order, and how many calls were under way at once."""

    def __init__(self, script: ScriptConfig = QUICK) -> None:
        super().__init__(script)
        self.asked: list[SpeechRequest] = []
        self.under_way = self.most_under_way = 0
        self.open = asyncio.Event()
        self.open.set()

    async def synthesize(self, request: SpeechRequest, stop: Stop) -> AsyncIterator[Float32]:
        self.asked.append(request)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await self.open.wait()
            async for chunk in super().synthesize(request, stop):
                yield chunk
        finally:
            self.under_way -= 1


async def read(text: str, engine: ScriptedSynthesizer | None = None) -> tuple[bytes, Notes]:
    notes = Notes()
    async with ResourcePool({TTS: [engine or ScriptedSynthesizer(QUICK)]}) as pool:
        reading = Reading(text, "r", VoiceChoice("tone"), pool, notes, clock=lambda: 0.0)
        pieces = reading.pieces()  # by a clock that stands: a busy machine cuts no other clauses
        return b"".join([piece async for piece in pieces]), notes


async def test_what_nobody_plays_as_it_is_made_is_cut_as_for_a_fast_voice() -> None:
    text = "My brother plays the piano every evening, and always the same three songs."
    asked = {}
    for played in (False, True):
        engine, slowly = Recorder(), itertools.count()
        async with ResourcePool({TTS: [engine]}) as pool:
            reading = Reading(
                text, "r", VoiceChoice("tone"), pool, Notes(),
                played=played, clock=lambda slowly=slowly: next(slowly) * 0.02,
            )  # fmt: skip
            async for _ in reading.pieces():
                pass
        asked[played] = [request.text for request in engine.asked]
    cutter = ClauseCutter(READ_ALOUD)
    assert asked[False] == [c.speech for c in (*cutter.feed(text), *cutter.finish())]
    assert asked[True] != asked[False], "the voice is so slow that it matters"


LETTERS = st.text(max_size=400)
HARD = st.lists(
    st.sampled_from(
        [
            "On 3.14.2026 at 10:30 ", "e.g. Dr. No vs. Mr. Yes, ", "https://example.com/a?b=c#d ",
            "👍🏽🎉", "--- *** ...", "\n\n", "日本語。はい、", "Привет, мир! ", "مرحبا بكم؟ ",
            "x" * 300, "no punctuation at all and on and on and on ", "1,000,000 ", "\u0000\u200d",
        ]
    ),
    max_size=12,
).map("".join)  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(LETTERS | HARD)
@example("x" * 10_000)
@example("Only emoji: 🎉🎉 and words.")
def test_every_span_is_in_one_clause_and_voiced_or_listed_as_skipped(text: str) -> None:
    engine = Recorder()
    _, notes = asyncio.run(read(text, engine))
    cutter = ClauseCutter(READ_ALOUD)
    clauses = [*cutter.feed(text), *cutter.finish()]
    assert "".join(clause.text for clause in clauses) == text
    skipped = [(c.start, c.end, c.text) for c in clauses if not c.speakable]
    assert [each[:3] for each in notes.skipped] == skipped
    assert [each.text for each in engine.asked] == [c.speech for c in clauses if c.speakable]


async def test_what_the_engine_cannot_say_does_not_take_the_rest_with_it() -> None:
    class Picky(ScriptedSynthesizer):
        async def synthesize(self, request: SpeechRequest, stop: Stop) -> AsyncIterator[Float32]:
            if "worse" in request.text:
                raise Unspeakable("not this")
            async for chunk in super().synthesize(request, stop):
                yield chunk

    text = "This is good. This is much worse. And this is good again, is it not?"
    audio, notes = await read(text, Picky(QUICK))
    assert audio
    assert [(text[a:b], reason) for a, b, _, reason in notes.skipped] == [
        (" This is much worse.", "not this")
    ]


async def test_a_text_without_a_word_holds_nobody_up() -> None:
    others = 0

    async def somebody_else() -> None:
        nonlocal others
        while True:
            others += 1
            await asyncio.sleep(0)

    beside = asyncio.ensure_future(somebody_else())
    assert (await read("🎉" * 20_000))[0] == b""
    beside.cancel()
    assert others >= 40  # a turn each 500 characters


async def test_nothing_to_say_is_no_audio() -> None:
    audio, notes = await read("🎉 ... 🎉")
    assert audio == b""
    assert notes.skipped


@pytest.mark.parametrize("text", ["A word", "A sentence.", "One thing, and another", "Wait..."])
async def test_the_end_is_silent(text: str) -> None:
    audio, _ = await read(text, ScriptedSynthesizer(ScriptConfig(tts_first_s=0, tts_rtf=0)))
    samples = np.frombuffer(audio, "<i2")
    ending = samples[-round(0.05 * REPLY_HZ) :]
    assert np.abs(ending).max() < 33  # -60 dBFS
    assert np.abs(samples).max() <= 32_767 * 0.96
    assert ENDING_S >= 0.05


async def test_no_engine_is_held_and_no_clause_made_while_a_piece_is_not_taken() -> None:
    engine = Recorder()
    async with ResourcePool({TTS: [engine]}) as pool:
        reading = Reading(
            "A sentence of some length. " * 400, "r", VoiceChoice("tone"), pool, Notes()
        )
        async with aclosing(reading.pieces()) as pieces:
            await anext(pieces)
            await anext(pieces)
            for _ in range(100):
                await asyncio.sleep(0)
            assert len(engine.asked) == 2
            assert pool.claims("r") == {"tts": 0}


async def test_who_leaves_in_the_middle_of_a_clause_gives_its_place_up_at_once() -> None:
    engine = Recorder()
    engine.open.clear()
    async with ResourcePool({TTS: [engine]}) as pool:
        task = asyncio.ensure_future(
            anext(Reading("Hello there.", "r", VoiceChoice("tone"), pool, Notes()).pieces())
        )
        while not engine.asked:
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert pool.claims("r") == {"tts": 0}
        assert pool.status()["tts"].stopping == 1
        engine.open.set()


async def test_an_engine_that_fails_ends_the_reading_with_its_error() -> None:
    class Broken(ScriptedSynthesizer):
        async def synthesize(self, request: SpeechRequest, stop: Stop) -> AsyncIterator[Float32]:
            raise TtsFailed("no")
            yield

    with pytest.raises(TtsFailed):
        await read("Hello.", Broken(QUICK))


async def test_with_one_engine_the_first_clauses_go_first_and_calls_never_overlap() -> None:
    engine = Recorder()
    engine.open.clear()
    names = [f"Number {n}" for n in range(8)]

    async def one(name: str, pool: ResourcePool) -> None:
        text = f"{name} speaks. Then there is more of it, quite a lot. And still more of the same."
        async for _ in Reading(text, name, VoiceChoice("tone"), pool, Notes()).pieces():
            pass

    async with ResourcePool({TTS: [engine]}) as pool, asyncio.TaskGroup() as readers:
        for name in names:
            readers.create_task(one(name, pool))
        while pool.status()["tts"].waiting < len(names) - 1:
            await asyncio.sleep(0)
        engine.open.set()
    assert engine.most_under_way == 1
    spoken = [request.text for request in engine.asked]
    assert spoken[: len(names)] == [f"{name} speaks." for name in names]
    assert len(spoken) > 2 * len(names)


async def test_a_session_goes_before_all_requests_that_wait() -> None:
    engine = Recorder()
    engine.open.clear()
    went: list[str] = []

    async def one(owner: str, purpose: Purpose, pool: ResourcePool) -> None:
        async with pool.lease(TTS, owner, purpose=purpose) as slot:
            went.append(owner)
            request = SpeechRequest("Hello.", "tone")
            async for _ in slot.stream(lambda tts, stop: tts.synthesize(request, stop)):
                pass

    async with ResourcePool({TTS: [engine]}) as pool, asyncio.TaskGroup() as readers:
        for number in range(4):
            readers.create_task(one(f"request {number}", Purpose.REQUEST, pool))
        while pool.status()["tts"].waiting < 3:
            await asyncio.sleep(0)
        readers.create_task(one("anna", Purpose.FIRST_CLAUSE, pool))
        while pool.status()["tts"].waiting < 4:
            await asyncio.sleep(0)
        engine.open.set()
    assert went == ["request 0", "anna", "request 1", "request 2", "request 3"]


async def test_the_watcher_is_told_the_place_in_the_queue() -> None:
    engine = Recorder()
    engine.open.clear()
    notes = [Notes() for _ in range(3)]

    async def one(watcher: Notes, pool: ResourcePool) -> None:
        owner = str(id(watcher))
        async for _ in Reading("Hello.", owner, VoiceChoice("tone"), pool, watcher).pieces():
            pass

    async with ResourcePool({TTS: [engine]}) as pool, asyncio.TaskGroup() as readers:
        for watcher in notes:
            readers.create_task(one(watcher, pool))
        while pool.status()["tts"].waiting < 2:
            await asyncio.sleep(0)
        engine.open.set()
    assert [watcher.waits[0][1] for watcher in notes] == [0, 1, 2]


async def test_once_there_is_audio_an_engine_is_waited_for_longer() -> None:
    engine = Recorder()
    config = PoolConfig(max_wait_s=0.02)
    text = "One sentence it is. And another one follows it, after a while."
    async with ResourcePool({TTS: [engine]}, config) as pool:
        late = Reading(text, "late", VoiceChoice("tone"), pool, Notes(), later_wait_s=30.0)
        async with aclosing(late.pieces()) as pieces:
            await anext(pieces)
            async with pool.lease(TTS, "somebody"):
                waiting = asyncio.ensure_future(anext(pieces))
                with pytest.raises(PoolTimeout):
                    await read_one(pool)
                assert not waiting.done()
            assert await waiting


async def read_one(pool: ResourcePool) -> bytes:
    return await anext(Reading("Hello.", "new", VoiceChoice("tone"), pool, Notes()).pieces())
