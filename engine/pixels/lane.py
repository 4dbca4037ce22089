"""Classification of the pixels of a lane: plan tiles → features → forests → results → export.

Kinds of projects share it; they differ in how their classifiers are loaded (``tiles.Prepare``).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache

import numpy as np

from ...box import Box
from ...frozen import frozen
from ...kernels.contract import Conversion, TileResult
from ..export.tile_sinks import TileDemand, TileSink
from ..inputs.images import InputImage
from ..project import PixelProject, Project
from ..project.pixel_project import RAW
from ..resources import Resources
from ..tiling.groups import ChunkGrid, choose_grid
from ..tiling.plan import TileCost, needed_bytes, plan_tiles
from ..tiling.stream import stream_tiles
from ..tiling.work_plan import WorkPlan
from .classify import RawKind, ResultRequest
from .tiles import Prepare, TileClassifier, TileSource, TileWork

# Upper bound of a lane's memory besides its tiles: the forest in a backend, and everything small.
BYTES_PER_NODE = 64
TABLES_BYTES = 1 << 20

logger = logging.getLogger("pixelforest.pixels")


def classify_pixels(
    project: Project,
    prepare: Prepare,
    images: Mapping[str, InputImage],
    exports: Mapping[str, TileSink],
    labels: Mapping[str, PixelProject],
    *,
    is_masked: bool,
    resources: Resources,
    on_progress: Callable[[int], None],
) -> None:
    """Compute the exports' regions of one lane and write every finished tile into every export.

    Parameters
    ----------
    project, prepare
        The project, and how its classifiers are loaded.
    images
        Opened images by role.
    exports
        By the name of their result.
    labels
        Results that are annotations -> stage whose annotations they are.
    is_masked
        True if the prediction mask has an effect.
    resources
        Backend, threads and memory.
    on_progress
        Receives the number of voxels just finished.
    """
    raw = images[RAW]
    classifier = prepare(project, resources.backend, RawKind.of(raw.shape, raw.dtype))
    plan = _plan(classifier, raw.shape, raw.dtype, _demands(exports), resources)
    annotations = {}
    for name in labels.keys() & plan.requests.keys():
        from .annotations import find_annotations  # only for runs that export labels

        annotations[name] = find_annotations(labels[name], raw, RAW)
    tiles = TileWork(project, prepare, plan.requests, annotations, is_masked).open(images, resources.backend)
    unclassified: list[int] = []  # voxels per tile

    def process(tile: Box, source: TileSource) -> None:
        computed = tiles.compute(tile, source)
        unclassified.append(computed.unclassified)
        for name, export in exports.items():
            _write(export, tile, computed.results[name], plan.requests[name])
        on_progress(Box(tile.start[1:4], tile.stop[1:4]).size)

    stream_tiles(plan.tiles, tiles.read, process, threads=resources.threads, readers=plan.readers)
    if any(unclassified):
        logger.warning(
            "%s: %d voxels have no class, since NaN, infinite or very large pixels make features that are no numbers; "
            "as in ilastik, every probability is 0 there, Simple Segmentation is 1 and Uncertainty 1",
            raw.path_text,
            sum(unclassified),
        )


def plan_pixels(
    project: Project,
    prepare: Prepare,
    images: Mapping[str, InputImage],
    exports: Mapping[str, TileDemand],
    resources: Resources,
) -> WorkPlan:
    """Plan the work of ``classify_pixels``. Raises its errors about the classifier and the memory."""
    raw = images[RAW]
    classifier = prepare(project, resources.backend, RawKind.of(raw.shape, raw.dtype))
    return _plan_work(classifier, raw.shape, raw.dtype, _demands(exports), resources)


@frozen
class _Demand:
    """Demand of an export on tiles (see export.tile_sinks.TileDemand), compared by value: equal for lanes of one kind.

    written  the conversion as text: ranges of integers and of floats are equal as numbers, but computed differently
    """

    name: str
    region: Box
    conversion: Conversion | None
    written: str
    bytes_per_voxel: int
    held_bytes: int
    grid: ChunkGrid | None


@frozen
class _TilePlan:
    """Plan of a lane's tiles; the same for all lanes of its kind.

    tiles     (t, z, y, x, c), one time point each
    cost      memory that one of them needs
    requests  result -> its channels and conversion
    readers   number of threads that read
    """

    tiles: tuple[Box, ...]
    cost: TileCost
    requests: Mapping[str, ResultRequest]
    readers: int


def _demands(exports: Mapping[str, TileDemand]) -> tuple[_Demand, ...]:
    return tuple(
        _Demand(name, e.region, e.conversion, repr(e.conversion), e.bytes_per_voxel, e.held_bytes, e.grid)
        for name, e in exports.items()
    )


def common_region(exports: Iterable[TileDemand | _Demand]) -> Box:
    """Return the smallest region (t, z, y, x, c) that contains those of all exports."""
    regions = [export.region for export in exports]
    start = tuple(min(r.start[i] for r in regions) for i in range(5))
    return Box(start, tuple(max(r.stop[i] for r in regions) for i in range(5)))


def _request(export: _Demand, region: Box) -> ResultRequest:
    """Request only the exported channels, already converted; unconverted if some of ``region`` is not exported, since
    overflows must be counted in the exported part only."""
    channels = (export.region.start[4], export.region.stop[4])
    covers = (export.region.start[:4], export.region.stop[:4]) == (region.start[:4], region.stop[:4])
    return ResultRequest(channels, export.conversion if covers else None)


def _write(export: TileSink, tile: Box, result: TileResult, request: ResultRequest) -> None:
    assert request.channels is not None
    first, stop = request.channels
    box, data = Box((*tile.start[:4], first), (*tile.stop[:4], stop)), result.values[np.newaxis]
    if request.conversion is None:
        export.write(box, data)
    else:
        export.write_converted(box, data, result.overflow_count)


@lru_cache(maxsize=4)
def _plan(
    classifier: TileClassifier,
    shape: tuple[int, ...],
    dtype: np.dtype,
    demands: tuple[_Demand, ...],
    resources: Resources,
) -> _TilePlan:
    """Plan the tiles of an image of this shape (t, z, y, x, c) and type; recent plans are cached for further lanes."""
    region = common_region(demands)
    requests = {demand.name: _request(demand, region) for demand in demands}
    cost = TileCost(
        per_source=shape[4] * dtype.itemsize,
        per_voxel=sum(demand.bytes_per_voxel for demand in demands),
        fixed=sum(demand.held_bytes for demand in demands),
        grid=choose_grid([demand.grid for demand in demands]),
        worker=classifier.tile_bytes,
    )
    preference = classifier.preferred_tiles(requests, resources.threads)
    pieces = plan_tiles(
        Box(region.start[1:4], region.stop[1:4]),
        shape[1:4],
        classifier.halo,
        cost,
        resources=resources,
        preference=preference,
    )
    tiles = tuple(
        Box((t, *piece.start, 0), (t + 1, *piece.stop, shape[4]))
        for t in range(region.start[0], region.stop[0])
        for piece in pieces
    )
    return _TilePlan(tiles, cost, requests, 1 if preference is None else preference.readers)


@lru_cache(maxsize=4)
def _plan_work(
    classifier: TileClassifier,
    shape: tuple[int, ...],
    dtype: np.dtype,
    demands: tuple[_Demand, ...],
    resources: Resources,
) -> WorkPlan:
    """Plan work as ``plan_pixels`` does, with the arguments of ``_plan``."""
    plan = _plan(classifier, shape, dtype, demands, resources)
    insides = [Box(tile.start[1:4], tile.stop[1:4]) for tile in plan.tiles]
    z, y, x = (max(sizes) for sizes in zip(*(inside.shape for inside in insides), strict=True))
    return WorkPlan(
        tiles=len(plan.tiles),
        tile=(z, y, x),
        halo=classifier.halo,
        memory_bytes=needed_bytes(insides, shape[1:4], classifier.halo, plan.cost, threads=resources.threads)
        + TABLES_BYTES
        + BYTES_PER_NODE * classifier.nodes,
        seconds=classifier.seconds(insides, plan.requests.keys(), resources.threads),
    )
