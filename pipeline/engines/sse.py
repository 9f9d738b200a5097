"""Server-sent events, parsed from bytes as they arrive. Pure: bytes in, events' data out.

httpx's own `aiter_lines` is not used: it ends a line at every Unicode line break, and a JSON string
may hold U+2028 or U+0085 as they stand. The format (WHATWG HTML, 9.2) knows CR, LF and CRLF only.
"""

from __future__ import annotations

import re

MAX_EVENT_BYTES = 1_000_000
"""An event longer than this is no token of a reply."""

_LINE_END = re.compile(rb"\r\n|\n|\r")


class EventTooLong(ValueError):
    """The stream goes on and on without the end of an event."""


class EventParser:
    """Feed it chunks cut anywhere, inside a character or a CRLF too; it gives whole events."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._held_bytes = 0
        self._after_cr = False

    def feed(self, chunk: bytes) -> list[str]:
        """The data of each event that this chunk completes, in order.

        Bytes that are no UTF-8 become U+FFFD. Raises `EventTooLong` past `MAX_EVENT_BYTES`.
        """
        if self._after_cr and chunk.startswith(b"\n"):
            chunk, self._after_cr = chunk[1:], False  # the second half of a CRLF
        if not chunk:
            return []
        self._after_cr = chunk.endswith(b"\r")
        *lines, self._rest = _LINE_END.split(self._rest + chunk)
        events = [data for line in lines if (data := self._take(line)) is not None]
        if len(self._rest) + self._held_bytes > MAX_EVENT_BYTES:
            raise EventTooLong(f"an event of more than {MAX_EVENT_BYTES} bytes")
        return events

    def end(self) -> list[str]:
        """The stream is over: the event that lacks its blank line, as some servers end theirs."""
        last, self._rest = self._rest, b""
        return [data for line in (last, b"") if (data := self._take(line)) is not None]

    def _take(self, line: bytes) -> str | None:
        if not line:
            data, self._data, self._held_bytes = self._data, [], 0
            return b"\n".join(data).decode("utf-8", "replace") if data else None
        field, _, value = line.removeprefix(b"\xef\xbb\xbf").partition(b":")
        if field == b"data":  # a comment has no field; event, id and retry say nothing here
            self._data.append(value.removeprefix(b" "))
            self._held_bytes += len(line)  # an empty one takes room too
        return None
