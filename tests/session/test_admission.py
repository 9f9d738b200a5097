"""Places, the waiting room, and the order of arrival, in virtual time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import AtCapacity
from session.admission import LATELY_S, Admission


def house(places: int = 1, waiting_room: int = 2, *, full: bool = True) -> Admission:
    admission = Admission(places, waiting_room)
    for number in range(places if full else 0):
        admission.arrive(f"guest {number}", 0.0)
    return admission


def position(admission: Admission, ticket: str, now: float = 0.0) -> int:
    return admission.standing(ticket, now).position


def test_while_there_are_places_nobody_waits() -> None:
    admission = house(places=2, full=False)
    admission.arrive("anna", 0.0)
    admission.arrive("ben", 0.0)
    assert admission.admitted("anna")
    assert admission.admitted("ben")
    assert admission.full


def test_a_freed_place_goes_to_whoever_came_first() -> None:
    admission = house()
    admission.arrive("anna", 1.0)
    admission.arrive("ben", 2.0)
    assert (position(admission, "anna"), position(admission, "ben")) == (1, 2)
    admission.leave("guest 0", 3.0)
    assert admission.admitted("anna")
    assert position(admission, "ben") == 1


def test_when_the_waiting_room_is_full_too_one_is_refused_at_once() -> None:
    admission = house(waiting_room=1)
    admission.arrive("anna", 0.0)
    with pytest.raises(AtCapacity, match="waiting room") as refused:
        admission.arrive("ben", 0.0)
    assert refused.value.retry_after_s == 10.0
    assert not admission.admitted("ben")


def test_without_a_waiting_room_a_full_house_refuses() -> None:
    with pytest.raises(AtCapacity, match="all 1 places are taken; try"):
        house(waiting_room=0).arrive("anna", 0.0)


def test_whoever_leaves_the_waiting_room_is_forgotten_at_once() -> None:
    admission = house()
    admission.arrive("anna", 0.0)
    admission.arrive("ben", 0.0)
    admission.leave("anna", 1.0)
    assert position(admission, "ben") == 1
    assert admission.waiting == 1
    admission.leave("guest 0", 2.0)
    assert admission.admitted("ben")


def test_the_place_of_one_that_vanishes_while_it_is_let_in_goes_on_to_the_next() -> None:
    admission = house()
    admission.arrive("anna", 0.0)
    admission.arrive("ben", 0.0)
    admission.leave("guest 0", 1.0)
    admission.leave("anna", 1.0)  # let in, and never knew
    assert admission.admitted("ben")


def test_leaving_twice_frees_one_place() -> None:
    admission = house(places=2)
    admission.arrive("anna", 0.0)
    admission.arrive("ben", 0.0)
    admission.leave("guest 0", 1.0)
    admission.leave("guest 0", 1.0)
    assert admission.admitted("anna")
    assert not admission.admitted("ben")


def test_how_long_it_takes_is_not_known_before_places_became_free() -> None:
    admission = house(places=3, waiting_room=9)
    admission.arrive("anna", 0.0)
    assert admission.standing("anna", 50.0).eta_s is None
    admission.leave("guest 0", 60.0)
    admission.arrive("ben", 61.0)
    assert admission.standing("ben", 61.0).eta_s is None


def test_how_long_it_takes_follows_from_the_pace_of_departures() -> None:
    admission = house(places=5, waiting_room=9)
    for number in range(5):
        admission.leave(f"guest {number}", 20.0 * number)
        admission.arrive(f"newcomer {number}", 20.0 * number)
    admission.arrive("anna", 80.0)
    admission.arrive("ben", 80.0)
    assert admission.standing("anna", 80.0).eta_s == 20
    assert admission.standing("ben", 80.0).eta_s == 40
    # Nobody leaves any more: the wait grows, and in the end it is not known.
    assert admission.standing("anna", 160.0).eta_s == 40
    assert admission.standing("anna", 80.0 + LATELY_S).eta_s is None


def test_whoever_is_refused_is_told_when_a_place_may_be_had() -> None:
    admission = house(places=3, waiting_room=1)
    for number, at in enumerate((0.0, 30.0, 60.0)):
        admission.leave(f"guest {number}", at)
        admission.arrive(f"newcomer {number}", at)
    admission.arrive("anna", 60.0)
    with pytest.raises(AtCapacity) as refused:
        admission.arrive("ben", 60.0)
    assert refused.value.retry_after_s == 60.0


def test_while_the_house_is_shut_newcomers_are_refused_and_the_waiting_wait_on() -> None:
    admission = house()
    admission.arrive("anna", 0.0)
    admission.shut("overloaded")
    with pytest.raises(AtCapacity, match="overloaded"):
        admission.arrive("ben", 0.0)
    admission.leave("guest 0", 1.0)
    assert not admission.admitted("anna")
    admission.reopen()
    assert admission.admitted("anna")


def test_who_was_here_before_waits_where_no_newcomer_may_and_goes_first() -> None:
    admission = house(waiting_room=1)
    admission.arrive("anna", 0.0)
    assert not admission.has_room
    admission.arrive("back", 0.0, back=True)
    assert (position(admission, "back"), position(admission, "anna")) == (1, 2)
    admission.leave("guest 0", 1.0)
    assert admission.admitted("back")
    assert position(admission, "anna") == 1


def test_of_those_who_come_back_the_first_goes_first() -> None:
    admission = house(places=2, waiting_room=0)
    for ticket in ("one", "two"):
        admission.arrive(ticket, 0.0, back=True)
    admission.promote("one")  # its hello says so again
    assert (position(admission, "one"), position(admission, "two")) == (1, 2)


def test_as_many_may_come_back_as_there_are_places_and_no_more() -> None:
    admission = house(places=2, waiting_room=0)
    for number in range(2):
        admission.arrive(f"back {number}", 0.0, back=True)
    with pytest.raises(AtCapacity):
        admission.arrive("back 2", 0.0, back=True)


def test_while_the_house_is_shut_who_comes_back_waits() -> None:
    admission = house(full=False)
    admission.shut("overloaded")
    assert not admission.has_room
    admission.arrive("back", 0.0, back=True)
    assert not admission.admitted("back")
    admission.reopen()
    assert admission.admitted("back")


@given(
    st.integers(1, 4),
    st.integers(0, 4),
    st.lists(
        st.tuples(
            st.sampled_from(["arrive", "return", "leave", "shut", "reopen"]), st.integers(0, 9)
        ),
        max_size=200,
    ),
)
def test_whatever_happens_places_are_used_and_never_more_than_there_are(
    places: int, waiting_room: int, steps: list[tuple[str, int]]
) -> None:
    admission = Admission(places, waiting_room)
    here: list[str] = []  # in order of arrival
    shut = False
    for at, (what, number) in enumerate(steps):
        ticket = f"t{number}"
        if what == "arrive" and ticket not in here:
            try:
                admission.arrive(ticket, at)
                here.append(ticket)
            except AtCapacity:
                assert shut or len(here) >= places
        elif what == "return" and ticket not in here:
            try:
                admission.arrive(ticket, at, back=True)
                here.append(ticket)
            except AtCapacity:
                assert len(here) >= 2 * places + waiting_room or shut
        elif what == "leave":
            admission.leave(ticket, at)
            here = [one for one in here if one != ticket]
        elif what == "shut":
            admission.shut("overloaded")
            shut = True
        elif what == "reopen":
            admission.reopen()
            shut = False
        inside = [one for one in here if admission.admitted(one)]
        waiting = [one for one in here if not admission.admitted(one)]
        assert len(inside) <= places
        assert admission.waiting == len(waiting) <= waiting_room + places
        assert shut or not waiting or len(inside) == places
        assert sorted(position(admission, one, at) for one in waiting) == [
            *range(1, len(waiting) + 1)
        ]
