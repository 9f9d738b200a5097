"""Which of the servers that share a folder live: each holds a lock, which its death lets go."""

from __future__ import annotations

import fcntl
import secrets
from pathlib import Path
from typing import BinaryIO


class Owners:
    """The locks in one folder, one of them our own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock: BinaryIO | None = None
        self.me = secrets.token_hex(8)

    def begin(self) -> None:
        """Take a lock of our own. Raises `OSError`."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Locked before it has its name: nobody finds it without its lock.
        nameless = self._folder / f"{self.me}.new"
        self._lock = nameless.open("wb")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        nameless.rename(self._path(self.me))

    def alive(self, owner: str) -> bool:
        """Whether that one lives. What a dead one left is cleared away."""
        if owner == self.me:
            return True
        try:
            with self._path(owner).open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        self._path(owner).unlink(missing_ok=True)
        return False

    def end(self) -> None:
        """Let go of our own."""
        if self._lock is not None:
            self._path(self.me).unlink(missing_ok=True)
            self._lock.close()

    def _path(self, owner: str) -> Path:
        return self._folder / f"{owner}.lock"
