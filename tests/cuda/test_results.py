"""Results computed on the device: the bits and counts of shared/results.py and shared/conversion.py."""

from __future__ import annotations

import numpy as np
import pytest
from support.cuda_host.host_device import HostDevice
from support.cuda_host.machines import MakeDevice

from pixelforest.kernels.contract import Conversion, ResultPlan, Wanted
from pixelforest.kernels.cuda.results import (
    ClassColumns,
    class_columns,
    download_results,
    make_result,
    result_bytes,
    select_features,
    zero_results,
)
from pixelforest.kernels.shared.results import MADE_OF_PROBABILITIES, assemble_probabilities, finish_result

TARGETS = ("float32", "int8", "uint8", "int16", "uint16", "int32", "uint32", "float64", "int64", "uint64")
RANGES = (
    (None, None),
    ((0.0, 1.0), (0, 255)),
    ((0.1, 0.7), (-3, 300)),
    ((0, 1), (-7.5, 6e9)),
    ((0.5, 0.5), (2.5, 9)),
    ((0.0, 1.0), (1e39, 2e39)),
    ((0.0, 1e-30), (0, 1e30)),
)
SHAPE = (2, 5, 37)
FLOAT = np.dtype(np.float32)


@pytest.fixture(scope="module")
def device(make_device: MakeDevice) -> HostDevice:
    return make_device()


def votes(classes: int, *, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Probabilities as a forest gives them, ties included."""
    rng = np.random.default_rng(classes)
    counts = rng.multinomial(10, [1 / classes] * classes, size=shape) if classes > 1 else np.full((*shape, 1), 10)
    counts[0, 0] = 0
    return (counts / np.float32(10)).astype(np.float32)


def conversions(source: np.dtype) -> list[Conversion]:
    return [
        Conversion(source, np.dtype(target), given, wanted, clip)
        for target in TARGETS
        for given, wanted in RANGES
        for clip in (False, True)
    ]


@pytest.mark.parametrize(
    ("known", "labels", "classes"),
    [
        (1, (1,), 1),
        (2, (1, 2), 2),
        (3, (1, 2, 3), 3),
        (2, (1, 3), 3),
        (1, (2,), 3),
        (2, (4, 2), 5),
        (2, (3, 4), 2),
    ],
    ids=["one", "two", "three", "middle-missing", "one-of-three", "out-of-order", "as-many-as-names"],
)
@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
@pytest.mark.parametrize("result", list(MADE_OF_PROBABILITIES))
def test_results_of_probabilities(
    device: HostDevice, result: str, masked: bool, known: int, labels: tuple[int, ...], classes: int
) -> None:
    answer = votes(known)
    active = np.random.default_rng(1).integers(0, 2, SHAPE).astype(bool) if masked else None
    count = classes if result == "probabilities" else 1
    source = np.dtype(np.uint8) if result == "segmentation" else FLOAT
    there, mask = device.upload(answer), None if active is None else device.upload(active.astype(np.uint8))
    for conversion in conversions(source):
        wanted = Wanted(result, (count // 2, count), conversion)
        plan = ResultPlan(labels, classes, (wanted,))
        made = make_result(device, there, class_columns(plan, known), mask, wanted)
        (found,) = download_results(device, [made])
        expected = finish_result(MADE_OF_PROBABILITIES[result](assemble_probabilities(answer, active, plan)), wanted)
        assert found.values.nbytes <= answer.nbytes * classes  # what travels is no wider than float32
        assert_same(found.finish(), expected, conversion)


def assert_same(found, expected, conversion: Conversion) -> None:
    assert found.values.dtype == expected.values.dtype == conversion.target
    assert found.values.shape == expected.values.shape
    assert np.ascontiguousarray(found.values).tobytes() == np.ascontiguousarray(expected.values).tobytes(), conversion
    assert found.overflow_count == expected.overflow_count, conversion


@pytest.mark.parametrize("columns", [(0, 5), (2, 3)], ids=str)
def test_features_of_any_value(device: HostDevice, columns: tuple[int, int]) -> None:
    """Numbers of every size, infinities and NaN, at the edges of every type."""
    edges = [0.0, -0.0, 0.49999997, 0.5, 1.5, 2.5, -0.5, -1.5, np.nan, np.inf, -np.inf, 1e38, -1e38, 1e-45]
    edges += [s * (2.0**k + d) for k in (7, 8, 15, 16, 23, 31, 32, 62, 63, 64, 70) for d in (-1, 0, 1) for s in (1, -1)]
    values = np.random.default_rng(0).normal(0, 300, (5, 384)).astype(np.float32)
    values[:, : len(edges)] = [np.roll(edges, i) for i in range(5)]
    shape, voxels = (2, 5, 37, 5), 370
    there = device.upload(values)
    stack = values[:, :voxels].T.reshape(shape)
    for conversion in conversions(FLOAT):
        wanted = Wanted("features", columns, conversion)
        (found,) = download_results(device, [select_features(device, there, shape, 384, wanted)])
        assert_same(found.finish(), finish_result(stack, wanted), conversion)


def test_what_is_exported_alone_travels(device: HostDevice) -> None:
    there, columns = device.upload(votes(3)), ClassColumns((0, 1, 2), 3)
    to_bytes = Conversion(FLOAT, np.dtype(np.uint8), (0.0, 1.0), (0, 255))
    made = make_result(device, there, columns, None, Wanted("probabilities", (1, 2), to_bytes))
    assert (made.values.dtype, made.values.shape) == (np.uint8, (*SHAPE, 1))
    whole = make_result(device, there, columns, None, Wanted("probabilities", (0, 3), Conversion(FLOAT, FLOAT)))
    assert whole.values is there
    wide = Conversion(FLOAT, np.dtype(np.float64), (0.0, 1.0), (0, 255))
    assert make_result(device, there, columns, None, Wanted("uncertainty", (0, 1), wide)).values.dtype == np.float32
    plan = ResultPlan((1, 2, 3), 3, (Wanted("probabilities", (0, 2), to_bytes), Wanted("uncertainty", (0, 1), wide)))
    assert result_bytes(plan) == 2 + 4


@pytest.mark.parametrize("classes", [1, 2, 3])
def test_a_tile_that_is_masked_out(classes: int) -> None:
    conversion = {name: Conversion(FLOAT, np.dtype(np.uint8), (0.0, 1.0), (3, 255)) for name in MADE_OF_PROBABILITIES}
    conversion["segmentation"] = Conversion(np.dtype(np.uint8), np.dtype(np.int32))
    wanted = tuple(
        Wanted(name, (0, classes if name == "probabilities" else 1), conversion[name]) for name in MADE_OF_PROBABILITIES
    )
    plan = ResultPlan((1,), classes, wanted)
    nothing = assemble_probabilities(votes(1), np.zeros(SHAPE, bool), plan)
    for found, each in zip(zero_results(plan, SHAPE), wanted, strict=True):
        assert_same(found, finish_result(MADE_OF_PROBABILITIES[each.result](nothing), each), each.conversion)
