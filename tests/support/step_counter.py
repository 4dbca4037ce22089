"""Counts the interpreter's steps of a call, for tests of how its cost grows. Clocks would depend on the machine."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any


def count_steps(action: Callable[[], object]) -> int:
    """The number of bytecode instructions that ``action`` executes in this thread. Loops inside C are not seen."""
    steps = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal steps
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        steps += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        action()
    finally:
        sys.settrace(before)
    return steps


class CountedSequence(Sequence[int]):
    """A sequence that counts how many of its items were looked at, also by loops inside C."""

    def __init__(self, items: Sequence[int]) -> None:
        self._items = items
        self.looks = 0

    def __getitem__(self, index: Any) -> Any:
        self.looks += 1
        return self._items[index]

    def __len__(self) -> int:
        return len(self._items)
