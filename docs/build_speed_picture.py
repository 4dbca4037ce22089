"""Draw docs/images/speed.svg from the table of speeds in README.md: ``python docs/build_speed_picture.py``."""

from __future__ import annotations

import re
from pathlib import Path
from xml.sax.saxutils import escape

REPOSITORY = Path(__file__).resolve().parent.parent
PICTURE = REPOSITORY / "docs" / "images" / "speed.svg"
ROW = re.compile(r"^\| ([^|]+?) \| ([\d.]+) s \| (?:about )?([\d.]+) s \|$", re.MULTILINE)
WIDTH, LEFT, LENGTH, BAR, STEP = 760, 230, 420, 13, 46  # pixels: picture, names, longest bar, bar, rows
OURS, THEIRS, TEXT = "#0072b2", "#999999", "#888888"  # readable on white and on black


def draw() -> str:
    """Draw for each row of the table a pair of bars, as long as the seconds are in parts of ilastik's."""
    rows = [(name, float(ours), float(theirs)) for name, ours, theirs in ROW.findall(_readme())]
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {STEP * len(rows) + 12}" '
        f'font-family="sans-serif" font-size="13" fill="{TEXT}" role="img" '
        'aria-label="Seconds of pixelforest and of ilastik">'
    ]
    for number, (name, ours, theirs) in enumerate(rows):
        y = STEP * number + 8
        lines.append(f'<text x="{LEFT - 12}" y="{y + BAR + 6}" text-anchor="end">{escape(name)}</text>')
        bars = ((y, ours, OURS, f"{ours:g} s, {theirs / ours:.0f} times as fast"), (y + BAR + 3, theirs, THEIRS, ""))
        for top, seconds, colour, words in bars:
            length = max(2, round(LENGTH * seconds / theirs))
            lines.append(f'<rect x="{LEFT}" y="{top}" width="{length}" height="{BAR}" fill="{colour}"/>')
            label = words or f"ilastik {seconds:g} s"
            lines.append(f'<text x="{LEFT + length + 6}" y="{top + BAR - 2}">{label}</text>')
    return "\n".join([*lines, "</svg>", ""])


def _readme() -> str:
    return (REPOSITORY / "README.md").read_text(encoding="utf-8")


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
