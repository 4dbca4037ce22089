"""LIF of Leica, through liffile: the images of a file, read plane by plane."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...axes import default_axes, is_axis_order
from ...errors import InputError
from ..spec import ImageReader
from .frame_reader import FrameReader, describe_frames, list_names, open_with
from .image_names import choose_image, name_images
from .library_errors import library_errors

__all__ = ["list_lif", "open_lif"]

# Dimensions of liffile -> axis; wavelengths of emission and excitation, and samples of colour, are channels.
_AXES = {"T": "t", "Z": "z", "Y": "y", "X": "x", "C": "c", "S": "c", "λ": "c", "Λ": "c"}
_NAMES = {"M": "tiles of a mosaic (M)", "N": "positions (N)", "A": "rotations (A)"}


def open_lif(path: Path, internal: str = "") -> ImageReader:
    """Open the only image of a file, or the one of an internal path. Raises InputError, InputNotFound."""
    file = _open(path)
    try:
        images = library_errors(path, lambda: list(file.images))
        names = _names(images)
        image = images[choose_image(names, internal, path)]
        reader = library_errors(path, lambda: _make_reader(path, file, image))
        if len(names) > 1:
            reader.siblings = names
        return reader  # type: ignore[no-any-return]
    except BaseException:
        file.close()
        raise


def _make_reader(path: Path, file: Any, image: Any) -> FrameReader:
    if image.is_flim:
        raise InputError(
            f"cannot read {path}: the image holds fluorescence lifetimes (FLIM); export their intensities from LAS X"
        )
    letters, shape = tuple(image.dims), tuple(image.shape)
    for letter in letters:
        if letter not in _AXES:
            what = _NAMES.get(letter[0], f"the dimension {letter}")
            advice = "merge them" if letter[0] == "M" else "export them one by one"
            raise InputError(f"cannot read {path}: the image has several {what}; {advice} in LAS X")
    axes = "".join(_AXES[letter] for letter in letters)
    inner = tuple(image.frames.frame_dims)
    lead = len(letters) - len(inner)
    if letters[lead:] != inner:
        raise InputError(
            f"cannot read {path}: the order of its dimensions, {', '.join(letters)}, is not supported; "
            "export it as OME-TIFF"
        )
    problem = ""
    if not is_axis_order(axes) or not {"x", "y"} <= set(axes):
        problem, axes = f"its axes are {', '.join(letters)}", default_axes(shape)
    resolution, units = ({}, {}) if problem else _pixel_size(image, axes)
    info = describe_frames(
        path, shape, axes, image.dtype, lead, own_axes=not problem, axes_problem=problem,
        resolution=resolution, axis_units=units,
    )  # fmt: skip

    def read_frame(place: tuple[int, ...]) -> np.ndarray:
        found: np.ndarray = image.frame(**dict(zip(letters[:lead], place, strict=True)))
        return found

    return FrameReader(path, info, lead, read_frame, file.close)


def _pixel_size(image: Any, axes: str) -> tuple[dict[str, float], dict[str, str]]:
    """Read the sizes of pixels in µm, and the interval of time in s; the file has them in m and s."""
    sizes: dict[str, float] = {}
    for letter, axis in zip(image.dims, axes, strict=True):
        places = image.coords.get(letter)
        if axis != "c" and places is not None and len(places) > 1:
            step = abs(float(places[-1] - places[0])) / (len(places) - 1)
            sizes[axis] = float(f"{step * (1 if axis == 't' else 1e6):.9g}")
    sizes = {a: n for a, n in sizes.items() if 0 < n < float("inf")}
    return sizes, {a: "s" if a == "t" else "µm" for a in sizes}


def _names(images: list[Any]) -> tuple[str, ...]:
    return name_images([str(image.path).strip("/") for image in images])


def _open(path: Path) -> Any:
    return open_with(path, "liffile", "LifFile")


def list_lif(path: Path) -> tuple[str, ...]:
    """Names of all images of a file. Raises InputError, InputNotFound."""
    return list_names(path, _open(path), lambda file: _names(list(file.images)))
