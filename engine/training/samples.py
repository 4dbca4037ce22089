"""Samples of a project: features of its labelled pixels, computed only around them.

Samples are in the order of the lanes, then t, z, y, x. Features are those of the whole image, as prediction computes
them; ilastik filters blocks of it, so that last bits of its training features differ in images of several blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from math import prod
from typing import Protocol

import numpy as np

from ...box import Box
from ...frozen import frozen
from ...kernels.contract import Conversion, ResultPlan, TileJob, Voxels, Wanted
from ..axes import canonical_shape, size_text
from ..errors import (
    InputError,
    InputMismatch,
    InputNotFound,
    MemoryTooSmall,
    ProjectError,
    Setting,
    UsageError,
    setting,
)
from ..inputs.arguments import NATIVE, split_list
from ..inputs.images import InputImage, open_image
from ..pixels.annotations import is_file_or_folder, place_inside, places_beside, training_options
from ..pixels.feature_plan import check_size, plan_features
from ..project import FeatureSelection, LabelBlock, Project, TrainingImage
from ..project.annotations import ERASER
from ..resources import Resources
from ..storage.object_storage import is_url
from ..tiling.halo import source_box
from .forest import in_parallel

_CELLS: Mapping[bool, Voxels] = {True: (1, 256, 256), False: (32, 64, 64)}  # flat, volume: computed at a time, at most
CELL_BYTES = 1 << 26  # features of a cell
COPIES = 4  # of the matrix of samples, in training: as rows, as ranks by column and by row, and of a column
_FLOAT = np.dtype(np.float32)


class SampleImage(Protocol):
    """An image that features are computed from: shape (t, z, y, x, c), name in messages, and its voxels."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def path_text(self) -> str: ...
    def read(self, box: Box) -> np.ndarray: ...


@frozen(eq=False)
class LabelledPixels:
    """Labelled pixels of an image, in its order: places (n,) in the flattened (t, z, y, x), and labels (n,) from 1."""

    places: np.ndarray
    labels: np.ndarray


@frozen(eq=False)
class Samples:
    """Samples of all lanes.

    features  (n, f) float32; labels (n,), from 1
    lanes     (n,) index of each sample's lane
    """

    features: np.ndarray
    labels: np.ndarray
    lanes: np.ndarray

    def select(self, rows: np.ndarray) -> Samples:
        """Return the samples of these rows: a mask, or their indices."""
        return Samples(self.features[rows], self.labels[rows], self.lanes[rows])


@contextmanager
def open_training_images(
    project: Project, role: str, lanes: Sequence[int], replacements: Sequence[str]
) -> Iterator[dict[int, InputImage]]:
    """Open the images of training lanes within the context: lane -> image.

    replacements  images that have moved: one for each lane of the project in its order, or files that have the names of
                  those that they replace
    Raises InputError, UsageError.
    """
    moved = _assign(project, role, replacements)
    with ExitStack() as stack:
        yield {lane: stack.enter_context(_open(project, role, lane, moved.get(lane))) for lane in lanes}


def find_labelled(blocks: Sequence[LabelBlock], shape: Sequence[int], name: str) -> LabelledPixels:
    """Find the labelled pixels of an image (t, z, y, x, c); later blocks replace earlier ones. Raises ProjectError."""
    size = tuple(shape[:4])
    places, values = [np.empty(0, np.int64)], [np.empty(0, np.uint8)]
    for block in blocks:
        if not Box.whole((*size, 1)).contains(Box(block.start, _stop(block))):
            raise ProjectError(f"labels lie outside {name}, whose size is {size_text(tuple(shape))}")
        found = np.nonzero(block.values[..., 0])
        at = np.ravel_multi_index([a + start for a, start in zip(found, block.start, strict=False)], size)
        places.append(np.asarray(at, np.int64))
        values.append(block.values[..., 0][found])
    # np.unique keeps the first of equal places: the last one drawn.
    drawn, last = np.unique(np.concatenate(places)[::-1], return_index=True)
    labels = np.concatenate(values)[::-1][last]
    return LabelledPixels(drawn[labels != ERASER], labels[labels != ERASER])


def collect_samples(
    images: Mapping[int, SampleImage],
    labelled: Mapping[int, LabelledPixels],
    selection: FeatureSelection,
    resources: Resources,
    *,
    copies: int = COPIES,
) -> Samples:
    """Compute the features of labelled pixels. ``images`` and ``labelled`` by lane.

    copies  number of copies of the samples that are going to be held, for the check of the memory
    Raises InputMismatch for images that do not fit each other or the features, MemoryTooSmall.
    """
    lanes = [lane for lane in images if len(labelled[lane].places)]
    plans = {}
    for lane in lanes:
        image = images[lane]
        check_size(selection, _volume(image), image.path_text)
        plans[lane] = plan_features(selection, channels=image.shape[4], depth=image.shape[1])
    if len({plan.width for plan in plans.values()}) > 1:
        first, other = lanes[0], next(lane for lane in lanes if plans[lane].width != plans[lanes[0]].width)
        raise InputMismatch(
            f"{images[other].path_text} ({size_text(images[other].shape)}) has {plans[other].width} features, "
            f"{images[first].path_text} ({size_text(images[first].shape)}) {plans[first].width}; all training images "
            "need the same number of channels, and either all or none of them several z slices"
        )
    counts = [len(labelled[lane].places) for lane in lanes]
    width = plans[lanes[0]].width if lanes else 0
    needed = copies * sum(counts) * width * _FLOAT.itemsize + resources.threads * CELL_BYTES
    if needed > resources.memory_bytes:
        raise MemoryTooSmall(
            f"training on {sum(counts)} labelled pixels with {width} features needs {needed >> 20} MB, and the limit "
            f"is {resources.memory_bytes >> 20} MB; raise {setting('memory')}, or label fewer pixels"
        )
    matrix = np.empty((sum(counts), width), np.float32)
    starts = np.cumsum([0, *counts])
    for lane, start, stop in zip(lanes, starts[:-1], starts[1:], strict=True):
        _compute(images[lane], labelled[lane], selection, matrix[start:stop], resources)
    labels = [labelled[lane].labels for lane in lanes]
    return Samples(matrix, np.concatenate([np.empty(0, np.uint8), *labels]), np.repeat(lanes, counts))


def _compute(
    image: SampleImage, labelled: LabelledPixels, selection: FeatureSelection, out: np.ndarray, resources: Resources
) -> None:
    """Compute the features of an image's labelled pixels into ``out`` (n, f)."""
    pixels, size = resources.backend.pixels, _volume(image)
    feature_plan = plan_features(selection, channels=image.shape[4], depth=size[0])
    plan = pixels.load_plan(feature_plan)
    halo = (0, *pixels.source_halo(plan), 0)
    results = ResultPlan((1,), 1, (Wanted("features", (0, feature_plan.width), Conversion(_FLOAT, _FLOAT)),))
    at = np.stack(np.unravel_index(labelled.places, image.shape[:4]), axis=1)

    def compute(members: np.ndarray) -> None:
        first, last = at[members].min(axis=0), at[members].max(axis=0)
        tile = Box((*map(int, first), 0), (*(int(n) + 1 for n in last), image.shape[4]))
        source = source_box(tile, halo, image.shape)
        corners = (_zyx(tile.start), _zyx(tile.stop))
        voxels = image.read(source)[0].transpose(3, 0, 1, 2)
        job = TileJob(voxels, _zyx(source.start), corners, size, None, plan, None, results)
        (stack,) = pixels.tile_results(job)
        _, z, y, x = (at[members] - first).T
        found = stack.values[z, y, x]
        is_bad = ~np.isfinite(found).all(axis=1)
        if is_bad.any():
            place = ", ".join(f"{axis}={n}" for axis, n in zip("tzyx", at[members][is_bad][0].tolist(), strict=True))
            raise InputMismatch(
                f"{image.path_text}: features of the labelled pixel at {place} are not finite, since pixels near it "
                "are NaN, infinite or very large; erase that label, or correct the image"
            )
        out[members] = found

    in_parallel(compute, _group(at, _cell(size, feature_plan.width)), resources.threads)


def _cell(size: Voxels, width: int) -> Voxels:
    """Size of the cells that labelled pixels are grouped by."""
    cell = list(_CELLS[size[0] == 1])
    while prod(cell) * width * _FLOAT.itemsize > CELL_BYTES and max(cell) > 1:
        axis = cell.index(max(cell))
        cell[axis] //= 2
    return cell[0], cell[1], cell[2]


def _group(at: np.ndarray, cell: Voxels) -> list[np.ndarray]:
    """Group pixels (n, 4) by time point and cell: indices of each group."""
    _, group = np.unique(at // np.array([1, *cell]), axis=0, return_inverse=True)
    group = group.reshape(-1)
    order = np.argsort(group, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(group[order])) + 1)


def _assign(project: Project, role: str, replacements: Sequence[str]) -> dict[int, str]:
    """Assign replacements to lanes, by their names if all of them match one, otherwise by order."""
    if not replacements:
        return {}
    names: dict[str, list[int]] = {}
    for lane, found in enumerate(project.lanes):
        if role in found.images:
            names.setdefault(_file_name(found.images[role].file_path), []).append(lane)
    matches = [names.get(_file_name(path), []) for path in replacements]
    if all(len(lanes) == 1 for lanes in matches) and len({lanes[0] for lanes in matches}) == len(matches):
        return {lanes[0]: path for lanes, path in zip(matches, replacements, strict=True)}
    if len(replacements) == len(project.lanes):
        return dict(enumerate(replacements))
    raise UsageError(
        f"the project has {len(project.lanes)} training images and {option_of(role)} {len(replacements)}; give all "
        f"of them in its order, or files of the same names: {', '.join(sorted(filter(None, names)))}"
    )


def option_of(role: str) -> Setting:
    """Option that names images of a role."""
    return setting(role.lower().replace(" ", "_"))


def _file_name(path: str) -> str:
    return path.replace("\\", "/").rpartition("/")[2]


def _open(project: Project, role: str, lane: int, replacement: str | None) -> InputImage:
    """Open the image of a lane: the replacement, or the file that the project names."""
    found = project.lanes[lane].images.get(role)
    if found is None:
        raise ProjectError(f"lane {lane + 1} of {project.path} has labels but no image; add it in ilastik")
    options = training_options(project, found)
    advice = f"pixelforest train takes the images from {option_of(role)}, in the project's order or by their names"
    if replacement is not None:
        image = open_image(replacement, role_index=0, training=found, options=options)
    else:
        argument = _argument(project, found, advice)
        image = open_image(argument, role_index=0, training=found, options=options, announce=False)
    expected = None if found.shape is None else canonical_shape(found.shape, found.axes)
    if expected is not None and image.shape != expected:
        image.close()
        raise InputMismatch(
            f"{image.path_text} has the size {size_text(image.shape)}, but training image {lane + 1} of the project, "
            f"{found.nickname or found.file_path}, {size_text(expected)}; its labels fit that image only"
        )
    return image


def _argument(project: Project, found: TrainingImage, advice: str) -> str:
    """Argument that names a training image as the project stores it."""
    if found.internal:
        return place_inside(project, found)
    if "ProjectInternal" in found.location or "Preloaded" in found.location:
        raise InputNotFound(f"training image {found.nickname} is not inside the project, as that says; {advice}")
    if any(is_url(part) for part in split_list(found.file_path)):
        raise InputError(f"training image {found.file_path} is on a server, where a project may not lead; {advice}")
    places = places_beside(project, found)
    if not places:
        raise InputError(f"the project does not say where training image {found.nickname} is; {advice}")
    if not all(map(is_file_or_folder, places)):
        raise InputNotFound(f"training image {found.file_path} is not in {project.path.parent}; {advice}")
    return NATIVE.separator.join(places)


def _stop(block: LabelBlock) -> tuple[int, ...]:
    return tuple(a + n for a, n in zip(block.start, block.values.shape, strict=True))


def _volume(image: SampleImage) -> Voxels:
    _, z, y, x, _ = image.shape
    return z, y, x


def _zyx(place: Sequence[int]) -> Voxels:
    _, z, y, x, _ = place
    return int(z), int(y), int(x)
