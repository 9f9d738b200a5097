"""Files of a model hub over https, resumed by Range where an earlier try stopped."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import httpx

from pipeline.models.manifest import Hub, ModelFile
from pipeline.models.progress import Progress, SourceFailed

HUB_URL = "https://huggingface.co"
_TRIES = 5
_TIMEOUT = httpx.Timeout(30.0, connect=10.0)
_FORBIDDEN_FOR_ALL = frozenset({403, 407, 451})
"""Statuses by which a proxy or a firewall says no; the hub itself answers 401 or 404."""


class HubFiles:
    """Downloads into a folder, one `.part` a file, named by the hash that it is to have."""

    def __init__(self, folder: Path, url: str, progress: Progress) -> None:
        self._folder = folder
        self._url = url.rstrip("/")
        self._progress = progress
        self._stack = ExitStack()
        self._client: httpx.Client | None = None

    def close(self) -> None:
        """Close the connections."""
        self._stack.close()
        self._client = None

    def part_of(self, file: ModelFile) -> Path:
        """Where the file's bytes gather."""
        return self._folder / f"{file.sha256}.part"

    def download(self, hub: Hub, file: ModelFile, label: str) -> Path:
        """The whole file's bytes, size right, hash not yet checked. Raises `SourceFailed`."""
        part = self.part_of(file)
        if _size(part) == file.size_bytes:
            return part
        address = f"{self._url}/{hub.repo}/resolve/{hub.revision}/{hub.path}"
        self._progress.begin(label)
        try:
            self._compare(hub, file, address)
            for _ in range(_TRIES):
                before = _size(part)
                reason = self._append(hub, file, address, part)
                if _size(part) == file.size_bytes:
                    return part
                if _size(part) == before:
                    break
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
            raise SourceFailed(f"hub: not reachable ({error})", whole_kind=True) from error
        except httpx.HTTPError as error:
            raise SourceFailed(f"{hub}: {error or type(error).__name__}") from error
        finally:
            self._progress.end()
        raise SourceFailed(f"{hub}: {reason}")

    def _compare(self, hub: Hub, file: ModelFile, address: str) -> None:
        """Refuse a file of another size or hash before a byte of it is downloaded.

        The hub answers HEAD with the SHA-256 of a large file in X-Linked-Etag and its size in
        X-Linked-Size, on the redirect to its storage; small files have only a length.
        """
        answer = self._http().head(address)
        self._check_status(hub, answer.status_code)
        etag = answer.headers.get("x-linked-etag", "").removeprefix("W/").strip('"')
        length = answer.headers.get("x-linked-size")
        if length is None and answer.status_code == 200:
            length = answer.headers.get("content-length")
        if (len(etag) == 64 and etag != file.sha256) or length not in (
            None,
            str(file.size_bytes),
        ):
            raise SourceFailed(f"{hub}: holds another {hub.path}")

    def _append(self, hub: Hub, file: ModelFile, address: str, part: Path) -> str:
        """Add what the hub gives to the part. Returns why it stopped, should that be too soon."""
        start = _size(part)
        headers = {"range": f"bytes={start}-"} if start else {}
        request = self._http().build_request("GET", address, headers=headers)
        answer = self._http().send(request, stream=True, follow_redirects=True)
        try:
            if answer.status_code == 416:
                part.unlink(missing_ok=True)
                return "refuses to resume"
            self._check_status(hub, answer.status_code)
            if answer.status_code == 206:
                if not answer.headers.get("content-range", "").startswith(f"bytes {start}-"):
                    raise SourceFailed(f"{hub}: answers another range than asked for")
            else:
                start = 0
            with part.open("ab" if start else "wb") as sink:
                done = start
                for chunk in answer.iter_raw():
                    done += len(chunk)
                    if done > file.size_bytes:
                        sink.truncate(0)
                        raise SourceFailed(f"{hub}: {hub.path} is longer than it should be")
                    sink.write(chunk)
                    self._progress.advance(done, file.size_bytes)
        except (httpx.ReadError, httpx.ReadTimeout, httpx.RemoteProtocolError) as error:
            return f"broke off ({error or type(error).__name__})"
        finally:
            answer.close()
        return "sent less than the whole file"

    def _check_status(self, hub: Hub, status: int) -> None:
        if status in _FORBIDDEN_FOR_ALL:
            raise SourceFailed(f"hub: refused (HTTP {status})", whole_kind=True)
        if status >= 400:
            raise SourceFailed(f"{hub}: HTTP {status}")

    def _http(self) -> httpx.Client:
        if self._client is None:
            # Compressed bytes could not be resumed.
            plain = {"accept-encoding": "identity"}
            self._client = self._stack.enter_context(httpx.Client(timeout=_TIMEOUT, headers=plain))
        return self._client


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
