"""Work on a lane is a value: a process that was started for it computes the same bits as the run itself."""

from __future__ import annotations

import pickle
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.golden import GOLDEN
from support.other_process import MEMORY_BYTES, Frame, Tiles, compute_elsewhere

from pixelforest.box import Box
from pixelforest.cli import build_request
from pixelforest.engine.export.tables import open_table
from pixelforest.engine.export.tile_sinks import open_export
from pixelforest.engine.inputs.images import reopen_images
from pixelforest.engine.jobs import Job, resolve_job
from pixelforest.engine.pixels.annotations import find_annotations
from pixelforest.engine.pixels.classify import ResultRequest, prepare_classifier
from pixelforest.engine.pixels.results import LABELS, RESULTS
from pixelforest.engine.pixels.tiles import TileWork
from pixelforest.engine.project.pixel_project import RAW
from pixelforest.engine.run.batch import check_batch, run_batch
from pixelforest.engine.run.check import LaneCheck
from pixelforest.engine.workflows import load_workflow
from pixelforest.engine.workflows.objects.flow import start_table
from pixelforest.frontend.options import parse_command_line
from pixelforest.frontend.options_table import OPTIONS

MakeJob = Callable[..., Job]


@pytest.fixture
def make_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeJob:
    """Make the job of a golden folder that exports every result to <place>/<result>.npy; its inputs are relative."""

    def make(folder: str, inputs: str, *, place: str = "whole", table: str | None = None) -> Job:
        monkeypatch.chdir(GOLDEN / folder)
        out = tmp_path / place
        argv = ["--project=project.ilp", "--device=cpu", "--threads=2", f"--memory={MEMORY_BYTES >> 20}M"]
        argv += ["--output_format=numpy", "--output_axis_order=tzyxc", *shlex.split(inputs)]
        request = build_request(parse_command_line(OPTIONS, argv))
        project = resolve_job(request).project
        names = ",".join(load_workflow(project.workflow).result_names(project))
        return resolve_job(
            replace(
                request,
                export_source=names,
                output_filename_format=f"{out}/{{result_type}}.npy",
                table_filename=None if table is None else str(out / table),
            )
        )

    return make


def check(job: Job) -> LaneCheck:
    (lane,) = check_batch(job).lanes
    assert lane.error is None
    return lane


def arrays(folder: Path) -> dict[str, np.ndarray]:
    return {file.stem: np.load(file) for file in sorted(folder.glob("*.npy"))}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "inputs", "cuts"),
    [
        ("px2d_gray", "raw.png", (1, 1, 70, 100)),
        ("px2d_mask", "--raw_data raw.png --prediction_mask mask.png", (1, 1, 50, 60)),
        ("px3d", "--raw_data raw.h5/data", (1, 20, 40, 64)),
    ],
)
def test_tiles(folder: str, inputs: str, cuts: tuple[int, ...], make_job: MakeJob, tmp_path: Path) -> None:
    job = make_job(folder, inputs)
    assert run_batch(job).status == 0
    whole = arrays(tmp_path / "whole")
    assert whole.keys() == {result.name for result in RESULTS}
    lane = check(make_job(folder, inputs, place="other"))
    refs = {role: image.ref for role, image in lane.images.items()}
    with reopen_images(refs) as images:
        annotations = find_annotations(job.project, images[RAW], RAW)  # type: ignore[arg-type]
    requests = {name: ResultRequest() for name in whole}
    work = TileWork(job.project, prepare_classifier, requests, {LABELS: annotations}, is_masked=True)
    shape = lane.images[RAW].shape
    tiles = tuple(Box.whole(shape).split((*cuts, shape[4])))
    assert len(tiles) > 3
    first, last = compute_elsewhere([Tiles(work, refs, tiles[:2]), Tiles(work, refs, tiles[2:])])
    for tile, computed in zip(tiles, first + last, strict=True):
        place = Box(tile.start[:4], tile.stop[:4]).slices()
        assert computed.results.keys() == whole.keys()
        for name, result in computed.results.items():
            expected = np.ascontiguousarray(whole[name][place][0])
            assert result.values.dtype == expected.dtype
            assert result.values.tobytes() == expected.tobytes(), (name, tile)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "inputs"),
    [
        ("obj2dt_seg", "--raw_data raw.h5/data --segmentation_image seg.h5/data"),
        ("obj2dt_pred_hyst_all", "--raw_data raw.h5/data --prediction_maps pred.h5/data"),
        ("obj2d_label", "--raw_data raw.h5/data --label_image labels.h5/data"),
        ("pcoc2d", "--raw_data raw.png"),
    ],
)
def test_frames(folder: str, inputs: str, make_job: MakeJob, tmp_path: Path) -> None:
    job = make_job(folder, inputs, table="t.csv")
    assert run_batch(job).status == 0
    lane = check(make_job(folder, inputs, place="other", table="t.csv"))
    refs = {role: image.ref for role, image in lane.images.items()}
    times = range(lane.images["Raw Data"].shape[0])
    frames = [Frame(job.project, refs, lane.exports, time) for time in times]  # type: ignore[arg-type]
    computed = compute_elsewhere(frames)

    exports = {name: open_export(plan) for name, plan in lane.exports.items()}
    assert lane.table is not None
    table = open_table(lane.table)
    with reopen_images(refs) as images:
        rows = start_table(table, job.project, images)  # type: ignore[arg-type]
        for parts, found in computed:
            for name, boxes in parts.items():
                for box, data in boxes:
                    exports[name].write(box, data)
            for objects in found.found:
                rows.add(*objects)
    for target in (*exports.values(), table):
        target.finish()

    whole, other = arrays(tmp_path / "whole"), arrays(tmp_path / "other")
    assert whole.keys() == other.keys() == set(lane.exports)
    for name, expected in whole.items():
        assert other[name].dtype == expected.dtype
        assert other[name].tobytes() == expected.tobytes(), name
    assert (tmp_path / "other" / "t.csv").read_bytes() == (tmp_path / "whole" / "t.csv").read_bytes()


@pytest.mark.parametrize("name", ["numpy", "tiff", "png sequence", "compressed hdf5", "n5", "multi-scale OME-Zarr"])
def test_a_format_is_pickled_by_its_name(name: str) -> None:
    from pixelforest.engine.formats import output_format

    assert pickle.loads(pickle.dumps(output_format(name))).name == name


@pytest.mark.parametrize("extension", ["csv", "h5", "parquet"])
def test_a_format_of_tables_is_pickled_by_its_extension(extension: str) -> None:
    from pixelforest.engine.formats import table_format

    found = table_format(Path(f"t.{extension}"))
    assert pickle.loads(pickle.dumps(found)).name == found.name
