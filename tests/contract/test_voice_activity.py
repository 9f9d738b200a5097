"""Every voice activity model keeps the port's promises, many sessions at a time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from pipeline.engines import silero
from pipeline.engines.ports import Float32, VoiceActivityModel
from pipeline.engines.scripted import ScriptedVoiceActivity
from pipeline.engines.silero import SileroVoiceActivity
from pipeline.errors import ModelMissing
from pipeline.models import locate

Clip = Callable[[str], Float32]
SPEECH = Path(__file__).parents[1] / "speech"


@pytest.fixture(params=["scripted", pytest.param("silero", marks=pytest.mark.models)])
async def vad(request: pytest.FixtureRequest) -> AsyncIterator[VoiceActivityModel]:
    engine: VoiceActivityModel = (
        SileroVoiceActivity(request.getfixturevalue("models_dir"))
        if request.param == "silero"
        else ScriptedVoiceActivity()
    )
    await engine.start()
    yield engine
    await engine.close()


def frames_of(vad: VoiceActivityModel, audio: Float32) -> Float32:
    whole = len(audio) // vad.frame_samples
    return audio[: whole * vad.frame_samples].reshape(whole, vad.frame_samples)


def listen(vad: VoiceActivityModel, *people: Float32) -> Float32:
    """Frames of each person, all of the same length -> probabilities (people, frames)."""
    states = np.stack([vad.initial_state() for _ in people])
    scores = []
    for frames in zip(*people, strict=True):
        probabilities, states = vad.score(np.stack(frames), states)
        scores.append(probabilities)
    return np.stack(scores, axis=1)


def test_hears_speech(vad: VoiceActivityModel, clip: Clip) -> None:
    (scores,) = listen(vad, frames_of(vad, clip("LJ001-0004")))
    assert scores.max() > 0.9
    assert np.mean(scores > 0.5) > 0.6


def test_hears_no_speech_in_silence_and_faint_noise(vad: VoiceActivityModel) -> None:
    faint = np.random.default_rng(3).uniform(-0.005, 0.005, 32_000).astype(np.float32)
    (quiet, hiss) = listen(vad, frames_of(vad, np.zeros(32_000, np.float32)), frames_of(vad, faint))
    assert quiet.max() < 0.5
    assert hiss.max() < 0.5


def test_does_not_mix_up_the_people_of_a_batch(vad: VoiceActivityModel, clip: Clip) -> None:
    one, two = clip("LJ001-0002")[:25_600], clip("LJ001-0008")[:25_600]
    frames = [frames_of(vad, audio) for audio in (one, np.zeros_like(one), two)]
    together = listen(vad, *frames)
    alone = np.concatenate([listen(vad, person) for person in frames])
    np.testing.assert_allclose(together, alone, atol=1e-4)


def test_a_new_session_starts_from_nothing(vad: VoiceActivityModel, clip: Clip) -> None:
    frames = frames_of(vad, clip("LJ001-0008"))
    np.testing.assert_array_equal(listen(vad, frames), listen(vad, frames))


def test_rows_go_in_and_rows_come_out(vad: VoiceActivityModel) -> None:
    states = np.stack([vad.initial_state()] * 5)
    before = states.copy()
    probabilities, after = vad.score(np.zeros((5, vad.frame_samples), np.float32), states)
    assert probabilities.shape == (5,)
    assert after.shape == states.shape
    assert probabilities.dtype == after.dtype == np.float32
    np.testing.assert_array_equal(states, before)


@pytest.mark.models
async def test_silero_remembers_what_came_before(models_dir: Path, clip: Clip) -> None:
    vad = SileroVoiceActivity(models_dir)
    await vad.start()
    frames = frames_of(vad, clip("LJ001-0004"))
    (scores,) = listen(vad, frames)
    middle = len(frames) // 2
    (fresh,), _ = vad.score(frames[middle][np.newaxis], vad.initial_state()[np.newaxis])
    assert abs(fresh - scores[middle]) > 0.01
    await vad.close()


def as_published(file: Path, audio: Float32) -> list[float]:
    """The probabilities of Silero's own graph, fed as its authors do."""
    session = onnxruntime.InferenceSession(file)
    context, state, rate = np.zeros((1, 64)), np.zeros((2, 1, 128), np.float32), np.array(16_000)
    probabilities = []
    for frame in audio:
        heard = np.concatenate((context, frame[np.newaxis]), axis=1).astype(np.float32)
        probability, state = session.run(None, {"input": heard, "state": state, "sr": rate})
        context = frame[np.newaxis, -64:]
        probabilities.append(probability.item())
    return probabilities


@pytest.mark.models
@pytest.mark.parametrize("name", [clip.stem for clip in sorted(SPEECH.glob("*.wav"))])
async def test_silero_rewritten_for_batches_says_what_silero_says(
    models_dir: Path, clip: Clip, name: str
) -> None:
    vad = SileroVoiceActivity(models_dir)
    await vad.start()
    frames = frames_of(vad, clip(name))
    hiss = np.random.default_rng(1).normal(0, 0.1, frames.shape).astype(np.float32)
    ours, noise = listen(vad, frames, hiss)
    file = locate(models_dir, "silero-vad") / "silero_vad.onnx"
    np.testing.assert_allclose(ours, as_published(file, frames), atol=1e-4)
    np.testing.assert_allclose(noise, as_published(file, hiss), atol=1e-4)
    await vad.close()


async def test_a_missing_model_is_named_with_the_mend(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match="antiphon models pull silero-vad"):
        await SileroVoiceActivity(tmp_path).start()


@pytest.mark.models
async def test_a_load_that_hangs_holds_up_no_process_that_ends(
    models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, goes_on = threading.Event(), threading.Event()

    def hang(_: Path) -> bytes:
        begun.set()
        goes_on.wait(10)
        raise OSError("the disk is gone")

    monkeypatch.setattr(silero, "batched", hang)
    loading = asyncio.create_task(SileroVoiceActivity(models_dir).start())
    assert await asyncio.to_thread(begun.wait, 5)
    (thread,) = (one for one in threading.enumerate() if one.name.startswith("silero-load"))
    assert thread.daemon
    loading.cancel()
    await asyncio.wait([loading], timeout=5)
    assert loading.cancelled()
    goes_on.set()
    await asyncio.to_thread(thread.join, 5)
    assert not thread.is_alive()
