"""Every alert fires when it should, and on a calm server none does: by promtool, on metrics that
a house of ours recorded."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.errors import AntiphonError, AtCapacity
from server.house import House
from session.shedding import Level
from tests.deploy import recorded
from tests.deploy.recorded import PROMETHEUS, SERVER, promtool

RULES = PROMETHEUS / "alerts.yml"
ALERTS: list[dict[str, Any]] = yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
HOURS_ON_END = "2e9+0x390 2.9e9+0x110"
"""Resident memory: for six hours and a half the same, and then 900 MB more."""


@dataclass(frozen=True)
class Fault:
    """What makes an alert fire: what happens every minute, or the values of series instead."""

    happens: tuple[Callable[[House], object], ...] = ()
    labels: dict[str, str] = field(default_factory=dict)
    """Of the alert, beside its server's."""
    instead: dict[str, str] = field(default_factory=dict)
    also: frozenset[str] = frozenset()
    """Other alerts that the same sets off."""
    minutes: int = 40


KIND = {"kind": "tts"}
MODEL = "http://model:8001/v1"
FAULTS: dict[str, Fault] = {
    "AntiphonDown": Fault(instead={"up": "0x40"}),
    "AntiphonNotReady": Fault((lambda h: setattr(h, "stage", "draining"),)),
    "AntiphonSlowReplies": Fault((lambda h: recorded.talks(h, voice_to_voice_ms=2_500),)),
    "AntiphonEngineQueue": Fault((lambda h: recorded.waits(h, "tts", 4.0),), KIND),
    "AntiphonEngineErrors": Fault((lambda h: recorded.called(h, "tts", "failed"),), KIND),
    "AntiphonEngineHangs": Fault(
        (lambda h: recorded.called(h, "tts", "hung"),),
        KIND,
        also=frozenset({"AntiphonEngineErrors"}),
    ),
    "AntiphonModelServerDown": Fault(
        labels={"backend": MODEL, "state": "closed"},
        instead={f'antiphon_llm_backend_breaker{{backend="{MODEL}", state="closed"}}': "0x40"},
    ),
    "AntiphonRedisAway": Fault((lambda h: h.metrics.redis_failed("sessions"),)),
    "AntiphonRefuses": Fault((lambda h: recorded.refuses(h, AtCapacity("full"), 3),)),
    "AntiphonDoesNotSave": Fault((recorded.cannot_store,)),
    "AntiphonInternalErrors": Fault((lambda h: recorded.fails(h, AntiphonError("a bug")),)),
    "AntiphonLoopLag": Fault((lambda h: recorded.lags(h, 0.2),)),
    "AntiphonMemoryGrows": Fault(
        instead={
            "process_resident_memory_bytes": HOURS_ON_END,
            "process_start_time_seconds": "0x500",
        },
        minutes=420,
    ),
    "AntiphonGpuMemoryFull": Fault(
        labels={"device": "0"},
        instead={
            'antiphon_gpu_memory_bytes{device="0", state="used"}': "79e9+0x40",
            'antiphon_gpu_memory_bytes{device="0", state="total"}': "80e9+0x40",
        },
    ),
    "AntiphonFewFileDescriptors": Fault(
        instead={"process_open_fds": "900x40", "process_max_fds": "1024x40"}
    ),
    "AntiphonSheds": Fault((lambda h: recorded.sheds(h, Level.SPECULATION),)),
    "AntiphonOverloaded": Fault(
        (lambda h: recorded.sheds(h, Level.NEWCOMERS),),
        also=frozenset({"AntiphonSheds", "AntiphonNotReady"}),
    ),
}  # fmt: skip


def names_of_series(expression: str) -> set[str]:
    """The metrics that an expression reads."""
    return set(re.findall(r"\b(?:antiphon|process)_\w+|\bup\b", expression))


NAMES = {name for alert in ALERTS for name in names_of_series(alert["expr"])}


def expected(alert: dict[str, Any], fault: Fault) -> dict[str, Any]:
    """The alert as it will be told: with all its labels, and its words filled in."""
    labels = {"instance": SERVER["instance"], **fault.labels}
    if "sum by" not in alert["expr"]:
        labels["job"] = SERVER["job"]

    def filled(text: str) -> str:
        return re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda found: labels[found[1]], text)

    return {
        "exp_labels": {**labels, **alert["labels"]},
        "exp_annotations": {name: filled(text) for name, text in alert["annotations"].items()},
    }


def at(minutes: int, alert: dict[str, Any], *alerts: dict[str, Any]) -> dict[str, Any]:
    return {"eval_time": f"{minutes}m", "alertname": alert["alert"], "exp_alerts": list(alerts)}


def group(name: str, fault: Fault, tests: list[dict[str, Any]]) -> dict[str, Any]:
    series = recorded.recording(fault.happens, fault.minutes, NAMES, fault.instead)
    return {
        "name": name,
        "interval": "1m",
        "input_series": series,
        "alert_rule_test": tests,
    }


def judged(tmp_path: Path, *groups: dict[str, Any]) -> None:
    """Let promtool say whether the alerts are what they are expected to be."""
    path = tmp_path / "test.yml"
    asked = {"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": list(groups)}
    path.write_text(yaml.safe_dump(asked))
    ran = subprocess.run(
        [promtool(), "test", "rules", path], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_every_alert_has_a_fault_that_sets_it_off() -> None:
    assert [alert["alert"] for alert in ALERTS] == list(FAULTS)


def test_every_alert_fires_on_its_fault_after_its_time_and_sets_off_no_other(
    tmp_path: Path,
) -> None:
    groups = []
    for alert in ALERTS:
        fault = FAULTS[alert["alert"]]
        tests = [at(fault.minutes, alert, expected(alert, fault))]
        if "for" in alert:
            tests.append(at(0, alert))
        tests += [
            at(fault.minutes, other)
            for other in ALERTS
            if other is not alert and other["alert"] not in fault.also
        ]
        groups.append(group(alert["alert"], fault, tests))
    judged(tmp_path, *groups)


def test_a_calm_server_sets_off_none(tmp_path: Path) -> None:
    gpu = {
        'antiphon_gpu_memory_bytes{device="0", state="used"}': "40e9+0x420",
        'antiphon_gpu_memory_bytes{device="0", state="total"}': "80e9+0x420",
    }
    calm = Fault(minutes=420, instead=gpu)
    tests = [at(minutes, alert) for alert in ALERTS for minutes in (1, 20, 420)]
    judged(tmp_path, group("calm", calm, tests))


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("AntiphonDown", {"up": "1x10 0 1x30"}),  # one scrape was missed
        # It has just loaded its models.
        (
            "AntiphonMemoryGrows",
            {
                "process_resident_memory_bytes": "1e8+0x5 2e9+0x415",
                "process_start_time_seconds": "0x420",
            },
        ),
        # It was started anew, and is smaller than before.
        (
            "AntiphonMemoryGrows",
            {
                "process_resident_memory_bytes": "1e9+0x200 3e9+0x220",
                "process_start_time_seconds": "0x200 12000+0x220",
            },
        ),
    ],
)
def test_what_looks_like_a_fault_and_is_none(
    name: str, instead: dict[str, str], tmp_path: Path
) -> None:
    (alert,) = (alert for alert in ALERTS if alert["alert"] == name)
    fault = Fault(instead=instead, minutes=420)
    judged(tmp_path, group(name, fault, [at(m, alert) for m in (11, 15, 40, 380, 420)]))


def test_ten_minutes_after_the_last_turn_that_was_not_stored_all_is_well(tmp_path: Path) -> None:
    (alert,) = (alert for alert in ALERTS if alert["alert"] == "AntiphonDoesNotSave")
    once = Fault(instead={'antiphon_session_writes_total{result="failed"}': "0x5 1x30"})
    fires = at(7, alert, expected(alert, once))
    judged(tmp_path, group("once", once, [at(4, alert), fires, at(20, alert)]))


def test_three_slow_turns_are_not_yet_a_slow_server(tmp_path: Path) -> None:
    (alert,) = (alert for alert in ALERTS if alert["alert"] == "AntiphonSlowReplies")
    bucket, count = (f"antiphon_voice_to_voice_seconds_{part}" for part in ("bucket", "count"))
    slow = {
        bucket + '{le="2.0"}': "0x20 3x20",
        bucket + '{le="3.0"}': "0x20 3x20",
        bucket + '{le="+Inf"}': "0x20 3x20",
        count: "0x20 3x20",
    }
    judged(tmp_path, group("slow", Fault(instead=slow), [at(m, alert) for m in (22, 26, 40)]))


def test_the_rules_and_the_configuration_are_in_order(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret")
    config = (PROMETHEUS / "prometheus.yml").read_text()
    named = "/run/secrets/antiphon_admin_token"
    assert named in config
    (tmp_path / "prometheus.yml").write_text(config.replace(named, str(token)))
    (tmp_path / "alerts.yml").write_text(RULES.read_text())
    ran = subprocess.run(
        [promtool(), "check", "config", tmp_path / "prometheus.yml"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"{len(ALERTS)} rules found" in ran.stdout


def test_every_metric_of_the_alerts_is_one_that_there_is() -> None:
    there = {series.partition("{")[0] for series in recorded.scrape(recorded.a_house())}
    there |= {"up", "antiphon_gpu_memory_bytes"}  # Prometheus' own; where there is a GPU
    assert there >= NAMES
