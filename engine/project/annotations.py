"""Labels drawn by the user: names of the classes, and number of pixels of each label.

Prediction needs the names only. The blocks of labelled pixels are counted for reports; there is no training here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from ...frozen import frozen
from ..axes import CANONICAL, axes_from_axistags, is_axis_order, pipeline_axes, to_canonical
from .hdf5 import ProjectFile
from .lanes import TrainingImage, TrainingLane, first_image
from .workflow_kinds import version_order

GROUP = "PixelClassification"
# In a stored block this value erases a label; it is not one.
ERASER = 100
MAX_LABEL = 255
# Far more than any project has; larger declared sizes are refused before memory is allocated.
MAX_LANES = 10_000
MAX_LABELLED_SLICES = 1 << 17


@frozen
class LaneLabels:
    """Labelled pixels of one training lane.

    lane       its index
    has_z      False: the image has no z axis and all its labels are counted at z = 0
    z_extent   number of z slices; None where the project does not store it
    by_slice   z -> label value (from 1) -> number of pixels; only those that are not zero
    """

    lane: int
    nickname: str
    has_z: bool
    z_extent: int | None
    by_slice: Mapping[int, Mapping[int, int]]

    def count_in_slice(self, z: int, label: int = 0) -> int:
        """Number of pixels in slice z with this label; 0 means any label."""
        counts = self.by_slice.get(z, {})
        return counts.get(label, 0) if label else sum(counts.values())

    def totals(self) -> dict[int, int]:
        """Sum over the whole image: label value -> number of pixels."""
        totals: dict[int, int] = {}
        for counts in self.by_slice.values():
            for label, count in counts.items():
                totals[label] = totals.get(label, 0) + count
        return dict(sorted(totals.items()))


# Workflows, by both names that projects store, whose blocks had the axes txyzc for a time.
_WITH_TIME_FIRST = ("Object Classification (from pixel classification)", "ObjectClassificationWorkflowPixel")


def read_label_names(file: ProjectFile, group: str = GROUP) -> tuple[str, ...]:
    """Read the names of the classes, in order of their label values.

    A project that stores labels but no names has as many classes as its largest label value.
    """
    names = file.texts(f"{group}/LabelNames")
    if names:
        return check_names(file, f"{group}/LabelNames", names)
    largest = 0
    for blocks in _label_groups(file, group).values():
        for block in _block_names(file, blocks):
            values = _read_block(file, _block_place(file, f"{blocks}/{block}"))
            largest = max(largest, int(values.max(initial=0, where=values != ERASER)))
    return tuple(f"Label {i + 1}" for i in range(largest))


def check_names(file: ProjectFile, path: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """Check that names of classes are no more than labels can distinguish. Raises ProjectError."""
    if len(names) > MAX_LABEL:
        raise file.error(path, f"names {len(names)} classes, but labels go to {MAX_LABEL}; the file is damaged")
    return names


def count_labels(
    file: ProjectFile, lanes: tuple[TrainingLane, ...], *, version: str, workflow: str, group: str = GROUP
) -> tuple[LaneLabels, ...]:
    """Count the labelled pixels of every lane. ``version`` and ``workflow`` decide the axis order of old blocks."""
    stored = _label_groups(file, group)
    counted = []
    for lane in range(max(len(lanes), max(stored, default=-1) + 1)):
        image = first_image(lanes[lane : lane + 1])
        by_slice: dict[int, dict[int, int]] = {}
        has_z = image is not None and "z" in _internal_axes(image, 0)
        blocks = stored.get(lane)
        for name in _block_names(file, blocks) if blocks is not None else ():
            place = f"{blocks}/{name}"
            values = _read_block(file, _block_place(file, place))
            axes = _block_axes(file, place, values.ndim, image, version=version, workflow=workflow)
            starts = _block_starts(file, place, values.shape)
            z = axes.find("z")
            slices = np.moveaxis(values, z, 0) if z >= 0 else values[np.newaxis]
            if len(slices) <= MAX_LABELLED_SLICES:
                _add_counts(by_slice, slices, starts[z] if z >= 0 else 0)
            if max(len(slices), len(by_slice)) > MAX_LABELLED_SLICES:
                raise file.error(place, f"is labelled in more than {MAX_LABELLED_SLICES} z slices; the file is damaged")
        extent = image.sizes().get("z", 1) if image is not None and image.shape is not None else None
        counted.append(
            LaneLabels(
                lane=lane,
                nickname=image.nickname if image is not None else "",
                has_z=has_z or any(z > 0 for z, counts in by_slice.items() if counts),
                z_extent=extent,
                by_slice=dict(sorted(by_slice.items())),
            )
        )
    return tuple(counted)


@frozen(eq=False)
class LabelBlock:
    """A part of a training image in which labels were drawn.

    start    canonical position of its first voxel
    values   (t, z, y, x, 1) uint8: labels from 1, 0 for unchanged, ERASER for erased
    """

    start: tuple[int, ...]
    values: np.ndarray


def read_blocks_of_lane(
    file: ProjectFile, lanes: tuple[TrainingLane, ...], lane: int, *, version: str, workflow: str, group: str = GROUP
) -> tuple[LabelBlock, ...]:
    """Read the blocks of one training lane, by name. ``version`` and ``workflow`` decide the axes of old blocks."""
    blocks = _label_groups(file, group).get(lane)
    image = first_image(lanes[lane : lane + 1])
    found = []
    for name in sorted(_block_names(file, blocks)) if blocks is not None else ():
        place = f"{blocks}/{name}"
        values = _read_block(file, _block_place(file, place))
        axes = _block_axes(file, place, values.ndim, image, version=version, workflow=workflow)
        starts = _block_starts(file, place, values.shape)
        canonical = to_canonical(values.astype(np.uint8), axes)
        if canonical.shape[4] != 1:
            raise file.error(place, f"has {canonical.shape[4]} channels, where labels have one; the file is damaged")
        found.append(LabelBlock(tuple(starts[axes.index(a)] if a in axes else 0 for a in CANONICAL), canonical))
    return tuple(found)


def _label_groups(file: ProjectFile, group: str) -> dict[int, str]:
    """Map each lane index to the group of its blocks, by the number in the name rather than by alphabetical order."""
    if not file.has_applet(group):
        return {}
    found = {}
    for name in file.groups(f"{group}/LabelSets"):
        number = re.fullmatch(r"\D*(\d{1,9})", name)
        if number and int(number[1]) >= MAX_LANES:
            raise file.error(
                f"{group}/LabelSets/{name}", f"belongs to image {int(number[1])}; no project has more than {MAX_LANES}"
            )
        if number:
            found[int(number[1])] = f"{group}/LabelSets/{name}"
    return found


def _block_names(file: ProjectFile, blocks: str) -> tuple[str, ...]:
    return (*file.datasets(blocks), *file.groups(blocks))


def _block_place(file: ProjectFile, block: str) -> str:
    """Path of a block's values: blocks of a masked image are groups with a dataset ``data``."""
    return f"{block}/data" if file.has_group(block) else block


def _read_block(file: ProjectFile, place: str) -> np.ndarray:
    values = file.array(place, "integers")
    if values is None:
        raise file.error(place, "is missing; the file is damaged")
    if values.size and (int(values.min()) < 0 or int(values.max()) > MAX_LABEL):
        raise file.error(place, f"holds labels outside 0 to {MAX_LABEL}")
    return values


def _add_counts(by_slice: dict[int, dict[int, int]], slices: np.ndarray, first: int) -> None:
    """Count the labels of a block, whose first axis is z and begins at ``first``."""
    if slices.size == 0:
        return
    rows = slices.reshape(len(slices), -1)
    for label in np.flatnonzero(np.bincount(rows.reshape(-1).astype(np.intp), minlength=1)).tolist():
        if label in (0, ERASER):
            continue
        counts = np.count_nonzero(rows == label, axis=1)
        for i in np.flatnonzero(counts).tolist():
            of_slice = by_slice.setdefault(first + i, {})
            of_slice[label] = of_slice.get(label, 0) + int(counts[i])


def _block_starts(file: ProjectFile, block: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Start of a block, from an attribute such as "[26:64,36:101,0:1]"."""
    text = file.attribute_text(block, "blockSlice")
    if text is None:
        raise file.error(block, "has no attribute blockSlice, so its place is unknown; the file is damaged")
    parts = [re.fullmatch(r"\s*(\d{1,18})\s*:\s*(\d{1,18})\s*", part) for part in text.strip("[]() ").split(",")]
    pairs = [(int(part[1]), int(part[2])) for part in parts if part]
    if len(pairs) != len(parts) or tuple(stop - start for start, stop in pairs) != shape:
        raise file.error(block, f"has the shape {shape}, but blockSlice '{text[:80]}'; the file is damaged")
    return tuple(start for start, _ in pairs)


def _block_axes(
    file: ProjectFile, block: str, ndim: int, image: TrainingImage | None, *, version: str, workflow: str
) -> str:
    """Axis letters of a block: its own if stored, else those that its version of ilastik used."""
    text = file.attribute_text(block, "axistags")
    if text is not None:
        try:
            own = axes_from_axistags(text)
        except ValueError:
            own = ""
        if is_axis_order(own) and len(own) == ndim:
            return own
    age = version_order(version)
    if version_order("1.3.3") <= age < version_order("1.3.3post2"):
        if workflow in _WITH_TIME_FIRST:
            axes = "txyzc"
        else:
            axes = _internal_axes(image, ndim)
    elif version_order("1.3.3post2") <= age <= version_order("1.4.0b7") and image is not None:
        axes = image.axes if "c" in image.axes else image.axes + "c"
    else:
        axes = _internal_axes(image, ndim)
    if len(axes) != ndim:
        raise file.error(block, f"has {ndim} dimensions, but its axes are '{axes}'")
    return axes


def _internal_axes(image: TrainingImage | None, ndim: int) -> str:
    """Internal axis order of ilastik. Without a stored shape it follows from letters and number of dimensions."""
    if image is not None and image.shape is not None:
        return pipeline_axes(image.sizes())
    letters = image.axes if image is not None else ""
    if ndim in (0, 5):
        axes = "".join(a for a in "tzyx" if a in letters or ndim == 5)
    elif ndim == 4:
        axes = "zyx" if "z" in letters or "t" not in letters else "tyx"
    else:
        axes = "yx"
    return axes + "c"
