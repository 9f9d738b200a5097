"""Every transcriber keeps the port's promises; the real ones also understand what was said."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import ScriptConfig
from pipeline.engines import whisper_rules
from pipeline.engines.faster_whisper import FasterWhisperTranscriber
from pipeline.engines.ports import SPEECH_HZ, Engine, Float32, SpeechWindow, Stop, Transcriber
from pipeline.engines.scripted import ScriptedTranscriber
from pipeline.engines.whisper_rules import WhisperProfile
from pipeline.errors import GpuOutOfMemory, ModelMissing, SttFailed
from tests.realtimestt import realtimestt

Clip = Callable[[str], Float32]

SPEECH = Path(__file__).parents[1] / "speech"


def words_of(text: str) -> list[str]:
    """Words without case and punctuation."""
    return re.sub(r"[^a-z0-9' ]", " ", text.lower()).split()


def word_errors(said: list[str], heard: list[str]) -> int:
    """Substitutions, insertions and deletions (Levenshtein)."""
    row = list(range(len(heard) + 1))
    for i, word in enumerate(said, start=1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(heard, start=1):
            diagonal, row[j] = (
                row[j],
                min(row[j] + 1, row[j - 1] + 1, diagonal + (word != other)),
            )
    return row[-1]


def noise(seconds: float, peak: float) -> Float32:
    samples = np.random.default_rng(7).uniform(-peak, peak, round(seconds * SPEECH_HZ))
    return samples.astype(np.float32)


def silence(seconds: float) -> Float32:
    return np.zeros(round(seconds * SPEECH_HZ), np.float32)


async def hear(engine: Transcriber, audio: Float32) -> str:
    return (await engine.transcribe(SpeechWindow(audio), Stop())).text


@asynccontextmanager
async def running(engine: Engine) -> AsyncIterator[None]:
    await engine.start()
    try:
        yield
    finally:
        await engine.close()


@pytest.fixture
async def whisper(models_dir: Path) -> AsyncIterator[FasterWhisperTranscriber]:
    engine = FasterWhisperTranscriber(models_dir, "tiny.en", slots=2, threads=1)
    async with running(engine):
        yield engine


TRANSCRIBERS: dict[str, Callable[[pytest.FixtureRequest], Transcriber]] = {
    "scripted": lambda _: ScriptedTranscriber(ScriptConfig(stt_s=0)),
    "faster-whisper": lambda test: FasterWhisperTranscriber(
        test.getfixturevalue("models_dir"), "tiny.en", 1, 1
    ),
    "faster-whisper in batches": lambda test: FasterWhisperTranscriber(
        test.getfixturevalue("models_dir"), "tiny.en", 1, 1, batch=8
    ),
    "realtimestt": lambda test: realtimestt(test.getfixturevalue("models_dir")),
}


@pytest.fixture(
    params=[
        pytest.param(name, marks=[] if name == "scripted" else [pytest.mark.models])
        for name in TRANSCRIBERS
    ]
)
async def transcriber(request: pytest.FixtureRequest) -> AsyncIterator[Transcriber]:
    engine = TRANSCRIBERS[request.param](request)
    async with running(engine):
        yield engine


class TestEveryTranscriber:
    async def test_finds_words_in_speech(self, transcriber: Transcriber, clip: Clip) -> None:
        transcript = await transcriber.transcribe(SpeechWindow(clip("jfk")), Stop())
        assert transcript.text
        assert transcript.text == transcript.text.strip()
        assert 0 <= transcript.no_speech < 0.5
        assert transcript.language in transcriber.languages

    @pytest.mark.parametrize("seconds", [0, 0.05, 1, 30])
    async def test_finds_no_words_in_silence(
        self, transcriber: Transcriber, seconds: float
    ) -> None:
        transcript = await transcriber.transcribe(SpeechWindow(silence(seconds)), Stop())
        assert transcript.text == ""
        assert transcript.no_speech > 0.5

    async def test_does_not_work_for_someone_who_has_gone(
        self, transcriber: Transcriber, clip: Clip
    ) -> None:
        stop = Stop()
        stop.set()
        assert (await transcriber.transcribe(SpeechWindow(clip("jfk")), stop)).text == ""

    async def test_leaves_the_audio_as_it_was(self, transcriber: Transcriber, clip: Clip) -> None:
        audio = clip("LJ001-0008")
        before = audio.copy()
        await hear(transcriber, audio)
        np.testing.assert_array_equal(audio, before)

    async def test_tells_when_each_word_was_said_to_whoever_asks(
        self, transcriber: Transcriber, clip: Clip
    ) -> None:
        audio = clip("jfk")
        asked = await transcriber.transcribe(SpeechWindow(audio, word_times=True), Stop())
        unasked = await transcriber.transcribe(SpeechWindow(audio), Stop())
        assert asked.text == unasked.text
        assert unasked.words == ()
        assert "".join(word.text for word in asked.words).strip() == asked.text
        times = [time for word in asked.words for time in (word.start_s, word.end_s)]
        assert times == sorted(times)
        assert 0 <= times[0] < times[-1] <= len(audio) / SPEECH_HZ
        assert asked.tokens >= len(asked.words)

    def test_says_what_it_is(self, transcriber: Transcriber) -> None:
        assert transcriber.info.name in TRANSCRIBERS
        assert transcriber.info.model


async def test_the_scripted_one_hears_its_script(clip: Clip) -> None:
    engine = ScriptedTranscriber(ScriptConfig(stt_text=" so be it ", stt_s=0))
    assert await hear(engine, clip("jfk")) == "so be it"


@pytest.mark.models
class TestWhisper:
    async def test_understands_the_clips(
        self, whisper: FasterWhisperTranscriber, clip: Clip
    ) -> None:
        errors = total = 0
        for spoken in json.loads((SPEECH / "clips.json").read_text()):
            said = words_of(spoken["words"])
            heard = words_of(await hear(whisper, clip(Path(spoken["file"]).stem)))
            errors += word_errors(said, heard)
            total += len(said)
        assert errors / total <= 0.05

    async def test_gives_each_of_two_speakers_their_own_words(
        self, whisper: FasterWhisperTranscriber, clip: Clip
    ) -> None:
        modern, surpassed = await asyncio.gather(
            hear(whisper, clip("LJ001-0002")), hear(whisper, clip("LJ001-0008"))
        )
        assert "modern" in modern
        assert "surpassed" in surpassed

    @pytest.mark.parametrize("peak", [0.005, 0.05, 0.3])
    async def test_takes_noise_for_noise(
        self, whisper: FasterWhisperTranscriber, peak: float
    ) -> None:
        assert await hear(whisper, noise(2, peak)) == ""

    async def test_takes_hum_for_noise(self, whisper: FasterWhisperTranscriber) -> None:
        time_s = np.arange(2 * SPEECH_HZ) / SPEECH_HZ
        for hz in (50, 440):
            tone = (0.2 * np.sin(2 * np.pi * hz * time_s)).astype(np.float32)
            assert await hear(whisper, tone) == ""

    async def test_hears_a_far_away_speaker(
        self, whisper: FasterWhisperTranscriber, clip: Clip
    ) -> None:
        assert "surpassed" in await hear(whisper, clip("LJ001-0008") * np.float32(0.02))

    async def test_hears_a_full_30_seconds_and_no_more(
        self, whisper: FasterWhisperTranscriber, clip: Clip
    ) -> None:
        speech = clip("jfk")
        audio = np.concatenate([speech, silence(30)])[: 30 * SPEECH_HZ]
        assert "country" in await hear(whisper, audio)
        with pytest.raises(SttFailed, match="30 s"):
            await hear(whisper, np.append(audio, np.float32(0)))

    async def test_has_one_language_whatever_is_asked(
        self, whisper: FasterWhisperTranscriber, clip: Clip
    ) -> None:
        window = SpeechWindow(clip("LJ001-0008"), language="fr")
        transcript = await whisper.transcribe(window, Stop())
        assert transcript.language == "en"
        assert "surpassed" in transcript.text

    async def test_knows_when_a_word_was_said(
        self, whisper: FasterWhisperTranscriber, clip: Clip
    ) -> None:
        lead = silence(2)
        audio = np.concatenate([lead, clip("LJ001-0008")])
        words = (await whisper.transcribe(SpeechWindow(audio, word_times=True), Stop())).words
        assert words[-1].text == " surpassed."
        assert 2.5 < words[-1].start_s < words[-1].end_s <= 3.9  # the clip ends at 3.8 s

    async def test_spells_as_the_prompt_does(
        self, whisper: FasterWhisperTranscriber, clip: Clip
    ) -> None:
        audio = clip("LJ001-0004")
        plain = await whisper.transcribe(SpeechWindow(audio), Stop())
        prompted = SpeechWindow(audio, prompt="The printers made BLOCKBOOKS, and more BLOCKBOOKS.")
        assert "BLOCKBOOKS" not in plain.text
        assert "BLOCKBOOKS" in (await whisper.transcribe(prompted, Stop())).text

    async def test_takes_a_prompt_of_any_length(
        self, whisper: FasterWhisperTranscriber, clip: Clip
    ) -> None:
        window = SpeechWindow(clip("LJ001-0008"), prompt="One word after the other. " * 200)
        assert "surpassed" in (await whisper.transcribe(window, Stop())).text

    async def test_draws_words_at_the_temperature_it_is_given(
        self, whisper: FasterWhisperTranscriber, clip: Clip
    ) -> None:
        transcript = await whisper.transcribe(
            SpeechWindow(clip("LJ001-0008"), temperature=0.2), Stop()
        )
        assert transcript.temperature >= 0.2

    async def test_says_that_words_are_broken_off(
        self, whisper: FasterWhisperTranscriber, clip: Clip, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(whisper_rules, "MOST_TOKENS", 5)
        assert (await whisper.transcribe(SpeechWindow(clip("jfk")), Stop())).broken

    async def test_listens_again_when_a_short_window_made_it_stammer(
        self, models_dir: Path, clip: Clip, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        too_short = WhisperProfile(shortest_window_s=3, margin_s=1)
        monkeypatch.setitem(whisper_rules.PROFILES, "tiny.en", too_short)
        engine = FasterWhisperTranscriber(models_dir, "tiny.en", slots=1, threads=1)
        async with running(engine):
            # On 3 s alone: "in being comparatively modern, in being comparatively modern, in..."
            assert await hear(engine, clip("LJ001-0002")) == "in being comparatively modern."

    @pytest.mark.parametrize(
        ("cause", "error"),
        [
            (RuntimeError("CUDA failed with error out of memory"), GpuOutOfMemory),
            (RuntimeError("CUDA failed with error device lost"), SttFailed),
            (ValueError("a shape that does not fit"), SttFailed),
        ],
    )
    async def test_says_in_its_own_terms_what_went_wrong(
        self,
        whisper: FasterWhisperTranscriber,
        monkeypatch: pytest.MonkeyPatch,
        cause: Exception,
        error: type[Exception],
    ) -> None:
        def fail(*_: object) -> None:
            raise cause

        monkeypatch.setattr(whisper._whisper, "_encode", fail)
        with pytest.raises(error):
            await hear(whisper, noise(1, 0.3))


async def test_a_missing_model_is_named_with_the_mend(tmp_path: Path) -> None:
    engine = FasterWhisperTranscriber(tmp_path, "tiny.en", slots=1, threads=1)
    with pytest.raises(ModelMissing, match=r"antiphon models pull whisper-tiny\.en"):
        await engine.start()
    await engine.close()


async def test_an_engine_that_is_not_running_fails_the_request(tmp_path: Path) -> None:
    engine = FasterWhisperTranscriber(tmp_path, "tiny.en", slots=1, threads=1)
    with pytest.raises(SttFailed):
        await hear(engine, noise(1, 0.3))
    await engine.close()
