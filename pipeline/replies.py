"""The reply's half of the turn machine: drafted, started, played, ended. Pure.

A draft is made and held; the client knows nothing of it. Started, it has a number, its text and
audio leave as they are made, paced by its playback, and it ends exactly once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from .events import (
    Failed,
    Interrupted,
    Latency,
    ReplyAudioEnd,
    ReplyDone,
    ReplyPaused,
    ReplyResumed,
    ReplyStarted,
    ReplyStatus,
    ReplyText,
    Timeline,
    ToolCalled,
    ToolText,
)
from .playback import Playback
from .signals import (
    Draft,
    DraftAudio,
    DraftCall,
    DraftClause,
    DraftMade,
    DraftText,
    DraftVoiced,
    Drop,
    Effect,
    Played,
    Send,
)


@dataclass(slots=True)
class Marks:
    """When the stages of a turn's latency ended, in monotonic seconds."""

    voiced: float = 0.0
    """The user's last voiced sample arrived, or the typed text."""
    endpoint: float = 0.0
    """The turn was known to be over, but for its words."""
    transcript: float = 0.0
    commit: float = 0.0
    first_text: float | None = None
    clause: float | None = None
    """The first clause left for the synthesizer."""
    audio: float | None = None
    sent: float | None = None
    spoken: bool = True
    """The turn was; a typed one and a greeting wait for nothing until their commit."""

    @classmethod
    def unspoken(cls, now: float) -> Marks:
        """Of a turn that is known, whole and committed as soon as it comes."""
        return cls(now, now, now, now, spoken=False)

    def commit_to(self, turn: Marks) -> None:
        """A reply begun early is for this turn after all: its clock is that turn's."""
        self.voiced, self.endpoint = turn.voiced, turn.endpoint
        self.transcript, self.commit = turn.transcript, turn.commit

    def timeline(self) -> Timeline:
        """Every mark on the clock that begins with the last voiced sample."""
        marks = (self.transcript, self.commit, self.first_text, self.clause, self.audio, self.sent)
        return Timeline(*(round((at - self.voiced) * 1000) if at else None for at in marks))

    def latency(self) -> Latency | None:
        """The parts between the marks. They add up, and a mark out of order has none."""
        if self.sent is None:
            return None
        at = [self.voiced]
        for mark in (self.endpoint, self.transcript, self.clause or 0.0, self.sent):
            at.append(max(at[-1], mark))
        ms = [round((moment - at[0]) * 1000) for moment in at]
        return Latency(*(b - a for a, b in pairwise(ms)))


@dataclass(slots=True)
class Reply:
    """One reply. `number` is None until the client knows of it."""

    draft: int
    turn: int
    playback: Playback
    marks: Marks
    number: int | None = None
    ask: int = 0
    aside: bool = False
    silent: bool = False
    """Text only."""
    text: str = ""
    calls: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Tools that are wanted, as far as is known: id -> name, arguments."""
    cut_short: bool = False
    apology: bool = False
    """The text is no model's: there was no answer."""
    error: Exception | None = None
    error_told: bool = False
    end_told: bool = False


class Replies:
    """At most one reply at a time, and the counters of all."""

    def __init__(self, next_reply: int) -> None:
        self.next_reply = next_reply
        self.current: Reply | None = None
        self.audible_until = 0.0
        """When the audio of the last whole reply will have been played, where that is not waited
        for."""
        self._next_draft = 1

    @property
    def drafted(self) -> Reply | None:
        """The reply that nobody knows of yet."""
        return self.current if self.current and self.current.number is None else None

    @property
    def started(self) -> Reply | None:
        """The reply that the client knows of, and that has not ended."""
        return self.current if self.current and self.current.number is not None else None

    def draft(
        self,
        turn: int,
        text: str,
        marks: Marks,
        playback: Playback,
        say: str | None = None,
        *,
        speculative: bool = False,
        silent: bool = False,
        ask: int = 0,
        aside: bool = False,
    ) -> Iterator[Effect]:
        """Begin to make a reply; the one before must have ended."""
        self.current = Reply(
            self._next_draft, turn, playback, marks, ask=ask, aside=aside, silent=silent
        )
        self._next_draft += 1
        yield Draft(self.current.draft, turn, text, say, speculative, ask, silent)

    def drop(self) -> Iterator[Effect]:
        """A draft nobody knows of is gone without a trace."""
        if self.drafted is not None:
            yield Drop(self.drafted.draft)
            self.current = None

    def start(self) -> Iterator[Effect]:
        """The draft leaves for the client."""
        reply = self.drafted
        assert reply is not None
        reply.number = self.next_reply
        self.next_reply += 1
        yield ReplyStarted(reply.number, reply.turn, reply.ask, reply.aside, reply.silent)
        if reply.text:
            yield ReplyText(reply.number, reply.text)
        for call, (name, arguments) in reply.calls.items():
            yield ToolText(reply.number, call, name, arguments)
        if reply.playback.complete:
            yield from self._call(reply)

    def note(
        self,
        news: DraftText | DraftCall | DraftClause | DraftAudio | DraftVoiced | DraftMade,
        now: float,
    ) -> Iterator[Effect]:
        """News of the reply in the making. News of an older one dies here."""
        reply = self.current
        if reply is None or news.draft != reply.draft:
            return
        match news:
            case DraftText(_, text, apology):
                reply.apology = apology
                reply.marks.first_text = reply.marks.first_text or now
                reply.text += text
                if reply.number is not None:
                    yield ReplyText(reply.number, text)
            case DraftCall(_, call, name, arguments):
                known = reply.calls.get(call, ("", ""))
                reply.calls[call] = (known[0] + name, known[1] + arguments)
                if reply.number is not None:
                    yield ToolText(reply.number, call, reply.calls[call][0], arguments)
            case DraftClause():
                reply.marks.clause = reply.marks.clause or now
            case DraftAudio(_, samples):
                reply.marks.audio = reply.marks.audio or now
                reply.playback.add_audio(samples)
            case DraftVoiced():
                reply.playback.add_clause(news.text_start, news.text_end, news.start, news.end)
            case _:
                reply.playback.complete = True
                reply.error = news.error
                reply.cut_short = news.cut_short
                if reply.number is not None:
                    yield from self._call(reply)

    def _call(self, reply: Reply) -> Iterator[Effect]:
        """The tools are wanted now; one whose arguments broke off is not."""
        assert reply.number is not None
        if reply.error is None and not reply.cut_short:
            for call, (name, arguments) in reply.calls.items():
                yield ToolCalled(reply.number, call, name, arguments)

    @property
    def ready(self) -> bool:
        """The draft has something to show for itself: audio, or, without, text, or an end."""
        reply = self.drafted
        return reply is not None and (
            reply.playback.made > 0
            or reply.playback.complete
            or (reply.silent and reply.text != "")
        )

    def play(self, now: float) -> Iterator[Effect]:
        """Send what is due, and end the reply when it has been heard."""
        reply = self.started
        if reply is None or reply.number is None:
            return
        if reply.error is not None and not reply.error_told:
            reply.error_told = True
            yield Failed(reply.error, turn=reply.turn or None, reply=reply.number)
        playback = reply.playback
        while samples := playback.due(now):
            yield Send(reply.draft, reply.number, playback.sent, playback.sent + samples)
            playback.note_sent(samples, now)
            reply.marks.sent = reply.marks.sent or now
        if not playback.all_sent:
            return
        if not reply.end_told:
            reply.end_told = True
            yield ReplyAudioEnd(reply.number, round(playback.made * 1000 / playback.rate_hz))
        if playback.ended(now):
            yield Drop(reply.draft)
            yield self._done(reply, "failed" if reply.error else "completed", now)

    def played(self, report: Played, now: float) -> None:
        """The client's word on its loudspeaker; word of an ended reply is ignored."""
        reply = self.started
        if reply is None or reply.number != report.reply:
            return
        reply.playback.report(round(report.played_ms * reply.playback.rate_hz / 1000), now)
        if report.done and reply.playback.complete:
            reply.playback.finish()

    @property
    def held(self) -> bool:
        """A started reply stands still: somebody may be cutting in."""
        return self.started is not None and self.started.playback.held

    @property
    def asks(self) -> bool:
        """The reply ends in a question, and all of it has been sent."""
        reply = self.started
        return (
            reply is not None
            and reply.playback.all_sent
            and reply.text.rstrip().endswith(("?", "？", "؟"))
        )

    def hold(self, now: float) -> Iterator[Effect]:
        """Stop where playback stands, and keep everything."""
        reply = self.started
        if reply is not None and reply.number is not None and not reply.playback.held:
            reply.playback.hold(now)
            yield ReplyPaused(reply.number)

    def resume(self, now: float) -> Iterator[Effect]:
        """It was nothing: go on from there."""
        reply = self.started
        if reply is not None and reply.number is not None and reply.playback.held:
            reply.playback.resume(now)
            yield ReplyResumed(reply.number)

    def interrupt(self, now: float) -> Iterator[Effect]:
        """The user cuts in: a started reply ends at what was heard of it."""
        reply = self.started
        if reply is None:
            return
        yield Drop(reply.draft)
        done = self._done(reply, "interrupted", now)
        yield Interrupted(done.reply, done.heard)
        yield done

    def cancel(self, now: float) -> Iterator[Effect]:
        """The client stops a started reply."""
        reply = self.started
        if reply is not None:
            yield Drop(reply.draft)
            yield self._done(reply, "cancelled", now)

    def next_wake(self, now: float) -> float | None:
        """When `play` is due if nothing happens before."""
        return self.started.playback.next_due(now) if self.started else None

    def _done(self, reply: Reply, status: ReplyStatus, now: float) -> ReplyDone:
        assert reply.number is not None
        self.current = None
        unheard_ms = reply.playback.unheard_ms(now)
        if status == "completed":
            self.audible_until = now + unheard_ms / 1000
        read = reply.silent or (status == "completed" and not reply.playback.flushed(now))
        heard = reply.text if read else reply.playback.heard(reply.text, now)
        marks = reply.marks
        return ReplyDone(
            reply.number, reply.turn, status, reply.text, heard, marks.latency(), marks.timeline(),
            apology=reply.apology, spoken=marks.spoken,
            voiced=reply.playback.voiced, cut_short=reply.cut_short,
            unheard_ms=unheard_ms,
        )  # fmt: skip
