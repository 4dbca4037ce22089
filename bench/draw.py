"""Plots of docs/performance.md, drawn as SVG without a library from records of curves.py and large_image.py.

A plot has a curve for each case, logarithmic axes where the points double, and a caption with the machine that the
points were measured on and its load.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

RECORDS = Path(__file__).parent / "results" / "curves.jsonl"
FOLDER = Path(__file__).resolve().parents[1] / "docs" / "images"
WIDTH, HEIGHT = 720, 360
LEFT, RIGHT, TOP, BOTTOM = 70, 140, 40, 70  # the names of the curves are on the right
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")


@dataclass(frozen=True)
class Curve:
    """Points (x, y) of one line, in the order of x."""

    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Picture:
    """File of docs/images with its axes."""

    file: str
    title: str
    x_name: str
    y_name: str
    curves: tuple[Curve, ...]
    foot: str


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=Path, default=RECORDS, help="lines of JSON; default: results/curves.jsonl")
    parser.add_argument("--out", type=Path, default=FOLDER, metavar="DIR", help="default: docs/images")
    options = parser.parse_args(words)
    rows = [json.loads(line) for line in options.records.read_text(encoding="utf-8").splitlines()]
    options.out.mkdir(parents=True, exist_ok=True)
    for picture in make_pictures([row for row in rows if "wall" in row]):
        path = options.out / picture.file
        path.write_text(draw(picture), encoding="utf-8", newline="\n")
        print(path)
    return 0


def make_pictures(rows: Sequence[dict[str, Any]]) -> list[Picture]:
    """Draw the pictures for which there are points."""
    wall: Callable[[dict[str, Any]], float] = lambda row: statistics.median(row["wall"])  # noqa: E731
    cpu: Callable[[dict[str, Any]], float] = lambda row: statistics.median(row["cpu"])  # noqa: E731
    peak: Callable[[dict[str, Any]], float] = lambda row: row["peak_bytes"] / 1e6  # noqa: E731
    per_voxel: Callable[[dict[str, Any]], float] = lambda row: 1e9 * cpu(row) / row["voxels"]  # noqa: E731
    found = []
    for series, file, title, x_name, values in (
        ("threads", "threads.svg", "Whole process against threads", "--threads", {"wall s": wall, "CPU s": cpu}),
        ("tiles", "tiles.svg", "Features and forest against the size of a tile", "voxels of a tile", {"": per_voxel}),
        ("sizes", "sizes.svg", "Largest resident set against the size of the image", "voxels of the image", {"": peak}),
        ("budgets", "budgets.svg", "Largest resident set against --memory", "--memory, MB", {"": peak}),
    ):
        own = [row for row in rows if row["case"].get("series") == series]
        curves = tuple(
            curve for name, value in values.items() for curve in _curves(own, value, name, joined=series == "sizes")
        )
        y_name = {"threads": "seconds", "tiles": "CPU ns a voxel, one thread"}.get(series, "MB")
        if curves:
            found.append(Picture(file, title, x_name, y_name, curves, _foot(own)))
    return found


def _curves(
    rows: Iterable[dict[str, Any]], value: Callable[[dict[str, Any]], float], name: str, *, joined: bool
) -> list[Curve]:
    """Make a curve per case; joined: one for all 2-D and one for all 3-D cases."""
    lines: dict[str, dict[float, float]] = {}
    for row in rows:
        case = row["case"]["name"]
        key = f"{len(row['case']['shape'])}-D" if joined else case
        lines.setdefault(f"{key} {name}".strip(), {})[row["at"]] = value(row)
    return [Curve(key, tuple(sorted(points.items()))) for key, points in lines.items()]


def _foot(rows: Sequence[dict[str, Any]]) -> str:
    machine = rows[-1]["machine"]
    busy = max(row["machine"].get("load_before", 0) for row in rows)
    return f"{machine['processor']}, {machine['processors']} processors, load up to {busy}; {rows[-1]['date'][:10]}"


def draw(picture: Picture) -> str:
    """Draw the picture as SVG. Both axes are logarithmic, so that equal distances are equal factors."""
    xs = [x for curve in picture.curves for x, _ in curve.points]
    ys = [y for curve in picture.curves for _, y in curve.points]
    x_ends, y_ends = _ends(xs), _ends(ys)

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            LEFT + (WIDTH - LEFT - RIGHT) * _share(x, x_ends),
            HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * _share(y, y_ends),
        )

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(LEFT, 20, picture.title, size=14),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 32, picture.x_name, anchor="middle"),
        _text(LEFT, HEIGHT - 8, picture.foot, size=10),
        f'<text transform="translate(16 {HEIGHT / 2 - 20}) rotate(-90)" text-anchor="middle">'
        f"{escape(picture.y_name)}</text>",
    ]
    for x in sorted(set(xs)) if len(set(xs)) <= 8 else _ticks(x_ends):
        at, bottom = place(x, y_ends[0])
        parts.append(f'<line x1="{at:.1f}" y1="{TOP}" x2="{at:.1f}" y2="{bottom:.1f}" stroke="#ddd"/>')
        parts.append(_text(at, bottom + 16, _number(x), anchor="middle", size=10))
    for y in _ticks(y_ends):
        left, at = place(x_ends[0], y)
        parts.append(f'<line x1="{left:.1f}" y1="{at:.1f}" x2="{WIDTH - RIGHT}" y2="{at:.1f}" stroke="#ddd"/>')
        parts.append(_text(left - 6, at + 4, _number(y), anchor="end", size=10))
    for i, curve in enumerate(picture.curves):
        colour = COLOURS[i % len(COLOURS)]
        places = [place(x, y) for x, y in curve.points]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
        parts.append(_text(WIDTH - RIGHT + 10, TOP + 14 + 16 * i, curve.name, colour=colour))
    return "\n".join([*parts, "</svg>", ""])


def _ends(values: Sequence[float]) -> tuple[float, float]:
    """Enlarge a range; it is never empty."""
    return min(values) / 1.3, max(values) * 1.6


def _share(value: float, ends: tuple[float, float]) -> float:
    return math.log(value / ends[0]) / math.log(ends[1] / ends[0])


def _ticks(ends: tuple[float, float]) -> list[float]:
    """List 1, 2 and 5 times powers of ten within a range."""
    first, last = math.floor(math.log10(ends[0])), math.ceil(math.log10(ends[1]))
    steps = (1, 2, 5) if last - first < 4 else (1,)
    found = [step * 10.0**power for power in range(first, last + 1) for step in steps]
    return [value for value in found if ends[0] <= value <= ends[1]]


def _number(value: float) -> str:
    for unit, name in ((1e9, " G"), (1e6, " M"), (1e4, None)):
        if value >= unit:
            return f"{value / unit:.3g}{name}" if name else f"{value / 1e3:.3g} k"
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 12, colour: str = "#222") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{colour}">{escape(text)}</text>'
    )


if __name__ == "__main__":
    raise SystemExit(main())
