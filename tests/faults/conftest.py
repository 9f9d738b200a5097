"""What the faults share besides the trial."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from tests.faults.mischief import Mischief


@pytest.fixture(scope="package", autouse=True)
def only_what_is_new() -> Iterator[None]:
    """What other tests have left is not looked through at every baseline: that would hold the event
    loop up for longer than the server's own watchdog bears."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def mischief(monkeypatch: pytest.MonkeyPatch) -> Mischief:
    """Engines that can be made to misbehave for the victim."""
    return Mischief(monkeypatch)
