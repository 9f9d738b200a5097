"""Where the playback of one reply stands: what may be sent, what has been heard. Pure.

Positions are samples of the reply's audio, counted from its first. Times are monotonic seconds.
The client's reports are believed, but never past what was sent; without reports the position is
estimated from what was sent and the time gone by.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

REPORT_TIMEOUT_S = 1.0
"""After this long without a report the end of playback is estimated (PROTOCOL.md, `reply_done`)."""

END_TOLERANCE_S = 0.02
"""A report this close to the end is the end."""

S_PER_CHARACTER = 0.06
"""Of speech, before any of a reply says how fast it is spoken. Kokoro and Piper both take 58 ms,
over eight English sentences with their pauses: from 48 in a long one to 111 in "Why not?"."""

_WORD = re.compile(r"\S+")

_FIRST_CJK = "\u2e80"
"""From here on scripts write without spaces: a cut may fall between any two characters."""


@dataclass(frozen=True, slots=True)
class Voiced:
    """A clause with audio: the span of the reply's text, and where its audio lies."""

    text_start: int
    text_end: int
    start: int
    end: int
    words: tuple[int, ...] = ()
    """Where each of its words begins, and where the last one ends; () when nobody knows."""


class Playback:
    """The audio of one reply: made, sent, played."""

    def __init__(
        self, rate_hz: int, send_ahead_s: float, chunk_s: float = 0.1, *, followed: bool = True
    ) -> None:
        """`followed`: it ends when it was heard; else as soon as all of it was sent."""
        self.rate_hz = rate_hz
        self._followed = followed
        self._ahead = round(send_ahead_s * rate_hz)
        # Two chunks at least, or the listener would run dry before the next one may leave.
        self._chunk = min(round(chunk_s * rate_hz), max(1, self._ahead // 2))
        self._clauses: list[Voiced] = []
        self._coming: deque[tuple[int, int]] = deque()
        """Clauses whose audio is not whole: their spans of the text, in order."""
        self._played = 0.0
        self._as_of: float | None = None
        self.held = False
        self._reported_at: float | None = None
        self._reported = 0
        self._finished = False
        self.made = 0
        """Samples there are to send."""
        self.complete = False
        """No more audio will be made."""
        self.sent = 0

    # --- what comes in ---------------------------------------------------------------------------

    def add_audio(self, samples: int) -> None:
        self.made += samples

    def expect_clause(self, text_start: int, text_end: int) -> None:
        """This clause is voiced next, after those that were expected before."""
        if text_end > text_start:
            self._coming.append((text_start, text_end))

    def add_clause(
        self, text_start: int, text_end: int, start: int, end: int, words: tuple[int, ...] = ()
    ) -> None:
        """A clause's audio is whole."""
        self._clauses.append(Voiced(text_start, text_end, start, end, words))
        while self._coming and self._coming[0][1] <= text_end:
            self._coming.popleft()

    def report(self, played: int, now: float) -> None:
        """The client says how much has left its loudspeaker."""
        self._reported = max(0, min(played, self.sent))
        self._played = float(self._reported)
        self._as_of = now
        self._reported_at = now

    def finish(self) -> None:
        """The client says that nothing more of this reply will be played."""
        self._finished = True

    def hold(self, now: float) -> None:
        self._advance(now)
        self.held = True

    def resume(self, now: float) -> None:
        self._advance(now)
        self.held = False

    def note_sent(self, samples: int, now: float) -> None:
        self._advance(now)
        self.sent += samples

    @property
    def all_sent(self) -> bool:
        """There is nothing left to send, nor will there be."""
        return self.complete and self.sent >= self.made

    # --- what is known ---------------------------------------------------------------------------

    def played(self, now: float) -> int:
        """Samples that have been heard by now, reported or estimated."""
        self._advance(now)
        return int(self._played + 1e-6)  # whole samples, despite sums of floats

    def unheard_ms(self, now: float) -> int:
        """What was sent and has not been played."""
        return round((self.sent - self._audible_to(now)) * 1000 / self.rate_hz)

    def due(self, now: float) -> int:
        """How many samples may leave now: whole chunks, or the rest of the reply."""
        room = self._ahead - (self.sent - self.played(now))
        return self._next if not self.held and self._next <= room else 0

    def ended(self, now: float) -> bool:
        """Whether the listener has heard it all, once all has been sent."""
        if self._finished or not self._followed:
            return True
        left = self.sent - self.played(now)
        if self._recently_reported(now):
            # Believe the client over the clock: an estimate between two reports may run ahead.
            return left <= END_TOLERANCE_S * self.rate_hz and self._as_of == self._reported_at
        return left <= 0

    def next_due(self, now: float) -> float | None:
        """When to look again, if nothing else happens before; None: nothing will change by time."""
        if self.held:
            return None
        played = self.played(now)
        if self._next:
            return now + max(0.0, (self.sent - played + self._next - self._ahead) / self.rate_hz)
        if self.complete:
            end = now + max(0.0, (self.sent - played) / self.rate_hz)
            if self._recently_reported(now) and self._reported_at is not None:
                end = max(end, self._reported_at + REPORT_TIMEOUT_S)
            return end
        return None

    def heard(self, text: str, now: float) -> str:
        """The part of the reply's text that had been played, cut at a whole word."""
        return heard_until(text, self.voiced, self._audible_to(now))

    def flushed(self, now: float) -> bool:
        """The client ended it before it had played all that was sent."""
        left = self.sent - self._audible_to(now)
        return self._finished and left > END_TOLERANCE_S * self.rate_hz

    @property
    def voiced(self) -> tuple[Voiced, ...]:
        """The clauses with audio. Where the last one ends is a guess while it is being made."""
        making = self._in_the_making()
        return tuple(self._clauses) if making is None else (*self._clauses, making)

    def _audible_to(self, now: float) -> int:
        """What has been played, or ever will be: who plays nothing more has said how much it was,
        though the rest may leave by the clock."""
        return self._reported if self._finished else self.played(now)

    @property
    def _next(self) -> int:
        """Samples that leave together, as soon as there is room for all of them."""
        waiting = self.made - self.sent
        return min(waiting, self._chunk) if waiting >= self._chunk or self.complete else 0

    def _in_the_making(self) -> Voiced | None:
        """The clause whose audio has begun to come, as long as its letters will take: those of the
        clauses before it say how long. It is not at its end, whatever they say."""
        start = self._clauses[-1].end if self._clauses else 0
        if not self._coming or self.made <= start:
            return None
        text_start, text_end = self._coming[0]
        samples = sum(one.end - one.start for one in self._clauses)
        letters = sum(one.text_end - one.text_start for one in self._clauses if one.end > one.start)
        each = samples / letters if letters else S_PER_CHARACTER * self.rate_hz
        end = max(start + round(each * (text_end - text_start)), self.made + 1)
        return Voiced(text_start, text_end, start, end)

    def _recently_reported(self, now: float) -> bool:
        return self._reported_at is not None and now - self._reported_at < REPORT_TIMEOUT_S

    def _advance(self, now: float) -> None:
        if self._as_of is not None and not self.held:
            self._played = min(
                float(self.sent), self._played + max(0.0, now - self._as_of) * self.rate_hz
            )
        self._as_of = now


def heard_until(text: str, clauses: Iterable[Voiced], played: int) -> str:
    """What of a reply's text lies before this sample of its audio, cut at a whole word."""
    heard = 0
    for clause in clauses:
        if played >= clause.end:
            heard = clause.text_end
            continue
        if played > clause.start:
            spoken = text[clause.text_start : clause.text_end]
            if clause.words and max(spoken, default="") < _FIRST_CJK:
                heard = clause.text_start + _timed_words(spoken, clause.words, played)
            else:
                share = (played - clause.start) / (clause.end - clause.start)
                heard = clause.text_start + _whole_words(spoken, share)
        break
    return text[:heard].rstrip()


def _timed_words(text: str, words: tuple[int, ...], played: int) -> int:
    """The end of the last word that had been said, by when each was. What is written and what is
    said may differ in words ("3" and "**three**" do not, "www.example.com" may): then by share."""
    ends = [match.end() for match in _WORD.finditer(text) if any(map(str.isalnum, match.group()))]
    said = sum(end <= played for end in words[1:])
    written = said * len(ends) // (len(words) - 1)
    return ends[written - 1] if written else 0


def _whole_words(text: str, share: float) -> int:
    """The end of the last word that was spoken when `share` of the clause's audio was played."""
    position = int(share * len(text))
    while 0 < position < len(text) and not text[position].isspace() and text[position] < _FIRST_CJK:
        position -= 1
    return position
