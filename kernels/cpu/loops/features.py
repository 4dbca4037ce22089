"""Feature stack of a tile: pre-smoothing of the whole tile, then every selected feature cell by cell.

A cell is the part of a tile whose features fit the cache. The forest reads one column of a block of 64 neighbouring
voxels at a time, so a cell's stack holds for every column, block after block, 64 voxels each:
``stack[column * column_stride + block * 64 + voxel]``, blocks and the voxels in them in (z, y, x) order. The stride
includes one spare block, so that the columns of a block map to different cache sets.
"""

from __future__ import annotations

import numpy as np

from ...shared.program import COLUMN, HALO, IN, OP, OUT, RADIUS, SOURCE_HALO, STRIDE, SUMS, TAPS, Op, Sums
from ..build.jit import njit
from ..simd import formulas
from ..simd.lanes import noinline, spread_vectors
from .filters import filter_x, filter_y, filter_z

BLOCK = 64  # voxels in a block
# numba freezes plain integers, not members of an enumeration
_EVEN = int(Sums.EVEN)
_FILTER_X, _FILTER_Y, _FILTER_Z = int(Op.FILTER_X), int(Op.FILTER_Y), int(Op.FILTER_Z)
_ADD, _ADD_THREE, _SUBTRACT, _MULTIPLY = int(Op.ADD), int(Op.ADD_THREE), int(Op.SUBTRACT), int(Op.MULTIPLY)
_MAGNITUDE_2D, _MAGNITUDE_3D = int(Op.MAGNITUDE_2D), int(Op.MAGNITUDE_3D)
_EIGENVALUES_2X2, _EIGENVALUES_3X3, _EMIT = int(Op.EIGENVALUES_2X2), int(Op.EIGENVALUES_3X3), int(Op.EMIT)


@njit(nogil=True, cache=True)
def volume(box):
    """Number of voxels of a box (z0, y0, x0, z1, y1, x1)."""
    return (box[3] - box[0]) * (box[4] - box[1]) * (box[5] - box[2])


@njit(nogil=True, cache=True)
def grown(box, mz, my, mx, image):
    """Enlarge a box by a halo on both sides, clipped to the image."""
    return (
        max(box[0] - mz, 0),
        max(box[1] - my, 0),
        max(box[2] - mx, 0),
        min(box[3] + mz, image[0]),
        min(box[4] + my, image[1]),
        min(box[5] + mx, image[2]),
    )


@njit(nogil=True, cache=True)
def smooth(src, src_at, src_box, out, out_at, box, image, flat, taps, radius, work, one, two, lines):
    """Apply a Gaussian over ``box``: x, y and, unless flat, z. one and two are offsets in work between passes."""
    noinline()
    none, sums = np.int64(0), np.int64(_EVEN)  # int64 instead of literals, so that no filter is compiled twice
    depth = none if flat else radius
    rows, columns = grown(box, depth, radius, none, image), grown(box, depth, none, none, image)
    weights = (taps, taps, taps)
    first, last = (one, one, one), (out_at, out_at, out_at)
    if flat:
        filter_x(src, src_at, src_box, work, first, rows, image[2], weights, radius, sums, lines)
        filter_y(work, one, rows, out, last, box, image[1], weights, radius, sums, lines)
        return
    # Plane by plane, so that the output of x stays in the cache for y.
    plane = (columns[4] - columns[1]) * (columns[5] - columns[2])
    for z in range(rows[0], rows[3]):
        above, here = (z, rows[1], rows[2], z + 1, rows[4], rows[5]), two + (z - rows[0]) * plane
        filter_x(src, src_at, src_box, work, first, above, image[2], weights, radius, sums, lines)
        below = (z, columns[1], columns[2], z + 1, columns[4], columns[5])
        filter_y(work, one, above, work, (here, here, here), below, image[1], weights, radius, sums, lines)
    filter_z(work, two, columns, out, last, box, image[0], weights, radius, sums, lines)


@njit(nogil=True, cache=True)
def grid_of(shape, block):
    """Number of blocks along z, y, x that cover a cell of this shape."""
    return -(-shape[0] // block[0]), -(-shape[1] // block[1]), -(-shape[2] // block[2])


@njit(nogil=True, cache=True)
def column_stride(shape, block):
    """Distance between the columns of a cell's stack in floats."""
    grid = grid_of(shape, block)
    return (grid[0] * grid[1] * grid[2] + 1) * BLOCK


@njit(nogil=True, cache=True)
def scatter(src, src_at, src_box, cell, stack, column_at, block):
    """Copy a volume that holds the cell into the column of its stack that begins at ``column_at``.

    Voxels of a block beyond the cell along x repeat the last one; those along y and z are left unchanged.
    """
    noinline()
    bz, by, bx = block
    nz, ny, nx = cell[3] - cell[0], cell[4] - cell[1], cell[5] - cell[2]
    _, along_y, along_x = grid_of((nz, ny, nx), block)
    whole = nx // bx
    for z in range(nz):
        for y in range(ny):
            above = (z + cell[0] - src_box[0]) * (src_box[4] - src_box[1]) + y + cell[1] - src_box[1]
            at = src_at + above * (src_box[5] - src_box[2]) + cell[2] - src_box[2]
            to = column_at + (z // bz * along_y + y // by) * along_x * BLOCK + ((z % bz) * by + y % by) * bx
            spread_vectors(src, at, stack, to, np.int64(BLOCK), whole, bx)
            for i in range(whole * bx, along_x * bx):
                stack[to + i // bx * BLOCK + i % bx] = src[at + min(i, nx - 1)]


@njit(nogil=True, cache=True)
def derive_cell(smoothed, plan, image, cell, block, stack, scratch):
    """Derive all columns of one cell: run every scale's program for every channel.

    smoothed  (pre-smoothed volumes, start of each (channel, scale), box of each scale (scale, 6))
    plan      (instructions, first instruction of each scale, taps, channels)
    scratch   (slots of the programs, floats a slot, scratch of the filters)
    """
    noinline()
    pre, pre_places, pre_boxes = smoothed
    instructions, first, taps, channels = plan
    work, slot, lines = scratch
    stride = column_stride((cell[3] - cell[0], cell[4] - cell[1], cell[5] - cell[2]), block)
    for scale in range(len(first) - 1):
        b = pre_boxes[scale]
        pre_box = (b[0], b[1], b[2], b[3], b[4], b[5])
        for channel in range(channels):
            for i in range(first[scale], first[scale + 1]):
                row = instructions[i]
                op, radius, sums = row[OP], row[RADIUS], row[SUMS]
                box = grown(cell, row[HALO], row[HALO + 1], row[HALO + 2], image)
                n = volume(box)
                a, out, out1, out2 = row[IN] * slot, row[OUT] * slot, row[OUT + 1] * slot, row[OUT + 2] * slot
                if op <= _FILTER_Z:
                    outs = (out, out1, out2)
                    weights = (taps[scale, row[TAPS]], taps[scale, row[TAPS + 1]], taps[scale, row[TAPS + 2]])
                    if row[IN] < 0:
                        source, at, source_box = pre, pre_places[channel, scale], pre_box
                    else:
                        source, at = work, a
                        source_box = grown(cell, row[SOURCE_HALO], row[SOURCE_HALO + 1], row[SOURCE_HALO + 2], image)
                    if op == _FILTER_X:
                        filter_x(source, at, source_box, work, outs, box, image[2], weights, radius, sums, lines)
                    elif op == _FILTER_Y:
                        filter_y(source, at, source_box, work, outs, box, image[1], weights, radius, sums, lines)
                    else:
                        filter_z(source, at, source_box, work, outs, box, image[0], weights, radius, sums, lines)
                    continue
                if op == _EMIT:
                    scatter(work, a, box, cell, stack, (row[COLUMN] + channel * row[STRIDE]) * stride, block)
                    continue
                b1, c, d, e, f = (
                    row[IN + 1] * slot,
                    row[IN + 2] * slot,
                    row[IN + 3] * slot,
                    row[IN + 4] * slot,
                    row[IN + 5] * slot,
                )
                if op == _ADD:
                    formulas.add(work, (a, b1, out), n)
                elif op == _ADD_THREE:
                    formulas.add_three(work, (a, b1, c, out), n)
                elif op == _SUBTRACT:
                    formulas.subtract(work, (a, b1, out), n)
                elif op == _MULTIPLY:
                    formulas.multiply(work, (a, b1, out), n)
                elif op == _MAGNITUDE_2D:
                    formulas.magnitude_2d(work, (a, b1, out), n)
                elif op == _MAGNITUDE_3D:
                    formulas.magnitude_3d(work, (a, b1, c, out), n)
                elif op == _EIGENVALUES_2X2:
                    formulas.eigenvalues_2x2(work, (a, b1, c, out, out1), n)
                elif op == _EIGENVALUES_3X3:
                    formulas.eigenvalues_3x3(work, (a, b1, c, d, e, f, out, out1, out2), n)


@njit(nogil=True, cache=True)
def presmooth_tile(
    source,
    source_box,
    pre,
    pre_places,
    pre_boxes,
    image,
    pre_taps,
    pre_radius,
    slicewise,
    channels,
    work,
    one,
    two,
    lines,
):
    """Pre-smooth every channel at every scale. source holds one volume a channel, one after the other."""
    for channel in range(channels):
        at = channel * volume(source_box)
        for scale in range(len(pre_radius)):
            b = pre_boxes[scale]
            box = (b[0], b[1], b[2], b[3], b[4], b[5])
            smooth(
                source,
                at,
                source_box,
                pre,
                pre_places[channel, scale],
                box,
                image,
                slicewise[scale],
                pre_taps[scale],
                pre_radius[scale],
                work,
                one,
                two,
                lines,
            )


@njit(nogil=True, cache=True)
def cell_at(first, extent, cell_shape, z, y, x):
    """Box in the image of the cell that begins at (z, y, x) of a tile."""
    z0, y0, x0 = first[0] + z, first[1] + y, first[2] + x
    return (
        z0,
        y0,
        x0,
        min(z0 + cell_shape[0], first[0] + extent[0]),
        min(y0 + cell_shape[1], first[1] + extent[1]),
        min(x0 + cell_shape[2], first[2] + extent[2]),
    )


@njit(nogil=True, cache=True)
def gather(stack, stride, width, cell, block, out, z0, y0, x0):
    """Copy the stack of a cell into out (z, y, x, f), at (z0, y0, x0)."""
    bz, by, bx = block
    nz, ny, nx = cell[3] - cell[0], cell[4] - cell[1], cell[5] - cell[2]
    _, along_y, along_x = grid_of((nz, ny, nx), block)
    for z in range(nz):
        for y in range(ny):
            inside = (z // bz * along_y + y // by) * along_x * BLOCK + ((z % bz) * by + y % by) * bx
            for x in range(nx):
                at = inside + x // bx * BLOCK + x % bx
                for f in range(width):
                    out[z0 + z, y0 + y, x0 + x, f] = stack[f * stride + at]


@njit(nogil=True, cache=True)
def feature_tile(smoothed, plan, image, first, extent, shapes, stack, scratch, out):
    """Write the features of a tile at ``first`` to out (z, y, x, f), cell by cell; shapes is (cell, block, …)."""
    cell_shape, block, _ = shapes
    for z in range(0, extent[0], cell_shape[0]):
        for y in range(0, extent[1], cell_shape[1]):
            for x in range(0, extent[2], cell_shape[2]):
                cell = cell_at(first, extent, cell_shape, z, y, x)
                derive_cell(smoothed, plan, image, cell, block, stack, scratch)
                stride = column_stride((cell[3] - cell[0], cell[4] - cell[1], cell[5] - cell[2]), block)
                gather(stack, stride, out.shape[3], cell, block, out, z, y, x)
