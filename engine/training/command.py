"""The command ``pixelforest train``: from a request as typed to a trained project in a file of its own."""

from __future__ import annotations

from pathlib import Path

from ...frozen import frozen
from ..config import find_config, read_config
from ..errors import UsageError, setting
from ..machine import choose_memory, choose_threads
from .pixel_training import TrainedPixels, TrainingSettings, check_place, train_pixel_project


@frozen(kw_only=True)
class TrainingRequest:
    """A request to train, as typed.

    Parameters
    ----------
    project
        Project with labels.
    output
        File that the trained project is written to.
    raw_data
        Training images that are not where the project expects them.
    trees, seed, label_proportion
        See ``TrainingSettings``.
    threads, memory, configfile
        As for a run.
    """

    project: str | None = None
    output: str | None = None
    raw_data: tuple[str, ...] = ()
    trees: int | None = None
    seed: int = 1
    label_proportion: float | None = None
    threads: int | None = None
    memory: int | None = None
    configfile: str | None = None


def train_project(request: TrainingRequest) -> TrainedPixels:
    """Train a project and write it. Raises UsageError, ProjectError, InputError, ExportError, MemoryTooSmall."""
    if request.project is None:
        raise UsageError(f"there is no project to train; name it with {setting('project')}=MyProject.ilp")
    if request.output is None:
        raise UsageError(f"say where the trained project goes, with {setting('output')}=Retrained.ilp")
    source, output = (Path(name).expanduser().absolute() for name in (request.project, request.output))
    check_place(source, output)
    config = read_config(find_config(request.configfile))
    trained = train_pixel_project(
        source,
        TrainingSettings(request.trees, request.seed, request.label_proportion, request.raw_data),
        threads=choose_threads(request.threads, config=config.threads),
        memory_bytes=choose_memory(request.memory, config_mb=config.total_ram_mb),
    )
    trained.save(output)
    return trained
