"""Pixel Classification: open image → plan tiles → features → forest → results → export."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from ....box import Box
from ....frozen import frozen
from ....kernels.contract import Conversion, TileResult, Voxels
from ...axes import pipeline_axes, size_text
from ...errors import InputMismatch
from ...export.images import ExportPlan, ResultInfo
from ...export.tile_sinks import TileDemand, TileSink
from ...inputs.axes_advice import Needs, advise, advise_channels
from ...inputs.images import InputImage
from ...pixels.classify import PixelClassifier, ResultRequest, prepare_classifier
from ...pixels.feature_plan import check_size, plan_features
from ...pixels.results import FEATURES, LABELS, RESULTS
from ...project import PixelProject
from ...project.pixel_project import MASK, RAW
from ...resources import Resources
from ...tiling.groups import ChunkGrid, choose_grid
from ...tiling.halo import source_box
from ...tiling.plan import TileCost, needed_bytes, plan_tiles
from ...tiling.stream import stream_tiles
from ...tiling.time_model import estimate_pixels
from ...tiling.work_plan import WorkPlan
from .tiles import TileSource, TileWork

if TYPE_CHECKING:
    from ...pixels.annotations import Annotations

# Upper bound of a lane's memory besides its tiles: the forest in a backend, and everything small.
BYTES_PER_NODE = 64
TABLES_BYTES = 1 << 20

logger = logging.getLogger("pixelforest.pixels")


def classify_lane(
    project: PixelProject,
    images: Mapping[str, InputImage],
    exports: Mapping[str, TileSink],
    *,
    resources: Resources,
    on_progress: Callable[[int], None],
    table: None = None,
) -> None:
    """Compute the exports' regions of one lane and write every finished tile into every export.

    images       by role; exports by the name of their result (see pixels/results.py), all of the same region
    on_progress  receives the number of voxels just finished
    table        always None: there are no objects
    """
    raw = images[RAW]
    classifier = prepare_classifier(project, resources.backend, channels=raw.shape[4], image=_size(raw))
    plan = _plan(classifier, raw.shape, raw.dtype, _demands(exports), resources)
    annotations = _find_annotations(project, raw) if LABELS in plan.requests else None
    tiles = TileWork(project, plan.requests, annotations).open(images, resources.backend)
    unclassified: list[int] = []  # voxels per tile

    def process(tile: Box, source: TileSource) -> None:
        computed = tiles.compute(tile, source)
        unclassified.append(computed.unclassified)
        for name, export in exports.items():
            _write(export, tile, computed.results[name], plan.requests[name])
        on_progress(Box(tile.start[1:4], tile.stop[1:4]).size)

    stream_tiles(plan.tiles, tiles.read, process, threads=resources.threads)
    if any(unclassified):
        logger.warning(
            "%s: %d voxels have no class, since NaN, infinite or very large pixels make features that are no numbers; "
            "as in ilastik, every probability is 0 there, Simple Segmentation is 1 and Uncertainty 1",
            raw.path_text,
            sum(unclassified),
        )


def plan_work(
    project: PixelProject,
    images: Mapping[str, InputImage],
    exports: Mapping[str, TileDemand],
    *,
    has_table: bool,
    resources: Resources,
) -> WorkPlan:
    """Plan the work of ``classify_lane``. Raises its errors about the classifier and the memory."""
    raw = images[RAW]
    classifier = prepare_classifier(project, resources.backend, channels=raw.shape[4], image=_size(raw))
    return _plan_work(project, classifier, raw.shape, raw.dtype, _demands(exports), resources)


def work_voxels(
    project: PixelProject, images: Mapping[str, InputImage], exports: Mapping[str, ExportPlan], *, has_table: bool
) -> int:
    """Total number of voxels that ``classify_lane`` will report."""
    region = _common_region(exports.values())
    return Box(region.start[:4], region.stop[:4]).size


def check_lane(project: PixelProject, images: Mapping[str, InputImage]) -> None:
    """Refuse a lane that does not fit the project before anything is computed. Raises InputMismatch."""
    raw, mask = images[RAW], images.get(MASK)
    _check_dimensions(project, raw)
    _check_channels(project, raw)
    check_size(project.features, _size(raw), raw.path_text)
    if mask is not None and mask.shape[:4] != raw.shape[:4]:
        raise InputMismatch(
            f"the prediction mask {mask.path_text} has the size {size_text(mask.shape)}, the image {raw.path_text} "
            f"{size_text(raw.shape)}; they must agree except for channels"
        )


def result_infos(project: PixelProject, images: Mapping[str, InputImage]) -> dict[str, ResultInfo]:
    """Describe the results of a lane: name of the result -> its dtype, channels and metadata."""
    image = images[RAW]
    plan = plan_features(project.features, channels=image.shape[4], depth=image.shape[1])
    classes = max(1, len(project.classifier.label_names))
    return {
        r.name: ResultInfo(
            name=r.name,
            dtype=np.dtype(r.dtype),
            channels=r.channels(classes, plan.width),
            drange=r.drange or image.drange,
            display_mode=r.display_mode,
            is_labels=r.is_labels,
        )
        for r in RESULTS
    }


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
    """

    tiles: tuple[Box, ...]
    cost: TileCost
    requests: Mapping[str, ResultRequest]


def _demands(exports: Mapping[str, TileDemand]) -> tuple[_Demand, ...]:
    return tuple(
        _Demand(name, e.region, e.conversion, repr(e.conversion), e.bytes_per_voxel, e.held_bytes, e.grid)
        for name, e in exports.items()
    )


def _common_region(exports: Iterable[TileDemand | _Demand]) -> Box:
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
    classifier: PixelClassifier,
    shape: tuple[int, ...],
    dtype: np.dtype,
    demands: tuple[_Demand, ...],
    resources: Resources,
) -> _TilePlan:
    """Plan the tiles of an image of this shape (t, z, y, x, c) and type; recent plans are cached for further lanes."""
    region = _common_region(demands)
    requests = {demand.name: _request(demand, region) for demand in demands}
    cost = TileCost(
        per_source=shape[4] * dtype.itemsize,
        per_voxel=sum(demand.bytes_per_voxel for demand in demands),
        fixed=sum(demand.held_bytes for demand in demands),
        grid=choose_grid([demand.grid for demand in demands]),
        worker=classifier.tile_bytes,
    )
    pieces = plan_tiles(
        Box(region.start[1:4], region.stop[1:4]),
        shape[1:4],
        classifier.margin,
        cost,
        resources=resources,
        preference=classifier.preferred_tiles(requests, resources.threads),
    )
    tiles = tuple(
        Box((t, *piece.start, 0), (t + 1, *piece.stop, shape[4]))
        for t in range(region.start[0], region.stop[0])
        for piece in pieces
    )
    return _TilePlan(tiles, cost, requests)


@lru_cache(maxsize=4)
def _plan_work(
    project: PixelProject,
    classifier: PixelClassifier,
    shape: tuple[int, ...],
    dtype: np.dtype,
    demands: tuple[_Demand, ...],
    resources: Resources,
) -> WorkPlan:
    """Plan work as ``plan_work`` does, with the arguments of ``_plan``."""
    plan = _plan(classifier, shape, dtype, demands, resources)
    names = plan.requests.keys()
    insides = [Box(tile.start[1:4], tile.stop[1:4]) for tile in plan.tiles]
    z, y, x = (max(sizes) for sizes in zip(*(inside.shape for inside in insides), strict=True))
    return WorkPlan(
        tiles=len(plan.tiles),
        tile=(z, y, x),
        halo=classifier.margin,
        memory_bytes=needed_bytes(insides, shape[1:4], classifier.margin, plan.cost, threads=resources.threads)
        + TABLES_BYTES
        + BYTES_PER_NODE * project.classifier.node_count,
        seconds=estimate_pixels(
            classifier.backend.name,
            voxels=sum(source_box(i, classifier.margin, shape[1:4]).size for i in insides),
            columns=0 if names <= {LABELS} else classifier.columns,
            trees=0 if names <= {LABELS, FEATURES} else project.classifier.tree_count,
            is_solid=shape[1] > 1,
            threads=min(resources.threads, len(plan.tiles)),
        ),
    )


def _find_annotations(project: PixelProject, raw: InputImage) -> Annotations:
    from ...pixels.annotations import find_annotations  # only for runs that export labels

    return find_annotations(project, raw, RAW)


def _check_dimensions(project: PixelProject, raw: InputImage) -> None:
    """Check the depth: a project trained on volumes takes volumes, one trained on flat images flat ones."""
    needs = _needs(project, raw)
    is_flat = raw.shape[1] == 1
    if needs.is_flat is None or needs.is_flat == is_flat:
        return
    kinds = {True: "2-D images", False: "3-D volumes"}
    advice = _advise(raw, needs, otherwise=f"use a project trained on {kinds[is_flat]}")
    raise InputMismatch(
        f"the project was trained on {kinds[needs.is_flat]}, but {raw.path_text} is one of the {kinds[is_flat]} "
        f"(axes {pipeline_axes(dict(zip('tzyxc', raw.shape, strict=True)))}, size {size_text(raw.shape)}); {advice}"
    )


def _check_channels(project: PixelProject, raw: InputImage) -> None:
    """Check the number of channels: the classifier has a fixed number of columns, the same for each channel."""
    columns = project.classifier.column_count
    plan = plan_features(project.features, channels=raw.shape[4], depth=raw.shape[1])
    if plan.width == columns:
        return
    per_channel = plan.width // raw.shape[4]
    if per_channel and columns % per_channel == 0:
        needed = columns // per_channel
        raise InputMismatch(
            f"All input images must have the same number of channels. {raw.path_text} has {raw.shape[4]} channel(s), "
            f"but the project was trained on {needed}; "
            f"{_advise(raw, _needs(project, raw), otherwise=advise_channels(raw.shape[4], needed))}"
        )
    raise InputMismatch(
        f"the classifier was trained on {columns} feature columns, but {raw.path_text} ({size_text(raw.shape)}) yields "
        f"{plan.width}; 2-D and 3-D images need projects of their own"
    )


def _needs(project: PixelProject, raw: InputImage) -> Needs:
    """Depth and channels that the project needs, by its training images and its classifier."""
    images = [lane.images[RAW] for lane in project.lanes if RAW in lane.images]
    trained = next((image for image in reversed(images) if image.sizes()), None)
    is_flat = None if trained is None else trained.sizes().get("z", 1) == 1
    depth = raw.shape[1] if is_flat is None else 1 if is_flat else 2
    per_channel = plan_features(project.features, channels=1, depth=depth).width
    columns = project.classifier.column_count
    channels = columns // per_channel if per_channel and columns % per_channel == 0 else None
    return Needs("" if trained is None else trained.axes, is_flat, channels)


def _advise(raw: InputImage, needs: Needs, *, otherwise: str) -> str:
    return advise(
        needs, raw.axes, raw.file_shape, axes_option=raw.axes_option, sources=raw.sources, otherwise=otherwise
    )


def _size(image: InputImage) -> Voxels:
    _, z, y, x, _ = image.shape
    return z, y, x
