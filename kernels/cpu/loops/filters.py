"""Separable filters over boxes of an image, exact to ilastik's last bit.

A volume is a C-contiguous float32 run in a flat buffer: (buffer, offset, box), where the box (z0, y0, x0, z1, y1, x1)
says which part of the image it holds, in positions counted from the image's edge. Borders mirror without repeating the
edge voxel, at the image's edge only. Positions decide the rounding of the x pass, so a result never depends on tiles.
"""

from __future__ import annotations

import numpy as np

from ...shared.program import Sums
from ..build.jit import njit
from ..simd.lanes import copy_run, noinline
from ..simd.symmetric_filter import (
    ROWS,
    sum_even_fused,
    sum_even_odd_even_fused,
    sum_even_odd_even_rounded,
    sum_even_odd_fused,
    sum_even_odd_rounded,
    sum_even_rounded,
    sum_even_rows_fused,
    sum_odd_fused,
    sum_odd_rounded,
)

_EVEN, _ODD, _EVEN_ODD = int(Sums.EVEN), int(Sums.ODD), int(Sums.EVEN_ODD)


@njit(nogil=True, cache=True)
def symmetric_sum(out, outs, out_stride, src, at, src_stride, rows, n, plus, minus, taps, radius, sums, fused):
    """Filter several rows, with one or several sums j at once.

    ``out[i] = taps[j][0]*src[i] + sum_k taps[j][k]*(src[plus[k]+i] ± src[minus[k]+i])`` for 0 <= i < n, in rows that
    begin at outs[j] + row * out_stride and at + row * src_stride. k runs upward. The pair and the first product are
    rounded; a fused sum rounds once a tap, a plain one twice. No output may overlap the source. Odd sums,
    and several at once, exist for radius 1 and 2 only.
    """
    noinline()
    if n == src_stride and n == out_stride:  # rows without gaps are one long row
        n, rows = n * rows, np.int64(1)
    if fused:
        if sums == _EVEN:
            sum_even_fused(out, outs, out_stride, src, at, src_stride, rows, n, plus, minus, taps, radius)
        elif sums == _ODD:
            sum_odd_fused(out, outs, out_stride, src, at, src_stride, rows, n, plus, minus, taps, radius)
        elif sums == _EVEN_ODD:
            sum_even_odd_fused(out, outs, out_stride, src, at, src_stride, rows, n, plus, minus, taps, radius)
        else:
            sum_even_odd_even_fused(out, outs, out_stride, src, at, src_stride, rows, n, plus, minus, taps, radius)
    else:
        if sums == _EVEN:
            sum_even_rounded(out, outs, out_stride, src, at, src_stride, rows, n, plus, minus, taps, radius)
        elif sums == _ODD:
            sum_odd_rounded(out, outs, out_stride, src, at, src_stride, rows, n, plus, minus, taps, radius)
        elif sums == _EVEN_ODD:
            sum_even_odd_rounded(out, outs, out_stride, src, at, src_stride, rows, n, plus, minus, taps, radius)
        else:
            sum_even_odd_even_rounded(out, outs, out_stride, src, at, src_stride, rows, n, plus, minus, taps, radius)


@njit(nogil=True, cache=True)
def moved(outs, by):
    """Offsets of several volumes, each advanced by this many floats."""
    return outs[0] + by, outs[1] + by, outs[2] + by


@njit(nogil=True, cache=True)
def mirror(position, n):
    """Mirror a position up to n - 1 voxels outside into [0, n)."""
    if position < 0:
        return -position
    if position >= n:
        return 2 * n - 2 - position
    return position


@njit(nogil=True, cache=True)
def fused_range(n, radius):
    """Range [first, stop) of a line of n voxels in which the x pass of ilastik's build uses fused multiply-adds.

    Its vector loop starts at the first multiple of 8 that has all left neighbours and processes 32 voxels a step; the
    rest of the line is plain C, which its compiler does not contract.
    """
    stop = (n - radius) // 32 * 32
    first = (radius + 7) // 8 * 8
    if stop > (first + 31) // 32 * 32:
        return first, stop
    return 0, 0


@njit(nogil=True, cache=True)
def copy_rows(src, at, src_stride, rows, n, out, to, out_stride):
    """Copy rows of n voxels, as a filter of radius 0 does."""
    noinline()
    for row in range(rows):
        copy_run(src, at + row * src_stride, out, to + row * out_stride, n)


@njit(nogil=True, cache=True)
def filter_x(src, src_at, src_box, out, outs, box, n, taps, radius, sums, scratch):
    """Run the x pass over ``box``; src_box holds it with radius more voxels along x, clipped to the image.

    n is the image's width. scratch is (padded, plus, minus): floats for at least one row with 2 * radius more voxels,
    and int64 for radius + 1 offsets. outs and taps have three entries; as many are used as ``sums`` has sums.
    """
    noinline()
    padded, plus, minus = scratch
    z0, y0, x0, z1, y1, x1 = box
    sy, sx = src_box[4] - src_box[1], src_box[5] - src_box[2]
    width, height = x1 - x0, y1 - y0
    first, stop = fused_range(n, radius)
    first, stop = min(max(first, x0), x1), min(max(stop, x0), x1)  # unfused in [x0, first) and [stop, x1)
    if first >= stop:
        first = stop = x0
    for k in range(1, radius + 1):
        plus[k] = k
        minus[k] = -k
    for part in range(3):
        fused = part == 1
        begin, end = (first, stop) if fused else (x0, first) if part == 0 else (stop, x1)
        if begin >= end:
            continue
        # Only parts with neighbours beyond the image's edge use padded lines.
        lo, hi = max(begin - radius, 0), min(end + radius, n)
        inside = hi - lo == end - begin + 2 * radius
        stride = end - begin + 2 * radius
        step = height if inside or radius == 0 else max(1, len(padded) // stride)
        for z in range(z0, z1):
            for y in range(y0, y1, step):
                rows = min(step, y1 - y)
                row = src_at + ((z - src_box[0]) * sy + (y - src_box[1])) * sx - src_box[2]
                to = moved(outs, ((z - z0) * height + (y - y0)) * width + begin - x0)
                if radius == 0:
                    copy_rows(src, row + begin, sx, rows, end - begin, out, to[0], width)
                elif inside:
                    symmetric_sum(
                        out, to, width, src, row + begin, sx, rows, end - begin, plus, minus, taps, radius, sums, fused
                    )
                else:
                    base = radius - begin  # position x of the image is at padded[x + base]
                    copy_rows(src, row + lo, sx, rows, hi - lo, padded, lo + base, stride)
                    for j in range(rows):
                        line, source = j * stride + base, row + j * sx
                        for x in range(begin - radius, lo):
                            padded[line + x] = src[source + mirror(x, n)]
                        for x in range(hi, end + radius):
                            padded[line + x] = src[source + mirror(x, n)]
                    symmetric_sum(
                        out, to, width, padded, radius, stride, rows, end - begin, plus, minus, taps, radius, sums,
                        fused,
                    )  # fmt: skip


@njit(nogil=True, cache=True)
def filter_y(src, src_at, src_box, out, outs, box, n, taps, radius, sums, scratch):
    """Run the y pass; n is the image's height; scratch as in filter_x."""
    noinline()
    _, plus, minus = scratch
    z0, y0, x0, z1, y1, x1 = box
    sy, sx = src_box[4] - src_box[1], src_box[5] - src_box[2]
    width, fused = x1 - x0, np.bool_(True)
    for z in range(z0, z1):
        y = y0
        while y < y1:
            # Rows whose neighbours are all in the image have the same offsets and are summed together.
            stop = min(y1, n - radius) if y >= radius and y < n - radius else y + 1
            row = src_at + ((z - src_box[0]) * sy + (y - src_box[1])) * sx + x0 - src_box[2]
            to = moved(outs, ((z - z0) * (y1 - y0) + (y - y0)) * width)
            if radius == 0:
                copy_rows(src, row, sx, stop - y, width, out, to[0], width)
            else:
                blocks = (stop - y) // ROWS if sums == _EVEN and radius >= ROWS else 0
                if blocks > 0:
                    sum_even_rows_fused(out, to[0], width, src, row, sx, blocks, width, taps[0], radius)
                    y += blocks * ROWS
                    continue
                for k in range(1, radius + 1):
                    plus[k] = (mirror(y + k, n) - y) * sx
                    minus[k] = (mirror(y - k, n) - y) * sx
                symmetric_sum(out, to, width, src, row, sx, stop - y, width, plus, minus, taps, radius, sums, fused)
            y = stop


@njit(nogil=True, cache=True)
def filter_z(src, src_at, src_box, out, outs, box, n, taps, radius, sums, scratch):
    """Run the z pass; n is the image's depth; scratch as in filter_x."""
    noinline()
    _, plus, minus = scratch
    z0, y0, x0, z1, y1, x1 = box
    sy, sx = src_box[4] - src_box[1], src_box[5] - src_box[2]
    width, height, fused = x1 - x0, y1 - y0, np.bool_(True)
    z = z0
    while z < z1:
        row = src_at + ((z - src_box[0]) * sy + (y0 - src_box[1])) * sx + x0 - src_box[2]
        to = moved(outs, (z - z0) * height * width)
        blocks = 0
        if sums == _EVEN and radius >= ROWS and z >= radius:
            blocks = (min(z1, n - radius) - z) // ROWS
        if blocks > 0:  # one y after the other: the column of rows above and below it stays in the cache
            for y in range(height):
                sum_even_rows_fused(
                    out, to[0] + y * width, height * width, src, row + y * sx, sy * sx, blocks, width, taps[0], radius
                )
            z += blocks * ROWS
            continue
        if radius == 0:
            copy_rows(src, row, sx, height, width, out, to[0], width)
        else:
            for k in range(1, radius + 1):
                plus[k] = (mirror(z + k, n) - z) * sy * sx
                minus[k] = (mirror(z - k, n) - z) * sy * sx
            symmetric_sum(out, to, width, src, row, sx, height, width, plus, minus, taps, radius, sums, fused)
        z += 1
