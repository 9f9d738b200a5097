"""What the turn machine leaves off when it is told to."""

from __future__ import annotations

from pipeline.signals import Draft, Effect, Heard, Look, Looked
from pipeline.turn import TurnConfig, TurnMachine
from pipeline.turn_config import PARTIAL_EVERY
from pipeline.utterance import FRAME, SPEECH_HZ


def hear(machine: TurnMachine, probability: float, begin: int, seconds: float) -> list[Effect]:
    """So much of one probability, each look answered with words."""
    effects: list[Effect] = []
    for end in range(begin + FRAME, begin + round(seconds * SPEECH_HZ) + 1, FRAME):
        for effect in machine.step(Heard(probability, end, end / SPEECH_HZ), end / SPEECH_HZ):
            effects.append(effect)
            if isinstance(effect, Look):
                words = Looked(effect.key, effect.segment, effect.attempt, "words and")
                effects += machine.step(words, end / SPEECH_HZ)
    return effects


def partials(config: TurnConfig) -> int:
    effects = hear(TurnMachine(config), 1.0, 0, 9.1)
    return sum(isinstance(effect, Look) and not effect.final for effect in effects)


def test_partials_come_less_often_when_they_are_to_be_thin() -> None:
    assert partials(TurnConfig()) == 6
    assert partials(TurnConfig(partial_every=3 * PARTIAL_EVERY)) == 2


def test_without_speculation_a_reply_is_begun_when_its_turn_is_over() -> None:
    for speculate in (True, False):
        machine = TurnMachine(TurnConfig(speculate=speculate))
        hear(machine, 1.0, 0, 1.024)
        drafts = [e for e in hear(machine, 0.0, 16_384, 3.0) if isinstance(e, Draft)]
        assert [draft.speculative for draft in drafts] == [speculate]
