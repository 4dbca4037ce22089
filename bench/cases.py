"""Benchmark cases and the options that select them. Nothing is generated or measured here."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Case:
    """One input of a size.

    shape   (y, x) or (z, y, x); empty: no image at all
    files   number of such images per process
    result  exported result
    """

    name: str
    shape: tuple[int, ...]
    files: int = 1
    result: str = "Probabilities"

    @property
    def dimensions(self) -> int:
        """Number of dimensions, 2 or 3; the start-up alone opens the 2-D project."""
        return len(self.shape) or 2

    @property
    def voxels(self) -> int:
        """Number of voxels of all images; 0 without an image."""
        count = self.files if self.shape else 0
        for n in self.shape:
            count *= n
        return count

    def describe(self) -> str:
        """Describe the case in words."""
        if not self.shape:
            return "open the project, nothing to do"
        size = " x ".join(map(str, self.shape))
        return f"{f'{self.files} images of ' if self.files > 1 else ''}{size} uint8, {self.result} to HDF5"


CASES = {
    case.name: case
    for case in (
        Case("start", ()),
        Case("2d-256", (256, 256)),
        Case("2d-512", (512, 512)),
        Case("2d-2048", (2048, 2048)),
        Case("2d-4096", (4096, 4096)),
        Case("2d-8192", (8192, 8192)),
        Case("2d-16384", (16384, 16384)),
        Case("2d-32768", (32768, 32768)),
        Case("2d-2048-features", (2048, 2048), result="Features"),
        Case("2d-2048-objects", (2048, 2048), result="Object Predictions"),
        Case("2d-pictures", (256, 256), files=100),
        Case("2d-pictures-1000", (256, 256), files=1000),
        Case("3d-64", (64, 64, 64)),
        Case("3d-128", (128, 128, 128)),
        Case("3d-192", (192, 192, 192)),
        Case("3d-256", (256, 256, 256)),
        Case("3d-512", (512, 512, 512)),
        Case("3d-sparse", (1300, 1300, 1300)),
        Case("3d-sparse-256", (256, 256, 256)),
        Case("3d-4gb", (1024, 2048, 2048)),
        Case("2d-quick", (144, 200)),
        Case("2d-objects-quick", (144, 200), result="Object Predictions"),
        Case("2d-pictures-quick", (144, 200), files=3),
        Case("3d-quick", (40, 44, 72)),
        Case("3d-sparse-quick", (90, 96, 140)),
    )
}


LIMIT_TEXT = "megabytes of addresses a run may take, as with ulimit -v; 0: any number (not on Windows)"


def make_parser(about: str | None, *, defaults: Sequence[str], quick: Sequence[str]) -> argparse.ArgumentParser:
    """Make a parser with the options of every bench. defaults, quick: cases that run by default, and for --quick."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.set_defaults(default_cases=tuple(defaults), quick_cases=tuple(quick))
    names = ", ".join(CASES)
    parser.add_argument(
        "--case", action="append", choices=list(CASES), metavar="NAME", help=f"one of {names}; repeatable"
    )
    parser.add_argument("--dry-run", action="store_true", help="list what would be measured and stop")
    parser.add_argument("--quick", action="store_true", help="one small case, once: shows that the bench still works")
    parser.add_argument("--repeats", type=int, help="measured runs of each row")
    parser.add_argument("--threads", type=int, help="threads; default: the processors this process may use")
    parser.add_argument("--no-peers", action="store_true", help="leave out other libraries")
    parser.add_argument("--data", type=Path, metavar="DIR", help="where generated data is kept; default: a user cache")
    parser.add_argument("--project", type=Path, help="measure this project instead of the generated ones")
    parser.add_argument(
        "--input", type=Path, help="the image to go with --project; mirrored or cut to each case's size"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="append every row to this file as a line of JSON")
    return parser


def parse(parser: argparse.ArgumentParser, words: Sequence[str] | None) -> argparse.Namespace:
    """Parse and check the options of a bench."""
    options = parser.parse_args(words)
    if (options.project is None) != (options.input is None):
        parser.error("--project and --input go together")
    if options.repeats is not None and options.repeats < 1:
        parser.error("--repeats must be at least 1")
    return options


def chosen_cases(options: argparse.Namespace) -> list[Case]:
    """List the requested cases."""
    names = options.case or (options.quick_cases if options.quick else options.default_cases)
    return [CASES[name] for name in names]


def list_cases(cases: Sequence[Case]) -> None:
    """Print the cases without measuring."""
    for case in cases:
        print(f"{case.name:18} {case.describe()}")
