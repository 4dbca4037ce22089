"""How a project wants its object table: file, kind, columns. Stored by ilastik as a pickle, which is never loaded.

The oldest pickle protocol is lines of text. Lists, dictionaries, texts and numbers in it are read as such; anything
else, above all the name of a class, ends the reading, and the project counts as one that stores no such settings.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

from ...records import dataclass, field
from .hdf5 import ProjectFile

PATH = "ObjectClassification/ExportSettings"
FILE_TYPES = ("csv", "h5")
_TOKEN = re.compile(
    rb"(?P<text>V)(?P<value>[^\n]*)\n|(?P<quoted>S)(?P<literal>[^\n]*)\n|(?P<number>[ILF])(?P<digits>[^\n]*)\n"
    rb"|(?P<put>p)(?P<place>\d+)\n|(?P<get>g)(?P<from>\d+)\n|(?P<sign>[(dltsuaeN.\]}0])"
)
_MARK = object()
MAX_BYTES = 1 << 20


class _NotPlainError(Exception):
    """It holds something other than lists, dictionaries, texts and numbers."""


@dataclass(frozen=True)
class TableSettings:
    """The table a project was set up to write.

    file_type      "csv" or "h5"; counts whatever the extension of the path is
    file_path      a template with {dataset_dir} and {nickname}
    features       ids or display names of the features wanted in it, without their plugins
    compression    of the HDF5 file: h5py's names -> values; empty: none
    margin         pixels around the objects whose pictures are stored in an HDF5 file
    includes_raw   the raw image is stored once as a whole, instead of a piece for each object
    """

    file_type: str
    file_path: str
    features: tuple[str, ...]
    compression: dict[str, Any] = field(default_factory=dict)
    margin: int = 0
    includes_raw: bool = False


def read_table_settings(file: ProjectFile, path: str = PATH) -> TableSettings | None:
    """The stored settings; None if the table was never set up, or in a way that cannot be read as text."""
    content = file.opaque(path)
    if content is None or len(content) > MAX_BYTES:
        return None
    try:
        stored = _read_plain(content)
    except _NotPlainError:
        return None
    if not isinstance(stored, tuple) or len(stored) != 2:
        return None
    settings, features = stored
    if not isinstance(settings, dict) or not isinstance(features, list | tuple):
        return None
    file_type, file_path = settings.get("file type"), settings.get("file path")
    if file_type not in FILE_TYPES or not isinstance(file_path, str) or not file_path:
        return None
    margin, compression = settings.get("margin", 0), settings.get("compression")
    return TableSettings(
        file_type=file_type,
        file_path=file_path,
        features=tuple(name for name in features if isinstance(name, str)),
        compression=_checked_compression(compression if isinstance(compression, dict) else {}),
        margin=margin if isinstance(margin, int) and 0 <= margin < 1 << 16 else 0,
        includes_raw=bool(settings.get("include raw", False)),
    )


def _checked_compression(stored: dict[Any, Any]) -> dict[str, Any]:
    """What of it h5py is given: gzip with a level or lzf, and whether bytes are shuffled first."""
    method = stored.get("compression")
    if method not in ("gzip", "lzf"):
        return {}
    found: dict[str, Any] = {"compression": method}
    level = stored.get("compression_opts")
    if method == "gzip" and isinstance(level, int) and 0 <= level <= 9:
        found["compression_opts"] = int(level)
    if stored.get("shuffle") not in (None, False, 0, "", "False", "false", "0"):
        found["shuffle"] = True
    return found


def _tokens(content: bytes) -> Iterator[re.Match[bytes]]:
    position = 0
    while position < len(content):
        found = _TOKEN.match(content, position)
        if found is None:
            raise _NotPlainError
        yield found
        position = found.end()


def _read_plain(content: bytes) -> Any:
    """The value that the text describes. Raises _NotPlainError."""
    stack: list[Any] = []
    places: dict[bytes, Any] = {}
    try:
        for token in _tokens(content):
            if token["text"]:
                stack.append(token["value"].decode("raw_unicode_escape"))
            elif token["quoted"]:
                stack.append(_literal(token["literal"]))
            elif token["number"]:
                stack.append(_number(token["number"], token["digits"]))
            elif token["put"]:
                places[token["place"]] = stack[-1]
            elif token["get"]:
                stack.append(places[token["from"]])
            elif token["sign"] == b".":
                return stack.pop()
            else:
                _apply(token["sign"], stack)
    except (LookupError, ValueError, TypeError, AttributeError, SyntaxError) as error:
        raise _NotPlainError from error
    raise _NotPlainError


def _literal(text: bytes) -> str:
    """A quoted text of Python 2."""
    if not re.fullmatch(rb"'[^'\n]*'|\"[^\"\n]*\"", text):
        raise _NotPlainError
    value = ast.literal_eval(text.decode("ascii"))
    if not isinstance(value, str):
        raise _NotPlainError
    return value


def _number(kind: bytes, digits: bytes) -> int | float | bool:
    if kind == b"F":
        return float(digits)
    if kind == b"I" and digits in (b"00", b"01"):
        return digits == b"01"
    if len(digits) > 20:
        raise _NotPlainError
    return int(digits.rstrip(b"L"))


def _apply(sign: bytes, stack: list[Any]) -> None:
    """One step that builds something of what lies on the stack."""
    if sign == b"(":
        stack.append(_MARK)
    elif sign == b"N":
        stack.append(None)
    elif sign == b"]":
        stack.append([])
    elif sign == b"}":
        stack.append({})
    elif sign == b"0":
        stack.pop()
    elif sign == b"d":
        items = _since_mark(stack)
        stack.append(dict(zip(items[::2], items[1::2], strict=True)))
    elif sign == b"l":
        stack.append(_since_mark(stack))
    elif sign == b"t":
        stack.append(tuple(_since_mark(stack)))
    elif sign == b"s":
        value, key = stack.pop(), stack.pop()
        stack[-1][key] = value
    elif sign == b"u":
        items = _since_mark(stack)
        stack[-1].update(zip(items[::2], items[1::2], strict=True))
    elif sign == b"a":
        value = stack.pop()
        stack[-1].append(value)
    elif sign == b"e":
        items = _since_mark(stack)
        stack[-1].extend(items)


def _since_mark(stack: list[Any]) -> list[Any]:
    items: list[Any] = []
    while (top := stack.pop()) is not _MARK:
        items.append(top)
    return items[::-1]
