"""One local Ray for all tests here, and engines on it. Skipped without the extra `ray`."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import EngineConfig, RayConfig, ScriptConfig
from pipeline.engines.build import ray_parts
from pipeline.engines.ray_cluster import Cluster, Status, prepare
from pipeline.engines.ray_plan import Part

SCRIPT = ScriptConfig(stt_s=0, tts_first_s=0, tts_rtf=0)
RAY = RayConfig(
    hang_s=2.0, wait_s=20.0, check_s=1.0, tts_replicas=2, tts_least=2,
    failover_s=10.0,  # 2 s by itself, which a busy machine takes to find the other replica
)  # fmt: skip


@dataclass
class Standing:
    """A cluster that stands for the whole run, and a `Link` to it."""

    cluster: Cluster
    thread: ThreadPoolExecutor
    config: RayConfig = RAY

    def deploy(self, *parts: Part) -> None:
        self.thread.submit(self.cluster.deploy, parts).result()
        self._handles = self.thread.submit(
            self.cluster.handles, [part.kind for part in parts]
        ).result()

    def status(self) -> Status:
        return self.thread.submit(self.cluster.status).result()

    @property
    def address(self) -> str:
        """Where others on this machine join it."""
        import ray

        found: str = ray.get_runtime_context().gcs_address
        return found

    async def open(self, kind: str) -> Any:
        return self._handles[kind]

    async def close(self, kind: str) -> None:
        """It stands."""


@pytest.fixture(scope="session")
def standing() -> Iterator[Standing]:
    """Ray, with nothing on it yet."""
    # Each test has a loop of its own, and Serve keeps one router a process.
    os.environ["RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP"] = "1"
    prepare(local=True)
    with warnings.catch_warnings():  # of its own old ways
        warnings.simplefilter("ignore")
        pytest.importorskip("ray.serve", reason="Ray is not installed: make setup EXTRAS=ray")
    with ThreadPoolExecutor(1) as thread:
        cluster = Cluster("")
        thread.submit(cluster.join).result()
        try:
            yield Standing(cluster, thread)
        finally:
            thread.submit(cluster.leave).result()


@pytest.fixture(scope="session")
def scripted_parts() -> Callable[..., tuple[Part, ...]]:
    """The parts of a scripted cluster, each as asked for."""

    def parts(folder: Path, script: ScriptConfig = SCRIPT, **of_tts: Any) -> tuple[Part, ...]:
        config = EngineConfig(
            folder, stt_engine="scripted", tts_engine="scripted", vad_engine="scripted",
            ray=RAY, script=script,
        )  # fmt: skip
        return tuple(
            replace(part, **of_tts) if part.kind == "tts" else part for part in ray_parts(config)
        )

    return parts
