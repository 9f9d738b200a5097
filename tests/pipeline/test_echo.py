"""The reply in the microphone, told from a user by its waveform."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.audio import float_to_pcm16
from pipeline.echo import ECHO, STILL_ECHO, Loudspeaker, likeness
from pipeline.engines.ports import Float32
from pipeline.resampling import Resampler
from pipeline.utterance import SPEECH_HZ
from server.cli.wav import read_wav

REPLY_HZ = 24_000
SPEECH = Path(__file__).parents[1] / "speech"


def clip(name: str) -> Float32:
    return read_wav(SPEECH / f"{name}.wav").samples.astype(np.float32) / 32_768


def noise(samples: int, dbfs: float = -60.0) -> Float32:
    return np.random.default_rng(0).normal(0, 10 ** (dbfs / 20), samples).astype(np.float32)


def room(sound: Float32, seconds: float = 0.3) -> Float32:
    """The sound and its reverberation, which dies away by 60 dB in so many seconds."""
    at_s = np.arange(round(seconds * SPEECH_HZ)) / SPEECH_HZ
    answer = np.random.default_rng(1).normal(0, 0.05, len(at_s)) * 10 ** (-3 * at_s / seconds)
    answer[0] = 1.0
    return np.convolve(sound, answer)[: len(sound)].astype(np.float32)


@pytest.fixture(scope="module")
def reply() -> Float32:
    """Three seconds at 16 kHz."""
    return clip("LJ001-0006")[: 3 * SPEECH_HZ]


@pytest.fixture(scope="module")
def reply_in_a_room(reply: Float32) -> Float32:
    return room(reply)


@pytest.fixture
def loudspeaker(reply: Float32) -> Loudspeaker:
    loudspeaker = Loudspeaker(REPLY_HZ)
    resampler = Resampler(SPEECH_HZ, REPLY_HZ)
    loudspeaker.play(float_to_pcm16(np.concatenate((resampler.feed(reply), resampler.flush()))))
    return loudspeaker


@pytest.mark.parametrize("start_s", [0.0, 0.5, 0.9, 1.8])
@pytest.mark.parametrize("gain_db", [-30.0, -20.0, -3.0])
def test_the_reply_in_a_room_is_an_echo(
    loudspeaker: Loudspeaker, reply_in_a_room: Float32, start_s: float, gain_db: float
) -> None:
    start = round(start_s * SPEECH_HZ)
    heard = 10 ** (gain_db / 20) * reply_in_a_room[start : start + SPEECH_HZ // 2]
    assert loudspeaker.echoes_in(np.float32(heard) + noise(len(heard), -70))


@pytest.mark.parametrize("name", ["LJ001-0002", "LJ001-0004", "LJ001-0013", "jfk"])
def test_another_voice_is_none(loudspeaker: Loudspeaker, name: str) -> None:
    voice = clip(name)
    for start in range(SPEECH_HZ // 4, SPEECH_HZ, SPEECH_HZ // 8):
        assert not loudspeaker.echoes_in(voice[start : start + SPEECH_HZ * 2 // 5])


def test_a_voice_over_its_echo_is_none(loudspeaker: Loudspeaker, reply: Float32) -> None:
    both = 0.05 * reply[SPEECH_HZ : 2 * SPEECH_HZ] + clip("LJ001-0013")[4_000 : 4_000 + SPEECH_HZ]
    assert not loudspeaker.echoes_in(both)


def test_where_nothing_was_played_or_heard_there_is_no_echo(loudspeaker: Loudspeaker) -> None:
    assert not Loudspeaker(REPLY_HZ).echoes_in(noise(8_000))
    assert not loudspeaker.echoes_in(np.zeros(8_000, np.float32))
    assert not loudspeaker.echoes_in(np.zeros(0, np.float32))
    silent = Loudspeaker(REPLY_HZ)
    silent.play(bytes(2 * REPLY_HZ))
    assert not silent.echoes_in(noise(8_000))


def test_likeness_is_the_highest_of_any_place(reply: Float32) -> None:
    part = reply[10_000:18_000]
    assert likeness(part, reply) > 2 * ECHO
    assert likeness(-0.1 * part, reply) > 2 * ECHO
    assert likeness(noise(8_000), reply) < STILL_ECHO
