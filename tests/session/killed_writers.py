"""Writers of a session store that are killed (kill -9) at any moment, one after the other.

    python killed_writers.py FOLDER KILLS

Each goes on where the one before it was killed: of every session what the writers had been told is
stored last must be there, whole. Prints how many saves were confirmed; ends with 1 when one of them
is lost.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import sys
import time
from pathlib import Path

from session.sqlite_store import FILE, SqliteStore
from session.store import Record

SESSIONS = 5
LONGEST_LIFE_S = 0.02


def name(number: int) -> str:
    """The session of this save: they take turns."""
    return f"s_{number % SESSIONS}"


def body(number: int) -> bytes:
    """What this save writes, always the same."""
    chance = random.Random(number)
    return b"%d " % number + chance.randbytes(chance.randrange(20_000))


async def write(folder: Path, number: int, told: int) -> None:
    """Save for ever, and say of each save that it was confirmed."""
    store = SqliteStore(folder, 10_000_000)
    await store.open(time.time() + 1_000)
    while True:
        number += 1
        until = time.time() + 1_000 if number % 3 else None
        token = name(number).encode()
        await store.save(Record(name(number), None, (token,), until, body(number)))
        os.write(told, b"%d\n" % number)


def live_and_die(folder: Path, number: int) -> int:
    """One writer, from its first save to its last one confirmed."""
    hears, tells = os.pipe()
    child = os.fork()
    if child == 0:
        asyncio.run(write(folder, number, tells))
    os.close(tells)
    heard = os.read(hears, 10)  # it has begun
    time.sleep(random.uniform(0, LONGEST_LIFE_S))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while piece := os.read(hears, 65_536):
        heard += piece
    os.close(hears)
    return int(heard.split()[-1])


def after(number: int) -> dict[str, bytes]:
    """What is stored of each session when this save was the last."""
    return {name(one): body(one) for one in range(max(1, number - SESSIONS + 1), number + 1)}


def stored(folder: Path) -> dict[str, bytes]:
    """What is in the file of each session."""
    db = sqlite3.connect(folder / FILE)
    try:
        ok = db.execute("PRAGMA quick_check").fetchone()
        assert ok == ("ok",), ok
        return dict(db.execute("SELECT session, body FROM sessions").fetchall())
    finally:
        db.close()


def main() -> None:
    folder, kills = Path(sys.argv[1]), int(sys.argv[2])
    confirmed = 0
    for _ in range(kills):
        last = live_and_die(folder, confirmed)
        there = stored(folder)
        # One more may have been written, and not confirmed.
        fits = [number for number in (last, last + 1) if after(number) == there]
        if not fits:
            heads = sorted(body.split(b" ", 1)[0] for body in there.values())
            sys.exit(f"{last} was confirmed, and what is there are {heads}")
        confirmed = fits[0]
    print(confirmed)


if __name__ == "__main__":
    main()
