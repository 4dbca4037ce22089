"""Stores pack their chunks on as many threads as the run was given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorstore

from pixelforest.box import Box
from pixelforest.engine.storage import chunk_store as stores
from pixelforest.engine.storage import thread_limit as concurrency
from pixelforest.engine.storage.store_writer import ChunkNames, StoredArray


@pytest.fixture(autouse=True)
def _nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(concurrency, "_limit", None)


def test_the_threads_of_a_run_are_those_of_its_stores() -> None:
    before = stores._context()
    concurrency.set_thread_limit(3)
    assert stores._context()["data_copy_concurrency"].to_json() == {"limit": 3}
    assert stores._context() is stores._context()
    assert stores._context() is not before


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_compute_on_while_their_chunks_are_packed(threads: int, tmp_path: Path) -> None:
    """A worker of one thread would otherwise do nothing while its files are opened and renamed."""
    concurrency.set_thread_limit(threads)
    spec = {"driver": "n5", "kvstore": "memory://", "dtype": "uint8", "create": True}
    spec["metadata"] = {"dimensions": [8, 8], "blockSize": [4, 4], "compression": {"type": "gzip"}}
    array = StoredArray(tensorstore.open(spec).result(), (4, 4), tmp_path, ChunkNames(""))
    array.write(Box((0, 0), (8, 8)), np.ones((8, 8), np.uint8))
    assert len(array._pending) == 4
    array.check_complete()
