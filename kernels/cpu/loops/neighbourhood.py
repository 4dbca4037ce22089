"""Loops of ``host.neighbourhood``: the lines around objects, run by run."""

from __future__ import annotations

import math

import numpy as np

from ..build.jit import njit
from .accumulators import add_channels, add_histogram, add_moments, add_values

_UNCOVERED = -(1 << 30)  # less than minus the intervals that cover a voxel


@njit(nogil=True, cache=True)
def count_own_runs(labels, label, box, z0, z1, y0, y1, first_run):
    """Count an object's runs in the lines [z0, z1) x [y0, y1): first_run[line] and the total, as prefix sums."""
    total = 0
    line = 0
    for z in range(z0, z1):
        for y in range(y0, y1):
            first_run[line] = total
            before = False
            for x in range(box[2], box[5]):
                own = labels[z, y, x] == label
                if own and not before:
                    total += 1
                before = own
            line += 1
    first_run[line] = total
    return total


@njit(nogil=True, cache=True)
def find_own_runs(labels, label, box, z0, z1, y0, y1, run_start, run_stop):
    """Find the runs that ``count_own_runs`` counted."""
    found = 0
    for z in range(z0, z1):
        for y in range(y0, y1):
            before = False
            for x in range(box[2], box[5]):
                own = labels[z, y, x] == label
                if own and not before:
                    run_start[found] = x
                if before and not own:
                    run_stop[found] = x
                    found += 1
                before = own
            if before:
                run_stop[found] = box[5]
                found += 1


@njit(nogil=True, cache=True)
def reaches(limit, pitch, reach, table):
    """Fill table[dz, dy] with the largest dx whose distance is below the limit, -1 if not even 0 is."""
    for dz in range(reach[0] + 1):
        for dy in range(reach[1] + 1):
            rest = limit * limit - (dz * pitch[0]) ** 2 - (dy * pitch[1]) ** 2
            if rest <= 0:
                table[dz, dy] = -1
                continue
            step = np.int64(math.sqrt(np.float64(rest - 1)))  # the largest whole step whose square is below rest
            while step * step >= rest:
                step -= 1
            while (step + 1) * (step + 1) < rest:
                step += 1
            table[dz, dy] = step // pitch[2]


@njit(nogil=True, cache=True)
def cover_line(z, y, x0, x1, own_box, first_run, run_start, run_stop, reach, table, steps):
    """Add to steps (width + 1,) the begins (+) and ends (-) of the intervals that the object's runs cover in a line."""
    for x in range(x0, x1 + 1):
        steps[x] = 0
    own_height = own_box[3] - own_box[2]
    for from_z in range(max(own_box[0], z - reach[0]), min(own_box[1], z + reach[0] + 1)):
        for from_y in range(max(own_box[2], y - reach[1]), min(own_box[3], y + reach[1] + 1)):
            far = table[abs(z - from_z), abs(y - from_y)]
            if far < 0:
                continue
            line = (from_z - own_box[0]) * own_height + from_y - own_box[2]
            for r in range(first_run[line], first_run[line + 1]):
                steps[max(run_start[r] - far, x0)] += 1
                steps[min(run_stop[r] + far, x1)] -= 1


@njit(nogil=True, cache=True)
def add_own_runs(z, y, own_box, first_run, run_start, run_stop, change, steps):
    """Add the object's own runs in a line to the steps, as often as ``change`` says."""
    if own_box[0] <= z < own_box[1] and own_box[2] <= y < own_box[3]:
        line = (z - own_box[0]) * (own_box[3] - own_box[2]) + y - own_box[2]
        for r in range(first_run[line], first_run[line + 1]):
            steps[run_start[r]] += change
            steps[run_stop[r]] -= change


@njit(nogil=True, cache=True)
def add_neighbourhoods(
    labels, pixels, lines, start, objects, boxes, margin, pitch, limit, is_whole, is_second, wanted, values, channels,
    moments, histogram,
):  # fmt: skip
    """Add the lines of a slab to the neighbourhoods of some objects.

    labels    (z, y, x) of the whole frame; pixels (voxels, c) of the slab: whole lines from ``start`` (z, y) on
    lines     number of lines along (z, y)
    objects   rows of the tables; label = row + 1
    boxes     (n, 6) first and last + 1 voxel along z, y, x
    margin    the window around a box, one voxel more at its upper sides, cut at the frame
    pitch     the stretch of each axis; voxels with distance < limit belong. limit 0: all distances are NaN
    is_whole  True: the object belongs to its neighbourhood
    wanted    flags: values, channels; moments, histogram
    """
    seen, total, second, smallest, largest = values
    channel_seen, channel_total, channel_scatter = channels
    mean, third, fourth = moments
    lower, scale, bins, left = histogram
    depth, height, width = labels.shape
    reach = (min(max(limit - 1, 0) // pitch[0], depth), min(max(limit - 1, 0) // pitch[1], height))
    table = np.empty((reach[0] + 1, reach[1] + 1), np.int64)
    reaches(limit, pitch, reach, table)
    deviation = np.empty(pixels.shape[1])
    steps = np.empty(width + 1, np.int32)
    for i in objects:
        label = i + 1
        box = boxes[i]
        z0, z1 = max(box[0] - margin[0], start[0]), min(box[3] + 1 + margin[0], start[0] + lines[0], depth)
        y0, y1 = max(box[1] - margin[1], start[1]), min(box[4] + 1 + margin[1], start[1] + lines[1], height)
        x0, x1 = max(box[2] - margin[2], 0), min(box[5] + 1 + margin[2], width)
        own_box = (
            max(box[0], z0 - reach[0]), min(box[3], z1 + reach[0]),
            max(box[1], y0 - reach[1]), min(box[4], y1 + reach[1]),
        )  # fmt: skip
        if z0 >= z1 or y0 >= y1 or own_box[0] >= own_box[1] or own_box[2] >= own_box[3]:
            continue
        first_run = np.empty((own_box[1] - own_box[0]) * (own_box[3] - own_box[2]) + 1, np.int64)
        runs = count_own_runs(labels, label, box, *own_box, first_run)
        run_start, run_stop = np.empty(runs, np.int64), np.empty(runs, np.int64)
        find_own_runs(labels, label, box, *own_box, run_start, run_stop)
        for z in range(z0, z1):
            for y in range(y0, y1):
                cover_line(z, y, x0, x1, own_box, first_run, run_start, run_stop, reach, table, steps)
                if not is_whole:
                    change = 1 if limit == 0 else _UNCOVERED
                    add_own_runs(z, y, own_box, first_run, run_start, run_stop, change, steps)
                covered = 0
                run_at = -1
                base = ((z - start[0]) * lines[1] + y - start[1]) * width
                for x in range(x0, x1 + 1):
                    covered += steps[x]  # 0 at x1
                    if covered > 0:
                        if run_at < 0:
                            run_at = x
                        continue
                    if run_at < 0:
                        continue
                    if is_second:
                        if wanted[2]:
                            add_moments(i, pixels, base, run_at, x, mean, third, fourth)
                        if wanted[3]:
                            add_histogram(i, pixels, base, run_at, x, lower, scale, bins, left)
                    else:
                        if wanted[0]:
                            add_values(i, pixels, base, run_at, x, seen, total, second, smallest, largest)
                        if wanted[1]:
                            add_channels(
                                i, pixels, base, run_at, x, channel_seen, channel_total, channel_scatter, deviation
                            )
                    run_at = -1
