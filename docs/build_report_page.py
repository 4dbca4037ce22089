"""Write docs/examples/report.html anew: ``python docs/build_report_page.py``.

The page joins runs of recorded projects: pixels of a flat image and of a volume, objects in time, and three images that
went wrong.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from contextlib import chdir
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from pixelforest import cli
from pixelforest.frontend.html_report.join import join_reports
from pixelforest.frontend.html_report.page import render_page

DOCS = Path(__file__).resolve().parent
GOLDEN = DOCS.parent / "tests" / "golden"
PAGE = DOCS / "examples" / "report.html"
RUNS = {
    "px3d": ["raw.h5"],
    "obj2dt_seg": ["--raw_data=raw.h5", "--segmentation_image=seg.h5"],
    "obj2d_seg": ["--raw_data=raw.png", "--segmentation_image=seg.png"],
}


def make_batch(folder: Path) -> list[str]:
    """Write six similar images and three that went wrong; returns their names."""
    with Image.open(folder / "raw.png") as picture:
        pixels = np.asarray(picture).astype(int)
        made = {"blank.png": np.full(pixels.shape, 7), "swapped.png": pixels[..., [1, 2, 0]]}
        made["blurred.png"] = np.asarray(picture.filter(ImageFilter.GaussianBlur(3)))
    for i in range(6):
        noise = np.random.default_rng(i).integers(-3, 4, pixels.shape)
        made[f"good{i}.png"] = (np.roll(pixels, (13 * i, 7 * i), (0, 1)) + noise).clip(0, 255)
    for name, voxels in made.items():
        Image.fromarray(voxels.astype(np.uint8)).save(folder / name)
    return list(made)


def run(folder: Path, words: list[str]) -> dict[str, Any]:
    """Return the report of a run in a folder, with paths relative to the one above."""
    with chdir(folder):
        options = ["--project=project.ilp", "--report_json=r.json", "--report_html=r.html", "--quiet"]
        assert cli.main([*options, "--output_filename_format=out/{nickname}", *words]) == 0
    text = (folder / "r.json").read_text(encoding="utf-8").replace(f"{folder.parent}/", "")
    report: dict[str, Any] = json.loads(text)
    report["provenance"]["command"] = " ".join(["pixelforest", *options, *words])
    for lane in report["lanes"]:
        lane["inputs"] = {role: f"{folder.name}/{path}" for role, path in lane["inputs"].items()}
    return report


def build() -> str:
    """Return the page."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        for case in ("px2d_rgb", *RUNS):
            shutil.copytree(GOLDEN / case, folder / case, ignore=shutil.ignore_patterns("expected"))
        words = {"px2d_rgb": make_batch(folder / "px2d_rgb"), **RUNS}
        return render_page(join_reports([run(folder / case, each) for case, each in words.items()]))


if __name__ == "__main__":
    PAGE.write_text(build(), encoding="utf-8")
