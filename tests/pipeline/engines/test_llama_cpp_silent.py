"""A llama.cpp server that does not answer any more: closing it would stop the whole process."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pipeline.engines import llama_cpp
from pipeline.engines.llama_cpp import LlamaCppLanguageModel
from pipeline.engines.openai_llm import OpenAILanguageModel
from pipeline.engines.ports import Message, Prompt, Stop
from pipeline.errors import LlmStalled
from tests.contract.chat_backend import ChatBackend, chat_backend, head, reply, sends, stalls

GAP_S = 0.1


class Server:
    """Stands for the runtime's: what counts is who still refers to it."""

    closed = 0

    def __del__(self) -> None:
        Server.closed += 1


def served_by(backend: ChatBackend) -> LlamaCppLanguageModel:
    """A model that has started, whose server is the backend."""
    model = LlamaCppLanguageModel(Path(), slots=1, threads=1)
    model._server, model._url = Server(), backend.url.removesuffix("/v1")
    model._client = OpenAILanguageModel(backend.url, "m", first_token_s=GAP_S, gap_s=GAP_S)
    return model


async def stall(model: LlamaCppLanguageModel) -> None:
    with pytest.raises(LlmStalled):
        await answer(model)


async def answer(model: LlamaCppLanguageModel) -> str:
    prompt = Prompt((Message("user", "Hello."),))
    return "".join([delta.text async for delta in model.generate(prompt, Stop())])


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llama_cpp, "_LAST_WORD_S", 2 * GAP_S)
    monkeypatch.setattr(Server, "closed", 0)


async def test_one_that_hangs_is_left_behind_and_not_closed() -> None:
    async with chat_backend() as backend:
        backend.answer = stalls(head())
        model = served_by(backend)
        server = model._server
        await stall(model)
        await model.close()
        kept = sys.getrefcount(server)
        del server
        assert (kept, Server.closed) == (3, 0)  # ours, the call's, and the one that is never let go


async def test_one_that_answers_again_is_closed() -> None:
    async with chat_backend() as backend:
        backend.answer = stalls(head())
        model = served_by(backend)
        await stall(model)
        backend.answer = sends(head(200, "application/json"), b"{}")
        await model.close()
        assert Server.closed == 1


async def test_one_that_never_was_silent_is_closed_without_a_question() -> None:
    async with chat_backend() as backend:
        backend.answer = sends(head(), reply("Hello"))
        model = served_by(backend)
        assert await answer(model) == "Hello"
        await model.close()
        assert (Server.closed, len(backend.requests)) == (1, 1)
