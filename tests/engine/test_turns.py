"""Turns of threads that compute, and that wait for their files."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

import pytest

from pixelforest.engine.run import turns as module
from pixelforest.engine.run.turns import MAX_WAITING, Turns

WAIT_S = 20


@pytest.fixture(autouse=True)
def _long_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONG_S", 0.0)


def begin(turns: Turns, group: str, *, passes_on: bool) -> tuple[threading.Event, Callable[[], None]]:
    """Take a turn in a thread. Returns an event that is set once it has it, and a function that ends it."""
    has_turn, may_end = threading.Event(), threading.Event()

    def work() -> None:
        with turns.taken(group) as pass_on:
            if passes_on:
                pass_on()
            has_turn.set()
            may_end.wait(WAIT_S)

    thread = threading.Thread(target=work)
    thread.start()

    def end() -> None:
        may_end.set()
        thread.join(WAIT_S)

    return has_turn, end


@pytest.mark.parametrize("count", [1, 2])
def test_no_more_have_a_turn_than_the_limit(count: int) -> None:
    turns = Turns(count)
    running = [begin(turns, "a", passes_on=False) for _ in range(count)]
    assert all(has_turn.wait(WAIT_S) for has_turn, _ in running)
    late, end_late = begin(turns, "a", passes_on=False)
    assert not late.wait(0.1)
    running[0][1]()
    assert late.wait(WAIT_S)
    for end in (*(end for _, end in running), end_late):
        end()
    assert not turns.is_busy


def test_a_turn_that_is_passed_on_lets_the_next_begin() -> None:
    turns = Turns()
    waiting = [begin(turns, "a", passes_on=True) for _ in range(MAX_WAITING)]
    assert all(has_turn.wait(WAIT_S) for has_turn, _ in waiting)
    with turns.taken("a") as pass_on:
        assert not pass_on(), "as many wait as may"
        waiting[0][1]()
        assert pass_on()
        assert not pass_on(), "a turn is passed on once"
    assert turns.is_busy
    waiting[1][1]()
    assert not turns.is_busy


def test_a_short_turn_is_not_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONG_S", 1000.0)
    with Turns().taken() as pass_on:
        assert not pass_on()


def test_groups_do_not_meet() -> None:
    turns = Turns(4)
    first, end_first = begin(turns, "a", passes_on=True)
    assert first.wait(WAIT_S)
    other, end_other = begin(turns, "b", passes_on=False)
    assert not other.wait(0.1)
    end_first()
    assert other.wait(WAIT_S)
    end_other()


def test_an_error_ends_a_turn() -> None:
    turns = Turns()
    with suppress(ValueError), turns.taken():
        raise ValueError
    assert not turns.is_busy
    with turns.taken("b"):
        assert turns.is_busy
