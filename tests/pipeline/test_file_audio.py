"""A file on its way through decoder and detector, off the event loop."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import AsyncIterator

import numpy as np
import pytest

from pipeline import file_audio
from pipeline.engines.ports import SPEECH_HZ, Float32
from pipeline.engines.scripted import ScriptedVoiceActivity
from pipeline.errors import BadAudio, TooMuchAudio
from pipeline.file_audio import FileAudio, Stretch
from pipeline.vad import FORGET_AFTER, VadBatcher
from tests.recordings import talk, tone, wav


class Echo(ScriptedVoiceActivity):
    """A detector that remembers: its state counts the frames since it began."""

    def score(self, frames: Float32, states: Float32) -> tuple[Float32, Float32]:
        loud, _ = super().score(frames, states)
        self.threads = threading.get_ident()
        return loud * np.float32(0.5) + np.float32(0.01) * states[:, 0] % 0.1, states + 1


def opened(sound: Float32, vad: ScriptedVoiceActivity | None = None) -> FileAudio:
    return FileAudio(io.BytesIO(wav(sound)), vad or ScriptedVoiceActivity(), 600)


async def all_of(audio: FileAudio) -> tuple[Float32, Float32]:
    stretches: list[Stretch] = [stretch async for stretch in audio.stretches()]
    return (
        np.concatenate([stretch.frames for stretch in stretches]),
        np.concatenate([stretch.probabilities for stretch in stretches]),
    )


async def test_every_sample_is_in_a_frame_and_the_last_one_is_filled_up() -> None:
    sound = talk(7.3, 1, 4.01)
    async with opened(sound) as audio:
        frames, probabilities = await all_of(audio)
    assert frames.shape == (len(probabilities), 512)
    flat = frames.reshape(-1)
    np.testing.assert_allclose(flat[: len(sound)], sound, atol=1e-4)
    assert not flat[len(sound) :].any()
    assert audio.decoded_s == pytest.approx(len(sound) / SPEECH_HZ)
    assert audio.told_s == pytest.approx(audio.decoded_s, abs=0.01)


async def test_the_detector_hears_what_it_would_in_a_conversation() -> None:
    sound = talk(1, 2, 1, FORGET_AFTER * 0.032, 1)
    async with opened(sound, Echo()) as audio:
        frames, probabilities = await all_of(audio)
    async with VadBatcher(Echo()) as batcher:
        stream = batcher.stream()
        expected = [await stream.probability(frame) for frame in frames]
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)


async def test_the_event_loop_is_left_alone() -> None:
    vad = Echo()
    async with opened(tone(2), vad) as audio:
        await all_of(audio)
    assert vad.threads != threading.get_ident()


async def test_what_cannot_be_decoded_leaves_no_thread_behind() -> None:
    with pytest.raises(BadAudio):
        async with FileAudio(io.BytesIO(b"words"), ScriptedVoiceActivity(), 600):
            pass
    with pytest.raises(TooMuchAudio):
        async with FileAudio(io.BytesIO(wav(tone(3))), ScriptedVoiceActivity(), 2):
            pass
    for thread in threading.enumerate():
        if thread.name.startswith("decoder"):
            thread.join(5)
            assert not thread.is_alive()


@pytest.fixture
async def stuck() -> AsyncIterator[type[ScriptedVoiceActivity]]:
    """A detector that does not come back before the test is over."""
    go = threading.Event()

    class Stuck(ScriptedVoiceActivity):
        def score(self, frames: Float32, states: Float32) -> tuple[Float32, Float32]:
            go.wait()
            return super().score(frames, states)

    yield Stuck
    go.set()


async def test_a_library_that_hangs_fails_its_file_and_no_other(
    stuck: type[ScriptedVoiceActivity], monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = asyncio.Semaphore(1)
    monkeypatch.setattr(file_audio, "HANG_S", 0.05)
    file = io.BytesIO(wav(tone(1)))
    with pytest.raises(BadAudio, match="too long"):
        async with FileAudio(file, stuck(), 600, turns) as audio:
            await all_of(audio)
    monkeypatch.setattr(file_audio, "HANG_S", 60)
    async with FileAudio(io.BytesIO(wav(tone(1))), ScriptedVoiceActivity(), 600, turns) as audio:
        assert len((await all_of(audio))[0])


async def test_as_many_are_decoded_at_once_as_there_are_turns() -> None:
    at_work = most = 0

    class Counting(ScriptedVoiceActivity):
        def score(self, frames: Float32, states: Float32) -> tuple[Float32, Float32]:
            nonlocal at_work, most
            at_work += 1
            most = max(most, at_work)
            result = super().score(frames, states)
            at_work -= 1
            return result

    turns = asyncio.Semaphore(1)

    async def hear() -> int:
        async with FileAudio(io.BytesIO(wav(tone(12))), Counting(), 600, turns) as audio:
            return len((await all_of(audio))[0])

    assert await asyncio.gather(*(hear() for _ in range(3))) == [375] * 3
    assert most == 1
