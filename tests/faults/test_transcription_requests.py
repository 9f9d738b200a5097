"""Transcription over HTTP when something goes wrong: one request fails, nobody else notices."""

from __future__ import annotations

import asyncio
import errno
import tempfile
from typing import Any

import httpx
import numpy as np
import pytest

from pipeline.engines.ports import SpeechWindow, Stop, Transcript
from pipeline.errors import SttFailed
from tests.faults.baseline import settled
from tests.faults.mischief import Mischief
from tests.faults.raw import raw
from tests.faults.trial import Trial, trial
from tests.recordings import encoded, silence, tone, wav

ROUTE = "/v1/audio/transcriptions"
SPOKEN = wav(np.concatenate([tone(5, level=0.9), silence(2.5), tone(5, level=0.9)]))
"""Two windows, loud as the victim is."""
BAD_FILES = {
    "empty": b"",
    "words": b"These are words already. " * 1_000,
    "zeros": bytes(500_000),
    "a header alone": SPOKEN[:44],
    "a film without its index": encoded("mp4", "aac", tone(3, 48_000))[:30_000],
    "one sample a second": wav(np.zeros(50_000, np.float32), rate_hz=1),
    "a list of files": b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n/etc/passwd\n",
}


def victim(house: Trial) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=house.url, timeout=30)


async def ask(http: httpx.AsyncClient, sound: bytes = SPOKEN, **fields: str) -> httpx.Response:
    return await http.post(ROUTE, files={"file": ("a.wav", sound)}, data=fields)


def post(sound: bytes = SPOKEN) -> bytes:
    """The bytes of a request of the victim's."""
    part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    body = part + sound + b"\r\n--x--\r\n"
    head = (
        f"POST {ROUTE} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
    )
    return head.encode() + body


async def outcome(house: Trial) -> tuple[str | None, str | None]:
    """What became of the last request, once none is at work."""
    requests = house.house.requests
    await settled(lambda: f"{requests.active} requests" if requests.active else "")
    tracked = next(iter(requests))
    return tracked.outcome, tracked.code


def at_work(house: Trial) -> str:
    return "" if house.house.requests.active else "it has not come yet"


# --- engines --------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", ["false", "true"])
@pytest.mark.parametrize("error", [SttFailed, RuntimeError])
async def test_a_recogniser_that_breaks_is_an_http_error(
    mischief: Mischief,
    monkeypatch: pytest.MonkeyPatch,
    error: type[Exception],
    stream: str,
) -> None:
    async def fault(window: SpeechWindow, stop: Stop) -> Transcript:
        raise error("no ears today")

    mischief.hearing(fault)
    async with trial() as house, victim(house) as http:
        house.bugs.add("engine_call_failed")
        answer = await ask(http, stream=stream)
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "STT_FAILED")
        assert await outcome(house) == ("failed", "STT_FAILED")
        monkeypatch.undo()
        assert (await ask(http)).status_code == 200


async def test_a_recogniser_that_breaks_in_the_second_window_is_told_as_an_event(
    mischief: Mischief,
) -> None:
    windows = 0

    async def fault(window: SpeechWindow, stop: Stop) -> Transcript:
        nonlocal windows
        windows += 1
        if windows > 1:
            raise SttFailed("no ears any more")
        return Transcript("so far so good", "en")

    mischief.hearing(fault)
    async with trial() as house, victim(house) as http:
        told = (await ask(http, stream="true")).text
        assert "so far so good" in told
        assert "no ears any more" in told
        assert await outcome(house) == ("failed", "STT_FAILED")


async def test_a_recogniser_that_hangs_and_whoever_waited_for_it_leaves(
    mischief: Mischief,
) -> None:
    async def fault(window: SpeechWindow, stop: Stop) -> Transcript:
        await mischief.hang()
        return Transcript("", "en")

    mischief.hearing(fault)
    async with trial() as house:
        async with victim(house) as http:
            asked = asyncio.ensure_future(ask(http))
            await mischief.reached.wait()
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
        assert await outcome(house) == ("cancelled", None)
        house.hung = mischief.release


async def test_a_recogniser_that_talks_nonsense_takes_nothing_with_it(mischief: Mischief) -> None:
    async def fault(window: SpeechWindow, stop: Stop) -> Transcript:
        return Transcript("and and and " * 1_000, "en", broken=True)

    mischief.hearing(fault)
    async with trial() as house, victim(house) as http:
        assert (await ask(http)).status_code == 200
        assert await outcome(house) == ("completed", None)


# --- clients --------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.1, 0.9], ids=["head", "begin", "most"])
async def test_a_reset_in_the_upload(share: float) -> None:
    async with trial() as house, raw(house.port) as client:
        whole = post()
        await client.send(whole[: max(300, round(share * len(whole)))])
        await settled(lambda: at_work(house))
        client.reset()
        assert await outcome(house) == ("cancelled", None)


async def test_a_reset_while_it_is_decoded() -> None:
    long = post(encoded("flac", "flac", np.zeros(48_000 * 300, np.float32)))
    async with trial() as house, raw(house.port) as client:
        await client.send(long)
        await settled(lambda: at_work(house))
        client.reset()
        assert (await outcome(house))[0] in ("cancelled", "completed")  # it may have been quick


async def test_a_reset_in_mid_window(mischief: Mischief) -> None:
    async def fault(window: SpeechWindow, stop: Stop) -> Transcript:
        mischief.reached.set()
        while not stop.is_set:
            await asyncio.sleep(0.005)
        return Transcript("", "en")

    mischief.hearing(fault)
    async with trial() as house, raw(house.port) as client:
        await client.send(post())
        await mischief.reached.wait()
        client.reset()
        assert await outcome(house) == ("cancelled", None)


# --- files ----------------------------------------------------------------------------------------


async def test_files_that_are_no_recordings_all_at_once() -> None:
    async with trial() as house, victim(house) as http:
        answers = await asyncio.gather(*(ask(http, each) for each in [*BAD_FILES.values()] * 3))
        assert {answer.status_code for answer in answers} == {400, 413}
        assert (await ask(http)).status_code == 200


async def test_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Any, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    async with trial() as house, victim(house) as http:
        house.bugs.add("upload_not_kept")
        monkeypatch.setattr(tempfile.SpooledTemporaryFile, "write", full)
        assert (await ask(http)).status_code == 503
        assert await outcome(house) == ("failed", "AT_CAPACITY")
        monkeypatch.undo()
        assert (await ask(http)).status_code == 200
