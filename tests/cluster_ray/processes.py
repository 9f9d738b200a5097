"""Which processes Ray runs below another one, as the kernel tells it."""

from __future__ import annotations

from pathlib import Path

VOICE = "ray::ServeReplica:antiphon:tts"


def below(pid: int) -> list[int]:
    """All that descend from it."""
    parents = _parents()
    found, level = [], {pid}
    while level := {child for child, parent in parents.items() if parent in level}:
        found += sorted(level)
    return found


def voices_below(pid: int) -> list[int]:
    """The synthesizer's replicas among them."""
    return [child for child in below(pid) if _name(child).startswith(VOICE)]


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode()
    except OSError:
        return ""


def _parents() -> dict[int, int]:
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            stat = (entry / "stat").read_text()
        except OSError:
            continue
        found[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    return found
