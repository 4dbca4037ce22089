"""Tables of the options of ``pixelforest report`` and ``pixelforest view``, and their help."""

from __future__ import annotations

from .console import PROGRAM
from .options import Option, format_help
from .options_table import OPTIONS, SCREEN

REPORT = f"Options of {PROGRAM} report"
_SHARED = ("report_multiqc", "quiet", "debug", "logfile", "redirect_output", "process_name")

REPORT_OPTIONS: tuple[Option, ...] = (
    Option(
        "--output",
        REPORT,
        "The page to write, as --report_html of a run does.",
        metavar="FILE",
        is_path=True,
        writes=True,
    ),
    *(row for row in OPTIONS if row.group == SCREEN and row.key in _SHARED),
)

VIEW = f"Options of {PROGRAM} view"

VIEW_OPTIONS: tuple[Option, ...] = (
    Option("--raw", VIEW, "The image that the result was made from.", metavar="IMAGE", is_path=True),
    Option(
        "--output",
        VIEW,
        "The page to write.",
        metavar="FILE",
        is_path=True,
        writes=True,
        default="the name of the result with .html, in the current folder",
    ),
    Option(
        "--project",
        VIEW,
        "Project whose class names and colours are shown.",
        metavar="P.ilp",
        is_path=True,
        default="numbers, and ilastik's colours",
    ),
    *(row for row in OPTIONS if row.group == SCREEN and row.key in ("report_colours", *_SHARED[1:])),
)

USAGE = f"""\
usage: {PROGRAM} report REPORT.json [REPORT.json ...] --output=FILE.html [options]

Join the JSON reports of several runs into one page: those of shards, or of a run that was killed and of the one that
continued it. Runs with --report_json and --report_html write what the page shows."""

EXAMPLES = f"""\
Examples:
  {PROGRAM} --project=MyProject.ilp --shard=1/2 --report_json=part1.json --report_html=part1.html *.png
  {PROGRAM} --project=MyProject.ilp --shard=2/2 --report_json=part2.json --report_html=part2.html *.png
  {PROGRAM} report part1.json part2.json --output=all.html"""


def report_help(width: int) -> str:
    """Text of ``report --help``, wrapped for a terminal of ``width`` columns."""
    return "\n\n".join((USAGE, format_help(REPORT_OPTIONS, width=max(60, min(width, 110))), EXAMPLES))


VIEW_USAGE = f"""\
usage: {PROGRAM} view RESULT --raw=IMAGE [options]

Write a page that shows a result that exists over its image: a segmentation, ids of objects, or probabilities, of which
the most probable class and the uncertainty are shown. One plane is read, the middle one of the first time point."""

VIEW_EXAMPLES = f"""\
Examples:
  {PROGRAM} view cells_Probabilities.h5 --raw=cells.png --project=MyProject.ilp
  {PROGRAM} view cells.zarr --raw=cells.tif --output=cells.html"""


def view_help(width: int) -> str:
    """Text of ``view --help``, wrapped for a terminal of ``width`` columns."""
    return "\n\n".join((VIEW_USAGE, format_help(VIEW_OPTIONS, width=max(60, min(width, 110))), VIEW_EXAMPLES))
