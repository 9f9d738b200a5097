"""Fixtures of the whole suite, and the guard that fails a test which leaks a task.

A server is imported only by the fixtures that start one: tests of what is pure wait for no more
than they need.
"""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from pipeline.errors import ModelMissing
from pipeline.models import DEFAULT_MODELS, default_models_dir, locate

if TYPE_CHECKING:
    from tests.support import ServerProcess
    from tests.valkey import Valkey


@pytest.fixture(scope="session", autouse=True)
def _data_dir(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test keeps anything in its developer's home."""
    os.environ.setdefault("ANTIPHON_DATA_DIR", str(tmp_path_factory.mktemp("data")))


@pytest.fixture(autouse=True)
def no_leaked_tasks(request: pytest.FixtureRequest) -> None:
    """Every task that a test starts is over when the test is."""
    if inspect.iscoroutinefunction(getattr(request.node, "function", None)):
        request.getfixturevalue("_task_guard")


@pytest_asyncio.fixture
async def _task_guard() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    for _ in range(3):  # callbacks of what has just ended
        await asyncio.sleep(0)
    leaked = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not leaked, f"tasks leaked: {[task.get_coro() for task in leaked]}"


@pytest.fixture(scope="session")
def models_dir() -> Path:
    """Where the default models are; `make setup` fetches them."""
    directory = Path(os.environ.get("ANTIPHON_MODELS_DIR") or default_models_dir())
    try:
        for model in DEFAULT_MODELS:
            locate(directory, model.name)
    except ModelMissing as missing:
        pytest.fail(f"{missing}")
    return directory


@pytest.fixture(scope="session")
def scripted_server() -> Iterator[ServerProcess]:
    """A server with scripted engines, in a process of its own."""
    from tests.support import SCRIPTED, server_process

    with server_process(**SCRIPTED) as server:
        yield server


@pytest.fixture(scope="session")
def real_server(models_dir: Path) -> Iterator[ServerProcess]:
    """A server with the default engines and models, in a process of its own."""
    from tests.support import server_process

    with server_process(ANTIPHON_MODELS_DIR=str(models_dir)) as server:
        yield server


@pytest.fixture(scope="session")
def a_redis() -> Iterator[Valkey]:
    """A Redis that tests share one after the other; each gets it empty, by `redis_url`."""
    from tests.valkey import valkey

    with valkey() as server:
        yield server


@pytest.fixture
def redis_url(a_redis: Valkey) -> str:
    """Where an empty Redis is."""
    from redis import Redis

    with Redis.from_url(a_redis.url) as client:
        client.flushall()
    return a_redis.url
