"""A language model's server for load runs: it says the same to all, and counts who listens."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN_S = 0.005
WORDS = ("This", "is", "a", "scripted", "reply.", "It", "has", "two", "sentences.")


@dataclass
class Backend:
    """Where it is, and how many replies it is writing now: requests whose connection is busy."""

    url: str
    busy: int = 0
    served: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


@contextmanager
def chat_backend() -> Iterator[Backend]:
    """An OpenAI-compatible server on a free port, for as long as the block."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer("application/json", [json.dumps({"data": [{"id": "scripted"}]}).encode()])

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            with backend.lock:
                backend.busy += 1
            try:
                self._answer("text/event-stream", _events())
            except OSError:
                self.close_connection = True  # whoever asked has heard enough
            finally:
                with backend.lock:
                    backend.busy -= 1
                    backend.served += 1

        def _answer(self, kind: str, parts: Iterator[bytes] | list[bytes]) -> None:
            self.send_response(200)
            self.send_header("content-type", kind)
            self.send_header("transfer-encoding", "chunked")
            self.send_header("connection", "close")  # none is kept, so that none need be told apart
            self.end_headers()
            for part in parts:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
            self.wfile.write(b"0\r\n\r\n")

        def log_message(self, *what: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    backend = Backend(f"http://127.0.0.1:{server.server_address[1]}/v1")
    serving = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
    serving.start()
    try:
        yield backend
    finally:
        server.shutdown()
        server.server_close()


def _events() -> Iterator[bytes]:
    for number, word in enumerate(WORDS):
        time.sleep(TOKEN_S)
        yield _event({"content": f" {word}" if number else word}, None)
    yield _event({}, "stop") + b"data: [DONE]\n\n"


def _event(delta: dict[str, str], finish: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"
