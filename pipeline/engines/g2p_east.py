"""Japanese and Mandarin to Kokoro's phonemes, by misaki, with which Kokoro was trained. An optional
extra: imported when the first such text comes, and used under the caller's lock."""

from __future__ import annotations

import functools
import importlib
import logging
import threading
import warnings
from collections.abc import Callable
from importlib.util import find_spec

PACKAGES = {
    "ja": ("misaki", "fugashi", "unidic_lite", "jaconv", "mojimoji"),
    "zh": ("misaki", "jieba", "pypinyin", "cn2an", "ordered_set"),
}
"""What a language needs; the extra `languages` brings all of it."""

Reader = Callable[[str], str]

_making = threading.Lock()
_readers: dict[str, Reader] = {}


@functools.cache
def is_here(language: str) -> bool:
    """Whether the packages that this language needs are installed."""
    return all(find_spec(name) is not None for name in PACKAGES[language])


def reader(language: str) -> Reader:
    """Text to signs, for texts without Latin letters; what it returns is not to be called twice at
    once. Made once, by whoever comes first; the others wait.

    The first time it blocks: Mandarin for 2 to 3 s, and takes 140 MB (jieba's dictionary).
    Raises `ImportError` where `is_here` is false.
    """
    if language not in _readers:
        with _making:
            if language not in _readers:
                _readers[language] = _make(language)
    return _readers[language]


def _make(language: str) -> Reader:
    with warnings.catch_warnings():  # they use what Python will drop
        warnings.simplefilter("ignore")
        if language == "ja":
            cutlet = importlib.import_module("misaki.cutlet").Cutlet()
            return lambda text: str(cutlet(text)[0])
        # It says on standard error that it loads; that is no line of the server's log.
        importlib.import_module("jieba").setLogLevel(logging.CRITICAL)
        mandarin = importlib.import_module("misaki.zh").ZHG2P()
        mandarin("好")  # reads the dictionary now
        return lambda text: str(mandarin(text)[0])
