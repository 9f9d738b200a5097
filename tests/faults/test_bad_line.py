"""A conversation over a bad line: nothing is lost, and no turn or reply ends that has not ended.

Where the line stalls it does so for 3 s of real time; the scenes of a test run side by side.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.client import Caller, Reply, calling
from benchmarks.wer import words
from pipeline.config import ScriptConfig
from pipeline.engines.ports import SPEECH_HZ, SpeechWindow, Stop, Transcript
from pipeline.engines.scripted import ScriptedTranscriber
from pipeline.manager import SpeechPipelineManager
from server.cli.wav import Recording, read_wav
from tests.faults.line import Direction, Line, Weather, line_to
from tests.faults.trial import Trial, trial
from tests.support import ROOT, call, live_server, murmur, silence

STALL_S = 3.0
JITTER = Weather(jitter_ms=200)
WAYS: tuple[tuple[Direction, ...], ...] = (("up", "down"), ("up",), ("down",))
"""A dead line, and the two that are half dead: to the server, to the client."""
GREETING = "A long greeting, so that there is time for things to happen while it is spoken."
SCRIPT = ScriptConfig()
HEARD = SCRIPT.stt_text
REAL = {
    "ANTIPHON_STT_ENGINE": "auto",
    "ANTIPHON_TTS_ENGINE": "auto",
    "ANTIPHON_LLM_ENGINE": "auto",
    "ANTIPHON_VAD_ENGINE": "silero",
}


def a_trial(**settings: str) -> AbstractAsyncContextManager[Trial]:
    """A server with its usual pacing and the scripted engines' own words."""
    return trial(script=SCRIPT, speed=4.0, ANTIPHON_SEND_AHEAD_MS="1000", **settings)


def spoken(*parts: bytes) -> Recording:
    return Recording(np.frombuffer(b"".join(parts), "<i2").astype(np.int16), 16_000)


SENTENCE = spoken(murmur(0.8), silence(0.15), murmur(0.8))
"""With a pause that is too short to end it."""
SENTENCE_MS = 1_750
FRAMES_MS = 64
"""Two frames: speech begins and ends somewhere inside one."""


class Made:
    """The audio that the server made and gave away to be sent: by session, reply by reply."""

    def __init__(self) -> None:
        self._audio: dict[str, dict[int, bytes]] = {}

    def note(self, session: str, draft: int, pcm: bytes) -> None:
        drafts = self._audio.setdefault(session, {})
        drafts[draft] = drafts.get(draft, b"") + pcm

    def for_(self, caller: Caller) -> list[bytes]:
        (welcome,) = told(caller, "welcome")
        return list(self._audio[welcome["session"]].values())


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    made = Made()
    give = SpeechPipelineManager.audio

    def noted(self: SpeechPipelineManager, draft: int, start: int, end: int) -> bytes:
        pcm = give(self, draft, start, end)
        made.note(self._owner, draft, pcm)
        return pcm

    monkeypatch.setattr(SpeechPipelineManager, "audio", noted)
    return made


COUGH_PCM = murmur(0.2)
COUGH = spoken(COUGH_PCM)
WORD_S = 0.4
"""Of sound: the scripted ear, where a test has it know coughs, takes less for one."""


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What was transcribed, in samples, by an ear that knows coughs."""
    asked: list[int] = []
    transcribe = ScriptedTranscriber.transcribe

    async def knowing(self: ScriptedTranscriber, window: SpeechWindow, stop: Stop) -> Transcript:
        asked.append(len(window.audio))
        if np.count_nonzero(np.abs(window.audio) > 0.01) < WORD_S * SPEECH_HZ * 0.9:
            return Transcript("", "en", no_speech=1.0)
        return await transcribe(self, window, stop)

    monkeypatch.setattr(ScriptedTranscriber, "transcribe", knowing)
    return asked


def told(caller: Caller, kind: str) -> list[dict[str, Any]]:
    return [dict(note.message) for note in caller.notes if note.message["type"] == kind]


def finals(messages: Iterable[Mapping[str, Any]]) -> list[str]:
    """What was understood of each turn."""
    return [one["text"] for one in messages if one["type"] == "transcript" and one["final"]]


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


async def until_told(caller: Caller, kind: str) -> None:
    await until(lambda: told(caller, kind))


def received(reply: Reply) -> bytes:
    return reply.playback.audio.astype("<i2").tobytes()


def speech_ms(caller: Caller) -> float:
    """How long the one turn's speech was by the session's sample clock."""
    started, stopped = told(caller, "speech_started"), told(caller, "speech_stopped")
    assert {message["turn"] for message in started + stopped} == {1}
    length_ms: float = stopped[-1]["at_ms"] - started[0]["at_ms"]
    return length_ms


@dataclass(frozen=True)
class Scene:
    """A caller on a bad line, and how to make it stall."""

    line: Line
    caller: Caller
    ways: tuple[Direction, ...]

    async def stall(self) -> None:
        with self.line.stalled(*self.ways):
            await asyncio.sleep(STALL_S)


async def whichever_way(server: Trial, play: Callable[[Scene], Awaitable[None]]) -> None:
    """Play a scene on lines that stall both ways and one way, all at once."""

    async def on_a_line(ways: tuple[Direction, ...], seed: int) -> None:
        async with (
            line_to(server.port, up=JITTER, down=JITTER, seed=seed) as line,
            calling(line.ws_url) as caller,
        ):
            await play(Scene(line, caller, ways))

    async with asyncio.TaskGroup() as scenes:
        for seed, ways in enumerate(WAYS):
            scenes.create_task(on_a_line(ways, seed), name=f"a stall of {' and '.join(ways)}")


# --- jitter and bursts ----------------------------------------------------------------------------

WEATHERS = {
    "jitter": (JITTER, JITTER),
    "bursts": (Weather(burst_ms=400), Weather(burst_ms=400)),
    "bursts longer than a gap": (Weather(burst_ms=1_500), Weather()),
    "all of it": (Weather(150, 200, 300), Weather(150, 200, 300)),
}


async def test_a_turn_over_a_bad_line_is_the_turn_over_a_good_one(made: Made) -> None:
    async def turn(port: int, up: Weather, down: Weather) -> dict[str, object]:
        async with line_to(port, up=up, down=down, seed=7) as line, calling(line.ws_url) as caller:
            await caller.say(SENTENCE)
        (reply,) = caller.replies.values()
        assert made.for_(caller) == [received(reply)]
        kinds = [note.message["type"] for note in caller.notes]
        return {
            "events": [kind for kind in kinds if kind not in ("transcript", "reply_text")],
            "finals": [final["text"] for final in told(caller, "transcript") if final["final"]],
            "speech_ms": pytest.approx(speech_ms(caller), abs=FRAMES_MS),
            "reply": (reply.text, reply.status, received(reply)),
        }

    async with a_trial() as server, asyncio.TaskGroup() as turns:
        good = turns.create_task(turn(server.port, Weather(), Weather()))
        bad = {name: turns.create_task(turn(server.port, *ways)) for name, ways in WEATHERS.items()}
    assert good.result()["finals"] == [HEARD]
    for name, over_a_bad_line in bad.items():
        assert over_a_bad_line.result() == good.result(), name


async def test_all_of_a_long_burst_after_a_stall_is_heard() -> None:
    async with (
        a_trial() as server,
        line_to(server.port) as line,
        call(line.ws_url, {}) as caller,
    ):
        with line.stalled("up"):
            await caller.speak(murmur(9.0) + silence(0.9))
        stopped = await caller.until("speech_stopped")
        await caller.until("transcript", final=True)
        (started,) = caller.of("speech_started")
    assert stopped["at_ms"] - started["at_ms"] == pytest.approx(9_000, abs=FRAMES_MS)
    assert not caller.of("warning")


# --- stalls ---------------------------------------------------------------------------------------


async def test_a_stall_in_the_middle_of_speech_ends_no_turn(made: Made) -> None:
    async def play(scene: Scene) -> None:
        caller = scene.caller
        saying = asyncio.ensure_future(caller.say(SENTENCE))
        await until_told(caller, "speech_started")
        await scene.stall()
        turn = await saying
        assert turn.transcripts == (HEARD,)
        assert speech_ms(caller) == pytest.approx(SENTENCE_MS, abs=FRAMES_MS), "none lost, none new"
        assert turn.reply.status == "completed"
        assert made.for_(caller) == [received(turn.reply)]

    async with a_trial() as server:
        await whichever_way(server, play)


async def test_a_stall_in_the_middle_of_a_reply_loses_none_of_it(made: Made) -> None:
    async def play(scene: Scene) -> None:
        caller = scene.caller
        await until_told(caller, "reply_started")
        await scene.stall()
        await until_told(caller, "reply_done")
        (end,), (done,) = told(caller, "reply_audio_end"), told(caller, "reply_done")
        assert (done["status"], done["text"], done["heard"]) == ("completed", GREETING, GREETING)
        audio = received(caller.replies[1])
        assert made.for_(caller) == [audio]
        assert len(audio) == pytest.approx(end["audio_ms"] * 48, abs=48)
        assert not told(caller, "warning")

    async with a_trial(ANTIPHON_GREETING=GREETING) as server:
        await whichever_way(server, play)


async def test_who_cuts_in_as_the_line_stalls_is_heard_after_it(made: Made) -> None:
    async def play(scene: Scene) -> None:
        caller = scene.caller
        await until(lambda: 1 in caller.replies and received(caller.replies[1]))
        saying = asyncio.ensure_future(caller.say(SENTENCE))
        await until_told(caller, "reply_paused")
        await scene.stall()
        answer = await saying
        assert answer.transcripts == (HEARD,)
        cut_short, whole = told(caller, "reply_done")
        assert (cut_short["status"], whole["status"]) == ("interrupted", "completed")
        assert GREETING.startswith(cut_short["heard"])
        assert len(told(caller, "interrupted")) == 1
        cut_audio, whole_audio = made.for_(caller)
        assert cut_audio.startswith(received(caller.replies[1]))
        assert whole_audio == received(answer.reply)

    async with a_trial(ANTIPHON_GREETING=GREETING) as server:
        await whichever_way(server, play)


async def test_a_cough_as_the_line_stalls_ends_no_reply(made: Made, windows: list[int]) -> None:
    async def play(scene: Scene) -> None:
        caller = scene.caller
        await until(lambda: 1 in caller.replies and received(caller.replies[1]))
        coughing = asyncio.ensure_future(caller.say(COUGH))
        await until_told(caller, "reply_paused")
        await scene.stall()
        await until_told(caller, "reply_done")
        coughing.cancel()
        (done,) = told(caller, "reply_done")
        assert (done["status"], done["heard"]) == ("completed", GREETING)
        assert made.for_(caller) == [received(caller.replies[1])]
        assert len(told(caller, "reply_paused")) == len(told(caller, "reply_resumed"))
        assert not told(caller, "interrupted")
        assert not any(finals(note.message for note in caller.notes))

    async with live_server(ANTIPHON_GREETING=GREETING) as server:
        await whichever_way(server, play)
    assert windows


# --- push to talk ---------------------------------------------------------------------------------


PUSHED = [murmur(0.8) + silence(0.3) + murmur(0.8), silence(0.2) + murmur(1.2), COUGH_PCM]


async def test_what_is_pushed_over_a_bad_line_is_heard_from_push_to_commit(
    windows: list[int],
) -> None:
    async def push(port: int, up: Weather, down: Weather) -> None:
        async with (
            line_to(port, up=up, down=down, seed=3) as line,
            call(line.ws_url, {"turn_detection": "manual"}) as caller,
        ):
            for pcm in PUSHED:
                await caller.speak(pcm)
                await caller.say("commit")
            for number in range(1, len(PUSHED) + 1):
                await caller.until("transcript", turn=number, final=True)
            done = await caller.play()
            assert finals(caller.messages) == [HEARD, HEARD, ""]
            assert (done["turn"], done["status"]) == (2, "completed")

    async with live_server() as server, asyncio.TaskGroup() as callers:
        for weather in WEATHERS.values():
            callers.create_task(push(server.port, *weather))
    everything = [len(pcm) // 2 for pcm in PUSHED for _ in WEATHERS]
    assert sorted(windows) == sorted(everything), "none lost, none that is another turn's"


async def test_a_stall_while_somebody_pushes_ends_no_turn(windows: list[int]) -> None:
    async def push(port: int, ways: tuple[Direction, ...]) -> None:
        async with (
            line_to(port, up=JITTER, down=JITTER) as line,
            call(line.ws_url, {"turn_detection": "manual"}) as caller,
        ):
            await caller.speak(murmur(0.8))
            with line.stalled(*ways):
                await caller.speak(murmur(0.4))
                await asyncio.sleep(STALL_S)
            await caller.speak(murmur(0.4))
            await caller.say("commit")
            await caller.until("transcript", final=True)
            assert (await caller.play())["status"] == "completed"
            assert finals(caller.messages) == [HEARD]

    async with live_server() as server, asyncio.TaskGroup() as callers:
        for ways in WAYS:
            callers.create_task(push(server.port, ways))
    assert windows == [round(1.6 * SPEECH_HZ)] * len(WAYS), "all of it, and in one turn"


# --- typed ----------------------------------------------------------------------------------------


async def test_what_is_typed_into_a_stall_is_answered_once_and_in_order() -> None:
    async with (
        a_trial() as server,
        line_to(server.port, up=JITTER, down=JITTER) as line,
        call(line.ws_url, {}) as caller,
    ):
        with line.stalled():
            for number in range(5):
                await caller.say("text", text=f"message {number}", id=str(number))
            await asyncio.sleep(STALL_S)
        await caller.until("transcript", ref="4")
        await caller.play()
    assert [final["ref"] for final in caller.of("transcript")] == ["0", "1", "2", "3", "4"]
    started = [reply["reply"] for reply in caller.of("reply_started")]
    assert [done["reply"] for done in caller.of("reply_done")] == started
    assert caller.of("reply_done")[-1]["turn"] == 5


# --- real speech ----------------------------------------------------------------------------------


@pytest.mark.models
async def test_real_speech_over_a_bad_line_is_understood_as_over_a_good_one(
    made: Made, models_dir: Path
) -> None:
    clip = read_wav(ROOT / "tests" / "speech" / "LJ001-0004.wav")
    weather = Weather(jitter_ms=200, burst_ms=60)
    plain = "You answer in one short, plain sentence."
    async with live_server(**REAL, ANTIPHON_MODELS_DIR=str(models_dir)) as server:
        async with calling(server.ws_url, instructions=plain) as well_off:
            good = await well_off.say(clip)
        async with (
            line_to(server.port, up=weather, down=weather, seed=1) as line,
            calling(line.ws_url, instructions=plain) as caller,
        ):
            saying = asyncio.ensure_future(caller.say(clip))
            await until_told(caller, "speech_started")
            await asyncio.sleep(2.0)  # well into the clip, which takes 5 s
            with line.stalled():
                await asyncio.sleep(STALL_S)
            bad = await saying
    assert len(bad.transcripts) == 1
    assert words(bad.transcripts[0]) == words(" ".join(good.transcripts))
    assert speech_ms(caller) == pytest.approx(speech_ms(well_off), abs=2 * FRAMES_MS)
    (reply,) = caller.replies.values()
    assert reply.status == "completed"
    assert words(reply.text)
    assert made.for_(caller) == [received(reply)]
    (end,) = told(caller, "reply_audio_end")
    assert len(received(reply)) == pytest.approx(end["audio_ms"] * 48, abs=48)
