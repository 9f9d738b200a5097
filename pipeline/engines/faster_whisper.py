"""Speech to text by Whisper on CTranslate2: one model serves all, on the shortest safe window."""

from __future__ import annotations

from pathlib import Path

import ctranslate2
import faster_whisper
import numpy as np

from pipeline.engines import whisper_rules as rules
from pipeline.engines.ports import SPEECH_HZ, EngineInfo, Float32, SpeechWindow, Stop, Transcript
from pipeline.engines.threads import EngineThreads
from pipeline.errors import GpuOutOfMemory, StartError, SttFailed
from pipeline.models import locate

NICE = 0
"""Before the voice: half a second of speech takes 62 ms beside a busy Kokoro, 57 ms alone, and
145 ms at the other engines' value (docs/decisions/0003-threads.md). Somebody always waits for it.
"""

SECOND_TEMPERATURE = 0.4
"""For words that the greedy decoder could not settle on the full window either."""


class FasterWhisperTranscriber:
    """`slots` windows at once, `threads` CPU threads each, with the weights in memory once."""

    def __init__(self, models_dir: Path, model: str, slots: int, threads: int) -> None:
        self._models_dir = models_dir
        self._name = model
        self._slots = slots
        self._cpu_threads = threads
        self._threads = EngineThreads("whisper", slots, nice=NICE)
        self._whisper: _Whisper | None = None

    @property
    def info(self) -> EngineInfo:
        return EngineInfo(name="faster-whisper", model=self._name)

    @property
    def languages(self) -> frozenset[str]:
        """ISO 639-1 codes (a few of Whisper's own among them); English alone until started."""
        return self._whisper.languages if self._whisper else frozenset({"en"})

    async def start(self) -> None:
        """Load the model from disk, never from the network, and run it once."""
        directory = locate(self._models_dir, f"whisper-{self._name}")
        self._whisper = await self._threads.run(self._load, directory)

    async def close(self) -> None:
        """Wait for running windows, then free the weights."""
        await self._threads.close()
        self._whisper = None

    async def transcribe(self, window: SpeechWindow, stop: Stop) -> Transcript:
        """The words of one window; `stop` is looked at before each pass of the model.

        Raises `SttFailed` (also for more than 30 s of audio) or `GpuOutOfMemory`.
        """
        if self._whisper is None:
            raise SttFailed("speech recognition is not running")
        return await self._threads.run(self._whisper.transcribe, window, stop)

    def _load(self, directory: Path) -> _Whisper:
        try:
            model = faster_whisper.WhisperModel(
                str(directory),
                device="cpu",
                compute_type="int8",
                cpu_threads=self._cpu_threads,
                num_workers=self._slots,
                local_files_only=True,
            )
        except (RuntimeError, ValueError) as error:
            raise StartError(
                f"the speech model in {directory} cannot be loaded: {error}"
            ) from error
        whisper = _Whisper(model, rules.profile_of(self._name))
        whisper.warm_up()
        return whisper


class _Whisper:
    """The loaded model. Everything here blocks, and may be called from several threads at once."""

    def __init__(self, model: faster_whisper.WhisperModel, profile: rules.WhisperProfile) -> None:
        self._model = model.model
        self._features = model.feature_extractor
        self._tokenizer = model.hf_tokenizer
        self._end_of_text: int = model.hf_tokenizer.token_to_id("<|endoftext|>")
        self._profile = profile
        self.languages = frozenset(model.supported_languages)

    def warm_up(self) -> None:
        self._hear(np.zeros(SPEECH_HZ, np.float32), "en", Stop())

    def transcribe(self, window: SpeechWindow, stop: Stop) -> Transcript:
        if len(window.audio) > rules.FULL_WINDOW_S * SPEECH_HZ:
            raise SttFailed(f"more than {rules.FULL_WINDOW_S} s of speech in one window")
        language = window.language if window.language in self.languages else None
        if stop.is_set or rules.is_inaudible(window.audio):
            return Transcript("", language or "en", no_speech=1.0)
        try:
            return self._hear(window.audio, language, stop, quick=window.quick)
        except RuntimeError as error:
            # CTranslate2 has one exception for everything; its text is all there is to go by.
            if "out of memory" in str(error).lower():
                raise GpuOutOfMemory("out of memory in speech recognition") from error
            raise SttFailed("speech could not be transcribed") from error
        except Exception as error:
            raise SttFailed("speech could not be transcribed") from error

    def _hear(
        self, audio: Float32, language: str | None, stop: Stop, *, quick: bool = False
    ) -> Transcript:
        """Greedily on the short window; in doubt on the full one; then at a temperature.

        A quick one ends after the first: the others take five times as long.
        """
        short_s = rules.window_s(len(audio), self._profile)
        encoded = self._encode(audio, short_s)
        language = language or self._detect_language(encoded)
        limit = rules.token_limit(len(audio))
        heard = [self._decode(encoded, language, limit)]
        if quick or rules.is_silence(heard[0], self._profile):
            silent = rules.is_silence(heard[0], self._profile)
            return Transcript("" if silent else heard[0].text, language, heard[0].no_speech)
        if rules.is_doubtful(heard[-1]) and short_s < rules.FULL_WINDOW_S and not stop.is_set:
            encoded = self._encode(audio, rules.FULL_WINDOW_S)
            heard.append(self._decode(encoded, language, 2 * limit))
        if rules.is_doubtful(heard[-1]) and not stop.is_set:
            heard.append(self._decode(encoded, language, 2 * limit, SECOND_TEMPERATURE))
        chosen = heard[-1] if not rules.is_doubtful(heard[-1]) else rules.best(heard)
        if rules.is_silence(chosen, self._profile):
            return Transcript("", language, chosen.no_speech)
        return Transcript(chosen.text, language, chosen.no_speech)

    def _encode(self, audio: Float32, window_s: int) -> ctranslate2.StorageView:
        """Audio, padded with silence to `window_s`, through the encoder.

        Silence as audio, as in training; zeros in the spectrogram cost tiny.en 0.9 points of WER.
        """
        padded = np.zeros(window_s * SPEECH_HZ, np.float32)
        padded[: len(audio)] = audio
        features = self._features(padded, padding=0)
        batch = np.ascontiguousarray(features[np.newaxis])
        return self._model.encode(ctranslate2.StorageView.from_array(batch))

    def _detect_language(self, encoded: ctranslate2.StorageView) -> str:
        if not self._model.is_multilingual:
            return "en"
        token, _probability = self._model.detect_language(encoded)[0][0]
        return str(token).strip("<|>")

    def _decode(
        self,
        encoded: ctranslate2.StorageView,
        language: str,
        token_limit: int,
        temperature: float = 0.0,
    ) -> rules.Hearing:
        limit = min(token_limit, rules.MOST_TOKENS)
        sampling = {"sampling_topk": 0, "sampling_temperature": temperature} if temperature else {}
        result = self._model.generate(
            encoded,
            [self._prompt(language)],
            beam_size=1,
            # CTranslate2 gives the text half of max_length, as Whisper halves its context.
            max_length=2 * limit,
            return_scores=True,
            return_no_speech_prob=True,
            **sampling,
        )[0]
        tokens = result.sequences_ids[0]
        return rules.Hearing(
            text=self._tokenizer.decode([t for t in tokens if t < self._end_of_text]).strip(),
            # The score is the mean without the end token, which Whisper counts in.
            logprob=result.scores[0] * len(tokens) / (len(tokens) + 1),
            no_speech=result.no_speech_prob,
            truncated=len(tokens) >= limit,
        )

    def _prompt(self, language: str) -> list[str]:
        spoken = [f"<|{language}|>", "<|transcribe|>"] if self._model.is_multilingual else []
        return ["<|startoftranscript|>", *spoken, "<|notimestamps|>"]
