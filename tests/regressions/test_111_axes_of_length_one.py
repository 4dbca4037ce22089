"""A yx file for a project trained on yxc was refused, as was a stack of gray pictures, zyxc, for one trained on zyx."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from PIL import Image

from pixelforest import cli
from pixelforest.box import Box
from pixelforest.engine.axes import axistags_json
from pixelforest.engine.errors import InputMismatch
from pixelforest.engine.inputs.images import open_image
from pixelforest.engine.inputs.lanes import InputOptions
from pixelforest.engine.project.lanes import TrainingImage

RNG = np.random.default_rng(111)


def trained(axes: str, *shape: int) -> TrainingImage:
    return TrainingImage(
        axes=axes,
        shape=shape or None,
        nickname="t",
        file_path="t",
        location="",
        drange=None,
        display_mode="",
        axis_units={},
    )


def save(axes: str, shape: tuple[int, ...], *, is_stated: bool) -> str:
    with h5py.File("a.h5", "w") as file:
        file["data"] = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
        if is_stated:
            file["data"].attrs["axistags"] = axistags_json(axes)
    return "a.h5/data"


def run(*words: str) -> int:
    return cli.main(["--headless", "--project=project.ilp", "--output_format=numpy", *words])


@pytest.fixture
def enter(copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    return lambda project: monkeypatch.chdir(copy_golden(project))


@pytest.mark.parametrize(
    ("training", "axes", "shape", "expected"),
    [
        ("yxc", "yx", (5, 6), "yx"),
        ("yx", "yxc", (5, 6, 1), "yxc"),
        ("zyx", "zyxc", (7, 5, 6, 1), "zyxc"),
        ("zyxc", "zyx", (7, 5, 6), "zyx"),
        ("yxc", "zyxc", (1, 5, 6, 3), "zyxc"),
        ("yx", "tzyxc", (1, 1, 5, 6, 1), "tzyxc"),
        ("tzyxc", "yx", (5, 6), "yx"),
        ("tzyxc", "zyxc", (7, 5, 6, 3), "zyxc"),
    ],
)
@pytest.mark.parametrize("is_stated", [True, False], ids=["stated", "silent"])
def test_axes_of_length_one_are_left_out_or_added(
    work_folder: Path,
    caplog: pytest.LogCaptureFixture,
    training: str,
    axes: str,
    shape: tuple[int, ...],
    expected: str,
    is_stated: bool,
) -> None:
    caplog.set_level(logging.INFO, "pixelforest.inputs")
    argument = save(axes, shape, is_stated=is_stated)
    with open_image(argument, role_index=0, training=trained(training), options=InputOptions()) as image:
        assert image.axes == expected
        sizes = dict(zip("tzyxc", image.shape, strict=True))
        assert tuple(sizes[a] for a in axes) == shape
        assert image.read(Box.whole(image.shape)).ravel().tolist() == list(range(int(np.prod(shape))))
    lines = [m for m in caplog.messages if "axes of length 1 make no difference" in m]
    assert lines == [
        f"{argument} is read as {expected}; the training image has the axes {training}, and axes of length 1 make no "
        "difference"
    ]


@pytest.mark.parametrize(
    ("training", "shape", "expected"),
    [
        ("xyc", (5, 6), "xy"),  # the order of the training image, without its c
        ("tyxc", (7, 5, 6), "tyx"),  # what would be guessed to be z is the t of the training image
        ("xy", (1, 5, 6), "zxy"),
    ],
)
def test_a_silent_file_gets_the_letters_of_the_project(
    work_folder: Path, training: str, shape: tuple[int, ...], expected: str
) -> None:
    argument = save("", shape, is_stated=False)
    with open_image(argument, role_index=0, training=trained(training), options=InputOptions()) as image:
        assert image.axes == expected


@pytest.mark.parametrize(
    ("training", "axes", "shape"),
    [
        ("yx", "tyx", (7, 5, 6)),
        ("yxc", "zyxc", (7, 5, 6, 3)),
        ("zyx", "zyxc", (7, 5, 6, 2)),
        ("yxc", "tzyxc", (1, 7, 5, 6, 1)),
    ],
)
@pytest.mark.parametrize("is_stated", [True, False], ids=["stated", "silent"])
def test_other_lengths_must_match(
    work_folder: Path, training: str, axes: str, shape: tuple[int, ...], is_stated: bool
) -> None:
    argument = save(axes, shape, is_stated=is_stated)
    with pytest.raises(InputMismatch, match="does not match the data shape"):
        open_image(argument, role_index=0, training=trained(training), options=InputOptions())


def test_nothing_is_said_where_the_axes_agree(work_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "pixelforest.inputs")
    argument = save("yxc", (5, 6, 1), is_stated=True)
    open_image(argument, role_index=0, training=trained("yxc"), options=InputOptions()).close()
    assert not caplog.messages


@pytest.mark.parametrize("along", ["z", "t"])
def test_a_stack_of_gray_pictures(work_folder: Path, along: str) -> None:
    planes = RNG.integers(0, 255, (4, 5, 6), np.uint8)
    for number, plane in enumerate(planes):
        Image.fromarray(plane).save(f"p_{number}.png")
    options = InputOptions(stack_along=along)
    for training in (f"{along}yx", f"{along}yxc", "zyx"):
        with open_image("p_*.png", role_index=0, training=trained(training), options=options) as image:
            # The first letter is that of the training image: no file states it.
            assert image.axes == f"{training[0]}yxc"
            np.testing.assert_array_equal(np.squeeze(image.read(Box.whole(image.shape))), planes)


def test_yx_for_yxc_has_the_same_numbers(enter: Callable[[str], None]) -> None:
    enter("px2d_gray")
    pixels = np.asarray(Image.open("raw.png"))
    tifffile.imwrite("flat.tif", pixels, metadata={"axes": "YX"})
    np.save("silent.npy", pixels)
    for name in ("raw.png", "flat.tif", "silent.npy"):
        assert run(f"--output_filename_format={Path(name).stem}.out.npy", name) == 0
    expected = np.load("raw.out.npy")
    for name in ("flat", "silent"):
        np.testing.assert_array_equal(np.load(f"{name}.out.npy"), expected)


def test_gray_pictures_for_zyx_have_the_same_numbers(enter: Callable[[str], None]) -> None:
    enter("px3d")
    with h5py.File("raw.h5") as file:
        volume = file[next(iter(file))][:16]
    for number, plane in enumerate(volume):
        Image.fromarray(plane).save(f"p_{number:02}.png")
    with h5py.File("part.h5", "w") as file:
        file["data"] = volume
        file["data"].attrs["axistags"] = axistags_json("zyx")
    assert run("--output_filename_format=part.npy", "part.h5/data") == 0
    assert run("--output_filename_format=stack.npy", "p_*.png") == 0
    np.testing.assert_array_equal(np.load("stack.npy"), np.load("part.npy"))


def test_a_flat_segmentation_for_one_trained_with_channels(enter: Callable[[str], None]) -> None:
    enter("obj2d_seg")
    for name in ("raw", "seg"):
        tifffile.imwrite(f"{name}.tif", np.asarray(Image.open(f"{name}.png")), metadata={"axes": "YX"})
    for end in ("png", "tif"):
        argv = [f"--table_filename={end}.csv", f"--raw_data=raw.{end}", f"--segmentation_image=seg.{end}"]
        assert cli.main(["--project=project.ilp", *argv]) == 0
    assert Path("png.csv").read_bytes() == Path("tif.csv").read_bytes()
