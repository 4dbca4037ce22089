"""Public names of the engine, which decides what is computed, in which order, on which part of the image.

Nothing is imported before one of the names is used.

    job = resolve_job(Request(project="MyProject.ilp", inputs=("next.png",)))
    report = run_batch(job)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .errors import PixelforestError
    from .jobs import Job, Request, resolve_job
    from .project import Project
    from .run.batch import run_batch
    from .run.outcome import BatchReport
    from .training.forest import TrainedForest, train_forest
    from .workflows import describe_project, read_project

__all__ = [
    "BatchReport",
    "Job",
    "PixelforestError",
    "Project",
    "Request",
    "TrainedForest",
    "describe_project",
    "read_project",
    "resolve_job",
    "run_batch",
    "train_forest",
]

_HOMES = {
    "BatchReport": ".run.outcome",
    "Job": ".jobs",
    "PixelforestError": ".errors",
    "Project": ".project",
    "Request": ".jobs",
    "TrainedForest": ".training.forest",
    "describe_project": ".workflows",
    "read_project": ".workflows",
    "resolve_job": ".jobs",
    "run_batch": ".run.batch",
    "train_forest": ".training.forest",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
