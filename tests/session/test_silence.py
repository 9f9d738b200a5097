"""The silence after a reply."""

from __future__ import annotations

from dataclasses import replace

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


COUGH = (SpeechStarted(2, 0), UserTranscript(2, "Hm", final=False))
NOISE = UserTranscript(2, "", final=True, discarded=True)


def test_a_cough_puts_it_off_and_it_begins_anew() -> None:
    silence = Silence()
    silence.note(DONE, 10.0, 5.0)
    for event in (*COUGH, *COUGH):
        silence.note(event, 11.0, 5.0)
        assert silence.due is None
    silence.note(NOISE, 12.0, 5.0)
    assert silence.due == 17.0
    assert silence.over(17.0) == 12.0
    silence.note(NOISE, 18.0, 5.0)
    assert silence.due is None, "it is over once"


def test_a_cough_over_the_end_of_a_reply_puts_it_off_too() -> None:
    silence = Silence()
    for event in (SpeechStarted(2, 0), DONE):
        silence.note(event, 10.0, 5.0)
    silence.note(NOISE, 12.0, 5.0)
    assert silence.due == 17.0


def test_nothing_begins_anew_with_a_cough_where_nobody_waited() -> None:
    cancelled = ReplyDone(1, 1, "cancelled", "W", "")
    said = UserTranscript(1, "Hi", final=True)
    for before in ((), (DONE, said), (DONE, cancelled), (DONE, *COUGH, ReplyStarted(2, 2))):
        silence = Silence()
        for event in (*before, *COUGH, NOISE):
            silence.note(event, 10.0, 5.0)
        assert silence.due is None
    silence = Silence()
    for event in (DONE, *COUGH, replace(NOISE, ended=True)):  # the client ended that turn
        silence.note(event, 10.0, 5.0)
    assert silence.due is None
    for event, patience_s in ((DONE, 5.0), (SpeechStarted(2, 0), 5.0), (NOISE, 0.0)):
        silence.note(event, 10.0, patience_s)
    assert silence.due is None, "it was switched off meanwhile"


def test_nobody_waits_after_a_reply_that_was_stopped_or_without_patience() -> None:
    silence = Silence()
    silence.note(DONE, 10.0, 0.0)
    assert silence.due is None
    silence.note(ReplyDone(1, 1, "cancelled", "W", ""), 10.0, 5.0)
    assert silence.due is None
