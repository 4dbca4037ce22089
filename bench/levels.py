"""CPU kernels compiled for x86-64-v3 (AVX2) and x86-64-v4 (AVX-512), compared: bits of all results, and times.

The units are compiled from the present sources as for the package, once for each level: v3; v4 with vectors of 512
bits; v4 that prefers 256 bits in loops that LLVM vectorises. Representative work is run once, and the longest call of
each kernel is kept with copies of its arguments. These calls are repeated on all libraries in turn, and their arrays
compared bit by bit. A kernel is worth keeping for v4 if it gains KEPT or more with equal results.

Without AVX-512, or with --static, machine code is compared instead, which binutils disassembles: instructions of each
unit and of its innermost loops, multiply-adds and approximations that v3 does not have, which would change results, and
with --llvm-mca=FILE cycles of the innermost loops of HOT.
"""

from __future__ import annotations

import copy
import ctypes
import json
import shlex
import statistics
import sys
import tempfile
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from build_levels import LEVELS, link_library, object_files
from cases import CASES, make_parser, parse
from data import all_features, make_cells, prepare
from kernels.forest import stored_forests
from measure import Report
from objects_run import SPACING
from objects_run import prepare as prepare_objects
from stages import cut_piece
from training import make_samples
from x86_code import KINDS, Function, count, cycles, find_new_rounding, read_functions

from pixelforest.cli import main as command_line
from pixelforest.engine.training.forest import train_forests
from pixelforest.kernels.cpu import loader
from pixelforest.kernels.cpu.signatures import ENTRIES, MAX_RESULTS, Entry, all_units

KEPT = 1.10
FLAGS = {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}  # as /proc/cpuinfo names them
# Functions whose loops take most of the time of pixel classification, by unit.
HOT = {
    "features": ("symmetric_sum", "native.derive_cell"),
    "predict_pure": ("find_bounds", "find_open", "answer_comparisons", "vote_together"),
    "predict_mixed": ("predict_mixed",),
}
MODELS = ("znver4", "sapphirerapids")
# Positions of arguments that hold scratch, in an order of bits that depends on the level.
SCRATCH = {"predict_tile_pure": {11}, "predict_rows_pure": {3}}
GOLDEN = Path(__file__).resolve().parents[1] / "tests" / "golden"
# Recorded projects whose work is run: smoothing, both hysteresis thresholds, labels and sizes; objects in 3-D.
RECORDED = ("obj2d_pred_hyst", "obj2d_pred_ipht", "obj2d_label", "obj3d_seg")
MAX_CALLS, MAX_BYTES = 40, 1 << 28  # of a kernel, of which copies are made; of one call's arrays


@dataclass
class Recorder:
    """Longest call of each kernel in some work: seconds and arguments, as they were before the call."""

    longest: dict[str, tuple[float, tuple[Any, ...]]] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)

    def call(self, plain: Callable[..., Any], kernel: loader.Kernel, arguments: tuple[Any, ...]) -> Any:
        name = kernel._entry.name
        self.calls[name] = self.calls.get(name, 0) + 1
        if self.calls[name] > MAX_CALLS or sum(each.nbytes for each in _arrays(arguments)) > MAX_BYTES:
            return plain(kernel, *arguments)
        before = copy.deepcopy(arguments)
        start = time.perf_counter()
        result = plain(kernel, *arguments)
        seconds = time.perf_counter() - start
        if seconds > self.longest.get(name, (0.0,))[0]:
            self.longest[name] = seconds, before
        return result


@dataclass(frozen=True)
class Row:
    """Times of a call in nanoseconds by level, and the levels whose results differ from those of v3."""

    work: str
    entry: Entry
    times: dict[str, list[int]]
    differs: frozenset[str]

    def gain(self, level: str, statistic: Callable[[list[int]], float] = statistics.median) -> float:
        return statistic(self.times["v3"]) / statistic(self.times[level])

    def is_kept(self, level: str) -> bool:
        """Return True if the results are equal, and median and minimum both gain enough."""
        return level not in self.differs and min(self.gain(level), self.gain(level, min)) >= KEPT


def main(words: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__, defaults=("2d-512", "3d-64"), quick=("2d-quick",))
    parser.add_argument("--static", action="store_true", help="compare machine code only")
    parser.add_argument("--unit", action="append", choices=all_units(), help="--static: only this one; repeatable")
    parser.add_argument("--llvm-mca", type=Path, metavar="FILE", help="--static: model cycles of the hottest loops")
    parser.add_argument("--level", action="append", choices=[*LEVELS][1:], help="compare with v3; default: both")
    options = parse(parser, words)
    levels = ("v3", *(options.level or [*LEVELS][1:]))
    if options.dry_run:
        print(f"{', '.join(levels)}: {len(ENTRIES)} kernels in {len(all_units())} units")
        return 0
    report = Report("levels", options.json)
    lacks = _missing_flags()
    if lacks or options.static:
        report.note(
            f"this processor lacks {', '.join(sorted(lacks))}: nothing is timed" if lacks else "nothing is timed"
        )
        return compare_code(report, levels, options.unit or all_units(), options.llvm_mca)
    return compare_calls(report, levels, options)


def _missing_flags() -> set[str]:
    """Flags of AVX-512 that this processor lacks, or the system does not tell."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return FLAGS
    return FLAGS - set(next((line.split() for line in text.splitlines() if line.startswith("flags")), []))


def compare_calls(report: Report, levels: Sequence[str], options: Any) -> int:
    """Time the kernels of all levels, and compare their results."""
    report.case = {"name": "levels"}
    report.note(f"longest call of each kernel; kept: {KEPT:.2f} times as fast or more, and equal\n")
    print(f"| kernel | {' | '.join(f'{name} ns' for name in levels)} | gain | equal | kept |")
    print(f"|{'---|' * (len(levels) + 4)}")
    rows, called = [], set[str]()
    with tempfile.TemporaryDirectory(prefix="pixelforest-bench-") as name:
        libraries = {}
        for level in levels:
            Path(name, level).mkdir()
            libraries[level] = ctypes.CDLL(str(link_library(level, Path(name, level))))
        for work, recorder in record_work(options):
            called |= recorder.calls.keys()
            for kernel, (_, arguments) in recorder.longest.items():
                rows.append(compare_call(work, ENTRIES[kernel], arguments, libraries, quick=options.quick))
                _print_row(report, rows[-1])
    report.note(f"not called by this work: {', '.join(sorted(ENTRIES.keys() - called)) or 'none'}")
    if options.quick:
        report.note("--quick measures too little to decide what is kept")
        return int(any(row.differs for row in rows))
    for level in levels[1:]:
        kept = {row.entry.unit for row in rows if row.is_kept(level)}
        slower = {row.entry.unit for row in rows if row.gain(level) * KEPT < 1}
        report.note(f"{level}: kept by the rule of 10 %: {', '.join(sorted(kept - slower)) or 'no unit'}")
        if kept & slower:
            report.note(f"{level}: with kernels both faster and slower: {', '.join(sorted(kept & slower))}")
    return int(any(row.differs for row in rows))


def record_work(options: Any) -> Iterator[tuple[str, Recorder]]:
    """Run representative work with the package's own library, and record its calls."""
    names = options.case or (options.quick_cases if options.quick else options.default_cases)
    for name in names:
        yield name, _record(lambda name=name: _run_pixels(name, options))
    yield "objects", _record(lambda: _run_rest(options))


def _record(work: Callable[[], None]) -> Recorder:
    recorder, plain = Recorder(), loader.Kernel.__call__
    with patch.object(loader.Kernel, "__call__", lambda kernel, *given: recorder.call(plain, kernel, given)):
        work()
    return recorder


def _run_pixels(name: str, options: Any) -> None:
    """Predict a piece of an image, in tiles and as rows, with its forest and with the same trees of impure leaves."""
    piece, stages = cut_piece(prepare(CASES[name], options))
    pixels = stages.backend.pixels
    stages.assemble(stages.features_and_forest())
    stack = pixels.feature_stack(
        pixels.to_device(piece), (0, 0, 0), ((0, 0, 0), stages.image), stages.image, stages.plan
    )
    impure = [
        replace(
            forest, trees=tuple(replace(tree, probabilities=0.9 * tree.probabilities + 0.05) for tree in forest.trees)
        )
        for forest in stored_forests(stages.project)
    ]
    mixed = pixels.load_forest(impure, use="tiles")
    pixels.predict(stack, mixed)
    rows = np.ascontiguousarray(pixels.features(stack).reshape(-1, stack.plan.width)[: 1 << 14])
    for forest in (stages.forest, mixed):
        pixels.predict_rows(rows, forest)


def _run_rest(options: Any) -> None:
    """Measure and classify objects, run recorded projects, and train forests."""
    options.lanes, options.pixels, options.spacing = 0, False, SPACING
    work = prepare_objects("objects", 49 if options.quick else 1000, options)
    with tempfile.TemporaryDirectory(prefix="pixelforest-bench-") as name:
        command_line(work.arguments(Path(name), 1, None))
    for name in RECORDED:
        _run_recorded(name)
    _run_training(5_000 if options.quick else 20_000)


def _run_recorded(name: str) -> None:
    """Run the first command that was recorded for a project."""
    record = json.loads((GOLDEN / name / "case.json").read_text(encoding="utf-8"))["expected"][0]
    with tempfile.TemporaryDirectory(prefix="pixelforest-bench-") as folder, chdir(GOLDEN / name):
        words = [word.replace("expected/", f"{folder}/") for word in shlex.split(record["command"])[1:]]
        command_line([*words, f"--table_filename={folder}/table.csv", "--threads=1", "--quiet"])


def _run_training(count: int) -> None:
    image, inside = make_cells((1, 256, 256), seed=1)
    features = all_features(image, 2).reshape(inside.size, -1)
    samples = make_samples(count, 0.05, features, inside.reshape(-1) > 0)
    train_forests(*samples, trees=(2,), threads=1, permutes=True)


def compare_call(
    work: str, entry: Entry, arguments: tuple[Any, ...], libraries: dict[str, ctypes.CDLL], *, quick: bool
) -> Row:
    """Repeat a call on all libraries in turn, for about a second."""
    times: dict[str, list[int]] = {level: [] for level in libraries}
    results: dict[str, bytes] = {}
    stop = time.perf_counter() + (0.05 if quick else 1)
    while len(times["v3"]) < 3 or (time.perf_counter() < stop and len(times["v3"]) < 1000):
        for level, opened in libraries.items():
            fresh = copy.deepcopy(arguments)
            elapsed, slots = _call(entry, opened, fresh)
            times[level].append(elapsed)
            compared = [each for i, each in enumerate(fresh) if i not in SCRATCH.get(entry.function, ())]
            results[level] = b"".join(each.tobytes() for each in _arrays(compared)) + slots
    return Row(work, entry, times, frozenset(level for level in results if results[level] != results["v3"]))


def _call(entry: Entry, opened: ctypes.CDLL, arguments: tuple[Any, ...]) -> tuple[int, bytes]:
    """Call a kernel. Returns nanoseconds, and its status with the results."""
    words: list[int] = []
    loader._flatten(entry.arguments, arguments, words)
    slots = array("q", [*words, *[0] * (MAX_RESULTS - len(words)), 0])
    function, address = opened[f"call.{entry.name}"], ctypes.c_void_p(slots.buffer_info()[0])
    start = time.perf_counter_ns()
    status = function(address)
    elapsed = time.perf_counter_ns() - start
    results = 0 if entry.result is None else len(entry.result) if isinstance(entry.result, tuple) else 1
    return elapsed, bytes([status & 255]) + slots[:results].tobytes()


def _arrays(values: Sequence[Any]) -> Iterator[np.ndarray]:
    for value in values:
        if isinstance(value, np.ndarray):
            yield value
        elif isinstance(value, tuple):
            yield from _arrays(value)


def _print_row(report: Report, row: Row) -> None:
    new = [*row.times][1:]
    numbers = " | ".join(f"{statistics.median(times):.0f}" for times in row.times.values())
    gains, kept = (" / ".join(words) for words in (
        [f"{row.gain(level):.2f}" for level in new], [level for level in new if row.is_kept(level)]
    ))  # fmt: skip
    equal = f"NOT THE SAME: {', '.join(sorted(row.differs))}" if row.differs else "yes"
    print(f"| {row.entry.name}, {row.work} | {numbers} | {gains} | {equal} | {kept or 'no'} |", flush=True)
    report.write({"name": row.entry.name, "work": row.work, "ns": row.times, "differs": sorted(row.differs)})


def compare_code(report: Report, levels: Sequence[str], units: Sequence[str], llvm_mca: Path | None) -> int:
    """Compare the machine code of the levels. Returns 1 if a level could have other results than v3."""
    code = {level: object_files(level, units) for level in levels}
    wrong = []
    columns = ("all", "in loops", *KINDS)
    print(f"\n| unit | level | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 2)}")
    hot: list[tuple[str, str, Function]] = []
    for unit in units:
        v3 = read_functions(code["v3"][unit])
        for level in levels:
            functions = v3 if level == "v3" else read_functions(code[level][unit])
            whole = [each for function in functions for each in function.code]
            loops = [each for function in functions for loop in function.loops() for each in loop]
            numbers = [len(whole), len(loops), *(count(whole, kind) for kind in KINDS)]
            print(f"| {unit} | {level} | {' | '.join(map(str, numbers))} |", flush=True)
            report.write({"name": unit, "level": level, **dict(zip(columns, numbers, strict=True))})
            wrong += [f"{unit}, {level}: {problem}" for problem in find_new_rounding(v3, functions)]
            hot += [(unit, level, each) for each in functions if each.name in HOT.get(unit, ())]
    if llvm_mca is not None:
        print_loops(hot, llvm_mca)
    report.note("\n".join(["", *wrong]) if wrong else "\nno level has multiply-adds or approximations that v3 lacks")
    return int(bool(wrong))


def print_loops(hot: Sequence[tuple[str, str, Function]], llvm_mca: Path) -> None:
    """Print instructions and modelled cycles of every innermost loop with vectors."""
    print(f"\n| loop | level | instructions | {' | '.join(f'cycles on {name}' for name in MODELS)} |")
    print(f"|{'---|' * (3 + len(MODELS))}")
    for unit, level, function in sorted(hot, key=lambda each: (each[0], each[2].name)):
        for loop in function.loops():
            if any("mm" in each.operands for each in loop):
                numbers = " | ".join(f"{cycles(loop, name, llvm_mca):.1f}" for name in MODELS)
                print(f"| {unit}: {function.name} {loop[0].address:x} | {level} | {len(loop)} | {numbers} |")


if __name__ == "__main__":
    sys.exit(main())
