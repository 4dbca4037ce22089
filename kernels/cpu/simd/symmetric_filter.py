"""Symmetric filters along a line as vector operations, for ``filters.py``.

A sum of radius r is ``taps[0]*src[i] + sum_k taps[k]*(src[i+k] ± src[i-k])``, k from 1 to r. The pair and the first
product are rounded; a fused sum rounds once a tap, a plain one twice. No output may overlap the source.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ...shared.program import PARITIES, Sums
from .lanes import F32, I64, UNROLLED, Lanes, data_of, for_each_overlapping, load, splat, store

_UNROLLED_RADII = (2, 1)  # of feature filters; only pre-smoothing is wider
ROWS = 3  # summed at once by sum_even_rows_fused; more rows spill registers


def _make_symmetric_sum(sums: Sums, *, fused: bool) -> Any:
    """Make the intrinsic for one choice of sums and rounding; see ``filters.symmetric_sum`` for its arguments."""
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
            one = ir.Constant(I64, 1)

            def at_step(array: Any, k: Any) -> Any:
                return builder.load(builder.gep(array, [k if hasattr(k, "type") else ir.Constant(I64, k)]))

            def add_pairs(totals: Sequence[Lanes], taps_: Sequence[Any], right: Any, left: Any) -> list[Lanes]:
                width = totals[0].width
                a, b = (load(builder, src_, place, width) for place in (right, left))
                pairs = {odd: a - b if odd else a + b for odd in dict.fromkeys(parities)}
                added = []
                for total, tap, odd in zip(totals, taps_, parities, strict=True):
                    pair, weight = pairs[odd], splat(builder, tap, width)
                    added.append(pair.fused_multiply_add(weight, total) if fused else total + weight * pair)
                return added

            def each_row(body: Callable[[Sequence[Any], Any, Any, int, int], None], vectors: int) -> None:
                with cgutils.for_range(builder, args[6]) as loop:
                    step = builder.mul(loop.index, args[2])
                    to = [builder.add(place, step) for place in places]
                    at_ = builder.add(args[4], builder.mul(loop.index, args[5]))
                    for_each_overlapping(builder, args[7], partial(body, to, at_), vectors=vectors)

            def unrolled(radius: int) -> None:
                """Emit the sums with all taps and offsets in registers."""
                values = [[at_step(array, k) for array in weights] for k in range(radius + 1)]
                right, left = ([at_step(array, k) for k in range(1, radius + 1)] for array in (plus_, minus_))

                def body(to: Sequence[Any], at_: Any, first: Any, width: int, vectors: int) -> None:
                    for j in range(vectors):
                        start = builder.add(first, ir.Constant(I64, width * j))
                        place = builder.add(at_, start)
                        centre = load(builder, src_, place, width)
                        totals = [splat(builder, tap, width) * centre for tap in values[0]]
                        for taps_, r, m in zip(values[1:], right, left, strict=True):
                            totals = add_pairs(totals, taps_, builder.add(place, r), builder.add(place, m))
                        for total, target in zip(totals, to, strict=True):
                            store(builder, total, out_, builder.add(target, start))

                each_row(body, UNROLLED // len(parities) if fused else 1)

            def looped() -> None:
                def body(to: Sequence[Any], at_: Any, first: Any, width: int, vectors: int) -> None:
                    kind = ir.VectorType(F32, width) if width > 1 else F32
                    starts = [builder.add(first, ir.Constant(I64, width * j)) for j in range(vectors)]
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
                        store(builder, Lanes(builder, builder.load(total), width), out_, builder.add(to[0], start))

                each_row(body, UNROLLED if fused else 1)

            def choose(radii: Sequence[int]) -> None:
                if not radii:
                    if parities == (False,):
                        looped()
                    return
                is_it = builder.icmp_signed("==", args[11], ir.Constant(I64, radii[0]))
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
    """Compute sum_even_fused for ``ROWS * blocks`` rows whose pairs are rows, too: row + k and row - k.

    Several rows are summed at once; from one tap to the next each row reuses its neighbour's voxels, so that only the
    outermost are loaded.
    """
    i8 = types.int64
    signature = types.void(out, i8, i8, src, i8, i8, i8, i8, taps, i8)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        out_, src_, taps_ = (data_of(context, builder, sig.args[i], args[i]) for i in (0, 3, 8))
        _, out_at_, out_stride_, _, at_, src_stride_, blocks_, n_, _, radius_ = args
        rows, one = range(ROWS), ir.Constant(I64, 1)

        def body(block: Any, first: Any, width: int, vectors: int) -> None:
            assert vectors == 1
            row = builder.mul(block, ir.Constant(I64, ROWS))
            base = builder.add(at_, builder.add(builder.mul(row, src_stride_), first))
            to = builder.add(out_at_, builder.add(builder.mul(row, out_stride_), first))

            def voxels(index: Any) -> Any:
                index = ir.Constant(I64, index) if isinstance(index, int) else index
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
                """Add a tap; right[(turn + j) % ROWS] holds row j + k, left[(j - turn) % ROWS] row j - k."""
                builder.store(voxels(builder.add(k, ir.Constant(I64, ROWS - 1))), right[(turn + ROWS - 1) % ROWS])
                builder.store(voxels(builder.neg(k)), left[-turn % ROWS])
                tap = splat(builder, builder.load(builder.gep(taps_, [k])), width)
                for j in rows:
                    a, b = (builder.load(side[place % ROWS]) for side, place in ((right, turn + j), (left, j - turn)))
                    total = Lanes(builder, builder.load(sums[j]), width)
                    pair = Lanes(builder, a, width) + Lanes(builder, b, width)
                    builder.store(pair.fused_multiply_add(tap, total).value, sums[j])

            def turn_back() -> None:
                """Restore the order of the rows from before a tap was added out of turn."""
                for side, order in ((right, [*rows[1:], 0]), (left, [rows[-1], *rows[:-1]])):
                    for place, value in zip(side, [builder.load(side[i]) for i in order], strict=True):
                        builder.store(value, place)

            odd_ones = builder.srem(radius_, ir.Constant(I64, ROWS))
            with cgutils.for_range_slice(builder, one, builder.add(odd_ones, one), one) as (k, _):
                add_tap(k, 0)
                turn_back()
            start, stop = builder.add(odd_ones, one), builder.add(radius_, one)
            with cgutils.for_range_slice(builder, start, stop, ir.Constant(I64, ROWS)) as (k, _):
                for turn in rows:
                    add_tap(builder.add(k, ir.Constant(I64, turn)), turn)
            for j in rows:
                place = builder.add(to, builder.mul(ir.Constant(I64, j), out_stride_))
                store(builder, Lanes(builder, builder.load(sums[j]), width), out_, place)

        with cgutils.for_range(builder, blocks_) as loop:
            for_each_overlapping(builder, n_, partial(body, loop.index), vectors=1)
        return context.get_dummy_value()

    return signature, codegen
