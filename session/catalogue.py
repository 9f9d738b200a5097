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

    def check(self, choices: Configure) -> None:
        """Raises `NotFound`, with what there is, for a name that this server does not have."""
        if choices.voice is not None and choices.voice not in self.voices:
            some = ", ".join(list(self.voices)[:8])
            raise NotFound(f"there is no voice {choices.voice!r}; some there are: {some}")
        if choices.language is not None:
            language = choices.language.lower().split("-")[0]
            if language not in self.languages:
                known = ", ".join(sorted(self.languages))
                raise NotFound(f"language {choices.language!r} is not understood here; {known} is")
