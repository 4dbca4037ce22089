"""What to tell a user about an exception: always one line."""

from __future__ import annotations

import errno
import re

from .errors import PixelforestError

_HINTS = {
    errno.ENOSPC: "; free some space, or let TMPDIR and the options for outputs name folders with more room",
    getattr(errno, "EDQUOT", -1): "; your quota is used up; free some of it, or write to other folders",
    errno.EFBIG: "; raise the limit on file sizes (ulimit -f), or choose a disk that takes larger files",
    errno.EMFILE: "; raise the limit on open files (ulimit -n)",
}
LONGEST_SURPRISE = 300  # letters; messages that were not meant for users can be pages


# user:password@ and the query of a URL, also where a path object has made one slash of two. A single letter in front of
# the colon is a drive of Windows.
_USER = re.compile(r"\b([A-Za-z][A-Za-z0-9+.-]+:/{1,2})(?:[^\s/@]*@|[^\s/@:]+:(?!\d+(?:/|$))[^\s@]*@)+")
_QUERY = re.compile(r"""\b([A-Za-z][A-Za-z0-9+.-]+:/{1,2}[^\s?#'"<>]+)[?#][^\s'"<>)\]]*?(?=[:;,.]*(?:[\s'"<>)\]]|$))""")
_UNDECODABLE = re.compile("[\udc80-\udcff]")


def public_text(text: str) -> str:
    """Text that may be shown and kept: without keys in URLs, bytes of names that are not UTF-8 as ``\\xff``."""
    if ":/" in text:
        text = _QUERY.sub(r"\1?…", _USER.sub(r"\1…@", text))
    if not text.isascii():
        text = _UNDECODABLE.sub(lambda match: f"\\x{ord(match[0]) - 0xDC00:02x}", text)
    return text


def public_document(value: object) -> object:
    """The same for every text of a document that becomes JSON, keys of objects too."""
    if isinstance(value, str):
        return public_text(value)
    if isinstance(value, dict):
        return {public_document(key): public_document(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [public_document(item) for item in value]
    return value


def describe_error(error: BaseException) -> str:
    """The message of an exception that was meant for users; for any other, its kind and how to learn more."""
    text = " ".join(str(error).split())
    if isinstance(error, PixelforestError):
        return text
    if isinstance(error, MemoryError):
        return f"out of memory; give less of it with --memory, or close other programs{f' ({text})' if text else ''}"
    if isinstance(error, OSError):
        return f"{text or type(error).__name__}{_HINTS.get(error.errno, '')}"
    shown = text if len(text) <= LONGEST_SURPRISE else f"{text[:LONGEST_SURPRISE]}…"
    return f"unexpected {type(error).__name__}: {shown or 'no message'}; run with --debug for the traceback"
