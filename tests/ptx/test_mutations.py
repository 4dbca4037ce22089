"""Kernels without one of their barriers or atomic operations: all of these are needed, and the interpreter shows it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from support.cuda_host.features import assert_same_features
from support.cuda_host.interpreter import find_missing
from support.cuda_host.ptx_device import PtxDevice
from support.cuda_host.stacks import assert_equal_bits, make_stack, smooth_features

from pixelforest.kernels.contract import DeviceFailed
from pixelforest.kernels.cpu.host import labels as cpu
from pixelforest.kernels.cuda import filters, labels, launch, nvforest
from pixelforest.kernels.cuda.forest import load_forest
from pixelforest.testing.kernel_inputs import make_plan, random_forest, random_image
from pixelforest.testing.label_slabs import Storage, random_values

MISSING = find_missing()
pytestmark = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))

_FUNCTION = re.compile(r"__(?:device__|global__)[^;{()]*?\b(\w+)\s*\(")
_BARRIER = re.compile(r"__sync(?:threads|warp)\(\);")


@dataclass(frozen=True)
class Barrier:
    """A barrier in a kernel file: the ``number``-th of its function, at an offset of the file's text."""

    file: str
    function: str
    number: int
    offset: int

    def __str__(self) -> str:
        return f"{self.file}:{self.function}:{self.number}"


def find_barriers() -> Iterator[Barrier]:
    for path in sorted(launch.FOLDER.glob("*.cu*")):
        text = re.sub(r"__launch_bounds__\([^)]*\)", lambda m: " " * len(m[0]), path.read_text())
        function, number = "", 0
        for match in sorted([*_FUNCTION.finditer(text), *_BARRIER.finditer(text)], key=lambda each: each.start()):
            if match.re is _FUNCTION:
                function, number = match[1], 0
            else:
                number += 1
                yield Barrier(path.name, function, number, match.start())


def features(*, flat: bool) -> None:
    plan = make_plan([(1.0, flat)], operations=["gaussian", "structure_tensor"])
    assert_same_features(PtxDevice(), random_image((1, 9, 12, 40)), plan)


def forest() -> None:
    """Several groups of trees and several patches."""
    rng = np.random.default_rng(5)
    forests = [random_forest(rng, trees=trees, columns=3, classes=3, pure=True, depth=6) for trees in (5, 13, 17)]
    device = PtxDevice()
    features = smooth_features((1, 40, 81), 3)
    found = device.download(
        load_forest(device, forests, variant="entered").predict(make_stack(device, features, (1, 40, 81)))
    )
    assert_equal_bits(found.reshape(len(features), -1), features, forests)


def components(seed: int = 0) -> None:
    for shape in ((1, 257, 70), (33, 20, 40)):
        values = random_values(shape, "uint8", share=0.7)
        found = labels.label_slab(PtxDevice(seed=seed), values, Storage())
        expected = cpu.label_slab(values, Storage())
        np.testing.assert_array_equal(found.component, expected.component)


def counts() -> None:
    device = PtxDevice()
    kernel = labels.FILE.kernel(device, "add_up_counts", ("VALUE=unsigned char",))
    arguments = device.zeros((1, 2100), np.uint32), np.uint32(2100), device.empty((1,), np.uint32)
    kernel((1, 1, 1), (1024, 1, 1), arguments)


def smoothing() -> None:
    device, image = PtxDevice(), (6, 12, 40)
    taps = device.upload(np.ones(4, np.float32))
    source = filters.Volume(device.zeros(image, np.float32), (0, 0, 0, *image))
    filters.smooth(device, source, source.box, image, taps, 3, flat=False)


def transposition() -> None:
    device = PtxDevice()
    filters.transpose_stack(device, device.zeros((40, 96), np.float32), (1, 3, 30, 40), 96)


def gathering() -> None:
    device = PtxDevice()
    stack = np.zeros((40, 64), np.float32)
    stack[3, 7] = np.nan
    rows, is_valid = device.empty((64, 40), np.float32), device.empty((64,), np.uint8)
    numbers = (np.int64(64), np.int32(40), np.int32(40), np.int64(0), np.int32(64))
    kernel = nvforest.FILE.kernel(device, "gather_rows")
    kernel((2, 1, 1), (32, 8, 1), (device.upload(stack), *numbers, rows, is_valid))
    assert device.download(is_valid).tolist() == [i != 7 for i in range(64)]


# What launches a function of a file in a way that shows a missing barrier.
PROBES: dict[str, Callable[[], None]] = {
    "features.cuh:derive_plane": partial(features, flat=True),
    "features.cuh:derive_planes": partial(features, flat=False),
    "filters.cu:gaussian_1d_x": smoothing,
    "filters.cu:gaussian_1d_line": smoothing,
    "filters.cu:transpose_stack": transposition,
    "forest.cu:predict": forest,
    "forest.cuh:end_group": forest,
    "labels.cu:label_bricks": components,
    "labels.cu:add_up_counts": counts,
    "nvforest.cu:gather_rows": gathering,
}
BARRIERS = tuple(find_barriers())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the kernel files that is compiled instead of them, without a cache."""
    copy = tmp_path / "kernels"
    copy.mkdir()
    for path in launch.FOLDER.glob("*.cu*"):
        shutil.copy(path, copy)
    monkeypatch.setattr(launch, "FOLDER", copy)
    monkeypatch.setattr(launch, "read_source", launch.read_source.__wrapped__)
    monkeypatch.setattr(launch.cache, "folders", lambda: iter(()))
    return copy


@pytest.mark.parametrize("probe", PROBES.values(), ids=PROBES)
def test_with_all_barriers_nothing_is_found(probe: Callable[[], None]) -> None:
    probe()


@pytest.mark.parametrize("barrier", BARRIERS, ids=str)
def test_a_missing_barrier_is_found(barrier: Barrier, folder: Path) -> None:
    path = folder / barrier.file
    text = path.read_text()
    match = _BARRIER.match(text, barrier.offset)
    assert match
    path.write_text(text[: match.start()] + text[match.end() :])
    name = f"{barrier.file}:{barrier.function}"
    with pytest.raises(DeviceFailed, match=r"a race: |on unwritten memory"):
        PROBES[name]()


ATOMIC_MINIMUM = "const unsigned before = atomicMin(&parent[larger], smaller);"
PLAIN_MINIMUM = "const unsigned before = parent[larger]; parent[larger] = min(before, smaller);"
JOINS = {
    "given up": ("if (before == larger) return;", "return;"),
    "not atomic": (ATOMIC_MINIMUM, PLAIN_MINIMUM),
}


@pytest.mark.parametrize("seed", [0, 1], ids=["in order", "at random"])
@pytest.mark.parametrize("number", [0, 1], ids=["in a brick", "across bricks"])
@pytest.mark.parametrize("change", JOINS)
def test_joins_that_lose_those_of_other_threads_are_found(folder: Path, change: str, number: int, seed: int) -> None:
    old, new = JOINS[change]
    parts = (folder / "labels.cu").read_text().split(old)
    assert len(parts) == 3
    parts[number : number + 2] = [new.join(parts[number : number + 2])]
    (folder / "labels.cu").write_text(old.join(parts))
    with pytest.raises((DeviceFailed, AssertionError)):
        components(seed)
