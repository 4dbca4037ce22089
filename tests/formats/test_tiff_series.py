"""Axes of the series of a TIFF are the same with every version of tifffile."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile

from pixelforest.engine.formats.support.tiff_series import SeriesAxes, list_series, read_series_axes

LENGTH_ONE = (1, 3, 1, 5, 4)


@pytest.mark.parametrize(
    ("options", "axes", "shape"),
    [
        pytest.param({"ome": True, "metadata": {"axes": "TZCYX"}}, "ZYX", (3, 5, 4), id="OME"),
        pytest.param({"imagej": True, "metadata": {"axes": "TZCYX"}}, "ZYX", (3, 5, 4), id="ImageJ"),
        pytest.param({"metadata": {"axes": "TZCYX"}}, "TZCYX", LENGTH_ONE, id="shaped"),
        pytest.param({"metadata": None}, "IYX", (3, 5, 4), id="bare pages"),
    ],
)
def test_axes_of_length_one_stay_only_where_tifffile_stored_the_shape(
    tmp_path: Path, options: dict, axes: str, shape: tuple[int, ...]
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.ones(LENGTH_ONE, np.uint8), photometric="minisblack", **options)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        found = read_series_axes(list_series(file)[0])
    assert (found.axes, found.shape) == (axes, shape)


class OlderFile:
    """Series as tifffile gives them before 2026.5."""

    def __init__(self, series: object) -> None:
        self.series = [series]


class NewerFile:
    """Series as tifffile gives them from 2026.5 on: all axes if asked for."""

    def __init__(self, series: object) -> None:
        self._series = series

    @property
    def series(self) -> NewerFile:
        return self

    def __call__(self, *, squeeze: bool) -> list[object]:
        assert squeeze is False
        return [self._series]


@pytest.mark.parametrize(("kind", "kept"), [("ome", (1, 3, 4)), ("shaped", (0, 1, 2, 3, 4))])
def test_both_interfaces_of_tifffile_give_the_same(kind: str, kept: tuple[int, ...]) -> None:
    shape = (1, 3, 1, 5, 1)
    older = SimpleNamespace(kind=kind, get_shape=lambda squeeze: shape, get_axes=lambda squeeze: "TZCYX")
    newer = SimpleNamespace(kind=kind, shape=shape, axes="TZCYX")
    expected = [SeriesAxes(shape, "TZCYX", kept)]
    for file in (OlderFile(older), NewerFile(newer)):
        assert [read_series_axes(series) for series in list_series(file)] == expected


def test_an_image_of_one_value_keeps_its_last_axis() -> None:
    assert read_series_axes(SimpleNamespace(kind="generic", shape=(1, 1), axes="QZ")).axes == "Z"
