"""Object Classification: probabilities or segmentation → threshold → label → object features → forest → images, table.

One time point after the other; a frame's ids are in a scratch array, everything else is processed in slabs and tiles.
Where that array fits neither memory nor disk, ids are computed again for each slab that is needed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from ...export.images import ResultInfo
from ...export.tables import TableExport
from ...export.tile_sinks import TileDemand, TileSink
from ...inputs.images import InputImage
from ...objects.rows import ObjectSink, TableRows
from ...project import ObjectProject
from ...resources import Resources
from ...storage.scratch import Scratch
from ...tiling.frame_progress import FrameMeter
from ..pixel import flow as pixel_classification
from ..protocol import PartEnded
from .frame import Frame, Lane, class_count, object_results
from .inputs import ATLAS, LABEL, PREDICTION, RAW, SOURCES, check_lane, id_dtype, pixel_images
from .plan import choose_thickness, frame_times, plan_work, share_thickness

__all__ = [
    "check_lane",
    "classify_frame",
    "classify_lane",
    "compute_part",
    "plan_work",
    "result_infos",
    "work_voxels",
]

if TYPE_CHECKING:
    from .shared_frame import Helpers

logger = logging.getLogger("pixelforest.objects")


def classify_lane(
    project: ObjectProject,
    images: Mapping[str, InputImage],
    exports: Mapping[str, TileSink],
    *,
    resources: Resources,
    on_progress: Callable[[int], None],
    table: TableExport | None = None,
    helpers: Helpers | None = None,
    observer: ObjectSink | None = None,
) -> None:
    """Find, measure and classify the objects of a lane; write them into every export and into the table.

    images       by role; exports by the name of their result (see objects/results.py)
    table        started and filled here, finished by the caller
    on_progress  receives the number of voxels just finished
    helpers      other processes that find and measure objects; for projects without ``find_division_obstacle``
    observer     receives the objects of every frame whose objects are classified
    """
    lane = Lane(project, images, resources)
    pixel_exports = lane.pixel_sinks(exports)
    if len(pixel_exports) == len(exports) and table is None:
        lane.classify_pixels(pixel_exports, resources, on_progress)
        return
    rows = None if table is None else start_table(table, project, images)
    times = frame_times(images, exports.values(), has_table=rows is not None)
    count = sum(
        classify_frame(lane, time, exports, rows, on_progress=on_progress, helpers=helpers, observer=observer)
        for time in times
    )
    if count == 0:
        logger.warning("%s has no objects: its images are zero, its table has no rows", lane.raw.path_text)


def classify_frame(
    lane: Lane,
    time: int,
    exports: Mapping[str, TileSink],
    rows: ObjectSink | None,
    *,
    on_progress: Callable[[int], None],
    helpers: Helpers | None = None,
    observer: ObjectSink | None = None,
) -> int:
    """Find, measure and classify the objects of one time point; returns their number.

    lane     opened by this process; other frames may be computed by others
    exports  by name of the result
    rows     receives the objects; None: no table is written
    """
    wanted = {result: exports[result.name] for result in lane.results if result.name in exports}
    is_classified = rows is not None or any(r.make is not None and not r.is_blockwise for r in wanted)
    with Scratch(lane.scratch_bytes) as scratch:
        meter = FrameMeter(on_progress, prod(lane.shape))
        if helpers is None:
            frame = _open_frame(lane, time, exports, scratch, meter)
        else:
            frame = _share_frame(lane, time, scratch, meter, helpers)
        segmentation = frame.segment(lane.pixel_sinks(exports))
        labels = frame.label(segmentation)
        classes = None
        if is_classified:
            measured = frame.measure(labels, lane.project.features.measured(everything=rows is not None))
            classes = lane.classify(measured)
            for sink in (rows, observer):
                if sink is not None:
                    sink.add(time, labels, measured, classes)
        frame.paint(labels, classes, wanted)
        frame.paint_blocks(segmentation, wanted)
        frame.meter.finish()
        return labels.count


def compute_part(
    project: ObjectProject,
    images: Mapping[str, InputImage],
    exports: Mapping[str, TileDemand],
    *,
    has_table: bool,
    resources: Resources,
    on_progress: Callable[[int], None],
    helpers: Helpers,
) -> None:
    """Compute the steps of a lane that ``helpers`` keeps for others, and nothing else; arguments as for
    ``classify_lane``."""
    lane = Lane(project, images, resources)
    is_measured = has_table or any(r.make is not None and r.name in exports for r in lane.results)
    for time in frame_times(images, exports.values(), has_table=has_table):
        with Scratch(lane.scratch_bytes) as scratch:
            frame = _share_frame(lane, time, scratch, FrameMeter(on_progress, prod(lane.shape)), helpers)
            labels = frame.label(frame.segment({}))
            if is_measured:
                with suppress(PartEnded):
                    frame.measure(labels, project.features.measured(everything=has_table))
            frame.meter.finish()


def _share_frame(lane: Lane, time: int, scratch: Scratch, meter: FrameMeter, helpers: Helpers) -> Frame:
    from .shared_frame import SharedFrame  # rarely needed

    thickness = share_thickness(lane.project, lane.images, lane.resources, helpers)
    return SharedFrame(lane, time, scratch, meter, thickness, helpers)


def _open_frame(lane: Lane, time: int, exports: Mapping[str, TileSink], scratch: Scratch, meter: FrameMeter) -> Frame:
    thickness = choose_thickness(lane.project, lane.images, exports, lane.resources)
    if thickness is None:
        return Frame(lane, time, scratch, meter)
    from .slab_frame import SlabFrame  # rarely needed

    return SlabFrame(lane, time, scratch, meter, thickness)


def work_voxels(
    project: ObjectProject, images: Mapping[str, InputImage], exports: Mapping[str, TileDemand], *, has_table: bool
) -> int:
    """Total number of voxels that ``classify_lane`` will report."""
    of_pixels = {result.name for result in object_results(project) if result.pixel_result}
    if project.pixels is not None and not has_table and exports.keys() <= of_pixels:
        return pixel_classification.work_voxels(project.pixels, pixel_images(images), exports, has_table=False)
    return len(frame_times(images, exports.values(), has_table=has_table)) * prod(images[RAW].shape[1:4])


def result_infos(project: ObjectProject, images: Mapping[str, InputImage]) -> dict[str, ResultInfo]:
    """Describe the results of a lane: name of the result -> its dtype, channels and metadata.

    As in ilastik, a result inherits the range and display mode stored with the source of the objects, blockwise results
    the range of the raw data; for probabilities the real range is kept in addition.
    """
    source = next((images[role] for role in SOURCES if role in images), None)
    drange = source.drange if source is not None else (0.0, 1.0)
    if PREDICTION in images and drange is not None:
        drange = (0.0, 1.0)  # prediction maps with a range are scaled to this one
    display_mode = (source.display_mode or "default") if source is not None else "grayscale"
    pixels = pixel_classification.result_infos(project.pixels, pixel_images(images)) if project.pixels else {}
    return {
        r.name: replace(pixels[r.pixel_result], name=r.name)
        if r.pixel_result
        else ResultInfo(
            name=r.name,
            dtype=np.dtype(r.dtype) if r.dtype else id_dtype(images),
            channels=r.channels(class_count(project)),
            drange=images[RAW].drange if r.is_blockwise else drange,
            display_mode=display_mode,
            value_range=r.value_range,
            is_labels=r.is_labels,
            is_scalar=r.is_scalar,
            channel_names=() if r.is_scalar else project.classifier.label_names,
        )
        for r in object_results(project)
    }


def start_table(table: TableExport, project: ObjectProject, images: Mapping[str, InputImage]) -> TableRows:
    labels = images.get(LABEL)
    label_dtype = None if labels is None else labels.dtype
    return TableRows(table, project, images[RAW], atlas=images.get(ATLAS), label_dtype=label_dtype)
