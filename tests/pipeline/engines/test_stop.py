"""Stop: a flag that can also call."""

from __future__ import annotations

import threading

from pipeline.engines.ports import Stop


def test_it_calls_those_that_wait_for_it() -> None:
    stop, calls = Stop(), list[str]()
    with stop.calling(lambda: calls.append("a")), stop.calling(lambda: calls.append("b")):
        assert calls == []
        stop.set()
    assert calls == ["a", "b"]


def test_it_calls_at_once_when_it_is_set_already() -> None:
    stop, calls = Stop(), list[str]()
    stop.set()
    with stop.calling(lambda: calls.append("a")):
        assert calls == ["a"]


def test_whoever_does_not_wait_any_more_is_not_called() -> None:
    stop, calls = Stop(), list[str]()
    with stop.calling(lambda: calls.append("a")):
        pass
    stop.set()
    assert calls == []


def test_it_may_be_set_in_another_thread() -> None:
    stop, called = Stop(), threading.Event()
    with stop.calling(called.set):
        thread = threading.Thread(target=stop.set)
        thread.start()
        assert called.wait(5)
        thread.join()
