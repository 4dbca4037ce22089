"""New projects that classify objects, from images, segmentations or prediction maps, and labels of objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from ..errors import UsageError, setting
from ..objects.feature_catalogue import OTHER, find_feature
from ..project import ObjectFeatures, ObjectProject, StoredExportSettings
from ..project.object_features import Blocks, Features
from ..project.object_project import UNTRAINED
from ..project.object_writer import NewObjectLane, NewObjectProject
from ..project.workflow_kinds import WorkflowKind
from ..resources import Resources
from ..workflows.objects import KINDS
from ..workflows.objects.frame import Lane
from ..workflows.objects.inputs import RAW, SOURCES, check_images, dimensions_of
from .new_project import check_class_names, describe_image, name_classes, open_new_image
from .object_features_option import parse_object_features
from .object_labels import label_objects
from .samples import option_of
from .thresholds_option import parse_thresholds


def describe_new_object_project(
    folder: Path,
    inputs: Mapping[str, Sequence[str]],
    labels: Sequence[str],
    classes: Sequence[str],
    features: str,
    thresholds: str | None,
    stack_along: str,
    resources: Resources,
) -> NewObjectProject:
    """Find the objects of images, read their labels, and describe the project that is made of them.

    folder   of the project: paths in it are relative to that
    inputs   images by role: raw data, and one of the sources of objects
    labels   for each image a label image of object classes, or a table of points or ids
    classes  names of the classes 1, 2, …; none: ``Label 1``, … for the labels that are found
    stack_along  axis along which several files become one image
    features, thresholds  see ``parse_object_features``, ``parse_thresholds``; no thresholds: ilastik's defaults
    Raises InputError, UsageError, ProjectError, MemoryTooSmall.
    """
    kind = _find_kind(inputs)
    counts = {option_of(role): len(inputs[role]) for role in kind.roles if role in inputs}
    counts[setting("labels")] = len(labels)
    if len(set(counts.values())) > 1:
        listed = " and ".join(f"{count} for {option}" for option, count in counts.items())
        raise UsageError(f"every image needs one input of each kind, but there are {listed}")
    check_class_names(classes, setting("classes"))
    if thresholds is not None and not kind.has_thresholds:
        raise UsageError(f"{setting('thresholds')} goes with {setting('prediction_maps')}; a segmentation has none")
    settings = parse_thresholds(thresholds or "") if kind.has_thresholds else None
    lanes: list[NewObjectLane] = []
    chosen: Features = {}
    for number, label_argument in enumerate(labels):
        with ExitStack() as stack:
            images = {
                role: stack.enter_context(open_new_image(inputs[role][number], stack_along))
                for role in kind.roles
                if role in inputs
            }
            raw = images[RAW]
            chosen = chosen or parse_object_features(features, dimensions=dimensions_of(raw), channels=raw.shape[4])
            project = ObjectProject(
                path=folder, version="", workflow=kind.name, roles=kind.roles, lanes=(), export=StoredExportSettings(),
                features=ObjectFeatures(chosen, chosen), classifier=UNTRAINED, blocks=Blocks(), table=None,
                thresholds=settings, pixels=None,
            )  # fmt: skip
            check_images(project, images)
            vectors = label_objects(Lane(project, images, resources), label_argument, classes, stack_along=stack_along)
            lanes.append(
                NewObjectLane({role: describe_image(image, folder) for role, image in images.items()}, vectors)
            )
    largest = max(int(vector.max()) for lane in lanes for vector in lane.labels)
    names = name_classes(classes, largest, labels)
    entries = [find_feature(plugin, name) for plugin, own in chosen.items() for name in own]
    shown = {(e.plugin, e.name): (e.display_name, "" if e.group == OTHER else e.group) for e in entries}
    return NewObjectProject(kind, tuple(lanes), names, chosen, shown, settings)


def _find_kind(inputs: Mapping[str, Sequence[str]]) -> WorkflowKind:
    """Find the kind of project by the source of its objects. Raises UsageError."""
    given = [role for role in SOURCES if inputs.get(role)]
    if not inputs.get(RAW) or len(given) != 1:
        *some, last = (f"{option_of(role)}" for role in SOURCES)
        raise UsageError(
            f"objects are found in one of {', '.join(some)} and {last}, and measured in {setting('raw_data')}; give "
            "both"
        )
    return next(kind for kind in KINDS if given[0] in kind.roles)
