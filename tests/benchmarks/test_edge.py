"""What a session costs at the edge, as far as it does not depend on how fast the machine is."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.edge import FEW, GOALS, MANY, under

SOCKETS = 200


def test_an_idle_session_takes_no_more_than_its_part_of_the_goal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTIPHON_DATA_DIR", str(tmp_path))
    idle = under("antiphon", "idle", SOCKETS, 0.1)
    assert idle.memory_mb / SOCKETS <= GOALS["idle_mb"] / (MANY - FEW)
    assert idle.load["lost"] == 0
