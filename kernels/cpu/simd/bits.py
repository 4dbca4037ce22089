"""Bit masks of 64 neighbours: comparisons, and the operations of forests and labels on masks.

numba leaves vectorising to LLVM, which does not find these; here the vectors are explicit, see lanes.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .lanes import F32, I64, LANES, Lanes, data_of, load, splat

_I32 = ir.IntType(32)
_LINE = 16  # float32 values in a cache line


@intrinsic
def less_than_64(typing_context, buffer, at, threshold):  # type: ignore[no-untyped-def]
    """Compare 64 neighbours of a flat float32 buffer. Bit i of the result: ``buffer[at + i] < threshold``."""
    signature = types.uint64(buffer, types.int64, types.float32)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        values = load(builder, data_of(context, builder, sig.args[0], args[0]), args[1], 64)
        smaller = values < splat(builder, args[2], 64)
        return builder.bitcast(smaller.value, I64)

    return signature, codegen


@intrinsic
def decide_rows(typing_context, limits, at, n, bounds, bounds_at, words, first, last):  # type: ignore[no-untyped-def]
    """Evaluate ``value < limit`` for four blocks at once from their bounds, and report the limits left undecided.

    The n limits from limits[at] on ascend. bounds holds four minima and four maxima from bounds_at on. Row i of words,
    four words from words[4 * (at + i)] on, becomes all ones in the words of blocks whose maximum is below the limit,
    else zero. first and last (4,) int32: [first, last) are the limits between a block's bounds.
    """
    signature = types.void(limits, types.int64, types.int64, bounds, types.int64, words, first, last)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        limit_, bound_ = (data_of(context, builder, sig.args[i], args[i]) for i in (0, 3))
        word_, first_, last_ = (data_of(context, builder, sig.args[i], args[i]) for i in (5, 6, 7))
        counts, wide = ir.VectorType(_I32, 4), ir.VectorType(I64, 4)
        low = load(builder, bound_, args[4], 4)
        high = load(builder, bound_, builder.add(args[4], ir.Constant(I64, 4)), 4)
        below, upto = (cgutils.alloca_once_value(builder, ir.Constant(counts, None)) for _ in range(2))
        with cgutils.for_range(builder, args[2]) as loop:
            place = builder.add(args[1], loop.index)
            limit = splat(builder, builder.load(builder.gep(limit_, [place])), 4)
            undecided_or_left = builder.fcmp_ordered("<", low.value, limit.value)
            is_left = builder.fcmp_ordered("<", high.value, limit.value)
            for total, flag in ((below, undecided_or_left), (upto, is_left)):
                builder.store(builder.add(builder.load(total), builder.sext(flag, counts)), total)
            row = builder.bitcast(builder.gep(word_, [builder.mul(place, ir.Constant(I64, 4))]), wide.as_pointer())
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


def _compares_to_masks(context: Any) -> bool:
    """Return True for AVX-512, which compares 16 lanes to a mask that needs no packing."""
    return "+avx512f" in getattr(context.codegen(), "_tm_features", "")


def _packs_within_halves(context: Any) -> bool:
    """Return True for AVX2, which packs each half of a vector separately; else packing is a third of the time."""
    return "+avx2" in getattr(context.codegen(), "_tm_features", "") and not _compares_to_masks(context)


def _bit_of(context: Any, i: int) -> int:
    """Bit of neighbour i of 64, see _bits_below."""
    if not _packs_within_halves(context):
        return i
    vector, lane = i % 32 // 8, i % 8
    return i // 32 * 32 + lane // 4 * 16 + vector * 4 + lane % 4


def _bits_below(context: Any, builder: Any, values: Sequence[Lanes], limit: Any) -> Any:
    """Emit a word whose bits, in the order of _bit_of, tell which of 8 times 8 values are below the limit."""
    limits = splat(builder, limit, LANES)
    flags = [(v < limits).value for v in values]
    if not _packs_within_halves(context):
        word = ir.Constant(I64, 0)
        for i, flag in enumerate(flags):
            bits = builder.zext(builder.bitcast(flag, ir.IntType(LANES)), I64)
            word = builder.or_(word, builder.shl(bits, ir.Constant(I64, i * LANES)))
        return word
    words, shorts, chars = (ir.VectorType(ir.IntType(bits), 256 // bits) for bits in (32, 16, 8))

    def call(name: str, result: Any, *arguments: Any) -> Any:
        kind = ir.FunctionType(result, [a.type for a in arguments])
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.avx2.{name}"), arguments)

    lanes = [builder.sext(flag, words) for flag in flags]
    pairs = [call("packssdw", shorts, *lanes[i : i + 2]) for i in range(0, 8, 2)]
    fours = [call("packsswb", chars, *pairs[i : i + 2]) for i in range(0, 4, 2)]
    low, high = (builder.zext(call("pmovmskb", _I32, four), I64) for four in fours)
    return builder.or_(low, builder.shl(high, ir.Constant(I64, 32)))


def _store_masks(builder: Any, values: Sequence[Lanes], limit: Any, word: Any) -> None:
    """Store the bits of _bits_below part by part: joining masks of AVX-512 first takes longer on Intel's processors."""
    limits = splat(builder, limit, values[0].width)
    part = ir.IntType(values[0].width)
    parts = builder.bitcast(word, part.as_pointer())
    for i, v in enumerate(values):
        mask = builder.bitcast((v < limits).value, part)
        builder.store(mask, builder.gep(parts, [ir.Constant(I64, i)]), align=2)


@intrinsic
def compare_rows(typing_context, buffer, at, limits, first, stop, words, block):  # type: ignore[no-untyped-def]
    """Set bits of words[4 * row + block]: ``buffer[at + i] < limits[row]``, for 64 neighbours and first <= row < stop.

    The order of the bits is private to this function and counters_64.
    """
    signature = types.void(buffer, types.int64, limits, types.int64, types.int64, words, types.int64)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        buffer_, limit_, word_ = (data_of(context, builder, sig.args[i], args[i]) for i in (0, 2, 5))
        has_masks, one = _compares_to_masks(context), ir.Constant(I64, 1)
        lanes = 16 if has_masks else LANES
        values = [load(builder, buffer_, builder.add(args[1], ir.Constant(I64, i)), lanes) for i in range(0, 64, lanes)]
        with cgutils.for_range_slice(builder, args[3], args[4], one) as (row, _):
            limit = builder.load(builder.gep(limit_, [row]))
            word = builder.gep(word_, [builder.add(builder.mul(row, ir.Constant(I64, 4)), args[6])])
            if has_masks:
                _store_masks(builder, values, limit, word)
            else:
                builder.store(_bits_below(context, builder, values, limit), word)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def choose_rows(typing_context, answers, words, choices, first, stop, out, rows):  # type: ignore[no-untyped-def]
    """Select bits for 256 voxels: from the left row of words where a row of answers has a one, else from the right.

    choices (3, n) uint32: the answers' row, left and right as positions in words. Choices [first, stop) write
    consecutively from words[out] on. A row is four words, and ``rows`` of them are selected together.
    """
    signature = types.void(answers, words, choices, *[types.int64] * 4)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        answers_, word_ = (data_of(context, builder, sig.args[i], args[i]) for i in range(2))
        choice_ = context.make_array(sig.args[2])(context, builder, args[2])
        length = builder.extract_value(choice_.shape, 1)
        lists = [builder.gep(choice_.data, [builder.mul(length, ir.Constant(I64, k))]) for k in range(3)]
        kind, four, one = ir.VectorType(I64, 4), ir.Constant(I64, 4), ir.Constant(I64, 1)

        def pointer(data: Any, place: Any) -> Any:
            return builder.bitcast(builder.gep(data, [place]), kind.as_pointer())

        def emit(rows: Any) -> None:
            out = cgutils.alloca_once_value(builder, args[5])
            with cgutils.for_range_slice(builder, args[3], args[4], one) as (i, _):
                fields = [builder.zext(builder.load(builder.gep(values, [i])), I64) for values in lists]
                goes_left = builder.load(pointer(answers_, builder.mul(fields[0], four)), align=8)

                def choose(offset: Any) -> None:
                    a, b = (builder.load(pointer(word_, builder.add(f, offset)), align=8) for f in fields[1:])
                    chosen = builder.xor(b, builder.and_(goes_left, builder.xor(a, b)))
                    builder.store(chosen, pointer(word_, builder.add(builder.load(out), offset)), align=8)

                if rows is None:
                    choose(ir.Constant(I64, 0))
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
    """Increment those of 256 counters whose bit is set in the four words from words[row] on.

    A counter's bits are in ``count`` rows of four words from digits[at] on, the lowest first; it must not overflow.
    """
    signature = types.void(digits, types.int64, types.int64, words, types.int64)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        base, word = (
            data_of(context, builder, sig.args[0], args[0]),
            data_of(context, builder, sig.args[3], args[3]),
        )
        kind = ir.VectorType(I64, 4)

        def pointer(data: Any, at: Any) -> Any:
            return builder.bitcast(builder.gep(data, [at]), kind.as_pointer())

        carry = cgutils.alloca_once_value(builder, builder.load(pointer(word, args[4]), align=8))
        with cgutils.for_range(builder, args[2]) as loop:
            place = pointer(base, builder.add(args[1], builder.mul(loop.index, ir.Constant(I64, 4))))
            digit, carried = builder.load(place, align=8), builder.load(carry)
            builder.store(builder.xor(digit, carried), place, align=8)
            builder.store(builder.and_(digit, carried), carry)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def counters_64(typing_context, digits, at, count, out, out_at):  # type: ignore[no-untyped-def]
    """Convert 64 counters with bits in ``count`` words digits[at], digits[at + 4], …, see add_bits_256, to uint16."""
    signature = types.void(digits, types.int64, types.int64, out, types.int64)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        base, place = (
            data_of(context, builder, sig.args[0], args[0]),
            data_of(context, builder, sig.args[3], args[3]),
        )
        bit, kind = ir.VectorType(ir.IntType(1), 64), ir.VectorType(ir.IntType(16), 64)
        sums, undefined_sums = (
            cgutils.alloca_once_value(builder, ir.Constant(kind, None)),
            ir.Constant(kind, ir.Undefined),
        )
        with cgutils.for_range(builder, args[2]) as loop:
            word = builder.load(builder.gep(base, [builder.add(args[1], builder.mul(loop.index, ir.Constant(I64, 4)))]))
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
def fetch_64(typing_context, buffer, at):  # type: ignore[no-untyped-def]
    """Prefetch 64 neighbours of a flat float32 buffer into the L1 cache. Safe for any position."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        base, pointer = data_of(context, builder, sig.args[0], args[0]), ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer, _I32, _I32, _I32])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        reading, near, data = (ir.Constant(_I32, number) for number in (0, 3, 1))
        for i in range(0, 64, _LINE):
            place = builder.gep(base, [builder.add(args[1], ir.Constant(I64, i))])
            builder.call(function, [builder.bitcast(place, pointer), reading, near, data])
        return context.get_dummy_value()

    return types.void(buffer, types.int64), codegen


@intrinsic
def bounds_64(typing_context, buffer, at, out, low_at, high_at):  # type: ignore[no-untyped-def]
    """Store the minimum of 64 neighbours at out[low_at], the maximum at out[high_at]. Returns True if one is NaN.

    NaNs are ignored: if there is no number, the bounds are inf and -inf.
    """
    signature = types.boolean(buffer, types.int64, out, types.int64, types.int64)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        base, place = (
            data_of(context, builder, sig.args[0], args[0]),
            data_of(context, builder, sig.args[2], args[2]),
        )
        vectors = [load(builder, base, builder.add(args[1], ir.Constant(I64, j)), LANES) for j in range(0, 64, LANES)]
        low, high = vectors[0].constant(float("inf")), vectors[0].constant(float("-inf"))
        strange = ir.Constant(ir.VectorType(_I32, LANES), None)
        for values in vectors:
            low, high = (values < low).where(values, low), (values > high).where(values, high)
            unordered = builder.fcmp_unordered("uno", values.value, values.value)
            strange = builder.or_(strange, builder.sext(unordered, strange.type))
        for half in (4, 2, 1):
            order = ir.Constant(ir.VectorType(_I32, LANES), [(i + half) % LANES for i in range(LANES)])
            other = Lanes(builder, builder.shuffle_vector(low.value, low.value, order), LANES)
            low = (other < low).where(other, low)
            other = Lanes(builder, builder.shuffle_vector(high.value, high.value, order), LANES)
            high = (other > high).where(other, high)
        first = ir.Constant(_I32, 0)
        for where, vector in ((args[3], low), (args[4], high)):
            builder.store(builder.extract_element(vector.value, first), builder.gep(place, [where]))
        flags = builder.bitcast(builder.icmp_signed("<", strange, ir.Constant(strange.type, None)), ir.IntType(LANES))
        return builder.icmp_unsigned("!=", flags, ir.Constant(flags.type, 0))

    return signature, codegen


@intrinsic
def nan_mask_64(typing_context, buffer, at, stride, columns):  # type: ignore[no-untyped-def]
    """Find NaNs. Bit i of the result: some ``buffer[at + column * stride + i]`` is NaN, 0 <= column < columns."""
    signature = types.uint64(buffer, types.int64, types.int64, types.int64)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        base = data_of(context, builder, sig.args[0], args[0])
        kind = ir.VectorType(_I32, 64)
        found = cgutils.alloca_once_value(builder, ir.Constant(kind, None))
        with cgutils.for_range(builder, args[3]) as loop:
            values = load(builder, base, builder.add(args[1], builder.mul(loop.index, args[2])), 64).value
            here = builder.sext(builder.fcmp_unordered("uno", values, values), kind)
            builder.store(builder.or_(builder.load(found), here), found)
        return builder.bitcast(builder.icmp_signed("<", builder.load(found), ir.Constant(kind, None)), I64)

    return signature, codegen


@intrinsic
def float_of_bits(typing_context, bits):  # type: ignore[no-untyped-def]
    """Reinterpret the low half of a uint64 as float32."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(builder.trunc(args[0], _I32), F32)

    return types.float32(types.uint64), codegen


@intrinsic
def changes_64(typing_context, buffer, at):  # type: ignore[no-untyped-def]
    """Find changes between 64 neighbours of a flat buffer. Bit i: ``buffer[at + i] != buffer[at + i - 1]``."""
    signature = types.uint64(buffer, types.int64)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = sig.args[0].dtype
        base, vector = (
            data_of(context, builder, sig.args[0], args[0]),
            ir.VectorType(context.get_data_type(kind), 64),
        )

        def load(index: Any) -> Any:
            place = builder.bitcast(builder.gep(base, [index]), vector.as_pointer())
            return builder.load(place, align=kind.bitwidth // 8)

        values, left = load(args[1]), load(builder.sub(args[1], ir.Constant(I64, 1)))
        compare = builder.fcmp_unordered if isinstance(kind, types.Float) else builder.icmp_unsigned
        return builder.bitcast(compare("!=", values, left), I64)

    return signature, codegen


@intrinsic
def lowest_bit(typing_context, mask):  # type: ignore[no-untyped-def]
    """Position of the lowest set bit of a uint64 other than 0."""
    return types.int64(types.uint64), lambda context, builder, sig, args: builder.cttz(
        args[0], ir.Constant(ir.IntType(1), 1)
    )
