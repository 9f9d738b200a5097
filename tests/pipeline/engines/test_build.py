"""What is made of a configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config import EngineConfig
from pipeline.engines.build import build
from pipeline.pool import LLM, ResourcePool, Supply


@pytest.mark.parametrize(
    ("cores", "slots", "threads"), [(2, 2, [2, 1]), (4, 2, [2, 2]), (4, 4, [2, 1, 1, 1])]
)
def test_the_first_voice_has_what_a_lone_caller_can_use_and_those_beside_it_their_share(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cores: int, slots: int, threads: list[int]
) -> None:
    monkeypatch.setattr("pipeline.cores.usable", lambda: cores)
    engines = build(
        EngineConfig(
            tmp_path, stt_engine="scripted", vad_engine="scripted", llm_engine="scripted",
            tts_engine="kokoro-onnx", tts_slots=slots, tts_threads=2,
        )
    )  # fmt: skip
    make = engines.makers.synthesizer
    assert make is not None
    voices = [*engines.synthesizers, *(make(place) for place in range(1, slots))]
    assert [getattr(voice, "_intra_op_threads") for voice in voices] == threads  # noqa: B009
    in_place_of_the_first = make(0)
    assert getattr(in_place_of_the_first, "_intra_op_threads") == threads[0]  # noqa: B009


@pytest.mark.parametrize(("slots", "threads", "at_once"), [(8, 1, 2), (1, 1, 1), (8, 2, 8)])
async def test_a_model_on_one_thread_writes_two_replies_at_once_and_the_others_line_up(
    tmp_path: Path, slots: int, threads: int, at_once: int
) -> None:
    config = EngineConfig(
        tmp_path, stt_engine="scripted", vad_engine="scripted", tts_engine="scripted",
        llm_engine="llama-cpp", llm_slots=slots, llm_threads=threads,
    )  # fmt: skip
    supply = Supply((build(config).language_model,), seats=slots)
    async with ResourcePool({LLM: supply}) as pool:
        assert pool.status()["llm"].slots == at_once
