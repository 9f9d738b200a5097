"""`antiphon cluster`, without a Ray: what Serve has, and what we ask of it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import SimpleNamespace

import pytest

from pipeline.engines.ray_cluster import Cluster
from pipeline.engines.ray_plan import APP
from server.__main__ import main


class Serve:
    """Ray Serve of a cluster: its applications, or None where it was never started."""

    def __init__(self, applications: Mapping[str, object] | None) -> None:
        self._applications = applications
        self.deleted: list[str] = []

    def status(self) -> SimpleNamespace:
        return SimpleNamespace(applications=self._applications or {})

    def delete(self, name: str) -> None:
        if self._applications is None:
            raise Exception("There is no Serve instance running on this Ray cluster.")
        self.deleted.append(name)


def application() -> SimpleNamespace:
    return SimpleNamespace(status=SimpleNamespace(value="RUNNING"), message="", deployments={})


@pytest.mark.parametrize(
    ("applications", "deleted"),
    [(None, []), ({}, []), ({"others": application()}, []), ({APP: application()}, [APP])],
    ids=["no Serve", "nothing on it", "another's", "ours"],
)
def test_what_is_there_of_ours_is_taken_away_and_nothing_else(
    applications: Mapping[str, object] | None, deleted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    serve = Serve(applications)
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(serve=serve))
    monkeypatch.setattr(Cluster, "join", lambda _: None)
    assert main(["cluster", "down"]) == 0
    assert serve.deleted == deleted
