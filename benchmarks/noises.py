"""What is heard over a reply and means nothing: coughs, doors, and signs of listening.

All but "yeah" comes from the generator below (breath, vocal folds and resonances; damped modes of a
door), not from recordings. Kokoro cannot say "mm-hm" or "uh-huh" (Whisper hears "I'm him" and "Oh,
hi"); what is made here is heard as "Mm-hmm" and "Uh-uh". "Yeah" is Kokoro's, and kept on disk.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.audio import float_to_pcm16
from pipeline.engines.kokoro_onnx import MODEL, KokoroOnnxSynthesizer
from pipeline.engines.kokoro_sound import RATE_HZ
from pipeline.engines.ports import SPEECH_HZ, SpeechRequest, Stop
from pipeline.models import default_models_dir
from pipeline.resampling import Resampler
from server.cli.wav import Recording, read_wav, write_wav

Signal = NDArray[np.float64]
Formants = tuple[tuple[float, float], ...]

OPEN_HZ = ((640.0, 90.0), (1_190.0, 110.0), (2_390.0, 170.0), (3_400.0, 250.0))
CLOSED_HZ = ((260.0, 60.0), (1_050.0, 180.0), (2_200.0, 250.0), (3_000.0, 300.0))
"""Resonances and their widths of a throat that says "uh" (Peterson and Barney 1952), and "m"."""
PEAK = 0.4
"""Of full scale: about as loud as speech near the microphone."""
YEAH = ("af_heart", "am_michael", "bf_emma")
"""Whose "yeah" it is."""


@dataclass(frozen=True, slots=True)
class Sound:
    """Something to be heard over a reply, 16 kHz mono."""

    name: str
    recording: Recording


def coughs(count: int = 10) -> tuple[Sound, ...]:
    """So many different ones, the same every time."""
    return tuple(
        Sound(f"cough {number + 1}", _recording(cough(np.random.default_rng(number))))
        for number in range(count)
    )


def doors(count: int = 4) -> tuple[Sound, ...]:
    """So many different ones, the same every time."""
    return tuple(
        Sound(f"door {number + 1}", _recording(door(np.random.default_rng(number))))
        for number in range(count)
    )


def cough(rng: np.random.Generator) -> Signal:
    """One to three barks: a burst of breath through a throat, then a hoarse, voiced rest."""
    barks = []
    for _ in range(rng.integers(1, 4)):
        barks += [_bark(rng), np.zeros(_samples(rng.uniform(0.06, 0.18)))]
    return np.concatenate(barks)


def _bark(rng: np.random.Generator) -> Signal:
    throat_hz = _throat(OPEN_HZ, rng)
    breath = rng.standard_normal(_samples(rng.uniform(0.05, 0.09)))
    burst = _bands(breath, (hz for hz, _ in throat_hz), 0.5)
    burst *= _decay(len(burst), attack_s=0.004, to_db=-14)
    # Vocal folds that fall shut: pulses from some 200 Hz down, with breath between them.
    pitch_hz = np.linspace(rng.uniform(140, 260), 100, _samples(rng.uniform(0.1, 0.25)))
    voice = _voice(rng, pitch_hz, throat_hz, breath=rng.uniform(0.1, 1.5))
    voice *= _decay(len(voice), attack_s=0.02, to_db=-18)
    return np.concatenate((_to_peak(burst), voice))


def assent(rng: np.random.Generator, resonances_hz: Formants) -> Signal:
    """Two syllables with an "h" between, the second higher: "mm-hm" or "uh-huh", by the throat."""
    throat_hz = _throat(resonances_hz, rng)
    pitch_hz = rng.uniform(95, 220)
    low, high = _samples(rng.uniform(0.14, 0.2)), _samples(rng.uniform(0.2, 0.3))
    first = _voice(rng, pitch_hz * np.linspace(1.02, 0.9, low), throat_hz, breath=0.15)
    rise, fall = np.linspace(1.05, 1.3, high // 2), np.linspace(1.3, 1.1, high - high // 2)
    second = _voice(rng, pitch_hz * np.concatenate((rise, fall)), throat_hz, breath=0.15)
    h = _to_peak(_resonated(rng.standard_normal(_samples(rng.uniform(0.05, 0.09))), throat_hz))
    return np.concatenate(
        (
            0.8 * first * _edges(low, 0.03, 0.04),
            0.12 * h * _edges(len(h), 0.01, 0.01),
            second * _edges(high, 0.03, 0.1),
        )
    )


def _throat(resonances_hz: Formants, rng: np.random.Generator) -> Formants:
    """One person's: longer or shorter than the next one's."""
    length = rng.uniform(0.9, 1.15)
    return tuple((length * hz, wide_hz) for hz, wide_hz in resonances_hz)


def _voice(
    rng: np.random.Generator, pitch_hz: Signal, throat_hz: Formants, *, breath: float
) -> Signal:
    """Vocal folds at this pitch, a value a sample, never quite even, through a throat."""
    uneven = np.convolve(rng.standard_normal(len(pitch_hz)), np.full(80, 80**-0.5), "same")
    phase = np.cumsum(pitch_hz * (1 + 0.008 * uneven)) / SPEECH_HZ
    pulses = (np.diff(np.floor(phase), prepend=0.0) > 0) * 8.0
    return _to_peak(_resonated(pulses + breath * rng.standard_normal(len(pitch_hz)), throat_hz))


def door(rng: np.random.Generator) -> Signal:
    """A latch that clicks and a leaf that falls shut: damped modes and a rumble."""
    click = _bands(rng.standard_normal(_samples(0.012)), (2_500, 4_500), 0.5)
    click *= _decay(len(click), attack_s=0.001, to_db=-30)
    length = _samples(rng.uniform(0.18, 0.35))
    at_s = np.arange(length) / SPEECH_HZ
    slam = np.zeros(length)
    for _ in range(5):
        mode_hz, damping_s = rng.uniform(55, 320), rng.uniform(0.03, 0.09)
        slam += rng.uniform(0.3, 1) * np.sin(2 * np.pi * mode_hz * at_s) * np.exp(-at_s / damping_s)
    rumble = _bands(rng.standard_normal(length), (150, 500), 0.7)
    slam += 0.5 * _to_peak(rumble) * np.exp(-at_s / 0.05)
    between = np.zeros(_samples(rng.uniform(0.04, 0.12)))
    return np.concatenate((0.4 * _to_peak(click), between, _to_peak(slam)))


def _bands(sound: Signal, centres_hz: Iterable[float], octaves: float) -> Signal:
    """The sound through bands of this width (one standard deviation) around the centres."""
    octave = np.log2(np.fft.rfftfreq(len(sound), 1 / SPEECH_HZ)[1:])
    gain = np.zeros(len(octave) + 1)
    for centre_hz in centres_hz:
        gain[1:] += np.exp(-(((octave - math.log2(centre_hz)) / octaves) ** 2) / 2)
    return np.fft.irfft(np.fft.rfft(sound) * gain, len(sound))


def _resonated(sound: Signal, formants_hz: Formants) -> Signal:
    """The sound through one resonance after the other: (frequency, bandwidth)."""
    f_hz = np.fft.rfftfreq(len(sound), 1 / SPEECH_HZ)
    response = 1 / (1 + 1j * f_hz / 100)  # glottis and lips together: 6 dB less each octave
    for hz, wide_hz in formants_hz:
        response *= hz**2 / (hz**2 - f_hz**2 + 1j * f_hz * wide_hz)
    return np.fft.irfft(np.fft.rfft(sound) * response, len(sound))


def _decay(length: int, *, attack_s: float, to_db: float) -> Signal:
    at = np.arange(length)
    envelope = 10 ** (to_db / 20 * at / length)
    rise = np.minimum(1, at / max(1, attack_s * SPEECH_HZ))
    fall = np.minimum(1, (length - at) / 80)  # 5 ms: no click at its end
    return np.asarray(envelope * rise * fall)


def _edges(length: int, rise_s: float, fall_s: float) -> Signal:
    at_s = np.arange(length) / SPEECH_HZ
    return np.asarray(np.clip(at_s / rise_s, 0, 1) * np.clip((at_s[-1] - at_s) / fall_s, 0, 1))


def _to_peak(sound: Signal) -> Signal:
    return np.asarray(sound / np.abs(sound).max())


def _samples(seconds: float) -> int:
    return round(seconds * SPEECH_HZ)


def _recording(sound: Signal) -> Recording:
    pcm = float_to_pcm16((PEAK * _to_peak(sound)).astype(np.float32))
    return Recording(np.frombuffer(pcm, "<i2").astype(np.int16), SPEECH_HZ)


async def signs_of_listening(directory: Path | None = None) -> tuple[Sound, ...]:
    """Ten of them: four times "mm-hm", three times "uh-huh", three times "yeah".

    What Kokoro says is kept in `directory` (default: beside the models). Raises `ModelMissing`.
    """
    mm_hm = [
        Sound(f"mm-hm {n + 1}", _recording(assent(np.random.default_rng(n), CLOSED_HZ)))
        for n in range(4)
    ]
    uh_huh = [
        Sound(f"uh-huh {n + 1}", _recording(assent(np.random.default_rng(n), OPEN_HZ)))
        for n in range(4, 7)
    ]
    directory = directory or default_models_dir().parent / "benchmarks" / "signs"
    files = [directory / f"yeah-{MODEL}-{voice}.wav" for voice in YEAH]
    missing = [(voice, file) for voice, file in zip(YEAH, files, strict=True) if not file.exists()]
    if missing:
        directory.mkdir(parents=True, exist_ok=True)
        await _say("Yeah.", missing)
    yeah = [Sound(f"yeah, {v}", read_wav(f)) for v, f in zip(YEAH, files, strict=True)]
    return (*mm_hm, *uh_huh, *yeah)


async def _say(text: str, by: Iterable[tuple[str, Path]]) -> None:
    engine = KokoroOnnxSynthesizer(default_models_dir(), threads=2)
    await engine.start()
    try:
        for voice, file in by:
            request = SpeechRequest(text, voice)
            audio = np.concatenate([chunk async for chunk in engine.synthesize(request, Stop())])
            resampler = Resampler(RATE_HZ, SPEECH_HZ)
            speech = np.concatenate((resampler.feed(audio), resampler.flush()))
            write_wav(file, _recording(speech.astype(float)).samples.tobytes(), SPEECH_HZ)
    finally:
        await engine.close()
