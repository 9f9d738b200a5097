"""What is said when there is no answer, in the session's language. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

_LANGUAGE = re.compile(r"\s*([a-z]{2,3})\s*=(.*)", re.IGNORECASE | re.DOTALL)
_NEXT = re.compile(r";(?=\s*[a-z]{2,3}\s*=)", re.IGNORECASE)
"""Any other semicolon is a sentence's own."""


def read_apologies(setting: str) -> dict[str, str]:
    """The setting's sentences by language: "Sorry.; de=Verzeihung." -> {"": ..., "de": ...}.

    One without a language is for all that have none of their own; empty ones are left out.
    """
    apologies: dict[str, str] = {}
    for part in _NEXT.split(setting):
        named = _LANGUAGE.fullmatch(part)
        language, sentence = named.groups() if named else ("", part)
        if sentence.strip():
            apologies[language.lower()] = sentence.strip()
    return apologies


def apology_for(apologies: Mapping[str, str], language: str | None) -> str:
    """The sentence for a language, such as "de" or "de-AT"; "" where nothing is to be said."""
    plain = (language or "").lower().split("-")[0]
    return apologies.get(plain) or apologies.get("", "")
