"""A gateway that claims sessions, writes them and lets go of them, at random, and says so.

    python claimant.py URL NAME SKEW_S [SABOTAGE]

A line of JSON before each call and one after it, with the time of a clock that all processes
share. `SABOTAGE` breaks a rule of the leases: "lease" (others' are not respected), "fence" (late
writes are taken).
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import sys
import time

LEASE_S = 0.3
SESSIONS = ("s_1", "s_2", "s_3")


def broken(how: str) -> None:
    from session import redis_scripts as scripts

    if how == "lease":
        scripts.TAKE = scripts.TAKE.replace("and leased > now then", "and false then")
    elif how == "fence":
        scripts.SAVE = scripts.SAVE.replace("if last > fence", "if false")
        scripts.SAVE = scripts.SAVE.replace("(last == fence and", "(false and")


async def main(url: str, me: str, skew_s: float) -> None:
    from pipeline.errors import StoreFailed
    from session.redis_store import RedisStore
    from session.redis_url import client
    from session.store import Record, Taken

    numbers = itertools.count()

    def say(**told: object) -> None:
        print(json.dumps(told), flush=True)

    async with client(url, answer_s=30.0) as redis:
        store = RedisStore(
            redis, me, 600.0, clock=lambda: time.time() + skew_s, lease_s=LEASE_S
        )  # fmt: skip

        async def called(kind: str, session: str, fence: int, body: str) -> bool:
            number = next(numbers)
            say(n=number, kind=kind, session=session, fence=fence, body=body, at=time.monotonic())
            done, got = True, fence
            try:
                if kind == "claim":
                    record = await store.take(
                        session, b"token", None, time.time() + skew_s, b"token"
                    )
                    done = record is not None
                    body = record.body.decode() if record else ""
                    got = store._fences.get(session, 0)
                elif kind == "renew":
                    lost = await store.renew()
                    # Another session's renewal may have been told before that this one is lost.
                    done = session not in lost and store._fences.get(session) == fence
                else:
                    until = time.time() + skew_s + 600 if kind == "park" else None
                    await store.save(Record(session, None, (b"token",), until, body.encode()))
            except Taken:
                done = False
            except StoreFailed:
                done = False
            say(n=number, done=done, fence=got, body=body, at=time.monotonic())
            return done

        async def lives(session: str) -> None:
            while True:
                if await called("claim", session, 0, ""):
                    fence = store._fences[session]
                    for _ in range(random.randrange(12)):
                        kind = random.choice(["save", "save", "renew"])
                        if not await called(kind, session, fence, f"{me}-{next(numbers)}"):
                            break
                        await asyncio.sleep(random.uniform(0, 0.1))
                    else:
                        if random.random() < 0.7:
                            await called("park", session, fence, f"{me}-{next(numbers)}")
                        else:
                            store._fences.pop(session, None)  # as one that forgot to let go
                await asyncio.sleep(random.uniform(0, 0.05))

        await asyncio.gather(*(lives(session) for session in SESSIONS))


if __name__ == "__main__":
    if len(sys.argv) > 4:
        broken(sys.argv[4])
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
