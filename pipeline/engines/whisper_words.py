"""From Whisper's tokens and the path of its attention to words with times. Pure; it must not know
which runtime aligned them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from pipeline.engines.ports import Word

SECONDS_PER_STEP = 0.02
"""Of the encoder: one position for two mel frames."""


def words_of(
    tokens: Sequence[int],
    path: Iterable[tuple[int, int]],
    decode: Callable[[list[int]], str],
    length_s: float,
) -> tuple[Word, ...]:
    """Tokens in words, each from its first token's step to the next word's, within `length_s`.

    `path` has pairs (token, step of the encoder), both rising. A word begins with a space; where a
    script has none between words (Chinese, Thai), every character, or what the tokenizer keeps
    together, is a word. Together the words are the text.
    """
    starts = _starts(path, len(tokens))
    words: list[Word] = []
    for begin, end, text in _cut(tokens, decode):
        start_s = min(length_s, starts[begin] * SECONDS_PER_STEP)
        end_s = min(length_s, starts[end] * SECONDS_PER_STEP)
        words.append(Word(text, start_s, max(start_s, end_s), tuple(tokens[begin:end])))
    return tuple(words)


def _starts(path: Iterable[tuple[int, int]], count: int) -> list[int]:
    """The first step of each token, and of the end after them."""
    first: dict[int, int] = {}
    last = 0
    for token, step in path:
        first.setdefault(token, step)
        last = max(last, step + 1)
    starts = [0] * (count + 1)
    latest = last
    for token in range(count, -1, -1):
        latest = min(latest, first.get(token, latest))
        starts[token] = latest
    return starts


def _cut(
    tokens: Sequence[int], decode: Callable[[list[int]], str]
) -> Iterator[tuple[int, int, str]]:
    """Where each word begins and ends among the tokens, and its text."""
    begin, text = 0, ""
    for number, piece in _pieces(tokens, decode):
        if text and (piece[:1].isspace() or not _spaced(piece[:1])):
            yield begin, number, text
            begin, text = number, ""
        text += piece
    if text:
        yield begin, len(tokens), text


def _pieces(tokens: Sequence[int], decode: Callable[[list[int]], str]) -> Iterator[tuple[int, str]]:
    """The fewest tokens that make whole characters, one after the other: the first, and the text.

    A character outside ASCII may be spread over two or three tokens.
    """
    begin = 0
    for end in range(1, len(tokens) + 1):
        text = decode(list(tokens[begin:end]))
        if "\ufffd" not in text or end == len(tokens):
            yield begin, text
            begin = end


def _spaced(character: str) -> bool:
    """Whether its script puts spaces between words; marks and digits are of no script.

    Not so Thai, Lao, Myanmar, Khmer, kana and ideographs.
    """
    code = ord(character) if character else 0
    return not (
        0x0E00 <= code <= 0x0EFF
        or 0x1000 <= code <= 0x109F
        or 0x1780 <= code <= 0x17FF
        or 0x3040 <= code <= 0x30FF
        or 0x3400 <= code <= 0x9FFF
        or 0xF900 <= code <= 0xFAFF
        or 0x20000 <= code <= 0x3FFFF
    )
