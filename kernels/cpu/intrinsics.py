"""Vector operations that numba does not offer, written in LLVM's language so that they hold on every processor.

numba leaves vectorising to LLVM, which gives up on loops with many buffers; here the vectors are explicit. Eight
float32 lanes are the width of AVX2; LLVM splits them for narrower processors. A fused multiply-add rounds once by
definition, on hardware that lacks it in software: slower, same bits. Nothing else is ever contracted or reordered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ...records import dataclass
from ..shared.program import PARITIES, Sums

_F32 = ir.FloatType()
_I32 = ir.IntType(32)
_I64 = ir.IntType(64)
LANES = 8
_UNROLLED_RADII = (2, 1)  # of all feature filters; only pre-smoothing is wider
ROWS = 3  # summed at once by sum_even_rows_fused; with more, registers do not suffice
_UNROLLED = 4  # vectors summed side by side, enough to hide the latency of an add and a multiply-add


@dataclass(frozen=True)
class Lanes:
    """One or eight float32 values while code for them is being emitted; arithmetic on it emits instructions."""

    builder: Any
    value: Any
    width: int

    def _wrap(self, value: Any) -> Lanes:
        return Lanes(self.builder, value, self.width)

    def constant(self, number: float | np.float32) -> Lanes:
        """The same number in every lane."""
        scalar = ir.Constant(_F32, float(np.float32(number)))
        if self.width == 1:
            return self._wrap(scalar)
        return self._wrap(ir.Constant(ir.VectorType(_F32, self.width), [scalar] * self.width))

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
        """True where the sign bit is set, -0.0 and negative NaNs included."""
        bits = ir.VectorType(_I32, self.width) if self.width > 1 else _I32
        return self._wrap(
            self.builder.icmp_signed("<", self.builder.bitcast(self.value, bits), ir.Constant(bits, None))
        )

    def where(self, yes: Lanes | float | np.float32, no: Lanes | float | np.float32) -> Lanes:
        """For a comparison's result: ``yes`` where it holds, else ``no``."""
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
        """``self * factor + addend``, rounded once."""
        return self._call("fma", factor, addend)


def maximum(a: Lanes, b: Lanes) -> Lanes:
    """The larger of two; b where either is NaN."""
    return (a > b).where(a, b)


def data_of(context: Any, builder: Any, array_type: Any, value: Any) -> Any:
    """The pointer to an array's first element."""
    return context.make_array(array_type)(context, builder, value).data


def splat(builder: Any, value: Any, width: int) -> Lanes:
    """A float32 in every lane."""
    if width > 1:
        undefined = ir.Constant(ir.VectorType(value.type, width), ir.Undefined)
        first = builder.insert_element(undefined, value, ir.Constant(_I32, 0))
        value = builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_I32, width), [0] * width))
    return Lanes(builder, value, width)


def _vector_pointer(builder: Any, base: Any, index: Any, width: int) -> Any:
    place = builder.gep(base, [index])
    return builder.bitcast(place, ir.VectorType(_F32, width).as_pointer()) if width > 1 else place


def load(builder: Any, base: Any, index: Any, width: int) -> Lanes:
    """Neighbours of a flat float32 buffer, from base[index] on."""
    return Lanes(builder, builder.load(_vector_pointer(builder, base, index, width), align=4), width)


def _store(builder: Any, lanes: Lanes, base: Any, index: Any) -> None:
    builder.store(lanes.value, _vector_pointer(builder, base, index, lanes.width), align=4)


def _for_each_vector(
    builder: Any, n: Any, passes: Sequence[tuple[int, int]], body: Callable[[Any, int, int], None]
) -> None:
    """Emit ``body(first index, lanes, vectors)`` over [0, n): as many wide steps as fit, then narrower ones."""
    done = ir.Constant(_I64, 0)
    for width, vectors in passes:
        step = ir.Constant(_I64, width * vectors)
        count = builder.sdiv(builder.sub(n, done), step)
        with cgutils.for_range(builder, count) as loop:
            body(builder.add(done, builder.mul(loop.index, step)), width, vectors)
        done = builder.add(done, builder.mul(count, step))


def _for_each_overlapping(
    builder: Any, n: Any, body: Callable[[Any, int, int], None], *, vectors: int = _UNROLLED
) -> None:
    """As ``_for_each_vector``, but the rest of a row is one vector that ends with it, and computes some values twice.

    For bodies whose output is none of their inputs. Rows shorter than a vector are done one by one.
    """
    lanes, step = ir.Constant(_I64, LANES), ir.Constant(_I64, LANES * vectors)
    with builder.if_else(builder.icmp_signed("<", n, lanes)) as (short, long):
        with short, cgutils.for_range(builder, n) as loop:
            body(loop.index, 1, 1)
        with long:
            count = builder.sdiv(n, step)
            with cgutils.for_range(builder, count) as loop:
                body(builder.mul(loop.index, step), LANES, vectors)
            done = builder.mul(count, step)
            left = builder.sub(n, done)
            whole = builder.sdiv(left, lanes)
            with cgutils.for_range(builder, whole) as loop:
                body(builder.add(done, builder.mul(loop.index, lanes)), LANES, 1)
            with builder.if_then(builder.icmp_signed("<", builder.mul(whole, lanes), left)):
                body(builder.sub(n, lanes), LANES, 1)


def _make_symmetric_sum(sums: Sums, *, fused: bool) -> Any:
    """The intrinsic for one choice of sums and rounding; see ``filters.symmetric_sum`` for its arguments."""
    parities = PARITIES[sums]

    @intrinsic
    def symmetric_sum(  # type: ignore[no-untyped-def]
        typing_context, out, outs, out_stride, src, at, src_stride, rows, n, plus, minus, taps, radius
    ):
        i8 = types.int64
        signature = types.void(out, outs, i8, src, i8, i8, i8, i8, plus, minus, taps, i8)

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            out_, src_, plus_, minus_ = (data_of(context, builder, sig.args[i], args[i]) for i in (0, 3, 8, 9))
            places = cgutils.unpack_tuple(builder, args[1])[: len(parities)]
            weights = [
                data_of(context, builder, kind, array)
                for kind, array in zip(sig.args[10].types, cgutils.unpack_tuple(builder, args[10]), strict=True)
            ][: len(parities)]
            one = ir.Constant(_I64, 1)

            def at_step(array: Any, k: Any) -> Any:
                return builder.load(builder.gep(array, [k if hasattr(k, "type") else ir.Constant(_I64, k)]))

            def add_pairs(totals: Sequence[Lanes], taps_: Sequence[Any], right: Any, left: Any) -> list[Lanes]:
                width = totals[0].width
                a, b = (load(builder, src_, place, width) for place in (right, left))
                pairs = {odd: a - b if odd else a + b for odd in dict.fromkeys(parities)}
                added = []
                for total, tap, odd in zip(totals, taps_, parities, strict=True):
                    pair, weight = pairs[odd], splat(builder, tap, width)
                    added.append(pair.fused_multiply_add(weight, total) if fused else total + weight * pair)
                return added

            def each_row(body: Callable[[Sequence[Any], Any, Any, int, int], None]) -> None:
                with cgutils.for_range(builder, args[6]) as loop:
                    step = builder.mul(loop.index, args[2])
                    to = [builder.add(place, step) for place in places]
                    at_ = builder.add(args[4], builder.mul(loop.index, args[5]))
                    _for_each_overlapping(builder, args[7], partial(body, to, at_), vectors=_UNROLLED // len(parities))

            def unrolled(radius: int) -> None:
                """All taps and offsets are in registers."""
                values = [[at_step(array, k) for array in weights] for k in range(radius + 1)]
                right, left = ([at_step(array, k) for k in range(1, radius + 1)] for array in (plus_, minus_))

                def body(to: Sequence[Any], at_: Any, first: Any, width: int, vectors: int) -> None:
                    for j in range(vectors):
                        start = builder.add(first, ir.Constant(_I64, width * j))
                        place = builder.add(at_, start)
                        centre = load(builder, src_, place, width)
                        totals = [splat(builder, tap, width) * centre for tap in values[0]]
                        for taps_, r, m in zip(values[1:], right, left, strict=True):
                            totals = add_pairs(totals, taps_, builder.add(place, r), builder.add(place, m))
                        for total, target in zip(totals, to, strict=True):
                            _store(builder, total, out_, builder.add(target, start))

                each_row(body)

            def looped() -> None:
                def body(to: Sequence[Any], at_: Any, first: Any, width: int, vectors: int) -> None:
                    kind = ir.VectorType(_F32, width) if width > 1 else _F32
                    starts = [builder.add(first, ir.Constant(_I64, width * j)) for j in range(vectors)]
                    sums_ = [cgutils.alloca_once(builder, kind) for _ in range(vectors)]
                    tap = splat(builder, builder.load(weights[0]), width)
                    for start, total in zip(starts, sums_, strict=True):
                        builder.store((tap * load(builder, src_, builder.add(at_, start), width)).value, total)
                    with cgutils.for_range_slice(builder, one, builder.add(args[11], one), one) as (k, _):
                        tap = at_step(weights[0], k)
                        right, left = (builder.add(at_, at_step(array, k)) for array in (plus_, minus_))
                        for start, total in zip(starts, sums_, strict=True):
                            so_far = Lanes(builder, builder.load(total), width)
                            (summed,) = add_pairs([so_far], [tap], builder.add(right, start), builder.add(left, start))
                            builder.store(summed.value, total)
                    for start, total in zip(starts, sums_, strict=True):
                        _store(builder, Lanes(builder, builder.load(total), width), out_, builder.add(to[0], start))

                each_row(body)

            def choose(radii: Sequence[int]) -> None:
                if not radii:
                    if len(parities) == 1:
                        looped()
                    return
                is_it = builder.icmp_signed("==", args[11], ir.Constant(_I64, radii[0]))
                with builder.if_else(is_it) as (then, otherwise):
                    with then:
                        unrolled(radii[0])
                    with otherwise:
                        choose(radii[1:])

            choose(_UNROLLED_RADII)
            return context.get_dummy_value()

        return signature, codegen

    return symmetric_sum


sum_even_fused = _make_symmetric_sum(Sums.EVEN, fused=True)
sum_even_rounded = _make_symmetric_sum(Sums.EVEN, fused=False)
sum_odd_fused = _make_symmetric_sum(Sums.ODD, fused=True)
sum_odd_rounded = _make_symmetric_sum(Sums.ODD, fused=False)
sum_even_odd_fused = _make_symmetric_sum(Sums.EVEN_ODD, fused=True)
sum_even_odd_rounded = _make_symmetric_sum(Sums.EVEN_ODD, fused=False)
sum_even_odd_even_fused = _make_symmetric_sum(Sums.EVEN_ODD_EVEN, fused=True)
sum_even_odd_even_rounded = _make_symmetric_sum(Sums.EVEN_ODD_EVEN, fused=False)


@intrinsic
def sum_even_rows_fused(  # type: ignore[no-untyped-def]
    typing_context, out, out_at, out_stride, src, at, src_stride, blocks, n, taps, radius
):
    """As sum_even_fused, for ``ROWS * blocks`` rows whose pairs are rows, too: row + k and row - k.

    Several rows are summed at once; from one tap to the next each takes its neighbour's voxels, so that only the
    outermost are loaded.
    """
    i8 = types.int64
    signature = types.void(out, i8, i8, src, i8, i8, i8, i8, taps, i8)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        out_, src_, taps_ = (data_of(context, builder, sig.args[i], args[i]) for i in (0, 3, 8))
        _, out_at_, out_stride_, _, at_, src_stride_, blocks_, n_, _, radius_ = args
        rows, one = range(ROWS), ir.Constant(_I64, 1)

        def body(block: Any, first: Any, width: int, vectors: int) -> None:
            assert vectors == 1
            row = builder.mul(block, ir.Constant(_I64, ROWS))
            base = builder.add(at_, builder.add(builder.mul(row, src_stride_), first))
            to = builder.add(out_at_, builder.add(builder.mul(row, out_stride_), first))

            def voxels(index: Any) -> Any:
                index = ir.Constant(_I64, index) if isinstance(index, int) else index
                return load(builder, src_, builder.add(base, builder.mul(index, src_stride_)), width).value

            tap = splat(builder, builder.load(taps_), width)
            sums, right, left = (
                [cgutils.alloca_once_value(builder, value) for value in values]
                for values in (
                    [(tap * Lanes(builder, voxels(j), width)).value for j in rows],
                    [voxels(j + 1) for j in rows[:-1]] + [ir.Constant(tap.value.type, None)],
                    [ir.Constant(tap.value.type, None)] + [voxels(j - 1) for j in rows[1:]],
                )
            )

            def add_tap(k: Any, turn: int) -> None:
                """right[(turn + j) % ROWS] holds row j + k, left[(j - turn) % ROWS] row j - k."""
                builder.store(voxels(builder.add(k, ir.Constant(_I64, ROWS - 1))), right[(turn + ROWS - 1) % ROWS])
                builder.store(voxels(builder.neg(k)), left[-turn % ROWS])
                tap = splat(builder, builder.load(builder.gep(taps_, [k])), width)
                for j in rows:
                    a, b = (builder.load(side[place % ROWS]) for side, place in ((right, turn + j), (left, j - turn)))
                    total = Lanes(builder, builder.load(sums[j]), width)
                    pair = Lanes(builder, a, width) + Lanes(builder, b, width)
                    builder.store(pair.fused_multiply_add(tap, total).value, sums[j])

            def turn_back() -> None:
                """Name the rows as they were before a tap was added out of turn."""
                for side, order in ((right, [*rows[1:], 0]), (left, [rows[-1], *rows[:-1]])):
                    for place, value in zip(side, [builder.load(side[i]) for i in order], strict=True):
                        builder.store(value, place)

            odd_ones = builder.srem(radius_, ir.Constant(_I64, ROWS))
            with cgutils.for_range_slice(builder, one, builder.add(odd_ones, one), one) as (k, _):
                add_tap(k, 0)
                turn_back()
            start, stop = builder.add(odd_ones, one), builder.add(radius_, one)
            with cgutils.for_range_slice(builder, start, stop, ir.Constant(_I64, ROWS)) as (k, _):
                for turn in rows:
                    add_tap(builder.add(k, ir.Constant(_I64, turn)), turn)
            for j in rows:
                place = builder.add(to, builder.mul(ir.Constant(_I64, j), out_stride_))
                _store(builder, Lanes(builder, builder.load(sums[j]), width), out_, place)

        with cgutils.for_range(builder, blocks_) as loop:
            _for_each_overlapping(builder, n_, partial(body, loop.index), vectors=1)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def copy_run(typing_context, src, at, out, to, n):  # type: ignore[no-untyped-def]
    """``out[to : to + n] = src[at : at + n]``, float32 buffers that do not overlap there. Plain loops stay scalar."""
    signature = types.void(src, types.int64, out, types.int64, types.int64)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        source, target = (data_of(context, builder, sig.args[i], args[i]) for i in (0, 2))

        def body(first: Any, width: int, vectors: int) -> None:
            for j in range(vectors):
                start = builder.add(first, ir.Constant(_I64, width * j))
                _store(
                    builder,
                    load(builder, source, builder.add(args[1], start), width),
                    target,
                    builder.add(args[3], start),
                )

        _for_each_overlapping(builder, args[4], body)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def spread_vectors(typing_context, src, at, out, to, step, count, width):  # type: ignore[no-untyped-def]
    """For 0 <= j < count: ``out[to + j * step : … + width] = src[at + j * width : … + width]``; width is 4 or 8."""
    i8 = types.int64
    signature = types.void(src, i8, out, i8, i8, i8, i8)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        source, target = (
            data_of(context, builder, sig.args[0], args[0]),
            data_of(context, builder, sig.args[2], args[2]),
        )
        is_narrow = builder.icmp_signed("==", args[6], ir.Constant(_I64, 4))
        with builder.if_else(is_narrow) as (narrow, wide):
            for branch, width in ((narrow, 4), (wide, 8)):
                with branch, cgutils.for_range(builder, args[5]) as loop:
                    offset = builder.mul(loop.index, ir.Constant(_I64, width))
                    lanes = load(builder, source, builder.add(args[1], offset), width)
                    _store(builder, lanes, target, builder.add(args[3], builder.mul(loop.index, args[4])))
        return context.get_dummy_value()

    return signature, codegen


def elementwise(formula: Callable[..., Sequence[Lanes]], inputs: int, width: int = LANES) -> Any:
    """An intrinsic ``(buffer, places, n)`` that applies ``formula`` to runs of a flat float32 buffer.

    places is a tuple of int64 offsets: of the inputs, then of the outputs. An output may be one of the inputs. width is
    the number of values computed side by side.
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
                    _store(builder, result, base, builder.add(offset, first))

            _for_each_vector(builder, args[2], ((width, 1), (1, 1)), body)
            return context.get_dummy_value()

        return signature, codegen

    return apply


@intrinsic
def keep_apart(typing_context):  # type: ignore[no-untyped-def]
    """Compile the function that calls this once, instead of once more at each of its callers' calls.

    The large kernels otherwise take several times longer to compile, for nothing.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), codegen
