"""Records that are compared by content, arrays included, so that equal ones are equal in every process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cached_property, partial
from pathlib import PurePath
from typing import Any, ClassVar

import numpy as np

_PLAIN = (str, bytes, bool, int, float, np.generic, PurePath, type(None))


class ByContent:
    """Base of frozen records with arrays: equal if type and all fields are equal, and usable as keys of caches.

    Fields hold records, arrays, tuples, lists, mappings, paths and plain values, none of which may change.
    ``BESIDES`` are the fields that results do not depend on.
    """

    BESIDES: ClassVar[frozenset[str]] = frozenset()

    @cached_property
    def content(self) -> str:
        """Digest of all fields, the same in every process."""
        import hashlib  # 10 ms, and not every run compares records

        digest = hashlib.sha256()
        _add(digest, self)
        return digest.hexdigest()

    @cached_property
    def content_of_results(self) -> str:
        """Digest of the fields that results depend on, the same in every process."""
        import hashlib

        digest = hashlib.sha256()
        _add(digest, self, is_of_results=True)
        return digest.hexdigest()

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return isinstance(other, ByContent) and type(self) is type(other) and self.content == other.content

    def __hash__(self) -> int:
        """Hash of the plain fields only: a run has one project, and its digest takes longer than a small image."""
        values = (getattr(self, each.name) for each in fields(self))  # type: ignore[arg-type]  # subclasses are records
        return hash((type(self), *(value for value in values if isinstance(value, _PLAIN))))


def _add(digest: Any, value: Any, *, is_of_results: bool = False) -> None:
    """Add a value, each with its type and size in front, so that different values never give the same bytes.

    is_of_results  leave out fields that results do not depend on
    """
    kind = type(value)
    add = partial(_add, digest, is_of_results=is_of_results)
    if isinstance(value, np.ndarray):
        digest.update(f"array {value.dtype.str} {value.shape} ".encode())
        digest.update(np.ascontiguousarray(value).data)
    elif is_dataclass(kind):
        digest.update(f"record {kind.__module__}.{kind.__qualname__} ".encode())
        left_out = kind.BESIDES if is_of_results and issubclass(kind, ByContent) else ()
        for each in fields(value):
            if each.name not in left_out:
                add(getattr(value, each.name))
    elif isinstance(value, tuple | list):
        digest.update(f"{kind.__name__} {len(value)} ".encode())
        for each in value:
            add(each)
    elif isinstance(value, Mapping):
        digest.update(f"mapping {len(value)} ".encode())
        for key, each in value.items():
            add(key)
            add(each)
    elif isinstance(value, _PLAIN):
        text = repr(value).encode()
        digest.update(f"{kind.__name__} {len(text)} ".encode() + text)
    else:
        raise TypeError(f"a record with a {kind.__qualname__} cannot be compared by its content")
