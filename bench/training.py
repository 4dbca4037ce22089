"""Training of forests: pixelforest beside scikit-learn, and beside vigra's recorded times.

Features are the 49 columns of all of ilastik's filters on a generated picture of cells, the samples random pixels of
it, with clean labels or with a twentieth of them wrong. Times are CPU seconds, since vigra's were recorded so, and wall
seconds. Variants of the kernel (200 000 samples, clean / a twentieth wrong, CPU ms a tree):
    keys of 64 bits gathered for each column                   120 / 930
    ranks and loads gathered apart, unsigned indices            77 / 795
    rows of ranks for nodes whose members are scattered         70 / 580
Bins of 4 to 32 samples, 256 to 2048 bins: no difference beyond noise. Three and more classes (CPU ms a tree of 20 000
objects with 3 / 6 / 10 classes, and of 100 000 samples of 49 features with 3):
    squares of counts bounded by lines: nearly every bin is sorted          209 / 215 / 257, 761
    all arrangements of the bin's classes, up to twice its samples           94 / 115 / 149, 359
    the same, and cuts compared by two divisions before the exact loss      112 / -   / -
Objects: one forest, so one thread, as in ilastik.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import numpy as np
from data import all_features, make_cells

from pixelforest.engine.training.forest import train_forests

# Samples, share of wrong labels -> CPU ms a tree of vigra 1.12.1 in one thread, on real features of the same kind.
CASES = {(5_000, 0.0): 14, (20_000, 0.0): 99, (20_000, 0.05): 331, (200_000, 0.0): 2370, (200_000, 0.05): 9610}
OBJECTS, COLUMNS, CLASSES = 20_000, 171, 3  # of a table of objects
QUICK = 5_000

Result = TypeVar("Result")


def make_samples(count: int, wrong: float, features: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(count)
    chosen = np.sort(rng.choice(len(features), count, replace=False))
    labels = inside[chosen].astype(np.int64) + 1
    is_wrong = rng.random(count) < wrong
    labels[is_wrong] = 3 - labels[is_wrong]
    return features[chosen], labels


def make_objects() -> tuple[np.ndarray, np.ndarray]:
    """Columns that mix a few hidden properties, as those of objects do; a twentieth of the labels are wrong."""
    rng = np.random.default_rng(3)
    labels = rng.integers(0, CLASSES, OBJECTS)
    hidden = rng.normal(size=(OBJECTS, 12)) + rng.normal(size=(CLASSES, 12))[labels]
    features = hidden @ rng.normal(size=(12, COLUMNS)) + rng.normal(size=(OBJECTS, COLUMNS))
    is_wrong = rng.random(OBJECTS) < 0.05
    labels[is_wrong] = rng.integers(0, CLASSES, is_wrong.sum())
    return features.astype(np.float32), labels + 1


def timed(action: Callable[[], Result]) -> tuple[Result, float, float]:
    """Result, CPU and wall seconds."""
    cpu, wall = time.process_time(), time.perf_counter()
    found = action()
    return found, time.process_time() - cpu, time.perf_counter() - wall


def by_scikit_learn(features: np.ndarray, labels: np.ndarray, trees: int, threads: int) -> str:
    try:
        from sklearn.ensemble import RandomForestClassifier
    except ImportError:
        return "scikit-learn is not installed"
    peer = RandomForestClassifier(trees, max_features=round(features.shape[1] ** 0.5), n_jobs=threads, random_state=1)
    _, cpu, wall = timed(lambda: peer.fit(features, labels))
    return f"scikit-learn {1000 * cpu / trees:7.1f} CPU ms a tree, {wall:6.2f} s wall"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trees", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="only the smallest case")
    parser.add_argument("--dry-run", action="store_true", help="list the cases")
    options = parser.parse_args()
    cases = {case: ms for case, ms in CASES.items() if not options.quick or case[0] <= QUICK}
    if options.dry_run:
        print(*(f"{count} samples, {wrong:.0%} wrong" for count, wrong in cases), sep="\n")
        if not options.quick:
            print(f"{OBJECTS} objects")
        return
    side = 256 if options.quick else 1024
    image, inside = make_cells((1, side, side), seed=1)
    features = all_features(image, 2).reshape(side * side, -1)
    train_forests(features[:500], np.arange(500) % 2, trees=(1,))  # compiles
    split = tuple([5] * (options.trees // 5)) or (options.trees,)
    for (count, wrong), recorded in cases.items():
        samples = make_samples(count, wrong, features, inside.reshape(-1) > 0)
        compare(f"{count} samples, {wrong:3.0%} wrong", *samples, split, options.threads, vigra=f"{recorded:5d}")
    if not options.quick:
        name = f"{OBJECTS} objects of {COLUMNS} features, {CLASSES} classes"
        compare(name, *make_objects(), (options.trees,), options.threads, vigra="-")


def compare(
    name: str, matrix: np.ndarray, labels: np.ndarray, forests: tuple[int, ...], threads: int, *, vigra: str
) -> None:
    """Print a row."""
    found, cpu, wall = timed(partial(train_forests, matrix, labels, trees=forests, threads=threads))
    trees = sum(forests)
    ints = np.mean([len(topology) for forest in found for topology, _ in forest.trees])
    print(
        f"{name}, {trees} trees of {ints:.0f} ints: pixelforest {1000 * cpu / trees:7.1f} CPU ms a tree, {wall:6.2f} s "
        f"wall; vigra (recorded) {vigra} CPU ms a tree; {by_scikit_learn(matrix, labels, trees, threads)}",
        flush=True,
    )


if __name__ == "__main__":
    main()
