"""G.711 by tables against the standard library's, and against its own values."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from server.wire import g711
from server.wire.realtime_audio import AudioIn, AudioOut, second_bytes

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # gone in Python 3.13
    import audioop

ALL_BYTES = bytes(range(256))
ALL_SAMPLES = np.arange(-32_768, 32_768).astype(np.int16)


@pytest.mark.parametrize(("law", "reference"), [("mu", audioop.ulaw2lin), ("a", audioop.alaw2lin)])
def test_every_byte_is_the_value_of_the_reference(law: g711.Law, reference) -> None:
    expected = np.frombuffer(reference(ALL_BYTES, 2), "<i2")
    assert np.array_equal(g711.decode(ALL_BYTES, law), expected)


@pytest.mark.parametrize(("law", "reference"), [("mu", audioop.lin2ulaw), ("a", audioop.lin2alaw)])
def test_every_sample_is_as_near_as_the_reference_gets(law: g711.Law, reference) -> None:
    ours = g711.decode(g711.encode(ALL_SAMPLES, law), law).astype(int)
    theirs = g711.decode(reference(ALL_SAMPLES.astype("<i2").tobytes(), 2), law).astype(int)
    samples = ALL_SAMPLES.astype(int)
    assert (abs(ours - samples) <= abs(theirs - samples)).all()


@pytest.mark.parametrize("law", ["mu", "a"])
def test_what_was_encoded_comes_back(law: g711.Law) -> None:
    values = g711.decode(ALL_BYTES, law)
    assert np.array_equal(g711.decode(g711.encode(values, law), law), values)


@pytest.mark.parametrize("name", ["audio/pcmu", "audio/pcma"])
def test_a_tone_passes_through_the_telephone(name) -> None:
    time_s = np.arange(24_000) / 24_000
    tone = (8_000 * np.sin(2 * np.pi * 440 * time_s)).astype("<i2")
    out, ear = AudioOut(name), AudioIn()
    pieces = [out.encode(tone[at : at + 2_400].tobytes()) for at in range(0, 24_000, 2_400)]
    sent = b"".join([*pieces, out.finish()])
    assert len(sent) / second_bytes(name) == pytest.approx(1.0, abs=0.01)
    heard = np.frombuffer(ear.decode(sent, name), "<i2").astype(float)
    middle = heard[6_000:18_000]
    spectrum = abs(np.fft.rfft(middle))
    assert np.argmax(spectrum) * 24_000 / len(middle) == pytest.approx(440, abs=3)
