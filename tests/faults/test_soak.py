"""Sessions that come and go for a while: nothing grows that must not."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks.soak import growth
from tests.support import ROOT


def test_a_plateau_is_one_wherever_it_is_reached() -> None:
    warming_up = [100.0 + look for look in range(50)]
    grown, middle, end = growth(warming_up + [150.0] * 50)
    assert (grown, middle, end) == (0.0, 150.0, 150.0)


def test_a_leak_is_growth() -> None:
    grown, _, _ = growth([100.0 + look for look in range(100)])
    assert grown > 0.2


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_minutes_of_coming_and_going_leave_nothing_behind() -> None:
    soak = subprocess.run(
        [sys.executable, "-m", "benchmarks.soak", "2"],
        cwd=ROOT, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert soak.returncode == 0, soak.stdout + soak.stderr
    sessions = next(line for line in soak.stdout.splitlines() if " sessions in " in line)
    assert int(sessions.split()[0]) >= 1_000
