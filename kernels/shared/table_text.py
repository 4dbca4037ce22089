"""Rows of a table as text, made on the host whatever backend measured them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import accumulate

import numpy as np

TEXT, SIGNED, UNSIGNED, SINGLE, DOUBLE = range(5)
"""Kinds of columns; a cell holds the bits of its value or, in a column of texts, the number of its text."""

_FIRST_POWER, _LAST_POWER = -292, 324  # of ten, that doubles need
_CELL_BYTES = 25  # the longest number, with a comma
_PIECE_BYTES = 1 << 20


def format_cells(cells: np.ndarray, kinds: Sequence[int], texts: Sequence[bytes]) -> Iterator[memoryview]:
    """Format rows, cells separated by commas, each row ended by a line feed; yields pieces of the text in UTF-8.

    cells  (columns, rows) uint64; kinds: of the columns; texts: of all columns of texts

    A number has the shortest digits that reproduce it in its type, of several the nearest, and an exponent from 1e16 on
    and below 1e-4. A piece is valid until the next one.
    """
    from ..cpu.loader import kernel  # the host has them, whatever the backend

    write_cells = kernel("write_cells")
    starts = np.array([0, *accumulate(map(len, texts))])
    pool, own = np.frombuffer(b"".join(texts) or b"\0", np.uint8), np.array(kinds, np.uint8)
    width = len(kinds) * _CELL_BYTES + int((own == TEXT).sum()) * max(map(len, texts), default=0)
    rows = max(1, _PIECE_BYTES // width)
    out = np.empty(min(rows, max(1, cells.shape[1])) * width, np.uint8)
    for first in range(0, cells.shape[1], rows):
        piece = np.ascontiguousarray(cells[:, first : first + rows])
        yield out.data[: write_cells(piece, own, pool, starts, _powers(), out)]


@cache
def _powers() -> np.ndarray:
    """First 128 bits of each power of ten, rounded up, as (powers, 2) words, the higher one first."""
    found = []
    for power in range(_FIRST_POWER, _LAST_POWER + 1):
        whole = 10 ** abs(power)
        if power < 0:
            bits = -(-(1 << 127 + whole.bit_length()) // whole)
        else:
            below = max(0, whole.bit_length() - 128)
            bits = -(-whole >> below) << max(0, 128 - whole.bit_length())
        found.append((bits >> 64, bits & ((1 << 64) - 1)))
    return np.array(found, np.uint64)
