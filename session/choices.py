"""What a client has chosen, in the words of the turn machine and of the stages. Pure."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.turn_config import PARTIAL_EVERY, TurnConfig
from pipeline.utterance import SPEECH_HZ
from pipeline.voicing import REPLY_HZ, VoiceChoice

from .apologies import apology_for
from .messages import Configure, Modality, Settings, chosen
from .records import SessionConfig
from .shedding import Level

THIN = 3
"""Under load, transcripts so far come so many times less often."""


Speaks = Callable[[str, str | None], str]
"""Who speaks for whoever has chosen this voice, and this language or none."""


def itself(voice: str, language: str | None) -> str:
    """Voices do not go away."""
    return voice


class Choices:
    """One session's settings as they are now, within what the server has set."""

    def __init__(self, settings: Settings, config: SessionConfig, speaks: Speaks = itself) -> None:
        self.settings = settings
        self._config = config
        self._speaks = speaks

    def change(self, change: Configure) -> None:
        """Take what is given, from the next reply on."""
        self.settings = chosen(self.settings, change)

    def turn_config(self, left_off: Level) -> TurnConfig:
        """How turns are taken, while so much is left off."""
        settings, config = self.settings, self._config
        thin = left_off >= Level.PARTIALS
        return TurnConfig(
            REPLY_HZ,
            config.send_ahead_s,
            settings.pace,
            settings.detection,
            speculate=config.speculates and left_off < Level.SPECULATION,
            partial_every=THIN * PARTIAL_EVERY if thin else PARTIAL_EVERY,
            answers=settings.answers,
            interrupts=settings.interrupts,
            holds=config.holds,
            follows_playback=config.follows_playback,
            silent=self.silent(),
            silence_s=settings.silence_ms / 1000 or None,
            threshold=settings.threshold,
            preroll=settings.preroll_ms * SPEECH_HZ // 1000,
        )

    def silent(self, modality: Modality | None = None) -> bool:
        """A reply is text only, unless it is asked for in a modality of its own."""
        return (modality or self.settings.modality) == "text"

    def voice(self, voice: str | None = None) -> VoiceChoice:
        """What speaks a reply, unless it is asked for in a voice of its own."""
        settings = self.settings
        speaks = self._speaks(voice or settings.voice, settings.language)
        return VoiceChoice(speaks, settings.speed, self.language)

    @property
    def language(self) -> str | None:
        """What the recogniser is told: "de" of "de-AT"; None: whatever is its own."""
        language = self.settings.language
        return language.lower().split("-")[0] if language else None

    @property
    def apology(self) -> str:
        """What is said if the language model says nothing."""
        return apology_for(self._config.apologies, self.settings.language)

    @property
    def patience_s(self) -> float:
        """Silence after a reply upon which another one is made; 0: none is."""
        return self.settings.idle_timeout_ms / 1000
