"""A turn in each language that Kokoro speaks: made by Kokoro, understood by Whisper base."""

from __future__ import annotations

import unicodedata
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from pipeline.config import EngineConfig
from pipeline.engines import g2p_east
from pipeline.engines.build import build
from pipeline.engines.engine_set import Engines
from pipeline.engines.ports import SPEECH_HZ, Float32, SpeechRequest, SpeechWindow, Stop
from pipeline.engines.whisper_folder import is_here
from pipeline.resampling import Resampler
from tests.contract.test_transcribers import running, word_errors

TURNS = {
    "es": ("ef_dora", "El tren sale mañana de la estación central."),
    "fr": ("ff_siwis", "Le train part demain de la gare centrale."),
    "hi": ("hf_alpha", "ट्रेन कितने बजे जाती है?"),
    "it": ("if_sara", "Il treno parte domani dalla stazione centrale."),
    "ja": ("jf_alpha", "明日の朝、東京駅から電車に乗ります。"),
    "pt": ("pf_dora", "O trem sai amanhã da estação central."),
    "zh": ("zf_xiaobei", "明天早上我要去北京看我的朋友。"),
}
MOST_WRONG = {"hi": 0.5}
"""Of the signs; Whisper base spells Hindi by ear."""

pytestmark = [pytest.mark.models, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engines(models_dir: Path) -> AsyncIterator[Engines]:
    """What a server has by default: tiny.en, and base when it is needed."""
    if not is_here(models_dir, "base"):
        pytest.skip("Whisper base is not here: antiphon models pull whisper-base")
    built = build(EngineConfig(models_dir, tts_engine="kokoro-onnx"))
    async with running(built.transcriber), running(built.synthesizers[0]):
        yield built


def signs(text: str) -> list[str]:
    """Letters and digits alone, with the signs that are written on them."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    return [sign for sign in plain if unicodedata.category(sign)[0] in "LMN"]


def heard_at(audio: Float32, rate_hz: int) -> Float32:
    resampler = Resampler(rate_hz, SPEECH_HZ)
    return np.concatenate((resampler.feed(audio), resampler.flush()))


@pytest.mark.parametrize("language", TURNS)
async def test_what_is_said_is_understood(language: str, engines: Engines) -> None:
    if language in g2p_east.PACKAGES and not g2p_east.is_here(language):
        pytest.skip("the extra languages is not installed: make setup EXTRAS=languages")
    voice, text = TURNS[language]
    kokoro = engines.synthesizers[0]
    asked = SpeechRequest(text, voice, language=language)
    audio = np.concatenate([chunk async for chunk in kokoro.synthesize(asked, Stop())])
    window = SpeechWindow(heard_at(audio, kokoro.rate_hz), language)
    heard = await engines.transcriber.transcribe(window, Stop())
    assert heard.language == language
    wrong = word_errors(signs(text), signs(heard.text)) / len(signs(text))
    assert wrong <= MOST_WRONG.get(language, 0.3), heard.text
