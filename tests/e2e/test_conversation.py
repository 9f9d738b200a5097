"""A person talks, Antiphon answers: real speech, real models, the whole way round."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from benchmarks.client import calling
from benchmarks.clips import clips, clips_without_pauses
from benchmarks.wer import WordErrors, word_errors, words
from pipeline.audio import float_to_pcm16, pcm16_to_float
from pipeline.resampling import Resampler
from pipeline.voicing import REPLY_HZ
from server.cli.one_turn import ask
from server.cli.wav import read_wav
from server.encoding import OpusPackets
from server.wire.tagged import tag
from tests.e2e.conftest import HearAgain
from tests.support import ServerProcess, call

pytestmark = pytest.mark.models

PLAIN = "You answer in one short, plain sentence, without numbers."


async def test_spoken_clips_are_understood_push_to_talk(real_server: ServerProcess) -> None:
    total = WordErrors(0, 0)
    for clip in clips():
        hello = {"audio": {"rate": 16_000}, "turn_detection": "manual"}
        async with call(real_server.ws_url, hello) as caller:
            # jfk.wav is a second longer than the credit; the rest may come a little later.
            pcm = read_wav(clip.path).samples.tobytes()
            at_once = 2 * 16_000 * 9
            await caller.speak(pcm[:at_once])
            await asyncio.sleep(max(0, len(pcm) - at_once) / (2 * 16_000))
            await caller.speak(pcm[at_once:])
            await caller.say("commit")
            transcript = await caller.until("transcript", final=True)
            assert not caller.of("warning")
            await caller.say("bye")
        total += word_errors(clip.words, transcript["text"])
    assert total.words == 66
    assert total.rate <= 0.10, str(total)


async def test_what_is_spoken_as_opus_is_understood_as_well(real_server: ServerProcess) -> None:
    """Packets of 20 ms at 32 kbit/s, tagged."""
    total = WordErrors(0, 0)
    hello = {"audio": {"codec": "opus", "framing": "tagged"}, "turn_detection": "manual"}
    for clip in clips()[1:4]:
        recording = read_wav(clip.path)
        resampler = Resampler(recording.rate_hz, REPLY_HZ)
        sound = pcm16_to_float(recording.samples.tobytes())
        pcm = float_to_pcm16(np.concatenate([resampler.feed(sound), resampler.flush()]))
        opus = OpusPackets()
        async with call(real_server.ws_url, hello) as caller:
            for packet in [*opus.feed(pcm), *opus.finish()]:
                await caller.socket.send(tag(0, 0, packet))
            await caller.say("commit")
            transcript = await caller.until("transcript", final=True)
            assert not caller.of("error")
            await caller.say("bye")
        total += word_errors(clip.words, transcript["text"])
    assert total.rate <= 0.10, str(total)


async def test_spoken_clips_are_understood_hands_free(real_server: ServerProcess) -> None:
    total = WordErrors(0, 0)
    async with calling(real_server.ws_url, instructions=PLAIN) as caller:
        for clip in clips_without_pauses():
            turn = await caller.say(read_wav(clip.path), listen_s=0.5)
            assert not turn.cut_off
            total += word_errors(clip.words, " ".join(turn.transcripts))
    assert total.words == 30
    assert total.rate <= 0.10, str(total)


async def test_the_reply_says_its_text(real_server: ServerProcess, hear_again: HearAgain) -> None:
    total = WordErrors(0, 0)
    for question in ("Where does bread come from?", "Why do people like music?"):
        answer = await ask(real_server.ws_url, question, settings={"instructions": PLAIN})
        assert answer.status == "completed"
        assert words(answer.text), "the reply has text"
        said = await asyncio.to_thread(hear_again, answer.audio)
        total += word_errors(answer.text, said)
    assert total.rate <= 0.20, str(total)


async def test_a_spoken_question_is_answered_in_speech(
    real_server: ServerProcess, hear_again: HearAgain
) -> None:
    clip = clips_without_pauses()[0]
    async with calling(real_server.ws_url, instructions=PLAIN) as caller:
        turn = await caller.say(read_wav(clip.path), listen_s=4.0)
    assert turn.voice_to_voice_s is not None
    assert turn.voice_to_voice_s > 0
    started = [note.message for note in turn.notes if note.message["type"] == "speech_started"]
    assert [message["turn"] for message in started][:1] == [1]
    assert words(await asyncio.to_thread(hear_again, turn.playback.audio.tobytes()))
