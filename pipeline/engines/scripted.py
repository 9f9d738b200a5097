"""Engines that follow a script: for tests and load runs. No models, set texts, set latencies."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import AsyncIterator
from functools import cache

import numpy as np

from pipeline.config import ScriptConfig
from pipeline.engines.ports import (
    SPEECH_HZ,
    Delta,
    EngineInfo,
    Float32,
    Prompt,
    SpeechRequest,
    SpeechWindow,
    Stop,
    TextDelta,
    ToolDelta,
    Transcript,
    Voice,
    Word,
)
from pipeline.errors import NotFound, Unspeakable

FRAME_SAMPLES = 512
SPEECH_RMS = 0.01
"""-40 dBFS: a frame louder than this counts as speech."""

TONE_HZ = {"tone": 220.0, "tone-low": 110.0}
TONE_RATE_HZ = 24_000
TONE_PEAK = 0.3
FADE_S = 0.005


class _Scripted:
    """What the scripted engines share: nothing to load, and a name that hides nothing."""

    def __init__(self, script: ScriptConfig | None = None) -> None:
        self._script = script or ScriptConfig()

    @property
    def info(self) -> EngineInfo:
        return EngineInfo(name="scripted", model="scripted")

    async def start(self) -> None:
        """Nothing to load."""

    async def close(self) -> None:
        """Nothing to free."""


class ScriptedTranscriber(_Scripted):
    """Hears the set text in any window with a loud frame in it, and nothing in a silent one."""

    @property
    def languages(self) -> frozenset[str]:
        return frozenset({"en"})

    async def transcribe(self, window: SpeechWindow, stop: Stop) -> Transcript:
        await asyncio.sleep(self._script.stt_s)
        if stop.is_set or not _is_loud(_frames(window.audio)).any():
            return Transcript("", "en", no_speech=1.0)
        text = self._script.stt_text.strip()
        words = _evenly(text, len(window.audio)) if window.word_times else ()
        return Transcript(text, "en", tokens=len(text.split()), words=words)


class ScriptedVoiceActivity(_Scripted):
    """Speech is what is loud; it remembers nothing."""

    @property
    def frame_samples(self) -> int:
        return FRAME_SAMPLES

    def initial_state(self) -> Float32:
        return np.zeros(1, np.float32)

    def score(self, frames: Float32, states: Float32) -> tuple[Float32, Float32]:
        """Give (n, 512) frames 1.0 where loud, else 0.0, shape (n,); states as they were."""
        return _is_loud(frames).astype(np.float32), states


class ScriptedEndOfTurn(_Scripted):
    """Sure that the turn is over as soon as the last 32 ms are quiet."""

    async def probability(self, audio: Float32, stop: Stop) -> float:
        ended = not _is_loud(_frames(audio[-FRAME_SAMPLES:])).any()
        return 1.0 if ended and not stop.is_set else 0.0


class ScriptedSynthesizer(_Scripted):
    """Voices a text as a tone of its length, in chunks of 100 ms."""

    @property
    def rate_hz(self) -> int:
        return TONE_RATE_HZ

    @property
    def voices(self) -> tuple[Voice, ...]:
        return tuple(Voice(name, "en-us") for name in TONE_HZ)

    async def synthesize(self, request: SpeechRequest, stop: Stop) -> AsyncIterator[Float32]:
        if request.voice not in TONE_HZ:
            raise NotFound(f"there is no voice {request.voice!r}")
        if not any(character.isalnum() for character in request.text):
            raise Unspeakable("nothing to voice in this text")
        length_s = len(request.text) * self._script.tts_s_per_char / request.speed
        audio = _tone(TONE_HZ[request.voice], length_s)
        chunk = round(self._script.tts_chunk_s * TONE_RATE_HZ)
        wait_s = self._script.tts_first_s
        for begin in range(0, len(audio), chunk):
            await asyncio.sleep(wait_s)
            if stop.is_set:
                return
            yield audio[begin : begin + chunk]
            wait_s = self._script.tts_chunk_s * self._script.tts_rtf


class ScriptedLanguageModel(_Scripted):
    """Says the set text word by word, whatever it is asked.

    `{user}` in it becomes the user's last message, `{n}` the number of messages in the prompt.

    A tool that the user's last message names is called, with that message as its `text`; so is one
    that must be. What a tool answers is read out.
    """

    @property
    def breath_tokens(self) -> int | None:
        return None

    async def generate(self, prompt: Prompt, stop: Stop) -> AsyncIterator[Delta]:
        wait_s = self._script.llm_first_token_s
        if (tool := _wanted_tool(prompt)) is not None:
            arguments = json.dumps({"text": _last_words(prompt)})
            middle = len(arguments) // 2
            for delta in (
                ToolDelta(0, tool),
                ToolDelta(0, arguments=arguments[:middle]),
                ToolDelta(0, arguments=arguments[middle:]),
            ):
                await asyncio.sleep(wait_s)
                if stop.is_set:
                    return
                yield delta
                wait_s = 1 / self._script.llm_tokens_per_s
            return
        words = self._words(prompt)
        for number, word in enumerate(words[: prompt.max_tokens], 1):
            await asyncio.sleep(wait_s)
            if stop.is_set:
                return
            yield TextDelta(word, cut_short=prompt.max_tokens == number < len(words))
            wait_s = 1 / self._script.llm_tokens_per_s

    def _words(self, prompt: Prompt) -> list[str]:
        text = self._script.llm_text.replace("{n}", str(len(prompt.messages)))
        text = text.replace("{user}", _last_words(prompt))
        if prompt.messages and prompt.messages[-1].role == "tool":
            text = f"The tool says {prompt.messages[-1].content}."
        for end in prompt.stop_sequences:
            text = text.partition(end)[0]
        # Each word with the space before it; the pieces add up to the text.
        return re.findall(r"\s*\S+(?:\s+$)?", text)


def _evenly(text: str, samples: int) -> tuple[Word, ...]:
    """Its words, each as long as the others."""
    pieces = re.findall(r"\s*\S+", text)
    each_s = samples / SPEECH_HZ / max(1, len(pieces))
    return tuple(
        Word(piece, number * each_s, (number + 1) * each_s, (number,))
        for number, piece in enumerate(pieces)
    )


def _last_words(prompt: Prompt) -> str:
    said = [message.content for message in prompt.messages if message.role == "user"]
    return said[-1] if said else ""


def _wanted_tool(prompt: Prompt) -> str | None:
    choice, names = prompt.tool_choice, [tool.name for tool in prompt.tools]
    answered = bool(prompt.messages) and prompt.messages[-1].role == "tool"
    if choice in names:
        return choice
    if not names or choice == "none" or answered:
        return None
    named = [name for name in names if name in _last_words(prompt)]
    return named[0] if named else names[0] if choice == "required" else None


def _frames(audio: Float32) -> Float32:
    """(n,) -> (m, 512), the last one filled up with silence."""
    padded = np.zeros(math.ceil(len(audio) / FRAME_SAMPLES) * FRAME_SAMPLES, np.float32)
    padded[: len(audio)] = audio
    return padded.reshape(-1, FRAME_SAMPLES)


def _is_loud(frames: Float32) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """(m, 512) -> (m,): whether each frame's RMS is above the threshold."""
    loud: np.ndarray[tuple[int, ...], np.dtype[np.bool_]] = (
        np.sqrt(np.mean(np.square(frames), axis=1)) > SPEECH_RMS
    )
    return loud


def _tone(hz: float, length_s: float) -> Float32:
    """A sine that swells and fades at its ends, so that no clause clicks."""
    size = max(1, round(length_s * TONE_RATE_HZ))
    tone = np.resize(_second_of(hz), size)
    fade = np.arange(min(size, round(FADE_S * TONE_RATE_HZ)), dtype=np.float32)
    fade /= round(FADE_S * TONE_RATE_HZ)
    tone[: len(fade)] *= fade
    tone[size - len(fade) :] *= fade[::-1]
    return tone


@cache
def _second_of(hz: float) -> Float32:
    """Whole periods, to be repeated. Made once: in a load run it is the server that is measured."""
    time_s = np.arange(TONE_RATE_HZ) / TONE_RATE_HZ
    second: Float32 = (TONE_PEAK * np.sin(2 * np.pi * hz * time_s)).astype(np.float32)
    return second
