"""Training of projects: samples in ilastik's order with its features, forests from a seed, and what is written."""

from __future__ import annotations

import errno
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from support.golden import GOLDEN, SHARED

from pixelforest.cli import main
from pixelforest.engine.errors import (
    ExportError,
    InputMismatch,
    InputNotFound,
    MemoryTooSmall,
    ProjectError,
    UsageError,
)
from pixelforest.engine.project.hdf5_writer import SEED
from pixelforest.engine.training.forest import TrainedForest
from pixelforest.engine.training.kinds import train_project_file
from pixelforest.engine.training.pixel_training import TrainedPixels, train_pixel_project
from pixelforest.engine.training.stage import TrainingSettings
from pixelforest.engine.workflows import read_project

CASES = ("px2d_gray", "px2d_rgb", "px2d_big", "px3d", "px3d_mixed", "px2dt", "px2d_mask", "px2d_gray16_partial")
CLASSIFIER = "PixelClassification/ClassifierForests"
FACTORY = "PixelClassification/ClassifierFactory"
SEEDED = SHARED / "training" / "seeded_2d.h5"


def train(path: Path, *, threads: int = 2, memory_bytes: int = 1 << 31, **settings: Any) -> TrainedPixels:
    return train_pixel_project(path, TrainingSettings(**settings), threads=threads, memory_bytes=memory_bytes)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with its image, to be changed."""
    for name in ("project.ilp", "raw.png"):
        shutil.copy(GOLDEN / "px2d_gray" / name, tmp_path)
    return tmp_path / "project.ilp"


def contents(path: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}

    def add(name: str, item: Any) -> None:
        value = f"{np.asarray(item[()]).tolist()} {item.dtype}".encode() if isinstance(item, h5py.Dataset) else b""
        found[name] = value + str(sorted((k, str(v)) for k, v in item.attrs.items())).encode()

    with h5py.File(path) as file:
        file.visititems(add)
    return found


@pytest.mark.golden
@pytest.mark.skipif(not SEEDED.exists(), reason="the recorded sample matrix is not part of the project")
def test_samples_and_forests_are_those_of_ilastik_for_its_seeds() -> None:
    """The recording is of one project and two forests of 50 trees that ilastik grew from seeds 5 and 6."""
    with h5py.File(SEEDED) as file:
        trained = train(GOLDEN / "px2d_gray" / "project.ilp", trees=20 * 50, seed=5)
        assert np.array_equal(trained.samples.features, file["f0/X"][()])
        assert np.array_equal(trained.samples.labels, file["f0/y"][()].ravel())
        for name, forest in zip(("f0", "f1"), trained.forests[:2], strict=True):
            stored = [file[f"{name}/forest/{tree}"] for tree in sorted(file[f"{name}/forest"]) if tree[0] == "T"]
            for tree, (topology, parameters) in zip(stored, forest.trees, strict=True):
                assert np.array_equal(tree["topology"][()], topology)
                assert tree["parameters"][()].tobytes() == parameters.tobytes()


@pytest.mark.sampled(1)
@pytest.mark.parametrize("case", CASES)
def test_a_trained_project_can_be_read_and_holds_nothing_else_that_is_new(case: str, tmp_path: Path) -> None:
    source, path = GOLDEN / case / "project.ilp", tmp_path / "new.ilp"
    before = source.read_bytes()
    trained = train(source, trees=22, seed=3)
    trained.save(path)
    assert source.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["new.ilp"]
    found, original = read_project(path), read_project(source)
    assert found.classifier == trained.project.classifier
    assert found.classifier.known_labels == original.classifier.known_labels
    assert found.classifier.feature_names == original.classifier.feature_names
    assert [len(forest.trees) for forest in found.classifier.forests] == [2, 2] + [1] * 18
    old, new = contents(source), contents(path)
    changed = {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
    assert {name for name in changed if not name.startswith(CLASSIFIER)} <= {FACTORY, "time"}
    with h5py.File(path) as file, h5py.File(source) as other:
        assert file[CLASSIFIER].attrs[SEED] == 3
        for name in ("known_labels", "feature_names", "pickled_type"):
            assert file[f"{CLASSIFIER}/{name}"].dtype == other[f"{CLASSIFIER}/{name}"].dtype
            found_value, value = (np.asarray(each[f"{CLASSIFIER}/{name}"][()]).tolist() for each in (file, other))
            assert found_value == value


def test_features_are_those_of_prediction(tmp_path: Path) -> None:
    """Around the labels only, in cells, and yet equal to those of the whole image."""
    from pixelforest.engine import Request, resolve_job, run_batch

    for case in ("px2d_big", "px3d_mixed"):
        folder = GOLDEN / case
        raw = next(path for path in folder.iterdir() if path.stem.startswith("raw"))
        out = tmp_path / f"{case}.npy"
        image = f"{raw}/data" if raw.suffix == ".h5" else str(raw)
        request = Request(
            project=str(folder / "project.ilp"), inputs=(image,), export_source="Features", device="cpu",
            output_format="numpy", output_filename_format=str(out),
        )  # fmt: skip
        assert run_batch(resolve_job(request)).status == 0
        samples = train(folder / "project.ilp", trees=1).samples
        rows = np.load(out).reshape(-1, samples.features.shape[1])
        rows = rows[np.isin(rows[:, 0], samples.features[:, 0])]
        known = {row.tobytes() for row in rows}
        assert all(row.tobytes() in known for row in samples.features)


def test_projects_do_not_depend_on_threads() -> None:
    one, two, other = (
        train(GOLDEN / "px3d" / "project.ilp", trees=6, threads=threads, seed=seed).project.classifier
        for threads, seed in ((1, 1), (2, 1), (1, 2))
    )
    assert one == two
    assert one != other


@pytest.mark.slow
def test_the_factory_says_how_many_trees(project: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.ilp"
    train(project, trees=30, label_proportion=0.5).save(out)
    assert train(out).project.classifier.tree_count == 30
    with h5py.File(out) as file:
        text = file[FACTORY][()]
    assert b"V_num_trees\np7\nI30\n" in text
    assert b"V_label_proportion\np8\nF0.5\nsV_variable" in text
    train(project).save(out)
    with h5py.File(out) as file, h5py.File(project) as original:
        assert file[FACTORY][()] == original[FACTORY][()].replace(b"I2\nsb.", b"I20\nsb.")  # the number of forests


def test_a_share_of_the_labels_is_drawn_repeatably(project: Path) -> None:
    half = train(project, label_proportion=0.5, trees=1)
    assert len(half.samples.labels) == 701 // 2
    assert half.project.classifier == train(project, label_proportion=0.5, trees=1).project.classifier
    with pytest.raises(InputMismatch, match="leaves no pixel of label"):
        train(project, label_proportion=0.002)
    with pytest.raises(UsageError, match=r"above 0 and at most 1, not 1\.5"):
        train(project, label_proportion=1.5)


def test_a_project_can_be_replaced_by_itself(project: Path) -> None:
    trained = train(project, trees=2)
    trained.save(project)
    assert read_project(project).classifier == trained.project.classifier


def test_a_project_without_a_classifier_is_trained(project: Path) -> None:
    expected = train(project, trees=2).project.classifier
    with h5py.File(project, "r+") as file:
        del file[CLASSIFIER]
    assert train(project, trees=2).project.classifier == expected


def relabel(project: Path, change: Any) -> None:
    with h5py.File(project, "r+") as file:
        for block in file["PixelClassification/LabelSets/labels000"].values():
            block[...] = change(block[()])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: values * 0, "has no labels to train from"),
        (lambda values: np.where(values > 0, 1, 0), "labels of one class only"),
        (lambda values: np.where(values == 1, 7, values), "pixels of label 7, but names 2 classes"),
        (lambda values: np.where(values > 0, 100, 0), "has no labels to train from"),
    ],
)
def test_labels_without_use_are_refused(project: Path, change: Any, message: str) -> None:
    relabel(project, change)
    with pytest.raises(ProjectError, match=message):
        train(project)


def test_a_class_without_a_pixel_is_reported(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    with h5py.File(project, "r+") as file:
        names = [*file["PixelClassification/LabelNames"][()], b"Third"]
        del file["PixelClassification/LabelNames"]
        file["PixelClassification/LabelNames"] = names
    trained = train(project, trees=1)
    assert trained.project.classifier.known_labels == (1, 2)
    assert "No pixel has the label Third" in caplog.text


def test_images_that_have_moved_are_named(project: Path, tmp_path: Path) -> None:
    expected = train(project, trees=1).project.classifier
    moved = tmp_path / "elsewhere" / "raw.png"
    moved.parent.mkdir()
    (tmp_path / "raw.png").rename(moved)
    with pytest.raises(InputNotFound, match=r"raw\.png is not in .*; pixelforest train takes the images from raw_data"):
        train(project)
    assert train(project, trees=1, raw_data=(str(moved),)).project.classifier == expected
    other = moved.with_name("other.png")
    moved.rename(other)
    assert train(project, trees=1, raw_data=(str(other),)).project.classifier == expected
    with pytest.raises(UsageError, match="has 1 training images and raw_data 2"):
        train(project, raw_data=(str(other), str(other)))
    with pytest.raises(InputMismatch, match=r"x=140.*, but training image 1 of the project, raw, y=160 x x=200"):
        train(project, raw_data=(str(GOLDEN / "px2d_rgb" / "raw.png"),))


def test_nan_near_a_label_is_refused_with_its_place(project: Path, tmp_path: Path) -> None:
    from PIL import Image

    pixels = np.asarray(Image.open(tmp_path / "raw.png")).astype(np.float32)
    pixels[60:70, 60:70] = np.nan
    np.save(tmp_path / "nan.npy", pixels)
    with pytest.raises(InputMismatch, match=r"nan\.npy: features of the labelled pixel at t=0, z=0, y=\d+"):
        train(project, raw_data=(str(tmp_path / "nan.npy"),))


def test_memory_is_checked_before_it_is_used(project: Path) -> None:
    with pytest.raises(MemoryTooSmall, match="701 labelled pixels with 56 features needs"):
        train(project, memory_bytes=1 << 20)


def test_other_kinds_of_projects_are_refused(project: Path) -> None:
    with h5py.File(project, "r+") as file:
        del file["workflowName"]
        file["workflowName"] = b"Cell Density Counting"
    with pytest.raises(ProjectError, match="Counting are trained in ilastik; Pixel Classification, Autocontext"):
        train_project_file(project, TrainingSettings(), threads=1, memory_bytes=1 << 30)


HOLD = """
import sys, h5py
with h5py.File(sys.argv[1], "r+", locking=True):
    print("open", flush=True)
    sys.stdin.read()
"""


def test_a_project_that_is_open_in_ilastik_is_refused(project: Path, tmp_path: Path) -> None:
    trained = train(project, trees=1)
    argv = [sys.executable, "-c", HOLD, str(project)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(ProjectError, match="is open in another program, such as ilastik"):
            trained.save(tmp_path / "out.ilp")
        holder.communicate("")
    trained.save(tmp_path / "out.ilp")


@pytest.mark.parametrize("step", ["copy", "write"])
def test_a_full_disk_leaves_the_original_and_nothing_else(
    step: str, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained, before = train(project, trees=1), project.read_bytes()

    def fail(*arguments: object, **more: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if step == "copy":
        monkeypatch.setattr(shutil, "copyfile", fail)
    else:
        monkeypatch.setattr(TrainedForest, "to_hdf5", fail)
    with pytest.raises(ExportError, match=r"cannot write .*project\.ilp: the disk is full; .* output"):
        trained.save(project)
    assert project.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["project.ilp", "raw.png"]


def move_inside(project: Path, *, is_legacy: bool = False) -> None:
    """Move the training image of a project into its file, as ilastik does by its menu."""
    from PIL import Image

    identifier = "f0efbccc-e648-11f1-9b5c-02fc00000001"
    with Image.open(project.with_name("raw.png")) as opened:
        pixels = np.asarray(opened)[..., np.newaxis]
    with h5py.File(project, "r+") as file:
        info = file["Input Data/infos/lane0000/Raw Data"]
        dataset = file.create_dataset(
            f"Input Data/local_data/{identifier}", data=pixels, chunks=(64, 64, 1), compression="gzip"
        )
        dataset.attrs["axistags"] = info["axistags"][()]
        for name in ("__class__", "location", "datasetId", "filePath"):
            if name in info:
                del info[name]
        info["filePath"] = b"raw.png"  # of what it was copied from
        info["datasetId"] = identifier.encode()
        if is_legacy:
            info["location"] = b"ProjectInternal"
        else:
            info["__class__"] = b"ProjectInternalDatasetInfo"
            info["inner_path"] = dataset.name.strip("/").encode()


@pytest.mark.sampled(1)
@pytest.mark.parametrize("is_legacy", [False, True], ids=["by its path", "by its id"])
def test_an_image_inside_the_project_is_trained_on(is_legacy: bool, project: Path) -> None:
    expected = train(project, trees=5).project.classifier
    move_inside(project, is_legacy=is_legacy)
    project.with_name("raw.png").unlink()
    trained = train(project, trees=5)
    assert trained.project.classifier == expected
    trained.save(project)
    assert train(project).project.classifier == expected


@pytest.mark.slow
def test_an_image_inside_the_project_can_be_replaced(project: Path) -> None:
    move_inside(project)
    moved = project.with_name("raw.png").rename(project.with_name("moved.png"))
    with h5py.File(project, "r+") as file:
        file["Input Data/local_data/f0efbccc-e648-11f1-9b5c-02fc00000001"][...] = 0
    zeros = train(project, trees=1).samples.features
    replaced = train(project, trees=1, raw_data=(str(moved),)).samples.features
    assert (np.ptp(zeros[:, 0]), np.ptp(replaced[:, 0]) > 0) == (0, True)


def test_an_image_that_is_not_inside_the_project_is_named(project: Path) -> None:
    move_inside(project)
    with h5py.File(project, "r+") as file:
        del file["Input Data/local_data"]
    with pytest.raises(InputNotFound, match="image raw is not inside the project, as that says; pixelforest train"):
        train(project)


def test_labels_of_an_image_inside_the_project_are_exported(project: Path) -> None:
    move_inside(project)
    out = project.with_name("out.npy")
    arguments = ["--output_format=numpy", f"--output_filename_format={out}", "--device=cpu", "--export_source=Labels"]
    assert main([f"--project={project}", *arguments, str(project.with_name("raw.png"))]) == 0
    assert np.count_nonzero(np.load(out)) == 701
