"""What httpx holds: for tests that nothing is leaked."""

from __future__ import annotations

import httpx
from httpcore import AsyncConnectionPool

from pipeline.engines.llm_fleet import LanguageModelFleet
from pipeline.engines.openai_llm import OpenAILanguageModel


def in_use(model: OpenAILanguageModel | LanguageModelFleet) -> int:
    """Connections of a model's pool that are not idle, and requests that wait for one.

    Of a server's: `in_use(server.house.engines.language_model)`.
    """
    if isinstance(model, LanguageModelFleet):
        return sum(map(in_use, model._backends))
    transport = model._client._transport
    assert isinstance(transport, httpx.AsyncHTTPTransport)
    pool = transport._pool
    assert isinstance(pool, AsyncConnectionPool)
    return len(pool._requests) + sum(not each.is_idle() for each in pool.connections)
