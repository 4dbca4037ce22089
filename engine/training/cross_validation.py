"""Cross-validation over images: every labelled image is classified by forests that were trained on the others."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ...frozen import frozen
from ..errors import UsageError, setting
from ..pixels.classify import load_forest
from ..project import Classifier
from ..resources import Resources
from .forest import ROWS_AT_ONCE, in_parallel
from .samples import Samples

logger = logging.getLogger("pixelforest.training")


@frozen(eq=False)
class CrossValidation:
    """Classes that samples have, and that they are given without their own image.

    names      of the classes
    images     names of the images, in the order of the lanes
    confusion  (images, classes, classes) int64: number of samples of each image, by their label and by the class that
               they are given
    """

    names: tuple[str, ...]
    images: tuple[str, ...]
    confusion: np.ndarray

    @property
    def total(self) -> np.ndarray:
        """Confusion matrix (classes, classes) of all images: a row for each label."""
        total: np.ndarray = self.confusion.sum(axis=0)
        return total

    @property
    def recall(self) -> np.ndarray:
        """Share of the samples of each label that are given its class (classes,); NaN if there are none."""
        return _share(self.total.diagonal(), self.total.sum(axis=1))

    @property
    def precision(self) -> np.ndarray:
        """Share of the samples given each class that have its label (classes,); NaN if there are none."""
        return _share(self.total.diagonal(), self.total.sum(axis=0))

    @property
    def accuracy(self) -> float:
        """Share of all samples that are given the class of their label."""
        return float(self.total.trace() / self.total.sum())

    @property
    def accuracy_by_image(self) -> np.ndarray:
        """The same for each image (images,)."""
        return _share(self.confusion.trace(axis1=1, axis2=2), self.confusion.sum(axis=(1, 2)))


def check_images(count: int) -> None:
    """Refuse to leave out the only image. Raises UsageError."""
    if count == 1:
        raise UsageError(
            f"{setting('cross_validate')} leaves out each labelled image in turn, but only one image has labels; label "
            "another one, or rely on the out-of-bag error, which needs one image"
        )


def cross_validate(
    samples: Samples,
    images: Mapping[int, str],
    folds: Mapping[int, int],
    names: Sequence[str],
    train: Callable[[Samples], Classifier],
    resources: Resources,
    *,
    samples_without: Callable[[int], Samples] | None = None,
) -> CrossValidation:
    """Leave out each image in turn, train on the samples of the others, and classify its own.

    images  lane -> name of its image
    folds   lane -> first lane with the same image, see ``equal_images.find_folds``
    names   of the classes
    train   trains a classifier on samples
    samples_without  computes the same samples, in their order, from what is learnt without the images of a fold; None:
                     their features do not depend on what is learnt
    Raises UsageError if only one image has samples.
    """
    fold_of = np.array([folds[lane] for lane in samples.lanes.tolist()])
    lanes = np.unique(fold_of).tolist()
    check_images(len(lanes))
    confusion = np.zeros((len(lanes), len(names), len(names)), np.int64)
    for fold, lane in zip(confusion, lanes, strict=True):
        logger.info("Cross-validation: %s is left out", images[lane])
        found = samples if samples_without is None else samples_without(lane)
        own, others = found.select(fold_of == lane), found.select(fold_of != lane)
        for label in sorted({*own.labels.tolist()} - {*others.labels.tolist()}):
            logger.warning(
                "Cross-validation: only %s has the label %s, so that all its samples count as wrong",
                images[lane],
                names[label - 1],
            )
        np.add.at(fold, (own.labels - 1, _classify(train(others), own.features, resources) - 1), 1)
    return CrossValidation(tuple(names), tuple(images[lane] for lane in lanes), confusion)


def _classify(classifier: Classifier, features: np.ndarray, resources: Resources) -> np.ndarray:
    """Classify rows of features; returns labels from 1."""
    pixels, forest = resources.backend.pixels, load_forest(classifier, resources.backend, use="rows")
    parts = [features[first : first + ROWS_AT_ONCE] for first in range(0, len(features), ROWS_AT_ONCE)]
    found = in_parallel(lambda part: pixels.predict_rows(part, forest), parts, resources.threads)
    labels: np.ndarray = np.array(classifier.known_labels)[np.concatenate(found).argmax(axis=1)]
    return labels


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    share: np.ndarray = np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)
    return share
