"""Loops of ``host.threshold``: smoothing of prediction maps and the priority flood."""

from __future__ import annotations

import numpy as np

from ..build.jit import njit
from ..simd.lanes import noinline
from .filters import mirror


@njit(nogil=True, cache=True)
def add_scaled(total, values, weight):
    """Compute ``total += weight * values`` in double, the product rounded first."""
    for x in range(len(total)):
        total[x] += weight * values[x]


@njit(nogil=True, cache=True)
def smooth_x(values, taps, line, total, out):
    """Run the x pass over whole rows of (z, y, x) float32; taps (radius + 1,) float64 from the centre outwards."""
    noinline()
    depth, height, width = values.shape
    radius = len(taps) - 1
    for z in range(depth):
        for y in range(height):
            row, to = values[z, y], out[z, y]
            for x in range(-radius, width + radius):
                line[x + radius] = row[mirror(x, width)]
            total.fill(0)
            for k in range(2 * radius + 1):
                add_scaled(total, line[k : k + width], taps[abs(k - radius)])
            for x in range(width):
                to[x] = total[x]


@njit(nogil=True, cache=True)
def smooth_y(values, start, first, n, taps, total, out):
    """Run the y pass: values begin at ``start`` in an image of height n, out at ``first``."""
    noinline()
    radius = len(taps) - 1
    for z in range(out.shape[0]):
        for y in range(out.shape[1]):
            to = out[z, y]
            total.fill(0)
            for k in range(-radius, radius + 1):
                add_scaled(total, values[z, mirror(first + y + k, n) - start], taps[abs(k)])
            for x in range(len(to)):
                to[x] = total[x]


@njit(nogil=True, cache=True)
def smooth_z(values, start, first, n, taps, total, out):
    """Run the z pass: values begin at ``start`` in an image of depth n, out at ``first``."""
    noinline()
    radius = len(taps) - 1
    for z in range(out.shape[0]):
        for y in range(out.shape[1]):
            to = out[z, y]
            total.fill(0)
            for k in range(-radius, radius + 1):
                add_scaled(total, values[mirror(first + z + k, n) - start, y], taps[abs(k)])
            for x in range(len(to)):
                to[x] = total[x]


@njit(nogil=True, cache=True)
def push(keys, places, size, key, place):
    """Push onto a heap with the smallest key on top, like libstdc++'s push_heap with ``greater``."""
    hole = size
    while hole > 0:
        above = (hole - 1) // 2
        if not keys[above] > key:
            break
        keys[hole] = keys[above]
        places[hole] = places[above]
        hole = above
    keys[hole] = key
    places[hole] = place


@njit(nogil=True, cache=True)
def drop_top(keys, places, size):
    """Pop the top of a heap of ``size`` entries, like libstdc++'s pop_heap with ``greater``.

    The hole sinks to a leaf along the smaller children, the right one if they are equal; then the last entry rises from
    there. This determines the order of equal keys.
    """
    n = size - 1
    key, place = keys[n], places[n]
    hole = child = 0
    while child < (n - 1) // 2:
        child = 2 * (child + 1)
        if keys[child] > keys[child - 1]:
            child -= 1
        keys[hole] = keys[child]
        places[hole] = places[child]
        hole = child
    if n % 2 == 0 and child == (n - 2) // 2 and n > 0:
        child = 2 * (child + 1)
        keys[hole] = keys[child - 1]
        places[hole] = places[child - 1]
        hole = child - 1
    push(keys, places, hole, key, place)


@njit(nogil=True, cache=True)
def find_neighbours(place, depth, height, width, found):
    """Write positions of the 4 or 6 neighbours in the frame, in the order -z -y -x +x +y +z. Returns their number."""
    plane = height * width
    z = place // plane
    y = (place - z * plane) // width
    x = place - z * plane - y * width
    n = 0
    if z > 0:
        found[n] = place - plane
        n += 1
    if y > 0:
        found[n] = place - width
        n += 1
    if x > 0:
        found[n] = place - 1
        n += 1
    if x < width - 1:
        found[n] = place + 1
        n += 1
    if y < height - 1:
        found[n] = place + width
        n += 1
    if z < depth - 1:
        found[n] = place + plane
        n += 1
    return n


@njit(nogil=True, cache=True)
def flood(cost, labels, depth, height, width, limit, keys, places, state):
    """Grow labels over cost. Returns False if the heap is full: call again with longer keys and places.

    state  (2,) int64: number of voxels searched for seeds, and the size of the heap; zeros at first
    """
    noinline()
    found = np.empty(6, np.int64)
    at, size = state[0], state[1]
    room = len(keys) - 6
    while at < len(labels):
        if labels[at] != 0:
            if size >= room:
                state[0], state[1] = at, size
                return False
            n = find_neighbours(at, depth, height, width, found)
            for i in range(n):
                if labels[found[i]] == 0:
                    push(keys, places, size, cost[at], at)
                    size += 1
                    break
        at += 1
    state[0] = at
    while size > 0:
        if size >= room:
            state[1] = size
            return False
        key, place = keys[0], places[0]
        if key > limit:
            break
        drop_top(keys, places, size)
        size -= 1
        n = find_neighbours(place, depth, height, width, found)
        for i in range(n):
            near = found[i]
            if labels[near] == 0:
                labels[near] = labels[place]
                push(keys, places, size, key if key > cost[near] else cost[near], near)
                size += 1
    return True


@njit(nogil=True, cache=True)
def mark_minima(cost, depth, height, width, labels):
    """Number 1, 2, … in scan order the voxels with less cost than every neighbour. Returns their number."""
    noinline()
    found = np.empty(6, np.int64)
    count = 0
    for place in range(len(cost)):
        n = find_neighbours(place, depth, height, width, found)
        is_lowest = cost[place] < np.inf
        for i in range(n):
            if not cost[place] < cost[found[i]]:
                is_lowest = False
                break
        if is_lowest:
            count += 1
            labels[place] = count
    return count


@njit(nogil=True, cache=True)
def add_label_sizes(labels, sizes):
    """Add the voxels of every label of a flat uint32 array to its size."""
    noinline()
    for i in range(len(labels)):
        sizes[labels[i]] += 1


@njit(nogil=True, cache=True)
def drop_labels(labels, keep):
    """Set labels to 0 unless they are kept."""
    noinline()
    for i in range(len(labels)):
        if labels[i] != 0 and not keep[labels[i]]:
            labels[i] = 0
