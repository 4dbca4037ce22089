"""Skeletons of 2-d objects: lengths, branches and holes of the graph of a thinned object; windows as in thinning.py."""

from __future__ import annotations

import math

import numpy as np

from ..build.jit import njit
from ..simd.lanes import noinline
from .thinning import DX, DY, find_vectors, mark_skeleton, square, thin_skeleton

_STEP = np.sqrt((DX * DX + DY * DY).astype(np.float64))
_LARGE = 0.5 * np.finfo(np.float64).max  # length of a missing edge
_PRUNING = 0.2  # of the centre's salience


@njit(nogil=True, cache=True)
def number_nodes(mark):
    """Number the marked voxels in scan order, then the voxels around these; -1 elsewhere.

    Returns the window of numbers, each node's neighbours (n, 8; -1 outside the image) for the marked ones, positions
    (n, 2), and the number of nodes.
    """
    noinline()
    width, height = mark.shape
    number = np.full((width, height), -1, np.int32)
    count = 0
    for y in range(height):
        for x in range(width):
            if mark[x, y]:
                number[x, y] = count
                count += 1
    place = np.empty((count, 2), np.int64)
    neighbours = np.empty((count, 8), np.int32)
    for y in range(height):
        for x in range(width):
            if mark[x, y]:
                place[number[x, y], 0], place[number[x, y], 1] = x, y
    known = count
    for node in range(count):
        for n in range(8):
            x, y = place[node, 0] + DX[n], place[node, 1] + DY[n]
            neighbours[node, n] = -1
            if 0 <= x < width and 0 <= y < height:
                if number[x, y] < 0:
                    number[x, y] = known
                    known += 1
                neighbours[node, n] = number[x, y]
    return neighbours, place, known


@njit(nogil=True, cache=True)
def rise(heap, at, k, dist):
    """Move entry k of the 1-based heap up while its parent is farther."""
    while k > 1 and dist[heap[k // 2]] > dist[heap[k]]:
        heap[k], heap[k // 2] = heap[k // 2], heap[k]
        at[heap[k]] = k
        k //= 2
        at[heap[k]] = k


@njit(nogil=True, cache=True)
def pop_nearest(heap, at, size, dist):
    """Pop the nearest node off the heap of ``size`` entries."""
    node = heap[1]
    heap[1] = heap[size]
    at[heap[1]] = 1
    at[node] = 0
    size -= 1
    k = 1
    while 2 * k <= size:
        j = 2 * k
        if j < size and dist[heap[j]] > dist[heap[j + 1]]:
            j += 1
        if dist[heap[k]] <= dist[heap[j]]:
            break
        heap[k], heap[j] = heap[j], heap[k]
        at[heap[k]], at[heap[j]] = k, j
        k = j
    return node


@njit(nogil=True, cache=True)
def find_paths(start, target, neighbours, deleted, dist, pred, seen, stamp, heap, at, order):
    """Find shortest paths from a node over edges that are not deleted. Returns how many nodes are in ``order``.

    target  -1: to all nodes. Else until it is reached; then missing edges take part with a length beyond all others,
            which changes no existing path, but decides between paths of equal length
    seen    nodes whose entry equals stamp are visited; pred of the start is itself
    """
    noinline()
    marked = len(neighbours)
    seen[start], dist[start], pred[start] = stamp, 0.0, start
    heap[1], at[start] = start, 1
    size = 1
    reached = 0
    while size > 0:
        node = pop_nearest(heap, at, size, dist)
        size -= 1
        if node == target or dist[node] >= _LARGE:
            break
        order[reached] = node
        reached += 1
        for n in range(8):
            other = neighbours[node, n]
            if other < 0:
                continue
            is_edge = other < marked and not deleted[node] >> n & 1
            if not is_edge and target < 0:
                continue
            length = dist[node] + (_STEP[n] if is_edge else _LARGE)
            if seen[other] != stamp:
                seen[other], dist[other], pred[other] = stamp, length, node
                size += 1
                heap[size], at[other] = other, size
                rise(heap, at, size, dist)
            elif at[other] > 0 and length < dist[other]:
                dist[other], pred[other] = length, node
                rise(heap, at, at[other], dist)
    for k in range(1, size + 1):
        at[heap[k]] = 0
    return reached


@njit(nogil=True, cache=True)
def delete_edge(node, n, neighbours, deleted):
    """Delete the edge of a node to its n-th neighbour, on both sides."""
    deleted[node] |= 1 << n
    other = neighbours[node, n]
    if 0 <= other < len(neighbours):
        deleted[other] |= 1 << (7 - n)


@njit(nogil=True, cache=True)
def surrounds_other(first, second, pred, place, own):
    """Return True if the polygon of ``first``, ``second`` and the path back to ``first`` holds a foreign voxel."""
    noinline()
    low_x = high_x = place[first, 0]
    low_y = high_y = place[first, 1]
    node = second
    while node != first:
        low_x, high_x = min(low_x, place[node, 0]), max(high_x, place[node, 0])
        low_y, high_y = min(low_y, place[node, 1]), max(high_y, place[node, 1])
        node = pred[node]
    crossed = np.zeros((high_x - low_x + 1, high_y - low_y + 1), np.bool_)
    at, following = first, second
    while True:
        if place[at, 1] != place[following, 1]:
            upper = at if place[at, 1] < place[following, 1] else following
            x, y = place[upper, 0] - low_x, place[upper, 1] - low_y
            crossed[x, y] = not crossed[x, y]
        if following == first:
            break
        at, following = following, pred[following]
    for y in range(crossed.shape[1]):
        inside = False
        for x in range(crossed.shape[0] - 1, -1, -1):
            if inside and not own[low_x + x, low_y + y]:
                return True
            inside = inside != crossed[x, y]
    return False


@njit(nogil=True, cache=True)
def find_centre(line, steps, place):
    """Find the index of the middle of a path, and its length. line holds nodes, steps is scratch."""
    steps[0] = 0.0
    for k in range(1, len(line)):
        dx, dy = place[line[k], 0] - place[line[k - 1], 0], place[line[k], 1] - place[line[k - 1], 1]
        steps[k] = steps[k - 1] + math.sqrt(np.float64(dx * dx + dy * dy))
    whole = steps[len(line) - 1]
    if len(line) == 1:
        return 0, whole
    half = 0.5 * whole
    k = len(line) - 1
    while steps[k] >= half:
        k -= 1
    return np.int64(math.floor(k + (half - steps[k]) / (steps[k + 1] - steps[k]) + 0.5)), whole


@njit(nogil=True, cache=True)
def distance_between(place, a, b):
    """Compute the Euclidean distance of two nodes."""
    dx, dy = place[a, 0] - place[b, 0], place[a, 1] - place[b, 1]
    return math.sqrt(np.float64(dx * dx + dy * dy))


@njit(nogil=True, cache=True)
def trace_skeleton(mark, own, vx, vy, out):
    """Compute diameter, lengths, branches, holes, centre and ends of a thinned skeleton with at least one voxel."""
    noinline()
    neighbours, place, nodes = number_nodes(mark)
    marked = len(neighbours)
    deleted = np.zeros(marked, np.int64)
    dist, pred, seen = np.empty(nodes), np.zeros(nodes, np.int64), np.zeros(nodes, np.int64)
    heap, at = np.empty(nodes + 1, np.int64), np.zeros(nodes, np.int64)
    order, scratch = np.empty(marked, np.int64), np.empty(marked, np.int64)
    reached = find_paths(marked - 1, -1, neighbours, deleted, dist, pred, seen, 1, heap, at, order)
    reached = find_paths(order[reached - 1], -1, neighbours, deleted, dist, pred, seen, 2, heap, at, order)
    last = order[reached - 1]
    count = 1
    scratch[0] = last
    while pred[scratch[count - 1]] != scratch[count - 1]:
        scratch[count] = pred[scratch[count - 1]]
        count += 1
    line = scratch[:count].copy()
    index, diameter = find_centre(line, np.empty(count), place)
    centre = line[index]
    reached = find_paths(centre, -1, neighbours, deleted, dist, pred, seen, 3, heap, at, order)
    stamp = 3
    parent = pred[:marked].copy()

    principal = np.full(marked, -1, np.int64)
    length, salience = np.zeros(marked), np.ones(marked)
    area = np.zeros(marked, np.int64)
    is_loop = np.zeros(marked, np.bool_)
    for k in range(reached - 1, -1, -1):  # from the ends to the centre
        node = order[k]
        up = parent[node]
        for n in range(4):
            other = neighbours[node, n]
            if not 0 <= other < marked or deleted[node] >> n & 1 or other == up or parent[other] == node:
                continue
            if principal[node] >= 0 and principal[other] >= 0:
                delete_edge(node, n, neighbours, deleted)
        so_far = length[node] + distance_between(place, node, up)
        if length[up] < so_far:
            length[up], principal[up] = so_far, node
        if length[node] >= 4.0:
            depth = math.sqrt(np.float64(square(vx, vy, place[node, 0], place[node, 1])))
            salience[node] = max(salience[node], (length[node] + 0.5) / depth)
            salience[up] = max(salience[up], salience[node])
    for k in range(reached):  # from the centre to the ends
        node = order[k]
        up = parent[node]
        if principal[up] == node:
            length[node], salience[node] = length[up], salience[up]
        else:
            length[node] += distance_between(place, node, up)
        area[node] = area[up] + (place[node, 0] * place[up, 1] - place[node, 1] * place[up, 0])
    is_loop[centre] = True
    holes = 0
    total = 0.0
    for k in range(reached - 1, -1, -1):
        node = order[k]
        if principal[node] < 0:
            for n in range(8):
                other = neighbours[node, n]
                if not 0 <= other < marked or deleted[node] >> n & 1 or other == parent[node]:
                    continue
                edge = place[node, 0] * place[other, 1] - place[node, 1] * place[other, 0]
                if abs(area[node] - edge - area[other]) <= 3:
                    continue
                delete_edge(node, n, neighbours, deleted)
                stamp += 1
                find_paths(node, other, neighbours, deleted, dist, pred, seen, stamp, heap, at, scratch)
                if dist[other] >= _LARGE or not surrounds_other(node, other, pred, place, own):
                    continue
                holes += 1
                total += length[node] + length[other]
                largest = max(salience[node], salience[other])
                z = other
                while True:
                    is_loop[z] = True
                    salience[z] = max(salience[z], largest)
                    if z == node:
                        break
                    z = pred[z]
            if not is_loop[node] and square(vx, vy, place[node, 0], place[node, 1]) >= 4:
                z = node
                while True:
                    salience[z] = 0.0
                    for n in range(8):
                        delete_edge(z, n, neighbours, deleted)
                    if principal[parent[z]] != z:
                        break
                    z = parent[z]
        if is_loop[node]:
            is_loop[parent[node]] = True
    threshold = _PRUNING * salience[centre]
    branches, summed = 0, 0.0
    for k in range(reached):
        node = order[k]
        if principal[node] < 0 and salience[node] >= threshold and not is_loop[node]:
            branches += 1
            summed += length[node]
            total += length[node]
    out[0] = diameter
    out[1] = distance_between(place, line[0], line[-1])
    out[2] = total
    out[3] = summed / branches if branches > 0 else 0.0
    out[4] = branches
    out[5] = holes
    for c in range(2):
        out[6 + c], out[8 + c], out[10 + c] = place[centre, c], place[line[0], c], place[line[-1], c]


@njit(nogil=True, cache=True)
def describe_skeletons(labels, from_y, from_x, boxes, first, stop, out):
    """Write features of objects [first, stop) to out (n, 12), see ``contract.ObjectBackend.skeleton_features``.

    labels (y, x) of a part of the frame that begins at (from_y, from_x); boxes (n, 6) of the frame along z, y, x.
    """
    height, width = labels.shape
    far = 2 * (width + height)
    for i in range(first, stop):
        box = boxes[i]
        x0, x1 = max(box[2] - 1, from_x), min(box[5] + 1, from_x + width)
        y0, y1 = max(box[1] - 1, from_y), min(box[4] + 1, from_y + height)
        own = np.empty((x1 - x0, y1 - y0), np.bool_)
        for y in range(y0, y1):
            for x in range(x0, x1):
                own[x - x0, y - y0] = labels[y - from_y, x - from_x] == i + 1
        vx, vy = find_vectors(own, far)
        mark = mark_skeleton(own, vx, vy)
        thin_skeleton(mark, vx, vy)
        for c in range(out.shape[1]):
            out[i, c] = 0.0
        if mark.any():
            trace_skeleton(mark, own, vx, vy, out[i])
            for c in range(3):
                out[i, 6 + 2 * c] += x0
                out[i, 7 + 2 * c] += y0
