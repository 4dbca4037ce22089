"""Cross-validation over images: the same as training without an image, and classifying it in a run."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from support.golden import GOLDEN

from pixelforest.engine import Request, resolve_job, run_batch
from pixelforest.engine.errors import MemoryTooSmall, UsageError
from pixelforest.engine.training.command import TrainingRequest, train_project
from pixelforest.engine.training.cross_validation import CrossValidation
from pixelforest.frontend.text_training import describe_training

NAMES = ("a", "b", "c")
SETTINGS: dict[str, Any] = {
    "classes": "Background,Cell,Edge", "features": "Gaussian Smoothing:1;Difference of Gaussians:3.5", "trees": 5,
    "seed": 5,
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three noisy images with labels; the classes of a pixel can be told apart, but not always."""
    rng = np.random.default_rng(11)
    for name in NAMES:
        classes = np.repeat(np.arange(3), 20)[rng.permutation(60)].reshape(6, 10).repeat(10, axis=0).repeat(12, axis=1)
        pixels = np.clip(70 + 50 * classes + rng.normal(0, 50, classes.shape), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
        drawn = np.where(rng.random(classes.shape) > 0.9, classes + 1, 0)
        Image.fromarray(drawn.astype(np.uint8)).save(tmp_path / f"{name}_labels.png")
    return tmp_path


def train(folder: Path, names: tuple[str, ...] = NAMES, **more: Any) -> Any:
    files: dict[str, Any] = {
        "raw_data": tuple(str(folder / f"{name}.png") for name in names),
        "labels": tuple(str(folder / f"{name}_labels.png") for name in names),
    }
    return train_project(TrainingRequest(new=str(folder / "new.ilp"), **files | SETTINGS | more))


def validate(folder: Path, names: tuple[str, ...] = NAMES, **more: Any) -> CrossValidation:
    found = train(folder, names, cross_validate=True, **more).validation
    assert isinstance(found, CrossValidation)
    return found


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def relabel(folder: Path, name: str, change: Any) -> None:
    path = folder / f"{name}_labels.png"
    Image.fromarray(change(read(path)).astype(np.uint8)).save(path)


def segment(folder: Path, name: str, source: str) -> np.ndarray:
    """Apply the new project to an image."""
    out = folder / "out.npy"
    request = Request(
        project=str(folder / "new.ilp"), inputs=(str(folder / name),), device="cpu", export_source=source,
        output_format="numpy", output_filename_format=str(out),
    )  # fmt: skip
    assert run_batch(resolve_job(request)).status == 0
    found: np.ndarray = np.load(out).reshape(60, 120)
    return found


def count(labels: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Confusion matrix of labelled pixels."""
    found: np.ndarray = np.histogram2d(labels[labels > 0], given[labels > 0], bins=3, range=((1, 3), (1, 3)))[0]
    return found


@pytest.mark.slow
def test_each_image_is_classified_as_by_a_project_without_it(folder: Path) -> None:
    found = validate(folder, trees=23)
    assert found.names == ("Background", "Cell", "Edge")
    assert found.images == tuple(str(folder / f"{name}.png") for name in NAMES)
    for name, confusion in zip(NAMES, found.confusion, strict=True):
        train(folder, tuple(other for other in NAMES if other != name), trees=23)
        given = segment(folder, f"{name}.png", "Simple Segmentation")
        assert np.array_equal(confusion, count(read(folder / f"{name}_labels.png"), given))
        assert 0 < confusion.trace() < confusion.sum()


def test_shares_follow_from_the_confusion_matrix() -> None:
    found = CrossValidation(("A", "B", "C"), ("a", "b"), np.array([[[3, 1, 0], [0, 2, 0], [0, 0, 0]], [[2, 2, 0]] * 3]))
    assert found.total.tolist() == [[5, 3, 0], [2, 4, 0], [2, 2, 0]]
    assert found.recall.tolist() == [5 / 8, 4 / 6, 0]
    assert found.precision[:2].tolist() == [5 / 9, 4 / 9]
    assert np.isnan(found.precision[2])
    assert found.accuracy == 9 / 18
    assert found.accuracy_by_image.tolist() == [5 / 6, 4 / 12]


@pytest.mark.slow
def test_the_result_does_not_depend_on_threads_or_on_what_else_is_measured(folder: Path) -> None:
    one, two = (validate(folder, threads=n).confusion for n in (1, 2))
    assert np.array_equal(one, two)
    assert np.array_equal(validate(folder, variable_importance_path=str(folder / "table")).confusion, one)
    assert not np.array_equal(validate(folder, seed=6).confusion, one)
    assert train(folder).project.classifier == train(folder, cross_validate=True).project.classifier


def test_a_class_of_one_image_is_reported(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Without the image, one class is left in the second fold, and none of the pixels of the others can be right."""
    relabel(folder, "a", lambda labels: np.where(labels == 3, 0, labels) % 2)
    found = validate(folder, names=("a", "b"))
    assert "b.png has the label Cell, so that all its samples count as wrong" in caplog.text
    assert found.confusion[1].sum(axis=0)[1:].tolist() == [0, 0]
    assert found.recall[1:].tolist() == [0, 0]
    assert found.recall[0] > 0


@pytest.mark.parametrize("kind", ["one image", "one labelled image"])
def test_one_image_cannot_be_left_out(kind: str, folder: Path) -> None:
    relabel(folder, "b", lambda labels: labels * 0)
    with pytest.raises(
        UsageError, match="cross_validate leaves out each labelled image in turn, but only one image has"
    ):
        train(folder, ("a",) if kind == "one image" else ("a", "b"), cross_validate=True)
    assert not (folder / "new.ilp").exists()


def copy_image(folder: Path, name: str, how: str) -> str:
    """Name an image of the folder once more; returns the name."""
    if how == "the same name":
        return f"{name}.png"
    if how == "a link":
        (folder / "again.png").symlink_to(folder / f"{name}.png")
    else:
        tifffile.imwrite(folder / "again.tif", read(folder / f"{name}.png"))
    return "again.png" if how == "a link" else "again.tif"


@pytest.mark.sampled(1)
@pytest.mark.parametrize("how", ["the same name", "a link", "a copy in another format"])
def test_an_image_that_is_given_twice_is_left_out_once(
    how: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Two halves of the labels of one image give what all its labels give, in another order of the samples."""
    images = ("a.png", "b.png", copy_image(folder, "a", how))
    labels = read(folder / "a_labels.png")
    Image.fromarray(np.where(np.arange(len(labels))[:, None] < 30, labels, 0)).save(folder / "above_labels.png")
    Image.fromarray(np.where(np.arange(len(labels))[:, None] < 30, 0, labels)).save(folder / "below_labels.png")
    more: dict[str, Any] = {
        "raw_data": tuple(str(folder / name) for name in images),
        "labels": tuple(str(folder / f"{name}_labels.png") for name in ("above", "b", "below")),
    }
    found = validate(folder, **more)
    assert "images 1 and 3 are the same" in caplog.text
    assert len(found.images) == len(found.confusion) == 2
    once = validate(folder, names=("a", "b"))
    assert np.array_equal(found.confusion[0], once.confusion[0])  # by b, which is as before
    assert found.confusion[1].sum() == once.confusion[1].sum()
    assert train(folder, **more).samples.lanes.max() == 2  # all labels are learnt


def test_one_image_given_twice_cannot_be_left_out(folder: Path) -> None:
    with pytest.raises(UsageError, match="only one image has labels"):
        train(folder, ("a", "a"), cross_validate=True)


def test_images_that_differ_in_their_last_voxel_are_two(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    pixels = read(folder / "a.png").copy()
    pixels[-1, -1] ^= 1
    Image.fromarray(pixels).save(folder / "b.png")
    assert len(validate(folder, names=("a", "b")).images) == 2
    assert "the same" not in caplog.text


def test_a_project_of_one_image_is_refused(tmp_path: Path) -> None:
    for name in ("project.ilp", "raw.png"):
        shutil.copy(GOLDEN / "px2d_gray" / name, tmp_path)
    request = TrainingRequest(
        project=str(tmp_path / "project.ilp"), output=str(tmp_path / "out.ilp"), cross_validate=True
    )
    with pytest.raises(UsageError, match="only one image has labels"):
        train_project(request)
    assert not (tmp_path / "out.ilp").exists()


def test_both_stages_of_autocontext_leave_out_an_image(folder: Path) -> None:
    """The second stage is given what a first one computes that has not learnt from the image either."""
    relabel(folder, "c", lambda labels: labels * (np.arange(labels.shape[1]) < 40))
    stages = train(folder, autocontext=True, cross_validate=True).stages
    plain = train(folder, autocontext=True).stages
    assert [stage.classifier for stage in stages] == [stage.classifier for stage in plain]
    for number, name in enumerate(NAMES):
        train(folder, tuple(other for other in NAMES if other != name), autocontext=True)
        labels = read(folder / f"{name}_labels.png")
        for stage, trained in enumerate(stages, 1):
            found = trained.validation
            assert found.images == tuple(str(folder / f"{each}.png") for each in NAMES)
            given = segment(folder, f"{name}.png", f"Simple Segmentation Stage {stage}")
            assert np.array_equal(found.confusion[number], count(labels, given))
            assert 0 < found.confusion[number].trace() < found.confusion[number].sum()


def test_one_image_of_autocontext_cannot_be_left_out(tmp_path: Path) -> None:
    request = TrainingRequest(
        project=str(GOLDEN / "autocontext_2d" / "project.ilp"), output=str(tmp_path / "out.ilp"), cross_validate=True
    )
    with pytest.raises(UsageError, match="only one image has labels"):
        train_project(request)


@pytest.mark.slow
def test_memory_for_all_samples_and_a_part_of_them_is_needed(folder: Path) -> None:
    relabel(folder, "a", lambda labels: np.full_like(labels, 1))
    more = {"memory": 72 << 20, "threads": 1, "features": "all"}
    train(folder, **more)
    with pytest.raises(MemoryTooSmall):
        train(folder, cross_validate=True, **more)


def test_the_report_has_the_matrix(folder: Path) -> None:
    trained = train(folder, cross_validate=True)
    text, found = describe_training(trained), trained.validation
    assert f"cross-validation: {found.accuracy:.2%} of the labelled pixels" in text
    lines = [line.split() for line in text.splitlines()]
    assert ["label", "Background", "Cell", "Edge", "recall"] in lines
    assert ["Cell", *map(str, found.total[1].tolist()), f"{found.recall[1]:.1%}"] in lines
    assert ["precision", *(f"{share:.1%}" for share in found.precision), f"{found.accuracy:.1%}"] in lines
    assert f"{found.accuracy_by_image[2]:.1%} of {found.confusion[2].sum()} in {folder / 'c.png'}" in text
    assert "cross-validation" not in describe_training(train(folder))
