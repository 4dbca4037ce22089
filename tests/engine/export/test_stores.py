"""Results that are folders: which of them are replaced, which refused, and what comes of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import zarr

from pixelforest.box import Box
from pixelforest.engine.errors import ExportError
from pixelforest.engine.export.filenames import protect
from pixelforest.engine.export.images import ExportPlan, ResultInfo, plan_export
from pixelforest.engine.export.settings import Defaults, resolve_settings
from pixelforest.engine.export.tile_sinks import open_export
from pixelforest.engine.formats.spec import Scales
from pixelforest.engine.project.export_settings import StoredExportSettings
from pixelforest.engine.requests import ExportRequest

SINGLE = "single-scale OME-Zarr"
SEGMENTATION = ResultInfo("Simple Segmentation", np.dtype("uint8"), 1, (0, 1), "grayscale", is_labels=True)


@dataclass(frozen=True)
class Lane:
    dataset_dir: Path
    shape: tuple[int, ...] = (1, 1, 12, 15, 3)
    axes: str = "yxc"
    nickname: str = "g"
    axis_units: Mapping[str, str] = field(default_factory=dict)
    resolution: Mapping[str, float] = field(default_factory=dict)
    scales: Scales | None = None


def plan(lane: Lane, protected=None, **asked) -> ExportPlan:
    (settings,) = resolve_settings(
        ExportRequest(**{"output_format": SINGLE, **asked}),
        StoredExportSettings(),
        Defaults(),
        results=(SEGMENTATION.name,),
        project_dir=lane.dataset_dir,
        cwd=lane.dataset_dir,
    )
    return plan_export(SEGMENTATION, lane, settings, protected=protect(protected or {}))


def export(planned: ExportPlan) -> Path:
    target = open_export(planned)
    target.write(planned.region, np.ones(planned.region.shape, np.uint8))
    (path,) = target.finish()
    return path


def test_what_is_asked_for_reaches_the_writer(tmp_path: Path) -> None:
    scales = Scales("s3", {"s3": {"y": 12, "x": 15}})
    planned = plan(Lane(tmp_path, scales=scales), overwrite=True, ome_zarr_version="0.5")
    assert planned.path == tmp_path / "g_Simple Segmentation.zarr"
    spec = planned.spec
    assert (spec.axes, spec.is_labels, spec.scales) == ("tczyx", True, scales)
    assert (spec.version, spec.may_replace) == ("0.5", True)
    path = export(planned)
    assert (path / "s3" / "zarr.json").exists()
    assert zarr.open_array(str(path / "s3"), mode="r").shape == (1, 1, 1, 12, 15)


def test_a_store_that_exists_is_refused_before_computing(tmp_path: Path) -> None:
    lane = Lane(tmp_path)
    export(plan(lane))
    with pytest.raises(ExportError, match=r"g_Simple Segmentation\.zarr: it exists; overwrite"):
        plan(lane)
    export(plan(lane, overwrite=True))


def test_a_store_that_appears_while_computing_is_kept(tmp_path: Path) -> None:
    first, second = plan(Lane(tmp_path)), plan(Lane(tmp_path))
    target = open_export(second)
    target.write(second.region, np.zeros(second.region.shape, np.uint8))
    path = export(first)
    with pytest.raises(ExportError, match="it exists"):
        target.finish()
    assert zarr.open_array(str(path / "s0"), mode="r")[...].all()
    assert list(tmp_path.iterdir()) == [path]


def test_inputs_in_a_store_are_never_replaced(tmp_path: Path) -> None:
    lane = Lane(tmp_path)
    path = export(plan(lane))
    for file in (path, path / "s0"):
        with pytest.raises(ExportError, match="an input"):
            plan(lane, protected={file: "an input"}, overwrite=True)


def test_a_cutout_knows_where_it_was(tmp_path: Path) -> None:
    planned = plan(Lane(tmp_path), cutout_subregion="[(2,3,0),(9,10,1)]")
    assert planned.region == Box((0, 0, 2, 3, 0), (1, 1, 9, 10, 1))
    assert planned.spec.offset == (0, 0, 0, 2, 3)
    assert '"translation": [' in (export(planned) / ".zattrs").read_text(encoding="utf-8")
