"""Piper, the small voice: what it reads, where it breathes, and what is said without it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import EngineConfig
from pipeline.engines.build import build
from pipeline.engines.piper import (
    RATE_HZ,
    VOICE,
    PiperSynthesizer,
    readable,
)
from pipeline.engines.ports import Float32, SpeechRequest, Stop
from pipeline.errors import ModelMissing, NotFound, StartError, TtsFailed
from tests.piper_voice import piper as piper_or_skip

SCRIPTED = EngineConfig(
    models_dir=Path("nowhere"),
    stt_engine="scripted",
    tts_engine="scripted",
    llm_engine="scripted",
    vad_engine="scripted",
)


@pytest.fixture
async def piper(models_dir: Path) -> AsyncIterator[PiperSynthesizer]:
    engine = piper_or_skip(models_dir)
    await engine.start()
    yield engine
    await engine.close()


async def say(engine: PiperSynthesizer, text: str, **how: object) -> list[Float32]:
    request = replace(SpeechRequest(text, VOICE.name), **how)  # type: ignore[arg-type]
    return [chunk async for chunk in engine.synthesize(request, Stop())]


def silences_ms(audio: Float32) -> list[float]:
    """The stretches inside the sound that are quieter than -50 dBFS, in ms."""
    heard = np.flatnonzero(np.abs(audio) > 10 ** (-50 / 20))
    return [float(gap) for gap in np.diff(heard) / RATE_HZ * 1000]


class TestWithoutTheExtra:
    def test_a_setting_chooses_it_and_nothing_of_it_is_imported_before_the_start(self) -> None:
        program = f"""
import sys
from pathlib import Path, PosixPath
from pipeline.config import EngineConfig, ScriptConfig
from pipeline.engines.build import build
engines = build({replace(SCRIPTED, tts_engine="piper")!r})
assert engines.synthesizers[0].info.name == "piper"
assert "piper" not in sys.modules
"""
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    async def test_a_missing_package_is_told_with_the_mend(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setitem(sys.modules, "piper", None)
        monkeypatch.setitem(sys.modules, "piper.phonemize_espeak", None)
        engine = build(replace(SCRIPTED, tts_engine="piper")).synthesizers[0]
        with pytest.raises(StartError, match=r"piper-tts .*run `make setup EXTRAS=piper`") as told:
            await engine.start()
        assert "\n" not in str(told.value)
        await engine.close()

    async def test_who_has_not_started_it_gets_no_sound(self) -> None:
        engine = PiperSynthesizer(Path("nowhere"), 1)
        with pytest.raises(TtsFailed, match="not loaded"):
            await say(engine, "Hello.")
        await engine.close()

    @pytest.mark.parametrize(
        ("written", "read"),
        [
            ("Dr. Smith is in.", "Dr Smith is in."),
            ("J. R. Jones", "J R Jones"),
            ("the U.S. Army", "the U.S Army"),
            ("So do I. And you?", "So do I. And you?"),
            ("e.g. this", "e.g. this"),
            ("Wait... what?", "Wait, what?"),
            ("Yes — of course.", "Yes, of course."),
            ("one - two", "one, two"),
            ("well-known", "well-known"),
            ("...and so on", "and so on"),
            ("it is half past four,", "it is half past four,"),
            ("**Great!** 🎉", "Great!"),
        ],
    )
    def test_a_text_is_put_as_a_person_would_read_it(self, written: str, read: str) -> None:
        assert readable(written) == read


@pytest.mark.models
class TestPiper:
    async def test_has_one_english_voice(self, piper: PiperSynthesizer) -> None:
        assert [(voice.name, voice.language) for voice in piper.voices] == [
            ("en_US-joe-medium", "en-us")
        ]
        assert await say(piper, "Hello.", language="en-GB")
        with pytest.raises(NotFound, match="fr"):
            await say(piper, "Bonjour.", language="fr")

    async def test_leaves_only_a_breath_of_silence_around_a_clause(
        self, piper: PiperSynthesizer
    ) -> None:
        audio = np.concatenate(await say(piper, "Well, I can help."))
        heard = np.flatnonzero(np.abs(audio) > 10 ** (-50 / 20))
        assert heard[0] <= 0.02 * RATE_HZ
        assert len(audio) - heard[-1] <= 0.05 * RATE_HZ

    async def test_a_long_text_is_voiced_sentence_by_sentence_with_a_pause_between(
        self, piper: PiperSynthesizer
    ) -> None:
        text = "The river runs along the valley and on to the sea, where the boats are. " * 6
        chunks = await say(piper, text)
        assert len(chunks) > 1
        for chunk in chunks[1:]:
            opening = np.flatnonzero(np.abs(chunk) > 10 ** (-50 / 20))[0] / RATE_HZ
            assert 0.2 < opening < 0.35

    async def test_no_pause_stands_between_a_title_and_its_name(
        self, piper: PiperSynthesizer
    ) -> None:
        audio = np.concatenate(await say(piper, "Doctor Smith."))
        assert max(silences_ms(audio)) < 150
        dotted = np.concatenate(await say(piper, "Dr. Smith."))
        assert max(silences_ms(dotted)) < 150

    async def test_two_instances_speak_at_once_without_mixing_their_words(
        self, models_dir: Path
    ) -> None:
        pair = [piper_or_skip(models_dir, threads=1) for _ in range(2)]
        for engine in pair:
            await engine.start()
        texts = [f"This is number {number}." for number in range(30)]
        alone = [pair[0]._phonemes(text) for text in texts]

        async def read(engine: PiperSynthesizer) -> list[str]:
            return [await engine._worker.run(engine._phonemes, text) for text in texts]

        assert await asyncio.gather(*map(read, pair)) == [alone, alone]
        for engine in pair:
            await engine.close()

    async def test_says_what_is_missing_and_the_mend(
        self, models_dir: Path, tmp_path: Path
    ) -> None:
        piper_or_skip(models_dir)
        engine = PiperSynthesizer(tmp_path, 1)
        with pytest.raises(ModelMissing, match=r"antiphon models pull piper-en-us-joe"):
            await engine.start()
        await engine.close()
