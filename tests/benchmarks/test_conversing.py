"""How many users a device can converse with follows from how long its engines take."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks.conversing import Service, Talk, converse, most_users
from tests.support import ROOT

TALK = Talk()


def service(each_s: float, more_s: float = 0.0) -> Service:
    """So long for a batch of one, and so much more for each that is added."""
    sizes = (1, 4, 16)
    times = {size: each_s + more_s * (size - 1) for size in sizes}
    return Service({"hear": times, "first": times, "later": times})


def test_one_user_waits_for_each_stage_once() -> None:
    outcome = converse(1, service(0.05), TALK, until_s=120)
    wait_s = TALK.endpoint_s + TALK.llm_first_s + 2 * 0.05
    assert outcome.latencies_s[0] == pytest.approx(wait_s)
    assert outcome.p95_s < wait_s + 0.06  # the words so far may be under way
    assert not outcome.stalls


def test_more_users_wait_longer() -> None:
    few, many = (converse(users, service(0.1, 0.05), TALK) for users in (2, 30))
    assert few.p95_s < many.p95_s
    assert few.busy < many.busy <= 1.0


def test_batches_carry_more_users_than_one_after_the_other() -> None:
    alone = Service({kind: {1: 0.1} for kind in ("hear", "first", "later")})
    assert most_users(alone, TALK, 30)[0] < most_users(service(0.1), TALK, 30)[0]


@pytest.mark.parametrize("each_s", [0.6, 1_000.0])
def test_a_device_that_is_too_slow_carries_nobody(each_s: float) -> None:
    assert most_users(service(each_s), TALK, 10) == (0, None)


def test_a_batch_costs_what_the_next_larger_one_does() -> None:
    assert service(1.0, 1.0).of("first", 3) == 4.0


@pytest.mark.timeout(240)
def test_the_benchmark_runs_without_a_gpu(tmp_path: Path) -> None:
    """With small networks: its figures say nothing, but all of it runs."""
    if find_spec("torch") is None:
        pytest.skip("PyTorch is not installed: make setup EXTRAS=gpu")
    from benchmarks.gpu_voice import NEEDS

    report = tmp_path / "gpu.json"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.gpu", "--tiny", "--users", "3"),
            *("--memory", "16GiB", "--json", str(report)),
        ],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=200,
    )  # fmt: skip
    assert "TINY" in done.stdout
    result = json.loads(report.read_text())
    whole = all(find_spec(name) for name in NEEDS)
    assert ("the engine kokoro, random weights" if whole else "shape") in result["kokoro"]
    assert {row["work"] for row in result["rows"]} == {"first", "later", "hear"}
    assert all(row["seconds"] > 0 and row["audio_s"] > 0.5 for row in result["rows"])


def test_what_did_not_fit_is_no_later_figures_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: make setup EXTRAS=gpu")
    from benchmarks import gpu

    taken = [0.0]

    def asked() -> float:
        most, taken[0] = taken[0], 0.0
        return most

    def greedy() -> None:
        taken[0] = 99.0
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(gpu, "_memory_gib", asked)
    assert gpu.fitting(greedy) is None
    assert taken == [0.0]
    assert gpu.fitting(lambda: 3) == 3
