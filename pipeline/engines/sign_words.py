"""Signs and their words, in each language that Kokoro speaks: tables only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

EAST = ("ja", "zh")
"""Those that write no space between words."""
NUMBER = r"\d++(?:[.,]\d++)*+"
"""A pattern; what is behind its last digit is no part of it."""


@dataclass(frozen=True, slots=True)
class SignWords:
    """What a person says for signs. Where the language's reader knows one, as espeak does "%", it
    has no entry here."""

    money: Mapping[str, tuple[str, str]]
    """A currency's sign -> its unit, of one and of several."""
    signs: Mapping[str, str]
    """Any other sign -> its word, wherever it stands."""
    minus: str = ""
    """Before a number; "" where the reader says it."""
    to: str = ""
    """Between two numbers, for a hyphen; "" where the reader has a word for it."""
    large: str = ""
    """Words that belong to a number: a pattern. "5 million" is so many dollars."""
    of: str = ""
    """Between these and the unit: "5 millones de dólares"."""
    halves: tuple[str, ...] = ()
    """One half, a third and so on to a tenth."""
    parts: tuple[str, ...] = ()
    """Several of these, without their number."""
    and_: str = ""
    """Between a number and a fraction."""


def _list(text: str) -> tuple[str, ...]:
    return tuple(text.split(", "))


SIGN_WORDS: Mapping[str, SignWords] = {
    "en": SignWords(
        {
            "$": ("dollar", "dollars"), "€": ("euro", "euros"), "£": ("pound", "pounds"),
            "¥": ("yen", "yen"), "₹": ("rupee", "rupees"), "₩": ("won", "won"),
        },
        {" < ": " less than ", " > ": " greater than ", "‰": " per mille"},
        "minus ",
        " to ",
        "thousand|million|billion|trillion",
        halves=_list(
            "½, ⅓, ¼, 1 fifth, 1 sixth, 1 seventh, 1 eighth, 1 ninth, 1 tenth"
        ),  # espeak reads the first ones: "a half"
        parts=_list("½, thirds, quarters, fifths, sixths, sevenths, eighths, ninths, tenths"),
        and_="and",
    ),
    "es": SignWords(
        {
            "$": ("dólar", "dólares"), "€": ("euro", "euros"), "£": ("libra", "libras"),
            "¥": ("yen", "yenes"), "₹": ("rupia", "rupias"), "₩": ("won", "wones"),
        },
        {
            "×": " por ", "÷": " entre ", " < ": " menor que ", " > ": " mayor que ",
            "≤": " menor o igual que ", "≥": " mayor o igual que ", "≠": " distinto de ",
            "≈": " aproximadamente ", "±": " más menos ", "‰": " por mil", "∞": " infinito ",
            "√": " raíz de ", "№": " número ", "¢": " centavos",
        },
        "menos ", " a ", "mil|millón|millones", "de ",
        _list(
            "medio, un tercio, un cuarto, un quinto, un sexto, un séptimo, un octavo, un noveno,"
            " un décimo"
        ),
        _list("medios, tercios, cuartos, quintos, sextos, séptimos, octavos, novenos, décimos"),
        "y",
    ),
    "fr": SignWords(
        {
            "$": ("dollar", "dollars"), "€": ("euro", "euros"), "£": ("livre", "livres"),
            "¥": ("yen", "yens"), "₹": ("roupie", "roupies"), "₩": ("won", "wons"),
        },
        {
            "×": " fois ", "÷": " divisé par ", " < ": " inférieur à ", " > ": " supérieur à ",
            "≤": " inférieur ou égal à ", "≥": " supérieur ou égal à ", "≠": " différent de ",
            "≈": " environ ", "±": " plus ou moins ", "‰": " pour mille", "∞": " infini ",
            "√": " racine de ", "№": " numéro ", "=": " égale ", "§": " paragraphe ",
        },
        "moins ", " à ", "mille|millions?|milliards?", "de ",
        _list(
            "demi, un tiers, un quart, un cinquième, un sixième, un septième, un huitième,"
            " un neuvième, un dixième"
        ),
        _list(
            "demis, tiers, quarts, cinquièmes, sixièmes, septièmes, huitièmes, neuvièmes, dixièmes"
        ),
        "et",
    ),
    "it": SignWords(
        {
            "$": ("dollaro", "dollari"), "€": ("euro", "euro"), "£": ("sterlina", "sterline"),
            "¥": ("yen", "yen"), "₹": ("rupia", "rupie"), "₩": ("won", "won"),
        },
        {
            "×": " per ", "÷": " diviso ", " < ": " minore di ", " > ": " maggiore di ",
            "≤": " minore o uguale a ", "≥": " maggiore o uguale a ", "≠": " diverso da ",
            "≈": " circa ", "±": " più o meno ", "‰": " per mille", "∞": " infinito ",
            "√": " radice di ", "№": " numero ", "¢": " centesimi",
        },
        "meno ", " a ", "mila|milion[ei]|miliard[oi]", "di ",
        _list(
            "mezzo, un terzo, un quarto, un quinto, un sesto, un settimo, un ottavo, un nono,"
            " un decimo"
        ),
        _list("mezzi, terzi, quarti, quinti, sesti, settimi, ottavi, noni, decimi"),
        "e",
    ),
    "pt": SignWords(
        {
            "R$": ("real", "reais"), "$": ("dólar", "dólares"), "€": ("euro", "euros"),
            "£": ("libra", "libras"), "¥": ("iene", "ienes"), "₹": ("rupia", "rupias"),
            "₩": ("won", "wons"),
        },
        {
            "×": " vezes ", "÷": " dividido por ", " < ": " menor que ", " > ": " maior que ",
            "≤": " menor ou igual a ", "≥": " maior ou igual a ", "≠": " diferente de ",
            "≈": " aproximadamente ", "±": " mais ou menos ", "‰": " por mil", "∞": " infinito ",
            "√": " raiz de ", "№": " número ",
        },
        "menos ", " a ", "mil|milhão|milhões|bilhão|bilhões", "de ",
        _list(
            "meio, um terço, um quarto, um quinto, um sexto, um sétimo, um oitavo, um nono,"
            " um décimo"
        ),
        _list("meios, terços, quartos, quintos, sextos, sétimos, oitavos, nonos, décimos"),
        "e",
    ),
    "hi": SignWords(
        {
            "$": ("डॉलर", "डॉलर"), "€": ("यूरो", "यूरो"), "£": ("पाउंड", "पाउंड"),
            "¥": ("येन", "येन"), "₹": ("रुपया", "रुपये"), "₩": ("वॉन", "वॉन"),
        },
        {
            "°C": " डिग्री सेल्सियस", "°F": " डिग्री फ़ारेनहाइट", "°": " डिग्री", "+": " प्लस ",
            "&": " और ", "@": " ऐट ", "×": " गुणा ", "÷": " भाग ", " < ": " से कम ",
            " > ": " से ज़्यादा ", "≤": " से कम या बराबर ", "≥": " से ज़्यादा या बराबर ",
            "≠": " बराबर नहीं ", "≈": " लगभग ", "±": " प्लस माइनस ", "‰": " प्रति हज़ार",
            "∞": " अनंत ", "√": " वर्गमूल ", "№": " नंबर ", "§": " धारा ",
            "¢": " सेंट",
        },
        "माइनस ", " से ", "हज़ार|हजार|लाख|करोड़", and_="और",
    ),
    "ja": SignWords(
        {
            "$": ("ドル", "ドル"), "€": ("ユーロ", "ユーロ"), "£": ("ポンド", "ポンド"),
            "¥": ("円", "円"), "₹": ("ルピー", "ルピー"), "₩": ("ウォン", "ウォン"),
        },
        {
            "%": "パーセント", "°C": "度", "℃": "度", "°F": "華氏度", "°": "度", "+": "プラス",
            "×": "かける", "÷": "割る", "=": "イコール", " < ": "小なり", " > ": "大なり",
            "≤": "以下", "≥": "以上", "≠": "ノットイコール", "≈": "約", "±": "プラスマイナス",
            "∞": "無限大", "√": "ルート", "&": "アンド", "@": "アット", "#": "シャープ",
            "№": "ナンバー", "§": "セクション", "¢": "セント",
        },
        "マイナス", "から", "[十百千万億兆]+", and_="と",
    ),
    "zh": SignWords(
        {
            "$": ("美元", "美元"), "€": ("欧元", "欧元"), "£": ("英镑", "英镑"),
            "¥": ("元", "元"), "₹": ("卢比", "卢比"), "₩": ("韩元", "韩元"),
        },
        {
            "°C": "摄氏度", "℃": "摄氏度", "°F": "华氏度", "℉": "华氏度", "°": "度",
            "+": "加", "×": "乘", "÷": "除以",
            "=": "等于", " < ": "小于", " > ": "大于", "≤": "小于等于", "≥": "大于等于",
            "≠": "不等于", "≈": "约等于", "±": "正负", "∞": "无穷大", "√": "根号", "&": "和",
            "@": "艾特", "#": "井号", "№": "号", "§": "第", "¢": "美分",
            "α": "阿尔法", "β": "贝塔", "π": "派", "µ": "微", "Ω": "欧姆",
        },
        "负", "到", "[十百千万亿]+", and_="又",
    ),
}  # fmt: skip
"""By the first part of espeak's name of a language."""
