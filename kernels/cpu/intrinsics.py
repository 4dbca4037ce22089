"""Vector operations that numba does not offer, written in LLVM's language so that they hold on every processor.

numba leaves vectorising to LLVM, which gives up on loops with many buffers; here the vectors are explicit. Eight
float32 lanes are the width of AVX2; LLVM splits them for narrower processors. A fused multiply-add rounds once by
definition, on hardware that lacks it in software: slower, same bits. Nothing else is ever contracted or reordered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_F32 = ir.FloatType()
_I32 = ir.IntType(32)
_I64 = ir.IntType(64)
_LANES = 8
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


def _data(context: Any, builder: Any, array_type: Any, value: Any) -> Any:
    return context.make_array(array_type)(context, builder, value).data


def _splat(builder: Any, value: Any, width: int) -> Lanes:
    if width > 1:
        undefined = ir.Constant(ir.VectorType(value.type, width), ir.Undefined)
        first = builder.insert_element(undefined, value, ir.Constant(_I32, 0))
        value = builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_I32, width), [0] * width))
    return Lanes(builder, value, width)


def _vector_pointer(builder: Any, base: Any, index: Any, width: int) -> Any:
    place = builder.gep(base, [index])
    return builder.bitcast(place, ir.VectorType(_F32, width).as_pointer()) if width > 1 else place


def _load(builder: Any, base: Any, index: Any, width: int) -> Lanes:
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


def _make_symmetric_sum(*, odd: bool, fused: bool) -> Any:
    """The intrinsic for one parity and rounding; see ``filters.symmetric_sum`` for its arguments."""

    @intrinsic
    def symmetric_sum(  # type: ignore[no-untyped-def]
        typing_context, out, out_at, out_stride, src, at, src_stride, rows, n, plus, minus, taps, radius
    ):
        i8 = types.int64
        signature = types.void(out, i8, i8, src, i8, i8, i8, i8, plus, minus, taps, i8)

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            out_, src_, plus_, minus_, taps_ = (_data(context, builder, sig.args[i], args[i]) for i in (0, 3, 8, 9, 10))
            one = ir.Constant(_I64, 1)
            radius_end = builder.add(args[11], one)
            with cgutils.for_range(builder, args[6]) as loop:
                to = builder.add(args[1], builder.mul(loop.index, args[2]))
                at_ = builder.add(args[4], builder.mul(loop.index, args[5]))

                def body(first: Any, width: int, vectors: int) -> None:
                    kind = ir.VectorType(_F32, width) if width > 1 else _F32
                    starts = [builder.add(first, ir.Constant(_I64, width * j)) for j in range(vectors)]
                    sums = [cgutils.alloca_once(builder, kind) for _ in range(vectors)]
                    tap = _splat(builder, builder.load(taps_), width)
                    for start, total in zip(starts, sums, strict=True):
                        builder.store((tap * _load(builder, src_, builder.add(at_, start), width)).value, total)
                    with cgutils.for_range_slice(builder, one, radius_end, one) as (k, _):
                        tap = _splat(builder, builder.load(builder.gep(taps_, [k])), width)
                        right = builder.add(at_, builder.load(builder.gep(plus_, [k])))
                        left = builder.add(at_, builder.load(builder.gep(minus_, [k])))
                        for start, total in zip(starts, sums, strict=True):
                            a = _load(builder, src_, builder.add(right, start), width)
                            b = _load(builder, src_, builder.add(left, start), width)
                            pair = a - b if odd else a + b
                            so_far = Lanes(builder, builder.load(total), width)
                            summed = pair.fused_multiply_add(tap, so_far) if fused else so_far + tap * pair
                            builder.store(summed.value, total)
                    for start, total in zip(starts, sums, strict=True):
                        _store(builder, Lanes(builder, builder.load(total), width), out_, builder.add(to, start))

                _for_each_vector(builder, args[7], ((_LANES, _UNROLLED), (_LANES, 1), (1, 1)), body)
            return context.get_dummy_value()

        return signature, codegen

    return symmetric_sum


sum_even_fused = _make_symmetric_sum(odd=False, fused=True)
sum_even_rounded = _make_symmetric_sum(odd=False, fused=False)
sum_odd_fused = _make_symmetric_sum(odd=True, fused=True)
sum_odd_rounded = _make_symmetric_sum(odd=True, fused=False)


@intrinsic
def copy_run(typing_context, src, at, out, to, n):  # type: ignore[no-untyped-def]
    """``out[to : to + n] = src[at : at + n]``, float32 buffers that do not overlap there. Plain loops stay scalar."""
    signature = types.void(src, types.int64, out, types.int64, types.int64)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        source = builder.gep(_data(context, builder, sig.args[0], args[0]), [args[1]])
        target = builder.gep(_data(context, builder, sig.args[2], args[2]), [args[3]])
        cgutils.raw_memcpy(builder, target, source, args[4], 4)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def spread_vectors(typing_context, src, at, out, to, step, count, width):  # type: ignore[no-untyped-def]
    """For 0 <= j < count: ``out[to + j * step : … + width] = src[at + j * width : … + width]``; width is 4 or 8."""
    i8 = types.int64
    signature = types.void(src, i8, out, i8, i8, i8, i8)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        source, target = _data(context, builder, sig.args[0], args[0]), _data(context, builder, sig.args[2], args[2])
        is_narrow = builder.icmp_signed("==", args[6], ir.Constant(_I64, 4))
        with builder.if_else(is_narrow) as (narrow, wide):
            for branch, width in ((narrow, 4), (wide, 8)):
                with branch, cgutils.for_range(builder, args[5]) as loop:
                    offset = builder.mul(loop.index, ir.Constant(_I64, width))
                    lanes = _load(builder, source, builder.add(args[1], offset), width)
                    _store(builder, lanes, target, builder.add(args[3], builder.mul(loop.index, args[4])))
        return context.get_dummy_value()

    return signature, codegen


def elementwise(formula: Callable[..., Sequence[Lanes]], inputs: int, width: int = _LANES) -> Any:
    """An intrinsic ``(buffer, places, n)`` that applies ``formula`` to runs of a flat float32 buffer.

    places is a tuple of int64 offsets: of the inputs, then of the outputs. An output may be one of the inputs. width is
    the number of values computed side by side.
    """

    @intrinsic
    def apply(typing_context, buffer, places, n):  # type: ignore[no-untyped-def]
        signature = types.void(buffer, places, types.int64)

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            base = _data(context, builder, sig.args[0], args[0])
            offsets = cgutils.unpack_tuple(builder, args[1])

            def body(first: Any, lanes: int, vectors: int) -> None:
                values = [_load(builder, base, builder.add(o, first), lanes) for o in offsets[:inputs]]
                for offset, result in zip(offsets[inputs:], formula(*values), strict=True):
                    _store(builder, result, base, builder.add(offset, first))

            _for_each_vector(builder, args[2], ((width, 1), (1, 1)), body)
            return context.get_dummy_value()

        return signature, codegen

    return apply


@intrinsic
def less_than_64(typing_context, buffer, at, threshold):  # type: ignore[no-untyped-def]
    """Bit i of the result: ``buffer[at + i] < threshold``, for 64 neighbours of a flat float32 buffer."""
    signature = types.uint64(buffer, types.int64, types.float32)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        values = _load(builder, _data(context, builder, sig.args[0], args[0]), args[1], 64)
        smaller = values < _splat(builder, args[2], 64)
        return builder.bitcast(smaller.value, _I64)

    return signature, codegen


@intrinsic
def decide_rows(typing_context, limits, at, n, bounds, bounds_at, words, first, last):  # type: ignore[no-untyped-def]
    """Answer ``value < limit`` for four blocks at once where their bounds suffice, and say where they do not.

    limits[at], …, n of them, ascend. bounds holds four lows and four highs from bounds_at on. Row i of words, four
    words from words[4 * (at + i)] on, becomes all ones in the words of those blocks whose high is below the limit, else
    zero. first and last (4,) int32: [first, last) are the limits between a block's bounds.
    """
    signature = types.void(limits, types.int64, types.int64, bounds, types.int64, words, first, last)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        limit_, bound_ = (_data(context, builder, sig.args[i], args[i]) for i in (0, 3))
        word_, first_, last_ = (_data(context, builder, sig.args[i], args[i]) for i in (5, 6, 7))
        counts, wide = ir.VectorType(_I32, 4), ir.VectorType(_I64, 4)
        low = _load(builder, bound_, args[4], 4)
        high = _load(builder, bound_, builder.add(args[4], ir.Constant(_I64, 4)), 4)
        below, upto = (cgutils.alloca_once_value(builder, ir.Constant(counts, None)) for _ in range(2))
        with cgutils.for_range(builder, args[2]) as loop:
            place = builder.add(args[1], loop.index)
            limit = _splat(builder, builder.load(builder.gep(limit_, [place])), 4)
            undecided_or_left = builder.fcmp_ordered("<", low.value, limit.value)
            is_left = builder.fcmp_ordered("<", high.value, limit.value)
            for total, flag in ((below, undecided_or_left), (upto, is_left)):
                builder.store(builder.add(builder.load(total), builder.sext(flag, counts)), total)
            row = builder.bitcast(builder.gep(word_, [builder.mul(place, ir.Constant(_I64, 4))]), wide.as_pointer())
            builder.store(builder.sext(is_left, wide), row, align=8)
        many = builder.trunc(args[2], _I32)
        undefined = ir.Constant(counts, ir.Undefined)
        all_of = builder.shuffle_vector(
            builder.insert_element(undefined, many, ir.Constant(_I32, 0)), undefined, ir.Constant(counts, [0] * 4)
        )
        for total, out in ((below, first_), (upto, last_)):
            builder.store(builder.add(all_of, builder.load(total)), builder.bitcast(out, counts.as_pointer()), align=4)
        return context.get_dummy_value()

    return signature, codegen


def _packs_within_halves(context: Any) -> bool:
    """True where vectors are packed as AVX2 does it, each half on its own; a third of a comparison's cost otherwise."""
    return "+avx2" in getattr(context.codegen(), "_tm_features", "")


def _bit_of(context: Any, i: int) -> int:
    """The bit that stands for neighbour i of 64, see _bits_below."""
    if not _packs_within_halves(context):
        return i
    vector, lane = i % 32 // 8, i % 8
    return i // 32 * 32 + lane // 4 * 16 + vector * 4 + lane % 4


def _bits_below(context: Any, builder: Any, values: Sequence[Lanes], limit: Any) -> Any:
    """Which of 8 times 8 values are below the limit, as a word in the order of _bit_of."""
    limits = _splat(builder, limit, _LANES)
    flags = [(v < limits).value for v in values]
    if not _packs_within_halves(context):
        word = ir.Constant(_I64, 0)
        for i, flag in enumerate(flags):
            bits = builder.zext(builder.bitcast(flag, ir.IntType(_LANES)), _I64)
            word = builder.or_(word, builder.shl(bits, ir.Constant(_I64, i * _LANES)))
        return word
    words, shorts, chars = (ir.VectorType(ir.IntType(bits), 256 // bits) for bits in (32, 16, 8))

    def call(name: str, result: Any, *arguments: Any) -> Any:
        kind = ir.FunctionType(result, [a.type for a in arguments])
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.avx2.{name}"), arguments)

    lanes = [builder.sext(flag, words) for flag in flags]
    pairs = [call("packssdw", shorts, *lanes[i : i + 2]) for i in range(0, 8, 2)]
    fours = [call("packsswb", chars, *pairs[i : i + 2]) for i in range(0, 4, 2)]
    low, high = (builder.zext(call("pmovmskb", _I32, four), _I64) for four in fours)
    return builder.or_(low, builder.shl(high, ir.Constant(_I64, 32)))


@intrinsic
def compare_rows(typing_context, buffer, at, limits, first, stop, words, block):  # type: ignore[no-untyped-def]
    """Bits of words[4 * row + block]: ``buffer[at + i] < limits[row]``, for 64 neighbours and first <= row < stop.

    Which bit stands for which neighbour is between this and counters_64.
    """
    signature = types.void(buffer, types.int64, limits, types.int64, types.int64, words, types.int64)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        buffer_, limit_, word_ = (_data(context, builder, sig.args[i], args[i]) for i in (0, 2, 5))
        values = [
            _load(builder, buffer_, builder.add(args[1], ir.Constant(_I64, i)), _LANES) for i in range(0, 64, _LANES)
        ]
        one = ir.Constant(_I64, 1)
        with cgutils.for_range_slice(builder, args[3], args[4], one) as (row, _):
            limit = builder.load(builder.gep(limit_, [row]))
            place = builder.add(builder.mul(row, ir.Constant(_I64, 4)), args[6])
            builder.store(_bits_below(context, builder, values, limit), builder.gep(word_, [place]))
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def choose_rows(typing_context, answers, words, choices, first, stop, out, rows):  # type: ignore[no-untyped-def]
    """256 voxels choose, a bit each: where a row of answers has a one from the left row of words, else from the right.

    choices (3, n) uint32: the answers' row, left and right as places in words. Choices [first, stop) write one after
    the other from words[out] on. A row is four words, and ``rows`` of them are chosen together.
    """
    signature = types.void(answers, words, choices, *[types.int64] * 4)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        answers_, word_ = (_data(context, builder, sig.args[i], args[i]) for i in range(2))
        choice_ = context.make_array(sig.args[2])(context, builder, args[2])
        length = builder.extract_value(choice_.shape, 1)
        lists = [builder.gep(choice_.data, [builder.mul(length, ir.Constant(_I64, k))]) for k in range(3)]
        kind, four, one = ir.VectorType(_I64, 4), ir.Constant(_I64, 4), ir.Constant(_I64, 1)

        def pointer(data: Any, place: Any) -> Any:
            return builder.bitcast(builder.gep(data, [place]), kind.as_pointer())

        def emit(rows: Any) -> None:
            out = cgutils.alloca_once_value(builder, args[5])
            with cgutils.for_range_slice(builder, args[3], args[4], one) as (i, _):
                fields = [builder.zext(builder.load(builder.gep(values, [i])), _I64) for values in lists]
                goes_left = builder.load(pointer(answers_, builder.mul(fields[0], four)), align=8)

                def choose(offset: Any) -> None:
                    a, b = (builder.load(pointer(word_, builder.add(f, offset)), align=8) for f in fields[1:])
                    chosen = builder.xor(b, builder.and_(goes_left, builder.xor(a, b)))
                    builder.store(chosen, pointer(word_, builder.add(builder.load(out), offset)), align=8)

                if rows is None:
                    choose(ir.Constant(_I64, 0))
                    builder.store(builder.add(builder.load(out), four), out)
                else:
                    with cgutils.for_range(builder, rows) as loop:
                        choose(builder.mul(loop.index, four))
                    builder.store(builder.add(builder.load(out), builder.mul(rows, four)), out)

        with builder.if_else(builder.icmp_signed("==", args[6], one)) as (single, several):
            with single:
                emit(None)
            with several:
                emit(args[6])
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def add_bits_256(typing_context, digits, at, count, words, row):  # type: ignore[no-untyped-def]
    """Add one to each of 256 counters whose bit is set in the four words words[row], ….

    A counter's bits lie in ``count`` rows of four words from digits[at] on, the lowest first; it must not overflow.
    """
    signature = types.void(digits, types.int64, types.int64, words, types.int64)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        base, word = _data(context, builder, sig.args[0], args[0]), _data(context, builder, sig.args[3], args[3])
        kind = ir.VectorType(_I64, 4)

        def pointer(data: Any, at: Any) -> Any:
            return builder.bitcast(builder.gep(data, [at]), kind.as_pointer())

        carry = cgutils.alloca_once_value(builder, builder.load(pointer(word, args[4]), align=8))
        with cgutils.for_range(builder, args[2]) as loop:
            place = pointer(base, builder.add(args[1], builder.mul(loop.index, ir.Constant(_I64, 4))))
            digit, carried = builder.load(place, align=8), builder.load(carry)
            builder.store(builder.xor(digit, carried), place, align=8)
            builder.store(builder.and_(digit, carried), carry)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def counters_64(typing_context, digits, at, count, out, out_at):  # type: ignore[no-untyped-def]
    """The 64 counters whose bits lie in ``count`` words digits[at], digits[at + 4], …, see add_bits_256, as uint16."""
    signature = types.void(digits, types.int64, types.int64, out, types.int64)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        base, place = _data(context, builder, sig.args[0], args[0]), _data(context, builder, sig.args[3], args[3])
        bit, kind = ir.VectorType(ir.IntType(1), 64), ir.VectorType(ir.IntType(16), 64)
        sums, undefined_sums = (
            cgutils.alloca_once_value(builder, ir.Constant(kind, None)),
            ir.Constant(kind, ir.Undefined),
        )
        with cgutils.for_range(builder, args[2]) as loop:
            word = builder.load(
                builder.gep(base, [builder.add(args[1], builder.mul(loop.index, ir.Constant(_I64, 4)))])
            )
            set_bits = builder.zext(builder.bitcast(word, bit), kind)
            power = builder.trunc(loop.index, ir.IntType(16))
            undefined = ir.Constant(kind, ir.Undefined)
            first = builder.insert_element(undefined, power, ir.Constant(_I32, 0))
            powers = builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_I32, 64), [0] * 64))
            builder.store(builder.add(builder.load(sums), builder.shl(set_bits, powers)), sums)
        target = builder.bitcast(builder.gep(place, [args[4]]), kind.as_pointer())
        order = ir.Constant(ir.VectorType(_I32, 64), [_bit_of(context, i) for i in range(64)])
        in_order = builder.shuffle_vector(builder.load(sums), undefined_sums, order)
        builder.store(in_order, target, align=2)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def bounds_64(typing_context, buffer, at, out, low_at, high_at):  # type: ignore[no-untyped-def]
    """Store the least of 64 neighbours at out[low_at], the largest at out[high_at]; say whether one of them is NaN.

    Numbers only count: without any the bounds are inf and -inf.
    """
    signature = types.boolean(buffer, types.int64, out, types.int64, types.int64)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        base, place = _data(context, builder, sig.args[0], args[0]), _data(context, builder, sig.args[2], args[2])
        vectors = [
            _load(builder, base, builder.add(args[1], ir.Constant(_I64, j)), _LANES) for j in range(0, 64, _LANES)
        ]
        low, high = vectors[0].constant(float("inf")), vectors[0].constant(float("-inf"))
        strange = ir.Constant(ir.VectorType(_I32, _LANES), None)
        for values in vectors:
            low, high = (values < low).where(values, low), (values > high).where(values, high)
            unordered = builder.fcmp_unordered("uno", values.value, values.value)
            strange = builder.or_(strange, builder.sext(unordered, strange.type))
        for half in (4, 2, 1):
            order = ir.Constant(ir.VectorType(_I32, _LANES), [(i + half) % _LANES for i in range(_LANES)])
            other = Lanes(builder, builder.shuffle_vector(low.value, low.value, order), _LANES)
            low = (other < low).where(other, low)
            other = Lanes(builder, builder.shuffle_vector(high.value, high.value, order), _LANES)
            high = (other > high).where(other, high)
        first = ir.Constant(_I32, 0)
        for where, vector in ((args[3], low), (args[4], high)):
            builder.store(builder.extract_element(vector.value, first), builder.gep(place, [where]))
        flags = builder.bitcast(builder.icmp_signed("<", strange, ir.Constant(strange.type, None)), ir.IntType(_LANES))
        return builder.icmp_unsigned("!=", flags, ir.Constant(flags.type, 0))

    return signature, codegen


@intrinsic
def nan_mask_64(typing_context, buffer, at, stride, columns):  # type: ignore[no-untyped-def]
    """Bit i of the result: some ``buffer[at + column * stride + i]`` is NaN, 0 <= column < columns, 0 <= i < 64."""
    signature = types.uint64(buffer, types.int64, types.int64, types.int64)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        base = _data(context, builder, sig.args[0], args[0])
        kind = ir.VectorType(_I32, 64)
        found = cgutils.alloca_once_value(builder, ir.Constant(kind, None))
        with cgutils.for_range(builder, args[3]) as loop:
            values = _load(builder, base, builder.add(args[1], builder.mul(loop.index, args[2])), 64).value
            here = builder.sext(builder.fcmp_unordered("uno", values, values), kind)
            builder.store(builder.or_(builder.load(found), here), found)
        return builder.bitcast(builder.icmp_signed("<", builder.load(found), ir.Constant(kind, None)), _I64)

    return signature, codegen


@intrinsic
def float_of_bits(typing_context, bits):  # type: ignore[no-untyped-def]
    """The float32 whose bits are the low half of a uint64."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(builder.trunc(args[0], _I32), _F32)

    return types.float32(types.uint64), codegen


@intrinsic
def changes_64(typing_context, buffer, at):  # type: ignore[no-untyped-def]
    """Bit i of the result: ``buffer[at + i] != buffer[at + i - 1]``, for 64 neighbours of a flat buffer of numbers."""
    signature = types.uint64(buffer, types.int64)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = sig.args[0].dtype
        base, vector = _data(context, builder, sig.args[0], args[0]), ir.VectorType(context.get_data_type(kind), 64)

        def load(index: Any) -> Any:
            place = builder.bitcast(builder.gep(base, [index]), vector.as_pointer())
            return builder.load(place, align=kind.bitwidth // 8)

        values, left = load(args[1]), load(builder.sub(args[1], ir.Constant(_I64, 1)))
        compare = builder.fcmp_unordered if isinstance(kind, types.Float) else builder.icmp_unsigned
        return builder.bitcast(compare("!=", values, left), _I64)

    return signature, codegen


@intrinsic
def count_bits(typing_context, mask):  # type: ignore[no-untyped-def]
    """How many bits of a uint64 are set."""
    return types.int64(types.uint64), lambda context, builder, sig, args: builder.ctpop(args[0])


@intrinsic
def lowest_bit(typing_context, mask):  # type: ignore[no-untyped-def]
    """The position of the lowest set bit of a uint64 that is not 0."""
    return types.int64(types.uint64), lambda context, builder, sig, args: builder.cttz(
        args[0], ir.Constant(ir.IntType(1), 1)
    )


@intrinsic
def keep_apart(typing_context):  # type: ignore[no-untyped-def]
    """Compile the function that calls this once, instead of once more at each of its callers' calls.

    The large kernels otherwise take several times longer to compile, for nothing.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), codegen
