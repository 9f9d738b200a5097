"""Session: one person's conversation, and the single writer of its state.

One inbox; one task reads it, steps the turn machine, and carries out what follows. Commands come
from the client's codec, everything else from the session's own stages. Audio goes past the inbox,
into the ring of `pipeline.listening`.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, replace

import structlog

from pipeline.edges import ON
from pipeline.engines.ports import Prompt
from pipeline.errors import (
    AntiphonError,
    BadAudio,
    BadMessage,
    NoReplyUnderWay,
    NoSuchItem,
    PoolTimeout,
    RateLimited,
    ReplyUnderWay,
)
from pipeline.errors import GoingAway as ServerGoingAway
from pipeline.events import Failed, ReplyAudio, ReplyDone, ReplyStarted, UserTranscript
from pipeline.manager import SpeechPipelineManager
from pipeline.pool import ResourcePool
from pipeline.recording import RecordedMachine
from pipeline.signals import (
    Ask,
    Cancel,
    Confirm,
    Draft,
    DraftMade,
    Drop,
    DropTurn,
    Effect,
    EndTurn,
    Forget,
    Greet,
    Heard,
    Look,
    Played,
    SaidNothing,
    Send,
    Typed,
)
from pipeline.signals import Event as TurnSignal
from pipeline.turn import MOST_ASKS, PARTIAL_EVERY, Phase, TurnConfig, TurnMachine
from pipeline.utterance import SPEECH_HZ
from pipeline.vad import VadBatcher
from pipeline.voicing import REPLY_HZ, VoiceChoice

from .alarm import Alarm
from .apologies import apology_for
from .budgets import Budget
from .conversation import Conversation, Item, tokens, turn_item
from .editing import edit
from .health import Progress
from .inbox import Inbox
from .messages import (
    AudioCleared,
    Bye,
    CancelReply,
    Clear,
    ClearAudio,
    Cleared,
    Closing,
    Command,
    Commit,
    Configure,
    Configured,
    DeleteItem,
    Edit,
    Event,
    GoingAway,
    InsertItem,
    Mute,
    PlaybackReport,
    Respond,
    RetrieveItem,
    Say,
    Settings,
    TimedOut,
    ToolResult,
    TruncateItem,
    Unmute,
    Welcome,
)
from .prompts import Prompts
from .recorder import Recorder
from .records import Figures, Identity, SessionConfig, State, Totals
from .shedding import Level
from .silence import Silence

THIN = 3
"""Under load, transcripts so far come so many times less often."""
REFS = 64
"""Typed turns whose ids are remembered, so that one sent again is not answered twice."""


@dataclass(frozen=True, slots=True)
class _End:
    """Put in the inbox from outside: the session ends for this reason."""

    error: AntiphonError | None
    reason: str


_Message = (
    Configure
    | Say
    | Mute
    | Unmute
    | CancelReply
    | Respond
    | ToolResult
    | Edit
    | AudioCleared
    | Clear
    | PlaybackReport
    | Bye
    | TurnSignal
    | GoingAway
    | _End
)
"""What the inbox carries. A `Commit` comes in as the `EndTurn` that `tell` makes of it, and a
`ClearAudio` as a `DropTurn`."""


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
        limits: dict[str, float] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.identity = identity
        self.settings = settings
        self.connected_at = time.time()
        self.figures = Figures()
        self.muted = False
        self._config = config
        self._limits = limits or {}
        self._budget = budget
        self._load = load
        self._left_off = load()
        self._send_out = send
        self._clock = clock
        self._microphone_hz = microphone_hz
        self._inbox: Inbox[_Message] = Inbox()
        self._alarm = Alarm(self._inbox.wake, clock)
        self._conversation = Conversation(
            max_items=config.history_items,
            max_tokens=config.history_tokens,
            prefix=f"item_{secrets.token_hex(5)}_",
        )
        self._prompts = Prompts(self._conversation, identity.session, config.reply_tokens)
        self._recorder: Recorder | None = None
        self._machine = self._new_machine()
        self._pipeline = SpeechPipelineManager(
            identity.session, pool, vad, self._inbox.put, hear=self._inbox.put_one_more,
            microphone_hz=microphone_hz, expects_frames=self._expects_frames,
            peer_answers=peer_answers,
        )  # fmt: skip
        self._answered: OrderedDict[str, int] = OrderedDict()
        self._silence = Silence()
        self._asked: dict[int, Respond] = {}
        """Replies that the client asked for and that are not begun yet, by its numbers."""
        self._prompt_tokens = 0
        """Of the reply begun last."""
        self._draining = False
        self._ended = False
        self._active_at = clock()
        self._progress = Progress(config.stuck_s)
        self._log = structlog.get_logger(__name__).bind(session=identity.session)

    # --- from outside ----------------------------------------------------------------------------

    async def tell(self, command: Command) -> None:
        """Hand over a command; waits while the inbox is full."""
        # The end of a turn is where the audio stands now, not when its turn in the inbox comes.
        at = self._pipeline.listening.received_to
        match command:
            case Commit(must, ref):
                await self._inbox.put(EndTurn(at, must=must, ref=ref))
            case ClearAudio():
                await self._inbox.put(DropTurn(self._pipeline.listening.settle()))
                await self._inbox.put(AudioCleared())
            case Mute():
                await self._inbox.put(command)
                await self._inbox.put(EndTurn(at, if_any=True))
            case _:
                await self._inbox.put(command)

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
        await self._inbox.put(_End(error, reason))

    async def drain(self, notice: GoingAway) -> None:
        """The server goes: tell the client, and end when no reply is under way."""
        await self._inbox.put(notice)

    @property
    def state(self) -> State:
        """What it is doing, in the admin list's words."""
        if self._ended:
            return "closing"
        reply = self._machine.replies.current
        if reply is not None:
            return "speaking" if reply.playback.sent else "thinking"
        return "thinking" if self._machine.phase is Phase.COMMITTED else "listening"

    @property
    def replying(self) -> bool:
        """A reply that the client knows of is under way."""
        return self._machine.replies.started is not None

    def add_to(self, totals: Totals) -> None:
        """Add what this session came to so far."""
        machine, missed_s = self._machine, self._pipeline.listening.missed_s
        totals.add(self.figures, machine.speculation, machine.barge_ins, missed_s)

    @property
    def conversation(self) -> Conversation:
        return self._conversation

    # --- the loop --------------------------------------------------------------------------------

    async def run(self) -> None:
        """Converse until the client or the server ends it. Everything taken is given back."""
        self._send(self._welcome())
        try:
            async with self._pipeline:
                if self._config.greeting:
                    self._step(Greet(self._config.greeting))
                await self._converse()
        finally:
            self._ended = True
            self._alarm.cancel()
            if self._recorder is not None:
                self._recorder.close()

    async def _converse(self) -> None:
        while True:
            if self._draining and self._machine.replies.current is None:
                self._send(Closing(ServerGoingAway("the server is going away"), "going away"))
                return
            match await self._next():
                case None:
                    self._step(None)
                    self._note_silence()
                    if self._idle_for() >= self._config.idle_s:
                        self._send(Closing(None, "idle"))
                        return
                    if self._progress.stuck(self._clock()) and not self._get_unstuck():
                        return
                case Bye():
                    self._finish_reply()
                    self._send(Closing(None, "bye"))
                    return
                case _End(error, reason):
                    self._finish_reply()
                    self._send(Closing(error, reason))
                    return
                case GoingAway() as notice:
                    self._draining = True
                    self._send(notice)
                case Configure() as change:
                    self._configure(change)
                case Say() as typed:
                    self._say(typed)
                case Clear():
                    self._step(Forget())
                    self._conversation.clear()
                    self._asked.clear()
                    self._send(Cleared())
                case Mute():
                    self.muted = True
                case Unmute():
                    self.muted = False
                case CancelReply(must, ref):
                    if must and not self._machine.cancellable:
                        error = NoReplyUnderWay("there is no reply to cancel")
                        self._send(Failed(error, ref=ref))
                    self._step(Cancel())
                case Respond() as wanted:
                    self._respond(wanted)
                case ToolResult() as result:
                    self._take_result(result)
                case InsertItem() | DeleteItem() | TruncateItem() | RetrieveItem() as edit:
                    self._edit(edit)
                case AudioCleared() as cleared:
                    self._send(cleared)
                case PlaybackReport(reply, played_ms, done):
                    self._step(Played(reply, played_ms, done))
                case Heard() as frame:
                    self._step(frame)
                    self._pipeline.listening.hear_on()
                case signal:
                    self._step(signal)

    async def _next(self) -> _Message | None:
        """The next message, or None when the machine, or the idle clock, wants to be woken."""
        if self._inbox.empty():
            now = self._clock()
            idle = self._active_at + self._config.idle_s
            wakes = (self._machine.next_wake(now), self._progress.due, idle, self._silence.due)
            self._alarm.set(min(at for at in wakes if at is not None))
        return await self._inbox.get()

    def _step(self, signal: TurnSignal | None) -> None:
        now = self._clock()
        if (level := self._load()) is not self._left_off:
            self._left_off = level
            self._carry_out(self._machine.reconfigure(self._turn_config(), now))
        self._carry_out(self._machine.step(signal, now))
        if self._machine.busy or (isinstance(signal, Heard) and signal.probability >= ON):
            self._active_at = now
        self._progress.note(self._machine.progress, now)

    def _carry_out(self, effects: list[Effect]) -> None:
        refused: list[DraftMade] = []
        for effect in effects:
            match effect:
                case Look():
                    self._pipeline.look(effect, self._language())
                case Draft():
                    try:
                        self._draft(effect)
                    except (RateLimited, NoSuchItem) as error:
                        refused.append(DraftMade(effect.draft, error))
                case Confirm(draft):
                    self._pipeline.confirm(draft)
                case Drop(draft):
                    self._pipeline.drop(draft)
                case Send(draft, reply, start, end):
                    pcm = self._pipeline.audio(draft, start, end)
                    self._send(ReplyAudio(reply, start, pcm))
                case UserTranscript(turn, text, final=False):
                    self._send(effect)
                    self._pipeline.prepare(self._prompt(turn, text))
                case ReplyDone():
                    self._send(effect)
                    # Up to where the next turn's words, whatever they are, will stand.
                    self._pipeline.prepare(self._prompt(self._machine.next_turn, "..."))
                case _:
                    self._send(effect)
        for nothing in refused:
            self._step(nothing)

    def _draft(self, draft: Draft) -> None:
        """Begin to make a reply. Raises `RateLimited` for a turn too many, and `NoSuchItem` when
        what it was to answer is gone."""
        asked = self._asked.pop(draft.ask, None)
        if draft.turn or asked:  # a greeting answers none
            self._budget.check_turn(self._clock())
        if asked is None:
            prompt, voice = self._prompt(draft.turn, draft.text), self._voice()
        else:
            prompt = self._prompts.of_request(self.settings, asked)
            voice = self._voice(asked.voice)
        self._prompt_tokens = sum(tokens(message.content) for message in prompt.messages)
        apology = "" if draft.silent else self._apology()
        self._pipeline.draft(draft, prompt, voice, apology)

    def _send(self, event: Event) -> None:
        """Tell the client. The history is a projection of what it was told."""
        self._silence.note(event, self._clock(), self.settings.idle_timeout_ms / 1000)
        if isinstance(event, ReplyStarted) and (event.turn or event.ask):
            self._budget.spend_turn()  # only now: speculation that came to nothing costs nothing
        if isinstance(event, ReplyDone):
            size = tokens(event.text) if event.text else 0
            event = replace(event, prompt_tokens=self._prompt_tokens, reply_tokens=size)
        if (added := self._conversation.note(event)) is not None:
            self._send_out(added)
        self.figures.note(event)
        self._log_event(event)
        self._send_out(event)

    # --- commands --------------------------------------------------------------------------------

    def _say(self, typed: Say) -> None:
        if typed.ref is not None and (turn := self._answered.get(typed.ref)) is not None:
            # Told again, not said again.
            self._send_out(UserTranscript(turn, typed.text, final=True, ref=typed.ref))
            return
        try:
            self._budget.check_turn(self._clock())
        except RateLimited as error:
            self._send(Failed(error, ref=typed.ref))
            return
        if typed.ref is not None:
            while len(self._answered) >= REFS:
                self._answered.popitem(last=False)
            self._answered[typed.ref] = self._machine.next_turn
        self._step(Typed(typed.text, typed.ref))

    def _respond(self, wanted: Respond) -> None:
        """The client asks for a reply."""
        try:
            if not wanted.aside and self._machine.answering:
                raise ReplyUnderWay("a reply is under way: cancel it, or wait for its end")
            if self._machine.asked >= MOST_ASKS:
                raise RateLimited(f"{MOST_ASKS} replies wait already: at most so many may")
            self._budget.check_turn(self._clock())
            self._prompts.items_of(wanted)
        except (ReplyUnderWay, RateLimited, NoSuchItem) as error:
            self._send(Failed(error, ref=wanted.ref, ask=wanted.ask))
            return
        self._asked[wanted.ask] = wanted
        silent = (wanted.modality or self.settings.modality) == "text"
        self._step(Ask(wanted.ask, aside=wanted.aside, silent=silent))

    def _take_result(self, result: ToolResult) -> None:
        """A tool has answered: when it is the last that a reply waits for, the turn goes on."""
        call = self._conversation.call(result.call)
        try:
            if call is None:
                raise NoSuchItem(f"no tool was called by the id {result.call!r}")
            if result.call not in self._conversation.open_calls(call.reply):
                raise BadMessage(f"the call {result.call!r} was answered already")
        except (NoSuchItem, BadMessage) as error:
            self._send(Failed(error, ref=result.ref))
            return
        answer = Item("", "tool", result.output, call.turn, call=result.call)
        self._send(self._conversation.insert(answer))
        if not self._conversation.open_calls(call.reply):
            silent = self.settings.modality == "text"
            self._step(Ask(0, call.turn, waits=True, silent=silent))

    def _edit(self, command: Edit) -> None:
        """The client changes the history, or looks at it."""
        try:
            self._send(edit(self._conversation, command))
        except (BadMessage, NoSuchItem) as error:
            self._send(Failed(error, ref=command.ref))

    def _configure(self, change: Configure) -> None:
        chosen = {
            name: value
            for name in change.__dataclass_fields__
            if (value := getattr(change, name)) is not None
        }
        self.settings = replace(self.settings, **chosen)
        self._carry_out(self._machine.reconfigure(self._turn_config(), self._clock()))
        self._send(Configured(self.settings))

    def _note_silence(self) -> None:
        """Nobody has answered a reply for as long as the client would wait."""
        since = self._silence.over(self._clock())
        if since is None or self._machine.busy:
            return
        now_ms = self._pipeline.listening.received_to * 1000 // SPEECH_HZ
        item = turn_item(self._conversation.prefix, self._machine.next_turn)
        silent_ms = round((self._clock() - since) * 1000)
        self._send(TimedOut(item, max(0, now_ms - silent_ms), now_ms))
        self._step(SaidNothing())

    def _finish_reply(self) -> None:
        """The session is ended from outside: a reply in its middle ends at what was heard."""
        self._carry_out(list(self._machine.replies.interrupt(self._clock())))

    def _get_unstuck(self) -> bool:
        """Give up a reply that does not get on; False, and the session is over, without one."""
        waited_s = round(self._config.stuck_s)
        reply = self._machine.replies.current
        if reply is None:  # no engine is waited for: a fault of ours
            self._log.error("session_stuck", phase=self._machine.phase.value)
            self._send(Closing(AntiphonError("the conversation got stuck"), "stuck"))
            return False
        self._log.warning("reply_stuck", turn=reply.turn, reply=reply.number)
        error = PoolTimeout(f"nothing has come of the reply for {waited_s} s")
        self._send(Failed(error, turn=reply.turn or None, reply=reply.number))
        self._step(Cancel())
        return True

    def _welcome(self) -> Welcome:
        return Welcome(
            self.identity.session,
            self.settings,
            self._machine.next_turn,
            self._machine.replies.next_reply,
            self._microphone_hz,
            REPLY_HZ,
            self._limits,
            self._conversation.prefix,
        )

    # --- what the stages need --------------------------------------------------------------------

    def _new_machine(self) -> TurnMachine:
        if self._config.record_dir is None:
            return TurnMachine(self._turn_config())
        self._recorder = Recorder(self._config.record_dir, self.identity.session)
        return RecordedMachine(self._turn_config(), self._recorder.write)

    def _turn_config(self) -> TurnConfig:
        thin = self._left_off >= Level.PARTIALS
        return TurnConfig(
            REPLY_HZ,
            self._config.send_ahead_s,
            self.settings.pace,
            self.settings.detection,
            speculate=self._left_off < Level.SPECULATION,
            partial_every=THIN * PARTIAL_EVERY if thin else PARTIAL_EVERY,
            answers=self.settings.answers,
            interrupts=self.settings.interrupts,
            holds=self._config.holds,
            follows_playback=self._config.follows_playback,
            silent=self.settings.modality == "text",
            silence_s=self.settings.silence_ms / 1000 or None,
            threshold=self.settings.threshold,
            preroll=self.settings.preroll_ms * SPEECH_HZ // 1000,
        )

    def _expects_frames(self) -> bool:
        return self._machine.inside_speech and not self.muted

    def _language(self) -> str | None:
        language = self.settings.language
        return language.lower().split("-")[0] if language else None

    def _apology(self) -> str:
        return apology_for(self._config.apologies, self.settings.language)

    def _voice(self, voice: str | None = None) -> VoiceChoice:
        return VoiceChoice(voice or self.settings.voice, self.settings.speed)

    def _prompt(self, turn: int = 0, text: str = "") -> Prompt:
        """What was said so far, and the words of a turn that may not be in it yet."""
        return self._prompts.of_turn(self.settings, turn, text)

    def _idle_for(self) -> float:
        return self._clock() - self._active_at

    def _log_event(self, event: Event) -> None:
        match event:
            case UserTranscript(turn=turn, final=True, discarded=discarded):
                self._log.info("turn_committed", turn=turn, discarded=discarded)
            case ReplyStarted(reply, turn):
                self._log.info("reply_started", turn=turn, reply=reply)
            case ReplyDone() as done:
                self._log.info(
                    "reply_done", turn=done.turn, reply=done.reply, status=done.status,
                    spoken=done.spoken, latency_ms=done.latency.total if done.latency else None,
                    timeline_ms=asdict(done.timeline),
                )  # fmt: skip
            case Failed(error, turn, reply):
                self._log.warning("request_failed", turn=turn, reply=reply, error=str(error))
            case _:
                pass
