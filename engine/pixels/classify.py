"""The classifier of a project made ready on a backend, and its answer for one tile."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ...kernels.contract import Backend, ForestArrays, TreeArrays, Voxels
from ..box import Box
from ..errors import ProjectError
from ..project import PixelProject
from ..project.forest import Classifier
from ..project.tree_arrays import StoredTree
from .feature_plan import plan_features
from .results import FEATURES, LABELS, RESULTS, spread_classes


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

    def results(
        self, tile: Box, source: np.ndarray, start: Voxels, active: np.ndarray | None, wanted: Collection[str]
    ) -> dict[str, np.ndarray]:
        """The wanted results of a tile (z, y, x), each as (z, y, x, c).

        source  (z, y, x, c) in the image's dtype, the tile with its halo; its first voxel lies at ``start``
        active  (z, y, x) bool: voxels the prediction mask leaves in; None: all. The others get probability 0
        """
        found: dict[str, np.ndarray] = {}
        if LABELS in wanted:
            found[LABELS] = np.zeros((*tile.shape, 1), np.uint8)
        made = [r for r in RESULTS if r.make is not None and r.name in wanted]
        masked_out = active is not None and not active.any()
        stack = None
        if FEATURES in wanted or (made and not masked_out):
            on_device = self.backend.to_device(source.transpose(3, 0, 1, 2))
            corners = (_voxels(tile.start), _voxels(tile.stop))
            stack = self.backend.feature_stack(on_device, start, corners, self.image, self.plan)
        if FEATURES in wanted:
            found[FEATURES] = self.backend.to_host(self.backend.features(stack))  # type: ignore[arg-type]
        if made:
            probabilities = self._probabilities(tile, None if masked_out else stack, active)
            found.update({r.name: r.make(probabilities) for r in made if r.make is not None})
        return found

    def _probabilities(self, tile: Box, stack: Any, active: np.ndarray | None) -> np.ndarray:
        if stack is None:
            return np.zeros((*tile.shape, self.classes), np.float32)
        answer = self.backend.to_host(self.backend.predict(stack, self.forest))
        probabilities = spread_classes(answer, self.known_labels, self.classes)
        return probabilities if active is None else probabilities * active[..., np.newaxis]


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
