"""Every synthesizer keeps the port's promises; Kokoro also pronounces, trims and splits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import ScriptConfig
from pipeline.engines import g2p, g2p_east
from pipeline.engines.kokoro_onnx import KokoroOnnxSynthesizer
from pipeline.engines.kokoro_sound import (
    FADE_MS,
    LONGEST_PHONEMES,
    RATE_HZ,
    finish,
    load_style,
)
from pipeline.engines.ports import Float32, SpeechRequest, Stop, Synthesizer
from pipeline.engines.scripted import ScriptedSynthesizer
from pipeline.errors import ModelMissing, NotFound, TtsFailed, Unspeakable
from tests.kokoro_torch import kokoro_torch
from tests.piper_voice import piper

Build = Callable[[pytest.FixtureRequest], Synthesizer]

SYNTHESIZERS: dict[str, Build] = {
    "scripted": lambda _: ScriptedSynthesizer(ScriptConfig(tts_first_s=0, tts_rtf=0)),
    "kokoro-onnx": lambda test: KokoroOnnxSynthesizer(test.getfixturevalue("models_dir"), 2),
    "kokoro": lambda _: kokoro_torch(),
    "piper": lambda test: piper(test.getfixturevalue("models_dir")),
}
NEED_MODELS = {"kokoro-onnx", "piper"}

NOTHING_TO_SAY = ["", "   ", "...", "?!", "—", "\n\t", "***", "😀", "👍🏽 🎉"]


def _parameters() -> list[object]:
    return [
        pytest.param(name, marks=[pytest.mark.models] if name in NEED_MODELS else [])
        for name in SYNTHESIZERS
    ]


@pytest.fixture(params=_parameters())
async def synthesizer(request: pytest.FixtureRequest) -> AsyncIterator[Synthesizer]:
    engine = SYNTHESIZERS[request.param](request)
    await engine.start()
    yield engine
    await engine.close()


@pytest.fixture
async def kokoro(models_dir: Path) -> AsyncIterator[KokoroOnnxSynthesizer]:
    engine = KokoroOnnxSynthesizer(models_dir, 2)
    await engine.start()
    yield engine
    await engine.close()


async def say(
    engine: Synthesizer,
    text: str,
    voice: str | None = None,
    *,
    speed: float = 1.0,
    language: str | None = None,
    stop: Stop | None = None,
) -> list[Float32]:
    request = SpeechRequest(text, voice or engine.voices[0].name, speed, language)
    return [chunk async for chunk in engine.synthesize(request, stop or Stop())]


class TestEverySynthesizer:
    async def test_voices_a_clause_as_sound_that_can_be_played(
        self, synthesizer: Synthesizer
    ) -> None:
        audio = np.concatenate(await say(synthesizer, "Sure, I can help with that."))
        assert audio.dtype == np.float32
        assert audio.ndim == 1
        assert np.isfinite(audio).all()
        assert 0.05 < np.abs(audio).max() <= 1.0
        assert 0.5 < audio.size / synthesizer.rate_hz < 6

    async def test_begins_and_ends_without_a_click(self, synthesizer: Synthesizer) -> None:
        audio = np.concatenate(await say(synthesizer, "Sure."))
        assert np.abs(audio[[0, -1]]).max() < 0.001

    async def test_speaks_faster_when_asked(self, synthesizer: Synthesizer) -> None:
        text = "I would rather have the report today."
        slow, fast = [
            np.concatenate(await say(synthesizer, text, speed=speed)) for speed in (0.75, 1.5)
        ]
        assert fast.size < slow.size

    @pytest.mark.parametrize("speed", [0.25, 4.0])
    async def test_takes_every_speed_that_the_protocol_allows(
        self, synthesizer: Synthesizer, speed: float
    ) -> None:
        assert np.concatenate(await say(synthesizer, "Hello.", speed=speed)).size

    @pytest.mark.parametrize("text", NOTHING_TO_SAY)
    async def test_says_so_when_there_is_nothing_to_voice(
        self, synthesizer: Synthesizer, text: str
    ) -> None:
        with pytest.raises(Unspeakable):
            await say(synthesizer, text)
        assert await say(synthesizer, "Still here.")

    async def test_knows_its_voices_by_name(self, synthesizer: Synthesizer) -> None:
        names = [voice.name for voice in synthesizer.voices]
        assert len(set(names)) == len(names) > 0
        with pytest.raises(NotFound):
            await say(synthesizer, "Hello.", "nobody")

    async def test_does_not_work_for_someone_who_has_gone(self, synthesizer: Synthesizer) -> None:
        stop = Stop()
        stop.set()
        assert await say(synthesizer, "Hello.", stop=stop) == []

    async def test_leaves_at_the_next_chunk_when_stopped(self, synthesizer: Synthesizer) -> None:
        stop, chunks = Stop(), 0
        request = SpeechRequest("One sentence more. " * 40, synthesizer.voices[0].name, 2.0)
        async for _ in synthesizer.synthesize(request, stop):
            chunks += 1
            stop.set()
        assert chunks == 1


@pytest.mark.models
class TestKokoro:
    async def test_offers_the_voices_whose_language_it_speaks(
        self, kokoro: KokoroOnnxSynthesizer
    ) -> None:
        languages = {voice.name: voice.language for voice in kokoro.voices}
        assert languages["af_heart"] == "en-us"
        assert languages["bf_emma"] == "en-gb"
        assert languages["ff_siwis"] == "fr-fr"
        for letter, language in (("j", "ja"), ("z", "zh")):
            spoken = any(name[0] == letter for name in languages)
            assert spoken == g2p_east.is_here(language)

    async def test_leaves_only_a_breath_of_silence_around_a_clause(
        self, kokoro: KokoroOnnxSynthesizer
    ) -> None:
        audio = np.abs(np.concatenate(await say(kokoro, "Sure, I can help.", "af_heart")))
        loud = np.flatnonzero(audio > audio.max() / 100)
        assert loud[0] / RATE_HZ < 0.1
        assert (audio.size - loud[-1]) / RATE_HZ < 0.3

    async def test_voices_a_text_longer_than_its_context_in_several_chunks(
        self, kokoro: KokoroOnnxSynthesizer
    ) -> None:
        text = "The river runs along the valley. " * 18
        chunks = await say(kokoro, text, "af_heart", speed=2.0)
        assert len(chunks) == len(g2p.pieces(g2p.phonemes(text, "en-us"), LONGEST_PHONEMES)) > 1
        assert all(np.abs(chunk[[0, -1]]).max() == 0 for chunk in chunks)

    async def test_a_voice_speaks_another_language_when_asked(
        self, kokoro: KokoroOnnxSynthesizer
    ) -> None:
        own = np.concatenate(await say(kokoro, "table orange", "af_heart"))
        french = np.concatenate(await say(kokoro, "table orange", "af_heart", language="fr"))
        assert own.size != french.size
        with pytest.raises(NotFound):
            await say(kokoro, "Hello.", "af_heart", language="tlh")

    async def test_of_texts_that_come_at_once_each_is_said_as_by_itself(
        self, kokoro: KokoroOnnxSynthesizer
    ) -> None:
        async def say(text: str, voice: str) -> Float32:
            request = SpeechRequest(text, voice)
            return np.concatenate([chunk async for chunk in kokoro.synthesize(request, Stop())])

        first, second = kokoro.voices[0].name, kokoro.voices[1].name
        asked = [("Sure, I can help.", first), ("It rains today.", first), ("Sure.", second)]
        alone = [await say(*one) for one in asked]
        at_once = await asyncio.gather(*(say(*one) for one in asked))
        for by_itself, beside in zip(alone, at_once, strict=True):
            np.testing.assert_array_equal(by_itself, beside)

    async def test_two_instances_share_the_voices(self, models_dir: Path) -> None:
        path = models_dir / "kokoro-voices" / "af_heart.bin"
        style = load_style(path)
        assert style.shape == (510, 1, 256)
        assert load_style(path) is style
        assert not style.flags.writeable

    async def test_says_what_is_missing_and_the_mend(self, tmp_path: Path) -> None:
        engine = KokoroOnnxSynthesizer(tmp_path, 1)
        with pytest.raises(ModelMissing, match=r"antiphon models pull kokoro"):
            await engine.start()
        await engine.close()


class TestFinish:
    def test_sound_is_faded_at_both_ends(self) -> None:
        audio = finish(np.full(RATE_HZ, 0.5, np.float32))
        edge = RATE_HZ * FADE_MS // 1000
        assert audio[0] == audio[-1] == 0
        assert np.abs(np.diff(audio)).max() < 0.5 / (edge - 2)

    def test_a_peak_over_one_is_brought_down_not_cut_off(self) -> None:
        loud = 3 * np.sin(np.arange(RATE_HZ, dtype=np.float32) / 20)
        assert np.abs(finish(loud)).max() == pytest.approx(1.0, abs=0.001)

    @pytest.mark.parametrize("sample", [np.nan, np.inf, 0.0])
    def test_what_is_no_sound_is_never_played(self, sample: float) -> None:
        with pytest.raises(TtsFailed):
            finish(np.full(RATE_HZ, sample, np.float32))

    def test_no_samples_at_all_are_a_failure(self) -> None:
        with pytest.raises(TtsFailed):
            finish(np.zeros(0, np.float32))
