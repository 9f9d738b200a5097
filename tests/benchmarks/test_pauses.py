"""The pauses benchmark: what is said, how it is cut, what is counted."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from benchmarks.pauses.calls import Call, Delays, deciding, take_call
from benchmarks.pauses.figure import curve_svg
from benchmarks.pauses.policies import ours, silence_alone, three_tiers
from benchmarks.pauses.sentences import PAUSE_MS, VOICES, Sentence, Take, parse, takes
from benchmarks.pauses.speech import Pause, Spoken, parted, with_pauses
from benchmarks.pauses.tally import Result, cut_at, heard_end, outcome, result
from benchmarks.pauses.voice import Voiced
from pipeline import endpointing, turn
from pipeline.engines.kokoro_sound import RATE_HZ
from pipeline.utterance import FRAME, SPEECH_HZ

DELAYS = Delays(words_s=0.08, vote_s=0.03, reply_s=0.3)
TAKE = Take(Sentence(("one", "two"), ("in",)), "af_heart", 1.0, (500,))


class ScriptedEar:
    """Speech for one second, a pause, speech for one second, and silence."""

    def __init__(self, pause_frames: int, vote: float = 0.99) -> None:
        loud, quiet = (0.9,), (0.05,)
        self.probabilities = 10 * quiet + 31 * loud + pause_frames * quiet + 31 * loud + 78 * quiet
        self.levels = (0.0,) * len(self.probabilities)
        self._pause_end = (41 + pause_frames) * FRAME
        self._vote = vote

    async def words(self, start: int, end: int) -> str:
        return "in one breath." if end <= self._pause_end else "in one breath or two."

    async def vote(self, start: int, end: int) -> float:
        return self._vote


def spoken(pause_frames: int) -> Spoken:
    """What the scripted ear hears, as the generator would describe it."""
    start = 41 * FRAME
    pause = Pause(start, start + pause_frames * FRAME, "in")
    return Spoken("test", TAKE, np.zeros(1, np.float32), (pause,), pause.end + 31 * FRAME)


def point(wait_ms: int, committed: float) -> Result:
    nothing = (0, 0)
    return Result("", 1, committed, 0.0, 0, 1, 0, (wait_ms, wait_ms), nothing, nothing, {})


# --- What is said --------------------------------------------------------------------------------


def test_the_halves_share_neither_sentences_nor_voices() -> None:
    for source in ("sentences", "afterthoughts"):
        tune, report = takes("tune", source), takes("report", source)
        assert not {take.sentence for take in tune} & {take.sentence for take in report}
    assert not set(VOICES["tune"]) & set(VOICES["report"])
    assert all(take.voice in VOICES["report"] for take in takes("report"))


@pytest.mark.parametrize("half", ["tune", "report"])
def test_each_half_has_enough_pauses_of_the_stated_lengths(half: str) -> None:
    said = takes(half)  # type: ignore[arg-type]
    lengths = [pause_ms for take in said for pause_ms in take.pauses_ms]
    assert len({take.sentence for take in said}) >= 65
    assert len(lengths) >= 100
    assert PAUSE_MS[0] <= min(lengths) < 400
    assert 800 < max(lengths) <= PAUSE_MS[1]
    assert any(not take.pauses_ms for take in said)


def test_the_draw_is_the_same_every_time() -> None:
    assert takes("report") == takes("report")


def test_a_sentence_is_parted_at_its_marks() -> None:
    (sentence,) = parse("# a comment\n\nSo, <after> I went <between> and came back.\n")
    assert sentence == Sentence(("So,", "I went", "and came back."), ("after", "between"))


# --- How it is cut -------------------------------------------------------------------------------


def test_speech_is_cut_where_it_is_quietest_and_trimmed() -> None:
    tone = 0.5 * np.sin(np.arange(RATE_HZ) * 0.1).astype(np.float32)
    gap = np.zeros(RATE_HZ // 10, np.float32)
    audio = np.concatenate((gap, tone, gap, tone[: RATE_HZ // 2], gap))
    join = len(gap) + len(tone)
    one, two = parted(Voiced(audio, ((join - 600, join + 3_000),)))
    margins = 2 * RATE_HZ // 50
    assert len(one) == pytest.approx(len(tone) + margins, abs=RATE_HZ // 50)
    assert len(two) == pytest.approx(len(tone) // 2 + margins, abs=RATE_HZ // 50)


def test_a_pause_is_as_long_as_it_was_drawn_and_no_digital_silence() -> None:
    part = np.full(RATE_HZ, 0.5, np.float32)
    audio, (first_end, second_start, end) = with_pauses([part, part], (500,), seed=1)
    assert (second_start - first_end) / SPEECH_HZ == pytest.approx(0.5, abs=0.001)
    quiet = audio[first_end + 1_000 : second_start - 1_000]
    assert 20 * np.log10(np.sqrt((quiet**2).mean())) == pytest.approx(-60, abs=1)
    assert (len(audio) - end) / SPEECH_HZ > 2.5


# --- What is counted -----------------------------------------------------------------------------


async def call_of(pause_frames: int, wait_s: float, delays: Delays = DELAYS) -> tuple[Call, object]:
    ear = ScriptedEar(pause_frames)
    with deciding(silence_alone(wait_s)):
        call = await take_call(ear, delays)
    return call, outcome(spoken(pause_frames), ear.probabilities, call)


async def test_silence_commits_in_a_pause_that_is_longer() -> None:
    _, counted = await call_of(pause_frames=20, wait_s=0.512)
    (cut,) = counted.cuts  # type: ignore[attr-defined]
    assert cut.committed
    assert cut.talked_into


async def test_and_not_in_one_that_is_shorter() -> None:
    call, counted = await call_of(pause_frames=14, wait_s=0.512)
    (cut,) = counted.cuts  # type: ignore[attr-defined]
    assert not cut.committed
    assert not cut.talked_into
    assert len(call.commits_s) == 1
    assert counted.wait_s == pytest.approx(0.512)  # type: ignore[attr-defined]


async def test_a_commit_that_is_taken_back_in_time_is_not_talked_into() -> None:
    late = replace(DELAYS, reply_s=0.9)
    call, counted = await call_of(pause_frames=20, wait_s=0.32, delays=late)
    (cut,) = counted.cuts  # type: ignore[attr-defined]
    assert cut.committed
    assert not cut.talked_into
    assert len(call.commits_s) == 2


async def test_a_reply_leaves_when_its_audio_is_there_and_its_turn_is_over() -> None:
    for reply_s, wait_s in product((0.1, 0.4), (0.256, 0.64)):
        call, _ = await call_of(3, wait_s, replace(DELAYS, reply_s=reply_s))
        voice_end_s = heard_end(ScriptedEar(3).probabilities) / SPEECH_HZ
        look_s = FRAME / SPEECH_HZ  # at the first silent frame
        # A frame of slack: words that come between two frames are acted on at the next.
        earliest = max(wait_s, look_s + DELAYS.words_s + reply_s)
        assert earliest - 1e-6 <= call.replies_s[0] - voice_end_s <= earliest + FRAME / SPEECH_HZ


async def test_a_policy_decides_only_inside_its_block() -> None:
    with deciding(silence_alone(1.5)):
        assert turn.patience_s is not endpointing.patience_s
    assert turn.patience_s is endpointing.patience_s


def test_rates_are_shares_of_all_pauses() -> None:
    call = Call(commits_s=(1.9, 3.3), replies_s=(3.5,))
    one = outcome(spoken(20), ScriptedEar(20).probabilities, call)
    never = outcome(spoken(20), ScriptedEar(20).probabilities, Call((), ()))
    both = result("both", [one, never])
    assert (both.pauses, both.committed, both.talked_into) == (2, 0.5, 0.0)
    assert (both.ends, both.missed) == (2, 1)
    assert both.kinds == {"in": (2, 1, 0)}


def test_a_curve_is_read_between_its_points_and_never_outside() -> None:
    curve = [point(300, 0.9), point(500, 0.5)]
    assert cut_at(curve, 400) == pytest.approx(0.7)
    assert cut_at(curve, 500) == 0.5
    assert cut_at(curve, 299) is None


def test_the_figure_is_drawn_from_the_points() -> None:
    silence, mine = [point(300, 0.9), point(500, 0.5)], [point(256, 0.1), point(350, 0.05)]
    svg = curve_svg(silence, mine, point(256, 0.4), mine[0])
    assert svg.startswith("<svg")
    assert svg.rstrip().endswith("</svg>")
    assert svg.count("<polyline") == 2


def test_the_policies_of_the_tables() -> None:
    assert three_tiers("I want to", 0.99, "normal") == 1.0
    assert three_tiers("Really?", None, "normal") == 0.256
    assert three_tiers("It is late.", 0.5, "normal") == 0.512
    slow, fast = ours(2.0), ours(1.0)
    assert slow("Really?", 0.99, "quick") == 2 * fast("Really?", 0.99, "patient")
