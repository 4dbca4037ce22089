"""Text of numbers in tables: the shortest digits, as NumPy finds them, and ilastik's rule for exponents."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from pixelforest.kernels.shared.table_text import DOUBLE, SIGNED, SINGLE, TEXT, UNSIGNED, format_cells

KINDS = {np.dtype(np.float32): SINGLE, np.dtype(np.float64): DOUBLE}


def lines(cells: np.ndarray, kinds: Sequence[int], texts: Sequence[bytes] = ()) -> list[str]:
    return b"".join(map(bytes, format_cells(cells, kinds, texts))).decode().split("\n")[:-1]


def cells_of(values: np.ndarray) -> np.ndarray:
    return values.view(f"u{values.itemsize}").astype(np.uint64)


def expected(value: np.floating) -> str:
    if np.isfinite(value) and 1e-4 <= abs(value) < 1e16:
        return str(np.format_float_positional(value, unique=True, trim="0"))
    return str(value)


def numbers(dtype: type[np.floating]) -> np.ndarray:
    """Every exponent with its first and last fractions, random bits, and values as features have them."""
    rng = np.random.default_rng(17)
    limits = np.finfo(dtype)
    words = f"u{np.dtype(dtype).itemsize}"
    exponents = np.arange(1 << limits.iexp, dtype=words) << np.array(limits.nmant, words)
    edges = np.concatenate([exponents + np.array(d, words) for d in (0, 1, 2, (1 << limits.nmant) - 1)])
    bits = np.frombuffer(rng.bytes(4000 * limits.bits // 8), words)
    with np.errstate(all="ignore"):
        plain = np.concatenate(
            [10.0 ** np.arange(-320, 309), np.arange(2000) / 8, rng.normal(size=4000), rng.integers(0, 1 << 60, 500)]
        ).astype(dtype)
    found = np.concatenate([edges.view(dtype), bits.view(dtype), plain])
    return np.concatenate([found, -found])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_have_the_digits_that_numpy_finds(dtype: type[np.floating]) -> None:
    values = numbers(dtype)
    assert lines(cells_of(values)[np.newaxis], [KINDS[values.dtype]]) == list(map(expected, values))


def test_integers_of_all_sizes() -> None:
    signed = np.array([0, 7, -1, 10**18, -(1 << 63), (1 << 63) - 1])
    unsigned = np.array([0, 9, 10, 10**19 - 1, 10**19, (1 << 64) - 1], np.uint64)
    cells = np.stack([signed.view(np.uint64), unsigned])
    assert lines(cells, [SIGNED, UNSIGNED]) == [f"{a},{b}" for a, b in zip(signed, unsigned, strict=True)]


def test_texts_and_rows_of_many_pieces() -> None:
    texts = ["", "a", "Ä" * 300]
    ids = np.arange(20_000)
    cells = np.stack([ids % 3, ids]).astype(np.uint64)
    found = lines(cells, [TEXT, SIGNED], [text.encode() for text in texts])
    assert found == [f"{texts[i % 3]},{i}" for i in ids]


def test_no_rows_have_no_text() -> None:
    assert lines(np.empty((2, 0), np.uint64), [SIGNED, SINGLE]) == []
