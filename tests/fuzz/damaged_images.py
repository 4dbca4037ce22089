"""Named cases whose images are damaged, or unusual and right."""

from __future__ import annotations

import io
import json
from functools import partial
from pathlib import Path

import numpy as np
import tifffile

from tests.fuzz.cases import Case
from tests.fuzz.corpus import GOLDEN, image_start, project_start
from tests.fuzz.damaged import COMMON, OUT, Damaged, hdf5_bytes, image_case, result
from tests.support.small_pictures import PICTURES, noise

_OME = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
_PLANES = 16


def _volume() -> np.ndarray:
    return np.stack([noise(24, 30, z) for z in range(_PLANES)])


def _set_of_ome_tiffs() -> dict[str, bytes]:
    """A volume of which every plane is a file; each file says where all of them are."""
    ids = [f"urn:uuid:0000000{z:x}-0000-0000-0000-000000000000" for z in range(_PLANES)]
    planes = "".join(
        f'<TiffData FirstZ="{z}" IFD="0" PlaneCount="1"><UUID FileName="p{z:02d}.ome.tif">{ids[z]}</UUID></TiffData>'
        for z in range(_PLANES)
    )
    files = {}
    for z, plane in enumerate(_volume()):
        buffer = io.BytesIO()
        text = (
            f'<?xml version="1.0" encoding="UTF-8"?><OME xmlns="{_OME}" UUID="{ids[z]}"><Image ID="Image:0">'
            f'<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" SizeX="30" SizeY="24" SizeZ="{_PLANES}" '
            f'SizeC="1" SizeT="1"><Channel ID="Channel:0:0" SamplesPerPixel="1"/>{planes}</Pixels></Image></OME>'
        )
        tifffile.imwrite(buffer, plane, description=text, metadata=None)
        files[f"p{z:02d}.ome.tif"] = buffer.getvalue()
    return files


def _one_of_a_set(name: str) -> Case:
    return image_case("one file of a set", "px3d", {name: _set_of_ome_tiffs()["p03.ome.tif"]}, [name])


def _set_as_stack() -> Case:
    return image_case("a pattern over a set", "px3d", _set_of_ome_tiffs(), ["p*.ome.tif"])


def _planes_once(folder: Path) -> str:
    if not (folder / "out").exists():
        return ""  # refused
    planes = result(folder).shape[0]
    return "" if planes == _PLANES else f"{planes} planes instead of {_PLANES}"


def _rows_as_strips() -> Case:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 4, (6000, 64), dtype=np.uint16)
    tifffile.imwrite(buffer, pixels, rowsperstrip=1, compression="zlib")
    return image_case("strips of one row", "px2d_gray16_partial", {"a.tif": buffer.getvalue()}, ["a.tif"])


def _maps_without_range() -> Case:
    start = project_start("obj2d_pred_hyst")
    import h5py

    with h5py.File(io.BytesIO(start.files["pred.h5"])) as file:
        maps, tags = file["data"][()].astype(np.uint16) * 257, file["data"].attrs["axistags"]
    files = {**start.files, "pred.h5": hdf5_bytes(maps, axistags=tags)}
    return Case("maps of uint16", files, (*COMMON, OUT, *start.words))


def _tags(axes: str) -> str:
    return json.dumps({"axes": [{"key": a, "typeFlags": 1 if a == "c" else 2, "resolution": 0} for a in axes]})


def _bad_tags(text: str, *words: str) -> Case:
    return image_case("bad axistags", "px3d", {"a.h5": hdf5_bytes(_volume(), axistags=text)}, [*words, "a.h5/data"])


def _zarr(**changes: object) -> Case:
    start = image_start("ome-zarr 0.4")
    metadata = {**json.loads(start.files["a.zarr/0/.zarray"]), **changes}
    files = {**start.files, "a.zarr/0/.zarray": json.dumps(metadata).encode("ascii")}
    return Case("metadata of Zarr", files, (*COMMON, OUT, *start.words))


def _bioformats2raw() -> Case:
    start = image_start("ome-zarr 0.4")
    files = {name.replace("a.zarr/", "a.zarr/0/"): data for name, data in start.files.items()}
    files |= {"a.zarr/.zgroup": b'{"zarr_format": 2}', "a.zarr/.zattrs": b'{"bioformats2raw.layout": 3}'}
    files["a.zarr/OME/METADATA.ome.xml"] = b"<OME/>"
    return Case("bioformats2raw", files, (*COMMON, OUT, *start.words))


def _not_a_number() -> Case:
    pixels = noise(60, 70).astype(np.float32)
    pixels[30, 30] = np.nan
    return image_case("one NaN", "px2d_gray", {"a.h5": hdf5_bytes(pixels[..., None], axistags=_tags("yxc"))}, ["a.h5"])


def _flat_npy() -> Case:
    buffer = io.BytesIO()
    np.save(buffer, noise(60, 70))
    return image_case("yx for yxc", "px2d_gray", {"a.npy": buffer.getvalue()}, ["a.npy"])


def _gray_stack() -> Case:
    files = {f"s{z:02d}.png": PICTURES["png"][1](noise(24, 30, z)) for z in range(_PLANES)}
    return image_case("zyxc for zyx", "px3d", files, ["s*.png"])


def _cut(kind: str) -> Case:
    extension, make = PICTURES[kind]
    data = make(noise(60, 70))
    return image_case(f"cut {kind}", "px2d_gray", {f"a.{extension}": data[: len(data) * 3 // 4]}, [f"a.{extension}"])


def _ascii_pnm(values: str) -> Case:
    data = f"P2 70 60 255\n{values} {' '.join(['7'] * (70 * 60 - len(values.split())))}".encode("ascii")
    return image_case(f"ascii PNM of {values}", "px2d_gray", {"a.pgm": data}, ["a.pgm"])


def _odd_name(name: str) -> Case:
    return image_case("an odd name", "px2d_gray", {name: PICTURES["png"][1](noise(60, 70))}, [name])


def _raw(project: str, *words: str) -> Case:
    start = project_start(project)
    return Case(" ".join(words), start.files, (*COMMON, *words))


def _labels_there(folder: Path) -> str:
    return "" if result(folder).any() else "all labels are 0"


_RAW = (GOLDEN / "px2d_gray" / "raw.png").name
IMAGES: dict[str, Damaged] = {
    "101 one file of an ome set": Damaged(partial(_one_of_a_set, "p03.ome.tif"), 1, "planes"),
    "101 a renamed file of an ome set": Damaged(partial(_one_of_a_set, "renamed.ome.tif"), 1, "planes"),
    "102 strips of one row": Damaged(_rows_as_strips, 0),
    "104 pattern over an ome set": Damaged(_set_as_stack, check=_planes_once),
    "105 uint16 maps without a range": Damaged(_maps_without_range, 0, "WARNING"),
    "106 labels of the training image": Damaged(
        partial(_raw, "px2d_gray", OUT, "--export_source=Labels", _RAW), 0, check=_labels_there
    ),
    "108 quotes in a role": Damaged(
        partial(_raw, "obj2d_seg", OUT, '--raw_data="raw.png"', '--segmentation_image="seg.png"'), 0
    ),
    "108 blanks in input axes": Damaged(partial(_raw, "px2d_gray", OUT, "--input_axes= yxc , None ", _RAW), 0),
    "108 axistags that are no json": Damaged(partial(_bad_tags, "zyx"), 1, "--input_axes"),
    "108 empty axistags": Damaged(partial(_bad_tags, ""), 1, "--input_axes"),
    "108 axistags of two axes": Damaged(partial(_bad_tags, _tags("yx")), 1, "--input_axes"),
    "108 no json, overruled": Damaged(partial(_bad_tags, "zyx", "--input_axes=zyx"), 0),
    "108 empty, overruled": Damaged(partial(_bad_tags, "", "--input_axes=zyx"), 0),
    "108 two axes, overruled": Damaged(partial(_bad_tags, _tags("yx"), "--input_axes=zyx"), 0),
    "108 root of bioformats2raw": Damaged(_bioformats2raw, 0),
    "108 fill value as text": Damaged(partial(_zarr, fill_value="0"), 0),
    "108 unknown codec of zarr": Damaged(partial(_zarr, compressor={"id": "lz4", "acceleration": 1}), 1, "lz4"),
    "109 one nan": Damaged(_not_a_number, 0, "WARNING"),
    "109 probabilities as uint8": Damaged(partial(_raw, "px2d_gray", OUT, "--export_dtype=uint8", _RAW), 0, "WARNING"),
    "111 yx for yxc": Damaged(_flat_npy, 0),
    "111 stack of gray pictures for zyx": Damaged(_gray_stack, 0),
    **{f"115 cut {kind}": Damaged(partial(_cut, kind)) for kind in PICTURES if kind not in ("hdr",)},
    "206 negative ascii pnm": Damaged(partial(_ascii_pnm, "1 -2"), 1, "value 2 is '-2'"),
    "206 large ascii pnm": Damaged(partial(_ascii_pnm, "256"), 1, "value 1 is '256'"),
    "206 huge ascii pnm": Damaged(partial(_ascii_pnm, "9" * 40), 1, "value 1 is"),
    "206 words in ascii pnm": Damaged(partial(_ascii_pnm, "1 x"), 1, "value 2 is 'x'"),
    "206 a name that is not utf-8": Damaged(partial(_odd_name, "a\udcff.png"), 0),
    "206 a name with escapes": Damaged(partial(_odd_name, "a\x1b[31m.png")),
    "206 a password in a url": Damaged(
        partial(_raw, "px2d_gray", OUT, "http://user:secret@127.0.0.1:9/a.zarr"), 1, hides="secret"
    ),
}
