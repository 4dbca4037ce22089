"""Object Classification: probabilities or segmentation → threshold → label → object features → forest → images, table.

One time point after the other; a frame's ids lie in a scratch array, everything else passes by in slabs and tiles.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from ...kernels.contract import Backend, Voxels
from ..box import Box
from ..errors import InputMismatch
from ..export.images import ExportPlan, ImageExport, ResultInfo, TileSink
from ..export.tables import TableExport, TableRequest
from ..formats.scratch import Scratch
from ..inputs import InputImage
from ..objects.atlas import map_to_atlas
from ..objects.classify import ObjectClasses, classify_objects
from ..objects.columns import check_features, count_values
from ..objects.crops import CROP_AXES, cut_objects, squeezed_shape
from ..objects.label import LabelFrame, label_components, renumber_labels
from ..objects.measure import ObjectFeatures, measure_frame
from ..objects.results import ObjectResult, paint, results_of
from ..objects.table import ATLAS, ORIGINAL_ID, TableLayout, plan_columns
from ..objects.threshold import check_thresholding, threshold_frame
from ..pixels.classify import load_forest
from ..project import ObjectProject, PixelProject
from ..project.object_features import DEFAULT_FEATURES, Features
from ..tiling.plan import TileCost, plan_tiles
from ..tiling.stream import stream_tiles
from . import pixel_classification

RAW, ATLAS_ROLE = "Raw Data", "Atlas"
SEGMENTATION, PREDICTION, LABEL = "Segmentation Image", "Prediction Maps", "Label Image"
SOURCES = (SEGMENTATION, PREDICTION, LABEL)
# The part of the memory budget that intermediate volumes may take before they go to files.
SCRATCH_SHARE = 0.5

logger = logging.getLogger("pixelforest.objects")

Read = Callable[[Box], np.ndarray]


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
    pixel_exports = {r.pixel_result: exports[r.name] for r in lane.results if r.pixel_result and r.name in exports}
    object_exports = {r: exports[r.name] for r in lane.results if not r.pixel_result and r.name in exports}
    if not object_exports and table is None:
        _classify_pixels(lane, pixel_exports, on_progress)
        return
    rows = None if table is None else _Rows(lane, table)
    count = 0
    for time in _frame_times(images, exports.values(), has_table=table is not None):
        with Scratch(int(memory_bytes * SCRATCH_SHARE)) as scratch:
            frame = _Frame(lane, time, scratch, _Meter(on_progress, lane.frame_voxels))
            segmentation = frame.segment(pixel_exports)
            labels = frame.label(segmentation)
            count += labels.count
            if rows is not None or any(r.make is not None and not r.is_blockwise for r in object_exports):
                measured = frame.measure(labels, lane.features(everything=rows is not None))
                classes = frame.classify(measured)
            else:
                measured, classes = None, None
            whole = {r: export for r, export in object_exports.items() if not r.is_blockwise}
            frame.paint(labels, classes, whole)
            blockwise = {r: export for r, export in object_exports.items() if r.is_blockwise}
            frame.paint_blocks(segmentation, blockwise)
            if rows is not None and measured is not None and classes is not None:
                rows.add(frame, labels, measured, classes)
            frame.meter.finish()
    if count == 0:
        logger.warning("%s has no objects: its images are zero, its table has no rows", images[RAW].path_text)


def work_voxels(
    project: ObjectProject, images: Mapping[str, InputImage], exports: Mapping[str, ExportPlan], *, has_table: bool
) -> int:
    """How many voxels ``classify_lane`` will report in all."""
    results = {r.name: r for r in results_of(has_pixels=project.pixels is not None)}
    if exports and not has_table and all(results[name].pixel_result for name in exports):
        return pixel_classification.work_voxels(_pixels(project), _pixel_images(images), exports, has_table=False)
    times = _frame_times(images, exports.values(), has_table=has_table)
    return len(times) * int(np.prod(images[RAW].shape[1:4], dtype=np.int64))


def check_lane(project: ObjectProject, images: Mapping[str, InputImage]) -> None:
    """Refuse a lane that does not fit the project, before anything is computed. Raises InputMismatch, ProjectError."""
    raw = images[RAW]
    for role in project.roles:
        if role in SOURCES and role not in images:
            raise InputMismatch(
                f"there is no {role} for {raw.path_text}; name it with --{role.lower().replace(' ', '_')}"
            )
    for role, image in images.items():
        if image.shape[:4] != raw.shape[:4]:
            raise InputMismatch(
                f"Shapes do not match: {role} ({image.path_text}) has the size {_sizes(image)}, {RAW} "
                f"({raw.path_text}) {_sizes(raw)}; they must agree except for channels"
            )
    for axis, size in zip("yx", raw.shape[2:4], strict=True):
        if size == 1:
            raise InputMismatch(
                f"{raw.path_text} has one pixel along {axis}; objects can only be measured in images of at least two "
                "pixels along x and y. --input_axes says which axis is which"
            )
    _check_source(project, images)
    if project.pixels is not None:
        pixel_classification.check_lane(project.pixels, _pixel_images(images))
    _check_features(project, raw)


def result_infos(project: ObjectProject, images: Mapping[str, InputImage]) -> dict[str, ResultInfo]:
    """What can be exported for a lane: name of the result -> its dtype, channels and metadata.

    As in ilastik, a result inherits the range and display mode stored with what the objects are made of, blockwise
    ones the range of the raw data; for probabilities the range they really have is kept beside it.
    """
    raw = images[RAW]
    source = next((images[role] for role in SOURCES if role in images), None)
    pixels = (
        {} if project.pixels is None else pixel_classification.result_infos(project.pixels, _pixel_images(images))
    )
    drange = source.drange if source is not None else (0.0, 1.0)
    if PREDICTION in images and drange is not None:
        drange = (0.0, 1.0)  # prediction maps with a range are brought to this one
    display_mode = (source.display_mode or "default") if source is not None else "grayscale"
    classes = _class_count(project)
    return {
        r.name: replace(pixels[r.pixel_result], name=r.name)
        if r.pixel_result
        else ResultInfo(
            name=r.name,
            dtype=np.dtype(r.dtype) if r.dtype else _id_dtype(images),
            channels=r.channels(classes),
            drange=raw.drange if r.is_blockwise else drange,
            display_mode=display_mode,
            value_range=r.value_range,
        )
        for r in results_of(has_pixels=project.pixels is not None)
    }


# ------------------------------------------------------------------------------------------------------- one lane


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
        _, z, y, x, _ = self.raw.shape
        return z, y, x

    @property
    def frame_voxels(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def work_bytes(self) -> int:
        """Memory for everything but the scratch."""
        return self.memory_bytes - int(self.memory_bytes * SCRATCH_SHARE)

    @property
    def results(self) -> tuple[ObjectResult, ...]:
        return results_of(has_pixels=self.project.pixels is not None)

    def features(self, *, everything: bool) -> Features:
        return self.project.features.measured(everything=everything)

    def read_raw(self, time: int, box: Box) -> np.ndarray:
        """(z, y, x, c) in the image's own type."""
        return _read(self.raw, time, box)


@dataclass(frozen=True)
class _Segmentation:
    """What the objects of a frame are made of: values (z, y, x) of any box, and their type."""

    read: Read
    dtype: np.dtype


class _Frame:
    """One time point of a lane."""

    def __init__(self, lane: _Lane, time: int, scratch: Scratch, meter: _Meter) -> None:
        self.lane, self.time, self.scratch, self.meter = lane, time, scratch, meter

    def segment(self, pixel_exports: Mapping[str, ImageExport]) -> _Segmentation:
        """Threshold the prediction maps; a segmentation or label image that is an input is taken as it is."""
        lane, images = self.lane, self.lane.images
        settings = lane.project.thresholds
        if settings is None:
            image = images[SEGMENTATION] if SEGMENTATION in images else images[LABEL]
            return _Segmentation(lambda box: _read(image, self.time, box)[..., 0], image.dtype)
        if lane.project.pixels is not None:
            maps = self._compute_maps(settings.channels, pixel_exports)
            places = {channel: i for i, channel in enumerate(settings.channels)}
            settings = replace(
                settings,
                channel=places[settings.channel],
                core_channel=places.get(settings.core_channel, 0),
            )
            read: Read = lambda box: maps[box.slices()]  # noqa: E731  # one of two ways to read
            channels, drange = maps.shape[3], None
        else:
            predictions = images[PREDICTION]
            read = partial(_read, predictions, self.time)
            channels, drange = predictions.shape[4], predictions.drange
        labels = threshold_frame(
            self.meter.watch(read, 0.3),
            lane.shape,
            channels,
            settings,
            drange,
            backend=lane.backend,
            scratch=self.scratch,
            threads=lane.threads,
            memory_bytes=lane.work_bytes,
        )
        return _Segmentation(lambda box: labels[box.slices()], labels.dtype)

    def label(self, segmentation: _Segmentation) -> LabelFrame:
        """Give every object its id."""
        find = renumber_labels if LABEL in self.lane.images else label_components
        return find(
            self.meter.watch(segmentation.read, 0.2),
            self.lane.shape,
            segmentation.dtype,
            backend=self.lane.backend,
            scratch=self.scratch,
            threads=self.lane.threads,
        )

    def measure(self, labels: LabelFrame, wanted: Features) -> ObjectFeatures:
        """The wanted features of all objects."""
        read = self.meter.watch(partial(self.lane.read_raw, self.time), 0.3)
        return _measure(self.lane, read, labels, wanted)

    def classify(self, measured: ObjectFeatures) -> ObjectClasses:
        """Ask the forest about every object."""
        return _classify(self.lane, measured)

    def paint(
        self, labels: LabelFrame, classes: ObjectClasses | None, exports: Mapping[ObjectResult, ImageExport]
    ) -> None:
        """Write the ids, or what the classes make of them, into the exports."""
        if not exports:
            return
        colours = {r: r.make(classes) for r in exports if r.make is not None and classes is not None}

        def process(tile: Box, ids: np.ndarray) -> None:
            for result, export in exports.items():
                _write(export, self.time, tile, _colour(ids, colours.get(result), export))

        read = self.meter.watch(lambda tile: labels.labels[tile.slices()], 0.2)
        stream_tiles(_tiles(self.lane, self.time, exports.values()), read, process, threads=self.lane.threads)

    def paint_blocks(self, segmentation: _Segmentation, exports: Mapping[ObjectResult, ImageExport]) -> None:
        """Classify what each block with its halo shows of the objects, and write the inside of the blocks."""
        blocks = self.lane.project.blocks
        for inside in Box.whole(self.lane.shape).split(blocks.shape):
            if not any(_inside(export, self.time, inside) for export in exports.values()):
                continue
            source = inside.grow(blocks.halo).clip(self.lane.shape)
            with Scratch(int(self.lane.work_bytes * SCRATCH_SHARE)) as scratch:
                ids, classes = self._classify_block(segmentation, source, scratch)
                cut = ids[inside.relative_to(source.start).slices()]
                for result, export in exports.items():
                    assert result.make is not None
                    _write(export, self.time, inside, _colour(cut, result.make(classes), export))

    def _classify_block(
        self, segmentation: _Segmentation, source: Box, scratch: Scratch
    ) -> tuple[np.ndarray, ObjectClasses]:
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
        measured = _measure(
            lane, lambda box: lane.read_raw(self.time, box.shift(source.start)), labels, lane.project.features.selected
        )
        return labels.labels, _classify(lane, measured)

    def _compute_maps(self, channels: Sequence[int], exports: Mapping[str, ImageExport]) -> np.ndarray:
        """Those prediction maps of the pixel stage that are thresholded, (z, y, x, channels) float32."""
        lane = self.lane
        maps = self.scratch.array((*lane.shape, len(channels)), np.float32)
        frame = Box((self.time, 0, 0, 0, 0), (self.time + 1, *lane.shape, max(channels) + 1))

        def keep(box: Box, data: np.ndarray) -> None:
            maps[tuple(slice(a, b) for a, b in zip(box.start[1:4], box.stop[1:4], strict=True))] = data[0][..., channels]

        sinks: dict[str, TileSink] = {
            name: _FrameSink(frame, (export.write,), export.bytes_per_voxel, export.held_bytes)
            for name, export in exports.items()
            if _inside(export, self.time, Box.whole(lane.shape))
        }
        also = sinks.get("Probabilities")
        writes = (keep,) if also is None else (keep, also.write)
        sinks["Probabilities"] = _FrameSink(frame, writes, 4 * len(channels) + (also.bytes_per_voxel if also else 0), 0)
        pixel_classification.classify_lane(
            _pixels(lane.project),
            _pixel_images(lane.images),
            sinks,
            backend=lane.backend,
            threads=lane.threads,
            memory_bytes=lane.work_bytes,
            on_progress=self.meter.counter(0.3),
        )
        return maps


@dataclass(frozen=True)
class _FrameSink:
    """Hands the tiles of one frame to several takers; see export.images.TileSink."""

    region: Box
    takers: tuple[Callable[[Box, np.ndarray], None], ...]
    bytes_per_voxel: int
    held_bytes: int

    def write(self, box: Box, data: np.ndarray) -> None:
        for take in self.takers:
            take(box, data)


class _Meter:
    """Reports the voxels of one frame while its steps go on, each step its share of them."""

    def __init__(self, on_progress: Callable[[int], None], voxels: int) -> None:
        self._on_progress, self._voxels, self._left = on_progress, voxels, voxels

    def counter(self, share: float) -> Callable[[int], None]:
        """Takes the voxels that a step has finished; what goes beyond the step's share is not reported."""
        left = [int(self._voxels * share)]

        def count(voxels: int) -> None:
            part = max(0, min(int(voxels * share), left[0], self._left))
            left[0] -= part
            self._left -= part
            self._on_progress(part)  # also of nothing: this is where an interrupted run ends

        return count

    def watch(self, read: Read, share: float) -> Read:
        """The same reading, counted."""
        count = self.counter(share)

        def counted(box: Box) -> np.ndarray:
            values = read(box)
            count(box.size)
            return values

        return counted

    def finish(self) -> None:
        """Report the rest."""
        self._on_progress(self._left)
        self._left = 0


class _Rows:
    """The rows of a lane's table, frame by frame."""

    def __init__(self, lane: _Lane, table: TableExport) -> None:
        self.lane, self.table = lane, table
        self.layout = _plan_table(lane, table.request)
        table.start(self.layout.columns)
        if table.request.has_images and table.request.includes_raw:
            self._store_raw()

    def add(self, frame: _Frame, labels: LabelFrame, measured: ObjectFeatures, classes: ObjectClasses) -> None:
        """Append the objects of a frame, with their pictures if they are wanted."""
        first = self.table.row_count
        if classes.count:
            extras = self._extras(frame.time, labels, measured)
            self.table.write(self.layout.rows(frame.time, first, classes, measured.values, extras))
        if self.table.request.has_images:
            self._store_crops(frame, labels, measured, first)

    def _extras(self, time: int, labels: LabelFrame, measured: ObjectFeatures) -> dict[str, np.ndarray]:
        extras = {}
        atlas = self.lane.images.get(ATLAS_ROLE)
        if atlas is not None:
            centres = measured.values[DEFAULT_FEATURES]["RegionCenter"]
            read = partial(_read, atlas, time)
            extras[ATLAS] = map_to_atlas(read, self.lane.shape, atlas.shape[4], atlas.dtype, centres)
        if labels.original_ids is not None:
            extras[ORIGINAL_ID] = labels.original_ids
        return extras

    def _store_crops(self, frame: _Frame, labels: LabelFrame, measured: ObjectFeatures, first: int) -> None:
        default = measured.values[DEFAULT_FEATURES]
        corners = [default[name].astype(np.intp)[:, ::-1] for name in ("Coord<Minimum>", "Coord<Maximum>")]
        if corners[0].shape[1] == 2:
            lowest, highest = np.zeros((labels.count, 1), np.intp), np.ones((labels.count, 1), np.intp)
            corners = [np.concatenate(pair, axis=1) for pair in ((lowest, corners[0]), (highest, corners[1]))]
        read = None if self.table.request.includes_raw else partial(self.lane.read_raw, frame.time)
        boxes = np.stack(corners, axis=1)
        for number, crop in enumerate(cut_objects(labels.labels, read, boxes, self.table.request.margin), first):
            self.table.add_image(f"{number}/labeling", crop.mask, axes=crop.axes, kind="labeling")
            if crop.raw is not None:
                self.table.add_image(f"{number}/raw", crop.raw, axes=crop.raw_axes, kind="image")

    def _store_raw(self) -> None:
        """The whole image once, plane by plane."""
        raw = self.lane.raw
        shape, axes = squeezed_shape(raw.shape)
        self.table.add_large_image("raw", shape, raw.dtype, axes=axes, kind="image")
        for time in range(raw.shape[0]):
            for plane in range(raw.shape[1]):
                box = Box((plane, 0, 0), (plane + 1, *self.lane.shape[1:]))
                piece = self.lane.read_raw(time, box).transpose(2, 1, 0, 3)[np.newaxis]
                whole = Box((time, 0, 0, plane, 0), (time + 1, *piece.shape[1:3], plane + 1, piece.shape[4]))
                kept = [i for i, axis in enumerate(f"t{CROP_AXES}") if axis in axes]
                target = Box(tuple(whole.start[i] for i in kept), tuple(whole.stop[i] for i in kept))
                self.table.write_image("raw", target, piece.reshape(target.shape))


# ------------------------------------------------------------------------------------------------------- the steps


def _measure(lane: _Lane, read: Read, labels: LabelFrame, wanted: Features) -> ObjectFeatures:
    return measure_frame(
        lambda box: read(box).astype(np.float32, copy=False),
        labels,
        lane.raw.shape[4],
        wanted,
        backend=lane.backend,
        threads=lane.threads,
        memory_bytes=lane.work_bytes,
    )


def _classify(lane: _Lane, measured: ObjectFeatures) -> ObjectClasses:
    classifier = lane.project.classifier
    return classify_objects(
        measured.values,
        measured.count,
        lane.project.features.selected,
        forest=load_forest(classifier, lane.backend),
        columns=classifier.column_count,
        classes=_class_count(lane.project),
        backend=lane.backend,
        threads=lane.threads,
    )


def _classify_pixels(
    lane: _Lane, exports: Mapping[str, ImageExport], on_progress: Callable[[int], None]
) -> None:
    """Only results of the pixel stage are wanted."""
    pixel_classification.classify_lane(
        _pixels(lane.project),
        _pixel_images(lane.images),
        exports,
        backend=lane.backend,
        threads=lane.threads,
        memory_bytes=lane.memory_bytes,
        on_progress=on_progress,
    )


def _plan_table(lane: _Lane, request: TableRequest) -> TableLayout:
    atlas = lane.images.get(ATLAS_ROLE)
    ids = lane.images.get(LABEL)
    return plan_columns(
        lane.features(everything=True),
        lane.project.classifier.label_names,
        dimensions=3 if lane.shape[0] > 1 else 2,
        channels=lane.raw.shape[4],
        wanted=request.features,
        atlas=None if atlas is None else (atlas.shape[4], atlas.dtype),
        original_id=None if ids is None else _table_id_dtype(ids.dtype),
    )


def _tiles(lane: _Lane, time: int, exports: Collection[TileSink]) -> list[Box]:
    """What of this frame any export wants, cut into tiles (z, y, x)."""
    regions = [part for export in exports if (part := _inside(export, time, Box.whole(lane.shape))) is not None]
    if not regions:
        return []
    start = tuple(min(region.start[i] for region in regions) for i in range(3))
    union = Box(start, tuple(max(region.stop[i] for region in regions) for i in range(3)))
    cost = TileCost(
        per_source=4,
        per_voxel=4 + sum(export.bytes_per_voxel for export in exports),
        fixed=sum(export.held_bytes for export in exports),
    )
    return plan_tiles(union, lane.shape, (0, 0, 0), cost, threads=lane.threads, memory_bytes=lane.work_bytes)


def _inside(export: TileSink, time: int, box: Box) -> Box | None:
    """The part of a box (z, y, x) of a frame that an export wants; None if nothing."""
    region = export.region
    if not region.start[0] <= time < region.stop[0]:
        return None
    part = box.intersect(Box(region.start[1:4], region.stop[1:4]))
    return None if part.is_empty else part


def _colour(ids: np.ndarray, colours: np.ndarray | None, export: ImageExport) -> np.ndarray:
    """(z, y, x, channels): every id's colour, or the ids themselves."""
    return ids.astype(export.plan.result.dtype)[..., np.newaxis] if colours is None else paint(ids, colours)


def _write(export: TileSink, time: int, box: Box, data: np.ndarray) -> None:
    export.write(Box((time, *box.start, 0), (time + 1, *box.stop, data.shape[3])), data[np.newaxis])


def _read(image: InputImage, time: int, box: Box) -> np.ndarray:
    """(z, y, x, c) of one frame."""
    return image.read(Box((time, *box.start, 0), (time + 1, *box.stop, image.shape[4])))[0]


def _frame_times(
    images: Mapping[str, InputImage], exports: Iterable[TileSink | ExportPlan], *, has_table: bool
) -> range:
    """The time points that have to be looked at: all for a table, else those of the exports."""
    if has_table:
        return range(images[RAW].shape[0])
    regions = [export.region for export in exports]
    return range(min(r.start[0] for r in regions), max(r.stop[0] for r in regions))


# -------------------------------------------------------------------------------------------------- what fits what


def _pixels(project: ObjectProject) -> PixelProject:
    assert project.pixels is not None
    return project.pixels


def _pixel_images(images: Mapping[str, InputImage]) -> dict[str, InputImage]:
    """The inputs of the pixel stage: the atlas is its prediction mask."""
    roles = {RAW: pixel_classification.RAW, ATLAS_ROLE: pixel_classification.MASK}
    return {roles[role]: image for role, image in images.items() if role in roles}


def _class_count(project: ObjectProject) -> int:
    return max(1, len(project.classifier.label_names))


def _id_dtype(images: Mapping[str, InputImage]) -> np.dtype:
    """Of Object Identities: the type of the label image, widened where ilastik does so."""
    if LABEL not in images or images[LABEL].dtype == np.uint16:
        return np.dtype(np.uint32)
    return images[LABEL].dtype


def _table_id_dtype(dtype: np.dtype) -> np.dtype:
    return dtype if dtype == np.uint64 else np.dtype(np.int64)


def _check_source(project: ObjectProject, images: Mapping[str, InputImage]) -> None:
    """What the objects are made of."""
    for role in (SEGMENTATION, LABEL):
        image = images.get(role)
        if image is not None and image.shape[4] != 1:
            raise InputMismatch(
                f"{role} {image.path_text} has {image.shape[4]} channels ({_sizes(image)}), but one is needed; "
                "--input_axes says which axis is which"
            )
    if LABEL in images and images[LABEL].dtype.kind not in "iu":
        image = images[LABEL]
        raise InputMismatch(
            f"{LABEL} {image.path_text} holds {image.dtype}, but ids are integers; store it as uint8, uint16 or uint32"
        )
    if project.thresholds is not None:
        maps = images.get(PREDICTION)
        if project.pixels is not None:
            channels = max(1, len(project.pixels.classifier.label_names))
        else:
            channels = maps.shape[4] if maps is not None else 0
        check_thresholding(project.thresholds, images[RAW].shape[1:4], channels)


def _check_features(project: ObjectProject, raw: InputImage) -> None:
    """The classifier reads a fixed number of values, which depends on channels and dimensions."""
    channels, dimensions = raw.shape[4], 3 if raw.shape[1] > 1 else 2
    check_features(project.features.measured(everything=True), dimensions=dimensions, channels=channels)
    width = sum(
        count_values(plugin, name, dimensions=dimensions, channels=channels)
        for plugin, names in project.features.selected.items()
        for name in names
    )
    columns = project.classifier.column_count
    if width != columns:
        raise InputMismatch(
            f"the object classifier was trained on {columns} values an object, but {raw.path_text} ({_sizes(raw)}) "
            f"yields {width}; it needs {RAW} with as many channels and dimensions as the training images. "
            "--input_axes says which axis is which"
        )


def _sizes(image: InputImage) -> str:
    return " x ".join(f"{a}={n}" for a, n in zip("tzyxc", image.shape, strict=True) if n > 1 or a in "yx")
