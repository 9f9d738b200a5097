"""What an engine takes of a GPU is measured, and no more calls are admitted than fit its share.

There is no GPU here: how much of its memory is taken is told by the tests."""

from __future__ import annotations

import asyncio
import fcntl
import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import onnxruntime
import pytest

from pipeline.config import EngineConfig
from pipeline.engines import device_memory as memory_module
from pipeline.engines import faster_whisper as whisper_module
from pipeline.engines import kokoro_onnx as voice_module
from pipeline.engines.build import build
from pipeline.engines.device_memory import GIB, fitting, lock_file, measured, used_bytes
from pipeline.engines.faster_whisper import FasterWhisperTranscriber
from pipeline.engines.kokoro_onnx import KokoroOnnxSynthesizer
from pipeline.engines.onnx import CPU, CUDA
from pipeline.engines.ports import EngineInfo, MeasuresMemory, MemoryUse
from pipeline.engines.whisper_folder import FILES
from pipeline.engines.whisper_model import WhisperModel
from pipeline.errors import GpuOutOfMemory, StartError
from pipeline.pool import STT, ResourcePool, Supply
from tests.kokoro_torch import kokoro_torch


def meter(*gib: float) -> Iterator[int]:
    return iter(round(one * GIB) for one in gib)


def test_what_the_weights_and_a_call_take_is_told_apart() -> None:
    taken, done = meter(1.0, 1.0, 2.5, 3.5), list[object]()
    use = measured(lambda: next(taken), lambda: done.append("load"), done.append, 4, share_gib=8)
    assert done == ["load", 4, 1]
    assert use == MemoryUse(round(1.5 * GIB), GIB // 4, 8 * GIB)


def test_of_calls_that_do_not_fit_at_once_fewer_are_measured() -> None:
    taken, tried = meter(0.0, 0.0, 1.0, 2.0), list[int]()

    def call(count: int) -> None:
        tried.append(count)
        if count > 2:
            raise GpuOutOfMemory("full")

    assert measured(lambda: next(taken), lambda: None, call, 8) == MemoryUse(GIB, GIB // 2)
    assert tried == [8, 4, 2, 1]


def test_where_not_one_call_fits_that_is_said() -> None:
    taken = meter(0.0, 0.0, 1.0)

    def call(_: int) -> None:
        raise GpuOutOfMemory("full")

    with pytest.raises(GpuOutOfMemory):
        measured(lambda: next(taken), lambda: None, call, 8)


@pytest.mark.models
async def test_a_recogniser_that_does_not_fit_stops_the_start(
    models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise RuntimeError("CUDA failed with error out of memory")

    monkeypatch.setattr(WhisperModel, "_encode", full)
    engine = FasterWhisperTranscriber(models_dir, "tiny.en", 1, 1)
    with pytest.raises(StartError, match="out of memory"):
        await engine.start()
    await engine.close()


def test_what_another_process_loads_meanwhile_is_not_counted_as_ones_own() -> None:
    """Replicas that share a GPU start at once."""
    taken = meter(0.0, 0.0, 1.0, 1.0)

    def load() -> None:
        with lock_file().open("w") as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)

    assert measured(lambda: next(taken), load, lambda _: None, 1) == MemoryUse(GIB, 0)
    with lock_file().open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_where_no_file_can_be_written_an_engine_is_loaded_and_measured_all_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(memory_module, "lock_file", lambda: tmp_path / "nowhere" / "lock")
    taken = meter(0.0, 0.0, 1.0, 1.0)
    assert measured(lambda: next(taken), lambda: None, lambda _: None, 1) == MemoryUse(GIB, 0)


def test_in_the_computers_own_memory_nothing_is_measured_and_nothing_bounded() -> None:
    use = measured(lambda: None, lambda: None, lambda _: None, 1, share_gib=1)
    assert use is None
    assert fitting(use, 16, "X") == 16


@pytest.mark.parametrize(
    ("share", "fit"), [(0, 16), (100, 16), (3, 8), (2.25, 5), (1.25, 1)]
)  # weights of 1 GiB, a quarter for each call
def test_so_many_calls_fit_into_a_share(share: float, fit: int) -> None:
    assert fitting(MemoryUse(GIB, GIB // 4, round(share * GIB)), 16, "X") == fit


def test_a_share_in_which_not_one_call_fits_stops_the_start() -> None:
    with pytest.raises(StartError, match=r"ANTIPHON_X: 1\.2 GiB .* 1\.00 GiB.* 0\.25"):
        fitting(MemoryUse(GIB, GIB // 4, round(1.2 * GIB)), 16, "ANTIPHON_X")


def test_without_a_driver_the_device_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_module, "driver", lambda: None)
    assert used_bytes() is None


class Driver:
    """Three devices, as NVML counts them: of each, so many GiB are taken as its number says."""

    NVMLError = OSError

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802 - NVML's name
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> int:  # noqa: N802
        return {"GPU-2": 2}[uuid]

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(used=handle * GIB)


@pytest.mark.parametrize(("shown", "first"), [(None, 0), ("", 0), ("1,0", 1), ("GPU-2", 2)])
def test_the_device_that_is_asked_is_the_one_that_is_used(
    monkeypatch: pytest.MonkeyPatch, shown: str | None, first: int
) -> None:
    monkeypatch.setattr(memory_module, "driver", Driver)
    if shown is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
    assert used_bytes() == first * GIB


@pytest.mark.models
async def test_a_recognisers_share_that_nobody_can_look_at_stops_the_start(
    models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_module, "driver", lambda: None)
    monkeypatch.setattr(whisper_module, "device_and_type", lambda: ("cuda", "float16"))
    engine = FasterWhisperTranscriber(models_dir, "tiny.en", 1, 1, memory_gib=2)
    with pytest.raises(StartError, match=r"ANTIPHON_STT_GPU_MEMORY.*NVML"):
        await engine.start()
    await engine.close()


@pytest.mark.models
async def test_a_voices_share_that_nobody_can_look_at_stops_the_start(
    models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_cuda(monkeypatch)
    monkeypatch.setattr(memory_module, "driver", lambda: None)
    engine = KokoroOnnxSynthesizer(models_dir, 1, memory_gib=2)
    with pytest.raises(StartError, match=r"ANTIPHON_TTS_GPU_MEMORY.*NVML"):
        await engine.start()
    await engine.close()


def on_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """onnxruntime says that the voice's model runs on CUDA; it runs here."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(voice_module, "choose_providers", lambda *_: (CPU,))
    monkeypatch.setattr(voice_module, "device_of", lambda *_: ("cuda", "the test says so"))


@pytest.mark.models
async def test_what_a_voice_on_onnxruntime_takes_is_measured(
    models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_cuda(monkeypatch)
    taken = meter(1.0, 1.0, 1.5, 1.75)
    monkeypatch.setattr(voice_module, "used_bytes", lambda: next(taken))
    said: list[str] = []
    engine = KokoroOnnxSynthesizer(models_dir, 1)
    monkeypatch.setattr(engine, "_render", lambda phonemes, *_: said.append(phonemes))
    await engine.start()
    assert isinstance(engine, MeasuresMemory)
    assert engine.memory == MemoryUse(GIB // 2, GIB // 4)
    assert min(map(len, said)) > 150, "the longest clause that a reply may have"
    await engine.close()


@pytest.mark.models
async def test_a_voice_whose_share_is_too_little_does_not_start(
    models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_cuda(monkeypatch)
    taken = itertools.chain(meter(0.0, 0.0), itertools.repeat(GIB))
    monkeypatch.setattr(voice_module, "used_bytes", lambda: next(taken))
    monkeypatch.setattr(memory_module, "used_bytes", lambda: 0)
    engine = KokoroOnnxSynthesizer(models_dir, 1, memory_gib=0.5)
    monkeypatch.setattr(engine, "_render", lambda *_: None)
    with pytest.raises(StartError, match=r"ANTIPHON_TTS_GPU_MEMORY: 0\.5 GiB"):
        await engine.start()
    await engine.close()


def test_a_share_is_shared_out_among_the_instances_and_models_there_may_be(tmp_path: Path) -> None:
    config = EngineConfig(
        tmp_path, tts_engine="kokoro-onnx", tts_slots=4, tts_slots_least=2, tts_gpu_memory=8,
        stt_model="tiny.en", stt_instances=3, stt_gpu_memory=6, llm_engine="scripted",
    )  # fmt: skip
    engines = build(config)
    assert engines.makers.synthesizer is not None
    voices = (*engines.synthesizers, engines.makers.synthesizer(3))
    assert [getattr(voice, "_memory_gib") for voice in voices] == [2, 2, 2]  # noqa: B009
    assert getattr(engines.transcriber, "_memory_gib") == 2  # noqa: B009
    other = tmp_path / "whisper-other"
    other.mkdir()
    for name in FILES:
        (other / name).write_text("{}")
    beside = build(replace(config, stt_other_model="other"))
    first = getattr(beside.transcriber, "_first")  # noqa: B009
    assert getattr(first, "_memory_gib") == 1  # noqa: B009


async def test_the_voice_takes_as_many_clauses_as_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights take 1 GiB, each clause at once half a one more."""
    engine, taken = kokoro_torch(slots=8), [0]
    monkeypatch.setattr(engine, "_used_bytes", lambda: taken[0])
    original = engine._put_on_device

    def put(model: object) -> None:
        original(model)
        taken[0] = GIB

    def speak(count: int) -> None:
        taken[0] = max(taken[0], GIB + count * GIB // 2)

    monkeypatch.setattr(engine, "_put_on_device", put)
    monkeypatch.setattr(engine, "_speak_at_once", speak)
    engine._memory_gib = 3.0
    await engine.start()
    assert engine.memory == MemoryUse(GIB, GIB // 2, 3 * GIB)
    assert engine.seats == 4
    await engine.close()


@pytest.mark.models
async def test_the_recogniser_takes_as_many_windows_as_fit(
    models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = meter(0.0, 0.0, 0.5, 2.5)
    monkeypatch.setattr(
        whisper_module.FasterWhisperTranscriber, "_used_bytes", lambda _: next(taken)
    )
    engine = FasterWhisperTranscriber(models_dir, "tiny.en", 1, 1, batch=8, memory_gib=1.5)
    assert engine.seats == 8
    await engine.start()
    assert engine.memory == MemoryUse(GIB // 2, GIB // 4, round(1.5 * GIB))
    assert engine.seats == 4
    await engine.close()


class Small:
    """Has room for eight until it is loaded, and for three then."""

    info = EngineInfo("small", "small")
    seats = 8


async def test_the_pool_admits_what_fits_once_the_engine_is_loaded() -> None:
    engine = Small()
    pool = ResourcePool({STT: Supply((engine,), seats=8)})
    assert pool.status()["stt"].slots == 8
    engine.seats = 3
    async with pool:
        assert pool.status()["stt"].slots == 3
        leases = [pool.lease(STT, f"user {n}") for n in range(4)]
        for lease in leases[:3]:
            await lease.__aenter__()
        fourth = asyncio.create_task(leases[3].__aenter__())
        await asyncio.sleep(0)
        assert not fourth.done()
        await leases[0].__aexit__(None, None, None)
        await fourth
        for lease in leases[1:]:
            await lease.__aexit__(None, None, None)
