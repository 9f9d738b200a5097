"""Whisper on CTranslate2, loaded: windows to hearings. Everything in it blocks."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import ctranslate2
import faster_whisper
import numpy as np
import structlog

from pipeline.engine_faults import is_out_of_memory
from pipeline.engines import whisper_rules as rules
from pipeline.engines.clause_batcher import each_alone
from pipeline.engines.ports import SPEECH_HZ, Float32, SpeechWindow, Stop, Transcript, Word
from pipeline.engines.whisper_passes import ANY_LANGUAGE, Chosen, Pass, listen
from pipeline.engines.whisper_words import words_of
from pipeline.errors import EngineError, GpuOutOfMemory, SttFailed

log = structlog.get_logger(__name__)

_START = "<|startoftranscript|>"


class WhisperModel:
    """May be called from several threads at once."""

    def __init__(self, model: faster_whisper.WhisperModel, profile: rules.WhisperProfile) -> None:
        self._model = model.model
        self._features = model.feature_extractor
        self._tokenizer = model.hf_tokenizer
        self._end_of_text: int = model.hf_tokenizer.token_to_id("<|endoftext|>")
        self._profile = profile
        self.languages = frozenset(model.supported_languages)

    def warm_up(self, together: int = 1) -> None:
        """Run once; on a device for so many full windows at once, as many as a batch may have."""
        window = SpeechWindow(np.zeros(SPEECH_HZ, np.float32), "en")
        self._hear(window, Stop())
        if self._model.device != "cpu":
            one = Pass(window.audio, rules.FULL_WINDOW_S, tuple(self._prompt("en")), 8, 0.0)
            self._run([one] * together)

    def transcribe(self, window: SpeechWindow, stop: Stop) -> Transcript:
        """One window, by itself."""
        if (known := self.judged(window, stop)) is not None:
            return known
        with told():
            return self._hear(window, stop)

    def judged(self, window: SpeechWindow, stop: Stop) -> Transcript | None:
        """What no model need be asked for: nobody waits, or there is nothing to be heard. Raises
        `SttFailed` for more than Whisper takes."""
        if len(window.audio) > rules.FULL_WINDOW_S * SPEECH_HZ:
            raise SttFailed(f"more than {rules.FULL_WINDOW_S} s of speech in one window")
        if stop.is_set or rules.is_inaudible(window.audio):
            return Transcript("", self.language_of(window) or "en", no_speech=1.0)
        return None

    def language_of(self, window: SpeechWindow) -> str | None:
        """The one asked for, or the model's only one; None: it is to be found out."""
        if window.language in self.languages:
            return window.language
        return None if self._model.is_multilingual else "en"

    def listening(self, window: SpeechWindow, stop: Stop) -> Generator[Pass, rules.Hearing, Chosen]:
        """The passes that this window takes."""
        prompt = self._prompt(self.language_of(window), window.prompt)
        return listen(window, tuple(prompt), self._profile, stop)

    def hear_together(self, passes: Sequence[Pass]) -> list[rules.Hearing | Exception]:
        """One run of the model for several windows of one length, with prompts of one length, at
        one temperature; where that fails, for want of memory as a rule, one for each."""
        try:
            return list(self._run(passes))
        except EngineError as error:
            if len(passes) == 1:
                raise
            log.warning("batch_failed", engine="whisper", windows=len(passes), error=repr(error))
        return each_alone(lambda one: self._run([one])[0], passes)

    def _run(self, passes: Sequence[Pass]) -> list[rules.Hearing]:
        with told():
            encoded = self._encode([one.audio for one in passes], passes[0].window_s)
            return self._decode(encoded, passes)

    def _hear(self, window: SpeechWindow, stop: Stop) -> Transcript:
        encodings: dict[int, ctranslate2.StorageView] = {}

        def encoded(window_s: int) -> ctranslate2.StorageView:
            if window_s not in encodings:
                encodings[window_s] = self._encode([window.audio], window_s)
            return encodings[window_s]

        passes = self.listening(window, stop)
        wanted = next(passes)
        while True:
            try:
                wanted = passes.send(self._decode(encoded(wanted.window_s), [wanted])[0])
            except StopIteration as end:
                chosen: Chosen = end.value
                break
        words: tuple[Word, ...] = ()
        if chosen.hearing is not None and window.word_times and not stop.is_set:
            tokens = chosen.hearing.tokens
            by = encoded(chosen.window_s)
            words = self._align(by, chosen.language, tokens, len(window.audio))
        return transcript_of(chosen, window, words)

    def _encode(self, audios: Sequence[Float32], window_s: int) -> ctranslate2.StorageView:
        """Audio, padded with silence to `window_s`, through the encoder.

        Silence as audio, as in training; zeros in the spectrogram cost tiny.en 0.9 points of WER.
        """
        features = []
        for audio in audios:
            padded = np.zeros(window_s * SPEECH_HZ, np.float32)
            padded[: len(audio)] = audio
            features.append(self._features(padded, padding=0))
        batch = np.ascontiguousarray(np.stack(features))
        return self._model.encode(ctranslate2.StorageView.from_array(batch))

    def _decode(
        self, encoded: ctranslate2.StorageView, passes: Sequence[Pass]
    ) -> list[rules.Hearing]:
        temperature, prompts = passes[0].temperature, [list(one.prompt) for one in passes]
        languages = self._settle_languages(encoded, prompts)
        limits = [min(one.token_limit, rules.MOST_TOKENS) for one in passes]
        sampling = {"sampling_topk": 0, "sampling_temperature": temperature} if temperature else {}
        results = self._model.generate(
            encoded,
            prompts,
            beam_size=1,
            # CTranslate2 gives the text half of max_length, as Whisper halves its context, and
            # what the prompt leaves of the whole.
            max_length=max(2 * max(limits), max(limits) + len(prompts[0])),
            return_scores=True,
            return_no_speech_prob=True,
            **sampling,
        )
        return [
            self._heard(result, limit, temperature, language)
            for result, limit, language in zip(results, limits, languages, strict=True)
        ]

    def _heard(self, result: Any, limit: int, temperature: float, language: str) -> rules.Hearing:
        tokens = result.sequences_ids[0]
        # Beside a longer one it may have gone on past its own limit.
        words = tuple(token for token in tokens[:limit] if token < self._end_of_text)
        return rules.Hearing(
            text=self._tokenizer.decode(list(words)).strip(),
            # The score is the mean without the end token, which Whisper counts in.
            logprob=result.scores[0] * len(tokens) / (len(tokens) + 1),
            no_speech=result.no_speech_prob,
            truncated=len(tokens) >= limit,
            tokens=words,
            temperature=temperature,
            language=language,
        )

    def _settle_languages(
        self, encoded: ctranslate2.StorageView, prompts: list[list[str]]
    ) -> list[str]:
        """Each prompt's language; where none is named, what the sound is likeliest in."""
        if not self._model.is_multilingual:
            return ["en"] * len(prompts)
        if any(ANY_LANGUAGE in prompt for prompt in prompts):
            likeliest = [ranks[0][0] for ranks in self._model.detect_language(encoded)]
            for prompt, found in zip(prompts, likeliest, strict=True):
                prompt[:] = [found if token == ANY_LANGUAGE else token for token in prompt]
        return [prompt[prompt.index(_START) + 1].strip("<|>") for prompt in prompts]

    def _prompt(self, language: str | None, before: str = "") -> list[str]:
        spoken = [f"<|{language}|>" if language else ANY_LANGUAGE, "<|transcribe|>"]
        spoken = spoken if self._model.is_multilingual else []
        start = [_START, *spoken, "<|notimestamps|>"]
        before = before or rules.OPENINGS.get(language or "", "")
        if not before:
            return start
        tokens = self._tokenizer.encode(" " + before.strip(), add_special_tokens=False).tokens
        return ["<|startofprev|>", *tokens[-rules.MOST_PROMPT_TOKENS :], *start]

    def _align(
        self, encoded: ctranslate2.StorageView, language: str, tokens: Sequence[int], samples: int
    ) -> tuple[Word, ...]:
        """When each word was said, by the decoder's attention to the sound (Radford et al.; the
        time warping is CTranslate2's)."""
        if not tokens:
            return ()
        start = [self._tokenizer.token_to_id(t) for t in self._prompt(language)]
        start = start[start.index(self._tokenizer.token_to_id(_START)) : -1]
        frames = samples * rules.MEL_FRAMES_PER_S // SPEECH_HZ
        path = self._model.align(encoded, start, [list(tokens)], frames)[0].alignments
        return words_of(tokens, path, self._tokenizer.decode, samples / SPEECH_HZ)


def transcript_of(chosen: Chosen, window: SpeechWindow, words: tuple[Word, ...] = ()) -> Transcript:
    """What is told of a window, of a quick one the words alone."""
    hearing = chosen.hearing
    if hearing is None or window.quick:
        text = hearing.text if hearing is not None else ""
        return Transcript(text, chosen.language, chosen.no_speech)
    return Transcript(
        hearing.text,
        chosen.language,
        hearing.no_speech,
        hearing.logprob,
        hearing.temperature,
        len(hearing.tokens),
        rules.is_broken(hearing),
        words,
    )


@contextmanager
def told() -> Iterator[None]:
    """What goes wrong, in our own terms."""
    try:
        yield
    except RuntimeError as error:
        # CTranslate2 has one exception for everything; its text is all there is to go by.
        if is_out_of_memory(error):
            raise GpuOutOfMemory("out of memory in speech recognition") from error
        raise SttFailed("speech could not be transcribed") from error
    except Exception as error:
        raise SttFailed("speech could not be transcribed") from error
