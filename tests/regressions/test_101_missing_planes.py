"""Planes that the metadata of a TIFF promise and that no file holds became zeros, with status 0 and not a word.

One file of a multi-file OME-TIFF, copied or renamed, was computed as an image that was empty but for one plane.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from support.tiff_sets import (
    ome_xml,
    plane_name,
    uuid_of,
    write_described,
    write_micromanager_stack,
    write_ndtiff,
    write_ome_set,
)

from pixelforest import cli
from pixelforest.box import Box
from pixelforest.engine.errors import InputError
from pixelforest.engine.formats.images.tiff import open_incomplete_tiff, open_tiff

VOLUME = np.random.default_rng(1).integers(1, 200, (6, 14, 15), dtype="u1")
OWN = '<TiffData FirstZ="0" IFD="0" PlaneCount="{}"/>'


def keeping(*planes: int) -> np.ndarray:
    """The volume with zeros for all other planes."""
    kept = np.zeros_like(VOLUME)
    kept[list(planes)] = VOLUME[list(planes)]
    return kept


def read(path: Path) -> np.ndarray:
    """All voxels, with zeros for missing planes."""
    with open_incomplete_tiff(path) as image:
        assert len(image.warnings) == 1
        assert "planes that its" in image.warnings[0]
        return image.read(Box.whole(image.info.shape))


def refusal(path: Path) -> str:
    """Error for a file that is not read without the option: one line that names both."""
    with pytest.raises(InputError) as caught:
        open_tiff(path)
    text = str(caught.value)
    assert str(path) in text
    assert "allow_missing_planes" in text
    assert "\n" not in text
    return text


# ---------------------------------------------------------------------------------------------- OME sets of files


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_one_file_of_a_set_alone(tmp_path: Path, compression: str | None) -> None:
    write_ome_set(tmp_path, VOLUME, compression=compression)
    for z in (1, 3, 4, 5):
        (tmp_path / plane_name(z)).unlink()
    text = refusal(tmp_path / "p00.ome.tif")
    assert "4 of 6 planes that its OME metadata promise are missing" in text
    assert "p01.ome.tif (not there), p03.ome.tif (not there), p04.ome.tif (not there) and 1 more files" in text
    assert np.array_equal(read(tmp_path / "p00.ome.tif"), keeping(0, 2))


def test_a_renamed_file_of_a_set(tmp_path: Path) -> None:
    write_ome_set(tmp_path / "set", VOLUME)
    (tmp_path / "set" / plane_name(3)).rename(tmp_path / "renamed.ome.tif")
    assert "5 of 6 planes" in refusal(tmp_path / "renamed.ome.tif")
    assert np.array_equal(read(tmp_path / "renamed.ome.tif"), keeping(3))


def test_a_renamed_file_of_a_set_without_identities(tmp_path: Path) -> None:
    """tifffile finds none of the planes and takes the file for a picture without metadata."""
    write_ome_set(tmp_path / "set", VOLUME, with_uuid=False)
    (tmp_path / "set" / plane_name(3)).rename(tmp_path / "renamed.ome.tif")
    assert "5 of 6 planes that its OME metadata promise" in refusal(tmp_path / "renamed.ome.tif")
    assert np.array_equal(read(tmp_path / "renamed.ome.tif"), VOLUME[3])


@pytest.mark.parametrize(("content", "reason"), [(b"no TIFF at all", "not a TIFF file"), (b"", "not a TIFF file")])
def test_a_file_of_the_set_that_is_no_tiff(tmp_path: Path, content: bytes, reason: str) -> None:
    write_ome_set(tmp_path, VOLUME)
    (tmp_path / plane_name(2)).write_bytes(content)
    assert (
        f"1 of 6 planes that its OME metadata promise is missing: they should be in p02.ome.tif ({reason})"
        in refusal(tmp_path / "p00.ome.tif")
    )
    assert np.array_equal(read(tmp_path / "p00.ome.tif"), keeping(0, 1, 3, 4, 5))


def test_a_file_of_the_set_with_too_few_pages(tmp_path: Path) -> None:
    blocks = (
        f'<TiffData FirstZ="0" IFD="0" PlaneCount="3"><UUID FileName="a.ome.tif">{uuid_of(0)}</UUID></TiffData>'
        f'<TiffData FirstZ="3" IFD="0" PlaneCount="3"><UUID FileName="b.ome.tif">{uuid_of(1)}</UUID></TiffData>'
    )
    write_described(tmp_path / "a.ome.tif", VOLUME[:3], ome_xml(VOLUME.shape, blocks, uuid=uuid_of(0)))
    write_described(tmp_path / "b.ome.tif", VOLUME[3:5], ome_xml(VOLUME.shape, blocks, uuid=uuid_of(1)))
    assert "1 of 6 planes" in (text := refusal(tmp_path / "a.ome.tif"))
    assert "b.ome.tif (too few planes)" in text
    assert np.array_equal(read(tmp_path / "a.ome.tif"), keeping(0, 1, 2, 3, 4))


def test_a_file_of_the_set_with_planes_of_another_shape(tmp_path: Path) -> None:
    write_ome_set(tmp_path, VOLUME)
    write_described(tmp_path / plane_name(2), VOLUME[2, :5], "replaced")
    for opened in (open_tiff, open_incomplete_tiff):
        with pytest.raises(InputError, match=r"p02\.ome\.tif are \(5, 15\) uint8, not \(14, 15\) uint8"):
            opened(tmp_path / "p00.ome.tif")


# ---------------------------------------------------------------------------------------- promises of a single file


@pytest.mark.parametrize(
    "blocks",
    [
        pytest.param(OWN.format(4), id="SizeZ is more than TiffData lists"),
        pytest.param(OWN.format(6), id="PlaneCount is more than the pages"),
        pytest.param('<TiffData FirstZ="0" IFD="0"/>' * 1 + OWN.format(9), id="PlaneCount is more than SizeZ"),
        pytest.param(
            OWN.format(4) + "".join(f'<TiffData FirstZ="{z}" IFD="{z + 40}" PlaneCount="1"/>' for z in (4, 5)),
            id="IFD beyond the pages",
        ),
        pytest.param(OWN.format(4) + '<TiffData FirstZ="70" IFD="1" PlaneCount="1"/>', id="FirstZ beyond SizeZ"),
    ],
)
def test_ome_metadata_of_a_file_with_too_few_pages(tmp_path: Path, blocks: str) -> None:
    path = write_described(tmp_path / "a.ome.tif", VOLUME[:4], ome_xml(VOLUME.shape, blocks))
    assert "2 of 6 planes that its OME metadata promise are missing: they should be in the file itself" in refusal(path)
    assert np.array_equal(read(path), keeping(0, 1, 2, 3))


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_imagej_stacks_with_too_few_pages(tmp_path: Path, compression: str | None) -> None:
    text = "ImageJ=1.53t\nimages=6\nslices=6\nloop=false\n"
    path = write_described(tmp_path / "a.tif", VOLUME[:4], text, compression=compression)
    assert "2 of 6 planes that its ImageJ metadata promise are missing" in refusal(path)
    assert np.array_equal(read(path), keeping(0, 1, 2, 3))


def test_imagej_hyperstacks_with_too_few_pages(tmp_path: Path) -> None:
    text = "ImageJ=1.53t\nimages=6\nchannels=3\nslices=2\nhyperstack=true\n"
    path = write_described(tmp_path / "a.tif", VOLUME[:5], text)
    assert "1 of 6 planes" in refusal(path)
    assert np.array_equal(read(path), keeping(0, 1, 2, 3, 4).reshape(2, 3, 14, 15))


def test_a_large_imagej_stack_that_was_cut_short(tmp_path: Path) -> None:
    """Above 4 GB ImageJ writes a single directory before all planes; only the first one was read of such a file."""
    text = "ImageJ=1.53t\nimages=6\nslices=6\nloop=false\n"
    path = write_described(tmp_path / "a.tif", VOLUME[:1], text)
    with tifffile.TiffFile(path) as tiff:
        stop = tiff.pages.first.dataoffsets[0] + VOLUME[0].nbytes
    path.write_bytes(path.read_bytes()[:stop] + VOLUME[1:4].tobytes() + VOLUME[4].tobytes()[:50])
    assert "2 of 6 planes" in refusal(path)
    assert np.array_equal(read(path), keeping(0, 1, 2, 3))


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_shaped_metadata_with_too_few_pages(tmp_path: Path, compression: str | None) -> None:
    text = json.dumps({"shape": list(VOLUME.shape), "axes": "ZYX"})
    path = write_described(tmp_path / "a.tif", VOLUME[:4], text, compression=compression)
    assert "of 6 planes" in refusal(path)
    found = read(path)
    assert found.shape == VOLUME.shape
    assert np.array_equal(found[0], VOLUME[0])


# -------------------------------------------------------------------------------------------------- Micro-Manager


def test_a_micromanager_stack_whose_second_file_is_not_there(tmp_path: Path) -> None:
    path = write_micromanager_stack(tmp_path / "x_MMStack.ome.tif", VOLUME[1:4], first=1, slices=6)
    assert "3 of 6 planes that its Micro-Manager metadata promise are missing" in refusal(path)
    assert np.array_equal(read(path), keeping(1, 2, 3))


def test_a_micromanager_stack_that_was_cut_short(tmp_path: Path) -> None:
    path = write_micromanager_stack(tmp_path / "x_MMStack.ome.tif", VOLUME[:4], slices=6, listed=6)
    assert "2 of 6 planes" in refusal(path)
    assert np.array_equal(read(path), keeping(0, 1, 2, 3))


def test_a_complete_micromanager_stack(tmp_path: Path) -> None:
    path = write_micromanager_stack(tmp_path / "x_MMStack.ome.tif", VOLUME, slices=6)
    with open_tiff(path) as image:
        assert image.warnings == ()
        assert np.array_equal(image.read(Box.whole(image.info.shape)), VOLUME)


def test_an_ndtiff_data_set_of_which_a_file_is_not_there(tmp_path: Path) -> None:
    files = write_ndtiff(tmp_path, VOLUME)
    with open_tiff(files[0]) as image:
        assert np.array_equal(image.read(Box.whole(image.info.shape)), VOLUME)
    files[4].unlink()
    with pytest.raises(InputError, match=r"1 of 6 planes that its NDTiff index promise is missing.*Stack_4\.tif"):
        open_tiff(files[0])


# ------------------------------------------------------------------------------------------- what is no missing plane


def test_sparse_tiles_inside_a_page_stay_zeros(tmp_path: Path) -> None:
    array = np.random.default_rng(2).integers(1, 200, (32, 48), dtype="u1")
    tifffile.imwrite(tmp_path / "a.tif", array, tile=(16, 16), compression="zlib")
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as tiff:
        page = tiff.pages.first
        offsets, sizes = list(page.dataoffsets), list(page.databytecounts)
        offsets[4] = sizes[4] = 0
        page.tags[324].overwrite(offsets)
        page.tags[325].overwrite(sizes)
    array[16:, 16:32] = 0
    with open_tiff(tmp_path / "a.tif") as image:
        assert image.warnings == ()
        assert np.array_equal(image.read(Box.whole(image.info.shape)), array)


def test_more_pages_than_the_metadata_promise(tmp_path: Path) -> None:
    path = write_described(tmp_path / "a.ome.tif", VOLUME, ome_xml((4, 14, 15), OWN.format(6)))
    with open_tiff(path) as image:
        assert np.array_equal(image.read(Box.whole(image.info.shape)), VOLUME[:4])


def test_other_images_of_the_metadata_are_mentioned(tmp_path: Path) -> None:
    """One position of many, copied without the others: complete, but others are described."""
    uuid = f'<UUID FileName="q.tif">{uuid_of(9)}</UUID>'
    other = ome_xml(VOLUME.shape, f'<TiffData FirstZ="0" IFD="0" PlaneCount="6">{uuid}</TiffData>')
    image_element = other[other.index("<Image") : other.index("</OME>")]
    path = tmp_path / "a.ome.tif"
    write_described(path, VOLUME, ome_xml(VOLUME.shape, OWN.format(6), images=image_element))
    with open_tiff(path) as image:
        assert image.warnings == ("its OME metadata describe 1 more image, with no planes here",)
        assert np.array_equal(image.read(Box.whole(image.info.shape)), VOLUME)


# --------------------------------------------------------------------------------------------------------- whole runs


@pytest.fixture
def run(copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Classifies in the folder of a 3-d project, which is the current one."""
    monkeypatch.chdir(copy_golden("px3d"))
    words = ["--project=project.ilp", "--output_format=hdf5", "--output_filename_format=out.h5", "--report_json=r.json"]
    return lambda *more: cli.main([*words, *more])


def test_runs_say_what_is_missing(run: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    volume = np.random.default_rng(3).integers(1, 200, (16, 20, 22), dtype="u1")
    write_ome_set(Path("set"), volume)
    Path("set/p04.ome.tif").unlink()
    assert run("set/p00.ome.tif") == 1
    assert "1 of 16 planes" in capsys.readouterr().err
    assert not Path("out.h5").exists()
    assert run("--allow-missing-planes", "set/p00.ome.tif") == 0
    (warning,) = json.loads(Path("r.json").read_text())["lanes"][0]["warnings"]
    assert "set/p00.ome.tif: 1 of 16 planes" in warning
    assert "p04.ome.tif (not there); zeros are read in their place" in warning
    with h5py.File("out.h5") as file:
        found = file["exported_data"][()]
    volume[4] = 0
    with h5py.File("kept.h5", "w") as file:
        file["data"] = volume
    assert run("--input_axes=zyx", "kept.h5/data") == 0
    with h5py.File("out.h5") as file:
        assert np.array_equal(found, file["exported_data"][()])
