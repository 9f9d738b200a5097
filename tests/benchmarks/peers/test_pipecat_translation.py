"""What a caller of ours understands of a Pipecat bot, and the other way round."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks.peers.pipecat.translation import Frame, Translator

AUDIO = b"\x01\x00" * 480


@pytest.fixture
def translator() -> Translator:
    return Translator(24_000)


def rtvi(kind: str, **data: object) -> str:
    return json.dumps({"label": "rtvi-ai", "type": kind, "id": "7", "data": data})


def native(kind: str, **fields: object) -> str:
    return json.dumps({"type": kind, **fields})


def kinds(frames: tuple[Frame, ...]) -> list[str]:
    return ["audio" if isinstance(frame, bytes) else read(frame)["type"] for frame in frames]


def read(frame: Frame) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(frame)
    return message


def test_a_hello_becomes_the_handshake_of_rtvi(translator: Translator) -> None:
    onward = translator.from_caller(native("hello", audio={"rate": 16_000}))
    (ready,) = map(read, onward.to_bot)
    assert (ready["label"], ready["type"]) == ("rtvi-ai", "client-ready")
    (welcome,) = map(read, translator.from_bot(rtvi("bot-ready", version="2.2.0")))
    assert welcome == {"type": "welcome", "audio": {"rate": 24_000}}


def test_the_microphone_passes_untouched(translator: Translator) -> None:
    assert translator.from_caller(AUDIO).to_bot == (AUDIO,)


def test_a_reply_opens_with_its_first_audio(translator: Translator) -> None:
    assert kinds(translator.from_bot(AUDIO)) == ["reply_started", "audio"]
    assert kinds(translator.from_bot(AUDIO)) == ["audio"]


def test_text_that_comes_before_the_audio_waits_for_it(translator: Translator) -> None:
    translator.from_bot(rtvi("bot-llm-started"))
    assert translator.from_bot(rtvi("bot-llm-text", text="Good ")) == ()
    assert translator.from_bot(rtvi("bot-llm-text", text="morning.")) == ()
    _, text, _ = translator.from_bot(AUDIO)
    assert read(text)["text"] == "Good morning."
    (rest,) = map(read, translator.from_bot(rtvi("bot-llm-text", text=" And you?")))
    assert rest["text"] == " And you?"


def test_text_of_a_reply_that_was_never_spoken_is_not_in_the_next(translator: Translator) -> None:
    translator.from_bot(rtvi("bot-llm-text", text="Never mind."))
    assert translator.from_bot(native("interruption")) == ()
    assert kinds(translator.from_bot(AUDIO)) == ["reply_started", "audio"]


def test_a_reply_is_done_when_its_listener_has_heard_it_out(translator: Translator) -> None:
    translator.from_bot(AUDIO)
    assert kinds(translator.from_bot(rtvi("bot-stopped-speaking"))) == ["reply_audio_end"]
    assert translator.from_caller(native("playback", reply=1, played_ms=10)).to_caller == ()
    onward = translator.from_caller(native("playback", reply=1, played_ms=20, done=True))
    (done,) = map(read, onward.to_caller)
    assert (done["type"], done["reply"], done["status"]) == ("reply_done", 1, "completed")
    assert onward.to_bot == ()


def test_sentences_that_come_late_belong_to_the_same_reply(translator: Translator) -> None:
    translator.from_bot(AUDIO)
    translator.from_bot(rtvi("bot-stopped-speaking"))
    assert kinds(translator.from_bot(AUDIO)) == ["audio"]


def test_a_bot_that_is_talked_over_interrupts_its_reply(translator: Translator) -> None:
    translator.from_bot(AUDIO)
    interrupted, done = map(read, translator.from_bot(native("interruption")))
    assert interrupted == {"type": "interrupted", "reply": 1}
    assert (done["reply"], done["status"]) == (1, "interrupted")
    started, _ = translator.from_bot(AUDIO)
    assert read(started)["reply"] == 2


def test_a_cancelled_reply_is_done_when_the_bot_has_stopped(translator: Translator) -> None:
    translator.from_bot(AUDIO)
    (cancel,) = map(read, translator.from_caller(native("cancel")).to_bot)
    assert (cancel["type"], cancel["data"]) == ("client-message", {"t": "cancel"})
    flushed = translator.from_caller(native("playback", reply=1, played_ms=9, done=True))
    assert flushed.to_caller == ()
    assert kinds(translator.from_bot(AUDIO)) == ["audio"]
    (done,) = map(read, translator.from_bot(native("interruption")))
    assert (done["reply"], done["status"]) == (1, "cancelled")


def test_a_cancel_counts_for_one_reply_only(translator: Translator) -> None:
    translator.from_bot(AUDIO)
    translator.from_caller(native("cancel"))
    translator.from_bot(native("interruption"))
    translator.from_bot(AUDIO)
    assert kinds(translator.from_bot(native("interruption"))) == ["interrupted", "reply_done"]


def test_without_a_reply_there_is_nothing_to_end(translator: Translator) -> None:
    assert translator.from_caller(native("cancel")).to_bot == ()
    assert translator.from_bot(native("interruption")) == ()
    assert translator.from_bot(rtvi("bot-stopped-speaking")) == ()


def test_only_final_words_become_a_transcript(translator: Translator) -> None:
    assert translator.from_bot(rtvi("user-input", text="Good", final=False)) == ()
    (heard,) = map(read, translator.from_bot(rtvi("user-input", text="Good day.", final=True)))
    assert heard == {"type": "transcript", "turn": 1, "text": "Good day.", "final": True}


def test_what_goes_wrong_at_the_bot_is_noted(translator: Translator) -> None:
    (error,) = map(read, translator.from_bot(rtvi("error", error="no model", fatal=False)))
    assert error["code"] == "PEER"
    assert "no model" in error["message"]


def test_what_our_protocol_has_no_word_for_is_dropped(translator: Translator) -> None:
    assert translator.from_bot(rtvi("bot-tts-started")) == ()
    assert translator.from_caller(native("configure", voice="bf_emma")) == translator.from_caller(
        native("clear")
    )
