"""Accumulation of a run of voxels into the tables of its object.

A run is voxels [x0, x1) of one line of a slab, all of one object (or of one neighbourhood); their values are rows
base + x of ``pixels`` (voxels, c), and z and y count from the frame's edge. Runs arrive in scan order,
so every sum is formed voxel by voxel, z slowest and x fastest, in double: the order decides the last bits, and through
them the signs of eigenvectors. Tables have a row per object; i is the row. Positions and scatters are ordered x, y, z.
"""

from __future__ import annotations

import numpy as np

from ..build.jit import njit
from .powers import third_and_fourth

# Passing so many arrays to a call takes longer than most runs.
_inlined = njit(nogil=True, cache=True, error_model="numpy", forceinline=True)


@_inlined
def add_coordinates(i, z, y, x0, x1, is_flat, with_scatter, count, low, high, total, scatter):
    """Add to the count, the bounds, the sum of positions and, if wanted, the running scatter of positions."""
    # Without branches, since most runs would mispredict them. y and z only grow, except that y restarts in each plane.
    first_x, first_y, first_z, last_x, last_y = low[i, 0], low[i, 1], low[i, 2], high[i, 0], high[i, 1]
    low[i, 0] = x0 if x0 < first_x else first_x
    low[i, 1] = y if y < first_y else first_y
    low[i, 2] = z if z < first_z else first_z
    high[i, 0] = x1 if x1 > last_x else last_x
    high[i, 1] = y + 1 if y >= last_y else last_y
    high[i, 2] = z + 1
    k = np.float64(count[i])
    sum_x, sum_y, sum_z = total[i, 0], total[i, 1], total[i, 2]
    fy, fz = np.float64(y), np.float64(z)
    count[i] += x1 - x0
    if not with_scatter:
        n = x1 - x0  # whole numbers: exact in any order
        total[i, 0] = sum_x + np.float64((x0 + x1 - 1) * n // 2)
        total[i, 1] = sum_y + fy * n
        total[i, 2] = sum_z + fz * n
        return
    if is_flat:
        xx, xy, yy = scatter[i, 0], scatter[i, 1], scatter[i, 2]
        for x in range(x0, x1):
            fx = np.float64(x)
            k += 1.0
            sum_x += fx
            sum_y += fy
            if k > 1.0:
                dx, dy = sum_x / k - fx, sum_y / k - fy
                factor = k / (k - 1.0)
                weighted_y = factor * dy
                xx += (factor * dx) * dx
                xy += weighted_y * dx
                yy += weighted_y * dy
        scatter[i, 0], scatter[i, 1], scatter[i, 2] = xx, xy, yy
    else:
        xx, xy, xz = scatter[i, 0], scatter[i, 1], scatter[i, 2]
        yy, yz, zz = scatter[i, 3], scatter[i, 4], scatter[i, 5]
        for x in range(x0, x1):
            fx = np.float64(x)
            k += 1.0
            sum_x += fx
            sum_y += fy
            sum_z += fz
            if k > 1.0:
                dx, dy, dz = sum_x / k - fx, sum_y / k - fy, sum_z / k - fz
                factor = k / (k - 1.0)
                weighted_y, weighted_z = factor * dy, factor * dz
                xx += (factor * dx) * dx
                xy += weighted_y * dx
                xz += weighted_z * dx
                yy += weighted_y * dy
                yz += weighted_z * dy
                zz += weighted_z * dz
        scatter[i, 0], scatter[i, 1], scatter[i, 2] = xx, xy, xz
        scatter[i, 3], scatter[i, 4], scatter[i, 5] = yy, yz, zz
    total[i, 0], total[i, 1], total[i, 2] = sum_x, sum_y, sum_z


@_inlined
def add_values(i, pixels, base, x0, x1, seen, total, second, smallest, largest):
    """Add to sum, running second central moment, minimum and maximum of every channel."""
    before = np.float64(seen[i])
    seen[i] += x1 - x0
    for c in range(pixels.shape[1]):
        k = before
        s, m = total[i, c], second[i, c]
        low, high = smallest[i, c], largest[i, c]
        for x in range(x0, x1):
            stored = pixels[base + x, c]
            v = np.float64(stored)
            k += 1.0
            s += v
            if k > 1.0:
                d = s / k - v
                m += (k / (k - 1.0)) * (d * d)
            if stored < low:
                low = stored
            if stored > high:
                high = stored
        total[i, c], second[i, c] = s, m
        smallest[i, c], largest[i, c] = low, high


@_inlined
def add_extremes(i, z, y, pixels, base, x0, x1, least, most, least_at, most_at):
    """Update the first positions of the minimum and the maximum of channel 0."""
    low, high = least[i], most[i]
    for x in range(x0, x1):
        v = pixels[base + x, 0]
        if v < low:
            low = v
            least_at[i, 0], least_at[i, 1], least_at[i, 2] = x, y, z
        if v > high:
            high = v
            most_at[i, 0], most_at[i, 1], most_at[i, 2] = x, y, z
    least[i], most[i] = low, high


@_inlined
def add_weights(i, z, y, pixels, base, x0, x1, is_flat, weight, total, scatter):
    """Add positions weighted with channel 0: sum of weights, weighted sum and running scatter of positions."""
    w = weight[i]
    sum_x, sum_y, sum_z = total[i, 0], total[i, 1], total[i, 2]
    fy, fz = np.float64(y), np.float64(z)
    for x in range(x0, x1):
        fx = np.float64(x)
        v = np.float64(pixels[base + x, 0])
        w += v
        sum_x += v * fx
        sum_y += v * fy
        sum_z += v * fz
        if w > v:
            factor = (w * v) / (w - v)
            dx, dy = sum_x / w - fx, sum_y / w - fy
            weighted_y = factor * dy
            if is_flat:
                scatter[i, 0] += (factor * dx) * dx
                scatter[i, 1] += weighted_y * dx
                scatter[i, 2] += weighted_y * dy
            else:
                dz = sum_z / w - fz
                weighted_z = factor * dz
                scatter[i, 0] += (factor * dx) * dx
                scatter[i, 1] += weighted_y * dx
                scatter[i, 2] += weighted_z * dx
                scatter[i, 3] += weighted_y * dy
                scatter[i, 4] += weighted_z * dy
                scatter[i, 5] += weighted_z * dz
    weight[i] = w
    total[i, 0], total[i, 1], total[i, 2] = sum_x, sum_y, sum_z


@_inlined
def add_channels(i, pixels, base, x0, x1, seen, total, scatter, deviation):
    """Add to the running scatter of the channels' values; total is this table's own sum, deviation scratch (c,)."""
    channels = pixels.shape[1]
    k = np.float64(seen[i])
    seen[i] += x1 - x0
    for x in range(x0, x1):
        k += 1.0
        for c in range(channels):
            total[i, c] += np.float64(pixels[base + x, c])
        if k > 1.0:
            factor = k / (k - 1.0)
            for c in range(channels):
                deviation[c] = total[i, c] / k - np.float64(pixels[base + x, c])
            position = 0
            for a in range(channels):
                for b in range(a, channels):
                    scatter[i, position] += (factor * deviation[b]) * deviation[a]
                    position += 1


@_inlined
def add_moments(i, pixels, base, x0, x1, mean, third, fourth):
    """Add to the third and fourth central moments of every channel, around the final mean."""
    for c in range(pixels.shape[1]):
        m, s3, s4 = mean[i, c], third[i, c], fourth[i, c]
        for x in range(x0, x1):
            p3, p4 = third_and_fourth(np.float64(pixels[base + x, c]) - m)
            s3 += p3
            s4 += p4
        third[i, c], fourth[i, c] = s3, s4


@_inlined
def add_histogram(i, pixels, base, x0, x1, lower, scale, bins, left):
    """Add channel 0 to bins of 1 / scale from lower on; values below are counted in left, values above are not counted.

    lower and scale hold one range for all objects, or one for each.
    """
    j = i if len(lower) > 1 else 0
    low, factor = lower[j], scale[j]
    n = bins.shape[1]
    for x in range(x0, x1):
        place = factor * (np.float64(pixels[base + x, 0]) - low)
        if not (-1.0 < place < 1e18):  # NaN and values beyond 64-bit integers became the smallest integer
            left[i] += 1
        elif place == n:
            bins[i, n - 1] += 1
        elif place < n:
            bins[i, np.int64(place)] += 1


@_inlined
def add_axis_moments(i, z, y, x0, x1, centre, axes, third, fourth):
    """Add third and fourth moments of positions along the object's own axes; axes (n, d * d), vectors in columns."""
    d = third.shape[1]
    dy, dz = np.float64(y) - centre[i, 1], np.float64(z) - centre[i, 2]
    for k in range(d):
        ex, ey = axes[i, k], axes[i, d + k]
        ez = axes[i, 2 * d + k] if d == 3 else 0.0
        s3, s4 = third[i, k], fourth[i, k]
        for x in range(x0, x1):
            u = ex * (np.float64(x) - centre[i, 0]) + ey * dy
            if d == 3:
                u += ez * dz
            p3, p4 = third_and_fourth(u)
            s3 += p3
            s4 += p4
        third[i, k], fourth[i, k] = s3, s4


@_inlined
def add_weight_moments(i, z, y, pixels, base, x0, x1, centre, axes, third, fourth):
    """Add moments as ``add_axis_moments``, every voxel weighted with channel 0."""
    d = third.shape[1]
    dy, dz = np.float64(y) - centre[i, 1], np.float64(z) - centre[i, 2]
    for k in range(d):
        ex, ey = axes[i, k], axes[i, d + k]
        ez = axes[i, 2 * d + k] if d == 3 else 0.0
        s3, s4 = third[i, k], fourth[i, k]
        for x in range(x0, x1):
            u = ex * (np.float64(x) - centre[i, 0]) + ey * dy
            if d == 3:
                u += ez * dz
            p3, p4 = third_and_fourth(u)
            v = np.float64(pixels[base + x, 0])
            s3 += v * p3
            s4 += v * p4
        third[i, k], fourth[i, k] = s3, s4


@_inlined
def add_channel_moments(i, pixels, base, x0, x1, mean, axes, least, most, third, fourth):
    """Add minimum, maximum, third and fourth moments of the channels' values along their principal axes."""
    channels = pixels.shape[1]
    for k in range(channels):
        low, high, s3, s4 = least[i, k], most[i, k], third[i, k], fourth[i, k]
        for x in range(x0, x1):
            u = axes[i, k] * (np.float64(pixels[base + x, 0]) - mean[i, 0])
            for c in range(1, channels):
                u += axes[i, c * channels + k] * (np.float64(pixels[base + x, c]) - mean[i, c])
            if u < low:
                low = u
            if u > high:
                high = u
            p3, p4 = third_and_fourth(u)
            s3 += p3
            s4 += p4
        least[i, k], most[i, k], third[i, k], fourth[i, k] = low, high, s3, s4
