"""What routes of speech and transcription share: who is let in, how a request is tracked, how its
failure is told, and the forms of its answer."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from pipeline.errors import AntiphonError, AtCapacity
from server.exchange import Exchange
from server.failures import failure_of, message_of
from server.gate import Visitor
from server.headers import remote_of
from server.house import House
from server.requests import Tracked, Work
from session.shedding import Level

log = structlog.get_logger(__name__)

LATER_WAITS = 10
"""Once an answer has begun, an engine is waited for so many times longer: whoever was let in is not
thrown out in the middle because others came."""

EVENTS = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-store"}
"""The head of an answer in server-sent events."""


class Endpoint:
    """One route. `answer` does a request's work; it may raise before and after the head is sent."""

    def __init__(
        self, work: Work, answer: Callable[[Exchange, House, Tracked, Visitor], Awaitable[None]]
    ) -> None:
        self._work: Work = work
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send)
        house: House = scope["app"].state.house
        try:
            # Strangers are no requests: they push nothing out of the list of the last ones.
            visitor = await house.gate.request(exchange.request)
            with house.requests.tracked(
                exchange.id, self._work, visitor.user, remote_of(exchange.request)
            ) as tracked:
                house.check_open()
                if house.load.level is Level.NEWCOMERS:
                    raise AtCapacity("the server is overloaded; try again soon", retry_after_s=5.0)
                await self._answer(exchange, house, tracked, visitor)
        except ClientDisconnect:
            return  # there is nobody to tell
        except Exception as error:
            if not exchange.started:
                raise  # and is told, and noted, where all errors are
            house.gate.tell(error, exchange.request)
            if not isinstance(error, AntiphonError):
                log.exception("request_failed", path=scope["path"])
            if not exchange.finished:
                await exchange.cut()


def event(fields: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return f"data: {json.dumps(fields, ensure_ascii=False)}\n\n".encode()


def failure_event(error: AntiphonError, request_id: str) -> bytes:
    """A failure after the head, as the last event: an error as HTTP has it."""
    row = failure_of(error)
    told = {"message": message_of(error), "type": row.kind, "code": row.code, "param": error.param}
    return event({"type": "error", "error": told, "request_id": request_id})


def timing(tracked: Tracked, *, whole: bool = False) -> dict[str, str]:
    """Headers: what is known of the waiting when the head is sent."""
    times = {"queue": tracked.queue_s, "ttfa": tracked.ttfa_s}
    if whole:
        times["total"] = tracked.elapsed_s()
    return {
        "x-queue-position": str(tracked.position or 0),
        "server-timing": ", ".join(
            f"{name};dur={1000 * seconds:.1f}"
            for name, seconds in times.items()
            if seconds is not None
        ),
    }
