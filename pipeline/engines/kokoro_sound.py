"""What both Kokoros share, whatever runs the model: voices, languages, phonemes, finished sound."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from kokoro_onnx.trim import trim

from pipeline.blends import Blend, read_blend
from pipeline.engines import g2p, g2p_east
from pipeline.engines.ports import Float32, SpeechRequest
from pipeline.errors import AntiphonError, NotFound, TtsFailed, Unspeakable

VOICES = "kokoro-voices"

RATE_HZ = 24_000
LONGEST_PHONEMES = 510
"""The model's context, without the pad at both ends; also the rows of a voice file."""
LONGEST_CLAUSE = ("Hello there, it is good to hear you. " * 6)[:200]
"""As long as clauses get (`pipeline.clauses`)."""

LANGUAGES = {
    "a": "en-us",
    "b": "en-gb",
    "e": "es",
    "f": "fr-fr",
    "h": "hi",
    "i": "it",
    "j": "ja",
    "p": "pt-br",
    "z": "zh",
}
"""A voice's first letter -> its language. Japanese and Mandarin are offered where the packages are
that read them: espeak reads kanji as the words "Chinese letter", and gives Mandarin sounds that
Kokoro has no signs for."""

SLOWEST, FASTEST = 0.5, 2.0
"""The speeds at which the model still speaks clearly; a request past them gets the nearest. It
makes sounds in whole frames of 25 ms, so faster than 2 it drops below one frame a sound."""

LEAD_FRAMES, TAIL_FRAMES = 8, 11
"""Frames of 25 ms kept before the first sound's frames and from the start of the last one's. Speech
begins up to 120 ms before the first sound's own frames; the model lengthens the last sound into the
quiet behind it. At slow speeds the quiet before holds a ghost of a syllable, gone with it."""
TRIM_LOSS = 0.75
"""The vocoder normalises over time: with less silence in it the same speech comes out quieter, by
this power of the share that was kept."""

FADE_MS = 5
"""At both ends of a piece, so that it begins and ends at zero and no seam clicks."""


@functools.lru_cache(maxsize=64)
def load_style(path: Path) -> Float32:
    """A voice's style vectors, shape (510, 1, 256), one per number of phonemes; read once for all
    instances (0.5 MB a voice)."""
    style = np.fromfile(path, dtype="<f4").reshape(LONGEST_PHONEMES, 1, 256)
    style.flags.writeable = False
    return style


def voice_files(folder: Path) -> dict[str, Path]:
    """The voices whose language is spoken properly here, by name."""
    files = sorted(folder.glob("*.bin"))
    return {file.stem: file for file in files if _is_read(LANGUAGES.get(file.stem[0]))}


def _is_read(language: str | None) -> bool:
    if language is None:
        return False
    return language not in g2p_east.PACKAGES or g2p_east.is_here(language)


def blend_of(voice: str, styles: Mapping[str, Path]) -> Blend:
    """Raises `NotFound` for a voice that is not there, in a blend too."""
    try:
        blend = read_blend(voice)
    except ValueError as wrong:
        raise NotFound(f"There is no voice named {voice!r}: {wrong}.") from None
    for name in blend.voices:
        if name not in styles:
            raise NotFound(f"There is no voice named {name!r}.")
    return blend


def style_of(blend: Blend, styles: Mapping[str, Path], length: int) -> Float32:
    """What a blend sounds like over so many phonemes: the mean of its voices' style vectors, by
    their shares, shape (1, 256)."""
    rows = (share * load_style(styles[name])[length - 1] for name, share in blend.shares)
    style: Float32 = np.sum(list(rows), axis=0, dtype=np.float32)
    return style


def language_of(request: SpeechRequest, voice: str) -> str:
    """The voice's own language, or the one asked for when it is another ("fr": "fr-fr")."""
    own = LANGUAGES[voice[0]]
    wanted = (request.language or own).lower()
    primary = wanted.split("-")[0]
    for language in (own, *LANGUAGES.values()):
        if language == wanted or language.split("-")[0] == primary:
            if not _is_read(language):
                raise NotFound(
                    f"No voice here speaks {wanted!r}: run `make setup EXTRAS=languages`."
                )
            return language
    raise NotFound(f"No voice here speaks {wanted!r}.")


def phonemes_of(text: str, language: str) -> str:
    """Raises `Unspeakable` when nothing in the text is voiced. Blocks, for 0.2 ms as a rule."""
    try:
        found = g2p.phonemes(text, language)
    except AntiphonError:
        raise
    except Exception as error:  # espeak's, and whatever the readers of Japanese and Mandarin raise
        raise TtsFailed("This text could not be turned into sounds.") from error
    if not found:
        raise Unspeakable("There is nothing in this text to say.")
    return found


def last_sound(piece: str) -> int:
    """Where the last sign stands that is voiced; marks and spaces are not, a tone is."""
    return max(i for i, sign in enumerate(piece) if sign.isalpha() or sign in g2p.TONES)


def finish(audio: Float32) -> Float32:
    """Raw model output, shape (n,) -> what may be played: finite, peak at most 1, silence trimmed,
    faded at both ends. Raises `TtsFailed` when it is not sound at all."""
    return finish_placed(audio)[0]


def finish_placed(audio: Float32) -> tuple[Float32, int]:
    """As `finish`, and how many samples were trimmed before it."""
    if not np.isfinite(audio).all():
        raise TtsFailed("The speech model gave numbers that are no sound.")
    peak = float(np.abs(audio).max(initial=0.0))
    if peak == 0.0:
        raise TtsFailed("The speech model gave no sound.")
    kept, (begin, _) = trim(audio)
    sound: Float32 = np.divide(kept, max(peak, 1.0), dtype=np.float32)
    length = min(RATE_HZ * FADE_MS // 1000, sound.size // 2)
    ramp = np.linspace(0.0, 1.0, length, dtype=np.float32)
    sound[:length] *= ramp
    sound[sound.size - length :] *= ramp[::-1]
    return sound, int(begin)


def word_signs(piece: str) -> list[int]:
    """Where in phonemes each word's first sign stands; marks between spaces are no words."""
    return [
        match.start()
        for match in re.finditer(r"\S+", piece)
        if any(map(str.isalpha, match.group()))
    ]


def by_written_word(starts: list[int], end: int, text: str) -> tuple[int, ...]:
    """When spoken words begin, and the last one ends -> when the written ones do. They differ where
    a number is several words, or two words are said as one: then by share."""
    written = sum(any(map(str.isalnum, word)) for word in text.split())
    if not starts or not written:
        return ()
    return (*(starts[number * len(starts) // written] for number in range(written)), end)
