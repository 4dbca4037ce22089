"""Texts that a spreadsheet treats as formulas when it opens a CSV table, such as the name of a class."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from ..errors import setting
from ..formats.table_spec import TableColumn

__all__ = ["defuse_column", "describe_formulas", "is_formula"]

_FIRST_LETTERS = ("=", "+", "-", "@", "\t", "\r")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_MAX_SHOWN = 3


def is_formula(text: str) -> bool:
    """Return True if a spreadsheet treats this cell as a formula. Numbers such as -1.5 are none."""
    return text.startswith(_FIRST_LETTERS) and _NUMBER.fullmatch(text) is None


def describe_formulas(texts: Iterable[str]) -> str:
    """Compose a line about texts that are formulas, its setting marked; empty if none is."""
    found = [text for text in dict.fromkeys(texts) if is_formula(text)]
    if not found:
        return ""
    more = f" and {len(found) - _MAX_SHOWN} more" if len(found) > _MAX_SHOWN else ""
    return (
        f"a spreadsheet would evaluate class names as formulas: {', '.join(map(repr, found[:_MAX_SHOWN]))}{more}; "
        f"{setting('safe_csv')} puts an apostrophe before them"
    )


def defuse_column(column: TableColumn) -> TableColumn:
    """Put an apostrophe before every text of a column that is a formula, its name included."""
    texts = None if column.texts is None else tuple(map(_defuse, column.texts))
    return replace(column, name=_defuse(column.name), texts=texts)


def _defuse(text: str) -> str:
    return f"'{text}" if is_formula(text) else text
