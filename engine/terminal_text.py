r"""Text of unknown origin made safe for a terminal: texts of projects, file names, class names.

All output passes through here. Control characters, characters that hide others and those that change the reading
direction are shown as escapes: ``\x1b``, ``\u202e``; a byte of a name that is not UTF-8 as ``\xff``.
"""

from __future__ import annotations

import re

__all__ = ["has_controls", "printable", "printable_json", "printable_lines"]

# The patterns are compiled when a text has such a character: most runs show none.
# C0, DEL and C1; marks and overrides of direction; separators that some terminals treat as a new line.
_CONTROLS = "\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069"
_CONTROL = f"[{_CONTROLS}]"
_SHOWN_ESCAPED = f"[{_CONTROLS}\ud800-\udfff]"
# Line feeds and JSON's own escapes are left unchanged.
_SHOWN_ESCAPED_IN_LINES = f"(?!\n)[{_CONTROLS}\ud800-\udfff]"


def has_controls(text: str) -> bool:
    """Return True if a text contains characters that must not be sent to a terminal."""
    return not text.isprintable() and re.search(_CONTROL, text) is not None


def printable(text: str) -> str:
    """Convert a text to one line that any terminal and any encoding of Unicode can show."""
    return text if text.isprintable() else re.sub(_SHOWN_ESCAPED, _escape, text)


def printable_lines(text: str) -> str:
    """Convert as ``printable`` does, but keep line feeds, as for a traceback."""
    return re.sub(_SHOWN_ESCAPED_IN_LINES, _escape, text)


def printable_json(document: str) -> str:
    """Replace these characters in a JSON document by JSON's own escapes; it still parses to the same values."""
    return re.sub(_SHOWN_ESCAPED_IN_LINES, lambda found: f"\\u{ord(found[0]):04x}", document)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    if 0xDC80 <= code <= 0xDCFF:  # Python's representation of a byte of a file name that is not UTF-8
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
