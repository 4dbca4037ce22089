"""Training of the classifier of a pixel project, or of a stage of one: its labels and images → samples → forests."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from math import isnan, nan
from pathlib import Path

import numpy as np

from ...frozen import frozen
from ..backends import open_backend
from ..errors import InputMismatch, ProjectError, UsageError, setting
from ..pixels.feature_plan import FEATURES, plan_features
from ..project import (
    Classifier,
    FeatureSelection,
    LabelBlock,
    PixelProject,
    Project,
    ProjectFile,
    StoredForest,
    open_project,
    read_common,
    read_feature_selection,
    read_label_names,
)
from ..project.annotations import read_blocks_of_lane
from ..project.forest import GROUP, PARALLEL_FORESTS
from ..project.hdf5_writer import OUTPUT, TrainedClassifier, check_not_open, write_trained_project
from ..project.pixel_features import GROUP as FEATURES_GROUP
from ..project.pixel_project import KIND, RAW, stage_suffix
from ..project.tree_arrays import unpack_trees
from ..resources import Resources
from ..storage.atomic_write import check_file_place
from .forest import TrainedForest, check_seed, train_forests
from .samples import SampleImage, Samples, collect_samples, find_labelled, open_training_images

MAX_FORESTS = 20  # they grow in parallel; fixed, so that a project does not depend on the number of threads
DEFAULT_TREES = 100
MAX_TREES = 100_000
_STORED_TREES = re.compile(rb"V_num_trees\np\d+\nI(\d{1,9})\n")

logger = logging.getLogger("pixelforest.training")


@frozen
class TrainingSettings:
    """Settings of a training.

    trees             None: as many as the project says
    seed              of the first forest; forest i uses seed + i
    label_proportion  share of the labelled pixels to use, above 0, at most 1; None: all
    raw_data          training images that have moved, see ``samples.open_training_images``
    permutes          measure the importance of the features by permutations
    """

    trees: int | None = None
    seed: int = 1
    label_proportion: float | None = None
    raw_data: tuple[str, ...] = ()
    permutes: bool = False


@frozen(eq=False)
class TrainedPixels:
    """A trained project, with what it was trained from.

    project  with the new classifier; its file still holds the old one
    forests  in the order of the classifier
    """

    project: PixelProject
    forests: tuple[TrainedForest, ...]
    samples: Samples
    settings: TrainingSettings

    @property
    def samples_per_class(self) -> tuple[int, ...]:
        """Number of labelled pixels of each class of the project."""
        names = self.project.classifier.label_names
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
    def stages(self) -> tuple[TrainedPixels, ...]:
        """Return the only stage."""
        return (self,)

    def save(self, path: Path) -> None:
        """Write the project with the new classifier, in one step. Raises ExportError, ProjectError."""
        save_stages(self.stages, path)


def save_stages(stages: Sequence[TrainedPixels], path: Path) -> None:
    """Write a project with the new classifiers of its stages, in one step. Raises ExportError, ProjectError."""
    source = stages[0].project.path
    check_place(source, path)
    classifiers = {}
    for stage in stages:
        classifier = stage.project.classifier
        classifiers[stage.project.labels_group] = TrainedClassifier(
            forests=[forest.to_hdf5 for forest in stage.forests],
            known_labels=classifier.known_labels,
            feature_names=classifier.feature_names or (),
            trees=classifier.tree_count,
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
    for each in dict.fromkeys((source, path)):
        check_not_open(each)


def train_pixel_project(
    path: Path, settings: TrainingSettings, *, threads: int, memory_bytes: int, shown_as: Path | None = None
) -> TrainedPixels:
    """Train the classifier of a project anew from its labels and images. Nothing is written.

    shown_as  name of the project in messages, if not ``path``
    Raises ProjectError, InputError, UsageError and MemoryTooSmall.
    """
    check_seed(settings.seed)
    with open_project(path) as file:
        project = read_common(file, path, KIND)
        draft = read_draft(file, project, settings)
    resources = Resources(open_backend("cpu"), threads, memory_bytes)
    with open_training_images(project, RAW, draft.lanes, settings.raw_data) as images:
        return train_stage(project, draft, images, settings, resources, name=str(shown_as or path))


@frozen(eq=False)
class StageDraft:
    """A classifier to be trained.

    group   group of the file that holds its labels and forests
    names   of the classes
    trees   number of trees to grow
    blocks  labels, by lane: those of lanes that have some
    """

    group: str
    selection: FeatureSelection
    names: tuple[str, ...]
    trees: int
    blocks: Mapping[int, Sequence[LabelBlock]]

    @property
    def lanes(self) -> tuple[int, ...]:
        """Return the lanes that have labels."""
        return tuple(self.blocks)


def read_draft(
    file: ProjectFile, project: Project, settings: TrainingSettings, *, stage: int = 1, added_channels: int = 0
) -> StageDraft:
    """Read what is needed to train a project, or one of its stages; see ``read_pixel_project``.

    Raises ProjectError, UsageError.
    """
    suffix = stage_suffix(stage)
    group = f"{GROUP}{suffix}"
    selection = read_feature_selection(
        file, project.lanes, group=f"{FEATURES_GROUP}{suffix}", added_channels=added_channels
    )
    stored = {
        lane: read_blocks_of_lane(
            file, project.lanes, lane, version=project.version, workflow=project.workflow, group=group
        )
        for lane in range(len(project.lanes))
    }
    return StageDraft(
        group=group,
        selection=selection,
        names=read_label_names(file, group),
        trees=_choose_trees(file, group, settings.trees),
        blocks={lane: blocks for lane, blocks in stored.items() if any(block.values.any() for block in blocks)},
    )


def train_stage(
    project: Project,
    draft: StageDraft,
    images: Mapping[int, SampleImage],
    settings: TrainingSettings,
    resources: Resources,
    *,
    name: str,
) -> TrainedPixels:
    """Train a classifier from opened images, by lane: those that have labels, or more.

    name  of what is trained, in messages
    Raises ProjectError, InputError, UsageError and MemoryTooSmall.
    """
    own = {lane: images[lane] for lane in draft.lanes}
    labelled = {i: find_labelled(draft.blocks[i], image.shape, image.path_text) for i, image in own.items()}
    samples = _select(collect_samples(own, labelled, draft.selection, resources), settings)
    _check_labels(name, samples, draft.names)
    forests = _train(samples, draft.trees, settings, resources.threads)
    _, depth, _, _, channels = next(iter(own.values())).shape
    columns = name_columns(draft.selection, channels=channels, depth=depth)
    trained = PixelProject(
        **project.shared(),
        features=draft.selection,
        classifier=_as_classifier(forests, draft.names, columns),
        labels_group=draft.group,
    )
    return TrainedPixels(trained, forests, samples, settings)


def name_columns(selection: FeatureSelection, *, channels: int, depth: int) -> tuple[str, ...]:
    """Name the feature columns as ilastik does: ``Gaussian Smoothing (σ=0.3) in 2D [0]``."""
    plan = plan_features(selection, channels=channels, depth=depth)
    names: list[str] = []
    for row, feature_id in zip(selection.matrix, selection.ids, strict=True):
        feature = FEATURES[feature_id]
        for j, is_selected in enumerate(row):
            if is_selected:
                flat = selection.compute_in_2d[j]
                name = f"{feature.name} (σ={selection.scales[j]!r})" + (" in 2D" if flat else "")
                count = channels * feature.columns(slicewise=flat or depth == 1)
                names += [name] if count == 1 else [f"{name} [{k}]" for k in range(count)]
    assert len(names) == plan.width
    return tuple(names)


def _choose_trees(file: ProjectFile, group: str, wanted: int | None) -> int:
    """Number of trees to grow: the wanted one, else the one in the project's factory, else ilastik's default."""
    if wanted is not None:
        if not 1 <= wanted <= MAX_TREES:
            raise UsageError(f"a classifier has 1 to {MAX_TREES} trees, not {wanted}")
        return wanted
    found = _STORED_TREES.search(file.opaque(f"{group}/ClassifierFactory") or b"")
    return int(found[1]) if found and 1 <= int(found[1]) <= MAX_TREES else DEFAULT_TREES


def _select(samples: Samples, settings: TrainingSettings) -> Samples:
    """Draw the wanted share of the samples, repeatably."""
    share = settings.label_proportion
    if share is None:
        return samples
    if not 0 < share <= 1:
        raise UsageError(f"{setting('label_proportion')} is above 0 and at most 1, not {share}")
    count = len(samples.labels)
    drawn = np.sort(np.random.default_rng(settings.seed).permutation(count)[: int(share * count)])
    chosen = Samples(samples.features[drawn], samples.labels[drawn], samples.lanes[drawn])
    lost = sorted(set(samples.labels.tolist()) - set(chosen.labels.tolist()))
    if lost:
        raise InputMismatch(
            f"{setting('label_proportion')}={share} leaves no pixel of label {lost[0]}; use a larger share, or label "
            "more pixels"
        )
    return chosen


def _check_labels(name: str, samples: Samples, names: Sequence[str]) -> None:
    """Refuse labels that no useful classifier can be trained from. Raises ProjectError."""
    counts = np.bincount(samples.labels, minlength=len(names) + 1)[1:]
    if not counts.any():
        raise ProjectError(f"{name} has no labels to train from; draw some in ilastik, and save")
    if len(counts) > len(names):
        raise ProjectError(f"{name} has pixels of label {len(counts)}, but names {len(names)} classes")
    known = np.flatnonzero(counts).tolist()
    if len(known) == 1:
        raise ProjectError(f"{name} has labels of one class only, {names[known[0]]}; label pixels of another one, too")
    if counts.sum() < len(names):
        raise ProjectError(
            f"{name} has {counts.sum()} labelled pixels for {len(names)} classes; label at least one for each"
        )
    for k in np.flatnonzero(counts == 0).tolist():
        logger.warning("No pixel has the label %s; its probability will be 0 everywhere", names[k])


def _train(samples: Samples, trees: int, settings: TrainingSettings, threads: int) -> tuple[TrainedForest, ...]:
    count = min(MAX_FORESTS, trees)
    sizes = tuple(trees // count + (i < trees % count) for i in range(count))
    logger.info(
        "Training %d trees on %d labelled pixels with %d features, seed %d",
        trees,
        len(samples.labels),
        samples.features.shape[1],
        settings.seed,
    )
    return train_forests(
        samples.features, samples.labels, trees=sizes, seed=settings.seed, threads=threads, permutes=settings.permutes
    )


def _as_classifier(forests: Sequence[TrainedForest], names: tuple[str, ...], columns: tuple[str, ...]) -> Classifier:
    """Return trained forests as a project stores them."""
    stored = []
    for number, forest in enumerate(forests):
        topologies, parameters = zip(*forest.trees, strict=True)
        classes = len(forest.labels)
        trees = unpack_trees(topologies, parameters, class_count=classes, column_count=forest.columns)
        stored.append(StoredForest(f"Forest{number:04d}", trees, classes, forest.columns, is_weighted=False))
    return Classifier(
        forests=tuple(stored),
        known_labels=forests[0].labels,
        label_names=names,
        feature_names=columns,
        kind=PARALLEL_FORESTS,
        averages=True,
    )
