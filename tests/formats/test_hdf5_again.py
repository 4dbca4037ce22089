"""An image that was opened before is opened again without HDF5, unless the file is another by now."""

from __future__ import annotations

import os
import weakref
from pathlib import Path

import h5py
import numpy as np
import pytest

from pixelforest.box import Box
from pixelforest.engine.axes import axistags_json
from pixelforest.engine.errors import InputError, InputNotFound
from pixelforest.engine.formats.images import hdf5
from pixelforest.engine.formats.images.hdf5 import Hdf5Reader
from pixelforest.engine.formats.support import hdf5_datasets

WHOLE = Box((0, 0), (6, 8))


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(hdf5, "_seen", {})
    monkeypatch.setattr(hdf5, "_SETTLED_NS", 0)
    return tmp_path / "image.h5"


def write(path: Path, first: int, name: str = "data", dtype: str = "u1") -> np.ndarray:
    values = np.arange(first, first + 48, dtype=dtype).reshape(6, 8)
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset(name, data=values)
        dataset.attrs["axistags"] = axistags_json("xy", {})
        dataset.attrs["drange"] = (0.0, 90.0)
    return values


def read(path: Path, internal: str = "data") -> tuple[np.ndarray, object]:
    with Hdf5Reader(path, internal) as reader:
        return reader.read(WHOLE), reader.info


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that HDF5 was asked to open."""
    found: list[Path] = []
    original = hdf5_datasets.open_file
    monkeypatch.setattr(hdf5_datasets, "open_file", lambda path: found.append(path) or original(path))
    return found


@pytest.mark.parametrize("internal", ["data", "", "/data"])
def test_the_same_without_hdf5(path: Path, opened: list[Path], internal: str) -> None:
    values = write(path, 0)
    first, again = read(path, internal), read(path, internal)
    assert opened == [path]
    assert first[1] == again[1]
    assert (first[0] == values).all()
    assert (again[0] == values).all()
    assert again[0].dtype == values.dtype


def test_a_file_that_was_written_anew(path: Path, opened: list[Path]) -> None:
    write(path, 0)
    read(path)
    values = write(path, 100)
    os.utime(path, ns=(1, 1))  # whatever its clock said
    assert (read(path)[0] == values).all()
    assert opened == [path, path]


def test_a_file_that_was_replaced(path: Path) -> None:
    write(path, 0)
    read(path)
    values = write(path.with_name("other.h5"), 7, dtype="<i2")
    path.with_name("other.h5").replace(path)
    assert (read(path)[0] == values).all()


def test_nothing_is_kept_after_the_second_time(path: Path, opened: list[Path]) -> None:
    write(path, 0)
    for times in (1, 1, 2):
        read(path)
        assert len(opened) == times


def test_a_file_that_is_gone(path: Path) -> None:
    write(path, 0)
    read(path)
    path.unlink()
    with pytest.raises(InputNotFound, match="there is no file"):
        read(path)


def test_a_file_that_was_cut_short(path: Path) -> None:
    write(path, 0)
    read(path)
    os.truncate(path, path.stat().st_size - 100)
    with pytest.raises(InputError, match="damaged"):
        read(path)


def test_a_file_that_changes_while_it_is_young(path: Path, opened: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Two changes within one tick of the file system's clock cannot be told apart."""
    monkeypatch.setattr(hdf5, "_SETTLED_NS", 10**12)
    write(path, 0)
    read(path)
    read(path)
    assert opened == [path, path]


def test_another_dataset_of_the_file(path: Path) -> None:
    values = write(path, 0)
    with h5py.File(path, "a") as file:
        file["more"] = values[::-1]
    assert (read(path, "data")[0] == values).all()
    assert (read(path, "more")[0] == values[::-1]).all()


def test_behind_a_link_to_another_file(path: Path, opened: list[Path]) -> None:
    """The file that was named may say something else the next time."""
    values = write(path.with_name("linked.h5"), 3)
    with h5py.File(path, "w") as file:
        file["data"] = h5py.ExternalLink("linked.h5", "data")
    for _ in range(2):
        assert (read(path)[0] == values).all()
    assert len(opened) == 4


def test_chunks_are_looked_up_anew(path: Path, opened: list[Path]) -> None:
    values = np.arange(48, dtype="u1").reshape(6, 8)
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=values, chunks=(3, 4))
    for _ in range(2):
        assert (read(path)[0] == values).all()
    assert opened == [path, path]


def test_not_more_than_so_many(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5, "_MAX_SEEN", 2)
    for i in range(4):
        write(path.with_name(f"{i}.h5"), i)
        read(path.with_name(f"{i}.h5"))
    assert [p.name for p, _ in hdf5._seen] == ["0.h5", "1.h5"]


@pytest.mark.parametrize("chunks", [None, (3, 4)])
def test_a_closed_image_keeps_nothing_of_hdf5(path: Path, chunks: tuple[int, int] | None) -> None:
    """h5py looks through all of its objects whenever a file is closed: a thousand checked images took 3 ms each."""
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=np.zeros((6, 8), "u1"), chunks=chunks)
    reader = Hdf5Reader(path, "data")
    assert reader._source is not None
    dataset = weakref.ref(reader._source.dataset)
    reader.read(WHOLE)
    reader.close()
    assert dataset() is None
    with pytest.raises(InputError, match="it was closed"):
        reader.read(WHOLE)
