"""The cache of short texts: bounded in bytes, and exact about what is the same."""

from __future__ import annotations

import tracemalloc

from pipeline.voicing import VoiceChoice
from server.requests import Skipped
from server.speech_cache import LONGEST_TEXT, Key, SpeechCache, Spoken, size_of

VOICE = VoiceChoice("af_heart")


class Counted:
    def __init__(self) -> None:
        self.asked: list[bool] = []

    def __call__(self, *, hit: bool) -> None:
        self.asked.append(hit)


def cache(most_bytes: int) -> SpeechCache:
    return SpeechCache(most_bytes, Counted())


def key(text: str, voice: VoiceChoice = VOICE, model: str = "m") -> Key:
    return Key(text, voice, model)


def spoken(size: int) -> Spoken:
    return Spoken(bytes(size), ())


def room_for(count: int, size: int) -> int:
    """Bytes that so many one-letter texts with so much audio each take."""
    return count * size_of(key("a"), spoken(size))


def test_what_was_spoken_is_found_again() -> None:
    counted = Counted()
    kept = SpeechCache(10_000, counted)
    assert kept.get(key("Hello.")) is None
    kept.put(key("Hello."), spoken(10))
    assert kept.get(key("Hello.")) == spoken(10)
    assert counted.asked == [False, True]


def test_another_voice_speed_language_or_model_is_another_sound() -> None:
    kept = cache(10_000)
    kept.put(key("Hello."), spoken(10))
    for other in (
        key("Hello"),
        key("Hello.", VoiceChoice("af_bella")),
        key("Hello.", VoiceChoice("af_heart", 1.1)),
        key("Hello.", VoiceChoice("af_heart", 1.0, "fr-fr")),
        key("Hello.", model="n"),
    ):
        assert kept.get(other) is None


def test_the_least_lately_asked_for_goes_first() -> None:
    kept = cache(room_for(3, 10))
    for text in "abc":
        kept.put(key(text), spoken(10))
    kept.get(key("a"))
    kept.put(key("d"), spoken(10))
    assert [kept.get(key(text)) is not None for text in "abcd"] == [True, False, True, True]
    assert kept.bytes == room_for(3, 10)


def test_what_is_put_twice_counts_once() -> None:
    kept = cache(room_for(3, 10))
    kept.put(key("a"), spoken(10))
    kept.put(key("a"), spoken(20))
    assert kept.bytes == room_for(1, 20)


def test_what_is_too_long_or_too_large_is_not_kept() -> None:
    kept = cache(room_for(1, 30))
    kept.put(key("x" * (LONGEST_TEXT + 1)), spoken(1))
    kept.put(key("a"), spoken(31))
    assert kept.bytes == 0


def test_without_room_nothing_is_looked_for() -> None:
    counted = Counted()
    kept = SpeechCache(0, counted)
    kept.put(key("a"), spoken(1))
    assert kept.get(key("a")) is None
    assert (kept.bytes, counted.asked) == (0, [])


def test_texts_and_what_holds_them_count_too() -> None:
    """Ten thousand phrases of hardly any sound fill the memory, and no more than that."""
    most = 1_000_000
    tracemalloc.start()
    try:
        kept = cache(most)
        for number in range(10_000):
            text = f"{number} 🎉" + "x" * (number % 250)
            missing = Skipped(2, 3, text[:80], f"reason {number}")
            voice = VoiceChoice(f"af_heart:0.{number}+af_bella")
            kept.put(Key(text, voice, "m"), Spoken(bytes(2), (missing,) * (number % 2)))
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert 0.9 * most < kept.bytes <= most
    assert taken < 1.05 * most
