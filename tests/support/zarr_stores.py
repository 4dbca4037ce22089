"""OME-Zarr stores with arrays of any codec, written by zarr-python, and metadata that are changed afterwards."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr

Change = Callable[[dict[str, Any]], object]


def describe_image(root: Path, axes: str = "zyx", *, version: int = 2) -> None:
    """Write the metadata that make an OME-Zarr image of a group whose array is called 0."""
    image = {
        "axes": [{"name": a, "type": "channel" if a == "c" else "space"} for a in axes],
        "datasets": [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1.0] * len(axes)}]}],
    }
    if version == 2:
        (root / ".zgroup").write_text('{"zarr_format": 2}', encoding="utf-8")
        put_attributes(root, multiscales=[{"version": "0.4", **image}])
    else:
        ome = {"version": "0.5", "multiscales": [image]}
        group = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": ome}}
        (root / "zarr.json").write_text(json.dumps(group), encoding="utf-8")


def put_attributes(root: Path, **attributes: object) -> None:
    """Write the attributes of a group of Zarr 2."""
    root.mkdir(parents=True, exist_ok=True)
    (root / ".zgroup").write_text('{"zarr_format": 2}', encoding="utf-8")
    (root / ".zattrs").write_text(json.dumps(attributes), encoding="utf-8")


def write_image(
    root: Path,
    voxels: np.ndarray,
    axes: str = "zyx",
    *,
    version: int = 2,
    chunks: tuple[int, ...] | None = None,
    change: Change = lambda metadata: None,
    **codecs: Any,
) -> None:
    """Write an image of one level.

    change   alters the metadata of the array after it was written
    codecs   compressors, filters, order and the like of zarr.create_array
    """
    array_path = root / "0"
    keys: Mapping[str, Any] = {"name": "v2", "separator": "/"} if version == 2 else {"name": "default"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # codecs of numcodecs have no specification in Zarr 3
        array = zarr.create_array(
            array_path,
            shape=voxels.shape,
            chunks=chunks or tuple(max(1, (n + 1) // 2) for n in voxels.shape),
            dtype=voxels.dtype,
            zarr_format=version,
            fill_value=0,
            chunk_key_encoding=dict(keys),
            **codecs,
        )
        array[...] = voxels
    change_metadata(root, change, version=version)
    describe_image(root, axes, version=version)


def change_metadata(root: Path, change: Change, *, version: int = 2) -> None:
    """Alter the metadata of the array of an image."""
    path = root / "0" / (".zarray" if version == 2 else "zarr.json")
    metadata = json.loads(path.read_text(encoding="utf-8"))
    change(metadata)
    path.write_text(json.dumps(metadata), encoding="utf-8")
