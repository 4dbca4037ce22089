"""TIFF: axes, types, pixel sizes, every way of storing pixels by region, and damaged files."""

from __future__ import annotations

import json
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pixelforest.box import Box
from pixelforest.engine.errors import InputError, InputNotFound
from pixelforest.engine.formats.images import tiff
from pixelforest.engine.formats.images.tiff import open_tiff

RNG = np.random.default_rng(8)


STACK = {"photometric": "minisblack", "metadata": {"axes": "ZYX"}}


def noise(shape: tuple[int, ...], dtype: str = "uint16") -> np.ndarray:
    return RNG.integers(0, 200, shape).astype(dtype)


def write(path: Path, array: np.ndarray, **options) -> Path:
    tifffile.imwrite(path, array, **options)
    return path


def read(path: Path) -> np.ndarray:
    with open_tiff(path) as image:
        data = image.read(Box.whole(image.info.shape))
        assert data.dtype == image.info.dtype
        assert data.dtype.isnative
        assert len(image.info.axes) == data.ndim
    return data


# --- axes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "options", "axes", "own_axes"),
    [
        pytest.param((10, 20), {}, "yx", True, id="gray"),
        pytest.param((10, 20, 3), {"photometric": "rgb"}, "yxc", True, id="rgb"),
        pytest.param((3, 10, 20), {"photometric": "rgb", "planarconfig": "separate"}, "cyx", True, id="planar"),
        pytest.param((7, 10, 20), {"photometric": "minisblack"}, "zyx", False, id="anonymous 3-D"),
        pytest.param((5, 7, 10, 20), {"photometric": "minisblack"}, "zyxc", False, id="anonymous 4-D"),
        pytest.param((10, 20, 4), {"photometric": "minisblack"}, "yxc", False, id="few in the last place"),
        pytest.param((10, 20, 7), {"photometric": "minisblack"}, "zyx", False, id="many in the last place"),
        pytest.param((7, 10, 20), {"photometric": "minisblack", "metadata": None}, "tyx", False, id="bare pages"),
        pytest.param((7, 10, 20), {"metadata": {"axes": "ZYX"}}, "zyx", True, id="described"),
        pytest.param((2, 7, 3, 10, 20), {"imagej": True}, "tzcyx", True, id="ImageJ"),
        pytest.param((7, 10, 20), {"imagej": True, "metadata": {"axes": "ZYX"}}, "zyx", True, id="ImageJ stack"),
        pytest.param((2, 7, 10, 20), {"ome": True, "metadata": {"axes": "CZYX"}}, "czyx", True, id="OME"),
        pytest.param((1, 1, 2, 10, 20), {"ome": True, "metadata": {"axes": "TZCYX"}}, "cyx", True, id="OME, short"),
    ],
)  # fmt: skip
def test_axes_of_a_tiff_come_from_its_metadata(shape, options: dict, axes: str, own_axes: bool, tmp_path: Path) -> None:
    array = noise(shape)
    write(tmp_path / "a.tif", array, **options)
    with open_tiff(tmp_path / "a.tif") as image:
        assert (image.info.axes, image.info.own_axes) == (axes, own_axes)
        assert np.array_equal(image.read(Box.whole(image.info.shape)), np.squeeze(array))


def test_several_series_are_refused(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(noise((10, 20)))
        writer.write(noise((11, 20)))
    with pytest.raises(InputError, match=r"it holds 2 images, and none is the main one.*series1 \(11 x 20\)"):
        open_tiff(tmp_path / "a.tif")


def test_a_pyramid_is_one_image(tmp_path: Path) -> None:
    array = noise((64, 96))
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(array, subifds=1, tile=(32, 32))
        writer.write(array[::2, ::2], subfiletype=1, tile=(32, 32))
    assert np.array_equal(read(tmp_path / "a.tif"), array)


def test_more_than_five_axes_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", noise((2, 2, 2, 2, 3, 5)), photometric="minisblack")
    with pytest.raises(InputError, match="has 6 dimensions; an image has 2 to 5: save a part of it"):
        open_tiff(tmp_path / "a.tif")


# --- types -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "deflate"])
@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f4", "f8"])
def test_types_in_both_byte_orders(dtype: str, compression, byteorder: str, tmp_path: Path) -> None:
    array = noise((6, 7), dtype)
    write(tmp_path / "a.tif", array, byteorder=byteorder, compression=compression)
    data = read(tmp_path / "a.tif")
    assert data.dtype == array.dtype
    assert np.array_equal(data, array)


def test_types_that_become_others(tmp_path: Path) -> None:
    bits = noise((6, 11)) > 100
    assert np.array_equal(read(write(tmp_path / "bits.tif", bits)), bits.astype(np.uint8))
    half = noise((6, 7), "f2") / 3
    assert np.array_equal(read(write(tmp_path / "half.tif", half)), half.astype(np.float32))
    with pytest.raises(InputError, match="type complex64 cannot be used; integers and floats of up to 64 bits can"):
        open_tiff(write(tmp_path / "complex.tif", half.astype(np.complex64)))


def test_colour_maps_are_ignored(tmp_path: Path) -> None:
    array = noise((6, 7), "u1")
    write(tmp_path / "a.tif", array, photometric="palette", colormap=noise((3, 256)))
    assert np.array_equal(read(tmp_path / "a.tif"), array)


# --- ways of storing ---------------------------------------------------------------------------------------------

STORED = {
    "contiguous": {},
    "strips": {"rowsperstrip": 7, "compression": "lzw", "predictor": True},
    "one strip": {"compression": "deflate"},
    "tiles": {"tile": (16, 32), "compression": "zlib"},
    "plain tiles": {"tile": (16, 16)},
    "big": {"bigtiff": True, "compression": "zstd", "byteorder": ">"},
    "ome": {"ome": True, "compression": "lzw"},
    "imagej": {"imagej": True},
    "imagej packed": {"imagej": True, "compression": "deflate"},
    "bare": {"metadata": None},
    "volume": {"tile": (16, 16, 16), "volumetric": True},
}


@pytest.fixture(scope="module")
def stored_stacks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, np.ndarray]]:
    folder = tmp_path_factory.mktemp("stacks")
    found = {}
    for name, options in STORED.items():
        array = noise((20, 45, 70))
        metadata = {} if options.get("metadata", "") is None else {"metadata": {"axes": "ZYX"}}
        path = folder / f"{name.replace(' ', '_')}.tif"
        found[name] = write(path, array, photometric="minisblack", **(metadata | options)), array
    return found


@pytest.mark.sampled(2)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("name", STORED)
def test_every_region_of_every_way_of_storing(stored_stacks, name: str, data) -> None:
    path, array = stored_stacks[name]
    start = tuple(data.draw(st.integers(0, n - 1)) for n in array.shape)
    stop = tuple(data.draw(st.integers(a + 1, n)) for a, n in zip(start, array.shape, strict=True))
    box = Box(start, stop)
    with open_tiff(path) as image:
        assert np.array_equal(image.read(box), array[box.slices()])


@pytest.mark.parametrize(
    "options",
    [
        {"photometric": "rgb", "planarconfig": "contig"},
        {"photometric": "rgb", "planarconfig": "contig", "tile": (16, 16), "compression": "jpeg"},
        {"photometric": "rgb", "planarconfig": "contig", "rowsperstrip": 5, "compression": "deflate"},
        {
            "photometric": "minisblack",
            "planarconfig": "contig",
            "tile": (16, 32),
            "compression": "lzw",
            "predictor": True,
        },
    ],
    ids=["plain", "jpeg", "strips", "tiles"],
)
def test_colours_of_a_tiff_are_its_last_axis(options: dict, tmp_path: Path) -> None:
    array = noise((5, 33, 47, 3), "u1")
    path = write(tmp_path / "a.tif", array, metadata={"axes": "ZYXS"}, **options)
    expected = tifffile.imread(path)
    box = Box((1, 7, 11, 1), (4, 30, 40, 3))
    with open_tiff(path) as image:
        assert image.info.axes == "zyxc"
        assert np.array_equal(image.read(box), expected[box.slices()])


def test_separate_planes(tmp_path: Path) -> None:
    array = noise((3, 33, 47), "u1")
    write(tmp_path / "a.tif", array, photometric="rgb", planarconfig="separate", tile=(16, 16), compression="lzw")
    box = Box((1, 7, 11), (3, 30, 40))
    with open_tiff(tmp_path / "a.tif") as image:
        assert image.info.chunks == (1, 16, 16)
        assert np.array_equal(image.read(box), array[box.slices()])


def test_pages_of_another_library(tmp_path: Path) -> None:
    array = noise((6, 10, 20), "u1")
    pages = [Image.fromarray(page) for page in array]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:], compression="tiff_lzw")
    assert np.array_equal(read(tmp_path / "a.tif"), array)


def test_only_the_touched_segments_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = noise((4, 128, 128))
    write(tmp_path / "a.tif", array, tile=(32, 32), compression="lzw", **STACK)
    decoded = []
    original = tiff.TiffReader._decode_segment
    monkeypatch.setattr(tiff.TiffReader, "_decode_segment", lambda *a: decoded.append(a[2]) or original(*a))
    box = Box((1, 40, 40), (2, 60, 90))
    with open_tiff(tmp_path / "a.tif") as image:
        assert image.info.chunks == (1, 32, 32)
        for _ in range(2):  # the second time they are remembered
            assert np.array_equal(image.read(box), array[box.slices()])
    assert sorted(decoded) == [5, 6]


def test_threads_share_what_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = noise((3, 64, 64))
    write(tmp_path / "a.tif", array, compression="deflate", **STACK)
    monkeypatch.setattr(tiff, "_CACHE_BYTES", 20_000)
    with open_tiff(tmp_path / "a.tif") as image, ThreadPoolExecutor(8) as pool:
        boxes = list(Box.whole(array.shape).split((2, 20, 20))) * 3
        for box, part in zip(boxes, pool.map(image.read, boxes), strict=True):
            assert np.array_equal(part, array[box.slices()])


def test_a_large_contiguous_imagej_stack_is_mapped(tmp_path: Path) -> None:
    """Above 4 GB ImageJ writes one directory for all pages; here the same in small."""
    array = noise((9, 30, 40))
    write(tmp_path / "a.tif", array, imagej=True, metadata={"axes": "ZYX"})
    with open_tiff(tmp_path / "a.tif") as image:
        assert image.info.chunks is None
        assert np.array_equal(image.read(Box((8, 1, 2), (9, 30, 40))), array[8:, 1:, 2:])


# --- pixel sizes -------------------------------------------------------------------------------------------------


def test_ome_pixel_sizes(tmp_path: Path) -> None:
    sizes = {"PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 0.25, "PhysicalSizeYUnit": "nm"}
    sizes |= {"PhysicalSizeZ": 2.0, "PhysicalSizeZUnit": "µm", "TimeIncrement": 3.0, "TimeIncrementUnit": "s"}
    write(tmp_path / "a.tif", noise((2, 3, 4, 5)), ome=True, metadata={"axes": "TZYX", **sizes})
    with open_tiff(tmp_path / "a.tif") as image:
        assert image.info.resolution == {"x": 0.5, "y": 0.25, "z": 2.0, "t": 3.0}
        assert image.info.axis_units == {"x": "µm", "y": "nm", "z": "µm", "t": "s"}


@pytest.mark.parametrize(
    ("schema", "units"),
    [
        ("OME/2013-06", {"x": "µm", "y": "µm", "z": "", "t": "s"}),
        ("OME/2010-06", {"x": "µm", "y": "µm", "z": "", "t": "s"}),
        ("OME/2015-01", {"x": "", "y": "", "z": "", "t": ""}),
    ],
)
def test_pixel_sizes_of_older_schemas(tmp_path: Path, schema: str, units: dict[str, str]) -> None:
    """Schemas before 2015 have no units: sizes are in micrometres, times in seconds."""
    text = f"""<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/{schema}"><Image ID="Image:0"
        Name="a"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="5" SizeY="4" SizeC="1" SizeZ="3"
        SizeT="2" PhysicalSizeX="0.5" PhysicalSizeY="0.25" TimeIncrement="3"><TiffData/></Pixels></Image></OME>"""
    tifffile.imwrite(tmp_path / "a.tif", noise((6, 4, 5)), description=text, metadata=None)
    with open_tiff(tmp_path / "a.tif") as image:
        assert image.info.axes == "tzyx"
        assert image.info.resolution == {"x": 0.5, "y": 0.25, "t": 3.0}
        assert image.info.axis_units == units


def test_imagej_pixel_sizes(tmp_path: Path) -> None:
    metadata = {"axes": "TZYX", "spacing": 3.5, "finterval": 0.1, "unit": "\\u00B5m", "tunit": "sec"}
    write(tmp_path / "a.tif", noise((2, 3, 4, 5)), imagej=True, resolution=((10, 3), (4, 2)), metadata=metadata)
    with open_tiff(tmp_path / "a.tif") as image:
        assert image.info.resolution == pytest.approx({"x": 0.3, "y": 0.5, "z": 3.5, "t": 0.1})
        assert image.info.axis_units == {"x": "µm", "y": "µm", "z": "µm", "t": "sec"}


def test_imagej_without_sizes(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", noise((3, 4, 5)), imagej=True, metadata={"axes": "ZYX"})
    with open_tiff(tmp_path / "a.tif") as image:
        assert image.info.resolution == {"x": 1.0, "y": 1.0}
        assert image.info.axis_units == {"z": "", "y": "", "x": ""}  # as ilastik: there, without a unit


def test_resolution_tags_alone_say_nothing(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", noise((4, 5)), resolution=(300, 300))
    with open_tiff(tmp_path / "a.tif") as image:
        assert not image.info.resolution
        assert not image.info.axis_units


# --- damaged files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["contiguous", "strips", "tiles", "ome", "imagej", "bare", "one strip"])
@pytest.mark.parametrize("kept", [0, 7, 0.3, 0.8])
def test_truncated_tiffs_are_refused(stored_stacks, name: str, kept: float, tmp_path: Path) -> None:
    data = stored_stacks[name][0].read_bytes()
    (tmp_path / "a.tif").write_bytes(data[: kept if isinstance(kept, int) else int(len(data) * kept)])
    with pytest.raises(InputError, match=r"a\.tif") as caught:
        read(tmp_path / "a.tif")
    assert "\n" not in str(caught.value)


def check_that_it_reads_or_says_why(path: Path) -> None:
    """Anything but an InputError of one line fails the test."""
    problem = ""
    try:
        with open_tiff(path) as image:
            image.read(Box((0,) * len(image.info.shape), tuple(min(n, 50) for n in image.info.shape)))
    except InputError as error:
        problem = str(error)
    assert "\n" not in problem


def change_tag(path: Path, code: int, value: int) -> None:
    with tifffile.TiffFile(path, mode="r+b") as file:
        file.pages[0].tags[code].overwrite(value, dtype="I")


@pytest.mark.parametrize("options", [{}, {"compression": "deflate"}, {"tile": (16, 16), "compression": "lzw"}], ids=str)
def test_a_size_far_beyond_the_file(options: dict, tmp_path: Path) -> None:
    write(tmp_path / "a.tif", noise((32, 32)), metadata=None, **options)
    change_tag(tmp_path / "a.tif", 256, 4_000_000)
    change_tag(tmp_path / "a.tif", 257, 4_000_000)
    with pytest.raises(InputError, match=r"damaged|truncated"), open_tiff(tmp_path / "a.tif") as image:
        image.read(Box((0, 0), (2, 2)))


@pytest.mark.parametrize("code", [256, 257, 258, 259, 277, 278])
@pytest.mark.parametrize("value", [0, 3, 60_000])
def test_nonsense_in_the_directory(code: int, value: int, tmp_path: Path) -> None:
    write(tmp_path / "a.tif", noise((32, 32)), metadata=None, compression="deflate", rowsperstrip=8)
    change_tag(tmp_path / "a.tif", code, value)
    check_that_it_reads_or_says_why(tmp_path / "a.tif")


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_flipped_bytes_never_crash(stored_stacks, tmp_path_factory, data) -> None:
    path, _ = stored_stacks[data.draw(st.sampled_from(["strips", "tiles", "ome", "imagej"]))]
    content = bytearray(path.read_bytes())
    spread = [*range(400), *range(len(content) - 400, len(content))]
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.sampled_from(spread))] = data.draw(st.integers(0, 255))
    broken = tmp_path_factory.mktemp("broken") / "a.tif"
    broken.write_bytes(content)
    check_that_it_reads_or_says_why(broken)
    broken.unlink()


def test_not_a_tiff(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(99))
    with pytest.raises(InputError, match=r"cannot read .*a\.tif"):
        open_tiff(tmp_path / "a.tif")
    with pytest.raises(InputError):
        open_tiff(tmp_path)
    with pytest.raises(InputNotFound):
        open_tiff(tmp_path / "none.tif")


def test_hostile_axes(tmp_path: Path) -> None:
    """A description that promises an axis twice, or one that is not there, is not believed."""
    write(tmp_path / "a.tif", noise((5, 6)), description=json.dumps({"shape": [5, 6], "axes": "YY"}), metadata=None)
    with open_tiff(tmp_path / "a.tif") as image:
        assert (image.info.axes, image.info.own_axes) == ("yx", False)


def test_an_endless_chain_of_pages(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", noise((5, 6)), metadata=None)
    data = bytearray((tmp_path / "a.tif").read_bytes())
    (first,) = struct.unpack("<I", data[4:8])
    (count,) = struct.unpack("<H", data[first : first + 2])
    data[first + 2 + 12 * count : first + 6 + 12 * count] = struct.pack("<I", first)
    (tmp_path / "a.tif").write_bytes(data)
    check_that_it_reads_or_says_why(tmp_path / "a.tif")
