"""Units, titles and whole hours in words, in each language but English, which has its own room."""

from __future__ import annotations

import pytest

from pipeline.engines import g2p
from pipeline.engines.short_words import TITLES, UNITS


@pytest.mark.parametrize(
    ("language", "written", "said"),
    [
        ("es", "5 km, 1 km, 1,5 kg", "5 kilómetros, 1 kilómetro, 1,5 kilogramos"),
        ("es", "a las 9:00, 09:00 y 9:30", "a las 9, 9 y 9:30"),
        ("es", "5 m, 5m, los 5s", "5 metros, 5m, los 5s"),
        ("es", "El Sr. López, p. ej., en EE. UU.", "El Sr López, por ejemplo, en Estados Unidos."),
        ("es", "100 km/h, 10 m²", "100 kilómetros por hora, 10 metros cuadrados"),
        ("fr-fr", "9h30, 9 h, 9:00, 1 h", "9 heures 30, 9 heures, 9 heures, 1 heure"),
        ("fr-fr", "M. Dupont, Mme. Dupont", "Monsieur Dupont, Mme Dupont"),
        ("it", "10 min, alle 17:00, Sig. Rossi", "10 minuti, alle 17, Signor Rossi"),
        ("pt-br", "às 9h30, Sr. Silva, 5 l", "às 9 horas 30, Senhor Silva, 5 litros"),
        ("hi", "5 km, 9:00 बजे, डॉ. शर्मा", "5 किलोमीटर, 9 बजे, डॉक्टर शर्मा"),
        ("ja", "5km先、10 min、5G", "5キロメートル先、10分、5G"),
        ("zh", "5km，5kg", "5公里，5公斤"),
        ("de", "um 9:00 Uhr, z. B. 10 min", "um 9 Uhr, zum Beispiel 10 Minuten"),
        ("de", "10:00:30, 5 kmx, v5 km", "10:00:30, 5 kmx, v5 km"),
        ("nl", "5 km", "5 km"),
    ],
)
def test_is_said_in_words(language: str, written: str, said: str) -> None:
    assert g2p.speakable(written, language) == said


@pytest.mark.parametrize("language", UNITS)
def test_each_unit_is_another_word(language: str) -> None:
    assert len({one for one, _ in UNITS[language].values()}) == len(UNITS[language])


def test_the_titles_are_of_languages_with_units() -> None:
    assert set(TITLES) <= set(UNITS)
