"""Training images of a project: one lane per row of the data table, one image per role.

Only metadata of the images are read, never the images: prediction does not need them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import isfinite

from ...frozen import frozen
from ..axes import axes_from_axistags, default_axes, is_axis_order
from .hdf5 import ProjectFile

GROUP = "Input Data"
MAIN_ROLE = "Raw Data"
MAX_DIMENSIONS = 5
# Written before `__class__` existed; the class names are more precise.
_LOCATIONS = {"ProjectInternal": "ProjectInternalDatasetInfo", "PreloadedArray": "PreloadedArrayDatasetInfo"}


@frozen
class TrainingImage:
    """Metadata of one of a project's images.

    axes          letters in the order of the image's file, as the user interpreted it; "" if the file states none
    shape         sizes in that order; None in projects of ilastik 1.3.0 and before
    file_path     as stored: absolute or relative to the project, maybe several paths or a glob
    location      ilastik's name for the kind of location, such as RelativeFilesystemDatasetInfo
    drange        stored range of values, or None
    axis_units    axis letter -> unit, empty if unknown
    internal      path of its dataset, if it is stored inside the project; else ""
    """

    axes: str
    shape: tuple[int, ...] | None
    nickname: str
    file_path: str
    location: str
    drange: tuple[float, float] | None
    display_mode: str
    axis_units: Mapping[str, str]
    internal: str = ""

    def sizes(self) -> dict[str, int]:
        """Map each axis letter to its size; empty if the shape is not stored."""
        return {} if self.shape is None else dict(zip(self.axes, self.shape, strict=True))


@frozen
class TrainingLane:
    """One row of inputs. A role without an image is not in ``images``."""

    images: Mapping[str, TrainingImage]


def read_roles(file: ProjectFile, group: str = GROUP) -> tuple[str, ...]:
    """Read the roles of a project, main role first; very old files name none and have only raw data."""
    stored = file.texts(f"{group}/Role Names") if file.has_applet(group) else None
    return stored or (MAIN_ROLE,)


def read_lanes(file: ProjectFile, group: str = GROUP) -> tuple[TrainingLane, ...]:
    """Read the training lanes in order of their names; empty if the project holds no input data."""
    if not file.has_applet(group):
        return ()
    has_roles = file.has(f"{group}/Role Names")
    lanes = []
    for name in file.groups(f"{group}/infos"):
        lane = f"{group}/infos/{name}"
        places = {role: f"{lane}/{role}" for role in file.groups(lane)} if has_roles else {MAIN_ROLE: lane}
        images = {role: _read_image(file, place, group) for role, place in places.items() if file.datasets(place)}
        lanes.append(TrainingLane(images))
    return tuple(lanes)


def first_image(lanes: tuple[TrainingLane, ...], role: str = MAIN_ROLE) -> TrainingImage | None:
    """Find the first image configured for a role; ilastik takes its defaults from it."""
    return next((lane.images[role] for lane in lanes if role in lane.images), None)


def _read_image(file: ProjectFile, place: str, group: str) -> TrainingImage:
    location = file.text(f"{place}/__class__") or ""
    legacy = file.text(f"{place}/location") or ""
    internal = "ProjectInternal" in (location or legacy)
    dataset = _internal_dataset(file, place, group) if internal else None
    shape = _read_shape(file, place)
    if shape is None and dataset is not None:
        shape = file.shape(dataset)
    axes = _read_axes(file, place, dataset)
    if not axes and shape is not None and 2 <= len(shape) <= MAX_DIMENSIONS:
        axes = default_axes(shape)
    if shape is not None and len(shape) != len(axes):
        raise file.error(place, f"has axes '{axes}' but a shape of {len(shape)} numbers; the file is damaged")
    return TrainingImage(
        axes=axes,
        shape=shape,
        nickname=file.text(f"{place}/nickname") or "",
        file_path=file.text(f"{place}/filePath") or "",
        location=location or _LOCATIONS.get(legacy, legacy),
        drange=_read_drange(file, place),
        display_mode=file.text(f"{place}/display_mode") or "default",
        axis_units=_read_units(file, place),
        internal=dataset or "",
    )


def _internal_dataset(file: ProjectFile, place: str, group: str) -> str | None:
    """Path of an image that is stored inside the project."""
    inner = file.text(f"{place}/inner_path") or ""
    identifier = file.text(f"{place}/datasetId") or ""
    candidates = [path for path, part in ((inner, inner), (f"{group}/local_data/{identifier}", identifier)) if part]
    return next((path for path in candidates if file.has_dataset(path)), None)


def _read_axes(file: ProjectFile, place: str, dataset: str | None) -> str:
    text = file.text(f"{place}/axistags")
    if text is None and dataset is not None:
        text = file.attribute_text(dataset, "axistags")
    if text is None:
        axes = file.text(f"{place}/axisorder") or ""
    else:
        try:
            axes = axes_from_axistags(text)
        except ValueError as error:
            raise file.error(f"{place}/axistags", str(error)) from None
    if axes and not is_axis_order(axes):
        raise file.error(place, f"has axes '{axes[:40]}'; only distinct letters out of t z y x c are known")
    return axes


def _read_shape(file: ProjectFile, place: str) -> tuple[int, ...] | None:
    path = f"{place}/shape"
    stored = file.array(path, "integers", max_bytes=1 << 10)
    if stored is None or stored.size == 0:
        return None
    if stored.ndim != 1 or not 1 <= stored.size <= MAX_DIMENSIONS or (stored < 0).any():
        raise file.error(path, f"is not the shape of an image: {stored.reshape(-1)[:8].tolist()}")
    return tuple(int(n) for n in stored)


def _read_drange(file: ProjectFile, place: str) -> tuple[float, float] | None:
    stored = file.array(f"{place}/drange", "numbers", max_bytes=1 << 10)
    if stored is None or stored.size != 2 or not all(isfinite(v) for v in stored.reshape(-1)):
        return None
    low, high = stored.reshape(-1).tolist()
    return low, high


def _read_units(file: ProjectFile, place: str) -> dict[str, str]:
    """Read the units of axes; anything that is not a mapping of letters to units counts as unknown."""
    try:
        stored = json.loads(file.text(f"{place}/axis_units") or "null")
    except (ValueError, RecursionError):
        return {}
    if not isinstance(stored, dict):
        return {}
    return {axis: unit for axis, unit in stored.items() if is_axis_order(axis) and isinstance(unit, str)}
