"""When gateways are added: KEDA asks PromQL, of metrics that there are, and never for sockets."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.deploy import recorded
from tests.deploy.recorded import promtool
from tests.support import ROOT

SCALED: dict[str, Any] = yaml.safe_load((ROOT / "deploy/cluster/keda.yaml").read_text())
TRIGGERS = [trigger["metadata"] for trigger in SCALED["spec"]["triggers"]]


def test_it_asks_for_work_that_waits_and_never_for_sockets() -> None:
    there = {series.partition("{")[0] for series in recorded.scrape(recorded.a_house())}
    asked = {
        name
        for trigger in TRIGGERS
        for name in re.findall(r"\b(?:antiphon|process)_\w+", trigger["query"])
    }
    assert asked == {
        "antiphon_pool_overdue_seconds",
        "antiphon_pool_claimed",
        "antiphon_pool_slots",
        "process_cpu_seconds_total",
    }
    assert asked <= there


def test_every_query_is_promql_and_has_a_number_to_be_held_against(tmp_path: Path) -> None:
    assert all(float(trigger["threshold"]) > 0 for trigger in TRIGGERS)
    rules = [
        {"record": f"trigger:{number}", "expr": trigger["query"]}
        for number, trigger in enumerate(TRIGGERS)
    ]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "triggers", "rules": rules}]}))
    ran = subprocess.run(
        [promtool(), "check", "rules", path], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
