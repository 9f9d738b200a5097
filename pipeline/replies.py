"""The reply's half of the turn machine: drafted, started, played, ended. Pure.

A draft is made and held; the client knows nothing of it. Started, it has a number, its text and
audio leave as they are made, paced by its playback, and it ends exactly once.
"""

from __future__ import annotations

from collections.abc import Iterator

from .events import (
    Failed,
    Interrupted,
    ReplyAudioEnd,
    ReplyDone,
    ReplyPaused,
    ReplyResumed,
    ReplyStarted,
    ReplyStatus,
    ReplyText,
    ToolText,
)
from .latency import Marks
from .playback import Playback
from .reply import Numbers, Reply
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

News = DraftText | DraftCall | DraftClause | DraftAudio | DraftVoiced | DraftMade
"""What becomes of a draft."""


class Replies:
    """At most one reply at a time."""

    def __init__(self, numbers: Numbers) -> None:
        """`numbers` may be shared with others, whose replies are given beside these."""
        self._numbers = numbers
        self.current: Reply | None = None
        self.audible_until = 0.0
        """When the audio of the last whole reply will have been played, where that is not waited
        for."""

    @property
    def next_reply(self) -> int:
        """The number that the next reply will have."""
        return self._numbers.next_reply

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
            self._numbers.take_draft(), turn, playback, marks, ask=ask, aside=aside, silent=silent
        )
        yield Draft(self.current.draft, turn, text, say, speculative, ask, silent, aside)

    def drop(self) -> Iterator[Effect]:
        """A draft nobody knows of is gone without a trace."""
        if self.drafted is not None:
            yield Drop(self.drafted.draft)
            self.current = None

    def start(self) -> Iterator[Effect]:
        """The draft leaves for the client."""
        reply = self.drafted
        assert reply is not None
        reply.number = self._numbers.take_reply()
        yield ReplyStarted(reply.number, reply.turn, reply.ask, reply.aside, reply.silent)
        if reply.text:
            yield ReplyText(reply.number, reply.text)
        for call, (name, arguments) in reply.calls.items():
            yield ToolText(reply.number, call, name, arguments)
        if reply.playback.complete:
            yield from reply.wanted()

    def note(self, news: News, now: float) -> Iterator[Effect]:
        """News of the reply in the making. News of an older one, or of a whole one, dies here."""
        reply = self.current
        if reply is None or news.draft != reply.draft or reply.playback.complete:
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
            case DraftClause(_, start, end):
                reply.playback.expect_clause(start, end)
                reply.marks.clause = reply.marks.clause or now
            case DraftAudio(_, samples):
                reply.marks.audio = reply.marks.audio or now
                reply.playback.add_audio(samples)
            case DraftVoiced():
                reply.playback.add_clause(
                    news.text_start, news.text_end, news.start, news.end, news.words
                )
            case _:
                reply.playback.complete = True
                reply.error = news.error
                reply.cut_short, reply.usage = news.cut_short, news.usage
                if reply.number is not None:
                    yield from reply.wanted()

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
            yield from self.resume(now)  # it was held when its last sample had been played
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
        self.current = None
        done = reply.done(status, now)
        if status == "completed":
            self.audible_until = now + done.unheard_ms / 1000
        return done
