"""The command ``train``, and training in a run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from support.golden import GOLDEN

from pixelforest.cli import main
from pixelforest.engine.errors import UsageError
from pixelforest.engine.workflows import read_project
from pixelforest.frontend.options import find_option
from pixelforest.frontend.training_options import TRAINING_OPTIONS, training_help


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with its image, to be changed."""
    for name in ("project.ilp", "raw.png"):
        shutil.copy(GOLDEN / "px2d_gray" / name, tmp_path)
    return tmp_path / "project.ilp"


def test_train_writes_a_project_and_reports(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, before = project.with_name("new.ilp"), project.read_bytes()
    arguments = ["train", f"--project={project}", f"--output={out}", "--trees=40", "--seed=7"]
    assert main(arguments) == 0
    found = read_project(out).classifier
    assert found.tree_count == 40
    assert project.read_bytes() == before
    text = capsys.readouterr().out
    assert "701 labelled pixels, 56 features" in text
    assert "Background  396" in text
    assert "40 trees in 20 forests, seed 7" in text
    assert "out-of-bag error" in text
    assert "%  Gaussian Smoothing (σ=" in text
    assert main([*arguments, "--threads=1", "--quiet"]) == 0
    assert read_project(out).classifier == found


def test_a_trained_project_predicts(project: Path, tmp_path: Path) -> None:
    out, result = tmp_path / "new.ilp", tmp_path / "result.npy"
    assert main(["train", f"--project={project}", f"--output={out}"]) == 0
    shape = ["--output_format=numpy", f"--output_filename_format={result}", "--export_source=Simple Segmentation"]
    assert main([f"--project={out}", "--device=cpu", *shape, str(tmp_path / "raw.png")]) == 0
    assert result.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "there is no project to train"),
        (["--project=project.ilp"], "say where the trained project goes, with --output=Retrained.ilp"),
        (["--project=project.ilp", "--output=new.ilp", "--seed=0"], "--seed goes from 1 to 4294967295, not 0"),
        (["--project=project.ilp", "--output=new.ilp", "--trees=0"], "has 1 to 100000 trees, not 0"),
        (["--project=project.ilp", "--output=new.ilp", "image.png"], "takes no images without an option (image.png)"),
        (["--project=project.ilp", "--output=new.ilp", "--label_proportion=2"], "above 0, at most 1"),
        (["--project=project.ilp", "--export_source=Labels"], "unknown option --export_source"),
    ],
)
def test_command_lines_that_cannot_be_meant_are_refused(
    arguments: list[str],
    message: str,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(project.parent)
    assert main(["train", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (project.parent / "new.ilp").exists()


def test_help_lists_the_options_of_training(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--help"]) == 0
    assert capsys.readouterr().out.startswith("usage: pixelforest train")
    assert all((option.name in training_help(80)) == option.is_shown for option in TRAINING_OPTIONS)


def test_abbreviations_mean_the_first_stage() -> None:
    assert find_option(TRAINING_OPTIONS, "--class").name == "--classes"
    assert find_option(TRAINING_OPTIONS, "--classes-").name == "--classes_2"
    with pytest.raises(UsageError, match="--labels, --labels_2"):
        find_option(TRAINING_OPTIONS, "--label")


def test_a_folder_that_cannot_be_written_is_noticed_first(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", f"--project={project}", f"--output={project.parent / 'raw.png' / 'new.ilp'}"]) == 1
    captured = capsys.readouterr()
    assert "there is a file where a folder is needed; choose another folder with --output" in captured.err
    assert "Training" not in captured.out


# ----------------------------------------------------------------------------------------------------------- in a run


def run(project: Path, *arguments: str) -> np.ndarray:
    """Apply a project to its own image; returns the probabilities."""
    out = project.with_name("out.npy")
    shape = ["--output_format=numpy", f"--output_filename_format={out}", "--device=cpu", "--headless"]
    assert main([*shape, f"--project={project}", *arguments, str(project.with_name("raw.png"))]) == 0
    found = np.load(out)
    out.unlink()
    return np.asarray(found)


def test_retrain_is_for_this_run_unless_the_project_may_be_written(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = project.read_bytes()
    trained = run(project, "--retrain")
    warned = capsys.readouterr().err
    assert "for this run only, with seed 1: the project stays as it is; --readonly=0 saves" in warned
    assert project.read_bytes() == before
    assert 0 < np.abs(trained - run(project)).mean() < 0.01  # another forest, for the same labels
    assert np.array_equal(run(project, "--retrain", "--readonly=0"), trained)
    assert np.array_equal(run(project), trained)
    assert not np.array_equal(run(project, "--retrain", "--seed=2"), trained)


@pytest.mark.slow
def test_a_retrained_project_equals_one_that_train_has_written(project: Path) -> None:
    assert main(["train", f"--project={project}", f"--output={project.with_name('new.ilp')}", "--seed=3"]) == 0
    assert main([f"--project={project}", "--retrain", "--readonly=0", "--seed=3"]) == 0
    assert read_project(project).classifier == read_project(project.with_name("new.ilp")).classifier


@pytest.mark.sampled(1)
@pytest.mark.parametrize("option", ["--tree-count=7", "--label-proportion=0.3"])
def test_settings_of_training_are_for_this_run(option: str, project: Path) -> None:
    before = project.read_bytes()
    assert not np.array_equal(run(project, option, "--readonly=0"), run(project))
    assert project.read_bytes() == before


@pytest.mark.slow
def test_a_project_without_a_classifier_is_trained_for_the_run(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = run(project, "--retrain")
    with h5py.File(project, "r+") as file:
        del file["PixelClassification/ClassifierForests"]
    before = project.read_bytes()
    assert np.array_equal(run(project), trained)
    assert "Your project file has no classifier." in capsys.readouterr().out
    assert project.read_bytes() == before


def test_explaining_a_training_changes_nothing(project: Path) -> None:
    with h5py.File(project, "r+") as file:
        del file["PixelClassification/ClassifierForests"]
    before = project.read_bytes()
    assert main(["explain", f"--project={project}", str(project.with_name("raw.png"))]) == 0
    arguments = ["--retrain", "--readonly=0", "--tree_count=9"]
    assert main(["explain", f"--project={project}", *arguments, str(project.with_name("raw.png"))]) == 0
    assert project.read_bytes() == before


# ------------------------------------------------------------------------------------------------------- new projects


def test_a_new_project_is_trained_and_predicts(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw, new = project.with_name("raw.png"), project.with_name("cells.ilp")
    labels = np.zeros((160, 200), np.int32)
    labels[20:30, 30:60], labels[100:110, 100:150] = 1, 2
    np.save(project.with_name("labels.npy"), labels)
    arguments = ["--labels", str(project.with_name("labels.npy")), "--classes=Background,Cell", "--raw_data", str(raw)]
    assert main(["train", f"--new={new}", "--features=Gaussian Smoothing:1", *arguments]) == 0
    assert "Background  300\n  Cell        500" in capsys.readouterr().out
    result = project.with_name("out.npy")
    shape = ["--output_format=numpy", f"--output_filename_format={result}", "--device=cpu"]
    assert main([f"--project={new}", *shape, str(raw)]) == 0
    assert np.load(result).shape == (160, 200, 2)
    assert main([f"--project={new}", "--retrain", *shape, str(raw)]) == 0


def table_of(path: Path) -> dict[str, list[float]]:
    head, *lines = path.read_text(encoding="utf-8").splitlines()
    assert head == "Feature Name, Class #0, Class #1, Overall, Gini"
    rows = [line.split(", ") for line in lines]
    return {name: [float(number) for number in numbers] for name, *numbers in rows}


def test_the_table_of_importance_names_what_separates_the_classes(project: Path) -> None:
    features = "--features=Gaussian Smoothing:1;Laplacian of Gaussian:10"
    pixels = np.random.default_rng(0).integers(0, 100, (80, 90)).astype(np.uint8)
    labels = 1 + (np.arange(90) >= 45) * np.ones((80, 1), np.uint8)
    pixels[:, 45:] += 100
    names = [project.with_name(name) for name in ("pixels.npy", "labels.npy", "new.ilp", "table")]
    for name, values in zip(names, (pixels, labels.astype(np.uint8)), strict=False):
        np.save(name, values)
    images = ["--raw_data", str(names[0]), "--labels", str(names[1]), f"--variable-importance-path={names[3]}"]
    assert main(["train", f"--new={names[2]}", features, "--trees=10", *images]) == 0
    table = table_of(names[3] / "varimp.txt")
    assert list(table)[-1] == "Gaussian Smoothing (σ=1.0) in 2D"
    assert len(table) == 2
    first, second, overall, gini = table["Gaussian Smoothing (σ=1.0) in 2D"]
    assert overall > 0.2
    assert overall == pytest.approx(first + second, abs=1e-6)
    assert gini > table["Laplacian of Gaussian (σ=10.0) in 2D"][3]


def test_a_run_that_trains_writes_the_table(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = project.with_name("table")
    run(project, "--retrain", "--tree_count=5", f"--variable_importance_path={folder}")
    assert len(table_of(folder / "varimp.txt")) == 56
    run(project, f"--variable_importance_path={folder}")
    assert "--variable_importance_path has no effect unless a classifier is trained" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--new_project=a.ilp", "--workflow=Pixel Classification"], "pixelforest train --new=P.ilp makes one"),
        (["train", "--autocontext", "--project=a.ilp"], "--autocontext goes with --new"),
        (["train", "--new=a.ilp", "--labels_2", "b.png"], "--labels_2 goes with --autocontext"),
    ],
)
def test_what_is_not_supported_names_the_way(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_the_report_is_also_a_document(project: Path) -> None:
    rng, names = np.random.default_rng(1), ["a", "b"]
    for name in names:
        labels = rng.integers(0, 3, (40, 50)).astype(np.uint8)
        np.save(project.with_name(f"{name}_labels.npy"), np.where(labels == 1, 1, labels // 2 * 3))
        np.save(project.with_name(f"{name}.npy"), (labels * 60 + rng.integers(0, 90, labels.shape)).astype(np.uint8))
    out, report, table = (project.with_name(name) for name in ("new.ilp", "report.json", "table"))
    paths = [f"--labels={project.with_name(f'{name}_labels.npy')}" for name in names]
    paths += [f"--raw_data={project.with_name(f'{name}.npy')}" for name in names]
    arguments = ["train", f"--new={out}", *paths, "--classes=A,B,C", "--trees=9", "--features=Gaussian Smoothing:0.3,1"]
    assert main([*arguments, f"--report_json={report}"]) == 0
    (stage,) = json.loads(report.read_text(encoding="utf-8"))["stages"]
    assert stage["cross_validation"] is None
    assert [feature["importance"] for feature in stage["features"]] == [None, None]
    assert main([*arguments, f"--report_json={report}", f"--variable-importance-path={table}", "--cross-validate"]) == 0
    document = json.loads(report.read_text(encoding="utf-8"))
    assert document["schema"] == "pixelforest/training/1"
    (stage,) = document["stages"]
    counts = [each["samples"] for each in stage["classes"]]
    assert [each["name"] for each in stage["classes"]] == ["A", "B", "C"]
    assert counts[1] == 0
    assert (stage["unit"], stage["samples"], stage["trees"], stage["seed"]) == ("pixel", sum(counts), 9, 1)
    rows = (table / "varimp.txt").read_text(encoding="utf-8").splitlines()[1:]
    for feature in stage["features"]:
        numbers = [*feature["importance"], sum(feature["importance"]), feature["gini"]]
        assert ", ".join([feature["name"], *(f"{number:.7f}" for number in numbers)]) in rows
    found = stage["cross_validation"]
    assert [sum(row) for row in found["confusion"]] == counts
    assert found["recall"][1] is found["precision"][1] is None
    assert found["recall"][0] == found["confusion"][0][0] / counts[0]
    assert np.array_equal(np.sum([image["confusion"] for image in found["images"]], axis=0), found["confusion"])
    assert [Path(image["name"]).name for image in found["images"]] == ["a.npy", "b.npy"]


def test_a_report_that_cannot_be_written_is_noticed_first(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, report = project.with_name("new.ilp"), project / "report.json"
    assert main(["train", f"--project={project}", f"--output={out}", f"--report_json={report}"]) == 1
    assert "choose another folder with --report_json" in capsys.readouterr().err
    assert not out.exists()


# --------------------------------------------------------------------------------------------- disks and other programs

LIMITED = """
import resource, signal, sys
from pixelforest.cli import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
sys.exit(main(sys.argv[2:]))
"""


def train_with_limit(largest: int, *arguments: str) -> str:
    """Train where no file may be larger, as if the disk were full; returns what the command reports."""
    # -B: Python would write its own cached files only in part, and never notice.
    argv = [sys.executable, "-B", "-c", LIMITED, str(largest), "train", *arguments, "--quiet", "--threads=1"]
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("\n") == 1
    return done.stderr


@pytest.mark.sampled(1)
@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of POSIX")
@pytest.mark.parametrize("room", [-100_000, 0, 100_000])
def test_a_disk_that_is_full_keeps_the_project(room: int, project: Path) -> None:
    """While the copy is made, by the first tree, and when HDF5 writes what it has kept to the end."""
    before = project.read_bytes()
    place = [f"--project={project}", f"--output={project}", "--trees=100"]
    message = train_with_limit(len(before) + room, *place)
    assert message.startswith(f"pixelforest: error: cannot write {project}: the file would be larger than this disk")
    assert message.rstrip().endswith("choose another disk with --output")
    assert project.read_bytes() == before
    assert sorted(path.name for path in project.parent.iterdir()) == ["project.ilp", "raw.png"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of POSIX")
@pytest.mark.parametrize("largest", [1000, 60_000])
def test_a_disk_that_is_full_gets_no_new_project(largest: int, project: Path) -> None:
    labels = np.zeros((160, 200), np.uint8)
    labels[20:30, 30:60], labels[100:110, 100:150] = 1, 2
    np.save(project.with_name("labels.npy"), labels)
    before = sorted(project.parent.iterdir())
    images = ["--raw_data", str(project.with_name("raw.png")), "--labels", str(project.with_name("labels.npy"))]
    message = train_with_limit(largest, f"--new={project.with_name('new.ilp')}", "--trees=100", *images)
    assert "cannot write" in message
    assert "new.ilp: the file would be larger than this disk" in message
    assert message.rstrip().endswith("choose another disk with --new")
    assert sorted(project.parent.iterdir()) == before


HOLD = """
import sys, h5py
with h5py.File(sys.argv[1], "r+", locking=True):
    print("open", flush=True)
    sys.stdin.read()
"""


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--project=project.ilp", "--output=new.ilp"],
        ["train", "--project=other.ilp", "--output=project.ilp"],
        ["train", "--new=project.ilp", "--raw_data", "raw.png", "--labels", "raw.png"],
        ["--project=project.ilp", "--retrain", "--readonly=0", "raw.png"],
    ],
    ids=["trained", "replaced", "new", "in a run"],
)
def test_a_project_that_is_open_in_ilastik_is_refused_before_training(
    arguments: list[str], project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project.parent)
    shutil.copy(project, "other.ilp")
    files = {path: path.read_bytes() for path in project.parent.iterdir()}
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(project)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        assert main(arguments) == 1
        holder.communicate("")
    captured = capsys.readouterr()
    assert "project.ilp' is open in another program, such as ilastik; save and close it there" in captured.err
    assert "Training" not in captured.out
    assert {path: path.read_bytes() for path in project.parent.iterdir()} == files


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda labels: labels.astype(np.float32), "has values of type float32; labels are integers"),
        (lambda labels: labels.astype(np.uint16) * 300, "has the label 600; labels go from 1 to 255"),
        (lambda labels: labels[:, :150], "has the size y=160 x x=150, the image"),
        (lambda labels: np.minimum(labels, 1), "has labels of one class only"),
    ],
    ids=["float", "above 255", "size", "one class"],
)
def test_labels_that_cannot_be_used_leave_no_project(
    change: Callable[[np.ndarray], np.ndarray], message: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = np.zeros((160, 200), np.uint8)
    labels[20:30, 30:60], labels[100:110, 100:150] = 1, 2
    path = project.with_name("labels.npy")
    np.save(path, change(labels))
    before = sorted(project.parent.iterdir())
    images = ["--raw_data", str(project.with_name("raw.png")), "--labels", str(path)]
    assert main(["train", f"--new={project.with_name('new.ilp')}", *images]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert sorted(project.parent.iterdir()) == before


@pytest.mark.sampled(1)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_pixels_that_are_no_numbers_are_refused_near_labels_only(
    value: float, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels, path = np.random.default_rng(0).random((160, 200)).astype(np.float32), project.with_name("float.npy")
    out = project.with_name("new.ilp")
    pixels[60:70, 60:70] = value
    np.save(path, pixels)
    arguments = ["train", f"--project={project}", f"--output={out}", "--raw_data", str(path)]
    assert main(arguments) == 1
    assert "float.npy: features of the labelled pixel at t=0, z=0, y=" in capsys.readouterr().err
    assert not out.exists()
    with h5py.File(project, "r+") as file:  # labels that remain are far from those pixels
        for block in file["PixelClassification/LabelSets/labels000"].values():
            values = block[()]
            start = [int(part.split(":")[0]) for part in block.attrs["blockSlice"].strip("[]").split(",")]
            y, x = (
                np.arange(n)[:, np.newaxis] if axis == 0 else np.arange(n) for axis, n in enumerate(values.shape[:2])
            )
            is_near = (y + start[0] < 130) & (x + start[1] < 130)
            block[...] = np.where(is_near[..., np.newaxis], 0, values)
    assert main(arguments) == 0
