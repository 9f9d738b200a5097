"""Units of measure and titles, and their words: tables only. English has its own, in
`english_words.py`."""

from __future__ import annotations

from collections.abc import Mapping

_UNITS = (
    "km/h", "km²", "km", "m²", "m", "cm", "mm", "kg", "g", "mg", "l", "ml", "min", "h", "s", "GB",
    "MB",
)  # fmt: skip


def _words(text: str) -> dict[str, tuple[str, str]]:
    """Of one and of several, where these differ."""
    words = (entry.strip().partition("|") for entry in text.split(","))
    return {
        sign: (one, several or one) for sign, (one, _, several) in zip(_UNITS, words, strict=True)
    }


UNITS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "de": _words(
        "Kilometer pro Stunde, Quadratkilometer, Kilometer, Quadratmeter, Meter, Zentimeter,"
        "Millimeter, Kilogramm, Gramm, Milligramm, Liter, Milliliter, Minute|Minuten,"
        "Stunde|Stunden, Sekunde|Sekunden, Gigabyte, Megabyte"
    ),
    "es": _words(
        "kilómetro por hora|kilómetros por hora, kilómetro cuadrado|kilómetros cuadrados,"
        "kilómetro|kilómetros, metro cuadrado|metros cuadrados, metro|metros,"
        "centímetro|centímetros, milímetro|milímetros, kilogramo|kilogramos, gramo|gramos,"
        "miligramo|miligramos, litro|litros, mililitro|mililitros, minuto|minutos, hora|horas,"
        "segundo|segundos, gigabyte|gigabytes, megabyte|megabytes"
    ),
    "fr": _words(
        "kilomètre par heure|kilomètres par heure, kilomètre carré|kilomètres carrés,"
        "kilomètre|kilomètres, mètre carré|mètres carrés, mètre|mètres, centimètre|centimètres,"
        "millimètre|millimètres, kilogramme|kilogrammes, gramme|grammes, milligramme|milligrammes,"
        "litre|litres, millilitre|millilitres, minute|minutes, heure|heures, seconde|secondes,"
        "gigaoctet|gigaoctets, mégaoctet|mégaoctets"
    ),
    "hi": _words(
        "किलोमीटर प्रति घंटा, वर्ग किलोमीटर, किलोमीटर, वर्ग मीटर, मीटर, सेंटीमीटर, मिलीमीटर,"
        "किलोग्राम, ग्राम, मिलीग्राम, लीटर, मिलीलीटर, मिनट, घंटा|घंटे, सेकंड, गीगाबाइट, मेगाबाइट"
    ),
    "it": _words(
        "chilometro all'ora|chilometri all'ora, chilometro quadrato|chilometri quadrati,"
        "chilometro|chilometri, metro quadrato|metri quadrati, metro|metri, centimetro|centimetri,"
        "millimetro|millimetri, chilogrammo|chilogrammi, grammo|grammi, milligrammo|milligrammi,"
        "litro|litri, millilitro|millilitri, minuto|minuti, ora|ore, secondo|secondi, gigabyte,"
        "megabyte"
    ),
    "ja": _words(
        "キロメートル毎時, 平方キロメートル, キロメートル, 平方メートル, メートル,"
        "センチメートル, ミリメートル, キログラム, グラム, ミリグラム, リットル,"
        "ミリリットル, 分, 時間, 秒, ギガバイト, メガバイト"
    ),
    "pt": _words(
        "quilômetro por hora|quilômetros por hora, quilômetro quadrado|quilômetros quadrados,"
        "quilômetro|quilômetros, metro quadrado|metros quadrados, metro|metros,"
        "centímetro|centímetros, milímetro|milímetros, quilograma|quilogramas, grama|gramas,"
        "miligrama|miligramas, litro|litros, mililitro|mililitros, minuto|minutos, hora|horas,"
        "segundo|segundos, gigabyte|gigabytes, megabyte|megabytes"
    ),
    "zh": _words(
        "公里每小时, 平方公里, 公里, 平方米, 米, 厘米, 毫米, 公斤, 克, 毫克, 升, 毫升,"
        "分钟, 小时, 秒, 吉字节, 兆字节"
    ),
}
"""By the first part of espeak's name of a language: a unit -> its word, of one and of several."""

TITLES: Mapping[str, Mapping[str, str]] = {
    "de": {"Dr.": "Doktor", "z.B.": "zum Beispiel", "z. B.": "zum Beispiel"},
    "es": {"p. ej.": "por ejemplo", "EE. UU.": "Estados Unidos", "EE.UU.": "Estados Unidos",
           "Ud.": "usted", "Uds.": "ustedes"},
    "fr": {"M.": "Monsieur", "p. ex.": "par exemple"},
    "hi": {"डॉ.": "डॉक्टर"},
    "it": {"Dott.": "Dottor", "Sig.": "Signor", "Sig.ra": "Signora", "ecc.": "eccetera"},
    "pt": {"Sr.": "Senhor", "Sra.": "Senhora", "p. ex.": "por exemplo"},
}  # fmt: skip
"""What of short forms espeak spells, or pauses behind; the others it knows."""
