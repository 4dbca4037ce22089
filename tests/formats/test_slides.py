"""Whole slides: the main image by default, other images by name, levels by number."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from support.slides import MPP, SIZE, WRITERS, draw, write_svs

from pixelforest import cli
from pixelforest.box import Box
from pixelforest.engine.errors import InputError, InputNotFound
from pixelforest.engine.formats.images.tiff import TiffReader, list_images, open_tiff
from pixelforest.engine.inputs.images import open_image
from pixelforest.engine.inputs.lanes import InputOptions

WHOLE, INNER = (slice(None), slice(None)), (slice(5, 130), slice(60, 200))


def read(path: Path, internal: str, part: tuple[slice, slice]) -> np.ndarray:
    """Read a part as (y, x, c)."""
    with open_tiff(path, internal) as image:
        sizes = dict(zip(image.info.axes, image.info.shape, strict=True))
        ranges = {"y": part[0].indices(sizes["y"])[:2], "x": part[1].indices(sizes["x"])[:2]}
        bounds = [ranges.get(a, (0, sizes[a])) for a in image.info.axes]
        data = image.read(Box(tuple(a for a, _ in bounds), tuple(b for _, b in bounds)))
        data = np.moveaxis(data, image.info.axes.index("c"), -1) if "c" in sizes else data[..., np.newaxis]
        assert image._whole is None
        return data


@pytest.fixture(params=WRITERS)
def slide(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, dict[str, np.ndarray]]:
    path = tmp_path / f"slide.{request.param}"
    return path, WRITERS[request.param](path)


def test_every_image_and_level_is_read_by_region(slide: tuple[Path, dict[str, np.ndarray]]) -> None:
    path, images = slide
    for name, expected in images.items():
        for part in (WHOLE, INNER) if min(expected.shape[:2]) > 100 else (WHOLE,):
            assert np.array_equal(read(path, name, part), expected[part]), (name, part)


def test_sizes_of_pixels_are_known(slide: tuple[Path, dict[str, np.ndarray]]) -> None:
    path, _ = slide
    for internal, factor in (("", 1), ("1", 2)):
        with open_tiff(path, internal) as image:
            assert image.info.resolution == pytest.approx({"y": MPP * factor, "x": MPP * factor})
            assert image.info.axis_units == {"y": "µm", "x": "µm"}


def test_levels_and_images_are_listed(slide: tuple[Path, dict[str, np.ndarray]]) -> None:
    path, images = slide
    with open_tiff(path) as image:
        numbers = [name for name in images if name.isdecimal()]
        assert image.info.scales is not None
        assert list(image.info.scales.shapes) == numbers
        assert image.info.scales.active == "0"
        assert set(image.siblings) >= {name for name in images if name and not name.isdecimal()}
        assert image.siblings == list_images(path)
    with pytest.raises(InputNotFound, match=r"there is no image 'Nothing'.*it has: "):
        open_tiff(path, "Nothing")
    with pytest.raises(InputNotFound, match="there is no level 9"):
        open_tiff(path, "9")


@pytest.mark.parametrize("compression", ["jpeg", "jpeg2000"])
def test_lossy_tiles_equal_those_of_other_libraries(tmp_path: Path, compression: str) -> None:
    path = tmp_path / "slide.svs"
    write_svs(path, compression=compression)
    with tifffile.TiffFile(path) as tiff:
        expected = tiff.series[0].asarray()
    assert np.array_equal(read(path, "", WHOLE), expected)
    assert np.array_equal(read(path, "", INNER), expected[INNER])
    if compression == "jpeg":
        with Image.open(path) as picture:
            assert np.array_equal(np.asarray(picture.convert("RGB")), expected)


@pytest.mark.parametrize("compression", ["lzw", "jpeg"])
def test_slides_equal_those_that_cucim_reads_on_the_cpu(tmp_path: Path, compression: str) -> None:
    cucim = pytest.importorskip("cucim", reason="cuCIM is not installed")
    path = tmp_path / "slide.svs"
    images = write_svs(path, compression=compression)
    slide = cucim.CuImage(str(path))
    for level, (width, height) in enumerate(slide.resolutions["level_dimensions"]):
        assert images[str(level)].shape == (height, width, 3)
        found = np.asarray(slide.read_region((0, 0), (width, height), level))
        assert np.array_equal(read(path, str(level), WHOLE), found)


def test_damaged_slides_are_refused_also_when_their_images_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "a.scn"
    WRITERS["scn"](path)
    path.write_bytes(path.read_bytes().replace(b'ifd="2"', b'ifd="?"'))
    with pytest.raises(InputError, match=r"cannot read \S+a\.scn: invalid literal"):
        list_images(path)
    with pytest.raises(InputError, match=r"cannot read \S+a\.scn: invalid literal"):
        open_tiff(path)


def test_arguments_name_images_and_levels(tmp_path: Path) -> None:
    images = write_svs(tmp_path / "a.svs")
    for argument, name, nickname in (("a.svs", "", "a"), ("a.svs/1", "1", "a-1"), ("a.svs/Macro", "Macro", "a-Macro")):
        with open_image(
            argument, role_index=0, training=None, options=InputOptions(), announce=False, folder=tmp_path
        ) as image:
            assert image.nickname == nickname
            assert np.array_equal(image.read(Box.whole(image.shape))[0, 0], images[name])


def test_only_the_tiles_of_a_region_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_svs(tmp_path / "a.svs")
    decoded = []
    monkeypatch.setattr(
        TiffReader, "_decode_segment", lambda self, page, index: decoded.append(index) or np.zeros((1, 1, 64, 64, 3))
    )
    read(tmp_path / "a.svs", "", (slice(70, 100), slice(70, 140)))
    assert sorted(decoded) == [6, 7]  # of five tiles a row


def test_bif_is_refused_with_the_reason(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "a.bif", draw(*SIZE, 1), tile=(64, 64), photometric="rgb", metadata=None, software="Ventana",
        description="level=0 mag=40", extratags=[(700, 1, 10, b"<iScan/>  ", True)],
    )  # fmt: skip
    with pytest.raises(InputError, match=r"tiles of BIF slides overlap.*bioformats2raw"):
        open_tiff(tmp_path / "a.bif")


def test_images_of_a_file_that_is_no_slide_are_named(tmp_path: Path) -> None:
    images = [draw(30, 40, i)[..., 0] for i in range(3)]
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as writer:
        for number, image in enumerate(images):
            writer.write(image, metadata={"axes": "YX", "Name": f"cell {number % 2}", "PhysicalSizeX": number + 1.0})
    with pytest.raises(
        InputError, match=r"holds 3 images.*as in a\.ome\.tif/series0.*series0 \(30 x 40\), cell 1 \(30"
    ):
        open_tiff(tmp_path / "a.ome.tif")
    for number, name in enumerate(("series0", "cell 1", "series2")):
        with open_tiff(tmp_path / "a.ome.tif", name) as image:
            assert np.array_equal(image.read(Box.whole(image.info.shape)), images[number])
            assert image.info.resolution == {"x": number + 1.0}
            assert not image.warnings


def test_the_larger_pyramid_of_several_images_is_the_main_one(tmp_path: Path) -> None:
    large, small = draw(*SIZE, 1), draw(30, 40, 2)
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as writer:
        writer.write(small, photometric="rgb", metadata={"Name": "label"})
        writer.write(large, photometric="rgb", subifds=1, tile=(64, 64), metadata={"Name": "slide"})
        writer.write(large[::2, ::2], photometric="rgb", subfiletype=1, tile=(64, 64))
    assert np.array_equal(read(tmp_path / "a.ome.tif", "", WHOLE), large)
    assert np.array_equal(read(tmp_path / "a.ome.tif", "1", INNER), large[::2, ::2][INNER])
    assert np.array_equal(read(tmp_path / "a.ome.tif", "label", WHOLE), small)


def test_a_folder_may_have_the_extension_of_a_slide(tmp_path: Path) -> None:
    (tmp_path / "scans.tif").mkdir()
    Image.fromarray(draw(9, 14, 1)).save(tmp_path / "scans.tif" / "a.png")
    for argument in ("scans.tif/a.png", "scans.tif/*.png"):
        with open_image(argument, role_index=0, training=None, options=InputOptions(), folder=tmp_path) as image:
            assert image.shape == (1, 1, 9, 14, 3)


def test_a_run_keeps_levels_and_pixel_sizes(
    copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(copy_golden("px2d_rgb"))
    write_svs(Path("a.svs"))
    argv = ["--project=project.ilp", "--threads=1", "--device=cpu", "--output_filename_format=out/{nickname}"]
    assert cli.main([*argv, "--output_format=multi-scale OME-Zarr", "a.svs"]) == 0
    (image,) = json.loads(Path("out/a.zarr/.zattrs").read_text(encoding="utf-8"))["multiscales"]
    scales = [level["coordinateTransformations"][0]["scale"][3:] for level in image["datasets"]]
    assert scales == [[MPP, MPP], [MPP * 2, MPP * 2], [MPP * 4, MPP * 4]]
    assert image["axes"][-1] == {"name": "x", "type": "space", "unit": "µm"}


def test_info_lists_the_images_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_svs(tmp_path / "a.svs")
    assert cli.main(["info", str(tmp_path / "a.svs")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:] == [
        "format:          TIFF",
        "image:           Baseline: y=208 x x=304 x c=3, uint8, pixel size y 0.25 µm, x 0.25 µm, scale 0 of 0, 1, 2",
        "                 Thumbnail: y=40 x x=60 x c=3, uint8",
        "                 Label: y=30 x x=20 x c=3, uint8",
        "                 Macro: y=30 x x=50 x c=3, uint8",
    ]


@pytest.mark.parametrize(("internal", "shown"), [("Macro", "Macro: y=30 x x=50 x c=3"), ("2", "2: y=52 x x=76 x c=3")])
def test_info_describes_one_image_of_a_file(
    internal: str, shown: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_svs(tmp_path / "a.svs")
    assert cli.main(["info", str(tmp_path / "a.svs" / internal)]) == 0
    (image,) = capsys.readouterr().out.splitlines()[2:]
    assert image.startswith(f"image:           {shown}, uint8")


@pytest.mark.parametrize(("name", "problem"), [("a.svs/Nothing", "no image 'Nothing'"), ("gone.svs/Macro", "no file ")])
def test_info_of_an_image_that_is_not_there_fails(
    name: str, problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_svs(tmp_path / "a.svs")
    assert cli.main(["info", str(tmp_path / name)]) == 1
    assert f"pixelforest: error: there is {problem}" in capsys.readouterr().err


def test_explain_lists_the_images_of_a_file(
    copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(copy_golden("px2d_rgb"))
    write_svs(Path("a.svs"))
    assert cli.main(["explain", "--project=project.ilp", "a.svs/1"]) == 0
    shown = capsys.readouterr().out
    assert "scale 1 of 0, 1, 2" in shown
    assert "images of the file: Baseline, Thumbnail, Label, Macro" in shown
