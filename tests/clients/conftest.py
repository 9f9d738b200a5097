"""One server for all clients: real ears and voices, and a language model that is certain."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.clients.scripted_llm import scripted_llm
from tests.support import ServerProcess, server_process

LINES = {
    "weather": "How is the weather in Paris today?",
    "story": "Please tell me a long story.",
    "name": "Stop and tell me your name.",
}
"""What the users say: each in one breath, so that none is taken for two turns."""
SEND_AHEAD_MS = 10_000
"""So far that a client has something to play when it is cut into, however slow the voice is made
beside everything else (`stage.AHEAD_S`)."""


@pytest.fixture(scope="session")
def server(models_dir: Path) -> Iterator[ServerProcess]:
    """Speech engines as they are by default, for two at a time."""
    with (
        scripted_llm() as llm,
        server_process(
            ANTIPHON_MODELS_DIR=str(models_dir), ANTIPHON_LLM_BASE_URL=llm,
            ANTIPHON_STT_SLOTS="2", ANTIPHON_TTS_SLOTS="2",
            ANTIPHON_SEND_AHEAD_MS=str(SEND_AHEAD_MS),
        ) as server,
    ):  # fmt: skip
        yield server


@pytest.fixture(scope="session")
def lines(server: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the users say, spoken by a voice that is not the server's."""
    folder = tmp_path_factory.mktemp("lines")
    for name, text in LINES.items():
        wanted: dict[str, object] = {"input": text, "voice": "am_michael", "response_format": "pcm"}
        wanted["stream"] = False  # in clauses that do not depend on how fast the machine is now
        spoken = httpx.post(f"{server.url}/v1/audio/speech", json=wanted, timeout=300)
        assert spoken.status_code == 200, spoken.text
        (folder / f"{name}.pcm").write_bytes(spoken.content)
    return folder
