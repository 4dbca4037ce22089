"""Search of one column for the best cut of a node, with vigra's losses bit for bit.

vigra sorts the samples of a node by every column that it tries. Here columns hold ranks instead of values, and a column
is searched with a histogram of the node's ranks: the loss between two bins is exact, and inside a bin it cannot be
below a bound, because Gini's impurity is concave. Samples are sorted only in bins whose bound is below the best loss.
The order of equal values never matters: only counts of classes enter, which are integers.

A load is multiplicity << 16 | label of a sample; a key is rank << 32 | load.
"""

from __future__ import annotations

import numpy as np

from ..build.jit import njit

_WORD = np.uint64(32)
_HALF = np.uint64(16)
_SHORT = np.uint64(0xFFFF)
_FEW = 32  # keys sorted by insertion
_SAMPLES_PER_BIN = 8
_SLACK = 1.0 + 1e-9  # more than the rounding errors of a bound
_ROUNDING = 1e-9  # more than those of a loss, relative to the number of samples


@njit(nogil=True, cache=True, error_model="numpy")
def impurity(counts, total):
    """Gini impurity times the number of samples, in vigra's two formulas and orders of operations."""
    if len(counts) == 2:
        return counts[0] * counts[1] / total
    mixed = 0.0
    for k in range(len(counts)):
        mixed += counts[k] * (1.0 - counts[k] / total)
    return mixed


@njit(nogil=True, cache=True)
def sort_keys(keys, first, stop, low, width, tally, other):
    """Sort keys by rank; their ranks are from ``low`` to below ``low + width``."""
    count = stop - first
    if count > _FEW and width <= 4 * count:
        for i in range(width + 1):
            tally[i] = 0
        for j in range(first, stop):
            tally[np.int64(keys[j] >> _WORD) - low + 1] += np.uint32(1)
        for i in range(1, width):
            tally[i] += tally[i - 1]
        for j in range(first, stop):
            rank = np.int64(keys[j] >> _WORD) - low
            other[tally[rank]] = keys[j]
            tally[rank] += np.uint32(1)
        for j in range(count):
            keys[first + j] = other[j]
        return
    gap = 1
    while count > _FEW and 3 * gap < count:
        gap = 3 * gap + 1
    while gap > 0:
        for j in range(first + gap, stop):
            key = keys[j]
            i = j
            while i >= first + gap and keys[i - gap] > key:
                keys[i] = keys[i - gap]
                i -= gap
            keys[i] = key
        gap //= 3


@njit(nogil=True, cache=True, error_model="numpy")
def search_sorted(keys, first, stop, left, right, sums, sides, best, cut):
    """Search sorted keys for the first smallest loss below ``best``, between two different ranks.

    left, right, sums  counts of the classes, and their sums, left and right of the first key
    sides              scratch of the same shapes
    Returns the loss and the lowest rank on its right, or ``best`` and ``cut``.
    """
    if len(left) == 2:
        a, b, c, d = left[0], left[1], right[0], right[1]
        for j in range(first, stop - 1):
            weight = np.float64(keys[j] >> _HALF & _SHORT)
            if keys[j] & _SHORT:
                b += weight
                d -= weight
            else:
                a += weight
                c -= weight
            if keys[j] >> _WORD != keys[j + 1] >> _WORD:
                loss = c * d / (c + d) + a * b / (a + b)
                if loss < best:
                    best, cut = loss, np.int64(keys[j + 1] >> _WORD)
        return best, cut
    inner_left, inner_right, _ = sides
    for k in range(len(left)):
        inner_left[k], inner_right[k] = left[k], right[k]
    on_left, on_right = sums[0], sums[1]
    for j in range(first, stop - 1):
        weight, label = np.float64(keys[j] >> _HALF & _SHORT), np.int64(keys[j] & _SHORT)
        inner_left[label] += weight
        inner_right[label] -= weight
        on_left += weight
        on_right -= weight
        if keys[j] >> _WORD != keys[j + 1] >> _WORD:
            loss = impurity(inner_right, on_right) + impurity(inner_left, on_left)
            if loss < best:
                best, cut = loss, np.int64(keys[j + 1] >> _WORD)
    return best, cut


@njit(nogil=True, cache=True, error_model="numpy")
def bound_inside(left, right, sums, counts, scratch):
    """Lower bound of the losses inside a bin with these counts; ``left``, ``right`` and ``sums`` are those before it.

    The loss is concave in the counts that are moved to the left, so that the smallest one is where some classes are
    moved as a whole and the others not at all. With two classes both arrangements are computed; those of the bin's ends
    bound it, too. With more, all of them are, unless that takes longer than to sort the bin.
    """
    if len(left) == 2:
        a, b = np.float64(counts[0]), np.float64(counts[1])
        first = (right[0] - a) * right[1] / max(sums[1] - a, 1.0) + (left[0] + a) * left[1] / max(sums[0] + a, 1.0)
        second = right[0] * (right[1] - b) / max(sums[1] - b, 1.0) + left[0] * (left[1] + b) / max(sums[0] + b, 1.0)
        return min(first, second)
    before, behind, moved = 0.0, 0.0, 0.0
    weights, on_left, on_right = scratch
    present = 0
    for k in range(len(left)):
        before += left[k] * left[k]
        behind += right[k] * right[k]
        if counts[k] > 0:
            a = np.float64(counts[k])
            moved += a
            weights[present] = a
            on_left[present] = a * (2.0 * left[k] + a)
            on_right[present] = a * (2.0 * right[k] - a)
            present += 1
    if present < 2:
        return np.inf  # all orders are the same: the ends of the bin bound it
    if present > 20 or np.float64(1 << present) > 2.0 * moved:
        return 0.0
    squares_left, squares_right, gone, purest = before, behind, 0.0, 0.0
    for i in range(1, 1 << present):  # a Gray code: one class is moved there or back at a time
        at = 0
        while not i >> at & 1:
            at += 1
        sign = 1.0 if (i ^ i >> 1) >> at & 1 else -1.0
        squares_left += sign * on_left[at]
        squares_right -= sign * on_right[at]
        gone += sign * weights[at]
        of_left, of_right = sums[0] + gone, sums[1] - gone
        if of_right > 0.0:  # otherwise it is the end of the bin
            purest = max(purest, (squares_left * of_right + squares_right * of_left) / (of_left * of_right))
    total = sums[0] + sums[1]
    return total - purest - _ROUNDING * total


@njit(nogil=True, cache=True, error_model="numpy")
def move_right_to_left(left, right, sums, counts):
    """Move the samples of a bin from the right side to the left one."""
    for k in range(len(left)):
        weight = np.float64(counts[k])
        left[k] += weight
        right[k] -= weight
        sums[0] += weight
        sums[1] -= weight


@njit(nogil=True, cache=True)
def begin_on_right(totals, total, left, right, sums):
    """Put all samples of a node on the right side."""
    for k in range(len(totals)):
        left[k], right[k] = 0.0, totals[k]
    sums[0], sums[1] = 0.0, total


@njit(nogil=True, cache=True, error_model="numpy")
def bound_bins(histogram, bins, is_exact, totals, total, best, left, right, sums, scratch, bounds):
    """Fill ``bounds``: of every bin a lower bound of the losses inside it, and the loss behind it.

    is_exact  the bins hold one rank each
    Returns the limit: inside a bin of a larger bound no loss is below or equal to the best one.
    """
    begin_on_right(totals, total, left, right, sums)
    limit, before = best, total
    for i in range(bins):
        counts = histogram[i]
        bounds[i, 0] = bounds[i, 1] = np.inf
        was = sums[0]
        inside = np.inf if is_exact else bound_inside(left, right, sums, counts, scratch)
        move_right_to_left(left, right, sums, counts)
        if sums[0] == was:
            continue
        behind = total
        if sums[1] > 0.0:
            behind = impurity(right, sums[1]) + impurity(left, sums[0])
            bounds[i, 1] = behind
            limit = min(limit, behind)
        if not is_exact:
            bounds[i, 0] = min(inside, before, behind)
        before = behind
    return limit * _SLACK


@njit(nogil=True, cache=True, error_model="numpy")
def search_bins(found, loads, begin, count, low, shift, bins, totals, total, best, work):
    """Search the binned ranks of a node for the first smallest loss below ``best``, see ``search_sorted``."""
    keys, other, tally, histogram, bounds, starts, left, right, sums, sides = work
    limit = bound_bins(histogram, bins, shift == 0, totals, total, best, left, right, sums, sides, bounds)
    size = np.int64(0)
    for i in range(bins):
        starts[i] = -1
        if bounds[i, 0] <= limit:
            starts[i] = size
            for k in range(len(totals)):
                size += np.int64(histogram[i, k])
    if size == 0 and limit >= best * _SLACK:
        return best, np.int64(-1)
    if size > 0:
        for j in range(count):
            bin_ = np.uint64((found[j] - np.uint32(low)) >> np.uint32(shift))
            at = starts[bin_]
            if at >= 0:
                keys[np.uint64(at)] = np.uint64(found[j]) << _WORD | np.uint64(loads[np.uint64(begin + j)])
                starts[bin_] = at + 1
    begin_on_right(totals, total, left, right, sums)
    cut, first = np.int64(-1), np.int64(0)
    for i in range(bins):
        was = sums[0]
        if starts[i] >= 0:
            sort_keys(keys, first, starts[i], low + (i << shift), np.int64(1) << shift, tally, other)
            best, cut = search_sorted(keys, first, starts[i], left, right, sums, sides, best, cut)
        move_right_to_left(left, right, sums, histogram[i])
        if starts[i] >= 0:
            first += np.int64(sums[0] - was)
        if bounds[i, 1] < best:
            best, cut = bounds[i, 1], low + ((i + 1) << shift)
    return best, cut


@njit(nogil=True, cache=True)
def find_extremes(found, count):
    """Find the lowest and the highest rank of a node."""
    low, high = np.uint32(0xFFFFFFFF), np.uint32(0)
    for j in range(count):
        low, high = min(low, found[j]), max(high, found[j])
    return np.int64(low), np.int64(high)


@njit(nogil=True, cache=True, error_model="numpy")
def search_column(found, loads, begin, count, totals, total, best, work):
    """Search a column for the best cut of a node; returns its loss and the lowest rank on its right, or best and -1."""
    keys, other, tally, histogram, _, starts, left, right, sums, sides = work
    low, high = find_extremes(found, count)
    if low == high:
        return best, np.int64(-1)
    if count <= _FEW:
        for j in range(count):
            keys[j] = np.uint64(found[j]) << _WORD | np.uint64(loads[begin + j])
        sort_keys(keys, 0, count, low, high - low + 1, tally, other)
        begin_on_right(totals, total, left, right, sums)
        return search_sorted(keys, 0, count, left, right, sums, sides, best, np.int64(-1))
    wanted = min(len(starts), count // _SAMPLES_PER_BIN)
    shift = np.int64(0)
    while (high - low) >> shift >= wanted:
        shift += 1
    bins = ((high - low) >> shift) + 1
    for i in range(bins):
        for k in range(len(totals)):
            histogram[i, k] = 0
    for j in range(count):
        load = loads[np.uint64(begin + j)]
        bin_ = np.uint64((found[j] - np.uint32(low)) >> np.uint32(shift))
        histogram[bin_, np.uint64(load & np.uint32(0xFFFF))] += load >> np.uint32(16)
    return search_bins(found, loads, begin, count, low, shift, bins, totals, total, best, work)
