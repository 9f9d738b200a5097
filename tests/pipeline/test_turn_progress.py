"""The mark by which it is seen whether a conversation gets on."""

from __future__ import annotations

from pipeline.signals import Draft, DraftAudio, DraftMade, DraftText, Heard, Look, Looked, Typed
from pipeline.turn import TurnConfig, TurnMachine
from pipeline.utterance import FRAME, SPEECH_HZ


def hear(machine: TurnMachine, probability: float, begin: int, seconds: float) -> list[Look]:
    looks = []
    for end in range(begin + FRAME, begin + round(seconds * SPEECH_HZ) + 1, FRAME):
        effects = machine.step(Heard(probability, end, end / SPEECH_HZ), end / SPEECH_HZ)
        looks += [effect for effect in effects if isinstance(effect, Look)]
    return looks


def test_where_nobody_waits_there_is_nothing_to_watch() -> None:
    machine = TurnMachine(TurnConfig())
    assert machine.progress is None
    hear(machine, 1.0, 0, 1.024)
    assert machine.progress is None  # somebody speaks: that takes as long as it takes


def test_words_that_do_not_come_are_waited_for_and_frames_are_no_progress() -> None:
    machine = TurnMachine(TurnConfig(speculate=False))
    hear(machine, 1.0, 0, 1.024)
    looks = hear(machine, 0.0, 16_384, 0.128)
    waiting = machine.progress
    assert waiting is not None
    hear(machine, 0.0, 16_384 + 4 * FRAME, 5.0)
    assert machine.progress == waiting
    last = looks[-1]
    words = Looked(last.key, last.segment, last.attempt, "Tell me a story.")
    (draft,) = [e for e in machine.step(words, 7.0) if isinstance(e, Draft)]
    answering = machine.progress
    assert answering not in (None, waiting)
    machine.step(DraftText(draft.draft, "Once "), 7.1)
    assert machine.progress not in (None, answering)


def test_a_committed_turn_without_a_reply_would_be_seen() -> None:
    machine = TurnMachine(TurnConfig(speculate=False))
    hear(machine, 1.0, 0, 1.024)
    looks = hear(machine, 0.0, 16_384, 2.0)
    last = looks[-1]
    machine.step(Looked(last.key, last.segment, last.attempt, "Tell me a story."), 4.0)
    machine.replies.current = None  # what cannot be
    assert machine.progress is not None


def test_a_reply_gets_on_with_every_piece_that_is_made_or_sent_and_then_it_is_over() -> None:
    machine = TurnMachine(TurnConfig())
    (draft,) = [e for e in machine.step(Typed("hello"), 0.0) if isinstance(e, Draft)]
    marks = [machine.progress]
    for news in (
        DraftText(draft.draft, "Hello."), DraftAudio(draft.draft, 24_000), DraftMade(draft.draft),
    ):  # fmt: skip
        machine.step(news, 0.1)
        marks.append(machine.progress)
    assert len(set(marks)) == 4
    machine.step(None, 5.0)
    assert machine.progress is None
