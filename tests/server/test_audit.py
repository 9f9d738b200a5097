"""The audit's file: whole lines, rotated, for its owner alone, and never in anybody's way."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from pipeline.errors import SettingsError
from server import audit
from server.audit import KEPT, Audit
from tests.server.speech_client import until
from tests.server.test_gate import watched
from tests.server.test_metrics import hears
from tests.support import call, murmur, silence
from tests.tokens import AUTH, bearer, token


class Lost:
    count = 0

    def __call__(self) -> None:
        self.count += 1


def test_events_are_lines_of_json_that_nothing_in_them_can_break(tmp_path: Path) -> None:
    kept = Audit(path := tmp_path / "new" / "audit.jsonl", 1_000_000, Lost())
    kept.note("refused", origin='a\n{"event": "admin"}\x1b[2J\u2028é', user=None)
    with kept.open():
        kept.note("connected", user="anna")
    first, second = path.read_text().splitlines()
    assert path.read_bytes().isascii()
    assert json.loads(first)["origin"] == 'a\n{"event": "admin"}\x1b[2J\u2028é'
    assert "user" not in json.loads(first)
    assert json.loads(second)["user"] == "anna"
    assert path.stat().st_mode & 0o777 == 0o600


def test_it_is_rotated_and_does_not_grow_without_end(tmp_path: Path) -> None:
    kept = Audit(path := tmp_path / "audit.jsonl", 1_000, Lost())
    with kept.open():
        for number in range(500):
            kept.note("refused", number=number)
    files = list(tmp_path.iterdir())
    assert len(files) == KEPT + 1
    assert all(file.stat().st_size <= 1_000 for file in files)
    assert json.loads(path.read_text().splitlines()[-1])["number"] == 499


def test_what_comes_past_its_bound_is_lost_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "MOST_WAITING", 10)
    kept = Audit(path := tmp_path / "audit.jsonl", 1_000_000, lost := Lost())
    for _ in range(15):
        kept.note("refused")
    with kept.open():
        pass
    assert (len(path.read_text().splitlines()), lost.count) == (10, 5)


def test_a_full_disk_costs_events_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    kept = Audit(tmp_path / "audit.jsonl", 1_000_000, lost := Lost())
    with kept.open():
        monkeypatch.setattr(audit._File, "shouldRollover", full)
        kept.note("refused")
        kept.note("refused")
    assert lost.count == 2


def test_a_folder_that_cannot_be_written_stops_the_start_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    kept = Audit(tmp_path / "file" / "audit.jsonl", 1_000_000, Lost())
    with pytest.raises(SettingsError, match="ANTIPHON_DATA_DIR"), kept.open():
        pass


def test_none_is_kept_where_none_is_wanted(tmp_path: Path) -> None:
    kept = Audit(tmp_path / "audit.jsonl", 0, Lost())
    with kept.open():
        kept.note("refused")
    assert not list(tmp_path.iterdir())


SPOKEN, TYPED, TOLD, READ = "marmalade", "heliotrope", "periwinkle", "quicksilver"


async def test_nothing_that_anybody_says_or_hears_is_in_it(tmp_path: Path) -> None:
    async with watched(tmp_path, **AUTH, ANTIPHON_ADMIN_TOKEN="open sesame") as it:
        hears(it.server, f"A jar of {SPOKEN}, please.")
        hello = {"token": token(), "instructions": f"Speak of {TOLD}."}
        async with call(it.server.ws_url, hello) as caller:
            await caller.speak(murmur(0.6) + silence(1.5))
            assert SPOKEN in (await caller.until("transcript", final=True))["text"]
            await caller.play()
            await caller.say("text", text=f"The colour is {TYPED}.")
            await caller.play()
            await caller.say(f"unknown {TYPED}")
            await caller.until("error")
        mine = bearer(token())
        speech = {"input": f"As {READ} as can be.", "response_format": "wav"}
        read = await it.http.post("/v1/audio/speech", json=speech, headers=mine)
        files = {"file": ("said.wav", read.content)}
        heard = await it.http.post("/v1/audio/transcriptions", files=files, headers=mine)
        assert SPOKEN in heard.json()["text"]
        refused = await it.http.post(
            "/v1/audio/speech", json=speech | {"voice": READ}, headers=mine
        )
        assert refused.status_code == 404
        assert (await it.http.post("/v1/audio/speech", json=speech)).status_code == 401
        said = (await it.http.get("/v1/me/data", headers=mine)).text
        assert all(word in said for word in (SPOKEN, TYPED, TOLD))
        wanted = {"connected", "disconnected", "requested", "refused", "user_data"}
        await until(lambda: {line["event"] for line in it.noted} >= wanted)
    written = "".join(file.read_text() for file in tmp_path.glob("audit*"))
    assert [word for word in (SPOKEN, TYPED, TOLD, READ) if word in written] == []
