"""The page at `/`, in a real browser, against a server with scripted engines."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import live_server
from tests.tokens import AUTH, token

from .stage import Stage, on_stage

if TYPE_CHECKING:
    from playwright.async_api import Locator, Route, WebSocketRoute

    from .conftest import Visit, Visitor

api = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
expect = api.expect

pytestmark = [pytest.mark.browser, pytest.mark.timeout(90)]

WITHIN_MS = 20_000
SOMETHING = re.compile(r"\w")
AT_LEAST_100 = re.compile(r"^[1-9]\d{2,}$")


async def hears_a_reply(visitor: Visit) -> None:
    body = visitor.page.locator("body")
    await expect(body).to_have_attribute("data-played-ms", AT_LEAST_100, timeout=WITHIN_MS)


async def test_it_loads_without_a_complaint_and_from_one_host_only(visit: Visitor) -> None:
    visitor = await visit()
    await expect(visitor.part("status")).to_have_text("Tap and talk")
    await visitor.page.wait_for_load_state("networkidle")
    visitor.check()


async def test_it_weighs_less_than_150_kb(visit: Visitor) -> None:
    visitor = await visit()
    await visitor.write("Hello.")
    await hears_a_reply(visitor)
    parts = [await visitor.page.request.get(url) for url in set(visitor.requests)]
    sizes = [len(await part.body()) for part in parts]
    assert sum(sizes) < 150_000


async def test_a_typed_turn_is_answered_in_text_and_in_sound(visit: Visitor) -> None:
    visitor = await visit(microphone=False)
    await visitor.write("Good evening.")
    await expect(visitor.said_by("user")).to_have_text("Good evening.")
    await expect(visitor.said_by("assistant")).to_have_text(SOMETHING, timeout=WITHIN_MS)
    await expect(visitor.part("latency")).to_have_text(
        re.compile(r"^\d+\.\d\d s$"), timeout=WITHIN_MS
    )
    await expect(visitor.page.locator("[data-pending]")).to_have_count(0)


async def test_what_is_spoken_is_understood_and_answered(visit: Visitor) -> None:
    visitor = await visit()
    await visitor.part("talk").click()
    await expect(visitor.part("connection")).to_have_text("connected", timeout=WITHIN_MS)
    await expect(visitor.said_by("user")).to_have_text(SOMETHING, timeout=WITHIN_MS)
    await expect(visitor.said_by("assistant").first).to_have_text(SOMETHING, timeout=WITHIN_MS)
    await hears_a_reply(visitor)


async def test_the_microphone_arrives_in_frames_of_20_ms(visit: Visitor) -> None:
    visitor = await visit()
    await visitor.part("talk").click()
    wire = visitor.wire
    await wire.until(lambda: sum(isinstance(frame, bytes) for frame in wire.sent) >= 50)
    [hello] = wire.messages("hello", sent=True)
    assert hello["audio"] == {"rate": 16_000, "codec": "pcm16", "framing": "raw"}
    sizes = [len(frame) for frame in wire.sent if isinstance(frame, bytes)]
    assert sizes[0] == 640
    assert set(sizes) <= {640, 1_280, 1_920}  # they grow where the machine is slow to answer


async def test_all_that_was_sent_is_reported_as_played(visit: Visitor) -> None:
    visitor = await visit()
    await visitor.write("Good evening.")
    wire = visitor.wire
    await wire.until(lambda: any("done" in m for m in wire.messages("playback", sent=True)))
    reports = [report["played_ms"] for report in wire.messages("playback", sent=True)]
    [end] = wire.messages("reply_audio_end")
    assert reports == sorted(reports)
    assert abs(reports[-1] - end["audio_ms"]) <= 1


async def test_a_stopped_reply_falls_silent_and_says_how_far_it_got(visit: Visitor) -> None:
    visitor = await visit()
    await visitor.write("Good evening.")
    await hears_a_reply(visitor)
    await visitor.part("cancel").click()
    wire = visitor.wire
    await wire.until(lambda: any("done" in m for m in wire.messages("playback", sent=True)))
    await wire.until(lambda: bool(wire.messages("reply_done")))
    [done] = wire.messages("reply_done")
    assert done["status"] == "cancelled"
    await expect(visitor.part("status")).to_have_text("Tap and talk")


async def test_muted_it_sends_no_sound(visit: Visitor) -> None:
    visitor = await visit()
    wire = visitor.wire
    await visitor.part("talk").click()
    await wire.until(lambda: any(isinstance(frame, bytes) for frame in wire.sent))
    await visitor.part("mute").click()
    await wire.until(lambda: bool(wire.messages("mute", sent=True)))
    await expect(visitor.part("mute")).to_have_accessible_name("Unmute")
    await visitor.write("Can you hear me?")
    await hears_a_reply(visitor)  # time has passed in which frames would have been sent
    after = wire.sent[wire.sent.index({"type": "mute"}) :]
    assert not any(isinstance(frame, bytes) for frame in after)
    await visitor.part("mute").click()
    await wire.until(lambda: isinstance(wire.sent[-1], bytes))
    assert len(wire.messages("unmute", sent=True)) == 2


SLOW_SOUND = """
  // The loudspeaker's part of the audio thread is loaded when `load` is called.
  const { addModule } = AudioWorklet.prototype;
  AudioWorklet.prototype.addModule = async function (url) {
    if (String(url).includes("playback")) await new Promise((resolve) => (window.load = resolve));
    return addModule.call(this, url);
  };
"""


async def test_a_second_tap_lets_go_of_the_microphone(visit: Visitor) -> None:
    visitor = await visit(script=SLOW_SOUND)
    talk = visitor.part("talk")
    await talk.click()
    await visitor.until("window.load")
    await talk.click()  # before all is ready
    await visitor.page.evaluate("load()")
    await visitor.write("Are you there?")
    wire = visitor.wire
    await wire.until(lambda: bool(wire.messages("transcript")))
    told = [one["type"] for one in wire.sent if isinstance(one, dict)]
    assert [kind for kind in told if kind.endswith("mute")][-1] == "mute"
    await talk.click()
    await expect(visitor.part("mute")).to_be_enabled(timeout=WITHIN_MS)
    await expect(talk).to_have_attribute("aria-label", "Stop talking")
    await talk.click()
    await expect(talk).to_have_attribute("aria-label", "Start talking")
    await expect(visitor.part("mute")).to_be_disabled()


async def test_a_denied_microphone_is_explained_and_writing_goes_on(visit: Visitor) -> None:
    visitor = await visit(microphone=False)
    await visitor.part("talk").click()
    await expect(visitor.part("notice")).to_contain_text("microphone is blocked")
    await expect(visitor.part("way-on")).to_have_text("Try again")
    await visitor.write("Then I write.")
    await expect(visitor.said_by("assistant")).to_have_text(SOMETHING, timeout=WITHIN_MS)


NO_CAPTURE = """
  window.tracks = [];
  const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = async (wanted) => {
    const stream = await ask(wanted);
    tracks.push(...stream.getTracks());
    return stream;
  };
  const Real = window.AudioWorkletNode;
  window.AudioWorkletNode = class extends Real {
    constructor(context, name, options) {
      if (name === "capture") throw new Error("no such node");
      super(context, name, options);
    }
  };
"""


async def test_a_microphone_that_does_not_start_is_let_go_of_and_explained(visit: Visitor) -> None:
    visitor = await visit(script=NO_CAPTURE)
    await visitor.part("talk").click()
    await expect(visitor.part("notice")).to_contain_text("microphone did not start")
    assert await visitor.page.evaluate("tracks.map((track) => track.readyState)") == ["ended"]


WITHOUT_WORKLETS = "delete BaseAudioContext.prototype.audioWorklet"
INSECURE = f"""
  {WITHOUT_WORKLETS};
  Object.defineProperty(window, "isSecureContext", {{ value: false }});
"""


@pytest.mark.parametrize(
    ("lacks", "says"),
    [
        (WITHOUT_WORKLETS, "This browser cannot play or record live audio"),
        (INSECURE, "open this one over https"),
    ],
    ids=["no worklets", "not secure"],
)
async def test_where_there_can_be_no_sound_it_says_why_and_one_can_write(
    visit: Visitor, lacks: str, says: str
) -> None:
    visitor = await visit(script=lacks)
    await visitor.part("talk").click()
    await expect(visitor.part("notice")).to_contain_text(says)
    await visitor.write("Then I write.")
    await expect(visitor.said_by("assistant")).to_have_text(SOMETHING, timeout=WITHIN_MS)


STORED = "[document.cookie, ...[localStorage, sessionStorage].map((kept) => JSON.stringify(kept))]"


async def test_a_token_in_the_fragment_leaves_the_address_and_lies_in_no_storage(
    visit: Visitor,
) -> None:
    secret = token("anna")
    async with live_server(**AUTH) as guarded:
        visitor = await visit(f"/#token={secret}", at=guarded.url)
        await expect(visitor.part("status")).to_have_text("Tap and talk")
        assert await visitor.page.evaluate("location.href") == f"{guarded.url}/"
        await visitor.write("Good evening.")
        await expect(visitor.said_by("assistant")).to_have_text(SOMETHING, timeout=WITHIN_MS)
        [hello] = visitor.wire.messages("hello", sent=True)
        assert hello["token"] == secret
        assert secret not in "".join(await visitor.page.evaluate(STORED))
        await visitor.page.reload()  # for which it is kept, as long as the page is away
        await expect(visitor.part("connection")).to_have_text("connected", timeout=WITHIN_MS)
        assert secret not in "".join(await visitor.page.evaluate(STORED))
        asked = [url for url in visitor.requests if "#" not in url]
        assert len(asked) > 1
        assert not any(secret in url for url in asked)
        await visitor.page.close()  # before the server is gone, of which it would complain


async def test_a_token_in_a_link_that_is_opened_in_the_same_tab_is_taken_too(
    visit: Visitor,
) -> None:
    async with live_server(**AUTH) as guarded:
        visitor = await visit(at=guarded.url)
        await visitor.write("Good evening.")
        await expect(visitor.part("notice")).to_contain_text("asks for a token")
        await visitor.page.evaluate(f"void (location.hash = 'token={token('anna')}')")
        await expect(visitor.said_by("assistant")).to_have_text(SOMETHING, timeout=WITHIN_MS)
        assert await visitor.page.evaluate("location.href") == f"{guarded.url}/"
        await visitor.page.close()  # before the server is gone, of which it would complain


async def test_a_kept_voice_that_this_server_lacks_gives_way_to_its_own(visit: Visitor) -> None:
    kept = "localStorage.setItem('antiphon.settings', JSON.stringify({ voice: 'nobody' }))"
    visitor = await visit(script=kept)
    await visitor.write("Good evening.")
    await expect(visitor.said_by("assistant")).to_have_text(SOMETHING, timeout=WITHIN_MS)
    voices = [hello["voice"] for hello in visitor.wire.messages("hello", sent=True)]
    assert voices == ["nobody", ""]
    [welcome] = visitor.wire.messages("welcome")
    assert welcome["voice"]


async def test_of_a_long_transcript_the_oldest_entries_leave_the_page(
    visit: Visitor, tmp_path: Path
) -> None:
    visitor, stage = await on_stage(visit)
    text = await stage.until("text")
    stage.tell("transcript", turn=1, text="Hello.", final=True, ref=text["id"])
    for turn in range(2, 251):
        stage.tell("transcript", turn=turn, text=f"Number {turn}.", final=True)
    said = visitor.said_by("user")
    await expect(said.last).to_have_text("Number 250.")
    await expect(said).to_have_count(200)
    await expect(said.first).to_have_text("Number 51.")
    async with visitor.page.expect_download() as saving:  # which has them all
        await visitor.part("save").click()
    await (await saving.value).save_as(tmp_path / "transcript.txt")
    lines = (tmp_path / "transcript.txt").read_text().splitlines()
    assert lines == ["You: Hello.", *(f"You: Number {turn}." for turn in range(2, 251))]


LAYOUTS = """
  // How often the page asks where its transcript ends, and how many pictures it draws meanwhile.
  window.asked = 0;
  window.pictures = 0;
  const { get } = Object.getOwnPropertyDescriptor(Element.prototype, "scrollHeight");
  Object.defineProperty(Element.prototype, "scrollHeight", {
    get() {
      asked += 1;
      return get.call(this);
    },
  });
  requestAnimationFrame(function draw() {
    pictures += 1;
    requestAnimationFrame(draw);
  });
"""


async def test_thousands_of_lines_cost_at_most_a_few_looks_at_each_picture(visit: Visitor) -> None:
    stage = Stage(welcomes=False)
    visitor, _ = await on_stage(visit, stage, script=LAYOUTS)
    said = [{"role": "user", "text": f"Before {turn}.", "turn": turn} for turn in range(3_000)]
    await visitor.page.reload()
    await visitor.write("Hello.")
    await stage.until("hello", 2)
    stage.welcome(resumed=True, history=said)
    for turn in range(3_000, 6_000):
        stage.tell("transcript", turn=turn, text=f"Number {turn}.", final=True)
    await expect(visitor.said_by("user").last).to_have_text("Number 5999.", timeout=WITHIN_MS)
    await expect(visitor.said_by("user").last).to_be_in_viewport()
    assert await visitor.said_by("user").count() == 200
    asked, pictures = await visitor.page.evaluate("[asked, pictures]")
    assert asked <= 3 * pictures  # at 3 a line it would be thousands


async def test_the_end_stays_in_sight_when_the_page_grows_smaller(visit: Visitor) -> None:
    visitor, stage = await on_stage(visit, viewport={"width": 390, "height": 844})
    for turn in range(2, 30):
        stage.tell("transcript", turn=turn, text=f"Number {turn}.", final=True)
    last = visitor.said_by("user").last
    await expect(last).to_have_text("Number 29.")
    await visitor.page.set_viewport_size({"width": 390, "height": 500})  # a keyboard
    await expect(last).to_be_in_viewport()
    stage.tell("transcript", turn=30, text="Number 30.", final=True)
    await expect(last).to_have_text("Number 30.")
    await expect(last).to_be_in_viewport()
    conversation = visitor.page.locator(".conversation")
    await conversation.evaluate("(scroller) => void (scroller.scrollTop = 0)")
    await expect(last).not_to_be_in_viewport()
    stage.tell("transcript", turn=31, text="Number 31.", final=True)
    await expect(last).to_have_text("Number 31.")
    assert await conversation.evaluate("({ scrollTop }) => scrollTop") == 0  # who reads, reads on


async def test_its_figures_follow_what_it_does(visit: Visitor) -> None:
    visitor, stage = await on_stage(visit)
    await visitor.part("settings").click()
    await visitor.part("figures").click()

    def figure(name: str) -> Locator:
        term = visitor.page.locator("dt", has_text=re.compile(f"^{name}$"))
        return term.locator("xpath=following-sibling::*[1]")

    await expect(figure("connections")).to_have_text("1")
    await expect(figure("played in all")).to_have_text("0.0 s")
    await expect(figure("frames dropped, line behind")).to_have_text("0")
    await expect(figure("memory")).to_have_text(re.compile(r"^\d+\.\d MB$"))
    await expect(figure("longest task")).to_have_text(re.compile(r"^\d+ ms$"))
    stage.tell("reply_started", reply=1, turn=1)
    stage.sound(milliseconds=6_000)
    await expect(figure("waiting to be played")).to_have_text(re.compile(r"^[1-9]\d+ ms$"))
    await expect(figure("jitter")).to_have_text(re.compile(r"^\d+ ms$"))
    await expect(figure("played in all")).not_to_have_text("0.0 s", timeout=WITHIN_MS)
    await stage.hang_up(1012)
    await stage.until("hello", 2)
    await expect(figure("connections")).to_have_text("2")


async def test_a_choice_that_is_taken_back_is_told(visit: Visitor) -> None:
    visitor, stage = await on_stage(visit)
    listed = asyncio.Event()

    async def list_late(route: Route) -> None:
        await listed.wait()
        await route.continue_()

    await visitor.page.route("**/v1/audio/voices", list_late)
    await visitor.part("settings").click()
    prompt = visitor.page.locator('#settings [name="instructions"]')
    language = visitor.page.locator('#settings [name="language"]')
    await prompt.fill("Be brief.")
    listed.set()  # which does not disturb who writes
    await expect(visitor.page.locator('#settings [name="voice"]')).to_be_enabled()
    await expect(prompt).to_have_value("Be brief.")
    await prompt.blur()
    await language.select_option("de")
    configured = await stage.until("configure", 2)
    assert (configured["instructions"], configured["language"]) == ("Be brief.", "de")
    assert configured["voice"] == ""  # which nobody has chosen
    await prompt.fill(" ")
    await prompt.blur()
    await language.select_option("")
    configured = await stage.until("configure", 4)
    assert (configured["instructions"], configured["language"]) == ("", "")
    await stage.hang_up(1011)
    hello = await stage.until("hello", 2)
    assert (hello["instructions"], hello["language"]) == ("", "")


async def test_what_people_write_is_text_and_never_markup(visit: Visitor) -> None:
    visitor = await visit(microphone=False)
    markup = '<img src="nowhere" onerror="document.title = 1"><b>bold</b>'
    await visitor.write(markup)
    await expect(visitor.said_by("user")).to_have_text(markup)
    assert await visitor.part("transcript").locator("img, b").count() == 0


@pytest.mark.parametrize(
    ("code", "sentence", "way_on"),
    [(4401, "asks for a token", "Enter a token"), (1008, "more than it can take", "Reconnect")],
)
async def test_a_refusal_is_a_sentence_with_a_way_on(
    visit: Visitor, code: int, sentence: str, way_on: str
) -> None:
    visitor = await visit()
    refusing = True

    async def refuse(socket: WebSocketRoute) -> None:
        if refusing:
            await socket.close(code=code)
        else:
            socket.connect_to_server()

    await visitor.page.route_web_socket(re.compile("/ws$"), refuse)
    await visitor.write("Is anybody there?")
    await expect(visitor.part("notice")).to_contain_text(sentence)
    await expect(visitor.part("way-on")).to_have_text(way_on)
    await expect(visitor.page.locator("[data-pending]")).to_have_text(re.compile("anybody"))
    refusing = False
    await visitor.part("way-on").click()
    if code == 4401:
        await visitor.part("token").fill("open sesame")
        await visitor.page.keyboard.press("Enter")
    await expect(visitor.said_by("assistant")).to_have_text(SOMETHING, timeout=WITHIN_MS)
    await expect(visitor.page.locator("[data-pending]")).to_have_count(0)
    hello = visitor.wire.messages("hello", sent=True)[-1]
    assert hello.get("token") == ("open sesame" if code == 4401 else None)


async def test_noise_that_looked_like_words_leaves_the_page(visit: Visitor) -> None:
    visitor, stage = await on_stage(visit)
    heard = visitor.said_by("user")
    await expect(heard).to_have_count(1)
    stage.tell("transcript", turn=2, text="thank", final=False)
    await expect(heard.nth(1)).to_have_text("thank")
    stage.tell("transcript", turn=2, text="", final=True, discarded=True)
    await expect(heard).to_have_count(1)


async def test_what_was_not_heard_of_a_reply_is_struck(visit: Visitor) -> None:
    visitor, stage = await on_stage(visit)
    stage.tell("reply_started", reply=1, turn=1)
    stage.tell("reply_text", reply=1, text="One, two,")
    stage.tell("reply_text", reply=1, text=" three, four.")
    stage.tell("interrupted", reply=1, heard="One, two,")
    reply = visitor.said_by("assistant")
    await expect(reply).to_have_text("One, two, three, four.")
    await expect(reply.locator("s")).to_have_text("three, four.")


async def test_what_is_interrupted_falls_silent_with_ten_seconds_of_it_to_come(
    visit: Visitor,
) -> None:
    visitor, stage = await on_stage(visit)
    stage.tell("reply_started", reply=1, turn=1)
    stage.sound(milliseconds=10_000)
    await hears_a_reply(visitor)
    stage.tell("interrupted", reply=1, heard="")
    while not (last := stage.said("playback")[-1]).get("done"):
        await stage.until("playback", len(stage.said("playback")) + 1)
    assert last["reply"] == 1
    assert 0 < last["played_ms"] < 10_000
    stage.tell("reply_started", reply=2, turn=2)
    stage.sound(milliseconds=300)
    stage.tell("reply_audio_end", reply=2, audio_ms=300)
    count = len(stage.said("playback"))
    while not (own := await stage.until("playback", count + 1)).get("done"):
        count += 1
    # The next reply is heard, and none of the rest of the one before it.
    assert (own["reply"], own["played_ms"]) == (2, 300)
    assert [one for one in stage.said("playback") if one["reply"] == 1][-1] == last
    total = str(last["played_ms"] + 300)
    await expect(visitor.page.locator("body")).to_have_attribute("data-played-ms", total)


async def test_a_paused_reply_stands_still_and_then_goes_on(visit: Visitor) -> None:
    visitor, stage = await on_stage(visit)
    stage.tell("reply_started", reply=1, turn=1)
    stage.sound(milliseconds=2_000)
    stage.tell("reply_audio_end", reply=1, audio_ms=2_000)
    await hears_a_reply(visitor)
    stage.tell("reply_paused", reply=1)
    await expect(visitor.part("status")).to_have_text("Holding on")
    assert await stage.until_playback_stands_still() < 2_000
    stage.tell("reply_resumed", reply=1)
    await expect(visitor.page.locator("body")).to_have_attribute(
        "data-played-ms", "2000", timeout=WITHIN_MS
    )


async def test_who_speaks_as_a_reply_ends_hears_the_next_one(visit: Visitor) -> None:
    _visitor, stage = await on_stage(visit)
    stage.tell("reply_started", reply=1, turn=1)
    stage.sound(milliseconds=500)
    stage.tell("reply_audio_end", reply=1, audio_ms=500)
    await stage.until_done(1)
    stage.tell("reply_paused", reply=1)  # it left before the page's word that all was played
    stage.tell("reply_done", reply=1, status="completed", text="One.", heard="One.")
    stage.tell("reply_started", reply=2, turn=2)
    stage.sound(milliseconds=1_000)
    stage.tell("reply_audio_end", reply=2, audio_ms=1_000)
    assert (await stage.until_done(2))["played_ms"] == 1_000


async def test_a_reply_that_is_cut_before_its_audio_came_does_not_hold_the_next(
    visit: Visitor,
) -> None:
    _visitor, stage = await on_stage(visit)
    stage.tell("reply_started", reply=1, turn=1)
    stage.tell("reply_paused", reply=1)
    stage.tell("interrupted", reply=1, heard="")
    stage.tell("reply_done", reply=1, status="interrupted", text="One.", heard="")
    stage.tell("reply_started", reply=2, turn=2)
    stage.sound(milliseconds=1_000)
    stage.tell("reply_audio_end", reply=2, audio_ms=1_000)
    assert (await stage.until_done(2))["played_ms"] == 1_000


async def test_a_held_reply_that_is_over_is_heard_to_its_end(visit: Visitor) -> None:
    visitor, stage = await on_stage(visit)
    stage.tell("reply_started", reply=1, turn=1)
    stage.sound(milliseconds=2_000)
    stage.tell("reply_audio_end", reply=1, audio_ms=2_000)
    await hears_a_reply(visitor)
    stage.tell("reply_paused", reply=1)
    stage.tell("reply_done", reply=1, status="completed", text="One.", heard="One.")
    assert (await stage.until_done(1))["played_ms"] == 2_000


async def test_the_resampler_keeps_speech_and_folds_nothing_back(visit: Visitor) -> None:
    visitor = await visit()
    levels = await visitor.page.evaluate(
        """async () => {
          const { Resampler } = await import("/web/resampler.js");
          const level = (fromHz, toHz, toneHz) => {
            const resampler = new Resampler(fromHz, toHz);
            const block = new Float32Array(128);
            let [energy, count, at] = [0, 0, 0];
            for (let turn = 0; turn < 200; turn += 1) {
              for (let i = 0; i < 128; i += 1) {
                block[i] = Math.sin((2 * Math.PI * toneHz * at++) / fromHz);
              }
              const outputs = resampler.available(128);
              const out = new Float32Array(outputs);
              resampler.process(block, 128, out, outputs);
              if (turn < 20) continue; // the filter fills up
              for (const sample of out) energy += sample * sample;
              count += outputs;
            }
            return 10 * Math.log10((2 * energy) / count);
          };
          return {
            kept: [48000, 44100, 16000, 8000].map((rate) => level(rate, 16000, 1000)),
            played: [48000, 44100].map((rate) => level(24000, rate, 3000)),
            folded: [48000, 44100].map((rate) => level(rate, 16000, 10000)),
          };
        }"""
    )
    assert all(abs(decibels) < 0.1 for decibels in levels["kept"] + levels["played"])
    assert all(decibels < -70 for decibels in levels["folded"])
