"""The public suite of ``pixelforest.testing``, for the kinds of projects that this package has."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from support.golden import GOLDEN

from pixelforest.engine.workflows import objects, pixel
from pixelforest.testing.workflows import WorkflowSuite


def copy(name: str, folder: Path) -> Path:
    return Path(shutil.copytree(GOLDEN / name, folder / name, ignore=shutil.ignore_patterns("expected")))


class TestPixelClassification(WorkflowSuite):
    package = pixel

    def make(self, folder: Path) -> Sequence[str]:
        case = copy("px2d_gray", folder)
        return [f"--project={case / 'project.ilp'}", str(case / "raw.png")]


class TestObjectClassification(WorkflowSuite):
    package = objects

    def make(self, folder: Path) -> Sequence[str]:
        case = copy("obj2d_seg", folder)
        images = [f"--raw_data={case / 'raw.png'}", f"--segmentation_image={case / 'seg.png'}"]
        return [f"--project={case / 'project.ilp'}", *images]
