"""Two stages of a tile: the second one sees the probabilities of the first as further channels of the image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ...kernels.contract import Backend, Conversion, ResultPlan, StagedSource, TileJob, Voxels, Wanted
from ...kernels.shared.stages import stack_stages
from ..kernel_inputs import assert_same_bits, make_plan, random_forest, random_image
from .small import small

FLOAT32 = np.dtype(np.float32)
UNCHANGED = Conversion(FLOAT32, FLOAT32)
SIZE = (1, 14, 40)
TILE = ((0, 3, 8), (1, 12, 31))
CLASSES = (3, 2)


def grow(box: tuple[Voxels, Voxels], halo: Voxels) -> tuple[Voxels, Voxels]:
    """Grow a box by a halo, as far as the image goes."""
    low = [max(a - m, 0) for a, m in zip(box[0], halo, strict=True)]
    high = [min(b + m, n) for b, m, n in zip(box[1], halo, SIZE, strict=True)]
    return (low[0], low[1], low[2]), (high[0], high[1], high[2])


class StageSuite:
    """Two stages of a tile: equality with two tiles, one after the other, that pass through the host."""

    @small
    @pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int32", "uint32", "int64", "float32", "float64"])
    def test_the_second_stage_sees_the_first(self, backend: Backend, dtype: str) -> None:
        pixels, rng = backend.pixels, np.random.default_rng(4)
        image = random_image((1, *SIZE), dtype=dtype)
        spread = float(np.abs(image.astype(np.float64)).mean())
        plans, forests, wanted = [], [], []
        for channels, classes in zip((1, 1 + CLASSES[0]), CLASSES, strict=True):
            plan = make_plan([(0.7, True)], channels=channels, operations=("gaussian", "gradient_magnitude"))
            grown = random_forest(rng, trees=7, columns=plan.width, classes=classes, pure=True, depth=4, spread=spread)
            plans.append(pixels.load_plan(plan))
            forests.append(pixels.load_forest([grown], use="tiles"))
            wanted.append(ResultPlan((), classes, (Wanted("probabilities", (0, classes), UNCHANGED),)))
        halos = [pixels.source_halo(each) for each in plans]
        inner = grow(TILE, halos[1])
        start, stop = grow(inner, halos[0])
        source = image[(slice(None), *(slice(a, b) for a, b in zip(start, stop, strict=True)))]
        first = TileJob(source, start, inner, SIZE, None, plans[0], forests[0], wanted[0])
        staged = StagedSource(first, halos[0], image.dtype)
        through_host = stack_stages(staged, pixels.tile_results)
        assert len(np.unique(through_host[1:])) > 2 or dtype in ("int32", "int64")
        results = replace(wanted[1], wanted=(*wanted[1].wanted, Wanted("features", (0, plan.width), UNCHANGED)))
        found, expected = (
            pixels.tile_results(TileJob(each, inner[0], TILE, SIZE, None, plans[1], forests[1], results))
            for each in (staged, through_host)
        )
        for one, other in zip(found, expected, strict=True):
            assert_same_bits(one.values, other.values)
