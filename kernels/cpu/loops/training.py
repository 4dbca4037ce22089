"""Growing of one decision tree, equal to vigra's bit for bit for a state of its generator.

vigra sorts the samples of a node by every column that it tries. Here columns hold ranks instead of values, and a column
is searched with a histogram of the node's ranks: the loss between two bins is exact, and inside a bin it cannot be
below a bound, because Gini's impurity is concave. Samples are sorted only in bins whose bound is below the best loss.
The order of equal values never matters: only counts of classes enter, which are integers.

The members of a node are a range of two lists: indices of samples in the bootstrap, and their loads, which are
multiplicity << 16 | label. A key is rank << 32 | load. Unsigned indices spare numba's test for negative ones.
"""

from __future__ import annotations

import numpy as np

from ..build.jit import njit

_INTERIOR, _LEAF = 0, 0x40000000
_LOW = np.uint64(0xFFFFFFFF)
_WORD = np.uint64(32)
_HALF = np.uint64(16)
_SHORT = np.uint64(0xFFFF)
_SCATTERED = 16  # members of a node are far from each other if they are fewer than one in so many samples
_FEW = 32  # keys sorted by insertion
_SAMPLES_PER_BIN = 8
_SLACK = 1.0 + 1e-9  # more than the rounding errors of a bound
_ROUNDING = 1e-9  # more than the rounding errors of a loss, relative to the number of samples
_EPSILON = 2.0 * 2.220446049250313e-16  # relative difference of losses that vigra takes for equal


@njit(nogil=True, cache=True)
def refill(state):
    """Generate the next 624 words of MT19937."""
    for i in range(624):
        word = (state[i] & np.uint32(0x80000000)) | (state[(i + 1) % 624] & np.uint32(0x7FFFFFFF))
        value = state[(i + 397) % 624] ^ (word >> np.uint32(1))
        if word & np.uint32(1):
            value ^= np.uint32(0x9908B0DF)
        state[i] = value


@njit(nogil=True, cache=True)
def draw_below(state, place, limit):
    """Draw an integer below ``limit``; for a limit of 1 no word is drawn."""
    if limit < 2:
        return np.int64(0)
    divisor = np.uint64(limit)
    last = _LOW - (np.uint64(1) << _WORD) % divisor
    while True:
        if place[0] == 624:
            refill(state)
            place[0] = 0
        word = state[place[0]]
        place[0] += 1
        word ^= word >> np.uint32(11)
        word ^= (word << np.uint32(7)) & np.uint32(0x9D2C5680)
        word ^= (word << np.uint32(15)) & np.uint32(0xEFC60000)
        drawn = np.uint64(word ^ (word >> np.uint32(18)))
        if drawn <= last:
            return np.int64(drawn % divisor)


@njit(nogil=True, cache=True)
def draw_members(state, place, labels, counts, indices, loads):
    """Draw a bootstrap sample into ``counts`` (n,) and list its members by index. Returns their number."""
    for i in range(len(counts)):
        counts[i] = 0
    for _ in range(len(counts)):
        counts[draw_below(state, place, len(counts))] += np.uint32(1)
    found = 0
    for i in range(len(counts)):
        if counts[i]:
            indices[found], loads[found] = i, counts[i] << np.uint32(16) | np.uint32(labels[i])
            found += 1
    return found


@njit(nogil=True, cache=True, error_model="numpy")
def impurity(counts, total):
    """Gini impurity times the number of samples, in vigra's two formulas and orders of operations."""
    if len(counts) == 2:
        return counts[0] * counts[1] / total
    mixed = 0.0
    for k in range(len(counts)):
        mixed += counts[k] * (1.0 - counts[k] / total)
    return mixed


@njit(nogil=True, cache=True, error_model="numpy")
def are_close(a, b):
    """Return True if vigra takes two losses for equal."""
    if a == 0.0 or b == 0.0:
        return abs(a - b) <= _EPSILON
    gap = abs(a - b)
    return gap / abs(a) <= _EPSILON and gap / abs(b) <= _EPSILON


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
def look_up_column(ranks, indices, begin, count, found):
    """Look up the ranks of a node's members in one column; fast if they are close to each other."""
    for j in range(count):
        found[j] = ranks[np.uint64(indices[np.uint64(begin + j)])]


@njit(nogil=True, cache=True)
def look_up_rows(rows, columns, tried, indices, begin, count, found):
    """Look up the ranks of a node's members in all columns to try; fast if the members are far from each other."""
    for j in range(count):
        index = np.uint64(indices[np.uint64(begin + j)])
        for i in range(tried):
            found[i, j] = rows[index, np.uint64(columns[i])]


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


@njit(nogil=True, cache=True, error_model="numpy")
def choose_cut(ranks, rows, columns, tried, state, place, indices, loads, begin, count, totals, total, found, work):
    """Choose column and cut of a node. Returns the loss, the column and the lowest rank on the right, and the row of
    ``found`` with the column's ranks.
    """
    for i in range(tried):
        j = i + draw_below(state, place, len(columns) - i)
        columns[i], columns[j] = columns[j], columns[i]
    are_scattered = count * _SCATTERED < len(rows)
    if are_scattered:
        look_up_rows(rows, columns, tried, indices, begin, count, found)
    best, chosen, cut, row = impurity(totals, total), np.int64(-1), np.int64(-1), 0
    limit, i = len(columns), 0
    while i < limit:
        slot = i if are_scattered and i < tried else 0
        if not are_scattered or i >= tried:
            look_up_column(ranks[columns[i]], indices, begin, count, found[0])
        loss, at = search_column(found[slot], loads, begin, count, totals, total, best, work)
        if at >= 0:
            best, chosen, cut, row, limit = loss, columns[i], at, slot, tried
        i += 1
    if chosen >= 0 and not are_scattered:
        look_up_column(ranks[chosen], indices, begin, count, found[0])
    return best, chosen, cut, row


@njit(nogil=True, cache=True)
def divide(found, cut, indices, loads, begin, count, moved):
    """Divide the members of a node by their ranks, keeping their order. Branches would be mispredicted.

    moved  scratch, 64 bits a member
    Returns the first of the right side, and the members of the largest rank below ``cut`` and the smallest other one.
    """
    start, middle, others = np.uint64(begin), np.uint64(begin), np.uint64(0)
    limit = np.uint32(cut)
    low, high = np.uint64(0), ~np.uint64(0)
    for j in range(np.uint64(count)):
        index, load = indices[start + j], loads[start + j]
        goes_left = found[j] < limit
        pair = np.uint64(found[j]) << _WORD | np.uint64(index)
        low = max(low, pair if goes_left else np.uint64(0))
        high = min(high, ~np.uint64(0) if goes_left else pair)
        indices[middle], loads[middle] = index, load
        moved[others] = np.uint64(index) << _WORD | np.uint64(load)
        middle += np.uint64(goes_left)
        others += np.uint64(not goes_left)
    for j in range(others):
        indices[middle + j], loads[middle + j] = np.uint32(moved[j] >> _WORD), np.uint32(moved[j] & _LOW)
    return np.int64(middle), np.int64(low & _LOW), np.int64(high & _LOW)


@njit(nogil=True, cache=True, error_model="numpy")
def grow_tree(
    features, ranks, rows, labels, tried, generator, counts, members, columns, totals, found, work, stack, tree, gains
):
    """Grow one tree from a new bootstrap sample.

    features   (n, f) float32
    ranks      (f, n): of every value among the distinct ones of its column; rows (n, f): the same
    labels     (n,) from 0; tried: number of columns that a node tries
    generator  state (624,) of MT19937 and the place (1,) in it, which go on from tree to tree
    counts     (n,) receives the multiplicities of the bootstrap sample
    tree       topology and parameters in vigra's layout, with room for the largest tree
    gains      (f,) the decrease of impurity by every column is added
    The others are scratch. Returns the numbers of values in topology and parameters.
    """
    state, place = generator
    topology, parameters = tree
    indices, loads = members
    classes = len(totals)
    for i in range(len(columns)):
        columns[i] = i
    stack[0, 0], stack[0, 1], stack[0, 2] = 0, draw_members(state, place, labels, counts, indices, loads), -1
    topology[0], topology[1] = len(columns), classes
    ints, numbers, depth = np.int64(2), np.int64(0), 1
    while depth > 0:
        depth -= 1
        begin, end, parent = stack[depth, 0], stack[depth, 1], stack[depth, 2]
        if parent >= 0:
            topology[parent] = ints
        for k in range(classes):
            totals[k] = 0.0
        for j in range(begin, end):
            totals[np.uint64(loads[j] & np.uint32(0xFFFF))] += np.float64(loads[j] >> np.uint32(16))
        total = 0.0
        for k in range(classes):
            total += totals[k]
        whole, column = impurity(totals, total), np.int64(-1)
        if whole > 0.0:
            best, column, cut, row = choose_cut(
                ranks, rows, columns, tried, state, place, indices, loads, begin, end - begin, totals, total, found,
                work,
            )  # fmt: skip
            if column >= 0 and are_close(best, whole):
                column = np.int64(-1)
        topology[ints + 1] = numbers
        if column < 0:
            topology[ints] = _LEAF
            parameters[numbers] = total
            for k in range(classes):
                parameters[numbers + 1 + k] = totals[k] / total
            ints, numbers = ints + 2, numbers + 1 + classes
            continue
        gains[column] += whole - best
        middle, below, above = divide(found[row], cut, indices, loads, begin, end - begin, work[1])
        topology[ints], topology[ints + 4] = _INTERIOR, column
        parameters[numbers] = 1.0
        parameters[numbers + 1] = (np.float64(features[below, column]) + np.float64(features[above, column])) / 2.0
        stack[depth, 0], stack[depth, 1], stack[depth, 2] = begin, middle, ints + 2
        stack[depth + 1, 0], stack[depth + 1, 1], stack[depth + 1, 2] = middle, end, ints + 3
        depth += 2
        ints, numbers = ints + 5, numbers + 2
    return ints, numbers


@njit(nogil=True, cache=True)
def vote_out_of_bag(features, counts, topology, parameters, votes):
    """Add a tree's probabilities (n, K) of the samples that are not in its bootstrap sample."""
    for i in range(len(counts)):
        if counts[i]:
            continue
        node = np.int64(2)
        while topology[node] == _INTERIOR:
            is_right = np.float64(features[i, topology[node + 4]]) >= parameters[topology[node + 1] + 1]
            node = np.int64(topology[node + 2 + is_right])
        leaf = np.int64(topology[node + 1])
        for k in range(votes.shape[1]):
            votes[i, k] += parameters[leaf + 1 + k]


@njit(nogil=True, cache=True)
def count_right(features, labels, outside, column, order, topology, parameters, right):
    """Count by class the samples ``outside`` that a tree classifies rightly, if one column is permuted among them.

    order  sample j gets the value of column ``column`` of ``outside[order[j]]``; right (K,) is overwritten
    """
    for k in range(len(right)):
        right[k] = 0.0
    for j in range(len(outside)):
        i, other = np.int64(outside[j]), np.int64(outside[order[j]])
        node = np.int64(2)
        while topology[node] == _INTERIOR:
            compared = np.int64(topology[node + 4])
            value = features[other if compared == column else i, compared]
            is_right = np.float64(value) >= parameters[topology[node + 1] + 1]
            node = np.int64(topology[node + 2 + is_right])
        leaf = np.int64(topology[node + 1])
        best = 0
        for k in range(1, len(right)):
            if parameters[leaf + 1 + k] > parameters[leaf + 1 + best]:
                best = k
        if best == labels[i]:
            right[best] += 1.0
