"""The classifier of a project made ready on a backend, and its answer for one tile."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from ...kernels.contract import (
    Backend,
    Conversion,
    ForestArrays,
    ResultPlan,
    TileResult,
    TileWish,
    TreeArrays,
    Voxels,
    Wanted,
)
from ...kernels.shared.conversion import convert
from ...records import dataclass
from ..box import Box
from ..errors import ProjectError
from ..project import PixelProject
from ..project.forest import Classifier
from ..project.tree_arrays import StoredTree
from .feature_plan import plan_features
from .results import RESULTS, PixelResult


@dataclass(frozen=True)
class ResultRequest:
    """How one result is wanted.

    channels    first and last + 1; None: all
    conversion  None: values as they are made
    """

    channels: tuple[int, int] | None = None
    conversion: Conversion | None = None


@dataclass(frozen=True, eq=False)
class PixelClassifier:
    """A project's features and forests on a backend, for images of one number of channels and one size.

    plan, forest  as the backend keeps them
    image         size of the image along z, y, x
    columns       feature columns; known_labels, classes: see project.forest.Classifier
    """

    backend: Backend
    plan: Any
    forest: Any
    image: Voxels
    columns: int
    known_labels: tuple[int, ...]
    classes: int

    @property
    def margin(self) -> Voxels:
        """Halo a tile needs along z, y, x."""
        return self.backend.source_margin(self.plan)

    def tile_bytes(self, tile: tuple[int, ...], source: tuple[int, ...]) -> int:
        """Memory that computing a tile of these sizes takes, with its halo of these sizes."""
        return self.backend.tile_bytes(self.plan, self.classes, _voxels(tile), _voxels(source))

    def tile_wish(self, requests: Mapping[str, ResultRequest], threads: int) -> TileWish | None:
        """Tiles that suit the backend; None: any that suit a CPU."""
        plan, _ = self._plan(requests)
        return self.backend.tile_wish(self.plan, plan, self.image, threads)

    def results(
        self,
        tile: Box,
        source: np.ndarray,
        start: Voxels,
        active: np.ndarray | None,
        requests: Mapping[str, ResultRequest],
    ) -> dict[str, TileResult]:
        """The requested results of a tile (z, y, x).

        source  (z, y, x, c) in the image's dtype, the tile with its halo; its first voxel lies at ``start``
        active  (z, y, x) bool: voxels the prediction mask leaves in; None: all. The others get probability 0
        """
        plan, names = self._plan(requests)
        found: dict[str, TileResult] = {}
        if names:
            corners = (_voxels(tile.start), _voxels(tile.stop))
            channels_first = source.transpose(3, 0, 1, 2)
            made = self.backend.tile_results(
                channels_first, start, corners, self.image, active, self.plan, self.forest, plan
            )
            found.update(zip(names, made, strict=True))
        for name in requests.keys() - found.keys():
            found[name] = self._zeros(name, tile, requests[name])
        return found

    def _plan(self, requests: Mapping[str, ResultRequest]) -> tuple[ResultPlan, list[str]]:
        """What the backend is asked for, and the names of these results in the same order."""
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


def _unchanged(result: PixelResult) -> Conversion:
    dtype = np.dtype(result.dtype)
    return Conversion(dtype, dtype)


@lru_cache(maxsize=4)
def prepare_classifier(project: PixelProject, backend: Backend, *, channels: int, image: Voxels) -> PixelClassifier:
    """Load a project's features and forests into a backend; the last few stay loaded for the next lanes."""
    plan = plan_features(project.features, channels=channels, depth=image[0])
    classifier = project.classifier
    return PixelClassifier(
        backend=backend,
        plan=backend.load_plan(plan),
        forest=load_forest(classifier, backend),
        image=image,
        columns=plan.width,
        known_labels=classifier.known_labels,
        classes=max(1, len(classifier.label_names)),
    )


@lru_cache(maxsize=4)
def load_forest(classifier: Classifier, backend: Backend) -> Any:
    """The forests of a project in a backend; the last few stay loaded. Raises ProjectError if they are too large."""
    forests = [
        ForestArrays(tuple(map(_arrays, f.trees)), f.class_count, f.is_weighted, classifier.averages)
        for f in classifier.forests
    ]
    try:
        return backend.load_forest(forests)
    except ValueError as error:
        raise ProjectError(f"the classifier cannot be used: {error}; train it with fewer trees or features") from None


def _arrays(tree: StoredTree) -> TreeArrays:
    return TreeArrays(tree.feature, tree.threshold, tree.left, tree.right, tree.probabilities, tree.weight)


def _voxels(position: tuple[int, ...]) -> Voxels:
    z, y, x = position
    return z, y, x
