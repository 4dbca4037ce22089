"""Union of labels by several threads in parallel, since the stand-in for a GPU runs one thread after the other.

The functions are those of labels.cu; only their atomic minimum is the processor's, and threads yield at random between
their reads and writes.
"""

from __future__ import annotations

import ctypes
import subprocess

import numpy as np
import pytest
from support.cuda_host import build

from pixelforest.kernels.cpu.loops.labels import number_components, unite_pairs
from pixelforest.kernels.cuda.launch import read_source

HARNESS = """
#include <atomic>
#include <sched.h>
#include <thread>
#include <vector>
#define __global__
#define __launch_bounds__(...)
#include "{shim}"
static thread_local unsigned seed;
static void maybe_give_way() {{
    seed = seed * 1664525u + 1013904223u;
    if (seed >> 27 == 0) sched_yield();
}}
static unsigned shared_minimum(unsigned* place, unsigned value) {{
    maybe_give_way();
    unsigned before = __atomic_load_n(place, __ATOMIC_RELAXED);
    const int order = __ATOMIC_RELAXED;
    while (before > value && !__atomic_compare_exchange_n(place, &before, value, true, order, order)) {{}}
    maybe_give_way();
    return before;
}}
#define atomicMin shared_minimum
{source}
extern "C" void join_all(
    unsigned* parent, const unsigned* pairs, long n, int threads, unsigned first_seed, int in_brick) {{
    std::atomic<int> arrived{{0}};
    std::vector<std::thread> running;
    for (int t = 0; t < threads; t++)
        running.emplace_back([=, &arrived] {{
            seed = first_seed + t;
            arrived++;
            while (arrived < threads) sched_yield();
            for (long i = t; i < n; i += threads)
                (in_brick ? join_in_brick : join)(parent, pairs[2 * i], pairs[2 * i + 1]);
        }});
    for (auto& thread : running) thread.join();
}}
"""
VOXELS = 3000


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    folder = tmp_path_factory.mktemp("races")
    source, made = folder / "races.cpp", folder / "races.so"
    source.write_text(HARNESS.format(shim=build.SHIM, source=read_source("labels.cu")))
    compiler = build._compiler()
    subprocess.run(
        [compiler, "-O1", "-std=c++17", "-fPIC", "-shared", "-pthread", "-w", str(source), "-o", str(made)], check=True
    )
    return ctypes.CDLL(str(made))


def pairs_of(kind: str, rng: np.random.Generator) -> np.ndarray:
    """(n, 2) uint32 pairs of voxels to be joined."""
    if kind == "chain":
        pairs = np.stack([np.arange(VOXELS - 1), np.arange(1, VOXELS)], 1)
    elif kind == "star":
        pairs = np.stack([np.full(VOXELS - 1, VOXELS - 1), np.arange(VOXELS - 1)], 1)
    else:
        pairs = rng.integers(0, VOXELS, (VOXELS // 3 if kind == "sparse" else VOXELS, 2))
    return np.ascontiguousarray(rng.permutation(pairs), np.uint32)


@pytest.mark.parametrize("in_brick", [False, True], ids=["across bricks", "in a brick"])
@pytest.mark.parametrize("kind", ["chain", "star", "sparse", "dense"])
def test_joining_at_the_same_time(library: ctypes.CDLL, kind: str, in_brick: bool) -> None:
    for seed in range(15):
        pairs = pairs_of(kind, np.random.default_rng(seed))
        parent = np.arange(VOXELS, dtype=np.uint32)
        library.join_all(
            parent.ctypes.data_as(ctypes.c_void_p), pairs.ctypes.data_as(ctypes.c_void_p), ctypes.c_long(len(pairs)),
            8, ctypes.c_uint(97 * seed), int(in_brick),
        )  # fmt: skip
        assert (parent <= np.arange(VOXELS)).all(), "roots are the smallest"
        expected = np.arange(VOXELS + 1)
        unite_pairs(expected, 1, pairs[:, 0].copy(), 1, pairs[:, 1].copy())
        number_components(expected)
        found = np.arange(VOXELS + 1)
        unite_pairs(found, 1, parent, 1, np.arange(VOXELS, dtype=np.uint32))
        number_components(found)
        np.testing.assert_array_equal(found, expected)
