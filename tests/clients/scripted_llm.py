"""A language model that is certain of what it says: an OpenAI-compatible server in a thread.

It goes by words of the last message: of the weather it asks the tool, a tool's answer it repeats,
a story is long, and to all else it tells its name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

STORY = (
    "Once there was a small boat on a wide and quiet lake. Every morning it went out with the "
    "fishermen, and every evening it came home with the sun behind it. One day the wind turned, "
    "and the water grew dark. The boat held its course, past the rocks and past the lighthouse, "
    "until it found a harbour that nobody had ever seen before. There it stayed for the winter. "
    "When spring came the fishermen mended its sails and painted its sides. The children of the "
    "harbour waved from the pier, and the boat went out again, to look for the lake that it had "
    "come from. It asked the gulls, and it asked the whales, and none of them knew the way."
)
"""Long enough that it is never all sent when somebody cuts in."""
NAME = "My name is Antiphon."


def answer(request: dict[str, Any]) -> list[dict[str, Any]]:
    """The deltas of the reply."""
    last = request["messages"][-1]
    text = str(last.get("content") or "")
    tools = [tool["function"]["name"] for tool in request.get("tools", [])]
    if last["role"] == "tool":
        reply = f"The forecast says: {text.strip()}"
    elif "weather" in text.lower() and tools:
        function = {"name": tools[0], "arguments": '{"city": "Paris"}'}
        call = {"index": 0, "id": "call_1", "type": "function", "function": function}
        return [{"role": "assistant", "tool_calls": [call]}]
    else:
        reply = STORY if "story" in text.lower() else NAME
    return [{"content": piece} for piece in re.findall(r"\S+\s*", reply)]


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._head("application/json")
        self.wfile.write(b'{"object": "list", "data": [{"id": "scripted"}]}')

    def do_POST(self) -> None:
        size = int(self.headers["content-length"])
        deltas = answer(json.loads(self.rfile.read(size)))
        self._head("text/event-stream")
        reason = "tool_calls" if "tool_calls" in deltas[0] else "stop"
        try:
            for delta in deltas:
                self._event({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
            self._event({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
            self.wfile.write(b"data: [DONE]\n\n")
        except ConnectionError:
            pass  # who asked is not interested any more

    def _head(self, kind: str) -> None:
        self.send_response(200)
        self.send_header("content-type", kind)
        self.end_headers()

    def _event(self, event: dict[str, Any]) -> None:
        self.wfile.write(b"data: " + json.dumps(event).encode() + b"\n\n")

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def scripted_llm() -> Iterator[str]:
    """Its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
