"""Quotes that reach the program as a part of a value.

Programs that start others without a shell, and Windows' cmd.exe for single quotes, pass on the quotes that a shell
would have taken off.
"""

from __future__ import annotations

from collections.abc import Sequence

QUOTES = "\"'"


def is_quoted(text: str) -> bool:
    """True if one pair of quotes encloses the whole text; ``"a","b"`` is two quoted texts."""
    return len(text) >= 2 and text[0] in QUOTES and text[-1] == text[0] and text[0] not in text[1:-1]


def unquote(text: str) -> str:
    """The text without quotes around it, and without blanks around the quotes; a text without quotes as it is."""
    stripped = text.strip()
    return stripped[1:-1] if is_quoted(stripped) else text


def split_entries(text: str) -> Sequence[str]:
    """The entries of a comma-separated list, without blanks and quotes around each of them."""
    return [unquote(entry).strip() for entry in text.split(",")]
