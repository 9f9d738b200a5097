"""What waits to be read by a session: in order, and not more than it can hold."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from pipeline.signals import Cancel, DraftText
from session.inbox import MOST_MESSAGES, MOST_TEXT_BYTES, Inbox
from session.messages import Configure, Say


async def stand(task: asyncio.Task[None]) -> bool:
    """Whether it still waits when everything else has run."""
    for _ in range(5):
        await asyncio.sleep(0)
    return not task.done()


async def test_messages_are_read_in_the_order_they_came() -> None:
    inbox: Inbox[object] = Inbox()
    for number in range(10):
        await inbox.put(number)
    assert [await inbox.get() for _ in range(10)] == list(range(10))
    assert inbox.empty()


async def test_a_full_inbox_makes_its_senders_wait() -> None:
    inbox: Inbox[object] = Inbox()
    for _ in range(MOST_MESSAGES):
        await inbox.put(Cancel())
    sender = asyncio.ensure_future(inbox.put(Cancel()))
    assert await stand(sender)
    inbox.get_nowait()
    await sender


@pytest.mark.parametrize(
    "make", [Say, lambda text: DraftText(1, text), lambda text: Configure(None, text)]
)
async def test_text_waits_by_its_bytes_and_nothing_else_does(
    make: Callable[[str], object],
) -> None:
    inbox: Inbox[object] = Inbox()
    euros = "€" * (MOST_TEXT_BYTES // 3)  # three bytes each
    await inbox.put(make(euros))
    assert inbox.text_bytes > MOST_TEXT_BYTES - 3
    sender = asyncio.ensure_future(inbox.put(make("more")))
    assert await stand(sender)
    await inbox.put(Cancel())
    await inbox.get()
    await sender
    assert inbox.text_bytes == 4


async def test_a_text_larger_than_the_inbox_goes_alone() -> None:
    inbox: Inbox[object] = Inbox()
    await inbox.put(Say("x" * (2 * MOST_TEXT_BYTES)))
    sender = asyncio.ensure_future(inbox.put(Say("y" * (2 * MOST_TEXT_BYTES))))
    assert await stand(sender)
    await inbox.get()
    await sender
    await inbox.get()
    assert inbox.text_bytes == 0


async def test_a_sender_that_gives_up_leaves_nothing() -> None:
    inbox: Inbox[object] = Inbox()
    for _ in range(MOST_MESSAGES):
        await inbox.put(Cancel())
    sender = asyncio.ensure_future(inbox.put(Say("never mind")))
    assert await stand(sender)
    sender.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sender
    assert inbox.text_bytes == 0


async def test_a_sender_can_wait_until_all_was_read() -> None:
    inbox: Inbox[object] = Inbox()
    for number in range(2):
        await inbox.put(number)
    waiting = asyncio.ensure_future(inbox.drained())
    for left in (1, 0):
        assert await stand(waiting), f"{left + 1} of them wait"
        await inbox.get()
    await waiting
