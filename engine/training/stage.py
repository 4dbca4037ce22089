"""A trained stage of a project: settings, checks of its samples, its forests, and how it is saved."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import field
from itertools import islice
from math import isnan, nan
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import numpy as np

from ...frozen import frozen
from ..errors import InputMismatch, ProjectError, UsageError, setting
from ..project import Classifier, Project, StoredForest
from ..project.forest import PARALLEL_FORESTS
from ..project.hdf5_writer import OUTPUT, TrainedClassifier, check_not_open, check_replaceable, write_trained_project
from ..project.tree_arrays import unpack_trees
from ..storage.atomic_write import check_file_place
from .cross_validation import CrossValidation
from .forest import TrainedForest, train_forests
from .samples import Samples

DEFAULT_TREES = 100
MAX_TREES = 100_000
Unit = Literal["pixel", "object"]
Kind = TypeVar("Kind", bound=Project)

logger = logging.getLogger("pixelforest.training")


@frozen
class TrainingSettings:
    """Settings of a training.

    trees             None: as many as the project says
    seed              of the first forest; forest i uses seed + i
    label_proportion  share of the labelled pixels to use, above 0, at most 1; None: all
    raw_data          training images that have moved, see ``samples.open_training_images``
    other_inputs      the same for other roles than raw data, by role
    permutes          measure the importance of the features by permutations
    cross_validates   classify each labelled image by forests that are trained on the others
    """

    trees: int | None = None
    seed: int = 1
    label_proportion: float | None = None
    raw_data: tuple[str, ...] = ()
    other_inputs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    permutes: bool = False
    cross_validates: bool = False


@frozen(eq=False)
class TrainedStage(Generic[Kind]):
    """A trained project, or a stage of one, with what it was trained from.

    project     with the new classifier; its file still holds the old one
    classifier  that one, with the names of its columns
    group       of the file, where it is stored
    unit        of the samples
    forests     in the order of the classifier
    validation  None: not requested
    """

    project: Kind
    classifier: Classifier
    group: str
    unit: Unit
    forests: tuple[TrainedForest, ...]
    samples: Samples
    settings: TrainingSettings
    validation: CrossValidation | None = None

    @property
    def samples_per_class(self) -> tuple[int, ...]:
        """Number of samples of each class of the project."""
        names = self.classifier.label_names
        return tuple(np.bincount(self.samples.labels, minlength=len(names) + 1)[1:].tolist())

    @property
    def out_of_bag_error(self) -> float:
        """Mean out-of-bag error of the forests, as ilastik logs it; NaN if no sample was left out of a tree."""
        errors = [forest.out_of_bag_error for forest in self.forests if not isnan(forest.out_of_bag_error)]
        return sum(errors) / len(errors) if errors else nan

    @property
    def gains(self) -> np.ndarray:
        """Decrease of Gini's impurity by each feature (f,), the mean over the trees."""
        return self._mean([forest.gains for forest in self.forests])

    @property
    def importance(self) -> np.ndarray:
        """Importance of each feature for each class (f, K), see ``TrainedForest``, the mean over the trees."""
        found = [forest.importance for forest in self.forests if forest.importance is not None]
        assert found, "it has been measured"
        return self._mean(found)

    def _mean(self, values: Sequence[np.ndarray]) -> np.ndarray:
        mean: np.ndarray = np.average(values, axis=0, weights=[len(forest.trees) for forest in self.forests])
        return mean

    @property
    def stages(self) -> tuple[TrainedStage[Kind], ...]:
        """Return the only stage."""
        return (self,)

    def save(self, path: Path) -> None:
        """Write the project with the new classifier, in one step. Raises ExportError, ProjectError."""
        save_stages(self.stages, path)


def save_stages(stages: Sequence[TrainedStage[Any]], path: Path) -> None:
    """Write a project with the new classifiers of its stages, in one step. Raises ExportError, ProjectError."""
    source = stages[0].project.path
    check_place(source, path)
    classifiers = {}
    for stage in stages:
        classifiers[stage.group] = TrainedClassifier(
            forests=[forest.to_hdf5 for forest in stage.forests],
            known_labels=np.unique(stage.samples.labels).tolist(),
            feature_names=stage.classifier.feature_names if stage.unit == "pixel" else None,
            trees=stage.classifier.tree_count,
            seed=stage.settings.seed,
            proportion=stage.settings.label_proportion,
        )
    write_trained_project(source, path, classifiers)
    logger.info("Wrote %s", path)


def check_place(source: Path, path: Path) -> None:
    """Refuse to train a project that is open elsewhere, or to write where it is not possible.

    Raises ProjectError, ExportError.
    """
    check_file_place(path, OUTPUT)
    check_replaceable(path)
    for each in dict.fromkeys((source, path)):
        check_not_open(each)


def check_trees(wanted: int) -> int:
    """Return a number of trees. Raises UsageError for one that is impossible."""
    if not 1 <= wanted <= MAX_TREES:
        raise UsageError(f"a classifier has 1 to {MAX_TREES} trees, not {wanted}")
    return wanted


def select_samples(samples: Samples, settings: TrainingSettings, unit: Unit) -> Samples:
    """Draw the wanted share of the samples, repeatably. Raises UsageError, InputMismatch."""
    share = settings.label_proportion
    if share is None:
        return samples
    if not 0 < share <= 1:
        raise UsageError(f"{setting('label_proportion')} is above 0 and at most 1, not {share}")
    count = len(samples.labels)
    drawn = np.sort(np.random.default_rng(settings.seed).permutation(count)[: int(share * count)])
    chosen = samples.select(drawn)
    lost = sorted(set(samples.labels.tolist()) - set(chosen.labels.tolist()))
    if lost:
        raise InputMismatch(
            f"{setting('label_proportion')}={share} leaves no {unit} of label {lost[0]}; use a larger share, or label "
            f"more {unit}s"
        )
    return chosen


def check_samples(name: str, samples: Samples, names: Sequence[str], unit: Unit) -> None:
    """Refuse labels that no useful classifier can be trained from. Raises ProjectError."""
    counts = np.bincount(samples.labels, minlength=len(names) + 1)[1:]
    if not counts.any():
        raise ProjectError(f"{name} has no labels to train from; draw some in ilastik, and save")
    if len(counts) > len(names):
        raise ProjectError(f"{name} has {unit}s of label {len(counts)}, but names {len(names)} classes")
    known = np.flatnonzero(counts).tolist()
    if len(known) == 1:
        raise ProjectError(f"{name} has labels of one class only, {names[known[0]]}; label {unit}s of another one, too")
    if counts.sum() < len(names):
        raise ProjectError(
            f"{name} has {counts.sum()} labelled {unit}s for {len(names)} classes; label at least one for each"
        )
    for k in np.flatnonzero(counts == 0).tolist():
        logger.warning("No %s has the label %s; its probability will be 0 everywhere", unit, names[k])


def grow_forests(
    samples: Samples,
    sizes: tuple[int, ...],
    settings: TrainingSettings,
    unit: Unit,
    threads: int,
    *,
    known: Sequence[int] | None = None,
) -> tuple[TrainedForest, ...]:
    """Grow forests with these numbers of trees; ``known`` as for ``train_forests``. Raises InputMismatch."""
    logger.info(
        "Training %d trees on %d labelled %ss with %d features, seed %d",
        sum(sizes),
        len(samples.labels),
        unit,
        samples.features.shape[1],
        settings.seed,
    )
    return train_forests(
        samples.features, samples.labels, trees=sizes, seed=settings.seed, threads=threads, permutes=settings.permutes,
        known=known,
    )  # fmt: skip


def as_classifier(forests: Sequence[TrainedForest], names: tuple[str, ...], columns: tuple[str, ...]) -> Classifier:
    """Return trained forests as a project stores them."""
    first = forests[0]
    classes, columns_used = len(first.labels), first.columns
    topologies, parameters = zip(*(tree for forest in forests for tree in forest.trees), strict=True)
    # All trees are unpacked together, which makes this fast.
    trees = iter(unpack_trees(topologies, parameters, class_count=classes, column_count=columns_used))
    return Classifier(
        forests=tuple(
            StoredForest(
                f"Forest{number:04d}", tuple(islice(trees, len(forest.trees))), classes, columns_used, is_weighted=False
            )
            for number, forest in enumerate(forests)
        ),
        known_labels=first.labels,
        label_names=names,
        feature_names=columns,
        kind=PARALLEL_FORESTS,
        averages=True,
    )
