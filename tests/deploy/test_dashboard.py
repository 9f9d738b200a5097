"""The Grafana dashboard: what it asks exists, is PromQL, and is laid out without an overlap."""

from __future__ import annotations

import json
import re
import subprocess
from itertools import combinations
from pathlib import Path
from typing import Any

import yaml

from tests.deploy import recorded
from tests.deploy.recorded import promtool
from tests.support import ROOT

GRAFANA = ROOT / "deploy" / "grafana"
DASHBOARD: dict[str, Any] = json.loads((GRAFANA / "dashboards" / "antiphon.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel.get("targets", ())]


def test_every_metric_that_it_shows_is_one_that_there_is() -> None:
    there = {series.partition("{")[0] for series in recorded.scrape(recorded.a_house())}
    there.add("antiphon_gpu_memory_bytes")  # where there is a GPU
    asked = {name for one in EXPRESSIONS for name in re.findall(r"\b(?:antiphon|process)_\w+", one)}
    assert len(asked) > 30
    assert asked <= there


def test_every_metric_of_ours_is_on_it_but_those_that_no_panel_needs() -> None:
    families = {
        family.name
        for family in recorded.a_house().metrics.registry.collect()
        if family.name.startswith("antiphon_")
    }
    shown = " ".join(EXPRESSIONS)
    left_out = {name for name in families if name not in shown}
    assert left_out == {
        "antiphon_build_info",
        "antiphon_llm_backend_first_token_seconds",
        "antiphon_load_shedding",
        "antiphon_outbox_bytes",
        "antiphon_pool_instances",
        "antiphon_pool_queue_age_seconds",
        "antiphon_pool_slots",
        "antiphon_replies_active",
        "antiphon_request_audio_seconds",
        "antiphon_requests_active",
        "antiphon_scratch_bytes",
        "antiphon_sessions_started",
        "antiphon_speech_cache_bytes",
        "antiphon_tasks",
        "antiphon_user_data",
    }


def test_every_expression_is_promql(tmp_path: Path) -> None:
    rules = [
        {
            "record": f"panel:{number}",
            "expr": one.replace("$instance", ".*").replace("$__rate_interval", "1m"),
        }
        for number, one in enumerate(EXPRESSIONS)
    ]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    ran = subprocess.run(
        [promtool(), "check", "rules", path], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_no_panel_lies_on_another_and_none_is_there_twice() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    for one, other in combinations((panel["gridPos"] for panel in PANELS), 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above, (one, other)


def test_it_is_provisioned_from_the_folder_and_the_source_that_it_names() -> None:
    (source,) = yaml.safe_load(
        (GRAFANA / "provisioning" / "datasources" / "prometheus.yml").read_text()
    )["datasources"]
    uids = {target["datasource"]["uid"] for panel in PANELS for target in panel.get("targets", ())}
    assert uids == {source["uid"]}
    (provider,) = yaml.safe_load(
        (GRAFANA / "provisioning" / "dashboards" / "antiphon.yml").read_text()
    )["providers"]
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    mounts = dict(volume.split(":")[:2] for volume in compose["services"]["grafana"]["volumes"])
    assert provider["options"]["path"] == mounts["./deploy/grafana/dashboards"]
    assert mounts["./deploy/grafana/provisioning"] == "/etc/grafana/provisioning"
