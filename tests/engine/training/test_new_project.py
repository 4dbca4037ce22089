"""New projects from images and label images."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
from PIL import Image
from support.golden import GOLDEN
from support.project_layout import layout_of

from pixelforest.cli import main
from pixelforest.engine.errors import InputMismatch, PixelforestError, UsageError
from pixelforest.engine.project import open_project, read_label_blocks
from pixelforest.engine.training.command import TrainingRequest, train_project
from pixelforest.engine.training.features_option import SCALES, parse_features
from pixelforest.engine.training.pixel_training import TrainedPixels
from pixelforest.engine.training.samples import find_labelled
from pixelforest.engine.workflows import read_project

GROUP = "PixelClassification"


def labels_of(case: str, shape: tuple[int, ...]) -> np.ndarray:
    """Labels of a recorded project as an image (t, z, y, x)."""
    project = read_project(GOLDEN / case / "project.ilp")
    found = find_labelled(read_label_blocks(project, 0, GROUP), (*shape, 1), "")
    image = np.zeros(shape, np.uint8)
    image.reshape(-1)[found.places] = found.labels
    return image


def write_labels(path: Path, labels: np.ndarray) -> Path:
    if path.suffix == ".tif":
        tifffile.imwrite(path, labels)
    elif path.suffix == ".npy":
        np.save(path, labels)
    elif path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["labels"] = labels
        return path / "labels"
    else:
        Image.fromarray(labels).save(path)
    return path


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    shutil.copy(GOLDEN / "px2d_gray" / "raw.png", tmp_path)
    shutil.copy(GOLDEN / "px3d" / "raw.h5", tmp_path)
    return tmp_path


def train(folder: Path, labels: Path | str, image: str = "raw.png", **more: Any) -> TrainedPixels:
    request = TrainingRequest(
        new=str(folder / "new.ilp"), raw_data=(str(folder / image),), labels=(str(labels),), **{"trees": 4} | more
    )
    return train_project(request)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("name", ["labels.png", "labels.tif", "labels.npy", "labels.h5"])
def test_a_new_project_equals_one_with_the_same_labels_and_features(name: str, scene: Path) -> None:
    source = GOLDEN / "px2d_gray" / "project.ilp"
    labels = write_labels(scene / name, labels_of("px2d_gray", (1, 1, 160, 200))[0, 0])
    train(scene, labels, classes="Background,Cell", features=f"like:{source}", seed=4)
    train_project(TrainingRequest(project=str(source), output=str(scene / "old.ilp"), trees=4, seed=4))
    new, old = read_project(scene / "new.ilp"), read_project(scene / "old.ilp")
    assert new.classifier == old.classifier
    assert new.features == old.features
    assert layout_of(scene / "new.ilp") == layout_of(scene / "old.ilp") == layout_of(source)
    assert new.lanes[0].images["Raw Data"].file_path == "raw.png"
    assert new.lanes[0].images["Raw Data"].sizes() == old.lanes[0].images["Raw Data"].sizes()
    assert sorted(path.name for path in scene.iterdir() if path.suffix in (".ilp", ".part")) == ["new.ilp", "old.ilp"]


@pytest.mark.slow
def test_volumes_are_filtered_in_3d_and_their_labels_kept(scene: Path) -> None:
    labels = labels_of("px3d", (1, 40, 48, 56))
    path = write_labels(scene / "labels.h5", labels[0])
    trained = train(scene, path, "raw.h5/data", features="Gaussian smoothing:1;HessianOfGaussianEigenvalues:1.6")
    found = read_project(scene / "new.ilp")
    assert found.classifier.feature_names == (
        "Gaussian Smoothing (σ=1.0)",
        *(f"Hessian of Gaussian Eigenvalues (σ=1.6) [{k}]" for k in range(3)),
    )
    assert found.classifier.label_names == ("Label 1", "Label 2")
    with open_project(scene / "new.ilp") as file:
        assert file.text("workflowName") == "Pixel Classification"
    stored = find_labelled(read_label_blocks(found, 0, GROUP), (*labels.shape, 1), "")
    assert np.array_equal(stored.places, np.flatnonzero(labels))
    assert np.array_equal(stored.labels, labels[labels > 0])
    assert len(trained.samples.labels) == np.count_nonzero(labels)


def test_all_features_are_those_of_the_dialog() -> None:
    selection = parse_features("all", flat=True)
    assert np.array(selection.matrix).sum() == 37
    assert selection.columns_per_channel() == 49
    assert parse_features("all", flat=False).columns_per_channel() == 61
    assert selection.scales == SCALES
    assert parse_features("Difference of Gaussians: 2.5, 1", flat=True).scales == (
        0.3,
        0.7,
        1.0,
        1.6,
        2.5,
        3.5,
        5.0,
        10.0,
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Gauss:1", "there is no feature 'Gauss'; choose of: Gaussian Smoothing, Laplacian"),
        ("Gaussian Smoothing", "names no scales"),
        ("Gaussian Smoothing:fine", "names no scales"),
        ("Gaussian Smoothing:nan", "names no scales"),
        ("Gaussian Smoothing:0", "names no scales"),
    ],
)
def test_features_that_do_not_exist_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_features(text, flat=True)


@cache
def drawn() -> np.ndarray:
    return labels_of("px2d_gray", (1, 1, 160, 200))[0, 0]


def unchanged(labels: np.ndarray) -> np.ndarray:
    return labels


@pytest.mark.parametrize(
    ("change", "more", "message"),
    [
        (lambda a: a[:100], {}, "has the size y=100 x x=200, the image .* y=160 x x=200"),
        (lambda a: a.astype(np.float32), {}, "values of type float32; labels are integers"),
        (lambda a: a.astype(np.uint16) * 200, {}, "has the label 400; labels go from 1 to 255"),
        (lambda a: -a.astype(np.int16), {}, "has the label -2; labels go from 1"),
        (lambda a: a * 50, {}, "has the label 100, which erases"),
        (unchanged, {"classes": "Cell"}, "has the label 2, but classes names 1 classes"),
        (unchanged, {"classes": "Cell,Cell"}, "classes takes different names"),
        (lambda a: a * 0, {"classes": "A,B"}, "there are no labels to train from in"),
        (lambda a: np.minimum(a, 1), {"classes": "A,B"}, r"new\.ilp has labels of one class only, A"),
        (unchanged, {"project": "other.ilp"}, "project cannot be combined with new"),
        (unchanged, {"labels": ()}, "there are 1 images and 0 label images"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_left(
    change: Callable[[np.ndarray], np.ndarray], more: Any, message: str, scene: Path
) -> None:
    path = write_labels(scene / "labels.npy", change(drawn()))
    request = {"new": str(scene / "new.ilp"), "raw_data": (str(scene / "raw.png"),), "labels": (str(path),)} | more
    with pytest.raises((InputMismatch, UsageError, PixelforestError), match=message):
        train_project(TrainingRequest(**request))
    assert not [path for path in scene.iterdir() if path.suffix in (".ilp", ".part")]


def test_labels_belong_to_new_projects(scene: Path) -> None:
    with pytest.raises(UsageError, match="labels goes with new"):
        train_project(TrainingRequest(project="a.ilp", output="b.ilp", labels=("c.png",)))


def test_nan_near_labels_is_refused(scene: Path) -> None:
    pixels = np.asarray(Image.open(scene / "raw.png")).astype(np.float32)
    pixels[:80] = np.nan
    np.save(scene / "nan.npy", pixels)
    with pytest.raises(InputMismatch, match=r"nan\.npy: features of the labelled pixel at"):
        train(scene, write_labels(scene / "labels.png", drawn()), "nan.npy")


def write_stack(folder: Path, count: int, suffix: str = "png") -> tuple[np.ndarray, np.ndarray]:
    """Write planes and their label images, sparsely labelled; returns both as (n, y, x)."""
    rng = np.random.default_rng(2)
    labels = np.zeros((count, 50, 40), np.uint8)
    labels[1, 5:20, 5:20], labels[-1, 30:40, 10:30] = 1, 2
    pixels = (rng.integers(0, 80, labels.shape) + 80 * (labels == 2)).astype(np.uint8)
    for name, values in (("im", pixels), ("drawn", labels)):
        for k, plane in enumerate(values):
            path = folder / f"{name}_{k}.{suffix}"
            if suffix == "tif":
                tifffile.imwrite(path, plane)
            else:
                Image.fromarray(plane).save(path)
    return pixels, labels


@pytest.mark.sampled(1)
@pytest.mark.parametrize("along", ["z", "t"])
@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("spelling", ["pattern", "list"])
def test_stacks_are_one_image_of_several_files(
    spelling: str, suffix: str, along: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pixels, labels = write_stack(tmp_path, 8, suffix)
    names = [f"*_?.{suffix}"] if spelling == "pattern" else [f"*_{k}.{suffix}" for k in range(8)]
    image, drawn = (os.pathsep.join(names).replace("*", name) for name in ("im", "drawn"))
    trained = train(tmp_path, drawn, image, stack_along=along, features="Gaussian Smoothing:1")
    found = read_project(tmp_path / "new.ilp")
    stored = found.lanes[0].images["Raw Data"]
    assert stored.file_path.split(os.pathsep) == [f"im_{k}.{suffix}" for k in range(8)]
    assert stored.sizes()[along] == 8
    assert stored.nickname == "im_"
    assert trained.samples_per_class == (15 * 15, 10 * 20)
    # Equal to a project of one file that holds the stack.
    shape = (8, 1, 50, 40) if along == "t" else (1, 8, 50, 40)
    axes = "tyx" if along == "t" else "zyx"
    for name, values in (("im", pixels), ("drawn", labels)):
        tifffile.imwrite(tmp_path / f"{name}.tif", values, imagej=True, metadata={"axes": axes.upper()})
    whole = train(tmp_path, "drawn.tif", str(tmp_path / "im.tif"), features="Gaussian Smoothing:1")
    assert np.array_equal(whole.samples.features, trained.samples.features)
    assert np.array_equal(whole.samples.labels, trained.samples.labels)
    blocks = find_labelled(read_label_blocks(found, 0, GROUP), (*shape, 1), "")
    assert np.array_equal(blocks.places, np.flatnonzero(labels))


@pytest.mark.slow
def test_a_project_of_a_stack_is_trained_again_and_predicts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_stack(tmp_path, 8)
    train(tmp_path, "drawn_*.png", "im_*.png", stack_along="t", features="Gaussian Smoothing:1")
    first = read_project(tmp_path / "new.ilp").classifier
    arguments = ["--project=new.ilp", "--output=new.ilp", "--trees=4"]
    assert main(["train", *arguments]) == 0
    assert read_project(tmp_path / "new.ilp").classifier == first
    shape = ["--output_format=numpy", "--output_filename_format=out.npy", "--device=cpu", "--stack_along=t"]
    assert main(["--project=new.ilp", *shape, "--export_source=Labels", "im_*.png"]) == 0
    assert np.unique(np.load("out.npy"), return_counts=True)[1].tolist() == [8 * 50 * 40 - 425, 225, 200]


def test_files_that_do_not_stack_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_stack(tmp_path, 3)
    Image.fromarray(np.zeros((50, 41), np.uint8)).save(tmp_path / "im_2.png")  # of another size
    with pytest.raises(PixelforestError, match=r"im_2\.png: its shape is"):
        train(tmp_path, "drawn_*.png", "im_*.png", features="Gaussian Smoothing:1")
    with pytest.raises(InputMismatch, match=r"z=3 x y=50 x x=40, the image .*z=2"):
        train(tmp_path, "drawn_*.png", "im_[01].png", features="Gaussian Smoothing:1")
    with pytest.raises(UsageError, match="stack_along goes with new"):
        train_project(TrainingRequest(project="a.ilp", output="b.ilp", stack_along="t"))
    assert not list(tmp_path.glob("*.ilp"))
