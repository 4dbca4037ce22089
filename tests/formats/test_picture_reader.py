"""Pictures: what the pixels of each kind become, and what is refused."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from pixelforest.box import Box
from pixelforest.engine.errors import InputError, InputNotFound
from pixelforest.engine.formats.images.picture import open_picture
from pixelforest.engine.formats.support import picture_reader

RNG = np.random.default_rng(3)
GRAY = RNG.integers(0, 256, (9, 14), dtype=np.uint8)
RGB = RNG.integers(0, 256, (9, 14, 3), dtype=np.uint8)


def read(path: Path) -> np.ndarray:
    with open_picture(path) as picture:
        assert picture.info.axes == "yxc"
        assert picture.info.own_axes
        pixels = picture.read(Box.whole(picture.info.shape))
        assert pixels.shape == picture.info.shape == picture.info.chunks
        assert pixels.dtype == picture.info.dtype
        assert pixels.dtype.isnative
    return pixels


def save(path: Path, picture: Image.Image | np.ndarray, **options) -> Path:
    (Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture).save(path, **options)
    return path


def png(pixels: np.ndarray, depth: int, colour: int, *extra: tuple[bytes, bytes], size=None) -> bytes:
    """A PNG made by hand: rows of packed bytes, no filter."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width = size or pixels.shape[:2]
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [(b"IHDR", header), *extra, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*p) for p in parts)


# --- PNG ---------------------------------------------------------------------------------------------------------


def test_png_keeps_a_channel_axis_for_gray(tmp_path: Path) -> None:
    assert np.array_equal(read(save(tmp_path / "a.png", GRAY)), GRAY[..., None])


@pytest.mark.parametrize(("mode", "channels"), [("LA", 2), ("RGB", 3), ("RGBA", 4)])
def test_png_alpha_is_an_ordinary_channel(mode: str, channels: int, tmp_path: Path) -> None:
    pixels = RNG.integers(0, 256, (5, 6, channels), dtype=np.uint8)
    assert np.array_equal(read(save(tmp_path / "a.png", pixels)), pixels)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_of_16_bits(channels: int, tmp_path: Path) -> None:
    pixels = RNG.integers(0, 65536, (5, 6, channels), dtype=np.uint16)
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    (tmp_path / "a.png").write_bytes(png(pixels.astype(">u2"), 16, colour))
    assert np.array_equal(read(tmp_path / "a.png"), pixels)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_png_of_few_bits_is_scaled(depth: int, tmp_path: Path) -> None:
    levels = RNG.integers(0, 1 << depth, (5, 8), dtype=np.uint8)
    packed = np.zeros((5, depth), np.uint8)
    for x in range(8):
        shift = 8 - depth - x * depth % 8
        packed[:, x * depth // 8] |= levels[:, x] << shift
    (tmp_path / "a.png").write_bytes(png(packed, depth, 0, size=(5, 8)))
    assert np.array_equal(read(tmp_path / "a.png")[..., 0], levels * (255 // ((1 << depth) - 1)))


@pytest.mark.parametrize("transparent", [False, True])
def test_png_palette_becomes_rgb(transparent: bool, tmp_path: Path) -> None:
    palette = RNG.integers(0, 256, (256, 3), dtype=np.uint8)
    picture = Image.fromarray(GRAY, "L").convert("P")
    picture.putpalette(palette.tobytes())
    save(tmp_path / "a.png", picture, **({"transparency": bytes(range(256))} if transparent else {}))
    assert np.array_equal(read(tmp_path / "a.png"), palette[GRAY])


def test_png_transparent_colour_is_no_channel(tmp_path: Path) -> None:
    save(tmp_path / "g.png", GRAY, transparency=7)
    assert np.array_equal(read(tmp_path / "g.png"), GRAY[..., None])
    save(tmp_path / "c.png", RGB, transparency=(1, 2, 3))
    assert np.array_equal(read(tmp_path / "c.png"), RGB)


def test_png_gamma_and_resolution_are_ignored(tmp_path: Path) -> None:
    data = png(GRAY, 8, 0, (b"gAMA", struct.pack(">I", 100000)), (b"pHYs", struct.pack(">IIB", 9, 9, 1)))
    (tmp_path / "a.png").write_bytes(data)
    assert np.array_equal(read(tmp_path / "a.png"), GRAY[..., None])
    with open_picture(tmp_path / "a.png") as picture:
        assert not picture.info.resolution


def test_png_interlaced(tmp_path: Path) -> None:
    # Adam7 by hand: pass after pass of the pixels it names
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    rows = b""
    for x, y, dx, dy in passes:
        part = GRAY[y::dy, x::dx]
        if part.size:
            rows += b"".join(b"\0" + row.tobytes() for row in part)
    plain = png(GRAY, 8, 0)
    header = struct.pack(">IIBBBBB", 14, 9, 8, 0, 0, 0, 1)
    ihdr = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    packed = zlib.compress(rows)
    idat = struct.pack(">I", len(packed)) + b"IDAT" + packed + struct.pack(">I", zlib.crc32(b"IDAT" + packed))
    (tmp_path / "a.png").write_bytes(plain[:8] + ihdr + idat + plain[-12:])
    assert np.array_equal(read(tmp_path / "a.png"), GRAY[..., None])


# --- JPEG --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("subsampling", [0, 2])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("pixels", [GRAY, RGB], ids=["gray", "rgb"])
def test_jpeg_is_what_libjpeg_decodes(pixels, progressive: bool, subsampling: int, tmp_path: Path) -> None:
    save(tmp_path / "a.jpg", pixels, progressive=progressive, subsampling=subsampling, restart_marker_blocks=1)
    with Image.open(tmp_path / "a.jpg") as picture:
        assert np.array_equal(read(tmp_path / "a.jpg"), np.atleast_3d(np.asarray(picture)))


def test_jpeg_cmyk_stays_as_stored(tmp_path: Path) -> None:
    smooth = np.linspace(0, 255, 32 * 32 * 4).reshape(32, 32, 4).astype(np.uint8)
    save(tmp_path / "a.jpg", Image.fromarray(smooth, "CMYK"), quality=100)
    pixels = read(tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as picture:  # Pillow turns the values of Adobe files round
        assert np.array_equal(pixels, 255 - np.asarray(picture))


def test_jpeg_is_not_turned_by_exif(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path / "turned.jpg", RGB, exif=exif)
    save(tmp_path / "plain.jpg", RGB)
    assert np.array_equal(read(tmp_path / "turned.jpg"), read(tmp_path / "plain.jpg"))


def test_jpeg_with_the_size_behind_a_long_profile(tmp_path: Path) -> None:
    save(tmp_path / "a.jpg", RGB, icc_profile=bytes(200_000))
    assert read(tmp_path / "a.jpg").shape == RGB.shape


# --- BMP and GIF -------------------------------------------------------------------------------------------------


def test_bmp_of_every_mode_is_read(tmp_path: Path) -> None:
    assert np.array_equal(read(save(tmp_path / "c.bmp", RGB)), RGB)
    assert np.array_equal(read(save(tmp_path / "g.bmp", GRAY)), GRAY[..., None])
    bits = Image.fromarray(GRAY > 100)
    assert np.array_equal(read(save(tmp_path / "b.bmp", bits)), (GRAY > 100)[..., None] * 255)


@pytest.mark.parametrize("extension", ["bmp", "gif"])
@pytest.mark.parametrize("is_gray", [True, False])
def test_palettes_of_grays_give_one_channel(extension: str, is_gray: bool, tmp_path: Path) -> None:
    palette = RNG.integers(0, 256, (256, 3), dtype=np.uint8)
    palette[:, 1:] = palette[:, :1] if is_gray else palette[:, 1:]
    every = np.resize(np.arange(256, dtype=np.uint8), (16, 20))
    picture = Image.fromarray(every, "L").convert("P")
    picture.putpalette(palette.tobytes())
    options = {"optimize": False} if extension == "gif" else {}
    pixels = read(save(tmp_path / f"a.{extension}", picture, **options))
    assert np.array_equal(pixels, palette[every][..., : 1 if is_gray else 3])


def test_gif_gives_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.fromarray(GRAY // n, "L") for n in (1, 2, 3)]
    save(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    assert np.array_equal(read(tmp_path / "a.gif"), GRAY[..., None])


# --- PNM ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(b"P1\n# c\n3 2\n101\n0 1 0", [[255, 0, 255], [0, 255, 0]], id="P1"),
        pytest.param(b"P2 3 1 # wide\n9\n1 2 # x 7\n9", [[1, 2, 9]], id="P2"),
        pytest.param(b"P2 2 1\n65535\n256 65535", [[256, 65535]], id="P2 of 16 bits"),
        pytest.param(b"P3 1 2 255 1 2 3 4 5 6", [[[1, 2, 3]], [[4, 5, 6]]], id="P3"),
        pytest.param(b"P4 10 1\n\xa0\x40", [[255, 0, 255, 0, 0, 0, 0, 0, 0, 255]], id="P4"),
        pytest.param(b"P5 2 1 100\n\x0a\x64", [[10, 100]], id="P5 is not scaled"),
        pytest.param(b"P5 2 1 1000\n\x00\x0a\x01\x00", [[10, 256]], id="P5 of 16 bits"),
        pytest.param(b"P5 1 1 100000\n\x00\x01\x00\x00", [[65536]], id="P5 of 32 bits"),
        pytest.param(b"P6\n#\n1 1 255\n\x0a\x0b\x0c", [[[10, 11, 12]]], id="P6 whose pixel is a line feed"),
    ],
)
def test_pnm_of_every_kind_is_read(data: bytes, expected: list, tmp_path: Path) -> None:
    (tmp_path / "a.pnm").write_bytes(data)
    pixels = read(tmp_path / "a.pnm")
    assert np.array_equal(pixels, np.atleast_3d(np.array(expected)))
    assert pixels.dtype == (np.uint32 if 65536 in pixels else np.uint16 if pixels.max() > 255 else np.uint8)


@pytest.mark.parametrize("width", [3, 8, 14])
@pytest.mark.parametrize("kind", ["ASCII", "binary"])
def test_bitmaps_are_the_negative_of_what_other_programs_show(kind: str, width: int, tmp_path: Path) -> None:
    """As in vigra, whose reader of ASCII bitmaps multiplies each bit by 255; to netpbm a set bit is black."""
    bits = GRAY[:, :width] > 127
    path = save(tmp_path / "binary.pbm", Image.fromarray(bits))
    if kind == "ASCII":
        path = tmp_path / "ascii.pbm"
        rows = "\n".join("".join("01"[not white] for white in row) for row in bits)
        path.write_text(f"P1\n{width} {len(bits)}\n{rows}\n")
    shown = np.asarray(Image.open(path).convert("L"))
    assert np.array_equal(shown, bits * np.uint8(255))
    assert np.array_equal(read(path), 255 - shown[..., None])


# --- what is common ----------------------------------------------------------------------------------------------


def test_regions_and_threads(tmp_path: Path) -> None:
    save(tmp_path / "a.png", RGB)
    with open_picture(tmp_path / "a.png") as picture, ThreadPoolExecutor(4) as pool:
        boxes = list(Box.whole(RGB.shape).split((4, 5, 2)))
        for box, part in zip(boxes, pool.map(picture.read, boxes), strict=True):
            assert np.array_equal(part, RGB[box.slices()])


def test_the_kind_is_told_by_the_content(tmp_path: Path) -> None:
    save(tmp_path / "a.jpg", RGB, format="PNG")
    assert np.array_equal(read(tmp_path / "a.jpg"), RGB)


def test_large_pictures_are_neither_refused_nor_warned_about(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    for extension in ("png", "jpg", "bmp", "gif"):
        save(tmp_path / f"a.{extension}", GRAY)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert read(tmp_path / f"a.{extension}").shape[:2] == GRAY.shape


def test_the_header_is_read_without_decoding(tmp_path: Path) -> None:
    wide = np.zeros((4000, 50), np.uint8)
    data = png(wide, 8, 0)
    (tmp_path / "a.png").write_bytes(data.replace(b"IDAT", b"IDAX"))
    with open_picture(tmp_path / "a.png") as picture:
        assert picture.info.shape == (4000, 50, 1)
        with pytest.raises(InputError, match="cannot read"):
            picture.read(Box.whole(picture.info.shape))


@pytest.mark.parametrize("extension", ["png", "jpg", "bmp", "gif", "ppm"])
@pytest.mark.parametrize("kept", [0.0, 0.02, 0.5, 0.97])
def test_truncated_pictures_are_refused(extension: str, kept: float, tmp_path: Path) -> None:
    pixels = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    save(tmp_path / f"a.{extension}", pixels)
    data = (tmp_path / f"a.{extension}").read_bytes()
    (tmp_path / f"a.{extension}").write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(InputError, match=rf"a\.{extension}") as caught:
        read(tmp_path / f"a.{extension}")
    assert "\n" not in str(caught.value)


def test_a_header_that_promises_more_than_the_file_holds(tmp_path: Path) -> None:
    cases = {
        "a.png": png(GRAY, 8, 0, size=(60_000, 60_000)),
        "a.ppm": b"P6 99999 99999 255\n123",
        "a.bmp": b"",
        "a.jpg": b"",
    }
    save(tmp_path / "s.bmp", RGB)
    bmp = bytearray((tmp_path / "s.bmp").read_bytes())
    bmp[18:26] = struct.pack("<ii", 200_000, 200_000)
    cases["a.bmp"] = bytes(bmp)
    save(tmp_path / "s.jpg", RGB)
    jpeg = bytearray((tmp_path / "s.jpg").read_bytes())
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 65_000, 65_000)
    cases["a.jpg"] = bytes(jpeg)
    for name, data in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match="truncated or damaged"):
            open_picture(tmp_path / name)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
        b"BM",
        b"GIF89a",
        b"P5",
        b"P5 0 5 255\n",
        b"P5 2 2 99999999999\n",
        b"P2 2 2 255\n1 2 x 4",
        b"\xff\xd8\xff\xc0\x00\x0b\x0c\x00\x01\x00\x01\x01\x00\x00",
        png(GRAY, 3, 0),
        png(GRAY, 8, 5),
    ],
)
def test_damaged_pictures_are_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(InputError, match=r"cannot read .*a\.png"):
        read(tmp_path / "a.png")


def test_missing_and_vanished_files(tmp_path: Path) -> None:
    with pytest.raises(InputNotFound):
        open_picture(tmp_path / "none.png")
    with pytest.raises(InputError):
        open_picture(tmp_path)
    save(tmp_path / "a.png", GRAY)
    with open_picture(tmp_path / "a.png") as picture:  # small ones are read when they are opened
        (tmp_path / "a.png").unlink()
        assert np.array_equal(picture.read(Box.whole(picture.info.shape))[..., 0], GRAY)
    with pytest.raises(InputNotFound, match=r"a\.png"):
        picture.read(Box.whole(picture.info.shape))


def test_a_large_picture_that_vanishes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_reader, "_SMALL_BYTES", 0)
    monkeypatch.setattr(picture_reader, "_HEADER_BYTES", 40)
    save(tmp_path / "a.png", GRAY)
    with open_picture(tmp_path / "a.png") as picture:
        (tmp_path / "a.png").unlink()
        with pytest.raises(InputNotFound, match=r"a\.png"):
            picture.read(Box.whole(picture.info.shape))


def test_a_picture_that_changes_behind_our_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_reader, "_SMALL_BYTES", 0)
    monkeypatch.setattr(picture_reader, "_HEADER_BYTES", 40)
    save(tmp_path / "a.png", GRAY)
    with open_picture(tmp_path / "a.png") as picture:
        save(tmp_path / "a.png", GRAY[:4])
        with pytest.raises(InputError, match="instead of"):
            picture.read(Box.whole(picture.info.shape))


def test_encoders_of_the_tests_are_what_they_seem() -> None:
    assert np.array_equal(imagecodecs.png_decode(png(RGB, 8, 2)), RGB)
    with Image.open(io.BytesIO(png(GRAY, 8, 0))) as picture:
        assert np.array_equal(np.asarray(picture), GRAY)


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_png_that_is_cut_short_says_so_before_it_is_decoded(share: float, tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", np.random.default_rng(0).integers(0, 255, (90, 100), np.uint8))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with open_picture(path) as reader, pytest.raises(InputError, match="the file is truncated"):
        reader.verify()
    with open_picture(path) as reader, pytest.raises(InputError, match="the file is truncated"):
        reader.read(Box.whole(reader.info.shape))


def test_a_png_that_only_lacks_its_end_is_read(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", GRAY)
    path.write_bytes(path.read_bytes()[:-12])
    with open_picture(path) as reader:
        reader.verify()


# --- JPEG 2000 ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_bare", [False, True], ids=["file", "codestream"])
@pytest.mark.parametrize("pixels", [GRAY, RGB, GRAY.astype(np.uint16) * 257], ids=["gray", "RGB", "16 bits"])
def test_jpeg_2000_equals_pillow(tmp_path: Path, pixels: np.ndarray, is_bare: bool) -> None:
    path = save(tmp_path / "a.jp2", pixels, no_jp2=is_bare)
    with Image.open(path) as picture:
        expected = np.atleast_3d(np.asarray(picture))
    found = read(path)
    assert found.dtype == expected.dtype
    assert np.array_equal(found, expected)
    assert np.array_equal(found, np.atleast_3d(pixels))


@pytest.mark.parametrize(
    ("component", "problem"),
    [
        pytest.param(b"\x07\x01\x01\x07\x02\x02", "different sizes or types", id="subsampled"),
        pytest.param(b"\x07\x01\x01\x0b\x01\x01", "different sizes or types", id="two types"),
        pytest.param(b"\x1f\x01\x01\x1f\x01\x01", "32 bits", id="too deep"),
    ],
)
def test_jpeg_2000_of_other_components_is_refused(tmp_path: Path, component: bytes, problem: str) -> None:
    size = struct.pack(">HH8IH", 44, 0, 9, 14, 0, 0, 9, 14, 0, 0, 2)
    (tmp_path / "a.j2k").write_bytes(b"\xff\x4f\xff\x51" + size + component)
    with pytest.raises(InputError, match=problem):
        open_picture(tmp_path / "a.j2k")


def test_jpeg_2000_without_a_codestream_is_refused(tmp_path: Path) -> None:
    whole = save(tmp_path / "a.jp2", GRAY).read_bytes()
    (tmp_path / "a.jp2").write_bytes(whole[:40])
    with pytest.raises(InputError, match="truncated"):
        open_picture(tmp_path / "a.jp2")
