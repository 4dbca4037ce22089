"""Growing of one decision tree, equal to vigra's bit for bit for a state of its generator.

The members of a node are a range of two lists: indices of samples in the bootstrap, and their loads, which are
multiplicity << 16 | label. Unsigned indices spare numba's test for negative ones.
"""

from __future__ import annotations

import numpy as np

from ..build.jit import njit
from .cut_search import impurity, search_column

_INTERIOR, _LEAF = 0, 0x40000000
_LOW = np.uint64(0xFFFFFFFF)
_WORD = np.uint64(32)
_SCATTERED = 16  # members of a node are far from each other if they are fewer than one in so many samples
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
def are_close(a, b):
    """Return True if vigra takes two losses for equal."""
    if a == 0.0 or b == 0.0:
        return abs(a - b) <= _EPSILON
    gap = abs(a - b)
    return gap / abs(a) <= _EPSILON and gap / abs(b) <= _EPSILON


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
