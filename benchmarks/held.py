"""What a process of this machine holds, by /proc: memory, threads, children, fds, CPU time."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Held:
    """A look at one process."""

    rss_mb: float
    """Resident memory, in MiB."""
    threads: int
    children: int
    fds: int
    cpu_s: float
    """User and system time of all its threads, since it began."""

    @classmethod
    def of(cls, pid: int) -> Held:
        """Look at a process; raises `FileNotFoundError` when there is none."""
        process = Path("/proc") / str(pid)
        status = dict(
            line.split(":", 1) for line in (process / "status").read_text().splitlines() if line
        )
        # The name in the second field may hold anything; the others begin behind its bracket.
        after_name = (process / "stat").read_text().rpartition(")")[2].split()
        return cls(
            rss_mb=int(status["VmRSS"].split()[0]) / 1024,
            threads=int(status["Threads"]),
            children=sum(
                len((task / "children").read_text().split())
                for task in (process / "task").iterdir()
            ),
            fds=len(list((process / "fd").iterdir())),
            cpu_s=(int(after_name[11]) + int(after_name[12])) / _TICKS_PER_S,
        )
