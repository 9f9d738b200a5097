"""TaskGroup: asyncio's, which keeps nothing of what it raised."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from types import TracebackType

from .errors import first_error


class TaskGroup(asyncio.TaskGroup):
    """For what comes and goes all day: a session, a reply, a request.

    The one of asyncio keeps the task that it was in, which keeps the error that it was cancelled
    with, whose traceback keeps the frame with the group; and until Python 3.13 that error too. So
    whatever is cancelled, which is how most of these end, would stay in memory with all that its
    frames hold until the collector comes by.
    """

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await super().__aexit__(kind, error, traceback)
        except (asyncio.CancelledError, BaseExceptionGroup) as raised:
            error = traceback = None  # this frame is in the traceback too
            raised.__traceback__ = None
            raise
        finally:
            self._parent_task = None  # it has no more to do with us


async def unwrapped(work: Awaitable[None]) -> None:
    """Await what has a group in it; what that failed of is raised without the group.

    The group is left behind first: as the error's context it would hold the error that holds it.
    """
    try:
        await work
        return
    except ExceptionGroup as group:
        error = first_error(group)
    try:
        raise error
    finally:
        del error
