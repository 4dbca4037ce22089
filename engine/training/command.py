"""The command ``pixelforest train``: from a request as typed to a trained project in a file of its own."""

from __future__ import annotations

from pathlib import Path

from ...frozen import frozen
from ..config import find_config, read_config
from ..errors import UsageError, setting
from ..machine import choose_memory, choose_threads
from ..project.hdf5_writer import write_new_project
from ..quotes import split_entries
from ..storage.atomic_write import Target
from .importance import check_table_place, write_importance
from .kinds import Trained, train_project_file
from .stage import TrainingSettings, check_place


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
    stack_along: str | None = None
    trees: int | None = None
    seed: int = 1
    label_proportion: float | None = None
    cross_validate: bool = False
    variable_importance_path: str | None = None
    threads: int | None = None
    memory: int | None = None
    configfile: str | None = None


def train_project(request: TrainingRequest) -> Trained:
    """Train a project and write it. Raises UsageError, ProjectError, InputError, ExportError, MemoryTooSmall."""
    if request.new is not None:
        return _train_new_project(request, _path(request.new))
    for name in ("labels", "classes", "features", "stack_along"):
        if getattr(request, name):
            raise UsageError(
                f"{setting(name)} goes with {setting('new')}; a project has its own labels, features and images"
            )
    if request.project is None:
        raise UsageError(f"there is no project to train; name it with {setting('project')}=MyProject.ilp")
    if request.output is None:
        raise UsageError(f"say where the trained project goes, with {setting('output')}=Retrained.ilp")
    source, output = _path(request.project), _path(request.output)
    check_place(source, output)
    trained = _train(request, source, request.raw_data)
    trained.save(output)
    return trained


def _train_new_project(request: TrainingRequest, path: Path) -> Trained:
    for name in ("project", "output"):
        if getattr(request, name):
            raise UsageError(f"{setting(name)} cannot be combined with {setting('new')}, which names the new project")
    check_place(path, path)
    from .new_project import describe_new_project

    classes = split_entries(request.classes) if request.classes is not None else ()
    draft = Target(path, setting("new"))  # in the same folder, so that paths of images are the same
    try:
        project = describe_new_project(
            path.parent,
            request.raw_data,
            request.labels,
            classes,
            request.features or "all",
            stack_along=request.stack_along or "z",
        )
        write_new_project(draft.temporary, project)
        trained = _train(request, draft.temporary, (), shown_as=path)
        trained.save(path)
    finally:
        draft.discard()
    return trained


def _train(
    request: TrainingRequest, source: Path, raw_data: tuple[str, ...], *, shown_as: Path | None = None
) -> Trained:
    config = read_config(find_config(request.configfile))
    folder = request.variable_importance_path
    if folder is not None:
        check_table_place(_path(folder))
    trained = train_project_file(
        source,
        TrainingSettings(
            trees=request.trees,
            seed=request.seed,
            label_proportion=request.label_proportion,
            raw_data=raw_data,
            permutes=folder is not None,
            cross_validates=request.cross_validate,
        ),
        threads=choose_threads(request.threads, config=config.threads),
        memory_bytes=choose_memory(request.memory, config_mb=config.total_ram_mb),
        shown_as=shown_as,
    )
    if folder is not None:
        write_importance(trained.stages, _path(folder))
    return trained


def _path(text: str) -> Path:
    return Path(text).expanduser().absolute()
