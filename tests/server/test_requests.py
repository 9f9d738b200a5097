"""The registry of requests over HTTP: what became of each, and what it took."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from pipeline.errors import AtCapacity, BadMessage, PoolTimeout, RateLimited
from server.requests import KEPT, MOST_SKIPPED, Requests, Tracked, describe
from tests.support import live_server


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_request_is_at_work_for_as_long_as_its_scope_and_remembered_afterwards() -> None:
    clock = Clock()
    requests = Requests(8, clock=clock)
    with requests.tracked("req_1", "speech") as tracked:
        clock.now += 0.5
        tracked.queued(0.25, 3)
        tracked.first_output()
        clock.now += 1.5
        tracked.first_output()
        tracked.audio_s += 4.0
        assert requests.active == 1
        assert describe(tracked)["outcome"] == "active"
    assert (requests.active, requests.total, requests.failed) == (0, 1, 0)
    (shown,) = (describe(each) for each in requests)
    assert shown["id"] == "req_1"
    assert shown["route"] == "/v1/audio/speech"
    assert shown["outcome"] == "completed"
    assert shown["times_ms"] == {"queue": 250.0, "ttfa": 500.0, "total": 2_000.0}
    assert shown["queue_position"] == 3
    assert shown["audio_s"] == 4.0


@pytest.mark.parametrize(
    ("error", "outcome", "code"),
    [
        (PoolTimeout("too long"), "failed", "TIMEOUT"),
        (BadMessage("what?"), "failed", "BAD_MESSAGE"),
        (ZeroDivisionError(), "failed", "INTERNAL"),
        (asyncio.CancelledError(), "cancelled", None),
    ],
)
def test_how_a_request_is_left_is_its_outcome(
    error: BaseException, outcome: str, code: str | None
) -> None:
    told: list[Tracked] = []
    requests = Requests(8, told.append)
    with pytest.raises(type(error)), requests.tracked("r", "speech"):
        raise error
    (tracked,) = told
    assert (tracked.outcome, tracked.code) == (outcome, code)
    assert requests.failed == (outcome == "failed")


def test_two_requests_of_one_name_are_two_owners() -> None:
    requests = Requests(8)
    with requests.tracked("same", "speech") as one, requests.tracked("same", "speech") as other:
        assert one.owner != other.owner
        assert [each.owner for each in requests] == [other.owner, one.owner]


def test_one_too_many_is_refused_and_remembered() -> None:
    requests = Requests(1)
    with requests.tracked("a", "speech"):
        with pytest.raises(AtCapacity) as refused, requests.tracked("b", "transcription"):
            pass
        assert refused.value.retry_after_s is not None
        assert requests.active == 1
    with requests.tracked("c", "speech"):
        pass
    assert [(each.id, each.code) for each in requests] == [
        ("c", None),
        ("a", None),
        ("b", "AT_CAPACITY"),
    ]


def test_nobody_alone_shuts_all_others_out() -> None:
    requests = Requests(4)
    with requests.tracked("a", "speech", "anna"), requests.tracked("b", "transcription", "anna"):
        with pytest.raises(RateLimited) as limited, requests.tracked("c", "speech", "anna"):
            pass
        assert limited.value.retry_after_s
        with requests.tracked("d", "speech", "ben"), requests.tracked("e", "speech"):
            assert requests.active == 4
    with requests.tracked("f", "speech", "anna"):
        assert requests.active == 1


def test_what_is_remembered_is_bounded() -> None:
    requests = Requests(8)
    for number in range(KEPT + 10):
        with requests.tracked(str(number), "speech") as tracked:
            for place in range(MOST_SKIPPED + 5):
                tracked.skip(2 * place, 2 * place + 1, "x" * 1_000, "why")
            assert len(tracked.skipped) == MOST_SKIPPED  # while it is at work too
            assert tracked.skipped_more == 5
            assert len(tracked.skipped_spans) == 2 * (MOST_SKIPPED + 5)
    kept = list(requests)
    assert len(kept) == KEPT
    assert kept[0].id == str(KEPT + 9)
    assert requests.total == KEPT + 10
    assert not any(one.skipped_spans for one in kept)
    shown = describe(kept[0])
    assert len(shown["skipped"]) == MOST_SKIPPED
    assert shown["skipped_count"] == MOST_SKIPPED + 5
    assert all(len(each["text"]) <= 80 for each in shown["skipped"])


def test_neighbours_that_are_skipped_for_one_reason_are_one_stretch() -> None:
    requests = Requests(8)
    with requests.tracked("a", "speech") as tracked:
        for start in range(0, 10_000, 10):
            tracked.skip(start, start + 10, "- " * 5, "no word in it")
        tracked.skip(10_000, 10_005, "xyzzy", "not this")
        tracked.skip(10_006, 10_009, "...", "not this")
    assert [(s.start, s.end, s.reason) for s in tracked.skipped] == [
        (0, 10_000, "no word in it"),
        (10_000, 10_005, "not this"),
        (10_006, 10_009, "not this"),
    ]
    assert tracked.skipped[0].text == "- " * 40


async def test_idle_is_when_none_is_at_work() -> None:
    requests = Requests(8)
    await requests.idle()
    with requests.tracked("a", "speech"):
        waiting = asyncio.ensure_future(requests.idle())
        await asyncio.sleep(0)
        assert not waiting.done()
    await waiting


async def test_the_server_counts_and_shows_them() -> None:
    async with live_server() as server, httpx.AsyncClient(base_url=server.url) as client:
        with server.house.requests.tracked("req_x", "transcription") as tracked:
            tracked.audio_s = 2.0
            (shown,) = (await client.get("/admin/requests")).json()
            assert (shown["id"], shown["outcome"]) == ("req_x", "active")
            assert (await client.get("/status")).json()["requests"]["active"] == 1
        status = (await client.get("/status")).json()
        assert status["requests"] == {"total": 1, "active": 0, "failed": 0}
        assert status["replies"]["total"] == 0
        metrics = (await client.get("/metrics")).text
        assert 'antiphon_requests_total{outcome="completed",work="transcription"} 1.0' in metrics
        assert 'antiphon_request_audio_seconds_total{work="transcription"} 2.0' in metrics


async def test_requests_are_for_the_operators_eyes() -> None:
    async with (
        live_server(ANTIPHON_ADMIN_TOKEN="sesame") as server,
        httpx.AsyncClient(base_url=server.url) as client,
    ):
        assert (await client.get("/admin/requests")).status_code == 401
        allowed = {"authorization": "Bearer sesame"}
        assert (await client.get("/admin/requests", headers=allowed)).json() == []
