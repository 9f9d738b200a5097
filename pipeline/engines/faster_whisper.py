"""Speech to text by Whisper on CTranslate2: one model serves all, on the shortest safe window."""

from __future__ import annotations

from pathlib import Path

import ctranslate2
import faster_whisper

from pipeline.engines import whisper_rules as rules
from pipeline.engines.device_memory import fitting, measured, must_be_measured, used_bytes
from pipeline.engines.ports import EngineInfo, MemoryUse, SpeechWindow, Stop, Transcript
from pipeline.engines.threads import EngineThreads
from pipeline.engines.whisper_batch import WhisperBatches
from pipeline.engines.whisper_folder import whisper_folder
from pipeline.engines.whisper_model import WhisperModel
from pipeline.errors import EngineError, StartError, SttFailed

NICE = 0
"""Before the voice: half a second of speech takes 62 ms beside a busy Kokoro, 57 ms alone, and
145 ms at the other engines' value (docs/decisions/0003-threads.md). Somebody always waits for it.
"""

SHARE = "ANTIPHON_STT_GPU_MEMORY"

CUDA_BATCH = 16
"""Windows in a batch where nothing is set and there is a CUDA device. On a CPU batches bring
little: 0.20 s a window of four together, 0.24 s alone, on two cores."""


class FasterWhisperTranscriber:
    """The weights are in memory once. On a CPU `slots` windows at once, `threads` threads each; in
    batches, up to `batch` windows in each, one batch at a time."""

    def __init__(
        self,
        models_dir: Path,
        model: str,
        slots: int,
        threads: int,
        batch: int = 0,
        memory_gib: float = 0,
    ) -> None:
        """`batch`: 0 is `CUDA_BATCH` on a CUDA device, and none on a CPU. `memory_gib`: what may
        be taken of a device's memory, which batches are kept small for; 0: all of it."""
        self._memory_gib = memory_gib
        self._memory: MemoryUse | None = None
        self._models_dir = models_dir
        self._name = model
        self._slots = slots
        self._cpu_threads = threads
        self._device, self._compute = device_and_type()
        self._batch = batch or (CUDA_BATCH if self._device == "cuda" else 0)
        self._threads = EngineThreads("whisper", slots, nice=NICE)
        self._whisper: WhisperModel | None = None
        self._batches: WhisperBatches | None = None

    @property
    def info(self) -> EngineInfo:
        return EngineInfo("faster-whisper", self._name, self._device)

    @property
    def memory(self) -> MemoryUse | None:
        return self._memory

    @property
    def seats(self) -> int:
        """Windows that may be at the one instance at once."""
        return max(self._batch, self._slots)

    @property
    def languages(self) -> frozenset[str]:
        """ISO 639-1 codes (a few of Whisper's own among them); English alone until started."""
        return self._whisper.languages if self._whisper else frozenset({"en"})

    async def start(self) -> None:
        """Load the model from disk, never from the network, and run it once."""
        directory = whisper_folder(self._models_dir, self._name)
        self._whisper = await self._threads.run(self._load, directory)
        if self._batch > 1:
            self._batches = WhisperBatches(self._whisper, self._threads, self._batch)

    async def close(self) -> None:
        """Wait for running windows, then free the weights."""
        if self._batches is not None:
            await self._batches.close()
        await self._threads.close()
        self._whisper = None

    async def transcribe(self, window: SpeechWindow, stop: Stop) -> Transcript:
        """The words of one window; `stop` is looked at before each pass of the model.

        Raises `SttFailed` (also for more than 30 s of audio) or `GpuOutOfMemory`.
        """
        if self._whisper is None:
            raise SttFailed("speech recognition is not running")
        if self._batches is not None:
            return await self._batches.transcribe(window, stop)
        return await self._threads.run(self._whisper.transcribe, window, stop)

    def _load(self, directory: Path) -> WhisperModel:
        loaded: list[WhisperModel] = []

        def load() -> None:
            model = faster_whisper.WhisperModel(
                str(directory),
                device=self._device,
                compute_type=self._compute,
                cpu_threads=self._cpu_threads,
                num_workers=self._slots,
                local_files_only=True,
            )
            loaded.append(WhisperModel(model, rules.profile_of(self._name)))

        def call(count: int) -> None:
            loaded[0].warm_up(count)

        try:
            if self._device == "cuda":
                must_be_measured(self._memory_gib, SHARE)
            self._memory = measured(self._used_bytes, load, call, self.seats, self._memory_gib)
        except (RuntimeError, ValueError, EngineError) as error:
            raise StartError(
                f"the speech model in {directory} cannot be loaded: {error}"
            ) from error
        if self._memory is not None:
            most = fitting(self._memory, self.seats, SHARE)
            self._batch, self._slots = min(self._batch, most), min(self._slots, most)
        return loaded[0]

    def _used_bytes(self) -> int | None:
        return used_bytes() if self._device == "cuda" else None


def device_and_type() -> tuple[str, str]:
    """Where Whisper runs, and in which numbers: half precision on a CUDA device that has it, 8 bits
    with half precision between where not, 8 bits on a CPU."""
    if not ctranslate2.get_cuda_device_count():
        return "cpu", "int8"
    known = ctranslate2.get_supported_compute_types("cuda")
    return "cuda", next((one for one in ("float16", "int8_float16") if one in known), "int8")
