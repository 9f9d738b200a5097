"""The scripted engines keep to their script, say what they are, and stop when told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.config import ScriptConfig
from pipeline.engines.ports import Float32, Message, Prompt, SpeechRequest, Stop
from pipeline.engines.scripted import ScriptedLanguageModel, ScriptedSynthesizer
from pipeline.errors import NotFound, Unspeakable

AT_ONCE = ScriptConfig(stt_s=0, llm_first_token_s=0, llm_tokens_per_s=1e9, tts_first_s=0, tts_rtf=0)


def asking(*texts: str) -> Prompt:
    return Prompt((Message("system", "Be brief."), *(Message("user", text) for text in texts)))


async def say(prompt: Prompt, script: ScriptConfig = AT_ONCE) -> list[str]:
    return [delta.text async for delta in ScriptedLanguageModel(script).generate(prompt, Stop())]


async def voice(
    text: str, name: str = "tone", speed: float = 1.0, script: ScriptConfig = AT_ONCE
) -> list[Float32]:
    request = SpeechRequest(text, name, speed)
    return [chunk async for chunk in ScriptedSynthesizer(script).synthesize(request, Stop())]


class TestLanguageModel:
    @pytest.mark.parametrize("text", ["One. Two three.", " spaced  out ", "a\nb\n", "", "   ", "x"])
    async def test_says_its_text_word_by_word(self, text: str) -> None:
        pieces = await say(asking("hello"), replace(AT_ONCE, llm_text=text))
        assert all(pieces)
        assert len(pieces) == len(text.split())
        assert "".join(pieces) == (text if text.strip() else "")

    async def test_tells_two_users_apart(self) -> None:
        script = replace(AT_ONCE, llm_text="You said: {user} ({n})")
        assert "".join(await say(asking("red"), script)) == "You said: red (2)"
        assert "".join(await say(asking("red", "blue"), script)) == "You said: blue (3)"

    async def test_takes_what_a_user_says_literally(self) -> None:
        assert "".join(await say(asking("{n} {"), replace(AT_ONCE, llm_text="{user}"))) == "{n} {"

    async def test_keeps_to_the_limits_of_the_prompt(self) -> None:
        script = replace(AT_ONCE, llm_text="one two three. four")
        assert len(await say(replace(asking("go"), max_tokens=2), script)) == 2
        assert "".join(await say(replace(asking("go"), stop_sequences=(".",)), script)) == (
            "one two three"
        )

    async def test_leaves_at_the_next_word_when_stopped(self) -> None:
        stop, heard = Stop(), []
        async for delta in ScriptedLanguageModel(AT_ONCE).generate(asking("go"), stop):
            heard.append(delta.text)
            stop.set()
        assert len(heard) == 1


class TestSynthesizer:
    async def test_a_text_sounds_as_long_as_it_is(self) -> None:
        script = replace(AT_ONCE, tts_s_per_char=0.05)
        samples = sum(len(chunk) for chunk in await voice("ten chars!", script=script))
        assert samples == 0.5 * ScriptedSynthesizer().rate_hz

    async def test_speaks_faster_when_asked(self) -> None:
        normal = np.concatenate(await voice("some words"))
        fast = np.concatenate(await voice("some words", speed=2))
        assert len(fast) == pytest.approx(len(normal) / 2, abs=1)

    async def test_chunks_are_100_ms_and_join_without_a_click(self) -> None:
        chunks = await voice("a sentence of some length")
        assert {len(chunk) for chunk in chunks[:-1]} == {2_400}
        audio = np.concatenate(chunks)
        assert audio.dtype == np.float32
        assert 0.2 < np.abs(audio).max() <= 1.0
        steepest = 2 * np.pi * 220 / 24_000 * 0.3
        assert np.abs(np.diff(audio, prepend=0, append=0)).max() < 1.1 * steepest

    async def test_voices_sound_different(self) -> None:
        high, low = [np.concatenate(await voice("hm", name)) for name in ("tone", "tone-low")]
        assert not np.allclose(high, low)

    @pytest.mark.parametrize("text", ["", "  ", "...", "🙂 —"])
    async def test_what_has_no_sound_is_unspeakable(self, text: str) -> None:
        with pytest.raises(Unspeakable):
            await voice(text)

    async def test_there_is_no_other_voice(self) -> None:
        with pytest.raises(NotFound, match="nobody"):
            await voice("hello", "nobody")

    async def test_leaves_at_the_next_chunk_when_stopped(self) -> None:
        stop, chunks = Stop(), 0
        request = SpeechRequest("a rather long sentence", "tone")
        async for _ in ScriptedSynthesizer(AT_ONCE).synthesize(request, stop):
            chunks += 1
            stop.set()
        assert chunks == 1


def test_scripted_engines_say_so() -> None:
    for engine in (ScriptedLanguageModel(), ScriptedSynthesizer()):
        assert engine.info.name == engine.info.model == "scripted"
