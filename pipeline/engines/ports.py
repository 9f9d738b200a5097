"""The ports: what the pipeline may ask of an engine, wherever that engine runs.

Values are plain and serialisable (numpy arrays, str, frozen dataclasses), streams are async
iterators, so the same port works on a thread of this process or in a replica elsewhere.

An engine call is never ended by cancelling the task it runs in: it is given a `Stop`, looks at it
between chunks, and leaves at the next one. `ResourcePool` owns those tasks.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
"""Mono samples in [-1, 1], shape (n,), unless a docstring says otherwise."""

SPEECH_HZ = 16_000
"""The rate at which every listening engine takes audio."""


class Stop:
    """A one-way flag, safe from any thread: the caller no longer wants the rest."""

    __slots__ = ("_calls", "_flag")

    def __init__(self) -> None:
        self._flag = threading.Event()
        self._calls: list[Callable[[], None]] = []

    def set(self) -> None:
        self._flag.set()
        for call in tuple(self._calls):
            call()

    @contextmanager
    def calling(self, call: Callable[[], None]) -> Iterator[None]:
        """In this scope, tell by a call, in whatever thread sets it; it may come more than once.

        For an engine that waits for something of which it cannot tell when it comes.
        """
        self._calls.append(call)
        try:
            if self.is_set:
                call()
            yield
        finally:
            self._calls.remove(call)

    @property
    def is_set(self) -> bool:
        return self._flag.is_set()


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What `/status` and the log say of an engine."""

    name: str
    model: str
    device: str = "cpu"


class Engine(Protocol):
    """What all engines share. `start` loads and warms up; `close` frees threads and memory.

    `start` raises `ModelMissing` when a file is not there and `StartError` when it cannot be used.
    Both are called once, from the event loop; neither may block it.
    """

    @property
    def info(self) -> EngineInfo: ...

    async def start(self) -> None: ...

    async def close(self) -> None: ...


@runtime_checkable
class FreesMemory(Protocol):
    """An engine on a device with memory of its own, which can give back what it merely keeps.

    Called from the event loop when a call ran out of memory, before that call is tried once more.
    """

    async def free_memory(self) -> None: ...


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """Of a device's memory, measured when the engine was loaded."""

    weights_bytes: int
    call_bytes: int
    """What one of its largest calls takes beside them."""
    share_bytes: int = 0
    """What it may take in all; 0: whatever there is."""


@runtime_checkable
class MeasuresMemory(Protocol):
    """An engine that may run on a device with memory of its own; None: it does not."""

    @property
    def memory(self) -> MemoryUse | None: ...


@dataclass(frozen=True, slots=True)
class Choice:
    """Why it is this engine, and what is wanting for more of it, in words."""

    why: str = ""
    lacks: str = ""
    """What would make it speak or understand other languages; "" where nothing known is lacking."""


@runtime_checkable
class ChosenElsewhere(Protocol):
    """An engine that was chosen where it runs, by what is installed there."""

    @property
    def choice(self) -> Choice:
        """Empty until it is started."""
        ...


@runtime_checkable
class RunsElsewhere(Protocol):
    """An engine whose work is done by processes elsewhere, which may all be gone, and come back."""

    @property
    def away(self) -> bool:
        """None of them has answered for a while."""
        ...

    async def look(self) -> None:
        """Ask whether one is there; for some seconds at most. Raises nothing."""
        ...


# --- Speech to text -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SpeechWindow:
    """A stretch of one person's speech, at most 30 s, to be transcribed on its own."""

    audio: Float32
    """16 kHz."""
    language: str | None = None
    """An ISO 639-1 code, or None to let the model find out (or use its only one)."""
    quick: bool = False
    """Rather soon than sure: words in doubt are not listened to a second time."""
    prompt: str = ""
    """Text as it might have come before: the names and spellings in it become likelier."""
    temperature: float = 0.0
    """0: the likeliest words; above, words are drawn."""
    word_times: bool = False
    """Whether it matters when each word was said; to know that costs another pass."""


@dataclass(frozen=True, slots=True)
class Word:
    """One word as it was written, and when it was said, in seconds from the window's begin."""

    text: str
    """With its punctuation, and with the space before it where its script has one."""
    start_s: float
    end_s: float
    tokens: tuple[int, ...] = ()
    """The model's own, for whoever asks for them."""


@dataclass(frozen=True, slots=True)
class Transcript:
    """The words of a window. `text` is "" when the model heard no speech in it."""

    text: str
    language: str
    no_speech: float = 0.0
    """The model's probability that nobody spoke."""
    logprob: float = 0.0
    """Mean log probability of its tokens."""
    temperature: float = 0.0
    """The one at which these words were found."""
    tokens: int = 0
    """How many the model wrote; 0 where it does not say."""
    broken: bool = False
    """It repeats itself, or breaks off before its end; other windows may fare better."""
    words: tuple[Word, ...] = ()
    """The text in pieces, if `word_times` was asked for and the engine can tell."""


class Transcriber(Engine, Protocol):
    """Windows in, words out. Safe to call from many tasks at once; one model serves all.

    Raises `SttFailed`, or `GpuOutOfMemory`.
    """

    @property
    def languages(self) -> frozenset[str]: ...

    async def transcribe(self, window: SpeechWindow, stop: Stop) -> Transcript: ...


AskModel = Callable[[SpeechWindow, bool], Awaitable[Transcript]]
"""How a recogniser reaches the model that all share: a window, and whether its words are final.
The call waits its turn in the pool; it raises what the pool and the model raise."""


class Recogniser(Protocol):
    """One person's ear: fed every frame as it comes, and asked for the words of a stretch.

    It never says that a turn is over. It belongs to one session and one event loop, and what it has
    of threads and memory is bounded and gone when it is closed. Raises `SttFailed`, and what the
    model that it asks raises.
    """

    def feed(self, frame: Float32, end: int) -> None:
        """The frame, of 16 kHz, that ends at this sample of the session's audio. Never waits."""
        ...

    async def words(
        self, start: int, end: int, *, final: bool, quick: bool = False, language: str | None = None
    ) -> Transcript:
        """What was said in [start, end), of which all whole frames have been fed.

        Of a turn that goes on (not `final`) the words so far, a little less perhaps. The same
        stretch may be asked for again with a later end.
        """
        ...

    async def close(self) -> None: ...


@runtime_checkable
class OpensRecognisers(Protocol):
    """A transcriber that listens to each session with a recogniser of its own."""

    async def recogniser(self, ask: AskModel) -> Recogniser: ...


class EndOfTurnModel(Engine, Protocol):
    """How likely it is that the speaker has finished, from the sound of the last 8 s."""

    async def probability(self, audio: Float32, stop: Stop) -> float: ...


class VoiceActivityModel(Engine, Protocol):
    """Speech probability of one frame of each of many sessions at once.

    `score` blocks; `pipeline.vad.VadBatcher` calls it on its own thread, one call at a time.
    """

    @property
    def frame_samples(self) -> int:
        """Samples of a frame at 16 kHz (Silero: 512, 32 ms)."""
        ...

    def initial_state(self) -> Float32:
        """A session's state before its first frame, shape (s,); opaque to everyone else."""
        ...

    def score(self, frames: Float32, states: Float32) -> tuple[Float32, Float32]:
        """Frames (n, frame_samples), states (n, s) -> probabilities (n,), new states (n, s)."""
        ...


# --- Text to speech -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Voice:
    """A voice as it can be asked for. `language` is a BCP 47 tag in lower case, such as "en-us"."""

    name: str
    language: str


@dataclass(frozen=True, slots=True)
class SpeechRequest:
    """One clause to be voiced."""

    text: str
    voice: str
    speed: float = 1.0
    language: str | None = None
    """None: the voice's own."""
    due: float | None = None
    """When its audio is needed, in monotonic seconds of this machine; None: now. For engines that
    choose; the pool says it (`pipeline.voicing`)."""


class Synthesizer(Engine, Protocol):
    """Clauses in, audio out, in order, as it is made. One call at a time per instance, but for
    those with seats (`HasSeats`).

    Chunks are finite float32 at `rate_hz`, peak at most 1.0, with the silence that the model adds
    before and after the words trimmed to a natural remainder. Raises `Unspeakable` when the text
    cannot be voiced (only symbols, say), `NotFound` for an unknown voice, `TtsFailed`, or
    `GpuOutOfMemory`.
    """

    @property
    def rate_hz(self) -> int: ...

    @property
    def voices(self) -> tuple[Voice, ...]: ...

    def synthesize(self, request: SpeechRequest, stop: Stop) -> AsyncIterator[Float32]: ...


@runtime_checkable
class HasSeats(Protocol):
    """An engine of which one instance takes so many clauses, windows or replies at once."""

    @property
    def seats(self) -> int: ...


@dataclass(frozen=True, slots=True)
class TimedSpeech:
    """The next chunk of a clause, and when its words are said."""

    audio: Float32
    words: tuple[int, ...] = ()
    """Where in the clause's audio each word of its text begins (`str.split` makes the words, of
    which those without a letter or digit do not count), and where the last one ends, in samples at
    the engine's rate. With the last chunk only."""


@runtime_checkable
class TimesWords(Protocol):
    """A synthesizer that knows when it says what. The audio is that of `synthesize`."""

    def synthesize_timed(
        self, request: SpeechRequest, stop: Stop
    ) -> AsyncIterator[TimedSpeech]: ...


@runtime_checkable
class BlendsVoices(Protocol):
    """A synthesizer that can also mix its voices, and takes a blend where it takes a voice's name
    (`pipeline.blends`)."""

    @property
    def blends_voices(self) -> bool: ...


# --- Language model -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tool:
    """A function of the client's that the model may ask for."""

    name: str
    description: str = ""
    parameters: str = "{}"
    """A JSON schema, as JSON text."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model wants a tool: `arguments` is JSON text, as far as the model keeps to that."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a prompt, as the OpenAI chat format has it."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    calls: tuple[ToolCall, ...] = ()
    """Of an assistant's message: the tools it asked for. Their answers must follow."""
    call: str = ""
    """Of a tool's message: the id of the call that it answers."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a reply is made from."""

    messages: tuple[Message, ...]
    max_tokens: int = 400
    temperature: float = 0.7
    session: str = ""
    """Whose conversation it is: a backend with a prompt cache keeps it warm by this."""
    stop_sequences: tuple[str, ...] = field(default=())
    begun: str = ""
    """The reply's own first words, made before; what comes goes on from them."""
    tools: tuple[Tool, ...] = ()
    tool_choice: str = "auto"
    """"auto", "none", "required", or the name of the tool that must be called."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a reply came to, in the model's own tokens."""

    prompt_tokens: int
    reply_tokens: int


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The next piece of a reply's text; empty only where the rest says all there is to say."""

    text: str
    cut_short: bool = False
    """The reply would go on, but for `max_tokens`."""
    usage: Usage | None = None
    """After the last piece, from a server that counts."""


@dataclass(frozen=True, slots=True)
class ToolDelta:
    """The next piece of a tool call, the `index`th of the reply: its name first, then arguments."""

    index: int
    name: str = ""
    arguments: str = ""


Delta = TextDelta | ToolDelta


class LanguageModel(Engine, Protocol):
    """A prompt in, the reply's text and the tools it wants out as they are generated. Safe to call
    from many tasks at once.

    Raises `LlmFailed` (refused, stalled, broken stream), `RateLimited`, or `GpuOutOfMemory`.
    """

    @property
    def breath_tokens(self) -> int | None:
        """For a model on the voice's own processor, which can go on from `Prompt.begun`: it is
        asked for so many tokens at a time until there is a first clause, and is quiet while that is
        voiced. None for all others.
        """
        ...

    def generate(self, prompt: Prompt, stop: Stop) -> AsyncIterator[Delta]: ...


BreakerState = Literal["closed", "open", "half_open"]
"""Closed: it is asked. Open: it has failed and is left alone. Half open: one call finds out."""


@dataclass(frozen=True, slots=True)
class BackendStatus:
    """One of the servers behind an engine, as `/status` shows it."""

    url: str
    model: str
    breaker: BreakerState
    outstanding: int
    """Calls under way."""
    limit: int
    """How many it is asked for at once, at most: learned from its time to first token."""
    ttft_ms: float | None
    """Its time to first token when it has little to do."""
    retry_in_s: float
    """So long it is not asked; 0: it may be now."""
    failure: str
    """Why it failed last; "" once it has answered since."""


@runtime_checkable
class HasBackends(Protocol):
    """An engine whose work is done by servers elsewhere."""

    def backends(self) -> tuple[BackendStatus, ...]: ...
