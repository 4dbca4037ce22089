"""Training of forests: pixelforest beside scikit-learn, and beside vigra's recorded times.

Features are the 49 columns of all of ilastik's filters on a generated picture of cells, the samples random pixels of
it, with clean labels or with a twentieth of them wrong. Times are CPU seconds, since vigra's were recorded so, and wall
seconds. Variants of the kernel (200 000 samples, clean / a twentieth wrong, CPU ms a tree):
    keys of 64 bits gathered for each column                   120 / 930
    ranks and loads gathered apart, unsigned indices            77 / 795
    rows of ranks for nodes whose members are scattered         70 / 580
Bins of 4 to 32 samples, 256 to 2048 bins: no difference beyond noise.
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
QUICK = 5_000

Result = TypeVar("Result")


def make_samples(count: int, wrong: float, features: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(count)
    chosen = np.sort(rng.choice(len(features), count, replace=False))
    labels = inside[chosen].astype(np.int64) + 1
    is_wrong = rng.random(count) < wrong
    labels[is_wrong] = 3 - labels[is_wrong]
    return features[chosen], labels


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
        return
    side = 256 if options.quick else 1024
    image, inside = make_cells((1, side, side), seed=1)
    features = all_features(image, 2).reshape(side * side, -1)
    train_forests(features[:500], np.arange(500) % 2, trees=(1,))  # compiles
    for (count, wrong), recorded in cases.items():
        matrix, labels = make_samples(count, wrong, features, inside.reshape(-1) > 0)
        forests = tuple([5] * (options.trees // 5)) or (options.trees,)
        train = partial(train_forests, matrix, labels, trees=forests, threads=options.threads)
        found, cpu, wall = timed(train)
        trees = sum(forests)
        ints = np.mean([len(topology) for forest in found for topology, _ in forest.trees])
        print(
            f"{count:7d} samples, {wrong:3.0%} wrong, {trees} trees of {ints:.0f} ints: "
            f"pixelforest {1000 * cpu / trees:7.1f} CPU ms a tree, {wall:6.2f} s wall; "
            f"vigra (recorded) {recorded:5d} CPU ms a tree; {by_scikit_learn(matrix, labels, trees, options.threads)}",
            flush=True,
        )


if __name__ == "__main__":
    main()
