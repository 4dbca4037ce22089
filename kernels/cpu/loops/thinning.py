"""Thinning of a 2-d object to its skeleton: vectors to the boundary, marks, and their removal in order of distance.

Each object is processed in a window of its box and one voxel around it. That is exact: the distances of its own voxels
need no others, and thinning, which orders voxels of one distance by when they were queued, keeps that order within an
object whatever other objects queue in between, as long as a frame queues fewer than two times its voxels (random frames
queue at most a quarter).
Windows are [x, y]; neighbours are visited in the order (-1,-1) (0,-1) (1,-1) (-1,0) (1,0) (-1,1) (0,1) (1,1).
"""

from __future__ import annotations

import numpy as np

from ..build.jit import njit
from ..simd.lanes import noinline

DX = np.array([-1, 0, 1, -1, 1, -1, 0, 1])
DY = np.array([-1, -1, -1, 0, 0, 1, 1, 1])
# Neighbourhoods, the first neighbour as the highest bit, in which removing the voxel preserves the topology.
_REMOVABLE = np.zeros(256, np.bool_)
_CODES = "7 10 11 14 15 18 19 22 23 41 42 43 46 47 72 73 80 84 104 105 112 116 146 147 148 150 151 200 201 208 212 224"
_REMOVABLE[[int(code) for code in f"{_CODES} 232 233 240 244".split()]] = True


@njit(nogil=True, cache=True)
def find_line_vectors(own, vx, vy, axis, fixed, far, stack, source):
    """Compute one line of the distance transform: vectors of the object's voxels to the nearest one outside of it.

    axis 0 runs along x at y = fixed, axis 1 along y at x = fixed. far is the component that marks a missing voxel;
    stack (n, 5) holds left, apex, right, height and the vector's index in the line (-1: far, -2: the border itself).
    """
    length = own.shape[axis]
    for c in range(length):
        source[c, 0] = vx[c, fixed] if axis == 0 else vx[fixed, c]
        source[c, 1] = vy[c, fixed] if axis == 0 else vy[fixed, c]
    w = np.float64(length)
    far_height = np.float64(far) * far * (axis + 1)
    stack[0, 0], stack[0, 1], stack[0, 2], stack[0, 3], stack[0, 4] = 0.0, -1.0, w, far_height, -1.0
    size = 1
    is_inside = own[0, fixed] if axis == 0 else own[fixed, 0]
    begin = 0
    c = 0
    while c <= length:
        if not is_inside:
            while c < length and not (own[c, fixed] if axis == 0 else own[fixed, c]):
                c += 1
            if c == length:
                break
            begin, is_inside = c, True
            stack[0, 0], stack[0, 1], stack[0, 2], stack[0, 3], stack[0, 4] = c - 1.0, c - 1.0, w, 0.0, -2.0
            size = 1
        is_same = False
        place = -1
        height = far_height
        if c < length:
            is_same = own[c, fixed] if axis == 0 else own[fixed, c]
            place = c if is_same else -2
            height = 0.0
            if is_same:
                height = np.float64(source[c, 0]) * source[c, 0]
                if axis == 1:
                    height += np.float64(source[c, 1]) * source[c, 1]
        while True:
            apart = c - stack[size - 1, 1]
            t = c + (height - stack[size - 1, 3] - apart * apart) / (2.0 * apart)
            if t < stack[size - 1, 0]:
                size -= 1
                if size > 0:
                    continue
                t = np.float64(begin)
            elif t < stack[size - 1, 2]:
                stack[size - 1, 2] = t
            if t < w:
                stack[size, 0], stack[size, 1], stack[size, 2] = t, c, w
                stack[size, 3], stack[size, 4] = height, place
                size += 1
            if is_same:
                break
            entry = 0
            for q in range(begin, c):
                while q >= stack[entry, 2]:
                    entry += 1
                at = np.int64(stack[entry, 4])
                x = far if at == -1 else 0 if at == -2 else source[at, 0]
                y = far if at == -1 else 0 if at == -2 else source[at, 1]
                along = np.int64(stack[entry, 1] - q)
                if axis == 0:
                    vx[q, fixed], vy[q, fixed] = along, y
                else:
                    vx[fixed, q], vy[fixed, q] = x, along
            is_inside = False
            break
        c += 1


@njit(nogil=True, cache=True)
def find_vectors(own, far):
    """Find vectors (x, y), int32, from each voxel of the object in a window to the nearest voxel outside of it."""
    noinline()
    width, height = own.shape
    vx = np.full((width, height), far, np.int32)
    vy = np.full((width, height), far, np.int32)
    longest = max(width, height)
    stack = np.empty((longest + 3, 5))
    source = np.empty((longest, 2), np.int64)
    for y in range(height):
        find_line_vectors(own, vx, vy, 0, y, far, stack, source)
    for x in range(width):
        find_line_vectors(own, vx, vy, 1, x, far, stack, source)
    return vx, vy


@njit(nogil=True, cache=True)
def square(vx, vy, x, y):
    """Compute the squared distance to the boundary."""
    a, b = np.int64(vx[x, y]), np.int64(vy[x, y])
    return a * a + b * b


@njit(nogil=True, cache=True)
def mark_skeleton(own, vx, vy):
    """Mark voxels whose neighbour is nearest to another piece of boundary."""
    noinline()
    width, height = own.shape
    mark = np.zeros((width, height), np.bool_)
    thin, known = np.empty((64, 2), np.int64), 0  # marked at a distance of two, where a gap may remain
    for y in range(height):
        for x in range(width):
            for way in range(2):
                dx, dy = (0, -1) if way == 0 else (-1, 0)
                a, b = x + dx, y + dy
                if a < 0 or b < 0 or not (own[x, y] or own[a, b]):
                    continue
                ux, uy = np.int64(vx[x, y]), np.int64(vy[x, y])
                wx, wy = np.int64(vx[a, b]), np.int64(vy[a, b])
                if own[x, y] and own[a, b]:
                    ex, ey = wx - ux + dx, wy - uy + dy
                    if max(abs(ex), abs(ey)) <= 1:
                        continue
                    if (ex * dx + ey * dy) * (ex * (ux + wx) + ey * (uy + wy)) <= 0:
                        a, b = x, y
                    mark[a, b] = True
                    if square(vx, vy, a, b) == 4:
                        if known == len(thin):
                            more = np.empty((2 * known, 2), np.int64)
                            for k in range(known):
                                more[k, 0], more[k, 1] = thin[k, 0], thin[k, 1]
                            thin = more
                        thin[known, 0], thin[known, 1] = a, b
                        known += 1
                elif own[x, y]:
                    if max(abs(ux - dx), abs(uy - dy)) > 1:
                        mark[x, y] = True
                elif max(abs(wx + dx), abs(wy + dy)) > 1:
                    mark[a, b] = True
    for k in range(known):
        x, y = thin[k, 0], thin[k, 1]
        is_open = True
        for n in range(8):
            a, b = x + DX[n], y + DY[n]
            if 0 <= a < width and 0 <= b < height and mark[a, b] and square(vx, vy, a, b) < 4:
                is_open = False
        if is_open:
            mark[x + np.int64(vx[x, y] / 2), y + np.int64(vy[x, y] / 2)] = True
    return mark


@njit(nogil=True, cache=True)
def is_removable(mark, x, y):
    """Return True for a marked voxel off the image's border whose removal preserves the topology."""
    if not (0 < x < mark.shape[0] - 1 and 0 < y < mark.shape[1] - 1) or not mark[x, y]:
        return False
    code = 0
    for n in range(8):
        code = 2 * code + int(mark[x + DX[n], y + DY[n]])
    return _REMOVABLE[code]


@njit(nogil=True, cache=True)
def sift_up(heap, size):
    """Move the last of ``size`` rows (distance, order, x, y) up the heap."""
    at = size - 1
    while at > 0:
        up = (at - 1) // 2
        if heap[up, 0] < heap[at, 0] or (heap[up, 0] == heap[at, 0] and heap[up, 1] < heap[at, 1]):
            return
        for c in range(4):
            heap[at, c], heap[up, c] = heap[up, c], heap[at, c]
        at = up


@njit(nogil=True, cache=True)
def sift_down(heap, size):
    """Move the first row down the heap."""
    at = 0
    while True:
        down = 2 * at + 1
        if down >= size:
            return
        if down + 1 < size and (
            heap[down + 1, 0] < heap[down, 0]
            or (heap[down + 1, 0] == heap[down, 0] and heap[down + 1, 1] < heap[down, 1])
        ):
            down += 1
        if heap[at, 0] < heap[down, 0] or (heap[at, 0] == heap[down, 0] and heap[at, 1] < heap[down, 1]):
            return
        for c in range(4):
            heap[at, c], heap[down, c] = heap[down, c], heap[at, c]
        at = down


@njit(nogil=True, cache=True)
def queue_voxel(heap, size, queued, vx, vy, x, y):
    """Push a voxel onto the thinning queue. Returns the queue, which may have grown."""
    if size == len(heap):
        larger = np.empty((2 * len(heap), 4), np.int64)
        for i in range(size):
            for c in range(4):
                larger[i, c] = heap[i, c]
        heap = larger
    heap[size, 0], heap[size, 1], heap[size, 2], heap[size, 3] = square(vx, vy, x, y), queued, x, y
    sift_up(heap, size + 1)
    return heap


@njit(nogil=True, cache=True)
def thin_skeleton(mark, vx, vy):
    """Remove marked voxels in place, those near the boundary first."""
    noinline()
    heap = np.empty((64, 4), np.int64)
    size = 0
    queued = 0
    for y in range(mark.shape[1]):
        for x in range(mark.shape[0]):
            if is_removable(mark, x, y):
                heap = queue_voxel(heap, size, queued, vx, vy, x, y)
                size += 1
                queued += 1
    while size > 0:
        x, y = heap[0, 2], heap[0, 3]
        size -= 1
        for c in range(4):
            heap[0, c] = heap[size, c]
        sift_down(heap, size)
        if not is_removable(mark, x, y):
            continue
        mark[x, y] = False
        for n in range(8):
            a, b = x + DX[n], y + DY[n]
            if is_removable(mark, a, b):
                heap = queue_voxel(heap, size, queued, vx, vy, a, b)
                size += 1
                queued += 1
