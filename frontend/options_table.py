"""Table of the command line's options; help, man page, completions and the reference page are made from it.

How a command line is read by this table is in options.py. Nothing here imports anything heavy.
"""

from __future__ import annotations

import re
from typing import Any

from pixelforest.engine.machine import parse_size
from pixelforest.engine.quotes import split_entries
from pixelforest.engine.requests import EXPORT_DTYPES, FORESTS, OME_ZARR_VERSIONS
from pixelforest.frontend.console import PROGRAM
from pixelforest.frontend.options import Option, Takes, format_help

RUN, INPUTS, RESULTS, MACHINE, SCREEN = ("What to run", "Inputs", "Results", "Machine", "Screen and log")

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
    if re.fullmatch(r"auto|cpu|cuda(:\d+(,\d+)*)?", text):
        return text
    from pixelforest.engine.backends import describe_devices, is_device  # slow, and needed only for plug-ins

    match = re.fullmatch(r"(\w+)(:\d+(,\d+)*)?", text)
    if match is None or text.startswith(("auto:", "cpu:")) or not is_device(match[1]):
        raise ValueError(f"choose {describe_devices()}")
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
    _role("--binary_data"),  # what --segmentation_image was called
    # Roles of other workflows: known, so that the answer can be what the project has instead.
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
        default="Probabilities (Pixel Classification), Probabilities Stage 2 (Autocontext), Object Predictions (Object "
        "Classification)",
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
        "--ome_zarr_version",
        RESULTS,
        "Version of OME-Zarr that is written.",
        choices=OME_ZARR_VERSIONS,
        default=OME_ZARR_VERSIONS[0],
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
        "Where to compute: auto, cpu, cuda, numbered devices such as cuda:0,1, or the name of an installed backend.",
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

# One line about each subcommand, for completions.
COMMANDS = {
    "explain": "show what a run would do and what would fail",
    "info": "show what a project is and needs",
    "formats": "list the names that --output_format takes",
    "doctor": "test the devices, libraries and caches of this machine",
    "completions": "print the completions for a shell",
}

USAGE = f"""\
usage: {PROGRAM} [--headless] --project=P.ilp [options] IMAGE [IMAGE ...]
       {PROGRAM} explain --project=P.ilp [options] IMAGE [IMAGE ...]
                                   what that would do: files, axes, tiles, memory, time, outputs, and what would fail
       {PROGRAM} info P.ilp        what a project is and needs
       {PROGRAM} formats           the names --output_format takes
       {PROGRAM} doctor            devices, libraries and caches of this machine, and a test of them
       {PROGRAM} completions SHELL completions of this command line for bash, zsh or fish

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


def help_text(width: int) -> str:
    """Text that ``--help`` prints, wrapped for a terminal of ``width`` columns."""
    width = max(60, min(width, 110))
    return "\n\n".join((USAGE, format_help(OPTIONS, width=width), EXAMPLES))
