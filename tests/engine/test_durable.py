"""Files of blocks that are on disk before the block is recorded, and files of results before the lane is."""

from __future__ import annotations

import errno
import threading
from pathlib import Path

import numpy as np
import pytest

from pixelforest.box import Box
from pixelforest.engine.errors import ExportError
from pixelforest.engine.formats import output_format
from pixelforest.engine.formats.spec import BlockWriter, ImageSpec
from pixelforest.engine.storage import durable
from pixelforest.engine.storage.durable import DurableFiles, make_durable

KINDS = ["n5", "single-scale OME-Zarr", "multi-scale OME-Zarr"]
FACTS = {"attributes.json", "zarr.json", ".zarray", ".zattrs", ".zgroup"}


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, int]]:
    """Files and folders that came to disk, with the size of a file and the number of names in a folder by then."""
    seen, original = list[tuple[Path, int]](), durable._sync_file

    def sync(path: Path) -> None:
        original(path)
        seen.append((path, len(list(path.iterdir())) if path.is_dir() else path.stat().st_size))

    monkeypatch.setattr(durable, "_sync_file", sync)
    return seen


def opened(kind: str, path: Path) -> tuple[BlockWriter, np.ndarray]:
    """A writer of an image of some chunks, of which the first is zeros only."""
    voxels = np.random.default_rng(0).integers(1, 200, (130, 130, 130), np.uint8)
    format = output_format(kind)
    spec = ImageSpec(voxels.shape, voxels.dtype, "zyx", (0,) * 3)
    unit = format.unit(spec)
    assert unit is not None
    assert format.open_blocks is not None
    voxels[tuple(slice(n) for n in unit)] = 0
    return format.open_blocks(path, "exported_data", spec, "a-run"), voxels


@pytest.mark.parametrize("kind", KINDS)
def test_a_block_is_on_disk_when_it_has_settled(kind: str, tmp_path: Path, synced: list[tuple[Path, int]]) -> None:
    writer, voxels = opened(kind, tmp_path / "out")
    whole = Box.whole(voxels.shape)
    writer.write(whole, voxels)
    writer.settle(whole)
    kept = next(tmp_path.glob(".*.blocks"))
    chunks = {file: file.stat().st_size for file in kept.rglob("*") if file.is_file() and file.name not in FACTS}
    assert chunks
    assert chunks.items() <= set(synced)
    for folder in {parent for chunk in chunks for parent in chunk.parents if parent.is_relative_to(kept)}:
        assert (folder, len(list(folder.iterdir()))) in synced, folder
    once = [path for path, _ in synced]
    assert sorted(once) == sorted(set(once))
    writer.settle(whole)
    assert len(synced) == len(once)
    writer.finish()
    assert not {path for path, _ in synced[len(once) :]} & set(chunks)
    facts = {file.relative_to(tmp_path / "out") for file in (tmp_path / "out").rglob("*") if file.name in FACTS}
    assert facts <= {path.relative_to(kept) for path, _ in synced if path.is_relative_to(kept)}


@pytest.mark.parametrize("kind", KINDS)
def test_a_block_that_cannot_come_to_disk_is_an_error(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    writer, voxels = opened(kind, tmp_path / "out")
    whole = Box.whole(voxels.shape)
    monkeypatch.setattr(durable, "_sync_file", fail)
    writer.write(whole, voxels)
    for _ in range(2):
        with pytest.raises(ExportError, match="the disk is full"):
            writer.settle(whole)
    writer.abort()


def test_files_come_to_disk_while_others_are_made(tmp_path: Path, synced: list[tuple[Path, int]]) -> None:
    (tmp_path / "folder").mkdir()
    is_written = threading.Event()
    files = DurableFiles(tmp_path / "folder")
    files.add("late", is_written.wait)
    for name in ("a", "b"):
        (tmp_path / "folder" / name).write_text("x")
        files.add(name, lambda: None)
    files.add("gone", lambda: None, is_removed=True)
    files.settle(["a", "b", "gone", "unknown"])
    assert {path.name for path, _ in synced} == {"a", "b", "folder", tmp_path.name}
    (tmp_path / "folder" / "late").write_text("xyz")
    is_written.set()
    files.settle()
    assert (tmp_path / "folder" / "late", 3) in synced
    files.close()
    files.close()


def test_a_result_is_on_disk_with_everything_in_it(tmp_path: Path, synced: list[tuple[Path, int]]) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    for name in ("one", "a/two", "a/b/three"):
        (tmp_path / name).write_text(name)
    make_durable([tmp_path / "one", tmp_path / "a"])
    files = {(tmp_path / name, len(name)) for name in ("one", "a/two", "a/b/three")}
    assert files | {(tmp_path / "a", 2), (tmp_path / "a" / "b", 1), (tmp_path, 2)} == set(synced)
