"""Tables in text files, with a header, that others wrote: fields separated by commas, semicolons or tabs."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ...errors import InputError, InputNotFound, unreadable_input

SUFFIXES = (".csv", ".tsv", ".txt")
_SEPARATORS = ("\t", ";", ",")


@contextmanager
def open_delimited(path: Path) -> Iterator[tuple[Sequence[str], Iterator[tuple[int, Sequence[str]]]]]:
    """Open a table within the context: names of its columns, and its rows with their numbers; the header is row 1.

    The separator is the first of tab, semicolon and comma that is in the header. Blank rows are left out; other rows
    have as many fields as the header. Raises InputError, InputNotFound, here and while rows are read.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            separator = next((each for each in _SEPARATORS if each in header), ",")
            names = next(csv.reader([header], delimiter=separator), [])
            yield [name.strip() for name in names], _rows(path, csv.reader(file, delimiter=separator), len(names))
    except FileNotFoundError:
        raise InputNotFound(f"there is no file {path}") from None
    except OSError as error:
        raise unreadable_input(path, error) from error
    except UnicodeDecodeError:
        raise InputError(f"cannot read {path}: it is not text in UTF-8; save the table as CSV in UTF-8") from None
    except csv.Error as error:
        raise InputError(f"cannot read {path}: it is no table of text ({error}); save it as CSV") from None


def _rows(path: Path, rows: Iterator[list[str]], width: int) -> Iterator[tuple[int, Sequence[str]]]:
    for number, fields in enumerate(rows, 2):
        if not any(field.strip() for field in fields):
            continue
        if len(fields) != width:
            raise InputError(
                f"{path}, row {number}: there are {len(fields)} fields, but {width} columns; "
                "each row needs a field per column"
            )
        yield number, fields
