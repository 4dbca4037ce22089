"""Damaged and unsupported images of every format: one line that names the file, the defect and a remedy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from support.microscopy import write_czi
from support.slides import write_svs
from support.small_pictures import PICTURES, noise

from pixelforest.box import Box
from pixelforest.engine.errors import InputError
from pixelforest.engine.formats import find_input_format

IMAGE = noise(60, 70)
Maker = Callable[[Path], object]


def picture(kind: str) -> Maker:
    return lambda path: path.write_bytes(PICTURES[kind][1](IMAGE))


def npz(path: Path) -> None:
    with open(path, "wb") as file:
        np.savez_compressed(file, a=IMAGE)


def hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=IMAGE, chunks=(20, 20), compression="gzip")


# Kind -> extension, and how a file is made. Noise has no run lengths that RGBE could store.
CUT: dict[str, tuple[str, Maker]] = {
    "npy": ("npy", lambda path: np.save(path, IMAGE)),
    "npz": ("npz", npz),
    "hdf5": ("h5", hdf5),
    "tiff": ("tif", lambda path: tifffile.imwrite(path, IMAGE)),
    "tiff in tiles": ("tif", lambda path: tifffile.imwrite(path, IMAGE, tile=(16, 16), compression="zlib")),
    "svs": ("svs", write_svs),
    "czi": ("czi", lambda path: write_czi(path, [({}, IMAGE)])),
    **{kind: (extension, picture(kind)) for kind, (extension, _) in PICTURES.items() if kind != "hdr"},
}
UNSUPPORTED: dict[str, tuple[bytes, str]] = {
    "a.png": (b"GIF of another kind", "save it as PNG or TIFF"),
    "a.xv": (b"\xab\x01\x01\x09" + bytes(1020), "save it as PNG or TIFF"),
    "a.hdr": (b"#?RADIANCE\nFORMAT=32-bit_rle_xyze\n\n-Y 1 +X 1\n\0\0\0\0", "save it as PNG or TIFF"),
}


def refusal(path: Path) -> str:
    """Open and read an image that cannot be read; returns the message."""
    found = find_input_format(path.suffix[1:])
    assert found is not None

    def look() -> None:
        with found.open(path, "") as reader:
            reader.verify()
            reader.read(Box.whole(reader.info.shape))

    with pytest.raises(InputError) as caught:
        look()
    message = str(caught.value)
    assert message.isprintable()
    assert message.startswith(f"cannot read {path}")
    return message


@pytest.mark.parametrize(("extension", "make"), CUT.values(), ids=CUT)
def test_a_truncated_file_is_to_be_copied_again(extension: str, make: Maker, tmp_path: Path) -> None:
    path = tmp_path / f"a.{extension}"
    make(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert refusal(path).endswith("; copy or save it again")


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_an_unsupported_picture_is_to_be_converted(name: str, tmp_path: Path) -> None:
    data, advice = UNSUPPORTED[name]
    (tmp_path / name).write_bytes(data)
    assert refusal(tmp_path / name).endswith(f"; {advice}")


@pytest.mark.parametrize(("shape", "advice"), [((7,), "add an axis"), ((1, 1, 1, 1, 2, 3), "save a part of it")])
@pytest.mark.parametrize("kind", ["npy", "h5"])
def test_images_of_other_dimensions_are_refused_with_advice(
    kind: str, shape: tuple[int, ...], advice: str, tmp_path: Path
) -> None:
    path = tmp_path / f"a.{kind}"
    if kind == "npy":
        np.save(path, np.zeros(shape))
    else:
        with h5py.File(path, "w") as file:
            file["data"] = np.zeros(shape)
    found = find_input_format(kind)
    assert found is not None
    with pytest.raises(InputError, match=f"{len(shape)} dimensions; an image has 2 to 5: {advice}"):
        found.open(path, "data" if kind == "h5" else "")
