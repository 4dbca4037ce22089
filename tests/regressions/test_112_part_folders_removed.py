"""A clean-up removed `.part` folders of a run; the library made them anew and an incomplete result was put in place."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from support.store_results import STORES, make_array, open_store, store_path, write_store

from pixelforest.box import Box
from pixelforest.engine.errors import ExportError
from pixelforest.engine.formats import output_formats
from pixelforest.engine.formats.spec import ImageSpec, ImageWriter
from pixelforest.engine.storage.atomic_write import Target
from pixelforest.engine.storage.live_targets import live_targets

DOCS = Path(__file__).resolve().parents[2] / "docs" / "formats.md"
VERSIONS = [(name, "0.4") for name in STORES] + [(name, "0.5") for name in STORES[2:]]
SINGLE_FILES = [name for name, f in output_formats().items() if f.extension and f.open_url is None and not f.sequence]
each_store = pytest.mark.parametrize(("name", "version"), VERSIONS)


def part_of(folder: Path) -> Path:
    (part,) = folder.glob(".*.part")
    return part


def chunk_files(part: Path) -> list[Path]:
    """The files of the part that hold voxels."""
    return sorted(p for p in part.rglob("*") if p.is_file() and re.fullmatch(r"\d+", p.name))


def settle(writer: ImageWriter) -> None:
    """Wait until nothing is on its way to the disk."""
    (getattr(writer, "_array", None) or writer._levels[0]).settle()  # type: ignore[attr-defined]


def assert_refused(folder: Path, message: str, action, *arguments: object) -> None:
    with pytest.raises(ExportError, match=message):
        action(*arguments)
    assert list(folder.iterdir()) == []


@each_store
def test_the_whole_folder_is_removed_between_two_boxes(name: str, version: str, tmp_path: Path) -> None:
    array = make_array()
    writer = open_store(tmp_path, name, array, version=version)
    writer.write(Box((0, 0, 0), (1, 300, 400)), array[:1])
    settle(writer)
    shutil.rmtree(part_of(tmp_path))
    with pytest.raises(ExportError, match="was removed while it was being written"):
        writer.write(Box((1, 0, 0), (3, 300, 400)), array[1:])
    writer.abort()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.sampled(3)
@each_store
@pytest.mark.parametrize("is_made_anew", [False, True])
def test_the_whole_folder_is_removed_before_the_end(
    name: str, version: str, is_made_anew: bool, tmp_path: Path
) -> None:
    array = make_array()
    writer = open_store(tmp_path, name, array, version=version)
    writer.write(Box.whole(array.shape), array)
    settle(writer)
    part = part_of(tmp_path)
    if is_made_anew:  # with all that was in it: only its identity tells
        shutil.copytree(part, tmp_path / "copy")
        shutil.rmtree(part)
        os.rename(tmp_path / "copy", part)
    else:
        shutil.rmtree(part)
    assert_refused(tmp_path, "was removed while it was being written", writer.finish)


@pytest.mark.sampled(3)
@each_store
@pytest.mark.parametrize("which", [0, -1])
def test_a_single_chunk_is_removed(
    name: str, version: str, which: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pixelforest.engine.formats.support.ome_zarr_layout.CHUNK_BYTES", 1 << 16)
    array = make_array()
    writer = open_store(tmp_path, name, array, version=version)
    writer.write(Box.whole(array.shape), array)
    settle(writer)
    files = chunk_files(part_of(tmp_path))
    assert len(files) > 1
    files[which].unlink()
    assert_refused(tmp_path, r"\b1 of the \d+ files in it are gone", writer.finish)


@each_store
def test_a_description_is_removed(name: str, version: str, tmp_path: Path) -> None:
    array = make_array()
    writer = open_store(tmp_path, name, array, version=version)
    writer.write(Box.whole(array.shape), array)
    described = [p for p in part_of(tmp_path).rglob("*") if p.name in ("attributes.json", ".zarray", "zarr.json")]
    described[-1].unlink()
    assert_refused(tmp_path, "files in it are gone", writer.finish)


@each_store
def test_chunks_of_zeros_have_no_file_and_are_not_missed(name: str, version: str, tmp_path: Path) -> None:
    array = np.zeros((3, 300, 400), np.float32)
    array[1, 150, 200], array[2, 0, 0] = 1, -0.0
    writer = open_store(tmp_path, name, array, version=version)
    writer.write(Box.whole(array.shape), array)
    writer.finish()
    assert store_path(tmp_path, name).is_dir()


@pytest.mark.parametrize("name", STORES[:2])
def test_a_dataset_that_joins_a_container(name: str, tmp_path: Path) -> None:
    """The finished dataset moves into the container under another temporary name."""
    array = make_array()
    write_store(tmp_path, name, np.ones_like(array))
    writer = open_store(tmp_path, name, array)
    writer.write(Box.whole(array.shape), array)
    settle(writer)
    shutil.rmtree(part_of(tmp_path))
    with pytest.raises(ExportError, match="was removed"):
        writer.finish()
    assert [p.name for p in tmp_path.iterdir()] == ["out.n5"]
    write_store(tmp_path, name, array)
    assert [p.name for p in (tmp_path / "out.n5" / "data").iterdir()] == ["x"]


@pytest.mark.parametrize("name", SINGLE_FILES)
@pytest.mark.parametrize("is_replaced", [False, True])
def test_single_files(name: str, is_replaced: bool, tmp_path: Path) -> None:
    """A temporary file that was removed, or replaced by another, is never put in place."""
    chosen = output_formats()[name]
    channels = 1 if chosen.limits.channels is None or 1 in chosen.limits.channels else max(chosen.limits.channels)
    axes = chosen.fixed_axes or "yxc"
    sizes = {"y": 30, "x": 40, "c": channels}
    array = make_array(tuple(sizes.get(axis, 1) for axis in axes)).astype(np.uint8)
    spec = ImageSpec(shape=array.shape, dtype=array.dtype, axes=axes, offset=(0,) * array.ndim)
    writer = chosen.open(tmp_path / f"out.{chosen.extension}", "data", spec)
    writer.write(Box.whole(array.shape), array)
    part = part_of(tmp_path)
    if is_replaced:
        other = tmp_path / "other"
        other.write_bytes(part.read_bytes())
        os.replace(other, part)
    else:
        part.unlink()
    with pytest.raises(ExportError, match=r"was removed while it was being written|cannot write|cannot complete"):
        writer.finish()
    writer.abort()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["png sequence", "multipage tiff sequence"])
def test_a_file_of_a_sequence(name: str, tmp_path: Path) -> None:
    """Then none of them is put in place."""
    chosen = output_formats()[name]
    axes = "zyx" if name == "png sequence" else "tzyx"
    array = make_array(tuple({"t": 3, "z": 3}.get(axis, 20) for axis in axes)).astype(np.uint8)
    spec = ImageSpec(shape=array.shape, dtype=array.dtype, axes=axes, offset=(0,) * array.ndim)
    writer = chosen.open(tmp_path / f"out_{{slice_index}}.{chosen.extension}", "", spec)
    writer.write(Box.whole(array.shape), array)
    parts = sorted(tmp_path.glob(".*.part"))
    assert len(parts) == 3
    parts[-1].unlink()
    with pytest.raises(ExportError, match="was removed while it was being written"):
        writer.finish()
    writer.abort()
    assert list(tmp_path.iterdir()) == []


def test_a_dataset_that_joins_an_hdf5_container(tmp_path: Path) -> None:
    """Another file with the name of the temporary one is never copied into it."""
    array = make_array((20, 30, 1))
    spec = ImageSpec(shape=array.shape, dtype=array.dtype, axes="yxc", offset=(0, 0, 0))
    path = tmp_path / "out.h5"
    for name in ("a", "b"):
        writer = output_formats()["hdf5"].open(path, name, spec)
        writer.write(Box.whole(array.shape), array)
        writer.finish()
    before = path.read_bytes()
    writer = output_formats()["hdf5"].open(path, "a", spec)
    writer.write(Box.whole(array.shape), array)
    os.replace(shutil.copy(path, tmp_path / "other"), part_of(tmp_path))
    with pytest.raises(ExportError, match="another one has its name"):
        writer.finish()
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_documented_search_finds_what_was_left_and_nothing_live(tmp_path: Path) -> None:
    (command,) = re.findall(r"^    (find .*)$", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    old = time.time() - 3 * 86400
    left, old_folder = tmp_path / ".left.0123456789ab.part", tmp_path / ".store.0123456789ab.part"
    left.touch()
    old_folder.mkdir()
    array = make_array()
    live = [Target(tmp_path / "file.png"), open_store(tmp_path, "n5", array)]
    for part in tmp_path.glob(".*.part"):
        os.utime(part, (old, old))
    live_targets.renew()
    found = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert sorted(found.split()) == [f"./{left.name}", f"./{old_folder.name}"]
    live[0].discard()  # type: ignore[attr-defined]
    live[1].abort()  # type: ignore[attr-defined]
