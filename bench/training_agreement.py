"""Agreement of classifiers trained here with those that ilastik trained from the same labels.

ilastik seeds its forests from the clock, so that two of its own trainings agree only statistically. Each recorded
project holds one forest of ilastik's. It is compared with forests of several seeds trained here, by probabilities of
the whole training image: if both trainers draw from the same distribution, a forest of ilastik's differs from one
trained here as two trained here do from each other. For two projects the spread of ilastik's own retrainings is known
(five each, all ten pairs), which is the stricter comparison.
"""

from __future__ import annotations

import argparse
import logging
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import combinations
from pathlib import Path

import numpy as np

from pixelforest.box import Box
from pixelforest.engine.arrays.model import Model
from pixelforest.engine.axes import CANONICAL
from pixelforest.engine.project import Project
from pixelforest.engine.project.pixel_project import RAW
from pixelforest.engine.training.kinds import train_project_file
from pixelforest.engine.training.samples import open_training_images
from pixelforest.engine.training.stage import TrainingSettings
from pixelforest.engine.workflows import read_project

GOLDEN = Path(__file__).resolve().parents[1] / "tests" / "golden"
CASES = (
    "px2d_gray", "px2d_rgb", "px2d_big", "px3d", "px3d_mixed", "px2dt", "px2d_mask", "px2d_gray16_partial",
    "autocontext_2d",
)  # fmt: skip
MEMORY = 1 << 32


@dataclass(frozen=True)
class Spread:
    """Mean and range over pairs of forests."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(float(np.mean(values)), min(values), max(values))


@dataclass(frozen=True)
class Pairs:
    """Comparison of pairs of forests: mean difference of a probability, and share of pixels of the same class."""

    difference: Spread
    agreement: Spread

    def __str__(self) -> str:
        a, d = self.agreement, self.difference
        return f"{a.mean:.2%} ({a.low:.2%}-{a.high:.2%}) | {d.mean:.5f} ({d.low:.5f}-{d.high:.5f})"


# Five retrainings of ilastik 1.4.3.dev28 each.
OF_ILASTIK = {
    "px2d_gray": Pairs(Spread(0.0060, 0.0050, 0.0066), Spread(0.9977, 0.9974, 0.9980)),
    "bench2d_2048": Pairs(Spread(0.0063, 0.0060, 0.0067), Spread(0.9956, 0.9952, 0.9960)),
}


def predict(project: Project, threads: int) -> np.ndarray:
    """Predict the probabilities of the first training image."""
    with open_training_images(project, RAW, [0], ()) as images:
        voxels = images[0].read(Box.whole(images[0].shape))
    model = Model(project, device="cpu", threads=threads, memory=MEMORY)
    return np.asarray(model.predict(voxels, axes=CANONICAL))


def compare(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> Pairs:
    differences, agreements = [], []
    for a, b in pairs:
        differences.append(float(np.abs(a - b).mean()))
        agreements.append(float((a.argmax(axis=-1) == b.argmax(axis=-1)).mean()))
    return Pairs(Spread.of(differences), Spread.of(agreements))


def measure(path: Path, name: str, seeds: int, threads: int) -> None:
    recorded = predict(read_project(path), threads)
    trained = []
    for k in range(seeds):
        settings = TrainingSettings(seed=1 + 1000 * k)
        found = train_project_file(path, settings, threads=threads, memory_bytes=MEMORY)
        trained.append(predict(found.project, threads))
    own, other = compare(combinations(trained, 2)), compare((each, recorded) for each in trained)
    bias = np.abs((np.mean(trained, axis=0) - recorded).reshape(-1, recorded.shape[-1]).mean(axis=0)).max()
    known = OF_ILASTIK.get(name)
    rows = [("two of pixelforest", own), ("pixelforest and ilastik", other)]
    rows += [] if known is None else [("two of ilastik, recorded", known)]
    for label, pairs in rows:
        print(f"| {name} | {label} | {pairs} | {'' if pairs is not other else f'{bias:.5f}'} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", choices=CASES, help="one of the recorded projects; repeatable")
    parser.add_argument("--project", action="append", type=Path, default=[], help="another project trained by ilastik")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="one small project, three seeds")
    parser.add_argument("--dry-run", action="store_true", help="list the projects")
    options = parser.parse_args()
    names = options.case or (CASES[:1] if options.quick else () if options.project else CASES)
    projects = {name: GOLDEN / name / "project.ilp" for name in names} | {each.stem: each for each in options.project}
    if options.dry_run:
        print(*projects, sep="\n")
        return
    logging.getLogger("pixelforest").setLevel(logging.ERROR)  # classes without labels are warned of in every training
    seeds = 3 if options.quick else options.seeds
    print(f"{seeds} seeds, {date.today()}, {platform.machine()}\n")
    print("| project | pairs | the same class | mean difference of a probability | mean error of a class |")
    print("|---|---|---|---|---|")
    for name, path in projects.items():
        measure(path, name, seeds, options.threads)


if __name__ == "__main__":
    main()
