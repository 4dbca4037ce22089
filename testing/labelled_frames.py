"""Frames with objects of every kind, and a whole measurement of one."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ..kernels.contract import MEASURES, Backend, MeasurePlan
from .reference.labels import label_components

ONE_CHANNEL = frozenset(MEASURES) - {"channels", "channel_moments"}
CHANNELS = frozenset({"bounds", "axes", "axis_moments", "values", "moments", "channels", "channel_moments"})
KINDS = ("blobs", "noise", "boxes", "touching", "scattered")


def make_labels(kind: str, shape: tuple[int, int, int], *, seed: int = 0) -> np.ndarray:
    """Make objects (z, y, x) uint32 with ids in scan order."""
    rng = np.random.default_rng([seed, *shape, KINDS.index(kind)])
    if kind == "blobs":
        values = ndimage.gaussian_filter(rng.normal(size=shape), [0 if n == 1 else 1.2 for n in shape]) > 0.05
    elif kind == "noise":
        values = rng.random(shape) < 0.45
    elif kind == "touching":
        values = rng.integers(0, 3, shape)
    elif kind == "scattered":
        return number(rng.integers(0, 7, shape))
    else:
        values = np.zeros(shape, np.int64)
        for _ in range(12):
            corner = [rng.integers(0, n) for n in shape]
            values[tuple(slice(a, a + rng.integers(1, 7)) for a in corner)] = rng.integers(0, 4)
    return label_components(values).astype(np.uint32)


def number(values: np.ndarray) -> np.ndarray:
    """Relabel values by order of first occurrence."""
    ids = {0: 0}
    return np.array([ids.setdefault(int(v), len(ids)) for v in values.flat], np.uint32).reshape(values.shape)


def make_raw(shape: tuple[int, int, int], channels: int, kind: str = "uint8", *, seed: int = 0) -> np.ndarray:
    """Make a raw image (z, y, x, c) float32."""
    rng = np.random.default_rng([seed, channels])
    whole = (*shape, channels)
    made = {
        "uint8": lambda: rng.integers(0, 256, whole),
        "float": lambda: rng.normal(size=whole) * 50,
        "signed": lambda: rng.integers(-3, 4, whole),
        "constant": lambda: np.full(whole, 17),
    }[kind]()
    return made.astype(np.float32)


def measure(
    backend: Backend,
    labels: np.ndarray,
    raw: np.ndarray,
    groups: frozenset[str],
    *,
    lines: int = 1 << 30,
    parts: int = 1,
) -> dict[str, np.ndarray]:
    """Measure all quantities of a frame, in slabs of planes or, in 2-d, lines."""
    plan = MeasurePlan(int(labels.max()), labels.size, 2 if labels.shape[0] == 1 else 3, raw.shape[3], groups)
    measurement = backend.objects.start_measuring(plan)
    for number_of_pass in (1, 2):
        if number_of_pass == 2:
            backend.objects.begin_second_pass(measurement)
        axis = 1 if labels.shape[0] == 1 else 0
        for start in range(0, labels.shape[axis], lines):
            cut = (slice(None),) * axis + (slice(start, start + lines),)
            where = (0, start) if axis == 1 else (start, 0)
            for part in range(parts):
                slab = np.ascontiguousarray(labels[cut]), np.ascontiguousarray(raw[cut])
                backend.objects.measure_slab(measurement, *slab, where, part, parts)
        backend.objects.complete_pass(measurement, 0, plan.count // 2)
        backend.objects.complete_pass(measurement, plan.count // 2, plan.count)
    return {**backend.objects.measured(measurement), "boxes": backend.objects.object_boxes(measurement)}


def boxes_of(labels: np.ndarray) -> np.ndarray:
    """Find bounding boxes (n, 6) int32."""
    found = ndimage.find_objects(labels.astype(np.int64))
    return np.array([[s.start for s in box] + [s.stop for s in box] for box in found], np.int32)


def assert_exact(found: np.ndarray, expected: object, what: str) -> None:
    """Assert equal doubles, NaN at the same places."""
    wanted = np.asarray(expected, np.float64).reshape(np.shape(found))
    np.testing.assert_array_equal(np.asarray(found, np.float64), wanted, err_msg=what)
