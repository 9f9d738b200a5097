"""How one session is kept while its client is here: when it is stored, and what waits for that.

A turn is stored before its `reply_done` is sent; what comes after that waits behind it, so that
everything keeps its order. Storing takes milliseconds, and a second at most.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from pipeline.errors import StoreFailed
from pipeline.events import ReplyDone, ReplyStarted, ToolCalled, UserTranscript

from .keeping import Keeping, Lease
from .kept import Kept
from .messages import Cleared, Configured, Event, ItemAdded, Warned
from .writing import Fate

HEARD_EVERY_S = 2.0
"""How often, in a long reply, it is stored how far it was heard."""
NOT_SAVED = StoreFailed("what is said cannot be saved at present; the conversation goes on")


@dataclass(frozen=True, slots=True)
class Stored:
    """In the inbox: how the saving went that was asked for first."""

    fate: Fate


@dataclass(frozen=True, slots=True)
class Lost:
    """In the inbox, once: another server has the session by now, or it was forgotten."""


@dataclass(frozen=True, slots=True)
class Reached:
    """In the inbox: the client has what the welcome said."""


class Saving:
    """One session's way into the store, between it and its client."""

    def __init__(
        self,
        keeping: Keeping,
        lease: Lease,
        send: Callable[[Event], None],
        post: Callable[[Stored | Lost], None],
        now: Callable[[], Kept],
        clock: Callable[[], float],
    ) -> None:
        """`post` puts what becomes of a save into the inbox; `now`: the session as it is."""
        self._keeping = keeping
        self.lease = lease
        self._send = send
        self._post = post
        self._now = now
        self._clock = clock
        self._held: list[Event] = []
        """Behind a `ReplyDone` that waits for its turn to be stored."""
        self._saved_at = clock()
        self._warned = False
        self._lost = False

    @property
    def holds(self) -> bool:
        """Something waits to be sent until it is stored."""
        return bool(self._held)

    def send(self, event: Event) -> None:
        """Send it, and store what it tells, before or behind it."""
        match event:
            case ReplyDone():
                self._held.append(event)
                self._save(told=True)
            case _ if self._held:
                self._held.append(event)
            case _:
                self._send(event)
                if _worth_storing(event):
                    self._save()

    def heard(self) -> None:
        """The client has told how far it has played."""
        if self._clock() - self._saved_at >= HEARD_EVERY_S:
            self._save()

    def hear(self, message: Stored | Reached) -> None:
        """One of its own, out of the inbox."""
        match message:
            case Stored(fate):
                self._stored(fate)
            case Reached():
                self._reached()

    def _stored(self, fate: Fate) -> None:
        """The reply at the head of what waits was stored, or cannot be."""
        saved = fate == "saved"
        done = self._held.pop(0)
        assert isinstance(done, ReplyDone)
        self._send(replace(done, saved=saved))
        if fate == "failed" and not self._warned:
            self._send(Warned(NOT_SAVED))
        self._warned = not saved
        worth = False
        while self._held and not isinstance(self._held[0], ReplyDone):
            worth |= _worth_storing(self._held[0])
            self._send(self._held.pop(0))
        if worth:
            self._save()

    def _reached(self) -> None:
        """The client has its token: the one it came with is void."""
        if len(self.lease.tokens) > 1:
            self.lease = self._keeping.reached(self.lease)
            self._save()

    def begin(self) -> None:
        """Store that it is here."""
        self._save()

    def leave(self, *, for_good: bool) -> None:
        """The client is gone; unless for good, it may come back."""
        leave = self._keeping.end if for_good else self._keeping.park
        leave(self.lease, self._now())
        del self._now  # nobody asks again, and it would keep its session

    def _save(self, *, told: bool = False) -> None:
        """`told`: a reply waits for it."""
        self._saved_at = self._clock()
        self._keeping.save(self.lease, self._now(), self._told if told else self._watch)

    def _told(self, fate: Fate) -> None:
        self._post(Stored(fate))
        self._watch(fate)

    def _watch(self, fate: Fate) -> None:
        if fate == "taken" and not self._lost:
            self._lost = True
            self._keeping.lose(self.lease)
            self._post(Lost())


def _worth_storing(event: Event) -> bool:
    match event:
        case UserTranscript(final=final):
            return final
        case ReplyStarted() | ToolCalled() | ItemAdded() | Cleared() | Configured():
            return True
        case _:
            return False
