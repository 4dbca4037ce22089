"""Kinds of existing files by their first bytes: what an output may replace, and what a log may be appended to."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["holds_log", "holds_table_text"]

_HEAD_BYTES = 4096
# All of ASCII that no text has; bytes from 0x80 on are text in one encoding or another.
_BINARY = re.compile(rb"[^\t\n\r\f\b\x1b\x20-\x7e\x80-\xff]")
_LOG_LINE = re.compile(rb"(?:\S+ )?(?:TRACE|DEBUG|INFO|WARNING|ERROR|CRITICAL)\b")
# Beginnings of text files that are no logs: pictures (PNM, Radiance), JSON over several lines, XML, scripts, tables.
_NO_LOG = re.compile(rb"P[1-6][\s#]|#\?R|[{\[]\s*\n|<|#!|object_id,|f0,f1,f2,|Feature Name,")
_NO_TABLE = re.compile(rb"[{\[<]|#!")


def holds_log(path: Path) -> bool:
    """Return True for a text to which lines of a log may be appended, whoever began it. Raises OSError."""
    head = _head(path)
    return _is_text(head) and not _NO_LOG.match(head)


def holds_table_text(path: Path) -> bool:
    """Return True for a text whose first line has several fields, as that of every CSV table. Raises OSError."""
    head = _head(path)
    first = head.partition(b"\n")[0]
    return (
        _is_text(head)
        and any(mark in first for mark in (b",", b";", b"\t"))
        and not _NO_TABLE.match(head)
        and not _LOG_LINE.match(head)
    )


def _head(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(_HEAD_BYTES)


def _is_text(head: bytes) -> bool:
    return _BINARY.search(head) is None
