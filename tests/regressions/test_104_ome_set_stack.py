"""A pattern over the N files of one multi-file OME-TIFF gave N times N slices, and N inputs the same result N times.

Each file is read as the complete set. Light-sheet microscopes write such a file for each plane, and people stack them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from support.tiff_sets import plane_name, write_ome_set

from pixelforest import cli
from pixelforest.box import Box
from pixelforest.engine.errors import InputMismatch
from pixelforest.engine.inputs.images import InputImage, open_image
from pixelforest.engine.inputs.lanes import InputOptions

VOLUME = np.random.default_rng(6).integers(1, 200, (16, 20, 22), dtype="u1")


def open_argument(argument: str, **options: object) -> InputImage:
    return open_image(argument, role_index=0, training=None, options=InputOptions(**options))


def voxels(image: InputImage) -> np.ndarray:
    return np.squeeze(image.read(Box.whole(image.shape)))


@pytest.mark.parametrize("along", ["z", "t", "c"])
def test_a_pattern_over_a_set_reads_each_file_once(
    work_folder: Path, along: str, caplog: pytest.LogCaptureFixture
) -> None:
    write_ome_set(work_folder / "set", VOLUME)
    with open_argument("set/p*.ome.tif", stack_along=along) as image:
        assert np.array_equal(voxels(image), VOLUME)
        assert image.nickname == "p"
        assert len(image.files) == len(image.set_files) == 16
    assert "set/p*.ome.tif: its 16 files are parts of one image, so that each part is read once and not the whole" in (
        caplog.text
    )


def test_a_pattern_over_two_sets_stacks_two_images(work_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_ome_set(work_folder / "a", VOLUME[:3])
    write_ome_set(work_folder / "b", VOLUME[3:6])
    with open_argument("a/p*.ome.tif:b/p*.ome.tif") as image:
        assert np.array_equal(voxels(image), VOLUME[:6])
        assert len(image.files) == 6
    assert "its 6 files are parts of 2 images, which are stacked" in caplog.text


def test_a_pattern_over_a_part_of_a_set(work_folder: Path) -> None:
    write_ome_set(work_folder / "set", VOLUME)
    with open_argument("set/p0[2-4].ome.tif") as image:
        assert np.array_equal(voxels(image), VOLUME)


def test_a_set_behind_other_files_of_a_stack(work_folder: Path) -> None:
    write_ome_set(work_folder, VOLUME[:2])
    tifffile.imwrite("a.tif", VOLUME[:2], photometric="minisblack", metadata={"axes": "ZYX"})
    with pytest.raises(InputMismatch, match=r"p00\.ome\.tif: it is a part of an image of 2 files, and .*p01\.ome\.tif"):
        open_argument("*.tif")


def test_a_pattern_over_plain_files_opens_none_once_more(work_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for z, plane in enumerate(VOLUME):
        tifffile.imwrite(f"s{z:02d}.tif", plane)
    opened: list[str] = []
    open_file = tifffile.TiffFile.__init__

    def count(self: tifffile.TiffFile, file: Path, **more: object) -> None:
        opened.append(str(file))
        open_file(self, file, **more)

    monkeypatch.setattr(tifffile.TiffFile, "__init__", count)
    with open_argument("s*.tif") as image:
        assert np.array_equal(voxels(image), VOLUME)
    assert len([name for name in opened if name.endswith("s05.tif")]) == 2  # to be checked, and to be read
    assert len(opened) == 2 * 16 + 1  # and the first one to find out whether it is a set


def test_an_image_of_several_files_is_said(work_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_ome_set(work_folder, VOLUME)
    with caplog.at_level("INFO"), open_argument("p03.ome.tif"):
        pass
    assert "p03.ome.tif: it is read from 16 files: p00.ome.tif, p01.ome.tif, p02.ome.tif, …" in caplog.messages


# --------------------------------------------------------------------------------------------------------- whole runs


@pytest.fixture
def run(copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Classifies in the folder of a 3-d project, which is the current one."""
    monkeypatch.chdir(copy_golden("px3d"))
    words = ["--project=project.ilp", "--output_format=numpy", "--report_json=r.json"]
    return lambda out, *more: cli.main([*words, f"--output_filename_format={out}", *more])


def lanes() -> list[dict]:
    return json.loads(Path("r.json").read_text())["lanes"]


def test_files_of_one_set_as_separate_inputs(run: Callable[..., int]) -> None:
    write_ome_set(Path("set"), VOLUME)
    assert run("out/{nickname}.npy", "set/p00.ome.tif", "set/p01.ome.tif") == 0
    first, second = (lane["warnings"] for lane in lanes())
    assert not first
    assert len(second) == 1
    assert "set/p01.ome.tif is a part of the same image of several files as set/p00.ome.tif (input 1)" in second[0]
    assert run("pattern.npy", "set/p*.ome.tif") == 0
    assert len(lanes()[0]["warnings"]) == 1
    assert np.array_equal(np.load("pattern.npy"), np.load("out/p00.ome.npy"))


def test_no_result_replaces_a_file_of_the_set(run: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    write_ome_set(Path("set"), VOLUME)
    Path("set", plane_name(7)).rename("set/p07.npy")
    text = Path("set/p00.ome.tif").read_bytes().replace(b"p07.ome.tif", b"p07.npy    ")
    Path("set/p00.ome.tif").write_bytes(text.replace(b'"p07.npy    "', b'"p07.npy"    '))
    assert run("set/p07.npy", "set/p00.ome.tif") == 1
    assert "p07.npy" in capsys.readouterr().err
    assert tifffile.imread("set/p07.npy").shape == VOLUME.shape
