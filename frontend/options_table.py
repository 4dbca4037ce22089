"""Table of the command line's options; help, man page, completions and the reference page are made from it.

How a command line is read by this table is in options.py. Nothing here imports anything heavy.
"""

from __future__ import annotations

import ast
import re
from typing import Any

from pixelforest.engine.machine import parse_size
from pixelforest.engine.quotes import split_entries
from pixelforest.engine.requests import COLOURS, EXPORT_DTYPES, FORESTS, OME_ZARR_VERSIONS
from pixelforest.frontend.console import LOG_CHOICES, PROGRAM
from pixelforest.frontend.options import Option, Takes, format_help

RUN, INPUTS, RESULTS, MACHINE, SCREEN = ("What to run", "Inputs", "Results", "Machine", "Screen and log")

NO_GRAPHICS = "there is no graphical interface here"
NO_NETWORKS = "neural network workflows are not supported"
NO_TRACKING = "tracking workflows are not supported"
NO_CARVING = "the carving workflow is not supported"


def parse_count(text: str) -> int:
    """Parse an integer that is not negative. Raises ValueError."""
    if not text.isdecimal():
        raise ValueError("expected an integer, at least 0")
    return int(text)


def parse_share(text: str) -> float:
    """Parse a share of the labels. Raises ValueError."""
    if not re.fullmatch(r"\d*\.?\d+", text) or not 0 < float(text) <= 1:
        raise ValueError("expected a number above 0, at most 1")
    return float(text)


def _shard(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise ValueError("expected part/parts, such as 1/4 to 4/4")
    return int(match[1]), int(match[2])


def _scheduler(text: str) -> str:
    if re.fullmatch(r"mpi|local:[1-9]\d*|(tcp|tls|ws|wss|ucx|ucxx)://\S+", text):
        return text
    if "://" in text or text.startswith("local:") or not text.endswith(".json"):
        raise ValueError("expected an address such as tcp://host:8786, a scheduler file (.json), local:N, or mpi")
    return text


_MAX_SIDES = 200  # characters


def _block_sides(text: str) -> str:
    """Check sides of blocks as ilastik does: one number, or a dictionary of some axes."""
    try:
        sides = ast.literal_eval(text) if len(text) <= _MAX_SIDES else None  # the parser recurses
        sides = sides if isinstance(sides, dict) else {"x": sides}
        is_good = bool(sides) and all(each in "xyztc" and type(n) is int and n > 0 for each, n in sides.items())
    except (SyntaxError, TypeError, ValueError):
        is_good = False
    if not is_good:
        raise ValueError("expected a number, or a dictionary such as {'x': 256, 'y': 256, 'z': 64}")
    return text


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
        raise ValueError("expected architectures such as sm_80,sm_90")
    return names


def _flag(name: str, group: str, help: str, **more: Any) -> Option:
    return Option(name, group, help, takes=Takes.NOTHING, **more)


def _role(name: str, help: str = "") -> Option:
    return Option(name, INPUTS, help, takes=Takes.PATHS, metavar="PATH", is_shown=bool(help))


def refused(name: str, reason: str) -> Option:
    """Return the row of an option that is refused."""
    return Option(name, "", "", is_shown=False, refused=reason)


OPTIONS: tuple[Option, ...] = (
    Option("--project", RUN, "The trained project (.ilp).", metavar="P.ilp", is_path=True),
    _flag("--headless", RUN, "Accepted for compatibility with ilastik; there is no graphical interface."),
    Option(
        "--readonly",
        RUN,
        "--readonly=0 with --retrain saves the new classifier in the project, and with --generate_random_labels the "
        "labels; otherwise projects are never modified.",
        takes=Takes.BOOLEAN,
    ),
    _flag(
        "--retrain",
        RUN,
        "Train the classifier anew from the project's labels and images before the run. It is saved in the project "
        f"only with --readonly=0; {PROGRAM} train writes a new project.",
    ),
    Option(
        "--tree_count",
        RUN,
        "Train this number of trees for the run.",
        metavar="N",
        default="as in the project",
        parse=parse_count,
    ),
    Option(
        "--label_proportion",
        RUN,
        "Train for the run from this share of the labelled pixels or objects, drawn at random.",
        metavar="SHARE",
        default="all labels",
        parse=parse_share,
    ),
    Option(
        "--variable_importance_path",
        RUN,
        "After training, write the importance of every feature to varimp.txt in this folder.",
        metavar="FOLDER",
        is_path=True,
    ),
    Option("--seed", RUN, "Seed of the random numbers of training.", metavar="N", default="1", parse=parse_count),
    _flag(
        "--generate_random_labels",
        RUN,
        "For tests of speed: label random pixels of all training images of a Pixel Classification project. With "
        "--readonly=0, since they are saved in the project, and its classifier is removed.",
    ),
    Option(
        "--random_label_count",
        RUN,
        "Number of random labels in each image.",
        metavar="N",
        default="2000",
        parse=parse_count,
    ),
    Option("--random_label_value", RUN, "The label that they get.", metavar="N", default="1", parse=parse_count),
    _flag(
        "--dry_run",
        RUN,
        "Report what a run would do and what would fail, without running it. The exit status is that of the run. With "
        "clean: list what would be removed.",
    ),
    _flag("--json", RUN, "With --dry_run or explain: print a JSON document, for programs."),
    _flag("--print_labels_by_slice", RUN, "Log the number of labelled voxels in each z slice of the training images."),
    Option(
        "--label_search_value", RUN, "Count only this label.", metavar="N", default="0, all labels", parse=parse_count
    ),
    _flag("--help", RUN, "Print this help."),
    _flag("--version", RUN, "Print the version."),
    # --------------------------------------------------------------------------------------------------------------
    _role(
        "--raw_data",
        "Images to process; the same as arguments without an option. Quote a pattern with * to stack its files.",
    ),
    _role("--prediction_mask", "Masks, one per image: nothing is predicted where a mask is 0."),
    _role("--segmentation_image", "Object Classification: segmentations, one per image of --raw_data."),
    _role("--prediction_maps", "Object Classification: prediction maps to threshold."),
    _role("--label_image", "Object Classification: label images (object ids)."),
    _role("--atlas", "Object Classification: atlases; the table contains the atlas value of each object."),
    _role("--binary_data"),  # what --segmentation_image was called
    # Roles of other workflows: known, so that the answer can be what the project has instead.
    _role("--probabilities"),
    _role("--superpixels"),
    _role("--groundtruth"),
    _role("--input_data"),
    _role("--overlay"),
    _role("--binary_image"),
    Option(
        "--input_list",
        INPUTS,
        "Text file of inputs instead of arguments, one a line; or a table (CSV) whose first row names roles, such as "
        "raw_data,segmentation_image. Relative paths start in the current folder.",
        metavar="FILE",
        is_path=True,
    ),
    Option(
        "--input_axes",
        INPUTS,
        "Axes of the inputs in file order, letters of tzyxc, such as zyx: one value for all roles, or one per role, "
        "separated by commas; None keeps a role's own axes.",
        metavar="AXES[,AXES...]",
        default="those of the training images",
    ),
    _flag(
        "--ignore_training_axistags",
        INPUTS,
        "Use the axes stored in the input files instead of those of the training images.",
    ),
    Option(
        "--stack_along", INPUTS, "Axis along which several files are stacked.", choices=("z", "t", "c"), default="z"
    ),
    _flag(
        "--allow_missing_planes",
        INPUTS,
        "Read planes that the metadata of a TIFF declare but no file contains, or that a CZI lacks, as zeros, with a "
        "warning; by default such an input is an error.",
    ),
    _flag(
        "--preconvert_stacks", INPUTS, "Accepted for compatibility with ilastik; stacks are always read slice by slice."
    ),
    # --------------------------------------------------------------------------------------------------------------
    Option(
        "--export_source",
        RESULTS,
        "Results to export, separated by commas; several are computed in one pass.",
        metavar="RESULT[,RESULT...]",
        default="Probabilities (Pixel Classification), Probabilities Stage 2 (Autocontext), Object Predictions (Object "
        "Classification)",
    ),
    Option(
        "--output_format",
        RESULTS,
        f"File format of the results, such as hdf5, tiff, png or numpy; {PROGRAM} formats lists them.",
        metavar="FORMAT",
        default="the project's setting, else compressed hdf5",
    ),
    Option(
        "--output_filename_format",
        RESULTS,
        "Path of the output files. Placeholders: {dataset_dir} {nickname} {result_type} {roi} {x_start} {x_stop} (and "
        "the same for the other axes) and, for sequences, {slice_index}.",
        metavar="TEMPLATE",
        is_path=True,
        default="the project's setting, else {dataset_dir}/{nickname}_{result_type}",
    ),
    Option(
        "--output_internal_path",
        RESULTS,
        "Name of the dataset inside an HDF5 file; placeholders as above.",
        metavar="PATH",
        is_path=True,
        default="exported_data",
    ),
    Option(
        "--cutout_subregion",
        RESULTS,
        'Compute and export only this region: "[(starts), (stops)]", one number per axis, None for the whole extent.',
        metavar="REGION",
    ),
    Option("--export_dtype", RESULTS, "Data type of the exported results.", choices=EXPORT_DTYPES),
    Option("--output_axis_order", RESULTS, "Order of the axes in the file, letters of tzyxc.", metavar="AXES"),
    Option(
        "--pipeline_result_drange",
        RESULTS,
        'Range of the results that is rescaled to --export_drange, such as "(0.0, 1.0)".',
        metavar="(MIN,MAX)",
    ),
    Option("--export_drange", RESULTS, 'Range of the exported values, such as "(0, 255)".', metavar="(MIN,MAX)"),
    _flag("--clip", RESULTS, "Clip values to the range of the exported type instead of wrapping around."),
    _flag("--overwrite", RESULTS, "Replace existing OME-Zarr stores; other existing results are always replaced."),
    Option(
        "--ome_zarr_version",
        RESULTS,
        "Version of OME-Zarr to write.",
        choices=OME_ZARR_VERSIONS,
        default=OME_ZARR_VERSIONS[0],
    ),
    _flag(
        "--allow_project_urls",
        RESULTS,
        "Allow output URLs that the project stores; by default only the command line may name a server.",
    ),
    # --------------------------------------------------------------------------------------------------------------
    Option(
        "--table_filename",
        RESULTS,
        "Write the table of objects to this path: CSV, or HDF5 or Parquet if the extension is .h5 or .parquet. "
        "Placeholders: {dataset_dir} {nickname}. Images are then written only if requested by "
        "--export_source or a flag.",
        metavar="PATH",
        is_path=True,
        writes=True,
        default="the project's setting, else no table",
    ),
    _flag(
        "--safe_csv", RESULTS, "In CSV tables, prefix class names that a spreadsheet would evaluate as formulas with '."
    ),
    _flag("--table_only", RESULTS, "Write the table of objects and no images."),
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
        "Device: auto, cpu, cuda, numbered devices such as cuda:0,1, or the name of an installed backend.",
        metavar="DEVICE",
        default="auto",
        parse=_device,
    ),
    Option(
        "--forest",
        MACHINE,
        "Implementation of forest prediction on a GPU: native (kernels of pixelforest), nvforest (NVIDIA's library, "
        "from pixelforest[rapids13] or [rapids12]), or auto: native, whose results always equal the CPU's.",
        choices=FORESTS,
        default="auto",
    ),
    _flag(
        "--no_tune",
        MACHINE,
        "Choose between equivalent GPU kernels by rule; by default they are timed once for each device and classifier, "
        "and the faster one is kept. Results do not depend on it.",
    ),
    Option(
        "--threads",
        MACHINE,
        "Number of threads, at most the number of CPUs available to this process; also set by LAZYFLOW_THREADS.",
        metavar="N",
        default="the available CPUs; in a SLURM job, those of the task",
        parse=parse_count,
    ),
    Option(
        "--memory",
        MACHINE,
        "Memory budget, such as 8G or 500MB; also set by LAZYFLOW_TOTAL_RAM_MB.",
        metavar="SIZE",
        default="most of the free memory",
        parse=parse_size,
    ),
    _flag("--warm", MACHINE, "With doctor: compile the kernels for a GPU and cache them for later runs."),
    Option(
        "--architectures",
        MACHINE,
        "With doctor --warm: also compile for GPUs that are not in this machine, such as sm_80,sm_90.",
        metavar="SM[,SM...]",
        parse=_architectures,
    ),
    _flag("--fail_fast", MACHINE, "Stop at the first input that fails instead of continuing with the next."),
    Option(
        "--shard",
        MACHINE,
        "Process only every N-th input, starting with the I-th; N jobs with 1/N to N/N divide the inputs.",
        metavar="I/N",
        parse=_shard,
    ),
    _flag(
        "--resume",
        MACHINE,
        "Record which inputs are done, and skip those that an earlier run of the same command has recorded; a run that "
        "was killed continues if it is started again. Another project, input or setting is an error. Large results in "
        "folders of chunks (OME-Zarr, N5) continue within an image.",
    ),
    Option(
        "--blocks",
        MACHINE,
        "Compute only every N-th block of one image, starting with the I-th; N jobs with 1/N to N/N divide it. "
        "Results of pixels must be folders of chunks (OME-Zarr, N5); --finish completes them.",
        metavar="I/N",
        parse=_shard,
    ),
    _flag(
        "--finish",
        MACHINE,
        "Check that all blocks of one image are computed, and complete its results.",
    ),
    Option(
        "--scheduler",
        MACHINE,
        "Let the workers of a Dask cluster compute the inputs, and large images in blocks: address of its scheduler, "
        "such as tcp://host:8786, its scheduler file, local:N for N processes of this machine, or mpi for those that "
        "mpirun has started. Implies --resume. Needs pixelforest[cluster].",
        metavar="CLUSTER",
        parse=_scheduler,
    ),
    _flag(
        "--distributed",
        MACHINE,
        "Under mpirun: the same as --scheduler=mpi --output_format='compressed n5', whatever the format. Needs "
        "pixelforest[mpi].",
    ),
    Option(
        "--distributed_block_roi",
        MACHINE,
        "In ilastik, the size of blocks with --distributed; checked, but without effect: blocks follow the chunks of "
        "the result.",
        metavar="SIZES",
        parse=_block_sides,
    ),
    _flag("--resumable", MACHINE, "With clean: also remove unfinished runs that --resume or --blocks could continue."),
    Option(
        "--configfile",
        MACHINE,
        "Configuration file with default values.",
        metavar="FILE",
        is_path=True,
        default="the user's ilastik.ini",
    ),
    # --------------------------------------------------------------------------------------------------------------
    _flag("--quiet", SCREEN, "Show only warnings and errors."),
    _flag("--no_progress", SCREEN, "Show no progress."),
    _flag("--debug", SCREEN, "Show debug messages, and the traceback of errors."),
    Option(
        "--log",
        SCREEN,
        "On a terminal, show the run to people (auto), or ilastik's log lines as everywhere else (ilastik).",
        choices=LOG_CHOICES,
        default="auto; ilastik if started as run_ilastik.sh or ilastik.bat",
    ),
    Option(
        "--logfile",
        SCREEN,
        "Also write the log to this file.",
        metavar="FILE",
        is_path=True,
        writes=True,
        appends=True,
        default="no log file",
    ),
    Option(
        "--report_json",
        SCREEN,
        "Write a JSON report on every input to this file, also if the run fails.",
        metavar="FILE",
        is_path=True,
        writes=True,
    ),
    Option(
        "--report_html",
        SCREEN,
        "Write a page on every input to this file, to be opened in a browser: classes over the image, their shares, "
        "uncertainty, objects, and what is unusual. With --report_json, its numbers and pictures are there, too.",
        metavar="FILE",
        is_path=True,
        writes=True,
    ),
    Option(
        "--report_multiqc",
        SCREEN,
        "Write a table, a graph and pictures of the inputs into this folder, in the form that MultiQC takes.",
        metavar="FOLDER",
        is_path=True,
    ),
    Option(
        "--report_colours",
        SCREEN,
        "Colours of the classes in reports: those of the project, or some that colour-blind people tell apart.",
        choices=COLOURS,
        default=COLOURS[0],
    ),
    Option(
        "--redirect_output",
        SCREEN,
        "Append all output to this file instead of showing it.",
        metavar="FILE",
        is_path=True,
        writes=True,
        appends=True,
    ),
    Option("--process_name", SCREEN, "Prefix every line of the log with this name.", metavar="NAME"),
    # ------------------------------------------------------------------------- options of ilastik that are refused
    refused(
        "--new_project",
        f"an empty project is created in ilastik; {PROGRAM} train --new=P.ilp makes one from images and labels",
    ),
    refused("--workflow", "the workflow is stored in the project"),
    refused("--clean_paths", "it is used by ilastik's installer only"),
    refused("--fullscreen", NO_GRAPHICS),
    refused("--exit_on_failure", NO_GRAPHICS),
    refused("--hbp", "ilastik has removed it as well"),
    refused("--tiktorch_executable", NO_NETWORKS),
    refused("--nn_device", NO_NETWORKS + "; --device chooses where forests are computed"),
    refused("--connection_string", NO_NETWORKS),
    refused("--fillmissing", "fill missing slices in ilastik, when the project is created"),
    refused("--nobatch", "without inputs nothing is processed"),
    refused("--csv_export_file", "the cell density counting workflow is not supported"),
    refused("--run_preprocessing", NO_CARVING),
    refused("--preprocessing_sigma", NO_CARVING),
    refused("--preprocessing_filter", NO_CARVING),
    refused("--export_plugin", NO_TRACKING),
    refused("--big_data_viewer_xml_file", NO_TRACKING),
)

# One line about each subcommand, for completions.
COMMANDS = {
    "explain": "report what a run would do and what would fail",
    "info": "describe a project and the inputs it needs, or a file and the images in it",
    "formats": "list the values of --output_format",
    "doctor": "test the devices, libraries and caches of this machine",
    "completions": "print the completions for a shell",
    "report": "join the JSON reports of several runs into one page",
    "view": "show a result that exists over its image",
    "train": "train the classifier of a project anew",
    "clean": "remove unfinished results that killed runs left",
}

USAGE = f"""\
usage: {PROGRAM} [--headless] --project=P.ilp [options] IMAGE [IMAGE ...]
       {PROGRAM} explain --project=P.ilp [options] IMAGE [IMAGE ...]
                                   report files, axes, tiles, memory, time, outputs, and what would fail
       {PROGRAM} info P.ilp        describe a project and the inputs it needs, or the images of a file
       {PROGRAM} formats           list the values of --output_format
       {PROGRAM} doctor            test the devices, libraries and caches of this machine
       {PROGRAM} completions SHELL completions of this command line for bash, zsh or fish
       {PROGRAM} clean FOLDER      remove unfinished results that killed runs left; --dry_run lists them
       {PROGRAM} report R.json ...  join the reports of several runs into one page; report --help lists the options
       {PROGRAM} view RESULT --raw=IMAGE
                                   show a result that exists over its image; view --help lists the options
       {PROGRAM} train --project=P.ilp --output=NEW.ilp
                                   train the classifier of a project anew; train --help lists the options

Run trained ilastik projects without ilastik. Option names may be written with dashes or underscores, and abbreviated
if the abbreviation is unique."""

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
