"""Resolution of a request to a job: a Request is as typed, a Job has its project read and its settings resolved.

Nothing is computed here and no image is opened. The rules of single settings are in the modules that they concern
(inputs, export/settings.py, machine.py, config.py).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..frozen import frozen
from .config import Config, find_config, read_config
from .errors import ClassifierMissing, ExportError, ProjectError, Text, UsageError, setting
from .job_notes import describe_unused
from .machine import choose_memory, choose_threads
from .requests import COLOURS, MPI, ExportRequest, InputRequest, ResourceRequest, TableRequest, TrainingInRun

if TYPE_CHECKING:
    from .export.settings import ExportSettings
    from .export.tables import TableSettings
    from .inputs.lanes import InputOptions, LaneArguments
    from .project import Project

# Slices of a training image that are listed one by one, also those without a label.
MAX_LISTED_SLICES = 100_000
DISTRIBUTED_FORMAT = "compressed n5"

# Scripts match on these lines of ilastik, so the loggers keep ilastik's names.
app_logger = logging.getLogger("ilastik.app")
project_logger = logging.getLogger("ilastik.shell.projectManager")
logger = logging.getLogger("pixelforest.jobs")


@frozen(kw_only=True)
class Request(InputRequest, ExportRequest, TableRequest, TrainingInRun, ResourceRequest):
    """A request as typed: names and texts, nothing resolved.

    It has the fields of its five parts, which are resolved one by one, and those listed here.

    Parameters
    ----------
    project
        Path of the trained project.
    debug
        Also set by the configuration file.
    logfile, redirect_output, report_json, report_html
        Files that the process writes beside the results, which must not replace them.
    report_multiqc
        Folder of the files that MultiQC takes.
    report_colours
        Colours of the classes in reports, one of ``COLOURS``.
    """

    project: str | None = None
    print_labels_by_slice: bool = False
    label_search_value: int = 0
    debug: bool = False
    logfile: str | None = None
    redirect_output: str | None = None
    report_json: str | None = None
    report_html: str | None = None
    report_multiqc: str | None = None
    report_colours: str = COLOURS[0]


@frozen
class ClusterSettings:
    """Cluster whose workers compute a job.

    scheduler     address or file of its scheduler, local:N for N processes of this machine, or mpi
    threads, memory_bytes  of each worker; None: what the worker finds. With local:N, of all workers together
    """

    scheduler: str
    threads: int | None
    memory_bytes: int | None

    @property
    def local_count(self) -> int:
        """Number of processes of this machine; 0 for other clusters."""
        name, _, count = self.scheduler.partition(":")
        return int(count) if name == "local" else 0


@frozen
class Job:
    """A resolved request: everything a run needs to know.

    Parameters
    ----------
    lanes
        Inputs of each lane, by role; none is not an error. Of a shard: its lanes, numbered as in the whole.
    export
        Settings of each result, in the order of the request; none if only a table is written.
    table
        Table of objects to write; None: no table.
    tunes
        True if GPU kernels are chosen by timing them.
    resume
        True if lanes, and blocks of lanes, that an earlier run has completed are skipped.
    blocks, finish
        Part of the blocks of the only lane, and whether all of them must be there already.
    cluster
        Cluster whose workers compute the lanes; None: this process does.
    samples
        Colours of the classes in the pictures that are gathered for a report, one of ``COLOURS``; empty: none are.
        COUNTS_ONLY: classes are counted, and nothing else is gathered.
    own_files
        Logs and reports of the process, which no result may replace.
    notes
        Lines for the log about settings that have no effect.
    """

    project: Project
    lanes: tuple[LaneArguments, ...]
    input_options: InputOptions
    export: tuple[ExportSettings, ...]
    table: TableSettings | None
    threads: int
    memory_bytes: int
    device: str
    forest: str
    tunes: bool
    fail_fast: bool
    shard: tuple[int, int] | None = None
    resume: bool = False
    blocks: tuple[int, int] | None = None
    finish: bool = False
    cluster: ClusterSettings | None = None
    debug: bool = False
    samples: str = ""
    own_files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


@frozen
class _Choices:
    """Meaning of a request for a project, whatever its classifier is; fields as in Job and InputOptions."""

    axes: tuple[str | None, ...] | None
    lanes: tuple[LaneArguments, ...]
    table: TableSettings | None
    export: tuple[ExportSettings, ...]


def resolve_job(request: Request) -> Job:
    """Read the project and the configuration file, and resolve a request.

    Parameters
    ----------
    request
        The request as typed.

    Returns
    -------
    Job
        The job, for ``run_batch``.

    Raises
    ------
    UsageError
        For an invalid request.
    ProjectError
        For a project that cannot be used.
    ExportError
        For results and formats that do not exist or cannot be combined.
    """
    from .inputs.lanes import InputOptions, count_roles, deal_lanes
    from .workflows import load_workflow

    request, mpi_notes = _as_distributed(request)
    config = read_config(find_config(request.configfile))
    app_logger.info("config file location: %s", config.path or "<none>")
    threads = choose_threads(request.threads, config=config.threads)
    memory_bytes = choose_memory(request.memory, config_mb=config.total_ram_mb)
    if request.project is None:
        raise UsageError(f"there is no project to run; name it with {setting('project')}=MyProject.ilp")
    project_logger.info("Opening Project: %s", request.project)
    path = Path(request.project).expanduser()
    project, choices = _read_project(path, request, config, threads=threads, memory_bytes=memory_bytes)
    lanes, table, export = choices.lanes, choices.table, choices.export
    workflow = load_workflow(project.workflow)
    notes = (
        *config.notes,
        *mpi_notes,
        *describe_unused(request, project, workflow.result_names(project), len(lanes), export, table),
        *(() if table is None else workflow.table_notes(project, table)),
    )
    return Job(
        project=project,
        lanes=deal_lanes(lanes, request.shard),
        input_options=InputOptions(
            input_axes=choices.axes,
            ignore_training_axistags=request.ignore_training_axistags,
            stack_along=request.stack_along,
            preconvert_stacks=request.preconvert_stacks,
            project_dir=project.path.parent,
            allow_missing_planes=request.allow_missing_planes,
            role_count=count_roles(lanes, project.roles),
        ),
        export=export,
        table=table,
        threads=threads,
        memory_bytes=memory_bytes,
        device=request.device,
        forest=request.forest,
        tunes=not request.no_tune,
        fail_fast=request.fail_fast,
        shard=request.shard,
        resume=request.resume or request.blocks is not None or request.finish or request.scheduler is not None,
        blocks=request.blocks,
        finish=request.finish,
        cluster=_cluster(request, threads=threads, memory_bytes=memory_bytes),
        debug=request.debug or config.debug,
        samples=request.report_colours if request.report_html or request.report_multiqc else "",
        own_files=_own_files(request),
        notes=tuple(map(Text, notes)),
    )


def _read_project(
    path: Path, request: Request, config: Config, *, threads: int, memory_bytes: int
) -> tuple[Project, _Choices]:
    """Read a project, trained anew if that is requested or if it is not trained, also if nothing will be written."""
    from .workflows import read_project

    if request.generate_random_labels:
        from .retraining import label_at_random

        _choose_before_training(path, request, config)  # a mistake leaves the project as it is
        label_at_random(path, request, is_dry=request.dry_run)
    missing = None
    if not request.trains:
        try:
            project = read_project(path)
            return project, _choose(request, project, config)
        except ClassifierMissing as error:
            missing = error
    from .retraining import train_for_run, train_untrained

    choices = _choose_before_training(path, request, config)
    if missing is None:
        project = train_for_run(path, request, threads=threads, memory_bytes=memory_bytes, is_dry=request.dry_run)
    else:
        project = train_untrained(path, missing, request, threads=threads, memory_bytes=memory_bytes)
    return project, choices or _choose(request, project, config)


def _choose_before_training(path: Path, request: Request, config: Config) -> _Choices | None:
    """Choose for a project that is about to be trained, so that a mistake is found before, not after it.

    None  it can only be chosen for the trained project
    """
    from .project import open_project, read_common
    from .workflows import read_kind, read_project

    with open_project(path) as file:
        kind = read_kind(file)
        project = read_common(file, path, kind)
    if kind.has_objects:
        try:
            project = read_project(path)
        except ProjectError:  # such as a classifier that is missing or damaged, which training replaces
            return None
    choices = _choose(request, project, config)
    if request.blocks is not None or request.finish:
        for one in choices.export:
            if one.format.open_blocks is None:
                option = setting("finish" if request.finish else "blocks")
                raise ExportError(f"{option}: {describe_whole_format(one.format.name)}")
    return choices


def describe_whole_format(name: str) -> str:
    """Say that results of this format, or at such a place, are not written in blocks, and which are."""
    from .formats import output_formats

    able = [each.name for each in output_formats().values() if each.open_blocks is not None]
    return (
        f"one process writes {name} as a whole, and no part of it; formats that are written in blocks: "
        f"{', '.join(able)}"
    )


def _choose(request: Request, project: Project, config: Config) -> _Choices:
    """Make the choices of a request; a project without its classifier will do."""
    from .inputs.lanes import choose_lanes, parse_input_axes
    from .workflows import load_workflow

    axes = None if request.input_axes is None else parse_input_axes(request.input_axes, project.roles)
    lanes = choose_lanes(request, project.roles)
    _check_blocks(request, len(lanes))
    workflow = load_workflow(project.workflow)
    table = workflow.resolve_table(project, request, lane_count=len(lanes))
    return _Choices(axes, lanes, table, _export_settings(request, project, workflow.result_names(project), config))


def log_labels(path: Path, label: int) -> None:
    """Log the number of voxels in each z slice of the training images that carry this label; 0 means any label.

    Raises ProjectError.
    """
    from .project import count_project_labels, open_project
    from .workflows import read_kind

    with open_project(path) as file:
        lanes = count_project_labels(file, read_kind(file))
    for lane in lanes:
        title = f"image {lane.lane + 1} ({lane.nickname})" if lane.nickname else f"image {lane.lane + 1}"
        if not lane.has_z:
            logger.info("%s has no z axis; it has %d labelled pixels", title, lane.count_in_slice(0, label))
            continue
        logger.info("%s, labelled voxels by z slice:", title)
        is_listed = lane.z_extent is not None and lane.z_extent <= MAX_LISTED_SLICES
        for z in range(lane.z_extent or 0) if is_listed else sorted(lane.by_slice):
            logger.info("  z=%d: %d", z, lane.count_in_slice(z, label))


def _export_settings(
    request: Request, project: Project, results: Sequence[str], config: Config
) -> tuple[ExportSettings, ...]:
    """Resolve the settings of each result.

    A path of the command line is relative to the current directory, a path of the project to the project's folder.
    """
    from .export.settings import Defaults, resolve_settings

    is_image_asked = request.export_source is not None or any(each in results for each in request.image_flags.values())
    if request.table_only or (request.table_filename is not None and not is_image_asked):
        return ()
    usual = Defaults()
    defaults = Defaults(config.output_format or usual.format, config.output_filename_format or usual.filename_format)
    return resolve_settings(
        request, project.export, defaults, results=results, project_dir=project.path.parent, cwd=Path.cwd()
    )


def _check_blocks(request: ResourceRequest, lane_count: int) -> None:
    """Raise UsageError unless the image whose blocks are requested is the only one."""
    if request.blocks is None and not request.finish:
        return
    if request.blocks is not None and request.finish:
        raise UsageError(
            f"{setting('finish')} completes what all jobs with {setting('blocks')} have computed; give one of the two"
        )
    option = setting("finish" if request.finish else "blocks")
    if request.shard is not None:
        raise UsageError(
            f"{option} is for the blocks of one image, and {setting('shard')} divides several images among jobs; give "
            "one of the two"
        )
    if lane_count != 1:
        raise UsageError(
            f"{option} is for the blocks of one image, and {lane_count} were given; {setting('shard')} divides images"
        )


def _own_files(request: Request) -> tuple[Path, ...]:
    """List the logs and reports of the process that are, or will be, regular files."""
    from .storage.special_files import is_special

    names = (request.logfile, request.redirect_output, request.report_json, request.report_html)
    paths = [Path(name).expanduser().absolute() for name in names if name]
    return tuple(path for path in paths if not is_special(path))


def _as_distributed(request: Request) -> tuple[Request, list[str]]:
    """Resolve ilastik's option for MPI, whose results are always N5; with lines about what has no effect.

    Raises UsageError.
    """
    notes = []
    option = setting("distributed")
    if request.distributed_block_roi is not None:
        if not request.distributed:
            raise UsageError(f"{setting('distributed_block_roi')} goes with {option}")
        notes.append(f"{setting('distributed_block_roi')} has no effect: blocks follow the chunks of the result")
    if not request.distributed:
        return request, notes
    if request.scheduler not in (None, MPI):
        raise UsageError(f"{option} is {setting('scheduler', MPI)}; give one of the two")
    if request.output_format not in (None, DISTRIBUTED_FORMAT):
        notes.append(
            f"{setting('output_format')} has no effect with {option}, whose results are N5 as in ilastik; "
            f"{setting('scheduler', MPI)} writes all formats"
        )
    return replace(request, scheduler=MPI, output_format=DISTRIBUTED_FORMAT), notes


def _cluster(request: ResourceRequest, *, threads: int, memory_bytes: int) -> ClusterSettings | None:
    """Resolve the cluster of a run. Raises UsageError."""
    if request.scheduler is None:
        return None
    if request.blocks is not None or request.finish:
        raise UsageError(
            f"{setting('scheduler')} divides images itself; give it without "
            f"{setting('finish' if request.finish else 'blocks')}"
        )
    if request.scheduler.startswith("local:"):
        return ClusterSettings(request.scheduler, threads, memory_bytes)
    return ClusterSettings(request.scheduler, request.threads, request.memory)
