"""ND2 of Nikon, through nd2: the positions of a file, read frame by frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputError, damaged_input
from ..spec import ImageReader
from .frame_reader import FrameReader, describe_frames, list_names, open_with
from .image_names import choose_image
from .library_errors import library_errors

__all__ = ["list_nd2", "open_nd2"]

_IN_FRAME = "CYXS"  # axes of a frame; S: samples of colour


def open_nd2(path: Path, internal: str = "") -> ImageReader:
    """Open the only position of a file, or the one of an internal path. Raises InputError, InputNotFound."""
    file = _open(path)
    try:
        names = library_errors(path, lambda: _names(file))
        position = choose_image(names, internal, path)
        reader = library_errors(path, lambda: _make_reader(path, file, position))
        if len(names) > 1:
            reader.siblings = names
        return reader  # type: ignore[no-any-return]
    except BaseException:
        file.close()
        raise


def _make_reader(path: Path, file: Any, position: int) -> FrameReader:
    sizes = {letter: int(n) for letter, n in file.sizes.items()}
    for letter in sizes:
        if letter not in ("P", "T", "Z", *_IN_FRAME):
            raise InputError(
                f"cannot read {path}: it has the dimension {letter}, which is not supported; export parts from NIS"
            )
    if file.components_per_channel not in (1, 3) or ("C" in sizes and "S" in sizes):
        raise InputError(
            f"cannot read {path}: several channels with several samples of colour are not supported; "
            "export it as OME-TIFF"
        )
    letters = [a for a in sizes if a in "TZ"] + [a for a in _IN_FRAME if a in sizes or a in "YX"]
    lead = sum(a in "TZ" for a in letters)
    shape = tuple(sizes.get(a, 1) for a in letters)
    axes = "".join(letters).lower().replace("s", "c")
    frames = {tuple(sorted(place.items())): number for number, place in enumerate(file.loop_indices)}
    _check_frames(path, file, max(1, len(frames)))
    resolution = _pixel_size(file, axes)
    info = describe_frames(
        path,
        shape,
        axes,
        file.dtype,
        lead,
        own_axes=True,
        resolution=resolution,
        axis_units=dict.fromkeys(resolution, "µm"),
    )

    def read_frame(place: tuple[int, ...]) -> np.ndarray:
        wanted = dict(zip(letters[:lead], place, strict=True))
        if "P" in sizes:
            wanted["P"] = position
        number = frames[tuple(sorted(wanted.items()))] if wanted else 0
        found: np.ndarray = file.read_frame(number)
        return found

    return FrameReader(path, info, lead, read_frame, file.close)


def _check_frames(path: Path, file: Any, total: int) -> None:
    """Raise InputError for frames that are not in the file; nd2 would read zeros for them."""
    stored = getattr(file._rdr, "_frame_offsets", None)  # of all files but very old ones
    if stored is None:
        return
    missing = total - len(set(stored) & set(range(total)))
    if missing:
        raise InputError(
            f"cannot read {path}: {missing} of {total} frames are missing; save the part that exists in NIS"
        )
    attributes = file.attributes
    nbytes = (attributes.widthBytes or 0) * attributes.heightPx
    if attributes.compressionType is None and max(stored.values()) + nbytes > path.stat().st_size:
        raise damaged_input(path, "a frame lies beyond the end of the file; it is truncated")


def _pixel_size(file: Any, axes: str) -> dict[str, float]:
    """Read the sizes of pixels in µm, along axes that are calibrated."""
    channels = getattr(file.metadata, "channels", None) or []
    is_calibrated = channels[0].volume.axesCalibrated if channels else (True, True, True)
    known = {axis for axis, is_known in zip("xyz", is_calibrated, strict=False) if is_known}
    sizes = {axis: float(getattr(file.voxel_size(), axis)) for axis in axes if axis in known}
    return {axis: size for axis, size in sizes.items() if 0 < size < float("inf")}


def _names(file: Any) -> tuple[str, ...]:
    return tuple(f"position{i}" for i in range(int(file.sizes.get("P", 1))))


def _open(path: Path) -> Any:
    return open_with(path, "nd2", "ND2File")


def list_nd2(path: Path) -> tuple[str, ...]:
    """Names of all positions of a file. Raises InputError, InputNotFound."""
    return list_names(path, _open(path), _names)
