"""Write docs/command-line.md and docs/pixelforest.1 anew: ``python docs/build_reference.py``.

Both follow from the tables of options, as ``--help`` does. A test fails if they are stale.
"""

from __future__ import annotations

from pathlib import Path

from pixelforest import __version__
from pixelforest.frontend.console import PROGRAM
from pixelforest.frontend.options_table import EXAMPLES, OPTIONS, USAGE
from pixelforest.frontend.reference import make_man_page, make_reference
from pixelforest.frontend.report_options import REPORT, REPORT_OPTIONS, VIEW, VIEW_OPTIONS
from pixelforest.frontend.training_options import TRAINING, TRAINING_OPTIONS

DOCS = Path(__file__).resolve().parent
COMMANDS = ((REPORT, REPORT_OPTIONS), (VIEW, VIEW_OPTIONS), (TRAINING, TRAINING_OPTIONS))
ALL = (*OPTIONS, *(option for group, options in COMMANDS for option in options if option.group == group))
PAGE, MAN_PAGE = DOCS / "command-line.md", DOCS / "pixelforest.1"


def build() -> dict[Path, str]:
    """Return each file and the text it has to have."""
    return {
        PAGE: make_reference(program=PROGRAM, usage=USAGE, examples=EXAMPLES, options=ALL),
        MAN_PAGE: make_man_page(program=PROGRAM, version=__version__, usage=USAGE, examples=EXAMPLES, options=ALL),
    }


if __name__ == "__main__":
    for path, text in build().items():
        path.write_text(text, encoding="utf-8")
