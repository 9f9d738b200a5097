"""The rules of a session's lease in plain Python and virtual time: what Redis' scripts must do."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class LeaseModel:
    """One session's."""

    ttl_ms: int
    fence: int = 0
    """Of the last claim; 0: nobody ever had it."""
    owner: str = ""
    leased_ms: int = 0
    """The end of the lease."""
    body: bytes = b""

    def save(self, me: str, fence: int, now_ms: int, body: bytes, *, parks: bool) -> int:
        """The fence it is saved under; 0: refused, for somebody claimed it since."""
        stale = fence < self.fence or (fence == self.fence and self.owner not in ("", me))
        if self.fence and stale:
            return 0
        self.fence = max(fence, 1)
        self.owner = "" if parks else me
        self.leased_ms = 0 if parks else now_ms + self.ttl_ms
        self.body = body
        return self.fence

    def claim(self, me: str, now_ms: int) -> int | None:
        """The new fence; None: nobody has saved it yet, or another one's lease holds."""
        if not self.fence or (self.owner not in ("", me) and self.leased_ms > now_ms):
            return None
        self.fence += 1
        self.owner = me
        self.leased_ms = now_ms + self.ttl_ms
        return self.fence

    def renew(self, me: str, fence: int, now_ms: int) -> bool:
        """Whether it is still this one's; a lease that has lapsed is, until somebody claims it."""
        if fence == self.fence and self.owner == me:
            self.leased_ms = now_ms + self.ttl_ms
            return True
        return fence > self.fence
