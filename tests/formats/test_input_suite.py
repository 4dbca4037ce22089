"""The public suite of ``pixelforest.testing`` for images that are read: a format of each kind of file."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import tifffile
import zarr
from PIL import Image
from support.microscopy import write_czi
from support.slides import write_svs
from support.zarr_stores import describe_image

from pixelforest.engine.formats import find_input_format
from pixelforest.engine.formats.spec import InputFormat
from pixelforest.testing.formats import InputFormatSuite

IMAGE = np.random.default_rng(8).integers(0, 60_000, (5, 21, 34), dtype=np.uint16)
PLANE = (IMAGE[0] // 256).astype(np.uint8)


def format_of(extension: str) -> InputFormat:
    found = find_input_format(extension)
    assert found is not None
    return found


def write_hdf5(path: Path) -> str:
    with h5py.File(path, "w") as file:
        file.create_dataset("a/b", data=IMAGE, chunks=(2, 8, 16), compression="gzip")
    return "/a/b"


class TestHdf5(InputFormatSuite):
    chosen = format_of("h5")

    def make(self, folder: Path) -> tuple[Path, str, np.ndarray]:
        return folder / "a.h5", write_hdf5(folder / "a.h5"), IMAGE


class TestNumpy(InputFormatSuite):
    chosen = format_of("npy")

    def make(self, folder: Path) -> tuple[Path, str, np.ndarray]:
        np.save(folder / "a.npy", IMAGE)
        return folder / "a.npy", "", IMAGE


class TestTiff(InputFormatSuite):
    chosen = format_of("tiff")

    def make(self, folder: Path) -> tuple[Path, str, np.ndarray]:
        tifffile.imwrite(folder / "a.tiff", IMAGE, photometric="minisblack", metadata={"axes": "ZYX"})
        return folder / "a.tiff", "", IMAGE


class TestPng(InputFormatSuite):
    chosen = format_of("png")

    def make(self, folder: Path) -> tuple[Path, str, np.ndarray]:
        Image.fromarray(PLANE).save(folder / "a.png")
        return folder / "a.png", "", PLANE[:, :, np.newaxis]


class TestZarr(InputFormatSuite):
    chosen = format_of("zarr")

    def make(self, folder: Path) -> tuple[Path, str, np.ndarray]:
        root = folder / "a.zarr"
        group = zarr.open_group(root, mode="w", zarr_format=2)
        group.create_array("0", shape=IMAGE.shape, dtype=IMAGE.dtype, chunks=(2, 8, 16))[:] = IMAGE
        describe_image(root)
        return root, "", IMAGE


class TestSlide(InputFormatSuite):
    chosen = format_of("svs")

    def make(self, folder: Path) -> tuple[Path, str, np.ndarray]:
        return folder / "a.svs", "Macro", write_svs(folder / "a.svs")["Macro"]


class TestZippedZarr(InputFormatSuite):
    chosen = format_of("ozx")

    def make(self, folder: Path) -> tuple[Path, str, np.ndarray]:
        path = folder / "a.ozx"
        with zarr.storage.ZipStore(path, mode="w") as store:
            zarr.create_array(store, name="raw", data=IMAGE, chunks=(2, 8, 16), zarr_format=3)
        return path, "raw", IMAGE


class TestCzi(InputFormatSuite):
    chosen = format_of("czi")

    def make(self, folder: Path) -> tuple[Path, str, np.ndarray]:
        write_czi(folder / "a.czi", [({"Z": z, "S": s}, plane) for s in range(2) for z, plane in enumerate(IMAGE)])
        return folder / "a.czi", "scene1", IMAGE
