"""--export_source=Labels was zero everywhere, even for an image that the project was trained on, without a word."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from pixelforest import cli

BLOCKS = "PixelClassification/LabelSets/labels000"


@pytest.fixture
def folder(copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project that was trained on raw.png beside it; not the current folder."""
    found = copy_golden("px2d_gray")
    elsewhere = found.parent / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    return found


@pytest.fixture
def annotations(folder: Path) -> np.ndarray:
    """Annotations (y, x), read without the code under test: one block that begins in the corner."""
    with h5py.File(folder / "project.ilp") as file:
        drawn = file[f"{BLOCKS}/block0000"][..., 0]
    labels = np.zeros((160, 200), np.uint8)
    labels[: drawn.shape[0], : drawn.shape[1]] = drawn
    assert set(np.unique(labels)) == {0, 1, 2}
    return labels


def export(project: Path, image: Path | str, *options: str) -> np.ndarray:
    words = ["--export_source=Labels", "--output_format=hdf5", "--output_filename_format=out.h5", *options]
    assert cli.main(["--headless", f"--project={project / 'project.ilp'}", *words, str(image)]) == 0
    with h5py.File("out.h5") as file:
        values: np.ndarray = file["exported_data"][()]
    return values[..., 0]


def set_text(folder: Path, path: str, text: str) -> None:
    with h5py.File(folder / "project.ilp", "r+") as file:
        del file[path]
        file[path] = text.encode()


def set_file_path(folder: Path, text: str) -> None:
    set_text(folder, "Input Data/infos/lane0000/Raw Data/filePath", text)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("options", [(), ("--threads=2", "--memory=40M")], ids=["whole", "tiles"])
def test_the_training_image_has_its_annotations(
    folder: Path, annotations: np.ndarray, capsys: pytest.CaptureFixture[str], options: Sequence[str]
) -> None:
    assert np.array_equal(export(folder, folder / "raw.png", *options), annotations)
    assert capsys.readouterr().err == ""


def test_a_part_and_another_type(folder: Path, annotations: np.ndarray) -> None:
    found = export(folder, folder / "raw.png", "--cutout_subregion=[(20,30,0),(90,170,1)]", "--export_dtype=uint16")
    assert found.dtype == np.uint16
    assert np.array_equal(found, annotations[20:90, 30:170])


def test_a_link_to_the_training_image_is_that_image(folder: Path, annotations: np.ndarray) -> None:
    os.symlink(folder / "raw.png", "link.png")
    assert np.array_equal(export(folder, "link.png"), annotations)


def test_the_same_voxels_under_another_name(
    folder: Path, annotations: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.open(folder / "raw.png").save("other.bmp")
    assert np.array_equal(export(folder, "other.bmp"), annotations)
    assert capsys.readouterr().err == ""


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    "stored", ["gone/raw.png", "/nobody/has/raw.png", r"C:\images\raw.png", "https://host/raw.png"]
)
def test_the_same_name_and_size_where_the_original_is_gone(
    folder: Path, annotations: np.ndarray, capsys: pytest.CaptureFixture[str], stored: str
) -> None:
    set_file_path(folder, stored)
    assert np.array_equal(export(folder, folder / "raw.png"), annotations)
    said = capsys.readouterr().err
    assert "raw.png is taken for training image 1 because its name and size are the same" in said
    assert f"{stored}, where the project expects that image, is not there to compare with" in said


def nothing_is_known_of(folder: Path, image: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert not export(folder, image).any()
    assert re.search(rf"{image} is none of the images that the project was trained on", capsys.readouterr().err)


def test_another_image_of_the_same_size_and_name(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pixels = np.asarray(Image.open(folder / "raw.png")).copy()
    pixels[80, 90] ^= 1
    Image.fromarray(pixels).save("raw.png")
    nothing_is_known_of(folder, "raw.png", capsys)


def test_an_image_of_another_size(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    set_file_path(folder, "gone/raw.png")
    Image.fromarray(np.asarray(Image.open(folder / "raw.png"))[:-1]).save("raw.png")
    nothing_is_known_of(folder, "raw.png", capsys)


def test_another_name_where_the_original_is_gone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    set_file_path(folder, "gone/raw.png")
    shutil.copy(folder / "raw.png", "other.png")
    nothing_is_known_of(folder, "other.png", capsys)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_that_a_project_names_is_not_waited_for(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo("pipe.png")
    set_file_path(folder, str(Path("pipe.png").absolute()))
    shutil.copy(folder / "raw.png", "other.png")
    nothing_is_known_of(folder, "other.png", capsys)


def test_a_damaged_training_image_is_no_reason_to_fail(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(folder / "raw.png", "other.png")
    (folder / "raw.png").write_bytes(b"nothing of a picture")
    nothing_is_known_of(folder, "other.png", capsys)


def test_a_training_image_that_nobody_annotated(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with h5py.File(folder / "project.ilp", "r+") as file:
        del file[f"{BLOCKS}/block0000"]
    assert not export(folder, folder / "raw.png").any()
    assert "raw.png: nobody has annotated this training image" in capsys.readouterr().err


def test_later_blocks_lie_over_earlier_ones_and_may_wipe_out(folder: Path, annotations: np.ndarray) -> None:
    with h5py.File(folder / "project.ilp", "r+") as file:
        block = np.zeros((3, 4, 1), np.uint8)
        block[0], block[1] = 2, 100
        file[f"{BLOCKS}/block0001"] = block
        for name, value in file[f"{BLOCKS}/block0000"].attrs.items():
            file[f"{BLOCKS}/block0001"].attrs[name] = value
        file[f"{BLOCKS}/block0001"].attrs["blockSlice"] = "[100:103,50:54,0:1]"
    expected = annotations.copy()
    expected[100, 50:54], expected[101, 50:54] = 2, 0
    assert np.array_equal(export(folder, folder / "raw.png"), expected)


@pytest.mark.parametrize("name", ["px2dt", "px3d"])
def test_series_and_volumes(
    copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """As many labelled voxels of each class as the project holds, whatever the axes of its blocks."""
    project = copy_golden(name)
    monkeypatch.chdir(project)
    with h5py.File("project.ilp") as file:
        stored = [data[()].ravel() for data in file[BLOCKS].values()]
        image = file["Input Data/infos/lane0000/Raw Data/filePath"][()].decode()
    found = np.bincount(export(project, image).ravel(), minlength=4)
    assert found[1:].tolist() == np.bincount(np.concatenate(stored), minlength=4)[1:].tolist()
    assert capsys.readouterr().err == ""
