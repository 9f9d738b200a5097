"""The process in which espeak reads: texts on standard input, their sounds on standard output.

`espeak.py` runs this file by itself, without the project and without site-packages: it is there
within 30 ms and takes 14 MB. A line in is `[language, [text, ...]]` as JSON; a line out is
`{"said": [sounds, ...]}`, or `{"error": why}`. The first line out comes unasked, when it can read.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from typing import BinaryIO

Reader = Callable[[str, str], str]
"""A language's name in espeak and a text, to sounds."""

# Of espeak-ng's speak_lib.h: no sound device is wanted, text is UTF-8, sounds are IPA with a tie
# between two signs of one sound.
_NO_PLAYBACK, _DO_NOT_EXIT, _UTF8, _IPA, _TIED = 2, 0x8000, 1, 0x02, 0x80
TIE = "^"

LONGEST_S = 10
"""For the texts of a line, whoever waits for them."""


def espeak_ng(library: str, data: str) -> Reader:
    """espeak-ng by its C interface. `library`, `data`: where it and its voices lie."""
    espeak = ctypes.CDLL(library)
    espeak.espeak_TextToPhonemes.restype = ctypes.c_char_p
    espeak.espeak_TextToPhonemes.argtypes = [
        ctypes.POINTER(ctypes.c_char_p),
        ctypes.c_int,
        ctypes.c_int,
    ]
    if espeak.espeak_Initialize(_NO_PLAYBACK, 0, os.fsencode(data), _DO_NOT_EXIT) <= 0:
        raise RuntimeError(f"espeak-ng found no voices in {data}")

    spoken = ""

    def read(language: str, text: str) -> str:
        nonlocal spoken
        if language != spoken and espeak.espeak_SetVoiceByName(language.encode()) != 0:
            raise RuntimeError(f"espeak-ng has no language {language!r}")
        spoken = language
        return sounds(text)

    def sounds(text: str) -> str:
        rest, said = ctypes.c_char_p(text.encode()), list[str]()
        while rest.value is not None:  # it reads a clause, and moves on to the next
            clause = espeak.espeak_TextToPhonemes(
                ctypes.byref(rest), _UTF8, _IPA | _TIED | ord(TIE) << 8
            )
            said.append((clause or b"").decode(errors="replace"))
        return " ".join(said)

    return read


def piper(*path: str) -> Reader:
    """The espeak-ng that piper-tts brings (GPL-3.0). `path`: where Python looks for packages."""
    sys.path += path
    from piper.phonemize_espeak import EspeakPhonemizer

    espeak = EspeakPhonemizer()

    def read(language: str, text: str) -> str:
        sentences = espeak.phonemize(language, text)
        return " ".join("".join(signs) for signs in sentences if signs)

    return read


READERS: dict[str, Callable[..., Reader]] = {"espeak-ng": espeak_ng, "piper": piper}


def main(reader: str, *where: str) -> None:
    # What people said is left on no disk. One byte: with none a core could still go to a program.
    resource.setrlimit(resource.RLIMIT_CORE, (1, 1))
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints is no answer
    try:
        read = READERS[reader](*where)
    except Exception as error:
        return _answer(answers, {"error": str(error) or repr(error)})
    _answer(answers, {"said": []})
    for line in sys.stdin.buffer:
        _answer(answers, answer_to(line, read))
    return None


def answer_to(line: bytes, read: Reader) -> dict[str, object]:
    """What is said to a line; past `LONGEST_S` the process ends."""
    language, texts = json.loads(line)
    said = []
    signal.alarm(LONGEST_S)  # who asked may be gone, and a library in a loop hears of nothing else
    try:
        for text in texts:
            read(language, "")  # of a text that ends in ".." espeak keeps a "dot" for the next one
            said.append(read(language, text))
    except Exception as error:
        return {"error": str(error) or repr(error)}
    finally:
        signal.alarm(0)
    return {"said": said}


def _answer(answers: BinaryIO, answer: dict[str, object]) -> None:
    answers.write(json.dumps(answer).encode() + b"\n")
    answers.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
