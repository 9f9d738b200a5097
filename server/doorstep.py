"""The doorstep: where a native client stands whose hello decides whether it may come in: by its
token, or, where there is no room for newcomers, by the session that it comes back to.

It takes no place in the house or in the waiting room: strangers cannot fill those.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from pipeline.errors import AtCapacity, BadMessage, Unauthorized
from pipeline.events import Failed
from server.connection import Connection
from server.gate import Gate, Visitor
from server.intake import Intake
from server.lobby import Left
from server.wire import native
from session.keeping import Keeping, session_of
from session.messages import Bye

if TYPE_CHECKING:
    from server.house import House

TOKEN_S = 5.0
"""A hello with its token comes within this."""
RETURN_S = 1.0
"""Where there is no room for newcomers, who comes back says so within this; a hello that follows
the handshake at once takes a round trip. Who says nothing is refused then."""
COUNTED_S = 4.0
"""A session whose gateway died counts no longer after this: `PLACE_S` of `session/ledger.py`."""
MOST = 256
"""Clients on the doorstep at once."""


class Doorstep:
    """How many stand there."""

    def __init__(self) -> None:
        self._here = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Stand there, for as long as the scope. Raises `AtCapacity`."""
        if self._here >= MOST:
            raise AtCapacity("too many come in at once", retry_after_s=TOKEN_S)
        self._here += 1
        try:
            yield
        finally:
            self._here -= 1


async def meet(
    connection: Connection, intake: Intake, gate: Gate, keeping: Keeping | None
) -> tuple[str, Visitor]:
    """A hello with a good token, as it came, and whose it is. A token for a single session is good
    again beside the resume token of a session that is kept for its user.

    Raises `Unauthorized` and `KeysUnreachable`, and `Left`, `Fatal` and `WebSocketDisconnect` as
    the lobby does.
    """
    try:
        async with asyncio.timeout(TOKEN_S):
            text = await _hello(connection, intake)
    except TimeoutError:
        raise Unauthorized("no hello with a token came", "token_missing") from None
    if text is None:
        raise Unauthorized("a hello with a token comes before any audio", "token_missing")
    hello = _read(text)

    async def comes_again(user: str | None) -> bool:
        resume = hello.resume
        return keeping is not None and resume is not None and await keeping.knows(resume, user)

    return text, await gate.show_again(hello.token or "", comes_again)


async def comes_back(
    connection: Connection, intake: Intake, house: House, visitor: Visitor, said: str | None
) -> tuple[str | None, bool]:
    """The hello, as it came, and whether it resumes a session; None if there was none in time. A
    connection that has that session yet makes way.

    `said`: a hello that came already. Raises `Left`, `Fatal` and `WebSocketDisconnect` as the lobby
    does.
    """
    if said is None:
        with suppress(TimeoutError):
            async with asyncio.timeout(RETURN_S):
                said = await _hello(connection, intake)
    token = _read(said).resume if said is not None else None
    if token is None or not await house.sessions.returns(token, visitor.user):
        return said, False
    await _make_way(house, token, visitor)
    return said, True


async def room_for(house: House, visitor: Visitor) -> bool:
    """Whether nobody has to wait or go for this one: there is a place, and one among those that its
    user may have, here and at all gateways."""
    return house.sessions.admission.has_room and await _may_have_one_more(house, visitor)


async def _may_have_one_more(house: House, visitor: Visitor) -> bool:
    user, allowance = visitor.user, visitor.allowance
    if user is None or allowance is None:
        return True
    if not house.budgets.has_room(user, allowance):
        return False
    return house.fellows is None or await house.fellows.ledger.has_room(user, allowance.sessions)


async def _make_way(house: House, token: str, visitor: Visitor) -> None:
    """A connection that has this token's session yet ends, so that whoever comes back with it is
    not one too many."""
    await house.sessions.make_way_for(token, visitor.user)
    if house.fellows is not None:
        await house.fellows.let_go(session_of(token))
    until = asyncio.get_running_loop().time() + COUNTED_S
    while not await _may_have_one_more(house, visitor):
        if asyncio.get_running_loop().time() > until:  # they are others, that stay
            return
        await asyncio.sleep(0.05)


async def _hello(connection: Connection, intake: Intake) -> str | None:
    """The first hello that is of the form; None if audio comes before it."""
    while True:
        text, data = await connection.receive()
        if data is not None:
            intake.check_frame(data)
            if data:
                return None
        if text is None:
            continue
        intake.check_text()
        try:
            _read(text)
        except BadMessage as error:
            await connection.send(Failed(error, ref=native.ref_of(text)))
            intake.note_mistake()
            continue
        return text


def _read(text: str) -> native.Hello:
    """Raises `BadMessage` for what is no hello, `Left` for a `bye`."""
    message = native.decode(text)
    if isinstance(message, Bye):
        raise Left(1000, "bye")
    if not isinstance(message, native.Hello):
        raise BadMessage("say hello first")
    return message
