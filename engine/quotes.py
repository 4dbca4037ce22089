"""Quotes that reach the program as part of a value.

Programs that start others without a shell, and Windows' cmd.exe for single quotes, pass on quotes that a shell would
have removed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

QUOTES = "\"'"
_ENTRY = r"""\s*(?:"[^"]*"|'[^']*')\s*(?=,|\Z)|[^,]*"""


def is_quoted(text: str) -> bool:
    """Return True if one pair of quotes encloses the whole text; ``"a","b"`` is two quoted texts."""
    return len(text) >= 2 and text[0] in QUOTES and text[-1] == text[0] and text[0] not in text[1:-1]


def unquote(text: str) -> str:
    """Remove quotes around a text, and blanks around the quotes; a text without quotes is returned unchanged."""
    stripped = text.strip()
    return stripped[1:-1] if is_quoted(stripped) else text


def split_entries(text: str) -> Sequence[str]:
    """Split a comma-separated list into its entries, without blanks and quotes around each of them.

    Commas within quotes belong to the entry.
    """
    if "," not in text:
        return [unquote(text).strip()]
    entries, start, entry = [], 0, re.compile(_ENTRY)
    while start <= len(text):
        found = entry.match(text, start)
        assert found, "it matches nothing, too"
        entries.append(unquote(found[0]).strip())
        start = found.end() + 1
    return entries
