"""Long recordings, heard by the real recogniser: nothing is lost where windows meet."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import numpy as np
import pytest

from benchmarks.clips import Clip, clips
from benchmarks.wer import WordErrors, word_errors
from pipeline.audio import pcm16_to_float
from pipeline.engines.faster_whisper import FasterWhisperTranscriber
from pipeline.engines.ports import SPEECH_HZ, Float32, SpeechWindow, Stop
from pipeline.engines.silero import SileroVoiceActivity
from pipeline.file_audio import FileAudio
from pipeline.pool import STT, ResourcePool
from pipeline.transcribing import Passage, Transcribing, Wish
from server.cli.wav import read_wav
from tests.recordings import encoded, silence, wav

pytestmark = pytest.mark.models

ORDER = (0, 1, 2, 3, 4, 5, 2, 4, 0, 3, 5, 1)
"""Each clip twice, and never after the same one: 56 s."""


class Nobody:
    def queued(self, seconds: float, position: int) -> None: ...


class Listener:
    """A recogniser and a detector, and the pool in between."""

    def __init__(self, models_dir: Path) -> None:
        self.whisper = FasterWhisperTranscriber(models_dir, "tiny.en", slots=1, threads=2)
        self.vad = SileroVoiceActivity(models_dir)

    async def passages(self, file: bytes) -> list[Passage]:
        async with (
            ResourcePool({STT: [self.whisper]}) as pool,
            FileAudio(io.BytesIO(file), self.vad, 3_600) as audio,
        ):
            transcribing = Transcribing(Wish(), "test", pool, Nobody())
            async with aclosing(transcribing.passages(audio.stretches())) as passages:
                return [passage async for passage in passages]


@pytest.fixture
async def listener(models_dir: Path) -> AsyncIterator[Listener]:
    listener = Listener(models_dir)
    await listener.whisper.start()
    await listener.vad.start()
    yield listener
    await listener.whisper.close()
    await listener.vad.close()


def samples(clip: Clip) -> Float32:
    return pcm16_to_float(read_wav(clip.path).samples.tobytes())


def joined(pause_s: float) -> tuple[Float32, list[float]]:
    """The clips one after the other, and when each begins."""
    pieces: list[Float32] = []
    begins = []
    for number in ORDER:
        begins.append(sum(map(len, pieces)) / SPEECH_HZ)
        pieces += [samples(clips()[number]), silence(pause_s)]
    return np.concatenate(pieces), begins


@pytest.mark.parametrize("pause_s", [0.0, 0.4, 2.5])
async def test_a_long_file_is_understood_as_well_as_its_parts(
    listener: Listener, pause_s: float
) -> None:
    alone = WordErrors(0, 0)
    for number in ORDER:
        clip = clips()[number]
        window = SpeechWindow(samples(clip))
        alone += word_errors(clip.words, (await listener.whisper.transcribe(window, Stop())).text)
    passages = await listener.passages(wav(joined(pause_s)[0]))
    said = " ".join(clips()[number].words for number in ORDER)
    together = word_errors(said, " ".join(passage.text for passage in passages))
    assert together.rate <= alone.rate + 0.02, f"{together} together, {alone} alone"


async def test_words_are_where_they_were_said(listener: Listener) -> None:
    sound, begins = joined(1.0)
    passages = await listener.passages(wav(sound))
    words = [word for passage in passages for word in passage.words]
    country = [word for word in words if "country." in word.text]
    expected = [begins[place] + 10.2 for place, number in enumerate(ORDER) if number == 0]
    assert [word.start_s for word in country] == pytest.approx(expected, abs=0.3)
    surpassed = [word for word in words if "surpassed" in word.text]
    expected = [begins[place] + 0.95 for place, number in enumerate(ORDER) if number == 4]
    assert [word.start_s for word in surpassed] == pytest.approx(expected, abs=0.4)


async def test_an_mp3_is_understood_as_well(listener: Listener) -> None:
    clip = clips()[4]
    sound = np.repeat(samples(clip), 3)  # to 48 kHz, roughly
    passages = await listener.passages(encoded("mp3", "libmp3lame", sound))
    assert "surpassed" in " ".join(passage.text for passage in passages)


async def test_ten_minutes_of_hum_say_nothing(listener: Listener) -> None:
    time_s = np.arange(600 * SPEECH_HZ) / SPEECH_HZ
    hum = (0.05 * np.sin(2 * np.pi * 50 * time_s)).astype(np.float32)
    assert await listener.passages(wav(hum)) == []
