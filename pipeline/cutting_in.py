"""Speech over a reply: the reply is held at once, and decided on within 544 ms. Pure.

Words decide (`barge_in.judge`): real ones end the reply; a cough, "mm-hm" or the reply's own echo
lets it go on where it stood. A client whose loudspeaker is heard is known for it from then on: its
reply is held no more at every word of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .barge_in import Verdict, judge
from .replies import Replies
from .signals import Effect
from .utterance import FRAME, SPEECH_HZ, Over, Utterance

CUT_IN_LOOK = 6 * FRAME
"""Speech over a reply after which its words are asked for, and asked for again."""
CUT_IN_WELL = 10 * FRAME
"""After so much speech its words are what they seem; of less, half a word may be taken for any."""
CUT_IN_DECIDE, CUT_IN_HALF, CUT_IN_LAST = 15 * FRAME, 16 * FRAME, 17 * FRAME
"""Speech over a reply, from its onset, after which it is decided: 480 ms, if its words are well
known. By 512 ms real words are believed also if they are not; by 544 ms it is decided anyhow."""
ECHO_LOOK = 16 * FRAME
"""Where the reply is heard out of a loudspeaker it is looked so often whether it still is."""
GOES_ON_LOOK, GOES_ON_TO = ECHO_LOOK, 100 * FRAME
"""A voice that was let pass and goes on is listened to so often, for some 3 s from its onset: who
begins with a "yeah" may have more to say."""


@dataclass(slots=True)
class BargeIns:
    """How often somebody spoke over a reply, and what it was."""

    held: int = 0
    resumed: int = 0
    """It was nothing, of those that were held."""
    interrupted: int = 0
    """It ended the reply, held or not: one that echoes is held no more."""


class CutIn:
    """What becomes of the reply that somebody speaks over."""

    def __init__(self, replies: Replies) -> None:
        self._replies = replies
        self.count = BargeIns()
        self.onset: int | None = None
        """The sample where somebody began to speak over a reply that is not yet decided on."""
        self._voice_from: int | None = None
        """The onset of a voice over a reply that has not paused since."""
        self._words_by: float | None = None
        """No more is to be heard: it is decided when the words come, or then."""
        self._echo_looks = 0
        self._speech_looks = 0
        """Looks in a row with words that are no echo."""

    def suspect(self, onset: int, now: float, *, hold: bool = True) -> Iterator[Effect]:
        """Somebody may be cutting in: hold the reply, for a client that can."""
        undecided = self.onset is not None or self._replies.held
        if not undecided and not self._surely_echoes:
            self.onset = self._voice_from = onset
            self._words_by = None
            if hold:
                self.count.held += 1
                yield from self._replies.hold(now)

    def over(self, now: float) -> Over:
        """What the user is heard over."""
        reply = self._replies.started is not None
        look_every = None
        if self.onset is not None:
            look_every = CUT_IN_LOOK
        elif reply and self.echoes:
            look_every = ECHO_LOOK
        elif reply and self._voice_from is not None:
            look_every = GOES_ON_LOOK
        return Over(reply or now < self._replies.audible_until, self.onset, look_every)

    @property
    def echoes(self) -> bool:
        """Replies are heard in this client's microphone."""
        return self._echo_looks > 0

    @property
    def _surely_echoes(self) -> bool:
        return self._echo_looks > 1

    def settle(self) -> None:
        """There is nothing to decide any more."""
        self.onset = self._voice_from = None

    def verdict(self, text: str) -> Verdict:
        """What these words over the reply are."""
        reply = self._replies.started
        verdict = judge(text, reply.text if reply else "")
        if verdict is Verdict.BACKCHANNEL and self._replies.asks:
            return Verdict.CUT_IN  # "Yes." is the answer, a little early
        return verdict

    def said_aside(self, text: str) -> bool:
        """A sign of listening, or an echo, while a reply is spoken: nothing to answer."""
        return self._replies.started is not None and self.verdict(text) is not Verdict.CUT_IN

    def understand(self, text: str, now: float, *, silent: bool) -> Iterator[Effect]:
        """Words were heard over a reply: real ones end it, nothing but others lets it go on."""
        if self._replies.started is None:
            return
        if self.verdict(text) is not Verdict.CUT_IN:
            self._speech_looks = 0
            if silent:
                yield from self.let_go_on(now)
        elif self._surely_echoes and self._speech_looks == 0:
            self._speech_looks = 1  # one look may miss an echo
        elif silent or self.onset is None:
            # Half a word may be taken for any: it is believed at its end, or when it goes on.
            yield from self._end_reply(now)

    def hear_echo(self, now: float) -> Iterator[Effect]:
        """It was the reply itself, out of a loudspeaker."""
        self._echo_looks += 1
        self._speech_looks = 0
        yield from self.let_go_on(now)

    def decide(
        self, turn: Utterance, heard_to: int, now: float, *, speaking: bool
    ) -> Iterator[Effect]:
        """A held reply is decided on in time, with what is known by then."""
        if self._replies.started is None:
            self.settle()
        if not speaking or (self._voice_from or heard_to) + GOES_ON_TO <= heard_to:
            self._voice_from = None
        if self.onset is None:
            return
        passed = heard_to - self.onset
        answered_to = turn.segments[-1].answered_to
        known = max(0, answered_to - self.onset)
        cuts_in = known > 0 and self.verdict(turn.text) is Verdict.CUT_IN
        last = CUT_IN_DECIDE if known >= CUT_IN_WELL else CUT_IN_LAST
        if not speaking and known and answered_to >= turn.voiced_end:
            yield from self.understand(turn.text, now, silent=True)
        elif cuts_in and passed >= min(last, CUT_IN_HALF):
            yield from self._end_reply(now)
        elif passed >= last:
            # Unknown: a voice that goes on is somebody; after what has ended words may still come.
            yield from self._end_reply(now) if speaking and not known else self.let_go_on(now)

    def wait_for_words(self, now: float) -> None:
        """The turn was ended: no frame will say when it is time to decide."""
        self._words_by = now + CUT_IN_LAST / SPEECH_HZ

    def decide_late(self, now: float) -> Iterator[Effect]:
        """The words of an ended turn may still come; the reply does not wait for them."""
        wake = self.next_wake
        if wake is not None and now >= wake:
            yield from self.let_go_on(now)

    @property
    def next_wake(self) -> float | None:
        """When `decide_late` is due."""
        return self._words_by if self.onset is not None else None

    def _end_reply(self, now: float) -> Iterator[Effect]:
        self.onset = None
        self._speech_looks = 0
        self.count.interrupted += 1
        yield from self._replies.interrupt(now)

    def let_go_on(self, now: float) -> Iterator[Effect]:
        """It was nothing: a held reply goes on where it stood."""
        self.onset = None
        self.count.resumed += self._replies.held
        yield from self._replies.resume(now)
