"""OME-Zarr: ilastik's layout, levels of resolution, both versions read by zarr-python, stores nobody has checked."""

from __future__ import annotations

import json
import logging
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from scipy import ndimage

from pixelforest.box import Box
from pixelforest.engine.errors import ExportError, InputError, InputNotFound
from pixelforest.engine.formats import output_format
from pixelforest.engine.formats.images import ome_zarr
from pixelforest.engine.formats.images.ome_zarr import OmeZarrReader
from pixelforest.engine.formats.spec import BlockWriter, ImageSpec, Scales
from pixelforest.engine.formats.support import ome_zarr_layout
from pixelforest.engine.formats.support.ome_zarr_layout import level_shapes, shard_shape

SINGLE, MULTI = "single-scale OME-Zarr", "multi-scale OME-Zarr"


def noise(shape: tuple[int, ...], dtype: str = "float32") -> np.ndarray:
    return (np.random.default_rng(0).random(shape) * 200).astype(dtype)


def spec_of(array: np.ndarray, axes: str, **more: Any) -> ImageSpec:
    return ImageSpec(array.shape, array.dtype, axes, (0,) * array.ndim, **more)


def write(path: Path, array: np.ndarray, axes: str = "tczyx", kind: str = SINGLE, **more: Any) -> Path:
    spec = replace(spec_of(array, axes), **more)
    writer = output_format(kind).open(path, "", spec)
    for box in Box.whole(array.shape).split((1, 2, 50, 70, 300)[-array.ndim :]):
        writer.write(box, array[box.slices()])
    assert writer.finish() == [path]
    return path


def load(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def describe(store: Path) -> dict[str, Any]:
    """OME metadata of a store of either version."""
    if (store / ".zattrs").exists():
        return load(store / ".zattrs")
    return load(store / "zarr.json")["attributes"]["ome"]


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks so small that a small image has several, levels and shards."""
    monkeypatch.setattr(ome_zarr_layout, "CHUNK_BYTES", 4000)
    monkeypatch.setattr(ome_zarr_layout, "SHARDED_ABOVE", 3)


class TestWriting:
    @pytest.mark.golden
    def test_metadata_are_ilastiks(self, shared_folder: Path, tmp_path: Path) -> None:
        recorded = shared_folder / "golden" / "variants_2d3c" / "expected"
        recorded /= "fmt_single_scale_ome_zarr_probabilities.zarr"
        array = zarr.open_array(str(recorded / "s0"), mode="r")[...]
        path = write(tmp_path / "a.zarr", array, drange=(0.0, 1.0), display_mode="grayscale")
        names = sorted(f.relative_to(recorded) for f in recorded.rglob("*") if f.is_file())
        assert names == sorted(f.relative_to(path) for f in path.rglob("*") if f.is_file())
        for name in (".zgroup", "s0/.zarray", "s0/.zattrs"):
            assert load(path / name) == load(recorded / name), name
        found, expected = load(path / ".zattrs"), load(recorded / ".zattrs")
        assert found.pop("_creator")["name"] == "pixelforest"
        del expected["_creator"]
        assert found == expected
        assert np.array_equal(zarr.open_array(str(path / "s0"), mode="r")[...], array)

    @pytest.mark.parametrize("version", ["0.4", "0.5"])
    @pytest.mark.parametrize("axes", ["yx", "xyc", "czyx", "tzyxc"])
    def test_always_tczyx_inside(self, axes: str, version: str, tmp_path: Path) -> None:
        array = noise(tuple({"t": 2, "c": 3, "z": 4, "y": 5, "x": 6}[a] for a in axes), "uint16")
        path = write(tmp_path / "a.zarr", array, axes, version=version)
        found = zarr.open_array(str(path / "s0"), mode="r")
        expected = np.transpose(array, [axes.index(a) for a in "tczyx" if a in axes])
        assert found.shape == tuple({"t": 2, "c": 3, "z": 4, "y": 5, "x": 6}[a] if a in axes else 1 for a in "tczyx")
        assert np.array_equal(np.squeeze(found[...]), np.squeeze(expected))
        assert found.metadata.zarr_format == (2 if version == "0.4" else 3)

    @pytest.mark.sampled(2)
    @pytest.mark.usefixtures("small_chunks")
    @pytest.mark.parametrize("version", ["0.4", "0.5"])
    @pytest.mark.parametrize("is_labels", [False, True])
    def test_levels_of_a_pyramid_are_described(self, version: str, is_labels: bool, tmp_path: Path) -> None:
        array = noise((1, 2, 6, 50, 61), "uint8" if is_labels else "float32")
        path = write(tmp_path / "a.zarr", array, kind=MULTI, version=version, is_labels=is_labels)
        image = describe(path)["multiscales"][0]
        names = [d["path"] for d in image["datasets"]]
        assert names == [f"s{i}" for i in range(3 if is_labels else 4)]
        previous = array
        for name in names:
            found = zarr.open_array(str(path / name), mode="r")[...]
            if name != "s0":
                factors = np.divide(previous.shape, found.shape)
                expected = previous
                if not is_labels:
                    expected = ndimage.gaussian_filter(
                        previous.astype(float), np.where(factors > 1, factors / 4, 0), mode="mirror"
                    )
                expected = ndimage.zoom(expected, 1 / factors, order=int(not is_labels), mode="mirror", grid_mode=True)
                assert np.allclose(found, expected, rtol=1e-6, atol=0)
            previous = found
        method = image["metadata"]
        assert method["method"] == "skimage.transform.resize"
        assert method["kwargs"] == {
            "order": 0 if is_labels else 1,
            "anti_aliasing": not is_labels,
            "preserve_range": True,
        }
        assert ("image-label" in describe(path)) == is_labels

    @pytest.mark.usefixtures("small_chunks")
    @pytest.mark.parametrize("version", ["0.4", "0.5"])
    def test_levels_may_be_made_in_parts_by_several_writers(self, version: str, tmp_path: Path) -> None:
        """A level of which no part is restored is made as a whole."""
        array = noise((2, 2, 12, 70, 61))
        write(tmp_path / "whole.zarr", array, kind=MULTI, version=version)
        path, spec = tmp_path / "parts.zarr", spec_of(array, "tczyx", version=version)

        def open_blocks() -> BlockWriter:
            open_kept = output_format(MULTI).open_blocks
            assert open_kept is not None
            return open_kept(path, "", spec, "0123456789ab")

        last, whole, made = open_blocks(), Box.whole(array.shape), 0
        last.write(whole, array)
        last.settle(whole)
        for level, (shape, unit) in enumerate(last.level_shapes()[:2], start=1):
            for part in Box.whole(shape).split(unit):
                other = open_blocks()
                last.restore_part(level, part, other.make_part(level, part))
                other.abort()
                made += 1
        last.finish()
        assert made >= 4
        assert len(last.level_shapes()) > 2
        files = [sorted(p.relative_to(each) for p in each.rglob("*")) for each in (path, tmp_path / "whole.zarr")]
        assert files[0] == files[1]
        for name in (name for name in files[0] if (path / name).is_file()):
            assert (path / name).read_bytes() == (tmp_path / "whole.zarr" / name).read_bytes(), name

    @pytest.mark.slow
    @pytest.mark.usefixtures("small_chunks")
    @pytest.mark.parametrize("version", ["0.4", "0.5"])
    @pytest.mark.parametrize("is_labels", [False, True])
    def test_valid_for_ome_zarr_models(self, version: str, is_labels: bool, tmp_path: Path) -> None:
        models = pytest.importorskip("ome_zarr_models", reason="ome-zarr-models is not installed")
        path = write(
            tmp_path / "a.zarr",
            noise((2, 1, 6, 50, 61), "uint8"),
            kind=MULTI,
            version=version,
            is_labels=is_labels,
            axis_units={"x": "micrometer", "y": "micrometer", "t": "second"},
            resolution={"x": 0.5, "y": 0.5, "t": 3.0},
            offset=(0, 0, 1, 2, 3),
        )
        found = models.open_ome_zarr(zarr.open_group(str(path), mode="r"))
        assert type(found).__name__ == ("ImageLabel" if is_labels else "Image")

    def test_pixel_sizes_units_and_offsets(self, tmp_path: Path) -> None:
        usual: dict[str, Any] = {"resolution": {"x": 0.5, "z": 2.0, "t": 3.0}, "axis_units": {"x": "µm", "t": ""}}
        array = noise((1, 1, 2, 600, 700))
        image = describe(write(tmp_path / "a.zarr", array, kind=MULTI, offset=(1, 0, 0, 4, 6), **usual))["multiscales"]
        scales = [d["coordinateTransformations"] for d in image[0]["datasets"]]
        assert scales == [
            [{"type": "scale", "scale": [1.0, 1.0, 2.0, 1.0, 0.5]}],
            [{"type": "scale", "scale": [1.0, 1.0, 4.0, 2.0, 1.0]}],
        ]
        assert image[0]["coordinateTransformations"] == [
            {"type": "scale", "scale": [3.0, 1.0, 1.0, 1.0, 1.0]},
            {"type": "translation", "translation": [3.0, 0.0, 0.0, 4.0, 3.0]},
        ]
        assert image[0]["axes"][4] == {"name": "x", "type": "space", "unit": "µm"}
        assert image[0]["axes"][0] == {"name": "t", "type": "time"}
        single = describe(write(tmp_path / "b.zarr", array, **usual))["multiscales"][0]
        assert single["datasets"][0]["coordinateTransformations"] == [{"type": "scale", "scale": [1.0] * 5}]
        assert single["coordinateTransformations"] == [{"type": "scale", "scale": [3.0, 1.0, 2.0, 1.0, 0.5]}]
        moved = describe(write(tmp_path / "c.zarr", array, offset=(0, 1, 0, 0, 0)))["multiscales"][0]
        assert moved["coordinateTransformations"] == [
            {"type": "scale", "scale": [1.0] * 5},
            {"type": "translation", "translation": [0.0, 1.0, 0.0, 0.0, 0.0]},
        ]
        attributes = load(tmp_path / "a.zarr" / "s1" / ".zattrs")
        assert attributes["axis_units"] == {"t": "", "x": "µm"}
        tags = {a["key"]: a["resolution"] for a in json.loads(attributes["axistags"])["axes"]}
        assert tags == {"t": 3, "c": 0, "z": 2, "y": 0, "x": 0.5}

    @pytest.mark.usefixtures("small_chunks")
    def test_large_arrays_are_sharded(self, tmp_path: Path) -> None:
        array = noise((1, 2, 6, 50, 61))
        path = write(tmp_path / "a.zarr", array, version="0.5")
        found = zarr.open_array(str(path / "s0"), mode="r")
        assert found.shards == (1, 1, 6, 52, 72)
        assert found.chunks == (1, 1, 6, 13, 12)
        assert np.array_equal(found[...], array)
        assert len([f for f in (path / "s0").rglob("*") if f.is_file()]) == 1 + 2
        with OmeZarrReader(path, "") as reader:
            assert reader.info.chunks == (1, 1, 6, 13, 12)
            assert np.array_equal(reader.read(Box.whole(array.shape)), array)

    def test_shards_hold_whole_chunks(self) -> None:
        chunk = (1, 1, 63, 64, 63)
        assert shard_shape((1, 1, 100, 100, 100), chunk) == chunk
        assert shard_shape((1, 2, 1024, 1024, 1024), chunk) == (1, 1, 63, 64, 63 * 17)
        assert shard_shape((1, 1, 640, 640, 640), chunk) == (1, 1, 63, 64 * 2, 63 * 11)
        assert shard_shape((1, 1, 200, 10_000, 10_000), chunk) == (1, 1, 63, 64, 63 * 32)

    def test_levels_follow_those_of_the_input(self) -> None:
        shapes = {f"scale{i}": {"y": n, "x": n, "c": 3} for i, n in enumerate((100, 50, 20, 5))}
        array, chunk = noise((2, 50, 50)), (1, 1, 1, 50, 50)
        spec = spec_of(array, "cyx", scales=Scales("scale1", shapes))
        assert level_shapes(spec, (1, 2, 1, 50, 50), chunk, is_multiscale=True) == {
            "scale1": (1, 2, 1, 50, 50),
            "scale2": (1, 2, 1, 20, 20),
            "scale3": (1, 2, 1, 5, 5),
        }
        assert list(level_shapes(spec, (1, 2, 1, 50, 50), chunk, is_multiscale=False)) == ["scale1"]
        assert level_shapes(spec, (1, 2, 1, 9, 30), chunk, is_multiscale=True) == {
            "scale1": (1, 2, 1, 9, 30),
            "scale2": (1, 2, 1, 3, 12),
        }
        for name in ("../x", "a/b", "", ".zattrs"):
            odd = replace(spec, scales=Scales(name, {name: shapes["scale1"]}))
            assert list(level_shapes(odd, (1, 2, 1, 50, 50), chunk, is_multiscale=False)) == ["s0"]

    def test_the_translation_of_the_input_is_kept(self, tmp_path: Path) -> None:
        scales = Scales("s0", {"s0": {"y": 6, "x": 5}}, {"x": 10.0})
        path = write(
            tmp_path / "a.zarr", noise((6, 5)), "yx", scales=scales, resolution={"x": 2.0}, offset=(0, 3), kind=MULTI
        )
        moved = describe(path)["multiscales"][0]["coordinateTransformations"][1]
        assert moved == {"type": "translation", "translation": [0.0, 0.0, 0.0, 0.0, 16.0]}

    def test_a_store_is_replaced_only_if_it_may_be(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.zarr", noise((6, 5)), "yx")
        (path / "s0" / "more").touch()
        before = sorted(path.rglob("*"))
        chosen = output_format(SINGLE)
        spec = spec_of(noise((7, 8)), "yx")
        for check in (lambda p, s: chosen.check_place(p, "", s), lambda p, s: chosen.open(p, "", s)):
            with pytest.raises(ExportError, match=r"it exists; overwrite replaces it"):
                check(path, spec)
        assert sorted(path.rglob("*")) == before
        write(path, noise((7, 8)), "yx", may_replace=True, version="0.5")
        assert zarr.open_array(str(path / "s0"), mode="r").shape == (1, 1, 1, 7, 8)
        assert not (path / ".zattrs").exists()
        assert [p.name for p in tmp_path.iterdir()] == ["a.zarr"]

    def test_only_stores_are_replaced(self, tmp_path: Path) -> None:
        spec = spec_of(noise((7, 8)), "yx", may_replace=True)
        (tmp_path / "a.zarr").mkdir()
        output_format(SINGLE).check_place(tmp_path / "a.zarr", "", spec)
        (tmp_path / "a.zarr" / "thesis.tex").touch()
        with pytest.raises(ExportError, match="is not a Zarr store"):
            output_format(SINGLE).check_place(tmp_path / "a.zarr", "", spec)
        (tmp_path / "b.zarr").touch()
        with pytest.raises(ExportError, match="there is a file of that name"):
            output_format(SINGLE).check_place(tmp_path / "b.zarr", "", spec)

    def test_an_interrupt_while_levels_are_made(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def stop(*_: object, **__: object) -> np.ndarray:
            raise KeyboardInterrupt

        monkeypatch.setattr(ome_zarr, "shrink", stop)
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / "a.zarr", noise((1, 1, 1, 1000, 900)), kind=MULTI)
        assert list(tmp_path.iterdir()) == []

    def test_missing_voxels_of_zarr_are_the_fill_value(self, tmp_path: Path) -> None:
        writer = output_format(SINGLE).open(tmp_path / "a.zarr", "", spec_of(noise((7, 8)), "yx"))
        writer.write(Box((0, 0), (7, 4)), noise((7, 4)))
        with pytest.raises(ExportError, match="were never written"):
            writer.finish()
        assert list(tmp_path.iterdir()) == []


def put_image(root: Path, shapes: dict[str, tuple[int, ...]], zarr_format: int = 2, **image: Any) -> Path:
    """A store by hand, of zarr-python's arrays; what is given replaces members of the multiscales entry."""
    for name, shape in shapes.items():
        found = zarr.create_array(str(root / name), shape=shape, dtype="uint8", zarr_format=zarr_format, chunks=shape)
        found[...] = noise(shape, "uint8")
    axes = [{"name": a} for a in "tczyx"[-len(next(iter(shapes.values()))) :]]
    datasets = [{"path": name} for name in shapes]
    entry = {k: v for k, v in {"axes": axes, "datasets": datasets, **image}.items() if v is not None}
    put_attributes(root, {"multiscales": [entry]}, zarr_format)
    return root


def put_attributes(root: Path, attributes: dict[str, Any], zarr_format: int = 2) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    if zarr_format == 2:
        (root / ".zattrs").write_text(json.dumps(attributes), encoding="utf-8")
    else:
        content = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": {"version": "0.5", **attributes}}}
        (root / "zarr.json").write_text(json.dumps(content), encoding="utf-8")
    return root


LEVELS = {"s0": (8, 6), "s1": (4, 3)}


class TestReading:
    @pytest.mark.parametrize("zarr_format", [2, 3])
    def test_the_highest_resolution_unless_one_is_named(
        self, zarr_format: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "pixelforest.inputs")
        put_image(tmp_path / "a.zarr", {"s1": (4, 3), "s0": (8, 6)}, zarr_format)
        with OmeZarrReader(tmp_path / "a.zarr", "") as reader:
            assert (reader.info.shape, reader.info.axes, reader.info.own_axes) == ((8, 6), "yx", True)
            box = Box((2, 1), (7, 5))
            assert np.array_equal(reader.read(box), noise((8, 6), "uint8")[box.slices()])
            assert reader.info.scales is not None
            assert reader.info.scales.active == "s0"
        assert "a.zarr: scale s0 is read, the highest resolution of: s1 (4 x 3), s0 (8 x 6)" in caplog.text
        caplog.clear()
        with OmeZarrReader(tmp_path / "a.zarr" / "s1", "") as reader:
            assert reader.info.shape == (4, 3)
        assert not caplog.records
        with pytest.raises(InputNotFound, match=r"there is no scale 's7' in .*; it has: s1 \(4 x 3\), s0 \(8 x 6\)"):
            OmeZarrReader(tmp_path / "a.zarr" / "s7", "")

    def test_several_images_in_one_group(self, tmp_path: Path) -> None:
        root = put_image(tmp_path / "a.zarr", LEVELS)
        put_image(root, {"other": (5, 5)})
        first = {"axes": ["y", "x"], "datasets": [{"path": "s0"}, {"path": "s1"}]}
        put_attributes(root, {"multiscales": [first, {"axes": ["y", "x"], "datasets": [{"path": "other"}]}]})
        with OmeZarrReader(root, "") as reader:
            assert reader.info.shape == (8, 6)
        with OmeZarrReader(root / "other", "") as reader:
            assert reader.info.shape == (5, 5)

    def test_sizes_and_units(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        axes = [{"name": "C", "unit": "x"}, {"name": "y", "unit": "micrometer"}, {"name": "x", "unit": 3}]
        datasets = [
            {
                "path": "s0",
                "coordinateTransformations": [
                    {"type": "scale", "scale": [1, 0.5, 0.25]},
                    {"type": "translation", "translation": [0, 1, 0]},
                ],
            }
        ]
        common = [{"type": "scale", "scale": [1, 1, 2]}, {"type": "translation", "translation": [0, 2, 0]}]
        root = put_image(
            tmp_path / "a.zarr", {"s0": (2, 5, 4)}, axes=axes, datasets=datasets, coordinateTransformations=common
        )
        with OmeZarrReader(root, "") as reader:
            assert reader.info.axes == "cyx"
            assert reader.info.resolution == {"y": 0.5, "x": 0.5}
            assert reader.info.axis_units == {"c": "x", "y": "micrometer"}
            assert reader.info.scales == Scales("s0", {"s0": {"c": 2, "y": 5, "x": 4}}, {"y": 3.0})
        assert not caplog.records
        datasets[0]["coordinateTransformations"] = [{"type": "scale", "scale": [1, -1, float("nan")]}]
        put_image(tmp_path / "b.zarr", {"s0": (2, 5, 4)}, axes=axes, datasets=datasets)
        with OmeZarrReader(tmp_path / "b.zarr", "") as reader:
            assert reader.info.resolution == {}
        assert "makes no sense" in caplog.text

    @pytest.mark.parametrize(("axes", "ndim", "expected"), [(["z", "y", "x"], 3, "zyx"), (None, 5, "tczyx")])
    def test_older_versions(self, axes: list[str] | None, ndim: int, expected: str, tmp_path: Path) -> None:
        root = put_image(tmp_path / "a.zarr", {"0": (2, 3, 4, 5, 6)[:ndim]}, axes=axes, version="0.1")
        with OmeZarrReader(root, "") as reader:
            assert reader.info.axes == expected

    @pytest.mark.parametrize("dtype", ["bool", "float16", ">u2", "<f8", "int64"])
    def test_pixel_types(self, dtype: str, tmp_path: Path) -> None:
        root = put_image(tmp_path / "a.zarr", {"0": (4, 3)})
        array = noise((4, 3)).astype(dtype)
        zarr.create_array(str(root / "0"), data=array, zarr_format=2, overwrite=True)
        with OmeZarrReader(root, "") as reader:
            found = reader.read(Box.whole((4, 3)))
            assert found.dtype == reader.info.dtype
            assert found.dtype.isnative
            assert np.array_equal(found, array)

    def test_ordinary_folders_and_files_are_none(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="no OME-Zarr image in it"):
            OmeZarrReader(tmp_path, "")
        zarr.create_array(str(tmp_path / "b.zarr"), shape=(4,), dtype="uint8", zarr_format=2)
        with pytest.raises(InputError, match="an image has 2 to 5 axes"):
            OmeZarrReader(tmp_path / "b.zarr", "")
        (tmp_path / "c.zarr").touch()
        with pytest.raises(InputError, match="and this is another file"):
            OmeZarrReader(tmp_path / "c.zarr", "")

    @pytest.mark.parametrize(
        ("attributes", "message"),
        [
            ({"plate": {"wells": [{"path": "A/1"}, {"path": 7}]}}, "it is a plate .*A/1/0$"),
            ({"well": {"images": [{"path": "0"}, {"path": "1"}]}}, "it is a well .*/0, .*/1$"),
            ({"labels": ["a", "b", "c", "d", "e", "f", "g"]}, "it is a collection of labels .*/e and 2 more$"),
            ({"plate": {"wells": 3}}, "it is a plate without images$"),
        ],
        ids=["plate", "well", "labels", "odd"],
    )
    def test_collections_of_images_are_refused(self, attributes: dict[str, Any], message: str, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=message):
            OmeZarrReader(put_attributes(tmp_path / "a.zarr", attributes), "")

    def test_other_versions(self, tmp_path: Path) -> None:
        root = put_image(tmp_path / "a.zarr", LEVELS, version="0.6")
        with pytest.raises(InputError, match=r"version 0\.6; versions 0\.1 to 0\.5 can be read"):
            OmeZarrReader(root, "")

    @pytest.mark.sampled(4)
    @pytest.mark.parametrize(
        "path",
        [
            "../secret",
            "/etc",
            "a/../../secret",
            "",
            ".",
            "link",
            "deep/link",
            "x\\..\\..\\secret",
            "C:",
            7,
            None,
            ["s0"],
        ],
        ids=str,
    )
    def test_nothing_outside_of_the_store_is_read(self, path: object, tmp_path: Path) -> None:
        put_image(tmp_path, {"secret": (8, 6)})
        os.remove(tmp_path / ".zattrs")
        root = put_image(tmp_path / "a.zarr", LEVELS, datasets=[{"path": path}])
        (root / "link").symlink_to(tmp_path / "secret")
        (root / "deep").mkdir()
        (root / "deep" / "link").symlink_to(tmp_path / "secret")
        with pytest.raises(InputError) as caught:
            OmeZarrReader(root, "")
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        "image",
        [
            {"datasets": None},
            {"datasets": []},
            {"datasets": [3]},
            {"datasets": {"path": "s0"}},
        ],
        ids=lambda value: str(value)[:60],
    )
    def test_descriptions_that_cannot_be(self, image: dict[str, Any], tmp_path: Path) -> None:
        root = put_image(tmp_path / "a.zarr", LEVELS, **image)
        with pytest.raises(InputError) as caught:
            OmeZarrReader(root, "")
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 500

    @pytest.mark.parametrize(
        "axes",
        [
            ["y", "q"],
            ["y", "y"],
            ["y"],
            ["x"] * 1000,
            4,
            [{"name": ["y"]}, {}],
            ["z", "y", "x"],
        ],
        ids=lambda value: str(value)[:60],
    )
    def test_axes_that_cannot_be(self, axes: object, tmp_path: Path) -> None:
        with OmeZarrReader(put_image(tmp_path / "a.zarr", LEVELS, axes=axes), "") as reader:
            assert reader.info.axes_problem.startswith("its axes are ")
            assert len(reader.info.axes_problem) < 300
            assert (reader.info.axes, reader.info.own_axes) == ("yx", False)

    @pytest.mark.parametrize(
        "attributes", [{"multiscales": []}, {"multiscales": 3}, {"multiscales": [[]]}, {"multiscales": ["x"]}], ids=str
    )
    def test_groups_that_cannot_be(self, attributes: dict[str, Any], tmp_path: Path) -> None:
        with pytest.raises(InputError):
            OmeZarrReader(put_attributes(tmp_path / "a.zarr", attributes), "")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"shape": [2**40, 2**40]}, "impossible size"),
            ({"shape": [-1, 4]}, "shape"),
            ({"shape": "large"}, "shape"),
            ({"shape": [8, 6.5]}, "shape"),
            ({"chunks": [0, 0]}, "cannot read"),
            ({"chunks": [10**6, 10**6], "shape": [10**6, 10**6]}, "chunk"),
            ({"dtype": "|O"}, "cannot read"),
            ({"dtype": [["a", "<i4"]]}, "cannot read"),
            ({"dtype": "<c16"}, "cannot read"),
            ({"compressor": {"id": "pickle"}}, "cannot read"),
            ({"filters": [{"id": "delta"}]}, "cannot read"),
            ({"zarr_format": 9}, "cannot read"),
        ],
        ids=str,
    )
    def test_arrays_that_cannot_be(self, change: dict[str, Any], message: str, tmp_path: Path) -> None:
        root = put_image(tmp_path / "a.zarr", LEVELS, datasets=[{"path": "s0"}])
        metadata = {**load(root / "s0" / ".zarray"), **change}
        (root / "s0" / ".zarray").write_text(json.dumps(metadata), encoding="utf-8")
        with pytest.raises(InputError, match=message) as caught:
            OmeZarrReader(root, "")
        assert "\n" not in str(caught.value)

    def test_damaged_chunks(self, tmp_path: Path) -> None:
        root = put_image(tmp_path / "a.zarr", LEVELS)
        chunk = next(f for f in (root / "s0").rglob("*") if re.match(r"\d", f.name) and f.is_file())
        for content in (b"", b"x", os.urandom(500)):
            chunk.write_bytes(content)
            with OmeZarrReader(root, "") as reader, pytest.raises(InputError, match="cannot read"):
                reader.read(Box.whole((8, 6)))
        reader.close()
        with pytest.raises(InputError, match="was closed"):
            reader.read(Box.whole((8, 6)))
