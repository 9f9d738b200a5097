"""What must be as before when a fault is over: what a process holds, and what a house holds."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from pipeline.pool import Slot
from server.house import House
from server.outbox import Outbox
from session.session import Session

SETTLE_S = 8.0
"""What a fault left under way may take so long to end."""


async def settled(look: Callable[[], str], within_s: float = SETTLE_S) -> None:
    """Wait until `look` finds nothing more to say; an AssertionError with its words, if ever."""
    until = time.monotonic() + within_s
    while wrong := look():
        assert time.monotonic() < until, wrong
        await asyncio.sleep(0.02)


@dataclass(frozen=True)
class Held:
    """What this process holds of the things that leak."""

    tasks: frozenset[asyncio.Task[object]]
    threads: frozenset[threading.Thread]
    children: frozenset[str]
    fds: tuple[str, ...]

    @classmethod
    def now(cls) -> Held:
        return cls(
            frozenset(asyncio.all_tasks()),
            # The loop's own helpers (`to_thread`) stay, and are bounded.
            frozenset(t for t in threading.enumerate() if not t.name.startswith("asyncio_")),
            frozenset(_children()),
            tuple(_fds()),
        )

    def more_than(self, before: Held, *, hung: int = 0) -> str:
        """What is held now and was not before, in words.

        Each of the `hung` engine calls has the task in which it runs, and nothing else.
        """
        tasks = self.tasks - before.tasks
        tasks -= {*[task for task in tasks if _is_engine_call(task)][:hung]}
        lines = [f"task {task.get_coro()}" for task in tasks]
        lines += [f"thread {thread.name}" for thread in self.threads - before.threads]
        lines += [f"child {pid}" for pid in self.children - before.children]
        if len(self.fds) > len(before.fds):
            lines.append(f"{len(self.fds)} fds: {self.fds}; before: {before.fds}")
        return "; ".join(lines)


def _is_engine_call(task: asyncio.Task[object]) -> bool:
    return getattr(task.get_coro(), "__qualname__", "") == Slot._run.__qualname__


def left_in(house: House, *, hung: int = 0) -> str:
    """What a house that nobody talks to still holds, in words; "" when it is at rest.

    So many engine calls are `hung`, and have not left.
    """
    lines = []
    if len(house.sessions):
        lines.append(f"{len(house.sessions)} sessions")
    if house.sessions.admission.waiting:
        lines.append(f"{house.sessions.admission.waiting} in the waiting room")
    if house.requests.active:
        lines.append(f"{house.requests.active} requests")
    if house.scratch.bytes:
        lines.append(f"{house.scratch.bytes} bytes of files")
    for name, state in house.pool.status().items():
        for what in ("claimed", "busy", "waiting"):
            count = getattr(state, what)
            lines += [f"{name}: {count} {what}"] if count else []
    for station in house.pool._stations.values():
        owners = [*station.claims, *station.queue._at_engines]
        lines += [f"{station.kind.name}: held by {owner}" for owner in owners]
    stopping = sum(state.stopping for state in house.pool.status().values())
    if stopping != hung:
        lines.append(f"{stopping} engine calls stopping, not {hung}")
    return "; ".join(lines)


def alive() -> dict[int, str]:
    """Sessions, boxes with anything in them, busy connections: what something still refers to, by
    id."""
    gc.collect()
    found = {}
    for thing in gc.get_objects():
        # By its type alone: `isinstance` asks proxies what they are, and some answer.
        kind = type(thing)
        if kind is Outbox and thing.held_bytes:
            found[id(thing)] = f"{thing.held_bytes} bytes in an outbox"
        elif kind is Session:
            found[id(thing)] = f"session {thing.identity.session}"
        elif kind is httpx.AsyncClient and not thing.is_closed:
            pool = thing._transport._pool  # type: ignore[attr-defined]
            busy = [connection for connection in pool.connections if not connection.is_idle()]
            found.update({id(connection): repr(connection) for connection in busy})
    return found


def left_alive(before: dict[int, str]) -> str:
    """What is alive and was not before, in words. (A failed test's traceback keeps its own.)"""
    return "; ".join(words for thing, words in alive().items() if thing not in before)


def _children() -> list[str]:
    pids = []
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
            pids += (task / "children").read_text().split()
    return pids


def _fds() -> list[str]:
    targets = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            targets.append(str(link.readlink()))
        except OSError:  # the one that we list with
            continue
    return sorted(targets)
