"""Tables of the options of ``pixelforest report``, and its help."""

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
