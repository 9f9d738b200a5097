"""What is said when there is no answer: a sentence for each language."""

from __future__ import annotations

import pytest

from session.apologies import apology_for, read_apologies

SETTING = "Sorry; try again. ; de = Verzeihung.;fr=Pardon = excusez-moi."


@pytest.mark.parametrize(
    ("language", "sentence"),
    [
        (None, "Sorry; try again."),
        ("en", "Sorry; try again."),
        ("de", "Verzeihung."),
        ("DE-at", "Verzeihung."),
        ("fr", "Pardon = excusez-moi."),
        ("it", "Sorry; try again."),
    ],
)
def test_each_language_has_its_own_or_the_one_for_all(language: str | None, sentence: str) -> None:
    assert apology_for(read_apologies(SETTING), language) == sentence


@pytest.mark.parametrize("setting", ["", "  ", "de=", "; de= ;fr="])
def test_an_empty_one_says_nothing(setting: str) -> None:
    assert apology_for(read_apologies(setting), "de") == ""


def test_one_language_may_be_apologised_in_alone() -> None:
    apologies = read_apologies("de=Verzeihung.")
    assert apology_for(apologies, "de") == "Verzeihung."
    assert apology_for(apologies, "en") == ""
