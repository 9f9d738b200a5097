"""Every end-of-turn model keeps the port's promises; Smart Turn also tells a pause from an end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.engines.ports import SPEECH_HZ, EndOfTurnModel, Float32, Stop
from pipeline.engines.scripted import ScriptedEndOfTurn
from pipeline.engines.smart_turn import WINDOW_SAMPLES, SmartTurnModel, normalised_window
from pipeline.errors import EngineError, ModelMissing

Clip = Callable[[str], Float32]

PAUSE = np.zeros(SPEECH_HZ // 10, np.float32)


@pytest.fixture(params=["scripted", pytest.param("smart-turn", marks=pytest.mark.models)])
async def model(request: pytest.FixtureRequest) -> AsyncIterator[EndOfTurnModel]:
    engine: EndOfTurnModel = (
        SmartTurnModel(request.getfixturevalue("models_dir"))
        if request.param == "smart-turn"
        else ScriptedEndOfTurn()
    )
    await engine.start()
    yield engine
    await engine.close()


async def test_a_finished_sentence_has_ended(model: EndOfTurnModel, clip: Clip) -> None:
    assert await model.probability(np.concatenate([clip("LJ001-0002"), PAUSE]), Stop()) > 0.5


async def test_a_sentence_broken_off_has_not(model: EndOfTurnModel, clip: Clip) -> None:
    broken_off = clip("LJ001-0004")[: int(2.4 * SPEECH_HZ)]
    assert await model.probability(broken_off, Stop()) < 0.5


@pytest.mark.models
async def test_smart_turn_hears_that_more_is_to_come(models_dir: Path, clip: Clip) -> None:
    engine = SmartTurnModel(models_dir)
    await engine.start()
    for name, ended in (("LJ001-0013", True), ("LJ001-0006", False)):
        said = np.concatenate([clip(name), PAUSE])
        assert (await engine.probability(said, Stop()) > 0.5) is ended
    await engine.close()


@pytest.mark.parametrize("samples", [0, 1, 500, 40 * SPEECH_HZ])
async def test_any_length_gets_a_probability(model: EndOfTurnModel, samples: int) -> None:
    assert 0 <= await model.probability(np.zeros(samples, np.float32), Stop()) <= 1


async def test_only_the_last_8_seconds_count(model: EndOfTurnModel, clip: Clip) -> None:
    recent = clip("jfk")[-WINDOW_SAMPLES:]
    longer = np.concatenate([clip("LJ001-0004"), recent])
    short, long = await asyncio.gather(
        model.probability(recent, Stop()), model.probability(longer, Stop())
    )
    assert short == pytest.approx(long)


async def test_a_stopped_look_says_nothing(model: EndOfTurnModel, clip: Clip) -> None:
    stop = Stop()
    stop.set()
    assert await model.probability(np.concatenate([clip("jfk"), PAUSE]), stop) == 0.0


def test_a_short_turn_stands_at_the_end_of_its_window() -> None:
    window = normalised_window(np.linspace(0.1, 0.9, SPEECH_HZ, dtype=np.float32))
    assert window.shape == (WINDOW_SAMPLES,)
    assert window.dtype == np.float32
    assert np.all(window[:-SPEECH_HZ] == window[0])
    assert window.mean() == pytest.approx(0, abs=1e-3)
    assert window.std() == pytest.approx(1, abs=1e-3)


async def test_a_missing_model_is_named_with_the_mend(tmp_path: Path) -> None:
    engine = SmartTurnModel(tmp_path)
    with pytest.raises(ModelMissing, match="antiphon models pull smart-turn"):
        await engine.start()
    with pytest.raises(EngineError):
        await engine.probability(PAUSE, Stop())
    await engine.close()
