"""The command ``pixelforest train``: from a request as typed to a trained project in a file of its own."""

from __future__ import annotations

from pathlib import Path

from ...frozen import frozen
from ..backends import open_backend
from ..config import find_config, read_config
from ..errors import ExportError, UsageError, setting
from ..machine import choose_memory, choose_threads
from ..project.hdf5_writer import OUTPUT
from ..project.object_writer import write_new_object_project
from ..project.pixel_writer import write_new_pixel_project
from ..quotes import split_entries
from ..resources import Resources
from ..storage.atomic_write import Target
from ..workflows.objects.inputs import ATLAS, RAW, SOURCES
from .importance import check_table_place, write_importance
from .kinds import Trained, train_project_file
from .stage import TrainingSettings, check_place

_OF_NEW_PROJECTS = ("labels", "classes", "features", "object", "autocontext", "thresholds", "stack_along")
_OF_STAGE_2 = ("labels_2", "classes_2", "features_2")
# Options of inputs of other roles than raw data.
_INPUTS = {option: role for role in (*SOURCES, ATLAS) for option in [role.lower().replace(" ", "_")]}


@frozen(kw_only=True)
class TrainingRequest:
    """A request to train, as typed.

    Parameters
    ----------
    project
        Project with labels.
    output
        File that the trained project is written to.
    new
        File of a new project, instead of the two.
    raw_data
        Training images that are not where the project expects them, or those of a new project.
    stack_along
        Of a new project: axis along which several files become one image; None: z.
    labels, classes, features
        Of a new project: a label image for each image, names of the classes separated by commas, and the features,
        see ``features_option.parse_features``.
    autocontext
        True for a new project of Autocontext.
    labels_2, classes_2, features_2
        The same for its second stage; those of the first one, if they are not given.
    segmentation_image, prediction_maps, label_image, atlas
        Further inputs of projects of objects, as ``raw_data``.
    object, thresholds
        True for a new project of objects, and how they are found in prediction maps, see
        ``thresholds_option.parse_thresholds``.
    variable_importance_path
        Folder of the table of the features' importance; None: it is not measured.
    trees, seed, label_proportion
        See ``TrainingSettings``.
    cross_validate
        See ``TrainingSettings.cross_validates``.
    threads, memory, configfile
        As for a run.
    """

    project: str | None = None
    output: str | None = None
    new: str | None = None
    raw_data: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    classes: str | None = None
    features: str | None = None
    autocontext: bool = False
    labels_2: tuple[str, ...] = ()
    classes_2: str | None = None
    features_2: str | None = None
    stack_along: str | None = None
    trees: int | None = None
    seed: int = 1
    label_proportion: float | None = None
    cross_validate: bool = False
    segmentation_image: tuple[str, ...] = ()
    prediction_maps: tuple[str, ...] = ()
    label_image: tuple[str, ...] = ()
    atlas: tuple[str, ...] = ()
    object: bool = False
    thresholds: str | None = None
    variable_importance_path: str | None = None
    threads: int | None = None
    memory: int | None = None
    configfile: str | None = None


def train_project(request: TrainingRequest) -> Trained:
    """Train a project and write it. Raises UsageError, ProjectError, InputError, ExportError, MemoryTooSmall."""
    if request.new is not None:
        return _train_new_project(request, _path(request.new))
    for name in (*_OF_NEW_PROJECTS, *_OF_STAGE_2):
        if getattr(request, name) not in (None, (), False):
            raise UsageError(
                f"{setting(name)} goes with {setting('new')}; a project has its own kind, labels, features and images"
            )
    if request.project is None:
        raise UsageError(f"there is no project to train; name it with {setting('project')}=MyProject.ilp")
    if request.output is None:
        raise UsageError(f"say where the trained project goes, with {setting('output')}=Retrained.ilp")
    source, output = _path(request.project), _path(request.output)
    check_place(source, output)
    trained = _train(request, source)
    trained.save(output)
    return trained


def _train_new_project(request: TrainingRequest, path: Path) -> Trained:
    for name in ("project", "output"):
        if getattr(request, name):
            raise UsageError(f"{setting(name)} cannot be combined with {setting('new')}, which names the new project")
    for name in _OF_STAGE_2:
        if getattr(request, name) not in (None, ()) and not request.autocontext:
            raise UsageError(f"{setting(name)} goes with {setting('autocontext')}, whose projects have a second stage")
    if request.autocontext and request.object:
        raise UsageError(f"{setting('autocontext')} cannot be combined with {setting('object')}; choose one of them")
    try:
        return _draft_and_train(request, path)
    except ExportError as error:  # the advice of writers names the option of a project that is trained again
        raise ExportError(error.args[0].replace(f"{OUTPUT}", f"{setting('new')}")) from error


def _draft_and_train(request: TrainingRequest, path: Path) -> Trained:
    check_place(path, path)
    draft = Target(path, setting("new"))  # in the same folder, so that paths of images are the same
    try:
        (_draft_objects if request.object else _draft_pixels)(request, path, draft.temporary)
        trained = _train(request, draft.temporary, shown_as=path)
        trained.save(path)
    finally:
        draft.discard()
    return trained


def _draft_pixels(request: TrainingRequest, path: Path, place: Path) -> None:
    """Write a new project that classifies pixels, not yet trained, into the file ``place``; it is ``path`` later."""
    for name in (*_INPUTS, "thresholds"):
        if getattr(request, name):
            raise UsageError(f"{setting(name)} goes with {setting('object')}, which makes a project of objects")
    from .new_project import StageRequest, describe_new_project

    features = "all" if request.features is None else request.features
    first = StageRequest(request.labels, _classes(request.classes), features)
    stages = [first]
    if request.autocontext:
        classes = first.classes if request.classes_2 is None else _classes(request.classes_2)
        features = first.features if request.features_2 is None else request.features_2
        stages.append(StageRequest(request.labels_2 or first.labels, classes, features, number=2))
    project = describe_new_project(path.parent, request.raw_data, stages, stack_along=request.stack_along or "z")
    write_new_pixel_project(place, path, project)


def _draft_objects(request: TrainingRequest, path: Path, place: Path) -> None:
    """Write a new project that classifies objects, not yet trained, as ``_draft_pixels`` does."""
    from .new_object_project import describe_new_object_project

    if request.atlas:
        raise UsageError(f"{setting('atlas')}: a new project has no atlas; add it in ilastik")
    project = describe_new_object_project(
        path.parent,
        {RAW: request.raw_data, **_inputs(request)},
        request.labels,
        _classes(request.classes),
        "usual" if request.features is None else request.features,
        request.thresholds,
        request.stack_along or "z",
        Resources(open_backend("cpu"), *_limits(request)),
    )
    write_new_object_project(place, path, project)


def _classes(text: str | None) -> tuple[str, ...]:
    return () if text is None else tuple(split_entries(text))


def _inputs(request: TrainingRequest) -> dict[str, tuple[str, ...]]:
    """Inputs of other roles than raw data, by role."""
    return {role: paths for name, role in _INPUTS.items() if (paths := getattr(request, name))}


def _limits(request: TrainingRequest) -> tuple[int, int]:
    """Number of threads, and bytes of memory."""
    config = read_config(find_config(request.configfile))
    threads = choose_threads(request.threads, config=config.threads)
    return threads, choose_memory(request.memory, config_mb=config.total_ram_mb)


def _train(request: TrainingRequest, source: Path, *, shown_as: Path | None = None) -> Trained:
    """Train a project; images that have moved are those of the request if it names an existing project."""
    threads, memory_bytes = _limits(request)
    folder = request.variable_importance_path
    if folder is not None:
        check_table_place(_path(folder))
    trained = train_project_file(
        source,
        TrainingSettings(
            trees=request.trees,
            seed=request.seed,
            label_proportion=request.label_proportion,
            raw_data=request.raw_data if shown_as is None else (),
            other_inputs=_inputs(request) if shown_as is None else {},
            permutes=folder is not None,
            cross_validates=request.cross_validate,
        ),
        threads=threads,
        memory_bytes=memory_bytes,
        shown_as=shown_as,
    )
    if folder is not None:
        write_importance(trained.stages, _path(folder))
    return trained


def _path(text: str) -> Path:
    return Path(text).expanduser().absolute()
