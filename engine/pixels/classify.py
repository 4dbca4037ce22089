"""Classifier of a project loaded into a backend, and its results for one tile."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from ...box import Box
from ...frozen import frozen
from ...kernels.contract import (
    Backend,
    Conversion,
    ForestArrays,
    ForestUse,
    ResultPlan,
    StagedSource,
    TileJob,
    TilePreference,
    TileResult,
    TreeArrays,
    Voxels,
    Wanted,
    as_voxels,
)
from ...kernels.shared.conversion import convert
from ..errors import ProjectError
from ..project import PixelProject
from ..project.forest import Classifier
from ..project.tree_arrays import StoredTree
from ..tiling.halo import source_box
from ..tiling.time_model import estimate_pixels
from .feature_plan import plan_features
from .results import FEATURES, LABELS, PROBABILITIES, RESULTS, PixelResult

MADE_OF_CLASSES = ("probabilities", "segmentation", "uncertainty")
MAX_SOUND_VALUE = 1e17  # sums of squares of such values are far below the limit of float32
_COUNTED = "to be counted"  # distinct from the results, whose names are capitalized
_PROBABILITIES, _LABELS = (next(r for r in RESULTS if r.name == name) for name in (PROBABILITIES, LABELS))


@frozen
class ResultRequest:
    """Request for one result.

    channels    first and last + 1; None: all
    conversion  None: unconverted values
    """

    channels: tuple[int, int] | None = None
    conversion: Conversion | None = None


@frozen
class RawKind:
    """Properties of a raw image that its classifier is loaded for: channels, size along z, y, x, and type."""

    channels: int
    size: Voxels
    dtype: np.dtype

    @classmethod
    def of(cls, shape: Sequence[int], dtype: np.dtype) -> RawKind:
        """Return the kind of an image of this shape (t, z, y, x, c)."""
        return cls(int(shape[4]), as_voxels(shape[1:4]), dtype)


@frozen(eq=False)
class PixelClassifier:
    """A project's features and forests on a backend, for images of one number of channels and one size.

    plan, forest  handles of the backend
    image         size of the image along z, y, x
    columns       feature columns; known_labels, classes: see project.forest.Classifier
    trees, nodes  numbers in all forests
    """

    backend: Backend
    plan: Any
    forest: Any
    image: Voxels
    columns: int
    known_labels: tuple[int, ...]
    classes: int
    trees: int
    nodes: int

    @property
    def halo(self) -> Voxels:
        """Halo of a tile along z, y, x, voxels."""
        return self.backend.pixels.source_halo(self.plan)

    def tile_bytes(self, tile: tuple[int, ...], source: tuple[int, ...]) -> int:
        """Memory for computing a tile of these sizes; ``source``: sizes with its halo."""
        return self.backend.pixels.tile_bytes(self.plan, self.classes, as_voxels(tile), as_voxels(source))

    def preferred_tiles(
        self, requests: Mapping[str, ResultRequest], threads: int, *, first: PixelClassifier | None = None
    ) -> TilePreference | None:
        """Tiles that suit the backend; None: any that suit a CPU. ``first``: first stage, if sources are staged."""
        plan, _ = self._plan(requests)
        before = None if first is None else first.plan
        return self.backend.pixels.preferred_tiles(self.plan, plan, self.image, threads, first=before)

    def seconds(self, tiles: Sequence[Box], names: Collection[str], threads: int) -> float | None:
        """Estimate the time for results of tiles (z, y, x); None for a device without measured rates."""
        return estimate_pixels(
            self.backend.name,
            voxels=sum(source_box(tile, self.halo, self.image).size for tile in tiles),
            columns=0 if set(names) <= {LABELS} else self.columns,
            trees=0 if set(names) <= {LABELS, FEATURES} else self.trees,
            is_solid=self.image[0] > 1,
            threads=min(threads, len(tiles)),
        )

    def results(
        self,
        tile: Box,
        source: np.ndarray | StagedSource,
        start: Voxels,
        active: np.ndarray | None,
        requests: Mapping[str, ResultRequest],
        *,
        on_unclassified: Callable[[int], None] | None = None,
    ) -> dict[str, TileResult]:
        """Compute the requested results of a tile (z, y, x).

        source  (z, y, x, c) in the image's dtype, the tile with its halo, or from ``stage``; its first voxel is at
                ``start``
        active  (z, y, x) bool: voxels inside the prediction mask; None: all. The others get probability 0
        on_unclassified  receives the number of active voxels without a class because a feature is NaN, if there are any
                         and a result of classes is computed. Only checked if the source may cause that
        """
        plan, names = self._plan(requests)
        found: dict[str, TileResult] = {}
        is_counting = on_unclassified is not None and any(w.result in MADE_OF_CLASSES for w in plan.wanted)
        if is_counting and may_spoil_features(source):
            everything = Wanted("probabilities", (0, self.classes), _unchanged(_PROBABILITIES))
            plan, names = replace(plan, wanted=(*plan.wanted, everything)), [*names, _COUNTED]
        if names:
            job = self._job(tile, source, start, active, plan)
            found.update(zip(names, self.backend.pixels.tile_results(job), strict=True))
        if _COUNTED in found and on_unclassified is not None:
            is_without = (found.pop(_COUNTED).values == 0).all(axis=-1)
            count = int(np.count_nonzero(is_without if active is None else is_without & active))
            if count:
                on_unclassified(count)
        for name in requests.keys() - found.keys():
            found[name] = self._zeros(name, tile, requests[name])
        return found

    def stage(self, tile: Box, source: Any, start: Voxels, dtype: np.dtype) -> StagedSource:
        """Return the source of a second stage for a box (z, y, x); its probabilities stay where they are computed.

        source  (z, y, x, c): the box with the halo of this stage; its first voxel is at ``start``
        dtype   of the image
        """
        plan, _ = self._plan({PROBABILITIES: ResultRequest()})
        return StagedSource(self._job(tile, source, start, None, plan), self.halo, dtype)

    def write_results(self, tile: Box, source: Any, start: Voxels, mask: Any, targets: Mapping[str, Any]) -> None:
        """Compute results of a tile (z, y, x) where the image is: in the memory of a device.

        source   (z, y, x, c), adopted by the backend: the tile with its halo, or from ``stage``; its first voxel is at
                 ``start``
        mask     (z, y, x, c), adopted: voxels without a channel above 0 get probability 0; None: there is no mask
        targets  result -> array (z, y, x, c), adopted, that it is written into unconverted
        """
        plan, names = self._plan(dict.fromkeys(targets, ResultRequest()))
        into = tuple(targets[name] for name in names)
        assert self.backend.arrays is not None
        self.backend.arrays.write_results(replace(self._job(tile, source, start, mask, plan), targets=into))

    def _job(self, tile: Box, source: Any, start: Voxels, active: Any, plan: ResultPlan) -> TileJob[Any, Any]:
        corners = (as_voxels(tile.start), as_voxels(tile.stop))
        given = source if isinstance(source, StagedSource) else source.transpose(3, 0, 1, 2)
        return TileJob(given, start, corners, self.image, active, self.plan, self.forest, plan)

    def _plan(self, requests: Mapping[str, ResultRequest]) -> tuple[ResultPlan, list[str]]:
        """Plan the results for the backend; returns also their names in the same order."""
        made = [(r, requests[r.name]) for r in RESULTS if r.kernel is not None and r.name in requests]
        wanted = tuple(
            Wanted(
                str(r.kernel),
                request.channels or (0, r.channels(self.classes, self.columns)),
                request.conversion or _unchanged(r),
            )
            for r, request in made
        )
        return ResultPlan(self.known_labels, self.classes, wanted), [r.name for r, _ in made]

    def _zeros(self, name: str, tile: Box, request: ResultRequest) -> TileResult:
        result = next(r for r in RESULTS if r.name == name)
        first, stop = request.channels or (0, result.channels(self.classes, self.columns))
        zeros = np.zeros((*tile.shape, stop - first), result.dtype)
        return TileResult(*convert(zeros, request.conversion or _unchanged(result)))


def finish_labels(labels: np.ndarray, request: ResultRequest) -> TileResult:
    """Convert annotations (z, y, x, 1) of a tile as requested; this needs no backend."""
    first, stop = request.channels or (0, 1)
    return TileResult(*convert(labels[..., first:stop], request.conversion or _unchanged(_LABELS)))


def may_spoil_features(source: np.ndarray | StagedSource) -> bool:
    """Return True if features of these voxels may be NaN: voxels are NaN, or their squares overflow."""
    if isinstance(source, StagedSource):  # probabilities are up to 2**64 in integers of 64 bits
        is_wide = source.dtype.kind != "f" and source.dtype.itemsize == 8
        return is_wide or may_spoil_features(source.job.source)
    if source.dtype.kind != "f" and source.dtype.itemsize < 8:
        return False
    with np.errstate(invalid="ignore"):
        return not (source.min() >= -MAX_SOUND_VALUE and source.max() <= MAX_SOUND_VALUE)


def _unchanged(result: PixelResult) -> Conversion:
    dtype = np.dtype(result.dtype)
    return Conversion(dtype, dtype)


@lru_cache(maxsize=4)
def prepare_classifier(project: PixelProject, backend: Backend, raw: RawKind) -> PixelClassifier:
    """Load a project's features and forests into a backend; recent ones stay loaded for further lanes."""
    plan = plan_features(project.features, channels=raw.channels, depth=raw.size[0])
    classifier = project.classifier
    return PixelClassifier(
        backend=backend,
        plan=backend.pixels.load_plan(plan),
        forest=load_forest(classifier, backend, use="tiles"),
        image=raw.size,
        columns=plan.width,
        known_labels=classifier.known_labels,
        classes=max(1, len(classifier.label_names)),
        trees=classifier.tree_count,
        nodes=classifier.node_count,
    )


@lru_cache(maxsize=4)
def load_forest(classifier: Classifier, backend: Backend, *, use: ForestUse) -> Any:
    """Load the forests of a project into a backend; recent ones stay loaded.

    Raises ProjectError if they are too large.
    """
    forests = [
        ForestArrays(tuple(map(_arrays, f.trees)), f.class_count, f.is_weighted, classifier.averages)
        for f in classifier.forests
    ]
    try:
        return backend.pixels.load_forest(forests, use=use)
    except ValueError as error:
        raise ProjectError(f"the classifier cannot be used: {error}; train it with fewer trees or features") from None


def _arrays(tree: StoredTree) -> TreeArrays:
    return TreeArrays(tree.feature, tree.threshold, tree.left, tree.right, tree.probabilities, tree.weight)
