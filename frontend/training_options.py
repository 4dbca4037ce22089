"""Table of the options of ``pixelforest train``, and its help."""

from __future__ import annotations

from collections.abc import Iterator

from .console import PROGRAM
from .options import Option, Takes, format_help
from .options_table import INPUTS, MACHINE, OPTIONS, RUN, SCREEN, parse_count, parse_share

TRAINING = f"Options of {PROGRAM} train"
# Rows that mean the same as in a run.
_SHARED = {
    RUN: ("headless", "variable_importance_path"),
    INPUTS: ("stack_along",),
    MACHINE: ("threads", "memory", "configfile"),
    SCREEN: ("quiet", "debug", "logfile"),
}
_SHARED[SCREEN] += ("redirect_output", "process_name", "no_progress")


def _roles() -> Iterator[Option]:
    """Yield the options of inputs that projects of objects have beside raw data."""
    for name, what in (
        ("segmentation_image", "segmentations that objects are found in"),
        ("prediction_maps", "prediction maps that objects are found in"),
        ("label_image", "label images of objects"),
        ("atlas", "atlases"),
    ):
        text = f"Object Classification: {what}, one for each image, as --raw_data."
        yield Option(f"--{name}", TRAINING, text, takes=Takes.PATHS, metavar="PATH")


TRAINING_OPTIONS: tuple[Option, ...] = (
    Option("--project", TRAINING, "The project with labels to train from (.ilp).", metavar="P.ilp", is_path=True),
    Option(
        "--output",
        TRAINING,
        "File that the trained project is written to; it may be the project itself, which is then replaced in one "
        "step.",
        metavar="NEW.ilp",
        is_path=True,
        writes=True,
    ),
    Option(
        "--raw_data",
        TRAINING,
        "Training images that have moved: all of them in the project's order, or files of the same names. With "
        "--new: the images to train on, each a file, a quoted pattern or a list of files that are stacked.",
        takes=Takes.PATHS,
        metavar="PATH",
    ),
    Option(
        "--new",
        TRAINING,
        "Make this project from --raw_data and --labels, instead of training an existing one.",
        metavar="NEW.ilp",
        is_path=True,
        writes=True,
    ),
    Option(
        "--object",
        TRAINING,
        "With --new: make a project that classifies objects. --labels label them: the class drawn on an object, or a "
        "table of points or of ids, with columns object, class and, if needed, t.",
        takes=Takes.NOTHING,
    ),
    Option(
        "--autocontext",
        TRAINING,
        "With --new: make a project of Autocontext, whose second stage learns from the image and from what the first "
        "has learnt.",
        takes=Takes.NOTHING,
    ),
    *_roles(),
    Option(
        "--thresholds",
        TRAINING,
        "With --new, --object and --prediction_maps: how objects are found, like:Other.ilp or settings such as "
        '"channel=1,low=0.4,sigma=1.5,min_size=20" or "method=hysteresis,high=0.8,low=0.4".',
        metavar="SETTINGS",
        default="ilastik's: method=simple,channel=0,low=0.5,sigma=1,min_size=10",
    ),
    Option(
        "--labels",
        TRAINING,
        "With --new: a label image of the same size for each image, 0 for none, 1 for the first class; or a table of "
        "points, with columns x, y, class and, if needed, z and t.",
        takes=Takes.PATHS,
        metavar="PATH",
    ),
    Option(
        "--labels_2",
        TRAINING,
        "With --autocontext: labels of the second stage, as --labels.",
        takes=Takes.PATHS,
        metavar="PATH",
        default="those of --labels",
    ),
    Option(
        "--classes",
        TRAINING,
        "With --new: names of the classes.",
        metavar="NAME[,NAME...]",
        default="Label 1, Label 2 and so on",
    ),
    Option(
        "--classes_2",
        TRAINING,
        "With --autocontext: names of the classes of the second stage.",
        metavar="NAME[,NAME...]",
        default="those of --classes",
    ),
    Option(
        "--features",
        TRAINING,
        "With --new: all, like:Other.ilp for those of another project, or features with scales, such as "
        '"Gaussian Smoothing:0.7,1.6;Laplacian of Gaussian:1". With --object: usual, all, like:Other.ilp, or features '
        'and plugins such as "Size in pixels;Mean Intensity in neighborhood:10;2D Skeleton Features".',
        metavar="FEATURES",
        default="all, the 37 of ilastik's dialog; with --object usual, those of shape and intensity",
    ),
    Option(
        "--features_2",
        TRAINING,
        "With --autocontext: features of the second stage, of the image and of the probabilities of the first.",
        metavar="FEATURES",
        default="those of --features",
    ),
    Option(
        "--trees", TRAINING, "Number of trees.", metavar="N", default="as in the project, else 100", parse=parse_count
    ),
    Option("--seed", TRAINING, "Seed of the random numbers, at least 1.", metavar="N", default="1", parse=parse_count),
    Option(
        "--label_proportion",
        TRAINING,
        "Share of the labelled pixels or objects to train from, drawn at random.",
        metavar="SHARE",
        default="1, all labels",
        parse=parse_share,
    ),
    Option(
        "--cross_validate",
        TRAINING,
        "Report how well each labelled image is classified by a classifier trained on the others.",
        takes=Takes.NOTHING,
    ),
    Option(
        "--report_json",
        TRAINING,
        "Write the report as JSON to this file, too.",
        metavar="FILE",
        is_path=True,
        writes=True,
    ),
    *(row for group, keys in _SHARED.items() for row in OPTIONS if row.group == group and row.key in keys),
)

USAGE = f"""\
usage: {PROGRAM} train --project=P.ilp --output=NEW.ilp [options]
       {PROGRAM} train --new=NEW.ilp --raw_data IMAGE ... --labels LABELS ... [options]
       {PROGRAM} train --autocontext --new=NEW.ilp --raw_data IMAGE ... --labels LABELS ... [--labels_2 LABELS ...]
                         [options]
       {PROGRAM} train --object --new=NEW.ilp --raw_data IMAGE ... --segmentation_image SEGMENTATION ...
                         --labels LABELS ... [options]

Train the classifier of an ilastik project anew, from its labels and images. The same seed gives the same project on
every machine, with any number of threads."""


EXAMPLES = f"""\
Examples:
  {PROGRAM} train --project=MyProject.ilp --output=Retrained.ilp --seed=2
  {PROGRAM} train --new=Cells.ilp --raw_data a.png b.png --labels a_labels.png b_labels.png --classes=Background,Cell
  {PROGRAM} train --new=Cells.ilp --raw_data a.png --labels a_points.csv \\
      --features="Gaussian Smoothing:0.7,1.6;Hessian of Gaussian Eigenvalues:3.5"
  {PROGRAM} train --autocontext --new=Cells.ilp --raw_data a.png --labels a_parts.png --labels_2 a_cells.png \\
      --classes=Background,Bright,Dim --classes_2=Outside,Inside
  {PROGRAM} train --object --new=Objects.ilp --raw_data a.png --segmentation_image a_segmentation.png \\
      --labels a_objects.csv --classes=Round,Long"""


def training_help(width: int) -> str:
    """Text of ``train --help``, wrapped for a terminal of ``width`` columns."""
    return "\n\n".join((USAGE, format_help(TRAINING_OPTIONS, width=max(60, min(width, 110))), EXAMPLES))
