"""ilastik's table of the importance of features: ``varimp.txt`` in a folder, ``varimp_2.txt`` for a second stage."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import setting
from ..storage.atomic_write import check_file_place, write_text_file
from .stage import TrainedStage

NAME = "varimp.txt"
_OPTION = setting("variable_importance_path")
_BEGINS = b"Feature Name"

logger = logging.getLogger("pixelforest.training")


def check_table_place(folder: Path) -> None:
    """Raise the ExportError that writing the table would end with, as far as it is known before."""
    check_file_place(folder / NAME, _OPTION, begins=_BEGINS)


def write_importance(stages: Sequence[TrainedStage[Any]], folder: Path) -> None:
    """Write the table of each stage. Raises ExportError."""
    for number, trained in enumerate(stages, 1):
        path = folder / (NAME if number == 1 else f"varimp_{number}.txt")
        write_text_file(path, _as_table(trained), _OPTION, begins=_BEGINS)
        logger.info("Wrote %s", path)


def _as_table(trained: TrainedStage[Any]) -> str:
    """Format the features by their overall importance, the most important one last."""
    importance, gains = trained.importance, trained.gains
    classes = [f"Class #{k}" for k in range(importance.shape[1])]
    overall = importance.sum(axis=1)
    lines = [", ".join(["Feature Name", *classes, "Overall", "Gini"])]
    names = trained.classifier.feature_names or ()
    for row in np.argsort(overall, kind="stable").tolist():
        numbers = [*importance[row].tolist(), overall[row], gains[row]]
        lines.append(", ".join([names[row], *(f"{number:.7f}" for number in numbers)]))
    return "\n".join(lines) + "\n"
