"""What a request for a transcription asks for: the fields of its form, checked. Pure.

Every error names the parameter that it is about.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Final, Literal, cast, get_args

from pipeline.errors import BadMessage, NotFound
from pipeline.transcribing import Wish

Format = Literal["json", "text", "srt", "vtt", "verbose_json"]
Granularity = Literal["segment", "word"]
FORMATS: Final = get_args(Format)
GRANULARITIES: Final = get_args(Granularity)
STREAMED: Final = ("json", "text")
BOOLEANS: Final = {"true": True, "1": True, "false": False, "0": False}
HOTTEST = 1.0


@dataclass(frozen=True, slots=True)
class TranscriptionAsk:
    """A request for a transcription that can be fulfilled."""

    wish: Wish = field(default_factory=Wish)
    format: Format = "json"
    stream: bool = False
    """As server-sent events, a window's words at a time."""
    granularities: frozenset[Granularity] = frozenset({"segment"})
    """What `verbose_json` gives times of."""


@dataclass(frozen=True, slots=True)
class Ear:
    """What can be asked of this server's recogniser."""

    models: frozenset[str]
    languages: frozenset[str]


def read_ask(fields: Iterable[tuple[str, str]], ear: Ear) -> TranscriptionAsk:
    """Read and check a form's fields, the file aside; empty and unknown ones are passed over.

    Raises `BadMessage`, and `NotFound` for a model.
    """
    given = [(name, value.strip()) for name, value in fields if value.strip()]
    one = dict(given)
    _check_model(one.get("model"), ear.models)
    format_ = _choice("response_format", one.get("response_format", "json"), FORMATS)
    stream = _choice("stream", one.get("stream", "false").lower(), BOOLEANS)
    if BOOLEANS[stream] and format_ not in STREAMED:
        raise BadMessage(
            f"a stream is of text, not of {format_}: leave `stream` out, or ask for json",
            param="stream",
        )
    wanted = {
        _choice("timestamp_granularities", value, GRANULARITIES)
        for name, value in given
        if name in ("timestamp_granularities[]", "timestamp_granularities")
    }
    if wanted and format_ != "verbose_json":
        raise BadMessage(
            "timestamp_granularities is for response_format verbose_json",
            param="timestamp_granularities",
        )
    wish = Wish(
        _language(one.get("language"), ear.languages),
        one.get("prompt", ""),
        _temperature(one.get("temperature", "0")),
    )
    return TranscriptionAsk(
        wish,
        cast(Format, format_),
        BOOLEANS[stream],
        cast(frozenset[Granularity], frozenset(wanted or {"segment"})),
    )


def _check_model(name: str | None, known: Collection[str]) -> None:
    if name is not None and name not in known:
        there = ", ".join(sorted(known))
        raise NotFound(f"there is no model {name[:80]!r}; there are {there}", param="model")


def _choice(param: str, value: str, known: Collection[str]) -> str:
    if value not in known:
        raise BadMessage(f"{param}: {value[:40]!r} is none of {', '.join(known)}", param=param)
    return value


def _language(wanted: str | None, known: Collection[str]) -> str | None:
    """By its ISO 639-1 code; a region ("en-GB") says nothing to a recogniser."""
    if wanted is None:
        return None
    code = wanted.lower().replace("_", "-").partition("-")[0]
    if code not in known:
        there = ", ".join(sorted(known))
        raise BadMessage(
            f"{wanted[:40]!r} is not understood here; there are {there}", param="language"
        )
    return code


def _temperature(value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 <= number <= HOTTEST:  # nor NaN
        raise BadMessage(f"temperature: {value[:40]!r} is not from 0 to 1", param="temperature")
    return number
