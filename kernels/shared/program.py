"""Program of a scale: the filters and formulas to run, their order, and the part of the image for each.

A feature asks for intermediates ("the Gaussian's first derivative along y of …"), an intermediate asks for its own
sources over a box that is larger by its radius. Equal requests are one computation. The halo of a
tile is the largest box requested of the pre-smoothed image; there is no second formula for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, auto

import numpy as np

from ...frozen import frozen
from .taps import FEATURE_WINDOW, gaussian_taps

NARROW_GAUSSIAN = 0.66  # of a difference of Gaussians, times the feature sigma
GRADIENT_OF_TENSOR = (
    0.5  # sigma of the gradient in the structure tensor, times the feature sigma; its window has the whole
)


class Op(IntEnum):
    """Operation of an instruction. EMIT copies a volume into its column of the feature stack."""

    FILTER_X = 0
    FILTER_Y = auto()
    FILTER_Z = auto()
    ADD = auto()
    ADD_THREE = auto()
    SUBTRACT = auto()
    MULTIPLY = auto()
    MAGNITUDE_2D = auto()
    MAGNITUDE_3D = auto()
    EIGENVALUES_2X2 = auto()
    EIGENVALUES_3X3 = auto()
    EMIT = auto()


class Sums(IntEnum):
    """Symmetric sums that a filter computes of the same voxels at once, each into its own volume."""

    EVEN = 0
    ODD = auto()
    EVEN_ODD = auto()
    EVEN_ODD_EVEN = auto()


PARITIES: dict[Sums, tuple[bool, ...]] = {
    Sums.EVEN: (False,),
    Sums.ODD: (True,),
    Sums.EVEN_ODD: (False, True),
    Sums.EVEN_ODD_EVEN: (False, True, False),
}
"""Parity of each sum: True if it is odd (differences of pairs)."""

# Fields of an instruction, int64 each.
OP, IN, OUT, TAPS, RADIUS, SUMS, HALO, SOURCE_HALO, COLUMN, STRIDE = 0, 1, 7, 10, 13, 14, 15, 18, 21, 22
FIELDS = 23
PRESMOOTHED = -1  # stands for the pre-smoothed image, which is not in a slot


@dataclass(eq=False)
class Volume:
    """A requested intermediate: the result ``part`` of an operation on other volumes (None: the pre-smoothed image)."""

    op: Op | None
    sources: tuple[Volume, ...]
    taps_row: int = 0
    radius: int = 0
    odd: bool = False
    halo: list[int] = field(default_factory=lambda: [0, 0, 0])
    slots: list[int] = field(default_factory=list)


@frozen
class Program:
    """Instructions for one scale, in order; see the field numbers above.

    taps (rows, 3) float32; slots: number of volumes held at once
    halo: voxels read around a box of the pre-smoothed image, along z, y, x
    reach: the largest halo of any volume, which sets the size of a slot
    """

    instructions: np.ndarray
    taps: np.ndarray
    slots: int
    halo: tuple[int, int, int]
    reach: tuple[int, int, int]


class Requests:
    """Requests of one scale's features. ``axes`` is (1, 2) for 2-d filters, (0, 1, 2) for 3-d ones."""

    def __init__(self, sigma: float, axes: tuple[int, ...]) -> None:
        self.sigma, self.axes = sigma, axes
        self.image = Volume(None, ())
        self._known: dict[tuple[object, ...], Volume] = {}
        self._order: list[Volume] = []
        self._taps: list[np.ndarray] = []
        self._taps_row: dict[tuple[float, int], int] = {}
        self._emitted: list[tuple[Volume, int, int, int]] = []

    def apply(self, op: Op, *sources: Volume, sigma: float = 0.0, order: int = 0) -> Volume:
        """Request the result of an operation; the same request returns the same object."""
        row = self._row(sigma, order) if op <= Op.FILTER_Z else 0
        key = (op, *map(id, sources), row)
        if key not in self._known:
            radius = len(self._taps[row]) - 1 if op <= Op.FILTER_Z else 0
            self._known[key] = Volume(op, sources, row, radius, odd=order == 1)
            self._order.append(self._known[key])
        return self._known[key]

    def smooth(self, source: Volume, sigma: float, **orders: int) -> Volume:
        """Request a separable filter along x, then y, then z; ``orders`` gives the derivative's order along an axis."""
        for axis in reversed(self.axes):
            source = self.apply(Op(2 - axis), source, sigma=sigma, order=orders.get("zyx"[axis], 0))
        return source

    def emit(self, volume: Volume, column: int, stride: int, part: int = 0) -> None:
        """Make ``volume`` a column of the feature stack: column + channel * stride."""
        self._emitted.append((volume, part, column, stride))

    def _row(self, sigma: float, order: int) -> int:
        if (sigma, order) not in self._taps_row:
            taps = gaussian_taps(sigma, order, FEATURE_WINDOW)
            if len(taps) > 3:
                raise ValueError(f"a feature filter of sigma {sigma} is wider than the 2 voxels any project needs")
            self._taps_row[sigma, order] = len(self._taps)
            self._taps.append(taps)
        return self._taps_row[sigma, order]

    def program(self) -> Program:
        """Assign boxes and slots, and write the instructions."""
        self._spread_halos()
        emitted_by: dict[int, list[tuple[int, int, int]]] = {}
        for volume, part, column, stride in self._emitted:
            emitted_by.setdefault(id(volume), []).append((part, column, stride))
        steps = self._steps()
        last_use = {id(s): i for i, step in enumerate(steps) for volume in step for s in volume.sources}
        free: list[int] = []
        slots = 0
        rows: list[np.ndarray] = []
        for i, step in enumerate(steps):
            for volume in step:
                parts = {Op.EIGENVALUES_2X2: 2, Op.EIGENVALUES_3X3: 3}.get(volume.op or Op.ADD, 1)
                for _ in range(parts):
                    if not free:
                        free.append(slots)
                        slots += 1
                    volume.slots.append(free.pop())
            rows.append(_instruction(step))
            for volume in step:
                for part, column, stride in emitted_by.get(id(volume), []):
                    rows.append(_emission(volume, part, column, stride))
            for used in {id(v): v for volume in step for v in (*volume.sources, volume)}.values():
                if last_use.get(id(used), -1) <= i and used is not self.image:
                    free.extend(used.slots)
        reach = [max([0, *(v.halo[a] for v in self._order)]) for a in range(3)]
        return Program(
            instructions=np.array(rows, np.int64).reshape(-1, FIELDS),
            taps=padded_rows(self._taps, 3),
            slots=slots,
            halo=(self.image.halo[0], self.image.halo[1], self.image.halo[2]),
            reach=(reach[0], reach[1], reach[2]),
        )

    def _steps(self) -> list[list[Volume]]:
        """Volumes in order; filters of the same voxels over the same box are one step if such a sum exists."""
        alike: dict[tuple[object, ...], list[Volume]] = {}
        for volume in self._order:
            if _is_filter(volume) and volume.radius:
                key = (volume.op, id(volume.sources[0]), volume.radius, *volume.halo)
                alike.setdefault(key, []).append(volume)
        joined: dict[int, list[Volume]] = {}
        for volumes in alike.values():
            even, odd = ([v for v in volumes if v.odd is is_odd] for is_odd in (False, True))
            while even and odd:
                step = [even.pop(0), odd.pop(0), *even[:1]]
                del even[:1]
                joined.update((id(volume), step) for volume in step)
        steps = [joined.get(id(volume), [volume]) for volume in self._order]
        return list({id(step): step for step in steps}.values())

    def _spread_halos(self) -> None:
        for volume in reversed(self._order):
            for source in volume.sources:
                wanted = list(volume.halo)
                if volume.op is not None and _is_filter(volume):
                    wanted[2 - volume.op] += volume.radius
                source.halo = [max(a, b) for a, b in zip(source.halo, wanted, strict=True)]
        for volume in self._order:
            # A formula runs over flat memory, so its sources must cover the very same box.
            assert _is_filter(volume) or all(s.halo == volume.halo for s in volume.sources)


def padded_rows(rows: Sequence[np.ndarray], length: int) -> np.ndarray:
    """Rows of up to ``length`` numbers as a table of float32, padded with zeros."""
    table = np.zeros((len(rows), length), np.float32)
    for line, row in zip(table, rows, strict=True):
        line[: len(row)] = row
    return table


def _is_filter(volume: Volume) -> bool:
    return volume.op is not None and volume.op <= Op.FILTER_Z


def _instruction(step: Sequence[Volume]) -> np.ndarray:
    """Instruction that computes a volume, or several from the same source."""
    volume = step[0]
    assert volume.op is not None
    row = np.zeros(FIELDS, np.int64)
    row[OP], row[RADIUS] = volume.op, volume.radius
    if _is_filter(volume):
        parities = tuple(each.odd for each in step)
        row[SUMS] = next(sums for sums, known in PARITIES.items() if known == parities)
        row[TAPS : TAPS + len(step)] = [each.taps_row for each in step]
    for i, source in enumerate(volume.sources):
        row[IN + i] = source.slots[0] if source.op is not None else PRESMOOTHED
    slots = [slot for each in step for slot in each.slots]
    row[OUT : OUT + len(slots)] = slots
    row[HALO : HALO + 3] = volume.halo
    row[SOURCE_HALO : SOURCE_HALO + 3] = volume.sources[0].halo
    return row


def _emission(volume: Volume, part: int, column: int, stride: int) -> np.ndarray:
    row = np.zeros(FIELDS, np.int64)
    row[OP], row[IN], row[COLUMN], row[STRIDE] = Op.EMIT, volume.slots[part], column, stride
    row[HALO : HALO + 3] = volume.halo
    return row


def feature_program(sigma: float, *, slicewise: bool, columns: Mapping[str, int]) -> Program:
    """Build the program of one scale. columns: operation (of contract.OPERATIONS) -> its first column for channel 0."""
    axes = (1, 2) if slicewise else (0, 1, 2)
    requests = Requests(sigma, axes)
    for operation in _WRITERS:
        if operation in columns:
            _WRITERS[operation](requests, columns[operation])
    return requests.program()


def _derivative(requests: Requests, sigma: float, *along: str) -> Volume:
    orders = {axis: along.count(axis) for axis in along}
    return requests.smooth(requests.image, sigma, **orders)


def _emit_gaussian(requests: Requests, column: int) -> None:
    requests.emit(_derivative(requests, requests.sigma), column, 1)


def _emit_difference(requests: Requests, column: int) -> None:
    wide = _derivative(requests, requests.sigma)
    narrow = _derivative(requests, NARROW_GAUSSIAN * requests.sigma)
    requests.emit(requests.apply(Op.SUBTRACT, wide, narrow), column, 1)


def _emit_gradient(requests: Requests, column: int) -> None:
    letters = ["zyx"[a] for a in requests.axes]
    parts = [_derivative(requests, requests.sigma, a) for a in letters]
    op = Op.MAGNITUDE_2D if len(parts) == 2 else Op.MAGNITUDE_3D
    requests.emit(requests.apply(op, *parts), column, 1)


def _emit_laplacian(requests: Requests, column: int) -> None:
    letters = ["zyx"[a] for a in reversed(requests.axes)]
    parts = [_derivative(requests, requests.sigma, a, a) for a in letters]
    requests.emit(requests.apply(Op.ADD if len(parts) == 2 else Op.ADD_THREE, *parts), column, 1)


def _emit_eigenvalues(requests: Requests, entries: Sequence[Volume], column: int) -> None:
    """Emit the eigenvalues of a matrix. entries: upper triangle, row by row, in the order of ``requests.axes``."""
    count = len(requests.axes)
    op = Op.EIGENVALUES_2X2 if count == 2 else Op.EIGENVALUES_3X3
    values = requests.apply(op, *entries)
    for part in range(count):
        requests.emit(values, column + part, count, part)


def _emit_hessian(requests: Requests, column: int) -> None:
    letters = ["zyx"[a] for a in requests.axes]
    pairs = [(a, b) for i, a in enumerate(letters) for b in letters[i:]]
    _emit_eigenvalues(requests, [_derivative(requests, requests.sigma, a, b) for a, b in pairs], column)


def _emit_structure_tensor(requests: Requests, column: int) -> None:
    letters = ["zyx"[a] for a in requests.axes]
    gradient = {a: _derivative(requests, GRADIENT_OF_TENSOR * requests.sigma, a) for a in letters}
    pairs = [(a, b) for i, a in enumerate(letters) for b in letters[i:]]
    products = [requests.apply(Op.MULTIPLY, gradient[a], gradient[b]) for a, b in pairs]
    _emit_eigenvalues(requests, [requests.smooth(p, requests.sigma) for p in products], column)


_WRITERS = {
    "gaussian": _emit_gaussian,
    "difference_of_gaussians": _emit_difference,
    "gradient_magnitude": _emit_gradient,
    "laplacian": _emit_laplacian,
    "hessian": _emit_hessian,
    "structure_tensor": _emit_structure_tensor,
}
