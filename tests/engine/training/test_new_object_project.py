"""New projects that classify objects, from segmentations, prediction maps or label images, and labels of objects."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
from PIL import Image
from support.golden import GOLDEN

from pixelforest.cli import main
from pixelforest.engine import Request, resolve_job, run_batch
from pixelforest.engine.errors import InputMismatch, PixelforestError, ProjectError, UsageError
from pixelforest.engine.objects.feature_catalogue import CATALOGUE
from pixelforest.engine.project.object_features import HULL_2D, HULL_3D, SKELETON, STANDARD
from pixelforest.engine.project.thresholding import ThresholdSettings
from pixelforest.engine.training.command import TrainingRequest, train_project
from pixelforest.engine.training.cross_validation import CrossValidation
from pixelforest.engine.training.kinds import Trained
from pixelforest.engine.training.object_features_option import parse_object_features
from pixelforest.engine.training.thresholds_option import parse_thresholds
from pixelforest.engine.workflows import read_project

GROUP = "ObjectClassification"
NAMES = ("Round", "Long", "Small")
SOURCES = {"obj2d_seg": "segmentation_image", "obj2d_label": "label_image", "obj2d_pred_hyst": "prediction_maps"}
FILES = {
    "obj2d_seg": ("raw.png", "seg.png"),
    "obj2d_label": ("raw.h5/data", "labels.h5/data"),
    "obj2d_pred_hyst": ("raw.h5/data", "pred.h5/data"),
    "obj2dt_seg": ("raw.h5/data", "seg.h5/data"),
}


def stored_labels(case: str, time: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels of a recorded project by id, uint8, and its ids (z, y, x)."""
    with h5py.File(GOLDEN / case / "project.ilp") as file:
        labels = file[f"{GROUP}/LabelInputs/0000/{time}"][()].astype(np.uint8)
        if "RelabelData" in file["ObjectExtraction"]:
            return labels, file["ObjectExtraction/RelabelData/ImageLane000/block0000/array"][0, ..., 0]
        stored = file["ObjectExtraction/LabelImage_v2/labelimage000"]
        place = next(block for block in stored.values() if block.attrs["blockSlice"].startswith(f"[{time}:"))
        return labels, place[0, ..., 0].transpose(2, 1, 0)


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    for name in ("raw.png", "seg.png"):
        shutil.copy(GOLDEN / "obj2d_seg" / name, tmp_path)
    return tmp_path


@pytest.fixture
def classes(scene: Path) -> Path:
    """A label image that draws the recorded labels on whole objects."""
    labels, ids = stored_labels("obj2d_seg")
    Image.fromarray(labels[ids[0]]).save(scene / "classes.png")
    return scene / "classes.png"


def train(folder: Path, labels: Path | str, case: str = "obj2d_seg", **more: Any) -> Trained:
    raw, source = FILES[case]
    values: dict[str, Any] = {
        "new": str(folder / "new.ilp"),
        "object": True,
        "raw_data": (str(folder / raw),),
        SOURCES.get(case, "segmentation_image"): (str(folder / source),),
        "labels": (str(labels),) if labels else (),
        "trees": 20,
        "features": f"like:{GOLDEN / case / 'project.ilp'}",
    }
    return train_project(TrainingRequest(**values | more))


def assert_equal_to_recorded(folder: Path, case: str, seed: int = 1) -> None:
    """Compare a new project with the recorded one, trained from the same seed."""
    source = str(GOLDEN / case / "project.ilp")
    train_project(TrainingRequest(project=source, output=str(folder / "old.ilp"), trees=20, seed=seed))
    new, old = read_project(folder / "new.ilp"), read_project(folder / "old.ilp")
    assert new.classifier == replace(old.classifier, label_names=new.classifier.label_names)
    assert new.features.selected == old.features.measured(everything=False)
    assert new.thresholds == old.thresholds
    assert (new.workflow, new.roles) == (old.workflow, old.roles)
    for role in new.roles[:2]:
        assert new.lanes[0].images[role].sizes() == old.lanes[0].images[role].sizes()
    with h5py.File(folder / "new.ilp") as file, h5py.File(folder / "old.ilp") as other:
        found, expected = (each[f"{GROUP}/LabelInputs/0000"] for each in (file, other))
        assert sorted(found) == sorted(expected)
        for time in found:
            assert found[time].dtype == expected[time].dtype
            labels, recorded = found[time][()], expected[time][()]
            assert np.array_equal(labels, recorded) or not (labels.any() or recorded.any())
        for name in ("LabelNames", "LabelColors", "PmapColors", "MaxNumObj"):
            assert name in file[GROUP]
    assert [path.name for path in folder.iterdir() if path.suffix == ".part"] == []


@pytest.mark.slow
def test_a_label_image_labels_the_objects_below_it(scene: Path, classes: Path) -> None:
    train(scene, classes, classes="Round,Long,Small", seed=4)
    assert_equal_to_recorded(scene, "obj2d_seg", seed=4)
    assert read_project(scene / "new.ilp").classifier.label_names == NAMES
    assert read_project(scene / "new.ilp").lanes[0].images["Segmentation Image"].file_path == "seg.png"


@pytest.mark.slow
def test_strokes_may_leave_their_objects(scene: Path) -> None:
    """One pixel of an object is enough; what is drawn beyond does not matter as long as no other object is touched."""
    labels, ids = stored_labels("obj2d_seg")
    drawn = np.zeros(ids[0].shape, np.uint8)
    for each in np.flatnonzero(labels):
        y, x = np.argwhere(ids[0] == each)[0]
        drawn[y, x] = labels[each]
        if y and ids[0][y - 1, x] == 0 and (ids[0][max(0, y - 2) : y, x] == 0).all():
            drawn[y - 1, x] = labels[each]
    assert (drawn[ids[0] == 0] > 0).any()
    tifffile.imwrite(scene / "strokes.tif", drawn)
    train(scene, scene / "strokes.tif", classes="Round,Long,Small")
    assert_equal_to_recorded(scene, "obj2d_seg")


@pytest.mark.sampled(1)
@pytest.mark.parametrize("table", ["object,class", "labelimage_oid,timestep,class", "x,y,class"])
def test_a_table_labels_objects_by_their_ids_or_by_points(table: str, scene: Path) -> None:
    labels, ids = stored_labels("obj2d_seg")
    lines = [table, *(["1,0," if "timestep" in table else "1,"] if "x" not in table else [])]  # one without a class
    for each in np.flatnonzero(labels).tolist():
        y, x = np.argwhere(ids[0] == each)[-1]
        values = {
            "object": each,
            "labelimage_oid": each,
            "timestep": 0,
            "x": x,
            "y": y,
            "class": NAMES[labels[each] - 1],
        }
        lines.append(",".join(str(values[name]) for name in table.split(",")))
    (scene / "labels.csv").write_text("\n".join(lines))
    train(scene, scene / "labels.csv", classes=",".join(NAMES))
    assert_equal_to_recorded(scene, "obj2d_seg")


def test_objects_of_prediction_maps_are_found_with_thresholds(tmp_path: Path) -> None:
    case = "obj2d_pred_hyst"
    for name in ("raw.h5", "pred.h5"):
        shutil.copy(GOLDEN / case / name, tmp_path)
    labels, ids = stored_labels(case)
    np.save(tmp_path / "classes.npy", labels[ids[0]])
    settings = "method=hysteresis,channel=1,high=0.62,low=0.4,min_size=12,max_size=1000"
    train(tmp_path, tmp_path / "classes.npy", case, thresholds=settings)
    assert_equal_to_recorded(tmp_path, case)
    with h5py.File(tmp_path / "new.ilp") as file, h5py.File(GOLDEN / case / "project.ilp") as other:
        found, expected = file["ThresholdTwoLevels"], other["ThresholdTwoLevels"]
        names = {*expected, "SmootherSigma/x", "SmootherSigma/y", "SmootherSigma/z"}
        for name in names - {"CachedThresholdLabels", "SmootherSigma"}:
            assert found[name][()] == expected[name][()], name


@pytest.mark.slow
def test_objects_of_a_label_image_are_named_by_its_values(tmp_path: Path) -> None:
    case = "obj2d_label"
    for name in ("raw.h5", "labels.h5"):
        shutil.copy(GOLDEN / case / name, tmp_path)
    labels, ids = stored_labels(case)
    with h5py.File(tmp_path / "labels.h5") as file:
        values = file["data"][()]
    rows = [f"{values[ids[0] == each][0]},{labels[each]}" for each in np.flatnonzero(labels)]
    (tmp_path / "labels.csv").write_text("\n".join(["object,class", *rows]))
    train(tmp_path, tmp_path / "labels.csv", case)
    assert_equal_to_recorded(tmp_path, case)
    (tmp_path / "labels.csv").write_text("object,class\n3000000000,1\n")
    with pytest.raises(InputMismatch, match=r"row 2: .* has no object 3000000000 at t=0"):
        train(tmp_path, tmp_path / "labels.csv", case)


@pytest.mark.slow
def test_every_time_point_has_objects_of_its_own(tmp_path: Path) -> None:
    case = "obj2dt_seg"
    for name in ("raw.h5", "seg.h5"):
        shutil.copy(GOLDEN / case / name, tmp_path)
    rows = ["t,object,class"]
    for time in (0, 1):
        labels, _ = stored_labels(case, time)
        rows += [f"{time},{each},{labels[each]}" for each in np.flatnonzero(labels)]
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    axes = read_project(GOLDEN / case / "project.ilp").lanes[0].images["Raw Data"].axes
    with h5py.File(tmp_path / "raw.h5") as file:
        assert "axistags" in file["data"].attrs or axes == "tyx"
    train(tmp_path, tmp_path / "labels.csv", case)
    assert_equal_to_recorded(tmp_path, case)


def test_a_new_project_runs_and_separates_what_it_was_trained_on(scene: Path, classes: Path) -> None:
    train(scene, classes, classes="Round,Long,Small", features="usual", trees=100)
    request = Request(
        project=str(scene / "new.ilp"), inputs_by_role=(("raw_data", (str(scene / "raw.png"),)),
        ("segmentation_image", (str(scene / "seg.png"),))), output_format="numpy",
        output_filename_format=str(scene / "out.npy"), device="cpu",
    )  # fmt: skip
    assert run_batch(resolve_job(request)).status == 0
    drawn = np.asarray(Image.open(classes))
    assert np.array_equal(np.load(scene / "out.npy")[..., 0][drawn > 0], drawn[drawn > 0])


@pytest.mark.slow
def test_projects_do_not_depend_on_threads(scene: Path, classes: Path) -> None:
    one = train(scene, classes, threads=1).stages[0].classifier
    assert train(scene, classes, threads=3).stages[0].classifier == one
    assert train(scene, classes, seed=2).stages[0].classifier != one


def test_the_command_reports_objects(scene: Path, classes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With cross-validation over two images with the same objects: it is perfect where the out-of-bag error is not."""
    raw, seg, other = (str(scene / name) for name in ("raw.png", "seg.png", "other.png"))
    pixels = np.asarray(Image.open(raw)).copy()
    pixels[0, 0] ^= 1
    Image.fromarray(pixels).save(other)
    arguments = [
        "train", "--object", f"--new={scene / 'new.ilp'}", "--raw_data", raw, other, "--segmentation_image", seg, seg,
        "--labels", str(classes), str(classes), "--classes=Round,Long,Small", "--cross-validate", "--trees=60",
        f"--variable-importance-path={scene}", "--quiet",
    ]  # fmt: skip
    assert main(arguments) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[:5] == [
        "42 labelled objects, 171 features", "  Round  14", "  Long   14", "  Small  14",
        "60 trees in 1 forest, seed 1",
    ]  # fmt: skip
    assert any(line.startswith("cross-validation: 100.00% of the labelled objects") for line in shown)
    table = (scene / "varimp.txt").read_text().splitlines()
    assert table[0] == "Feature Name, Class #0, Class #1, Class #2, Overall, Gini"
    assert len(table) == 172
    assert any(line.startswith("Quantiles of Intensity [5], ") for line in table)


def paint(scene: Path, *strokes: tuple[int, int, int]) -> Path:
    """Draw single pixels (y, x, label) on an empty label image."""
    drawn = np.zeros((200, 240), np.uint8)
    for y, x, label in strokes:
        drawn[y, x] = label
    Image.fromarray(drawn).save(scene / "drawn.png")
    return scene / "drawn.png"


def places(*ids: int) -> list[tuple[int, int]]:
    _, image = stored_labels("obj2d_seg")
    return [(int(y), int(x)) for y, x in (np.argwhere(image[0] == each)[0] for each in ids)]


def test_labels_without_an_object_are_refused(scene: Path) -> None:
    (y, x), (v, u) = places(1, 2)
    _, ids = stored_labels("obj2d_seg")
    b, a = (int(n) for n in np.argwhere(ids[0] == 0)[100])
    message = rf"drawn\.png has the label 2 at t=0, z=0, y={b}, x={a}, where .*seg\.png has no object"
    with pytest.raises(InputMismatch, match=message):
        train(scene, paint(scene, (y, x, 1), (v, u, 2), (b, a, 2)))
    table = scene / "labels.csv"
    table.write_text(f"x,y,class\n{x},{y},1\n{a},{b},2\n")
    with pytest.raises(InputMismatch, match=rf"labels\.csv has the label 2 at t=0, z=0, y={b}, x={a}, where"):
        train(scene, table)
    table.write_text("object,class\n1,1\n44,2\n")
    with pytest.raises(InputMismatch, match=r"labels\.csv, row 3: .*seg\.png has no object 44 at t=0"):
        train(scene, table)
    table.write_text("object,class\n0,1\n")
    with pytest.raises(InputMismatch, match=r"row 2: .* has no object 0"):
        train(scene, table)


def test_an_object_of_several_classes_is_refused(scene: Path) -> None:
    _, ids = stored_labels("obj2d_seg")
    (y, x), (v, u) = np.argwhere(ids[0] == 5)[[0, -1]].tolist()
    with pytest.raises(InputMismatch, match=r"drawn\.png gives object 5 of .*seg\.png the classes 1 and 2"):
        train(scene, paint(scene, (y, x, 2), (v, u, 1)))
    (scene / "labels.csv").write_text("object,class\n5,1\n5,2\n")
    with pytest.raises(InputMismatch, match=r"row 3: t=0, object=5 has the class 2, and another one in row 2"):
        train(scene, scene / "labels.csv")


def test_labels_that_do_not_fit_are_refused(scene: Path, classes: Path) -> None:
    (y, x), (v, u) = places(1, 2)
    with pytest.raises(ProjectError, match="labels of one class only, Label 1; label objects of another one"):
        train(scene, paint(scene, (y, x, 1), (v, u, 1)))
    for names in (None, "A,B"):
        with pytest.raises(InputMismatch, match=r"there are no labels to train from in .*drawn\.png"):
            train(scene, paint(scene), classes=names)
    with pytest.raises(InputMismatch, match="has the label 3, but classes names 2 classes"):
        train(scene, classes, classes="A,B")
    Image.fromarray(np.zeros((20, 20), np.uint8)).save(scene / "small.png")
    with pytest.raises(InputMismatch, match=r"the label image .* has the size .*they must agree"):
        train(scene, scene / "small.png")
    np.save(scene / "floats.npy", np.zeros((200, 240)))
    with pytest.raises(InputMismatch, match="labels are integers"):
        train(scene, scene / "floats.npy")
    with pytest.raises(InputMismatch, match="Shapes do not match"):
        train(scene, classes, segmentation_image=(str(scene / "small.png"),))
    assert not (scene / "new.ilp").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"segmentation_image": ()}, "objects are found in one of segmentation_image, prediction_maps and label_image"),
        ({"raw_data": ()}, "and measured in raw_data; give both"),
        ({"labels": ""}, "1 for raw_data and 1 for segmentation_image and 0 for labels"),
        ({"label_image": ("a.png",)}, "objects are found in one of"),
        ({"object": False}, "segmentation_image goes with object"),
        ({"thresholds": "low=1"}, "thresholds goes with prediction_maps"),
        ({"atlas": ("a.png",)}, "a new project has no atlas"),
        ({"classes": "A,A"}, "classes takes different names"),
        ({"features": "Colour"}, "images like these have no object feature 'Colour'"),
        ({"features": "Size in pixels:3"}, "Size in pixels:3: only features in the neighbourhood of an object"),
        ({"features": "3D Convex Hull Features"}, "have no object feature"),
        ({"features": f"like:{GOLDEN / 'obj3d_seg' / 'project.ilp'}"}, "which need a 3-D image"),
        ({"seed": 0}, "vigra takes 0 for the time of day"),
        ({"project": "a.ilp"}, "project cannot be combined with new"),
    ],
    ids=lambda value: "" if isinstance(value, str) else next(iter(value)),
)
def test_requests_that_make_no_project_are_refused(
    change: dict[str, Any], message: str, scene: Path, classes: Path
) -> None:
    with pytest.raises(PixelforestError, match=message):
        train(scene, **{"labels": classes} | change)
    assert sorted(path.name for path in scene.iterdir()) == ["classes.png", "raw.png", "seg.png"]


def test_object_goes_with_a_new_project(scene: Path) -> None:
    for name, value in (("object", True), ("thresholds", "low=1"), ("features", "all")):
        with pytest.raises(UsageError, match=f"{name} goes with new"):
            train_project(TrainingRequest(project="a.ilp", output="b.ilp", **{name: value}))


def test_features_are_chosen_by_names_plugins_and_groups() -> None:
    usual = parse_object_features("usual", dimensions=2, channels=1)
    every = parse_object_features("all", dimensions=2, channels=1)
    assert sorted(usual) == [HULL_2D, SKELETON, STANDARD]
    assert "RegionCenter" not in usual[STANDARD]
    assert usual[STANDARD]["Mean in neighborhood"] == (30, 30)
    assert "Mean in object and neighborhood" not in every[STANDARD]
    assert {**every[HULL_2D], "DefectCenter": None} == dict.fromkeys(CATALOGUE[HULL_2D])
    assert sorted(parse_object_features("all", dimensions=3, channels=2)) == [HULL_3D, STANDARD]
    chosen = parse_object_features(
        "size in pixels; Mean in neighborhood : 7;2D Skeleton Features", dimensions=2, channels=3
    )
    assert chosen == {
        SKELETON: dict.fromkeys(sorted(CATALOGUE[SKELETON])),
        STANDARD: {"Count": None, "Mean in neighborhood": (7, 7)},
    }
    assert all(list(names) == sorted(names) for names in every.values())


def test_thresholds_are_parsed() -> None:
    assert parse_thresholds("") == ThresholdSettings()
    found = parse_thresholds("method=ipht, channel=2, low=0.3, high=0.9, sigma=1.5")
    assert found == ThresholdSettings(
        method="ipht", channel=2, core_channel=2, low=0.3, high=0.9, sigma=(1.5, 1.5, 1.5)
    )
    recorded = GOLDEN / "obj2d_pred" / "project.ilp"
    assert parse_thresholds(f"like:{recorded}") == read_project(recorded).thresholds
    for text in ("low", "low=x", "low=nan", "low=-1", "channel=0.5", "method=graph cut", "size=3"):
        with pytest.raises(UsageError, match="is none of method=simple"):
            parse_thresholds(text)
    with pytest.raises(UsageError, match=r"high, 0\.2, is below low, 0\.5"):
        parse_thresholds("method=hysteresis,high=0.2")


def test_each_image_of_objects_is_classified_by_those_of_the_others(
    scene: Path, classes: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The other image is this one, turned round: its objects are measured alike."""
    for name in ("raw.png", "seg.png", "classes.png"):
        with Image.open(scene / name) as image:
            image.transpose(Image.Transpose.ROTATE_180).save(scene / f"turned_{name}")

    def validate(*names: str) -> CrossValidation | None:
        raw, segmentations, drawn = (
            tuple(str(scene / name.replace("raw", kind)) for name in names) for kind in ("raw", "seg", "classes")
        )
        request = TrainingRequest(
            new=str(scene / "new.ilp"), object=True, raw_data=raw, segmentation_image=segmentations, labels=drawn,
            trees=20, features="Size in pixels;Mean Intensity", cross_validate=True,
        )  # fmt: skip
        found: CrossValidation | None = train_project(request).stages[0].validation
        return found

    found = validate("raw.png", "turned_raw.png", "raw.png")
    assert found is not None
    assert "images 1 and 3 are the same" in caplog.text
    assert [Path(name).name for name in found.images] == ["raw.png", "turned_raw.png"]
    assert found.confusion.sum(axis=(1, 2)).tolist() == [42, 21]
    assert found.accuracy > 0.9
    with pytest.raises(UsageError, match="only one image has labels"):
        validate("raw.png", "raw.png")
