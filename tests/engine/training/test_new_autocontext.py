"""New projects of Autocontext: the layout of ilastik's own, and the same classifiers as those of its labels."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image
from support.golden import GOLDEN
from support.project_layout import layout_of

from pixelforest.cli import main
from pixelforest.engine.errors import InputMismatch, ProjectError, UsageError
from pixelforest.engine.project import read_label_blocks
from pixelforest.engine.project.autocontext_project import AutocontextProject
from pixelforest.engine.training.autocontext_training import TrainedAutocontext
from pixelforest.engine.training.command import TrainingRequest, train_project
from pixelforest.engine.training.samples import find_labelled
from pixelforest.engine.workflows import read_project

RECORDED = GOLDEN / "autocontext_2d" / "project.ilp"
GROUPS = ("PixelClassification", "PixelClassification01")
SHAPE = (1, 1, 120, 128, 1)
FIRST, SECOND = "Background,Bright,Dim", "Outside,Inside"
QUICK: dict[str, Any] = {"features": "Gaussian Smoothing:1", "trees": 4}


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """The recorded image, and the labels of both stages as images."""
    shutil.copy(RECORDED.with_name("raw.png"), tmp_path)
    project = read_project(RECORDED)
    for name, group in zip(("one.png", "two.png"), GROUPS, strict=True):
        found = find_labelled(read_label_blocks(project, 0, group), SHAPE, "")
        labels = np.zeros(SHAPE[2:4], np.uint8)
        labels.reshape(-1)[found.places] = found.labels
        Image.fromarray(labels).save(tmp_path / name)
    return tmp_path


def train(folder: Path, **more: Any) -> TrainedAutocontext:
    values: dict[str, Any] = {
        "new": str(folder / "new.ilp"),
        "autocontext": True,
        "raw_data": (str(folder / "raw.png"),),
        "labels": (str(folder / "one.png"),),
        "labels_2": (str(folder / "two.png"),),
    }
    trained = train_project(TrainingRequest(**values | more))
    assert isinstance(trained, TrainedAutocontext)
    return trained


def project_of(folder: Path) -> AutocontextProject:
    found = read_project(folder / "new.ilp")
    assert isinstance(found, AutocontextProject)
    return found


def test_the_layout_is_that_of_ilastik(scene: Path) -> None:
    train(scene, classes=FIRST, classes_2=SECOND, features=f"like:{RECORDED}", trees=3)
    assert layout_of(scene / "new.ilp") == layout_of(RECORDED)
    with h5py.File(scene / "new.ilp") as new, h5py.File(RECORDED) as recorded:
        image = "Input Data/infos/lane0000/Raw Data"
        fixed = ["workflowName", *(f"Prediction Export/{name}" for name in recorded["Prediction Export"])]
        fixed += [f"{image}/{name}" for name in recorded[image] if name not in ("datasetId", "axistags", "shape")]
        for name in (*fixed, *(f"{group}/Bookmarks/0000" for group in GROUPS)):
            assert new[name][()] == recorded[name][()], name
        for group in GROUPS:
            blocks = (file[f"{group}/LabelSets/labels000/block0000"] for file in (new, recorded))
            one, other = ((block[()], block.attrs["blockSlice"]) for block in blocks)
            assert np.array_equal(one[0], other[0])
            assert one[1] == other[1]


@pytest.mark.slow
def test_it_equals_the_recorded_project_trained_again(scene: Path) -> None:
    trained = train(scene, classes=FIRST, classes_2=SECOND, features=f"like:{RECORDED}", seed=4, trees=30)
    train_project(TrainingRequest(project=str(RECORDED), output=str(scene / "old.ilp"), seed=4, trees=30))
    old, new = read_project(scene / "old.ilp"), project_of(scene)
    assert isinstance(old, AutocontextProject)
    for stage, found, expected in zip(trained.stages, new.stages, old.stages, strict=True):
        assert found.classifier == expected.classifier == stage.project.classifier
        assert found.features == expected.features
    assert not list(scene.glob("*.part"))


def test_it_predicts_and_is_the_same_for_any_number_of_threads(scene: Path) -> None:
    one = train(scene, **QUICK, threads=1).project
    assert [stage.classifier for stage in train(scene, **QUICK, threads=3).project.stages] == [
        stage.classifier for stage in one.stages
    ]
    out = scene / "out.npy"
    words = ["--output_format=numpy", f"--output_filename_format={out}", "--device=cpu", str(scene / "raw.png")]
    assert main([f"--project={scene / 'new.ilp'}", "--export_source=Probabilities All Stages", *words]) == 0
    found = np.load(out)
    assert found.shape == (120, 128, 5)
    labels = np.asarray(Image.open(scene / "two.png"))
    assert (found[..., 3:].argmax(axis=-1)[labels > 0] + 1 == labels[labels > 0]).mean() > 0.95


def test_stages_share_what_is_given_once(scene: Path) -> None:
    train(scene, **QUICK, classes="A,B,C", labels_2=())
    first, second = project_of(scene).stages
    assert first.features == second.features
    assert first.classifier.label_names == second.classifier.label_names == ("A", "B", "C")
    assert (first.classifier.column_count, second.classifier.column_count) == (1, 4)
    with h5py.File(scene / "new.ilp") as file:
        one, two = (file[f"{group}/LabelSets/labels000/block0000"][()] for group in GROUPS)
    assert np.array_equal(one, two)


@pytest.mark.slow
def test_each_stage_has_its_own_features_and_classes(scene: Path) -> None:
    train(scene, **QUICK, features_2="Laplacian of Gaussian:1.6,3.5", classes="A,B,C")
    first, second = project_of(scene).stages
    assert first.classifier.feature_names == ("Gaussian Smoothing (σ=1.0) in 2D",)
    assert second.classifier.feature_names == tuple(
        f"Laplacian of Gaussian (σ={scale}) in 2D [{k}]" for scale in (1.6, 3.5) for k in range(4)
    )
    assert second.classifier.label_names == ("A", "B", "C")  # one of them has no pixel in this stage
    train(scene, **QUICK)
    assert project_of(scene).stages[1].classifier.label_names == ("Label 1", "Label 2")


@pytest.mark.slow
def test_several_images_and_a_table_of_points(scene: Path) -> None:
    labels = np.asarray(Image.open(scene / "two.png"))
    rows = [f"{x},{y},{SECOND.split(',')[labels[y, x] - 1]}" for y, x in np.argwhere(labels)]
    (scene / "two.csv").write_text("\n".join(["x,y,class", *rows]))
    Image.fromarray(np.zeros(labels.shape, np.uint8)).save(scene / "none.png")
    shutil.copy(scene / "raw.png", scene / "other.png")
    one = train(scene, **QUICK, classes=FIRST, classes_2=SECOND).project.stages
    several = train(
        scene,
        **QUICK,
        classes=FIRST,
        classes_2=SECOND,
        raw_data=(str(scene / "raw.png"), str(scene / "other.png")),
        labels=(str(scene / "none.png"), str(scene / "one.png")),
        labels_2=(str(scene / "two.csv"), str(scene / "none.png")),
    ).project.stages
    assert [stage.classifier for stage in several] == [stage.classifier for stage in one]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"autocontext": False}, "labels_2 goes with autocontext"),
        ({"autocontext": False, "labels_2": (), "features_2": "all"}, "features_2 goes with autocontext"),
        ({"object": True}, "autocontext cannot be combined with object"),
        ({"new": None, "project": "a.ilp", "labels": (), "features": None}, "autocontext goes with new"),
        ({"labels_2": ("a.png", "b.png")}, "1 images and 2 label images .* with raw_data and labels_2"),
        ({"classes_2": "A,A"}, "classes_2 takes different names"),
        ({"features_2": "Gaussian Smoothing:none"}, "features_2: 'Gaussian Smoothing:none' names no scales"),
        ({"features_2": "Sharpness:1"}, "features_2: there is no feature 'Sharpness'"),
        ({"cross_validate": True}, "cross_validate leaves out each labelled image in turn"),
        ({"seed": 0}, "seed goes from 1"),
    ],
)
def test_what_cannot_be_meant_is_refused(more: dict[str, Any], message: str, scene: Path) -> None:
    with pytest.raises(UsageError, match=message):
        train(scene, **QUICK | more)
    assert not list(scene.glob("*.ilp")) + list(scene.glob("*.part"))


def test_labels_of_the_second_stage_are_checked_like_those_of_the_first(scene: Path) -> None:
    labels = np.asarray(Image.open(scene / "two.png"))
    Image.fromarray(np.minimum(labels, 1)).save(scene / "same.png")
    for name, values in (("none", labels * 0), ("small", labels[:50]), ("real", labels.astype(np.float32))):
        np.save(scene / f"{name}.npy", values)
    for name, error, message in (
        ("none.npy", InputMismatch, r"no labels to train from in .*none\.npy"),
        ("small.npy", InputMismatch, r"small\.npy has the size y=50"),
        ("real.npy", InputMismatch, r"real\.npy has values of type float32"),
        ("same.png", ProjectError, r"^stage 2 of .*new\.ilp has labels of one class only, Label 1"),
    ):
        with pytest.raises(error, match=message):
            train(scene, **QUICK, labels_2=(str(scene / name),))
    with pytest.raises(InputMismatch, match=r"two\.png has the label 2, but classes_2 names 1 classes"):
        train(scene, **QUICK, classes_2="A")
    assert not list(scene.glob("*.ilp")) + list(scene.glob("*.part"))


def test_the_command_reports_both_stages(
    scene: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(scene)
    words = ["--raw_data", "raw.png", "--labels", "one.png", "--labels-2", "two.png", f"--classes-2={SECOND}"]
    words += [f"--classes={FIRST}", "--features=Gaussian Smoothing:1", "--trees=4"]
    assert main(["train", "--autocontext", "--new=new.ilp", *words]) == 0
    text = capsys.readouterr().out
    assert "stage 1: 518 labelled pixels, 1 features" in text
    assert "stage 2: 422 labelled pixels, 4 features" in text
    before = (scene / "new.ilp").read_bytes()
    assert main(["train", "--autocontext", "--new=new.ilp", "--labels-2", "one.png"]) == 2
    error = capsys.readouterr().err
    assert "there are 0 images and 0 label images" in error
    assert error.count("\n") == 1
    assert (scene / "new.ilp").read_bytes() == before
