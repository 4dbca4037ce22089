"""Report of a training as text."""

from __future__ import annotations

from pixelforest.engine.training.pixel_training import TrainedPixels


def describe_training(trained: TrainedPixels) -> str:
    """Format samples, forests and their errors."""
    classifier, counts = trained.project.classifier, trained.samples_per_class
    names = classifier.label_names
    width = max(map(len, names))
    lines = [
        f"{len(trained.samples.labels)} labelled pixels, {trained.forests[0].columns} features",
        *(f"  {name:{width}}  {count}" for name, count in zip(names, counts, strict=True)),
        f"{classifier.tree_count} trees in {len(trained.forests)} forests, seed {trained.settings.seed}",
        f"out-of-bag error {trained.out_of_bag_error:.2%}",
    ]
    return "\n".join(lines)
