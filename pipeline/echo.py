"""Is it the reply that the microphone hears, out of the loudspeaker? By its waveform. Pure.

A generalised cross-correlation (Knapp and Carter 1976): what is heard and what was sent are alike
at one delay, if it is an echo, and at none, if it is not. Nearly whitened (Carter's PHAT), because
the hum of any two voices is alike, and in the band that loudspeakers and telephones pass.
"""

from __future__ import annotations

import numpy as np

from .audio import AudioRing
from .engines.ports import SPEECH_HZ, Float32
from .resampling import Resampler

ECHO, STILL_ECHO = 20.0, 13.0
"""The peak over the root mean square of all delays that tells an echo; the other, where there have
been echoes before. Of an echo of 0.6 to 1 s at -20 dB the peak is 18 to 50 (nine of ten, and the
median, of 40), in reverberation 12 to 40, of another voice 8 and at most 17."""
BAND_HZ = (300.0, 3_500.0)
WHITENING = 0.8
WINDOW_S = 1.0
"""As much of what was heard is compared: its end."""
BEHIND_S = 3.0
"""What was sent so long ago may still be heard: a second ahead, the look itself, a slow line."""


class Loudspeaker:
    """What was sent to be played of late, to compare with what is heard."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._sent = AudioRing(round(BEHIND_S * rate_hz))
        self._echoed = False

    def play(self, pcm: bytes) -> None:
        """This leaves for the client, 16-bit little-endian PCM."""
        self._sent.append_pcm(np.frombuffer(pcm, "<i2"))

    def echoes_in(self, heard: Float32) -> bool:
        """Whether the end of what was heard, 16 kHz, is an echo of what was sent. Some 3 ms."""
        resampler = Resampler(self._rate_hz, SPEECH_HZ)
        sent = self._sent.read(self._sent.start, self._sent.end)
        sent = np.concatenate((resampler.feed(sent), resampler.flush()))
        alike = likeness(heard[-round(WINDOW_S * SPEECH_HZ) :], sent)
        echo = alike >= (STILL_ECHO if self._echoed else ECHO)
        self._echoed |= echo
        return echo


def likeness(heard: Float32, sent: Float32) -> float:
    """The highest peak of the correlation of two stretches at 16 kHz, over its root mean square."""
    if not np.any(heard) or not np.any(sent):
        return 0.0
    size = 1 << (len(heard) + len(sent)).bit_length()
    spectrum = np.fft.rfft(sent, size) * np.conj(np.fft.rfft(heard, size))
    at_hz = np.fft.rfftfreq(size, 1 / SPEECH_HZ)
    spectrum[(at_hz < BAND_HZ[0]) | (at_hz > BAND_HZ[1])] = 0.0
    size_of = np.abs(spectrum)
    spectrum /= np.maximum(size_of, 1e-9 * size_of.max()) ** WHITENING
    delays = np.abs(np.fft.irfft(spectrum, size))
    return float(delays.max() / np.sqrt(np.mean(np.square(delays))))
