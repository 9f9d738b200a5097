"""Short texts that were spoken before, as audio: bounded in bytes, the least lately asked for go
first. Pure."""

from __future__ import annotations

import sys
from collections import OrderedDict
from dataclasses import dataclass
from typing import Protocol

from pipeline.voicing import VoiceChoice
from server.requests import Skipped

LONGEST_TEXT = 300
"""Characters: a phrase or two, some 20 s. What is longer is hardly asked for twice."""
OVERHEAD_BYTES = 1_000
"""What an entry takes besides its bytes and texts: its objects, and its place in the table (some
600, and 200 for each skipped stretch; sys.getsizeof, Python 3.11)."""


class CacheWatcher(Protocol):
    """Whoever counts how often it helps."""

    def __call__(self, *, hit: bool) -> None: ...


@dataclass(frozen=True, slots=True)
class Key:
    """What makes two requests sound the same."""

    text: str
    voice: VoiceChoice
    model: str


@dataclass(frozen=True, slots=True)
class Spoken:
    """A text's audio, 16-bit PCM at `REPLY_HZ`, and what of it was not voiced."""

    pcm: bytes
    skipped: tuple[Skipped, ...]


def size_of(key: Key, spoken: Spoken) -> int:
    """Bytes of memory that an entry takes, rounded up."""
    texts = [key.text, key.voice.voice, key.voice.language or "", key.model]
    texts += [one.text for one in spoken.skipped] + [one.reason for one in spoken.skipped]
    overhead = OVERHEAD_BYTES * (1 + len(spoken.skipped))
    return overhead + sys.getsizeof(spoken.pcm) + sum(map(sys.getsizeof, texts))


class SpeechCache:
    """The least recently used go when there is no more room."""

    def __init__(self, most_bytes: int, asked: CacheWatcher) -> None:
        """`most_bytes` of audio, texts and what holds them; 0: nothing is kept, and nobody is told
        of what is not found."""
        self._most = most_bytes
        self._asked = asked
        self._kept: OrderedDict[Key, Spoken] = OrderedDict()
        self.bytes = 0

    def takes(self, key: Key) -> bool:
        """Whether this is a text to be kept."""
        return self._most > 0 and len(key.text) <= LONGEST_TEXT

    def get(self, key: Key) -> Spoken | None:
        """What is known of it."""
        if not self.takes(key):
            return None
        spoken = self._kept.get(key)
        self._asked(hit=spoken is not None)
        if spoken is not None:
            self._kept.move_to_end(key)
        return spoken

    def put(self, key: Key, spoken: Spoken) -> None:
        """Keep it, if it is to be kept."""
        size = size_of(key, spoken)
        if not self.takes(key) or size > self._most:
            return
        if (before := self._kept.pop(key, None)) is not None:
            self.bytes -= size_of(key, before)
        self._kept[key] = spoken
        self.bytes += size
        while self.bytes > self._most:
            self.bytes -= size_of(*self._kept.popitem(last=False))
