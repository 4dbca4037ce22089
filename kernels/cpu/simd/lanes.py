"""Vector operations that numba lacks, written in LLVM IR so that they work on every processor.

numba leaves vectorising to LLVM, which gives up on loops with many buffers; here the vectors are explicit. Eight
float32 lanes are the width of AVX2; LLVM splits them for narrower processors. A fused multiply-add rounds once by
definition; on hardware without it, software computes it: slower, same bits. Nothing else is contracted or reordered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ....frozen import frozen

F32 = ir.FloatType()
_I32 = ir.IntType(32)
I64 = ir.IntType(64)
LANES = 8
UNROLLED = 4  # interleaved sums of vectors, enough to hide the latency of an add and a multiply-add


@frozen
class Lanes:
    """One or eight float32 values in code that is being emitted; arithmetic on them emits instructions."""

    builder: Any
    value: Any
    width: int

    def _wrap(self, value: Any) -> Lanes:
        return Lanes(self.builder, value, self.width)

    def constant(self, number: float | np.float32) -> Lanes:
        """The same number in every lane."""
        scalar = ir.Constant(F32, float(np.float32(number)))
        if self.width == 1:
            return self._wrap(scalar)
        return self._wrap(ir.Constant(ir.VectorType(F32, self.width), [scalar] * self.width))

    def _other(self, other: Lanes | float | np.float32) -> Any:
        return (other if isinstance(other, Lanes) else self.constant(other)).value

    def __add__(self, other: Lanes | float | np.float32) -> Lanes:
        return self._wrap(self.builder.fadd(self.value, self._other(other)))

    def __sub__(self, other: Lanes | float | np.float32) -> Lanes:
        return self._wrap(self.builder.fsub(self.value, self._other(other)))

    def __mul__(self, other: Lanes | float | np.float32) -> Lanes:
        return self._wrap(self.builder.fmul(self.value, self._other(other)))

    def __truediv__(self, other: Lanes | float | np.float32) -> Lanes:
        return self._wrap(self.builder.fdiv(self.value, self._other(other)))

    def __neg__(self) -> Lanes:
        return self._wrap(self.builder.fneg(self.value))

    def __lt__(self, other: Lanes | float | np.float32) -> Lanes:
        return self._wrap(self.builder.fcmp_ordered("<", self.value, self._other(other)))

    def __gt__(self, other: Lanes | float | np.float32) -> Lanes:
        return self._wrap(self.builder.fcmp_ordered(">", self.value, self._other(other)))

    def is_zero(self) -> Lanes:
        return self._wrap(self.builder.fcmp_ordered("==", self.value, self._other(0.0)))

    def is_negative(self) -> Lanes:
        """Test the sign bit, also of -0.0 and negative NaNs."""
        bits = ir.VectorType(_I32, self.width) if self.width > 1 else _I32
        return self._wrap(
            self.builder.icmp_signed("<", self.builder.bitcast(self.value, bits), ir.Constant(bits, None))
        )

    def where(self, yes: Lanes | float | np.float32, no: Lanes | float | np.float32) -> Lanes:
        """Select ``yes`` where a comparison holds, else ``no``."""
        floats = (
            yes if isinstance(yes, Lanes) else no if isinstance(no, Lanes) else Lanes(self.builder, None, self.width)
        )
        return self._wrap(self.builder.select(self.value, floats._other(yes), floats._other(no)))

    def _call(self, name: str, *others: Lanes) -> Lanes:
        kind = self.value.type
        suffix = "f32" if self.width == 1 else f"v{self.width}f32"
        signature = ir.FunctionType(kind, [kind] * (1 + len(others)))
        function = cgutils.get_or_insert_function(self.builder.module, signature, f"llvm.{name}.{suffix}")
        return self._wrap(self.builder.call(function, [self.value, *(o.value for o in others)]))

    def sqrt(self) -> Lanes:
        return self._call("sqrt")

    def magnitude(self) -> Lanes:
        return self._call("fabs")

    def fused_multiply_add(self, factor: Lanes, addend: Lanes) -> Lanes:
        """Compute ``self * factor + addend``, rounded once."""
        return self._call("fma", factor, addend)


def maximum(a: Lanes, b: Lanes) -> Lanes:
    """Maximum of two; b where either is NaN."""
    return (a > b).where(a, b)


def field_of(context: Any, builder: Any, array_type: Any, value: Any, name: str) -> Any:
    """Field of numba's array structure: data, shape, strides, …"""
    return builder.extract_value(value, context.data_model_manager[array_type].get_field_position(name))


def data_of(context: Any, builder: Any, array_type: Any, value: Any) -> Any:
    """Pointer to an array's first element."""
    return field_of(context, builder, array_type, value, "data")


def splat(builder: Any, value: Any, width: int) -> Lanes:
    """Broadcast a float32 to every lane."""
    if width > 1:
        undefined = ir.Constant(ir.VectorType(value.type, width), ir.Undefined)
        first = builder.insert_element(undefined, value, ir.Constant(_I32, 0))
        value = builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_I32, width), [0] * width))
    return Lanes(builder, value, width)


def _vector_pointer(builder: Any, base: Any, index: Any, width: int) -> Any:
    place = builder.gep(base, [index])
    return builder.bitcast(place, ir.VectorType(F32, width).as_pointer()) if width > 1 else place


def load(builder: Any, base: Any, index: Any, width: int) -> Lanes:
    """Load neighbours of a flat float32 buffer, from base[index] on."""
    return Lanes(builder, builder.load(_vector_pointer(builder, base, index, width), align=4), width)


def store(builder: Any, lanes: Lanes, base: Any, index: Any) -> None:
    """Store to neighbours of a flat float32 buffer, from base[index] on."""
    builder.store(lanes.value, _vector_pointer(builder, base, index, lanes.width), align=4)


def _for_each_vector(
    builder: Any, n: Any, passes: Sequence[tuple[int, int]], body: Callable[[Any, int, int], None]
) -> None:
    """Emit ``body(first index, lanes, vectors)`` over [0, n): as many wide steps as fit, then narrower ones."""
    done = ir.Constant(I64, 0)
    for width, vectors in passes:
        step = ir.Constant(I64, width * vectors)
        count = builder.sdiv(builder.sub(n, done), step)
        with cgutils.for_range(builder, count) as loop:
            body(builder.add(done, builder.mul(loop.index, step)), width, vectors)
        done = builder.add(done, builder.mul(count, step))


def for_each_overlapping(
    builder: Any, n: Any, body: Callable[[Any, int, int], None], *, vectors: int = UNROLLED
) -> None:
    """Emit a body as ``_for_each_vector``, but process the rest of a row as one vector that ends with the row.

    Some values are computed twice, so no output may be an input. Rows shorter than a vector go value by value.
    """
    lanes, step = ir.Constant(I64, LANES), ir.Constant(I64, LANES * vectors)
    with builder.if_else(builder.icmp_signed("<", n, lanes)) as (short, long):
        with short, cgutils.for_range(builder, n) as loop:
            body(loop.index, 1, 1)
        with long:
            done = ir.Constant(I64, 0)
            if vectors > 1:
                count = builder.sdiv(n, step)
                with cgutils.for_range(builder, count) as loop:
                    body(builder.mul(loop.index, step), LANES, vectors)
                done = builder.mul(count, step)
            # The last vector is moved back to end with the row.
            count = builder.sdiv(builder.add(builder.sub(n, done), ir.Constant(I64, LANES - 1)), lanes)
            last = builder.sub(n, lanes)
            with cgutils.for_range(builder, count) as loop:
                first = builder.add(done, builder.mul(loop.index, lanes))
                body(builder.select(builder.icmp_signed("<", first, last), first, last), LANES, 1)


@intrinsic
def copy_run(typing_context, src, at, out, to, n):  # type: ignore[no-untyped-def]
    """Copy ``out[to : to + n] = src[at : at + n]``, float32 buffers without overlap. Plain loops stay scalar."""
    signature = types.void(src, types.int64, out, types.int64, types.int64)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        source, target = (data_of(context, builder, sig.args[i], args[i]) for i in (0, 2))

        def body(first: Any, width: int, vectors: int) -> None:
            for j in range(vectors):
                start = builder.add(first, ir.Constant(I64, width * j))
                store(
                    builder,
                    load(builder, source, builder.add(args[1], start), width),
                    target,
                    builder.add(args[3], start),
                )

        for_each_overlapping(builder, args[4], body)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def clear(typing_context, array):  # type: ignore[no-untyped-def]
    """Fill an array with zeros. numba's ``fill`` is a separate function for every type, made for any index."""
    signature = types.void(array)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data, items, size = (
            field_of(context, builder, array, args[0], name) for name in ("data", "nitems", "itemsize")
        )
        cgutils.memset(builder, data, builder.mul(items, size), 0)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def spread_vectors(typing_context, src, at, out, to, step, count, width):  # type: ignore[no-untyped-def]
    """Copy ``out[to + j * step : … + width] = src[at + j * width : … + width]``, 0 <= j < count; width is 4 or 8."""
    i8 = types.int64
    signature = types.void(src, i8, out, i8, i8, i8, i8)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        source, target = (
            data_of(context, builder, sig.args[0], args[0]),
            data_of(context, builder, sig.args[2], args[2]),
        )
        is_narrow = builder.icmp_signed("==", args[6], ir.Constant(I64, 4))
        with builder.if_else(is_narrow) as (narrow, wide):
            for branch, width in ((narrow, 4), (wide, 8)):
                with branch, cgutils.for_range(builder, args[5]) as loop:
                    offset = builder.mul(loop.index, ir.Constant(I64, width))
                    lanes = load(builder, source, builder.add(args[1], offset), width)
                    store(builder, lanes, target, builder.add(args[3], builder.mul(loop.index, args[4])))
        return context.get_dummy_value()

    return signature, codegen


def elementwise(formula: Callable[..., Sequence[Lanes]], inputs: int, width: int = LANES) -> Any:
    """Make an intrinsic ``(buffer, places, n)`` that applies ``formula`` to runs of a flat float32 buffer.

    places is a tuple of int64 offsets: of the inputs, then of the outputs. An output may be one of the inputs. width is
    the number of values computed at once.
    """

    @intrinsic
    def apply(typing_context, buffer, places, n):  # type: ignore[no-untyped-def]
        signature = types.void(buffer, places, types.int64)

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            base = data_of(context, builder, sig.args[0], args[0])
            offsets = cgutils.unpack_tuple(builder, args[1])

            def body(first: Any, lanes: int, vectors: int) -> None:
                values = [load(builder, base, builder.add(o, first), lanes) for o in offsets[:inputs]]
                for offset, result in zip(offsets[inputs:], formula(*values), strict=True):
                    store(builder, result, base, builder.add(offset, first))

            _for_each_vector(builder, args[2], ((width, 1), (1, 1)), body)
            return context.get_dummy_value()

        return signature, codegen

    return apply


@intrinsic
def noinline(typing_context):  # type: ignore[no-untyped-def]
    """Set LLVM's ``noinline`` on the calling function.

    Large kernels are then compiled once, not at every call; inlined they take several times longer, for no gain.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), codegen
