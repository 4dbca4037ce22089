"""Headers that promise terabytes sent ``explain`` and the run into planning millions of tiles, for minutes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from support.small_pictures import noise

from pixelforest import cli, kernels
from pixelforest.box import Box
from pixelforest.engine.errors import InputError, MemoryTooSmall
from pixelforest.engine.formats.images.tiff import open_tiff
from pixelforest.engine.resources import Resources
from pixelforest.engine.tiling import plan
from pixelforest.engine.tiling.plan import MAX_TILES, TileCost, plan_tiles

COST = TileCost(per_source=4.0, per_voxel=4.0)
RESOURCES = Resources(kernels.load("cpu"), threads=1, memory_bytes=2**33)


def test_a_strip_that_cannot_hold_what_it_promises_is_found_without_decoding(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise(40, 48), compression="lzw", metadata=None)
    with tifffile.TiffFile(path) as tiff:
        place = tiff.pages[0].tags["ImageWidth"].valueoffset
    data = bytearray(path.read_bytes())
    data[place : place + 4] = (2**31 - 1).to_bytes(4, "little")
    data[place - 6 : place - 4] = b"\x04\x00"  # a number of four bytes
    path.write_bytes(data)
    with (
        open_tiff(path) as reader,
        pytest.raises(InputError, match="of image that the header declares"),
    ):
        reader.verify()


def test_a_plan_has_a_limited_number_of_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    def count_tiles(*_: object) -> list[Box]:
        raise AssertionError("the tiles were listed")

    monkeypatch.setattr(plan, "cut_in_groups", count_tiles)
    whole = Box((0, 0, 0), (1, 10**7, 10**7))
    with pytest.raises(MemoryTooSmall, match=f"at most {MAX_TILES}; process it in parts with cutout_subregion"):
        plan_tiles(whole, whole.shape, (0, 8, 8), COST, resources=RESOURCES)


def test_a_part_of_a_huge_image_is_planned() -> None:
    image = (1, 10**7, 10**7)
    part = Box((0, 5000, 5000), (1, 6000, 6000))
    assert len(plan_tiles(part, image, (0, 8, 8), COST, resources=RESOURCES)) == 8


def test_explain_and_run_refuse_a_huge_image_and_take_a_part_of_it(
    copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(copy_golden("px2d_gray"))
    with h5py.File("huge.h5", "w") as file:
        file.create_dataset("data", (10**6, 10**6, 1), np.uint8, chunks=(64, 64, 1))
    words = ["--project=project.ilp", "--output_format=compressed hdf5", "huge.h5"]
    assert cli.main(["explain", *words]) == 1
    foretold = capsys.readouterr().err
    assert "process it in parts with --cutout_subregion" in foretold
    assert cli.main(words) == 1
    assert capsys.readouterr().err.splitlines()[-1] == foretold.splitlines()[-1]
    assert cli.main([*words, "--quiet", "--cutout_subregion=[(0,0,0),(50,60,1)]"]) == 0
