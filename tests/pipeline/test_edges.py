"""Where speech begins and falls away, frame by frame."""

from __future__ import annotations

import pytest

from pipeline.edges import FALL_DB, MOST_FALLS, Fall, Onset
from pipeline.utterance import FRAME, SPEECH_HZ


def onset_at(*probabilities: float) -> tuple[int, int] | None:
    """Which frame makes it speech, counted from 1, and how many frames of voice it has by then."""
    onset = Onset()
    for number, probability in enumerate(probabilities, start=1):
        if voice := onset.hear(probability, -20.0):
            return number, voice
    return None


def eager_onset_at(room_dbfs: float, dbfs: float, *probabilities: float) -> int | None:
    """The same over a reply, in a room and with a voice of these levels."""
    onset = Onset()
    for _ in range(30):
        assert not onset.hear(0.02, room_dbfs, eager=True)
    for number, probability in enumerate(probabilities, start=1):
        if onset.hear(probability, dbfs, eager=True):
            return number
    return None


@pytest.mark.parametrize(
    ("frames", "found"),
    [
        ((0.02, 0.95, 0.97), (3, 2)),
        ((0.02, 0.35, 0.93), (3, 2)),
        ((0.12, 0.56, 0.36), (3, 2)),
        ((0.56, 0.22, 0.23), (3, 3)),
        ((0.02, 0.99, 0.05, 0.03), None),
        ((0.3, 0.3, 0.3, 0.3, 0.3), None),
        ((0.99, 0.1, 0.1, 0.99, 0.1), None),
    ],
)
def test_some_evidence_in_three_frames_is_speech_and_a_click_is_not(
    frames: tuple[float, ...], found: tuple[int, int] | None
) -> None:
    assert onset_at(*frames) == found


def test_a_voice_that_ended_is_no_evidence_of_another() -> None:
    onset = Onset()
    for probability in (0.9, 0.9, 0.3):
        onset.hear(probability, -20.0)
    onset.forget()
    assert not onset.hear(0.55, -20.0)
    assert onset.hear(0.55, -20.0)


def test_over_a_reply_less_is_needed_of_what_is_far_louder_than_the_room() -> None:
    doubted = (0.16, 0.18, 0.08, 0.11)
    assert eager_onset_at(-60.0, -16.0, *doubted) == 3
    assert eager_onset_at(-60.0, -40.0, *doubted) is None
    assert eager_onset_at(-40.0, -16.0, *doubted) is None
    assert eager_onset_at(-60.0, -16.0, 0.3, 0.05, 0.03) is None
    assert onset_at(*doubted) is None


def test_a_bang_is_too_short_to_be_believed() -> None:
    onset = Onset()
    bang = ((-60.0, 0.02), (-12.0, 0.3), (-20.0, 0.3), (-45.0, 0.1), (-60.0, 0.05))
    assert not any(onset.hear(probability, dbfs, eager=True) for dbfs, probability in bang)


def test_no_room_is_taken_to_be_quieter_than_a_quiet_one() -> None:
    assert eager_onset_at(-120.0, -40.0, 0.3, 0.3, 0.3) is None


def test_a_room_that_has_grown_louder_is_believed_after_a_while() -> None:
    onset = Onset()
    for dbfs, seconds in ((-60.0, 1.0), (-25.0, 10.0)):
        for _ in range(round(seconds * SPEECH_HZ / FRAME)):
            onset.hear(0.02, dbfs, eager=True)
    assert not any(onset.hear(0.3, -16.0, eager=True) for _ in range(5))


class Voice:
    """A voice whose level a test plays."""

    def __init__(self) -> None:
        self.fall = Fall()
        self.fall.rise()
        self.end = 0

    def at(self, dbfs: float, seconds: float = FRAME / SPEECH_HZ) -> list[bool]:
        came_back = []
        for _ in range(round(seconds * SPEECH_HZ / FRAME)):
            self.end += FRAME
            came_back.append(self.fall.hear(dbfs, self.end))
        return came_back


def test_a_deep_fall_is_seen_in_its_first_frame() -> None:
    voice = Voice()
    voice.at(-20, 0.5)
    assert voice.fall.at is None
    voice.at(-20 - FALL_DB - 1)
    assert voice.fall.at == voice.end
    voice.at(-70, 0.2)
    assert voice.end > voice.fall.at > voice.end - 0.25 * SPEECH_HZ


def test_a_voice_that_comes_back_has_not_fallen() -> None:
    voice = Voice()
    voice.at(-20, 0.5)
    voice.at(-60)
    assert voice.at(-25) == [True]
    assert voice.fall.at is None
    assert voice.at(-25) == [False]


def test_in_a_loud_room_nothing_is_seen() -> None:
    voice = Voice()
    voice.at(-20, 0.5)
    voice.at(-50, 0.3)
    assert voice.fall.at is None


def test_who_grows_softer_has_not_stopped() -> None:
    voice = Voice()
    for dbfs in range(-10, -60, -1):
        voice.at(dbfs, 0.25)
        assert voice.fall.at is None


def test_falls_are_looked_at_a_few_times_a_second() -> None:
    voice = Voice()
    looked_at = 0
    for _ in range(int(SPEECH_HZ / FRAME / 2)):
        voice.at(-20)
        voice.at(-60)
        assert voice.fall.at == voice.end
        looked_at += voice.fall.foreseen
    assert looked_at == MOST_FALLS
    voice.at(-20, 0.5)
    voice.at(-60)
    assert voice.fall.foreseen
