"""Projects of Autocontext and images in memory, and whole jobs computed with them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from unittest.mock import patch

import numpy as np
from support.tile_jobs import IDS, PLENTY, Export, Image

from pixelforest.box import Box
from pixelforest.engine.pixels.autocontext import NAMES
from pixelforest.engine.project import Classifier, FeatureSelection, PixelProject, StoredExportSettings, StoredForest
from pixelforest.engine.project.autocontext_project import AutocontextProject
from pixelforest.engine.resources import Resources
from pixelforest.engine.tiling import plan
from pixelforest.engine.workflows.autocontext import flow as autocontext
from pixelforest.engine.workflows.pixel.flow import RAW
from pixelforest.kernels.contract import Backend
from pixelforest.testing.kernel_inputs import random_forest

# (t, z, y, x, c); the halo of both stages together is larger than some axes and smaller than others.
SHAPES = {"flat": (2, 1, 70, 190, 2), "mixed": (1, 14, 40, 75, 1)}
LABELS = tuple(name for name in NAMES if name.startswith("Labels"))
COMPUTED = tuple(name for name in NAMES if name not in LABELS)
DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32")


@cache
def make_project(kind: str) -> AutocontextProject:
    channels, classes = SHAPES[kind][4], (3, 2)
    first = make_stage(kind, channels, classes[0], (0.7, 1.6))
    second = make_stage(kind, channels + classes[0], classes[1], (1.0, 3.5) if kind == "flat" else (1.0, 1.6))
    return AutocontextProject(**first.shared(), stages=(first, second))


def make_stage(kind: str, channels: int, classes: int, scales: tuple[float, float]) -> PixelProject:
    flat = (True, kind == "flat")
    selection = FeatureSelection(IDS, scales, ((True, False), (True, True)) * 3, flat)
    columns = channels * selection.columns_per_channel()
    rng = np.random.default_rng(len(kind) + channels)
    grown = random_forest(rng, trees=15, columns=columns, classes=classes, pure=True, depth=6, spread=60)
    forest = StoredForest("Forest0000", grown.trees, classes, columns, False)
    labels = tuple(f"class {i}" for i in range(classes))
    known = tuple(range(1, classes + 1))
    return PixelProject(
        path=Path("/made.ilp"),
        version="1.4.0",
        workflow="Autocontext (2-stage)",
        roles=("Raw Data", "Prediction Mask"),
        lanes=(),
        export=StoredExportSettings(),
        features=selection,
        classifier=Classifier((forest,), known, labels, None, "ParallelVigraRfLazyflowClassifier", True),
        labels_group="PixelClassification",
    )


@cache
def make_image(kind: str, dtype: str) -> np.ndarray:
    noise = np.random.default_rng(1).integers(0, 100, SHAPES[kind])
    return (noise - (50 if dtype.startswith("int") else 0)).astype(dtype)


def classify(
    project: AutocontextProject,
    raw: np.ndarray,
    backend: Backend,
    *,
    names: tuple[str, ...] = COMPUTED,
    region: Box | None = None,
    threads: int = 1,
    tile: tuple[int, int, int] | None = None,
) -> dict[str, np.ndarray]:
    images = {RAW: Image(raw)}
    infos = autocontext.result_infos(project, images)  # type: ignore[arg-type]
    region = region or Box.whole(raw.shape[:4])
    exports = {name: Export(infos[name], region) for name in names}
    with patch.multiple(plan, FLAT_TILE=tile or plan.FLAT_TILE, SOLID_TILE=tile or plan.SOLID_TILE):
        autocontext.classify_lane(
            project, images, exports, resources=Resources(backend, threads, PLENTY), on_progress=lambda n: None
        )  # type: ignore[arg-type]
    for export in exports.values():
        assert (export.written == 1).all()
    return {name: export.data for name, export in exports.items()}
