"""An image that was opened before is opened again without HDF5, unless the file is another by now."""

from __future__ import annotations

import os
import pickle
import weakref
from collections.abc import Callable
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
from pixelforest.engine.inputs import images
from pixelforest.engine.inputs.images import ImageRef, InputImage, open_image
from pixelforest.engine.inputs.lanes import InputOptions


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(hdf5, "_SETTLED_NS", 0)
    return tmp_path / "image.h5"


def write(path: Path, first: int, name: str = "data", dtype: str = "u1") -> np.ndarray:
    """Write an image; its voxels in canonical axes."""
    values = np.arange(first, first + 48, dtype=dtype).reshape(6, 8)
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset(name, data=values)
        dataset.attrs["axistags"] = axistags_json("xy", {})
        dataset.attrs["drange"] = (0.0, 90.0)
    return values.T[np.newaxis, np.newaxis, :, :, np.newaxis]


def look_at(argument: object) -> ImageRef:
    """Open an image as a check does; what is left of it."""
    with open_image(str(argument), role_index=0, training=None, options=InputOptions()) as image:
        image.verify()
    return image.ref


def voxels_of(image: InputImage) -> np.ndarray:
    with image:
        return image.read(Box.whole(image.shape))


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that HDF5 was asked to open."""
    found: list[Path] = []
    original = hdf5_datasets.open_file
    monkeypatch.setattr(hdf5_datasets, "open_file", lambda path: found.append(path) or original(path))
    return found


@pytest.mark.parametrize("internal", ["data", "", "/data"])
@pytest.mark.parametrize(
    "hand_over", [lambda ref: ref, lambda ref: pickle.loads(pickle.dumps(ref))], ids=["", "pickled"]
)
def test_the_same_without_hdf5(
    path: Path, opened: list[Path], internal: str, hand_over: Callable[[ImageRef], ImageRef]
) -> None:
    values = write(path, 0)
    with open_image(f"{path}/{internal}", role_index=0, training=None, options=InputOptions()) as first:
        assert (voxels_of(first) == values).all()
    again = hand_over(first.ref).reopen()
    assert (again.drange, again.axes, again.nickname, again.shape) == (
        first.drange,
        first.axes,
        first.nickname,
        first.shape,
    )
    assert (voxels_of(again) == values).all()
    assert again.dtype == values.dtype
    assert (voxels_of(again.ref.reopen()) == values).all(), "a third time"
    assert opened == [path]


def test_every_file_of_a_stack_once(path: Path, opened: list[Path]) -> None:
    slices = [write(path.with_name(f"s_{i}.h5"), i) for i in range(3)]
    image = look_at(path.with_name("s_*.h5")).reopen()
    assert (voxels_of(image) == np.concatenate(slices, axis=1)).all()
    assert sorted(opened) == [path.with_name(f"s_{i}.h5") for i in range(3)]


def test_a_file_that_was_written_anew(path: Path, opened: list[Path]) -> None:
    write(path, 0)
    ref = look_at(path)
    values = write(path, 100)
    os.utime(path, ns=(1, 1))  # whatever its clock said
    assert (voxels_of(ref.reopen()) == values).all()
    assert opened == [path, path]


def test_a_file_that_was_replaced(path: Path) -> None:
    write(path, 0)
    ref = look_at(path)
    values = write(path.with_name("other.h5"), 7, dtype="<i2")
    path.with_name("other.h5").replace(path)
    assert (voxels_of(ref.reopen()) == values).all()


def test_opened_by_name_nothing_is_known(path: Path, opened: list[Path]) -> None:
    write(path, 0)
    look_at(path)
    look_at(path)
    assert opened == [path, path]


def test_a_file_that_is_gone(path: Path) -> None:
    write(path, 0)
    known = Hdf5Reader(path, "data").known
    path.unlink()
    assert Hdf5Reader.reopen(known) is None
    with pytest.raises(InputNotFound, match="there is no file"):
        Hdf5Reader(path, "data")


def test_a_file_that_was_cut_short(path: Path) -> None:
    write(path, 0)
    ref = look_at(path)
    os.truncate(path, path.stat().st_size - 100)
    with pytest.raises(InputError, match="damaged"):
        ref.reopen()


def test_a_file_that_changes_while_it_is_young(path: Path, opened: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Two changes within one tick of the file system's clock cannot be told apart."""
    monkeypatch.setattr(hdf5, "_SETTLED_NS", 10**12)
    write(path, 0)
    look_at(path).reopen().close()
    assert opened == [path, path]


def test_another_dataset_of_the_file(path: Path) -> None:
    values = write(path, 0)
    with h5py.File(path, "a") as file:
        file["more"] = np.arange(48, 96, dtype="u1").reshape(6, 8)
    refs = [look_at(f"{path}/data"), look_at(f"{path}/more")]
    first, second = (voxels_of(ref.reopen()) for ref in refs)
    assert (first == values).all()
    assert second.min() == 48


def test_behind_a_link_to_another_file(path: Path, opened: list[Path]) -> None:
    """The file that was named may say something else the next time."""
    values = write(path.with_name("linked.h5"), 3)
    with h5py.File(path, "w") as file:
        file["data"] = h5py.ExternalLink("linked.h5", "data")
    ref = look_at(f"{path}/data")
    count = len(opened)
    assert (voxels_of(ref.reopen()) == values).all()
    assert len(opened) == 2 * count


def test_chunks_are_looked_up_anew(path: Path, opened: list[Path]) -> None:
    values = np.arange(48, dtype="u1").reshape(6, 8)
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=values, chunks=(3, 4))
    assert (voxels_of(look_at(path).reopen()).squeeze() == values).all()
    assert opened == [path, path]


def test_of_a_stack_no_more_files_are_known_than_the_limit(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_KNOWN", 2)
    for i in range(4):
        write(path.with_name(f"s_{i}.h5"), i)
    ref = look_at(path.with_name("s_*.h5"))
    assert [source.file.name for source in ref.known] == ["s_0.h5", "s_1.h5"]


@pytest.mark.parametrize("chunks", [None, (3, 4)])
def test_a_closed_image_keeps_nothing_of_hdf5(path: Path, chunks: tuple[int, int] | None) -> None:
    """h5py looks through all of its objects whenever a file is closed: a thousand checked images took 3 ms each."""
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=np.zeros((6, 8), "u1"), chunks=chunks)
    reader = Hdf5Reader(path, "data")
    assert reader._source is not None
    dataset = weakref.ref(reader._source.dataset)
    reader.read(Box((0, 0), (6, 8)))
    reader.close()
    assert dataset() is None
    with pytest.raises(InputError, match="it was closed"):
        reader.read(Box((0, 0), (6, 8)))
