"""Segmentation of prediction maps: smoothing, one or two thresholds, and a filter by size.

Frames are processed slab by slab, except for the growing of cores (ipht), which processes a whole frame at once on one
thread: its costs, labels and queue are in the scratch, up to 8 + 12 bytes per voxel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import cached_property, partial

import numpy as np

from ...box import Box
from ...frozen import frozen
from ...kernels.contract import Backend, MapPlan, Voxels, as_voxels
from ...kernels.shared.taps import threshold_taps
from ..errors import InputMismatch, ProjectError, UsageError
from ..project.thresholding import METHODS, TWO_LEVELS, ThresholdSettings
from ..resources import Resources
from ..storage.scratch import Scratch
from ..tiling.halo import source_box
from ..tiling.layers import Read
from ..tiling.stream import stream_tiles
from .label import MAX_OBJECTS, FrameComponents, plan_slabs, slab_voxels

NO_SMOOTHING = 0.1  # a sigma below this switches smoothing off, along all axes
_MAP_BYTES = 24.0  # float32 volumes of a slab between the passes, masks and runs, per voxel

Add = Callable[[int, np.ndarray, np.ndarray], None]
Taps = tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]


def check_thresholding(settings: ThresholdSettings, shape: Sequence[int], channels: int) -> None:
    """Refuse settings and maps that cannot be thresholded.

    Raises ProjectError for the graph cut, InputMismatch if prediction maps (z, y, x) lack a channel or are too small to
    be smoothed.
    """
    if settings.method == "graph cut":
        raise ProjectError(
            "the project thresholds by graph cut, which ilastik's current releases do not offer either; "
            "choose Simple, Hysteresis, or Hysteresis (IPHT) in the Thresholding applet and save the project"
        )
    if settings.method not in METHODS:
        raise UsageError(f"there is no threshold method {settings.method!r}; known are {', '.join(METHODS)}")
    for channel in settings.channels:
        if not 0 <= channel < channels:
            raise InputMismatch(
                f"the project thresholds channel {channel} (from 0), but the prediction maps have {channels}; "
                "give prediction maps of the classifier that the project was made with"
            )
    for axis, n, taps in zip("zyx", shape, _taps(settings, shape), strict=True):
        if taps is not None and n < len(taps):
            raise InputMismatch(
                f"the prediction maps have {n} voxels along {axis}, too few for the smoothing before the threshold: "
                f"sigma {settings.sigma['zyx'.index(axis)]:g} needs {len(taps)} (kernel longer than line)"
            )


def threshold_frame(
    read: Read,
    shape: Sequence[int],
    channels: int,
    settings: ThresholdSettings,
    drange: tuple[float, float] | None,
    *,
    resources: Resources,
    scratch: Scratch,
    voxels: int | None = None,
) -> np.ndarray:
    """Threshold one frame of prediction maps; returns a label image (z, y, x) uint32 in the scratch, 0 is background.

    read       reads the maps (z, y, x, c) of a box; called from this thread, in scan order
    drange     range of their values, scaled to 0..1; None: values are used unscaled
    resources  memory for slabs in work; voxels: number in a slab, default: as that allows. Neither changes the result
    The ids may have gaps and are not those of the objects, which ``label_components`` assigns. Raises the errors of
    ``check_thresholding``.
    """
    check_thresholding(settings, shape, channels)
    if voxels is None:
        per_voxel = _MAP_BYTES + 4 * (channels + len(settings.channels))
        voxels = slab_voxels(shape, per_voxel, memory_bytes=resources.memory_bytes, threads=resources.threads)
    thresholds = MapThresholds(as_voxels(shape), settings, drange, resources.backend)
    frame = _Frame(read, thresholds, plan_slabs(shape, voxels), resources, scratch)
    return {"simple": _simple, "hysteresis": _hysteresis, "ipht": _ipht}[settings.method](frame)


@frozen
class MapThresholds:
    """Smoothing and thresholds of the prediction maps of a frame, slab by slab."""

    shape: Voxels
    settings: ThresholdSettings
    drange: tuple[float, float] | None
    backend: Backend

    @cached_property
    def _plan(self) -> MapPlan:
        drange = None if self.drange == (0, 1) else self.drange
        return MapPlan(self.settings.channels, drange, _taps(self.settings, self.shape))

    @property
    def has_cores(self) -> bool:
        """True if an object needs a core, with a threshold of its own."""
        return self.settings.method in TWO_LEVELS

    def source(self, slab: Box) -> Box:
        """Box of the maps that the smoothing of a slab reads."""
        halo = [0 if taps is None else len(taps) - 1 for taps in (*self._plan.taps[:2], None)]
        return source_box(slab, halo, self.shape)

    def smooth(self, slab: Box, source: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Smooth the maps of the final and of the core threshold, (z, y, x) float32 each.

        source  the maps (z, y, x, c) of the box ``source`` of the slab
        With different channels the final threshold works on the sum of both.
        """
        wanted, tile = self.settings.channels, (as_voxels(slab.start), as_voxels(slab.stop))
        start = as_voxels(self.source(slab).start)
        maps = self.backend.labels.smooth_maps(source, start, tile, self.shape, self._plan)
        final, core = maps[wanted.index(self.settings.channel)], maps[0]
        if len(maps) > 1:
            core = maps[wanted.index(self.settings.core_channel)]
            with np.errstate(all="ignore"):
                final = final + core
        return final, core

    def is_final(self, values: np.ndarray) -> np.ndarray:
        """Compare smoothed values with the final threshold; bool."""
        return self._reaches(values, self.settings.low)

    def is_core(self, values: np.ndarray) -> np.ndarray:
        """Compare smoothed values with the threshold of cores; bool."""
        return self._reaches(values, self.settings.high)

    def is_kept(self, sizes: np.ndarray) -> np.ndarray:
        """Compare sizes with the limits of the filter; bool, True: kept."""
        keep: np.ndarray = sizes >= self.settings.min_size
        keep &= sizes <= self.settings.max_size
        return keep

    def _reaches(self, values: np.ndarray, limit: float) -> np.ndarray:
        bound = np.float32(limit)
        mask: np.ndarray = values > bound if self.settings.strict else values >= bound
        return mask


@frozen
class _Frame:
    """One frame with the resources of its thresholding."""

    read: Read
    thresholds: MapThresholds
    slabs: Sequence[Box]
    resources: Resources
    scratch: Scratch

    @property
    def shape(self) -> Voxels:
        return self.thresholds.shape

    def components(self) -> FrameComponents:
        return FrameComponents(self.shape, self.slabs, backend=self.resources.backend, scratch=self.scratch)

    def is_kept(self, sizes: np.ndarray) -> np.ndarray:
        return self.thresholds.is_kept(sizes)

    def stream_maps(self, add: Add) -> None:
        """Call ``add(slab index, map of the final threshold, map of the core threshold)`` for all slabs on all threads.

        For the maps see ``MapThresholds.smooth``.
        """
        thresholds, slabs = self.thresholds, self.slabs
        stream_tiles(
            range(len(slabs)),
            lambda index: self.read(thresholds.source(slabs[index])),
            lambda index, source: add(index, *thresholds.smooth(slabs[index], source)),
            threads=self.resources.threads,
        )

    def stream_slabs(self, work: Callable[[int], None]) -> None:
        """Call ``work(slab index)`` for all slabs, on all threads."""
        stream_tiles(
            range(len(self.slabs)), lambda index: None, lambda index, _: work(index), threads=self.resources.threads
        )


def _simple(frame: _Frame) -> np.ndarray:
    with frame.components() as final:
        frame.stream_maps(lambda i, maps, _: final.add(i, frame.thresholds.is_final(maps)))
        final.keep_only(frame.is_kept(final.sizes(final.number())))
        return final.write(threads=frame.resources.threads)


def _hysteresis(frame: _Frame) -> np.ndarray:
    with frame.components() as cores, frame.components() as final:

        def add(index: int, maps: np.ndarray, core: np.ndarray) -> None:
            cores.add(index, frame.thresholds.is_core(core))
            final.add(index, frame.thresholds.is_final(maps))

        frame.stream_maps(add)
        _filter_cores(frame, cores)
        count = final.number()
        has_core = np.zeros(count + 1, np.uint8)
        cores.mark_overlaps(final, has_core)
        keep = frame.is_kept(final.sizes(count))
        keep &= has_core.view(bool)
        final.keep_only(keep)
        return final.write(threads=frame.resources.threads)


def _ipht(frame: _Frame) -> np.ndarray:
    backend, scratch, slabs = frame.resources.backend, frame.scratch, frame.slabs
    with ExitStack() as stack:
        cost = scratch.array(frame.shape, np.float32)
        stack.callback(scratch.free, cost)
        highest = np.zeros(len(slabs), np.float32)
        cores = stack.enter_context(frame.components())

        def add(index: int, maps: np.ndarray, core: np.ndarray) -> None:
            cost[slabs[index].slices()] = maps
            highest[index] = maps.max()
            cores.add(index, frame.thresholds.is_core(core))

        frame.stream_maps(add)
        _filter_cores(frame, cores)
        labels = cores.write(threads=frame.resources.threads)
        top = highest.max()
        with np.errstate(all="ignore"):
            frame.stream_slabs(partial(_subtract_from, top, cost, slabs))
            limit = float(np.maximum(top - np.float32(frame.thresholds.settings.low), np.float32(0)))
        count = int(cores.ids.max())
        if count == 0:
            count = backend.labels.seed_minima(cost, labels)
            if count > MAX_OBJECTS:
                raise InputMismatch(f"a frame has {count} local maxima, more than 32-bit ids can tell apart")
        backend.labels.grow_regions(cost, labels, limit, scratch)
    sizes = np.zeros(count + 1, np.int64)
    for slab in slabs:
        backend.labels.add_label_sizes(labels[slab.slices()], sizes)
    keep = frame.is_kept(sizes)
    if not keep[1:].all():
        frame.stream_slabs(lambda index: backend.labels.drop_labels(labels[slabs[index].slices()], keep))
    return labels


def _filter_cores(frame: _Frame, cores: FrameComponents) -> None:
    """Number the cores and drop those of the wrong size: the filter applies to cores as well."""
    cores.keep_only(frame.is_kept(cores.sizes(cores.number())))


def _subtract_from(top: np.float32, values: np.ndarray, slabs: Sequence[Box], index: int) -> None:
    part = values[slabs[index].slices()]
    with np.errstate(all="ignore"):
        np.subtract(top, part, out=part)


def _taps(settings: ThresholdSettings, shape: Sequence[int]) -> Taps:
    """Taps along z, y, x; None without smoothing: along axes of length 1, or along all if one sigma is too small."""
    sigmas = [(n > 1, sigma) for n, sigma in zip(shape, settings.sigma, strict=True)]
    if any(counts and sigma < NO_SMOOTHING for counts, sigma in sigmas):
        return None, None, None
    z, y, x = (threshold_taps(sigma) if counts else None for counts, sigma in sigmas)
    return z, y, x
