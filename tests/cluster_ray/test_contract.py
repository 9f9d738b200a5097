"""The contract suites of the ports, through Ray: what they ask of an engine here holds there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from pipeline.engines.ports import EndOfTurnModel, Synthesizer, Transcriber
from pipeline.engines.ray_plan import Part
from pipeline.engines.ray_serve import RayEndOfTurn, RaySynthesizer, RayTranscriber
from tests.cluster_ray.conftest import Standing
from tests.contract.conftest import clip  # noqa: F401 - a fixture
from tests.contract.test_end_of_turn import (  # noqa: F401 - tests
    test_a_finished_sentence_has_ended,
    test_a_sentence_broken_off_has_not,
    test_a_stopped_look_says_nothing,
    test_any_length_gets_a_probability,
    test_only_the_last_8_seconds_count,
)
from tests.contract.test_synthesizers import TestEverySynthesizer as _Synthesizers
from tests.contract.test_transcribers import TestEveryTranscriber as _Transcribers


@pytest.fixture(scope="module")
def link(
    standing: Standing,
    scripted_parts: Callable[..., tuple[Part, ...]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Standing:
    folder: Path = tmp_path_factory.mktemp("none")
    standing.deploy(*scripted_parts(folder, least=1, most=1))
    return standing


@pytest.fixture
async def synthesizer(link: Standing) -> AsyncIterator[Synthesizer]:
    engine = RaySynthesizer(link)
    await engine.start()
    yield engine
    await engine.close()


@pytest.fixture
async def transcriber(link: Standing) -> AsyncIterator[Transcriber]:
    engine = RayTranscriber(link)
    await engine.start()
    yield engine
    await engine.close()


@pytest.fixture
async def model(link: Standing) -> AsyncIterator[EndOfTurnModel]:
    engine = RayEndOfTurn(link)
    await engine.start()
    yield engine
    await engine.close()


class TestSynthesizerOnRay(_Synthesizers):
    pass


class TestTranscriberOnRay(_Transcribers):
    pass
