"""The results of a tile: features, forest, and what shared/results.py makes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...contract import ResultPlan, TileResult, Voxels
from ...shared.results import MADE_OF_PROBABILITIES, assemble_probabilities, finish_result

if TYPE_CHECKING:
    from ..backend import CpuBackend


def tile_results(
    backend: CpuBackend,
    source: np.ndarray,
    start: Voxels,
    tile: tuple[Voxels, Voxels],
    image: Voxels,
    active: np.ndarray | None,
    plan: Any,
    forest: Any,
    results: ResultPlan,
) -> tuple[TileResult, ...]:
    """See ``contract.Backend``. Where nothing asks for features, a tile that is masked out costs nothing."""
    wants_features = any(w.result == "features" for w in results.wanted)
    wants_classes = any(w.result != "features" for w in results.wanted)
    is_masked_out = active is not None and not active.any()
    extent = tuple(b - a for a, b in zip(*tile, strict=True))
    features = probabilities = np.zeros((*extent, results.classes), np.float32)
    if wants_features or (wants_classes and not is_masked_out):
        stack = backend.feature_stack(backend.to_device(source), start, tile, image, plan)
        if wants_features:
            features = backend.features(stack)
        if wants_classes and not is_masked_out:
            probabilities = assemble_probabilities(backend.predict(stack, forest), active, results)
    return tuple(
        finish_result(features if w.result == "features" else MADE_OF_PROBABILITIES[w.result](probabilities), w)
        for w in results.wanted
    )
