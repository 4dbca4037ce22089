"""An interrupt in the wait for the last tiles left threads behind, which wrote chunks into a folder being removed."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pixelforest.box import Box
from pixelforest.engine.storage import store_writer
from pixelforest.engine.storage.atomic_write import FolderTarget
from pixelforest.engine.storage.chunk_store import open_array
from pixelforest.engine.storage.live_targets import live_targets
from pixelforest.engine.storage.store_writer import ChunkNames, StoredArray
from pixelforest.engine.tiling.stream import stream_tiles

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows knows no such signals")

METADATA = {"dimensions": [8, 8], "blockSize": [4, 4], "dataType": "uint8", "compression": {"type": "raw"}}


@pytest.fixture(autouse=True)
def interrupts() -> Iterator[None]:
    before = signal.signal(signal.SIGUSR1, signal.default_int_handler)
    yield
    signal.signal(signal.SIGUSR1, before)


def interrupt_main_thread() -> None:
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)


@pytest.mark.parametrize("readers", [1, 2])
def test_no_tile_is_in_work_after_an_interrupt_in_the_last_wait(readers: int) -> None:
    is_read, ended = threading.Event(), list[int]()

    def read(tile: int) -> int:
        if tile == 1:
            is_read.set()
        return tile

    def process(tile: int, source: int) -> None:
        if tile == 0:
            is_read.wait(20)
            time.sleep(0.1)  # the caller has handed over the last tile and waits; sooner, the test is easier to pass
            interrupt_main_thread()
        time.sleep(0.3)
        ended.append(tile)

    with pytest.raises(KeyboardInterrupt):
        stream_tiles(range(2), read, process, threads=2, readers=readers)
    assert 0 in ended
    assert not any(thread.name.startswith(("tile", "read_")) for thread in threading.enumerate())


def test_every_write_that_was_started_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For an interrupt at every line of ``write``: ``abandon`` knows the write if it was started."""
    array = open_array("n5", tmp_path / "array", METADATA, create=True)
    lines, interrupted = 0, 0
    source = np.ones((4, 4), np.uint8)
    for number in range(1, 100):
        stored = StoredArray(array, (4, 4), tmp_path, ChunkNames(""))
        begun = list[int]()

        class Counted:
            dtype, shape = array.dtype, array.shape

            def __getitem__(self, slices: object, begun: list[int] = begun) -> object:
                return Started(begun)

        monkeypatch.setattr(stored, "_array", Counted())
        lines = 0

        def trace(frame: object, event: str, argument: object, number: int = number) -> object:
            nonlocal lines
            if frame.f_code.co_filename != store_writer.__file__:  # type: ignore[attr-defined]
                return None
            if event == "line":
                lines += 1
                if lines == number:
                    os.kill(os.getpid(), signal.SIGUSR1)
            return trace

        before = sys.gettrace()
        try:
            sys.settrace(trace)  # type: ignore[arg-type]
            stored.write(Box((0, 0), (4, 4)), source)
            is_over = True
        except KeyboardInterrupt:
            is_over = False
            interrupted += 1
        finally:
            sys.settrace(before)
        assert len(stored._pending) >= len(begun)
        if is_over:
            break
    assert interrupted > 10
    assert lines < 100


class Started:
    """A write that counts as started from the moment of the call on, and never ends by itself."""

    def __init__(self, begun: list[int]) -> None:
        self._begun = begun

    def write(self, source: np.ndarray, *, can_reference_source_data_indefinitely: bool) -> Started:
        self._begun.append(1)
        return self

    def result(self) -> None:
        return None


def test_a_folder_that_cannot_be_removed_yet_is_removed_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = FolderTarget(tmp_path / "result")
    with monkeypatch.context() as patch:
        patch.setattr(FolderTarget, "_remove_temporary", lambda self: None)  # as if a chunk was created meanwhile
        target.discard()
    assert target.temporary.exists()
    live_targets.discard_all()
    assert not list(tmp_path.iterdir())
