"""Workbench of the forest kernels: compares them with Python, then times block shapes on features in place.

Variants tried, with results (million voxels a second on 2 shared cores, 100 trees in two forests; the first three
rows 57 nodes a tree, 49 columns; then 87 nodes, 61 columns):
- 8x8 voxels traverse a tree at once, one mask a node: 4.6 with 6.9 visits a tree and block; in use for flat images
- the same, 4x16: 3.9 with 7.1 visits; 1x64: 2.1 with 9.9, since neighbours along a line agree less
- every voxel alone, 8 of them interleaved to hide latency: 0.75
- 4x4x4 voxels at once: 3.1 with 6.8 visits; in use for volumes. 1x8x8: 2.3 with 7.0; 1x1x64: 1.8 with 10.6
- 8 volume voxels interleaved: 0.59
- deep trees from contradictory labels (651 leaves) split the masks: 0.29 with 100 visits, interleaved 0.10
Then, in CPU nanoseconds a voxel on one core, compared with masks and bounds, both in whole tiles (2-D 330, 3-D 500):
- open nodes of four blocks found by traversal, then evaluated without branches: 230 to 490, mispredictions remain
- all comparisons column by column, all choices tree by tree, no pruning: 205 to 270
- the same, pruned by a bundle's bounds without branches, bundles of 4 blocks: 340 to 460; of 16: 170 to 250; of 32,
  which is in use: 195 in 2-D, 280 in 3-D, of which 10 to 70 are pruning
- pruning by a queue of the nodes that some voxel may reach, of all trees at once: 34 cycles a node, since every load
  waits for the addresses of the stores before it; over all nodes, limits first, 8 cycles a node, in use
- bounds of blocks recorded while a column is copied to the stack, instead of in a pass over the stack: no difference
- half of a row's comparisons as signs of subtractions, on the processor's other ports: 4.4 to 3.7 ns
  a row alone on a Zen 1, 107 to 105 ns a voxel for all answers of a forest; not worth excluding infinite limits for
- packing a comparison's bits within the halves of AVX2's vectors: 4.3 ns a row of 64 instead of 7.2
- nodes that compare a column with the same limit share its answers (7 to 9 % of the nodes here, up to half in small
  projects): comparisons 3 % fewer instructions, pruning 15 % more, together 0.5 %; not worth it here
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import h5py
import numpy as np
from cases import Case, chosen_cases, list_cases, make_parser, parse
from data import Material, prepare
from measure import Limits, Report, measure_limits, time_work, usable_processors
from walks import (
    BLOCK,
    ArrangedStack,
    Shape,
    arrange,
    predict_stack,
    predict_stack_mixed,
    rows_in_blocks,
    visits_per_block,
)

from pixelforest.box import Box
from pixelforest.engine.inputs.images import open_image
from pixelforest.engine.inputs.lanes import InputOptions
from pixelforest.engine.pixels.feature_plan import plan_features
from pixelforest.engine.project import Project
from pixelforest.kernels import load
from pixelforest.kernels.contract import FeaturePlan, ForestArrays
from pixelforest.kernels.shared.nodes import PackedForest, pack_forest

BLOCKS: dict[int, tuple[Shape, ...]] = {
    2: ((1, 8, 8), (1, 4, 16), (1, 16, 4), (1, 2, 32), (1, 1, 64)),
    3: ((4, 4, 4), (2, 4, 8), (1, 8, 8), (1, 1, 64)),
}
MAX_VOXELS = 1 << 19  # features of more do not fit the memory of a small machine
CHECKED_ROWS = 40  # predicted in Python


def main(words: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__, defaults=("2d-512", "3d-64"), quick=("2d-quick",))
    options = parse(parser, words)
    cases = chosen_cases(options)
    if options.dry_run:
        list_cases(cases)
        return 0
    threads = options.threads or usable_processors()
    report = Report("kernels/forest", options.json)
    limits = [measure_limits(n, quick=options.quick) for n in sorted({1, threads})]
    for limit in limits:
        report.note(limit.describe())
    for case in cases:
        _measure(report, case, prepare(case, options), limits, repeats=options.repeats or (1 if options.quick else 5))
    return 0


def load_forests(project: Project) -> PackedForest:
    """Load the project's forests as the backend packs them."""
    return pack_forest(stored_forests(project))


def stored_forests(project: Project) -> list[ForestArrays]:
    """Read the project's forests as a backend takes them."""
    c = project.classifier
    return [ForestArrays(f.trees, f.class_count, f.is_weighted, c.averages) for f in c.forests]


def load_volume(material: Material, *, largest: int = MAX_VOXELS) -> tuple[np.ndarray, FeaturePlan]:
    """Read the first image (c, z, y, x), cropped to a size that fits the memory, and the project's feature plan."""
    training = material.project.lanes[-1].images.get("Raw Data") if material.project.lanes else None
    with open_image(material.images[0], role_index=0, training=training, options=InputOptions()) as image:
        shape, channels = list(image.shape[1:4]), image.shape[4]
        while np.prod(shape) > largest:
            longest = shape.index(max(shape))
            shape[longest] //= 2
        box = Box((0,) * 5, (1, *shape, channels))
        volume = image.read(box)[0].transpose(3, 0, 1, 2)
    return volume, plan_features(material.project.features, channels=channels, depth=shape[0])


def load_features(material: Material, *, largest: int = MAX_VOXELS) -> np.ndarray:
    """Compute features (z, y, x, f) of the same part."""
    volume, plan = load_volume(material, largest=largest)
    backend = load("cpu")
    z, y, x = volume.shape[1:]
    loaded = backend.pixels.load_plan(plan)
    stack = backend.pixels.feature_stack(
        backend.pixels.to_device(volume), (0, 0, 0), ((0, 0, 0), (z, y, x)), (z, y, x), loaded
    )
    return np.asarray(backend.pixels.to_host(backend.pixels.features(stack)))


def _measure(report: Report, case: Case, material: Material, limits: Sequence[Limits], *, repeats: int) -> None:
    forest = load_forests(material.project)
    features = load_features(material)
    trees = len(forest.roots)
    report.begin(
        f"{case.name}: {trees} trees of {len(forest.records) / trees:.0f} nodes, depth {forest.depth}, "
        f"{features.shape[3]} columns, {'pure' if forest.is_pure else 'mixed'} leaves",
        name=case.name,
        shape=features.shape,
        checksum=material.checksum,
        project=str(material.project.path),
    )
    shapes = BLOCKS[2 if features.shape[0] == 1 else 3]
    _check(report, material.project, features, forest, shapes[0])
    for shape in shapes:
        stack = arrange(features, shape)
        visits, _ = visits_per_block(stack, forest)
        for limit in limits:
            _time_walk(report, stack, forest, visits, limit, repeats=repeats)
        if forest.is_pure and shape == shapes[0]:
            _time_general(report, stack, forest, repeats=repeats)


def _time_walk(
    report: Report, stack: ArrangedStack, forest: PackedForest, visits: float, limits: Limits, *, repeats: int
) -> None:
    parts = [stack.share(i, limits.threads) for i in range(limits.threads)]
    with ThreadPoolExecutor(limits.threads) as pool:
        timing = time_work(lambda: list(pool.map(lambda p: predict_stack(p, forest), parts)), repeats=repeats)
    compared = visits * stack.voxels  # a visit compares each of the block's voxels
    gigabytes = 4 * compared / timing.median / 1e9
    each = visits / len(forest.roots)
    report.row(
        f"blocks {'x'.join(map(str, stack.block))}",
        timing,
        settings=f"{limits.threads} thread{'s' if limits.threads > 1 else ''}",
        voxels=stack.voxels,
        floor=limits.floor(operations=compared),
        note=f"{each:.1f} visits a tree and block; {gigabytes:.1f} of {limits.cache / 1e9:.0f} GB/s",
        visits=visits,
    )


def _time_general(report: Report, stack: ArrangedStack, forest: PackedForest, *, repeats: int) -> None:
    out = np.empty((len(stack.values), stack.blocks, BLOCK, forest.classes), np.float32)
    timing = time_work(partial(predict_stack_mixed, stack, forest, out), repeats=repeats)
    name = f"blocks {'x'.join(map(str, stack.block))}, any leaves"
    report.row(name, timing, settings="1 thread", voxels=stack.voxels, note="the kernel for leaves that are not pure")
    if not np.array_equal(out, predict_stack(stack, forest)):
        raise SystemExit("the kernel for pure leaves and the one for any leaves disagree")


def _check(report: Report, project: Project, features: np.ndarray, forest: PackedForest, block: Shape) -> None:
    """Compare a few voxels with a traversal of the stored arrays in Python. Ends the bench if a bit differs."""
    stack = arrange(features, block)
    rows = rows_in_blocks(features, block)[: stack.voxels]
    found = predict_stack(stack, forest).reshape(-1, forest.classes)
    chosen = np.linspace(0, len(rows) - 1, CHECKED_ROWS).astype(int)
    reference = _load_reference()
    answers, counts = [], []
    with h5py.File(project.path, "r") as file:
        stored = file["PixelClassification/ClassifierForests"]
        for group in [stored[name] for name in sorted(stored) if name.startswith("Forest")]:
            names = sorted(n for n in group if not n.startswith("_"))[: int(group["_options/tree_count_"][0])]
            trees = [(group[f"{n}/topology"][()], group[f"{n}/parameters"][()]) for n in names]
            is_weighted = bool(group["_options/predict_weighted_"][0])
            answers.append(reference.predict_forest(trees, rows[chosen], is_weighted=is_weighted))
            counts.append(len(trees))
    if not np.array_equal(reference.predict(answers, counts), found[chosen]):
        raise SystemExit("the forest kernel and the reference disagree")
    report.note(f"{CHECKED_ROWS} voxels equal the reference in every bit")


def _load_reference() -> ModuleType:
    path = Path(__file__).resolve().parents[2] / "testing" / "reference" / "forest.py"
    spec = spec_from_file_location("reference_forest", path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path} is missing")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    sys.exit(main())
