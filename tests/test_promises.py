"""`docs/promises.md`: every promise names the test that proves it, and that test exists."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import ROOT

PAGE = ROOT / "docs" / "promises.md"


@dataclass(frozen=True)
class Promise:
    """One row: a fault, and where its proof is."""

    fault: str
    tests: tuple[str, ...]
    files: tuple[Path, ...]


def files_in(text: str) -> tuple[Path, ...]:
    """The test files that a text links to."""
    links = re.findall(r"\]\((\.\./tests/[^)]+\.py)\)", text)
    return tuple((PAGE.parent / link).resolve() for link in links)


def promises() -> list[Promise]:
    found = []
    for section in re.split(r"^## ", PAGE.read_text(), flags=re.M)[1:]:
        heading, _, body = section.partition("\n")
        for row in re.findall(r"^\| .*$", body, re.M):
            fault = row.strip("| ").split(" | ")[0]
            if fault != "fault":
                tests = tuple(re.findall(r"`(test_\w+)`", row))
                found.append(Promise(fault, tests, files_in(row) or files_in(heading)))
    return found


def proofs_in(path: Path) -> set[str]:
    return set(re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.M))


def test_there_are_promises() -> None:
    assert len(promises()) > 60


@pytest.mark.parametrize("promise", promises(), ids=lambda promise: promise.fault[:40])
def test_each_promise_names_a_test_that_is_there(promise: Promise) -> None:
    assert promise.files, "no file is named that proves it"
    there = set().union(*(proofs_in(path) for path in promise.files))
    assert there
    # A file of its own proves it as a whole.
    assert promise.tests or len(promise.files) == 1
    assert set(promise.tests) <= there


def test_every_test_of_a_fault_proves_a_promise_or_is_named_here() -> None:
    named = {test for promise in promises() for test in promise.tests}
    page = PAGE.read_text()
    nowhere = {
        path.name
        for path in (ROOT / "tests" / "faults").glob("test_*.py")
        if path.name not in page and not proofs_in(path) & named
    }
    means = {"test_line.py", "test_baseline.py"}
    assert nowhere <= means, "a file of faults that no promise is made of"
