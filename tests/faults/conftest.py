"""What the faults share besides the trial."""

from __future__ import annotations

import pytest

from tests.faults.mischief import Mischief


@pytest.fixture
def mischief(monkeypatch: pytest.MonkeyPatch) -> Mischief:
    """Engines that can be made to misbehave for the victim."""
    return Mischief(monkeypatch)
