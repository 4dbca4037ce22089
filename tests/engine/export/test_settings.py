"""Precedence of settings: the command line, then the project, then the defaults."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from pixelforest.engine.errors import ExportError, UsageError, setting
from pixelforest.engine.export.region import Cutout
from pixelforest.engine.export.settings import (
    Defaults,
    ExportSettings,
    complete_conversion,
    parse_range,
    resolve_settings,
)
from pixelforest.engine.requests import ExportRequest

RESULTS = ("Probabilities", "Simple Segmentation", "Uncertainty", "Features", "Labels")


@dataclass(frozen=True)
class Stored:
    filename_format: str | None = None
    format: str | None = None
    internal_path: str | None = None
    axis_order: str | None = None
    dtype: str | None = None
    input_range: tuple[float, float] | None = None
    export_range: tuple[float, float] | None = None
    region_start: tuple[int | None, ...] | None = None
    region_stop: tuple[int | None, ...] | None = None


def resolve_all(stored: Stored | None = None, defaults: Defaults | None = None, **asked) -> tuple[ExportSettings, ...]:
    return resolve_settings(
        ExportRequest(**asked),
        stored or Stored(),
        defaults or Defaults(),
        results=RESULTS,
        project_dir=Path("/projects"),
        cwd=Path("/here"),
    )


def resolve(stored: Stored | None = None, defaults: Defaults | None = None, **asked) -> ExportSettings:
    (settings,) = resolve_all(stored, defaults, **asked)
    return settings


def test_export_settings_have_ilastiks_defaults() -> None:
    settings = resolve()
    assert settings.source == "Probabilities"
    assert settings.format.name == "compressed hdf5"
    assert settings.filename_format == "{dataset_dir}/{nickname}_{result_type}"
    assert settings.internal_path == "exported_data"
    assert (settings.dtype, settings.axis_order, settings.cutout) == (None, None, None)
    assert (settings.input_range, settings.export_range) == (None, None)


def test_the_project_wins_over_defaults() -> None:
    stored = Stored("{nickname}.h5", "hdf5", "a/b", "cyx", "int64", (0, 1), (0, 255), (1, None), (5, 0))
    settings = resolve(stored, Defaults("numpy", "x"))
    assert (settings.format.name, settings.filename_format, settings.internal_path) == ("hdf5", "{nickname}.h5", "a/b")
    assert (settings.base_dir, settings.axis_order, settings.dtype) == (Path("/projects"), "cyx", np.dtype("int64"))
    assert (settings.input_range, settings.export_range) == ((0, 1), (0, 255))
    assert settings.cutout == Cutout((1, None), (5, None), "the region stored in the project (RegionStart, RegionStop)")


def test_the_command_line_wins_over_the_project() -> None:
    stored = Stored("{nickname}.h5", "hdf5", "a/b", "cyx", "int64", (0, 1), (0, 255), (1, None), (5, 7))
    settings = resolve(
        stored,
        output_format="numpy",
        output_filename_format="out/{nickname}",
        output_internal_path="c",
        cutout_subregion="[(0,0),(2,2)]",
        export_dtype="uint8",
        output_axis_order="YXC",
        pipeline_result_drange="(0.0,2.0)",
        export_drange="(1,2)",
    )
    assert (settings.format.name, settings.filename_format, settings.internal_path) == ("numpy", "out/{nickname}", "c")
    assert (settings.base_dir, settings.axis_order, settings.dtype) == (Path("/here"), "yxc", np.dtype("uint8"))
    assert (settings.input_range, settings.export_range) == ((0.0, 2.0), (1, 2))
    assert settings.cutout == Cutout((0, 0), (2, 2))


def test_configured_defaults() -> None:
    settings = resolve(defaults=Defaults("png", "/r/{nickname}"))
    assert (settings.format.name, settings.filename_format) == ("png", "/r/{nickname}")


def test_home_is_expanded_in_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setenv("USERPROFILE", "/home/ada")
    assert resolve(output_filename_format="~/{nickname}").filename_format == str(Path("/home/ada/{nickname}"))


def test_one_stored_range_alone_has_no_effect() -> None:
    settings = resolve(Stored(input_range=(0, 1)))
    assert (settings.input_range, settings.export_range) == (None, None)


def test_a_range_on_the_command_line_takes_the_other_from_the_project() -> None:
    stored = Stored(input_range=(0, 1), export_range=(0, 100))
    assert resolve(stored, export_drange="(0,7)").input_range == (0, 1)
    assert resolve(stored, pipeline_result_drange="(0,7)").export_range == (0, 100)


@pytest.mark.parametrize(
    ("asked", "result_dtype", "drange", "expected"),
    [
        pytest.param({"export_drange": "(0,255)"}, "float32", (0.0, 1.0), ((0.0, 1.0), (0, 255)), id="known values"),
        pytest.param({"export_drange": "(0,99)"}, "uint8", (0, 1), ((0, 255), (0, 99)), id="type of the values"),
        pytest.param(
            {"pipeline_result_drange": "(0,1)", "export_dtype": "uint16"},
            "float32",
            (0.0, 1.0),
            ((0, 1), (0, 65535)),
            id="wanted type",
        ),
        pytest.param(
            {"pipeline_result_drange": "(0,2)"}, "float32", (0.0, 1.0), ((0, 2), (0.0, 1.0)), id="known wanted"
        ),
    ],
)
def test_the_missing_range_is_taken_from_the_result(asked, result_dtype: str, drange, expected) -> None:
    change = complete_conversion(resolve(**asked), np.dtype(result_dtype), drange)
    assert (change.input_range, change.export_range) == expected


def test_a_missing_range_that_nobody_knows_is_an_error() -> None:
    with pytest.raises(ExportError, match="export_drange needs pipeline_result_drange for Features"):
        complete_conversion(resolve(export_source="features", export_drange="(0,255)"), np.dtype("float32"), None)
    with pytest.raises(ExportError, match="pipeline_result_drange needs export_drange"):
        complete_conversion(resolve(pipeline_result_drange="(0,255)"), np.dtype("float32"), None)
    with pytest.raises(ExportError, match="too large for a data range"):
        complete_conversion(resolve(export_drange=f"(0,{1 << 70})"), np.dtype("uint8"), None)


def test_results_are_named_in_any_case_and_listed_once() -> None:
    names = [s.source for s in resolve_all(export_source="simple segmentation, PROBABILITIES,Simple  Segmentation")]
    assert names == ["Simple Segmentation", "Probabilities"]


def test_several_results_get_their_names_into_the_path(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "pixelforest.export")
    both = resolve_all(export_source="Probabilities,Labels", output_filename_format="out/{nickname}.h5")
    assert {s.filename_format for s in both} == {"out/{nickname}_{result_type}.h5"}
    assert len(caplog.records) == 1
    named = resolve_all(export_source="Probabilities,Labels", output_filename_format="{result_type}/{nickname}")
    assert {s.filename_format for s in named} == {"{result_type}/{nickname}"}


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        ({"export_source": "Foo"}, ExportError, "'Foo'; valid options are: Probabilities, Simple Segmentation"),
        ({"export_source": "Labels,"}, ExportError, "''"),
        ({"output_format": "h5"}, UsageError, "no output format 'h5'"),
        ({"export_dtype": "uint64"}, UsageError, "invalid choice 'uint64'"),
        ({"ome_zarr_version": "0.3"}, UsageError, "invalid choice '0.3'; choose from 0.4, 0.5"),
        ({"output_axis_order": "yxq"}, ExportError, "invalid axes"),
        ({"output_axis_order": "yxx"}, ExportError, "invalid axes"),
        ({"pipeline_result_drange": "0,1"}, UsageError, "pipeline_result_drange: expected a list"),
        ({"pipeline_result_drange": "(0,1,2)"}, ExportError, "didn't understand pipeline_result_drange"),
        ({"export_drange": "(0,None)"}, ExportError, "didn't understand export_drange"),
        ({"output_filename_format": "{nickname"}, ExportError, "cannot be understood"),
    ],
)
def test_what_cannot_be_meant(asked: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        resolve(**asked)


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (Stored(format="blockwise hdf5"), "the project asks for the output format 'blockwise hdf5'"),
        (Stored(dtype="complex64"), "unknown pixel type 'complex64'"),
        (Stored(axis_order="abc"), "axis order stored in the project"),
        (Stored(region_start=(0,), region_stop=(1, 2)), "region stored in the project .* is damaged"),
    ],
)
def test_damaged_stored_settings(stored: Stored, message: str) -> None:
    with pytest.raises(ExportError, match=message) as caught:
        resolve(stored)
    assert not isinstance(caught.value, UsageError)


def test_ranges_keep_their_kind() -> None:
    assert [type(v) for v in parse_range("(0,1.0)", setting("x"))] == [int, float]
