"""Headers read without HDF5: they say what HDF5 says, or nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.golden import GOLDEN

from pixelforest.engine.errors import ProjectError
from pixelforest.engine.project import open_project
from pixelforest.engine.project.hdf5 import ProjectFile
from pixelforest.engine.project.object_header import HEADER_BYTES, PlainArray, read_header

PROJECTS = sorted(GOLDEN.glob("*/project.ilp"))


def header_of(dataset: h5py.Dataset) -> bytes:
    if dataset.file.mode == "r+":
        dataset.file.flush()
    parent = dataset.parent
    info = parent.id.links.get_info(dataset.name.rpartition("/")[2].encode())
    with open(dataset.file.filename, "rb") as stream:
        stream.seek(dataset.file.userblock_size + info.u)
        return stream.read(HEADER_BYTES)


@pytest.mark.parametrize("path", PROJECTS, ids=lambda path: path.parent.name)
def test_of_every_dataset_of_a_project_it_says_what_hdf5_says_or_nothing(path: Path) -> None:
    with h5py.File(path, "r", locking=False) as file:
        datasets: list[h5py.Dataset] = []
        file.visititems(lambda name, item: datasets.append(item) if isinstance(item, h5py.Dataset) else None)
        known = 0
        for dataset in datasets:
            found = read_header(header_of(dataset))
            if found is not None:
                assert found == PlainArray(dataset.shape, dataset.dtype, dataset.id.get_offset())
                assert not len(dataset.attrs)
                known += 1
        trees = [d for d in datasets if d.name.endswith(("/topology", "/parameters"))]
        assert known >= len(trees) > 0


REFUSED: dict[str, Callable[[h5py.File], h5py.Dataset]] = {
    "an attribute": lambda f: with_attribute(f.create_dataset("a", data=np.arange(5))),
    "a mark of emptiness": lambda f: with_attribute(f.create_dataset("a", data=np.arange(5)), "isEmpty"),
    "chunks": lambda f: f.create_dataset("a", data=np.arange(5), chunks=(5,)),
    "compression": lambda f: f.create_dataset("a", data=np.arange(5), compression="gzip"),
    "never written": lambda f: f.create_dataset("a", (5,), "i4"),
    "no element": lambda f: f.create_dataset("a", data=np.zeros(0, "i4")),
    "no extent": lambda f: f.create_dataset("a", data=h5py.Empty("i4")),
    "the other byte order": lambda f: f.create_dataset("a", data=np.arange(5, dtype=">i4")),
    "a text": lambda f: f.create_dataset("a", data="text"),
    "an enumeration": lambda f: f.create_dataset("a", data=np.ones(5, bool)),
    "a stored type": lambda f: with_named_type(f),
    "another file": lambda f: f.create_dataset("a", data=np.arange(5), external=[("outside", 0, 40)]),
    "compact": lambda f: compact(f),
    "a group": lambda f: f.create_group("a"),
}


def with_attribute(dataset: h5py.Dataset, name: str = "axistags") -> h5py.Dataset:
    dataset.attrs[name] = True
    return dataset


def with_named_type(file: h5py.File) -> h5py.Dataset:
    file["type"] = np.dtype("<i4")
    return file.create_dataset("a", data=np.arange(5), dtype=file["type"])


def compact(file: h5py.File) -> h5py.Dataset:
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_layout(h5py.h5d.COMPACT)
    h5py.h5d.create(file.id, b"a", h5py.h5t.STD_I32LE, h5py.h5s.create_simple((5,)), creation)
    return file["a"]


@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED)
def test_what_is_more_than_an_array_is_left_to_hdf5(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable
) -> None:
    monkeypatch.chdir(tmp_path)
    with h5py.File(tmp_path / "file.h5", "w") as file:
        assert read_header(header_of(make(file))) is None


@pytest.mark.parametrize("version", ["earliest", "latest"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (1, 2, 1, 3), (1, 1, 1, 1, 2)])
@pytest.mark.parametrize("dtype", ["<i4", "<u4", "<i8", "<f8", "<f4"])
def test_arrays_are_the_same_with_and_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, shape: tuple[int, ...], dtype: str
) -> None:
    values = np.arange(1, 1 + np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    with h5py.File(tmp_path / "file.h5", "w", libver=version, userblock_size=512) as file:
        file["group/values"] = values
        header = header_of(file["group/values"])
        is_known = version == "earliest" and len(shape) <= 4 and dtype != "<f4"
        assert (read_header(header) is not None) == is_known
    with open_project(tmp_path / "file.h5") as project:
        assert project.has_group("group")
        assert (project._plain_dataset("group/values") is not None) == is_known
        found = project.array("group/values", "numbers")
        monkeypatch.setattr(ProjectFile, "_plain_dataset", lambda self, path: None)
        expected = project.array("group/values", "numbers")
    assert found is not None
    assert expected is not None
    assert np.array_equal(found, values)
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype) == (shape, np.dtype(dtype))


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("header") / "file.h5"
    with h5py.File(path, "w") as file:
        file["values"] = np.arange(6).reshape(2, 3)
        return header_of(file["values"])


@given(st.data())
def test_any_bytes_are_a_header_or_none(sample: bytes, data: st.DataObject) -> None:
    raw = bytearray(sample[: data.draw(st.integers(0, len(sample)), "length")])
    for _ in range(data.draw(st.integers(0, 4), "changes")):
        if raw:
            raw[data.draw(st.integers(0, min(len(raw), 130) - 1))] = data.draw(st.integers(0, 255))
    found = read_header(bytes(raw))
    assert found is None or 0 < np.prod(found.shape, dtype=object) * found.dtype.itemsize < 1 << 64


@pytest.mark.parametrize("beyond", [1, 1 << 20, 1 << 62])
def test_an_array_beyond_the_file_is_refused(tmp_path: Path, beyond: int) -> None:
    path = tmp_path / "file.h5"
    with h5py.File(path, "w") as file:
        file["group/values"] = values = np.arange(6)
        header, start = header_of(file["group/values"]), file["group/values"].id.get_offset()
    content = path.read_bytes()
    last = len(content) - values.nbytes
    for place, is_good in ((last, True), (last + beyond, False)):
        moved = header.replace(start.to_bytes(8, "little"), place.to_bytes(8, "little"), 1)
        path.write_bytes(content.replace(header, moved, 1))
        with open_project(path) as project:
            assert project.has_group("group")
            if is_good:
                assert project.array("group/values", "integers") is not None
            else:
                with pytest.raises(ProjectError, match=r"group/values: cannot be read"):
                    project.array("group/values", "integers")
