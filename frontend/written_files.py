"""Files that a command line writes: a log must not be another file that it names, and no two files may be one."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

from pixelforest.engine.errors import UsageError
from pixelforest.engine.quotes import unquote

from .options import CommandLine, Option

# Its value is a name in a file, and that of the next one a template, of which the run checks what it becomes.
_NO_FILES = ("output_internal_path", "output_filename_format")


def check_written_files(table: Sequence[Option], line: CommandLine) -> None:
    """Raise UsageError if an option writes to a file that another one names."""
    written = [(option, _key(line.values[option.key])) for option in table if option.writes and _is_given(option, line)]
    if not written:
        return
    read = list(_read_files(table, line))
    for option, key in written:
        if option.appends:
            _refuse_same(option, key, read)
    for (option, key), other in combinations(written, 2):
        if not (option.appends and other[0].appends):
            _refuse_same(option, key, [(other[0].name, other[1])])


def _is_given(option: Option, line: CommandLine) -> bool:
    return bool(line.values.get(option.key))


def _read_files(table: Sequence[Option], line: CommandLine) -> Iterator[tuple[str, str]]:
    """Yield an option, or what stands for it in a message, and each file that it names."""
    for option in table:
        if option.is_path and not option.writes and option.key not in _NO_FILES and _is_given(option, line):
            yield option.name, _key(line.values[option.key])
    for key, texts in line.paths.items():
        yield from ((f"--{key}", _key(unquote(text))) for text in texts)
    yield from (("an input", _key(unquote(text))) for text in line.positional)


def _refuse_same(option: Option, key: str, others: Sequence[tuple[str, str]]) -> None:
    for name, other in others:
        if key == other:
            from pixelforest.engine.storage.special_files import is_special

            if not is_special(Path(key)):
                raise UsageError(f"{option.name}: {key} is named by {name}, too; choose another file for one of them")


def _key(text: object) -> str:
    return os.path.normcase(os.path.realpath(os.path.expanduser(str(text))))
