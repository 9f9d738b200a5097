"""A session's language picks its voice, or the client is told what is missing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.errors import NotFound
from session.catalogue import Catalogue
from session.messages import Configure

VOICES = {"af_heart": "en-us", "bf_emma": "en-gb", "ef_dora": "es", "em_alex": "es"}
CATALOGUE = Catalogue(
    VOICES, frozenset({"en", "es", "de"}), "af_heart", "it takes a model", "it takes a package"
)


@pytest.mark.parametrize(
    ("language", "own", "voice"),
    [
        ("es", "af_heart", "ef_dora"),
        ("es-MX", "af_heart", "ef_dora"),
        ("es", "em_alex", "em_alex"),
        ("en", "ef_dora", "af_heart"),
        ("en-GB", "bf_emma", "bf_emma"),
        ("de", "em_alex", "em_alex"),
    ],
)
def test_a_language_is_spoken_by_a_voice_of_its_own(language: str, own: str, voice: str) -> None:
    assert CATALOGUE.voice_for(language, own) == voice


@pytest.mark.parametrize(
    ("voice", "language", "speaks"),
    [
        ("em_alex", "es", "em_alex"),
        ("em_alex", "en", "em_alex"),
        ("es_joe", "es", "ef_dora"),
        ("en_joe", "en-GB", "af_heart"),
        ("joe", None, "af_heart"),
    ],
)
def test_for_a_voice_that_is_gone_another_one_of_the_language_speaks(
    voice: str, language: str | None, speaks: str
) -> None:
    assert CATALOGUE.speaks(voice, language) == speaks


def test_who_speaks_what_is_understood_and_spoken_here_is_welcome() -> None:
    CATALOGUE.check(Configure(language="es-ES", voice="ef_dora"))


@pytest.mark.parametrize(
    ("language", "why"),
    [
        ("ja", "not understood here; de, en, es is; it takes a model"),
        ("de", "no voice here speaks 'de'; there are en, es; it takes a package"),
    ],
)
def test_what_is_missing_for_a_language_is_said(language: str, why: str) -> None:
    with pytest.raises(NotFound, match=why):
        CATALOGUE.check(Configure(language=language))


@pytest.mark.parametrize("quiet", [Configure(modality="text"), Configure(answers=False)])
def test_who_is_answered_in_writing_needs_no_voice(quiet: Configure) -> None:
    CATALOGUE.check(replace(quiet, language="de"))
