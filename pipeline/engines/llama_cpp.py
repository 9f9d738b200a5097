"""SmolLM2 served in this process by llama.cpp, on loopback, and spoken to over HTTP as any other
language model. What runs when no LLM is configured."""

from __future__ import annotations

import ctypes
import secrets
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import httpx
import structlog
import xllamacpp

from pipeline.engines.openai_llm import OpenAILanguageModel
from pipeline.engines.ports import Delta, EngineInfo, Message, Prompt, Stop
from pipeline.engines.threads import EngineThreads
from pipeline.errors import LlmFailed, LlmStalled, StartError
from pipeline.models import locate

log = structlog.get_logger(__name__)

MODEL = "smollm2-135m-instruct"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"

CONTEXT_TOKENS = 2048
"""A slot's context, prompt and reply together; a longer prompt is refused with `LlmFailed`."""

BATCH_TOKENS = 128
"""A prompt is read in pieces of this size (about 0.9 s on one thread), so that a long one does not
hold up the other replies for longer, nor its own end when nobody wants it any more."""

AT_ONCE = 2
"""Replies written at once on one thread. A token takes it nearly as long beside seven others as
alone (docs/decisions/0006-first-clause.md): of eight at once all would be late, while of two those
go on that run dry first. The second fills the time between one request and the next."""

BREATH_TOKENS = 8
"""Enough for a first clause, as a rule. While that is voiced the model is quiet: beside it, at
whatever nice value, the voice takes up to twice as long on two cores."""

REUSE_TOKENS = 32
"""Runs of so many tokens are found again in the cache after the oldest items of a conversation are
dropped: 0.3 s instead of 3.7 s for a prompt of 790 tokens."""

SAMPLING: dict[str, object] = {
    "temperature": 0.2,
    "top_p": 0.9,
    "dry_multiplier": 0.8,
    "dry_allowed_length": 6,
    "dry_sequence_breakers": ["\n"],
}
"""What the model's authors recommend; and whole phrases are not said again and again (DRY), which
so small a model falls into. A penalty on single words makes it avoid the right ones. For each
breaker of such phrases the whole vocabulary is searched as a request comes: four, as llama.cpp has
them by itself, take 17 ms alone and 40 in a conversation; one takes 4.
"""

NICE = 5
"""Before the voices, which cannot begin without it and which it lets alone once it has (its breaths
are short), after the recogniser and the event loop."""

GAP_S = 10.0
"""On cores that it shares with the voices it may be quiet for longer than a machine of its own."""

_SILENT = -1
_HTTP_THREADS_SPARE = 2
_WARM_UP_TIMEOUT_S = 60.0
_LAST_WORD_S = 5.0
"""A server that was silent before it is to be closed must say one more word in this time."""


class SlotBook:
    """Which slot of the server holds whose conversation, so that a prompt finds its own cache.

    A conversation without a slot gets the free one whose owner has been silent longest. One whose
    slot is still at work for it waits there: what it has read is in no other.
    """

    def __init__(self, slots: int) -> None:
        self._free: OrderedDict[int, str] = OrderedDict((slot, "") for slot in range(slots))
        self._at_work: dict[int, list[str]] = {}
        """The owner of each request that a slot has, or that waits for it."""

    def take(self, session: str) -> tuple[int | None, bool]:
        """A slot for one reply, and whether it holds this conversation already; None when all are
        at work for others (the server then queues it)."""
        for slot, owners in self._at_work.items():
            if session and session in owners:
                owners.append(session)
                return slot, True
        if not self._free:
            return None, False
        oldest = next(iter(self._free))
        slot = next((s for s, owner in self._free.items() if session and owner == session), oldest)
        self._at_work[slot] = [session]
        return slot, self._free.pop(slot) == session != ""

    def give_back(self, slot: int, session: str) -> None:
        """The reply is over; the slot keeps its conversation's cache until another needs it."""
        self._at_work[slot].remove(session)
        if not self._at_work[slot]:
            del self._at_work[slot]
            self._free[slot] = session


class LlamaCppLanguageModel:
    """A llama.cpp server that remembers `slots` conversations, on `threads` threads.

    It listens on a free port of 127.0.0.1 and wants a key that only this object knows. Its memory
    is 530 MB with 8 slots.
    """

    def __init__(self, models_dir: Path, slots: int, threads: int) -> None:
        self._models_dir = models_dir
        self._slots = slots
        self._threads = threads
        self._book = SlotBook(slots)
        self._key = secrets.token_urlsafe(32)
        # The server's threads are children of this one and inherit its nice value.
        self._worker = EngineThreads("llama", 1, nice=NICE)
        self._server: xllamacpp.Server | None = None
        self._client: OpenAILanguageModel | None = None
        self._url = ""
        self._silent = False
        """It was asked, and nothing has come since."""

    @property
    def breath_tokens(self) -> int | None:
        return BREATH_TOKENS

    @property
    def seats(self) -> int:
        return min(self._slots, AT_ONCE) if self._threads == 1 else self._slots

    @property
    def info(self) -> EngineInfo:
        return EngineInfo("llama-cpp", MODEL)

    async def start(self) -> None:
        """Load the model, serve it, and let it speak once.

        Raises `ModelMissing`, or `StartError` when the file cannot be loaded.
        """
        self._url = await self._worker.run(self._load)
        self._client = OpenAILanguageModel(self._url, MODEL, self._key, gap_s=GAP_S)
        await self._client.start()

    def _load(self) -> str:
        path = locate(self._models_dir, MODEL) / FILE
        try:
            self._server = xllamacpp.Server(self._params(path))
            url: str = self._server.listening_address
            # Not only to be warm: a server that is closed before its loop has run waits for that
            # loop for ever, and holds the GIL meanwhile. After one answer it runs.
            self._say_a_word(url, _WARM_UP_TIMEOUT_S)
        except (RuntimeError, httpx.HTTPError) as error:
            raise StartError(f"The language model {path} cannot be used: {error}") from error
        return url

    def _say_a_word(self, url: str, within_s: float) -> None:
        httpx.post(
            f"{url}/v1/chat/completions",
            json={"messages": [{"role": "user", "content": "Hello."}], "max_tokens": 1},
            headers={"authorization": f"Bearer {self._key}"},
            timeout=within_s,
            trust_env=False,
        ).raise_for_status()

    def _params(self, path: Path) -> xllamacpp.CommonParams:
        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.model_alias = {MODEL}
        params.n_parallel = self._slots
        params.n_ctx = CONTEXT_TOKENS * self._slots
        params.n_batch = params.n_ubatch = BATCH_TOKENS
        # For reading too: llama.cpp's threads spin until all have come as far. Where others want
        # the cores, two are slower than one (docs/decisions/0003-threads.md).
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = self._threads
        params.n_gpu_layers = 0
        params.fit_params = False  # it is known to fit
        params.warmup = False  # our own is done over HTTP, which leaves the GIL free
        params.cache_ram_mib = 0  # each slot keeps its own conversation; no copies beside
        params.hostnames = ["127.0.0.1"]
        params.port = 0
        params.n_threads_http = self._slots + _HTTP_THREADS_SPARE
        params.api_keys = [self._key]
        params.ui = params.endpoint_slots = params.endpoint_props = params.endpoint_metrics = False
        params.verbosity = _SILENT
        return params

    async def close(self) -> None:
        """Close the connections, then the server; its threads end with it.

        One that does not answer any more is left as it is, memory and all, until the process ends:
        llama.cpp waits for its own loop, and with it everybody who wants the GIL would.
        """
        if self._client is not None:
            await self._client.close()
        await self._worker.run(self._unload)
        await self._worker.close()

    def _unload(self) -> None:
        if self._server is not None and self._silent and not self._answers():
            log.error("language_model_left_behind")
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._server))  # never dropped
        self._server = None  # the last reference: llama.cpp stops as it is dropped

    def _answers(self) -> bool:
        try:
            self._say_a_word(self._url, _LAST_WORD_S)
        except httpx.HTTPStatusError:
            return True
        except httpx.HTTPError:
            return False
        return True

    async def generate(self, prompt: Prompt, stop: Stop) -> AsyncGenerator[Delta]:
        """The reply's text as it comes; errors as `OpenAILanguageModel` has them.

        Tools are not offered to the model: one so small calls them wrongly, if at all.
        """
        prompt = replace(prompt, messages=_without_calls(prompt.messages), tools=())
        if self._client is None:
            raise LlmFailed("The language model is not loaded.")
        slot, its_own = self._book.take(prompt.session)
        pinned: dict[str, object] = {"cache_prompt": True, **SAMPLING}
        if slot is not None:
            # What another conversation left is read from its beginning only: never out of context.
            pinned |= {"id_slot": slot, "n_cache_reuse": REUSE_TOKENS if its_own else 0}
        try:
            async with aclosing(self._client.generate(prompt, stop, extra=pinned)) as deltas:
                async for delta in deltas:
                    self._silent = False
                    yield delta
        except LlmStalled:
            self._silent = True
            raise
        finally:
            if slot is not None:
                self._book.give_back(slot, prompt.session)


def _without_calls(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """What was said, without what tools were asked and answered: its chat format has no such."""
    return tuple(
        replace(message, calls=()) for message in messages if message.content and not message.call
    )
