"""Lists of inputs in text files, one line each: read as lines and as rows of fields."""

from __future__ import annotations

import csv
from pathlib import Path

from ...errors import InputError, InputNotFound, unreadable_input

__all__ = ["read_lines", "split_rows"]

_SEPARATORS = ("\t", ";", ",")


def read_lines(path: Path) -> list[tuple[int, str]]:
    """Read the lines of a list with their numbers; blank ones, and those that begin with #, are left out.

    Names that are not UTF-8 keep their bytes. Raises InputError, InputNotFound.
    """
    try:
        text = path.read_bytes().decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    except FileNotFoundError:
        raise InputNotFound(f"there is no file {path}") from None
    except OSError as error:
        raise unreadable_input(path, error) from error
    if "\0" in text:
        raise InputError(f"cannot read {path}: it is not a text; save it as CSV or text in UTF-8")
    lines = enumerate(text.replace("\r\n", "\n").split("\n"), 1)
    return [(number, line) for number, line in lines if line.strip() and not line.lstrip().startswith("#")]


def split_rows(lines: list[tuple[int, str]]) -> list[tuple[int, list[str]]]:
    """Split lines into fields at the separator of the first one: tab, semicolon or comma, outside quotes."""
    first = lines[0][1] if lines else ""
    separator = next((each for each in _SEPARATORS if each in first), ",")
    return [(number, next(csv.reader([line], delimiter=separator, skipinitialspace=True))) for number, line in lines]
