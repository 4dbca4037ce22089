"""Training of Autocontext: both stages, the second on what the first gives it in prediction."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image
from support.golden import GOLDEN

from pixelforest.cli import main
from pixelforest.engine.errors import ProjectError, UsageError
from pixelforest.engine.project import Classifier
from pixelforest.engine.project.autocontext_project import AutocontextProject
from pixelforest.engine.project.hdf5_writer import SEED
from pixelforest.engine.training.autocontext_training import TrainedAutocontext, train_autocontext_project
from pixelforest.engine.training.stage import TrainingSettings
from pixelforest.engine.workflows import read_project

GROUPS = ("PixelClassification", "PixelClassification01")
PLACES = tuple(f"{group}/ClassifierForests" for group in GROUPS)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with its image, to be changed."""
    for name in ("project.ilp", "raw.png"):
        shutil.copy(GOLDEN / "autocontext_2d" / name, tmp_path)
    return tmp_path / "project.ilp"


def train(path: Path, *, threads: int = 2, **settings: Any) -> TrainedAutocontext:
    return train_autocontext_project(path, TrainingSettings(**settings), threads=threads, memory_bytes=1 << 31)


def export(project: Path, source: str, *arguments: str) -> np.ndarray:
    """Apply a project to its own image."""
    out = project.with_name("out.npy")
    options = ["--output_format=numpy", f"--output_filename_format={out}", "--device=cpu", f"--export_source={source}"]
    assert main([f"--project={project}", *options, *arguments, str(project.with_name("raw.png"))]) == 0
    found = np.load(out)
    out.unlink()
    return np.asarray(found)


def forests(path: Path) -> list[Classifier]:
    found = read_project(path)
    assert isinstance(found, AutocontextProject)
    return [stage.classifier for stage in found.stages]


def contents(path: Path) -> dict[str, str]:
    found: dict[str, str] = {}

    def add(name: str, item: Any) -> None:
        value = f"{np.asarray(item[()]).tolist()} {item.dtype}" if isinstance(item, h5py.Dataset) else ""
        found[name] = value + str(sorted((k, str(v)) for k, v in item.attrs.items()))

    with h5py.File(path) as file:
        file.visititems(add)
    return found


@pytest.mark.slow
def test_both_stages_are_replaced_and_nothing_else(project: Path) -> None:
    before, out = project.read_bytes(), project.with_name("new.ilp")
    trained = train(project, seed=3)
    trained.save(out)
    assert project.read_bytes() == before
    assert read_project(out) != read_project(project)
    assert forests(out) == [stage.project.classifier for stage in trained.stages]
    assert [stage.tree_count for stage in forests(out)] == [20, 21]
    for found, original in zip(forests(out), forests(project), strict=True):
        assert found.feature_names == original.feature_names
        assert found.known_labels == original.known_labels
    old, new = contents(project), contents(out)
    changed = {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
    factories = {f"{group}/ClassifierFactory" for group in GROUPS}
    assert {name for name in changed if not name.startswith(PLACES)} <= {"time", *factories}
    with h5py.File(out) as file:
        assert [file[place].attrs[SEED] for place in PLACES] == [3, 23]  # the forests of stage 1 have seeds 3 to 22


def test_stage_2_learns_from_the_features_that_it_predicts_from(project: Path) -> None:
    trained = train(project, seed=5, trees=3)
    trained.save(project)
    for number, stage in enumerate(trained.stages, 1):
        samples = stage.samples.features
        columns = export(project, f"Features Stage {number}").reshape(-1, samples.shape[1])
        known = {row.tobytes() for row in columns}
        assert all(row.tobytes() in known for row in samples)


def test_training_depends_on_the_seed_only(project: Path) -> None:
    one, two, other = (train(project, trees=6, **more) for more in ({"threads": 1}, {"threads": 3}, {"seed": 2}))
    for a, b, c in zip(one.stages, two.stages, other.stages, strict=True):
        assert a.project.classifier == b.project.classifier
        assert a.project.classifier != c.project.classifier


def test_the_largest_seed_is_followed_by_one(project: Path) -> None:
    first, second = train(project, seed=(1 << 32) - 1, trees=3).stages
    assert (first.settings.seed, second.settings.seed) == ((1 << 32) - 1, 3)


@pytest.mark.slow
def test_a_trained_project_does_what_its_labels_say(project: Path) -> None:
    """As well as the classifier that ilastik trained from the same labels."""
    expected = export(project, "Probabilities Stage 2")
    train(project).save(project)
    found = export(project, "Probabilities Stage 2")
    assert np.abs(found - expected).mean() < 0.04
    assert (found.argmax(axis=-1) == expected.argmax(axis=-1)).mean() > 0.98


def test_train_writes_a_project_and_reports_both_stages(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, table = project.with_name("new.ilp"), project.with_name("table")
    arguments = [f"--project={project}", f"--output={out}", "--trees=22", f"--variable_importance_path={table}"]
    assert main(["train", *arguments]) == 0
    text = capsys.readouterr().out
    assert "stage 1: 518 labelled pixels, 6 features" in text
    assert "stage 2: 422 labelled pixels, 20 features" in text
    assert "22 trees in 20 forests, seed 21" in text
    assert [stage.tree_count for stage in forests(out)] == [22, 22]
    counts = [len((table / name).read_text().splitlines()) - 1 for name in ("varimp.txt", "varimp_2.txt")]
    assert counts == [6, 20]


@pytest.mark.slow
def test_retrain_is_for_this_run_unless_the_project_may_be_written(project: Path) -> None:
    before = project.read_bytes()
    trained = export(project, "Probabilities All Stages", "--retrain", "--seed=7")
    assert project.read_bytes() == before
    saved = export(project, "Probabilities All Stages", "--retrain", "--seed=7", "--readonly=0")
    assert np.array_equal(saved, trained)
    assert np.array_equal(export(project, "Probabilities All Stages"), trained)
    assert forests(project) == [stage.project.classifier for stage in train(project, seed=7).stages]


@pytest.mark.sampled(1)
@pytest.mark.parametrize("lost", [PLACES, PLACES[:1], PLACES[1:]], ids=["both", "stage 1", "stage 2"])
def test_a_project_without_classifiers_is_trained_for_the_run(
    lost: tuple[str, ...], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = export(project, "Probabilities All Stages", "--retrain")
    with h5py.File(project, "r+") as file:
        for place in lost:
            del file[place]
    before = project.read_bytes()
    assert np.array_equal(export(project, "Probabilities All Stages"), trained)
    assert "Your project file has no classifier." in capsys.readouterr().out
    assert project.read_bytes() == before


@pytest.mark.parametrize("stage", [1, 2])
def test_labels_without_use_are_refused_with_their_stage(stage: int, project: Path) -> None:
    with h5py.File(project, "r+") as file:
        for block in file[f"{GROUPS[stage - 1]}/LabelSets/labels000"].values():
            block[...] = np.minimum(block[()], 1)
    with pytest.raises(ProjectError, match=rf"^stage {stage} of .*project\.ilp has labels of one class only"):
        train(project)
    with h5py.File(project, "r+") as file:
        del file[f"{GROUPS[stage - 1]}/LabelSets"]
    with pytest.raises(ProjectError, match=rf"^stage {stage} of .*project\.ilp has no labels to train from"):
        train(project)


def test_seeds_that_vigra_has_not_are_refused(project: Path) -> None:
    with pytest.raises(UsageError, match="seed goes from 1"):
        train(project, seed=0)


def test_images_that_lose_the_probabilities_are_reported(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    wide = project.with_name("wide.npy")
    np.save(wide, np.asarray(Image.open(project.with_name("raw.png"))).astype(np.int32))
    trained = train(project, trees=2, raw_data=(str(wide),))
    assert "type int32: ilastik hands the probabilities of stage 1 to stage 2 in the type of the image" in caplog.text
    # The first feature smooths, and its channels are that of the image and the classes of stage 1.
    assert np.ptp(trained.stages[1].samples.features[:, 1:4], axis=0).tolist() == [0, 0, 0]
