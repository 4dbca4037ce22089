"""Groups, datasets and attributes of a project, without their contents."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import h5py


def layout_of(path: Path) -> dict[str, Any]:
    """Types, shapes and attributes of all items; one forest stands for all, and one tree for all of a forest.

    Sizes of trees, and the numbers of forests, follow from the seeds.
    """
    found: dict[str, Any] = {}

    def add(name: str, item: Any) -> None:
        name = re.sub(r"Forest\d+", "Forest", re.sub(r"Tree_\d+", "Tree", name))
        attributes = {key: str(item.attrs.get_id(key).dtype) for key in item.attrs if not key.startswith("pixelforest")}
        found[name] = attributes
        if isinstance(item, h5py.Dataset):
            shape = len(item.shape) if "Tree/" in name else item.shape
            found[name] = (str(item.dtype), h5py.check_string_dtype(item.dtype) is None, shape, attributes)

    with h5py.File(path) as file:
        file.visititems(add)
        assert not file.attrs
    return found
