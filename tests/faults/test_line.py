"""The bad line itself: late, bunched or held up, but whole and in order."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.faults.line import HOST, Weather, line_to

times = st.floats(0, 1_000)
amounts = st.floats(0, 500)


@given(times, amounts, amounts, st.integers())
def test_a_piece_is_late_by_its_delay_and_at_most_the_jitter(
    in_s: float, delay_ms: float, jitter_ms: float, seed: int
) -> None:
    late_s = Weather(delay_ms, jitter_ms).out_s(in_s, str(seed)) - in_s
    assert delay_ms / 1_000 - 1e-6 <= late_s <= (delay_ms + jitter_ms) / 1_000 + 1e-6


def test_the_weather_is_the_same_for_the_same_seed() -> None:
    weather = Weather(jitter_ms=200)
    delays = {
        seed: [weather.out_s(n / 50, seed) - n / 50 for n in range(100)] for seed in ("1", "2")
    }
    assert delays["1"] == [weather.out_s(n / 50, "1") - n / 50 for n in range(100)]
    assert delays["1"] != delays["2"]
    assert max(delays["1"]) > 0.15


def test_what_comes_within_a_burst_leaves_together() -> None:
    weather = Weather(burst_ms=300)
    assert [weather.out_s(n / 50, "") for n in range(1, 16)] == pytest.approx([0.3] * 15)
    assert weather.out_s(16 / 50, "") == pytest.approx(0.6)


async def test_everything_comes_through_in_order_both_ways_and_then_the_end() -> None:
    sent = random.Random(0).randbytes(300_000)

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(5_000):
            writer.write(data)
        writer.close()

    echoing = await asyncio.start_server(echo, HOST, 0)
    port = echoing.sockets[0].getsockname()[1]
    jittery = Weather(jitter_ms=30)
    async with echoing, line_to(port, up=jittery, down=jittery) as line:
        reader, writer = await asyncio.open_connection(HOST, line.port)
        for start in range(0, len(sent), 10_000):
            writer.write(sent[start : start + 10_000])
            await asyncio.sleep(0.005)
        writer.write_eof()
        async with asyncio.timeout(10):
            assert await reader.read() == sent
        writer.close()


async def test_a_stalled_line_keeps_what_it_is_given() -> None:
    async with asyncio.timeout(10):
        arrived: asyncio.Queue[bytes] = asyncio.Queue()

        async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(100):
                arrived.put_nowait(data)
                writer.write(b"heard")
            writer.close()

        noting = await asyncio.start_server(note, HOST, 0)
        async with noting, line_to(noting.sockets[0].getsockname()[1]) as line:
            reader, writer = await asyncio.open_connection(HOST, line.port)
            with line.stalled("up"):
                writer.write(b"one")
                await asyncio.sleep(0.1)
                assert arrived.empty()
            assert await arrived.get() == b"one"
            assert await reader.readexactly(5) == b"heard"
            with line.stalled("down"):
                writer.write(b"two")
                assert await arrived.get() == b"two"
            assert await reader.readexactly(5) == b"heard"
            writer.close()
