"""Advice in messages transposed images, led to the next error, or named axes where the alpha channel was wrong.

Every test does what a message tells to do, and looks whether that works.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from PIL import Image

from pixelforest import cli
from pixelforest.engine.axes import axistags_json

RNG = np.random.default_rng(8)


@dataclass(frozen=True)
class Desk:
    """A folder with a project, and what command lines say there."""

    capsys: pytest.CaptureFixture[str]

    def run(self, *words: str, is_dry: bool = True) -> tuple[int, str]:
        """Status of a run, and what it says on stderr."""
        self.capsys.readouterr()
        dry = ["--dry_run"] if is_dry else []
        argv = ["--headless", "--project=project.ilp", "--output_format=numpy", *dry, *words]
        if not any(word.startswith("--output_filename") for word in words):
            argv.append("--output_filename_format=out/{nickname}.npy")
        status = cli.main(argv)
        return status, self.capsys.readouterr().err

    def advice(self, *words: str) -> str:
        """Output of a run that fails."""
        status, said = self.run(*words)
        assert status in (1, 2), said
        return said

    def follow(self, pattern: str, *words: str) -> str:
        """Run, take the advised option out of the message, and run with it; returns the option."""
        said = self.advice(*words)
        found = re.search(pattern, said)
        assert found is not None, said
        status, said = self.run(*words, found[0])
        assert status == 0, (found[0], said)
        return found[0]


@pytest.fixture
def desk(
    copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str], Desk]:
    def open_desk(project: str) -> Desk:
        monkeypatch.chdir(copy_golden(project))
        return Desk(capsys)

    return open_desk


def picture(name: str, *shape: int) -> np.ndarray:
    pixels = RNG.integers(0, 255, shape, np.uint8)
    Image.fromarray(pixels).save(name)
    return pixels


def write_hdf5(name: str, axes: str, *shape: int) -> str:
    with h5py.File(name, "w") as file:
        file["data"] = RNG.integers(0, 255, shape, np.uint8)
        if axes:
            file["data"].attrs["axistags"] = axistags_json(axes)
    return f"{name}/data"


# --------------------------------------------------------------------------------------------------------------- axes


def test_pictures_stacked_along_channels_need_no_advice(desk: Callable[[str], Desk]) -> None:
    here = desk("px2d_rgb")
    planes = [picture(f"c{i}.png", 40, 50) for i in range(3)]
    with h5py.File("whole.h5", "w") as file:
        file["data"] = np.stack(planes, axis=-1)
        file["data"].attrs["axistags"] = axistags_json("yxc")
    status, said = here.run("--stack_along=c", "c*.png", "--output_filename_format=stack.npy", is_dry=False)
    assert (status, said.count("WARNING")) == (0, 0)
    assert here.run("whole.h5/data", "--output_filename_format=whole.npy", is_dry=False)[0] == 0
    np.testing.assert_array_equal(np.load("stack.npy").swapaxes(0, 1), np.load("whole.npy"))
    # What used to be advised, now with a warning whose own advice is right.
    status, said = here.run("--stack_along=c", "--input_axes=yxc", "c*.png")
    advised = re.search(r"\((--input_axes=\w+) would keep them\)", said)
    assert (status, advised is not None) == (0, True), said
    assert advised is not None
    assert here.run("--stack_along=c", advised[1], "c*.png", "--output_filename_format=again.npy", is_dry=False) == (
        0,
        "",
    )
    np.testing.assert_array_equal(np.load("again.npy"), np.load("stack.npy"))


@pytest.mark.sampled(1)
@pytest.mark.parametrize("options", [[], ["--ignore_training_axistags"]], ids=["plain", "own axes"])
def test_quotes_around_a_pattern_of_flat_images(desk: Callable[[str], Desk], options: list[str]) -> None:
    here = desk("px2d_gray")
    for name in "abc":
        picture(f"s_{name}.png", 90, 80)
    said = here.advice(*options, "s_*.png")
    assert "give them as separate arguments (a pattern without quotes)" in said
    assert "--ignore" not in said
    assert "--input_axes" not in said
    assert here.run(*options, *map(str, sorted(Path().glob("s_*.png"))))[0] == 0


def test_planes_of_colors_in_files_of_their_own(desk: Callable[[str], Desk]) -> None:
    here = desk("px2d_rgb")
    for name in "abc":
        picture(f"s_{name}.png", 90, 80)
    assert here.follow(r"--stack_along=c", "s_*.png") == "--stack_along=c"


@pytest.mark.sampled(1)
@pytest.mark.parametrize("options", [["--stack_along=c"], ["--stack_along=t", "--ignore_training_axistags"]])
def test_planes_of_a_volume_along_another_axis(desk: Callable[[str], Desk], options: list[str]) -> None:
    here = desk("px3d")
    for number in range(16):
        picture(f"s_{number:02}.png", 30, 40)
    assert here.follow(r"--stack_along=z", *options, "s_*.png") == "--stack_along=z"


def test_volumes_are_not_advised_to_be_flat_one_by_one(desk: Callable[[str], Desk]) -> None:
    here = desk("px2d_gray")
    for name in "ab":
        np.save(f"s_{name}.npy", RNG.integers(0, 255, (20, 80, 90), np.uint8))
    assert "one by one" not in here.advice("s_*.npy", "--input_axes=zyx")


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    ("project", "axes", "shape", "pattern", "expected"),
    [
        ("px2d_rgb", "", (3, 90, 80), r"--input_axes=[\w,]+", "--input_axes=cyx"),
        ("px2d_rgb", "zyx", (3, 90, 80), r"--input_axes=[\w,]+", "--input_axes=cyx"),
        ("px2d_gray16_partial", "tyx", (5, 110, 130), "--ignore_training_axistags", "--ignore_training_axistags"),
        ("px3d", "tyx", (40, 48, 56), r"--input_axes=[\w,]+", "--input_axes=zyx"),
        ("px2dt", "zyxc", (4, 72, 88, 1), r"--input_axes=[\w,]+", "--input_axes=tyxc"),
    ],
)
def test_axes_that_are_advised(
    desk: Callable[[str], Desk], project: str, axes: str, shape: tuple[int, ...], pattern: str, expected: str
) -> None:
    here = desk(project)
    assert here.follow(pattern, write_hdf5("a.h5", axes, *shape)) == expected


def test_axes_are_advised_for_one_role_of_several(desk: Callable[[str], Desk]) -> None:
    """Without commas the option would hold for every role."""
    here = desk("px2d_rgb")
    image, mask = write_hdf5("a.h5", "", 3, 90, 80), write_hdf5("m.h5", "yx", 90, 80)
    inputs = ["--raw_data", image, "--prediction_mask", mask]
    assert here.follow(r"--input_axes=[\w,]+", *inputs) == "--input_axes=cyx,None"


def test_no_axes_are_advised_where_none_help(desk: Callable[[str], Desk]) -> None:
    here = desk("px2d_gray")
    for shape in ((20, 80, 90), (20, 80, 90, 2)):
        assert "--input_axes" not in here.advice(write_hdf5("a.h5", "zyxc"[: len(shape)], *shape))


# ----------------------------------------------------------------------------------------------------------- channels


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("project", "mode", "advised", "saved_as"),
    [
        ("px2d_rgb", "RGBA", "save the image without it, as RGB", "RGB"),
        ("px2d_gray", "LA", "save the image without it, as gray", "L"),
        ("px2d_gray", "RGB", "save the image as gray", "L"),
        ("px2d_gray", "RGBA", "save the image as gray", "L"),
        ("px2d_gray", "P", "save the image as gray, without colors or a color palette", "L"),
        ("px2d_rgb", "L", "save the image as RGB", "RGB"),
    ],
)
def test_advice_about_channels_can_be_followed(
    desk: Callable[[str], Desk], project: str, mode: str, advised: str, saved_as: str
) -> None:
    here = desk(project)
    colors = Image.fromarray(RNG.integers(0, 255, (90, 80, 4), np.uint8))
    (colors if mode == "RGBA" else colors.convert("RGB").convert(mode)).save("a.png")
    said = here.advice("a.png")
    assert advised in said
    assert "--input_axes" not in said
    Image.open("a.png").convert("RGB").convert(saved_as).save("b.png")
    assert here.run("b.png")[0] == 0


def test_a_segmentation_in_colors(desk: Callable[[str], Desk]) -> None:
    here = desk("obj2d_seg")
    Image.open("seg.png").convert("RGB").save("colors.png")
    inputs = ["--table_filename=t.csv", "--raw_data", "raw.png", "--segmentation_image"]
    assert "save the image as gray" in here.advice(*inputs, "colors.png")
    Image.open("colors.png").convert("L").save("gray.png")
    assert here.run(*inputs, "gray.png")[0] == 0


# -------------------------------------------------------------------------------------------------------------- paths


def test_the_same_file_twice(desk: Callable[[str], Desk]) -> None:
    here = desk("px2d_gray")
    Path("link.png").symlink_to("raw.png")
    Path("sub").mkdir()
    Path("sub/raw.png").symlink_to("../raw.png")
    for second in ("./raw.png", str(Path("raw.png").absolute()), "sub/raw.png"):
        said = here.advice("raw.png", second)
        assert f"both are {Path('raw.png').absolute()}; leave one of them out" in said
        assert "{nickname}" not in said
    assert here.run("raw.png")[0] == 0


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    ("files", "template", "corrected"),
    [
        (["a.png", "b.png"], "out/x.npy", r"use \{nickname\} in --output_filename_format"),
        (["1/a.png", "2/a.png"], "out/{nickname}.npy", r"use \{dataset_dir\} in --output_filename_format"),
        (["1/a.png", "2/b.png"], "out/x.npy", r"use \{nickname\} and \{dataset_dir\} in --output_filename_format"),
    ],
)
def test_placeholders_that_are_advised(
    desk: Callable[[str], Desk], files: Sequence[str], template: str, corrected: str
) -> None:
    here = desk("px2d_gray")
    for file in files:
        Path(file).parent.mkdir(exist_ok=True)
        picture(file, 90, 80)
    said = here.advice(*files, f"--output_filename_format={template}")
    assert re.search(corrected, said)
    fields = re.findall(r"\{(?:nickname|dataset_dir)\}", said.partition("; ")[2])
    for field in fields:
        better = f"{field}/{template}" if field == "{dataset_dir}" else f"{field}_x.npy"
        assert here.run(*files, f"--output_filename_format={better}")[0] == 0


def test_inputs_that_no_placeholder_tells_apart(desk: Callable[[str], Desk]) -> None:
    here = desk("px2d_gray")
    np.save("raw.npy", RNG.integers(0, 255, (90, 80, 1), np.uint8))
    said = here.advice("raw.png", "raw.npy")
    assert "they have the same name in the same folder: run pixelforest once for each" in said
    for name, place in (("raw.png", "1"), ("raw.npy", "2")):
        assert here.run(name, f"--output_filename_format={place}/{{nickname}}.npy")[0] == 0


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    ("output_format", "template"),
    [
        ("png sequence", "out/{nickname}.png"),
        ("png", "out/x_{slice_index}.png"),
        ("png", "{slice_index}.png"),
        ("tiff", "out/x-{slice_index:03d}.tiff"),
        ("tiff", "out/{slice_index}_of.tiff"),
    ],
)
def test_corrected_templates(desk: Callable[[str], Desk], output_format: str, template: str) -> None:
    here = desk("px3d" if "sequence" in output_format else "px2d_gray")
    name = "raw.h5" if Path("raw.h5").exists() else "raw.png"
    words = [f"--output_format={output_format}", "--export_source=Simple Segmentation", name]
    said = here.advice(*words, f"--output_filename_format={template}")
    advised = re.search(r"use (--output_filename_format=\S+)", said)
    assert advised is not None, said
    assert not Path(advised[1].partition("=")[2]).name.startswith((".", "_"))
    status, said = here.run(*words, advised[1])
    assert status == 0, (advised[1], said)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("kind", ["h5", "npz", "n5"])
def test_datasets_of_a_container(desk: Callable[[str], Desk], tmp_path: Path, kind: str) -> None:
    here = desk("px2d_gray")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    container = elsewhere / f"a.{kind}"
    arrays = {name: RNG.integers(0, 255, (90, 80, 1), np.uint8) for name in ("raw", "other")}
    if kind == "h5":
        with h5py.File(container, "w") as file:
            for name, array in arrays.items():
                file[name] = array
    elif kind == "npz":
        np.savez(container, **arrays)
    else:
        for name, array in arrays.items():
            np.save("copy.npy", array)
            words = ["--output_format=n5", "--export_source=Simple Segmentation", "copy.npy"]
            place = [f"--output_filename_format={container}", f"--output_internal_path={name}"]
            assert here.run(*words, *place, is_dry=False)[0] == 0
    said = here.advice(str(container))
    advised = re.search(r"as in (\S+?)\. It has", said)
    assert advised is not None, said
    assert here.run(advised[1])[0] == 0


# ------------------------------------------------------------------------------------------------------------ options


@pytest.mark.sampled(1)
@pytest.mark.parametrize("output_format", ["jpg", "pbm", "bmp"])
@pytest.mark.parametrize("source", ["Probabilities", "Simple Segmentation"])
def test_formats_that_are_listed_hold_the_result(desk: Callable[[str], Desk], output_format: str, source: str) -> None:
    here = desk("px3d")
    inputs = [f"--export_source={source}", "raw.h5", "--output_filename_format=out/x"]
    said = here.advice(f"--output_format={output_format}", *inputs)
    listed = re.search(r"formats that can: (.+)", said)
    assert listed is not None, said
    for name in listed[1].strip().split(", "):
        status, said = here.run(f"--output_format={name}", *inputs)
        assert status == 0, (name, said)


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    ("words", "advised"),
    [
        (["--output_fromat=numpy", "raw.png"], r"did you mean (--\w+)"),
        (["--export_source=Probabilites", "raw.png"], r"valid options are: (\w+)"),
        (["-output_format=numpy", "raw.png"], r"did you mean (--\w+)"),
    ],
)
def test_likely_names(desk: Callable[[str], Desk], words: list[str], advised: str) -> None:
    here = desk("px2d_gray")
    found = re.search(advised, here.advice(*words))
    assert found is not None
    name, _, value = words[0].partition("=")
    better = f"{found[1]}={value}" if found[1].startswith("--") else f"{name}={found[1]}"
    assert here.run(better, *words[1:])[0] == 0


def test_inputs_given_both_ways(desk: Callable[[str], Desk]) -> None:
    here = desk("obj2d_seg")
    said = here.advice("--table_filename=t.csv", "--segmentation_image=seg.png", "--", "raw.png")
    found = re.search(r"put all images of the main role behind (--\w+)", said)
    assert found is not None, said
    assert here.run("--table_filename=t.csv", "--segmentation_image=seg.png", found[1], "raw.png")[0] == 0


def test_a_missing_role(desk: Callable[[str], Desk]) -> None:
    here = desk("obj2d_seg")
    found = re.search(r"name it with (--\w+)", here.advice("--table_filename=t.csv", "raw.png"))
    assert found is not None
    assert here.run("--table_filename=t.csv", "--raw_data=raw.png", found[1], "seg.png")[0] == 0


def test_letters_of_a_file_are_overruled_only_where_that_helps(desk: Callable[[str], Desk]) -> None:
    here = desk("px2d_gray")
    tifffile.imwrite("a.tif", RNG.integers(0, 255, (90, 80), np.uint8))
    _, said = here.run(write_hdf5("a.h5", "xyc", 90, 80, 1))
    assert "it is read so and not as yxc" in said
    assert "--input_axes" not in said


def test_a_file_whose_name_starts_with_a_dash(desk: Callable[[str], Desk]) -> None:
    here = desk("px2d_gray")
    shutil.copy("raw.png", "-a.png")
    assert "after -- a file name may start with a dash" in here.advice("-a.png")
    assert here.run("--output_filename_format=out/x.npy", "--", "-a.png")[0] == 0


def test_an_axis_that_is_missing_in_the_output_order(desk: Callable[[str], Desk]) -> None:
    here = desk("px3d")
    words = ["--export_source=Simple Segmentation", "raw.h5"]
    said = here.advice("--output_axis_order=yxc", *words)
    assert "add z to --output_axis_order or cut out one position with --cutout_subregion" in said
    assert here.run("--output_axis_order=yxcz", *words)[0] == 0
    assert here.run("--output_axis_order=yxc", "--cutout_subregion=[(3,0,0,0),(4,None,None,None)]", *words)[0] == 0


def test_a_table_that_has_no_place(desk: Callable[[str], Desk]) -> None:
    here = desk("obj2d_seg")
    with h5py.File("project.ilp", "r+") as file:
        del file["ObjectClassification/ExportSettings"]
    inputs = ["--raw_data", "raw.png", "--segmentation_image", "seg.png"]
    found = re.search(r"say where with (--\w+)", here.advice("--table_only", *inputs))
    assert found is not None
    assert here.run("--table_only", f"{found[1]}=t.csv", *inputs)[0] == 0
    found = re.search(r"as in (\S+)", here.advice("--table_filename=place/", *inputs))
    assert found is not None
    assert here.run(f"--table_filename={found[1]}", *inputs)[0] == 0


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    ("memory", "threads", "is_thread_advised"), [("20M", 2, True), ("1M", 2, False), ("1M", 1, False)]
)
def test_memory_that_is_named_suffices(
    desk: Callable[[str], Desk], memory: str, threads: int, is_thread_advised: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pixelforest.engine.machine.granted_cpus", lambda *arguments: 2)
    here = desk("px3d")
    said = here.advice(f"--memory={memory}", f"--threads={threads}", "raw.h5")
    found = re.search(r"smallest tiles of \d threads \((\d+) MiB\); raise --memory( or lower --threads)?", said)
    assert found is not None, said
    assert here.run(f"--memory={found[1]}M", f"--threads={threads}", "raw.h5")[0] == 0
    assert (found[2] is not None) == is_thread_advised
    assert (here.run(f"--memory={memory}", "--threads=1", "raw.h5")[0] == 0) == is_thread_advised
