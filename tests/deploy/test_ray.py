"""The files for Ray clusters: of Serve's form, and each a plan that can be deployed."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.engines import ray_app
from pipeline.engines.ports import HasSeats
from pipeline.errors import SettingsError
from server.__main__ import main
from tests.support import ROOT

FOLDER = ROOT / "deploy" / "cluster" / "ray"
FILES = sorted(FOLDER.glob("*.yaml"))
GPU_GIB, CUDA_GIB = 16, 0.5
"""Of the device that the files are for; and what CUDA takes of it for each process."""


def serve_config(file: Path) -> str:
    """Serve's part of a file: all of it, or a RayService's field."""
    config: dict[str, Any] = yaml.safe_load(file.read_text())
    if "kind" in config:
        assert (config["apiVersion"], config["kind"]) == ("ray.io/v1", "RayService")
        inner: str = config["spec"]["serveConfigV2"]
        return inner
    return file.read_text()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_is_a_plan(file: Path) -> None:
    parts = {part.kind: part for part in ray_app.parts_of(ray_app.read(serve_config(file)))}
    assert set(parts) == {"stt", "tts", "eot"}
    assert parts["tts"].least >= 2, "with one voice there is nobody to go on"
    assert all(0 < part.least <= part.most for part in parts.values())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_files_gateway_can_keep_its_replicas_busy(file: Path) -> None:
    """A gateway has as much of a kind in flight as its slots are: by default one."""
    (command,) = re.findall(r"^#.* (ANTIPHON_CLUSTER=ray .*antiphon serve)", file.read_text(), re.M)
    slots = {name: int(most) for name, most in re.findall(r"ANTIPHON_(\w+)_SLOTS=(\d+)", command)}
    parts = {part.kind: part for part in ray_app.parts_of(ray_app.read(serve_config(file)))}
    assert set(slots) == {"TTS", "STT"}
    assert slots["TTS"] >= parts["tts"].most
    assert slots["STT"] >= max(parts["stt"].most, parts["eot"].most)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_what_a_files_replicas_take_of_a_gpu_fits_into_it(file: Path) -> None:
    """Ray places them by their part of it, and keeps none of them from the others' memory."""
    for part in ray_app.parts_of(ray_app.read(serve_config(file))):
        if part.gpus:
            config = part.config
            share = {"stt": config.stt_gpu_memory, "tts": config.tts_gpu_memory}[part.kind]
            assert 0 < share <= part.gpus * GPU_GIB - CUDA_GIB


def test_on_one_machine_there_is_room_on_its_gpu_for_all_there_may_be() -> None:
    parts = ray_app.parts_of(ray_app.read((FOLDER / "one-box.yaml").read_text()))
    assert 0 < sum(part.most * part.gpus for part in parts) <= 1


def test_on_kubernetes_a_pod_is_ready_without_wget_and_without_serves_proxy() -> None:
    """KubeRay's own probe of a worker wants both (kuberay issue 4994); it keeps one that is set."""
    file = FOLDER / "kuberay.yaml"
    assert yaml.safe_load(serve_config(file))["proxy_location"] == "Disabled"
    cluster = yaml.safe_load(file.read_text())["spec"]["rayClusterConfig"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    assert len(groups) == 2
    for group in groups:
        ray = group["template"]["spec"]["containers"][0]  # the one that KubeRay takes for Ray's
        for probe in (ray["livenessProbe"], ray["readinessProbe"]):
            assert probe["httpGet"] == {"path": "/api/healthz", "port": 52365}
            assert "exec" not in probe


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
@pytest.mark.filterwarnings("ignore")  # Ray's, of its own old ways
def test_a_file_is_of_serves_form(file: Path) -> None:
    schema = pytest.importorskip("ray.serve.schema", reason="Ray is not installed")
    config = schema.ServeDeploySchema.model_validate(yaml.safe_load(serve_config(file)))
    assert [app.import_path for app in config.applications] == [ray_app.IMPORT_PATH]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"tts": {"gpu": 1}}, "gpu"),
        ({"tts": {"least": 3, "most": 2}}, "least"),
        ({"stt": {"engine": "other"}}, "other"),
        ({"tts": {"slots": 0}}, "slots"),
        ({"stt": {"batch": -1}}, "batch"),
        ({"tts": {"gpu_memory": -1}}, "gpu_memory"),
        ({"stt": {"unload_s": -1}}, "unload_s"),
    ],
)
def test_a_wrong_plan_is_refused_by_name(args: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        ray_app.plan_of(args)


def test_a_plan_says_what_each_replica_takes_of_its_device() -> None:
    plan = ray_app.plan_of(
        {
            "stt": {"batch": 16, "gpu_memory": 4, "gpus": 0.25, "unload_s": 60},
            "tts": {
                "engine": "kokoro",
                "slots": 12,
                "gpu_memory": 3,
                "gpus": 0.25,
                "unload_s": 90,
            },
        }
    )
    parts = {part.kind: part for part in ray_app.parts_of(plan)}
    stt, tts = parts["stt"].config, parts["tts"].config
    assert (stt.stt_model, stt.stt_batch, stt.stt_gpu_memory) == ("auto", 16, 4)
    assert (tts.tts_engine, tts.tts_slots, tts.tts_gpu_memory) == ("kokoro", 12, 3)
    assert (stt.stt_unload_s, tts.tts_unload_s) == (60, 90)
    voice = parts["tts"].make(tts)
    assert isinstance(voice, HasSeats)
    assert (voice.info.name, voice.seats) == ("kokoro", 12)
    alone = parts["tts"].make(replace(tts, tts_engine="kokoro-onnx"))
    assert getattr(alone, "_memory_gib") == 3, "there is one in each replica"  # noqa: B009


@pytest.mark.parametrize("text", ["", "[", "applications: []", "applications: [{name: other}]"])
def test_a_file_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="Ray Serve's form"):
        ray_app.read(text)


def test_a_file_that_is_not_there_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cluster", "up", "nowhere.yaml"]) == 1
    assert "nowhere.yaml" in capsys.readouterr().err
