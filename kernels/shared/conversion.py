"""Conversion of results to another range and type in NumPy, bit-identical to ilastik.

ilastik computes with NumPy 1 rules, where a scalar does not widen an array, and casts as x86-64 processors do, so
out-of-range values wrap. Both are spelled out here and hold on every platform and with NumPy 2.
"""

from __future__ import annotations

import numpy as np

from ..contract import Conversion, Range

_FLOAT32_MAX = float(np.finfo(np.float32).max)
# x86-64 conversion instructions: types narrower than 32 bits and int32 go through int32, the others through int64;
# a value outside of that range becomes the most negative number.
_VIA = {"uint32": np.int64, "int64": np.int64, "uint64": np.int64}


def convert(array: np.ndarray, conversion: Conversion) -> tuple[np.ndarray, int]:
    """Convert values. Returns them with the overflow count (values that wrapped around, or saturated with ``clip``).

    ``array`` has the source type; it is returned unchanged if the conversion is the identity. NaN becomes 0 in integers
    and counts as an overflow.
    """
    if conversion.is_identity:
        return array, 0
    wrapped = None
    values = array
    if conversion.input_range is not None and conversion.export_range is not None:
        values, wrapped = _rescale(array, conversion.input_range, conversion.export_range, clip=conversion.clip)
        if array.dtype.kind == "f" and conversion.target.kind in "iu":
            values = np.rint(values)
    result, misfit = _cast(values, conversion.target, clip=conversion.clip)
    if wrapped is not None:
        misfit = wrapped if misfit is None else misfit | wrapped
    return result, 0 if misfit is None else int(np.count_nonzero(misfit))


def float32_steps(conversion: Conversion) -> tuple[np.float32, np.float32, np.float32] | None:
    """Return (low, ratio, low of the export) of a float32 conversion that ``convert`` computes in float32 alone.

    None if it uses another type in between or one of its steps is not finite. Zeros if no range changes.
    """
    if conversion.source != np.float32:
        return None
    if conversion.input_range is None or conversion.export_range is None:
        return np.float32(0), np.float32(0), np.float32(0)
    in_low, out_low = conversion.input_range[0], conversion.export_range[0]
    if {_with_scalar(conversion.source, low) for low in (in_low, out_low)} != {conversion.source}:
        return None
    ratio = _ratio(conversion.input_range, conversion.export_range)
    return (np.float32(in_low), ratio, np.float32(out_low)) if np.isfinite(ratio) else None


def _rescale(
    array: np.ndarray, input_range: Range, export_range: Range, *, clip: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    """Compute export_low + (array - input_low) * ratio, and a mask of the values whose difference wrapped around."""
    in_low, out_low = input_range[0], export_range[0]
    ratio = _ratio(input_range, export_range)
    kind = _with_scalar(array.dtype, in_low)
    with np.errstate(over="ignore", invalid="ignore"):
        difference = array.astype(kind, copy=False) - _scalar(in_low, kind)
        wrapped = _find_wrapped(array, in_low, difference) if kind.kind in "iu" and ratio else None
        floating = kind if kind.kind == "f" else np.dtype(np.float32 if kind.itemsize < 4 else np.float64)
        scaled = difference.astype(floating, copy=False)
        if clip and wrapped is not None:
            scaled[wrapped] = (array[wrapped].astype(np.float64) - float(in_low)).astype(floating)
        scaled = scaled * floating.type(ratio)
        floating = _with_scalar(floating, out_low)
        return floating.type(out_low) + scaled.astype(floating, copy=False), wrapped


def _ratio(input_range: Range, export_range: Range) -> np.float32:
    spread = float(input_range[1] - input_range[0])
    if abs(spread) <= 1e-8:
        return np.float32(0)
    with np.errstate(over="ignore"):
        wide = np.float64(export_range[1]) - np.float64(export_range[0])
        return np.float32(wide / (np.float64(input_range[1]) - np.float64(input_range[0])))


def _with_scalar(dtype: np.dtype, value: float) -> np.dtype:
    """Type of ``array op value`` under the rules of NumPy 1."""
    if dtype.kind == "f":
        return np.dtype(np.float64) if abs(float(value)) > _FLOAT32_MAX else dtype
    if not isinstance(value, int | np.integer):
        return np.dtype(np.float64)
    info = np.iinfo(dtype)
    if info.min <= int(value) <= info.max:
        return dtype
    return np.result_type(dtype, np.min_scalar_type(int(value)))


def _scalar(value: float, dtype: np.dtype) -> np.generic:
    scalar: np.generic = dtype.type(value)
    return scalar


def _find_wrapped(array: np.ndarray, in_low: float, difference: np.ndarray) -> np.ndarray | None:
    """Mask of the values whose integer subtraction overflowed; None if no value can."""
    info = np.iinfo(difference.dtype)
    lowest, highest = int(array.min(initial=0)), int(array.max(initial=0))
    if lowest - int(in_low) >= info.min and highest - int(in_low) <= info.max:
        return None
    exact = array.astype(np.float64) - float(in_low)
    off: np.ndarray = np.abs(difference.astype(np.float64) - exact) > 2.0 ** (info.bits - 1)
    return off


def _cast(values: np.ndarray, target: np.dtype, *, clip: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """Cast values to another type. Returns them with a mask of the values that did not fit (None if all did)."""
    if values.dtype == target or target.kind == "f":
        with np.errstate(over="ignore"):  # a float64 beyond float32 becomes inf, as it should
            return values.astype(target, copy=False), None
    if values.size == 0:
        return values.astype(target), None
    info = np.iinfo(target)
    if values.dtype.kind in "iu":
        return _cast_integers(values, info, clip=clip)
    return _cast_floats(values, info, clip=clip)


def _cast_integers(values: np.ndarray, info: np.iinfo, *, clip: bool) -> tuple[np.ndarray, np.ndarray | None]:
    have = np.iinfo(values.dtype)
    below = values < info.min if info.min > have.min else None
    above = values > info.max if info.max < have.max else None
    result = values.astype(info.dtype)
    if clip:
        for mask, bound in ((below, info.min), (above, info.max)):
            if mask is not None:
                result[mask] = bound
    if below is None or above is None:
        return result, above if below is None else below
    return result, below | above


def _cast_floats(values: np.ndarray, info: np.iinfo, *, clip: bool) -> tuple[np.ndarray, np.ndarray | None]:
    # The bounds as floats: info.max itself may round up to a value that does not fit.
    low, beyond = float(info.min), float(info.max) + 1.0
    whole = np.trunc(values)
    misfit = ~((whole >= low) & (whole < beyond))
    if not misfit.any():
        return whole.astype(info.dtype), None
    result = np.zeros(values.shape, info.dtype)
    fits = ~misfit
    result[fits] = whole[fits].astype(info.dtype)
    outside = whole[misfit]
    if clip:
        result[misfit] = np.select([outside < 0, outside > 0], [info.dtype.type(info.min), info.dtype.type(info.max)])
    else:
        result[misfit] = _wrap(outside.astype(np.float64), info)
    return result, misfit


def _wrap(outside: np.ndarray, info: np.iinfo) -> np.ndarray:
    """Cast whole floats beyond the target type as x86-64 processors do; NaN becomes 0."""
    via = np.iinfo(_VIA.get(info.dtype.name, np.int32))
    reached = (outside >= float(via.min)) & (outside < float(via.max) + 1.0)
    result = np.full(outside.shape, via.min, via.dtype)
    result[reached] = outside[reached].astype(via.dtype)
    result[np.isnan(outside)] = 0
    if info.dtype == np.uint64:  # the upper half is converted after subtracting 2**63
        result[outside > 0] = 0
    return result.astype(info.dtype)
