"""The engine that `docs/engines.md` shows speaks through the whole server."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx

from pipeline.engines.engine_set import Engines
from server.house import House
from server.serve import bound, running
from server.settings import load
from tests.support import SCRIPTED

PAGE = Path(__file__).parents[1] / "docs" / "engines.md"


def whistle() -> Any:
    """The page's engine, made."""
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert code is not None
    names: dict[str, Any] = {"__name__": "engines_md"}
    exec(code[1], names)
    return names["Whistle"]()


async def test_the_engine_of_the_page_speaks(monkeypatch: Any) -> None:
    import server.app

    build = server.app.build

    def with_whistle(config: Any) -> Engines:
        return replace(build(config), synthesizers=(whistle(),))

    monkeypatch.setattr(server.app, "build", with_whistle)
    with bound("127.0.0.1", 0) as listener:
        async with running(load(SCRIPTED, env_file=None), listener) as (house, _):
            assert isinstance(house, House)
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1/audio/speech"
            ask = {"input": "Hello.", "voice": "whistle", "response_format": "pcm"}
            async with httpx.AsyncClient() as client:
                answer = await client.post(url, json=ask)
            assert answer.status_code == 200
            assert len(answer.content) / 2 / 24_000 >= 5 * 0.08 - 0.1
