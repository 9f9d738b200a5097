"""Who may resume which session, and what a store that fails means for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.errors import SessionsUnreachable, StoreAway, StoreFailed
from session import keeping as keeping_module
from session import writing
from session.items import Item
from session.keeping import Keeping, Lease
from session.kept import Kept, nothing
from session.messages import Settings
from session.records import Identity
from session.sqlite_store import SqliteStore
from session.store import Record


class Time:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Moody(SqliteStore):
    """A store that can be told to fail, or to hang."""

    fails = False
    hangs = False

    def __init__(self, folder: Path, most_bytes: int, clock: Time) -> None:
        super().__init__(folder, most_bytes, clock)
        self.asked: list[str] = []
        """The sessions that it was to save."""

    async def save(self, record: Record) -> None:
        self.asked.append(record.session)
        if self.hangs:
            await asyncio.Event().wait()
        if self.fails:
            raise StoreFailed("the disk is full")
        await super().save(record)

    async def forget(self, session: str) -> None:
        if self.fails:
            raise StoreFailed("the disk is full")
        await super().forget(session)


def as_kept(lease: Lease, turns: int = 1) -> Kept:
    kept = nothing(Identity(lease.session, "native", "here", lease.user), Settings("tone", "Be."))
    return Kept(**{name: getattr(kept, name) for name in kept.__slots__} | {"turns": turns})


@asynccontextmanager
async def kept_in(
    folder: Path, time: Time | None = None, **options: float
) -> AsyncIterator[tuple[Keeping, Moody, list[str]]]:
    fates: list[str] = []
    clock = time or Time()
    store = Moody(folder, 10_000_000, clock)
    async with Keeping(store, 600.0, wrote=fates.append, clock=clock, **options) as keeping:
        yield keeping, store, fates


async def saved(keeping: Keeping, lease: Lease) -> str:
    """How a save of it goes."""
    fate: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    keeping.save(lease, as_kept(lease), fate.set_result)
    return await fate


async def test_a_parked_session_comes_back_once_by_its_token(tmp_path: Path) -> None:
    async with kept_in(tmp_path) as (keeping, _, _):
        lease = keeping.begin("s_1", None)
        keeping.park(lease, as_kept(lease, turns=7))
        assert keeping.parked == 1
        back = await keeping.take(lease.token, None)
        assert back is not None
        assert back.kept is not None
        assert (back.session, back.kept.turns) == ("s_1", 7)
        assert keeping.parked == 0
        keeping.park(keeping.reached(back), as_kept(back))
        assert await keeping.take(lease.token, None) is None
        assert await keeping.take(back.token, None) is not None


async def test_a_lost_welcome_costs_nothing(tmp_path: Path) -> None:
    async with kept_in(tmp_path) as (keeping, _, _):
        lease = keeping.begin("s_1", None)
        keeping.park(lease, as_kept(lease))
        lost = await keeping.take(lease.token, None)
        assert lost is not None
        assert await saved(keeping, lost) == "saved"
        keeping.park(lost, as_kept(lost))  # its client never answered a ping
        assert await keeping.take(lease.token, None) is not None


async def test_it_comes_back_in_another_process_too(tmp_path: Path) -> None:
    async with kept_in(tmp_path) as (keeping, _, _):
        lease = keeping.begin("s_1", "anna")
        keeping.park(lease, as_kept(lease))
    async with kept_in(tmp_path) as (keeping, _, _):
        assert keeping.parked == 1
        assert [kept.session for kept in await keeping.all_parked()] == ["s_1"]
        assert await keeping.take(lease.token, "ben") is None
        assert await keeping.take(lease.token, "anna") is not None


async def test_while_many_are_listed_others_have_their_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with kept_in(tmp_path) as (keeping, store, _):
        most = 10 * keeping_module.READ_AT_ONCE
        for number in range(most):
            lease = keeping.begin(f"s_{number}", None)
            keeping.park(lease, as_kept(lease, turns=number))
        await keeping.written()
        records = await store.parked(most)

        async def at_once(most: int) -> list[Record]:
            return records

        monkeypatch.setattr(store, "parked", at_once)
        listing = asyncio.ensure_future(keeping.all_parked())
        turns = 0
        while not listing.done():
            await asyncio.sleep(0)
            turns += 1
        assert turns >= 10
        assert {one.turns for one in listing.result()} == set(range(most))


async def test_it_is_kept_no_longer_than_it_may_be(tmp_path: Path) -> None:
    time = Time()
    async with kept_in(tmp_path, time) as (keeping, _, _):
        lease = keeping.begin("s_1", None)
        keeping.park(lease, as_kept(lease))
        time.now += 600
        assert await keeping.take(lease.token, None) is None
        await keeping.written()
        await keeping._recount()
        assert keeping.parked == 0


async def test_one_that_is_over_for_good_never_comes_back(tmp_path: Path) -> None:
    async with kept_in(tmp_path) as (keeping, store, _):
        lease = keeping.begin("s_1", "anna")
        assert await saved(keeping, lease) == "saved"
        keeping.end(lease, as_kept(lease))
        assert await keeping.take(lease.token, "anna") is None
        await keeping._writing.idle()
        assert not await store.of_user("anna")


async def test_for_a_known_user_it_is_kept_if_the_operator_says_so(tmp_path: Path) -> None:
    async with kept_in(tmp_path, retention_s=60.0) as (keeping, _, _):
        for session, user in (("s_1", "anna"), ("s_2", None)):
            lease = keeping.begin(session, user)
            keeping.end(lease, as_kept(lease))
            await keeping._writing.idle()
            assert await keeping.take(lease.token, user) is None
        assert [kept.session for kept in await keeping.of_user("anna")] == ["s_1"]
        assert await keeping.forget_user("anna") == {"s_1"}
        assert not await keeping.of_user("anna")


@pytest.mark.parametrize("was_saved", [True, False])
async def test_of_a_session_that_outlasts_its_users_being_forgotten_nothing_is_stored_again(
    tmp_path: Path, was_saved: bool
) -> None:
    async with kept_in(tmp_path, retention_s=60.0) as (keeping, store, _):
        lease = keeping.begin("s_1", "anna")
        if was_saved:
            assert await saved(keeping, lease) == "saved"
        await keeping.forget_user("anna")
        assert await saved(keeping, lease) == "taken"
        keeping.park(lease, as_kept(lease))
        keeping.end(lease, as_kept(lease))
        await keeping.written()
        assert not await store.of_user("anna")
        assert keeping.parked == 0


async def test_who_comes_back_as_its_user_is_forgotten_is_not_stored_again(tmp_path: Path) -> None:
    async with kept_in(tmp_path) as (keeping, _, _):
        keeping.park(lease := keeping.begin("s_1", "anna"), as_kept(lease))
        bens = keeping.begin("s_2", "ben")
        forgetting = asyncio.ensure_future(keeping.forget_user("anna"))
        await asyncio.sleep(0)  # it waits for what is on its way into the store
        back = await keeping.take(lease.token, "anna")
        assert back is not None
        assert await forgetting == {"s_1"}
        assert (await saved(keeping, back), await saved(keeping, bens)) == ("taken", "saved")
        assert not await keeping.of_user("anna")


async def test_a_lost_session_is_not_brought_back_by_its_clients_answer(tmp_path: Path) -> None:
    async with kept_in(tmp_path) as (keeping, _, _):
        keeping.park(lease := keeping.begin("s_1", "anna"), as_kept(lease))
        back = await keeping.take(lease.token, "anna")
        assert back is not None
        keeping.lose(back)
        back = keeping.reached(back)  # its answer to the ping was under way
        assert await saved(keeping, back) == "taken"
        assert keeping.live(back.token, "anna") is None


async def test_what_could_not_be_stored_of_a_forgotten_users_is_not_tried_again(
    tmp_path: Path,
) -> None:
    async with kept_in(tmp_path) as (keeping, store, _):
        lease = keeping.begin("s_1", "anna")
        store.fails = True
        assert await saved(keeping, lease) == "failed"
        store.fails = False
        await keeping.forget_user("anna")
        keeping._writing._rests_until = 0.0
        keeping._writing.try_again(1_000.0)
        await keeping.written()
        assert not await store.of_user("anna")


@pytest.mark.parametrize("how", ["fails", "hangs"])
async def test_a_store_that_fails_is_said_once_and_rests(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(writing, "SAVE_S", 0.05)
    async with kept_in(tmp_path) as (keeping, store, fates):
        leases = [keeping.begin(f"s_{number}", None) for number in range(3)]
        setattr(store, how, True)
        assert [await saved(keeping, lease) for lease in leases] == ["failed"] * 3
        setattr(store, how, False)
        assert await saved(keeping, leases[0]) == "failed"  # it is left alone for a while
        keeping._writing._rests_until = 0.0
        assert await saved(keeping, leases[0]) == "saved"
        assert fates == ["failed"] * 4 + ["saved"]


async def test_what_cannot_be_written_at_all_is_said_and_counted(tmp_path: Path) -> None:
    async with kept_in(tmp_path) as (keeping, _, fates):
        lease = keeping.begin("s_1", None)
        told: list[str] = []
        half = replace(as_kept(lease), items=(Item("i", "user", "\ud800"),))
        keeping.save(lease, half, told.append)
        assert (told, fates) == (["failed"], ["failed"])


async def test_what_was_parked_meanwhile_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with kept_in(tmp_path) as (keeping, store, _):
        lease, other = keeping.begin("s_1", None), keeping.begin("s_2", None)
        store.fails = True
        keeping.park(lease, as_kept(lease, turns=7))
        keeping.park(other, as_kept(other))
        await keeping._writing.idle()
        back = await keeping.take(lease.token, None)
        assert back is not None
        assert back.kept is not None
        assert back.kept.turns == 7
        store.fails = False
        keeping._writing._rests_until = 0.0
        keeping._writing.try_again(1_000.0)
        await keeping._writing.idle()
        assert [record.session for record in await store.parked(10)] == ["s_2"]


async def test_what_was_ended_for_good_meanwhile_stays_so(tmp_path: Path) -> None:
    async with kept_in(tmp_path) as (keeping, store, _):
        ended, dismissed = keeping.begin("s_1", None), keeping.begin("s_2", None)
        assert await saved(keeping, ended) == "saved"
        keeping.park(dismissed, as_kept(dismissed))
        await keeping.written()
        store.fails = True
        keeping.end(ended, as_kept(ended))
        assert await keeping.forget("s_2")
        await keeping.written()
        assert await keeping.all_parked() == []
        assert [await keeping.take(one.token, None) for one in (ended, dismissed)] == [None, None]
        store.fails = False
        keeping._writing._rests_until = 0.0
        keeping._writing.try_again(1_000.0)
        await keeping.written()
    async with kept_in(tmp_path) as (keeping, _, _):
        assert keeping.parked == 0


async def test_a_token_that_was_used_meanwhile_does_not_bring_back_what_is_stored(
    tmp_path: Path,
) -> None:
    async with kept_in(tmp_path) as (keeping, store, _):
        before = keeping.begin("s_1", None)
        keeping.park(before, as_kept(before))
        await keeping.written()
        store.fails = True
        lease = await keeping.take(before.token, None)
        assert lease is not None
        keeping.park(keeping.reached(lease), as_kept(lease, turns=7))
        await keeping.written()
        assert await keeping.take(before.token, None) is None
        back = await keeping.take(lease.token, None)
        assert back is not None
        assert back.kept is not None
        assert back.kept.turns == 7


async def test_a_turn_that_could_not_be_stored_is_stored_when_the_store_is_back(
    tmp_path: Path,
) -> None:
    async with kept_in(tmp_path) as (keeping, store, _):
        lease = keeping.begin("s_1", "anna")
        store.fails = True
        assert await saved(keeping, lease) == "failed"
        store.fails = False
        keeping._writing._rests_until = 0.0
        keeping._writing.try_again(1_000.0)  # nothing was said since
        await keeping._writing.idle()
        assert [record.session for record in await store.of_user("anna")] == ["s_1"]


@pytest.mark.parametrize("why", [StoreAway("nobody answers"), StoreFailed("out of memory")])
async def test_while_the_store_takes_nothing_a_resume_is_refused_and_its_token_stays_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: StoreFailed
) -> None:
    async with kept_in(tmp_path) as (keeping, store, _):
        lease = keeping.begin("s_1", None)
        keeping.park(lease, as_kept(lease))
        await keeping._writing.idle()

        async def away(*_: object) -> None:
            raise why

        with monkeypatch.context() as patched:
            patched.setattr(store, "take", away)
            with pytest.raises(SessionsUnreachable) as refused:
                await keeping.take(lease.token, None)
        assert refused.value.retry_after_s
        assert await keeping.take(lease.token, None) is not None


async def test_one_whose_record_cannot_be_read_is_gone(tmp_path: Path) -> None:
    async with kept_in(tmp_path) as (keeping, store, _):
        lease = keeping.begin("s_1", None)
        await store.save(Record("s_1", None, lease.tokens, 1_500.0, b"not one of ours"))
        keeping._leave(lease)
        assert await keeping.take(lease.token, None) is None


async def test_memory_for_what_cannot_be_stored_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "MOST_UNSAVED_BYTES", 2_000)
    async with kept_in(tmp_path) as (keeping, store, _):
        store.fails = True
        leases = [keeping.begin(f"s_{number}", None) for number in range(20)]
        for lease in leases:
            keeping.park(lease, as_kept(lease))
        await keeping._writing.idle()
        assert await keeping.take(leases[0].token, None) is None
        assert await keeping.take(leases[-1].token, None) is not None


async def test_what_is_tried_again_lets_what_is_new_go_first(tmp_path: Path) -> None:
    async with kept_in(tmp_path) as (keeping, store, _):
        await keeping.written()
        old = [keeping.begin(f"s_{number}", "anna") for number in range(5)]
        store.fails = True
        for lease in old:
            keeping.park(lease, as_kept(lease))
        await keeping.written()
        store.fails = False
        keeping._writing._rests_until = 0.0
        keeping._writing.try_again(1_000.0)
        store.asked.clear()
        new = keeping.begin("s_new", "anna")
        assert await saved(keeping, new) == "saved"
        await keeping.written()
        assert store.asked == ["s_new", *(lease.session for lease in old)]


async def test_a_store_that_fails_again_is_not_asked_for_all_the_others(tmp_path: Path) -> None:
    async with kept_in(tmp_path) as (keeping, store, fates):
        store.fails = True
        for lease in [keeping.begin(f"s_{number}", None) for number in range(50)]:
            keeping.park(lease, as_kept(lease))
        await keeping.written()
        fates.clear()
        for _ in range(2):  # each time it is another one
            keeping._writing._rests_until = 0.0
            keeping._writing.try_again(1_000.0)
            await keeping.written()
        assert fates == ["failed"] * 2
        assert list(keeping._writing._unsaved.records)[-2:] == ["s_0", "s_1"]
        assert keeping._writing._unsaved.bytes == sum(
            map(writing._size, keeping._writing._unsaved.records.values())
        )


async def test_who_may_come_back_is_known_before_it_is_stored_and_after(tmp_path: Path) -> None:
    async with kept_in(tmp_path) as (keeping, store, _):
        lease = keeping.begin("s_1", None)
        assert await keeping.keeps("s_1")
        store.fails = True
        keeping.park(lease, as_kept(lease))
        for _ in range(2):  # it waits to be written; it could not be
            assert await keeping.keeps("s_1")
            await keeping._recount()
            assert keeping.parked == 1
            await keeping.written()
        store.fails = False
        keeping._writing._rests_until = 0.0
        keeping._writing.try_again(1_000.0)
        await keeping.written()
        await keeping._recount()
        assert keeping.parked == 1
        assert await keeping.forget("s_1")
        assert not await keeping.keeps("s_1")
        assert not await keeping.forget("s_1")
        await keeping.written()
        assert not await keeping.keeps("s_1")
        assert not await keeping.keeps("nobody")


async def test_tokens_are_not_to_be_found_in_the_file(tmp_path: Path) -> None:
    async with kept_in(tmp_path) as (keeping, _, _):
        lease = keeping.begin("s_1", None)
        assert await saved(keeping, lease) == "saved"
        written = b"".join(file.read_bytes() for file in tmp_path.glob("sessions.db*"))
    assert b"s_1" in written
    assert lease.token.encode() not in written


def test_no_part_of_a_token_can_be_guessed() -> None:
    tokens = {keeping_module._new_token("s_1")[0].removesuffix(".s_1") for _ in range(100)}
    assert {len(token) for token in tokens} == {43}  # 256 bits
    assert len({token[:4] for token in tokens}) > 95
