"""Nothing secret is written, shown or told: a server that has every secret there is, driven well
and badly, with its log at its most talkative."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import websockets

from tests.contract.chat_backend import (
    ChatBackend,
    breaks_sse,
    chat_backend,
    chunk,
    head,
    refuses,
    reply,
    sends,
)
from tests.support import ROOT, SCRIPTED, Caller, call
from tests.tokens import bearer, token
from tests.valkey import valkey

SHARED = "shared-Kj3s8dHf72kLmQp0-of-those-who-sign"
ADMIN = "admin-9sKd72hGqL4-of-the-operator"
KEY = "sk-llm-5fGh82kLqW-of-the-bill"
REDIS = "redis-7dKq93mZx-of-the-store"
NAMED = {"the secret": SHARED, "the admin's token": ADMIN, "the model's key": KEY, "Redis'": REDIS}


@dataclass
class Told:
    """All that clients were told, and the secrets that some of them hold."""

    port: int
    heard: list[str] = field(default_factory=list)
    secrets: dict[str, str] = field(default_factory=lambda: dict(NAMED))

    async def ask(self, method: str, path: str, shown: str | None = None, **more: Any) -> Any:
        """A request, and what came of it; what is given out on purpose is not kept."""
        headers = {**(bearer(shown) if shown else {}), **more.pop("headers", {})}
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}") as http:
            answer = await http.request(method, path, headers=headers, **more)
        gives = path in ("/v1/sessions", "/v1/realtime/client_secrets") and answer.is_success
        body = "" if gives else answer.text
        self.heard.append(f"{dict(answer.headers)} {body}")
        return answer

    def hear(self, caller: Caller, why: str) -> None:
        """What a socket was told; the welcome gives a resume token on purpose."""
        self.secrets |= {f"a resume token, {why}": w["resume"] for w in caller.of("welcome")}
        told = [{**one, "resume": None} for one in caller.messages]
        self.heard.append(f"{json.dumps(told)} {caller.socket.close_reason}")

    async def refused(self, why: str, *first: str, path: str = "/ws", **options: Any) -> None:
        """A socket that is not let in, or says what is no message."""
        url = f"ws://127.0.0.1:{self.port}{path}"
        try:
            async with call(url, **options) as caller:
                for frame in first:
                    await caller.socket.send(frame)
                await caller.socket.send('{"type": "bye"}')
                await caller.closed()
                self.hear(caller, why)
        except websockets.InvalidStatus as status:
            self.heard.append(f"{status} {status.response}")
        except websockets.ConnectionClosed as closed:
            self.heard.append(str(closed))


async def well_and_badly(told: Told, backend: ChatBackend) -> None:
    url = f"ws://127.0.0.1:{told.port}/ws"
    signed = told.secrets["a signed token"] = token("anna", secret=SHARED)
    forged = told.secrets["a forged token"] = token("eve", secret="x" * 40)
    expired = told.secrets["an expired token"] = token("anna", secret=SHARED, exp=1)
    given = (await told.ask("POST", "/v1/sessions", signed)).json()["token"]
    secret = (await told.ask("POST", "/v1/realtime/client_secrets", signed)).json()["value"]
    told.secrets |= {"a session token": given, "a client secret": secret}

    # As it should be: all three ways, a session token, a resume, a client secret, speech.
    offered = ["antiphon.v1", f"openai-insecure-api-key.{signed}"]
    async with call(url, {}, subprotocols=offered) as caller:
        told.hear(caller, "by a subprotocol")
    async with call(url, {"token": given, "speed": 4.0}) as caller:
        await caller.say("text", text="Hello.")
        assert (await caller.play())["status"] == "completed"
        resume = caller.of("welcome")[0]["resume"]
        told.hear(caller, "by a session token")
    await told.ask("GET", "/v1/audio/voices", given)
    async with call(url, {"token": given, "resume": resume}) as caller:
        assert caller.of("welcome")[0]["resumed"]
        told.hear(caller, "resumed")
    realtime = f"ws://127.0.0.1:{told.port}/v1/realtime"
    async with websockets.connect(realtime, additional_headers=bearer(secret)) as socket:
        told.heard.append(str(await socket.recv()))
    await told.ask("POST", "/v1/audio/speech", signed, json={"input": "Hello."})
    await told.ask("GET", "/v1/me/data", signed)

    # A language model that quotes its key, and that breaks.
    quotes = f'{{"error": {{"message": "bad key: Bearer {KEY}"}}}}'.encode()
    in_stream = b"data: " + quotes + b"\n\n"
    html = head(200, "application/json")
    for answer in (
        refuses(400, quotes), refuses(401, quotes), refuses(500, quotes), breaks_sse(),
        sends(html, quotes), sends(head(), chunk("Half a"), in_stream), sends(head(), in_stream),
    ):  # fmt: skip
        backend.answer = answer
        async with call(url, {"token": signed, "speed": 4.0}) as caller:
            await caller.say("text", text="Hello.")
            await caller.until("reply_done")
            told.hear(caller, "of a model that fails")
    await told.ask("GET", "/status", ADMIN)
    await told.ask("GET", "/metrics", ADMIN)
    backend.answer = sends(head(), reply("Fine."))

    # What no good client does, with what it holds.
    for shown in (forged, expired, given, resume, ADMIN):
        await told.ask("GET", "/v1/models", shown)
        await told.ask("GET", "/status", shown if shown != ADMIN else None)
        await told.refused("bad header", additional_headers=bearer(shown))
        await told.refused("bad subprotocol", subprotocols=[f"openai-insecure-api-key.{shown}"])
        await told.refused("bad hello", json.dumps({"type": "hello", "token": shown}))
        await told.refused("in a query", path=f"/ws?token={shown}")
        await told.refused("in realtime's query", path=f"/v1/realtime?model={shown}")
        await told.ask("GET", f"/v1/audio/voices?token={shown}&api_key={shown}")
        await told.ask("POST", "/v1/audio/speech", signed, json={"input": 5, "voice": shown})
        await told.ask("POST", "/v1/audio/speech", shown, content=f"{{{shown}".encode())
    both = {"additional_headers": bearer(signed)}
    for frame in (
        signed, json.dumps(signed), json.dumps([signed]),
        json.dumps({"type": "hello", "token": [signed]}),
        json.dumps({"type": "hello", "resume": {"token": resume}}),
        json.dumps({"type": "hello", "audio": signed}),
    ):  # fmt: skip
        await told.refused("not of the form", frame, **both)


@asynccontextmanager
async def every_secret(folder: Path, backend: ChatBackend, redis: str) -> AsyncIterator[Told]:
    """A server that has them all; it writes its log beside the rest."""
    environ = {
        **SCRIPTED, "ANTIPHON_LLM_ENGINE": "openai", "ANTIPHON_LLM_BASE_URL": backend.url,
        "ANTIPHON_LLM_API_KEY": KEY, "ANTIPHON_AUTH_SECRET": SHARED, "ANTIPHON_APOLOGY": "",
        "ANTIPHON_ADMIN_TOKEN": ADMIN, "ANTIPHON_REDIS_URL": redis, "ANTIPHON_AUDIT_MB": "10",
        "ANTIPHON_DATA_DIR": str(folder), "ANTIPHON_RECORD_DIR": str(folder / "records"),
        "ANTIPHON_LOG_LEVEL": "debug", "ANTIPHON_LOG_FORMAT": "json",
    }  # fmt: skip
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(  # noqa: ASYNC220 - a moment's work
            [sys.executable, "-m", "server", "serve", "--port", "0"],
            cwd=ROOT, env={**os.environ, **environ}, stdout=subprocess.PIPE, stderr=log,
        ) as server,
    ):  # fmt: skip
        try:
            assert server.stdout is not None
            line = await asyncio.to_thread(server.stdout.readline)
            assert b"ready" in line, (folder / "log").read_text()
            yield Told(int(line.rstrip(b"/\n").rpartition(b":")[2]))
            server.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(server.wait, 30) == 0
        finally:
            server.kill()


async def test_nothing_secret_is_written_shown_or_told(tmp_path: Path) -> None:
    with valkey("--user", "antiphon", "on", f">{REDIS}", "~*", "&*", "+@all") as redis:
        address = redis.url.replace("://", f"://antiphon:{REDIS}@")
        async with (
            chat_backend() as backend,
            every_secret(tmp_path, backend, address) as told,
        ):
            await well_and_badly(told, backend)
            redis.kill()
            signed = told.secrets["a signed token"]
            async with call(f"ws://127.0.0.1:{told.port}/ws", {"token": signed}) as caller:
                await caller.say("text", text="Is anybody there?")
                await caller.until("warning")
                told.hear(caller, "without Redis")
            for path in ("/status", "/metrics", "/admin/sessions", "/admin/requests"):
                assert (await told.ask("GET", path, ADMIN)).status_code == 200
    written = {path.name: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert {"log"} < written.keys()
    assert any("audit" in name for name in written)
    for what, secret in told.secrets.items():
        for name, text in written.items():
            assert secret not in text, f"{what} is in {name}: {_around(text, secret)}"
        for text in told.heard:
            assert secret not in text, f"{what} was told: {_around(text, secret)}"


def _around(text: str, secret: str) -> str:
    at = text.index(secret)
    return text[max(0, at - 200) : at + len(secret) + 50]
