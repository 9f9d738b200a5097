"""The session's turns: its turn machine, and what follows from each of the machine's effects."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.edges import ON
from pipeline.engines.ports import Prompt
from pipeline.errors import NoSuchItem, RateLimited
from pipeline.events import ReplyAudio, ReplyDone, UserTranscript
from pipeline.manager import SpeechPipelineManager
from pipeline.recording import RecordedMachine
from pipeline.reply import Reply
from pipeline.signals import (
    Confirm,
    Draft,
    DraftMade,
    Drop,
    Effect,
    Event,
    Heard,
    Leave,
    Look,
    Send,
)
from pipeline.turn import Phase, TurnMachine

from .choices import Choices
from .lulls import Lulls
from .messages import Respond
from .prompts import Prompts
from .reading import tokens
from .recorder import Recorder
from .records import State
from .shedding import Level
from .telling import Telling


class Turns:
    """Steps the machine, and carries out its effects with the pipeline; what is left of them, the
    client is told."""

    def __init__(
        self,
        choices: Choices,
        prompts: Prompts,
        pipeline: SpeechPipelineManager,
        telling: Telling,
        lulls: Lulls,
        load: Callable[[], Level],
        clock: Callable[[], float],
        recorder: Recorder | None = None,
        *,
        next_turn: int = 1,
        next_reply: int = 1,
    ) -> None:
        """`recorder`: where every step is written down."""
        self._choices = choices
        self._prompts = prompts
        self._pipeline = pipeline
        self._telling = telling
        self._lulls = lulls
        self._load = load
        self._left_off = load()
        self._clock = clock
        config = choices.turn_config(self._left_off)
        if recorder is None:
            self.machine = TurnMachine(config, next_turn=next_turn, next_reply=next_reply)
        else:
            self.machine = RecordedMachine(
                config, recorder.write, next_turn=next_turn, next_reply=next_reply
            )
        self.asked: dict[int, Respond] = {}
        """Replies that the client asked for and that are not begun yet, by its numbers."""

    # --- what is known of them -------------------------------------------------------------------

    @property
    def reply(self) -> Reply | None:
        """The reply in the making, or being heard."""
        return self.machine.replies.current

    @property
    def replying(self) -> bool:
        """A reply that the client knows of is under way."""
        return self.machine.replies.started is not None

    @property
    def at_rest(self) -> bool:
        """Nothing is made or heard, nor beside it."""
        return self.reply is None and not self.machine.asides.under_way

    @property
    def state(self) -> State:
        """What goes on, in the admin list's words."""
        if self.reply is not None:
            return "speaking" if self.reply.playback.sent else "thinking"
        return "thinking" if self.machine.phase is Phase.COMMITTED else "listening"

    @property
    def heard(self) -> str:
        """What was heard by now of the reply that is under way."""
        reply = self.machine.replies.started
        return reply.playback.heard(reply.text, self._clock()) if reply is not None else ""

    # --- what happens to them --------------------------------------------------------------------

    def step(self, signal: Event | None) -> None:
        """Something happened, or, for None, time has passed."""
        now = self._clock()
        if (level := self._load()) is not self._left_off:
            self._left_off = level
            self.reconfigure()
        self._carry_out(self.machine.step(signal, now))
        spoken = isinstance(signal, Heard) and signal.probability >= ON
        active = self.machine.busy or self.machine.asides.under_way or spoken
        self._lulls.stepped(active=active, progress=self.machine.progress, now=now)

    def reconfigure(self) -> None:
        """The client has chosen something else, or there is more or less to leave off."""
        config = self._choices.turn_config(self._left_off)
        self._carry_out(self.machine.reconfigure(config, self._clock()))

    def finish(self) -> None:
        """The session is ended from outside: a reply in its middle ends at what was heard."""
        self._carry_out(self.machine.step(Leave(), self._clock()))

    # --- what follows ----------------------------------------------------------------------------

    def _carry_out(self, effects: list[Effect]) -> None:
        refused: list[DraftMade] = []
        for effect in effects:
            match effect:
                case Look():
                    self._pipeline.look(effect, self._choices.language)
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
                    self._telling.tell(ReplyAudio(reply, start, pcm))
                case UserTranscript(turn, text, final=False):
                    self._telling.tell(effect)
                    self._pipeline.prepare(self._prompt(turn, text), in_passing=True)
                case ReplyDone():
                    self._telling.tell(effect)
                    # Up to where the next turn's words, whatever they are, will stand.
                    self._pipeline.prepare(self._prompt(self.machine.next_turn, "..."))
                case _:
                    self._telling.tell(effect)
        for nothing in refused:
            self.step(nothing)

    def _draft(self, draft: Draft) -> None:
        """Begin to make a reply. Raises `RateLimited` for a turn too many, and `NoSuchItem` when
        what it was to answer is gone."""
        asked = self.asked.pop(draft.ask, None)
        if draft.turn or asked:  # a greeting answers none
            self._telling.budget.check_turn(self._clock())
        if asked is None:
            prompt, voice = self._prompt(draft.turn, draft.text), self._choices.voice()
        else:
            prompt = self._prompts.of_request(self._choices.settings, asked)
            voice = self._choices.voice(asked.voice)
        size = sum(tokens(message.content) for message in prompt.messages)
        if draft.aside:
            self._telling.aside_tokens = size
        else:
            self._telling.prompt_tokens = size
        apology = "" if draft.silent else self._choices.apology
        self._pipeline.draft(draft, prompt, voice, apology)

    def _prompt(self, turn: int, text: str) -> Prompt:
        """What was said so far, and the words of a turn that may not be in it yet."""
        return self._prompts.of_turn(self._choices.settings, turn, text)
