"""Results of Autocontext: the second stage sees the image and, as further channels, what the first stage found."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np

from ...box import Box
from ...frozen import frozen
from ...kernels.contract import Backend, StagedSource, TilePreference, TileResult, Voxels, as_voxels
from ...kernels.shared.conversion import convert
from ...kernels.shared.stages import as_raw_type
from ..inputs.images import InputImage
from ..project import PixelProject
from ..project.autocontext_project import STAGES, AutocontextProject
from ..project.pixel_project import MASK, RAW
from ..tiling.halo import source_box
from ..tiling.time_model import add_seconds
from .classify import PixelClassifier, RawKind, ResultRequest, prepare_classifier
from .results import LABELS, PROBABILITIES, RESULTS, PixelResult

Request = TypeVar("Request")

ALL_STAGES, INPUT = "Probabilities All Stages", "Input"


logger = logging.getLogger("pixelforest.pixels")


def stage_results() -> Iterator[tuple[str, int, PixelResult | None]]:
    """List the results in ilastik's order: name, stage, and the result of that stage; None: its input."""
    for stage in reversed(STAGES):
        for result in RESULTS:
            yield f"{result.name} Stage {stage}", stage, result
        yield f"{INPUT} Stage {stage}", stage, None


OF_STAGE = {name: (stage, result) for name, stage, result in stage_results()}
NAMES = (*OF_STAGE, ALL_STAGES)
INPUTS = frozenset(name for name, (_, result) in OF_STAGE.items() if result is None)
LABELS_OF_STAGE = {name: stage for name, (stage, result) in OF_STAGE.items() if result and result.name == LABELS}


def warn_of_inputs(images: Mapping[str, InputImage]) -> None:
    """Warn of a mask, which has no effect, and of the type of the raw image."""
    if MASK in images:
        logger.warning("%s has no effect: ilastik ignores prediction masks in Autocontext", images[MASK].path_text)
    warn_of_type(images[RAW])


def warn_of_type(raw: InputImage) -> None:
    """Warn of a type of a raw image that probabilities do not fit into, or may not fit into."""
    if raw.dtype.kind in "iu" and raw.dtype.itemsize > 2:
        logger.warning(
            "%s is of type %s: ilastik hands the probabilities of stage 1 to stage 2 in the type of the image, %s",
            raw.path_text,
            raw.dtype,
            "where all of them become one number" if raw.dtype.kind == "i" else "which was verified for 8 and 16 bits",
        )


def _stack(voxels: np.ndarray, probabilities: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Add the first stage's probabilities to the channels of a raw image (z, y, x, c)."""
    return np.concatenate([voxels, as_raw_type(probabilities, dtype)], axis=-1)


class ContextImage:
    """An image as the second stage sees it, computed as it is read.

    shape      (t, z, y, x, c), with the added channels
    path_text  of the raw image
    """

    def __init__(self, raw: InputImage, first: PixelProject, backend: Backend) -> None:
        self._raw = raw
        self._first = prepare_classifier(first, backend, RawKind.of(raw.shape, raw.dtype))
        self.shape = (*raw.shape[:4], raw.shape[4] + self._first.classes)
        self.path_text = raw.path_text

    def read(self, box: Box) -> np.ndarray:
        """Read all channels of a box (t, z, y, x, c) of one time point. Raises InputError."""
        raw = self._raw
        tile = Box((*box.start[:4], 0), (*box.stop[:4], raw.shape[4]))
        whole = source_box(tile, (0, *self._first.halo, 0), raw.shape)
        source, inside = raw.read(whole)[0], Box(tile.start[1:4], tile.stop[1:4])
        start = as_voxels(whole.start[1:4])
        found = self._first.results(inside, source, start, None, {PROBABILITIES: ResultRequest()})
        return _stack(source[inside.relative_to(start).slices()], found[PROBABILITIES].values, raw.dtype)[np.newaxis]


@frozen(eq=False)
class ContextClassifier:
    """Both stages on a backend, for images of one number of channels, type and size; used like a PixelClassifier.

    dtype      type of the raw image
    channels   channels of the raw image
    """

    stages: tuple[PixelClassifier, PixelClassifier]
    dtype: np.dtype
    channels: int

    @property
    def backend(self) -> Backend:
        return self.stages[0].backend

    @property
    def halo(self) -> Voxels:
        """Halo of a tile along z, y, x, voxels: that of the second stage around which the first needs its own."""
        first, second = (stage.halo for stage in self.stages)
        return as_voxels(a + b for a, b in zip(first, second, strict=True))

    @property
    def nodes(self) -> int:
        return sum(stage.nodes for stage in self.stages)

    def tile_bytes(self, tile: tuple[int, ...], source: tuple[int, ...]) -> int:
        """Memory for computing a tile of these sizes; ``source``: sizes with its halo."""
        first, second = self.stages
        inner = tuple(min(n + 2 * m, s) for n, m, s in zip(tile, second.halo, source, strict=True))
        voxels = inner[0] * inner[1] * inner[2]
        stacked = voxels * (self.channels + first.classes) * self.dtype.itemsize
        probabilities = voxels * first.classes * 4
        return max(first.tile_bytes(inner, source) + probabilities, second.tile_bytes(tile, inner)) + stacked

    def preferred_tiles(self, requests: Mapping[str, ResultRequest], threads: int) -> TilePreference | None:
        """Tiles that suit the backend; None: any that suit a CPU."""
        first, second = self.stages
        return second.preferred_tiles({PROBABILITIES: ResultRequest()}, threads, first=first)

    def seconds(self, tiles: Sequence[Box], names: Collection[str], threads: int) -> float | None:
        """Estimate the time for results of tiles (z, y, x); None for a device without measured rates."""
        first, second = self.stages
        of_first, of_second = (_of_stage(stage, dict.fromkeys(names, ResultRequest())) for stage in STAGES)
        has_second = bool(of_second) or ALL_STAGES in names
        if not has_second:
            return first.seconds(tiles, of_first, threads)
        grown = [source_box(tile, second.halo, first.image) for tile in tiles]
        return add_seconds(
            first.seconds(grown, (PROBABILITIES,), threads),
            second.seconds(tiles, of_second or (PROBABILITIES,), threads),
        )

    def results(
        self,
        tile: Box,
        source: np.ndarray,
        start: Voxels,
        active: np.ndarray | None,
        requests: Mapping[str, ResultRequest],
        *,
        on_unclassified: Callable[[int], None] | None = None,
    ) -> dict[str, TileResult]:
        """Compute the requested results of a tile (z, y, x) as ``PixelClassifier.results`` does.

        active   always None: ilastik's mask has no effect in Autocontext
        """
        assert active is None, "a mask has no effect"
        first, second = self.stages
        of_first, of_second = (_of_stage(stage, requests) for stage in STAGES)
        if ALL_STAGES in requests:  # those that are requested by themselves are a part of them
            of_second[PROBABILITIES] = ResultRequest()
        whole = source_box(tile, second.halo, first.image) if of_second else tile
        inside = tile.relative_to(whole.start).slices()
        made: dict[str, TileResult] = {}
        in_second: np.ndarray | StagedSource = source
        if of_second and not of_first and ALL_STAGES not in requests:  # nothing of the first stage is exported
            in_second = first.stage(whole, source, start, self.dtype)
        elif of_first or of_second:
            # Unconverted: values beside the tile must not count as overflows of the export.
            unconverted = {name: ResultRequest(request.channels) for name, request in of_first.items()}
            probabilities = {PROBABILITIES: ResultRequest()}
            on_first = None if of_second else on_unclassified
            seen = first.results(whole, source, start, None, unconverted | probabilities, on_unclassified=on_first)
            for name, request in of_first.items():
                values = seen[name].values[inside]
                made[f"{name} Stage 1"] = _finish(values, request, is_cut=name != PROBABILITIES)
            if of_second:
                in_second = _stack(source[whole.relative_to(start).slices()], seen[PROBABILITIES].values, self.dtype)
        if of_second:
            corner = as_voxels(whole.start)
            found = second.results(tile, in_second, corner, None, of_second, on_unclassified=on_unclassified)
            made.update({f"{name} Stage 2": result for name, result in found.items()})
        if ALL_STAGES in requests:
            latest = made[f"{PROBABILITIES} Stage 2"].values
            both = np.concatenate([seen[PROBABILITIES].values[inside], latest], axis=-1)
            made[ALL_STAGES] = _finish(both, requests[ALL_STAGES])
            if f"{PROBABILITIES} Stage 2" in requests:
                made[f"{PROBABILITIES} Stage 2"] = _finish(latest, requests[f"{PROBABILITIES} Stage 2"])
        for name in requests.keys() & INPUTS:
            made[name] = _finish(source[tile.relative_to(start).slices()], requests[name])
        return {name: made[name] for name in requests if name in made}

    def write_results(self, tile: Box, source: Any, start: Voxels, mask: Any, targets: Mapping[str, Any]) -> None:
        """Compute results of a tile where the image is, as ``PixelClassifier.write_results`` does.

        mask     always None: ilastik's mask has no effect in Autocontext
        """
        assert mask is None, "a mask has no effect"
        first, second = self.stages
        of_first, of_second = (_of_stage(stage, targets) for stage in STAGES)
        if ALL_STAGES in targets:
            both = targets[ALL_STAGES]
            parts = both[..., : first.classes], both[..., first.classes :]
            each = {f"{PROBABILITIES} Stage {stage}": part for stage, part in zip(STAGES, parts, strict=True)}
            self.write_results(tile, source, start, None, each)
        if of_first:
            around = source_box(tile, first.halo, first.image)
            part = source[around.relative_to(start).slices()]
            first.write_results(tile, part, as_voxels(around.start), None, of_first)
        if of_second:
            whole = source_box(tile, second.halo, first.image)
            staged = first.stage(whole, source, start, self.dtype)
            second.write_results(tile, staged, as_voxels(whole.start), None, of_second)


@lru_cache(maxsize=4)
def prepare_context(project: AutocontextProject, backend: Backend, raw: RawKind) -> ContextClassifier:
    """Load both stages into a backend; recent ones stay loaded for further lanes."""
    first = prepare_classifier(project.stages[0], backend, raw)
    second = prepare_classifier(project.stages[1], backend, replace(raw, channels=raw.channels + first.classes))
    return ContextClassifier((first, second), raw.dtype, raw.channels)


def _of_stage(stage: int, requests: Mapping[str, Request]) -> dict[str, Request]:
    """Requests for results that a stage computes, or their targets, by the names of its results."""
    found = {}
    for name, request in requests.items():
        of, result = OF_STAGE.get(name, (0, None))
        if of == stage and result is not None and result.kernel is not None:
            found[result.name] = request
    return found


def _finish(values: np.ndarray, request: ResultRequest, *, is_cut: bool = False) -> TileResult:
    """Take the requested channels, unless that is done, and convert them."""
    first, stop = (0, values.shape[-1]) if is_cut or request.channels is None else request.channels
    values = values[..., first:stop]
    if request.conversion is None:
        return TileResult(values, 0)
    return TileResult(*convert(values, request.conversion))
