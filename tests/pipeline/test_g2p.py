"""Texts become the sounds that a reader would make of them, in Kokoro's alphabet."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engines import g2p, g2p_east
from pipeline.engines.plain_forms import plain_forms

SIGNS = st.text(alphabet="abc ,.!?ˈː", max_size=80)


def test_a_diphthong_and_an_affricate_are_one_sign() -> None:
    assert g2p.phonemes("My choice.", "en-us") == "mI ʧˈYs."


@pytest.mark.parametrize(
    ("language", "text", "said"),
    [
        ("en-us", "he lives in a house", "hi lˈɪvz ɪn ə hˈWs"),  # "a" is no letter
        ("en-us", "to record a record", "tə ɹᵻkˈɔɹd ə ɹˈɛkəɹd"),
        ("en-us", "vitamin A is", "vˈIɾəmɪn ˈA ɪz"),
        ("en-us", "J. A. Smith", "ʤˈA ˈA smˈɪθ"),
        ("en-us", "A dog is A Good Dog", "ə dˈɑɡ ɪz ə ɡˈʊd dˈɑɡ"),
        ("en-us", '"A dog," he said.', '"ə dˈɑɡ," hi sˈɛd.'),
        ("fr-fr", "les amis", "lez amˈi"),
        ("hi", "यह एक computer है", "jˌəh ˈeːk kəmpjˈuːtə hɛː"),
    ],
)
def test_a_word_is_read_by_its_neighbours(language: str, text: str, said: str) -> None:
    assert g2p.phonemes(text, language) == said


def test_american_and_british_differ() -> None:
    assert g2p.phonemes("no car", "en-us") == "nˈO kˈɑɹ"
    assert g2p.phonemes("no car", "en-gb") == "nˈQ kˈɑː"


@pytest.mark.parametrize("language", ["en-us", "en-gb"])
@pytest.mark.parametrize(
    "text",
    [
        "In the end it was a lot of the fun that it had been for a while.",
        "I am told that the rest of an hour with the dog could have been at a park.",
        "They did not have to be out of it, for the others do not.",
        "There was a bitter pill, and another one was made within the oven by her.",
    ],
)
def test_there_are_as_many_words_as_are_written(text: str, language: str) -> None:
    assert len(g2p.phonemes(text, language).split()) == len(text.split())


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("3.14", "three point one four"),
        ("Pi is 3.14.", "Pi is three point one four."),
        ("at 10:30", "at ten thirty"),
        ("1,000", "one thousand"),
        ("1,000,", "one thousand,"),
        ("**bold** and `code`", "bold and code"),
        ("# Title", "Title"),
        ("Great! 🎉", "Great!"),
        ("one\n- two", "one two"),
        ("a\x00b", "a b"),
        ("so\u00adlid", "solid"),
        ("fine \ud83d now", "fine now"),
    ],
)
def test_is_read_as_a_person_would(written: str, read: str) -> None:
    said = g2p.phonemes(written, "en-us").translate(str.maketrans("", "", "ˈˌ"))
    assert said == g2p.phonemes(read, "en-us").translate(str.maketrans("", "", "ˈˌ"))


@pytest.mark.parametrize(
    ("language", "written", "plain"),
    [
        ("en-us", "Room １２３ please.", "Room 123 please."),
        ("en-us", "I have ٣ apples, and ३ pears.", "I have 3 apples, and 3 pears."),
        ("en-us", "Step ① is easy, ❷ is not.", "Step 1 is easy, 2 is not."),
        ("en-us", "①②③, 2①", "1 2 3, 2 1"),
        ("en-us", "⑽ and ㉑", "(10) and 21"),
        ("en-us", "Chapter Ⅳ, page ⅻ", "Chapter IV, page xii"),
        ("en-us", "𝐁𝐨𝐥𝐝 𝓽𝓮𝔁𝓽, 𝟏𝟐", "Bold text, 12"),
        ("en-us", "Ｈｅｌｌｏ！ １．５％", "Hello! 1.5%"),
        ("en-us", "1⅞ cups", "1 and 7 eighths cups"),
        ("fr-fr", "３ pommes", "3 pommes"),
        ("de", "⅞", "7/8"),
        ("en-us", "5㎏, 5℃", "5kg, 5°C"),
        ("hi", "मेरे पास ３ सेब, १२३", "मेरे पास 3 सेब, 123"),
        ("ja", "ＡＢＣ、①番", "ABC、1番"),
        ("ja", "5㌔、㏠", "5キロ、1日"),
        ("zh", "二〇二五年，½，m²", "二零二五年，2分之1，m 2"),
        ("zh", "１．５％", "1.5%"),
    ],
)
def test_another_form_of_a_digit_or_letter_sounds_as_the_plain_one(
    language: str, written: str, plain: str
) -> None:
    if language in g2p_east.PACKAGES and not g2p_east.is_here(language):
        pytest.skip("the extra languages is not installed: make setup EXTRAS=languages")
    assert g2p.phonemes(written, language) == g2p.phonemes(plain, language) != ""


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en-us", "½ of x², ¼ of m³, H₂O"),
        ("fr-fr", "L'été, n° 5"),
        ("ne", "३५"),
        ("ja", "はい，3～5！"),
        ("zh", "你好，世界！"),
    ],
)
def test_what_is_read_as_it_stands_is_left(language: str, text: str) -> None:
    assert plain_forms(text, language) == text


@given(st.text(max_size=60))
def test_plain_forms_are_plain(text: str) -> None:
    once = plain_forms(text, "en-us")
    assert plain_forms(once, "en-us") == once
    assert not [char for char in once if char.isdecimal() and not char.isascii()]


def test_keeps_the_punctuation_that_shapes_a_sentence() -> None:
    said = g2p.phonemes("Wait — what? Yes, really...", "en-us")
    assert [sign for sign in said if sign in "—?,."] == ["—", "?", ",", ".", ".", "."]


@pytest.mark.parametrize("text", ["", " ", "...", "—", "***", "😀", "(!)", "\u200d"])
def test_nothing_to_voice_is_an_empty_string(text: str) -> None:
    assert g2p.phonemes(text, "en-us") == ""


@pytest.mark.parametrize("language", ["en-us", "es", "fr-fr", "hi"])
@pytest.mark.parametrize("unit", ["a.", "A.+", "ñ.!", "a", "s'", "s’", "№№A.&", "A.=A"])
def test_a_word_without_end_ends_no_process(unit: str, language: str) -> None:
    assert g2p.phonemes(unit * 2000, language)


def test_many_numbers_are_no_crowd_of_signs() -> None:
    text = ", ".join(f"{n}.5" for n in range(20))
    assert g2p.speakable(text, "en-us") == text


@pytest.mark.parametrize("language", ["ja", "zh"])
@pytest.mark.parametrize("number", ["7" * n for n in (9, 10, 11, 12, 16, 17, 40, 300)])
@pytest.mark.parametrize("text", ["{}", "¥{}", "-{}", "{}.5", "電話{}", "{}%", "1,{}"])
def test_a_number_of_any_length_is_read(language: str, number: str, text: str) -> None:
    if not g2p_east.is_here(language):
        pytest.skip("the extra languages is not installed: make setup EXTRAS=languages")
    assert len(g2p.phonemes(text.format(number), language)) >= len("7" * 9)


@given(st.text(max_size=60))
def test_any_text_gives_signs_that_the_model_knows(text: str) -> None:
    assert set(g2p.phonemes(text, "en-us")) <= set(g2p.TOKENS)


def test_threads_do_not_corrupt_each_other() -> None:
    texts = [(f"number {n} of many words", lang) for n in range(40) for lang in ("en-us", "es")]
    texts += [
        ("私は3人の子供がいます。", lang) for lang in g2p_east.PACKAGES if g2p_east.is_here(lang)
    ]
    alone = [g2p.phonemes(*text) for text in texts]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda text: g2p.phonemes(*text), texts)) == alone


@pytest.mark.parametrize(
    ("language", "text", "said"),
    [
        ("ja", "東京に住んでいます。", "toːkʲoː ɲi sɨnde imasɨ."),
        ("ja", "3人", "saɴ ɲiɴ"),
        ("ja", "ABCを見ました", "ˌAbˌisˈi o mʲi maɕita"),
        ("zh", "你好，世界！", "ni↓xau↓, ʂɨ↘ʨje↘!"),
        ("zh", "3个", "sa→nkɤ↘"),
        ("zh", "。", ""),
    ],
)
def test_japanese_and_mandarin_are_read_by_readers_of_their_own(
    language: str, text: str, said: str
) -> None:
    if not g2p_east.is_here(language):
        pytest.skip("the extra languages is not installed: make setup EXTRAS=languages")
    assert g2p.phonemes(text, language) == said


@given(SIGNS, st.integers(min_value=1, max_value=20))
def test_pieces_fit_and_lose_no_sound(signs: str, longest: int) -> None:
    cut = g2p.pieces(signs, longest)
    assert all(0 < len(piece) <= longest for piece in cut)
    letters = [sign for sign in signs if sign.isalpha()]
    assert [sign for piece in cut for sign in piece if sign.isalpha()] == letters


@pytest.mark.parametrize(
    ("signs", "cut"),
    [
        ("ab. cd, ef gh", ["ab.", "cd, ef gh"]),
        ("ab cd, ef gh", ["ab cd,", "ef gh"]),
        ("abcd efgh ij", ["abcd efgh", "ij"]),
        ("abcdefghijkl", ["abcdefghij", "kl"]),
    ],
)
def test_a_long_text_is_cut_where_a_reader_would_breathe(signs: str, cut: list[str]) -> None:
    assert g2p.pieces(signs, 10) == cut
