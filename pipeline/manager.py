"""SpeechPipelineManager: carries out the turn machine's effects for one session.

It owns the session's stages and their tasks. Every stage posts what it learns to the session's
inbox and touches nothing else; when the `async with` is left, they and their claims are gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import structlog

from .clauses import Clause
from .echo import Loudspeaker
from .engines.ports import (
    SPEECH_HZ,
    Float32,
    OpensRecognisers,
    Prompt,
    Recogniser,
    SpeechWindow,
    Transcript,
)
from .errors import AntiphonError, EngineError, first_error
from .listening import Listening
from .pool import EOT, LLM, STT, Purpose, ResourcePool
from .signals import Draft, DraftMade, Event, Heard, Look, Looked, LookFailed, Voted
from .speaking import Speaking
from .task_group import TaskGroup
from .thinking import Thinking
from .vad import VadBatcher
from .voicing import REPLY_HZ, VoiceChoice

log = structlog.get_logger(__name__)

Post = Callable[[Event], Awaitable[None]]

MOST_TEXT = 10_000
"""Characters of one window's transcript: ten times what anybody says in 30 s. A recogniser that
repeats itself without end writes more."""


@dataclass(eq=False, slots=True)
class _Work:
    """A draft in the making."""

    thinking: Thinking
    speaking: Speaking
    task: asyncio.Task[None]
    heard: bool
    """Its audio is what comes out of the client's loudspeaker."""


class SpeechPipelineManager:
    """One session's speech-to-text, language model and text-to-speech."""

    def __init__(
        self,
        owner: str,
        pool: ResourcePool,
        vad: VadBatcher,
        post: Post,
        *,
        hear: Callable[[Heard], None],
        microphone_hz: int,
        expects_frames: Callable[[], bool],
        peer_answers: Callable[[], Awaitable[bool]],
        ears: OpensRecognisers | None = None,
    ) -> None:
        """`ears`: where this session's own recogniser comes from, if it is to have one."""
        self._owner = owner
        self._pool = pool
        self._post = post
        self._ears = ears
        self._recogniser: Recogniser | None = None
        self.listening = Listening(
            microphone_hz, vad.stream(), hear, expects_frames, peer_answers,
            feed_on=None if ears is None else self._feed_on,
        )  # fmt: skip
        self._loudspeaker = Loudspeaker(REPLY_HZ)
        self._looks: dict[tuple[int, int], list[asyncio.Task[None]]] = {}
        self._drafts: dict[int, _Work] = {}
        self._reading: asyncio.Task[None] | None = None
        self._reads_ahead = True
        """Until the model is seen to be elsewhere: then it is not leased for nothing."""

    async def __aenter__(self) -> SpeechPipelineManager:
        if self._ears is not None:
            try:
                self._recogniser = await self._open_ear(self._ears)
            except BaseException:
                self.listening.close()
                raise
        self._tasks = TaskGroup()
        await self._tasks.__aenter__()
        self._ear = self._tasks.create_task(self.listening.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Cancel the stages; their engines are told to stop, and leave at their next chunk.

        Nothing is kept of them: a task that has ended holds on to all that it did, and whoever has
        gone is to be gone at once, not when the collector comes by.
        """
        self._ear.cancel()
        for looks in self._looks.values():
            for look in looks:
                look.cancel()
        for work in self._drafts.values():
            work.task.cancel()
        if self._reading is not None:
            self._reading.cancel()
        try:
            await self._tasks.__aexit__(None, None, None)
        finally:
            del self._tasks, self._ear
            self._looks.clear()
            self._drafts.clear()
            self._reading = None
            self.listening.close()
            if self._recogniser is not None:
                recogniser, self._recogniser = self._recogniser, None
                await recogniser.close()

    # --- understanding ---------------------------------------------------------------------------

    def look(self, look: Look, language: str | None) -> None:
        """Transcribe a window, and ask the end-of-turn model. The latest of a segment wins.

        Over a reply the oldest, which is the one under way, may still answer: every word counts.
        """
        place = (look.key, look.segment)
        audio = self.listening.window(look.start, look.end)
        task = self._tasks.create_task(self._look(look, audio, language))
        looks = self._looks.setdefault(place, [])
        # Second, so that a partial finds the one before it in the queue, and takes its place.
        for earlier in looks[1 if look.over_reply else 0 :]:
            earlier.cancel()
        looks.append(task)
        task.add_done_callback(lambda done: self._forget_look(place, done))

    def _forget_look(self, place: tuple[int, int], task: asyncio.Task[None]) -> None:
        self._looks[place].remove(task)
        if not self._looks[place]:
            del self._looks[place]

    async def _look(self, look: Look, audio: Float32, language: str | None) -> None:
        async with TaskGroup() as both:
            # Beside the words, on the core that the recogniser leaves: what comes after them is
            # the language model's time, and on two cores each would make the other one late.
            vote = both.create_task(self._vote(audio)) if look.final else None
            words = await self._words(look, audio, language)
            await self._post(words)
            if vote is not None and (isinstance(words, LookFailed) or words.echo):
                vote.cancel()
        if vote is None or vote.cancelled() or (probability := vote.result()) is None:
            return
        await self._post(Voted(look.key, look.segment, look.attempt, probability))

    async def _words(self, look: Look, audio: Float32, language: str | None) -> Looked | LookFailed:
        try:
            words = await self._transcribe(look, audio, language)
        except AntiphonError as error:
            return LookFailed(look.key, look.segment, look.attempt, error)
        except Exception:
            log.exception("look_failed", session=self._owner)
            failed = EngineError("the transcription failed")
            return LookFailed(look.key, look.segment, look.attempt, failed)
        return Looked(look.key, look.segment, look.attempt, words or "", words is None, look.end)

    async def _transcribe(self, look: Look, audio: Float32, language: str | None) -> str | None:
        """The words of a window; None when it is the reply itself that was heard."""
        if look.over_reply and self._loudspeaker.echoes_in(audio):
            return None
        quick = look.over_reply and not look.final
        if self._recogniser is not None:
            transcript = await self._recogniser.words(
                look.start, look.end, final=look.final, quick=quick, language=language
            )
        else:
            transcript = await self._ask(SpeechWindow(audio, language, quick=quick), look.final)
        if look.over_reply:  # by now more has been heard, and an echo shows more clearly
            since = self.listening.window(look.start, self.listening.received_to)
            if self._loudspeaker.echoes_in(since):
                return None
        return transcript.text[:MOST_TEXT]

    async def _ask(self, window: SpeechWindow, final: bool) -> Transcript:
        """The words of a window, by the model that all share."""
        purpose = Purpose.FINAL if final else Purpose.PARTIAL
        async with self._pool.lease(STT, self._owner, purpose=purpose) as slot:
            return await slot.call(
                lambda model, stop: model.transcribe(window, stop), len(window.audio) / SPEECH_HZ
            )

    async def _open_ear(self, ears: OpensRecognisers) -> Recogniser | None:
        """A recogniser of this session's own; without one it is heard window by window."""
        try:
            return await ears.recogniser(self._ask)
        except AntiphonError as error:
            log.warning("recogniser_failed", session=self._owner, error=str(error))
            return None

    def _feed_on(self, frame: Float32, end: int) -> None:
        if self._recogniser is not None:
            self._recogniser.feed(frame, end)

    async def _vote(self, audio: Float32) -> float | None:
        try:
            async with self._pool.lease(EOT, self._owner, purpose=Purpose.FINAL) as slot:
                return await slot.call(lambda model, stop: model.probability(audio, stop))
        except AntiphonError as error:
            log.warning("end_of_turn_failed", session=self._owner, error=str(error))
        except Exception:
            log.exception("end_of_turn_failed", session=self._owner)
        return None  # a second vote: the words decide alone

    # --- answering -------------------------------------------------------------------------------

    def draft(self, draft: Draft, prompt: Prompt, voice: VoiceChoice, apology: str = "") -> None:
        """Begin to make a reply to the prompt, or of the words that are given; if the model says
        nothing, of the apology."""
        if self._reading is not None:
            self._reading.cancel()
        speaking = Speaking(draft, self._owner, voice, self._pool, self._post)
        thinking = Thinking(
            draft,
            self._owner,
            self._pool,
            self._post,
            apology=apology,
            runs_dry_at=speaking.runs_dry_at,
        )
        make = self._make(draft, thinking, speaking, prompt)
        self._drafts[draft.draft] = _Work(
            thinking, speaking, self._tasks.create_task(make), heard=not draft.aside
        )

    def confirm(self, draft: int) -> None:
        """A speculative draft is wanted after all: it waits behind nobody any more."""
        if (work := self._drafts.get(draft)) is not None:
            work.thinking.confirm()
            work.speaking.confirm()
            self._pool.promote(self._owner)

    def prepare(self, prompt: Prompt, *, in_passing: bool = False) -> None:
        """Let a model beside the voice read a prompt's beginning before anybody waits for it.

        It would else read it when the next turn is to be answered: the words of a long one, what
        was heard of a reply that was cut short, and, once the oldest items are dropped, all of the
        history (2.4 s, measured). `in_passing` only while nobody else wants an engine: for words
        that may change yet, and are read soon enough without.
        """
        idle = self._reading is None or self._reading.done()
        if in_passing and self._pool.crowded(self._owner):
            return
        if self._reads_ahead and prompt.messages and idle:
            self._reading = self._tasks.create_task(self._read(prompt))

    async def _read(self, prompt: Prompt) -> None:
        with suppress(AntiphonError):  # the next reply will meet it, and tell
            async with self._pool.lease(LLM, self._owner, purpose=Purpose.BATCH) as slot:
                self._reads_ahead = slot.engine.breath_tokens is not None
                if self._reads_ahead:
                    one = replace(prompt, max_tokens=1)
                    async for _ in slot.stream(lambda model, stop: model.generate(one, stop)):
                        pass

    def drop(self, draft: int) -> None:
        """Stop making it: its claims are gone now, what is unsent too."""
        if (work := self._drafts.pop(draft, None)) is not None:
            work.task.cancel()

    def audio(self, draft: int, start: int, end: int) -> bytes:
        """The samples [start, end) of a draft's audio, as PCM16."""
        work = self._drafts[draft]
        pcm = work.speaking.take(start, end)
        if work.heard:
            self._loudspeaker.play(pcm)
        return pcm

    async def _make(
        self, draft: Draft, thinking: Thinking, speaking: Speaking, prompt: Prompt
    ) -> None:
        error: Exception | None = None
        say, clauses = draft.say, thinking.clauses()
        try:
            async with TaskGroup() as both:
                both.create_task(thinking.run(prompt) if say is None else thinking.say(say))
                both.create_task(_read(clauses) if draft.silent else speaking.run(clauses))
        except* AntiphonError as group:
            error = first_error(group)
        except* Exception:
            log.exception("reply_failed", session=self._owner)
            error = EngineError("the reply failed")
        made = DraftMade(draft.draft, thinking.error or error, thinking.cut_short, thinking.usage)
        await self._post(made)


async def _read(clauses: AsyncIterator[Clause]) -> None:
    """Take clauses that nobody speaks."""
    async for _ in clauses:
        pass
