"""Our lowering of array items and ranges in kernels compiled ahead of use has Python's semantics."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.slow

KERNELS = '''
import numpy as np
from pixelforest.kernels.cpu.simd.lanes import clear
from pixelforest.kernels.cpu.build.jit import njit


@njit()
def items(box, flags, out):
    """Whole and partial indices, from either end, of several types."""
    row = box[1]
    plane = box[np.uint8(1), 2]
    out[0] = box[0, 1, 2] + box[-1, -2, -3] * 10
    out[1] = row[2, 3] + row[-1, -1] * 10
    out[2] = plane[0] + plane[-1] * 10 + len(plane) + row.shape[0] * row.shape[1]
    out[3] = plane.sum() + row[1:, 2].sum()
    at = -1
    out[at] = 7 if flags[at] else 8
    flags[np.uint64(0)] = out[0] > 3
    row[1, -2] = np.float64(2.5)
    box[0, 0][1] = np.int64(9)


@njit()
def ranges(start, stop, step, out):
    """How many numbers, their sum, the last one, and what is left of variables behind a loop."""
    count, total, last = 0, 0, -1
    for i in range(start, stop, step):
        count += 1
        total += i
        last = i
    for i in range(start, stop):
        total += 1000 * i
    for i in range(stop):
        if i % 2 == 0:
            continue
        if i > 6:
            break
        total += 1000000
    numbers = range(start, stop, step)
    out[0], out[1], out[2], out[3] = count, total, last, len(numbers)


@njit()
def rows(width, out):
    """Arrays that a kernel makes, whose references are counted, and their rows."""
    table = np.empty((3, width), np.int64)
    for i in range(3 * width):
        table[i // width, i % width] = i
    kept = table[1]
    for i in range(3):
        table[i, i % width] = -1
    table = table[1:]
    out[0], out[1], out[2], out[3] = kept.sum(), table[0, -1], len(table), table[-1].sum()


@njit()
def cleared(numbers, out):
    """Only a part of an array."""
    clear(numbers[1])
    out[0] = numbers.sum()
'''
COMPILE = """
import ctypes, json, sys
from pathlib import Path
import numpy as np
from pixelforest.kernels.cpu import loops
from pixelforest.kernels.cpu import loader
from pixelforest.kernels.cpu import signatures as entries
loops.__path__.append(sys.argv[1])
entries._ALL = tuple(entries.Entry("samples", "samples", *each) for each in json.loads(sys.argv[2]))
from pixelforest.kernels.cpu.build import compiler, linker, targets
compiler.prepare()
object_file, library_file = Path(sys.argv[1], "samples.o"), Path(sys.argv[1], "samples.so")
object_file.write_bytes(compiler.compile_unit("samples", targets.own_target()))
linker.link([object_file], library_file, targets.own_target().triple)
library = ctypes.CDLL(str(library_file))


def kernel(name):
    (entry,) = [each for each in entries._ALL if each.name == name]
    return loader._caller(entry, library)


results = {}
box, flags, out = np.arange(60, dtype=np.float32).reshape(3, 4, 5), np.array([False, True]), np.zeros(5)
kernel("items")(box, flags, out)
results["items"] = [out.tolist(), flags.tolist(), box.ravel().tolist()]
results["ranges"] = []
for case in json.loads(sys.argv[3]):
    numbers = np.zeros(4, np.int64)
    kernel("ranges")(*case, numbers)
    results["ranges"].append(numbers.tolist())
numbers = np.zeros(4, np.int64)
kernel("rows")(4, numbers)
results["rows"] = numbers.tolist()
full, total = np.full((3, 5), 3.0, np.float32), np.zeros(1)
kernel("cleared")(full, total)
results["cleared"] = [full.tolist(), total.tolist()]
print(json.dumps(results))
"""
ENTRIES = [
    ("items", ("f4[3]", "b1[1]", "f8[1]")),
    ("ranges", ("i8", "i8", "i8", "i8[1]")),
    ("rows", ("i8", "i8[1]")),
    ("cleared", ("f4[2]", "f8[1]")),
]
CASES = [(a, b, c) for a in (-3, 0, 4) for b in (-5, 0, 4, 9) for c in (-7, -2, -1, 1, 2, 5, 100)]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Results of the kernels compiled ahead of use in a process of its own, as in a run."""
    folder = tmp_path_factory.mktemp("kernels")
    (folder / "samples.py").write_text(KERNELS, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", COMPILE, str(folder), json.dumps(ENTRIES), json.dumps(CASES)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results: dict[str, Any] = json.loads(done.stdout)
    return results


def test_items_and_rows_are_those_of_numpy(compiled: dict[str, Any]) -> None:
    box, flags, out = np.arange(60, dtype=np.float32).reshape(3, 4, 5), [True, True], np.zeros(5)
    row, plane = box[1], box[1, 2]
    out[0] = box[0, 1, 2] + box[-1, -2, -3] * 10
    out[1] = row[2, 3] + row[-1, -1] * 10
    out[2] = plane[0] + plane[-1] * 10 + 5 + 4 * 5
    out[3] = plane.sum() + row[1:, 2].sum()
    out[4] = 7
    row[1, -2], box[0, 0, 1] = 2.5, 9
    assert compiled["items"] == [out.tolist(), flags, box.ravel().tolist()]


def test_ranges_are_those_of_python(compiled: dict[str, Any]) -> None:
    for (start, stop, step), found in zip(CASES, compiled["ranges"], strict=True):
        numbers = list(range(start, stop, step))
        total = (
            sum(numbers) + 1000 * sum(range(start, stop)) + 1000000 * len([i for i in range(stop) if i in (1, 3, 5)])
        )
        assert found == [len(numbers), total, numbers[-1] if numbers else -1, len(numbers)], (start, stop, step)


def test_arrays_that_kernels_make_keep_their_rows(compiled: dict[str, Any]) -> None:
    assert compiled["rows"] == [4 - 1 + 6 + 7, 7, 2, 8 + 9 - 1 + 11]


def test_only_what_was_named_is_cleared(compiled: dict[str, Any]) -> None:
    assert compiled["cleared"] == [[[3.0] * 5, [0.0] * 5, [3.0] * 5], [30.0]]
