"""The kinds of scarce engine: what a slot of each gives access to, and how its failure is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from .engines.ports import EndOfTurnModel, LanguageModel, Synthesizer, Transcriber
from .errors import EngineError, LlmFailed, SttFailed, TtsFailed

E = TypeVar("E")


@dataclass(frozen=True)
class Kind(Generic[E]):
    """A kind of slot; its type parameter is what a slot of it gives access to."""

    name: str
    title: str
    """Its name in a sentence that a client may read."""
    failed: type[EngineError]
    """What an exception that no engine should raise becomes."""


STT: Kind[Transcriber] = Kind("stt", "speech recognition", SttFailed)
EOT: Kind[EndOfTurnModel] = Kind("eot", "end-of-turn detection", EngineError)
LLM: Kind[LanguageModel] = Kind("llm", "the language model", LlmFailed)
TTS: Kind[Synthesizer] = Kind("tts", "speech synthesis", TtsFailed)
