"""The documentation says what the program does: settings, messages, errors, links."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import get_args

import pytest

from server import failures
from server.app import build_house, create_app
from server.operations import routes
from server.settings import load
from server.settings_help import describe
from server.wire import native, native_in, realtime_in, realtime_out
from tests.support import SCRIPTED

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(chain(ROOT.glob("*.md"), DOCS.rglob("*.md")))

OF_THE_MACHINE = {
    "ANTIPHON_DATA_DIR": "`~/.local/share/antiphon`",
    "ANTIPHON_MODELS_DIR": "`~/.cache/antiphon/models`",
    "ANTIPHON_STT_THREADS": "half the cores, at most 2",
    "ANTIPHON_TTS_THREADS": "the cores, at most 2",
    "ANTIPHON_LLM_THREADS": "half the cores",
}
"""Defaults that are another on another machine, as the table has them."""


def rows(page: Path) -> Iterator[list[str]]:
    """The cells of each row of each table."""
    for line in page.read_text().splitlines():
        if line.startswith("| "):
            yield [cell.strip() for cell in line.strip("|").split(" | ")]


def names_in(page: Path) -> set[str]:
    """What first cells name in code marks."""
    return {name for row in rows(page) for name in re.findall(r"`([^`]+)`", row[0])}


# --- docs/operations.md ---------------------------------------------------------------------------


def test_every_setting_stands_in_the_table_with_what_it_takes_its_default_and_its_help() -> None:
    expected = []
    for setting in describe():
        default = "none" if setting.default == "none" else f"`{setting.default}`"
        shown = OF_THE_MACHINE.get(setting.variable, default)
        expected.append([f"`{setting.variable}`", setting.takes, shown, setting.text])
    found = [row for row in rows(DOCS / "operations.md") if row[0].startswith("`ANTIPHON_")]
    assert found == expected, "the rows are:\n" + "\n".join(
        f"| {' | '.join(row)} |" for row in expected
    )


def test_every_route_of_an_operator_is_listed() -> None:
    listed = (DOCS / "operations.md").read_text()
    for route in routes:
        for method in (route.methods or set()) - {"HEAD"}:
            assert f"`{method} {route.path}`" in listed


OF_THE_SERVER = {"backend", "code", "version"}
"""Labels whose values the table does not list: see there."""


def metrics() -> Iterator[list[str]]:
    """The rows of the table: each metric's name, type, labels with their values, and help."""
    house = build_house(load(SCRIPTED, env_file=None))
    create_app(house)
    for family in house.metrics.registry.collect():
        if not family.name.startswith("antiphon_"):
            continue
        values: dict[str, list[str]] = {name: [] for name in getattr(family, "_labelnames", ())}
        for sample in family.samples:
            for name, value in sample.labels.items():
                if name != "le" and value not in values.setdefault(name, []):
                    values[name].append(value)
        labels = "; ".join(
            f"`{name}`" + (f": {', '.join(known)}" if known and name not in OF_THE_SERVER else "")
            for name, known in values.items()
        )
        suffix = "_total" if family.type == "counter" else ""
        yield [f"`{family.name}{suffix}`", family.type, labels, family.documentation]


def test_every_metric_stands_in_the_table_with_its_labels_and_its_help(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("server.gauges.gpu_memory", list)  # as where there is none
    found = [row for row in rows(DOCS / "operations.md") if row[0].startswith("`antiphon_")]
    expected = list(metrics())
    assert found == expected, "the table is:\n" + "\n".join(
        f"| {' | '.join(row)} |" for row in expected
    )


# --- docs/protocol.md -----------------------------------------------------------------------------


def test_every_message_that_a_client_may_send_is_described_and_no_other() -> None:
    kinds = {str(kind.__struct_config__.tag) for kind in get_args(native_in._Message)}
    page = (DOCS / "protocol.md").read_text()
    table = page.partition("## Client to server")[2].partition("Settings of `hello`")[0]
    described = set(re.findall(r"^\| `(\w+)` \|", table, re.M))
    assert described == kinds


def test_every_error_is_described_with_its_http_status() -> None:
    described = {
        (row[0].strip("`"), row[1])
        for row in rows(DOCS / "protocol.md")
        if re.fullmatch(r"`[A-Z_]+`", row[0])
    }
    table = [*failures._TABLE.values(), failures._INTERNAL]
    assert described == {(failure.code, str(failure.http)) for failure in table}


def traced(direction: str) -> list[str]:
    return re.findall(rf"^{direction} (\{{.*\}})$", (DOCS / "protocol.md").read_text(), re.M)


@pytest.mark.parametrize("frame", traced(">"))
def test_what_the_client_of_the_traces_says_is_of_the_protocol(frame: str) -> None:
    native.decode(frame)


def test_what_the_server_of_the_traces_says_is_described() -> None:
    said = [json.loads(frame) for frame in traced("<")]
    assert len(said) > 10
    assert {message["type"] for message in said} <= names_in(DOCS / "protocol.md")


# --- docs/realtime.md -----------------------------------------------------------------------------


def test_every_event_of_a_realtime_client_is_described() -> None:
    kinds = {str(kind.__struct_config__.tag) for kind in get_args(realtime_in.ClientEvent)}
    assert kinds <= names_in(DOCS / "realtime.md")


def test_every_code_of_a_realtime_error_is_described() -> None:
    codes = {*realtime_out._CODES.values(), *realtime_out._NO_ITEM.values()}
    assert codes <= names_in(DOCS / "realtime.md")


# --- all pages ------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link} leads nowhere"
        if anchor:
            assert anchor in anchors(target), f"{link}: there is no such heading"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_a_page_names_exist(page: Path) -> None:
    tops = "server|session|pipeline|web|tests|benchmarks|deploy|docs"
    for name in re.findall(rf"`((?:{tops})/[\w./-]*)`", page.read_text()):
        assert (ROOT / name).exists(), f"{name} is named and not there"
