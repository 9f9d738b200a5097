"""Thinking and speaking: a reply's text becomes clauses, and every clause is voiced or listed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.clauses import Clause, ClauseCutter
from pipeline.config import ScriptConfig
from pipeline.engines.ports import (
    EngineInfo,
    Float32,
    Message,
    Prompt,
    SpeechRequest,
    Stop,
    TextDelta,
    TimedSpeech,
    Voice,
)
from pipeline.engines.scripted import (
    ScriptedLanguageModel,
    ScriptedSynthesizer,
    ScriptedVoiceActivity,
)
from pipeline.errors import LlmFailed, TtsFailed
from pipeline.manager import SpeechPipelineManager
from pipeline.pool import LLM, TTS, Purpose, ResourcePool
from pipeline.seams import LEAD_MS, SENTENCE_PAUSE_S
from pipeline.signals import Draft, DraftAudio, DraftClause, DraftText, DraftVoiced, Event
from pipeline.speaking import BUFFER_S, Speaking
from pipeline.thinking import LATER_BREATH_TOKENS, Thinking
from pipeline.vad import VadBatcher
from pipeline.voicing import REPLY_HZ, VoiceChoice

QUICK = ScriptConfig(tts_first_s=0.0, tts_rtf=0.0, tts_s_per_char=0.002, llm_first_token_s=0.0)
DRAFT = Draft(1, 1, "hello")
PROMPT = Prompt((Message("user", "hello"),))


class Box:
    """Takes what the stages post."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    async def post(self, event: Event) -> None:
        self.events.append(event)

    def of(self, kind: type[Event]) -> list[Event]:  # type: ignore[valid-type]
        return [event for event in self.events if isinstance(event, kind)]


async def speak(text: str, engine: object | None = None) -> tuple[Speaking, Box]:
    box = Box()
    async with ResourcePool({TTS: [engine or ScriptedSynthesizer(QUICK)]}) as pool:
        speaking = Speaking(DRAFT, "anna", VoiceChoice("tone"), pool, box.post)
        await speaking.run(each(cut(text)))
    return speaking, box


def cut(text: str) -> list[Clause]:
    cutter = ClauseCutter()
    return [*cutter.feed(text), *cutter.finish()]


async def each(clauses: list[Clause]) -> AsyncIterator[Clause]:
    for clause in clauses:
        yield clause


@settings(max_examples=60, deadline=None)
@given(
    st.text(max_size=300)
    | st.sampled_from(["👍🏽 ... ---", "Fine. *** Really.", "  \n\n ", "日本語。はい"])
)
def test_every_span_of_the_text_is_voiced_or_listed_as_skipped(text: str) -> None:
    speaking, box = asyncio.run(speak(text))
    spans = [(e.text_start, e.text_end) for e in box.of(DraftVoiced)]  # type: ignore[attr-defined]
    assert "".join(text[a:b] for a, b in spans) == text
    silent = [(e.text_start, e.text_end) for e in box.of(DraftVoiced) if e.start == e.end]  # type: ignore[attr-defined]
    assert silent == [(clause.start, clause.end) for clause, _ in speaking.skipped]
    assert all(reason for _, reason in speaking.skipped)


async def test_what_cannot_be_spoken_does_not_take_the_rest_with_it() -> None:
    _, box = await speak("Here it is. 🎉🎉🎉 ... And there it goes.")
    voiced = [e for e in box.of(DraftVoiced) if e.end > e.start]  # type: ignore[attr-defined]
    assert len(voiced) >= 2
    assert voiced[-1].text_end == len("Here it is. 🎉🎉🎉 ... And there it goes.")  # type: ignore[attr-defined]


async def test_audio_is_taken_in_order_and_none_of_it_is_lost() -> None:
    speaking, box = await speak("One sentence. And then another one, a little longer.")
    made = sum(e.samples for e in box.of(DraftAudio))  # type: ignore[attr-defined]
    whole = bytearray()
    for start in range(0, made, 777):
        whole += speaking.take(start, min(made, start + 777))
    assert len(whole) == made * 2
    first, last = box.of(DraftVoiced)[0], box.of(DraftVoiced)[-1]
    assert (first.start, last.end) == (0, made)  # type: ignore[attr-defined]


async def test_an_engine_of_another_rate_is_brought_to_the_replys() -> None:
    class Low:
        rate_hz = 12_000
        voices = (Voice("tone", "en-us"),)
        info = EngineInfo("low", "none")

        async def synthesize(self, request: SpeechRequest, stop: Stop) -> AsyncIterator[Float32]:
            for _ in range(4):
                yield np.zeros(3_000, np.float32)

    _, box = await speak("Hello there.", Low())
    made = sum(e.samples for e in box.of(DraftAudio))  # type: ignore[attr-defined]
    assert made == REPLY_HZ + round(SENTENCE_PAUSE_S * REPLY_HZ)


async def test_where_words_lie_is_told_in_samples_of_the_reply() -> None:
    class Timed:
        rate_hz = 12_000
        voices = (Voice("tone", "en-us"),)
        info = EngineInfo("timed", "none")

        async def synthesize_timed(
            self, request: SpeechRequest, stop: Stop
        ) -> AsyncIterator[TimedSpeech]:
            quiet, loud = np.zeros(1_200, np.float32), np.full(2_400, 0.5, np.float32)
            yield TimedSpeech(np.concatenate((quiet, loud)))
            yield TimedSpeech(loud, (1_200, 3_600, 6_000))

    _, box = await speak("Hello there. Hello again.", Timed())
    for clause in box.of(DraftVoiced):
        begin, middle, end = (at - clause.start for at in clause.words)  # type: ignore[attr-defined]
        lead = round(LEAD_MS * REPLY_HZ / 1_000)  # all but this of the silence is left out
        assert abs(begin - lead) <= 0.005 * REPLY_HZ
        assert middle - begin == end - middle == 2 * 2_400
        assert end <= clause.end - clause.start  # type: ignore[attr-defined]


async def test_speech_is_made_a_bounded_way_ahead() -> None:
    box = Box()
    engine = ScriptedSynthesizer(ScriptConfig(tts_first_s=0, tts_rtf=0, tts_s_per_char=0.05))
    clauses = cut("A sentence that goes on for a good while, as they do. " * 40)
    async with ResourcePool({TTS: [engine]}) as pool:
        speaking = Speaking(DRAFT, "anna", VoiceChoice("tone"), pool, box.post)
        task = asyncio.ensure_future(speaking.run(each(clauses)))
        for _ in range(3_000):
            await asyncio.sleep(0)
        made = sum(e.samples for e in box.of(DraftAudio))  # type: ignore[attr-defined]
        assert BUFFER_S * REPLY_HZ < made < (BUFFER_S + 15) * REPLY_HZ
        assert pool.claims("anna") == {"tts": 0}  # who waits for room holds no engine
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_an_engine_that_fails_ends_the_speaking_with_its_error() -> None:
    class Broken:
        rate_hz = REPLY_HZ
        voices = (Voice("tone", "en-us"),)
        info = EngineInfo("broken", "none")

        async def synthesize(self, request: SpeechRequest, stop: Stop) -> AsyncIterator[Float32]:
            raise TtsFailed("no")
            yield

    with pytest.raises(TtsFailed):
        await speak("Hello there.", Broken())


class Remote:
    """A model on a machine of its own."""

    breath_tokens: int | None = None


class Breathing:
    """A model on the voice's own processor; it says `text` a character a token."""

    breath_tokens = 10

    def __init__(self, text: str) -> None:
        self.text = text
        self.prompts: list[Prompt] = []

    async def generate(self, prompt: Prompt, stop: Stop) -> AsyncIterator[TextDelta]:
        self.prompts.append(prompt)
        assert self.text.startswith(prompt.begun)
        rest = self.text[len(prompt.begun) :]
        for letter in rest[: prompt.max_tokens]:
            yield TextDelta(letter)
        if len(rest) > prompt.max_tokens:
            yield TextDelta("", cut_short=True)


async def think(model: object, box: Box, apology: str = "") -> tuple[Thinking, list[Clause]]:
    async with ResourcePool({LLM: [model]}) as pool:
        thinking = Thinking(DRAFT, "anna", pool, box.post, apology=apology)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(thinking.run(PROMPT))
            clauses = [clause async for clause in thinking.clauses()]
        return thinking, clauses


async def test_the_models_text_is_told_and_cut_as_it_comes() -> None:
    box = Box()
    thinking, clauses = await think(ScriptedLanguageModel(QUICK), box)
    text = "".join(event.text for event in box.of(DraftText))  # type: ignore[attr-defined]
    assert text == QUICK.llm_text == "".join(clause.text for clause in clauses)
    spans = [(e.text_start, e.text_end) for e in box.of(DraftClause)]  # type: ignore[attr-defined]
    assert spans == [(clause.start, clause.end) for clause in clauses]
    assert len(spans) > 1
    assert thinking.error is None


async def test_what_a_model_said_before_it_failed_is_kept() -> None:
    class Breaking(Remote):
        async def generate(self, prompt: Prompt, stop: Stop) -> AsyncIterator[TextDelta]:
            yield TextDelta("  \nHalf a")
            yield TextDelta(" sentence")
            raise LlmFailed("broke off")

    thinking, clauses = await think(Breaking(), Box())
    assert "".join(clause.text for clause in clauses) == "Half a sentence"
    assert isinstance(thinking.error, LlmFailed)


async def test_an_empty_answer_is_a_failure() -> None:
    class Empty(Remote):
        async def generate(self, prompt: Prompt, stop: Stop) -> AsyncIterator[TextDelta]:
            yield TextDelta("   ")

    thinking, clauses = await think(Empty(), Box())
    assert isinstance(thinking.error, LlmFailed)
    assert clauses == []


class Failing(Remote):
    """A model that says so much, and fails."""

    def __init__(self, *said: str) -> None:
        self.said = said

    async def generate(self, prompt: Prompt, stop: Stop) -> AsyncIterator[TextDelta]:
        for text in self.said:
            yield TextDelta(text)
        raise LlmFailed("down")


async def test_an_answer_that_never_comes_is_apologised_for() -> None:
    for model in (Failing(), Failing("  \n")):
        box = Box()
        thinking, clauses = await think(model, box, apology="Sorry. Please try again.")
        assert "".join(clause.text for clause in clauses) == "Sorry. Please try again."
        assert [event.apology for event in box.of(DraftText)] == [True]  # type: ignore[attr-defined]
        assert isinstance(thinking.error, LlmFailed)


async def test_an_answer_that_breaks_off_is_not_apologised_for() -> None:
    box = Box()
    thinking, clauses = await think(Failing("Half a"), box, apology="Sorry.")
    assert "".join(clause.text for clause in clauses) == "Half a"
    assert [event.apology for event in box.of(DraftText)] == [False]  # type: ignore[attr-defined]
    assert isinstance(thinking.error, LlmFailed)


async def test_a_model_beside_the_voice_says_the_same_in_breaths() -> None:
    text = "Well, I am glad that you ask. " * 6
    model = Breathing(text)
    thinking, clauses = await think(model, Box())
    assert "".join(clause.text for clause in clauses) == text
    assert thinking.error is None
    assert [prompt.max_tokens for prompt in model.prompts[:2]] == [10, 20]
    # And after the first clauses in longer ones: what nobody may hear is not written yet.
    assert max(prompt.max_tokens for prompt in model.prompts) == LATER_BREATH_TOKENS
    assert model.prompts[-2].max_tokens == LATER_BREATH_TOKENS


async def test_a_model_beside_the_voice_is_quiet_while_a_clause_is_voiced() -> None:
    model = Breathing("Well, I am glad that you ask. There is more to it.")
    async with ResourcePool({LLM: [model]}) as pool:
        thinking = Thinking(DRAFT, "anna", pool, Box().post)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(thinking.run(PROMPT))
            clauses = thinking.clauses()
            await anext(clauses)
            for _ in range(100):
                await asyncio.sleep(0)
            assert len(model.prompts) == 1  # the first clause is being voiced
            await anext(clauses)
            assert len(model.prompts) > 1  # it is done: the next is asked for
            async for _ in clauses:
                pass


async def test_where_others_wait_two_clauses_come_in_one_breath_and_later_ones_are_short() -> None:
    """Being quiet would leave no core free; who wants the voice next waits for a whole clause."""
    model = Breathing("Well, I am glad that you ask, and that you are here, so let me see. " * 5)
    async with ResourcePool({LLM: [Breathing("bert's"), model]}) as pool:
        thinking = Thinking(DRAFT, "anna", pool, Box().post)
        async with pool.lease(LLM, "bert"), asyncio.TaskGroup() as tasks:
            tasks.create_task(thinking.run(PROMPT))
            clauses = thinking.clauses()
            said = [await anext(clauses)]
            await settle()
            assert len(model.prompts) == 1
            assert thinking._spoken == 2  # though the first is still being voiced
            said += [clause async for clause in clauses]
    assert "".join(clause.text for clause in said) == model.text
    assert [prompt.max_tokens for prompt in model.prompts[:2]] == [30, 20]
    assert max(len(clause.text) for clause in said) <= 64


async def test_a_reply_in_breaths_keeps_to_its_length() -> None:
    model = Breathing("on and on " * 50)
    async with ResourcePool({LLM: [model]}) as pool:
        thinking = Thinking(DRAFT, "anna", pool, Box().post)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(thinking.run(replace(PROMPT, max_tokens=55)))
            said = "".join([clause.text async for clause in thinking.clauses()])
    assert len(said) == 55


# --- speculation ----------------------------------------------------------------------------------

GUESS = Draft(1, 1, "hello", speculative=True)


class Leases:
    """A pool that notes what each lease is for."""

    def __init__(self, pool: ResourcePool) -> None:
        self._pool = pool
        self.asked: list[tuple[Purpose, float | None]] = []

    def lease(self, kind, owner, *, deadline=None, purpose=Purpose.FIRST_CLAUSE):  # type: ignore[no-untyped-def]
        self.asked.append((purpose, deadline))
        return self._pool.lease(kind, owner, deadline=deadline, purpose=purpose)

    def crowded(self, owner: str) -> bool:
        return self._pool.crowded(owner)

    @property
    def purposes(self) -> list[Purpose]:
        return [purpose for purpose, _ in self.asked]


async def test_of_a_speculation_only_the_first_clause_is_voiced_until_it_comes_true() -> None:
    box = Box()
    async with ResourcePool({TTS: [ScriptedSynthesizer(QUICK)]}) as pool:
        leases = Leases(pool)
        speaking = Speaking(GUESS, "anna", VoiceChoice("tone"), leases, box.post)  # type: ignore[arg-type]
        task = asyncio.ensure_future(speaking.run(each(cut("Well. I do think so. Yes, I do."))))
        async with asyncio.timeout(5):
            while not box.of(DraftVoiced):
                await asyncio.sleep(0.001)
        await settle()
        assert len(box.of(DraftVoiced)) == 1
        assert pool.claims("anna") == {"tts": 0}  # who is held holds no engine
        assert leases.purposes == [Purpose.SPECULATION]
        speaking.confirm()
        await task
    assert len(box.of(DraftVoiced)) > 1
    assert set(leases.purposes[1:]) == {Purpose.LATER_CLAUSE}


async def test_of_a_speculation_a_model_beside_the_voice_says_the_beginning() -> None:
    model = Breathing("Well. I am glad that you ask. " * 6)
    async with ResourcePool({LLM: [model]}) as pool:
        leases = Leases(pool)
        thinking = Thinking(GUESS, "anna", leases, Box().post)  # type: ignore[arg-type]
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(thinking.run(PROMPT))
            clauses = thinking.clauses()
            heard = [await anext(clauses), await anext(clauses)]
            waiting = asyncio.ensure_future(anext(clauses))
            await settle()
            assert not waiting.done()
            said = sum(prompt.max_tokens for prompt in model.prompts)
            assert said < len(model.text)
            assert set(leases.purposes) == {Purpose.SPECULATION}
            thinking.confirm()
            heard += [await waiting, *[clause async for clause in clauses]]
    assert "".join(clause.text for clause in heard) == model.text
    assert leases.purposes[-1] is Purpose.LATER_CLAUSE


async def test_a_later_clause_is_due_when_all_audio_before_it_will_have_been_played() -> None:
    now = 100.0
    async with ResourcePool({TTS: [ScriptedSynthesizer(QUICK)]}) as pool:
        leases = Leases(pool)
        speaking = Speaking(
            DRAFT, "anna", VoiceChoice("tone"), leases, Box().post, clock=lambda: now  # type: ignore[arg-type]
        )  # fmt: skip
        assert speaking.runs_dry_at() == now
        await speaking.run(each(cut("Well. I do think so.")))
        made = speaking._made
        assert speaking.runs_dry_at() == pytest.approx(now + made / REPLY_HZ)
        speaking.take(0, made // 2)  # it plays from now on
        now += 0.1
        assert speaking.runs_dry_at() == pytest.approx(100.0 + made / REPLY_HZ)
        now += 60  # it ran dry, and goes on from where it stood
        speaking.take(made // 2, made)
        assert speaking.runs_dry_at() == pytest.approx(now + (made - made // 2) / REPLY_HZ)
    assert leases.asked[0] == (Purpose.FIRST_CLAUSE, None)
    assert leases.asked[1][0] is Purpose.LATER_CLAUSE
    assert leases.asked[1][1] is not None
    assert leases.asked[1][1] > 100.0


async def test_beside_the_conversation_engines_are_asked_for_as_by_a_request_over_http() -> None:
    model = Breathing("Well. I am glad that you ask. " * 6)
    beside = replace(DRAFT, aside=True)
    async with ResourcePool({LLM: [model], TTS: [ScriptedSynthesizer(QUICK)]}) as pool:
        leases = Leases(pool)
        thinking = Thinking(beside, "anna", leases, Box().post)  # type: ignore[arg-type]
        speaking = Speaking(beside, "anna", VoiceChoice("tone"), leases, Box().post)  # type: ignore[arg-type]
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(thinking.run(PROMPT))
            tasks.create_task(speaking.run(thinking.clauses()))
    assert set(leases.purposes) == {Purpose.REQUEST, Purpose.REQUEST_LATER}


@asynccontextmanager
async def pipeline(model: object) -> AsyncIterator[SpeechPipelineManager]:
    async def alive() -> bool:
        return True

    async with (
        ResourcePool({LLM: [model]}) as pool,
        VadBatcher(ScriptedVoiceActivity()) as vad,
        SpeechPipelineManager(
            "anna", pool, vad, Box().post, hear=lambda _: None,
            microphone_hz=16_000, expects_frames=lambda: False, peer_answers=alive,
        ) as manager,
    ):  # fmt: skip
        yield manager


async def settle() -> None:
    for _ in range(100):
        await asyncio.sleep(0)


async def test_a_model_beside_the_voice_reads_ahead() -> None:
    model = Breathing("Yes.")
    async with pipeline(model) as manager:
        manager.prepare(PROMPT)
        manager.prepare(PROMPT)  # one at a time is enough
        await settle()
    assert [(prompt.messages, prompt.max_tokens) for prompt in model.prompts] == [
        (PROMPT.messages, 1)
    ]


async def test_another_model_is_not_asked_for_nothing() -> None:
    class Counting(Remote):
        asked = 0

        async def generate(self, prompt: Prompt, stop: Stop) -> AsyncIterator[TextDelta]:
            Counting.asked += 1
            yield TextDelta("Yes.")

    async with pipeline(Counting()) as manager:
        manager.prepare(PROMPT)
        await settle()
    assert Counting.asked == 0


async def test_nothing_said_is_nothing_to_read() -> None:
    model = Breathing("Yes.")
    async with pipeline(model) as manager:
        manager.prepare(Prompt(()))
        await settle()
    assert model.prompts == []
