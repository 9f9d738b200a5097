"""Where settings come from: variables of the environment and of a `.env` file. How a wrong one is
told."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from pipeline.errors import SettingsError

PREFIX = "ANTIPHON_"
ALIASES = {"MAX_CONCURRENT_GENERATIONS": "ANTIPHON_TTS_SLOTS"}
"""Old names that are still read."""

TALK_TOKEN = PREFIX + "TOKEN"
"""What `antiphon talk` shows; no setting of a server's."""
LISTS = ("allowed_origins", "allowed_hosts")


def read(
    environ: Mapping[str, str], env_file: Path | None, fields: Mapping[str, FieldInfo]
) -> dict[str, Any]:
    """The values that are set, by the field's name; the environment wins over the file.

    Raises `SettingsError` for a name with our prefix that is none of the fields.
    """
    variables: dict[str, str] = {}
    if env_file is not None and env_file.is_file():
        variables.update((k, v) for k, v in dotenv_values(env_file).items() if v is not None)
    variables.update(environ)
    values: dict[str, Any] = {}
    for name, value in variables.items():
        name = ALIASES.get(name, name) if ALIASES.get(name) not in variables else name
        if name.startswith(PREFIX):
            field = name.removeprefix(PREFIX).lower()
            if name == TALK_TOKEN:
                continue
            if field not in fields:
                raise SettingsError(f"{name} is not a setting; `antiphon serve --help` lists all")
            if value != "" or isinstance(fields[field].default, str):
                values[field] = _split(value) if field in LISTS else value
    return values


def told(
    error: ValidationError, values: Mapping[str, Any], fields: Mapping[str, FieldInfo]
) -> SettingsError:
    """The first thing that is wrong, in one line that names the variable and shows no secret."""
    first = error.errors()[0]
    field = str(first["loc"][0])
    about = fields[field]
    shown = f"={values.get(field)!r}" if about.repr else ""
    return SettingsError(
        f"{PREFIX}{field.upper()}{shown}: {_sentence(first['msg'])} ({about.description})"
    )


def _split(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _sentence(message: str) -> str:
    return message[0].lower() + message[1:]
