"""Events come out whole and in order, however the bytes were cut on their way."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engines.sse import MAX_EVENT_BYTES, EventParser, EventTooLong

ONE_LINE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), min_size=1)


def parse(*chunks: bytes) -> list[str]:
    parser = EventParser()
    return [event for chunk in chunks for event in parser.feed(chunk)] + parser.end()


@given(
    st.lists(ONE_LINE, max_size=5),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.lists(st.integers(min_value=0, max_value=200), max_size=8),
)
def test_any_cut_gives_the_same_events(texts: list[str], end: str, cuts: list[int]) -> None:
    stream = "".join(f"data: {text}{end}{end}" for text in texts).encode()
    edges = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    chunks = [stream[a:b] for a, b in pairwise(edges)]
    assert parse(*chunks) == texts


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b": ping\n\ndata: a\n\n", ["a"]),
        (b"event: x\nid: 7\nretry: 9\ndata: a\n\n", ["a"]),
        (b"\n\n\ndata:a\n\n\n", ["a"]),
        (b"data: a\ndata: b\n\n", ["a\nb"]),
        (b"data:  a \n\n", [" a "]),
        (b"\xef\xbb\xbfdata: a\n\n", ["a"]),
        (b"data: a\n\ndata: b", ["a", "b"]),
        (b"data\n\n", [""]),
        ("data: a\u2028b\x85c\n\n".encode(), ["a\u2028b\x85c"]),
        (b"data: \xff\n\n", ["\ufffd"]),
        (b"", []),
    ],
)
def test_reads_what_servers_send(stream: bytes, events: list[str]) -> None:
    assert parse(stream) == events


@pytest.mark.parametrize("line", [b"x", b"data: x\n"])
def test_an_event_without_end_is_refused(line: bytes) -> None:
    parser = EventParser()
    most = MAX_EVENT_BYTES // len(line)
    parser.feed(line * (most // 2))
    with pytest.raises(EventTooLong):
        parser.feed(line * (6 * most))
