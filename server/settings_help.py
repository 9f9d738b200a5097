"""What there is to set, in words: the one source of `antiphon serve --help` and of the tables in
docs/operations.md."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import annotated_types
from pydantic.fields import FieldInfo

from server.settings import Settings
from server.settings_source import PREFIX


@dataclass(frozen=True, slots=True)
class Setting:
    """One of them."""

    variable: str
    takes: str
    """Its type and range."""
    default: str
    """Of this machine; "none" for nothing."""
    text: str


def describe() -> Iterator[Setting]:
    """Every setting, in the order of `Settings`."""
    for name, field in Settings.model_fields.items():
        default = _shown(field.get_default(call_default_factory=True))
        yield Setting(PREFIX + name.upper(), _takes(field), default, field.description or "")


def epilog() -> str:
    """For the command line."""
    lines = (f"  {s.variable}  {s.takes}\n      {s.text} [{s.default}]" for s in describe())
    return "Settings, from the environment or a .env file:\n\n" + "\n".join(lines)


def _shown(default: object) -> str:
    if default in ("", (), None):
        return "none"
    if isinstance(default, bool):
        return "on" if default else "off"
    return str(default)


def _takes(field: FieldInfo) -> str:
    kind: Any = field.annotation
    if get_origin(kind) is Literal:
        return ", ".join(get_args(kind))
    if kind is bool:
        return "on, off"
    if kind is int or kind is float:
        return f"{'integer' if kind is int else 'number'}{_range(field)}"
    if Path in (kind, *get_args(kind)):
        return "path"
    return "list" if get_origin(kind) is tuple else "text"


def _range(field: FieldInfo) -> str:
    least = most = ""
    for bound in field.metadata:
        match bound:
            case annotated_types.Ge(ge=value):
                least = f"{value}"
            case annotated_types.Gt(gt=value):
                least = f"over {value}"
            case annotated_types.Le(le=value):
                most = f"{value}"
    return f", {least} to {most}"
