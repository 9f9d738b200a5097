"""How the page adapts to its line: Opus both ways, longer frames, less before there is nothing."""

from __future__ import annotations

import re
import struct
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pipeline.audio import pcm16_to_float
from pipeline.decoding import OpusPackets
from server.wire.tagged import packet_s, untag

from .conftest import Visit

if TYPE_CHECKING:
    from .conftest import Visitor

api = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
expect = api.expect

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

WITHIN_MS = 30_000
SMALL = "localStorage.setItem('antiphon.settings', JSON.stringify({line: 'small'}))"
WITHOUT_OPUS = SMALL + "; delete globalThis.AudioEncoder"


def packets(visit: Visit) -> list[bytes]:
    return [frame for frame in visit.wire.sent if isinstance(frame, bytes)]


async def played_ms(visit: Visit) -> int:
    return int(await visit.page.locator("body").get_attribute("data-played-ms") or 0)


async def test_speech_goes_out_as_opus_and_the_reply_comes_as_opus(visit: Visitor) -> None:
    visitor = await visit(script=SMALL)
    await visitor.part("talk").click()
    wire = visitor.wire
    await wire.until(lambda: bool(wire.messages("reply_done")), 60)
    [hello] = wire.messages("hello", sent=True)
    [welcome] = wire.messages("welcome")
    assert hello["audio"] == {"rate": 16_000, "codec": "opus", "framing": "tagged"}
    assert welcome["audio"] == {"rate": 24_000, "codec": "opus", "framing": "tagged"}
    sent = packets(visitor)
    lengths = [round(16_000 * packet_s(untag(frame))) for frame in sent]
    assert lengths[0] == 320
    assert set(lengths) <= {320, 640, 960}  # they grow where the machine is slow to answer
    offsets = [struct.unpack_from("<I", frame, 4)[0] for frame in sent]
    due = 0
    for offset, (length, following) in zip(offsets, pairwise([*lengths, 0]), strict=True):
        assert offset == due
        due = offset + length if following == length else 0  # a coder for longer ones counts anew
    opus = OpusPackets()
    heard = pcm16_to_float(b"".join(opus.decode(untag(frame)) for frame in sent))
    assert np.abs(heard).max() > 0.1  # what the fake microphone says
    assert not wire.messages("error")
    done = wire.messages("reply_done")[0]
    assert done["status"] == "completed"
    end = wire.messages("reply_audio_end")[0]["audio_ms"]
    assert end <= await played_ms(visitor) <= end + 50
    last = wire.messages("playback", sent=True)[-1]
    assert last["done"] is True


async def test_without_webcodecs_it_is_pcm(visit: Visitor) -> None:
    visitor = await visit(script=WITHOUT_OPUS)
    await visitor.part("talk").click()
    wire = visitor.wire
    await wire.until(lambda: len(packets(visitor)) > 20)
    [hello] = wire.messages("hello", sent=True)
    assert hello["audio"]["codec"] == "pcm16"
    sizes = [len(frame) for frame in packets(visitor)]
    assert sizes[0] == 640
    assert set(sizes) <= {640, 1_280, 1_920}  # as above


async def test_firefox_which_stands_still_with_opus_both_ways_is_given_pcm(visit: Visitor) -> None:
    firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 Firefox/153.0"
    visitor = await visit(script=SMALL, user_agent=firefox)
    await visitor.write("Good evening.")
    wire = visitor.wire
    await wire.until(lambda: bool(wire.messages("welcome")))
    assert wire.messages("hello", sent=True)[0]["audio"]["codec"] == "pcm16"


async def test_a_coder_that_breaks_gives_way_to_pcm_and_the_conversation_goes_on(
    visit: Visitor,
) -> None:
    breaks = "AudioEncoder.prototype.encode = () => { throw new Error('broken'); };"
    visitor = await visit(script=f"{SMALL}; {breaks}")
    wire = visitor.wire
    await visitor.write("Good evening.")
    await wire.until(lambda: bool(wire.messages("reply_done")), 60)
    await visitor.part("talk").click()
    await wire.until(lambda: len(packets(visitor)) > 20)
    codecs = [hello["audio"]["codec"] for hello in wire.messages("hello", sent=True)]
    assert codecs == ["opus", "pcm16"]
    assert wire.messages("welcome")[-1]["resumed"] is True
    await expect(visitor.said_by("user").first).to_have_text("Good evening.")


async def test_the_sound_can_be_chosen_in_the_middle_of_a_conversation(visit: Visitor) -> None:
    visitor = await visit()
    wire = visitor.wire
    await visitor.write("Good evening.")
    await wire.until(lambda: bool(wire.messages("reply_done")), 60)
    await visitor.part("settings").click()
    await visitor.part("line").select_option("small")
    await wire.until(lambda: len(wire.messages("welcome")) == 2)
    assert wire.messages("welcome")[1]["audio"]["codec"] == "opus"
    assert wire.messages("welcome")[1]["resumed"] is True
    await visitor.part("figures").click()
    sound = visitor.page.locator("dt", has_text=re.compile("^sound$")).locator(
        "xpath=following::*[1]"
    )
    await expect(sound).to_have_text("Opus", timeout=WITHIN_MS)
    await expect(visitor.said_by("user").first).to_have_text("Good evening.")


BEHIND = """Object.defineProperty(WebSocket.prototype, "bufferedAmount", { get: () => 40_000 });"""
DEAR = """Object.defineProperty(navigator, "connection", { value: { saveData: true } });"""


async def test_on_a_line_that_stays_behind_it_comes_to_opus_between_two_turns(
    visit: Visitor,
) -> None:
    """40 kB are 1.3 s of PCM, which is slow, and 12 s of Opus, which helps nobody: dropped."""
    visitor = await visit(script=BEHIND)
    await visitor.part("talk").click()
    wire = visitor.wire
    await wire.until(lambda: len(wire.messages("welcome")) == 2, 90)
    codecs = [welcome["audio"]["codec"] for welcome in wire.messages("welcome")]
    assert codecs == ["pcm16", "opus"]
    # Frames grow; how many of the first length leave before that is the machine's to say.
    assert {1_280, 1_920} <= {len(frame) for frame in packets(visitor)} <= {640, 1_280, 1_920}
    assert wire.messages("reply_done")
    await visitor.part("settings").click()
    await visitor.part("figures").click()
    drops = visitor.page.locator("dt", has_text="dropped").locator("xpath=following::*[1]")
    await expect(drops).not_to_have_text("0", timeout=WITHIN_MS)


async def test_where_the_line_is_dear_it_begins_with_opus(visit: Visitor) -> None:
    visitor = await visit(script=DEAR)
    await visitor.write("Good evening.")
    wire = visitor.wire
    await wire.until(lambda: bool(wire.messages("hello", sent=True)))
    assert wire.messages("hello", sent=True)[0]["audio"]["codec"] == "opus"


QUALITY = """async (events) => {
  const { Quality } = await import("/web/quality.js");
  const quality = new Quality();
  return events.map(([what, now, value]) => {
    quality[what](now, value);
    return [quality.frameMs, quality.small];
  });
}"""


async def adapts(visitor: Visit, *events: tuple[str, int, int]) -> list[Any]:
    became: list[Any] = await visitor.page.evaluate(QUALITY, events)
    return became


async def test_on_a_line_that_falls_behind_frames_grow_before_the_sound_becomes_small(
    visit: Visitor,
) -> None:
    visitor = await visit()
    assert await adapts(
        visitor,
        ("sent", 0, 0),
        ("sent", 20, 100),
        ("sent", 40, 500),  # the change has had no time to help
        ("sent", 1_100, 500),
        ("sent", 2_200, 500),
        ("sent", 23_000, 0),  # it has been calm for long
        ("sent", 23_060, 0),
        ("sent", 43_200, 0),
    ) == [
        [20, False],
        [40, False],
        [40, False],
        [60, False],
        [60, True],
        [40, True],
        [40, True],
        [20, True],
    ]


async def test_answers_that_take_long_and_replies_that_run_dry_are_a_bad_line_too(
    visit: Visitor,
) -> None:
    visitor = await visit()
    assert await adapts(visitor, ("answered", 0, 300)) == [[20, False]]
    assert await adapts(visitor, ("answered", 0, 1_200)) == [[40, False]]
    assert await adapts(visitor, ("ranDry", 0, 0)) == [[20, False]]  # the engines were late
    slow = await adapts(visitor, ("answered", 0, 600), ("ranDry", 0, 0))
    assert slow == [[20, False], [40, True]]
