"""The parts of what a piece of work may use."""

from __future__ import annotations

from pixelforest.engine.resources import Resources
from pixelforest.kernels import load


def test_a_share_has_one_thread_and_its_part_of_the_memory() -> None:
    whole = Resources(load("cpu"), 8, 1001)
    assert whole.share(4) == Resources(whole.backend, 1, 250)


def test_what_something_else_holds_is_missing() -> None:
    whole = Resources(load("cpu"), 8, 1001)
    assert whole.minus(1).minus(400) == Resources(whole.backend, 8, 600)
