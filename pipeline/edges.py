"""Where speech seems to begin, and to fall away, frame by frame. Pure."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum, auto

from .signals import Heard
from .utterance import FRAME, SPEECH_HZ

ON, OFF = 0.5, 0.35
"""Speech probabilities: a voice begins at the one and goes on down to the other."""
FAINT = 0.2
ENOUGH = 0.9
"""Of two or three frames together: a click is shorter, and a soft vowel is no surer."""
LOUD_FRAMES, LOUD_ENOUGH = 3, 0.4
"""So many frames together that are all far louder than the room need no more."""
LOUD_DB = 30.0
"""Far louder: so much above the quietest of late."""
QUIET_DBFS = -60.0
"""No room is taken to be quieter."""
RISE_DB = 0.1
"""A frame: 3 dB a second. A room that has grown louder is believed after a while."""

FALL_DB = 33.0
"""From the loudest of late to what is no voice any more, in a quiet room."""
FORGET_DB = 0.15
"""A frame: 5 dB a second. Who grows softer has not stopped."""
FALL_HOLDS = 8 * FRAME
"""What fell away so long before the detector hears silence ended there."""
MOST_FALLS = 3
"""A second. Some words have a gap as deep as a pause; each costs a transcription."""


class Onset:
    """Gathers evidence of a voice over the last three frames."""

    def __init__(self) -> None:
        self._recent: list[float] = []
        self._floor_dbfs = 0.0
        self._loud = 0
        """Frames in a row that were far louder than the room."""

    def hear(self, probability: float, level_dbfs: float, *, eager: bool = False) -> int:
        """Frames of voice up to this one, if they are speech by now; else 0.

        `eager`: it costs little to be wrong, and time to be late. Then what stays far louder than
        the room is believed with little of the detector's word: some vowels it doubts for 200 ms.
        """
        self._floor_dbfs = max(QUIET_DBFS, min(level_dbfs, self._floor_dbfs + RISE_DB))
        self._loud = self._loud + 1 if level_dbfs >= self._floor_dbfs + LOUD_DB else 0
        self._recent = [*self._recent[-2:], probability]
        if eager and self._loud >= LOUD_FRAMES and sum(self._recent) >= LOUD_ENOUGH:
            return LOUD_FRAMES
        audible = [one for one in self._recent if one >= FAINT]
        speech = (
            probability >= FAINT
            and len(audible) >= 2
            and max(audible) >= ON
            and sum(audible) >= ENOUGH
        )
        return len(audible) if speech else 0

    def forget(self) -> None:
        """The voice has ended: it is no evidence of another one."""
        self._recent.clear()


class Fall:
    """Sees by its level that a voice has fallen away, before the voice detector is sure.

    Silero holds on for 30 to 120 ms after the last sound. Where the room is too loud for a fall of
    33 dB nothing is seen, and nothing is lost.
    """

    def __init__(self) -> None:
        self._peak_dbfs = float("-inf")
        self._looks: list[int] = []
        self.at: int | None = None
        """The end of the frame in which it fell; None: it has not, or is back."""
        self.foreseen = False
        """It fell, and its words may be asked for: that was not so too often."""

    def rise(self) -> None:
        """A voice begins."""
        self._peak_dbfs = float("-inf")
        self.forget()

    def forget(self) -> None:
        """The voice detector has seen the end itself."""
        self.at, self.foreseen = None, False

    def below(self, level_dbfs: float) -> bool:
        """This is too soft to be of the voice that was heard of late."""
        return level_dbfs < self._peak_dbfs - FALL_DB

    def hear(self, level_dbfs: float, end: int) -> bool:
        """Take a frame in which the detector still hears a voice; True: the voice is back."""
        self._peak_dbfs = max(self._peak_dbfs - FORGET_DB, level_dbfs)
        low = self.below(level_dbfs)
        if low and self.at is None:
            self.at = end
            self.foreseen = self._may_look(end)
            if self.foreseen:
                self._looks = [*self._looks[1 - MOST_FALLS :], end]
        elif not low and self.at is not None:
            self.forget()
            return True
        return False

    def _may_look(self, end: int) -> bool:
        return len(self._looks) < MOST_FALLS or end - self._looks[0] >= SPEECH_HZ


class Sound(Enum):
    """What a frame is; the `User` has a method to go on with for each."""

    NOTHING = auto()
    """None of a turn's."""
    ONSET = auto()
    """Somebody speaks: `begin`."""
    VOICE = auto()
    """More of what is being said: `go_on`."""
    SILENCE = auto()
    """`pause`."""
    PUSHED = auto()
    """All of it belongs to a manual turn: `push`."""


class Ear:
    """Tells voice from silence, for a user who speaks and for one who does not."""

    def __init__(self) -> None:
        self.onset = Onset()
        self.fall = Fall()
        self.heard_to = 0
        """The end of the latest frame."""
        self.began_at = 0
        """The sample where the latest voice began."""
        self.dropped_to = 0
        """Audio before this sample was not meant to be heard."""

    def hear(
        self, frame: Heard, *, spoken_to: int | None, in_turn: bool, eager: bool = False
    ) -> Sound:
        """What this frame is to a user who has spoken up to `spoken_to` (None: they do not speak).
        `in_turn`: what is far softer than their voice is not theirs. `eager`: as in `Onset.hear`.
        """
        self.heard_to = frame.end
        if frame.end <= self.dropped_to:
            return Sound.NOTHING
        hangs_on = spoken_to == frame.end - FRAME
        onset = self.onset.hear(frame.probability, frame.level_dbfs, eager=eager)
        if spoken_to is not None and frame.probability >= (OFF if hangs_on else ON):
            return Sound.VOICE
        if onset and not (in_turn and self.fall.below(frame.level_dbfs)):
            self.began_at = frame.end - onset * FRAME
            return Sound.ONSET
        return Sound.SILENCE

    def hush(self, end: int) -> int | None:
        """The voice has ended, says the detector: where it had fallen away already, if it had."""
        self.onset.forget()
        fell_at = self.fall.at
        self.fall.forget()
        return fell_at if fell_at is not None and end - fell_at <= FALL_HOLDS else None


def attuned(frame: Heard, threshold: float) -> Heard:
    """As if the threshold were `ON`: what counts as a voice is then the same everywhere."""
    if threshold == ON:
        return frame
    given = frame.probability
    if given < threshold:
        probability = given * ON / threshold
    else:
        above = (given - threshold) * (1 - ON) / (1 - threshold) if threshold < 1 else 1 - ON
        probability = ON + above
    return replace(frame, probability=probability)
