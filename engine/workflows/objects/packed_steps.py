"""Values of steps as named arrays, which a file can hold without pickling."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ...objects.measure import Rows
from ...objects.slab_sources import Face, SlabFacts

_BETWEEN = "\t"  # parts of a name; plugins and features have none
_FACE = ("starts", "values", "numbers")


def pack_facts(facts: SlabFacts) -> dict[str, np.ndarray]:
    """Name the arrays of the facts about a slab."""
    found = {"count": np.array(facts.count), "sizes": facts.sizes, "boxes": facts.boxes}
    for name, face in (("first", facts.first), ("last", facts.last)):
        if face is not None:
            found |= {f"{name}{_BETWEEN}{part}": getattr(face, part) for part in _FACE}
            found[f"{name}{_BETWEEN}size"] = np.array(face.size)
    for name in ("originals", "overlaps"):
        if (values := getattr(facts, name)) is not None:
            found[name] = values
    if facts.cores is not None:
        found |= {f"cores{_BETWEEN}{name}": values for name, values in pack_facts(facts.cores).items()}
    return found


def unpack_facts(arrays: Mapping[str, np.ndarray]) -> SlabFacts:
    """Return the facts that were packed. Raises KeyError for other arrays."""
    prefix = f"cores{_BETWEEN}"
    cores = {name.removeprefix(prefix): values for name, values in arrays.items() if name.startswith(prefix)}
    return SlabFacts(
        int(arrays["count"]),
        arrays["sizes"],
        arrays["boxes"],
        _unpack_face("first", arrays),
        _unpack_face("last", arrays),
        arrays.get("originals"),
        unpack_facts(cores) if cores else None,
        arrays.get("overlaps"),
    )


def _unpack_face(name: str, arrays: Mapping[str, np.ndarray]) -> Face | None:
    if f"{name}{_BETWEEN}size" not in arrays:
        return None
    starts, values, numbers = (arrays[f"{name}{_BETWEEN}{part}"] for part in _FACE)
    return Face(starts, values, numbers, int(arrays[f"{name}{_BETWEEN}size"]))


def pack_rows(rows: Rows) -> dict[str, np.ndarray]:
    """Name the arrays of measured objects."""
    return {f"{plugin}{_BETWEEN}{name}": values for (plugin, name), values in rows.items()}


def unpack_rows(arrays: Mapping[str, np.ndarray]) -> Rows:
    """Return the rows that were packed."""
    rows: Rows = {}
    for text, values in arrays.items():
        plugin, _, name = text.partition(_BETWEEN)
        rows[plugin, name] = values
    return rows
