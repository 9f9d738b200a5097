"""The playback clock of one reply."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.playback import Playback

RATE = 1_000  # so that samples are milliseconds


def sent_through(playback: Playback, now: float) -> None:
    while samples := playback.due(now):
        playback.note_sent(samples, now)


def test_nothing_is_due_before_a_whole_chunk_is_made() -> None:
    playback = Playback(RATE, send_ahead_s=1.0, chunk_s=0.1)
    playback.add_audio(60)
    assert playback.due(0.0) == 0
    playback.add_audio(60)
    assert playback.due(0.0) == 100


def test_a_chunk_waits_until_there_is_room_for_all_of_it() -> None:
    playback = Playback(RATE, send_ahead_s=0.25, chunk_s=0.1)
    playback.add_audio(1_000)
    sent_through(playback, 0.0)
    assert playback.sent == 200
    assert playback.next_due(0.0) == 0.05
    assert playback.due(0.049) == 0
    sent_through(playback, 0.05)
    assert (playback.sent, playback.played(0.05)) == (300, 50)


def test_little_may_be_ahead_and_the_listener_still_does_not_run_dry() -> None:
    playback = Playback(RATE, send_ahead_s=0.1, chunk_s=0.1)
    playback.add_audio(1_000)
    now: float | None = 0.0
    while playback.sent < playback.made:
        assert now is not None
        assert now == 0.0 or playback.sent > playback.played(now)
        sent_through(playback, now)
        assert playback.sent - playback.played(now) <= 100
        now = playback.next_due(now)


def test_the_last_piece_may_be_short() -> None:
    playback = Playback(RATE, 1.0, 0.1)
    playback.add_audio(60)
    playback.complete = True
    assert playback.due(0.0) == 60


def test_without_reports_the_position_is_estimated_and_stops_where_audio_ends() -> None:
    playback = Playback(RATE, 1.0, 0.1)
    playback.add_audio(500)
    sent_through(playback, 0.0)
    assert playback.played(0.2) == 200
    assert playback.played(3.0) == 500
    playback.add_audio(500)  # the loudspeaker ran dry; it goes on from there
    sent_through(playback, 3.0)
    assert playback.played(3.1) == 600


def test_a_report_never_exceeds_what_was_sent() -> None:
    playback = Playback(RATE, 1.0, 0.1)
    playback.add_audio(300)
    sent_through(playback, 0.0)
    playback.report(10_000, 0.1)
    assert playback.played(0.1) == 300
    playback.report(-5, 0.2)
    assert playback.played(0.2) == 0


def test_of_what_leaves_after_the_client_has_flushed_nothing_is_heard() -> None:
    playback = Playback(RATE, 0.5, 0.1)
    playback.add_audio(1_000)
    playback.add_clause(0, 11, 0, 1_000)
    playback.complete = True
    sent_through(playback, 0.0)
    playback.report(200, 0.2)
    playback.finish()
    for tick in range(3, 20):
        sent_through(playback, tick / 10)
    assert playback.all_sent
    assert playback.flushed(2.0)
    assert (playback.heard("one two six", 2.0), playback.unheard_ms(2.0)) == ("", 800)


def test_held_playback_stands_still() -> None:
    playback = Playback(RATE, 1.0, 0.1)
    playback.add_audio(2_000)
    sent_through(playback, 0.0)
    playback.hold(0.3)
    assert playback.played(5.0) == 300
    assert playback.due(5.0) == 0
    assert playback.next_due(5.0) is None
    playback.resume(5.0)
    assert playback.played(5.1) == 400


def test_what_was_heard_is_cut_at_a_whole_word() -> None:
    playback = Playback(RATE, 1.0, 0.1)
    text = "One two. Three four five."
    playback.add_audio(2_000)
    playback.add_clause(0, 8, 0, 1_000)
    playback.add_clause(8, 25, 1_000, 2_000)
    playback.complete = True
    sent_through(playback, 0.0)
    for moment, heard in [(0.1, ""), (0.6, "One"), (1.0, "One two."), (1.5, "One two. Three")]:
        sent_through(playback, moment)
        assert playback.heard(text, moment) == heard
    sent_through(playback, 1.6)
    assert playback.heard(text, 2.5) == text


def test_what_was_heard_is_exact_where_the_voice_says_when_it_said_what() -> None:
    playback = Playback(RATE, 1.0, 0.1)
    text = "A - **considerably** long word."
    playback.add_audio(1_000)
    playback.add_clause(0, len(text), 0, 1_000, (50, 100, 600, 700, 800))
    playback.complete = True
    sent_through(playback, 0.0)
    for moment, heard in [
        (0.09, ""),
        (0.1, "A"),
        (0.59, "A"),
        (0.6, "A - **considerably**"),
        (0.75, "A - **considerably** long"),
        (0.8, text),
    ]:
        sent_through(playback, moment)
        assert playback.heard(text, moment) == heard


def test_words_that_are_said_otherwise_than_they_are_written_count_by_share() -> None:
    playback = Playback(RATE, 1.0, 0.1)
    text = "at example.com"  # "at example dot com"
    playback.add_audio(1_000)
    playback.add_clause(0, len(text), 0, 1_000, (0, 200, 500, 700, 900))
    sent_through(playback, 0.0)
    assert [playback.heard(text, moment) for moment in (0.4, 0.5)] == ["", "at"]


def test_inside_a_clause_that_is_still_being_made_the_cut_is_estimated() -> None:
    playback = Playback(RATE, 1.0, 0.1)
    text = "One two. Three four five."
    playback.expect_clause(0, 8)
    playback.add_audio(1_000)
    playback.add_clause(0, 8, 0, 1_000)  # 125 ms a letter
    playback.expect_clause(8, 25)  # some 2.1 s, then
    playback.add_audio(900)
    sent_through(playback, 0.0)
    for moment, heard in [(1.0, "One two."), (1.5, "One two."), (1.9, "One two. Three")]:
        sent_through(playback, moment)
        assert playback.heard(text, moment) == heard
    playback.add_audio(900)
    sent_through(playback, 1.9)
    assert playback.heard(text, 2.5) == "One two. Three four"
    playback.add_audio(100)
    playback.add_clause(8, 25, 1_000, 2_900)  # faster than expected
    sent_through(playback, 2.5)
    assert playback.heard(text, 3.5) == text


def test_of_the_first_clause_too_and_its_last_word_is_not_heard_before_it_is_made() -> None:
    playback = Playback(RATE, 1.0, 0.1)
    text = "One two three."
    playback.expect_clause(0, 14)
    assert playback.heard(text, 0.0) == ""
    playback.add_audio(400)
    sent_through(playback, 0.0)
    assert playback.heard(text, 0.4) == "One"
    playback.add_audio(5_000)  # spoken far more slowly than most
    for tick in range(60):
        sent_through(playback, 0.4 + tick / 10)
    assert playback.played(7.0) == 5_400
    assert playback.heard(text, 7.0) == "One two"


def test_scripts_without_spaces_are_cut_between_characters() -> None:
    playback = Playback(RATE, 1.0, 0.1)
    playback.add_audio(1_000)
    playback.add_clause(0, 10, 0, 1_000)
    sent_through(playback, 0.0)
    assert playback.heard("今日はとても良い天気で", 0.5) == "今日はとて"


def test_the_end_is_believed_when_it_is_reported() -> None:
    playback = Playback(RATE, 1.0, 0.1)
    playback.add_audio(500)
    playback.complete = True
    sent_through(playback, 0.0)
    playback.report(100, 0.1)
    assert not playback.ended(0.55)  # the clock says so, but the client spoke 0.45 s ago
    playback.report(485, 0.6)
    assert playback.ended(0.6)


def test_the_end_is_estimated_when_reports_stop() -> None:
    playback = Playback(RATE, 1.0, 0.1)
    playback.add_audio(500)
    playback.complete = True
    sent_through(playback, 0.0)
    playback.report(100, 0.1)
    wake = playback.next_due(0.2)
    assert wake is not None
    assert not playback.ended(wake - 0.01)
    assert playback.ended(wake)


def test_a_finished_playback_has_ended_wherever_it_stood() -> None:
    playback = Playback(RATE, 1.0, 0.1)
    playback.add_audio(500)
    playback.complete = True
    sent_through(playback, 0.0)
    playback.finish()
    assert playback.ended(0.0)


@given(
    st.lists(
        st.tuples(st.sampled_from(["make", "report", "hold", "resume", "wait"]), st.floats(0, 2)),
        max_size=60,
    )
)
def test_audio_is_never_sent_further_ahead_than_allowed(steps: list[tuple[str, float]]) -> None:
    playback = Playback(RATE, send_ahead_s=1.0, chunk_s=0.1)
    now = 0.0
    for kind, value in steps:
        now += 0.01
        match kind:
            case "make":
                playback.add_audio(int(value * RATE))
            case "report":
                playback.report(int(value * RATE), now)
            case "hold":
                playback.hold(now)
            case "resume":
                playback.resume(now)
            case _:
                now += value
        before = playback.sent
        sent_through(playback, now)
        assert 0 <= playback.played(now) <= playback.sent <= playback.made
        if playback.sent > before:
            assert playback.sent - playback.played(now) <= 1_000
        wake = playback.next_due(now)
        assert wake is None or wake >= now
