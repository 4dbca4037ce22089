"""Training in a run: on demand, or because the project has no classifier."""

from __future__ import annotations

import logging
from pathlib import Path

from .errors import ClassifierMissing, Text, UsageError, setting
from .project import Project, open_project
from .requests import TrainingInRun
from .training.importance import check_table_place, write_importance
from .training.kinds import is_untrained, train_project_file
from .training.random_labels import add_random_labels
from .training.stage import TrainingSettings, check_place

_RANDOM_COUNT, _RANDOM_VALUE = 2000, 1  # ilastik's defaults

logger = logging.getLogger("pixelforest.training")


def train_for_run(
    path: Path, request: TrainingInRun, *, threads: int, memory_bytes: int, is_dry: bool = False
) -> Project:
    """Train a project as requested, and save it if that is asked for. Returns it with the new classifier.

    is_dry  True: nothing is saved

    Raises the errors of ``train_project_file`` and, if it is saved, of ``save``.
    """
    is_saved = request.retrain and not request.readonly
    if is_saved:
        check_place(path, path)
    table = None if request.variable_importance_path is None else Path(request.variable_importance_path).expanduser()
    if table is not None:
        check_table_place(table)
    settings = TrainingSettings(
        request.tree_count, request.seed, request.label_proportion, permutes=table is not None and not is_dry
    )
    trained = train_project_file(path, settings, threads=threads, memory_bytes=memory_bytes)
    for stage in trained.stages:
        logger.info("Out-of-bag error: %.4f", stage.out_of_bag_error)
    if table is not None and not is_dry:
        write_importance(trained.stages, table)
    if is_saved and not is_dry:
        trained.save(path)
    elif not is_dry:
        reason = "the project stays as it is"
        if request.retrain:
            reason = Text(f"the project stays as it is; {setting('readonly')}=0 saves the new classifier in it")
        logger.warning("The classifier was trained for this run only, with seed %d: %s", request.seed, reason)
    return trained.project


def label_at_random(path: Path, request: TrainingInRun, *, is_dry: bool) -> None:
    """Save random labels in a project as requested; ``is_dry`` as above. Raises the errors of ``add_random_labels``."""
    if request.readonly:
        raise UsageError(
            f"{setting('generate_random_labels')} saves labels in the project, and removes its classifier; to do so, "
            f"add {setting('readonly')}=0"
        )
    if is_dry:
        logger.warning("No random labels are added, since nothing is saved")
        return
    count, value = request.random_label_count, request.random_label_value
    add_random_labels(
        path, count=_RANDOM_COUNT if count is None else count, value=_RANDOM_VALUE if value is None else value
    )


def train_untrained(
    path: Path, error: ClassifierMissing, request: TrainingInRun, *, threads: int, memory_bytes: int
) -> Project:
    """Train a project that has never been trained, as ilastik does.

    error  that of reading the project; raised if a classifier is there, but of no use
    """
    with open_project(path) as file:
        if not is_untrained(file):
            raise error
    logger.info("Your project file has no classifier.  A new classifier will be trained for this run.")
    return train_for_run(path, request, threads=threads, memory_bytes=memory_bytes)
