"""Command line: the table of options, the request they make, and the exit status.

Exit status: 0 success; 1 the run failed; 2 usage error (invalid command line); 3 some lanes failed, the others are
complete; 130 and 143 ended by SIGINT and SIGTERM. Heavy imports are deferred until a project is read.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pixelforest import __version__
from pixelforest.engine.errors import PixelforestError, UsageError
from pixelforest.engine.jobs import Request
from pixelforest.engine.machine import parse_size
from pixelforest.engine.public_text import public_document
from pixelforest.engine.quotes import split_entries, unquote
from pixelforest.engine.terminal_text import printable, printable_json
from pixelforest.frontend.console import PROGRAM, Console, ConsoleSettings, write_line
from pixelforest.frontend.exit_status import (
    STATUS_OK,
    STATUS_USAGE,
    ending,
    last_step,
    let_go_of_closed_pipes,
    run_guarded,
)
from pixelforest.frontend.json_report import RunReport
from pixelforest.frontend.options import CommandLine, Option, Takes, format_help, is_asked, parse_command_line

Record = TypeVar("Record")
Action = Callable[[CommandLine, Console], int]

VERSION_LINE = f"{PROGRAM} {__version__} (ilastik 1.4.3 compatible)"

RUN, INPUTS, RESULTS, MACHINE, SCREEN = ("What to run", "Inputs", "Results", "Machine", "Screen and log")
OME_ZARR_VERSIONS = ("0.4", "0.5")
STAND_INS = ("run_ilastik.sh", "ilastik.bat")
FORESTS = ("auto", "native", "nvforest")
EXPORT_DTYPES = ("uint8", "uint16", "uint32", "int8", "int16", "int32", "float32", "float64")

NO_TRAINING = "training is not built in yet; train and save the project in ilastik"
NO_GRAPHICS = "there is no graphical interface here"
NO_NETWORKS = "neural network workflows are not supported"
NO_TRACKING = "tracking workflows are not supported"
NO_CARVING = "the carving workflow is not supported"
NO_MPI = "start one process for each part of the inputs instead; projects are never locked"


def _count(text: str) -> int:
    if not text.isdecimal():
        raise ValueError("give a whole number from 0")
    return int(text)


def _shard(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise ValueError("write which part of how many, such as 1/4, up to 4/4")
    return int(match[1]), int(match[2])


def _device(text: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+(,\d+)*)?", text):
        raise ValueError("choose auto, cpu, cuda or numbered devices such as cuda:0,1")
    return text


def _architectures(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(split_entries(text)))
    if not all(re.fullmatch(r"sm_\d{2,3}", name) for name in names):
        raise ValueError("write architectures such as sm_80,sm_90")
    return names


def _flag(name: str, group: str, help: str, **more: Any) -> Option:
    return Option(name, group, help, takes=Takes.NOTHING, **more)


def _role(name: str, help: str = "") -> Option:
    return Option(name, INPUTS, help, takes=Takes.PATHS, metavar="PATH", is_shown=bool(help))


def _refused(name: str, reason: str) -> Option:
    return Option(name, "", "", is_shown=False, refused=reason)


OPTIONS: tuple[Option, ...] = (
    Option("--project", RUN, "The trained project (.ilp).", metavar="P.ilp", is_path=True),
    _flag("--headless", RUN, "Accepted for ilastik's sake; nothing here has windows."),
    Option(
        "--readonly", RUN, "Accepted for ilastik's sake; projects are never written to or locked.", takes=Takes.BOOLEAN
    ),
    _flag("--dry_run", RUN, "Do nothing; say what would be done and what would fail. The status is that of the run."),
    _flag("--json", RUN, "With --dry_run or explain: say it as one JSON document, for programs."),
    _flag("--print_labels_by_slice", RUN, "Log how many voxels of each image's z slices carry a training label."),
    Option("--label_search_value", RUN, "Count only this label.", metavar="N", default="0, all labels", parse=_count),
    _flag("--help", RUN, "Show this text."),
    _flag("--version", RUN, "Show the version."),
    # --------------------------------------------------------------------------------------------------------------
    _role("--raw_data", "Images to process, as the arguments without an option do. Quote * to stack several files."),
    _role("--prediction_mask", "Masks, one for each image: where a mask is 0 nothing is predicted."),
    _role("--segmentation_image", "Object Classification: segmentations, one for each image of --raw_data."),
    _role("--prediction_maps", "Object Classification: prediction maps that the project thresholds."),
    _role("--label_image", "Object Classification: images of object ids."),
    _role("--atlas", "Object Classification: atlases; the table says where in them each object lies."),
    _role("--binary_data"),  # former name of --segmentation_image
    # Roles of other workflows: known, so that the error message can list the roles of the project.
    _role("--probabilities"),
    _role("--superpixels"),
    _role("--groundtruth"),
    _role("--input_data"),
    _role("--overlay"),
    _role("--binary_image"),
    Option(
        "--input_axes",
        INPUTS,
        "Axes of the inputs in file order, letters of tzyxc, such as zyx: one for all roles, or one for each role, "
        "separated by commas, where None leaves a role as it is.",
        metavar="AXES[,AXES...]",
        default="those of the training images",
    ),
    _flag("--ignore_training_axistags", INPUTS, "Take the axes the input files themselves state."),
    Option(
        "--stack_along", INPUTS, "Axis along which several files are stacked.", choices=("z", "t", "c"), default="z"
    ),
    _flag(
        "--allow_missing_planes",
        INPUTS,
        "Read zeros, with a warning, for planes that the metadata of a TIFF promise and no file holds; without it such "
        "an input is refused.",
    ),
    _flag("--preconvert_stacks", INPUTS, "Accepted for ilastik's sake; stacks are read slice by slice anyway."),
    # --------------------------------------------------------------------------------------------------------------
    Option(
        "--export_source",
        RESULTS,
        "What to export, any of the project's results; several as a comma-separated list are made in one pass.",
        metavar="RESULT[,RESULT...]",
        default="Probabilities (Pixel Classification), Object Predictions (Object Classification)",
    ),
    Option(
        "--output_format",
        RESULTS,
        f"File format of the results, such as hdf5, tiff, png or numpy; {PROGRAM} formats lists all.",
        metavar="FORMAT",
        default="what the project stores, else compressed hdf5",
    ),
    Option(
        "--output_filename_format",
        RESULTS,
        "Path of the output files. Replaced: {dataset_dir} {nickname} {result_type} {roi} {x_start} {x_stop} (and the "
        "same for the other axes) and, for sequences, {slice_index}.",
        metavar="TEMPLATE",
        is_path=True,
        default="what the project stores, else {dataset_dir}/{nickname}_{result_type}",
    ),
    Option(
        "--output_internal_path",
        RESULTS,
        "Dataset inside an HDF5 file; placeholders as above.",
        metavar="PATH",
        is_path=True,
        default="exported_data",
    ),
    Option(
        "--cutout_subregion",
        RESULTS,
        'Export and compute only this part: "[(starts), (stops)]", one number an axis, None for the whole extent.',
        metavar="REGION",
    ),
    Option("--export_dtype", RESULTS, "Convert the results to this type.", choices=EXPORT_DTYPES),
    Option("--output_axis_order", RESULTS, "Order of the axes in the file, letters of tzyxc.", metavar="AXES"),
    Option(
        "--pipeline_result_drange",
        RESULTS,
        'Range of the results before they are rescaled: "(0.0, 1.0)".',
        metavar="(MIN,MAX)",
    ),
    Option("--export_drange", RESULTS, 'Range of the exported values: "(0, 255)".', metavar="(MIN,MAX)"),
    _flag("--clip", RESULTS, "Values outside the exported type's range become its limits, instead of wrapping around."),
    _flag("--overwrite", RESULTS, "Replace an OME-Zarr store that exists; other results are always replaced."),
    Option(
        "--ome_zarr_version", RESULTS, "Version of OME-Zarr that is written.", choices=OME_ZARR_VERSIONS, default="0.4"
    ),
    _flag("--allow_project_urls", RESULTS, "Write to servers that the project names; otherwise only you name them."),
    # --------------------------------------------------------------------------------------------------------------
    Option(
        "--table_filename",
        RESULTS,
        "Write the table of objects to exactly this path: CSV, or HDF5 and Parquet by the extensions .h5 and .parquet. "
        "Replaced: {dataset_dir} {nickname}. Without a flag or --export_source that asks for images, only the table.",
        metavar="PATH",
        is_path=True,
        default="what the project stores, else no table",
    ),
    _flag("--safe_csv", RESULTS, "In CSV tables, put ' before names of classes that spreadsheets take for formulas."),
    _flag("--table_only", RESULTS, "Write the table of objects and no image."),
    _flag("--export_object_prediction_img", RESULTS, "Write an image of the objects' classes."),
    _flag("--export_object_probability_img", RESULTS, "Write an image of the objects' class probabilities."),
    _flag(
        "--export_pixel_probability_img",
        RESULTS,
        "Write the pixel probabilities of a project that classifies pixels and objects.",
    ),
    # --------------------------------------------------------------------------------------------------------------
    Option(
        "--device",
        MACHINE,
        "Where to compute: auto, cpu, cuda or numbered devices such as cuda:0,1.",
        metavar="DEVICE",
        default="auto",
        parse=_device,
    ),
    Option(
        "--forest",
        MACHINE,
        "What walks forests on a GPU: native, our own kernels; nvforest, NVIDIA's library (pixelforest[rapids13] or "
        "[rapids12]); auto: native, the only one with the same bits for every forest.",
        choices=FORESTS,
        default="auto",
    ),
    Option(
        "--threads",
        MACHINE,
        "Number of threads, no more than CPUs that this process may use; LAZYFLOW_THREADS sets it too.",
        metavar="N",
        default="the CPUs this process may use, in a SLURM job those of the task",
        parse=_count,
    ),
    Option(
        "--memory",
        MACHINE,
        "Memory to plan with, such as 8G or 500MB; LAZYFLOW_TOTAL_RAM_MB sets it too.",
        metavar="SIZE",
        default="most of what is free",
        parse=parse_size,
    ),
    _flag("--warm", MACHINE, "With doctor: compile kernels into the caches, so that no run has to."),
    Option(
        "--architectures",
        MACHINE,
        "With doctor --warm: compile for GPUs that are not here too, such as sm_80,sm_90.",
        metavar="SM[,SM...]",
        parse=_architectures,
    ),
    _flag("--fail_fast", MACHINE, "Stop at the first input that fails, instead of going on with the next."),
    Option(
        "--shard",
        MACHINE,
        "Process every N-th input only, beginning with the I-th: N jobs with 1/N to N/N share the work.",
        metavar="I/N",
        parse=_shard,
    ),
    Option(
        "--configfile",
        MACHINE,
        "Configuration file with defaults.",
        metavar="FILE",
        is_path=True,
        default="the user's ilastik.ini",
    ),
    # --------------------------------------------------------------------------------------------------------------
    _flag("--quiet", SCREEN, "Show warnings and errors only."),
    _flag("--no_progress", SCREEN, "Show neither the bar nor lines of progress."),
    _flag("--debug", SCREEN, "Show more, and the traceback of an error."),
    Option("--logfile", SCREEN, "Write the log to this file too.", metavar="FILE", is_path=True, default="no log file"),
    Option(
        "--report_json",
        SCREEN,
        "Write what became of every input to this file, for programs; also if the run fails.",
        metavar="FILE",
        is_path=True,
    ),
    Option("--redirect_output", SCREEN, "Append everything shown to this file instead.", metavar="FILE", is_path=True),
    Option("--process_name", SCREEN, "Begin every log line with this name.", metavar="NAME"),
    # ------------------------------------------------------------------------- options of ilastik that are refused
    _refused("--new_project", "projects are made, trained and saved in ilastik"),
    _refused("--workflow", "a project says which workflow it is; new projects are made in ilastik"),
    _refused("--clean_paths", "it is for ilastik's installer"),
    _refused("--fullscreen", NO_GRAPHICS),
    _refused("--exit_on_failure", NO_GRAPHICS),
    _refused("--hbp", "ilastik has removed it as well"),
    _refused("--tiktorch_executable", NO_NETWORKS),
    _refused("--nn_device", NO_NETWORKS + "; --device chooses where forests are computed"),
    _refused("--connection_string", NO_NETWORKS),
    _refused("--distributed", NO_MPI),
    _refused("--distributed_block_roi", NO_MPI),
    _refused("--retrain", NO_TRAINING),
    _refused("--tree_count", NO_TRAINING),
    _refused("--label_proportion", NO_TRAINING),
    _refused("--variable_importance_path", NO_TRAINING),
    _refused("--generate_random_labels", NO_TRAINING),
    _refused("--random_label_value", NO_TRAINING),
    _refused("--random_label_count", NO_TRAINING),
    _refused("--fillmissing", "missing slices are filled in when a project is made, in ilastik"),
    _refused("--nobatch", "without inputs nothing is processed anyway"),
    _refused("--csv_export_file", "the cell density counting workflow is not supported"),
    _refused("--run_preprocessing", NO_CARVING),
    _refused("--preprocessing_sigma", NO_CARVING),
    _refused("--preprocessing_filter", NO_CARVING),
    _refused("--export_plugin", NO_TRACKING),
    _refused("--big_data_viewer_xml_file", NO_TRACKING),
)

USAGE = f"""\
usage: {PROGRAM} [--headless] --project=P.ilp [options] IMAGE [IMAGE ...]
       {PROGRAM} explain --project=P.ilp [options] IMAGE [IMAGE ...]
                                   what that would do: files, axes, tiles, memory, time, outputs, and what would fail
       {PROGRAM} info P.ilp        what a project is and needs
       {PROGRAM} formats           the names --output_format takes
       {PROGRAM} doctor            devices, libraries and caches of this machine, and a test of them

Runs trained ilastik projects without ilastik. Dashes and underscores in option names are the same, and names may be
shortened as long as they are unique."""

EXAMPLES = f"""\
Examples:
  {PROGRAM} --project=MyProject.ilp next.png next2.png
  {PROGRAM} --project=MyProject.ilp "stack_*.png" "volume.h5/raw/data"
  {PROGRAM} --project=MyProject.ilp --export_source="Simple Segmentation,Probabilities" \\
      --output_format=tiff "--output_filename_format=/tmp/results/{{nickname}}_{{result_type}}" *.png
  {PROGRAM} --project=MyProject.ilp --table_filename=/tmp/objects.csv --export_object_prediction_img \\
      --raw_data "stack/*.png" --segmentation_image objects.h5/segmentation
  {PROGRAM} --project=MyProject.ilp --export_dtype=uint8 --pipeline_result_drange="(0.0,1.0)" \\
      --export_drange="(0,255)" next.png
  {PROGRAM} explain --project=MyProject.ilp --output_format=tiff *.png
  {PROGRAM} --project=MyProject.ilp --dry_run --json *.png > plan.json
  {PROGRAM} --project=MyProject.ilp --shard=1/4 --report_json=part1.json *.png"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit status."""
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        if is_asked("--help", argv) or is_asked("-h", argv):
            import shutil

            return _print(help_text(shutil.get_terminal_size().columns))
        if is_asked("--version", argv):
            return _print(VERSION_LINE)
        action: Action = run_project
        if argv[:1] and argv[0] in SUBCOMMANDS:
            action, argv = SUBCOMMANDS[argv[0]], argv[1:]
        line = parse_command_line(OPTIONS, argv)
        if line.values.get("warm") and action is not show_health:
            raise UsageError(f"--warm goes with {PROGRAM} doctor")
        if line.values.get("architectures") and not (line.values.get("warm") and action is show_health):
            raise UsageError(f"--architectures goes with {PROGRAM} doctor --warm")
        if action is explain_run or (action is run_project and line.values.get("dry_run")):
            action, line.values["dry_run"] = explain_run, True
        elif line.values.get("json"):
            raise UsageError("--json goes with --dry_run or explain; --report_json tells what became of a run")
        with Console(_pick(ConsoleSettings, line)) as console:
            return run_guarded(partial(action, line, console), console)
    except UsageError as error:
        write_line(sys.stderr, f"{PROGRAM}: error: {printable(str(error))}")
        return STATUS_USAGE
    finally:
        let_go_of_closed_pipes()


def help_text(width: int) -> str:
    """Return the complete text of ``--help``."""
    width = max(60, min(width, 110))
    return "\n\n".join((USAGE, format_help(OPTIONS, width=width), EXAMPLES))


def build_request(line: CommandLine) -> Request:
    """Make the request of a command line. Raises UsageError if it names no project."""
    request = _pick(Request, line)
    positional = list(line.positional)
    projects = [unquote(path) for path in positional if unquote(path).endswith(".ilp")]
    if request.project is None and len(positional) == len(projects) == 1:
        request, positional = replace(request, project=projects[0]), []
    if request.project is None:
        guess = f"--project={projects[0] if projects else 'MyProject.ilp'}"
        raise UsageError(f"there are inputs or options, but no project; say which one with {guess}")
    roles = tuple((key, tuple(paths)) for key, paths in line.paths.items())
    return replace(request, inputs=tuple(positional), inputs_by_role=roles, started_as_ilastik=_is_started_as_ilastik())


def _is_started_as_ilastik() -> bool:
    """True if this process was started by a script that stands in for ilastik's, or under the name of one."""
    return bool({os.environ.get("PIXELFOREST_STARTED_AS", ""), Path(sys.argv[0]).name} & set(STAND_INS))


def run_project(line: CommandLine, console: Console) -> int:
    """Apply a project to its inputs."""
    if not line.positional and not line.paths and set(line.values) <= {"headless", "readonly"}:
        return _print(f"{PROGRAM}: nothing was asked for; name a project and images, or see {PROGRAM} --help")
    request = build_request(line)

    from pixelforest.engine.jobs import log_labels, resolve_job
    from pixelforest.engine.run.batch import run_batch

    logging.getLogger("ilastik.app").info("Starting %s from %s", VERSION_LINE, Path(__file__).parent)
    with _reported(console) as record:
        job = resolve_job(request)
        if job.debug:
            console.set_debug()
        if request.print_labels_by_slice:
            log_labels(job.project.path, request.label_search_value)
        record.begin(job)
        report = run_batch(job, progress=console.progress, on_lane=record.add)
        if report.message:
            console.fail(report.message)
        record.end(report.status, report.message)
    return report.status


def explain_run(line: CommandLine, console: Console) -> int:
    """Explain what applying a project to its inputs would do; nothing is written."""
    from pixelforest.engine.jobs import resolve_job
    from pixelforest.engine.run.explain import explain_failure, explain_job
    from pixelforest.frontend.text_explain import format_explanation

    is_json = console.settings.json
    try:
        RunReport(console.settings.report_json)
        job = resolve_job(build_request(line))
        if job.debug:
            console.set_debug()
        document = explain_job(job)
    except Exception as error:
        if is_json:
            _print(_as_json(explain_failure(error)))
        raise
    _print(_as_json(document) if is_json else format_explanation(document))
    if document["error"]:
        console.fail(document["error"])
    return int(document["status"])


def show_project(line: CommandLine, console: Console) -> int:
    """Describe projects and their requirements."""
    typed = line.values.get("project")
    paths = [*([str(typed)] if typed else []), *map(unquote, line.positional)]
    if not paths:
        raise UsageError(f"say which project: {PROGRAM} info MyProject.ilp")

    from pixelforest.engine.workflows import describe_project
    from pixelforest.frontend.text_info import describe

    for number, path in enumerate(paths):
        _print(("\n" if number else "") + describe(describe_project(Path(path).expanduser())))
    return STATUS_OK


def show_formats(line: CommandLine, console: Console) -> int:
    """Print the values of ``--output_format``."""
    from pixelforest.engine.formats import output_formats
    from pixelforest.frontend.text_info import list_formats

    return _print(list_formats(output_formats().values()))


def show_health(line: CommandLine, console: Console) -> int:
    """Print the devices and libraries of this machine, and test them; returns 1 if a test fails."""
    known = {"device", "warm", "architectures", "headless", "quiet", "debug"}
    strange = [*line.positional, *line.paths, *(set(line.values) - known)]
    if strange:
        raise UsageError(f"doctor takes --device, --warm and --architectures, not {strange[0]}")

    from pixelforest.engine.run.doctor import examine
    from pixelforest.frontend.text_info import describe_health

    values: dict[str, Any] = line.values
    health = examine(
        values.get("device", "auto"), warm=bool(values.get("warm")), architectures=values.get("architectures", ())
    )
    _print(describe_health(health))
    if health.status:
        console.fail("something does not work; see the lines marked with !!")
    return health.status


SUBCOMMANDS: dict[str, Action] = {
    "doctor": show_health,
    "explain": explain_run,
    "info": show_project,
    "formats": show_formats,
}


def _pick(kind: type[Record], line: CommandLine) -> Record:
    """Make a record of the typed values that are its fields."""
    names = kind.__annotations__
    return kind(**{name: value for name, value in line.values.items() if name in names})


def _as_json(document: object) -> str:
    return printable_json(json.dumps(public_document(document), indent=2, ensure_ascii=False, allow_nan=False))


@contextlib.contextmanager
def _reported(console: Console) -> Iterator[RunReport]:
    """Write the requested report of a run, however the run ends."""
    record = RunReport(console.settings.report_json)

    def write_now(status: int, message: str) -> None:
        record.end(status, message)
        with contextlib.suppress(PixelforestError):
            record.write()

    try:
        with last_step(write_now):
            yield record
    except BaseException as error:
        record.end(*ending(error))
        with contextlib.suppress(PixelforestError):  # the error that ended the run is reported instead
            record.write()
        raise
    record.write()


def _print(text: str) -> int:
    write_line(sys.stdout, text)
    return STATUS_OK
