"""Kokoro's graph without the silence: the same words, about as loud, for less work."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from pipeline.engines import g2p
from pipeline.engines.kokoro_graph import without_silence
from pipeline.engines.kokoro_sound import load_style
from pipeline.engines.onnx import load_session
from pipeline.engines.ports import Float32
from pipeline.models import locate

pytestmark = pytest.mark.models

RATE_HZ = 24_000
TEXTS = ("Sure.", "I can help you", "What would you like to know?")


def heard_s(audio: Float32) -> tuple[float, float, float]:
    """Silence before the sound, the sound, silence after it; in seconds, at a hundredth of it."""
    loud = np.flatnonzero(np.abs(audio) > 0.01 * np.abs(audio).max())
    first, last = int(loud[0]), int(loud[-1])
    return first / RATE_HZ, (last - first) / RATE_HZ, (len(audio) - last) / RATE_HZ


@pytest.fixture(scope="module")
def renders(models_dir: Path) -> list[tuple[Float32, Float32]]:
    """Each text by the model as it is, and by the one without silence."""
    file = locate(models_dir, "kokoro-v1.0-int8") / "kokoro-v1.0.int8.onnx"
    style = load_style(locate(models_dir, "kokoro-voices") / "af_heart.bin")
    whole = load_session(file, threads=2)
    cut = load_session(without_silence(file), threads=2)
    pairs = []
    for text in TEXTS:
        signs = g2p.phonemes(text, "en-us")
        feed = {
            "tokens": np.array([[0, *(g2p.TOKENS[sign] for sign in signs), 0]], np.int64),
            "style": style[len(signs) - 1],
            "speed": np.ones(1, np.float32),
        }
        last = max(i for i, sign in enumerate(signs) if sign.isalpha()) + 1
        (plain,) = whole.run(["audio"], feed)
        (short,) = cut.run(["audio"], {**feed, "last_sound": np.array([last], np.int64)})
        pairs.append((np.ravel(plain), np.ravel(short)))
    return pairs


def test_what_is_left_out_is_silence(renders: list[tuple[Float32, Float32]]) -> None:
    for whole, cut in renders:
        (lead, sound, tail), (cut_lead, cut_sound, cut_tail) = heard_s(whole), heard_s(cut)
        assert len(cut) < len(whole) - 0.3 * RATE_HZ
        assert 0 < cut_lead < lead
        assert 0 < cut_tail < tail
        assert cut_sound == pytest.approx(sound, abs=0.12)  # a vowel at the end is drawn out less


def test_the_voice_is_as_loud_as_before(renders: list[tuple[Float32, Float32]]) -> None:
    for whole, cut in renders:
        ratio = np.sqrt(np.square(cut).sum() / np.square(whole).sum())
        assert abs(20 * np.log10(ratio)) < 2.0


def test_another_export_of_the_model_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.onnx"
    graph = onnx.parser.parse_graph("other (float[1] x) => (float[1] audio) { audio = Neg (x) }")
    onnx.save(onnx.helper.make_model(graph), str(other))
    with pytest.raises(KeyError):
        without_silence(other)
