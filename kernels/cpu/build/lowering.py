"""Shorter lowering than numba's for the most frequent operations: items and rows of arrays, ranges, and variables.

numba stores an array to memory, field by field, to read one item, and counts ranges with branches for every case. LLVM
removes all that after it was emitted, printed and parsed: half of a unit's code. The results are the same. Operations
without a shorter form here use numba's lowering.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import lowering
from numba.core.imputils import impl_ret_borrowed
from numba.np.arrayobj import load_item, store_item

from ..simd.lanes import I64, field_of

Implementation = Callable[[Any, Sequence[Any]], Any]
_ZERO, _ONE = ir.Constant(I64, 0), ir.Constant(I64, 1)


class Lower(lowering.Lower):  # type: ignore[misc]
    """numba's lowering of a function without the parts that only reference counting needs."""

    def delvar(self, name: str) -> None:
        if self.context.enable_nrt:
            super().delvar(name)
        elif name not in self._blk_local_varmap:
            self._singly_assigned_vars.discard(name)

    def storevar(self, value: Any, name: str, argidx: int | None = None) -> None:
        if self.context.enable_nrt:
            super().storevar(value, name, argidx)
        elif name in self._singly_assigned_vars:
            self._blk_local_varmap[name] = value
        else:
            self._alloca_var(name, self.typeof(name))
            self.builder.store(value, self.varmap[name])

    def alloca_lltype(self, name: str, lltype: Any, datamodel: Any = None) -> Any:
        if self.context.enable_nrt:
            return super().alloca_lltype(name, lltype, datamodel)
        with self.builder.goto_entry_block():
            return self.builder.alloca(lltype, name=name)


def implementation(context: Any, function: Any, signature: Any) -> Implementation | None:
    """Return our emitter for a call of one of numba's functions, (builder, arguments) to result, or None."""
    make = _MAKERS.get(getattr(function, "typing_key", function))
    return None if make is None else make(context, signature)


def _get_item(context: Any, signature: Any) -> Implementation | None:
    array, index = signature.args
    indices, result = _integers(array, index), signature.return_type
    if indices is None or not (len(indices) == array.ndim or _is_rest(array, len(indices), result)):
        return None

    def emit(builder: Any, args: Sequence[Any], loc: Any = None) -> Any:
        value, places = args[0], _places(builder, index, args[1])
        pointer = _item_pointer(context, builder, array, value, indices, places)
        if len(indices) == array.ndim:
            return load_item(context, builder, array, pointer)
        rest = _rest(context, builder, array, value, len(indices), result, pointer)
        return impl_ret_borrowed(context, builder, result, rest)

    return emit


def _set_item(context: Any, signature: Any) -> Implementation | None:
    array, index, kind = signature.args
    indices = _integers(array, index)
    if indices is None or len(indices) != array.ndim or not isinstance(kind, (types.Number, types.Boolean)):
        return None

    def emit(builder: Any, args: Sequence[Any], loc: Any = None) -> Any:
        places = _places(builder, index, args[1])
        pointer = _item_pointer(context, builder, array, args[0], indices, places)
        store_item(context, builder, array, context.cast(builder, args[2], kind, array.dtype), pointer)
        return context.get_dummy_value()

    return emit


def _integers(array: Any, index: Any) -> Sequence[Any] | None:
    """Types of the indices if they are integers and not more than the dimensions of a C-contiguous array."""
    if not (isinstance(array, types.Array) and array.layout == "C" and array.aligned):
        return None
    indices = index.types if isinstance(index, types.BaseTuple) else (index,)
    fits = 0 < len(indices) <= array.ndim and all(isinstance(each, types.Integer) for each in indices)
    return indices if fits else None


def _places(builder: Any, index: Any, value: Any) -> list[Any]:
    if not isinstance(index, types.BaseTuple):
        return [value]
    return [builder.extract_value(value, i) for i in range(len(index.types))]


def _item_pointer(
    context: Any, builder: Any, array: Any, value: Any, indices: Sequence[Any], places: Sequence[Any]
) -> Any:
    shape, offset = field_of(context, builder, array, value, "shape"), None
    for axis in range(array.ndim):
        length = builder.extract_value(shape, axis)
        if axis < len(indices):
            place = _position(context, builder, indices[axis], places[axis], length)
            offset = place if offset is None else builder.add(builder.mul(offset, length), place)
        else:
            offset = builder.mul(offset, length)
    return builder.gep(field_of(context, builder, array, value, "data"), [offset])


def _position(context: Any, builder: Any, kind: Any, value: Any, length: Any) -> Any:
    """Emit an index from an axis' start; negative ones count from its end."""
    if not kind.signed:
        return context.cast(builder, value, kind, types.uintp)
    place = context.cast(builder, value, kind, types.intp)
    if isinstance(place, ir.Constant) and place.constant >= 0:
        return place
    return builder.select(builder.icmp_signed("<", place, _ZERO), builder.add(place, length), place)


def _is_rest(array: Any, taken: int, result: Any) -> bool:
    """Return True if a type is that of an array after its first indices."""
    is_array = isinstance(result, types.Array) and result.dtype == array.dtype
    return is_array and result.layout == "C" and result.ndim == array.ndim - taken


def _rest(context: Any, builder: Any, array: Any, value: Any, taken: int, result: Any, pointer: Any) -> Any:
    """Emit an array at a pointer with the last axes of another array."""
    shape, strides = (field_of(context, builder, array, value, name) for name in ("shape", "strides"))
    size = _ONE
    of_row = of_steps = ir.Constant(ir.ArrayType(I64, result.ndim), ir.Undefined)
    for axis in range(result.ndim):
        length = builder.extract_value(shape, axis + taken)
        size = length if axis == 0 else builder.mul(size, length)
        of_row = builder.insert_value(of_row, length, axis)
        of_steps = builder.insert_value(of_steps, builder.extract_value(strides, axis + taken), axis)
    fields = {"data": pointer, "nitems": size, "shape": of_row, "strides": of_steps}
    names = context.data_model_manager[result]._fields
    view = ir.Constant(context.get_value_type(result), ir.Undefined)
    for i, name in enumerate(names):
        part = fields[name] if name in fields else field_of(context, builder, array, value, name)
        view = builder.insert_value(view, part, i)
    return view


def _range(context: Any, signature: Any) -> Implementation | None:
    kind = signature.return_type.dtype
    if kind != types.int64 or any(each != kind for each in signature.args):
        return None

    def emit(builder: Any, args: Sequence[Any], loc: Any = None) -> Any:
        parts = (_ZERO, args[0], _ONE) if len(args) == 1 else (args[0], args[1], args[2] if len(args) > 2 else _ONE)
        value = ir.Constant(context.get_value_type(signature.return_type), ir.Undefined)
        for i, part in enumerate(parts):
            value = builder.insert_value(value, part, i)
        value.parts_of_range = parts  # for loops over a range made in the same function
        return value

    return emit


def _iterate(context: Any, signature: Any) -> Implementation | None:
    """Emit the state of a loop over a range: pointer to the next number, stop, step, pointer to the remaining count."""
    (source,) = signature.args
    if not isinstance(source, types.RangeType) or source.dtype != types.int64:
        return None

    def emit(builder: Any, args: Sequence[Any], loc: Any = None) -> Any:
        known = getattr(args[0], "parts_of_range", None)
        start, stop, step = known or (builder.extract_value(args[0], i) for i in range(3))
        distance = stop if start is _ZERO else builder.sub(stop, start)
        if step is _ONE:
            count = distance  # negative: no iterations
        else:
            whole = builder.sdiv(distance, step)
            uneven = builder.icmp_signed("!=", builder.mul(whole, step), distance)
            is_away = builder.xor(builder.icmp_signed(">", distance, _ZERO), builder.icmp_signed(">", step, _ZERO))
            count = builder.select(is_away, _ZERO, builder.add(whole, builder.zext(uneven, I64)))
        with builder.goto_entry_block():
            place, left = builder.alloca(I64), builder.alloca(I64)
        builder.store(start, place)
        builder.store(count, left)
        state = ir.Constant(context.get_value_type(signature.return_type), ir.Undefined)
        for i, part in enumerate((place, stop, step, left)):
            state = builder.insert_value(state, part, i)
        return state

    return emit


def _advance(context: Any, signature: Any) -> Implementation | None:
    (source,) = signature.args
    if not isinstance(source, types.RangeIteratorType) or source.yield_type != types.int64:
        return None

    def emit(builder: Any, args: Sequence[Any], loc: Any = None) -> Any:
        place, step, left = (builder.extract_value(args[0], i) for i in (0, 2, 3))
        number, count = builder.load(place), builder.load(left)
        is_one = builder.icmp_signed(">", count, _ZERO)
        with builder.if_then(is_one):
            builder.store(builder.sub(count, _ONE, flags=["nsw"]), left)
            builder.store(builder.add(number, step), place)
        pair = ir.Constant(context.get_value_type(signature.return_type), ir.Undefined)
        return builder.insert_value(builder.insert_value(pair, number, 0), is_one, 1)

    return emit


def _not_static(context: Any, signature: Any) -> Implementation | None:
    """Reject the lowering for constant indices, which numba tries first and arrays do not have."""
    if isinstance(signature.args[0], types.Array) and not isinstance(signature.args[1], types.StringLiteral):
        raise NotImplementedError
    return None


_MAKERS: dict[Any, Callable[[Any, Any], Implementation | None]] = {
    "static_getitem": _not_static,
    "static_setitem": _not_static,
    operator.getitem: _get_item,
    operator.setitem: _set_item,
    range: _range,
    "getiter": _iterate,
    "iternext": _advance,
}
