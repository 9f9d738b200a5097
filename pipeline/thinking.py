"""One reply's text: from the language model, piece by piece, into clauses for speech."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from .clauses import Clause, ClauseCutter
from .engines.ports import Prompt
from .errors import AntiphonError, LlmFailed
from .pool import LLM, Purpose, ResourcePool
from .signals import Draft, DraftClause, DraftText, Event

CLAUSES_AHEAD = 64
"""Clauses that may wait to be voiced; the model's stream is read no faster than that."""


class Thinking:
    """Makes the text of one draft. `clauses` is read by speaking while `run` fills it."""

    def __init__(
        self,
        draft: Draft,
        owner: str,
        pool: ResourcePool,
        post: Callable[[Event], Awaitable[None]],
    ) -> None:
        self._draft = draft.draft
        self._speculative = draft.speculative
        self._owner = owner
        self._pool = pool
        self._post = post
        self._cutter = ClauseCutter()
        self._clauses: asyncio.Queue[Clause | None] = asyncio.Queue(CLAUSES_AHEAD)
        self.error: AntiphonError | None = None
        """Why the text ends early; what came before it is still spoken."""

    async def say(self, text: str) -> None:
        """Use these words instead of the model's."""
        await self._take(text)
        await self._finish()

    async def run(self, prompt: Prompt) -> None:
        """Ask the model. An error of the model's is kept in `error`, not raised."""
        empty = True
        try:
            purpose = Purpose.SPECULATION if self._speculative else Purpose.FIRST_CLAUSE
            async with self._pool.lease(LLM, self._owner, purpose=purpose) as slot:
                async for delta in slot.stream(lambda model, stop: model.generate(prompt, stop)):
                    text = delta.text.lstrip() if empty else delta.text
                    if text:
                        empty = False
                        await self._take(text)
            if empty:
                raise LlmFailed("the language model gave an empty answer")
        except AntiphonError as error:
            self.error = error
        await self._finish()

    async def clauses(self) -> AsyncIterator[Clause]:
        """The clauses in order, each as soon as it is known."""
        while (clause := await self._clauses.get()) is not None:
            yield clause

    async def _take(self, text: str) -> None:
        await self._post(DraftText(self._draft, text))
        await self._hand_over(self._cutter.feed(text))

    async def _finish(self) -> None:
        await self._hand_over(self._cutter.finish())
        await self._clauses.put(None)

    async def _hand_over(self, clauses: list[Clause]) -> None:
        for clause in clauses:
            await self._post(DraftClause(self._draft))
            await self._clauses.put(clause)
