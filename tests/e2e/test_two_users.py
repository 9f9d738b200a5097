"""Two people talk at once, each to their own Antiphon: real ears and voice, and a language model
that says back what it was given."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks.client import Turn, calling
from benchmarks.clips import SPEECH
from benchmarks.wer import word_errors, words
from server.cli.wav import read_wav
from tests.contract.chat_backend import ChatBackend, chat_backend, head, reply
from tests.e2e.conftest import HearAgain
from tests.support import ServerProcess, server_process

pytestmark = pytest.mark.models

MORNING, EVENING = "Good morning to you.", "What a fine evening."
"""The instructions of the two, and how the language model greets them."""

MORNING_CLIPS = {"LJ001-0002": "modern", "LJ001-0013": "operations"}
EVENING_CLIPS = {"LJ001-0008": "surpassed", "LJ001-0004": "printed"}
"""Their clips in order, with a word that is in no other."""


def say_back(backend: ChatBackend) -> None:
    """Answer every request with its instructions and its last words."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        messages = backend.requests[-1]["messages"]
        text = f"{messages[0]['content']} You said: {messages[-1]['content'].strip()}"
        writer.write(head() + reply(*(f"{word} " for word in text.split())))

    backend.answer = answer


@asynccontextmanager
async def server_with(backend: ChatBackend, models_dir: Path) -> AsyncIterator[ServerProcess]:
    # It asks the backend for its models as it starts, so it is awaited on another thread.
    server = server_process(ANTIPHON_MODELS_DIR=str(models_dir), ANTIPHON_LLM_BASE_URL=backend.url)
    started = await asyncio.to_thread(server.__enter__)
    try:
        yield started
    finally:
        await asyncio.to_thread(server.__exit__, None, None, None)


async def talk(url: str, instructions: str, names: dict[str, str]) -> list[Turn]:
    async with calling(url, instructions=instructions) as caller:
        return [await caller.say(read_wav(SPEECH / f"{name}.wav")) for name in names]


def prompts_of(backend: ChatBackend, instructions: str) -> list[list[dict[str, Any]]]:
    prompts = [request["messages"] for request in backend.requests]
    return [prompt for prompt in prompts if prompt[0]["content"].startswith(instructions)]


async def test_each_has_their_own_transcript_history_answer_and_audio(
    models_dir: Path, hear_again: HearAgain
) -> None:
    async with chat_backend() as backend, server_with(backend, models_dir) as server:
        say_back(backend)
        async with asyncio.TaskGroup() as both:
            morning = both.create_task(talk(server.ws_url, MORNING, MORNING_CLIPS))
            evening = both.create_task(talk(server.ws_url, EVENING, EVENING_CLIPS))
    for instructions, turns, own, others in (
        (MORNING, morning.result(), MORNING_CLIPS, EVENING_CLIPS),
        (EVENING, evening.result(), EVENING_CLIPS, MORNING_CLIPS),
    ):
        for turn, word in zip(turns, own.values(), strict=True):
            assert word in words(" ".join(turn.transcripts))
            assert turn.reply.text.startswith(instructions)
            assert word in words(turn.reply.text)
            said = await asyncio.to_thread(hear_again, turn.playback.audio.tobytes())
            assert word_errors(turn.reply.text, said).rate <= 0.2, said
        prompts = prompts_of(backend, instructions)
        for prompt in prompts:
            assert not set(words(str(prompt))) & set(others.values())
        first, second = own.values()
        assert any(
            first in words(str(prompt[:-1])) and second in words(str(prompt[-1]))
            for prompt in prompts
        ), "the second turn's prompt remembers the first turn"
    assert len(backend.requests) == sum(
        len(prompts_of(backend, instructions)) for instructions in (MORNING, EVENING)
    )
