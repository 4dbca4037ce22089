"""Loops of ``host.labels``: runs of equal value along x, joined by union-find, and tables of label values."""

from __future__ import annotations

import numpy as np

from ..build.jit import njit
from ..simd.bits import changes_64, lowest_bit
from ..simd.lanes import noinline

_NONE = np.uint64(0)
_BIT = np.uint64(1)
_HASH_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio: spreads neighbouring labels


@njit(nogil=True, cache=True)
def changed_at(values, base, offset, width):
    """Find changes along x. Bit i: the voxel at ``offset + i`` of the row at ``base`` differs from its left neighbour.

    The left neighbour of the row's first voxel counts as background.
    """
    at = base + offset
    n = min(64, width - offset)
    mask = _NONE
    if at >= 1 and at + 64 <= len(values):
        mask = changes_64(values, at)
    else:
        for i in range(n):
            if at + i >= 1 and values[at + i] != values[at + i - 1]:
                mask |= _BIT << np.uint64(i)
    if n < 64:
        mask &= (_BIT << np.uint64(n)) - _BIT
    if offset == 0:
        mask &= ~_BIT
        if values[base] != 0:
            mask |= _BIT
    return mask


@njit(nogil=True, cache=True)
def count_runs(values, rows, width):
    """Count the runs of a slab."""
    noinline()
    count = 0
    for row in range(rows):
        base = row * width
        for offset in range(0, width, 64):
            mask = changed_at(values, base, offset, width)
            while mask != _NONE:
                if values[base + offset + lowest_bit(mask)] != 0:
                    count += 1
                mask &= mask - _BIT
    return count


@njit(nogil=True, cache=True)
def find_root(parent, i):
    """Find the root of i, compressing the path."""
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = np.int64(parent[i])
    return i


@njit(nogil=True, cache=True)
def unite(parent, i, j):
    """Unite the sets of i and j; the smaller root stays."""
    a, b = find_root(parent, i), find_root(parent, j)
    if a < b:
        parent[b] = a
    elif b < a:
        parent[a] = b


@njit(nogil=True, cache=True)
def unite_rows(values, width, first, start, stop, parent, above, row):
    """Unite the runs of two neighbouring rows that touch and have equal values."""
    noinline()
    j, end = first[above], first[above + 1]
    for i in range(first[row], first[row + 1]):
        begin, past = start[i], stop[i]
        value = values[row * width + begin]
        root = np.int64(i)
        while parent[root] != root:
            root = np.int64(parent[root])
        while j < end and stop[j] <= begin:
            j += 1
        k = j
        while k < end and start[k] < past:
            if values[above * width + start[k]] == value:
                other = find_root(parent, k)
                if other < root:
                    parent[root] = other
                    root = other
                elif root < other:
                    parent[other] = root
            k += 1
        if k > j:
            j = k - 1  # the last one may reach the next run of this row as well


@njit(nogil=True, cache=True)
def find_runs(values, rows, height, width, first, start, stop, parent):
    """Record the runs of a slab and unite those that touch along y and z; parent[i] <= i."""
    noinline()
    n = 0
    for row in range(rows):
        first[row] = n
        base = row * width
        is_open = False
        for offset in range(0, width, 64):
            mask = changed_at(values, base, offset, width)
            while mask != _NONE:
                x = offset + lowest_bit(mask)
                mask &= mask - _BIT
                if is_open:
                    stop[n] = x
                    n += 1
                is_open = values[base + x] != 0
                if is_open:
                    start[n] = x
                    parent[n] = n
        if is_open:
            stop[n] = width
            n += 1
        first[row + 1] = n
        if row % height != 0:
            unite_rows(values, width, first, start, stop, parent, row - 1, row)
        if row >= height:
            unite_rows(values, width, first, start, stop, parent, row - height, row)


@njit(nogil=True, cache=True)
def number_roots(parent):
    """Replace parents by the numbers 1, 2, … of their roots and count these. No parent comes after its child."""
    noinline()
    return number_from(parent, 0)


@njit(nogil=True, cache=True)
def number_from(parent, first):
    """Apply ``number_roots`` to the parents from ``first`` on."""
    count = 0
    for i in range(first, len(parent)):
        if parent[i] == i:
            count += 1
            parent[i] = count
        else:
            parent[i] = parent[parent[i]]
    return count


@njit(nogil=True, cache=True)
def touching_pairs(runs_a, row_a, values_a, runs_b, row_b, values_b, rows, ids_a, ids_b):
    """Write pairs of components that touch with equal values across a face of ``rows`` rows. Returns their number.

    runs are (first, start, stop, component); values (rows, x) are those of the face. A pair may occur more than once.
    """
    noinline()
    first_a, start_a, stop_a, component_a = runs_a
    first_b, start_b, stop_b, component_b = runs_b
    n = 0
    for row in range(rows):
        j, end = first_a[row_a + row], first_a[row_a + row + 1]
        for i in range(first_b[row_b + row], first_b[row_b + row + 1]):
            while j < end and stop_a[j] <= start_b[i]:
                j += 1
            k = j
            while k < end and start_a[k] < stop_b[i]:
                a, b = component_a[k], component_b[i]
                is_repeated = n > 0 and ids_a[n - 1] == a and ids_b[n - 1] == b
                if not is_repeated and values_a[row, start_a[k]] == values_b[row, start_b[i]]:
                    ids_a[n] = a
                    ids_b[n] = b
                    n += 1
                k += 1
            if k > j:
                j = k - 1
    return n


@njit(nogil=True, cache=True)
def unite_pairs(parent, base_a, ids_a, base_b, ids_b):
    """Unite ``base_a + ids_a[i]`` with ``base_b + ids_b[i]``, in 64-bit numbers."""
    noinline()
    for i in range(len(ids_a)):
        unite(parent, base_a + np.int64(ids_a[i]), base_b + np.int64(ids_b[i]))


@njit(nogil=True, cache=True)
def number_components(parent):
    """Apply ``number_roots`` to the parents from 1 on; entry 0 becomes the background."""
    noinline()
    parent[0] = 0
    return number_from(parent, 1)


@njit(nogil=True, cache=True)
def drop_components(ids, keep):
    """Set ids to 0 unless they are kept."""
    noinline()
    for i in range(len(ids)):
        if not keep[ids[i]]:
            ids[i] = 0


@njit(nogil=True, cache=True)
def add_run_sizes(start, stop, component, ids, base, sizes):
    """Add the voxels of every run to its component."""
    noinline()
    for i in range(len(start)):
        sizes[ids[base + np.int64(component[i])]] += stop[i] - start[i]


@njit(nogil=True, cache=True)
def write_runs(first, start, stop, component, ids, base, out):
    """Write ``ids[base + component]`` into the runs of out (rows, x), which is all zeros."""
    noinline()
    width = out.shape[1]
    none = np.uint32(0)
    for row in range(len(first) - 1):
        line = out[row]
        for i in range(first[row], first[row + 1]):
            label = np.uint32(ids[base + np.int64(component[i])])
            if label != none:
                x, end = np.int64(start[i]), np.int64(stop[i])
                if x + 4 <= width:
                    # Without a branch, since most runs of a noisy frame are this short. The next run's voxels are
                    # written after this.
                    line[x] = label
                    line[x + 1] = label if x + 1 < end else none
                    line[x + 2] = label if x + 2 < end else none
                    line[x + 3] = label if x + 3 < end else none
                    x += 4
                for rest in range(x, end):
                    line[rest] = label


@njit(nogil=True, cache=True)
def mark_overlaps(runs_a, ids_a, base_a, runs_b, ids_b, base_b, marks):
    """Set marks[id of b] where a component of b shares a voxel with one of a whose id is not 0."""
    noinline()
    first_a, start_a, stop_a, component_a = runs_a
    first_b, start_b, stop_b, component_b = runs_b
    for row in range(len(first_a) - 1):
        j, end = first_a[row], first_a[row + 1]
        for i in range(first_b[row], first_b[row + 1]):
            while j < end and stop_a[j] <= start_b[i]:
                j += 1
            k = j
            while k < end and start_a[k] < stop_b[i]:
                if ids_a[base_a + np.int64(component_a[k])] != 0:
                    marks[ids_b[base_b + np.int64(component_b[i])]] = 1
                k += 1
            if k > j:
                j = k - 1


@njit(nogil=True, cache=True)
def slot_of(keys, value):
    """Find the slot of a value, present or not, in an open-addressing hash table of 2^n slots; 0 marks a free one."""
    last = np.uint64(len(keys) - 1)
    slot = (value * _HASH_FACTOR) >> np.uint64(20) & last
    while keys[slot] != _NONE and keys[slot] != value:
        slot = (slot + _BIT) & last
    return slot


@njit(nogil=True, cache=True)
def fill_table(originals, count, keys, ids):
    """Insert the first ``count`` originals with their ids 1, 2, … into an empty table."""
    noinline()
    for i in range(count):
        slot = slot_of(keys, originals[i])
        keys[slot] = originals[i]
        ids[slot] = i + 1


@njit(nogil=True, cache=True)
def renumber(values, at, originals, count, keys, ids, out):
    """Replace values from position ``at`` on by their ids; new values get the next id and are added to originals.

    Returns the position reached, the end unless originals is full, and the new count.
    """
    noinline()
    value, label = _NONE, np.uint32(0)
    for i in range(at, len(values)):
        here = np.uint64(values[i])
        if here != value:
            if here == _NONE:
                label = np.uint32(0)
            else:
                slot = slot_of(keys, here)
                if keys[slot] == _NONE:
                    if count == len(originals):
                        return i, count
                    originals[count] = here
                    count += 1
                    keys[slot] = here
                    ids[slot] = count
                label = ids[slot]
            value = here
        if label != 0:
            out[i] = label
    return len(values), count
