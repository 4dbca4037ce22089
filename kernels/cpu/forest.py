"""Forest prediction for blocks of 64 neighbouring voxels: each tree is walked once for all of them.

At a node one comparison of 64 values gives a mask of the voxels that go left; a subtree is entered only by a mask that
is not empty. Neighbours mostly agree, so a tree costs a few visits a block instead of a path a voxel. With pure leaves
the votes are bit masks too, summed in bit-sliced counters.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .features import BLOCK
from .intrinsics import count_bits, less_than_64, lowest_bit, not_a_number_64

_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_NONE = np.uint64(0)
_BIT = np.uint64(1)


@njit(nogil=True, cache=True)
def walk_pure(stack, base, root, mask, feature, threshold, left, right, leaf_class, votes, pending_node, pending_mask):
    """Add to votes[class] the mask of the voxels for which this tree votes for it."""
    depth = 0
    node = root
    while True:
        column = feature[node]
        while column >= 0:
            smaller = less_than_64(stack, base + column * BLOCK, threshold[node])
            goes_left, goes_right = mask & smaller, mask & ~smaller
            if goes_left == _NONE:
                node = right[node]
            elif goes_right == _NONE:
                node = left[node]
            else:
                pending_node[depth] = right[node]
                pending_mask[depth] = goes_right
                depth += 1
                node = left[node]
                mask = goes_left
            column = feature[node]
        votes[leaf_class[node]] |= mask
        if depth == 0:
            return
        depth -= 1
        node = pending_node[depth]
        mask = pending_mask[depth]


@njit(nogil=True, cache=True)
def count_votes(stack, base, mask, first, stop, feature, threshold, left, right, roots, leaf_class, planes, votes, pending_node, pending_mask):
    """Count the votes of trees [first, stop) into bit planes: bit i of planes[class, p] is bit p of voxel i's count."""
    classes, digits = planes.shape
    planes[:] = _NONE
    for tree in range(first, stop):
        votes[:] = _NONE
        walk_pure(stack, base, roots[tree], mask, feature, threshold, left, right, leaf_class, votes, pending_node, pending_mask)
        for k in range(classes):
            carry = votes[k]
            for p in range(digits):
                if carry == _NONE:
                    break
                both = planes[k, p] & carry
                planes[k, p] ^= carry
                carry = both


@njit(nogil=True, cache=True)
def nan_mask(stack, base, width):
    """The voxels of a block that have a NaN in any column."""
    found = _NONE
    for column in range(width):
        found |= not_a_number_64(stack, base + column * BLOCK)
    return found


@njit(nogil=True, cache=True, error_model="numpy")
def predict_pure(stack, masks, width, feature, threshold, left, right, roots, leaf_class, groups, vote_value, divisor, depth, digits, out):
    """Probabilities of every block, for forests of pure leaves. masks (b,) uint64: voxels that count; out (b, 64, K)."""
    classes = out.shape[2]
    planes = np.empty((classes, digits), np.uint64)
    votes = np.empty(classes, np.uint64)
    pending_node = np.empty(depth + 1, np.int32)
    pending_mask = np.empty(depth + 1, np.uint64)
    counts = np.empty(BLOCK, np.int32)
    for b in range(len(masks)):
        base = b * width * BLOCK
        mask = masks[b] & ~nan_mask(stack, base, width)
        block = out[b]
        block[:] = 0
        if mask == _NONE:
            continue
        for g in range(len(groups)):
            count_votes(stack, base, mask, groups[g, 0], groups[g, 1], feature, threshold, left, right, roots, leaf_class, planes, votes, pending_node, pending_mask)
            for k in range(classes):
                counts[:] = 0
                for p in range(digits):
                    plane = planes[k, p]
                    if plane != _NONE:
                        for i in range(BLOCK):
                            counts[i] += np.int32((plane >> np.uint64(i)) & _BIT) << p
                for i in range(BLOCK):
                    block[i, k] += vote_value[g, counts[i]]
        for i in range(BLOCK):
            for k in range(classes):
                block[i, k] /= divisor


@njit(nogil=True, cache=True, error_model="numpy")
def predict_mixed(stack, masks, width, feature, threshold, left, right, roots, probabilities, weights, forests, averages, divisor, depth, out):
    """Probabilities of every block, for any leaves: sums in tree order, float32 a class and double for their total."""
    classes = out.shape[2]
    share = np.empty((BLOCK, classes), np.float32)
    total = np.empty(BLOCK, np.float64)
    pending_node = np.empty(depth + 1, np.int32)
    pending_mask = np.empty(depth + 1, np.uint64)
    for b in range(len(masks)):
        base = b * width * BLOCK
        valid = masks[b] & ~nan_mask(stack, base, width)
        block = out[b]
        block[:] = 0
        if valid == _NONE:
            continue
        for f in range(len(forests)):
            share[:] = 0
            total[:] = 0
            for tree in range(forests[f, 0], forests[f, 1]):
                pending_node[0] = roots[tree]
                pending_mask[0] = valid
                waiting = 1
                while waiting > 0:
                    waiting -= 1
                    node, mask = pending_node[waiting], pending_mask[waiting]
                    while feature[node] >= 0:
                        smaller = less_than_64(stack, base + feature[node] * BLOCK, threshold[node])
                        goes_left, goes_right = mask & smaller, mask & ~smaller
                        if goes_left == _NONE:
                            node = right[node]
                        elif goes_right == _NONE:
                            node = left[node]
                        else:
                            pending_node[waiting] = right[node]
                            pending_mask[waiting] = goes_right
                            waiting += 1
                            node = left[node]
                            mask = goes_left
                    while mask != _NONE:
                        i = lowest_bit(mask)
                        mask &= mask - _BIT
                        for k in range(classes):
                            share[i, k] += probabilities[node, k]
                            total[i] += weights[node, k]
            trees = np.float32(forests[f, 1] - forests[f, 0])
            for i in range(BLOCK):
                if (valid >> np.uint64(i)) & _BIT:
                    for k in range(classes):
                        value = share[i, k] / np.float32(total[i])
                        block[i, k] += value * trees if averages else value
        for i in range(BLOCK):
            for k in range(classes):
                block[i, k] /= divisor
