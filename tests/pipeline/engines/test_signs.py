"""Signs are said as words of the language, and none is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engines import g2p, g2p_east
from pipeline.spoken import spoken

LANGUAGES = ("en-us", "en-gb", "es", "fr-fr", "hi", "it", "ja", "pt-br", "zh")
SIGNS = (*"%+=×÷&@±≤≥≠≈√∞°‰§№<>$€£¥₹₩¢㎏℃℉−π½⅓¼¾⅞⅐",)


def need(language: str) -> None:
    if language in g2p_east.PACKAGES and not g2p_east.is_here(language):
        pytest.skip("the extra languages is not installed: make setup EXTRAS=languages")


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_sign_is_lost(language: str) -> None:
    need(language)

    def sounds(text: str) -> str:
        return g2p.phonemes(text, language).replace(" ", "")

    without = sounds("5 3")
    assert not [sign for sign in SIGNS if sounds(f"5 {sign} 3") == without]


@pytest.mark.parametrize(
    ("language", "written", "said"),
    [
        ("en-us", "It costs $5.", "It costs 5 dollars."),
        ("en-us", "$1, £1 or 1 €", "1 dollar, 1 pound or 1 euro"),
        ("en-us", "$1,234.50, $0.01", "1,234 dollars and 50 cents, 1 cent"),
        ("en-us", "£2.01, $3.00", "2 pounds and 1 penny, 3 dollars"),
        ("en-us", "$5-$10, -$5", "5 to 10 dollars, minus 5 dollars"),
        ("en-us", "$5 million, $5M", "5 million dollars, 5 million dollars"),
        ("en-us", "a $20 bill", "a 20 dollar bill"),
        ("en-us", "the $ sign, US$5", "the dollar sign, US 5 dollars"),
        ("en-us", "5<10, a <b> tag, a->b", "5 less than 10, a <b> tag, a->b"),
        ("en-us", "1⅞, ¾, ⅐", "1 and 7 eighths, 3 quarters, 1 seventh"),
        ("en-us", "x = -3, -5°C", "x = minus 3, minus 5 degrees Celsius"),
        ("es", "1½ tazas, ⅔", "1 y medio tazas, 2 tercios"),
        ("es", "$5 millones, $5 mil", "5 millones de dólares, 5 mil dólares"),
        ("es", "3-5 días a -5°C", "3 a 5 días a menos 5°C"),
        ("es", "covid-19, 2025-01-02", "covid-19, 2025-01-02"),
        ("fr-fr", "⅓⅔, 2 €", "un tiers 2 tiers, 2 euros"),
        ("it", "⅜, €1", "3 ottavi, 1 euro"),
        ("pt-br", "R$ 5, R$1, $5", "5 reais, 1 real, 5 dólares"),
        ("hi", "₹5 लाख, ½, ⅞", "5 लाख रुपये, आधा, 7 बटा 8"),
        ("ja", "¥1,000、3万€", "1000円、3万ユーロ"),
        ("ja", "1.05、20%", "1点零五、20パーセント"),
        ("ja", "9:00～17:30、-5℃", "9時から17時30分、マイナス5度"),
        ("ja", "2025/1/2、1⅞", "2025年1月2日、1と8分の7"),
        ("ja", "090-1234-5678、1,5,7", "090-1234-5678、1,5,7"),
        ("ja", "09012345678、0312345678", "零九零一二三四五六七八、零三一二三四五六七八"),
        ("ja", "1,400,000,000人、1234567890.5", "14億人、12億3456万7890点五"),
        ("ja", "¥9,876,543,210,000,001", "9876兆5432億1000万1円"),
        ("ja", "00000000000000000001.5", "零零零零零零零零零零零零零零零零零零零一.5"),
        ("zh", "13812345678、1,400,000,000", "一三八一二三四五六七八、1400000000"),
        ("zh", "¥99999999999999999", "九九九九九九九九九九九九九九九九九元"),
        ("zh", "¥1,000、$3.5", "1000元、3.5美元"),
        ("zh", "2025-01-02、9:05", "2025年1月2日、9点零5分"),
        ("zh", "3-5天，5%-10%", "3到5天，5%到10%"),
        ("zh", "1⅞，5‰", "1又8分之7，千分之5"),
        ("zh", "138-1234-5678", "138 1234 5678"),
        ("de", "$5, 3-5, ±2", "$5, 3-5, ±2"),
        ("es", "3/4, 1 1/2, 3/4/2025", "3 cuartos, 1 y medio, 3/4/2025"),
        ("ja", "3/4、1 1/2", "4分の3、1と2分の1"),
        ("zh", "3/4", "4分之3"),
        ("fr-fr", "1/2, 11/12", "demi, 11/12"),
    ],
)  # fmt: skip
def test_is_said_as_a_person_would(language: str, written: str, said: str) -> None:
    assert g2p.speakable(written, language) == said


@pytest.mark.parametrize(
    ("language", "word"),
    [("en-us", "times"), ("es", "por"), ("de", "mal"), ("ja", "かける"), ("zh", "乘")],
)
def test_a_product_is_said_in_the_language_of_the_text(language: str, word: str) -> None:
    """An asterisk between numbers is no markup."""
    need(language)
    said = g2p.phonemes(spoken("5 * 3"), language).replace("ˈ", "")
    assert said == g2p.phonemes(f"5 {word} 3", language).replace("ˈ", "")


_ONE_BY_ONE = str.maketrans("一五九", "159")
"""Japanese decimals are said so."""


@given(st.text(alphabet="0159.,:-$€R¥%°C< a円km", max_size=30), st.sampled_from(LANGUAGES[2:]))
def test_no_digit_is_lost(text: str, language: str) -> None:
    """But zeros that nobody says, as in 9:00. English has words for some: test_english.py."""

    def digits(words: str) -> list[str]:
        return [digit for digit in words.translate(_ONE_BY_ONE) if digit in "159"]

    assert digits(g2p.speakable(text, language)) == digits(text)
