"""Training of the classifier of a pixel project, or of a stage of one: its labels and images → samples → forests."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ...frozen import frozen
from ..backends import open_backend
from ..pixels.feature_plan import FEATURES, plan_features
from ..project import (
    Classifier,
    FeatureSelection,
    LabelBlock,
    PixelProject,
    Project,
    ProjectFile,
    open_project,
    read_common,
    read_feature_selection,
    read_label_names,
)
from ..project.annotations import read_blocks_of_lane
from ..project.forest import GROUP
from ..project.pixel_features import GROUP as FEATURES_GROUP
from ..project.pixel_project import KIND, RAW, stage_suffix
from ..resources import Resources
from .cross_validation import check_images, cross_validate
from .equal_images import find_folds
from .forest import TrainedForest, check_seed
from .samples import COPIES, SampleImage, Samples, collect_samples, find_labelled, open_training_images
from .stage import (
    DEFAULT_TREES,
    MAX_TREES,
    TrainedStage,
    TrainingSettings,
    as_classifier,
    check_samples,
    check_trees,
    grow_forests,
    select_samples,
)

MAX_FORESTS = 20  # they grow in parallel
_STORED_TREES = re.compile(rb"V_num_trees\np\d+\nI(\d{1,9})\n")

TrainedPixels = TrainedStage[PixelProject]


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
        folds = find_folds(images) if settings.cross_validates else {}
        return train_stage(project, draft, images, folds, settings, resources, name=str(shown_as or path))


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
    folds: Mapping[int, int],
    settings: TrainingSettings,
    resources: Resources,
    *,
    name: str,
    samples_without: Callable[[int], Samples] | None = None,
) -> TrainedPixels:
    """Train a classifier from opened images, by lane: those that have labels, or more.

    folds  for a cross-validation: lane -> first lane with the same image
    name   of what is trained, in messages
    samples_without  computes all samples as they are if a fold's images are not learnt from; None: they are the same
    Raises ProjectError, InputError, UsageError and MemoryTooSmall.
    """
    samples = collect_stage(draft, images, folds, settings, resources, name=name)
    forests = grow_stage(draft, samples, settings, resources)
    _, depth, _, _, channels = images[draft.lanes[0]].shape
    columns = name_columns(draft.selection, channels=channels, depth=depth)
    classifier = as_classifier(forests, draft.names, columns)
    validation = None
    if settings.cross_validates:
        without = replace(settings, permutes=False)

        def train(others: Samples) -> Classifier:
            return as_classifier(grow_stage(draft, others, without, resources), draft.names, columns)

        paths = {lane: image.path_text for lane, image in images.items()}
        validation = cross_validate(
            samples, paths, folds, draft.names, train, resources, samples_without=samples_without
        )
    trained = PixelProject(
        **project.shared(), features=draft.selection, classifier=classifier, labels_group=draft.group
    )
    return TrainedStage(trained, classifier, draft.group, "pixel", forests, samples, settings, validation)


def collect_stage(
    draft: StageDraft,
    images: Mapping[int, SampleImage],
    folds: Mapping[int, int],
    settings: TrainingSettings,
    resources: Resources,
    *,
    name: str,
) -> Samples:
    """Compute the samples of a classifier, see ``train_stage``."""
    own = {lane: images[lane] for lane in draft.lanes}
    labelled = {i: find_labelled(draft.blocks[i], image.shape, image.path_text) for i, image in own.items()}
    if settings.cross_validates:
        check_images(len({folds[lane] for lane, pixels in labelled.items() if len(pixels.places)}))
    copies = COPIES + settings.cross_validates  # all samples are held while a part of them is trained on
    samples = select_samples(
        collect_samples(own, labelled, draft.selection, resources, copies=copies), settings, "pixel"
    )
    check_samples(name, samples, draft.names, "pixel")
    return samples


def grow_stage(
    draft: StageDraft, samples: Samples, settings: TrainingSettings, resources: Resources
) -> tuple[TrainedForest, ...]:
    """Grow the forests of a classifier: always as many, so that a project does not depend on the number of threads."""
    count = min(MAX_FORESTS, draft.trees)
    sizes = tuple(draft.trees // count + (i < draft.trees % count) for i in range(count))
    return grow_forests(samples, sizes, settings, "pixel", resources.threads)


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
        return check_trees(wanted)
    found = _STORED_TREES.search(file.opaque(f"{group}/ClassifierFactory") or b"")
    return int(found[1]) if found and 1 <= int(found[1]) <= MAX_TREES else DEFAULT_TREES
