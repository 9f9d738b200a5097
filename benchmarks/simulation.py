"""People in conversation with a house of engines, in virtual time.

What is real: `pipeline.scheduling` decides who goes next, `pipeline.clauses` where a reply is cut,
and a session asks as its own does (words, then text, then one clause after the other, a later one
when the one before is made and no more than 6 s lie ready). What is not: an engine is a number of
seats and the time that a piece of work takes there, and a person is drawn by chance.
"""

from __future__ import annotations

import random
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import simpy

from pipeline.clause_policy import IN_CONVERSATION
from pipeline.clauses import Clause, ClauseCutter
from pipeline.percentiles import percentile
from pipeline.scheduling import Purpose, Queue, Request
from pipeline.speaking import BUFFER_S

REPLY = (
    "That is a good question, and the short answer is yes. The press changed how fast a thought "
    "could travel, and so it changed who could have one. What came after it took longer, because "
    "people had to learn to read first, and nobody had thought of that."
)
S_PER_CHARACTER = 0.06
"""Speech: about 17 characters a second."""

Process = Generator[simpy.Event, Any, None]


@dataclass(frozen=True, slots=True)
class Engines:
    """How many at once, and how long each piece of work takes there, in seconds."""

    stt_seats: int = 1
    stt_s: float = 0.1
    """The words of one turn."""
    llm_seats: int = 64
    llm_first_s: float = 0.1
    llm_word_s: float = 0.01
    """Each word after the first."""
    tts_seats: int = 1
    tts_first_s: float = 0.1
    """For each clause, however short."""
    tts_rtf: float = 0.1
    """And for each second of its audio."""
    tts_streams: bool = False
    """A clause sounds as soon as its first part is made; else when it is whole."""


@dataclass(frozen=True, slots=True)
class Person:
    """How somebody talks. Speaking and thinking are drawn from exponential distributions."""

    speaks_s: float = 4.0
    thinks_s: float = 2.0
    """Between the end of a reply and the next words."""
    reply: str = REPLY
    varies: bool = True
    """False: exactly so, every time."""

    @property
    def reply_s(self) -> float:
        """How long the reply sounds."""
        return len(self.reply) * S_PER_CHARACTER

    @property
    def cycle_s(self) -> float:
        """From one turn to the next, if nothing had to be waited for."""
        return self.speaks_s + self.reply_s + self.thinks_s


@dataclass(slots=True)
class Heard:
    """What came of it, in seconds: the waits, voice-to-voice, and the gaps inside replies."""

    waits_s: list[float] = field(default_factory=list)
    stalls_s: list[float] = field(default_factory=list)

    def wait_s(self, p: float) -> float:
        """A percentile of the waits; 0.0 without any."""
        return percentile(sorted(self.waits_s), p) or 0.0

    def __str__(self) -> str:
        return (
            f"p50 {self.wait_s(0.5):5.3f} s  p95 {self.wait_s(0.95):5.3f} s  "
            f"{len(self.stalls_s):3} stalls in {len(self.waits_s):3} turns"
        )

    def summary(self) -> dict[str, float]:
        """In seconds."""
        return {
            "turns": len(self.waits_s), "p50_s": self.wait_s(0.5), "p95_s": self.wait_s(0.95),
            "stalls": len(self.stalls_s), "stalled_s": sum(self.stalls_s),
        }  # fmt: skip


class _Station:
    """One kind of engine: its seats, and the queue before them."""

    def __init__(self, clock: simpy.Environment, seats: int) -> None:
        self._clock = clock
        self._free = seats
        self._queue = Queue(max_waiting=1_000_000, max_per_owner=1_000_000)
        self._granted: dict[Request, simpy.Event] = {}

    def line_up(self, request: Request) -> simpy.Event:
        """Happens when a seat is this request's."""
        granted = self._granted[request] = self._clock.event()
        self._queue.add(request, self._clock.now)
        self._hand_out()
        return granted

    def promote(self, owner: str) -> None:
        """What was asked on a guess is wanted now."""
        for request in self._granted:
            if request.owner == owner:
                request.promote(self._clock.now)

    def leave(self, owner: str) -> None:
        """A seat is free again."""
        self._queue.left(owner, self._clock.now)
        self._free += 1
        self._hand_out()

    def _hand_out(self) -> None:
        while self._free and (request := self._queue.take(self._clock.now)) is not None:
            self._free -= 1
            self._granted.pop(request).succeed()


class _Loudspeaker:
    """What somebody hears of one reply: when it began, when it runs dry, how often it did."""

    def __init__(self) -> None:
        self.began_at: float | None = None
        self.dry_at = 0.0
        self.stalls_s: list[float] = []

    def add(self, seconds: float, now: float) -> None:
        if self.began_at is None:
            self.began_at = self.dry_at = now
        elif now > self.dry_at:
            self.stalls_s.append(now - self.dry_at)
            self.dry_at = now
        self.dry_at += seconds


def simulate(
    engines: Engines,
    person: Person,
    users: int,
    seconds: float,
    *,
    fixed_s: float,
    settle_s: float = 0.0,
    seed: int = 0,
) -> Heard:
    """So many people for so long, from random moments of their first turns on.

    `fixed_s`: the least that a turn takes, whatever the engines: until it is known to be over, and
    the line. Until then its reply is a guess, and everybody goes before it. Turns that end before
    `settle_s`, or that are not answered in time, do not count.
    """
    clock, heard, chance = simpy.Environment(), Heard(), random.Random(seed)
    house = _House(clock, engines)
    for number in range(users):
        session = _Session(f"user {number}", house, person, fixed_s, random.Random(seed + number))
        clock.process(session.live(chance.uniform(0, person.cycle_s), heard, settle_s))
    clock.run(until=seconds)
    return heard


class _House:
    def __init__(self, clock: simpy.Environment, engines: Engines) -> None:
        self.clock, self.engines = clock, engines
        self.stt = _Station(clock, engines.stt_seats)
        self.llm = _Station(clock, engines.llm_seats)
        self.tts = _Station(clock, engines.tts_seats)


class _Session:
    """One person and what is done for them."""

    def __init__(
        self, owner: str, house: _House, person: Person, fixed_s: float, chance: random.Random
    ) -> None:
        self._owner, self._house, self._person = owner, house, person
        self._fixed_s, self._chance = fixed_s, chance
        self._clock, self._engines = house.clock, house.engines
        self._clauses = _cut(person.reply)

    def live(self, begins_s: float, heard: Heard, settle_s: float) -> Process:
        """Turn after turn, without end."""
        yield self._clock.timeout(begins_s)
        while True:
            yield self._clock.timeout(self._drawn(self._person.speaks_s))
            ended_at = self._clock.now
            speaker = _Loudspeaker()
            self._clock.process(self._commit())
            yield from self._answer(ended_at + self._fixed_s, speaker)
            assert speaker.began_at is not None
            if ended_at >= settle_s:
                heard.waits_s.append(speaker.began_at - ended_at)
                heard.stalls_s += speaker.stalls_s
            yield self._clock.timeout(max(0.0, speaker.dry_at - self._clock.now))
            yield self._clock.timeout(self._drawn(self._person.thinks_s))

    def _commit(self) -> Process:
        yield self._clock.timeout(self._fixed_s)
        for station in (self._house.llm, self._house.tts):
            station.promote(self._owner)

    def _first_purpose(self, not_before: float) -> Purpose:
        return Purpose.SPECULATION if self._clock.now < not_before else Purpose.FIRST_CLAUSE

    def _answer(self, not_before: float, speaker: _Loudspeaker) -> Process:
        stt, engines = self._house.stt, self._engines
        yield stt.line_up(Request(self._owner, Purpose.FINAL))
        yield self._clock.timeout(engines.stt_s)
        stt.leave(self._owner)
        known = [self._clock.event() for _ in self._clauses]
        self._clock.process(self._think(known, self._first_purpose(not_before)))
        for number, (clause, written) in enumerate(zip(self._clauses, known, strict=True)):
            yield written
            ahead_s = speaker.dry_at - self._clock.now
            if number and ahead_s > BUFFER_S:
                yield self._clock.timeout(ahead_s - BUFFER_S)
            yield from self._voice(clause, not_before, speaker)

    def _think(self, known: list[simpy.Event], purpose: Purpose) -> Process:
        llm, engines = self._house.llm, self._engines
        yield llm.line_up(Request(self._owner, purpose))
        wait_s, words = engines.llm_first_s, 0
        for clause, written in zip(self._clauses, known, strict=True):
            words += len(clause.text.split())
            yield self._clock.timeout(wait_s + engines.llm_word_s * (words - 1))
            wait_s, words = engines.llm_word_s, 0
            written.succeed()
        llm.leave(self._owner)

    def _voice(self, clause: Clause, not_before: float, speaker: _Loudspeaker) -> Process:
        tts, engines = self._house.tts, self._engines
        first = speaker.began_at is None
        purpose = self._first_purpose(not_before) if first else Purpose.LATER_CLAUSE
        yield tts.line_up(Request(self._owner, purpose, None if first else speaker.dry_at))
        audio_s = len(clause.text) * S_PER_CHARACTER
        work_s = engines.tts_rtf * audio_s
        yield self._clock.timeout(engines.tts_first_s + (0.0 if engines.tts_streams else work_s))
        speaker.add(audio_s, max(self._clock.now, not_before))
        if engines.tts_streams:
            yield self._clock.timeout(work_s)
        tts.leave(self._owner)

    def _drawn(self, mean_s: float) -> float:
        return self._chance.expovariate(1 / mean_s) if self._person.varies else mean_s


def _cut(reply: str) -> list[Clause]:
    cutter = ClauseCutter(IN_CONVERSATION)
    return [*cutter.feed(reply), *cutter.finish()]


def most_users(
    engines: Engines,
    person: Person,
    *,
    fixed_s: float,
    p95_s: float,
    stalled: float = 0.01,
    seconds: float = 900.0,
    limit: int = 4_096,
) -> int:
    """The most people whose p95 stays within `p95_s` and of whose clauses no more than `stalled`
    come late; found by halving, so it is right where more people are never better off.
    """

    def bearable(users: int) -> bool:
        heard = simulate(engines, person, users, seconds, fixed_s=fixed_s, settle_s=seconds / 10)
        clauses = len(heard.waits_s) * len(_cut(person.reply))
        return heard.wait_s(0.95) <= p95_s and len(heard.stalls_s) <= stalled * clauses

    low, high = 0, 1
    while high <= limit and bearable(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if bearable(middle) else (low, middle)
    return low
