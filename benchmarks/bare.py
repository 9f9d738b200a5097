"""Kokoro without a server: the clauses of a text through instances of its own, in their order. What
the whole server is held against, in the same run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from pipeline.clause_policy import READ_ALOUD
from pipeline.clauses import ClauseCutter
from pipeline.engines.kokoro_onnx import KokoroOnnxSynthesizer
from pipeline.engines.ports import SpeechRequest, Stop, Synthesizer
from pipeline.models import default_models_dir


def clauses(text: str) -> list[str]:
    """What the server voices for this text, clause by clause."""
    cutter = ClauseCutter(READ_ALOUD)
    return [clause.speech for clause in (*cutter.feed(text), *cutter.finish()) if clause.speakable]


class Bare:
    """Instances that are loaded and warm."""

    def __init__(self, engines: Sequence[Synthesizer], voice: str) -> None:
        self._engines = engines
        self._voice = voice
        self.work_s = 0.0
        """Time that the instances were at work, all of them together."""
        self.made_s = 0.0
        """Audio that they made."""

    def only(self, *which: int) -> Bare:
        """Some of them, by number, with figures of their own."""
        return Bare([self._engines[number] for number in which], self._voice)

    async def first_s(self, text: str) -> float:
        """How long a text's first clause takes in the first instance."""
        began = time.perf_counter()
        await self._say(self._engines[0], clauses(text)[0])
        return time.perf_counter() - began

    async def all_s(self, texts: Sequence[str]) -> float:
        """How long all clauses of these texts take: every text's first one, every text's second
        one and so on, as the server takes them, each by the next instance that is free."""
        cut = [clauses(text) for text in texts]
        longest = max(map(len, cut))
        line = iter([one[n] for n in range(longest) for one in cut if n < len(one)])

        async def work(engine: Synthesizer) -> None:
            for clause in line:
                await self._say(engine, clause)

        began = time.perf_counter()
        await asyncio.gather(*map(work, self._engines))
        return time.perf_counter() - began

    async def _say(self, engine: Synthesizer, clause: str) -> None:
        began = time.perf_counter()
        async for piece in engine.synthesize(SpeechRequest(clause, self._voice), Stop()):
            self.made_s += len(piece) / engine.rate_hz
        self.work_s += time.perf_counter() - began


@asynccontextmanager
async def bare(threads: Sequence[int], voice: str) -> AsyncIterator[Bare]:
    """One instance for each number of threads."""
    models_dir = default_models_dir()
    async with AsyncExitStack() as stack:
        engines = [KokoroOnnxSynthesizer(models_dir, count) for count in threads]
        for engine in engines:
            await engine.start()
            stack.push_async_callback(engine.close)
        yield Bare(engines, voice)
