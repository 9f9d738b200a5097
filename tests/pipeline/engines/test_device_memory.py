"""What an engine takes of a GPU is measured, and no more calls are admitted than fit its share.

There is no GPU here: how much of its memory is taken is told by the tests."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.engines import faster_whisper as whisper_module
from pipeline.engines.device_memory import GIB, fitting, measured, used_bytes
from pipeline.engines.faster_whisper import FasterWhisperTranscriber
from pipeline.engines.ports import EngineInfo, MemoryUse
from pipeline.errors import StartError
from pipeline.pool import STT, ResourcePool, Supply
from tests.kokoro_torch import kokoro_torch


def meter(*gib: float) -> Iterator[int]:
    return iter(round(one * GIB) for one in gib)


def test_what_the_weights_and_a_call_take_is_told_apart() -> None:
    taken, done = meter(1.0, 1.0, 2.5, 3.5), list[object]()
    use = measured(lambda: next(taken), lambda: done.append("load"), done.append, 4, share_gib=8)
    assert done == ["load", 4, 1]
    assert use == MemoryUse(round(1.5 * GIB), GIB // 4, 8 * GIB)


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
    with pytest.raises(StartError, match=r"ANTIPHON_X=1\.2 is too little: .* 1\.00 GiB.* 0\.25"):
        fitting(MemoryUse(GIB, GIB // 4, round(1.2 * GIB)), 16, "ANTIPHON_X")


def test_without_a_driver_the_device_is_not_asked() -> None:
    assert used_bytes() is None


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
