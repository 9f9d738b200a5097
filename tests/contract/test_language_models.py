"""Every language model keeps the port's promises."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.config import ScriptConfig
from pipeline.engines.llama_cpp import CONTEXT_TOKENS, LlamaCppLanguageModel, SlotBook
from pipeline.engines.llm_fleet import LanguageModelFleet
from pipeline.engines.openai_llm import OpenAILanguageModel
from pipeline.engines.ports import LanguageModel, Message, Prompt, Stop
from pipeline.engines.scripted import ScriptedLanguageModel
from pipeline.errors import LlmFailed, ModelMissing
from tests.contract.chat_backend import chat_backend

Build = Callable[[pytest.FixtureRequest], AbstractAsyncContextManager[LanguageModel]]


@asynccontextmanager
async def scripted(_: pytest.FixtureRequest) -> AsyncIterator[LanguageModel]:
    yield ScriptedLanguageModel(ScriptConfig(llm_first_token_s=0, llm_tokens_per_s=1e9))


@asynccontextmanager
async def openai(_: pytest.FixtureRequest) -> AsyncIterator[LanguageModel]:
    async with chat_backend() as backend:
        yield OpenAILanguageModel(backend.url)


@asynccontextmanager
async def fleet(_: pytest.FixtureRequest) -> AsyncIterator[LanguageModel]:
    async with chat_backend() as one, chat_backend() as other:
        backends = [OpenAILanguageModel(backend.url) for backend in (one, other)]
        yield LanguageModelFleet(backends, slots=2)


@asynccontextmanager
async def llama_cpp(test: pytest.FixtureRequest) -> AsyncIterator[LanguageModel]:
    # One thread: two spin until both have come as far, and stand still on a busy machine.
    yield LlamaCppLanguageModel(test.getfixturevalue("models_dir"), 2, 1)


LANGUAGE_MODELS: list[object] = [
    scripted,
    openai,
    fleet,
    pytest.param(llama_cpp, marks=pytest.mark.models),
]


@pytest.fixture(params=LANGUAGE_MODELS, ids=["scripted", "openai", "fleet", "llama-cpp"])
async def model(request: pytest.FixtureRequest) -> AsyncIterator[LanguageModel]:
    build: Build = request.param
    async with build(request) as engine:
        await engine.start()
        yield engine
        await engine.close()


def asking(*texts: str, session: str = "", max_tokens: int = 24) -> Prompt:
    messages = tuple(Message("user", text) for text in texts)
    return Prompt(messages, max_tokens, temperature=0.0, session=session)


async def answer(model: LanguageModel, prompt: Prompt, stop: Stop | None = None) -> list[str]:
    async with aclosing(model.generate(prompt, stop or Stop())) as deltas:  # type: ignore[type-var]
        return [delta.text async for delta in deltas]


class TestEveryLanguageModel:
    async def test_answers_in_pieces_none_of_them_empty(self, model: LanguageModel) -> None:
        deltas = [delta async for delta in model.generate(asking("Say hello."), Stop())]
        assert len(deltas) > 1
        assert all(delta.text or delta.cut_short or delta.usage for delta in deltas)

    async def test_answers_several_at_once(self, model: LanguageModel) -> None:
        prompts = [asking(f"Count to {n}.", session=str(n)) for n in range(3)]
        assert all(await asyncio.gather(*(answer(model, prompt) for prompt in prompts)))

    async def test_leaves_at_the_next_token_when_stopped(self, model: LanguageModel) -> None:
        stop, heard = Stop(), 0
        async for _ in model.generate(asking("Tell me a long story.", max_tokens=400), stop):
            heard += 1
            stop.set()
        assert heard == 1
        assert await answer(model, asking("Say hello."))

    async def test_does_not_work_for_someone_who_has_gone(self, model: LanguageModel) -> None:
        stop = Stop()
        stop.set()
        assert await answer(model, asking("Say hello."), stop) == []

    def test_says_what_it_is(self, model: LanguageModel) -> None:
        assert model.info.name in {"scripted", "openai", "llama-cpp"}


@pytest.mark.models
class TestLlamaCpp:
    async def test_keeps_to_the_length_it_is_given(self, models_dir: Path) -> None:
        model = LlamaCppLanguageModel(models_dir, 1, 2)
        await model.start()
        prompt = asking("Tell me a story.", max_tokens=5)
        short = [delta async for delta in model.generate(prompt, Stop())]
        await model.close()
        assert 1 <= len([delta for delta in short if delta.text]) <= 5
        assert short[-1].usage is not None
        assert short[-1].usage.reply_tokens <= 5
        cut_short = [delta.cut_short for delta in short[:-1]]
        assert cut_short == [False] * (len(cut_short) - 1) + [True]

    async def test_goes_on_from_what_it_has_said(self, models_dir: Path) -> None:
        model = LlamaCppLanguageModel(models_dir, 1, 2)
        await model.start()
        prompt = asking("Count from one to ten.", session="ada")
        begun = "One, two, three, four,"
        rest = "".join(await answer(model, replace(prompt, begun=begun, max_tokens=8)))
        await model.close()
        assert rest.strip().lower().startswith("five")

    async def test_a_prompt_over_its_context_fails_and_the_next_is_answered(
        self, models_dir: Path
    ) -> None:
        model = LlamaCppLanguageModel(models_dir, 1, 2)
        await model.start()
        with pytest.raises(LlmFailed, match="context"):
            await answer(model, asking("word " * (CONTEXT_TOKENS + 1)))
        assert await answer(model, asking("Say hello."))
        await model.close()

    async def test_says_what_is_missing_and_the_mend(self, tmp_path: Path) -> None:
        model = LlamaCppLanguageModel(tmp_path, 1, 1)
        with pytest.raises(ModelMissing, match="antiphon models pull smollm2"):
            await model.start()
        await model.close()


class TestSlotBook:
    def test_a_conversation_comes_back_to_its_slot(self) -> None:
        book = SlotBook(2)
        first, its_own = book.take("ada")
        assert first is not None
        assert not its_own
        book.give_back(first, "ada")
        second, _ = book.take("bob")
        assert second is not None
        assert second != first
        book.give_back(second, "bob")
        assert book.take("ada") == (first, True)

    def test_a_new_one_takes_the_slot_silent_longest(self) -> None:
        book = SlotBook(2)
        for name in ("ada", "bob", "ada"):
            slot, _ = book.take(name)
            assert slot is not None
            book.give_back(slot, name)
        bobs, its_own = book.take("cy")
        assert bobs is not None
        assert not its_own
        book.give_back(bobs, "cy")
        assert book.take("bob") == (1 - bobs, False)  # ada's: cy has spoken since

    def test_nobody_owns_what_nobody_signed(self) -> None:
        book = SlotBook(1)
        slot, _ = book.take("")
        assert slot is not None
        book.give_back(slot, "")
        assert book.take("") == (slot, False)

    def test_whose_slot_is_at_work_for_them_waits_there(self) -> None:
        book = SlotBook(2)
        slot, _ = book.take("ada")
        assert slot is not None
        assert book.take("ada") == (slot, True)
        book.give_back(slot, "ada")
        assert book.take("bob") == (1 - slot, False)
        book.give_back(slot, "ada")
        assert book.take("ada") == (slot, True)

    def test_when_all_are_at_work_none_is_named(self) -> None:
        book = SlotBook(1)
        assert book.take("ada") == (0, False)
        assert book.take("bob") == (None, False)
        book.give_back(0, "ada")
        assert book.take("bob") == (0, False)
