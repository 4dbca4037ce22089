"""Images, projects and exports in memory, and whole jobs computed with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from unittest.mock import patch

import numpy as np

from pixelforest.box import Box
from pixelforest.engine.export.images import ResultInfo
from pixelforest.engine.pixels.results import RESULTS
from pixelforest.engine.project import Classifier, FeatureSelection, StoredForest
from pixelforest.engine.resources import Resources
from pixelforest.engine.tiling import groups, plan
from pixelforest.engine.tiling.groups import ChunkGrid
from pixelforest.engine.workflows.pixel.flow import MASK, RAW, classify_lane, result_infos
from pixelforest.kernels.contract import Backend
from pixelforest.testing.kernel_inputs import random_forest

IDS = (
    "GaussianSmoothing",
    "LaplacianOfGaussian",
    "GaussianGradientMagnitude",
    "DifferenceOfGaussians",
    "StructureTensorEigenvalues",
    "HessianOfGaussianEigenvalues",
)
NAMES = tuple(result.name for result in RESULTS)
PLENTY = 1 << 34
# (t, z, y, x, c); wide enough for the x pass to be fused in part and for more than one cell of a backend.
SHAPES = {"flat": (2, 1, 45, 300, 2), "solid": (1, 12, 37, 150, 1), "mixed": (1, 9, 35, 133, 1)}


@dataclass(eq=False)
class Image:
    """An image in memory, as ``engine.inputs.InputImage`` shows one to the workflow."""

    data: np.ndarray
    path_text: str = "in memory"
    drange: None = None
    reads: list[Box] = field(default_factory=list)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def dtype(self) -> np.dtype:
        return self.data.dtype

    def read(self, box: Box) -> np.ndarray:
        assert Box.whole(self.data.shape).contains(box)
        self.reads.append(box)
        return self.data[box.slices()].copy()


class Export:
    """A result in memory, as ``engine.export.tile_sinks.TileSink``; every voxel of its region must come once."""

    def __init__(self, info: ResultInfo, region: Box) -> None:
        channels = info.channels
        self.region = Box((*region.start[:4], 0), (*region.stop[:4], channels))
        self.data = np.zeros(self.region.shape, info.dtype)
        self.written = np.zeros(self.region.shape, np.uint8)
        self.bytes_per_voxel = channels * info.dtype.itemsize
        self.held_bytes = 0
        self.grid: ChunkGrid | None = None
        self.conversion = None

    def write(self, box: Box, data: np.ndarray) -> None:
        assert self.region.contains(box)
        assert data.dtype == self.data.dtype
        place = box.relative_to(self.region.start).slices()
        self.data[place] = data
        self.written[place] += 1


@dataclass(eq=False)
class Project:
    features: FeatureSelection
    classifier: Classifier
    lanes: tuple[()] = ()


@cache
def make_project(kind: str) -> Project:
    scales = (0.3, 1.0, 1.6) if kind == "flat" else (0.7, 1.6)
    slicewise = {"flat": (True,) * 3, "solid": (False, False), "mixed": (False, True)}[kind]
    selection = FeatureSelection(IDS, scales, ((True,) * len(scales),) * len(IDS), slicewise)
    channels = SHAPES[kind][4]
    columns = channels * sum(4 + 2 * (2 if flat else 3) for flat in slicewise)
    rng = np.random.default_rng(len(kind))
    forests = []
    for i, trees in enumerate((13, 10)):
        grown = random_forest(rng, trees=trees, columns=columns, classes=3, pure=kind != "mixed", depth=6, spread=60)
        forests.append(StoredForest(f"Forest{i:04d}", grown.trees, 3, columns, False))
    labels = ("one", "two", "three", "four") if kind == "flat" else ("one", "two", "three")
    known = (1, 2, 4) if kind == "flat" else (1, 2, 3)
    return Project(
        selection, Classifier(tuple(forests), known, labels, None, "ParallelVigraRfLazyflowClassifier", True)
    )


@cache
def make_image(kind: str) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 255, SHAPES[kind]).astype(np.uint8)


def make_mask(kind: str) -> np.ndarray:
    """Half of the image, in one piece and in single voxels."""
    shape = (*SHAPES[kind][:4], 1)
    mask = np.random.default_rng(2).integers(0, 2, shape).astype(np.uint8) * 3
    mask[..., : shape[3] // 3, :] = 0
    return mask


def classify(
    kind: str,
    backend: Backend,
    *,
    region: Box | None = None,
    threads: int = 1,
    tile: tuple[int, int, int] | None = None,
    chunk: tuple[int, int, int] | None = None,
    mask: np.ndarray | None = None,
    names: tuple[str, ...] = NAMES,
) -> dict[str, np.ndarray]:
    """Every result of a region (t, z, y, x) of the image, and a check that each voxel was written and counted once.

    tile    the largest tile the plan may use; None: whatever it would use
    chunk   what the results are stored in, so that tiles come in groups; None: nothing that matters
    """
    project, raw = make_project(kind), Image(make_image(kind))
    region = region or Box.whole(raw.shape[:4])
    infos = result_infos(project, {RAW: raw})
    exports = {name: Export(infos[name], Box((*region.start, 0), (*region.stop, 1))) for name in names}
    for export in exports.values():
        export.grid = None if chunk is None else ChunkGrid(chunk, 1.0)
    images: Mapping = {RAW: raw} if mask is None else {RAW: raw, MASK: Image(mask)}
    counts: list[int] = []
    with (
        patch.multiple(plan, FLAT_TILE=tile or plan.FLAT_TILE, SOLID_TILE=tile or plan.SOLID_TILE),
        patch.object(groups, "FREE_BYTES", 0),
    ):
        classify_lane(
            project, images, exports, resources=Resources(backend, threads, PLENTY), on_progress=counts.append
        )
    assert sum(counts) == region.size
    for export in exports.values():
        assert (export.written == 1).all()
    return {name: export.data for name, export in exports.items()}


@cache
def whole(kind: str, backend: Backend, *, masked: bool = False) -> dict[str, np.ndarray]:
    """The image in one tile a time point, on one thread."""
    return classify(kind, backend, mask=make_mask(kind) if masked else None)


def assert_same_part(found: dict[str, np.ndarray], expected: dict[str, np.ndarray], region: Box) -> None:
    for name, values in found.items():
        part = np.ascontiguousarray(expected[name][region.slices()])
        assert values.tobytes() == part.tobytes(), name
