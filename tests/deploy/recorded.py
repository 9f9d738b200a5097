"""Metrics of a house as Prometheus would have recorded them, for `promtool test rules`."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable

from pipeline.calls import CallFigures, CallOutcome
from pipeline.errors import AntiphonError
from pipeline.events import Failed, Latency, ReplyDone, Timeline
from server.app import build_house, create_app
from server.house import House
from server.settings import load
from session.shedding import Level
from session.shedding import Sample as LoadSample
from tests.support import ROOT, SCRIPTED, left_out

PROMETHEUS = ROOT / "deploy" / "prometheus"
SERVER = {"job": "antiphon", "instance": "server:8000"}
GROWS = ("_total", "_bucket", "_count", "_sum")

Series = dict[str, float]
"""`name{labels}`, as PromQL writes it, and its value."""


def promtool() -> str:
    """Prometheus' own checker. `.ci/run` installs it; elsewhere its tests are left out."""
    return shutil.which("promtool") or left_out(
        "there is no promtool: Debian's package prometheus has it"
    )


def a_house() -> House:
    """One that is ready, with engines at URLs so that there is a backend to show."""
    urls = {"ANTIPHON_LLM_ENGINE": "openai", "ANTIPHON_LLM_BASE_URL": "http://model:8001/v1"}
    house = build_house(load({**SCRIPTED, **urls}, env_file=None))
    create_app(house)
    house.stage = "ready"
    return house


def scrape(house: House) -> Series:
    """What one look at `/metrics` shows, as Prometheus labels it."""
    found: Series = {}
    for family in house.metrics.registry.collect():
        for sample in family.samples:
            found[named(sample.name, sample.labels)] = sample.value
    return found


def named(name: str, labels: dict[str, str]) -> str:
    inside = ", ".join(f'{label}="{value}"' for label, value in {**labels, **SERVER}.items())
    return f"{name}{{{inside}}}"


# --- what happens in a minute ---------------------------------------------------------------------


def talks(house: House, voice_to_voice_ms: int = 600) -> None:
    """Ten turns, answered, with what they ask of the engines."""
    for number in range(10):
        parts = Latency(250, 100, 150, voice_to_voice_ms - 500)
        steps = Timeline(200, 250, 350, 450, 580, parts.total)
        house.metrics.told(ReplyDone(number, number, "completed", "", "", parts, steps))
        for kind in ("stt", "eot", "llm", "tts"):
            house.metrics.waited(kind, 0.02)
            called(house, kind, "completed")
        house.metrics.session_written("saved")
    for _ in range(120):  # twice a second
        house.metrics.sampled(LoadSample(0.004, 0.0), house.load.level)


def called(house: House, kind: str, outcome: CallOutcome) -> None:
    house.metrics.called(kind, CallFigures(outcome, 0.2, 0.1, 1.0))


def waits(house: House, kind: str, seconds: float) -> None:
    for _ in range(10):
        house.metrics.waited(kind, seconds)


def lags(house: House, seconds: float) -> None:
    for _ in range(12):
        house.metrics.sampled(LoadSample(seconds, 0.0), house.load.level)


def refuses(house: House, error: AntiphonError, times: int) -> None:
    for _ in range(times):
        house.metrics.turned_away(error)


def cannot_store(house: House) -> None:
    house.metrics.session_written("failed")


def fails(house: House, error: Exception) -> None:
    house.metrics.told(Failed(error))


def sheds(house: House, level: Level) -> None:
    house.load._shedding.level = level


# --- minutes on end -------------------------------------------------------------------------------


def recording(
    happens: Iterable[Callable[[House], object]],
    minutes: int,
    names: set[str],
    instead: dict[str, str],
) -> list[dict[str, str]]:
    """The series of these names, if the same happens every minute, as promtool's tests take them.

    `instead` has what this process cannot do to itself: the values of series, by their name.
    """
    house = a_house()
    talks(house)
    before = scrape(house)
    talks(house)
    for one in happens:
        one(house)
    after = scrape(house)
    after[named("up", {})] = 1.0
    return as_series(before, after, minutes, names, instead)


def as_series(
    before: Series, after: Series, minutes: int, names: set[str], instead: dict[str, str]
) -> list[dict[str, str]]:
    """What two looks show, a minute apart, if it goes on like that: as promtool's tests take it."""
    replaced = {series.partition("{")[0] for series in instead}
    lines = []
    for series, value in after.items():
        name = series.partition("{")[0]
        if name in names - replaced:
            slope = value - before.get(series, 0.0) if name.endswith(GROWS) else 0.0
            lines.append({"series": series, "values": f"{value:f}+{slope:f}x{minutes}"})
    for series, values in instead.items():
        name, _, own = series.partition("{")
        labels = dict(re.findall(r'(\w+)="([^"]*)"', own))
        lines.append({"series": named(name, labels), "values": values})
    return lines
