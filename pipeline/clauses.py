"""Cutting a reply's streamed text into clauses for speech. Pure: text in, spans of that text out.

The cutter is a machine over single characters, so the clauses cannot depend on how the stream was
cut into pieces. A clause ends after its mark and the quotes and brackets that close on it; the
white space that follows opens the next clause, so it is never waited for. What is waited for:

- after a mark, one character: ".5", ".com", a closing quote or a second "!" would belong to it
  (a streamed token mostly brings its own leading space, so this costs one token);
- after "etc." or "No." the first character that is not a space, for only it tells;
- after a line break nothing: the break itself ends the line before it.

Work is linear: a cut looks at no more characters than one clause holds, and a forced cut removes at
least a third of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from pipeline.clause_policy import ClausePolicy
from pipeline.marks import (
    CLOSERS,
    IN_NUMBERS,
    LINE_OPENERS,
    MARKS,
    NEWLINES,
    UNBREAKABLE,
    Mark,
    Strength,
    Verdict,
    clings,
    is_flag_half,
    is_solid,
    is_wide,
    last_word,
    leans,
    strength_of,
    verdict_on,
)
from pipeline.spoken import spoken

_LONGEST_WORD = 40
"""Enough of a word to know an abbreviation or a URL by."""


@dataclass(frozen=True, slots=True)
class Clause:
    """One stretch of a reply's text, to be voiced at once.

    `start` and `end` are str offsets in the whole text; spans are contiguous, in order, and
    together hold every character. `text` is exactly whole[start:end]; `speech` is what to say.
    """

    index: int
    start: int
    end: int
    text: str
    speech: str

    @property
    def speakable(self) -> bool:
        """Whether there is anything in it to say."""
        return bool(self.speech)

    @property
    def size(self) -> int:
        """Its characters in Latin letters' time, as limits count them."""
        return sum(map(_size, self.text))


class _Totals(NamedTuple):
    """Counts from the start of the text up to and with one character."""

    size: int
    letters: int
    words: int


class ClauseCutter:
    """Text in as it streams, clauses out as soon as they are known to have ended."""

    def __init__(self, policy: ClausePolicy | None = None) -> None:
        self._policy = policy or ClausePolicy()
        self.room: int | None = None
        """What the next clause should hold at most, if that is less than its limit: it then ends
        between two words, and may be longer when its first one is."""
        self._done: list[Clause] = []
        self._finished = False
        # The clause under way: its characters, the totals after each, where it could be cut.
        self._index = 0
        self._start = 0
        self._chars: list[str] = []
        self._totals: list[_Totals] = []
        self._before = _Totals(0, 0, 0)
        self._places: list[tuple[int, Strength]] = []
        # What the last characters were.
        self._mark: Mark | None = None
        self._last = "\n"
        self._word = ""
        self._word_counted = False
        self._line_is_blank = True
        self._word_opens_line = True

    def feed(self, piece: str) -> list[Clause]:
        """Take the next piece of text (any length); give the clauses that it completes."""
        if self._finished:
            raise ValueError("the text is finished")
        for ch in piece:
            self._step(ch)
        return self._take_done()

    def finish(self) -> list[Clause]:
        """The text has ended: give what is left."""
        self._finished = True
        if self._chars:
            self._cut(self._start + len(self._chars))
        return self._take_done()

    def _take_done(self) -> list[Clause]:
        done, self._done = self._done, []
        return done

    # --- One character --------------------------------------------------------------------------

    def _step(self, ch: str) -> None:
        is_space = ch.isspace()
        glued = self._mark is not None and self._judge(self._mark, ch, is_space)
        if is_space:
            self._place_before_space(ch, glued)
        elif ch in MARKS or ch in "-–":
            self._note_mark(ch)
        self._append(ch, is_space)
        size = self._totals[-1].size - self._before.size
        if size > self._limit:
            self._cut(self._best_place())
        elif self._index == 0:
            if size > self._policy.first_most:
                self._cut_first()
        elif self.room is not None and size > self.room:
            self._cut_early(self.room)

    def _judge(self, mark: Mark, ch: str, is_space: bool) -> bool:
        """Decide what the held mark is, if `ch` tells; True when the space `ch` joins two words."""
        if mark.waits_for is not None:
            if is_space and ch not in NEWLINES:
                return True
            ends = is_space or mark.ends_before(ch)
        elif mark.dash:
            ends = is_space
        elif not is_space:
            if ch in MARKS or ch in CLOSERS or clings(self._last, ch):
                mark.extend(ch)
                return False
            ends = not mark.joins(ch)
        else:
            verdict = Verdict.ENDS
            if mark.word and ch not in NEWLINES:
                verdict = verdict_on(mark.word, opens_line=mark.opens_line)
            if verdict in (Verdict.UNLESS_LOWER, Verdict.UNLESS_DIGIT):
                mark.waits_for = verdict
                return verdict is Verdict.UNLESS_DIGIT
            ends = verdict is Verdict.ENDS
        self._mark = None
        if ends:
            self._add_place(mark.end, mark.strength)
        return is_space and not ends

    def _place_before_space(self, ch: str, glued: bool) -> None:
        here = self._start + len(self._chars)
        if ch in NEWLINES:
            if self._last not in NEWLINES:
                self._add_place(here, Strength.SENTENCE)
        elif not (glued or self._last.isspace() or ch in UNBREAKABLE):
            self._add_place(here, Strength.LEANING if leans(self._word) else Strength.SPACE)

    def _note_mark(self, ch: str) -> None:
        if self._mark is not None:
            return  # it has joined the run before it
        dash = ch in "-–"
        in_url = "://" in self._word or "@" in self._word
        if (dash and (self._line_is_blank or not self._last.isspace())) or (in_url and ch in "—―"):
            return
        is_whole = len(self._word) < _LONGEST_WORD
        self._mark = Mark(
            end=self._start + len(self._chars) + 1,
            strength=strength_of(ch),
            word=last_word(self._word) if ch == "." and is_whole else "",
            opens_line=self._word_opens_line,
            wide=ch > "~",
            in_number=ch in IN_NUMBERS and self._last.isdigit(),
            full_stop=ch == ".",
            dash=dash,
        )

    def _append(self, ch: str, is_space: bool) -> None:
        size, letters, words = self._totals[-1] if self._totals else self._before
        weight = _size(ch)
        if is_space:
            self._word, self._word_counted = "", False
            self._line_is_blank |= ch in NEWLINES
        else:
            if not self._word:
                self._word_opens_line = self._line_is_blank
            if len(self._word) < _LONGEST_WORD:
                self._word += ch
            self._line_is_blank &= ch in LINE_OPENERS
            if ch.isalnum():
                letters += weight
                words += not self._word_counted
                self._word_counted = True
        self._chars.append(ch)
        self._totals.append(_Totals(size + weight, letters, words))
        self._last = ch

    # --- Where to cut ---------------------------------------------------------------------------

    @property
    def _limit(self) -> int:
        limits = self._policy.limits
        return limits[min(self._index, len(limits) - 1)]

    def _measure(self, offset: int) -> _Totals:
        """What the clause under way would hold if it ended at `offset`."""
        upto, before = self._totals[offset - self._start - 1], self._before
        return _Totals(
            upto.size - before.size, upto.letters - before.letters, upto.words - before.words
        )

    def _add_place(self, offset: int, strength: Strength) -> None:
        if offset <= self._start:
            return  # a forced cut has come before
        self._places.append((offset, strength))
        if self._is_due(offset, strength):
            self._cut(offset)

    def _is_due(self, offset: int, strength: Strength) -> bool:
        """Whether the clause should end here, rather than hope for a better place."""
        policy, held = self._policy, self._measure(offset)
        enough = held.letters >= policy.min_letters[min(self._index, len(policy.min_letters) - 1)]
        if self._index > 0:
            return enough and strength is Strength.SENTENCE
        if strength is Strength.LEANING:
            return False  # the next word comes along, if there is room
        if strength is Strength.SPACE:
            return held.words >= policy.first_max_words or held.letters >= policy.first_enough
        return enough or held.words >= policy.first_min_words

    def _cut_first(self) -> None:
        """The first clause grows long: it ends at its best place, if one holds enough."""
        least = self._policy.min_letters[0]
        enough = [(s, o) for o, s in self._places if self._measure(o).letters >= least]
        if enough:
            self._cut(max(enough)[1])

    def _cut_early(self, room: int) -> None:
        """The clause is more than there is room for: it ends at its best place, if it has one."""
        if (place := self._strongest(room // 3)) is not None:
            self._cut(place)

    def _strongest(self, floor: int) -> int | None:
        """The strongest place, of these the last, that leaves the clause at least so large."""
        late = [(s, o) for o, s in self._places if self._measure(o).size >= floor]
        return max(late)[1] if late else None

    def _best_place(self) -> int:
        """The strongest place in the last two thirds, else between letters, else anywhere."""
        floor = self._limit // 3
        if (place := self._strongest(floor)) is not None:
            return place
        n = last = len(self._chars) - 1
        between_clusters = 0
        while self._measure(self._start + n).size >= floor:
            before, after = self._chars[n - 1], self._chars[n]
            if not (clings(before, after) or self._splits_flag(n)):
                if not (is_solid(before) and is_solid(after)):
                    return self._start + n
                between_clusters = between_clusters or n
            n -= 1
        return self._start + (between_clusters or last)

    def _splits_flag(self, n: int) -> bool:
        """Whether a cut before the n-th character parts the two halves of a flag."""
        if not is_flag_half(self._chars[n]):
            return False
        halves = 0
        while halves < n and is_flag_half(self._chars[n - 1 - halves]):
            halves += 1
        return halves % 2 == 1

    def _cut(self, offset: int) -> None:
        length = offset - self._start
        text = "".join(self._chars[:length])
        speech = spoken(text, opens_line=self._start == 0)
        self._done.append(Clause(self._index, self._start, offset, text, speech))
        self._before = self._totals[length - 1]
        del self._chars[:length], self._totals[:length]
        self._places = [place for place in self._places if place[0] > offset]
        self._start, self._index = offset, self._index + 1


def _size(ch: str) -> int:
    return 3 if is_wide(ch) else 1
