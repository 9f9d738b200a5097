"""Alerts and dashboard against a server that was driven, well and badly: what they ask for is what
it exports, by name, label and value, and what went wrong sets off the alerts that are for it."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from session.shedding import Level
from tests.contract.chat_backend import chat_backend
from tests.deploy import recorded, test_dashboard
from tests.deploy.recorded import Series, named
from tests.deploy.test_alerts import ALERTS, NAMES, Fault, at, expected, judged
from tests.server.test_load import ENTERED_AT
from tests.server.test_metrics import speaks, talk, type_in
from tests.support import LiveServer, call, live_server
from tests.valkey import Valkey, valkey

PROMETHEUS_OWN = {"instance", "job", "le"}
GPU = "antiphon_gpu_memory_bytes"
"""Is there where a GPU is: `test_the_memory_of_a_gpu_is_shown` has its labels."""
EXPRESSIONS = [alert["expr"] for alert in ALERTS] + test_dashboard.EXPRESSIONS
SELECTOR = re.compile(r"\b((?:antiphon|process)_\w+)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
MINUTES = 40


@dataclass(frozen=True)
class Driven:
    """What a server exported when all was well, and after all that went wrong."""

    well: Series
    badly: Series
    model: str


async def look(server: LiveServer) -> Series:
    async with httpx.AsyncClient(base_url=server.url) as http:
        text = (await http.get("/metrics")).text
    samples = chain.from_iterable(one.samples for one in text_string_to_metric_families(text))
    found = {named(sample.name, sample.labels): sample.value for sample in samples}
    return found | {named("up", {}): 1.0}


async def drive_well(server: LiveServer) -> None:
    async with call(server.ws_url, {}) as caller:
        await talk(caller)
        await type_in(caller)
    async with httpx.AsyncClient(base_url=server.url) as http:
        assert (await http.post("/v1/audio/speech", json={"input": "Hello."})).is_success


async def drive_badly(server: LiveServer, redis: Valkey) -> None:
    redis.kill()
    model = server.house.engines.language_model
    async with call(server.ws_url, {}) as caller:
        while {one.breaker for one in model.backends()} != {"open"}:  # type: ignore[attr-defined]
            await type_in(caller)
        for _ in range(2):
            time.sleep(0.3)  # noqa: ASYNC251 - that is the fault
            await asyncio.sleep(0.6)
        for number in range(20):  # a load that stays, in no time
            server.house.load.note(ENTERED_AT[Level.NEWCOMERS], 1e9 + number)
        for _ in range(3):
            async with call(server.ws_url) as refused:
                assert await refused.closed() == 1013


@pytest.fixture
async def driven() -> AsyncIterator[Driven]:
    with valkey() as redis:
        async with chat_backend() as backend:
            environ = {
                "ANTIPHON_LLM_ENGINE": "openai", "ANTIPHON_LLM_BASE_URL": backend.url,
                "ANTIPHON_REDIS_URL": redis.url, "ANTIPHON_WAITING_ROOM": "0",
                "ANTIPHON_APOLOGY": "",
            }  # fmt: skip
            async with live_server(**environ) as server:
                speaks(server, s_per_char=0.005)
                await drive_well(server)
                well = await look(server)
                await backend.refuse()
                await drive_badly(server, redis)
                yield Driven(well, await look(server), backend.url)


def labels(series: str) -> dict[str, str]:
    return dict(re.findall(r'(\w+)="([^"]*)"', series))


def missing(expression: str, there: dict[str, list[dict[str, str]]]) -> set[str]:
    """What an expression asks for that no series has."""
    lacks, asked = set(), set()
    for name, inside in SELECTOR.findall(expression):
        if name == GPU:
            continue
        lacks |= {name} - there.keys()
        for label, _, value in MATCHER.findall(inside):
            asked.add(label)
            values = {one.get(label) for one in there.get(name, ())}
            if label not in PROMETHEUS_OWN:
                lacks |= {f"{name}{{{label}={one}}}" for one in value.split("|")
                          if one not in values}  # fmt: skip
    names = {name for name, _ in SELECTOR.findall(expression)}
    for grouped in re.findall(r"\bby \(([^)]*)\)", expression):
        for label in re.split(r",\s*", grouped):
            if not any(label in one for name in names for one in there.get(name, ())):
                lacks.add(f"by ({label}) of {names}")
    return lacks


async def test_what_is_asked_is_what_it_exports_and_what_went_wrong_is_what_fires(
    driven: Driven, tmp_path: Path
) -> None:
    there: dict[str, list[dict[str, str]]] = {}
    for series in driven.badly:
        there.setdefault(series.partition("{")[0], []).append(labels(series))
    for expression in EXPRESSIONS:
        assert not missing(expression, there), expression
    assert missing('rate(antiphon_drops_total{queue="bucket"}[5m])', there)
    assert missing("sum by (color) (antiphon_drops_total)", there)

    fires = {
        "AntiphonNotReady": {}, "AntiphonRedisAway": {}, "AntiphonRefuses": {},
        "AntiphonDoesNotSave": {}, "AntiphonLoopLag": {}, "AntiphonSheds": {},
        "AntiphonOverloaded": {}, "AntiphonEngineErrors": {"kind": "llm"},
        "AntiphonModelServerDown": {"backend": driven.model, "state": "closed"},
    }  # fmt: skip
    tests = []
    for alert in ALERTS:
        name = alert["alert"]
        fired = [expected(alert, Fault(labels=fires[name]))] if name in fires else []
        tests.append(at(MINUTES, alert, *fired))
    series = recorded.as_series(driven.well, driven.badly, MINUTES, NAMES, {})
    group = {"name": "driven", "interval": "1m", "input_series": series, "alert_rule_test": tests}
    judged(tmp_path, group)
