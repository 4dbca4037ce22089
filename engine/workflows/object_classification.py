"""Object Classification: probabilities or segmentation → threshold → label → object features → forest → images, table.

One time point after the other; a frame's ids lie in a scratch array, everything else passes by in slabs and tiles.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import prod

import numpy as np

from ...kernels.contract import Backend, Voxels
from ..box import Box
from ..export.images import ExportPlan, ImageExport, ResultInfo, TileSink
from ..export.tables import TableExport
from ..formats.scratch import Scratch
from ..inputs import InputImage
from ..objects.classify import ObjectClasses, classify_objects
from ..objects.label import LabelFrame, label_components, renumber_labels
from ..objects.measure import ObjectFeatures, measure_frame
from ..objects.painting import colour, paint_frame, wanted_part, write_frame
from ..objects.results import ObjectResult, results_of
from ..objects.rows import TableRows
from ..objects.threshold import threshold_frame
from ..pixels.classify import load_forest
from ..project import ObjectProject
from ..project.object_features import Features
from ..tiling.layers import LayeredReads
from ..tiling.meter import FrameMeter
from . import pixel_classification
from .object_inputs import ATLAS, LABEL, PREDICTION, RAW, SEGMENTATION, SOURCES, check_lane, id_dtype, pixel_images
from .object_work import PROBABILITIES, SCRATCH_SHARE, frame_times, maps_region, memory_of, plan_work

__all__ = ["check_lane", "classify_lane", "plan_work", "result_infos", "work_voxels"]

logger = logging.getLogger("pixelforest.objects")

Read = Callable[[Box], np.ndarray]

# What the steps take of a frame's time, roughly, for the progress that is shown; the rest is the table.
MAPS_SHARE, THRESHOLD_SHARE, LABEL_SHARE, MEASURE_SHARE, PAINT_SHARE = 0.3, 0.2, 0.1, 0.2, 0.1


def classify_lane(
    project: ObjectProject,
    images: Mapping[str, InputImage],
    exports: Mapping[str, ImageExport],
    *,
    backend: Backend,
    threads: int,
    memory_bytes: int,
    on_progress: Callable[[int], None],
    table: TableExport | None = None,
) -> None:
    """Find, measure and classify the objects of a lane; write them into every export and into the table.

    images       by role; exports by the name of their result (see objects/results.py)
    table        is started and filled, but not finished
    on_progress  receives the number of voxels just finished
    """
    lane = _Lane(project, images, backend, threads, memory_bytes)
    wanted = {result: exports[result.name] for result in lane.results if result.name in exports}
    pixel_exports = {result.pixel_result: export for result, export in wanted.items() if result.pixel_result}
    if len(pixel_exports) == len(exports) and table is None:
        lane.classify_pixels(pixel_exports, memory_bytes, on_progress)
        return
    rows = None if table is None else _start_table(table, project, images)
    is_classified = rows is not None or any(r.make is not None and not r.is_blockwise for r in wanted)
    count = 0
    for time in frame_times(images, exports.values(), has_table=rows is not None):
        with Scratch(int(memory_bytes * SCRATCH_SHARE)) as scratch:
            frame = _Frame(lane, time, scratch, FrameMeter(on_progress, prod(lane.shape)))
            segmentation = frame.segment(pixel_exports)
            labels = frame.label(segmentation)
            count += labels.count
            classes = None
            if is_classified:
                measured = frame.measure(labels, project.features.measured(everything=rows is not None))
                classes = lane.classify(measured)
                if rows is not None:
                    rows.add(time, labels, measured, classes)
            frame.paint(labels, classes, wanted)
            frame.paint_blocks(segmentation, wanted)
            frame.meter.finish()
    if count == 0:
        logger.warning("%s has no objects: its images are zero, its table has no rows", lane.raw.path_text)


def work_voxels(
    project: ObjectProject, images: Mapping[str, InputImage], exports: Mapping[str, ExportPlan], *, has_table: bool
) -> int:
    """How many voxels ``classify_lane`` will report in all."""
    of_pixels = {result.name for result in _results(project) if result.pixel_result}
    if project.pixels is not None and not has_table and exports.keys() <= of_pixels:
        return pixel_classification.work_voxels(project.pixels, pixel_images(images), exports, has_table=False)
    return len(frame_times(images, exports.values(), has_table=has_table)) * prod(images[RAW].shape[1:4])


def result_infos(project: ObjectProject, images: Mapping[str, InputImage]) -> dict[str, ResultInfo]:
    """What can be exported for a lane: name of the result -> its dtype, channels and metadata.

    As in ilastik, a result inherits the range and display mode stored with what the objects are made of, blockwise
    ones the range of the raw data; for probabilities the range they really have is kept beside it.
    """
    source = next((images[role] for role in SOURCES if role in images), None)
    drange = source.drange if source is not None else (0.0, 1.0)
    if PREDICTION in images and drange is not None:
        drange = (0.0, 1.0)  # prediction maps with a range are brought to this one
    display_mode = (source.display_mode or "default") if source is not None else "grayscale"
    pixels = pixel_classification.result_infos(project.pixels, pixel_images(images)) if project.pixels else {}
    return {
        r.name: replace(pixels[r.pixel_result], name=r.name)
        if r.pixel_result
        else ResultInfo(
            name=r.name,
            dtype=np.dtype(r.dtype) if r.dtype else id_dtype(images),
            channels=r.channels(_class_count(project)),
            drange=images[RAW].drange if r.is_blockwise else drange,
            display_mode=display_mode,
            value_range=r.value_range,
            is_labels=r.is_labels,
        )
        for r in _results(project)
    }


@dataclass(frozen=True)
class _Lane:
    """A project at work on one lane."""

    project: ObjectProject
    images: Mapping[str, InputImage]
    backend: Backend
    threads: int
    memory_bytes: int

    @property
    def raw(self) -> InputImage:
        return self.images[RAW]

    @property
    def shape(self) -> Voxels:
        """Of a frame, z, y, x."""
        _, z, y, x, _ = self.raw.shape
        return z, y, x

    @property
    def results(self) -> tuple[ObjectResult, ...]:
        return _results(self.project)

    @property
    def work_bytes(self) -> int:
        """Memory for everything but the scratch."""
        return self.memory_bytes - int(self.memory_bytes * SCRATCH_SHARE)

    def classify_pixels(
        self, sinks: Mapping[str, TileSink], memory_bytes: int, on_progress: Callable[[int], None]
    ) -> None:
        """Run the pixel stage; sinks by the name of the pixel result they take."""
        assert self.project.pixels is not None
        pixel_classification.classify_lane(
            self.project.pixels,
            pixel_images(self.images),
            sinks,
            backend=self.backend,
            threads=self.threads,
            memory_bytes=memory_bytes,
            on_progress=on_progress,
        )

    def measure(self, read_raw: Read, labels: LabelFrame, wanted: Features) -> ObjectFeatures:
        """The wanted features of labelled objects; ``read_raw`` gives the image (z, y, x, c) around them."""
        return measure_frame(
            lambda box: read_raw(box).astype(np.float32, copy=False),
            labels,
            self.raw.shape[4],
            wanted,
            backend=self.backend,
            threads=self.threads,
            memory_bytes=self.work_bytes,
        )

    def classify(self, measured: ObjectFeatures) -> ObjectClasses:
        """Ask the forest about every object."""
        classifier = self.project.classifier
        return classify_objects(
            measured.values,
            measured.count,
            self.project.features.selected,
            forest=load_forest(classifier, self.backend),
            columns=classifier.column_count,
            classes=_class_count(self.project),
            backend=self.backend,
            threads=self.threads,
        )


@dataclass(frozen=True)
class _Segmentation:
    """What the objects of a frame are made of: values (z, y, x) of any box, their type, and the file's chunks."""

    read: Read
    dtype: np.dtype
    chunks: tuple[int, ...] | None = None


@dataclass(frozen=True)
class _Frame:
    """One time point of a lane."""

    lane: _Lane
    time: int
    scratch: Scratch
    meter: FrameMeter

    def segment(self, pixel_exports: Mapping[str, ImageExport]) -> _Segmentation:
        """Threshold the prediction maps; a segmentation or label image that is an input is taken as it is.

        pixel_exports  take what the pixel stage makes of this frame on the way, if there is one
        """
        lane, images = self.lane, self.lane.images
        settings = lane.project.thresholds
        if settings is None:
            image = images[SEGMENTATION] if SEGMENTATION in images else images[LABEL]
            return _Segmentation(lambda box: image.read_frame(self.time, box)[..., 0], image.dtype, _chunks(image))
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
        with reads as read:
            labels = threshold_frame(
                self.meter.watch(read, THRESHOLD_SHARE),
                lane.shape,
                channels,
                settings,
                drange,
                backend=lane.backend,
                scratch=self.scratch,
                threads=lane.threads,
                memory_bytes=lane.work_bytes,
            )
        return _Segmentation(_reader(labels), labels.dtype)

    def label(self, segmentation: _Segmentation) -> LabelFrame:
        """Give every object its id."""
        find = renumber_labels if LABEL in self.lane.images else label_components
        with self._in_layers(segmentation.read, segmentation.chunks, segmentation.dtype.itemsize) as read:
            return find(
                self.meter.watch(read, LABEL_SHARE),
                self.lane.shape,
                segmentation.dtype,
                backend=self.lane.backend,
                scratch=self.scratch,
                threads=self.lane.threads,
            )

    def measure(self, labels: LabelFrame, wanted: Features) -> ObjectFeatures:
        """The wanted features of all objects."""
        raw = self.lane.raw
        reads = partial(raw.read_frame, self.time)
        with self._in_layers(reads, _chunks(raw), raw.shape[4] * raw.dtype.itemsize) as read:
            return self.lane.measure(self.meter.watch(read, MEASURE_SHARE), labels, wanted)

    def paint(
        self, labels: LabelFrame, classes: ObjectClasses | None, exports: Mapping[ObjectResult, ImageExport]
    ) -> None:
        """Write the ids, or what the classes make of them, into the exports of the whole frame's objects."""
        paint_frame(
            self.meter.watch(_reader(labels.labels), PAINT_SHARE),
            self.lane.shape,
            self.time,
            [
                (export, None if r.make is None or classes is None else r.make(classes))
                for r, export in exports.items()
                if not r.is_blockwise and not r.pixel_result
            ],
            threads=self.lane.threads,
            memory_bytes=self.lane.work_bytes,
        )

    def paint_blocks(self, segmentation: _Segmentation, exports: Mapping[ObjectResult, ImageExport]) -> None:
        """Classify what each block with its halo shows of the objects, and write the inside of the blocks."""
        lane, blocks = self.lane, self.lane.project.blocks
        wanted = [(export, r.make) for r, export in exports.items() if r.is_blockwise and r.make is not None]
        for inside in Box.whole(lane.shape).split(blocks.shape):
            if not any(wanted_part(export, self.time, inside) for export, _ in wanted):
                continue
            source = inside.grow(blocks.halo).clip(lane.shape)
            with Scratch(int(lane.work_bytes * SCRATCH_SHARE)) as scratch:
                labels, classes = self._classify_block(segmentation, source, scratch)
                ids = labels.labels[inside.relative_to(source.start).slices()]
                for export, make in wanted:
                    write_frame(export, self.time, inside, colour(ids, make(classes), export))

    def _classify_block(
        self, segmentation: _Segmentation, source: Box, scratch: Scratch
    ) -> tuple[LabelFrame, ObjectClasses]:
        """Objects of a part of the frame as if there were nothing else: always components, also of a label image."""
        lane = self.lane
        labels = label_components(
            lambda box: segmentation.read(box.shift(source.start)),
            source.shape,
            segmentation.dtype,
            backend=lane.backend,
            scratch=scratch,
            threads=lane.threads,
        )
        measured = lane.measure(
            lambda box: lane.raw.read_frame(self.time, box.shift(source.start)),
            labels,
            lane.project.features.selected,
        )
        self.meter.counter(0.0)(0)  # where an interrupted run ends
        return labels, lane.classify(measured)

    def _in_layers(self, read: Read, chunks: Sequence[int] | None, bytes_per_voxel: int) -> LayeredReads:
        """The same reading for sweeps over the frame, slab by slab in scan order."""
        return LayeredReads(read, self.lane.shape, chunks, bytes_per_voxel=bytes_per_voxel, scratch=self.scratch)

    def _compute_maps(self, channels: Sequence[int], exports: Mapping[str, ImageExport]) -> np.ndarray:
        """Those prediction maps of the pixel stage that are thresholded, (z, y, x, channels) float32."""
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
        lane.classify_pixels(sinks, lane.work_bytes, self.meter.counter(MAPS_SHARE))
        return maps


@dataclass(frozen=True)
class _FrameSink:
    """Hands the tiles of one frame to several takers; see export.images.TileSink."""

    region: Box
    takers: tuple[Callable[[Box, np.ndarray], None], ...]
    bytes_per_voxel: int
    held_bytes: int
    conversion: None = None

    def write(self, box: Box, data: np.ndarray) -> None:
        """Pass it on."""
        for take in self.takers:
            take(box, data)

    def write_converted(self, box: Box, data: np.ndarray, misfits: int) -> None:
        """Pass on what was made as it is; nothing is converted for a sink without a conversion."""
        assert misfits == 0
        self.write(box, data)


def _start_table(table: TableExport, project: ObjectProject, images: Mapping[str, InputImage]) -> TableRows:
    labels = images.get(LABEL)
    label_dtype = None if labels is None else labels.dtype
    return TableRows(table, project, images[RAW], atlas=images.get(ATLAS), label_dtype=label_dtype)


def _chunks(image: InputImage) -> tuple[int, ...] | None:
    """Of a frame, z, y, x."""
    return None if image.chunks is None else image.chunks[1:4]


def _reader(array: np.ndarray) -> Read:
    return lambda box: array[box.slices()]


def _results(project: ObjectProject) -> tuple[ObjectResult, ...]:
    return results_of(has_pixels=project.pixels is not None)


def _class_count(project: ObjectProject) -> int:
    return max(1, len(project.classifier.label_names))
