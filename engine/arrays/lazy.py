"""Results of Dask arrays: a task per block, which reads the block with its halo and computes it by itself.

Halo and borders are those of the whole image, so results do not depend on the blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, product
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from ...box import Box
from ...frozen import frozen
from ..axes import CANONICAL, box_from_canonical
from ..formats.spec import ImageInfo
from ..inputs.images import InputImage
from ..tiling.halo import source_box
from .images import ArrayLane, open_array
from .results import ArraySink, ResultPlan

if TYPE_CHECKING:
    from .model import Model


def predict_lazily(model: Model, lane: ArrayLane, plans: Mapping[str, ResultPlan]) -> list[Any]:
    """Return arrays of Dask for the results of a lane whose main image is one.

    Parameters
    ----------
    model
        Computes the blocks, each on one thread: Dask computes several blocks in parallel.
    lane
        Inputs; those that are no arrays of Dask become constants of its graph.
    plans
        Plans of the results by name; all of them are local.

    Returns
    -------
    list of dask.array.Array
        In the order of the plans. Blocks are those of the image; all channels are in one block.
    """
    import dask.array
    from dask.base import tokenize
    from dask.highlevelgraph import HighLevelGraph

    inputs = {
        role: given.data if given.is_dask else dask.array.from_array(given.data) for role, given in lane.given.items()
    }
    infos = {role: _info(lane.images[role]) for role in inputs}
    along = _along_axes(inputs[lane.main].chunks, lane.image)
    blocks = list(_blocks(along))
    halo = model.find_halo(lane.images, {name: plan.within(blocks[0][1]) for name, plan in plans.items()})
    wanted = [(name, plan.dtype.str) for name, plan in plans.items()]
    shown = [(role, each.name, infos[role].axes) for role, each in inputs.items()]
    name = f"pixelforest-{tokenize(model.project.content, wanted, shown)}"
    work = f"{name}-work"
    layer: dict[Any, Any] = {work: _Work(model, plans, infos)}
    for index, box in blocks:
        tile = Box((*box.start, 0), (*box.stop, 1))
        surroundings = source_box(tile, (0, *halo, 0), lane.image.shape)
        parts = {role: _cover(each, surroundings, lane.images[role]) for role, each in inputs.items()}
        keys = [key for part in parts.values() for key in part.keys]
        layer[(name, *index)] = (_compute, work, box, _Constant(parts), keys)
    graph = HighLevelGraph.from_collections(name, layer, dependencies=list(inputs.values()))
    found = []
    for number, plan in enumerate(plans.values()):
        own = f"{name}-{number}"
        items = {}
        for index, _ in blocks:
            place = dict(zip(CANONICAL, (*index, 0), strict=True))
            items[(own, *(place[letter] for letter in plan.axes))] = (itemgetter(number), (name, *index))
        of_result = HighLevelGraph({**graph.layers, own: items}, {**graph.dependencies, own: {name}})
        chunks = [(plan.info.channels,) if letter == "c" else along[letter] for letter in plan.axes]
        meta = np.empty((0,) * len(plan.axes), plan.dtype)
        found.append(dask.array.Array(of_result, own, chunks, dtype=plan.dtype, meta=meta))
    return found


@frozen
class _Part:
    """A part of an input, assembled from blocks.

    box     in the axes of the input
    blocks  boxes of the blocks that it touches; keys: of these blocks in Dask's graph
    """

    box: Box
    blocks: tuple[Box, ...]
    keys: tuple[Any, ...]

    def assemble(self, pieces: Iterator[np.ndarray], dtype: np.dtype) -> np.ndarray:
        """Copy the part from its blocks, which are the next pieces."""
        part = np.empty(self.box.shape, dtype)
        for block in self.blocks:
            inside = block.intersect(self.box)
            part[inside.relative_to(self.box.start).slices()] = next(pieces)[inside.relative_to(block.start).slices()]
        return part


@frozen(eq=False)
class _Constant:
    """Parts by role, in a graph: Dask does not replace the keys in it."""

    parts: Mapping[str, _Part]


@frozen(eq=False)
class _Work:
    """Work that the blocks of a lane share: one value of the graph, which each process receives once."""

    model: Model
    plans: Mapping[str, ResultPlan]
    infos: Mapping[str, ImageInfo]


def _compute(work: _Work, box: Box, constant: _Constant, pieces: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """Compute a block (t, z, y, x) of all results from the blocks of the inputs that contain its surroundings."""
    queue = iter(pieces)
    images = {}
    for role, part in constant.parts.items():
        info = work.infos[role]
        images[role] = open_array(role, part.assemble(queue, info.dtype), info, start=part.box.start)
    arrays, sinks = [], {}
    for name, plan in work.plans.items():
        here = plan.within(box)
        arrays.append(np.empty(here.shape, here.dtype))
        sinks[name] = ArraySink(here, arrays[-1])
    work.model.compute_block(images, sinks)
    return tuple(arrays)


def _info(image: InputImage) -> ImageInfo:
    return ImageInfo(image.file_shape, image.dtype, image.axes, own_axes=True)


def _along_axes(chunks: Sequence[tuple[int, ...]], image: InputImage) -> dict[str, tuple[int, ...]]:
    """Sizes of the blocks along each axis; axes that the image lacks have one of length 1."""
    found = dict(zip(image.axes, chunks, strict=True))
    return {letter: found.get(letter, (1,)) for letter in CANONICAL}


def _blocks(along: Mapping[str, tuple[int, ...]]) -> Iterator[tuple[tuple[int, ...], Box]]:
    """Yield index and box of the blocks of the results, along t, z, y, x."""
    for combined in product(*(enumerate(_ranges(along[letter])) for letter in "tzyx")):
        start, stop = (tuple(ends[i] for _, ends in combined) for i in (0, 1))
        yield tuple(index for index, _ in combined), Box(start, stop)


def _ranges(sizes: Sequence[int]) -> list[tuple[int, int]]:
    stops = list(accumulate(sizes))
    return list(zip([0, *stops[:-1]], stops, strict=True))


def _cover(array: Any, box: Box, image: InputImage) -> _Part:
    """Find the blocks of an array of Dask that a canonical box of its image touches, all channels included."""
    whole = Box((*box.start[:4], 0), (*box.stop[:4], image.shape[4]))
    stored = box_from_canonical(whole, image.axes)
    touched = [
        [(i, ends) for i, ends in enumerate(_ranges(sizes)) if ends[0] < stop and ends[1] > start]
        for sizes, start, stop in zip(array.chunks, stored.start, stored.stop, strict=True)
    ]
    keys, blocks = [], []
    for combined in product(*touched):
        keys.append((array.name, *(index for index, _ in combined)))
        start, stop = (tuple(ends[i] for _, ends in combined) for i in (0, 1))
        blocks.append(Box(start, stop))
    return _Part(stored, tuple(blocks), tuple(keys))
