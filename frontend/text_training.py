"""Report of a training as text."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from typing import Any

from pixelforest.engine.training.cross_validation import CrossValidation
from pixelforest.engine.training.kinds import Trained
from pixelforest.engine.training.stage import TrainedStage

SHOWN_FEATURES = 5


def describe_training(trained: Trained) -> str:
    """Format samples, forests and their errors, for each stage."""
    stages: Sequence[TrainedStage[Any]] = trained.stages
    if len(stages) == 1:
        return _describe_stage(stages[0])
    return "\n".join(f"stage {k}: {_describe_stage(stage)}" for k, stage in enumerate(stages, 1))


def _describe_stage(trained: TrainedStage[Any]) -> str:
    classifier, counts = trained.classifier, trained.samples_per_class
    names = classifier.label_names
    width, forests = max(map(len, names)), len(trained.forests)
    lines = [
        f"{len(trained.samples.labels)} labelled {trained.unit}s, {trained.forests[0].columns} features",
        *(f"  {name:{width}}  {count}" for name, count in zip(names, counts, strict=True)),
        f"{classifier.tree_count} trees in {forests} forest{'s' * (forests > 1)}, seed {trained.settings.seed}",
        f"out-of-bag error {trained.out_of_bag_error:.2%}",
        "features that decrease Gini's impurity most:",
    ]
    shares = trained.gains / (trained.gains.sum() or 1.0)
    best = (-shares).argsort(kind="stable")[:SHOWN_FEATURES].tolist()
    columns = classifier.feature_names or ()
    lines += [f"  {shares[k]:6.1%}  {columns[k]}" for k in best]
    if trained.validation is not None:
        lines += _describe_validation(trained.validation, trained.unit)
    return "\n".join(lines)


def _describe_validation(found: CrossValidation, unit: str) -> Sequence[str]:
    """Format the confusion matrix, and the accuracy of every image."""
    rows = [
        ["label", *found.names, "recall"],
        *(
            [name, *map(str, counts), _percent(recall)]
            for name, counts, recall in zip(found.names, found.total.tolist(), found.recall.tolist(), strict=True)
        ),
        ["precision", *map(_percent, found.precision.tolist()), _percent(found.accuracy)],
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    counts = found.confusion.sum(axis=(1, 2)).tolist()
    return [
        f"cross-validation: {found.accuracy:.2%} of the labelled {unit}s are classified rightly by trees of the other "
        "images",
        *(f"  {line}" for line in table),
        *(
            f"  {_percent(share)} of {count} in {image}"
            for share, count, image in zip(found.accuracy_by_image.tolist(), counts, found.images, strict=True)
        ),
    ]


def _percent(share: float) -> str:
    return "-" if isnan(share) else f"{share:.1%}"
