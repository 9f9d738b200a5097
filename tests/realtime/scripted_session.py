"""A real session behind the real codec, in virtual time: what its engines do is up to the test.

Only the stages are stood in for (`_Stages`): they keep what they are asked for, and the test says
what comes of it, in whichever order. Everything that is sent goes through the oracle.
"""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from dataclasses import dataclass, field
from typing import Any

import pytest

from pipeline.engines.ports import Prompt
from pipeline.errors import AntiphonError, ClientError, RateLimited, SttFailed
from pipeline.events import Failed
from pipeline.signals import (
    Draft,
    DraftAudio,
    DraftCall,
    DraftMade,
    DraftText,
    DraftVoiced,
    Event,
    Heard,
    Look,
    Looked,
    LookFailed,
    Voted,
)
from pipeline.utterance import FRAME, SPEECH_HZ
from pipeline.voicing import VoiceChoice
from server.wire.realtime import Realtime
from server.wire.realtime_audio import Audio
from server.wire.realtime_in import ref_of
from session import session as session_module
from session.buckets import Allowance
from session.budgets import Budget
from session.catalogue import Catalogue
from session.messages import Command, Settings, characters_of, chosen
from session.records import Identity, SessionConfig
from session.session import Session
from tests.realtime.oracle import Oracle

CATALOGUE = Catalogue({"tone": "en-us"}, frozenset({"en"}), "tone")
CLAUSE = 12_000
"""Samples of audio that every piece of text becomes."""


@dataclass
class Work:
    """A draft in the making."""

    draft: Draft
    text: int = 0
    made: int = 0


class _Listening:
    """An ear that hears nothing by itself."""

    received_to = 0
    missed_s = 0.0
    has_room = True

    def settle(self) -> int:
        return self.received_to

    def hear_on(self) -> None:
        pass


@dataclass
class _Stages:
    """In place of the `SpeechPipelineManager`."""

    listening: _Listening = field(default_factory=_Listening)
    looks: list[Look] = field(default_factory=list)
    works: list[Work] = field(default_factory=list)

    async def __aenter__(self) -> _Stages:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    def look(self, look: Look, language: str | None) -> None:
        self.looks.append(look)

    def draft(self, draft: Draft, prompt: Prompt, voice: VoiceChoice, apology: str = "") -> None:
        self.works.append(Work(draft))

    def confirm(self, draft: int) -> None:
        pass

    def drop(self, draft: int) -> None:
        self.works = [work for work in self.works if work.draft.draft != draft]

    def audio(self, draft: int, start: int, end: int) -> bytes:
        return bytes(2 * (end - start))

    def prepare(self, prompt: Prompt, *, in_passing: bool = False) -> None:
        pass


class ScriptedSession:
    """Its client, and its engines. Every method lets the session take what it was given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, allowance: Allowance | None = None) -> None:
        """Within a `VirtualLoop`."""
        self.stages = _Stages()
        monkeypatch.setattr(session_module, "SpeechPipelineManager", lambda *_, **__: self.stages)
        self.codec = Realtime("m", "Be kind.", CATALOGUE)
        self.oracle = Oracle()
        loop = asyncio.get_running_loop()
        clock = loop.time
        self._budget = Budget(allowance or Allowance(), clock())
        self.session = Session(
            Identity("s", "realtime", "here"),
            Settings("tone", "Be kind."),
            SessionConfig(holds=False, follows_playback=False, comes_back=False),
            microphone_hz=24_000,
            pool=None,  # type: ignore[arg-type] - the stages' own
            vad=None,  # type: ignore[arg-type]
            budget=self._budget,
            send=self._send,
            peer_answers=_yes,
            clock=clock,
        )
        self._clock = clock
        self._running = loop.create_task(self.session.run())

    def _send(self, event: Any) -> None:
        for frame in self.codec.encode(event):
            self.oracle.see(json.loads(frame))

    async def _settle(self) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
        while not self.session._inbox.empty() and not self._running.done():
            await asyncio.sleep(0)
        if self._running.done():
            self._running.result()

    async def _post(self, event: Event) -> None:
        await self.session._inbox.put(event)
        await self._settle()

    # --- the client ------------------------------------------------------------------------------

    async def say(self, kind: str, **fields: Any) -> None:
        """Send an event, as the socket's reader does."""
        text = json.dumps({"type": kind, **fields})
        self.oracle.sent(kind)
        try:
            command = self.codec.decode(text)
            assert not isinstance(command, Audio)
        except ClientError as error:
            self._send(Failed(error, ref=ref_of(text)))
        else:
            await self._pay_and_tell(command, text)
        await self._settle()

    async def _pay_and_tell(self, command: Command, text: str) -> None:
        try:
            self._budget.take_characters(characters_of(command), self._clock())
        except RateLimited as error:
            self.codec.take_back(command)
            self._send(Failed(error, ref=ref_of(text)))
        else:
            await self.session.tell(command)

    async def sound(self, probability: float, frames: int) -> None:
        """Audio arrives, and is judged so."""
        for _ in range(frames):
            audio = b64encode(bytes(2 * FRAME * 24_000 // SPEECH_HZ)).decode()
            append = {"type": "input_audio_buffer.append", "audio": audio}
            assert isinstance(self.codec.decode(json.dumps(append)), Audio)
            await asyncio.sleep(FRAME / SPEECH_HZ)
            listening = self.stages.listening
            listening.received_to += FRAME
            await self._post(Heard(probability, listening.received_to, self._clock()))

    # --- the engines -----------------------------------------------------------------------------

    async def understand(self, words: str | None) -> None:
        """The latest window's words; None: they do not come."""
        if not self.stages.looks:
            return
        look = self.stages.looks.pop()
        if words is None:
            error = SttFailed("no words for this")
            await self._post(LookFailed(look.key, look.segment, look.attempt, error))
            return
        await self._post(Looked(look.key, look.segment, look.attempt, words, end=look.end))
        await self._post(Voted(look.key, look.segment, look.attempt, 0.95))

    async def write(self, text: str) -> None:
        """The latest draft gets on."""
        if not self.stages.works:
            return
        work = self.stages.works[-1]
        draft = work.draft.draft
        await self._post(DraftText(draft, text))
        start, work.text = work.text, work.text + len(text)
        if not work.draft.silent:
            begun, work.made = work.made, work.made + CLAUSE
            await self._post(DraftAudio(draft, CLAUSE))
            await self._post(DraftVoiced(draft, start, work.text, begun, work.made))

    async def call(self, call: str, name: str, arguments: str) -> None:
        """The latest draft wants a tool."""
        if self.stages.works:
            draft = self.stages.works[-1].draft.draft
            await self._post(DraftCall(draft, f"{call}{draft}", name, arguments))

    async def finish(self, error: AntiphonError | None = None, *, cut_short: bool = False) -> None:
        """The latest draft is made."""
        if self.stages.works:
            await self._post(DraftMade(self.stages.works.pop().draft.draft, error, cut_short))

    async def fail_late(self, draft: int) -> None:
        """A stage of a draft that may be gone long since speaks up."""
        if all(work.draft.draft != draft for work in self.stages.works):
            await self._post(DraftText(draft, "Late. "))
            await self._post(DraftMade(draft))

    def rotate(self) -> None:
        """Another draft is the latest."""
        self.stages.works = [*self.stages.works[-1:], *self.stages.works[:-1]]

    # --- time ------------------------------------------------------------------------------------

    async def wait(self, seconds: float) -> None:
        """Time goes by."""
        await asyncio.sleep(seconds)
        await self._settle()

    async def rest(self) -> None:
        """Let everything come to its end."""
        for _ in range(40):
            await self.understand("Stop.")
            await self.sound(0.02, 4)
            await self.finish()
            await self.wait(1.0)

    def agrees(self) -> None:
        """What the client was told of its session is what it is."""
        told = [one for one in self.oracle.events if one["type"].startswith("session.")]
        assert told[-1]["session"] == self.codec.session.shown()
        settings = self.session.settings
        assert chosen(settings, self.codec.hello()) == settings

    async def end(self) -> None:
        """The line is lost, or the server stops."""
        if not self._running.done():
            await self.session.end(None, "over")
        await self._running


async def _yes() -> bool:
    return True
