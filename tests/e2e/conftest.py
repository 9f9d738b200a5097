"""A second pair of ears: what a reply's audio says, by a recogniser outside the server."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.models import locate
from server.cli.wav import write_wav

HearAgain = Callable[[bytes], str]


@pytest.fixture(scope="session")
def hear_again(models_dir: Path) -> Iterator[HearAgain]:
    """The words in mono 16-bit PCM at 24 kHz, by faster-whisper's own way of transcribing."""
    from faster_whisper import WhisperModel

    model = WhisperModel(
        str(locate(models_dir, "whisper-tiny.en")), device="cpu", compute_type="int8", cpu_threads=2
    )
    with tempfile.TemporaryDirectory() as folder:

        def transcribe(pcm: bytes) -> str:
            path = Path(folder) / "reply.wav"
            write_wav(path, pcm, 24_000)
            segments, _ = model.transcribe(
                str(path), language="en", beam_size=5, condition_on_previous_text=False
            )
            return " ".join(segment.text.strip() for segment in segments)

        yield transcribe
