"""Session: one person's conversation, and the single writer of its state.

One inbox; one task reads it and hands each message to the room where it belongs: `turns` (who
speaks, and what follows), `orders` (the client's commands), `patience` (nothing has happened for
too long). What they have to say goes through `telling`. Commands come from the client's codec,
everything else from the session's own stages. Audio goes past the inbox, into the ring of
`pipeline.listening`; so do the frames heard of it, while nothing else is to be done.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import cached_property

from pipeline.engines.ports import OpensRecognisers
from pipeline.errors import AntiphonError, BadAudio, Replaced, SttFailed
from pipeline.errors import GoingAway as ServerGoingAway
from pipeline.events import Failed
from pipeline.manager import SpeechPipelineManager
from pipeline.pool import ResourcePool
from pipeline.signals import Greet, Heard
from pipeline.vad import VadBatcher

from .alarm import Alarm
from .budgets import Budget
from .choices import Choices, Speaks, itself
from .conversation import Conversation
from .inbox import Inbox
from .keeping import Keeping, Lease
from .kept import Kept, nothing
from .lulls import Lulls
from .mail import Broken, End, Mail, deliver
from .messages import (
    AudioCleared,
    Bye,
    Closing,
    Command,
    Event,
    GoingAway,
    PlaybackReport,
    Settings,
    Welcome,
)
from .orders import Order, Orders
from .patience import Patience
from .portrait import Portrait
from .prompts import Prompts
from .recorder import Recorder
from .records import Figures, Identity, SessionConfig, State, Totals
from .saving import Lost, Reached, Saving, Stored
from .shedding import Level
from .telling import Telling
from .turns import Turns

DEAF = "nobody can be heard at present: voice activity detection fails"


class Session:
    """One conversation, from `run` to its end."""

    def __init__(
        self,
        identity: Identity,
        settings: Settings,
        config: SessionConfig,
        *,
        microphone_hz: int,
        pool: ResourcePool,
        vad: VadBatcher,
        budget: Budget,
        send: Callable[[Event], None],
        peer_answers: Callable[[], Awaitable[bool]],
        load: Callable[[], Level] = lambda: Level.NOTHING,
        ears: OpensRecognisers | None = None,
        speaks: Speaks = itself,
        limits: dict[str, float] | None = None,
        keeping: Keeping | None = None,
        lease: Lease | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`keeping`: where it is kept, and by which `lease`; None: nowhere."""
        self.identity = identity
        self.connected_at = time.time()
        self.resumed = lease is not None and lease.kept is not None
        """It was somebody's before."""
        self._before = before = nothing(identity, settings)
        if lease is not None and lease.kept is not None:
            self._before = before = lease.kept
        self.conversation = Conversation(
            max_items=config.history_items,
            max_tokens=config.history_tokens,
            prefix=before.prefix,
            items=before.items,
            given=before.counter,
        )
        self._config = config
        self._limits = limits or {}
        self._clock = clock
        self._microphone_hz = microphone_hz
        self._inbox: Inbox[Mail] = Inbox()
        self._alarm = Alarm(self._inbox.wake, clock)
        self._pipeline = SpeechPipelineManager(
            identity.session, pool, vad, self._inbox.put, hear=self._judged,
            microphone_hz=microphone_hz, expects_frames=self._expects_frames,
            peer_answers=peer_answers, ears=ears,
        )  # fmt: skip
        self._recorder: Recorder | None = None
        if config.record_dir is not None:
            self._recorder = Recorder(config.record_dir, identity.session)
        self._choices = choices = Choices(settings, config, speaks)
        self._lulls = lulls = Lulls(choices, config, clock())
        self._saving: Saving | None = None
        if keeping is not None and lease is not None:
            self._saving = Saving(keeping, lease, send, self._inbox.put_one_more, self.kept, clock)
            send = self._saving.send
        self._telling = telling = Telling(
            identity.session, self.conversation, budget, lulls, send, clock, before.typed
        )
        prompts = Prompts(self.conversation, identity.session, config.reply_tokens)
        self._turns = turns = Turns(
            choices, prompts, self._pipeline, telling, lulls, load, clock, self._recorder,
            next_turn=before.next_turn, next_reply=before.next_reply,
        )  # fmt: skip
        self._orders = Orders(choices, prompts, turns, telling, clock)
        self._portrait = Portrait(
            identity, before, self.connected_at, choices, self.conversation, turns, telling
        )
        self._patience = Patience(lulls, turns, telling, self._pipeline.listening, clock)
        self._draining = False
        self._at_leisure = False
        """It converses, and its task waits for the next message."""
        self._ended = False
        self._for_good = False

    # --- from outside ----------------------------------------------------------------------------

    async def tell(self, command: Command) -> None:
        """Hand over a command; waits while the inbox is full."""
        await deliver(command, self._inbox, self._pipeline.listening)

    @cached_property
    def gone(self) -> asyncio.Event:
        """It is over, and nothing of it is in the way any more. Mostly nobody waits for that."""
        return asyncio.Event()

    async def caught_up(self) -> None:
        """Wait until the command that was told last is obeyed, and what answers it is sent: not
        while that waits behind a turn that is being stored."""
        saving = self._saving
        while not self._inbox.empty() or (saving is not None and saving.holds):
            await self._inbox.drained()

    @property
    def has_room(self) -> bool:
        """The ear keeps up with the audio."""
        return self._pipeline.listening.has_room

    async def room(self) -> None:
        """Wait until the ear has caught up with the audio, as whoever brings it must."""
        await self._pipeline.listening.room()

    def hear(self, pcm: bytes) -> None:
        """Take microphone audio. Raises `BadAudio` when it is not whole samples."""
        if len(pcm) % 2:
            raise BadAudio("a frame of 16-bit samples has an even number of bytes")
        self._pipeline.listening.feed(pcm)

    async def end(self, error: AntiphonError | None, reason: str) -> None:
        """End the session from outside (an admin, a drain, a limit)."""
        await self._inbox.put(End(error, reason))

    async def reached(self) -> None:
        """The client has the welcome, and what it says."""
        await self._inbox.put(Reached())

    async def drain(self, notice: GoingAway) -> None:
        """The server goes: tell the client, and end when no reply is under way."""
        await self._inbox.put(notice)

    @property
    def settings(self) -> Settings:
        """What the client has chosen."""
        return self._choices.settings

    @property
    def figures(self) -> Figures:
        """What it came to so far."""
        return self._telling.figures

    @property
    def muted(self) -> bool:
        """The microphone is not listened to."""
        return self._pipeline.listening.muted

    @property
    def turns(self) -> int:
        """With words, before it was resumed too."""
        return self._before.turns + self.figures.turns

    @property
    def state(self) -> State:
        """What it is doing, in the admin list's words."""
        return "closing" if self._ended else self._turns.state

    @property
    def replying(self) -> bool:
        """A reply that the client knows of is under way."""
        return self._turns.replying

    def add_to(self, totals: Totals) -> None:
        """Add what this session came to so far."""
        machine, missed_s = self._turns.machine, self._pipeline.listening.missed_s
        totals.add(self.figures, machine.speculation, machine.barge_ins, missed_s)

    # --- the loop --------------------------------------------------------------------------------

    async def run(self) -> None:
        """Converse until the client or the server ends it. Everything taken is given back."""
        if self._saving is not None:
            self._saving.begin()
        self._telling.tell(self._welcome())
        try:
            async with self._pipeline:
                try:
                    if self._config.greeting and not self.resumed:
                        self._turns.step(Greet(self._config.greeting))
                    closing = await self._converse()
                finally:  # a lost line too: a reply in its middle ends at what was heard
                    self._turns.finish()
                await self._settle()
                self._telling.tell(closing)
        finally:
            self._ended = True
            self._alarm.cancel()
            if self._recorder is not None:
                self._recorder.close()

    def leave(self) -> None:
        """It is over, and nobody is here any more: keep what may be resumed."""
        if self._saving is not None:
            self._saving.leave(for_good=self._for_good or not self._config.comes_back)
        self.gone.set()

    async def _converse(self) -> Closing:
        """Message after message, until one ends it all."""
        while not (self._draining and self._turns.at_rest):
            match await self._next():
                case None:
                    if (closing := self._patience.look_up()) is not None:
                        return closing
                case Bye():
                    self._for_good = True
                    return Closing(None, "bye")
                case End(error, reason):
                    self._for_good = error is None  # the operator's word
                    return Closing(error, reason)
                case Lost():
                    return Closing(Replaced("the session was resumed elsewhere"), "replaced")
                case Stored() | Reached() as message:
                    if self._saving is not None:
                        self._saving.hear(message)
                case GoingAway() as notice:
                    self._draining = True
                    self._telling.tell(notice)
                case AudioCleared() as cleared:
                    self._telling.tell(cleared)
                case Heard() as frame:
                    self._take(frame)
                case Broken(fault):
                    try:
                        raise fault
                    finally:
                        del fault  # its traceback has this frame, and with it the session
                case PlaybackReport() as report:
                    self._orders.obey(report)
                    if self._saving is not None:
                        self._saving.heard()
                case order if isinstance(order, Order):
                    self._orders.obey(order)
                case signal:
                    self._turns.step(signal)
        return Closing(ServerGoingAway("the server is going away"), "going away")

    async def _settle(self) -> None:
        """Let what waits to be stored be stored, and told."""
        while self._saving is not None and self._saving.holds:
            if isinstance(message := await self._inbox.get(), Stored):
                self._saving.hear(message)

    async def _next(self) -> Mail | None:
        """The next message, or None when the machine, or a lull, wants to be looked at."""
        if self._inbox.empty():
            self._set_alarm()
        self._at_leisure = True
        try:
            return await self._inbox.get()
        finally:
            self._at_leisure = False

    def _set_alarm(self) -> None:
        wake = self._turns.machine.next_wake(self._clock())
        due = self._lulls.due
        self._alarm.set(due if wake is None else min(wake, due))

    def _judged(self, frame: Heard) -> None:
        """A frame was judged. Where the task waits, and for nothing that came before, it is taken
        here: to wake the task for it, 31 times a second, costs as much as what it then does."""
        # In a drain the task looks after each step whether the session is at rest.
        if not (self._at_leisure and self._inbox.awaited) or self._draining:
            self._inbox.put_one_more(frame)
            return
        try:
            self._take(frame)
            self._set_alarm()
        except Exception as error:
            self._inbox.put_one_more(Broken(error))

    def _take(self, frame: Heard) -> None:
        self._turns.step(frame)
        self._pipeline.listening.hear_on()
        if frame.deaf:
            self._telling.tell(Failed(SttFailed(DEAF)))

    def _welcome(self) -> Welcome:
        token = self._saving.lease.token if self._saving is not None else None
        return self._portrait.welcome(
            self._microphone_hz, self._limits, token, resumed=self.resumed
        )

    def kept(self) -> Kept:
        """All that it needs to go on elsewhere, as it would be if the line were lost now."""
        return self._portrait.kept(self.turns)

    def _expects_frames(self) -> bool:
        return self._turns.machine.inside_speech
