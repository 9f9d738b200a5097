"""A turn machine that keeps a record of all it is told, and the way back: record to events. Pure.

One JSON object a line: first how the machine was made, then every event with its time. What is
said in a session is in its record, as words; its audio is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from . import errors
from .signals import Effect, Event
from .turn import TurnConfig, TurnMachine

FORMAT = 1
_EVENTS: dict[str, type] = {kind.__name__: kind for kind in Event.__args__}
_ERRORS: dict[str, type[errors.AntiphonError]] = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.AntiphonError)
}


class BadRecording(errors.AntiphonError):
    """A line that no recording has."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A step of a replay: what the machine was told, when, and what followed."""

    at: float
    told: Event | TurnConfig | None
    effects: list[Effect]


class RecordedMachine(TurnMachine):
    """A turn machine that writes a line for every step; `write` takes lines without their end."""

    def __init__(
        self,
        config: TurnConfig,
        write: Callable[[str], None],
        *,
        next_turn: int = 1,
        next_reply: int = 1,
    ) -> None:
        super().__init__(config, next_turn=next_turn, next_reply=next_reply)
        self._write = write
        write(
            _line(
                antiphon_recording=FORMAT,
                config=config,
                next_turn=next_turn,
                next_reply=next_reply,
            )
        )

    def step(self, event: Event | None, now: float) -> list[Effect]:
        name = "Wake" if event is None else type(event).__name__
        self._write(_line(at=now, event=name, of={} if event is None else event))
        return super().step(event, now)

    def reconfigure(self, config: TurnConfig, now: float) -> list[Effect]:
        self._write(_line(at=now, event="Configure", of=config))
        # The steps that follow from it are the machine's own: they follow in a replay too.
        write, self._write = self._write, lambda line: None
        try:
            return super().reconfigure(config, now)
        finally:
            self._write = write


def replay(lines: Iterable[str]) -> Iterator[Moment]:
    """Put a recording through a new machine, step by step. Raises `BadRecording`."""
    records = ((number, line) for number, line in enumerate(lines, 1) if line.strip())
    machine = _machine(next(records, (1, "{}"))[1])
    for number, line in records:
        try:
            at, told = _read(msgspec.json.decode(line))
        except (msgspec.MsgspecError, KeyError, TypeError, AttributeError) as error:
            raise BadRecording(f"line {number} is no line of a recording: {error}") from error
        if isinstance(told, TurnConfig):
            yield Moment(at, told, machine.reconfigure(told, at))
        else:
            yield Moment(at, told, machine.step(told, at))


def _machine(line: str) -> TurnMachine:
    try:
        head = msgspec.json.decode(line)
        if head["antiphon_recording"] != FORMAT:
            raise BadRecording(f"this recording is of format {head['antiphon_recording']}")
        return TurnMachine(
            msgspec.convert(head["config"], TurnConfig),
            next_turn=head["next_turn"],
            next_reply=head["next_reply"],
        )
    except (msgspec.MsgspecError, KeyError, TypeError) as error:
        raise BadRecording("this is no recording of a session") from error


def _read(record: dict[str, Any]) -> tuple[float, Event | TurnConfig | None]:
    at, name = float(record["at"]), record["event"]
    if name == "Wake":
        return at, None
    kind = TurnConfig if name == "Configure" else _EVENTS[name]
    told: Event | TurnConfig = msgspec.convert(record["of"], kind, dec_hook=_read_error)
    return at, told


def _line(**fields: Any) -> str:
    return msgspec.json.encode(fields, enc_hook=_write_error).decode()


def _write_error(value: Any) -> Any:
    if isinstance(value, Exception):
        return [type(value).__name__, str(value)]
    raise NotImplementedError(f"{type(value).__name__} has no place in a recording")


def _read_error(kind: type, value: Any) -> Any:
    name, message = value
    return _ERRORS.get(name, errors.EngineError)(message)
