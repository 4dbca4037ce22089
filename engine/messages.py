"""Messages of exceptions for users: always one line."""

from __future__ import annotations

import errno
import logging

from .errors import PixelforestError, Setting, Spell, Text, as_field, as_marked, render_settings, setting
from .public_text import shorten

_HINTS = {
    errno.ENOSPC: "; free some space, or let TMPDIR and the options for outputs name folders with more room",
    getattr(errno, "EDQUOT", -1): "; your quota is used up; free some of it, or write to other folders",
    errno.EFBIG: "; raise the limit on file sizes (ulimit -f), or choose a disk that takes larger files",
    errno.EMFILE: "; raise the limit on open files (ulimit -n)",
}
MAX_FOREIGN_MESSAGE = 300  # characters; messages not written for users can be pages long


def describe_error(error: BaseException, spell: Spell = as_field) -> str:
    """Return the message of an exception that was meant for users; for any other, its kind and how to learn more.

    spell   how the settings that the message names are spelled for the reader
    """
    return render_settings(_describe(error), spell)


def describe_record(record: logging.LogRecord, spell: Spell) -> str:
    """Return the message of a log record, with the settings among its arguments spelled for the reader."""
    arguments = record.args
    if not isinstance(arguments, tuple) or not any(isinstance(each, Setting | Text) for each in arguments):
        return record.getMessage()
    return str(record.msg) % tuple(
        render_settings(f"{each}", spell) if isinstance(each, Setting | Text) else each for each in arguments
    )


def _describe(error: BaseException) -> str:
    if isinstance(error, PixelforestError):
        return " ".join(error.render(as_marked).split())
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError):
        more = f" ({text})" if text else ""
        return f"out of memory; lower {setting('memory')}, or close other programs{more}"
    if isinstance(error, OSError):
        return f"{shorten(text) or type(error).__name__}{_HINTS.get(error.errno, '')}"
    shown = text if len(text) <= MAX_FOREIGN_MESSAGE else f"{text[:MAX_FOREIGN_MESSAGE]}…"
    return f"unexpected {type(error).__name__}: {shown or 'no message'}; run with {setting('debug')} for the traceback"
