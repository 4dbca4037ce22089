"""Material of cases: recorded projects with their inputs, and small images in every kind of file."""

from __future__ import annotations

import gzip
import io
import json
import struct
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import h5py
import numpy as np
import tifffile

from tests.support.microscopy import write_czi
from tests.support.slides import WRITERS
from tests.support.small_pictures import PICTURES, noise

GOLDEN = Path(__file__).resolve().parents[1] / "golden"

# Recorded folder -> the words for its inputs.
PROJECTS: dict[str, tuple[str, ...]] = {
    "px2d_gray": ("raw.png",),
    "px2d_rgb": ("raw.png",),
    "px2d_gray16_partial": ("raw.tif",),
    "px2d_mask": ("--raw_data=raw.png", "--prediction_mask=mask.png"),
    "px2dt": ("raw_tzyxc.h5/data",),
    "px3d": ("raw.h5/data",),
    "px3d_mixed": ("raw.h5/data",),
    "autocontext_2d": ("raw.png",),
    "obj2d_seg": ("--raw_data=raw.png", "--segmentation_image=seg.png"),
    "obj2d_pred": ("--raw_data=raw.h5/data", "--prediction_maps=pred.h5/data"),
    "obj2d_pred_hyst": ("--raw_data=raw.h5/data", "--prediction_maps=pred.h5/data"),
    "obj2d_pred_ipht": ("--raw_data=raw.h5/data", "--prediction_maps=pred.h5/data"),
    "obj2d_label": ("--raw_data=raw.h5/data", "--label_image=labels.h5/data"),
    "obj2dt_seg": ("--raw_data=raw.h5/data", "--segmentation_image=seg.h5/data"),
    "obj2dt_pred_hyst_all": ("--raw_data=raw.h5/data", "--prediction_maps=pred.h5/data"),
    "obj3d_seg": ("--raw_data=raw.h5/data", "--segmentation_image=seg.h5/data"),
    "pcoc2d": ("--raw_data=raw.png",),
}


@dataclass(frozen=True)
class Start:
    """An undamaged command.

    files  name below the folder of the case -> content; the project is project.ilp
    words  that name the inputs
    """

    label: str
    files: dict[str, bytes]
    words: tuple[str, ...]


@cache
def project_start(name: str) -> Start:
    """A recorded project with its recorded inputs."""
    folder = GOLDEN / name
    files = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}
    files.pop("case.json")
    return Start(name, files, PROJECTS[name])


def image_kinds() -> list[str]:
    return sorted(_IMAGES)


@cache
def image_start(kind: str) -> Start:
    """A small image of a kind, for a project of gray images or of volumes."""
    project, make = _IMAGES[kind]
    files, words = make()
    files = {**files, "project.ilp": (GOLDEN / project / "project.ilp").read_bytes()}
    return Start(kind, files, ("--ignore_training_axistags", *words))


Made = tuple[dict[str, bytes], tuple[str, ...]]


def _picture(kind: str) -> Made:
    extension, make = PICTURES[kind]
    return {f"a.{extension}": make(noise(40, 48))}, (f"a.{extension}",)


def _stack_of_pictures() -> Made:
    return {f"s{z}.png": PICTURES["png"][1](noise(24, 30, z)) for z in range(16)}, ("s*.png",)


def _tiff(data: np.ndarray, **options: object) -> Made:
    file = io.BytesIO()
    tifffile.imwrite(file, data, **options)  # type: ignore[arg-type]
    name = "a.ome.tif" if options.get("ome") else "a.tif"
    return {name: file.getvalue()}, (name,)


def _numpy(data: np.ndarray) -> Made:
    file = io.BytesIO()
    np.save(file, data)
    return {"a.npy": file.getvalue()}, ("a.npy",)


def _archive(data: np.ndarray, *, is_compressed: bool) -> Made:
    file = io.BytesIO()
    (np.savez_compressed if is_compressed else np.savez)(file, data=data)
    return {"a.npz": file.getvalue()}, ("a.npz/data",)


def _hdf5(data: np.ndarray, **options: object) -> Made:
    file = io.BytesIO()
    with h5py.File(file, "w") as container:
        dataset = container.create_dataset("volume/data", data=data, **options)
        keys = "zyxc" if data.ndim == 4 else "yxc"
        dataset.attrs["axistags"] = json.dumps({"axes": [{"key": key, "typeFlags": 2} for key in keys]})
    return {"a.h5": file.getvalue()}, ("a.h5/volume/data",)


def _n5(data: np.ndarray, compression: str) -> Made:
    """One block. Axes are reversed in N5's metadata."""
    stored = data.astype(data.dtype.newbyteorder(">")).tobytes()
    header = struct.pack(f">HH{data.ndim}I", 0, data.ndim, *data.shape[::-1])
    metadata = {
        "dimensions": data.shape[::-1],
        "blockSize": data.shape[::-1],
        "dataType": data.dtype.name,
        "compression": {"type": compression},
    }
    files = {
        "a.n5/attributes.json": b'{"n5": "2.0.0"}',
        "a.n5/data/attributes.json": json.dumps(metadata).encode("ascii"),
        f"a.n5/data/{'/'.join('0' * data.ndim)}": header + (gzip.compress(stored) if compression == "gzip" else stored),
    }
    return files, ("a.n5/data",)


def _ome_zarr(data: np.ndarray, version: int) -> Made:
    """One chunk, axes zyx."""
    axes = [{"name": name, "type": "space"} for name in "zyx"]
    scale = [{"type": "scale", "scale": [1.0, 1.0, 1.0]}]
    multiscales = [{"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}], "version": "0.4"}]
    array: dict[str, object] = {"shape": data.shape, "fill_value": 0, "zarr_format": version}
    if version == 2:
        array |= {"chunks": data.shape, "dtype": data.dtype.str, "order": "C", "compressor": None, "filters": None}
        names = {"a.zarr/.zgroup": {"zarr_format": 2}, "a.zarr/.zattrs": {"multiscales": multiscales}}
        metadata: dict[str, object] = {**names, "a.zarr/0/.zarray": array}
        chunk = "a.zarr/0/0.0.0"
    else:
        array |= {
            "node_type": "array",
            "data_type": data.dtype.name,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": data.shape}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
        }
        ome = {"ome": {"version": "0.5", "multiscales": multiscales}}
        group = {"zarr_format": 3, "node_type": "group", "attributes": ome}
        metadata = {"a.zarr/zarr.json": group, "a.zarr/0/zarr.json": array}
        chunk = "a.zarr/0/c/0/0/0"
    files = {name: json.dumps(content).encode("ascii") for name, content in metadata.items()}
    return {**files, chunk: data.tobytes()}, ("a.zarr",)


def _written(name: str, write: Callable[[Path], object]) -> Made:
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder, name))
        return {name: Path(folder, name).read_bytes()}, (name,)


def _zipped(made: Made) -> Made:
    """Put the files of a store into an archive."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in made[0].items():
            archive.writestr(name, content)
    return {"a.ozx": file.getvalue()}, ("a.ozx",)


def _flat(channels: int = 1) -> np.ndarray:
    return np.stack([noise(40, 48, c) for c in range(channels)], axis=2)


def _volume() -> np.ndarray:
    return np.stack([noise(24, 30, z) for z in range(16)])


_GRAY, _COLOUR, _SOLID = "px2d_gray", "px2d_rgb", "px3d"
_COLOUR_KINDS = ("ascii ppm", "colour bmp", "hdr", "palette bmp", "ppm")
_IMAGES: dict[str, tuple[str, Callable[[], Made]]] = {
    **{kind: (_COLOUR if kind in _COLOUR_KINDS else _GRAY, partial(_picture, kind)) for kind in PICTURES},
    "stack of png": (_SOLID, _stack_of_pictures),
    "tiff": (_GRAY, lambda: _tiff(_flat()[..., 0])),
    "tiff of strips": (_GRAY, lambda: _tiff(_flat()[..., 0], rowsperstrip=3)),
    "tiff of packed tiles": (_GRAY, lambda: _tiff(_flat()[..., 0], tile=(16, 16), compression="zlib", predictor=True)),
    "tiff with lzw": (_GRAY, lambda: _tiff(_flat()[..., 0], compression="lzw")),
    "bigtiff": (_GRAY, lambda: _tiff(_flat()[..., 0], bigtiff=True, byteorder=">")),
    "tiff of pages": (_SOLID, lambda: _tiff(_volume(), photometric="minisblack")),
    "imagej tiff": (_SOLID, lambda: _tiff(_volume(), imagej=True, metadata={"axes": "ZYX", "spacing": 2.0})),
    "ome tiff": (_SOLID, lambda: _tiff(_volume(), ome=True, metadata={"axes": "ZYX", "PhysicalSizeX": 0.5})),
    "npy": (_GRAY, lambda: _numpy(_flat())),
    "npy of a volume": (_SOLID, lambda: _numpy(np.asfortranarray(_volume()[..., np.newaxis]))),
    "npz": (_GRAY, lambda: _archive(_flat(), is_compressed=False)),
    "compressed npz": (_GRAY, lambda: _archive(_flat(), is_compressed=True)),
    "hdf5": (_GRAY, lambda: _hdf5(_flat())),
    "hdf5 of chunks": (_SOLID, lambda: _hdf5(_volume()[..., np.newaxis], chunks=(4, 24, 30, 1))),
    "compressed hdf5": (_SOLID, lambda: _hdf5(_volume()[..., np.newaxis], chunks=(4, 8, 30, 1), compression="gzip")),
    "n5": (_SOLID, lambda: _n5(_volume()[..., np.newaxis], "raw")),
    "compressed n5": (_SOLID, lambda: _n5(_volume()[..., np.newaxis], "gzip")),
    "ome-zarr 0.4": (_SOLID, lambda: _ome_zarr(_volume(), 2)),
    "ome-zarr 0.5": (_SOLID, lambda: _ome_zarr(_volume(), 3)),
    "zipped ome-zarr": (_SOLID, lambda: _zipped(_ome_zarr(_volume(), 2))),
    **{f"slide {name}": (_COLOUR, partial(_written, f"a.{name}", WRITERS[name])) for name in ("svs", "ndpi", "scn")},
    "czi": (
        _GRAY,
        lambda: _written("a.czi", lambda path: write_czi(path, [({"T": 0}, _flat()[..., 0])], compression=5)),
    ),
}
