"""Sample of a result that exists: one plane of it, and of the image that it was made from."""

from __future__ import annotations

import numpy as np

from ...box import Box
from ...frozen import frozen
from ...kernels.shared.results import simple_segmentation, uncertainty
from ..axes import size_text
from ..errors import InputMismatch
from ..inputs.images import InputImage
from ..project.colours import DEFAULT_COLOURS, OKABE_ITO
from ..requests import COLOURS
from ..workflows.protocol import ClassView
from .lane import SIDE, LaneSample, LaneSampler
from .plane import Plane

_CLASSES, _UNCERTAINTY = "classes", "uncertainty"
MAX_IDS = 20  # numbers above are ids of objects, which share colours
_STRIP_VOXELS = 1 << 22  # that are read at once


@frozen
class _Part:
    """Region of a stand-in for an export."""

    region: Box
    conversion: None = None
    bytes_per_voxel: int = 0
    held_bytes: int = 0
    grid: None = None


def sample_result(result: InputImage, raw: InputImage, view: ClassView | None, *, colours: str) -> LaneSample:
    """Sample the middle plane of the first time point of a result.

    Parameters
    ----------
    result
        Numbers of classes or ids of objects in one channel, or probabilities with a channel for each class.
    raw
        The image, of the same size but for channels.
    view
        Names and colours of the classes; None: numbers and ilastik's colours.
    colours
        One of ``requests.COLOURS``, for classes without a view.

    Raises
    ------
    InputMismatch
        If the sizes differ, or the result has one channel of values that are no integers.
    InputError
        If an image cannot be read.
    """
    if result.shape[:4] != raw.shape[:4]:
        raise InputMismatch(
            f"{result.path_text} has the size {size_text(result.shape)}, {raw.path_text} {size_text(raw.shape)}; they "
            "must agree except for channels"
        )
    channels = result.shape[4]
    if channels == 1 and result.dtype.kind not in "iu":
        raise InputMismatch(
            f"{result.path_text} has one channel of {result.dtype}, which is neither a segmentation nor probabilities"
        )
    plane = Plane(Box.whole(raw.shape[:4]), SIDE).region
    strips = list(plane.split((1, 1, max(1, _STRIP_VOXELS // plane.shape[3]), plane.shape[3])))
    numbers = {strip: _classify(result, strip) for strip in strips}
    highest = int(max(classes.max() for classes, _ in numbers.values()))
    is_of_ids = channels == 1 and highest > MAX_IDS
    shown = _choose_view(view, channels if channels > 1 else highest, colours, is_of_ids=is_of_ids)
    sampler = LaneSampler(shown, raw, {_CLASSES: _Part(Box((*plane.start, 0), (*plane.stop, 1)))})
    sinks = sampler.add_sinks({})
    for strip, (classes, uncertain) in numbers.items():
        raw.read(Box((*strip.start, 0), (*strip.stop, raw.shape[4])))
        box = Box((*strip.start, 0), (*strip.stop, 1))
        if is_of_ids:
            classes = np.where(classes > 0, (classes - 1) % MAX_IDS + 1, 0)
        sinks[_CLASSES].write(box, classes.astype(np.uint8))
        if uncertain is not None:
            sinks[_UNCERTAINTY].write(box, uncertain)
    return sampler.finish()


def _classify(result: InputImage, strip: Box) -> tuple[np.ndarray, np.ndarray | None]:
    """Read numbers of classes (t, z, y, x, 1) and, of probabilities, the uncertainty."""
    values = result.read(Box((*strip.start, 0), (*strip.stop, result.shape[4])))
    if values.shape[4] == 1:
        return values.clip(0), None
    if values.dtype.kind in "iu":
        high = result.drange[1] if result.drange is not None else np.iinfo(values.dtype).max
        values = values / np.float32(high)
    probabilities = values[0].astype(np.float32, copy=False)
    classes, uncertain = simple_segmentation(probabilities), uncertainty(probabilities)
    return classes[np.newaxis], uncertain.clip(0, 1)[np.newaxis]


def _choose_view(view: ClassView | None, count: int, colours: str, *, is_of_ids: bool) -> ClassView:
    count = MAX_IDS if is_of_ids else max(1, count)
    if view is not None and not is_of_ids and len(view.names) >= count:
        names, palette = view.names, view.colours
    else:
        names = tuple(f"Ids {i}, {i + MAX_IDS}, …" if is_of_ids else f"Class {i}" for i in range(1, count + 1))
        known = OKABE_ITO if colours == COLOURS[1] else DEFAULT_COLOURS
        palette = tuple(known[i % len(known)] for i in range(count))
    return ClassView(names, palette, _CLASSES, _UNCERTAINTY)
