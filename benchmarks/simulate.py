"""How far the engines go: a simulation, first held against a measured run, then asked for more.

`python -m benchmarks.simulate [--users N ...] [--engines FILE.json] [--json FILE]`: the check
runs the whole server with scripted engines of known times, and people who talk to it in real time;
the same is simulated.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.client import calling
from benchmarks.simulation import (
    S_PER_CHARACTER,
    Engines,
    Heard,
    Person,
    most_users,
    simulate,
)
from pipeline.config import ScriptConfig
from pipeline.engines.build import build
from pipeline.engines.ports import SpeechRequest, Stop
from pipeline.engines.scripted import ScriptedSynthesizer
from server import logs
from server.cli.wav import Recording
from server.configs import engine_config
from server.house import House
from server.serve import bound, running
from server.settings import Settings

RATE_HZ = 16_000
CHECKED = Engines(
    stt_seats=4, stt_s=0.05, llm_first_s=0.1, llm_word_s=0.01,
    tts_seats=2, tts_first_s=0.15, tts_rtf=0.15, tts_streams=True,
)  # fmt: skip
"""Engines that a dozen people are too many for."""
TALKS = Person(
    speaks_s=1.0, thinks_s=1.0, varies=False,
    reply="Yes, I think so too. It was the first of them, and for a long time the only one.",
)  # fmt: skip
CHECK_USERS = (4, 8, 12)
CHECK_S = 40.0

GATEWAY_MS = 10.0
"""CPU time of a gateway for each second of a conversation: what `benchmarks edge` shows for a
session that listens, and half as much again for the one that hears a reply."""
GATEWAY_LOAD = 0.6
"""Of a core: above it the event loop's lag grows."""
P95_S = 1.0
SIZED = Engines(stt_s=0.1, llm_seats=10_000, llm_first_s=0.2, llm_word_s=0.015, tts_first_s=0.03)
"""A voice on a device of its own behind a language model that never lacks a seat. Times that stand
for any, to be replaced by one's own (`--engines`)."""
FIXED_S = 0.35
"""Until a turn is known to be over, at a normal pace, and the line."""
VOICES_AUDIO_S = (5, 20, 60)
FLEETS = (30, 300, 3_000, 30_000, 100_000)


@dataclass(frozen=True, slots=True)
class Level:
    """So many users, measured and simulated."""

    users: int
    measured: Heard
    simulated: Heard

    def __str__(self) -> str:
        return f"{self.users:3} users   measured {self.measured}   simulated {self.simulated}"

    def summary(self) -> dict[str, object]:
        """What `--json` writes."""
        return {
            "users": self.users,
            "measured": self.measured.summary(),
            "simulated": self.simulated.summary(),
        }


def _script(engines: Engines, person: Person) -> ScriptConfig:
    return ScriptConfig(
        stt_s=engines.stt_s, llm_text=person.reply, llm_first_token_s=engines.llm_first_s,
        llm_tokens_per_s=1 / engines.llm_word_s, tts_first_s=engines.tts_first_s,
        tts_rtf=engines.tts_rtf, tts_s_per_char=S_PER_CHARACTER,
    )  # fmt: skip


@asynccontextmanager
async def _scripted_server(engines: Engines, person: Person) -> AsyncIterator[str]:
    """The whole server in this loop, with engines of these times."""
    with TemporaryDirectory(prefix="antiphon-bench-") as data, bound("127.0.0.1", 0) as listener:
        values = {
            **dict.fromkeys(("stt_engine", "tts_engine", "llm_engine", "vad_engine"), "scripted"),
            "stt_slots": engines.stt_seats,
            "tts_slots": engines.tts_seats,
            "llm_slots": engines.llm_seats,
            "turns_per_minute": 1_000,
            "log_level": "error",
            "data_dir": Path(data),
        }
        chosen = Settings.model_validate(values)
        scripted = replace(engine_config(chosen), script=_script(engines, person))
        async with running(chosen, listener, House(chosen, build(scripted))):
            yield f"ws://127.0.0.1:{listener.getsockname()[1]}/ws"


async def measure(url: str, person: Person, users: int, seconds: float, settle_s: float) -> Heard:
    """People in real time, as `simulate` has them."""
    heard, chance = Heard(), random.Random(0)
    time_s = np.arange(round(person.speaks_s * RATE_HZ)) / RATE_HZ
    tone = (9_000 * np.sin(2 * np.pi * 300 * time_s)).astype(np.int16)
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + seconds

    async def one(begins_s: float) -> None:
        await asyncio.sleep(begins_s)
        async with calling(url, voice="tone", pace="quick") as caller:
            while loop.time() < ends_at:
                turn = await caller.say(Recording(tone, RATE_HZ))
                wait_s = turn.voice_to_voice_s
                if wait_s is not None and turn.speech_ended_at >= ends_at - seconds + settle_s:
                    heard.waits_s.append(float(wait_s))
                    heard.stalls_s += turn.playback.stalls_s
                await asyncio.sleep(person.thinks_s)

    async with asyncio.TaskGroup() as people:
        for _ in range(users):
            people.create_task(one(chance.uniform(0, person.cycle_s)))
    return heard


async def as_they_are(engines: Engines, person: Person) -> Engines:
    """The same, with the time that the scripted voice takes in this loop: it sleeps for each chunk,
    and no sleep ends at once."""
    voice = ScriptedSynthesizer(_script(engines, person))
    began = time.monotonic()
    async for _ in voice.synthesize(SpeechRequest(person.reply, "tone"), Stop()):
        pass
    work_s = time.monotonic() - began - engines.tts_first_s
    return replace(engines, tts_rtf=work_s / person.reply_s)


async def check(users: Sequence[int], seconds: float) -> list[Level]:
    """Measured beside simulated. What a turn takes besides its engines is learnt from one user."""
    levels = []
    settle_s = TALKS.cycle_s
    async with _scripted_server(CHECKED, TALKS) as url:
        engines = await as_they_are(CHECKED, TALKS)
        fixed_s = (await measure(url, TALKS, 1, 3 * TALKS.cycle_s, 0.0)).wait_s(0.5)
        for number in users:
            heard = await measure(url, TALKS, number, seconds, settle_s)
            simulated = simulate(
                engines, TALKS, number, seconds, fixed_s=fixed_s, settle_s=settle_s
            )
            levels.append(Level(number, heard, simulated))
    return levels


def sizes(engines: Engines) -> list[dict[str, int]]:
    """How many people one replica of the voice bears, and ten, by how fast it is."""
    table = []
    for audio_s in VOICES_AUDIO_S:
        for replicas in (1, 10):
            house = replace(engines, tts_rtf=1 / audio_s, tts_seats=replicas, stt_seats=10_000)
            users = most_users(house, Person(), fixed_s=FIXED_S, p95_s=P95_S, seconds=200.0)
            table.append({"audio_s_per_s": audio_s, "replicas": replicas, "users": users})
    return table


def gateways(users: int) -> int:
    """How many cores' worth of gateways so many people need."""
    return math.ceil(users * GATEWAY_MS / 1_000 / GATEWAY_LOAD)


def main(argv: Sequence[str] | None = None) -> dict[str, object]:
    """Check, then extrapolate; returns what `--json` writes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulate", description=__doc__)
    parser.add_argument("--users", type=int, nargs="+", default=CHECK_USERS, help="of the check")
    parser.add_argument("--engines", type=Path, help="JSON with the fields of `Engines`")
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    args = parser.parse_args(argv)
    logs.configure("error", "json")
    engines = Engines(**json.loads(args.engines.read_text())) if args.engines else SIZED
    print("The whole server with scripted engines, measured beside simulated\n")
    levels = asyncio.run(check(args.users, CHECK_S))
    for level in levels:
        print(f"  {level}")
    print(f"\nMost people with p95 within {P95_S:g} s and at most 1 % of the clauses late\n")
    table = sizes(engines)
    for row in table:
        print(
            f"  a voice of {row['audio_s_per_s']:4} audio-seconds a second, {row['replicas']:2} of "
            f"them: {row['users']:5} people"
        )
    print(f"\nGateway cores, {GATEWAY_MS:g} ms a second each, at {GATEWAY_LOAD:.0%} load\n")
    for users in FLEETS:
        print(f"  {users:7,} people: {gateways(users):5}")
    result: dict[str, object] = {
        "levels": [level.summary() for level in levels],
        "engines": asdict(engines),
        "sizes": table,
        "gateway_cores": {users: gateways(users) for users in FLEETS},
    }
    if args.json:
        args.json.write_text(json.dumps(result, indent=2))
    return result


if __name__ == "__main__":
    main()
