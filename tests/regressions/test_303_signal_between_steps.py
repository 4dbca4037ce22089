"""A temporary file stayed if a signal came after its creation and before anyone was responsible for its removal."""

from __future__ import annotations

import linecache
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from pixelforest.engine.storage import atomic_write, exchange, live_targets
from pixelforest.engine.storage.atomic_write import FolderTarget, Target
from pixelforest.frontend.console import Console, ConsoleSettings
from pixelforest.frontend.exit_status import run_guarded

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows knows no such signals")

TRACED = {module.__file__ for module in (atomic_write, exchange, live_targets, sys.modules[__name__])}
MAX_LINES = 500


def write_file(path: Path) -> int:
    target = Target(path)
    try:
        target.temporary.write_bytes(b"new")
        target.commit()
    finally:
        target.discard()
    return 0


def write_folder(path: Path) -> int:
    target = FolderTarget(path)
    try:
        (target.temporary / "chunk").write_bytes(b"new")
        target.commit()
    finally:
        target.discard()
    return 0


def signal_at(number: int) -> Callable[[FrameType, str, Any], Any]:
    """Trace function that sends SIGTERM to this process before the line ``number`` of those that are traced.

    Lines of ``with`` and ``except`` are left out: an exception of a trace function there, where the interpreter handles
    no signal, would leave a lock locked, or an error for ever in its thread.
    """
    lines = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal lines
        if frame.f_code.co_filename not in TRACED:
            return None
        line = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
        if event == "line" and not line.lstrip().startswith(("with ", "except")):
            lines += 1
            if lines == number:
                os.kill(os.getpid(), signal.SIGTERM)
        return trace

    return trace


def run_with_signal(work: Callable[[], int], number: int) -> int:
    def traced() -> int:
        before = sys.gettrace()
        sys.settrace(signal_at(number))
        try:
            return work()
        finally:
            sys.settrace(before)

    return run_guarded(traced, Console(ConsoleSettings(quiet=True)))


@pytest.mark.sampled(2)
@pytest.mark.parametrize("work", [write_file, write_folder])
@pytest.mark.parametrize("is_old", [False, True])
def test_a_signal_at_every_line(work: Callable[[Path], int], is_old: bool, tmp_path: Path) -> None:
    """Nothing is left but the old result or the finished one; folders that were made for it are gone."""
    statuses = []
    for number in range(1, MAX_LINES):
        place = tmp_path / str(number)
        place.mkdir()
        path = place / "sub" / "result"
        if is_old:
            path.parent.mkdir()
            if work is write_file:
                path.write_bytes(b"old")
            else:
                path.mkdir()
                (path / "chunk").write_bytes(b"old")
        statuses.append(run_with_signal(lambda path=path: work(path), number))  # type: ignore[misc]
        if path.exists():
            assert sorted(each.name for each in path.parent.iterdir()) == ["result"], number
            content = (path if work is write_file else path / "chunk").read_bytes()
            assert content in ((b"old", b"new") if is_old else (b"new",)), number
        else:
            assert not is_old, number
            assert list(place.iterdir()) == [], number
        if statuses[-1] == 0:  # the work has fewer lines
            break
    assert statuses[-1] == 0
    assert statuses.count(143) == len(statuses) - 1
    assert len(statuses) > 30
