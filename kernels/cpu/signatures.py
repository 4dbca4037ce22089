"""Signatures of the kernels that Python calls, by unit of compilation.

A unit becomes one file of object code, optimised as a whole. A type is "i8", "i4", "u8", "u4", "u2", "u1", "f4", "f8"
or "b1", followed by [n] for a C-contiguous array of n dimensions; a tuple of types means a tuple.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from ...frozen import frozen

Type: TypeAlias = "str | tuple[Type, ...]"

MAX_RESULTS = 8


@frozen
class Entry:
    """Entry point of a kernel: a function of a module in ``loops``.

    name    of the function; followed by a dot and a type if there is an entry for several types
    result  None, a scalar's type, or a tuple of them
    """

    unit: str
    module: str
    name: str
    arguments: tuple[Type, ...]
    result: Type | None = None

    @property
    def function(self) -> str:
        return self.name.split(".")[0]


NEEDS: Mapping[str, tuple[str, ...]] = {
    "predict_pure": ("features",),
    "predict_mixed": ("features",),
    "feature_stack": ("features",),
}
"""Units whose functions call entries of other units, which are compiled only once, in their own unit."""

UNSIGNED = ("u1", "u2", "u4", "u8")
COMPARABLE = (*UNSIGNED, "f4", "f8")
BINS = ("u4", "u8")


def _of_type(kind: Type, value: str) -> Type:
    return kind.replace("T", value) if isinstance(kind, str) else tuple(_of_type(each, value) for each in kind)


def _for_types(values: Sequence[str], entry: Entry) -> Iterator[Entry]:
    """Make an entry for each type that replaces "T", each in a unit of its own."""
    for value in values:
        arguments = tuple(_of_type(kind, value) for kind in entry.arguments)
        yield Entry(f"{entry.unit}.{value}", entry.module, f"{entry.name}.{value}", arguments, entry.result)


_PAIR: Type = ("i8", "i8")
_TRIPLE: Type = ("i8",) * 3
_BOX: Type = ("i8",) * 6

_LINES: Type = ("f4[1]", "i8[1]", "i8[1]")
_SMOOTHED: Type = ("f4[1]", "i8[2]", "i8[2]")
_PROGRAM: Type = ("i8[2]", "i8[1]", "f4[3]", "i8")
_SCRATCH: Type = ("f4[1]", "i8", _LINES)
_TILE = (_SMOOTHED, _PROGRAM, _TRIPLE, _TRIPLE, _TRIPLE, (_TRIPLE,) * 3, "f4[1]", _SCRATCH)
_NODES: Type = ("u8[1]", "i8", "i8")
_COLUMNS: Type = ("f4[1]", "i8[2]", "u4[2]", "u4[1]", "i8[1]", "i8[2]")
_VOTES: Type = ("i8[2]", "f4[2]", "f4")
_CUT: Type = ("u1[1]", "u1[1]", "u4[1]", "u4[1]", "f4[1]", "i8[1]", "u4[2]", "i8[2]", "i8[1]")
_MEMORY: Type = (
    _CUT, "u8[1]", "u8[1]", "u8[2]", "i8", "f4[2]", "f4[1]", "b1[2]", "i4[2]", "u2[1]",
)  # fmt: skip
_BUNDLES: Type = ("f4[4]", "i8[2]", "i8[3]")
_SHARES: Type = ("f4[2]", "f8[2]", "i8[2]", "b1", "f4")

_RUNS: Type = ("i8[1]", "i4[1]", "i4[1]", "u4[1]")

_SLAB = ("u4[3]", "f4[2]", _PAIR, "u4", "u4", "u4", "u1[1]")
_BOUNDS: Type = ("i8[1]", "i4[2]", "i4[2]", "f8[2]", "f8[2]")
_VALUES: Type = ("i8[1]", "f8[2]", "f8[2]", "f4[2]", "f4[2]")
_EXTREMES: Type = ("f4[1]", "f4[1]", "i4[2]", "i4[2]")
_WEIGHTS: Type = ("f8[1]", "f8[2]", "f8[2]")
_CHANNELS: Type = ("i8[1]", "f8[2]", "f8[2]")
_HISTOGRAM: Type = ("f8[1]", "f8[1]", "T[2]", "i8[1]")

_SEARCH: Type = (
    "u8[1]", "u8[1]", "u4[1]", "u4[2]", "f8[2]", "i8[1]", "f8[1]", "f8[1]", "f8[1]", ("f8[1]", "f8[1]", "f8[1]"),
)  # fmt: skip

_ALL = (
    Entry(
        "features", "features", "presmooth_tile",
        ("f4[1]", _BOX, "f4[1]", "i8[2]", "i8[2]", _TRIPLE, "f4[2]", "i8[1]", "b1[1]", "i8", "f4[1]", "i8", "i8",
         _LINES),
    ),
    Entry("features", "features", "derive_cell", (_SMOOTHED, _PROGRAM, _TRIPLE, _BOX, _TRIPLE, "f4[1]", _SCRATCH)),
    Entry("feature_stack", "features", "feature_tile", (*_TILE, "f4[4]")),
    Entry(
        "predict_pure", "pure_forest", "predict_tile_pure",
        (*_TILE, "i8", _COLUMNS, _VOTES, _MEMORY, _BUNDLES, "f4[4]"),
    ),
    Entry("predict_mixed", "forest", "predict_tile_mixed", (*_TILE, "i8", "i8[1]", _NODES, _SHARES, "i8", "f4[4]")),
    Entry(
        "rows_pure", "pure_forest", "predict_rows_pure",
        ("f4[2]", _COLUMNS, _VOTES, _MEMORY, _BUNDLES, "f4[1]", "f4[2]"),
    ),
    Entry("rows_mixed", "forest", "predict_rows_mixed", ("f4[2]", "i8[1]", _NODES, _SHARES, "i8", "f4[2]")),
    Entry("results", "results", "number_best", ("f4[2]", "u1[1]")),
    Entry("results", "results", "subtract_lead", ("f4[2]", "f4[1]")),
    Entry("results", "results", "count_classes", ("f4[4]", "i8", "i8", "i8[1]", "i8[1]")),
    Entry("results", "results", "sample_classes", ("f4[3]", ("i8", "i8"), ("i8", "i8"), "u1[2]", "f4[2]")),
    # Labels.
    *_for_types(COMPARABLE, Entry("runs", "labels", "count_runs", ("T[1]", "i8", "i8"), "i8")),
    *_for_types(
        COMPARABLE,
        Entry("runs", "labels", "find_runs", ("T[1]", "i8", "i8", "i8", "i8[1]", "i4[1]", "i4[1]", "u4[1]")),
    ),
    *_for_types(
        COMPARABLE,
        Entry(
            "runs", "labels", "touching_pairs",
            (_RUNS, "i8", "T[2]", _RUNS, "i8", "T[2]", "i8", "u4[1]", "u4[1]"), "i8",
        ),
    ),
    Entry("labels", "labels", "number_roots", ("u4[1]",), "i8"),
    Entry("labels", "labels", "unite_pairs", ("i8[1]", "i8", "u4[1]", "i8", "u4[1]")),
    Entry("labels", "labels", "number_components", ("i8[1]",), "i8"),
    Entry("labels", "labels", "drop_components", ("i8[1]", "b1[1]")),
    Entry("labels", "labels", "add_run_sizes", ("i4[1]", "i4[1]", "u4[1]", "i8[1]", "i8", "i8[1]")),
    Entry("labels", "labels", "write_runs", (*_RUNS, "i8[1]", "i8", "u4[2]")),
    Entry("labels", "labels", "mark_overlaps", (_RUNS, "i8[1]", "i8", _RUNS, "i8[1]", "i8", "u1[1]")),
    *_for_types(
        UNSIGNED,
        Entry(
            "values", "labels", "renumber", ("T[1]", "i8", "u8[1]", "i8", "u8[1]", "u4[1]", "u4[1]"), _PAIR
        ),
    ),
    *_for_types(UNSIGNED, Entry("values", "labels", "fill_table", ("u8[1]", "i8", "u8[1]", "u4[1]"))),
    # Thresholds.
    Entry("smoothing", "threshold", "smooth_x", ("f4[3]", "f8[1]", "f8[1]", "f8[1]", "f4[3]")),
    Entry("smoothing", "threshold", "smooth_y", ("f4[3]", "i8", "i8", "i8", "f8[1]", "f8[1]", "f4[3]")),
    Entry("smoothing", "threshold", "smooth_z", ("f4[3]", "i8", "i8", "i8", "f8[1]", "f8[1]", "f4[3]")),
    Entry(
        "growing", "threshold", "flood",
        ("f4[1]", "u4[1]", "i8", "i8", "i8", "f4", "f4[1]", "i8[1]", "i8[1]"), "b1",
    ),
    Entry("growing", "threshold", "mark_minima", ("f4[1]", "i8", "i8", "i8", "u4[1]"), "i8"),
    Entry("sizes", "threshold", "add_label_sizes", ("u4[1]", "i8[1]")),
    Entry("sizes", "threshold", "drop_labels", ("u4[1]", "b1[1]")),
    # Objects.
    Entry(
        "first_pass", "measure", "first_pass", (*_SLAB, _BOUNDS, _VALUES, _EXTREMES, _WEIGHTS, _CHANNELS)
    ),
    *_for_types(
        BINS,
        Entry(
            "second_pass", "measure", "second_pass",
            (*_SLAB, ("f8[2]",) * 4, ("f8[2]",) * 3, _HISTOGRAM, ("f8[2]",) * 4, ("f8[2]",) * 6),
        ),
    ),
    *_for_types(
        BINS,
        Entry(
            "second_pass", "measure", "interpolate_quantiles",
            ("i8[1]", "T[2]", "i8[1]", "f4[2]", "f4[2]", "f8[1]", "f8[1]", "f8[1]", "i8", "i8", "f8[2]"),
        ),
    ),
    Entry("shape", "eigensystem", "eigensystems", ("f8[2]", "i8", "i8", "f8[2]", "f8[2]")),
    Entry(
        "shape", "measure", "describe_moments",
        ("f8[1]", "f8[2]", "f8[2]", "f8[2]", "i8", "i8", "f8[2]", "f8[2]"),
    ),
    Entry("shape", "measure", "count_as_float32", ("u4[2]", "i8", "i8")),
    *_for_types(
        BINS,
        Entry(
            "neighbourhood", "neighbourhood", "add_neighbourhoods",
            ("u4[3]", "f4[2]", _PAIR, _PAIR, "i8[1]", "i4[2]", _TRIPLE, _TRIPLE, "i8", "b1", "b1", "u1[1]", _VALUES,
             _CHANNELS, ("f8[2]",) * 3, _HISTOGRAM),
        ),
    ),
    Entry("hull", "hull", "describe_hulls", ("u4[3]", _TRIPLE, "i4[2]", "f8[2]", "f8[1]", "i8", "i8", "f8[2]")),
    Entry("table_text", "table_text", "write_cells", ("u8[2]", "u1[1]", "u1[1]", "i8[1]", "u8[2]", "u1[1]"), "i8"),
    # Training.
    Entry(
        "training", "training", "grow_tree",
        ("f4[2]", "u4[2]", "u4[2]", "u2[1]", "i8", ("u4[1]", "i8[1]"), "u4[1]", ("u4[1]", "u4[1]"), "i8[1]", "f8[1]",
         "u4[2]", _SEARCH, "i8[2]", ("i4[1]", "f8[1]"), "f8[1]"),
        ("i8", "i8"),
    ),
    Entry("training", "training", "vote_out_of_bag", ("f4[2]", "u4[1]", "i4[1]", "f8[1]", "f8[2]")),
    Entry(
        "importance", "training", "count_right",
        ("f4[2]", "u2[1]", "u4[1]", "i8", "u4[1]", "i4[1]", "f8[1]", "f8[1]"),
    ),
    Entry("skeleton", "skeleton", "describe_skeletons", ("u4[2]", "i8", "i8", "i4[2]", "i8", "i8", "f8[2]")),
)  # fmt: skip

ENTRIES: Mapping[str, Entry] = {entry.name: entry for entry in _ALL}


def entries_of(unit: str) -> Sequence[Entry]:
    """List the entries of one unit."""
    return [entry for entry in _ALL if entry.unit == unit]


def with_needs(units: Sequence[str]) -> tuple[str, ...]:
    """List units with their dependencies first, each once."""
    wanted = [each for unit in units for each in (*NEEDS.get(unit, ()), unit)]
    return tuple(dict.fromkeys(wanted))


def all_units() -> tuple[str, ...]:
    """List every unit, dependencies first."""
    return with_needs(list(dict.fromkeys(entry.unit for entry in _ALL)))
