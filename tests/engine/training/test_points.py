"""Labels from tables of points: what is read, and what is refused with its row."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from support.golden import GOLDEN

from pixelforest.engine.errors import InputError, InputMismatch, InputNotFound
from pixelforest.engine.training.command import TrainingRequest, train_project
from pixelforest.engine.training.points import LabelPoints, read_points
from pixelforest.engine.workflows import read_project

FLAT = (1, 1, 30, 40)
CLASSES = ("Background", "Cell")


def read(
    path: Path, text: str | bytes, shape: tuple[int, ...] = FLAT, classes: tuple[str, ...] = CLASSES
) -> LabelPoints:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_points(path, shape, classes, fits="raw.png")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "points.csv"


@pytest.mark.parametrize(
    "text",
    [
        "x,y,class\n3,4,Cell\n39,29,1\n",
        "x;y;class\r\n3;4;Cell\r\n39;29;1\r\n",
        '\ufeffclass,Y,X,comment\n Cell ,4,3,"seen, twice"\n\n1,29,39,\n',
        "x\ty\tc\tz\tt\tclass\n3.5\t3.51\t-1\t0\t0\tCell\n38.6\t29.4\t-1\t0\t0\tBackground\n",
        "x,y,class\n3,4,Cell\n39,29,1\n3.2,4.1,2\n",
    ],
)
def test_points_are_read(text: str, table: Path) -> None:
    found = read(table, text)
    assert found.places.tolist() == [[0, 0, 4, 3], [0, 0, 29, 39]]
    assert found.labels.tolist() == [2, 1]
    assert found.labels.dtype == np.uint8


def test_rows_are_those_of_the_table(table: Path) -> None:
    assert read(table, "x,y,class\n1,1,1\n\n2,2,2\n").rows.tolist() == [2, 4]


def test_points_have_depth_and_time(table: Path) -> None:
    found = read(table, "t,z,y,x,class\n1,2,3,4,7\n", (2, 3, 4, 5), ())
    assert found.places.tolist() == [[1, 2, 3, 4]]
    assert found.labels.tolist() == [7]


def test_halves_are_rounded_down(table: Path) -> None:
    found = read(table, "x,y,class\n-0.4,0.5,1\n1.5,2.5,1\n")
    assert found.places[:, 2:].tolist() == [[0, 0], [2, 1]]


def test_a_table_may_be_empty(table: Path) -> None:
    assert read(table, "x,y,class\n").places.shape == (0, 4)


@pytest.mark.parametrize(
    ("text", "axes", "shape", "place"),
    [
        ("index,axis-0,axis-1,label\n0.0,4.2,2.6,2.0\n", "yx", FLAT, [0, 0, 4, 3]),
        ("index,axis-0,axis-1,label\n0,3.0,4.0,Cell\n", "xy", FLAT, [0, 0, 4, 3]),
        ("index,axis-0,axis-1,confidence,class,label\n0.0,4.0,3.0,0.7,2.0,1.0\n", "yxc", FLAT, [0, 0, 4, 3]),
        ("index,axis-0,axis-1,axis-2,label\n0,1,4,3,2\n", "zyx", (1, 3, 30, 40), [0, 1, 4, 3]),
        ("index,axis-0,axis-1,axis-2,label\n0,1,4,3,2\n", "tyx", (3, 1, 30, 40), [1, 0, 4, 3]),
        ("index,axis-0,axis-1,axis-2,label\n0,1,4,3,2\n", "cyx", FLAT, [0, 0, 4, 3]),
    ],
)
def test_axes_of_napari_are_those_of_the_image(
    text: str, axes: str, shape: tuple[int, ...], place: list[int], table: Path
) -> None:
    table.write_text(text)
    found = read_points(table, shape, CLASSES, fits="raw.png", axes=axes)
    assert found.places.tolist() == [place]
    assert found.labels.tolist() == [2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("index,axis-0,axis-1\n0,4,3\n", "has no column class or label, only index, axis-0, axis-1; give"),
        ("index,axis-0,axis-1,axis-2,label\n", r"has 3 axes, but raw\.png has 2, y, x"),
        ("index,axis-0,axis-1,label\n0,4,3,2.5\n", "row 2: there is no class '2.5'"),
        ("index,axis-0,axis-1,label\n0,30,3,2\n", "row 2: y is 30, outside"),
    ],
)
def test_tables_of_napari_that_do_not_fit_are_refused(text: str, message: str, table: Path) -> None:
    table.write_text(text)
    with pytest.raises(InputMismatch, match=message):
        read_points(table, FLAT, CLASSES, fits="raw.png", axes="yx")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x,y\n1,1\n", r"points\.csv has no column class, only x, y"),
        ("", "has no column x, only none"),
        ("x,y,x,class\n", "there are 2 columns x"),
        ("x,y,class\n1,1,1\n1,30,1\n", r"points\.csv, row 3: y is 30, outside of raw\.png, where y goes from 0 to 29"),
        ("x,y,class\n-0.5,1,1\n", "row 2: x is -0.5, outside"),
        ("x,y,z,class\n1,1,1,1\n", "row 2: z is 1, outside .* from 0 to 0"),
        ("x,y,class\nnan,1,1\n", "row 2: x is 'nan', not a number"),
        ("x,y,class\ninf,1,1\n", "row 2: x is 'inf', not a number"),
        ("x,y,class\n,1,1\n", "row 2: x is '', not a number"),
        ('x,y,class\n"1,5",1,1\n', "row 2: x is '1,5', not a number"),
        ("x,y,class\n1,1,3\n", "row 2: there is no class '3'; the classes are Background, Cell"),
        ("x,y,class\n1,1,cell\n", "row 2: there is no class 'cell'"),
        ("x,y,class\n1,1,0\n", "row 2: there is no class '0'"),
        ("x,y,class\n1,1,1\n2,2,2\n1.1,1,2\n", "row 4: the voxel at t=0, z=0, y=1, x=1 has the class 2, .* in row 2"),
    ],
)
def test_rows_that_are_no_points_are_refused(text: str, message: str, table: Path) -> None:
    with pytest.raises(InputMismatch, match=message):
        read(table, text)


@pytest.mark.parametrize("number", ["Cell", "0", "256", "100", "1.0", "-1", "9999999999"])
def test_without_names_classes_are_numbers(number: str, table: Path) -> None:
    with pytest.raises(InputMismatch, match=f"row 2: the class '{number}' is not a number from 1 to 255"):
        read(table, f"x,y,class\n1,1,{number}\n", classes=())


def test_axes_of_the_image_need_columns(table: Path) -> None:
    with pytest.raises(InputMismatch, match=r"has no column z, but raw\.png has the size z=3"):
        read(table, "x,y,class\n1,1,1\n", (1, 3, 30, 40))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x,y,class\n1,1\n", "row 2: there are 2 fields, but 3 columns"),
        (b"x,y,class\n1,1,\xff\n", "not text in UTF-8"),
        ("x,y,class\n1,1," + "1" * 200_000, "no table of text"),
    ],
)
def test_files_that_are_no_tables_are_refused(text: str | bytes, message: str, table: Path) -> None:
    with pytest.raises(InputError, match=message):
        read(table, text)


def test_a_missing_table_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputNotFound, match="there is no file"):
        read_points(tmp_path / "none.csv", FLAT, (), fits="")
    with pytest.raises(InputError, match="cannot read"):
        read_points(tmp_path, FLAT, (), fits="")


# ------------------------------------------------------------------------------------------------------------- training


def train(folder: Path, labels: Path, image: str) -> None:
    request = TrainingRequest(
        new=str(folder / f"{labels.stem}.ilp"), raw_data=(str(folder / image),), labels=(str(labels),), trees=3,
        features="Gaussian Smoothing:1;Difference of Gaussians:1.6", classes=",".join(CLASSES),
    )  # fmt: skip
    train_project(request)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("case", ["flat", "volume"])
def test_a_table_trains_what_an_image_of_the_same_labels_trains(case: str, tmp_path: Path) -> None:
    """The labels lie in several of the blocks that a project stores them in."""
    rng = np.random.default_rng(5)
    shape = (300, 310) if case == "flat" else (40, 60, 270)
    image = "raw.png" if case == "flat" else "raw.h5"
    pixels = rng.integers(0, 255, shape, dtype=np.uint8)
    if case == "flat":
        Image.fromarray(pixels).save(tmp_path / image)
    else:
        with h5py.File(tmp_path / image, "w") as file:
            file["data"] = pixels
    labels = (rng.random(shape) > 0.995) * rng.integers(1, 3, shape, dtype=np.uint8)
    np.save(tmp_path / "drawn.npy", labels)
    at = np.argwhere(labels)[::-1]
    names = ("x", "y", "z")[: labels.ndim]
    rows = [",".join([*map(str, place[::-1].tolist()), CLASSES[labels[tuple(place)] - 1]]) for place in at]
    (tmp_path / "points.csv").write_text("\n".join([",".join((*names, "class")), *rows]))
    numbers = np.concatenate([np.arange(len(at))[:, None], at, labels[tuple(at.T)][:, None]], axis=1).astype(float)
    axes = ",".join(f"axis-{k}" for k in range(labels.ndim))
    np.savetxt(tmp_path / "napari.csv", numbers, fmt="%s", delimiter=",", header=f"index,{axes},label", comments="")
    for name in ("drawn.npy", "points.csv", "napari.csv"):
        train(tmp_path, tmp_path / name, image)
    drawn, *others = (read_project(tmp_path / f"{name}.ilp").classifier for name in ("drawn", "points", "napari"))
    for points in others:
        assert drawn == points
        assert drawn.feature_names == points.feature_names


def test_an_empty_table_has_no_labels_to_train_from(tmp_path: Path) -> None:
    shutil.copy(GOLDEN / "px2d_gray" / "raw.png", tmp_path)
    (tmp_path / "points.csv").write_text("x,y,class\n")
    with pytest.raises(InputMismatch, match=r"no labels to train from in .*points\.csv"):
        train(tmp_path, tmp_path / "points.csv", "raw.png")
    assert not (tmp_path / "points.ilp").exists()
