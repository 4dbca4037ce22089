"""N5 containers: ilastik's layout to the byte, datasets beside each other, and containers nobody has checked."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reference.second_readers import read_n5

from pixelforest.box import Box
from pixelforest.engine.errors import ExportError, InputError, InputNotFound
from pixelforest.engine.formats import output_format
from pixelforest.engine.formats.images.n5 import N5Reader, list_datasets
from pixelforest.engine.formats.spec import ImageSpec


def noise(shape: tuple[int, ...], dtype: str = "float32") -> np.ndarray:
    return (np.random.default_rng(0).random(shape) * 200).astype(dtype)


def spec_of(array: np.ndarray, axes: str, **more: Any) -> ImageSpec:
    return ImageSpec(array.shape, array.dtype, axes, (0,) * array.ndim, **more)


def write(path: Path, array: np.ndarray, axes: str, name: str = "exported_data", kind: str = "n5", **more: Any) -> Path:
    writer = output_format(kind).open(path, name, spec_of(array, axes, **more))
    writer.write(Box.whole(array.shape), array)
    assert writer.finish() == [path]
    return path


def put_dataset(folder: Path, **attributes: Any) -> Path:
    """A dataset by hand; the attributes given replace those of an empty 4 x 3 image."""
    folder.mkdir(parents=True, exist_ok=True)
    usual = {"dimensions": [4, 3], "blockSize": [4, 3], "dataType": "uint8", "compression": {"type": "raw"}}
    text = json.dumps({k: v for k, v in {**usual, **attributes}.items() if v is not None})
    (folder / "attributes.json").write_text(text, encoding="utf-8")
    return folder


class TestWriting:
    @pytest.mark.golden
    def test_every_file_is_ilastiks(self, shared_folder: Path, tmp_path: Path) -> None:
        recorded = shared_folder / "golden" / "variants_2d3c" / "expected" / "fmt_n5_probabilities.n5"
        with N5Reader(recorded, "") as reader:
            assert reader.info.axes == "yxc"
            assert reader.info.chunks == (73, 187, 1)
            array = reader.read(Box.whole(reader.info.shape))
        assert np.array_equal(array, read_n5(recorded))
        written = write(tmp_path / "a.n5", array, "yxc", drange=(0.0, 1.0), display_mode="grayscale")
        names = sorted(f.relative_to(recorded) for f in recorded.rglob("*") if f.is_file())
        assert names == sorted(f.relative_to(written) for f in written.rglob("*") if f.is_file())
        for name in names:
            assert (written / name).read_bytes() == (recorded / name).read_bytes(), name

    def test_metadata_of_n5_are_written(self, tmp_path: Path) -> None:
        array = noise((2, 5, 6), "uint16")
        path = write(
            tmp_path / "a.n5",
            array,
            "cyx",
            "sub/data",
            "compressed n5",
            drange=(0, 300),
            axis_units={"x": "µm"},
            resolution={"x": 0.5},
        )
        assert json.loads((path / "attributes.json").read_text(encoding="utf-8")) == {"n5": "2.0.0"}
        found = json.loads((path / "sub" / "data" / "attributes.json").read_text(encoding="utf-8"))
        assert found["dimensions"] == [6, 5, 2]
        assert found["blockSize"] == [6, 5, 1]
        assert found["axes"] == "xyc"
        assert found["drange"] == [0, 300]
        assert found["compression"] == {"type": "gzip", "level": 1, "useZlib": False}
        assert json.loads(found["axis_units"]) == {"x": "µm"}
        assert [a["key"] for a in json.loads(found["axistags"])["axes"]] == ["c", "y", "x"]
        assert "display_mode" not in found
        with N5Reader(path, "") as reader:
            info = reader.info
        assert (info.shape, info.dtype, info.axes, info.own_axes) == ((2, 5, 6), np.dtype("uint16"), "cyx", True)
        assert (info.drange, info.axis_units, info.resolution) == ((0.0, 300.0), {"x": "µm"}, {"x": 0.5})

    def test_a_range_that_json_cannot_hold_is_left_out(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.n5", noise((4, 5)), "yx", drange=(0.0, float("inf")))
        assert "drange" not in json.loads((path / "exported_data" / "attributes.json").read_text(encoding="utf-8"))

    @pytest.mark.parametrize("kind", ["n5", "compressed n5"])
    def test_several_blocks_and_edges(self, kind: str, tmp_path: Path) -> None:
        array = noise((500, 700, 2), "float32")
        path = write(tmp_path / "a.n5", array, "yxc", kind=kind)
        assert np.array_equal(read_n5(path), array)
        with N5Reader(path, "exported_data") as reader:
            assert reader.info.chunks == (358, 357, 1)
            box = Box((350, 300, 0), (500, 700, 1))
            assert np.array_equal(reader.read(box), array[box.slices()])

    def test_other_datasets_of_an_n5_container_stay(self, tmp_path: Path) -> None:
        first, second, third = noise((4, 5)), noise((6, 7), "uint8"), noise((3, 3), "int64")
        path = write(tmp_path / "a.n5", first, "yx", "one")
        write(path, second, "yx", "group/two")
        (path / "note.txt").write_text("mine", encoding="utf-8")
        write(path, third, "yx", "group/two")
        assert list_datasets(path) == ("group/two", "one")
        assert np.array_equal(read_n5(path, "one"), first)
        assert np.array_equal(read_n5(path, "group/two"), third)
        assert (path / "note.txt").exists()
        assert [p.name for p in tmp_path.iterdir()] == ["a.n5"]
        assert sorted(p.name for p in (path / "group").iterdir()) == ["two"]

    def test_two_writers_of_one_container(self, tmp_path: Path) -> None:
        array = noise((4, 5))
        writers = [output_format("n5").open(tmp_path / "a.n5", name, spec_of(array, "yx")) for name in ("a", "b")]
        for writer in writers:
            writer.write(Box.whole(array.shape), array)
        threads = [threading.Thread(target=writer.finish) for writer in writers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert list_datasets(tmp_path / "a.n5") == ("a", "b")

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("one/two", "'one' in it is a dataset"),
            ("group", "there is a group of that name"),
            ("../x", "not the path of a dataset"),
            ("", "not the path of a dataset"),
            ("a/attributes.json", "not the path of a dataset"),
            ("link/x", "'link' in it is a link"),
        ],
    )
    def test_places_that_are_taken(self, name: str, message: str, tmp_path: Path) -> None:
        array = noise((4, 5))
        path = write(tmp_path / "a.n5", array, "yx", "one")
        write(path, array, "yx", "group/two")
        (path / "link").symlink_to(tmp_path)
        with pytest.raises(ExportError, match=message):
            output_format("n5").open(path, name, spec_of(array, "yx"))
        assert [p.name for p in tmp_path.iterdir()] == ["a.n5"]

    def test_a_folder_that_is_no_container_is_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "a.n5").mkdir()
        (tmp_path / "a.n5" / "thesis.tex").touch()
        with pytest.raises(ExportError, match="is not an N5 container"):
            output_format("n5").open(tmp_path / "a.n5", "x", spec_of(noise((4, 5)), "yx"))
        assert os.listdir(tmp_path / "a.n5") == ["thesis.tex"]

    def test_missing_voxels_of_n5_are_zero(self, tmp_path: Path) -> None:
        array = noise((4, 5))
        writer = output_format("n5").open(tmp_path / "a.n5", "x", spec_of(array, "yx"))
        writer.write(Box((0, 0), (4, 4)), array[:, :4])
        with pytest.raises(ExportError, match="voxels were never written"):
            writer.finish()
        assert list(tmp_path.iterdir()) == []


class TestReading:
    def test_axes_by_the_rules_of_ilastik(self, tmp_path: Path) -> None:
        tags = json.dumps({"axes": [{"key": k} for k in "xy"]})
        for number, (attributes, expected) in enumerate(
            [
                ({"axistags": tags, "axes": "xy"}, ("xy", True)),
                ({"axistags": '{"axes": [{"key": "?"}]}', "axes": ["y", "x"]}, ("xy", True)),
                ({"axes": "XY"}, ("yx", True)),
                ({"axes": ["a", "b"]}, ("yx", False)),
                ({}, ("yx", False)),
            ]
        ):
            put_dataset(tmp_path / "a.n5" / str(number), **attributes)
            with N5Reader(tmp_path / "a.n5", str(number)) as reader:
                assert (reader.info.axes, reader.info.own_axes) == expected

    def test_which_dataset(self, tmp_path: Path) -> None:
        path = tmp_path / "a.n5"
        path.mkdir()
        with pytest.raises(InputError, match="contains no datasets with 2 to 5"):
            N5Reader(path, "")
        put_dataset(path / "line", dimensions=[5], blockSize=[5])
        put_dataset(path / "one")
        with N5Reader(path, "") as reader:
            assert reader.info.shape == (3, 4)
            assert not reader.read(Box.whole((3, 4))).any()
        put_dataset(path / "two")
        with pytest.raises(InputError, match=r"several datasets; .*a\.n5/one\. It has: one, two"):
            N5Reader(path, "")
        with pytest.raises(InputNotFound, match=r"no dataset 'three' .*it has: one, two"):
            N5Reader(path, "three")
        with pytest.raises(InputNotFound, match="no N5 container"):
            N5Reader(tmp_path / "b.n5", "")
        (tmp_path / "c.n5").touch()
        with pytest.raises(InputError, match="is a folder, and this is a file"):
            N5Reader(tmp_path / "c.n5", "")

    def test_threads_read_n5_at_once(self, tmp_path: Path) -> None:
        array = noise((600, 500), "uint8")
        write(tmp_path / "a.n5", array, "yx", kind="compressed n5")
        with N5Reader(tmp_path / "a.n5", "") as reader:
            bad: list[Box] = []

            def check(box: Box) -> None:
                if not np.array_equal(reader.read(box), array[box.slices()]):
                    bad.append(box)

            boxes = list(Box.whole(array.shape).split((170, 130)))
            threads = [threading.Thread(target=check, args=(box,)) for box in boxes]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert not bad
        with pytest.raises(InputError, match="was closed"):
            reader.read(boxes[0])

    @pytest.mark.parametrize(
        ("attributes", "message"),
        [
            ({"dimensions": [2**40, 2**40]}, "impossible size"),
            ({"dimensions": [2**63, 4]}, "cannot read"),
            ({"dimensions": [-4, 3]}, "cannot read"),
            ({"dimensions": "many"}, "cannot read"),
            ({"dimensions": [4, 3, 2, 2, 2, 2], "blockSize": [1] * 6}, "6 dimensions"),
            ({"dimensions": [10**6, 10**6], "blockSize": [10**6, 10**6]}, "maximum chunk size"),
            ({"blockSize": [4]}, "cannot read"),
            ({"blockSize": None}, "cannot read"),
            ({"dataType": "object"}, "cannot read"),
            ({"dataType": 7}, "cannot read"),
            ({"compression": {"type": "telepathy"}}, "cannot read"),
        ],
        ids=lambda value: str(value)[:60],
    )
    def test_what_cannot_be(self, attributes: dict[str, Any], message: str, tmp_path: Path) -> None:
        put_dataset(tmp_path / "a.n5" / "x", **attributes)
        with pytest.raises(InputError, match=message) as caught:
            N5Reader(tmp_path / "a.n5", "x")
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 700

    @pytest.mark.parametrize(
        "tags",
        ["{", "[" * 100_000, json.dumps({"axes": [{"key": "x"}]}), json.dumps({"axes": [{"key": "x"}] * 100_000})],
        ids=["cut off", "nested", "too few", "too many"],
    )
    def test_axistags_that_cannot_be(self, tags: str, tmp_path: Path) -> None:
        put_dataset(tmp_path / "a.n5" / "x", axistags=tags)
        with N5Reader(tmp_path / "a.n5", "x") as reader:
            assert "axistags" in reader.info.axes_problem
            assert len(reader.info.axes_problem) < 300
            assert not reader.info.own_axes

    def test_metadata_that_are_no_metadata(self, tmp_path: Path) -> None:
        for text in ("", "[]", "{", "[" * 200_000):
            put_dataset(tmp_path / "a.n5" / "x").joinpath("attributes.json").write_text(text, encoding="utf-8")
            with pytest.raises(InputError, match="cannot read"):
                N5Reader(tmp_path / "a.n5", "x")

    def test_attributes_of_odd_types_are_ignored(self, tmp_path: Path) -> None:
        put_dataset(tmp_path / "a.n5" / "x", drange=["a", {}], display_mode=[1], axis_units=3, axes={"x": 1})
        with N5Reader(tmp_path / "a.n5", "x") as reader:
            assert reader.info.drange is None
            assert reader.info.display_mode is None
            assert reader.info.axis_units == {}

    def test_damaged_blocks(self, tmp_path: Path) -> None:
        folder = put_dataset(tmp_path / "a.n5" / "x")
        (folder / "0").mkdir()
        for content in (b"", b"\x00\x00\x00\x02", b"\x00\x00\x00\x02" + b"\xff" * 8 + b"x", b"\xff" * 40):
            (folder / "0" / "0").write_bytes(content)
            with N5Reader(tmp_path / "a.n5", "x") as reader, pytest.raises(InputError, match="cannot read") as caught:
                reader.read(Box.whole((3, 4)))
            assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("name", ["../outside", "inside/../../outside", "/etc", "link", "x\\..\\..\\y"])
    def test_nothing_outside_of_the_container_is_read(self, name: str, tmp_path: Path) -> None:
        put_dataset(tmp_path / "outside")
        put_dataset(tmp_path / "a.n5" / "inside")
        (tmp_path / "a.n5" / "link").symlink_to(tmp_path / "outside")
        with pytest.raises(InputError):
            N5Reader(tmp_path / "a.n5", name)
        assert list_datasets(tmp_path / "a.n5") == ("inside",)


def test_a_result_knows_nothing_of_versions(tmp_path: Path) -> None:
    """Properties of OME-Zarr do not affect other formats."""
    array = noise((4, 5))
    spec = replace(spec_of(array, "yx"), version="0.5", is_labels=True)
    writer = output_format("n5").open(tmp_path / "a.n5", "x", spec)
    writer.write(Box.whole(array.shape), array)
    writer.finish()
    assert np.array_equal(read_n5(tmp_path / "a.n5", "x"), array)
