r"""Text of unknown origin made harmless for a terminal: project texts, file names and class names may hold anything.

Everything that is shown passes through here. A character that a terminal obeys, that hides others or that turns the
reading direction is shown as an escape: ``\x1b``, ``\u202e``; a byte of a name that is not UTF-8 as ``\xff``.
"""

from __future__ import annotations

import re

__all__ = ["has_controls", "printable", "printable_json", "printable_lines"]

# C0, DEL and C1; marks and overrides of direction; separators that some terminals take for a new line.
_CONTROLS = "\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069"
_CONTROL = re.compile(f"[{_CONTROLS}]")
_SHOWN_ESCAPED = re.compile(f"[{_CONTROLS}\ud800-\udfff]")
# Line feeds, and the escapes that JSON has of its own, are left alone.
_SHOWN_ESCAPED_IN_LINES = re.compile(f"(?!\n)[{_CONTROLS}\ud800-\udfff]")


def has_controls(text: str) -> bool:
    """True if a text holds characters that no terminal should be sent."""
    return _CONTROL.search(text) is not None


def printable(text: str) -> str:
    """A text as one line that any terminal and any encoding of Unicode can show."""
    return _SHOWN_ESCAPED.sub(_escape, text)


def printable_lines(text: str) -> str:
    """The same for text whose line feeds are meant, such as a traceback."""
    return _SHOWN_ESCAPED_IN_LINES.sub(_escape, text)


def printable_json(document: str) -> str:
    """A JSON document in which the same characters are JSON's own escapes; it still reads as the same values."""
    return _SHOWN_ESCAPED_IN_LINES.sub(lambda found: f"\\u{ord(found[0]):04x}", document)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    if 0xDC80 <= code <= 0xDCFF:  # how Python keeps a byte of a file name that is not UTF-8
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
