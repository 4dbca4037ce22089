"""Steps of object classification on one time point of one lane; their order is decided in flow.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from ....box import Box
from ....frozen import frozen
from ....kernels.contract import Voxels
from ...errors import InputMismatch, MemoryTooSmall, as_marked
from ...export.tile_sinks import TileSink
from ...inputs.images import InputImage
from ...objects.classify import ObjectClasses, classify_objects
from ...objects.label import LabelFrame, Labels, label_components, renumber_labels
from ...objects.measure import ObjectFeatures, fits_tables, measure_frame
from ...objects.quantities import bytes_per_object
from ...objects.render import paint_frame, paint_part, wanted_part, write_canvas
from ...objects.results import ObjectResult, results_of
from ...objects.threshold import threshold_frame
from ...pixels.classify import load_forest
from ...project import ObjectProject
from ...project.object_features import Features
from ...project.thresholding import ThresholdSettings
from ...resources import Resources
from ...storage.scratch import Scratch
from ...tiling.frame_progress import FrameMeter
from ...tiling.groups import ChunkGrid
from ...tiling.layers import LayeredReads, Read
from ..pixel import flow as pixel_classification
from .inputs import LABEL, PREDICTION, RAW, SEGMENTATION, id_dtype, pixel_images
from .plan import PROBABILITIES, SCRATCH_SHARE, maps_region, memory_of

# Approximate share of each step in a frame's time, for the progress display; the rest is the table.
MAPS_SHARE, THRESHOLD_SHARE, LABEL_SHARE, MEASURE_SHARE, PAINT_SHARE = 0.3, 0.2, 0.1, 0.2, 0.1


@frozen
class Lane:
    """Project, opened inputs and resources of one lane: what a process needs to compute any of its frames."""

    project: ObjectProject
    images: Mapping[str, InputImage]
    resources: Resources

    @property
    def raw(self) -> InputImage:
        return self.images[RAW]

    @property
    def shape(self) -> Voxels:
        """Sizes of a frame along z, y, x."""
        _, z, y, x, _ = self.raw.shape
        return z, y, x

    @property
    def results(self) -> tuple[ObjectResult, ...]:
        return object_results(self.project)

    @property
    def scratch_bytes(self) -> int:
        """Memory for the intermediate volumes of a frame."""
        return int(self.resources.memory_bytes * SCRATCH_SHARE)

    @property
    def work(self) -> Resources:
        """Resources without the memory of the scratch."""
        return self.resources.minus(self.scratch_bytes)

    def pixel_sinks(self, exports: Mapping[str, TileSink]) -> dict[str, TileSink]:
        """Select the exports that receive results of the pixel stage, by name of the pixel result."""
        return {r.pixel_result: exports[r.name] for r in self.results if r.pixel_result and r.name in exports}

    def classify_pixels(
        self, sinks: Mapping[str, TileSink], resources: Resources, on_progress: Callable[[int], None]
    ) -> None:
        """Run the pixel stage; ``sinks``: by name of the pixel result they receive."""
        assert self.project.pixels is not None
        pixel_classification.classify_lane(
            self.project.pixels,
            pixel_images(self.images),
            sinks,
            resources=resources,
            on_progress=on_progress,
        )

    def measure(self, read_raw: Read, labels: LabelFrame, wanted: Features, held_bytes: int) -> ObjectFeatures:
        """Measure the wanted features of labelled objects, while ``held_bytes`` of memory are in use elsewhere.

        read_raw  reads the image (z, y, x, c) around them
        """
        return measure_frame(
            lambda box: read_raw(box).astype(np.float32, copy=False),
            labels,
            self.raw.shape[4],
            wanted,
            resources=self.resources.minus(held_bytes),
        )

    def classify(self, measured: ObjectFeatures) -> ObjectClasses:
        """Predict the class of every object."""
        classifier = self.project.classifier
        return classify_objects(
            measured.values,
            measured.count,
            self.project.features.selected,
            forest=load_forest(classifier, self.resources.backend, use="rows"),
            columns=classifier.column_count,
            classes=class_count(self.project),
            resources=self.resources,
        )


@frozen
class Segmentation:
    """Source of the objects of a frame: a reader of values (z, y, x) of a box, their type, and the file's chunks.

    labels  the objects, if they are numbered already
    """

    read: Read
    dtype: np.dtype
    chunks: tuple[int, ...] | None = None
    labels: LabelFrame | None = None


@frozen
class _Canvas:
    """Buffer of an export's part of a frame until all blocks are done: the voxels (z, y, x, channels) of a box."""

    export: TileSink
    make: Callable[[ObjectClasses], np.ndarray]
    box: Box
    voxels: np.ndarray


@frozen
class Frame:
    """One time point of a lane; labels of the whole frame are in the scratch."""

    lane: Lane
    time: int
    scratch: Scratch
    meter: FrameMeter

    def segment(self, pixel_exports: Mapping[str, TileSink]) -> Segmentation:
        """Threshold the prediction maps; a segmentation or label image that is an input is used unchanged.

        pixel_exports  exports that receive the results of the pixel stage for this frame, if there is one
        """
        lane, images = self.lane, self.lane.images
        settings = lane.project.thresholds
        if settings is None:
            image = images[SEGMENTATION] if SEGMENTATION in images else images[LABEL]
            return Segmentation(lambda box: image.read_frame(self.time, box)[..., 0], image.dtype, _chunks(image))
        if lane.project.pixels is None:
            source = images[PREDICTION]
            channels, drange = source.shape[4], source.drange
            reads = self._in_layers(
                partial(source.read_frame, self.time), _chunks(source), channels * source.dtype.itemsize
            )
        else:
            maps = self._compute_maps(settings.channels, pixel_exports)
            channels, drange = maps.shape[3], None
            reads = self._in_layers(_reader(maps), None, maps.itemsize * channels)
            place = {channel: i for i, channel in enumerate(settings.channels)}
            settings = replace(
                settings, channel=place[settings.channel], core_channel=place.get(settings.core_channel, 0)
            )
        return self.threshold(reads, channels, settings, drange)

    def threshold(
        self, reads: LayeredReads, channels: int, settings: ThresholdSettings, drange: tuple[float, float] | None
    ) -> Segmentation:
        """Threshold prediction maps; arguments as for ``threshold_frame``."""
        with reads as read:
            labels = threshold_frame(
                self.meter.watch(read, THRESHOLD_SHARE),
                self.lane.shape,
                channels,
                settings,
                drange,
                resources=self.lane.work,
                scratch=self.scratch,
            )
        return Segmentation(_reader(labels), labels.dtype)

    def label(self, segmentation: Segmentation) -> LabelFrame:
        """Give every object its id."""
        if segmentation.labels is not None:
            return segmentation.labels
        given = self.lane.images.get(LABEL)
        reads = self._in_layers(segmentation.read, segmentation.chunks, segmentation.dtype.itemsize)
        try:
            return self.find_objects(reads, segmentation.dtype)
        except InputMismatch as error:
            if given is None:
                raise
            raise InputMismatch(f"{self._shown(given)}: {error.render(as_marked)}") from error

    def find_objects(self, reads: LayeredReads, dtype: np.dtype) -> LabelFrame:
        """Find the objects of a segmentation, or of the lane's label image."""
        find = renumber_labels if LABEL in self.lane.images else label_components
        with reads as read:
            return find(
                self.meter.watch(read, LABEL_SHARE),
                self.lane.shape,
                dtype,
                resources=self.lane.work,
                scratch=self.scratch,
            )

    def measure(self, labels: LabelFrame, wanted: Features) -> ObjectFeatures:
        """Measure the wanted features of all objects. Raises MemoryTooSmall if there are too many objects."""
        raw = self.lane.raw
        self.scratch.lower_to(self.scratch.bytes_in_memory + self._spare_bytes(labels, wanted))
        held_bytes = self.scratch.memory_bytes
        try:
            with self.open_raw() as read:
                return self.measure_image(self.meter.watch(read, MEASURE_SHARE), labels, wanted, held_bytes)
        except MemoryTooSmall as error:
            raise MemoryTooSmall(f"{self._shown(raw)}: {error.render(as_marked)}") from error

    def open_raw(self) -> LayeredReads:
        """Open the image (z, y, x, c) for sweeps."""
        raw = self.lane.raw
        return self._in_layers(partial(raw.read_frame, self.time), _chunks(raw), raw.shape[4] * raw.dtype.itemsize)

    def measure_image(self, read: Read, labels: LabelFrame, wanted: Features, held_bytes: int) -> ObjectFeatures:
        """Measure the wanted features in the image; arguments as for ``Lane.measure``."""
        lane, channels = self.lane, self.lane.raw.shape[4]
        resources = lane.resources.minus(held_bytes)
        if fits_tables(lane.shape, labels.count, channels, wanted, resources.memory_bytes):
            return lane.measure(read, labels, wanted, held_bytes)
        from ...objects.grouped_measure import measure_in_groups  # rarely needed

        return measure_in_groups(
            lambda box: read(box).astype(np.float32, copy=False),
            labels,
            channels,
            wanted,
            resources=resources,
            scratch=self.scratch,
        )

    def _shown(self, image: InputImage) -> str:
        """Name this frame of an image, for messages."""
        return f"{image.path_text}, time point {self.time}" if image.shape[0] > 1 else image.path_text

    def _spare_bytes(self, labels: LabelFrame, wanted: Features) -> int:
        """Memory that objects and slabs leave for further arrays of the scratch."""
        z, y, x = self.lane.shape
        each = bytes_per_object(
            wanted, dimensions=2 if z == 1 else 3, channels=self.lane.raw.shape[4], voxels=z * y * x
        )
        free = self.lane.resources.memory_bytes - self.scratch.bytes_in_memory - labels.count * each
        return max(0, free // 2)

    def paint(
        self, labels: LabelFrame, classes: ObjectClasses | None, exports: Mapping[ObjectResult, TileSink]
    ) -> None:
        """Write the ids, or values derived from the classes, into the exports of the whole frame's objects."""
        lane = self.lane
        paint_frame(
            self.meter.watch(_reader(labels.labels), PAINT_SHARE),
            lane.shape,
            self.time,
            [
                (export, None if r.make is None or classes is None else r.make(classes))
                for r, export in exports.items()
                if not r.is_blockwise and not r.pixel_result
            ],
            id_dtype=id_dtype(lane.images),
            resources=lane.work,
        )

    def paint_blocks(self, segmentation: Segmentation, exports: Mapping[ObjectResult, TileSink]) -> None:
        """Classify the objects visible in each block with its halo, and write the inside of the blocks."""
        lane, blocks = self.lane, self.lane.project.blocks
        canvases = [canvas for result, export in exports.items() if (canvas := self._canvas(result, export))]
        for inside in Box.whole(lane.shape).split(blocks.shape):
            parts = [(canvas, part) for canvas in canvases if not (part := inside.intersect(canvas.box)).is_empty]
            if not parts:
                continue
            source = inside.grow(blocks.halo).clip(lane.shape)
            with Scratch(int(lane.work.memory_bytes * SCRATCH_SHARE)) as scratch:
                labels, classes = self._classify_block(segmentation, source, scratch)
                for canvas, part in parts:
                    ids = labels.labels[part.relative_to(source.start).slices()]
                    paint_part(ids, canvas.make(classes), canvas.voxels[part.relative_to(canvas.box.start).slices()])
        for canvas in canvases:
            write_canvas(
                canvas.voxels,
                canvas.box.start,
                lane.shape,
                self.time,
                canvas.export,
                resources=lane.work,
            )
            self.scratch.free(canvas.voxels)

    def _canvas(self, result: ObjectResult, export: TileSink) -> _Canvas | None:
        """Allocate the buffer for an export's part of a blockwise result in this frame; None for other results."""
        box = wanted_part(export, self.time, Box.whole(self.lane.shape))
        if not result.is_blockwise or result.make is None or box is None:
            return None
        shape = (*box.shape, result.channels(class_count(self.lane.project)))
        return _Canvas(export, result.make, box, self.scratch.array(shape, np.dtype(result.dtype)))

    def _classify_block(
        self, segmentation: Segmentation, source: Box, scratch: Scratch
    ) -> tuple[LabelFrame, ObjectClasses]:
        """Find and classify objects in a part of the frame only: always components, also of a label image."""
        lane = self.lane
        labels = label_components(
            lambda box: segmentation.read(box.shift(source.start)),
            source.shape,
            segmentation.dtype,
            resources=lane.work,
            scratch=scratch,
        )
        measured = lane.measure(
            lambda box: lane.raw.read_frame(self.time, box.shift(source.start)),
            labels,
            lane.project.features.selected,
            lane.scratch_bytes + scratch.memory_bytes,
        )
        self.meter.counter(0.0)(0)  # an interrupted run ends here
        return labels, lane.classify(measured)

    def _in_layers(self, read: Read, chunks: Sequence[int] | None, bytes_per_voxel: int) -> LayeredReads:
        """Wrap a reader for sweeps over the frame, slab by slab in scan order."""
        return LayeredReads(read, self.lane.shape, chunks, bytes_per_voxel=bytes_per_voxel, scratch=self.scratch)

    def _compute_maps(self, channels: Sequence[int], exports: Mapping[str, TileSink]) -> np.ndarray:
        """Compute the prediction maps that are thresholded, (z, y, x, channels) float32."""
        lane = self.lane
        maps = self.scratch.array((*lane.shape, len(channels)), np.float32)

        def keep(box: Box, data: np.ndarray) -> None:
            places = [channel - box.start[4] for channel in channels]
            maps[Box(box.start[1:4], box.stop[1:4]).slices()] = data[0][..., places]

        takers = {
            name: [export.write]
            for name, export in exports.items()
            if wanted_part(export, self.time, Box.whole(lane.shape)) is not None
        }
        takers[PROBABILITIES] = [*takers.get(PROBABILITIES, []), keep]
        sinks = {}
        for name, writes in takers.items():
            export = exports.get(name)
            export = export if export is not None and export.write in writes else None
            region = maps_region(lane.shape, self.time, channels if name == PROBABILITIES else (), export)
            sinks[name] = _FrameSink(region, tuple(writes), *memory_of(exports.get(name), own_bytes=4 * len(channels)))
        lane.classify_pixels(sinks, lane.work, self.meter.counter(MAPS_SHARE))
        return maps


@frozen
class _FrameSink:
    """Distributor of the tiles of one frame to several sinks; see export.tile_sinks.TileSink."""

    region: Box
    takers: tuple[Callable[[Box, np.ndarray], None], ...]
    bytes_per_voxel: int
    held_bytes: int
    grid: ChunkGrid | None
    conversion: None = None

    def write(self, box: Box, data: np.ndarray) -> None:
        """Pass a tile on to all sinks."""
        for take in self.takers:
            take(box, data)

    def write_converted(self, box: Box, data: np.ndarray, overflow_count: int) -> None:
        """Pass on what was made as it is; nothing is converted for a sink without a conversion."""
        assert overflow_count == 0
        self.write(box, data)


def _chunks(image: InputImage) -> tuple[int, ...] | None:
    """Sizes of a frame along z, y, x."""
    return None if image.chunks is None else image.chunks[1:4]


def _reader(array: Labels) -> Read:
    return lambda box: array[box.slices()]


def object_results(project: ObjectProject) -> tuple[ObjectResult, ...]:
    """List all results of a project."""
    return results_of(has_pixels=project.pixels is not None)


def class_count(project: ObjectProject) -> int:
    """Number of object classes, at least 1."""
    return max(1, len(project.classifier.label_names))
