"""Output paths: templates, placeholders, extensions, and what must not be overwritten."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from pixelforest.box import Box
from pixelforest.engine.errors import ExportError
from pixelforest.engine.export.filenames import (
    adapt_template,
    check_collisions,
    check_protected,
    file_key,
    fill_template,
    force_extension,
    is_url,
    placeholder_values,
    protect,
)

DEFAULT = "{dataset_dir}/{nickname}_{result_type}"


def values(nickname: str = "g", **changes) -> dict[str, object]:
    known = {
        "dataset_dir": Path("/data"),
        "nickname": nickname,
        "result_type": "Simple Segmentation",
        "region": Box((0, 0, 10, 20, 0), (1, 1, 60, 90, 1)),
        "pipeline_axes": "yxc",
        "output_axes": "zyxc",
    }
    return placeholder_values(**(known | changes))


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{dataset_dir}/{nickname}_{result_type}", f"{Path('/data')}/g_Simple Segmentation"),
        ("{roi}", "[(10, 20, 0), (60, 90, 1)]"),
        ("{x_start}-{x_stop:04d}", "20-0090"),
        ("{z_start}{z_stop}", "01"),
        ("{t_start}", "{t_start}"),
        ("{unknown:3d}_{slice_index:05d}", "{unknown:3d}_{slice_index:05d}"),
        ("{nickname!r:>3}", "  g"),
        ("{nickname.__class__}{roi[0]}{0}{}", "{nickname.__class__}{roi[0]}{0}{}"),
    ],
)
def test_placeholders_of_a_template_are_filled(template: str, expected: str) -> None:
    assert fill_template(template, values()) == expected


def test_region_in_the_order_of_the_pipeline() -> None:
    found = values(pipeline_axes="xyc", region=Box((0, 0, 1, 2, 3), (1, 1, 5, 6, 7)))
    assert fill_template("{roi}", found) == "[(2, 1, 3), (6, 5, 7)]"


@pytest.mark.parametrize("template", ["{nickname", "nickname}", "{nickname:{}", "{nickname:d}"])
def test_malformed_templates(template: str) -> None:
    with pytest.raises(ExportError):
        fill_template(template, values())


@pytest.mark.parametrize(
    ("nickname", "expected"),
    [("st_*", "st_"), ("../../etc/passwd", ".._.._etc_passwd"), ("..", "__"), ("a\\b", "a_b"), ("a\x00b", "a_b")],
)
def test_nicknames_lead_nowhere_else(nickname: str, expected: str) -> None:
    assert fill_template("{nickname}", values(nickname)) == expected


@pytest.mark.parametrize(
    ("text", "extension", "expected", "says_so"),
    [
        ("d/x", "h5", "d/x.h5", False),
        ("d/x.tif", "h5", "d/x.h5", False),
        ("d/x.HDF5", "h5", "d/x.h5", False),
        ("d/x.PNG", "png", "d/x.png", False),
        ("d/x.ome.tif", "tiff", "d/x.ome.tiff", False),
        ("d/x.foo.bar", "png", "d/x.foo.bar.png", True),
        ("d/a.1_Probabilities", "h5", "d/a.1_Probabilities.h5", True),
        ("d.x/a", "npy", "d.x/a.npy", False),
        ("d/.hidden", "npy", "d/.hidden.npy", False),
    ],
)
def test_the_extension_is_that_of_the_format(
    text: str, extension: str, expected: str, says_so: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pixelforest.export")
    assert force_extension(text, extension).replace(os.sep, "/") == expected
    assert bool(caplog.records) == says_so


def test_a_folder_is_no_file_name() -> None:
    with pytest.raises(ExportError, match="has no file name"):
        force_extension("out/", "h5")


def adapt(template: str, *, is_sequence: bool = False, several: bool = False, default: str = DEFAULT) -> str:
    return adapt_template(template, is_sequence=is_sequence, has_several_results=several, default=default)


def test_templates_of_sequences() -> None:
    assert adapt(DEFAULT, is_sequence=True) == DEFAULT + "_{slice_index}"
    assert adapt(DEFAULT + ".h5", is_sequence=True) == DEFAULT + "_{slice_index}.h5"
    assert adapt("a_{slice_index:05d}.png", is_sequence=True) == "a_{slice_index:05d}.png"
    with pytest.raises(ExportError, match=r"output_filename_format=out/a_\{slice_index\}\.png"):
        adapt("out/a.png", is_sequence=True)
    with pytest.raises(ExportError, match=r"output_filename_format=out/a\.png"):
        adapt("out/a_{slice_index:03d}.png")


def test_templates_of_several_results() -> None:
    assert adapt("a.b/c.h5", several=True) == "a.b/c_{result_type}.h5"
    assert adapt("a/c.1", several=True) == "a/c.1_{result_type}"
    assert adapt("{result_type:>9}.h5", several=True) == "{result_type:>9}.h5"
    assert adapt("a_{slice_index}.png", several=True, is_sequence=True) == "a_{slice_index}_{result_type}.png"


def test_inputs_and_the_project_are_not_written_over(tmp_path: Path) -> None:
    raw = tmp_path / "raw.png"
    raw.write_bytes(b"")
    protected = protect({raw: "an input of this run", tmp_path / "p.ilp": "the project"})
    check_protected([tmp_path / "other.png"], protected)
    with pytest.raises(ExportError, match=r"raw\.png is an input of this run"):
        check_protected([tmp_path / "other.png", tmp_path / "sub" / ".." / "raw.png"], protected)
    with pytest.raises(ExportError, match="is the project"):
        check_protected([tmp_path / "p.ilp"], protected)


def test_a_link_to_an_input_is_not_written_over(tmp_path: Path) -> None:
    raw, link = tmp_path / "raw.png", tmp_path / "link.png"
    raw.write_bytes(b"")
    link.symlink_to(raw)
    with pytest.raises(ExportError, match="is an input"):
        check_protected([link], protect({raw: "an input of this run"}))


def test_files_of_two_lanes_with_one_name() -> None:
    check_collisions([(0, Path("a.h5"), "x"), (1, Path("a.h5"), "y"), (0, Path("b.h5"), "x")])
    with pytest.raises(ExportError, match=r"lanes 1 and 3 would both be written to .*a\.h5"):
        check_collisions([(0, Path("a.h5"), "x"), (1, Path("b.h5"), "x"), (2, Path("a.h5"), "x")])
    with pytest.raises(ExportError, match=r"two results of lane 2 .*\{result_type\}"):
        check_collisions([(1, Path("a.h5"), "x"), (1, Path("a.h5"), "x")])


@pytest.mark.parametrize(
    ("text", "extension", "expected"),
    [
        ("http://host:8000/api/node/abc/name.v2", "", "http://host:8000/api/node/abc/name.v2"),
        ("s3://bucket//folder/./a.h5", "zarr", "s3://bucket//folder/./a.zarr"),
        ("gs://bucket/a", "n5", "gs://bucket/a.n5"),
    ],
)
def test_urls_keep_every_character_before_the_extension(text: str, extension: str, expected: str) -> None:
    assert is_url(text)
    assert force_extension(text, extension) == expected
    assert file_key(text) == text


@pytest.mark.parametrize("text", ["C:/a.h5", "C:\\a.h5", "/a/b.h5", "a:b", "{nickname}.h5"])
def test_paths_are_no_urls(text: str) -> None:
    assert not is_url(text)
