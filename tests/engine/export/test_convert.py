"""Value conversion: ilastik's numbers, and an independent slow model of NumPy 1 arithmetic."""

from __future__ import annotations

import math
import struct

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixelforest.engine.export.convert import Conversion, convert, convert_range

TYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64"]


def conversion(source: str, target: str, given=None, wanted=None, *, clip: bool = False) -> Conversion:
    return Conversion(np.dtype(source), np.dtype(target), given, wanted, clip)


def run(values, source: str, target: str, given=None, wanted=None, *, clip: bool = False) -> tuple[list, int]:
    result, overflow_count = convert(np.array(values, source), conversion(source, target, given, wanted, clip=clip))
    assert result.dtype == np.dtype(target)
    return result.tolist(), overflow_count


# --- recorded numbers --------------------------------------------------------------------------------------------


def test_probabilities_to_bytes_round_half_to_even() -> None:
    values, overflow_count = run([0, 0.1, 0.25, 0.5, 0.9999, 1.0], "float32", "uint8", (0.0, 1.0), (0, 255))
    assert (values, overflow_count) == ([0, 26, 64, 128, 255, 255], 0)


def test_integers_truncate() -> None:
    values, overflow_count = run([0, 1, 2, 3, 254, 255], "uint8", "uint8", (0, 255), (0, 100))
    assert (values, overflow_count) == ([0, 0, 0, 1, 99, 100], 0)


def test_what_does_not_fit_wraps_around() -> None:
    values, overflow_count = run([1.1, -0.1, math.nan, 0.5], "float32", "uint8", (0.0, 1.0), (0, 255))
    assert (values, overflow_count) == ([24, 230, 0, 128], 3)


def test_three_classes_stretched_wrap_to_253() -> None:
    assert run([1, 2, 3], "uint8", "uint8", (0, 1), (0, 255)) == ([255, 254, 253], 2)


def test_without_ranges_floats_are_truncated() -> None:
    assert run([1.25, 3.4997, -1.9, 0.99], "float32", "int16") == ([1, 3, -1, 0], 0)


def test_bytes_into_int8_go_negative() -> None:
    assert run([0, 127, 128, 255], "uint8", "int8") == ([0, 127, -128, -1], 2)


def test_equal_input_limits_give_the_lower_output() -> None:
    assert run([3, 7], "uint8", "float32", (5, 5), (2, 9)) == ([2.0, 2.0], 0)


@pytest.mark.parametrize(
    ("name", "dtype", "wanted"),
    [("dtype_uint8_drange", "uint8", (0, 255)), ("dtype_uint16_drange", "uint16", (0, 65535))],
)
def test_recorded_conversions(shared_folder, name: str, dtype: str, wanted: tuple[int, int]) -> None:
    folder = shared_folder / "golden" / "variants_2d3c" / "expected"
    probabilities = np.load(folder / "fmt_numpy_probabilities.npy")
    change = conversion("float32", dtype, (0.0, 1.0), wanted)
    with h5py.File(folder / f"{name}.h5") as file:
        expected, drange = file["exported_data"][()], file["exported_data"].attrs["drange"]
    result, overflow_count = convert(probabilities, change)
    assert np.array_equal(result, expected)
    assert overflow_count == 0
    assert convert_range((0.0, 1.0), change) == tuple(drange.tolist())


# --- the slow model ----------------------------------------------------------------------------------------------


def f32(value: float) -> float:
    try:
        return struct.unpack("f", struct.pack("f", value))[0]
    except OverflowError:
        return math.copysign(math.inf, value)


def wrap(value: int, dtype: str) -> int:
    info = np.iinfo(dtype)
    return (value - int(info.min)) % (1 << info.bits) + int(info.min)


def to_integer(value: float, dtype: str) -> int:
    """An x86-64 conversion."""
    if math.isnan(value):
        return 0
    info = np.iinfo(dtype)
    if math.isfinite(value) and info.min <= math.trunc(value) <= info.max:
        return math.trunc(value)
    bits = 64 if dtype in ("uint32", "int64", "uint64") else 32
    if math.isfinite(value) and -(1 << bits - 1) <= math.trunc(value) < 1 << bits - 1:
        return wrap(math.trunc(value), dtype)
    return 0 if dtype == "uint64" and value > 0 else wrap(-(1 << bits - 1), dtype)


def slow(value, source: str, target: str, given, wanted):
    """One value, one step at a time; every type decision written out."""
    if given is None:
        if target.startswith("float"):
            return f32(float(value)) if target == "float32" else float(value)
        return wrap(value, target) if not source.startswith("float") else to_integer(value, target)
    in_low, in_high = given
    out_low, out_high = wanted
    ratio = (
        0.0
        if abs(in_high - in_low) <= 1e-8
        else f32((float(out_high) - float(out_low)) / (float(in_high) - float(in_low)))
    )
    if source.startswith("float"):
        kind = source
    elif isinstance(in_low, float):
        kind = "float64"
    elif np.iinfo(source).min <= in_low <= np.iinfo(source).max:
        kind = source
    else:
        kind = str(np.result_type(np.dtype(source), np.min_scalar_type(in_low)))
    if kind.startswith("float"):
        single = f32 if kind == "float32" else float
        difference = single(single(float(value)) - single(float(in_low)))
    else:
        difference = wrap(value - in_low, kind)
        single = f32 if np.dtype(kind).itemsize < 4 else float
    result = single(single(float(out_low)) + single(single(float(difference)) * ratio))
    if target.startswith("float"):
        return f32(result) if target == "float32" else result
    if source.startswith("float"):
        result = float(round(result)) if math.isfinite(result) else result
    return to_integer(result, target)


def numbers_of(dtype: str) -> st.SearchStrategy:
    if dtype.startswith("float"):
        width = int(dtype[5:])
        return st.one_of(st.floats(-2, 3, width=width), st.floats(-1e5, 1e5, width=width), st.just(math.nan))
    info = np.iinfo(dtype)
    return st.integers(int(info.min), int(info.max))


limits = st.one_of(
    st.integers(-300, 300), st.floats(-300, 300, width=32), st.sampled_from([0, 1, 255, 65535, 0.0, 1.0])
)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(st.data(), st.sampled_from(TYPES), st.sampled_from(TYPES), st.booleans())
def test_the_arithmetic_is_that_of_numpy_1(data, source: str, target: str, rescales: bool) -> None:
    values = data.draw(st.lists(numbers_of(source), min_size=1, max_size=6))
    given = wanted = None
    if rescales:
        given, wanted = (data.draw(limits), data.draw(limits)), (data.draw(limits), data.draw(limits))
    array = np.array(values, source)
    result, overflow_count = convert(array, conversion(source, target, given, wanted))
    expected = [slow(v, source, target, given, wanted) for v in array.tolist()]
    assert np.array_equal(result, np.array(expected, target), equal_nan=target.startswith("float"))
    assert 0 <= overflow_count <= len(values)


@settings(max_examples=100, deadline=None)
@given(st.data(), st.sampled_from(TYPES), st.sampled_from(TYPES))
def test_clip_saturates_and_changes_nothing_else(data, source: str, target: str) -> None:
    array = np.array(data.draw(st.lists(numbers_of(source), min_size=1, max_size=6)), source)
    given, wanted = (0, data.draw(st.integers(1, 300))), (0, data.draw(st.integers(1, 300)))
    wrapped, overflow_count = convert(array, conversion(source, target, given, wanted))
    clipped, same = convert(array, conversion(source, target, given, wanted, clip=True))
    assert overflow_count == same
    if overflow_count == 0:
        assert np.array_equal(wrapped, clipped, equal_nan=target.startswith("float"))


def test_clip_examples() -> None:
    assert run([1.1, -0.1, math.nan, 0.5], "float32", "uint8", (0.0, 1.0), (0, 255), clip=True) == ([255, 0, 0, 128], 3)
    assert run([1, 2, 3], "uint8", "uint8", (0, 1), (0, 255), clip=True) == ([255, 255, 255], 2)
    assert run([5, 200], "uint8", "uint8", (10, 210), (0, 200), clip=True) == ([0, 190], 1)
    assert run([5, 200], "uint8", "uint8", (10, 210), (0, 200)) == ([251, 190], 1)
    assert run([-5, 300], "int16", "uint8", clip=True) == ([0, 255], 2)
    assert run([math.inf, -math.inf], "float64", "int32", clip=True) == ([2**31 - 1, -(2**31)], 2)
    assert run([2**64 - 1, 0], "uint64", "int64", clip=True) == ([2**63 - 1, 0], 1)


def test_the_largest_integers_are_not_taken_for_fitting() -> None:
    assert run([2.0**31], "float64", "int32") == ([-(2**31)], 1)
    assert run([2.0**31], "float32", "uint32") == ([2**31], 0)
    assert run([2.0**64], "float64", "uint64") == ([0], 1)


def test_nothing_to_do_hands_the_array_on() -> None:
    array = np.arange(6, dtype=np.float32)
    assert convert(array, conversion("float32", "float32"))[0] is array


def test_empty_arrays_are_converted() -> None:
    assert run([], "float32", "uint8", (0, 1), (0, 255)) == ([], 0)
    assert run([], "uint8", "int8", (0, 1), (0, 255)) == ([], 0)


@pytest.mark.parametrize("limits", [(0, 1 << 70), (0.0, math.inf)])
def test_limits_no_type_can_hold_are_refused(limits) -> None:
    with pytest.raises(ValueError, match="too large"):
        conversion("uint8", "uint8", limits, (0, 255))


def test_ranges_of_the_result() -> None:
    assert convert_range((0.0, 1.0), conversion("float32", "uint8")) == (0, 1)
    assert convert_range(None, conversion("float32", "uint8")) is None
    assert convert_range(None, conversion("float32", "uint8", (0.0, 1.0), (0, 255))) == (0, 255)
    assert convert_range((0.0, 1.0), conversion("float32", "float64")) == (0.0, 1.0)
    assert convert_range((0, 255), conversion("uint8", "uint8", (0, 1000), (0, 100))) == (0, 100)
