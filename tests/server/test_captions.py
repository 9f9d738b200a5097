"""SubRip and WebVTT: what a player reads is what was said."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from pipeline.engines.ports import Transcript
from pipeline.segments import Segment
from server.captions import srt, vtt


def segment(start_s: float, end_s: float, text: str) -> Segment:
    return Segment(start_s, end_s, text, Transcript(text, "en"), 0.0)


def test_subrip_as_it_is_written() -> None:
    found = srt([segment(0.0, 1.5, "Hello there."), segment(3661.042, 3662, "Bye.")])
    assert found == (
        "1\n00:00:00,000 --> 00:00:01,500\nHello there.\n\n"
        "2\n01:01:01,042 --> 01:01:02,000\nBye.\n\n"
    )


def test_webvtt_as_it_is_written() -> None:
    found = vtt([segment(0.0, 1.5, "Tom & <Jerry>")])
    assert found == ("WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nTom &amp; &lt;Jerry&gt;\n\n")


def test_nothing_said_is_no_caption() -> None:
    assert srt([]) == ""
    assert vtt([]) == "WEBVTT\n\n"


SEGMENTS = st.lists(
    st.builds(
        segment,
        st.floats(0, 400_000),
        st.floats(0, 400_000),
        st.text(min_size=1).filter(lambda text: text.split()),
    ),
    max_size=8,
)
CLOCK = r"(\d{2,}):([0-5]\d):([0-5]\d)[,.](\d{3})"


def ms(clock: tuple[str, ...]) -> int:
    hours, minutes, seconds, rest = map(int, clock)
    return ((hours * 60 + minutes) * 60 + seconds) * 1000 + rest


def check_times(line: str, mark: str, given: Segment) -> None:
    match = re.fullmatch(f"{CLOCK} --> {CLOCK}", line)
    assert match
    assert line.count(mark) == 2
    start, end = ms(match.groups()[:4]), ms(match.groups()[4:])
    assert start == round(1000 * given.start_s)
    assert end == max(start + 1, round(1000 * given.end_s))


@given(SEGMENTS)
def test_a_player_of_subrip_finds_every_segment(given_segments: list[Segment]) -> None:
    blocks = srt(given_segments).split("\n\n")[:-1]
    assert len(blocks) == len(given_segments)
    for number, (block, each) in enumerate(zip(blocks, given_segments, strict=True), 1):
        count, times, text = block.split("\n")
        assert count == str(number)
        check_times(times, ",", each)
        assert text == " ".join(each.text.split())


@given(SEGMENTS)
def test_a_player_of_webvtt_finds_every_segment(given_segments: list[Segment]) -> None:
    head, *blocks = vtt(given_segments).split("\n\n")[:-1]
    assert head == "WEBVTT"
    assert len(blocks) == len(given_segments)
    for block, each in zip(blocks, given_segments, strict=True):
        times, text = block.split("\n")
        check_times(times, ".", each)
        assert "-->" not in text
        shown = text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
        assert shown == " ".join(each.text.split())
