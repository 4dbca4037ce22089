"""Text that is safe to show and store: without credentials, and in characters that any file and program accepts.

Messages also quote values that are as long as somebody likes; ``shorten`` is for them.
"""

from __future__ import annotations

import re

__all__ = ["public_document", "public_text", "shorten"]

MAX_WORD, MAX_MESSAGE = 500, 4000  # characters; longer than the paths of files that people have

# user:password@ and the query of a URL, also where a path object has merged two slashes into one. A single letter
# before the colon is a Windows drive.
_USER = r"\b([A-Za-z][A-Za-z0-9+.-]+:/{1,2})(?:[^\s/@]*@|[^\s/@:]+:(?!\d+(?:/|$))[^\s@]*@)+"
_QUERY = r"""\b([A-Za-z][A-Za-z0-9+.-]+:/{1,2}[^\s?#'"<>]+)[?#][^\s'"<>)\]]*?(?=[:;,.]*(?:[\s'"<>)\]]|$))"""
# The names of settings are marked, see errors.py, and not cut.
_LONG_WORD = f"[^\\s\ufdd0\ufdd1]{{{MAX_WORD + 1},}}"
_UNDECODABLE = "[\udc80-\udcff]"


def public_text(text: str) -> str:
    """Make text safe to show and store: no credentials in URLs, bytes of names that are not UTF-8 as ``\\xff``."""
    if ":/" in text:
        text = re.sub(_QUERY, r"\1?…", re.sub(_USER, r"\1…@", text))
    if not text.isascii():
        text = re.sub(_UNDECODABLE, lambda match: f"\\x{ord(match[0]) - 0xDC00:02x}", text)
    return text


def public_document(value: object) -> object:
    """Apply ``public_text`` to every string of a document that becomes JSON, keys of objects included."""
    if isinstance(value, str):
        return public_text(value)
    if isinstance(value, dict):
        return {public_document(key): public_document(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [public_document(item) for item in value]
    return value


def shorten(text: str) -> str:
    """Leave out the middle of words and of a whole message that are too long to be read."""
    if len(text) <= MAX_WORD:
        return text
    text = re.sub(_LONG_WORD, lambda found: f"{found[0][:300]}…{found[0][-100:]}", text)
    return text if len(text) <= MAX_MESSAGE else f"{text[:3000]} … {text[-500:]}"
