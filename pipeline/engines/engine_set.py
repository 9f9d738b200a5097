"""The engines of a server, and how there comes to be one more of each. It knows the ports, and no
engine by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from pipeline.engines.ports import (
    Choice,
    ChosenElsewhere,
    EndOfTurnModel,
    Engine,
    LanguageModel,
    Synthesizer,
    Transcriber,
    VoiceActivityModel,
)


@dataclass(frozen=True, slots=True)
class Makers:
    """One more of a kind, not started: beside others that wait too long, or for one that failed.

    None: there is never another.
    """

    transcriber: Callable[[int], Transcriber] | None = None
    """It is told its place, 0 for the first, and takes its share of the cores beside those before
    it; so is a synthesizer."""
    end_of_turn: Callable[[], EndOfTurnModel] | None = None
    synthesizer: Callable[[int], Synthesizer] | None = None
    language_model: Callable[[], LanguageModel] | None = None
    """None where it runs elsewhere: what fails there is a backend, and it answers for itself."""
    voice_activity: Callable[[], VoiceActivityModel] | None = None


@dataclass(frozen=True, slots=True)
class Engines:
    """What a server listens, thinks and speaks with. Nothing is loaded until each is started."""

    transcriber: Transcriber
    end_of_turn: EndOfTurnModel
    voice_activity: VoiceActivityModel
    synthesizers: tuple[Synthesizer, ...]
    """Those that are there from the start."""
    language_model: LanguageModel
    makers: Makers = field(default_factory=Makers)
    chosen_voice: Choice = field(default_factory=Choice)
    """What is said of the synthesizer, where it was chosen here."""
    chosen_ear: Choice = field(default_factory=Choice)
    """Likewise of the recogniser's model."""

    @property
    def voice(self) -> Choice:
        """Why it is this synthesizer; chosen elsewhere, once it is started."""
        return _choice_of(self.synthesizers[0], self.chosen_voice)

    @property
    def ear(self) -> Choice:
        """Likewise, this recogniser's model."""
        return _choice_of(self.transcriber, self.chosen_ear)


def _choice_of(engine: Engine, here: Choice) -> Choice:
    return engine.choice if isinstance(engine, ChosenElsewhere) else here
