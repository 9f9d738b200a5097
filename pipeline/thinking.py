"""One reply's text: from the language model, piece by piece, into clauses for speech."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import replace

from .clause_policy import IN_A_CROWD, IN_CONVERSATION
from .clauses import Clause, ClauseCutter
from .engines.ports import Prompt, ToolDelta, Usage
from .errors import AntiphonError, LlmFailed
from .pool import LLM, Purpose, ResourcePool
from .signals import Draft, DraftCall, DraftClause, DraftText, Event

CLAUSES_AHEAD = 64
"""Clauses that may wait to be voiced; the model's stream is read no faster than that."""
QUIET_CLAUSES = 2
"""A model on the voice's own processor is quiet while these are voiced; after them enough audio
lies ready for both to work at once."""
LISTEN_S = 1.0
"""The longest that it is quiet for them. Where others want the engines, too, it is not: that would
leave no core free, and the second clause would come too late."""
LATER_BREATH_TOKENS = 32
"""After them: some ten seconds of speech, begun when the last clause but one is voiced. What nobody
will hear, because they cut in, is not written, on cores that others wait for."""
CROWDED_BREATHS = 2
"""So many first breaths are one of these where others wait: about a clause."""
MOST_CALLS = 16
"""Tools that one reply may ask for."""
MOST_ARGUMENT_BYTES = 16_384
"""Of one call's arguments."""


class Thinking:
    """Makes the text of one draft. `clauses` is read by speaking while `run` fills it."""

    def __init__(
        self,
        draft: Draft,
        owner: str,
        pool: ResourcePool,
        post: Callable[[Event], Awaitable[None]],
        *,
        apology: str = "",
        runs_dry_at: Callable[[], float] | None = None,
    ) -> None:
        """`apology` is said if the model says nothing at all; "": then nothing is. `runs_dry_at`
        says when the audio made so far will have been played."""
        self._draft = draft.draft
        self._wanted = asyncio.Event()
        """Set unless the draft is speculative still."""
        if not draft.speculative:
            self._wanted.set()
        self._aside = draft.aside
        self._runs_dry_at = runs_dry_at
        self._owner = owner
        self._pool = pool
        self._post = post
        self._apology = apology
        self._cutter = ClauseCutter(IN_CONVERSATION)
        self._clauses: asyncio.Queue[Clause | None] = asyncio.Queue(CLAUSES_AHEAD)
        self._unvoiced = 0
        """Clauses that wait to be voiced, or are being voiced."""
        self._voiced = asyncio.Event()
        self._text = ""
        self._calls: dict[int, str] = {}
        """The ids of the tool calls so far, by the model's own count."""
        self._argument_bytes: dict[str, int] = {}
        self.cut_short = False
        """It would have gone on, but for the longest reply."""
        self.usage: Usage | None = None
        """What it came to, where the model counts."""
        self._counted = True
        self._tokens = 0
        """Asked for so far."""
        self._breathes = False
        """The model is on the voice's own processor, and goes on from where it paused."""
        self._spoken = 0
        """Clauses that have left for the synthesizer."""
        self.error: AntiphonError | None = None
        """Why the text ends early, or there is an apology only; what there is is still spoken."""

    def confirm(self) -> None:
        """The draft was speculative and is wanted now."""
        self._wanted.set()

    async def say(self, text: str) -> None:
        """Use these words instead of the model's."""
        await self._take(text)
        await self._finish()

    async def run(self, prompt: Prompt) -> None:
        """Ask the model. An error of the model's is kept in `error`, not raised."""
        try:
            cut_short = await self._think(prompt, first=True)
            while cut_short and self._breathes and self._tokens_left(prompt) > 0:
                if self._spoken <= QUIET_CLAUSES and not self._crowded:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(LISTEN_S):
                            await self._until_unvoiced(0)
                if self._spoken >= QUIET_CLAUSES:
                    await self._wanted.wait()  # of a speculation, the beginning is enough
                    await self._until_unvoiced(1)
                cut_short = await self._think(prompt, first=False)
            self.cut_short = cut_short
            if not self._text and not self._calls:
                raise LlmFailed("the language model gave an empty answer")
        except AntiphonError as error:
            self.error = error.with_traceback(None)  # which has us in it
            if not self._text and self._apology:
                await self._take(self._apology, apology=True)
        await self._finish()

    async def _think(self, prompt: Prompt, *, first: bool) -> bool:
        """One request to the model; returns whether the reply would go on after it."""
        deadline = None
        if not self._wanted.is_set():
            purpose = Purpose.SPECULATION
        elif self._aside:  # like one over HTTP: whoever is in conversation goes before
            purpose = Purpose.REQUEST if first else Purpose.REQUEST_LATER
        elif first:
            purpose = Purpose.FIRST_CLAUSE
        else:
            purpose = Purpose.LATER_CLAUSE
            deadline = self._runs_dry_at() if self._runs_dry_at is not None else None
        async with self._pool.lease(LLM, self._owner, deadline=deadline, purpose=purpose) as slot:
            breath = slot.engine.breath_tokens
            if first and breath is not None and self._crowded:
                self._cutter = ClauseCutter(IN_A_CROWD)
            tokens, most = self._breath(breath, self._tokens_left(prompt))
            self._tokens += tokens
            part = replace(prompt, max_tokens=tokens, begun=self._text)
            cut_short, pieces = False, 0
            deltas = slot.stream(lambda model, stop: model.generate(part, stop))
            async for delta in deltas:
                if isinstance(delta, ToolDelta):
                    await self._call(delta)
                    continue
                pieces += bool(delta.text)
                text = delta.text if self._text else delta.text.lstrip()
                cut_short = cut_short or delta.cut_short
                if delta.usage is not None:
                    self._count(delta.usage)
                if text:
                    self._text += text
                    await self._take(text)
                if most is not None and self._spoken >= most:
                    # Its breath was for these. Leaving the lease stops it.
                    self._tokens += pieces - tokens
                    self._counted = False
                    cut_short = True
                    break
        self._breathes = breath is not None
        return cut_short

    def _breath(self, breath: int | None, left: int) -> tuple[int, int | None]:
        """How many tokens to ask for, and after how many clauses of the reply it is enough."""
        if breath is None:
            return left, None
        if self._spoken >= QUIET_CLAUSES:
            crowded = CROWDED_BREATHS * breath
            return min(left, crowded if self._crowded else LATER_BREATH_TOKENS), None
        if self._crowded and self._wanted.is_set():
            return min(left, breath * (1 + QUIET_CLAUSES)), QUIET_CLAUSES
        return min(left, breath * (1 + self._spoken)), self._spoken + 1

    @property
    def _crowded(self) -> bool:
        return self._pool.crowded(self._owner)

    def _count(self, part: Usage) -> None:
        """The prompt counts once, though a reply in several breaths sends it several times. Of a
        breath that was cut short nothing is known, and so of the whole."""
        if not self._counted:
            return
        before = self.usage or Usage(part.prompt_tokens, 0)
        replied = before.reply_tokens + part.reply_tokens
        self.usage = Usage(before.prompt_tokens, replied)

    def _tokens_left(self, prompt: Prompt) -> int:
        return prompt.max_tokens - self._tokens

    async def _until_unvoiced(self, most: int) -> None:
        """Be quiet until no more clauses than that are to be voiced."""
        while self._unvoiced > most:
            self._voiced.clear()
            await self._voiced.wait()

    async def clauses(self) -> AsyncIterator[Clause]:
        """The clauses in order, each as soon as it is known."""
        while (clause := await self._clauses.get()) is not None:
            yield clause
            self._unvoiced -= 1
            self._voiced.set()

    async def _take(self, text: str, *, apology: bool = False) -> None:
        await self._post(DraftText(self._draft, text, apology))
        await self._hand_over(self._cutter.feed(text))

    async def _call(self, piece: ToolDelta) -> None:
        call = self._calls.get(piece.index)
        if call is None:
            if len(self._calls) == MOST_CALLS:
                raise LlmFailed(f"the language model asked for more than {MOST_CALLS} tools")
            # Backends number them as they like, some not at all: ours are never the same twice.
            call = self._calls[piece.index] = f"call_{secrets.token_hex(8)}"
        size = self._argument_bytes.get(call, 0) + len(piece.arguments.encode())
        self._argument_bytes[call] = size
        if size > MOST_ARGUMENT_BYTES:
            raise LlmFailed("the language model wrote too long a tool call")
        await self._post(DraftCall(self._draft, call, piece.name, piece.arguments))

    async def _finish(self) -> None:
        await self._hand_over(self._cutter.finish())
        await self._clauses.put(None)

    async def _hand_over(self, clauses: list[Clause]) -> None:
        for clause in clauses:
            await self._post(DraftClause(self._draft, clause.start, clause.end))
            self._unvoiced += 1
            await self._clauses.put(clause)
            self._spoken += 1
