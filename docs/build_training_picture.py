"""Draw docs/images/training.png: ``python docs/build_training_picture.py`` trains Autocontext as docs/training.md says.

For each stage the picture has the image with its labels, and the segmentation of the project trained from them.
"""

from __future__ import annotations

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
SOURCE = REPOSITORY / "tests" / "golden" / "autocontext_2d"
PICTURE = REPOSITORY / "docs" / "images" / "training.png"
COLOURS = np.array([(40, 44, 52), (0, 114, 178), (230, 159, 0)], np.uint8)
SCALE, GAP, STAGES = 3, 12, (1, 2)  # pixels of the picture for one of the image, between panels
NAMES = ("Labels", "Simple Segmentation")


def commands() -> Iterator[Sequence[str]]:
    """Copy the recorded project into the current folder, and yield the commands that train and apply it."""
    for name in ("project.ilp", "raw.png"):
        shutil.copy(SOURCE / name, name)
    yield ["train", "--project=project.ilp", "--output=trained.ilp"]
    results = ",".join(f"{name} Stage {stage}" for stage in STAGES for name in NAMES)
    files = ["--output_format=numpy", "--output_filename_format={result_type}.npy", "--device=cpu"]
    yield ["--project=trained.ilp", f"--export_source={results}", *files, "raw.png"]


def draw() -> Image.Image:
    """Draw the picture from the files in the current folder."""
    raw = np.asarray(Image.open("raw.png").convert("RGB"))
    panels = []
    for stage in STAGES:
        labels, classes = (np.load(f"{name} Stage {stage}.npy").reshape(raw.shape[:2]).astype(int) for name in NAMES)
        panels += [np.where(labels[..., np.newaxis] > 0, COLOURS[labels - 1], raw), COLOURS[classes - 1]]
    width, height = SCALE * raw.shape[1], SCALE * raw.shape[0]
    picture = Image.new("RGB", (len(panels) * (width + GAP) - GAP, height), "white")
    for number, panel in enumerate(panels):
        large = Image.fromarray(panel.astype(np.uint8)).resize((width, height), Image.Resampling.NEAREST)
        picture.paste(large, (number * (width + GAP), 0))
    return picture


def main() -> int:
    """Run the commands and draw the picture."""
    with TemporaryDirectory() as folder, chdir(folder):
        for words in commands():
            subprocess.run([sys.executable, "-m", "pixelforest", *words], check=True)
        draw().save(PICTURE, optimize=True)
    print(PICTURE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
