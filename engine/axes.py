"""Axis letters: stored axistags and file orders on one side, the canonical order t z y x c on the other.

Everything inside the engine is in canonical order; this module converts in both directions. The axes of an input are
decided in inputs/axes_rule.py, those of an output in export/settings.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import permutations

import numpy as np

from ..box import Box

CANONICAL = "tzyxc"
# Bit values of vigra's AxisType, which ilastik stores in axistags.
_TYPE_FLAGS = {"c": 1, "x": 2, "y": 2, "z": 2, "t": 8}
# The internal orders of the pixel workflows; the first shortest that holds every axis longer than 1 is taken.
_PIPELINE_ORDERS = (
    "yxc",
    "xyc",
    *("".join(p) + "c" for p in permutations("tzyx", 3)),
    *("".join(p) + "c" for p in permutations("tzyx", 4)),
)


def is_axis_order(text: str) -> bool:
    """Return True for distinct letters out of t z y x c."""
    return bool(text) and set(text) <= set(CANONICAL) and len(set(text)) == len(text)


def size_text(shape: Sequence[int]) -> str:
    """Format the canonical shape of an image as ``z=5 x y=20 x x=30``, without axes t, z, c of length 1."""
    return " x ".join(f"{a}={n}" for a, n in zip(CANONICAL, shape, strict=True) if n > 1 or a in "yx")


def default_axes(shape: Sequence[int]) -> str:
    """Axes that ilastik assumes for an array that carries none. Raises ValueError outside 2 to 5 dimensions."""
    if len(shape) == 3:
        return "yxc" if shape[2] <= 4 else "zyx"
    orders = {2: "yx", 4: "zyxc", 5: "tzyxc"}
    if len(shape) not in orders:
        raise ValueError(f"no axis order can be guessed for {len(shape)} dimensions")
    return orders[len(shape)]


def axes_from_axistags(text: str | bytes) -> str:
    """The axis letters of a stored axistags JSON text, in array order. Raises ValueError if it is not one."""
    try:
        keys = [axis["key"] for axis in json.loads(text)["axes"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"not an axistags text ({error})") from None
    if not all(isinstance(key, str) for key in keys):
        raise ValueError("not an axistags text (a key is not a string)")
    return "".join(keys)


def axistags_json(axes: str, resolution: Mapping[str, float] | None = None) -> str:
    """The axistags text as vigra writes it: two-space steps, resolution as a plain number (0: unknown)."""
    return _axistags_json(axes, tuple(float((resolution or {}).get(letter, 0.0)) for letter in axes))


@lru_cache(maxsize=64)
def _axistags_json(axes: str, resolution: tuple[float, ...]) -> str:
    entries = [
        {"key": a, "typeFlags": _TYPE_FLAGS[a], "resolution": int(n) if n.is_integer() else n, "description": ""}
        for a, n in zip(axes, resolution, strict=True)
    ]
    return json.dumps({"axes": entries}, indent=2)


def pipeline_axes(sizes: Mapping[str, int]) -> str:
    """The internal axis order of an image with these sizes (missing letters count as 1): yxc, zyxc, tyxc, tzyxc, …"""
    needed = {a for a in "tzyx" if sizes.get(a, 1) > 1}
    return min((o for o in _PIPELINE_ORDERS if needed <= set(o)), key=len)


def canonical_shape(shape: Sequence[int], axes: str) -> tuple[int, ...]:
    """Sizes in t z y x c order; missing axes have size 1."""
    sizes = dict(zip(axes, shape, strict=True))
    return tuple(int(sizes.get(a, 1)) for a in CANONICAL)


def to_canonical(array: np.ndarray, axes: str) -> np.ndarray:
    """View an array with axes ``axes`` as (t, z, y, x, c)."""
    order = [axes.index(a) for a in CANONICAL if a in axes]
    moved = np.transpose(array, order)
    return moved[tuple(slice(None) if a in axes else np.newaxis for a in CANONICAL)]


def from_canonical(array: np.ndarray, axes: str) -> np.ndarray:
    """View a (t, z, y, x, c) array in order ``axes``. Raises ValueError if an omitted axis is longer than 1."""
    dropped = [a for a, n in zip(CANONICAL, array.shape, strict=True) if a not in axes and n != 1]
    if dropped:
        raise ValueError(f"axis {dropped[0]} is longer than 1 and cannot be left out of the order {axes}")
    kept = [a for a in CANONICAL if a in axes]
    squeezed = array[tuple(slice(None) if a in axes else 0 for a in CANONICAL)]
    return np.transpose(squeezed, [kept.index(a) for a in axes])


def box_to_canonical(box: Box, axes: str) -> Box:
    """Convert a box from order ``axes`` to canonical order; missing axes become [0, 1)."""
    start, stop = dict(zip(axes, box.start, strict=True)), dict(zip(axes, box.stop, strict=True))
    return Box(tuple(start.get(a, 0) for a in CANONICAL), tuple(stop.get(a, 1) for a in CANONICAL))


def box_from_canonical(box: Box, axes: str) -> Box:
    """Convert a canonical box to order ``axes``."""
    index = [CANONICAL.index(a) for a in axes]
    return Box(tuple(box.start[i] for i in index), tuple(box.stop[i] for i in index))
