"""Separable filters over boxes of an image, exact to ilastik's last bit.

A volume is a C-contiguous float32 run in a flat buffer: (buffer, offset, box), where the box (z0, y0, x0, z1, y1, x1)
says which part of the image it holds, in positions counted from the image's edge. Borders mirror without repeating the
edge voxel, at the image's edge only. Positions decide the rounding of the x pass, so a result never depends on tiles.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .intrinsics import keep_apart, sum_even_fused, sum_even_rounded, sum_odd_fused, sum_odd_rounded


@njit(nogil=True, cache=True)
def symmetric_sum(out, out_at, src, at, plus, minus, taps, radius, n, odd, fused):
    """``out[out_at+i] = taps[0]*src[at+i] + sum_k taps[k]*(src[at+plus[k]+i] ± src[at+minus[k]+i])``, 0 <= i < n.

    k runs upward. The pair and the first product are rounded; a fused sum rounds once a tap, a plain one twice.
    """
    keep_apart()
    if odd:
        if fused:
            sum_odd_fused(out, out_at, src, at, plus, minus, taps, radius, n)
        else:
            sum_odd_rounded(out, out_at, src, at, plus, minus, taps, radius, n)
    elif fused:
        sum_even_fused(out, out_at, src, at, plus, minus, taps, radius, n)
    else:
        sum_even_rounded(out, out_at, src, at, plus, minus, taps, radius, n)


@njit(nogil=True, cache=True)
def copy_run(src, at, out, to, n):
    """``out[to : to + n] = src[at : at + n]``; numba compiles assignments of slices twenty times slower than this."""
    for i in range(n):
        out[to + i] = src[at + i]


@njit(nogil=True, cache=True)
def mirror(position, n):
    """The position inside [0, n) that stands for one up to n - 1 voxels outside."""
    if position < 0:
        return -position
    if position >= n:
        return 2 * n - 2 - position
    return position


@njit(nogil=True, cache=True)
def fused_range(n, radius):
    """Where on a line of n voxels the x pass of ilastik's build uses the fused multiply-add: [first, stop).

    Its vector loop starts at the first multiple of 8 that has all left neighbours and takes 32 voxels a step; the rest
    of the line is plain C, which its compiler does not contract.
    """
    stop = (n - radius) // 32 * 32
    first = (radius + 7) // 8 * 8
    if stop > (first + 31) // 32 * 32:
        return first, stop
    return 0, 0


@njit(nogil=True, cache=True)
def filter_x(src, src_at, src_box, out, out_at, box, n, taps, radius, odd, line, steps):
    """The x pass: reads the rows of ``box`` (which src_box holds, with radius more voxels along x inside the image).

    n is the image's width. line is scratch of at least box width + 2 * radius; steps is 0, 1, 2, ….
    """
    keep_apart()
    z0, y0, x0, z1, y1, x1 = box
    sy, sx = src_box[4] - src_box[1], src_box[5] - src_box[2]
    width = x1 - x0
    first, stop = fused_range(n, radius)
    first, stop = min(max(first, x0), x1), min(max(stop, x0), x1)  # unfused in [x0, first) and [stop, x1)
    if first >= stop:
        first = stop = x0
    lo, hi = max(x0 - radius, 0), min(x1 + radius, n)
    back = -steps
    for z in range(z0, z1):
        for y in range(y0, y1):
            row = src_at + ((z - src_box[0]) * sy + (y - src_box[1])) * sx - src_box[2]
            to = out_at + ((z - z0) * (y1 - y0) + (y - y0)) * width
            if radius == 0:
                copy_run(src, row + x0, out, to, width)
                continue
            if hi - lo == width + 2 * radius:  # all neighbours lie in the image
                padded, base = src, row  # position x of the image lies at padded[x + base]
            else:
                padded, base = line, radius - x0
                copy_run(src, row + lo, line, lo + base, hi - lo)
                for x in range(x0 - radius, lo):
                    line[x + base] = src[row + mirror(x, n)]
                for x in range(hi, x1 + radius):
                    line[x + base] = src[row + mirror(x, n)]
            for part in range(3):
                fused = part == 1
                begin, end = (first, stop) if fused else (x0, first) if part == 0 else (stop, x1)
                if begin < end:
                    to_begin = to + begin - x0
                    symmetric_sum(
                        out, to_begin, padded, begin + base, steps, back, taps, radius, end - begin, odd, fused
                    )


@njit(nogil=True, cache=True)
def filter_y(src, src_at, src_box, out, out_at, box, n, taps, radius, odd, plus, minus):
    """The y pass; n is the image's height, plus and minus are int64 scratch of radius + 1."""
    keep_apart()
    z0, y0, x0, z1, y1, x1 = box
    sy, sx = src_box[4] - src_box[1], src_box[5] - src_box[2]
    width = x1 - x0
    for z in range(z0, z1):
        for y in range(y0, y1):
            row = src_at + ((z - src_box[0]) * sy + (y - src_box[1])) * sx + x0 - src_box[2]
            to = out_at + ((z - z0) * (y1 - y0) + (y - y0)) * width
            if radius == 0:
                copy_run(src, row, out, to, width)
                continue
            for k in range(1, radius + 1):
                plus[k] = (mirror(y + k, n) - y) * sx
                minus[k] = (mirror(y - k, n) - y) * sx
            symmetric_sum(out, to, src, row, plus, minus, taps, radius, width, odd, np.bool_(True))


@njit(nogil=True, cache=True)
def filter_z(src, src_at, src_box, out, out_at, box, n, taps, radius, odd, plus, minus):
    """The z pass; n is the image's depth, plus and minus are int64 scratch of radius + 1."""
    keep_apart()
    z0, y0, x0, z1, y1, x1 = box
    sy, sx = src_box[4] - src_box[1], src_box[5] - src_box[2]
    width = x1 - x0
    for z in range(z0, z1):
        for k in range(1, radius + 1):
            plus[k] = (mirror(z + k, n) - z) * sy * sx
            minus[k] = (mirror(z - k, n) - z) * sy * sx
        for y in range(y0, y1):
            row = src_at + ((z - src_box[0]) * sy + (y - src_box[1])) * sx + x0 - src_box[2]
            to = out_at + ((z - z0) * (y1 - y0) + (y - y0)) * width
            if radius == 0:
                copy_run(src, row, out, to, width)
            else:
                symmetric_sum(out, to, src, row, plus, minus, taps, radius, width, odd, np.bool_(True))
