"""Passes: tokens for one session. Who gets one, what it lets in with, and when it is over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from pipeline.errors import RateLimited, SessionsUnreachable, Unauthorized
from server.passes import MOST_BYTES, MOST_OF_ONE, MOST_PASSES, Pass, Passes, PassesHere, is_pass
from server.shared_passes import MOST_OF_NOBODY, SharedPasses
from session.buckets import Allowance
from session.redis_url import client
from tests.tokens import token

NOBODY = Pass(None)


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


async def refused(passes: Passes, value: str) -> str:
    with pytest.raises(Unauthorized) as error:
        await passes.use(value)
    return error.value.why


# --- wherever they are kept ----------------------------------------------------------------------


@pytest.fixture(params=["here", "shared"])
async def both(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Passes, Passes]]:
    """As two requests meet them: one server's own twice, or those of two gateways."""
    if request.param == "here":
        passes = PassesHere()
        yield passes, passes
        return
    url = request.getfixturevalue("redis_url")
    async with client(url, answer_s=30.0) as one, client(url, answer_s=30.0) as two:
        yield SharedPasses(one, pytest.fail), SharedPasses(two, pytest.fail)


Both = tuple[Passes, Passes]


async def test_it_lets_its_user_in_with_all_that_was_kept_with_it(both: Both) -> None:
    one, two = both
    kept = Pass("anna", Allowance(sessions=2), {"instructions": "Be brief. ¿Sí?"})
    value, _ = await one.give("ek_", kept, 60)
    assert await two.use(value) == kept


async def test_it_serves_once(both: Both) -> None:
    one, two = both
    value, _ = await one.give("st_", NOBODY, 60)
    assert await two.use(value) == NOBODY
    assert await refused(one, value) == "token_used"
    assert await refused(two, value) == "token_used"


async def test_of_many_who_show_it_at_once_one_comes_in(both: Both) -> None:
    value, _ = await both[0].give("st_", NOBODY, 60)
    shown = [both[n % 2].use(value) for n in range(20)]
    came = await asyncio.gather(*shown, return_exceptions=True)
    assert sum(isinstance(one, Pass) for one in came) == 1
    assert sum(isinstance(one, Unauthorized) for one in came) == 19


async def test_it_waits_until_it_is_used(both: Both) -> None:
    one, two = both
    value, _ = await one.give("st_", NOBODY, 60)
    assert (await one.waits(value), await two.waits(value)) == (True, True)
    assert not await two.waits("st_made-up")
    await one.use(value)
    assert not await two.waits(value)


async def test_who_used_it_is_known_and_the_session_that_it_began(both: Both) -> None:
    one, two = both
    value, _ = await one.give("st_", Pass("anna", Allowance(), {"voice": "ash"}), 60)
    assert (await two.used(value), await two.session(value)) == (None, None)
    shown = await one.use(value)
    assert await two.used(value) == Pass("anna", Allowance())
    await one.began(shown.key, "s_1")
    assert await two.session(value) == "s_1"
    await one.began(b"", "s_2")  # whoever came in without one
    assert await two.session("st_made-up") is None


async def test_one_that_was_given_back_serves_once_more_with_all_that_it_had(both: Both) -> None:
    one, two = both
    kept = Pass("anna", Allowance(sessions=2), {"voice": "ash"})
    value, _ = await one.give("ek_", kept, 60)
    for _ in range(2):
        await two.give_back(await one.use(value))
        assert (await one.waits(value), await one.used(value)) == (True, None)
    assert await two.use(value) == kept
    assert await refused(one, value) == "token_used"


async def test_one_that_is_in_use_is_given_back_once(both: Both) -> None:
    one, two = both
    value, _ = await one.give("st_", NOBODY, 60)
    first = await one.use(value)
    await one.give_back(first)
    again = await two.use(value)
    await two.began(again.key, "s_1")
    await one.give_back(first)  # by whoever has it no more
    assert await refused(one, value) == "token_used"
    assert await two.session(value) == "s_1"


async def test_one_that_was_given_back_counts_again(both: Both) -> None:
    one, two = both
    value, _ = await one.give("st_", Pass("anna"), 60)
    shown = await one.use(value)
    for _ in range(MOST_OF_ONE - 1):
        await one.give("st_", Pass("anna"), 60)
    await one.give_back(shown)
    with pytest.raises(RateLimited):
        await two.give("st_", Pass("anna"), 60)


async def test_it_expires(both: Both) -> None:
    one, two = both
    value, _ = await one.give("st_", NOBODY, 0.05)
    await asyncio.sleep(0.06)
    assert not await two.waits(value)
    assert await refused(two, value) == "token_expired"


async def test_one_that_never_was_is_refused(both: Both) -> None:
    assert await refused(both[0], "st_made-up") == "token_used"
    assert await refused(both[0], "st_\ud800") == "token_used"


async def test_a_user_holds_so_many_unused_ones_and_others_are_not_concerned(both: Both) -> None:
    one, two = both
    values = [(await one.give("st_", Pass("anna"), 60))[0] for _ in range(MOST_OF_ONE)]
    with pytest.raises(RateLimited):
        await two.give("st_", Pass("anna"), 60)
    await two.give("st_", Pass("bert"), 60)
    await two.give("st_", NOBODY, 60)
    await two.use(values[0])
    await two.give("st_", Pass("anna"), 60)


async def test_those_that_expired_count_no_more(both: Both) -> None:
    one, two = both
    for _ in range(MOST_OF_ONE):
        await one.give("st_", Pass("anna"), 0.01)
    await asyncio.sleep(0.02)
    await two.give("st_", Pass("anna"), 60)


async def test_whoever_is_forgotten_leaves_none_behind(both: Both) -> None:
    one, two = both
    annas = [(await one.give("ek_", Pass("anna"), 60))[0] for _ in range(2)]
    bens, _ = await one.give("st_", Pass("ben"), 60)
    await two.forget_user("anna")
    assert {await refused(one, value) for value in annas} == {"token_used"}
    assert (await two.use(bens)).user == "ben"
    for _ in range(MOST_OF_ONE):  # and nothing counts against whoever comes again
        await one.give("st_", Pass("anna"), 60)


# --- one server's own ----------------------------------------------------------------------------


async def test_it_says_when_it_expires() -> None:
    passes = PassesHere(clock := Clock())
    value, expires_at = await passes.give("ek_", NOBODY, 60)
    assert expires_at == 1_060
    clock.now += 60
    assert await refused(passes, value) == "token_expired"


async def test_one_that_expired_while_it_was_in_use_is_not_given_back() -> None:
    passes = PassesHere(clock := Clock())
    value, _ = await passes.give("st_", NOBODY, 60)
    shown = await passes.use(value)
    clock.now += 60
    await passes.give_back(shown)
    assert await refused(passes, value) == "token_used"


async def test_of_many_that_were_used_the_last_are_known() -> None:
    passes = PassesHere()
    value, _ = await passes.give("st_", NOBODY, 60)
    await passes.use(value)
    for _ in range(MOST_PASSES):
        await passes.use((await passes.give("st_", NOBODY, 60))[0])
    assert await passes.used(value) is None


async def test_none_is_kept_as_it_is() -> None:
    passes = PassesHere()
    value, _ = await passes.give("st_", NOBODY, 60)
    assert value not in repr(passes.__dict__)


async def test_one_that_expired_is_forgotten() -> None:
    passes = PassesHere(clock := Clock())
    value, _ = await passes.give("st_", NOBODY, 60)
    clock.now += 61
    await passes.give("st_", NOBODY, 60)
    assert await refused(passes, value) == "token_used"  # not kept for ever


async def test_one_that_expired_counts_no_more_beside_one_that_lasts() -> None:
    passes = PassesHere(clock := Clock())
    lasting, _ = await passes.give("ek_", Pass("anna"), 7_200)
    for _ in range(MOST_OF_ONE - 1):
        await passes.give("st_", Pass("anna"), 60)
    clock.now += 60
    for _ in range(MOST_OF_ONE - 1):
        await passes.give("st_", Pass("anna"), 60)
    assert await passes.use(lasting) == Pass("anna")


async def test_who_holds_most_makes_room_for_the_others() -> None:
    passes = PassesHere()
    annas, _ = await passes.give("ek_", Pass("anna", session={"voice": "ash"}), 600)
    long = {"instructions": "a" * (MOST_BYTES // 150)}
    bens = [await passes.give("ek_", Pass("ben", session=long), 600) for _ in range(80)]
    carls = [await passes.give("ek_", Pass("carl", session=long), 600) for _ in range(80)]
    assert await refused(passes, bens[0][0]) == "token_used"
    assert (await passes.use(carls[-1][0])).session == long
    assert (await passes.use(annas)).session == {"voice": "ash"}


async def test_many_of_nobodys_take_no_users_place() -> None:
    passes = PassesHere()
    annas, _ = await passes.give("st_", Pass("anna"), 600)
    for _ in range(MOST_PASSES):
        await passes.give("ek_", NOBODY, 600)
    assert await passes.waits(annas)


async def test_what_is_remembered_of_those_that_were_used_is_bounded() -> None:
    passes = PassesHere()
    for _ in range(3 * MOST_PASSES):
        await passes.use((await passes.give("st_", NOBODY, 7_200))[0])
    assert len(passes._ends) <= 2 * MOST_PASSES + 1
    assert passes._bytes == len(passes._given) == len(passes._of) == 0


async def test_the_oldest_go_first_when_there_are_too_many() -> None:
    passes = PassesHere()
    first, _ = await passes.give("ek_", NOBODY, 60)
    for _ in range(MOST_PASSES):
        last, _ = await passes.give("ek_", NOBODY, 60)
    assert await refused(passes, first) == "token_used"
    assert await passes.use(last) == NOBODY


# --- those that gateways share -------------------------------------------------------------------


async def test_where_nobody_is_asked_the_first_to_expire_make_room(redis_url: str) -> None:
    async with client(redis_url, answer_s=30.0) as redis:
        passes = SharedPasses(redis, pytest.fail)
        first, _ = await passes.give("ek_", NOBODY, 59)
        for _ in range(MOST_OF_NOBODY):
            last, _ = await passes.give("ek_", NOBODY, 60)
        assert await refused(passes, first) == "token_used"
        assert await passes.use(last) == NOBODY
        assert await redis.dbsize() == MOST_OF_NOBODY + 1  # and the list of the unused


async def test_of_the_shared_too_one_that_expired_is_not_given_back(redis_url: str) -> None:
    async with client(redis_url, answer_s=30.0) as redis:
        passes = SharedPasses(redis, pytest.fail)
        value, _ = await passes.give("st_", NOBODY, 60)
        shown = await passes.use(value)
        await redis.hset(f"antiphon:pass:{shown.key.hex()}", "ends", 1)
        await passes.give_back(shown)
        assert await refused(passes, value) == "token_used"


async def test_redis_keeps_a_hash_of_it_and_nothing_for_ever(redis_url: str) -> None:
    async with client(redis_url, answer_s=30.0) as redis:
        passes = SharedPasses(redis, pytest.fail)
        value, _ = await passes.give("ek_", Pass("anna"), 60)
        for _ in range(2):
            keys = await redis.keys()
            assert not any(value.encode() in key for key in keys)
            assert all([0 < await redis.pttl(key) <= 86_400_000 for key in keys])
            if await passes.waits(value):
                await passes.give_back(await passes.use(value))
                assert all([0 < await redis.pttl(key) <= 120_000 for key in await redis.keys()])
                await passes.use(value)


async def test_while_redis_is_away_nobody_is_let_in_and_it_is_said() -> None:
    failed: list[int] = []
    async with client("redis://127.0.0.1:1/0") as redis:
        passes = SharedPasses(redis, lambda: failed.append(1))
        with pytest.raises(SessionsUnreachable):
            await passes.give("st_", NOBODY, 60)
        with pytest.raises(SessionsUnreachable):
            await passes.use("st_made-up")
        await passes.began(b"key", "s_1")
        await passes.give_back(NOBODY)
    assert len(failed) == 4


def test_a_signed_token_is_never_taken_for_one() -> None:
    assert not is_pass(token())
