"""An npy or TIFF that was cut short while it was read ended the process with SIGBUS, once in 122 tries.

Uncompressed voxels were touched through memory maps, between a look at the file's size and the touch. Now they are read
by position, and what is not there is an error of the lane.
"""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
from support.tiff_sets import plane_name, write_ome_set

from pixelforest import cli
from pixelforest.box import Box
from pixelforest.engine.errors import InputError
from pixelforest.engine.inputs.images import open_image
from pixelforest.engine.inputs.lanes import InputOptions
from pixelforest.engine.storage.file_reads import OpenFile

VOLUME = np.random.default_rng(4).integers(0, 200, (8, 64, 64), dtype="u1")


def write_npy(folder: Path) -> Path:
    np.save(folder / "a.npy", VOLUME)
    return folder / "a.npy"


def write_fortran_npy(folder: Path) -> Path:
    np.save(folder / "a.npy", np.asfortranarray(VOLUME))
    return folder / "a.npy"


def write_npz(folder: Path) -> Path:
    np.savez(folder / "a.npz", data=VOLUME)
    return folder / "a.npz"


def write_tiff(folder: Path) -> Path:
    tifffile.imwrite(folder / "a.tif", VOLUME, photometric="minisblack", metadata={"axes": "ZYX"})
    return folder / "a.tif"


def write_paged_tiff(folder: Path) -> Path:
    with tifffile.TiffWriter(folder / "a.tif") as writer:
        for plane in VOLUME:
            writer.write(plane, contiguous=False, metadata=None)
    return folder / "a.tif"


def write_packed_tiff(folder: Path) -> Path:
    tifffile.imwrite(folder / "a.tif", VOLUME, photometric="minisblack", compression="zlib", rowsperstrip=8)
    return folder / "a.tif"


def write_h5(folder: Path, **layout: Any) -> Path:
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("data", data=VOLUME, **layout)
    return folder / "a.h5"


def write_chunked_h5(folder: Path) -> Path:
    return write_h5(folder, chunks=(4, 64, 64))


WRITERS = [
    write_npy, write_fortran_npy, write_npz, write_tiff, write_paged_tiff, write_packed_tiff, write_h5, write_chunked_h5
]  # fmt: skip
each_file = pytest.mark.parametrize("write", WRITERS, ids=[w.__name__.removeprefix("write_") for w in WRITERS])


@each_file
def test_a_file_that_is_cut_short_while_it_is_read(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    path = write(tmp_path)
    with open_image(str(path), role_index=0, training=None, options=InputOptions()) as image:
        first = Box((0,) * 5, (*(min(n, 2) for n in image.shape[:2]), 8, 8, 1))
        image.read(first)
        os.truncate(path, path.stat().st_size // 3)
        with pytest.raises(InputError, match=r"cannot read .*a\.(npy|npz|tif|h5).*(cut short|truncated)"):
            image.read(Box.whole(image.shape))


@each_file
def test_no_voxel_is_read_through_a_map(
    tmp_path: Path, write: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between any check and the touch of a mapped page the file may be cut short."""
    path = write(tmp_path)

    def refuse(*arguments: object, **more: object) -> None:
        raise AssertionError("the file is mapped")

    monkeypatch.setattr(mmap, "mmap", refuse)
    with open_image(str(path), role_index=0, training=None, options=InputOptions()) as image:
        found = image.read(Box.whole(image.shape))
    assert np.array_equal(np.squeeze(found), VOLUME)


def test_a_file_of_a_set_that_is_cut_short_or_goes(tmp_path: Path) -> None:
    write_ome_set(tmp_path, VOLUME)
    with open_image(str(tmp_path / plane_name(0)), role_index=0, training=None, options=InputOptions()) as image:
        os.truncate(tmp_path / plane_name(3), 1000)
        (tmp_path / plane_name(5)).unlink()
        assert np.array_equal(image.read(Box((0,) * 5, (1, 2, 64, 64, 1)))[0, ..., 0], VOLUME[:2])
        with pytest.raises(InputError, match="truncated"):
            image.read(Box((0, 3, 0, 0, 0), (1, 4, 64, 64, 1)))
        with pytest.raises(InputError, match=r"p05\.ome\.tif: no such file"):
            image.read(Box((0, 5, 0, 0, 0), (1, 6, 64, 64, 1)))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="finds the file by its descriptor")
def test_a_lane_whose_file_is_cut_short_fails_and_the_others_are_done(
    copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(copy_golden("px2d_gray"))
    image = np.random.default_rng(5).integers(0, 200, (90, 80), dtype="u1")
    for name in ("a", "b", "c"):
        np.save(f"{name}.npy", image)
    read = OpenFile._read_at

    def read_and_cut(file: OpenFile, start: int, memory: memoryview) -> int:
        if os.readlink(f"/proc/self/fd/{file._descriptor}").endswith("b.npy"):
            os.truncate("b.npy", 500)
        return read(file, start, memory)

    monkeypatch.setattr(OpenFile, "_read_at", read_and_cut)
    words = ["--project=project.ilp", "--output_format=numpy", "--output_filename_format=out/{nickname}"]
    assert cli.main([*words, "--report_json=r.json", "--input_axes=yx", "a.npy", "b.npy", "c.npy"]) == 3
    lanes = json.loads(Path("r.json").read_text())["lanes"]
    assert [lane["state"] for lane in lanes] == ["done", "failed", "done"]
    assert "b.npy: the file was cut short while it was read" in lanes[1]["error"]
    assert sorted(os.listdir("out")) == ["a.npy", "c.npy"]
