"""Files that a command line for objects writes: flags for images, the table's path, both together, neither."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from pixelforest import cli

CopyGolden = Callable[[str], Path]
PREDICTION, PROBABILITY = "--export_object_prediction_img", "--export_object_probability_img"
PIXELS = "--export_pixel_probability_img"


@pytest.fixture
def project(copy_golden: CopyGolden, work_folder: Path) -> Callable[..., Path]:
    """Copies a recorded project; ``has_table=False`` takes away the table it was set up to write."""

    def copy(name: str = "obj2d_seg", *, has_table: bool = False) -> Path:
        folder = copy_golden(name)
        if not has_table:
            with h5py.File(folder / "project.ilp", "r+") as file:
                del file["ObjectClassification/ExportSettings"]
        return folder

    return copy


@pytest.fixture
def folder(project: Callable[..., Path]) -> Path:
    """A project on segmentations without a table of its own."""
    return project()


def run(folder: Path, *options: str, inputs: int = 1) -> int:
    """Run on the recorded inputs, ``inputs`` times over under different names."""
    raw, second = folder / "raw.png", folder / "seg.png"
    copies = [folder / f"r{i}.png" for i in range(inputs - 1)]
    for path in copies:
        path.write_bytes(raw.read_bytes())
    argv = [f"--project={folder / 'project.ilp'}", *options, "--raw_data", str(raw), *map(str, copies)]
    if second.exists():
        argv += ["--segmentation_image", *([str(second)] * inputs)]
    return cli.main(argv)


def written(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir()) if place.is_dir() else []


def new_files(folder: Path) -> list[str]:
    known = {"project.ilp", "raw.png", "seg.png", "case.json"}
    return [name for name in written(folder) if name not in known]


def rows_of(path: Path) -> Iterator[list[str]]:
    with open(path, newline="", encoding="utf-8") as file:
        yield from csv.reader(file)


# ------------------------------------------------------------------------------------------ the documented example


@pytest.mark.slow
def test_the_documented_example_writes_three_files(folder: Path) -> None:
    options = ["--table_filename=out/features.csv", PREDICTION, PROBABILITY]
    assert run(folder, *options, "--output_filename_format=out/{nickname}.h5") == 0
    assert written(Path("out")) == ["features.csv", "raw-object-prediction-img.h5", "raw-object-probability-img.h5"]
    with h5py.File("out/raw-object-probability-img.h5") as file:
        assert file["exported_data"].shape == (200, 240, 3)


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([PREDICTION], ["features.csv", "raw_Object Predictions.h5"]),
        ([PROBABILITY], ["features.csv", "raw_Object Probabilities.h5"]),
        ([], ["features.csv"]),
    ],
    ids=["predictions", "probabilities", "none"],
)
def test_without_a_flag_its_image_is_not_written(folder: Path, flags: list[str], expected: list[str]) -> None:
    assert run(folder, f"--table_filename={folder / 'features.csv'}", *flags) == 0
    assert new_files(folder) == expected


def test_an_image_alone_keeps_the_name_that_was_asked_for(folder: Path) -> None:
    assert run(folder, PROBABILITY, "--output_filename_format=out/it.h5") == 0
    assert written(Path("out")) == ["it.h5"]
    with h5py.File("out/it.h5") as file:
        assert file["exported_data"].dtype == np.float32


def test_a_template_with_the_result_needs_no_suffix(folder: Path) -> None:
    assert run(folder, PREDICTION, PROBABILITY, "--output_filename_format=out/{result_type}.h5") == 0
    assert written(Path("out")) == ["Object Predictions.h5", "Object Probabilities.h5"]


def test_flags_and_sources_add_up(folder: Path) -> None:
    options = ["--export_source=Object Identities,object predictions", "--output_filename_format=out/{nickname}.h5"]
    assert run(folder, PREDICTION, *options) == 0
    assert written(Path("out")) == ["raw-object-prediction-img.h5", "raw_Object Identities.h5"]


def test_nothing_asked_for_is_object_predictions(folder: Path) -> None:
    assert run(folder) == 0
    assert new_files(folder) == ["raw_Object Predictions.h5"]


def test_a_source_and_a_table(folder: Path) -> None:
    assert run(folder, "--export_source=Object Identities", "--table_filename=t.csv") == 0
    assert new_files(folder) == ["raw_Object Identities.h5"]
    assert Path("t.csv").is_file()


def test_an_image_the_workflow_does_not_have_is_a_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, PIXELS) == 0
    assert new_files(folder) == ["raw_Object Predictions.h5"]
    assert "--export_pixel_probability_img has no effect" in capsys.readouterr().err


def test_three_images_of_a_project_with_pixels(project: Callable[..., Path]) -> None:
    folder = project("pcoc2d")
    assert run(folder, PROBABILITY, PIXELS, PREDICTION, "--output_filename_format=out/x.h5") == 0
    assert written(Path("out")) == [
        "x-object-prediction-img.h5",
        "x-object-probability-img.h5",
        "x-pixel-probability-img.h5",
    ]
    expected = Path(__file__).parents[1] / "golden" / "pcoc2d" / "expected" / "pixel_probabilities.h5"
    with h5py.File("out/x-pixel-probability-img.h5") as file, h5py.File(expected) as recorded:
        assert np.allclose(file["exported_data"], recorded["exported_data"], atol=1.2e-7, rtol=0)


def test_an_unknown_source_lists_the_ones_there_are(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "--export_source=Probabilities") == 1
    error = capsys.readouterr().err
    assert "Object Predictions, Object Probabilities, Blockwise Object Predictions" in error
    assert "Pixel Probabilities" not in error, "that is a result of another workflow"


# ------------------------------------------------------------------------------------------------------- the table


def test_the_table_has_a_row_for_each_object_and_all_features(folder: Path) -> None:
    assert run(folder, "--table_filename=t.csv") == 0
    head, *rows = rows_of(Path("t.csv"))
    assert len(rows) == 43
    assert head[:7] == [
        "object_id",
        "timestep",
        "labelimage_oid",
        "User Label",
        "Predicted Class",
        "Probability of Round",
        "Probability of Long",
    ]
    assert "Defect Center_0" in head, "computed, though the classifier does not read it"
    assert head[8] == "Convexity", "plugins and features are sorted"
    assert {len(row) for row in rows} == {len(head)}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", ["t.txt", "t", "t.CSV", "a.b/t"])
def test_the_table_is_written_to_exactly_this_path(folder: Path, name: str) -> None:
    assert run(folder, f"--table_filename=out/{name}") == 0
    assert [path for path in Path("out").rglob("*") if path.is_file()] == [Path("out") / name]


def test_a_path_that_ends_like_a_folder_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "--table_filename=out/") == 1
    assert "'out/' is that of a folder; add a file name, as in out/{nickname}.csv" in capsys.readouterr().err
    assert not Path("out").exists()


def test_placeholders_in_the_path(folder: Path) -> None:
    assert run(folder, "--table_filename={dataset_dir}/t/{nickname}.{other}.csv") == 0
    assert written(folder / "t") == ["raw.{other}.csv"]


def test_home_in_a_quoted_path(folder: Path) -> None:
    assert run(folder, "--table_filename=~/t.csv") == 0
    assert (Path.home() / "t.csv").is_file()
    (Path.home() / "t.csv").unlink()


def test_several_lanes_are_numbered(folder: Path) -> None:
    assert run(folder, "--table_filename=out/t.csv", inputs=2) == 0
    assert written(Path("out")) == ["t-0.csv", "t-1.csv"]


def test_several_lanes_with_a_placeholder_are_not_numbered(folder: Path) -> None:
    assert run(folder, "--table_filename=out/{nickname}.csv", inputs=2) == 0
    assert written(Path("out")) == ["r0.csv", "raw.csv"]


def test_lanes_that_would_share_a_table_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "--table_filename=out/{dataset_dir}/t.csv", inputs=2) == 1
    assert "the table of lane 2 would be written to" in capsys.readouterr().err


def test_a_table_over_an_image_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--table_filename=out/x.h5", "--output_filename_format=out/x.h5", PREDICTION]
    assert run(folder, *options) == 1
    assert "where an image of lane 1 goes" in capsys.readouterr().err
    assert not Path("out").exists()


def test_a_table_over_an_input_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, f"--table_filename={folder / 'raw.png'}") == 1
    assert "is an input" in capsys.readouterr().err


def test_a_table_in_a_place_that_cannot_be_made(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").write_text("in the way")
    assert run(folder, "--table_filename=file/t.csv", PREDICTION) == 1
    assert "cannot write" in capsys.readouterr().err
    assert new_files(folder) == []


def test_an_hdf5_table_by_its_extension(folder: Path) -> None:
    assert run(folder, "--table_filename=t.h5") == 0
    with h5py.File("t.h5") as file:
        assert list(file) == ["table"], "pictures of objects only if the project asks for them"
        assert len(file["table"]) == 43
        assert set(file["table"]["Predicted Class"]) == {b"Round", b"Long", b"Small"}


def test_a_parquet_table_needs_the_extra(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pixelforest.engine.formats.tables.parquet.find_spec", lambda name: None)
    assert run(folder, "--table_filename=t.parquet") == 1
    assert "pip install 'pixelforest[parquet]'" in capsys.readouterr().err


# ------------------------------------------------------------------------------------- what the project stores


def test_a_stored_table_is_written_beside_images_as_ilastik_names_it(project: Callable[..., Path]) -> None:
    folder = project(has_table=True)
    assert run(folder, PREDICTION) == 0
    assert new_files(folder) == ["raw_Object Predictions.h5", "raw_table.csv"]


def test_a_path_of_its_own_replaces_the_stored_one(project: Callable[..., Path]) -> None:
    folder = project(has_table=True)
    assert run(folder, "--table_filename=t.csv") == 0
    assert new_files(folder) == []
    assert Path("t.csv").is_file()


def test_only_the_stored_table(project: Callable[..., Path]) -> None:
    folder = project(has_table=True)
    assert run(folder, "--table_only", "--export_source=Object Identities", PREDICTION) == 0
    assert new_files(folder) == ["raw_table.csv"]


def test_only_a_table_that_nobody_described_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "--table_only") == 2
    assert "say where with --table_filename" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------------- export options


def test_export_options_work_for_objects(folder: Path) -> None:
    options = ["--export_source=Object Identities,Object Probabilities", "--output_format=numpy"]
    options += ["--output_axis_order=xyc", "--cutout_subregion=[(10, 20, 0), (110, 140, 1)]"]
    assert run(folder, *options, "--output_filename_format=out/{result_type}") == 0
    identities = np.load("out/Object Identities.npy")
    assert (identities.shape, identities.dtype) == ((120, 100, 1), np.uint32)
    expected = Path(__file__).parents[1] / "golden" / "obj2d_seg" / "expected" / "object_identities.h5"
    with h5py.File(expected) as file:
        assert np.array_equal(identities[..., 0].T, file["exported_data"][10:110, 20:140, 0])


def test_probabilities_are_scaled_from_the_range_they_have(folder: Path) -> None:
    """The range stored beside them is that of the raw data, as in ilastik."""
    options = [PROBABILITY, "--export_drange=(0,255)", "--export_dtype=uint8", "--output_format=numpy"]
    assert run(folder, *options, "--output_filename_format=p.npy") == 0
    assert np.load("p.npy").max() > 200


def test_the_old_name_of_the_segmentation(folder: Path) -> None:
    argv = [f"--project={folder / 'project.ilp'}", "--raw_data", str(folder / "raw.png")]
    assert cli.main([*argv, "--binary_data", str(folder / "seg.png"), "--table_filename=t.csv"]) == 0
    assert len(list(rows_of(Path("t.csv")))) == 44


def test_info_tells_about_objects(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info", str(folder / "project.ilp")]) == 0
    text = capsys.readouterr().out
    for part in (
        "Segmentation Image (--segmentation_image)",
        "2D Convex Hull Features: Convexity, DefectCenter (not classified)",
        "(margin 9 x 7)",
        "1 Round (7 labelled)",
        "233 feature columns",
        "100 x 90 x 1 with a halo of 30 x 25 x 0",
    ):
        assert part in text
    assert "problem" not in text
