"""Report of a training as a JSON document: ``--report_json`` of ``train``. Its fields: ``docs/training.md``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import isnan
from pathlib import Path
from typing import Any

from pixelforest import __version__
from pixelforest.engine.errors import setting
from pixelforest.engine.public_text import public_document
from pixelforest.engine.storage.atomic_write import check_file_place, write_text_file
from pixelforest.engine.terminal_text import printable_json
from pixelforest.engine.training.cross_validation import CrossValidation
from pixelforest.engine.training.kinds import Trained
from pixelforest.engine.training.stage import TrainedStage

SCHEMA = "pixelforest/training/1"
OPTION = setting("report_json")


class TrainingReport:
    """File that the report of a training is written to.

    name   as typed; None: no report. Raises ExportError if it cannot be written
    """

    def __init__(self, name: str | None) -> None:
        self._path = None if name is None else Path(name).expanduser().absolute()
        if self._path is not None:
            check_file_place(self._path, OPTION, begins=b"{")

    def write(self, trained: Trained) -> None:
        """Put the file in place. Raises ExportError."""
        if self._path is not None:
            document = {
                "schema": SCHEMA,
                "version": __version__,
                "stages": [_describe_stage(stage) for stage in trained.stages],
            }
            text = json.dumps(public_document(document), indent=2, ensure_ascii=False, allow_nan=False)
            write_text_file(self._path, printable_json(text) + "\n", OPTION, begins=b"{")


def _describe_stage(trained: TrainedStage[Any]) -> Mapping[str, Any]:
    classifier, gains = trained.classifier, trained.gains.tolist()
    importance = trained.importance.tolist() if trained.settings.permutes else [None] * len(gains)
    return {
        "unit": trained.unit,
        "samples": len(trained.samples.labels),
        "classes": [
            {"name": name, "samples": count}
            for name, count in zip(classifier.label_names, trained.samples_per_class, strict=True)
        ],
        "seed": trained.settings.seed,
        "forests": len(trained.forests),
        "trees": classifier.tree_count,
        "out_of_bag_error": _number(trained.out_of_bag_error),
        "features": [
            {"name": name, "gini": gain, "importance": shares}
            for name, gain, shares in zip(classifier.feature_names or (), gains, importance, strict=True)
        ],
        "cross_validation": None if trained.validation is None else _describe_validation(trained.validation),
    }


def _describe_validation(found: CrossValidation) -> Mapping[str, Any]:
    images = zip(found.images, found.confusion.tolist(), found.accuracy_by_image.tolist(), strict=True)
    return {
        "confusion": found.total.tolist(),
        "accuracy": found.accuracy,
        "recall": _numbers(found.recall.tolist()),
        "precision": _numbers(found.precision.tolist()),
        "images": [
            {"name": name, "confusion": confusion, "accuracy": _number(accuracy)}
            for name, confusion, accuracy in images
        ],
    }


def _numbers(values: Sequence[float]) -> Sequence[float | None]:
    return [_number(value) for value in values]


def _number(value: float) -> float | None:
    return None if isnan(value) else value
