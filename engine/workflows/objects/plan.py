"""Plan of finding, measuring and classifying the objects of a lane: memory, intermediate volumes, time."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from ....box import Box
from ....frozen import frozen
from ....kernels.contract import Voxels, as_voxels
from ...errors import MemoryTooSmall, setting
from ...export.tile_sinks import TileDemand
from ...inputs.images import InputImage
from ...machine import format_size
from ...objects.label import cut_frame, slab_voxels
from ...objects.render import plan_painting
from ...objects.results import results_of
from ...objects.rows import plan_layout
from ...pixels.classify import load_forest
from ...project import ObjectProject
from ...resources import Resources
from ...tiling import blocks
from ...tiling.groups import ChunkGrid
from ...tiling.time_model import add_seconds, estimate_objects
from ...tiling.work_plan import WorkPlan
from ..pixel import flow as pixel_classification
from .blocks import check_blocks
from .inputs import ATLAS, LABEL, PREDICTION, RAW, pixel_images

if TYPE_CHECKING:
    from .shared_frame import Helpers

# Share of the memory budget for intermediate volumes before they go to files.
SCRATCH_SHARE = 0.5
# Slabs of a frame for each process that helps, so that all end at about the same time.
SLABS_PER_HELPER = 4
PROBABILITIES = "Probabilities"

# Maximum bytes per voxel of a frame, whatever its content.
_ID_BYTES = 4
_RUN_BYTES = 16  # runs of components, and the record of each component
_FLOOD_BYTES = 16  # cost and queue where cores grow
_SLAB_BYTES = 64  # of a slab in work, its channels not counted


def plan_work(
    project: ObjectProject,
    images: Mapping[str, InputImage],
    exports: Mapping[str, TileDemand],
    *,
    has_table: bool,
    resources: Resources,
) -> WorkPlan:
    """Plan the work of ``classify_lane``. Raises its errors about the classifiers, the memory and the scratch.

    The number of objects is not known, so the tables of their features are left out.
    """
    results = [result for result in results_of(has_pixels=project.pixels is not None) if result.name in exports]
    of_pixels = {result.pixel_result: exports[result.name] for result in results if result.pixel_result}
    if project.pixels is not None and len(of_pixels) == len(exports) and not has_table:
        return pixel_classification.plan_work(
            project.pixels,
            pixel_images(images),
            of_pixels,
            has_table=False,
            resources=resources,
        )
    if has_table or any(result.make is not None and not result.is_blockwise for result in results):
        load_forest(project.classifier, resources.backend, use="rows")
    frame = _Frame(project, images, resources, _canvas_bytes(project, exports))
    if any(result.is_blockwise for result in results):
        check_blocks(project, frame.shape)
    times = frame_times(images, exports.values(), has_table=has_table)
    pixels = frame.pixel_stage(times[0], of_pixels)
    painted = [exports[result.name] for result in results if not result.pixel_result]
    painting = max(
        (plan_painting(export, frame.shape, time, resources=frame.work)[1] for export in painted for time in times),
        default=0,
    )
    frame.check_scratch()
    thickness = frame.thickness
    cut = () if thickness is None else cut_frame(frame.shape, thickness)
    voxels = prod(frame.shape)
    slabs = min(frame.work.memory_bytes, voxels * frame.slab_bytes)
    working = max(painting, slabs, 0 if pixels is None else pixels.memory_bytes)
    held = min(frame.scratch_share, frame.scratch_bytes + voxels * (_RUN_BYTES + _FLOOD_BYTES))
    return WorkPlan(
        tiles=len(times) * (max(1, len(cut)) if pixels is None else pixels.tiles),
        tile=pixels.tile if pixels is not None else as_voxels(cut[0].shape) if cut else frame.shape,
        halo=(0, 0, 0) if pixels is None else pixels.halo,
        memory_bytes=held + working,
        scratch_bytes=frame.scratch_bytes,
        seconds=add_seconds(
            0.0 if pixels is None else None if pixels.seconds is None else pixels.seconds * len(times),
            estimate_objects(
                voxels=voxels * len(times),
                is_thresholded=project.thresholds is not None,
                features=project.features.measured(everything=has_table),
                threads=resources.threads,
            ),
        ),
    )


def choose_thickness(
    project: ObjectProject,
    images: Mapping[str, InputImage],
    exports: Mapping[str, TileDemand],
    resources: Resources,
) -> int | None:
    """Thickness of slabs whose labels are computed where they are needed, in planes or, in one plane, rows.

    None: labels of the whole frame fit the memory or the folder for temporary files, which is faster.
    """
    return _Frame(project, images, resources, _canvas_bytes(project, exports)).thickness


def share_thickness(
    project: ObjectProject, images: Mapping[str, InputImage], resources: Resources, helpers: Helpers
) -> int:
    """Thickness of slabs that other processes find and measure."""
    frame = _Frame(project, images, resources)
    fitting = slab_voxels(frame.shape, frame.slab_bytes, memory_bytes=resources.memory_bytes, threads=1)
    shared = -(-prod(frame.shape) // (SLABS_PER_HELPER * max(1, helpers.count())))
    return frame.cut(helpers.choose_slab_voxels(min(fitting, shared, blocks.BLOCK_VOXELS)))


def find_division_obstacle(project: ObjectProject, results: Collection[str]) -> str:
    """Return the reason why several processes cannot find and measure the objects of a lane; empty if they can."""
    if project.pixels is not None:
        return "the pixel stage of this project is computed by one process"
    if project.thresholds is not None and project.thresholds.method == "ipht":
        return "Hysteresis (IPHT) grows objects through the whole image, which is done by one process"
    blockwise = [result.name for result in results_of(has_pixels=False) if result.is_blockwise]
    for name in results:
        if name in blockwise:
            return f"{name} is made by one process"
    return ""


def _canvas_bytes(project: ObjectProject, exports: Mapping[str, TileDemand]) -> int:
    """Size of the buffers of blockwise results of a frame."""
    return sum(
        np.dtype(result.dtype).itemsize * prod(exports[result.name].region.shape[1:])
        for result in results_of(has_pixels=project.pixels is not None)
        if result.is_blockwise and result.name in exports
    )


def frame_times(images: Mapping[str, InputImage], exports: Collection[TileDemand], *, has_table: bool) -> range:
    """Range of time points to process: all for a table, else those of the exports."""
    if has_table:
        return range(images[RAW].shape[0])
    regions = [export.region for export in exports]
    return range(min(r.start[0] for r in regions), max(r.stop[0] for r in regions))


def count_columns(project: ObjectProject, images: Mapping[str, InputImage], wanted: Collection[str] | None) -> int:
    """Number of columns of a lane's table. ``wanted``: features that become columns, None: all."""
    labels = images.get(LABEL)
    label_dtype = None if labels is None else labels.dtype
    layout = plan_layout(project, images[RAW], wanted, atlas=images.get(ATLAS), label_dtype=label_dtype)
    return len(layout.columns)


def memory_of(export: TileDemand | None, *, own_bytes: int) -> tuple[int, int, ChunkGrid | None]:
    """Memory fields of ``TileDemand`` for a sink that keeps maps and passes them to an export, if there is one."""
    if export is None:
        return own_bytes, 0, None
    return own_bytes + export.bytes_per_voxel, export.held_bytes, export.grid


def maps_region(shape: Voxels, time: int, channels: Sequence[int], export: TileDemand | None) -> Box:
    """Region of a pixel result that is computed for a frame (z, y, x): ``channels``, and those that an export wants."""
    wanted = [*channels]
    if export is not None:
        wanted += range(export.region.start[4], export.region.stop[4])
    return Box((time, 0, 0, 0, min(wanted)), (time + 1, *shape, max(wanted) + 1))


@frozen
class _Demand:
    """Demand without a conversion; see export.tile_sinks.TileDemand."""

    region: Box
    bytes_per_voxel: int
    held_bytes: int
    grid: ChunkGrid | None
    conversion: None = None


@frozen
class _Frame:
    """One time point of a lane. ``canvas_bytes``: buffers of blockwise results, kept until all blocks are done."""

    project: ObjectProject
    images: Mapping[str, InputImage]
    resources: Resources
    canvas_bytes: int = 0

    @property
    def shape(self) -> Voxels:
        _, z, y, x, _ = self.images[RAW].shape
        return z, y, x

    @property
    def scratch_share(self) -> int:
        return int(self.resources.memory_bytes * SCRATCH_SHARE)

    @property
    def work(self) -> Resources:
        return self.resources.minus(self.scratch_share)

    @property
    def scratch_bytes(self) -> int:
        """Bytes of the volumes of every frame: prediction maps, segmentation, ids, blockwise results."""
        return self._scratch_bytes(by_slabs=self.thickness is not None)

    def _scratch_bytes(self, *, by_slabs: bool) -> int:
        settings = self.project.thresholds
        per_voxel = 0 if by_slabs else _ID_BYTES
        if settings is not None:
            is_whole = settings.method == "ipht"
            per_voxel += (_ID_BYTES if is_whole or not by_slabs else 0) + (4 if is_whole else 0)
            per_voxel += 0 if self.project.pixels is None else 4 * len(settings.channels)
        return prod(self.shape) * per_voxel + self.canvas_bytes

    @cached_property
    def thickness(self) -> int | None:
        """Thickness of slabs, see ``choose_thickness``; None also where one plane or row takes too much memory."""
        beyond = self._scratch_bytes(by_slabs=False) - self.scratch_share
        if beyond <= 0 or beyond <= _free_bytes(tempfile.gettempdir()):
            return None
        depth, height, width = self.shape
        unit = height * width if depth > 1 else width
        if unit * self.slab_bytes > self.work.memory_bytes:
            return None
        return self.cut(
            slab_voxels(
                self.shape, self.slab_bytes, memory_bytes=self.work.memory_bytes, threads=self.resources.threads
            )
        )

    def cut(self, voxels: int) -> int:
        """Thickness of slabs of about that many voxels, if possible of whole chunks of the image."""
        depth, height, width = self.shape
        chunks = self.images[RAW].chunks
        chunk = 1 if chunks is None else chunks[1 if depth > 1 else 2]
        thickness = max(1, voxels // (height * width if depth > 1 else width))
        return thickness // chunk * chunk or thickness

    @property
    def slab_bytes(self) -> int:
        """Bytes per voxel of a slab in work, the maximum of all steps."""
        channels = max(self.images[role].shape[4] for role in (RAW, PREDICTION) if role in self.images)
        return _SLAB_BYTES + 12 * channels

    def pixel_stage(self, time: int, exports: Mapping[str, TileDemand]) -> WorkPlan | None:
        """Plan the stage that computes the prediction maps of a frame; None if they are an input."""
        settings, pixels = self.project.thresholds, self.project.pixels
        if settings is None or pixels is None:
            return None
        demands = {}
        for name in sorted({*exports, PROBABILITIES}):
            export, own = exports.get(name), settings.channels if name == PROBABILITIES else ()
            memory = memory_of(export, own_bytes=4 * len(settings.channels))
            demands[name] = _Demand(maps_region(self.shape, time, own, export), *memory)
        return pixel_classification.plan_work(
            pixels,
            pixel_images(self.images),
            demands,
            has_table=False,
            resources=self.work,
        )

    def check_scratch(self) -> None:
        """Raise MemoryTooSmall if volumes that exceed the memory do not fit the folder for temporary files either."""
        beyond = self.scratch_bytes - self.scratch_share
        if beyond <= 0:
            return
        folder = tempfile.gettempdir()
        try:
            free = shutil.disk_usage(folder).free
        except OSError as error:
            raise MemoryTooSmall(f"the folder {folder} for temporary files cannot be used: {error}") from error
        if beyond > free:
            raise MemoryTooSmall(
                f"the intermediate volumes of a frame take {format_size(self.scratch_bytes)}; they fit neither the "
                f"memory budget of {format_size(self.resources.memory_bytes)} nor the folder {folder}, which has "
                f"{format_size(free)} left; raise {setting('memory')}, or let TMPDIR name a folder with more room"
            )


def _free_bytes(folder: str) -> int:
    """Bytes left in a folder; 0 if it cannot be used."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 0
