"""Is it the reply that the microphone hears, out of the loudspeaker? By its waveform. Pure."""

from __future__ import annotations

import numpy as np

from .audio import AudioRing, Resampler
from .engines.ports import SPEECH_HZ, Float32

LIKE = 0.35
"""Correlation from which it is an echo. Of windows of 0.4 s over six clips, 7 to 81 % of an echo's
energy arrived late, by a wall: it lay at 0.35 to 0.81; that of unrelated speech at 0.26 at most."""
WINDOW_S = 1.0
"""As much of what was heard is compared: its end."""
BEHIND_S = 3.0
"""What was sent so long ago may still be heard: a second ahead, the look itself, a slow line."""


class Loudspeaker:
    """What was sent to be played of late, to compare with what is heard."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._sent = AudioRing(round(BEHIND_S * rate_hz))

    def play(self, samples: Float32) -> None:
        """These samples leave for the client."""
        self._sent.append(samples)

    def echoes_in(self, heard: Float32) -> bool:
        """Whether the end of what was heard, 16 kHz, is an echo of what was sent. Some 3 ms."""
        window = heard[-round(WINDOW_S * SPEECH_HZ) :]
        if self._sent.end == self._sent.start:
            return False
        resampler = Resampler(self._rate_hz, SPEECH_HZ)
        sent = self._sent.read(self._sent.start, self._sent.end)
        return likeness(window, np.concatenate((resampler.feed(sent), resampler.flush()))) >= LIKE


def likeness(heard: Float32, sent: Float32) -> float:
    """The highest correlation, 0 to 1, of what was heard with any stretch of what was sent.

    Both are differentiated first: the low frequencies of two voices are always alike.
    """
    short, long = np.diff(heard), np.diff(sent)
    if not 0 < len(short) <= len(long) or not np.any(short) or not np.any(long):
        return 0.0
    size = 1 << (len(short) + len(long)).bit_length()
    spectrum = np.fft.rfft(long, size) * np.conj(np.fft.rfft(short, size))
    products = np.fft.irfft(spectrum, size)[: len(long) - len(short) + 1]
    energies = np.cumsum(np.concatenate(([0.0], np.square(long, dtype=np.float64))))
    windows = energies[len(short) :] - energies[: -len(short)]
    quiet = 1e-6 * float(windows.max())  # of a silent stretch nothing is an echo
    norms = np.sqrt(np.maximum(windows, quiet) * float(np.square(short, dtype=np.float64).sum()))
    return float(np.max(np.abs(products) / norms))
