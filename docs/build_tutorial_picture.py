"""Draw docs/images/tutorial.png: ``python docs/build_tutorial_picture.py`` runs the commands of docs/tutorial.md.

They run in a temporary folder. The picture has the image with the points of the first training, and both segmentations.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import chdir
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

REPOSITORY = Path(__file__).resolve().parent.parent
PAGE = REPOSITORY / "docs" / "tutorial.md"
PICTURE = REPOSITORY / "docs" / "images" / "tutorial.png"
TABLE, HEADER = "points.csv", "x,y,class\n"
COLOURS = {"Background": (40, 44, 52), "Round": (0, 114, 178), "Rod": (230, 159, 0)}
SCALE, GAP, POINT = 3, 12, 2  # pixels of the picture for one of the image, between images, around a point
_BLOCK = re.compile(r"^```(console|csv)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def follow_page() -> Iterator[tuple[Sequence[str], str]]:
    """Write the tables of the page into the current folder, and yield its commands and the lines that each prints.

    A command is to be run before the next one is asked for. ``cp`` has been run.
    """
    for kind, text in _BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        if kind == "csv":
            with open(TABLE, "w" if text.startswith(HEADER) else "a", encoding="utf-8") as file:
                file.write(text)
            continue
        for command in text.replace("\\\n", " ").removeprefix("$ ").split("\n$ "):
            line, _, printed = command.partition("\n")
            words = shlex.split(line)
            if words[0] == "cp":
                shutil.copy(REPOSITORY / words[1], words[2])
            else:
                yield words, printed


def draw(first_points: str) -> Image.Image:
    """Draw the picture from the files in the current folder.

    first_points  table of the first training
    """
    image = Image.open("cells.png").convert("RGB")
    width, height = (SCALE * n for n in image.size)
    picture = Image.new("RGB", (3 * width + 2 * GAP, height), "white")
    picture.paste(image.resize((width, height), Image.Resampling.NEAREST))
    for x, y, name in (row.split(",") for row in first_points.removeprefix(HEADER).split()):
        at = (SCALE * int(x) - POINT, SCALE * int(y) - POINT)
        size = SCALE + 2 * POINT
        picture.paste("white", (at[0] - 1, at[1] - 1, at[0] + size + 1, at[1] + size + 1))
        picture.paste(COLOURS[name], (*at, at[0] + size, at[1] + size))
    colours = np.array(list(COLOURS.values()), np.uint8)
    for number, name in enumerate(("first.png", "second.png"), 1):
        classes = np.asarray(Image.open(name)).astype(int) // 100  # black, gray, white
        panel = Image.fromarray(colours[classes]).resize((width, height), Image.Resampling.NEAREST)
        picture.paste(panel, (number * (width + GAP), 0))
    return picture


def main() -> int:
    """Run the commands of the page and draw the picture."""
    points = ""
    with TemporaryDirectory() as folder, chdir(folder):
        for words, _ in follow_page():
            points = points or Path(TABLE).read_text(encoding="utf-8")
            subprocess.run([sys.executable, "-m", *words], check=True)
        draw(points).save(PICTURE, optimize=True)
    print(PICTURE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
