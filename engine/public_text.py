"""Text that is safe to show and store: without credentials, and in characters that any file and program accepts."""

from __future__ import annotations

import re

__all__ = ["public_document", "public_text"]

# user:password@ and the query of a URL, also where a path object has merged two slashes into one. A single letter
# before the colon is a Windows drive.
_USER = re.compile(r"\b([A-Za-z][A-Za-z0-9+.-]+:/{1,2})(?:[^\s/@]*@|[^\s/@:]+:(?!\d+(?:/|$))[^\s@]*@)+")
_QUERY = re.compile(r"""\b([A-Za-z][A-Za-z0-9+.-]+:/{1,2}[^\s?#'"<>]+)[?#][^\s'"<>)\]]*?(?=[:;,.]*(?:[\s'"<>)\]]|$))""")
_UNDECODABLE = re.compile("[\udc80-\udcff]")


def public_text(text: str) -> str:
    """Make text safe to show and store: no credentials in URLs, bytes of names that are not UTF-8 as ``\\xff``."""
    if ":/" in text:
        text = _QUERY.sub(r"\1?…", _USER.sub(r"\1…@", text))
    if not text.isascii():
        text = _UNDECODABLE.sub(lambda match: f"\\x{ord(match[0]) - 0xDC00:02x}", text)
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
