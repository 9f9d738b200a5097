"""From tokens and the path of attention to words with times."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.engines.whisper_words import words_of


def spelled(pieces: list[bytes]):  # type: ignore[no-untyped-def]
    """A tokenizer whose token n is the nth piece, as byte-level ones are."""
    return lambda tokens: b"".join(pieces[token] for token in tokens).decode(errors="replace")


def words(pieces: list[bytes], path: list[tuple[int, int]], length_s: float = 30.0):  # type: ignore[no-untyped-def]
    return words_of(range(len(pieces)), path, spelled(pieces), length_s)


def test_a_word_lasts_from_its_first_token_to_the_next_word() -> None:
    pieces = [b" And", b" Ameri", b"cans", b"."]
    found = words(pieces, [(0, 0), (0, 1), (1, 10), (2, 20), (3, 30), (4, 31), (4, 49)])
    assert [(word.text, word.start_s, word.end_s) for word in found] == [
        (" And", 0.0, 0.2),
        (" Americans.", 0.2, 0.62),
    ]
    assert found[1].tokens == (1, 2, 3)


def test_where_no_spaces_are_written_every_character_is_a_word() -> None:
    sentence = "今日は。".encode()
    pieces = [sentence[:2], sentence[2:3], sentence[3:6], sentence[6:9], sentence[9:]]
    found = words(pieces, [(0, 0), (2, 5), (3, 10), (5, 20)])
    assert [word.text for word in found] == ["今", "日", "は。"]


def test_a_character_that_is_never_finished_takes_nothing_with_it() -> None:
    assert [word.text for word in words([b" a", b" \xe4"], [(0, 0)])] == [" a", " \ufffd"]


def test_nobody_speaks_past_the_end_of_the_audio() -> None:
    (word,) = words([b" late"], [(0, 40), (1, 80)], length_s=1.0)
    assert (word.start_s, word.end_s) == (0.8, 1.0)


@given(
    st.lists(st.sampled_from([" a", "b", ",", " 中", "文", "7", " "]), max_size=20),
    st.lists(st.integers(0, 50), max_size=20),
)
def test_the_words_are_the_text_and_follow_each_other(texts: list[str], steps: list[int]) -> None:
    pieces = [text.encode() for text in texts]
    path = [(number, step) for number, step in enumerate(sorted(steps)) if number <= len(texts)]
    found = words(pieces, path)
    assert "".join(word.text for word in found) == "".join(texts)
    assert [token for word in found for token in word.tokens] == list(range(len(texts)))
    times = [time for word in found for time in (word.start_s, word.end_s)]
    assert times == sorted(times)
