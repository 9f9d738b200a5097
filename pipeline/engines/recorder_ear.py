"""One session's ear with a RealtimeSTT recorder: fed frame by frame, asked for words.

The turn machine alone says where a turn begins and ends. So the recorder's own voice detection is
never armed: a recording is begun where a turn began, its realtime lane gives the words so far, and
its final lane those of a stretch that may be the whole turn. That is early transcription: the
recording goes on, and when the user does too, the words are asked for again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from dataclasses import replace
from queue import Empty
from typing import Any

import numpy as np

from pipeline.audio import float_to_pcm16, pcm16_to_float
from pipeline.engines.ports import SPEECH_HZ, AskModel, Float32, SpeechWindow, Transcript
from pipeline.engines.recorder_lanes import Lane, Wanted
from pipeline.engines.threads import EngineThreads
from pipeline.errors import SttFailed

KEPT_FRAMES = 940
"""30 s of frames: the longest window. 1 MB."""
REST_S = 2.5
"""A recording of which no words were asked for so long is of a turn that has ended: while somebody
speaks they are asked for every 1.5 s. One that rests costs a tenth of one that goes on; if its turn
does go on, it begins anew with all that was heard."""
LAG_SAMPLES = 2 * 512
"""Frames that the recorder's thread may not have taken yet when words so far are asked for."""
ANSWER_S = 10.0
"""How long a recorder may take to ask the model; it takes 0.1 s."""


class RecorderEar:
    """A `Recogniser`. Beside the recorder's two threads it has one, which waits for final words
    (while it does, RealtimeSTT makes a fourth)."""

    def __init__(
        self, recorder: Any, final: Lane, partial: Lane, thread: EngineThreads, ask: AskModel
    ) -> None:
        self._recorder = recorder
        self._final, self._partial = final, partial
        self._finals, self._partials = asyncio.Lock(), asyncio.Lock()
        """A lane answers one after the other."""
        self._thread = thread
        self._ask = ask
        self._frames: deque[tuple[int, bytes]] = deque(maxlen=KEPT_FRAMES)
        """Where each ended, and its PCM."""
        self._start: int | None = None
        """Where the recording that is under way began."""
        self._asked_to = 0

    def feed(self, frame: Float32, end: int) -> None:
        """A frame of any length; of a recording that is under way, the recorder takes it too."""
        pcm = float_to_pcm16(frame)
        self._frames.append((end, pcm))
        if self._start is None:
            return
        if end - self._asked_to > REST_S * SPEECH_HZ:
            self._rest()
        else:
            self._recorder.feed_audio(pcm)

    async def words(
        self,
        start: int,
        end: int,
        *,
        final: bool,
        quick: bool = False,
        language: str | None = None,
    ) -> Transcript:
        """What the recorder understands of a stretch. Raises `SttFailed`, and what the model does.

        Cancelled, it leaves nothing behind: the recorder's threads are told at once.
        """
        self._asked_to = max(self._asked_to, end)
        if start != self._start:
            self._begin(start)
        if final:
            async with self._finals:
                return await self._final_words(start, end, language)
        async with self._partials:
            return await self._words_so_far(start, end, quick, language)

    async def close(self) -> None:
        """End the recorder's threads and ours; whoever waits for words is told."""
        self._final.give_up()
        self._partial.give_up()
        await self._thread.run(self._recorder.shutdown)
        await self._thread.close()
        self._frames.clear()

    # --- the two lanes ---------------------------------------------------------------------------

    async def _final_words(self, start: int, end: int, language: str | None) -> Transcript:
        audio = self._window(start, end)
        if not len(audio):
            return Transcript("", language or "en", no_speech=1.0)
        wanted = Wanted(0)
        job = self._thread.submit(self._finish, wanted, audio)
        job.add_done_callback(wanted.failed)
        transcript = await self._model(wanted, final=True, quick=False, language=language)
        text: str = await asyncio.wrap_future(job)
        self._tidy()
        return replace(transcript, text=text)

    def _finish(self, wanted: Wanted, audio: Float32) -> str:
        """In our thread, one after the other, so that each call meets its own answer."""
        self._final.expect(wanted)
        return str(self._recorder.perform_final_transcription(audio) or "")

    async def _words_so_far(
        self, start: int, end: int, quick: bool, language: str | None
    ) -> Transcript:
        fed_to = self._frames[-1][0] if self._frames else start
        wanted = Wanted(max(1, min(end, fed_to) - start - LAG_SAMPLES))
        self._partial.expect(wanted)
        return await self._model(wanted, final=False, quick=quick, language=language)

    async def _model(
        self, wanted: Wanted, *, final: bool, quick: bool, language: str | None
    ) -> Transcript:
        """Wait for what the recorder asks, and have the model answer it."""
        try:
            try:
                async with asyncio.timeout(ANSWER_S):
                    audio = await wanted.asked
            except Exception as error:
                raise SttFailed("the recorder does not answer") from error
            transcript = await self._ask(SpeechWindow(audio, language, quick=quick), final)
            wanted.settle(transcript)
            return transcript
        finally:
            wanted.withdraw()

    # --- the recording ---------------------------------------------------------------------------

    def _begin(self, start: int) -> None:
        """Record from here on: what was heard since, and what will be fed."""
        self._start = start
        self._partial.forget()
        self._recorder.clear_audio_queue()
        self._recorder.start([pcm for end, pcm in self._frames if end > start])

    def _rest(self) -> None:
        """The turn has ended: nothing is kept of it, and nothing more is recorded."""
        self._start = None
        self._recorder.stop()
        with suppress(Empty):  # where the recorder puts what it would now transcribe
            while True:
                self._recorder.recorded_audio_queue.get_nowait()
        self._recorder.last_frames = []

    def _window(self, start: int, end: int) -> Float32:
        """Samples [start, end), as far as they were fed; a gap is silence. Shape (n,)."""
        heard = [(to, pcm) for to, pcm in self._frames if to > start and to - len(pcm) // 2 < end]
        if not heard:
            return np.zeros(0, np.float32)
        begin = max(start, heard[0][0] - len(heard[0][1]) // 2)
        audio = np.zeros(min(end, heard[-1][0]) - begin, np.float32)
        for to, pcm in heard:
            samples = pcm16_to_float(pcm)
            at = to - len(samples) - begin
            part = samples[max(0, -at) : len(audio) - at]
            audio[max(0, at) : max(0, at) + len(part)] = part
        return audio

    def _tidy(self) -> None:
        """Let go of what the recorder keeps of every final: its audio, twice, and its thread."""
        recorder = self._recorder
        recorder.last_transcription_bytes = recorder.last_transcription_bytes_b64 = None
        threads = recorder._external_transcription_threads
        threads[:] = [thread for thread in threads if thread.is_alive()]
