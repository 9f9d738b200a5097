"""Repertoire: what the engines speak and understand as they are now. Those on Ray may be deployed
anew, with other voices, while the server runs."""

from __future__ import annotations

import structlog

from pipeline.engines.engine_set import Engines
from pipeline.engines.ports import RunsElsewhere
from pipeline.errors import SettingsError
from session.catalogue import Catalogue

log = structlog.get_logger(__name__)

PREFERRED_VOICE = "af_heart"
"""Kokoro's best-trained voice; an engine without it begins with its own first."""


class Repertoire:
    """One server's."""

    def __init__(self, engines: Engines, chosen: str) -> None:
        """`chosen`: the operator's voice; "": any."""
        self._engines = engines
        self._chosen = chosen
        self._known: Catalogue | None = None

    def check(self) -> None:
        """Once the engines are loaded. Raises `SettingsError` for a chosen voice that is not there:
        later on, when it is taken away, another one takes its place."""
        voices = self.now().voices
        if self._chosen and self._chosen not in voices:
            raise SettingsError(
                f"ANTIPHON_TTS_VOICE={self._chosen!r}: there is no such voice; "
                f"there are {', '.join(voices)}"
            )

    def now(self) -> Catalogue:
        """What a client may choose from."""
        engines, known = self._engines, self._known
        if known is not None and not isinstance(engines.synthesizers[0], RunsElsewhere):
            return known  # what runs here stays what it is, loaded or not
        voices = {voice.name: voice.language for voice in engines.synthesizers[0].voices}
        languages = engines.transcriber.languages
        if known is not None and (known.voices, known.languages) == (voices, languages):
            return known
        wishes = (self._chosen, PREFERRED_VOICE)
        default = next((voice for voice in wishes if voice in voices), next(iter(voices)))
        self._known = Catalogue(
            voices, languages, default, engines.ear.lacks, engines.voice.lacks
        )  # fmt: skip
        if known is not None:
            log.warning(
                "catalogue_changed", voices=len(voices), default=default,
                gone=sorted(known.voices.keys() - voices.keys())[:8],
            )  # fmt: skip
        return self._known
