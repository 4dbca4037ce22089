"""One export from plan to file: regions, axes, values, names, and what is refused before anything is computed."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from PIL import Image

from pixelforest.box import Box
from pixelforest.engine.axes import from_canonical
from pixelforest.engine.errors import ExportError
from pixelforest.engine.export.filenames import protect
from pixelforest.engine.export.images import ExportPlan, ResultInfo, check_exports, plan_export
from pixelforest.engine.export.settings import Defaults, resolve_settings
from pixelforest.engine.export.tile_sinks import open_export
from pixelforest.engine.formats import output_format
from pixelforest.engine.formats.spec import ImageSpec, ImageWriter, Scales
from pixelforest.engine.project.export_settings import StoredExportSettings
from pixelforest.engine.requests import ExportRequest

PROBABILITIES = ResultInfo("Probabilities", np.dtype("float32"), 2, (0.0, 1.0), "grayscale")
SEGMENTATION = ResultInfo("Simple Segmentation", np.dtype("uint8"), 1, (0, 1), "grayscale")
FEATURES = ResultInfo("Features", np.dtype("float32"), 7)
RESULTS = {r.name: r for r in (PROBABILITIES, SEGMENTATION, FEATURES)}


@dataclass(frozen=True)
class Lane:
    shape: tuple[int, ...]
    axes: str
    dataset_dir: Path
    nickname: str = "g"
    axis_units: Mapping[str, str] = field(default_factory=dict)
    resolution: Mapping[str, float] = field(default_factory=dict)
    scales: Scales | None = None


@pytest.fixture
def plane(tmp_path: Path) -> Lane:
    return Lane((1, 1, 12, 15, 3), "yxc", tmp_path)


@pytest.fixture
def volume(tmp_path: Path) -> Lane:
    return Lane((1, 14, 12, 15, 1), "zyx", tmp_path)


def plan(lane: Lane, protected=None, **asked) -> ExportPlan:
    (settings,) = resolve_settings(
        ExportRequest(**asked),
        StoredExportSettings(),
        Defaults(),
        results=tuple(RESULTS),
        project_dir=lane.dataset_dir,
        cwd=lane.dataset_dir,
    )
    return plan_export(RESULTS[settings.source], lane, settings, protected=protect(protected or {}))


def compute(planned: ExportPlan, lane: Lane) -> np.ndarray:
    """Values of the whole result, canonical."""
    shape = (*lane.shape[:4], planned.result.channels)
    values = np.random.default_rng(1).random(shape, np.float32)
    return (values * 3).astype(np.uint8) + np.uint8(1) if planned.result.dtype == np.uint8 else values


def export(planned: ExportPlan, lane: Lane, piece=(1, 3, 5, 4, 9)) -> tuple[list[Path], np.ndarray]:
    values = compute(planned, lane)
    target = open_export(planned)
    boxes = list(Box.whole(values.shape).split(piece))
    random.Random(0).shuffle(boxes)
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(target.write, box, values[box.slices()]) for box in boxes]:
            done.result()
    return target.finish(), values


def read_hdf5(path: Path, name: str = "exported_data") -> np.ndarray:
    with h5py.File(path) as file:
        return file[name][()]


def test_the_default_is_a_compressed_dataset_beside_the_input(plane: Lane) -> None:
    planned = plan(plane)
    assert planned.shown_path == f"{plane.dataset_dir / 'g_Probabilities.h5'}/exported_data"
    assert planned.region == Box((0,) * 5, (1, 1, 12, 15, 2))
    (file,), values = export(planned, plane)
    assert file == plane.dataset_dir / "g_Probabilities.h5"
    assert np.array_equal(read_hdf5(file), values[0, 0])


@pytest.mark.parametrize("axes", ["yx", "cyx", "xcy", "zyxc", "tzyxc", "xyzct"])
def test_default_axes_are_those_of_the_file_with_c(axes: str, tmp_path: Path) -> None:
    lane = Lane((1, 1, 12, 15, 1), axes, tmp_path)
    planned = plan(lane)
    assert planned.spec.axes == (axes if "c" in axes else axes + "c")
    (file,), values = export(planned, lane)
    assert np.array_equal(read_hdf5(file), from_canonical(values, planned.spec.axes))


@pytest.mark.parametrize("order", ["cyx", "tzcyx", "xyc"])
def test_axis_order(order: str, plane: Lane) -> None:
    (file,), values = export(plan(plane, output_axis_order=order), plane)
    assert np.array_equal(read_hdf5(file), from_canonical(values, order))


def test_an_order_may_leave_out_short_axes_only(plane: Lane, volume: Lane) -> None:
    (file,), values = export(plan(plane, output_axis_order="yx", export_source="Simple Segmentation"), plane)
    assert np.array_equal(read_hdf5(file), values[0, 0, ..., 0])
    with pytest.raises(ExportError, match="lacks c, but the result has 2 positions"):
        plan(plane, output_axis_order="yx")
    with pytest.raises(ExportError, match="lacks z, but the result has 14"):
        plan(volume, output_axis_order="yxc")
    assert plan(volume, output_axis_order="yxc", cutout_subregion="[(3,0,0,0),(4,None,None,None)]").spec.shape == (
        12,
        15,
        2,
    )


def test_a_region_is_all_that_is_taken(volume: Lane, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "pixelforest.export")
    planned = plan(
        volume, cutout_subregion="[(3,2,1,0),(12,-1,9,1)]", output_filename_format="{nickname}_{roi}_{z_stop:03d}"
    )
    assert planned.region == Box((0, 3, 2, 1, 0), (1, 12, 11, 9, 1))
    assert "exporting z 3:12, y 2:11, x 1:9, c 0:1 (pipeline order zyxc)" in caplog.text
    (file,), values = export(planned, volume)
    assert file.name == "g_[(3, 2, 1, 0), (12, 11, 9, 1)]_012.h5"
    assert np.array_equal(read_hdf5(file), values[0, 3:12, 2:11, 1:9, :1])


def test_only_boxes_that_meet_the_region_are_written(plane: Lane) -> None:
    target = open_export(plan(plane, output_format="numpy", cutout_subregion="[(4,4,0),(8,8,2)]"))
    target.write(Box((0,) * 5, (1, 1, 4, 15, 2)), np.zeros((1, 1, 4, 15, 2), np.float32))
    ones = np.ones((1, 1, 8, 15, 2), np.float32)
    target.write(Box((0, 0, 4, 0, 0), (1, 1, 12, 15, 2)), ones)
    (file,) = target.finish()
    assert np.array_equal(np.load(file), np.ones((4, 4, 2), np.float32))


def test_values_are_converted_piece_by_piece(plane: Lane, caplog: pytest.LogCaptureFixture) -> None:
    asked = {
        "export_dtype": "uint8",
        "pipeline_result_drange": "(0.0,1.0)",
        "export_drange": "(0,255)",
        "output_format": "hdf5",
    }
    (file,), values = export(plan(plane, **asked), plane)
    assert np.array_equal(read_hdf5(file), np.rint(values[0, 0] * np.float32(255)).astype(np.uint8))
    with h5py.File(file) as opened:
        assert opened["exported_data"].attrs["drange"].tolist() == [0, 255]
        assert opened["exported_data"].attrs["display_mode"] == "grayscale"
    assert not caplog.records


def test_wrapped_values_are_counted(plane: Lane, caplog: pytest.LogCaptureFixture) -> None:
    asked = {
        "export_source": "simple segmentation",
        "pipeline_result_drange": "(0,1)",
        "export_drange": "(0,255)",
        "output_format": "numpy",
    }
    (file,), values = export(plan(plane, **asked), plane)
    assert set(np.unique(np.load(file))) <= {255, 254, 253}
    count = int((values > 1).sum())
    assert f"{count} values do not fit uint8 and wrapped around (clip" in caplog.text
    (file,), _ = export(plan(plane, **asked, clip=True), plane)
    assert set(np.unique(np.load(file))) == {255}
    assert f"{count} values do not fit uint8 and were cut to its limits" in caplog.text


def test_metadata_reach_the_format(tmp_path: Path) -> None:
    lane = Lane(
        (1, 4, 5, 6, 1), "zyx", tmp_path, axis_units={"x": "µm", "z": "", "t": "s"}, resolution={"x": 0.5, "y": 0}
    )
    spec = plan(lane, cutout_subregion="[(1,2,0,1),(4,5,6,2)]").spec
    assert (spec.axes, spec.shape, spec.offset) == ("zyxc", (3, 3, 6, 1), (1, 2, 0, 1))
    assert (spec.axis_units, spec.resolution) == ({"x": "µm", "z": ""}, {"x": 0.5})
    assert (spec.drange, spec.display_mode) == ((0.0, 1.0), "grayscale")


def test_sequences_are_numbered_by_their_own_axis(volume: Lane) -> None:
    """Region z 3..12 gives 03..11 whatever axes stand in front."""
    asked = {
        "output_format": "png sequence",
        "export_source": "Simple Segmentation",
        "cutout_subregion": "[(3,5,0,0),(12,10,15,1)]",
    }
    planned = plan(volume, output_axis_order="tzyxc", **asked)
    assert planned.path.name == "g_Simple Segmentation_{slice_index}.png"
    files, values = export(planned, volume)
    assert files == list(planned.files)
    assert [f.name[-7:] for f in files] == [f"_{i:02d}.png" for i in range(3, 12)]
    with Image.open(files[4]) as picture:
        assert np.array_equal(np.asarray(picture), values[0, 7, 5:10, :, 0])
    by_row = plan(volume, output_axis_order="yzxc", output_filename_format="{slice_index}", **asked)
    files, values = export(by_row, volume)
    assert [f.name for f in files] == ["05.png", "06.png", "07.png", "08.png", "09.png"]
    with Image.open(files[1]) as picture:
        assert np.array_equal(np.asarray(picture), values[0, 3:12, 6, :, 0])


def test_sequences_need_three_axes(plane: Lane) -> None:
    with pytest.raises(ExportError, match="exactly three axes"):
        plan(plane, output_format="png sequence", export_source="Simple Segmentation")
    with pytest.raises(ExportError, match=r"output_filename_format=out_\{slice_index\}\.png"):
        plan(plane, output_format="png sequence", output_filename_format="out.png")


def test_multipage_tiff_says_that_it_has_its_own_order(volume: Lane, caplog: pytest.LogCaptureFixture) -> None:
    (file,), values = export(plan(volume, output_format="multipage tiff", output_axis_order="xyzc"), volume)
    assert "always has axes TZCYX; the order xyzc is not used" in caplog.text
    assert np.array_equal(tifffile.imread(file), np.moveaxis(values[0], 3, 1))
    caplog.clear()
    assert plan(volume, output_format="multipage tiff", output_axis_order="tzcyx").warnings == ()
    assert plan(volume, output_format="multipage tiff").spec.axes == "tzcyx"
    assert not caplog.records


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        pytest.param(
            {"output_format": "tiff", "export_source": "Features"},
            "7 channels, where it holds 1 or 2 or 3 or 4",
            id="tiff",
        ),
        pytest.param({"output_format": "jpg"}, "2 channels, where it holds 1 or 3", id="jpg"),
        pytest.param({"output_format": "bmp"}, "2 channels", id="bmp"),
        pytest.param({"output_format": "png", "export_source": "Features"}, "7 channels", id="png"),
    ],
)
def test_what_a_format_cannot_hold(asked: dict, problem: str, plane: Lane) -> None:
    with pytest.raises(ExportError, match=problem) as caught:
        plan(plane, **asked)
    assert "formats that can: " in str(caught.value)
    assert "hdf5" in str(caught.value)
    assert list(plane.dataset_dir.iterdir()) == []


def test_pictures_have_two_dimensions(volume: Lane) -> None:
    with pytest.raises(ExportError, match=r"3 dimensions \(z, y, x\), where it holds 2.*multipage tiff"):
        plan(volume, output_format="png")
    assert plan(volume, output_format="png", cutout_subregion="[(0,3,0,0),(-1,4,-1,None)]").spec.shape == (13, 1, 14, 2)


def test_long_integers_and_multipage_tiff(volume: Lane) -> None:
    stored = StoredExportSettings(format="multipage tiff", dtype="int64")
    (settings,) = resolve_settings(
        ExportRequest(),
        stored,
        Defaults(),
        results=tuple(RESULTS),
        project_dir=volume.dataset_dir,
        cwd=volume.dataset_dir,
    )
    with pytest.raises(ExportError, match=r"pixel type int64\); formats that can: .*numpy") as caught:
        plan_export(PROBABILITIES, volume, settings)
    assert "tiff" not in str(caught.value).split("formats that can")[1]


def test_inputs_and_the_project_are_safe(plane: Lane) -> None:
    raw = plane.dataset_dir / "g.h5"
    with pytest.raises(ExportError, match="is an input"):
        plan(plane, {raw: "an input"}, output_filename_format="{nickname}.h5")
    slice_file = plane.dataset_dir / "s_03.png"
    lane = Lane((1, 14, 12, 15, 1), "zyxc", plane.dataset_dir)
    asked = {
        "output_format": "png sequence",
        "export_source": "Simple Segmentation",
        "output_filename_format": "s_{slice_index}.png",
    }
    with pytest.raises(ExportError, match=r"s_03\.png is an input"):
        plan(lane, {slice_file: "an input"}, **asked)


def test_two_lanes_must_not_meet(plane: Lane) -> None:
    other = Lane(plane.shape, plane.axes, plane.dataset_dir, "h")
    check_exports([(0, plan(plane)), (1, plan(other))])
    same = {"output_filename_format": "all.h5"}
    with pytest.raises(ExportError, match="lanes 1 and 2 would both be written"):
        check_exports([(0, plan(plane, **same)), (1, plan(other, **same))])
    apart = same | {"output_internal_path": "{nickname}"}
    check_exports([(0, plan(plane, **apart)), (1, plan(other, **apart))])


def test_datasets_in_containers_have_names(plane: Lane) -> None:
    (file,), values = export(plan(plane, output_internal_path="/volume/{nickname}_{x_stop}"), plane)
    assert np.array_equal(read_hdf5(file, "volume/g_15"), values[0, 0])
    for name in ("/", "a//b", "a/../b", "./a"):
        with pytest.raises(ExportError, match="is not the name of a dataset"):
            plan(plane, output_internal_path=name)


def test_abort_never_raises(plane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    target = open_export(plan(plane, output_format="numpy"))
    target.write(Box((0,) * 5, (1, 1, 2, 2, 2)), np.zeros((1, 1, 2, 2, 2), np.float32))
    target.abort()
    assert list(plane.dataset_dir.iterdir()) == []
    target = open_export(plan(plane, output_format="numpy"))
    monkeypatch.setattr(target._writer, "abort", lambda: 1 / 0)
    target.abort()


def test_what_is_stored_as_one_piece_is_known_before_the_file_is_open(volume: Lane) -> None:
    for name in ("hdf5", "n5", "multi-scale OME-Zarr", "png sequence", "numpy"):
        planned = plan(volume, output_format=name, output_axis_order="cxyz" if name == "hdf5" else None)
        if name == "numpy":
            assert planned.grid is None
            continue
        target = open_export(planned)
        assert planned.grid is not None
        assert target.grid == planned.grid
        assert all(n <= m for n, m in zip(planned.grid.shape, target.region.shape[1:4], strict=True))
        sizes = dict(zip(planned.spec.axes, target._writer.chunks or (), strict=True))
        assert planned.grid.shape == tuple(sizes[a] for a in "zyx")
        target.abort()


def test_clipping_is_a_warning(plane: Lane, caplog: pytest.LogCaptureFixture) -> None:
    planned = plan(plane, cutout_subregion="[(0,0,0),(99,99,99)]")
    assert len(planned.warnings) == 1
    assert [r.levelno for r in caplog.records] == [logging.WARNING]
    assert planned.region.shape == (1, 1, 12, 15, 2)


def test_a_url_goes_to_the_format_as_it_is(plane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ExportError, match="the format numpy is written to files, not to http://host//a/g"):
        plan(plane, output_format="numpy", output_filename_format="http://host//a/{nickname}")
    opened = []
    numpy = output_format("numpy")

    def open_url(url: str, internal_path: str, spec: ImageSpec) -> ImageWriter:
        opened.append(url)
        return numpy.open(plane.dataset_dir / "stored.npy", internal_path, spec)

    monkeypatch.setattr("pixelforest.engine.export.settings.output_format", lambda _: replace(numpy, open_url=open_url))
    planned = plan(plane, output_format="numpy", output_filename_format="http://host//a/{nickname}")
    assert planned.path == planned.shown_path == "http://host//a/g.npy"
    assert planned.files == ("http://host//a/g.npy",)
    export(planned, plane)
    assert opened == ["http://host//a/g.npy"]
    with pytest.raises(ExportError, match=r"two results of lane 1 would both be written to http://host//a/g.npy"):
        check_exports([(0, planned), (0, planned)])
