"""Names of the images of a file, by which internal paths choose one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ...errors import InputError, InputNotFound

__all__ = ["choose_image", "name_images"]

_MAX_NAMED = 12  # in a message


def name_images(names: Sequence[str]) -> tuple[str, ...]:
    """Make the names of images unique: those without a name of their own are called by their number, as in series0."""
    counts = Counter(names)
    return tuple(
        name if name and counts[name] == 1 and not name.isdecimal() else f"series{i}" for i, name in enumerate(names)
    )


def choose_image(names: Sequence[str], internal: str, path: Path) -> int:
    """Find the image that an internal path names, or the only one. Raises InputError, InputNotFound."""
    wanted = internal.strip("/")
    shown = ", ".join(names[:_MAX_NAMED]) + (f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else "")
    if wanted in names:
        return names.index(wanted)
    if wanted:
        raise InputNotFound(f"there is no image {wanted!r} in {path}; it has: {shown}")
    if not names:
        raise InputError(f"cannot read {path}: it holds no image; choose another file")
    if len(names) > 1:
        raise InputError(
            f"cannot read {path}: it holds {len(names)} images; name one, as in {path.name}/{names[0]}. It has: {shown}"
        )
    return 0
