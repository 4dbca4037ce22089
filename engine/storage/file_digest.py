"""Digest of a file, which names its contents in reports."""

from __future__ import annotations

from pathlib import Path


def digest_file(path: Path) -> str | None:
    """Return the SHA-256 of a file as hexadecimal digits; None if it cannot be read any more."""
    import hashlib  # 10 ms, and few runs come here

    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
