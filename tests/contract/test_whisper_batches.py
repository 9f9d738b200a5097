"""Windows that share a batch are understood as each would be by itself."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from pipeline.engines import faster_whisper as engine_module
from pipeline.engines.faster_whisper import FasterWhisperTranscriber, device_and_type
from pipeline.engines.ports import Float32, SpeechWindow, Stop, Transcript
from pipeline.engines.threads import EngineThreads
from pipeline.engines.whisper_batch import WhisperBatches
from pipeline.engines.whisper_folder import is_here
from pipeline.engines.whisper_model import WhisperModel, told
from pipeline.engines.whisper_passes import Chosen, Pass
from pipeline.engines.whisper_rules import Hearing
from pipeline.errors import GpuOutOfMemory
from tests.contract.test_transcribers import running, silence

Clip = Callable[[str], Float32]

NAMES = ("LJ001-0002", "LJ001-0008", "LJ001-0004", "jfk")


async def together(
    engine: FasterWhisperTranscriber, windows: list[SpeechWindow]
) -> list[Transcript]:
    return await asyncio.gather(*(engine.transcribe(window, Stop()) for window in windows))


@contextmanager
def batches(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[list[Pass]]]:
    """The batches that the model is given."""
    seen: list[list[Pass]] = []
    run = WhisperModel.hear_together

    def noted(self: WhisperModel, passes: list[Pass]) -> object:
        seen.append(passes)
        return run(self, passes)

    monkeypatch.setattr(WhisperModel, "hear_together", noted)
    yield seen


@pytest.mark.models
@pytest.mark.parametrize(
    ("model", "names"),
    [("tiny.en", NAMES), ("base", NAMES[:2])],  # each window of base is 30 s long
)
async def test_in_a_batch_each_is_understood_as_by_itself(
    model: str,
    names: tuple[str, ...],
    models_dir: Path,
    clip: Clip,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not is_here(models_dir, model):
        pytest.skip(f"whisper-{model} is not here: antiphon models pull whisper-{model}")
    windows = [SpeechWindow(clip(name)) for name in names]
    if model == "tiny.en":
        windows.append(SpeechWindow(clip(NAMES[0]), quick=True))
    windows.append(SpeechWindow(silence(1)))
    single = FasterWhisperTranscriber(models_dir, model, 1, 2)
    async with running(single):
        alone = [await single.transcribe(window, Stop()) for window in windows]
    batched = FasterWhisperTranscriber(models_dir, model, 1, 2, batch=8)
    async with running(batched):
        with batches(monkeypatch) as seen:
            shared = await together(batched, windows)
    assert max(map(len, seen)) >= len(names)
    assert [one.text for one in shared] == [one.text for one in alone]
    assert [one.language for one in shared] == [one.language for one in alone]
    for one, other in zip(shared, alone, strict=True):
        assert one.logprob == pytest.approx(other.logprob, abs=0.02)
        assert one.no_speech == pytest.approx(other.no_speech, abs=0.02)
        assert one.broken == other.broken


@pytest.mark.models
async def test_one_in_doubt_is_heard_again_while_the_others_go_on(
    models_dir: Path, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Noise is a guess on the short window, and so heard on the full one; a clear voice is not."""
    noise = np.random.default_rng(3).uniform(-0.3, 0.3, 16_000).astype(np.float32)
    mixed = clip("LJ001-0008") * np.float32(0.05)
    mixed[:16_000] += noise
    engine = FasterWhisperTranscriber(models_dir, "tiny.en", 1, 2, batch=8)
    async with running(engine):
        with batches(monkeypatch) as seen:
            _, clear = await together(
                engine, [SpeechWindow(mixed), SpeechWindow(clip("LJ001-0008"))]
            )
    assert "surpassed" in clear.text
    assert len(seen[0]) == 2
    assert all(len(later) == 1 for later in seen[1:])


@pytest.mark.models
async def test_a_batch_too_large_for_the_memory_is_heard_one_by_one(
    models_dir: Path, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = WhisperModel._encode

    def small(self: WhisperModel, audios: list[Float32], window_s: int) -> object:
        if len(audios) > 1:
            raise RuntimeError("CUDA failed with error out of memory")
        return encode(self, audios, window_s)

    monkeypatch.setattr(WhisperModel, "_encode", small)
    engine = FasterWhisperTranscriber(models_dir, "tiny.en", 1, 2, batch=4)
    async with running(engine):
        first, second = await together(
            engine, [SpeechWindow(clip("LJ001-0002")), SpeechWindow(clip("LJ001-0008"))]
        )
    assert "modern" in first.text
    assert "surpassed" in second.text


@pytest.mark.models
async def test_only_the_window_that_cannot_be_heard_by_itself_fails(
    models_dir: Path, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = WhisperModel._encode
    worst = clip("LJ001-0002")

    def small(self: WhisperModel, audios: list[Float32], window_s: int) -> object:
        if any(len(audio) == len(worst) for audio in audios):
            raise RuntimeError("cuBLAS failed with status CUBLAS_STATUS_ALLOC_FAILED")
        return encode(self, audios, window_s)

    monkeypatch.setattr(WhisperModel, "_encode", small)
    engine = FasterWhisperTranscriber(models_dir, "tiny.en", 1, 2, batch=4)
    async with running(engine):
        windows = (SpeechWindow(worst), SpeechWindow(clip("LJ001-0008")))
        with batches(monkeypatch) as seen:
            first, second = await asyncio.gather(
                *(engine.transcribe(window, Stop()) for window in windows), return_exceptions=True
            )
    assert len(seen[0]) == 2
    assert isinstance(first, GpuOutOfMemory)
    assert isinstance(second, Transcript)
    assert "surpassed" in second.text


class Model:
    """Hears one pass a window, and writes down whose; the first takes until it may end."""

    def __init__(self) -> None:
        self.heard: list[float] = []
        self.begun, self.may = threading.Event(), threading.Event()

    def judged(self, window: SpeechWindow, stop: Stop) -> None:
        return None

    def listening(self, window: SpeechWindow, stop: Stop) -> Generator[Pass, Hearing, Chosen]:
        hearing = yield Pass(window.audio, 10, ("start",), 8, 0.0)
        return Chosen(hearing, 0.0, "en", 10)

    def hear_together(self, passes: list[Pass]) -> list[Hearing]:
        self.heard += [float(one.audio[0]) for one in passes]
        self.begun.set()
        assert self.may.wait(20)
        return [Hearing("words", -0.1, 0.0, truncated=False) for _ in passes]


async def test_a_turns_last_words_go_before_what_is_said_so_far_and_came_earlier() -> None:
    model, threads = Model(), EngineThreads("whisper", 1)
    lanes = WhisperBatches(model, threads, 1, now=lambda: 0.0)  # type: ignore[arg-type]
    under_way, so_far, last_words = 0.0, 1.0, 2.0

    def hear(mark: float, *, quick: bool) -> asyncio.Task[Transcript]:
        window = SpeechWindow(np.full(16, mark, np.float32), quick=quick)
        return asyncio.create_task(lanes.transcribe(window, Stop()))

    first = hear(under_way, quick=False)
    assert await asyncio.to_thread(model.begun.wait, 20)
    waiting = [hear(so_far, quick=True)]
    await asyncio.sleep(0)
    waiting.append(hear(last_words, quick=False))
    await asyncio.sleep(0)
    model.may.set()
    await asyncio.gather(first, *waiting)
    assert model.heard == [under_way, last_words, so_far]
    await lanes.close()
    await threads.close()


class TestDevice:
    """There is no CUDA device here: what CTranslate2 says of one is put into its mouth."""

    @pytest.mark.parametrize(
        ("devices", "types", "chosen"),
        [
            (0, set(), ("cpu", "int8")),
            (1, {"float16", "int8_float16", "int8"}, ("cuda", "float16")),
            (2, {"int8_float16", "int8"}, ("cuda", "int8_float16")),
            (1, {"int8", "float32"}, ("cuda", "int8")),
        ],
    )
    def test_the_numbers_fit_the_device(
        self,
        devices: int,
        types: set[str],
        chosen: tuple[str, str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        runtime = engine_module.ctranslate2
        monkeypatch.setattr(runtime, "get_cuda_device_count", lambda: devices)
        monkeypatch.setattr(runtime, "get_supported_compute_types", lambda device: types)
        assert device_and_type() == chosen

    def test_on_cuda_windows_share_batches_unless_it_is_set(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(engine_module, "device_and_type", lambda: ("cuda", "float16"))
        assert FasterWhisperTranscriber(tmp_path, "tiny.en", 1, 1).seats == 16
        assert FasterWhisperTranscriber(tmp_path, "tiny.en", 1, 1, batch=4).seats == 4
        assert FasterWhisperTranscriber(tmp_path, "tiny.en", 1, 1).info.device == "cuda"


def test_memory_is_told_from_other_failures() -> None:
    with pytest.raises(GpuOutOfMemory), told():
        raise RuntimeError("CUDA failed with error out of memory")
