"""Kokoro-82M on PyTorch: one model for all, several users' clauses in one batch; CUDA where it is.

The packages `torch` and `kokoro` are an optional extra, imported when this engine is started.
"""

from __future__ import annotations

import asyncio
import importlib
import time
import warnings
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from pipeline.engine_faults import is_out_of_memory
from pipeline.engines import g2p
from pipeline.engines.clause_batcher import ClauseBatcher, each_alone
from pipeline.engines.device_memory import fitting, measured
from pipeline.engines.idle import Idle
from pipeline.engines.kokoro_sound import (
    FASTEST,
    LANGUAGES,
    LONGEST_CLAUSE,
    LONGEST_PHONEMES,
    RATE_HZ,
    SLOWEST,
    VOICES,
    blend_of,
    by_written_word,
    finish_placed,
    language_of,
    last_sound,
    load_style,
    phonemes_of,
    style_of,
    voice_files,
    word_signs,
)
from pipeline.engines.ports import (
    EngineInfo,
    Float32,
    MemoryUse,
    SpeechRequest,
    Stop,
    TimedSpeech,
    Voice,
)
from pipeline.engines.threads import EngineThreads
from pipeline.errors import EngineError, GpuOutOfMemory, ModelMissing, StartError, TtsFailed
from pipeline.models import locate

log = structlog.get_logger(__name__)

if TYPE_CHECKING:
    from pipeline.engines.kokoro_batch import BatchedKokoro, Clause, Rendered

_Sound = tuple[Float32, tuple[int, ...]]
"""A clause's audio, and where each of its tokens begins; past the last, where it ends."""

MODEL = "kokoro-v1.0"
FILES = ("config.json", "kokoro-v1_0.pth")
"""Of hexgrad/Kokoro-82M (Apache-2.0), in the models' folder under `MODEL`."""
WARM_UP = 4
"""On a device a batch of so many clauses is voiced at start, and everywhere one alone, so that the
first real ones are fast."""


class KokoroSynthesizer:
    """One model, `slots` clauses at once; on a CPU with so many threads."""

    def __init__(
        self,
        models_dir: Path,
        slots: int,
        threads: int,
        memory_gib: float = 0,
        unload_s: float = 0,
    ) -> None:
        """`memory_gib`: the most that PyTorch may take of the device's memory; 0: all of it.
        `unload_s`: when nobody has spoken for so long the voices' styles leave the memory; 0:
        never."""
        self._idle = Idle(unload_s, load_style.cache_clear)
        self._models_dir = models_dir
        self._slots = slots
        self._cpu_threads = threads
        self._memory_gib = memory_gib
        self._worker = EngineThreads("kokoro", 1)
        self._phonemizer = EngineThreads("kokoro-g2p", 1)
        self._batcher: ClauseBatcher[Clause, _Sound] = ClauseBatcher(self._render, slots)
        self._running: asyncio.Task[None] | None = None
        self._torch: Any = None
        self._model: BatchedKokoro | None = None
        self._styles: dict[str, Path] = {}
        self._device = "cpu"
        self._memory: MemoryUse | None = None

    @property
    def info(self) -> EngineInfo:
        return EngineInfo("kokoro", MODEL, self._device)

    @property
    def memory(self) -> MemoryUse | None:
        return self._memory

    @property
    def rate_hz(self) -> int:
        return RATE_HZ

    @property
    def voices(self) -> tuple[Voice, ...]:
        """Those whose language is spoken properly here, by name; empty before `start`."""
        return tuple(Voice(name, LANGUAGES[name[0]]) for name in self._styles)

    @property
    def blends_voices(self) -> bool:
        return True

    @property
    def seats(self) -> int:
        """Clauses that may be at the one instance at once: they share batches."""
        return self._slots

    async def start(self) -> None:
        """Import PyTorch (some seconds), load the weights and the voices' names, and speak.

        Raises `ModelMissing`, or `StartError` when a package is not installed or a file is there
        but cannot be used.
        """
        await self._worker.run(self._load)
        self._running = asyncio.create_task(self._batcher.run(), name="kokoro-batches")

    async def close(self) -> None:
        """Wait for the batch that is under way, end the threads and free the model."""
        self._idle.stop()
        if self._running is not None:
            self._running.cancel()
            with suppress(asyncio.CancelledError):
                await self._running
        await self._worker.close()
        await self._phonemizer.close()
        self._model = None

    async def free_memory(self) -> None:
        """Give back to the device what PyTorch merely keeps."""
        await self._worker.run(self._empty_cache)

    async def synthesize(self, request: SpeechRequest, stop: Stop) -> AsyncIterator[Float32]:
        """Voice a clause: one chunk, or several when it is longer than 510 phonemes.

        The pause that belongs after a clause is not in it: 80 to 200 ms of quiet remain.
        """
        async for speech in self.synthesize_timed(request, stop):
            yield speech.audio

    async def synthesize_timed(
        self, request: SpeechRequest, stop: Stop
    ) -> AsyncIterator[TimedSpeech]:
        """As `synthesize`, with when each word is said."""
        blend = blend_of(request.voice, self._styles)
        language = language_of(request, blend.leader)
        text = await self._phonemizer.run(phonemes_of, request.text, language)
        speed = min(max(request.speed, SLOWEST), FASTEST)
        due = time.monotonic() if request.due is None else request.due
        if self._running is None:
            raise TtsFailed("The speech model is not loaded.")
        starts: list[int] = []
        made = 0
        pieces = g2p.pieces(text, LONGEST_PHONEMES)
        for number, piece in enumerate(pieces):
            if stop.is_set:
                return
            style = style_of(blend, self._styles, len(piece))
            self._idle.used()
            clause = _clause(piece, style, speed)
            sound = await self._batcher.submit(clause, len(piece), due, stop)
            if sound is None:
                return
            audio, signs = sound
            starts += [made + signs[at + 1] for at in word_signs(piece)]
            end = made + signs[clause.last_sound + 1]
            made += len(audio)
            last = number == len(pieces) - 1
            yield TimedSpeech(audio, by_written_word(starts, end, request.text) if last else ())

    async def _render(self, clauses: list[Clause]) -> list[_Sound | Exception]:
        return await self._worker.run(self._voice, clauses)

    # --- on the model's thread -------------------------------------------------------------------

    def _load(self) -> None:
        try:
            self._torch = torch = importlib.import_module("torch")
            with warnings.catch_warnings():  # spaCy's and the like: nothing that is used here
                warnings.simplefilter("ignore")
                model_class = importlib.import_module("kokoro.model").KModel
        except ImportError as error:
            raise StartError(
                f"ANTIPHON_TTS_ENGINE=kokoro needs PyTorch and the package kokoro ({error}): "
                "run `make setup EXTRAS=gpu`"
            ) from None
        shape, weights = (_file(self._models_dir, name) for name in FILES)
        self._styles = voice_files(locate(self._models_dir, VOICES))
        self._device = _name_of_device(torch)
        if torch.cuda.is_available():
            self._cap_memory()
        else:
            torch.set_num_threads(self._cpu_threads)
        try:
            with warnings.catch_warnings():  # of what the package uses that PyTorch will drop
                warnings.simplefilter("ignore")
                model = model_class("hexgrad/Kokoro-82M", config=str(shape), model=str(weights))
            self._memory = measured(
                self._used_bytes, partial(self._put_on_device, model), self._speak_at_once,
                min(self._slots, WARM_UP), self._memory_gib,
            )  # fmt: skip
            self._slots = self._batcher.most = fitting(
                self._memory, self._slots, "ANTIPHON_TTS_GPU_MEMORY"
            )
        except StartError:
            raise
        except Exception as error:  # no weights, weights of another model, no memory for them
            raise StartError(f"The speech model {weights} cannot be used: {error!r}") from error

    def _put_on_device(self, model: Any) -> None:
        cuda = self._torch.cuda.is_available()
        self._model = _batched(model.to("cuda" if cuda else "cpu").eval())

    def _cap_memory(self) -> None:
        if self._memory_gib:
            total = self._torch.cuda.get_device_properties(0).total_memory
            share = min(1.0, self._memory_gib * 2**30 / total)
            self._torch.cuda.set_per_process_memory_fraction(share)

    def _used_bytes(self) -> int | None:
        """What PyTorch has of the device's memory, with what it merely keeps."""
        cuda = self._torch.cuda
        return int(cuda.memory_reserved()) if cuda.is_available() else None

    def _speak_at_once(self, count: int) -> None:
        """A batch of so many: on a device the longest that a reply's clauses get, to see what it
        takes; on a CPU, where it would only take time, short ones."""
        text = "Hello there, hello." if self._used_bytes() is None else LONGEST_CLAUSE
        piece = g2p.phonemes(text, "en-us")
        style = style_of(blend_of(next(iter(self._styles)), self._styles), self._styles, len(piece))
        self._rendered([_clause(piece, style, 1.0)] * count)

    def _voice(self, clauses: list[Clause]) -> list[_Sound | Exception]:
        """One batch. Where it fails, for want of memory as a rule, one clause after the other, so
        that only a clause that cannot be voiced by itself fails."""
        try:
            return list(self._rendered(clauses))
        except EngineError as error:
            if len(clauses) == 1:
                raise
            log.warning("batch_failed", engine="kokoro", clauses=len(clauses), error=repr(error))
        self._empty_cache()
        return each_alone(lambda clause: self._rendered([clause])[0], clauses)

    def _rendered(self, clauses: list[Clause]) -> list[_Sound]:
        """Raises `GpuOutOfMemory` or `TtsFailed`, for all of them."""
        if self._model is None:
            raise TtsFailed("The speech model is not loaded.")
        try:
            return [_finished(one) for one in self._model.render(clauses)]
        except TtsFailed:
            raise
        except Exception as error:  # torch raises RuntimeError for most of it
            if is_out_of_memory(error):
                raise GpuOutOfMemory("out of memory in speech synthesis") from error
            raise TtsFailed("The speech model failed on this text.") from error

    def _empty_cache(self) -> None:
        if self._torch is not None and self._torch.cuda.is_available():
            self._torch.cuda.empty_cache()


def _finished(rendered: Rendered) -> _Sound:
    """What may be played, and where in it each token begins."""
    audio, trimmed = finish_placed(rendered.audio)
    return audio, tuple(min(max(0, at - trimmed), len(audio)) for at in rendered.starts)


def _batched(model: Any) -> BatchedKokoro:
    from pipeline.engines.kokoro_batch import BatchedKokoro

    return BatchedKokoro(model)


def _clause(piece: str, style: Float32, speed: float) -> Clause:
    """Phonemes as the model takes them: a pad at both ends, so the last sound stands one later."""
    from pipeline.engines.kokoro_batch import Clause

    tokens = (0, *(g2p.TOKENS[sign] for sign in piece), 0)
    return Clause(tokens, style, speed, last_sound(piece) + 1)


def _file(models_dir: Path, name: str) -> Path:
    path = models_dir / MODEL / name
    if not path.is_file():
        raise ModelMissing(
            f"{path} is missing: put {' and '.join(FILES)} of hexgrad/Kokoro-82M there"
        )
    return path


def _name_of_device(torch: Any) -> str:
    return f"cuda ({torch.cuda.get_device_name(0)})" if torch.cuda.is_available() else "cpu"
