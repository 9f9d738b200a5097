"""What this server can speak and understand: the names a client may choose from."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.errors import NotFound

from .messages import Configure


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Voices by name with their language, and the languages the recogniser knows."""

    voices: dict[str, str]
    languages: frozenset[str]
    default_voice: str
    not_understood: str = ""
    """What the server lacks to understand other languages; "" if it lacks nothing known."""
    not_spoken: str = ""
    """The same for speaking them."""

    def voice_for(self, language: str, own: str) -> str:
        """A voice that speaks the language: one's own if it does, else the server's default, else
        the first one; one's own where none does."""
        wanted = primary(language)
        speak = [name for name, spoken in self.voices.items() if primary(spoken) == wanted]
        for name in (own, self.default_voice):
            if name in speak:
                return name
        return speak[0] if speak else own

    def speaks(self, voice: str, language: str | None) -> str:
        """Who speaks for one who has chosen this voice: the voice itself, while it is there; else
        one of the language that was chosen, if any was, or the server's default."""
        if voice in self.voices:
            return voice
        return self.voice_for(language, self.default_voice) if language else self.default_voice

    def check(self, choices: Configure) -> None:
        """Raises `NotFound`, with what there is, for a name that this server does not have; "" is
        what it has itself."""
        if choices.voice and choices.voice not in self.voices:
            some = ", ".join(list(self.voices)[:8])
            raise NotFound(f"there is no voice {choices.voice!r}; some there are: {some}")
        if choices.language:
            self._check_language(choices)

    def _check_language(self, choices: Configure) -> None:
        language = primary(choices.language or "")
        if language not in self.languages:
            known = ", ".join(sorted(self.languages))
            why = f"language {choices.language!r} is not understood here; {known} is"
            raise NotFound(f"{why}; {self.not_understood}" if self.not_understood else why)
        silent = choices.modality == "text" or choices.answers is False
        spoken = sorted({primary(one) for one in self.voices.values()})
        if not silent and language not in spoken:
            why = f"no voice here speaks {choices.language!r}; there are {', '.join(spoken)}"
            raise NotFound(f"{why}; {self.not_spoken}" if self.not_spoken else why)


def primary(language: str) -> str:
    """The language of a tag: "pt" of "pt-BR"."""
    return language.lower().replace("_", "-").split("-")[0]
