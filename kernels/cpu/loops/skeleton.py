"""Skeletons of 2-d objects: distances, thinning, and the lengths, branches and holes of the result.

Each object is processed in a window of its box and one voxel around it. That is exact: the distances of its own voxels
need no others, and thinning, which orders voxels of one distance by when they were queued, keeps that order within an
object whatever other objects queue in between, as long as a frame queues fewer than two times its voxels (random frames
queue at most a quarter).
Windows are [x, y]; neighbours are visited in the order (-1,-1) (0,-1) (1,-1) (-1,0) (1,0) (-1,1) (0,1) (1,1).
"""

from __future__ import annotations

import math

import numpy as np

from ..build.jit import njit
from ..simd.lanes import noinline

_DX = np.array([-1, 0, 1, -1, 1, -1, 0, 1])
_DY = np.array([-1, -1, -1, 0, 0, 1, 1, 1])
_STEP = np.sqrt((_DX * _DX + _DY * _DY).astype(np.float64))
_LARGE = 0.5 * np.finfo(np.float64).max  # length of a missing edge
_PRUNING = 0.2  # of the centre's salience
# Neighbourhoods, the first neighbour as the highest bit, in which removing the voxel preserves the topology.
_REMOVABLE = np.zeros(256, np.bool_)
_CODES = "7 10 11 14 15 18 19 22 23 41 42 43 46 47 72 73 80 84 104 105 112 116 146 147 148 150 151 200 201 208 212 224"
_REMOVABLE[[int(code) for code in f"{_CODES} 232 233 240 244".split()]] = True


@njit(nogil=True, cache=True)
def find_line_vectors(own, vx, vy, axis, fixed, far, stack, source):
    """Compute one line of the distance transform: vectors to the nearest voxel outside the object.

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
    current = own[0, fixed] if axis == 0 else own[fixed, 0]
    begin = 0
    c = 0
    while c <= length:
        is_same = False
        place = -1
        height = far_height
        if c < length:
            is_same = (own[c, fixed] if axis == 0 else own[fixed, c]) == current
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
            if c == length:
                break
            begin = c
            current = not current
            is_same = True
            place = c
            height = np.float64(source[c, 0]) * source[c, 0]
            if axis == 1:
                height += np.float64(source[c, 1]) * source[c, 1]
            stack[0, 0], stack[0, 1], stack[0, 2], stack[0, 3], stack[0, 4] = c - 1.0, c - 1.0, w, 0.0, -2.0
            size = 1
        c += 1


@njit(nogil=True, cache=True)
def find_vectors(own, far):
    """Find vectors (x, y), int32, from each voxel of a window to the nearest voxel across the object's boundary."""
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
            a, b = x + _DX[n], y + _DY[n]
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
        code = 2 * code + int(mark[x + _DX[n], y + _DY[n]])
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
            a, b = x + _DX[n], y + _DY[n]
            if is_removable(mark, a, b):
                heap = queue_voxel(heap, size, queued, vx, vy, a, b)
                size += 1
                queued += 1


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
            x, y = place[node, 0] + _DX[n], place[node, 1] + _DY[n]
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
def describe_skeletons(labels, boxes, first, stop, out):
    """Write features of objects [first, stop) to out (n, 12), see ``contract.ObjectBackend.skeleton_features``.

    labels (y, x) of the frame; boxes (n, 6) along z, y, x.
    """
    height, width = labels.shape
    far = 2 * (width + height)
    for i in range(first, stop):
        box = boxes[i]
        x0, x1 = max(box[2] - 1, 0), min(box[5] + 1, width)
        y0, y1 = max(box[1] - 1, 0), min(box[4] + 1, height)
        own = np.empty((x1 - x0, y1 - y0), np.bool_)
        for y in range(y0, y1):
            for x in range(x0, x1):
                own[x - x0, y - y0] = labels[y, x] == i + 1
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
