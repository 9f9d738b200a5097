"""Barge-in: how soon a reply is silent when its listener cuts in, and what does not silence it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import cycle, islice

from benchmarks.client import Note, Reply
from benchmarks.clips import clips
from benchmarks.latency import Quantiles
from benchmarks.noises import Sound, coughs, doors, signs_of_listening
from benchmarks.room import RATE_HZ, Echo, Room, in_a_room, onsets
from server.cli.wav import Recording, read_wav

TRIES = 50
CUT_IN_S = 2.0
FADE_S = 0.02
FROM_S, TO_S = 0.5, 3.0
AFTER_S = 2.5
"""After a sound its reply is watched for so long."""
ECHO_DB, ECHO_LATE_S, ECHO_LISTEN_S, ECHO_REPLIES = -20.0, 0.15, 12.0, 4
NOISY = "jfk"
"""Its background lies above -40 dB of its peak: the level does not tell where its speech begins."""
INSTRUCTIONS = (
    "You are a storyteller in a voice call. Whatever you hear, tell a long story in many sentences."
)
REQUESTS = (
    "Tell me a long story about a lighthouse.",
    "Explain to me how bread is made, with every step.",
    "Tell me all about the moon and the tides.",
    "Describe a long walk through a big city.",
)
ANSWER_S = 6.0
MOST_REQUESTS = 20

METHOD = f"""One user in a session, with replies to typed requests for long ones, each in a new
conversation. The client plays at real time without a jitter buffer, holds at reply_paused, flushes
at interrupted (with a fade-out of {FADE_S * 1_000:g} ms), plays on at reply_resumed, and reports
its playback every 250 ms. Sounds begin at a moment drawn by chance (seeded), {FROM_S:g} to
{TO_S:g} s after the reply or the last sound, over noise at -60 dBFS, in 20 ms frames in real time.
Onset: the first sample above -40 dB of the sound's peak. Cutting in: the first {CUT_IN_S:g} s of
the clips of tests/speech, but for {NOISY}.wav, whose background is louder than that. Last old
sample: the end of the last fade-out. Decided: from the onset to interrupted; for what is no cutting
in, from the last onset before a hold to its end. Coughs and doors are made by benchmarks/noises.py;
signs of listening (mm-hm, uh-huh, yeah) are spoken by Kokoro. Echo: the reply itself in the
microphone, {ECHO_DB:g} dB as loud and {ECHO_LATE_S * 1_000:g} ms late, and no user. Late audio:
what comes between an interrupted and the next reply_started."""

_STEPS = ("reply_paused", "reply_resumed", "interrupted")


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of one sound over one reply. Times are seconds of the monotonic clock."""

    name: str
    onsets_at: tuple[float, ...]
    steps: tuple[tuple[float, str], ...]
    """What the server told of this reply from then on: paused, resumed, interrupted."""
    drained_at: float
    """When all of its audio that had come would have been played."""
    words: tuple[str, ...] = ()
    """What was understood, again and again."""

    @classmethod
    def of(cls, name: str, onsets_at: Sequence[float], reply: Reply, notes: list[Note]) -> Attempt:
        """Pick what was told of it since the onset out of the notes."""
        since = [note for note in notes if note.at >= onsets_at[0]]
        steps = tuple(
            (note.at, note.message["type"])
            for note in since
            if note.message["type"] in _STEPS and note.message["reply"] == reply.number
        )
        words = tuple(n.message["text"] for n in since if n.message["type"] == "transcript")
        return cls(name, tuple(onsets_at), steps, reply.playback.ends_at, words)

    def _since_onset_ms(self, step: str) -> float | None:
        return next(((at - self.onsets_at[0]) * 1_000 for at, s in self.steps if s == step), None)

    @property
    def held_ms(self) -> float | None:
        """From the onset to the first hold; None: there was none."""
        return self._since_onset_ms("reply_paused")

    @property
    def ended_ms(self) -> float | None:
        """From the onset to the end of the reply; None: it went on."""
        return self._since_onset_ms("interrupted")

    @property
    def last_played_ms(self) -> float | None:
        """From the onset to the end of the old reply's last fade-out; None: it went on."""
        if self.ended_ms is None:
            return None
        silent_at = None
        for at, step in self.steps:
            if step == "reply_resumed":
                silent_at = None
            elif silent_at is None:
                silent_at = at + FADE_S
        assert silent_at is not None, "it was interrupted"
        return (min(silent_at, self.drained_at) - self.onsets_at[0]) * 1_000

    @property
    def holds(self) -> list[tuple[float, float]]:
        """When the reply was held, and until when."""
        held, since = [], None
        for at, step in self.steps:
            if step == "reply_paused":
                since = at
            elif since is not None:
                held.append((since, at))
                since = None
        return held

    @property
    def verdicts_ms(self) -> list[float]:
        """For each hold: from the last onset before it to what was decided."""
        return [
            (until - max(onset for onset in self.onsets_at if onset <= since)) * 1_000
            for since, until in self.holds
        ]

    def __str__(self) -> str:
        steps = [f"{step} {(at - self.onsets_at[0]) * 1_000:.0f} ms" for at, step in self.steps]
        return f"{self.name:18} {', '.join(steps) or 'not noticed'}  {' | '.join(self.words)}"


def cutting_in(tries: int = TRIES) -> list[Sound]:
    """The beginnings of spoken clips, in rotation."""
    starts = [
        Sound(clip.path.stem, Recording(spoken.samples[: round(CUT_IN_S * RATE_HZ)], RATE_HZ))
        for clip in clips()
        if clip.path.stem != NOISY
        for spoken in [read_wav(clip.path)]
    ]
    return list(islice(cycle(starts), tries))


async def talk_over(
    url: str, sounds: Sequence[Sound], *, seed: int = 0, from_s: float = FROM_S, to_s: float = TO_S
) -> tuple[list[Attempt], int]:
    """Make each sound over a reply; gives what came of them, and the samples that came late."""
    chance = random.Random(seed)
    attempts = []
    async with in_a_room(url, instructions=INSTRUCTIONS) as room:
        for sound in sounds:
            reply = await _within_a_reply(room, chance, from_s, to_s)
            begins_at = room.begin(sound.recording)
            over_at = begins_at + sound.recording.seconds + AFTER_S
            await _ended(reply, room, over_at - time.monotonic())
            at = [begins_at + onset / RATE_HZ for onset in onsets(sound.recording.samples)]
            attempts.append(Attempt.of(sound.name, at, reply, room.notes))
            print(f"  {len(attempts):3}  {attempts[-1]}", flush=True)
        return attempts, room.late_samples


async def listen_with_echo(url: str, replies: int = ECHO_REPLIES) -> list[Attempt]:
    """Hear replies in a room with an echo, for 12 s each, and say nothing over them."""
    attempts = []
    for number in range(replies):
        async with in_a_room(url, Echo(ECHO_DB, ECHO_LATE_S), instructions=INSTRUCTIONS) as room:
            reply = await _within_a_reply(room, random.Random(number), 0, 0)
            await _ended(reply, room, ECHO_LISTEN_S)
            began_at = reply.playback.started_at or 0.0
            attempts.append(Attempt.of("echo", [began_at], reply, room.notes))
            print(f"  {len(attempts):3}  {attempts[-1]}", flush=True)
    return attempts


async def _within_a_reply(room: Room, chance: random.Random, from_s: float, to_s: float) -> Reply:
    """One that is being played, with more of it to come; a short one is followed by another."""
    for _ in range(MOST_REQUESTS):
        if not _goes_on(room.reply):
            await room.caller.ask(chance.choice(REQUESTS))
            await room.until(lambda: _goes_on(room.reply), ANSWER_S)
        await asyncio.sleep(chance.uniform(from_s, to_s))
        if (reply := room.reply) is not None and _goes_on(reply):
            return reply
    raise TimeoutError("no reply is long enough to be talked over")


async def _ended(reply: Reply, room: Room, within_s: float) -> None:
    """Wait until it is done, but no longer than this."""
    await room.until(lambda: reply.status, within_s)


def _goes_on(reply: Reply | None) -> bool:
    """It sounds, and not all of its audio has come."""
    return reply is not None and reply.playback.started_at is not None and not reply.ended.is_set()


async def _run(url: str, tries: int) -> dict[str, object]:
    asides = [*coughs(), *await signs_of_listening()]
    print(f"Cutting in, {tries} times")
    cut, late = await talk_over(url, cutting_in(tries))
    print(f"Coughs and signs of listening, {len(asides)}")
    aside, late_after_asides = await talk_over(url, asides, seed=1)
    print(f"Doors, {len(doors())}")
    shut, late_after_doors = await talk_over(url, doors(), seed=2)
    print(f"Echo, {ECHO_REPLIES} replies")
    echo = await listen_with_echo(url)
    return summary(cut, aside, shut, echo, late + late_after_asides + late_after_doors)


def summary(
    cut: list[Attempt], aside: list[Attempt], shut: list[Attempt], echo: list[Attempt], late: int
) -> dict[str, object]:
    """The figures, printed as well."""
    figures: dict[str, object] = {
        "tries": len(cut),
        "not_ended": sum(attempt.ended_ms is None for attempt in cut),
        "asides": len(aside),
        "ended_by_asides": sum(attempt.ended_ms is not None for attempt in aside),
        "held_by_asides": sum(attempt.held_ms is not None for attempt in aside),
        "doors": len(shut),
        "ended_by_doors": sum(attempt.ended_ms is not None for attempt in shut),
        "echoed_replies": len(echo),
        "ended_by_echo": sum(attempt.ended_ms is not None for attempt in echo),
        "holds_by_echo": sum(len(attempt.holds) for attempt in echo),
        "held_by_echo_s": round(sum(b - a for attempt in echo for a, b in attempt.holds), 2),
        "late_samples": late,
    }
    spans: dict[str, list[float | None]] = {
        "held": [a.held_ms for a in cut],
        "last old sample": [a.last_played_ms for a in cut],
        "cut-in decided": [a.ended_ms for a in cut],
        "aside decided": [ms for a in aside + shut for ms in a.verdicts_ms],
    }
    print()
    for name, values in spans.items():
        if known := [value for value in values if value is not None]:
            quantiles = Quantiles.of(known)
            print(f"  {name:16} {quantiles}   max {max(known):6.0f} ms   of {len(known)}")
            key = name.replace(" ", "_").replace("-", "_")
            figures[f"{key}_ms"] = {**asdict(quantiles), "max": round(max(known), 1)}
    print(
        f"  {figures['not_ended']} of {len(cut)} did not end the reply;"
        f" {figures['ended_by_asides']} of {len(aside)} coughs and signs of listening did"
        f" ({figures['held_by_asides']} held it), {figures['ended_by_doors']} of {len(shut)} doors,"
        f" {figures['ended_by_echo']} of {len(echo)} echoes"
        f" ({figures['holds_by_echo']} holds, {figures['held_by_echo_s']} s);"
        f" {late} samples came late"
    )
    return figures


def main(url: str, tries: int = TRIES) -> dict[str, object]:
    """Run the benchmark against `url` and print it; returns what `--json` writes."""
    print(f"Barge-in\n{METHOD}\n")
    return asyncio.run(_run(url, tries))
