"""Page of one result that exists, laid over its image: ``pixelforest view``."""

from __future__ import annotations

import time
from pathlib import Path, PurePath

from pixelforest import __version__
from pixelforest.engine.inputs.images import InputImage, open_image
from pixelforest.engine.inputs.lanes import InputOptions
from pixelforest.engine.sampling.existing import sample_result
from pixelforest.engine.workflows import load_workflow, read_project
from pixelforest.engine.workflows.protocol import ClassView
from pixelforest.frontend.json_report import describe_sample

from .files import check_page_place, write_page


def write_view(result: str, raw: str, *, project: Path | None, output: Path | None, colours: str) -> Path:
    """Write the page; returns its path.

    result, raw  arguments for images, as in a run
    project      names the classes; None: they have numbers
    output       None: named after the result, in the current folder
    Raises InputError, ProjectError, ExportError.
    """
    started_s = time.monotonic()
    path = (output or Path(f"{PurePath(result).stem}.html")).absolute()
    check_page_place(path, option="output")
    view = None if project is None else _read_view(project)
    with _open(result, has_labels=True) as opened, _open(raw) as image:
        sample = sample_result(opened, image, view, colours=colours)
    seconds = round(time.monotonic() - started_s, 3)
    lane = {
        "lane": 1,
        "state": "done",
        "error": None,
        "inputs": {"Result": result, "Raw Data": raw},
        "outputs": [],
        "device": None,
        "seconds": seconds,
        "warnings": [],
        "sample": describe_sample(sample),
    }
    report = {
        "version": __version__,
        "error": None,
        "project": None if project is None else str(project.absolute()),
        "seconds": seconds,
        "threads": None,
        "shard": None,
        "lanes": [lane],
    }
    write_page(report, path, option="output")
    return path


def _read_view(path: Path) -> ClassView | None:
    """Names and colours of the classes of a project's default result."""
    project = read_project(path)
    workflow = load_workflow(project.workflow)
    view_classes = getattr(workflow, "view_classes", None)  # not every workflow has pictures
    default = list(workflow.result_names(project))[:1]
    view: ClassView | None = None if view_classes is None else view_classes(project, default, False)
    return view


def _open(argument: str, *, has_labels: bool = False) -> InputImage:
    options = InputOptions(ignore_training_axistags=True, project_dir=Path.cwd(), has_labels=has_labels)
    return open_image(argument, role_index=0, training=None, options=options)
