"""What the throughput benchmark reads of the server's metrics."""

from __future__ import annotations

import pytest

from benchmarks.throughput import work_s
from tests.server.speech_client import SPEECH, client
from tests.support import live_server


async def test_the_time_that_voices_were_at_work_is_in_the_metrics() -> None:
    async with live_server() as server, client(server.url) as http:
        assert work_s((await http.get("/metrics")).text) == 0.0
        await http.post(SPEECH, json={"input": "Hello there."})
        first = work_s((await http.get("/metrics")).text)
        assert first >= 0.02  # the scripted voice's first chunk
        await http.post(SPEECH, json={"input": "Hello there."})
        assert work_s((await http.get("/metrics")).text) == pytest.approx(2 * first, rel=0.9)
