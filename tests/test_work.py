"""Work, counted instead of timed: numbers that must not grow unnoticed, on any machine."""

from __future__ import annotations

import builtins
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image
from support.golden import GOLDEN
from support.open_comparisons import measure_open_share

from pixelforest import cli, kernels
from pixelforest.box import Box
from pixelforest.engine.pixels import classify, lane
from pixelforest.engine.pixels.classify import PixelClassifier, RawKind, ResultRequest, prepare_classifier
from pixelforest.engine.workflows import read_project
from pixelforest.kernels.contract import Backend
from pixelforest.kernels.shared.plan import pack_plan
from pixelforest.kernels.shared.program import OP, PARITIES, SUMS, Op, Sums
from pixelforest.testing.kernel_inputs import make_plan

ALL_SCALES = (0.3, 0.7, 1.0, 1.6, 3.5, 5.0, 10.0)
PROJECT = GOLDEN / "px2d_gray" / "project.ilp"
RAW = GOLDEN / "px2d_gray" / "raw.png"


@pytest.mark.parametrize(
    ("flat", "filters", "passes", "formulas"), [(True, 21, 16, 8), (False, 48, 39, 11)], ids=["2-d", "3-d"]
)
def test_passes_of_a_scale_with_every_feature(flat: bool, filters: int, passes: int, formulas: int) -> None:
    """Equal intermediates are computed once, and those of the same voxels together: 18 channels take 21 filters in 16
    passes or less in 2-d, 25 take 48 in 39 in 3-d, not 3 a channel."""
    plan = pack_plan(make_plan([(scale, flat) for scale in ALL_SCALES]))
    for first, stop in zip(plan.first[:-1], plan.first[1:], strict=True):
        operations = plan.instructions[first:stop, OP]
        is_filter = operations <= Op.FILTER_Z
        assert sum(len(PARITIES[Sums(sums)]) for sums in plan.instructions[first:stop, SUMS][is_filter]) == filters
        assert np.count_nonzero(is_filter) <= passes
        assert np.count_nonzero((operations > Op.FILTER_Z) & (operations != Op.EMIT)) == formulas


def test_a_forest_is_cut_to_a_fraction_for_a_bundle() -> None:
    """Comparisons left to a bundle of 32 blocks: about half where the image changes slowly, none where it is flat."""
    backend = kernels.load("cpu")
    slow = np.kron(_pixels()[:, :6, :8], np.ones((1, 16, 16, 1), np.uint8))
    assert 0 < _open_share(backend, slow) < 0.6
    assert _open_share(backend, np.full_like(slow, 7)) == 0


def _open_share(backend: Backend, pixels: np.ndarray) -> float:
    """The share of a forest's comparisons that the bounds of 4 x 8 blocks of 8 x 8 voxels leave open."""
    classifier = _classifier(backend)
    corners = ((0, 32, 32), (1, 64, 96))
    image = backend.pixels.to_device(pixels.transpose(3, 0, 1, 2))
    features = backend.pixels.features(
        backend.pixels.feature_stack(image, (0, 0, 0), corners, classifier.image, classifier.plan)
    )
    blocks = np.asarray(features).reshape(4, 8, 8, 8, -1).transpose(4, 0, 2, 1, 3).reshape(classifier.columns, 32, 64)
    return measure_open_share(classifier.forest, blocks)


def test_a_tile_allocates_no_more_than_it_says(backend: Backend) -> None:
    classifier = _classifier(backend)
    tile, source = Box((0, 8, 8), (1, 72, 104)), _pixels()
    needed = classifier.tile_bytes(tile.shape, source.shape[:3])

    def compute() -> None:
        classifier.results(tile, source, (0, 0, 0), None, {"Probabilities": ResultRequest()})

    compute()  # buffers of a thread are kept from its first tile on
    tracemalloc.start()
    try:
        compute()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 0 < peak <= needed


def test_files_opened_for_a_lane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture is opened to see what it is, to check it and to compute it, and its result by HDF5; nothing else is."""
    counts: list[int] = []
    for lanes in (2, 6):
        for i in range(lanes):
            (tmp_path / f"i{i}.png").write_bytes(RAW.read_bytes())
        opened = _count_opened(monkeypatch, tmp_path)
        pattern = f"--output_filename_format={tmp_path}/out{lanes}_{{nickname}}.h5"
        inputs = [str(tmp_path / f"i{i}.png") for i in range(lanes)]
        assert cli.main(["--headless", f"--project={PROJECT}", "--quiet", pattern, *inputs]) == 0
        counts.append(opened())
        monkeypatch.undo()
    assert counts[1] - counts[0] == 4 * 4  # four lanes more


def test_lanes_of_a_kind_are_planned_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Feature plans, classifiers and tiles are those of the first of them."""
    counts = []
    for lanes in (2, 6):
        calls: list[str] = []
        for module, name in ((lane, "plan_tiles"), (classify, "PixelClassifier")):
            monkeypatch.setattr(module, name, _counted(getattr(module, name), calls))
        for i in range(lanes):
            (tmp_path / f"i{i}.png").write_bytes(RAW.read_bytes())
        pattern = f"--output_filename_format={tmp_path}/out{lanes}_{{nickname}}.h5"
        inputs = [str(tmp_path / f"i{i}.png") for i in range(lanes)]
        assert cli.main(["--headless", f"--project={PROJECT}", "--quiet", "--threads=2", pattern, *inputs]) == 0
        counts.append(sorted(calls))
        monkeypatch.undo()
    assert counts[0] == counts[1] == ["PixelClassifier", "plan_tiles"]


def _counted(action: Callable[..., Any], calls: list[str]) -> Callable[..., Any]:
    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(action.__name__)
        return action(*args, **kwargs)

    return counted


def _count_opened(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Callable[[], int]:
    """Count files opened in a folder from now on, by Python or by HDF5."""
    found: list[str] = []
    plain, hdf5 = builtins.open, h5py.File.__init__

    def counted_open(file: Any, *args: Any, **kwargs: Any) -> Any:
        if str(file).startswith(str(folder)):
            found.append(str(file))
        return plain(file, *args, **kwargs)

    def counted_hdf5(self: h5py.File, name: Any, *args: Any, **kwargs: Any) -> None:
        found.append(str(name))
        hdf5(self, name, *args, **kwargs)

    monkeypatch.setattr(builtins, "open", counted_open)
    monkeypatch.setattr("io.open", counted_open)
    monkeypatch.setattr(h5py.File, "__init__", counted_hdf5)
    return lambda: len(found)


def _pixels() -> np.ndarray:
    """A part of a real image (z, y, x, c)."""
    return np.asarray(Image.open(RAW))[np.newaxis, :96, :128, np.newaxis]


def _classifier(backend: Backend) -> PixelClassifier:
    pixels = _pixels()
    return prepare_classifier(read_project(PROJECT), backend, RawKind.of((1, *pixels.shape), pixels.dtype))
