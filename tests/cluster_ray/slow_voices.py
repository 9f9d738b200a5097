"""Scripted engines on a Ray cluster: listeners on its first node, one slow voice on each node.

python -m tests.cluster_ray.slow_voices ADDRESS FOLDER
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from pipeline.config import EngineConfig, RayConfig, ScriptConfig
from pipeline.engines.build import ray_parts
from pipeline.engines.ray_cluster import Cluster
from tests.cluster_ray.marking import marking

VOICES = 2
SCRIPT = ScriptConfig(tts_first_s=0.02, tts_rtf=0.4)
RAY = RayConfig(
    stt_cpus=1.0, eot_cpus=1.0, tts_gpus=1.0, tts_replicas=VOICES, tts_least=VOICES, check_s=1.0
)


def main(address: str, folder: str) -> None:
    """The voices leave their marks in the folder."""
    config = EngineConfig(
        Path(folder), stt_engine="scripted", tts_engine="scripted", vad_engine="scripted",
        ray=RAY, script=SCRIPT,
    )  # fmt: skip
    cluster = Cluster(address)
    cluster.join()
    # Two at once each: what is lost with one of them has room at the other.
    cluster.deploy(
        [
            replace(part, seats=2, make=marking) if part.kind == "tts" else part
            for part in ray_parts(config)
        ]
    )
    cluster.leave()


if __name__ == "__main__":
    main(*sys.argv[1:])
