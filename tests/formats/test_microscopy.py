"""Files of microscopes: scenes, series and positions by name, read by region. The second readers are libraries."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from support.microscopy import Tile, write_czi, write_lif, write_nd2

from pixelforest import cli
from pixelforest.box import Box
from pixelforest.engine.errors import InputError, InputNotFound, as_flag
from pixelforest.engine.formats import find_input_format
from pixelforest.engine.formats.images.czi import open_incomplete
from pixelforest.engine.formats.spec import ImageReader
from pixelforest.engine.formats.support.czi_reader import CziReader
from pixelforest.engine.formats.support.lif_reader import open_lif
from pixelforest.engine.formats.support.nd2_reader import open_nd2

RNG = np.random.default_rng(5)
STACK = RNG.integers(0, 60_000, (2, 3, 2, 20, 31), dtype=np.uint16)  # t, c, z, y, x


def whole(reader: ImageReader) -> np.ndarray:
    return reader.read(Box.whole(reader.info.shape))


def check_regions(reader: ImageReader) -> None:
    """Assert that parts are those of the whole image."""
    image = whole(reader)
    for box in Box.whole(reader.info.shape).split(tuple(max(1, n // 2) for n in reader.info.shape)):
        assert np.array_equal(reader.read(box), image[box.slices()])


def planes(voxels: np.ndarray, **more: int) -> list[Tile]:
    """Subblocks of an image (t, c, z, y, x)."""
    return [
        ({"T": t, "C": c, "Z": z, **more}, voxels[t, c, z])
        for t, c, z in product(*(range(n) for n in voxels.shape[:3]))
    ]


# ----------------------------------------------------------------------------------------------------------------- CZI


@pytest.mark.parametrize(
    ("compression", "is_split"),
    [(0, False), (5, False), (6, False), (6, True), (4, False)],
    ids=["uncompressed", "Zstandard", "Zstandard 1", "Zstandard 1, bytes apart", "JPEG XR"],
)
def test_planes_of_czi(tmp_path: Path, compression: int, is_split: bool) -> None:
    write_czi(tmp_path / "a.czi", planes(STACK), compression=compression, is_split=is_split)
    with CziReader(tmp_path / "a.czi") as reader:
        assert (reader.info.axes, reader.info.dtype) == ("tzyxc", np.uint16)
        assert np.array_equal(whole(reader), np.moveaxis(STACK, 1, -1))
        assert reader.info.resolution == {"y": 0.5, "x": 0.5}
        assert reader.info.axis_units == {"y": "µm", "x": "µm"}
        check_regions(reader)
        reader.verify()


def test_czi_equals_a_library(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of older versions
        czifile = pytest.importorskip("czifile", reason="czifile is not installed")
        write_czi(tmp_path / "a.czi", planes(STACK))
        second = czifile.imread(tmp_path / "a.czi").squeeze()
    with CziReader(tmp_path / "a.czi") as reader:
        assert np.array_equal(whole(reader), np.moveaxis(second, 1, -1))


@pytest.mark.parametrize(
    ("dtype", "samples", "compression"),
    [*product(("uint8", "uint16"), (3,), (0, 5, 4)), ("uint8", 4, 0), ("uint8", 4, 5)],
)
def test_colours_of_czi_are_rgb(tmp_path: Path, dtype: str, samples: int, compression: int) -> None:
    pixels = RNG.integers(0, 255, (20, 31, samples)).astype(dtype)
    write_czi(tmp_path / "a.czi", [({}, pixels)], compression=compression)
    with CziReader(tmp_path / "a.czi") as reader:
        assert reader.info.axes == "yxc"
        assert np.array_equal(whole(reader), pixels)
        check_regions(reader)


def test_a_mosaic_is_drawn_in_the_order_of_its_tiles(tmp_path: Path) -> None:
    first, second = STACK[0, 0, 0], STACK[0, 0, 1]
    tiles = [({"M": 1, "X": 100 + 25, "Y": 7}, second), ({"M": 0, "X": 100, "Y": 7 - 4}, first)]
    expected = np.zeros((24, 56), np.uint16)
    expected[:20, :31], expected[4:, 25:] = first, second
    write_czi(tmp_path / "a.czi", tiles, reduced=[({"M": 2, "X": 100, "Y": 3}, first[:5, :5])], reduction=4)
    with CziReader(tmp_path / "a.czi") as reader:
        assert np.array_equal(whole(reader), expected)
        check_regions(reader)


def test_scenes_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiles = [*planes(STACK, S=0), *planes(STACK[:, :, :, :9] + 1, S=2, X=4000)]
    write_czi(tmp_path / "a.czi", tiles)
    with pytest.raises(InputError, match=r"holds 2 images; name one, as in a\.czi/scene0\. It has: scene0, scene2$"):
        CziReader(tmp_path / "a.czi")
    with pytest.raises(InputNotFound, match="there is no image 'scene1'"):
        CziReader(tmp_path / "a.czi", "scene1")
    with CziReader(tmp_path / "a.czi", "scene2") as reader:
        assert reader.siblings == ("scene0", "scene2")
        assert np.array_equal(whole(reader), np.moveaxis(STACK[:, :, :, :9] + 1, 1, -1))
    assert cli.main(["info", str(tmp_path / "a.czi")]) == 0
    assert "scene2: t=2 x z=2 x y=9 x x=31 x c=3, uint16" in capsys.readouterr().out


def test_missing_planes_of_czi_are_refused_or_zeros(tmp_path: Path) -> None:
    write_czi(tmp_path / "a.czi", planes(STACK)[:-1])
    with pytest.raises(InputError, match="1 of 12 planes are missing; allow_missing_planes") as caught:
        CziReader(tmp_path / "a.czi")
    assert "; --allow_missing_planes reads zeros" in caught.value.render(as_flag)
    with open_incomplete(tmp_path / "a.czi") as reader:
        assert not whole(reader)[1, 1, :, :, 2].any()
        assert "zeros are read in their place" in reader.warnings[0]


@pytest.mark.parametrize(
    ("tiles", "problem"),
    [
        pytest.param(
            [({"H": 0}, STACK[0, 0, 0]), ({"H": 1}, STACK[0, 0, 0])], r"several phases \(dimension H\)", id="H"
        ),
        pytest.param(
            [({"C": 0}, STACK[0, 0, 0]), ({"C": 1}, STACK[0, 0, 0].astype(np.uint8))], "different types", id="types"
        ),
    ],
)
def test_what_czi_cannot_be_is_refused(tmp_path: Path, tiles: list[Tile], problem: str) -> None:
    write_czi(tmp_path / "a.czi", tiles)
    with pytest.raises(InputError, match=problem):
        CziReader(tmp_path / "a.czi")


def test_damaged_czi_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.czi"
    write_czi(path, planes(STACK), compression=5)
    data = path.read_bytes()
    for length in (0, 20, 90, 700, len(data) // 2):
        path.write_bytes(data[:length])
        with pytest.raises(InputError, match=r"a\.czi: "):
            CziReader(path)
    path.write_bytes(data.replace(b"\x28\xb5\x2f\xfd", b"\x28\xb5\x2f\xfe"))  # the mark of Zstandard
    with CziReader(path) as reader, pytest.raises(InputError, match=r"cannot read \S+a\.czi"):
        whole(reader)
    path.write_bytes(data.replace(b"ZISRAWSUBBLOCK", b"ZISRAWSUBBLACK"))
    with CziReader(path) as reader, pytest.raises(InputError, match="no segment ZISRAWSUBBLOCK"):
        reader.verify()


def test_only_the_subblocks_of_a_region_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_czi(tmp_path / "a.czi", planes(STACK), compression=5)
    decoded = []
    decode = CziReader._decode
    monkeypatch.setattr(
        CziReader, "_decode", lambda self, block, index: decoded.append(block) or decode(self, block, index)
    )
    with CziReader(tmp_path / "a.czi") as reader:
        reader.read(Box((1, 0, 2, 3, 1), (2, 2, 9, 9, 3)))
    assert sorted((b.start["T"], b.start["Z"], b.start["C"]) for b in decoded) == [
        (1, z, c) for z in (0, 1) for c in (1, 2)
    ]


# ----------------------------------------------------------------------------------------------------------------- LIF


@pytest.fixture
def liffile():
    return pytest.importorskip("liffile", reason="liffile is not installed")


def test_images_of_lif(tmp_path: Path, liffile, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = STACK[0, :, 0]
    images = {"Series 1": ("TCZYX", STACK), "Series 2": ("λYX", sweep), "Series 3": ("YX", STACK[0, 0, 0])}
    write_lif(tmp_path / "a.lif", images)
    with pytest.raises(InputError, match=r"holds 3 images; name one, as in a\.lif/Series 1"):
        open_lif(tmp_path / "a.lif")
    for number, (name, (letters, voxels)) in enumerate(images.items()):
        with open_lif(tmp_path / "a.lif", name) as reader:
            assert reader.info.axes == letters.replace("λ", "C").lower()
            assert np.array_equal(whole(reader), voxels)
            assert np.array_equal(whole(reader), liffile.imread(tmp_path / "a.lif", image=number))
            assert reader.info.resolution["x"] == pytest.approx(0.5)
            assert reader.info.resolution.get("t", 2.0) == 2.0
            assert reader.siblings == tuple(images)
            check_regions(reader)
    read = []
    frame = liffile.LifImage.frame
    monkeypatch.setattr(liffile.LifImage, "frame", lambda self, **at: read.append(at) or frame(self, **at))
    with open_lif(tmp_path / "a.lif", "Series 1") as reader:
        reader.read(Box((1, 1, 0, 3, 4), (2, 3, 1, 9, 9)))
    assert read == [{"T": 1, "C": 1, "Z": 0}, {"T": 1, "C": 2, "Z": 0}]


def test_what_lif_cannot_be_is_refused(tmp_path: Path, liffile) -> None:
    write_lif(tmp_path / "a.lif", {"tiles": ("MYX", STACK[0, :, 0]), "side": ("ZX", STACK[0, 0, 0])})
    with pytest.raises(InputError, match="tiles of a mosaic"):
        open_lif(tmp_path / "a.lif", "tiles")
    with open_lif(tmp_path / "a.lif", "side") as reader:
        assert reader.info.axes_problem == "its axes are Z, X"
    (tmp_path / "b.lif").write_bytes((tmp_path / "a.lif").read_bytes()[:50])
    with pytest.raises(InputError, match=r"cannot read \S+b\.lif"):
        open_lif(tmp_path / "b.lif")


# ----------------------------------------------------------------------------------------------------------------- ND2


@pytest.fixture
def nd2():
    return pytest.importorskip("nd2", reason="nd2 is not installed")


@pytest.mark.parametrize("loops", ["TZ", "T", "Z", ""])
def test_frames_of_nd2(tmp_path: Path, nd2, loops: str) -> None:
    voxels = np.moveaxis(STACK, 1, 2)[tuple(slice(None) if a in loops else 0 for a in "TZ")]
    write_nd2(tmp_path / "a.nd2", voxels, loops)
    with open_nd2(tmp_path / "a.nd2") as reader:
        assert reader.info.axes == f"{loops}CYX".lower()
        assert np.array_equal(whole(reader), voxels)
        assert np.array_equal(whole(reader), nd2.imread(tmp_path / "a.nd2"))
        assert reader.info.resolution == {"y": 0.5, "x": 0.5} | ({"z": 2.0} if "Z" in loops else {})
        check_regions(reader)


def test_positions_of_nd2_are_named(tmp_path: Path, nd2, monkeypatch: pytest.MonkeyPatch) -> None:
    voxels = np.stack([np.moveaxis(STACK, 1, 2) + i for i in range(3)], axis=1)  # t, p, z, c, y, x
    write_nd2(tmp_path / "a.nd2", voxels, "TPZ")
    with pytest.raises(InputError, match=r"holds 3 images; name one, as in a\.nd2/position0"):
        open_nd2(tmp_path / "a.nd2")
    read = []
    frame = nd2.ND2File.read_frame
    monkeypatch.setattr(nd2.ND2File, "read_frame", lambda self, number: read.append(number) or frame(self, number))
    with open_nd2(tmp_path / "a.nd2", "position2") as reader:
        assert reader.siblings == ("position0", "position1", "position2")
        part = reader.read(Box((1, 0, 0, 2, 3), (2, 2, 3, 9, 9)))
        assert np.array_equal(part, voxels[1:2, 2, :, :, 2:9, 3:9])
    assert read == [10, 11]


def test_colours_of_nd2(tmp_path: Path, nd2) -> None:
    pixels = RNG.integers(0, 255, (2, 20, 31, 3), dtype=np.uint8)
    write_nd2(tmp_path / "a.nd2", pixels, "Z", pixel_um=0.0)
    with open_nd2(tmp_path / "a.nd2") as reader:
        assert reader.info.axes == "zyxc"
        assert reader.info.resolution == {"z": 2.0}  # y and x are not calibrated
        assert np.array_equal(whole(reader), pixels)


def test_frames_that_nd2_would_read_as_zeros_are_refused(tmp_path: Path, nd2) -> None:
    voxels = np.moveaxis(STACK, 1, 2)
    write_nd2(tmp_path / "a.nd2", voxels, "TZ", missing=2)
    with pytest.raises(InputError, match="1 of 4 frames are missing"):
        open_nd2(tmp_path / "a.nd2")
    write_nd2(tmp_path / "b.nd2", voxels, "TZ")
    (tmp_path / "b.nd2").write_bytes((tmp_path / "b.nd2").read_bytes()[:9000])
    with pytest.raises(InputError, match=r"cannot read \S+b\.nd2"):
        open_nd2(tmp_path / "b.nd2")


# -------------------------------------------------------------------------------------------------------------- both


@pytest.mark.parametrize(("extension", "package"), [("lif", "liffile"), ("nd2", "nd2")])
def test_a_missing_package_is_named(
    tmp_path: Path, extension: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"a.{extension}").touch()
    monkeypatch.setitem(sys.modules, package, None)  # its import fails
    chosen = find_input_format(extension)
    assert chosen is not None
    with pytest.raises(InputError, match=rf"needs the package {package} .*pip install 'pixelforest\[microscopy\]'"):
        chosen.open(tmp_path / f"a.{extension}", "")


@pytest.mark.parametrize("extension", ["czi", "lif", "nd2"])
def test_a_file_that_is_not_there(tmp_path: Path, extension: str) -> None:
    chosen = find_input_format(extension)
    assert chosen is not None
    with pytest.raises(InputNotFound, match="there is no file"):
        chosen.open(tmp_path / f"a.{extension}", "")
    assert chosen.list_images is not None
    with pytest.raises(InputNotFound, match="there is no file"):
        chosen.list_images(tmp_path / f"a.{extension}")


def test_a_run_reads_czi(copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(copy_golden("px2d_rgb"))
    pixels = RNG.integers(0, 255, (20, 31, 3), dtype=np.uint8)
    write_czi(Path("a.czi"), [({"S": 0}, pixels), ({"S": 1}, pixels[::-1])])
    np.save("b.npy", pixels[::-1])
    argv = ["--project=project.ilp", "--threads=1", "--device=cpu", "--output_filename_format=out/{nickname}"]
    assert cli.main([*argv, "--output_format=numpy", "a.czi/scene1", "b.npy"]) == 0
    assert np.array_equal(np.load("out/a-scene1.npy"), np.load("out/b.npy"))
