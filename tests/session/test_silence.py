"""The silence after a reply."""

from __future__ import annotations

from pipeline.events import ReplyDone, ReplyStarted, SpeechStarted, UserTranscript
from session.silence import Silence

DONE = ReplyDone(1, 1, "completed", "Well?", "Well?", unheard_ms=500)


def test_it_begins_when_the_reply_was_heard() -> None:
    silence = Silence()
    silence.note(DONE, 10.0, 5.0)
    assert silence.due == 15.5
    assert silence.over(15.0) is None
    assert silence.over(15.5) == 10.5
    assert silence.over(99.0) is None, "it is over once"


def test_whoever_says_anything_ends_it() -> None:
    for event in (SpeechStarted(2, 0), ReplyStarted(2, 2), UserTranscript(2, "Hi", final=True)):
        silence = Silence()
        silence.note(DONE, 10.0, 5.0)
        silence.note(event, 11.0, 5.0)
        assert silence.due is None


def test_nobody_waits_after_a_reply_that_was_stopped_or_without_patience() -> None:
    silence = Silence()
    silence.note(DONE, 10.0, 0.0)
    assert silence.due is None
    silence.note(ReplyDone(1, 1, "cancelled", "W", ""), 10.0, 5.0)
    assert silence.due is None
