"""Every command of docs/objects.md runs, on files of the names it uses."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from pixelforest import cli

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"
# Name in the page -> recorded file.
FILES = {
    "from_binary.ilp": "obj2d_seg/project.ilp",
    "cells.png": "obj2d_seg/raw.png",
    "cells_segmentation.png": "obj2d_seg/seg.png",
    "from_maps.ilp": "obj2d_pred/project.ilp",
    "maps_raw.h5": "obj2d_pred/raw.h5",
    "maps.h5": "obj2d_pred/pred.h5",
    "from_labels.ilp": "obj2d_label/project.ilp",
    "labels_raw.h5": "obj2d_label/raw.h5",
    "labels.h5": "obj2d_label/labels.h5",
    "pixels_and_objects.ilp": "pcoc2d/project.ilp",
    "plain.png": "pcoc2d/raw.png",
}
# The first word of a command's project -> what it writes.
WRITTEN = {
    "from_binary.ilp": ["objects.csv"],
    "from_maps.ilp": ["objects.h5"],
    "from_labels.ilp": ["labels_raw-data_Object Identities.h5", "labels_raw-data_Object Predictions.h5"],
    "pixels_and_objects.ilp": ["plain-object-prediction-img.h5", "plain-pixel-probability-img.h5"],
}
COMMANDS = [
    shlex.split(block.replace("\\\n", " "))
    for block in re.findall(r"```\n(pixelforest .*?)```", (ROOT / "docs" / "objects.md").read_text("utf-8"), re.DOTALL)
]


def test_the_page_has_an_example_for_each_workflow() -> None:
    assert [words[1].removeprefix("--project=") for words in COMMANDS] == list(WRITTEN)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("words", COMMANDS, ids=[words[1].removeprefix("--project=") for words in COMMANDS])
def test_an_example_writes_what_the_page_says(words: list[str], work_folder: Path) -> None:
    for name, source in FILES.items():
        shutil.copy(GOLDEN / source, name)
    assert cli.main(words[1:]) == 0
    found = sorted(path.name for path in Path("results").iterdir())
    assert found == WRITTEN[words[1].removeprefix("--project=")]
