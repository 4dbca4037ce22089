"""Images that are folders (N5, OME-Zarr): how they are named on the command line, and what follows for names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pixelforest.box import Box
from pixelforest.engine.errors import InputError, InputNotFound
from pixelforest.engine.formats import output_format
from pixelforest.engine.formats.spec import ImageSpec
from pixelforest.engine.inputs.images import InputImage, open_image
from pixelforest.engine.inputs.lanes import InputOptions

SHAPE = (1, 1, 1, 1200, 900)


def put(path: Path, kind: str, array: np.ndarray, axes: str, name: str = "data") -> None:
    writer = output_format(kind).open(path, name, ImageSpec(array.shape, array.dtype, axes, (0,) * array.ndim))
    writer.write(Box.whole(array.shape), array)
    writer.finish()


def open_with(argument: str, **options) -> InputImage:
    return open_image(argument, role_index=0, training=None, options=InputOptions(**options))


@pytest.fixture
def stores(work_folder: Path) -> Path:
    """zz/z2.zarr with s0 and s1, and two N5 containers of one dataset each."""
    array = np.arange(np.prod(SHAPE), dtype=np.uint16).reshape(SHAPE)
    put(work_folder / "zz" / "z2.zarr", "multi-scale OME-Zarr", array, "tczyx")
    for i in range(2):
        put(work_folder / f"c{i}.n5", "n5", np.full((4, 5), i, np.uint8), "yx", "group/data")
    return work_folder


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("argument", "nickname", "folder", "shape"),
    [
        ("zz/z2.zarr", "z2", "zz", (1200, 900)),
        ("zz/z2.zarr/", "z2", "zz", (1200, 900)),
        ("zz/z2.zarr/s0", "s0", "zz/z2.zarr", (1200, 900)),
        ("zz/z2.zarr/s1", "s1", "zz/z2.zarr", (600, 450)),
        ("z?/*.zarr", "z2", "zz", (1200, 900)),
        ("zz/*.zarr/s1", "s1", "zz/z2.zarr", (600, 450)),
    ],
)
def test_names_of_ome_zarr(argument: str, nickname: str, folder: str, shape: tuple[int, int], stores: Path) -> None:
    with open_with(argument) as image:
        assert (image.nickname, image.dataset_dir) == (nickname, stores / folder)
        assert image.shape == (1, 1, *shape, 1)
        assert image.axes == "tczyx"
        assert image.scales is not None
        assert list(image.scales.shapes) == ["s0", "s1"]
        assert image.read(Box.whole(image.shape))[0, 0, 1, 1, 0] > 0


@pytest.mark.parametrize(
    ("argument", "nickname"), [("c0.n5", "c0"), ("c0.n5/group/data", "c0-group-data"), ("c1.n5/gr*", "c1-group-data")]
)
def test_names_of_n5(argument: str, nickname: str, stores: Path) -> None:
    with open_with(argument) as image:
        assert (image.nickname, image.dataset_dir) == (nickname, stores)
        assert (image.shape, image.axes) == ((1, 1, 4, 5, 1), "yx")
        assert image.files == (stores / f"{argument[:2]}.n5",)


@pytest.mark.parametrize("argument", ["c*.n5/group/data", "c0.n5/group/data:c1.n5/group/data"])
def test_stacks_of_n5(argument: str, stores: Path) -> None:
    with open_with(argument) as image:
        assert (image.shape, image.axes) == ((1, 2, 4, 5, 1), "zyx")
        assert image.read(Box((0, 1, 0, 0, 0), (1, 2, 4, 5, 1))).all()


def test_other_axes_know_nothing_of_levels(stores: Path) -> None:
    with open_with("zz/z2.zarr", input_axes=("ctzyx",)) as image:
        assert image.axes == "ctzyx"
        assert image.scales is None


def test_a_store_that_is_not_there(stores: Path) -> None:
    with pytest.raises(InputNotFound, match=r"no scale 's7' in .*z2\.zarr; it has: s0 \(1 x 1 x 1 x 1200 x 900\), s1"):
        open_with("zz/z2.zarr/s7")
    with pytest.raises(InputNotFound, match=r"no file matches c7\.n5"):
        open_with("c7.n5")
    with pytest.raises(InputNotFound, match=r"no dataset 'x' in .*c0\.n5; it has: group/data"):
        open_with("c0.n5/x")
    with pytest.raises(InputNotFound, match="no file matches"):
        open_with("zz/nothing")
    (stores / "plain").mkdir()
    with pytest.raises(InputError, match="it is a folder; name the image in it"):
        open_with("plain")


def test_ordinary_files_in_a_store_are_ordinary_files(stores: Path) -> None:
    np.save(stores / "zz" / "z2.zarr" / "g.npy", np.ones((4, 5), np.uint8))
    with open_with("zz/z2.zarr/g.npy") as image:
        assert image.shape == (1, 1, 4, 5, 1)
