"""``explain`` said 0 for truncated pictures, pages and chunks on which the run then failed."""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from support.forecast import explain
from support.small_pictures import PICTURES, noise

from pixelforest import cli
from pixelforest.box import Box
from pixelforest.engine.errors import InputError
from pixelforest.engine.formats.images.hdf5 import Hdf5Reader
from pixelforest.engine.formats.images.picture import open_picture
from pixelforest.engine.formats.images.tiff import open_tiff
from pixelforest.engine.formats.spec import ImageReader

STORED = ("bmp", "colour bmp", "ascii bitmap", "bitmap", "ascii pgm", "pgm", "ascii ppm", "ppm", "sun raster", "viff")
SHARES = (0.3, 0.6, 0.9, 0.99)


def failure(action: Callable[[], object]) -> str:
    """The message of the InputError that an action ends with; empty if it does not."""
    try:
        action()
    except InputError as error:
        return str(error)
    return ""


def look_and_read(opened: Callable[[], ImageReader]) -> tuple[str, str, str]:
    """Outcome of opening an image, parts that were left to decoding, and outcome of reading."""
    with opened() as reader:
        looked, unchecked = failure(reader.verify), reader.unchecked
    with opened() as reader:
        return looked, unchecked, failure(lambda: reader.read(Box.whole(reader.info.shape)))


@pytest.mark.parametrize("kind", PICTURES)
def test_whole_pictures_pass(kind: str, tmp_path: Path) -> None:
    extension, make = PICTURES[kind]
    path = tmp_path / f"a.{extension}"
    path.write_bytes(make(noise(31, 43)))
    looked, unchecked, read = look_and_read(lambda: open_picture(path))
    assert (looked, read) == ("", "")
    assert bool(unchecked) is (kind not in STORED)


@pytest.mark.parametrize("kind", PICTURES)
def test_looking_agrees_with_reading_wherever_a_picture_is_cut(kind: str, tmp_path: Path) -> None:
    extension, make = PICTURES[kind]
    path, data = tmp_path / f"a.{extension}", make(noise(31, 43))
    found = 0
    lengths = {int(len(data) * share) for share in SHARES} | set(range(len(data) - 12, len(data)))
    for length in sorted(lengths):
        path.write_bytes(data[:length])
        if failure(lambda: open_picture(path)):
            continue  # neither an explanation nor a run gets further
        looked, unchecked, read = look_and_read(lambda: open_picture(path))
        found += bool(looked)
        if looked:
            assert read
        else:
            assert not read or unchecked
    assert found or kind in ("hdr", "sun raster of run lengths")


@pytest.mark.sampled(1)
@pytest.mark.parametrize("kind", ["jpeg", "ascii pgm", "pgm", "gif", "bmp", "viff", "sun raster"])
def test_explain_and_run_say_the_same_of_a_cut_picture(
    kind: str, copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(copy_golden("px2d_gray"))
    extension, make = PICTURES[kind]
    data = make(noise(31, 43))
    Path(f"cut.{extension}").write_bytes(data[: len(data) * 3 // 4])
    assert cli.main(["explain", "--project=project.ilp", f"cut.{extension}"]) == 1
    foretold = capsys.readouterr().err
    assert "cannot read" in foretold
    assert cli.main(["--project=project.ilp", f"cut.{extension}"]) == 1
    assert capsys.readouterr().err == foretold


def test_explain_says_what_it_has_not_looked_at(
    copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(copy_golden("px2d_gray"))
    (lane,) = explain(capsys, "--project=project.ilp", "raw.png")["lanes"]
    assert lane["unchecked"] == ["the PNG data of Raw Data"]
    assert cli.main(["explain", "--project=project.ilp", "raw.png"]) == 0
    assert "not checked:   the PNG data of Raw Data, which only the run decodes" in capsys.readouterr().out
    Path("plain.pgm").write_bytes(PICTURES["pgm"][1](noise(160, 200)))
    (lane,) = explain(capsys, "--project=project.ilp", "plain.pgm")["lanes"]
    assert lane["unchecked"] == []


def test_a_stack_says_what_is_unchecked_in_any_slice(
    copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(copy_golden("px3d"))
    for z, kind in enumerate(["pgm"] * 5 + ["png", "jpeg"]):  # the kind is told by the first bytes
        Path(f"s{z}.png").write_bytes(PICTURES[kind][1](noise(30, 40)))
    document = explain(capsys, "--project=project.ilp", "--ignore_training_axistags", "s*.png")
    assert document["lanes"][0]["unchecked"] == ["the PNG data, the JPEG data of Raw Data"]
    shutil.copy("s0.png", "s6.png")
    Path("s3.png").write_bytes(Path("s0.png").read_bytes()[:-100])
    document = explain(capsys, "--project=project.ilp", "--ignore_training_axistags", "s*.png")
    assert "s3.png: the file is truncated" in document["lanes"][0]["error"]


# ----------------------------------------------------------------------------------------------- strips, tiles, chunks


@pytest.mark.parametrize("options", [{}, {"tile": (16, 16)}, {"rowsperstrip": 5}], ids=["page", "tiles", "strips"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_every_page_of_a_tiff_is_looked_at(options: dict[str, object], compression: str | None, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        for z in range(3):
            writer.write(noise(40, 50, z), compression=compression, metadata=None, **options)
    assert look_and_read(lambda: open_tiff(path))[0] == ""
    with tifffile.TiffFile(path) as tiff:
        entry = tiff.pages[2].tags["TileOffsets" if "tile" in options else "StripOffsets"]
        place = entry.valueoffset
        last = tiff.pages[2].dataoffsets
        size = 4 if entry.dtype == 4 else 2
    data = bytearray(path.read_bytes())
    place += (len(last) - 1) * size
    data[place : place + size] = (len(data) - 3).to_bytes(size, "little")
    path.write_bytes(data)
    looked, unchecked, read = look_and_read(lambda: open_tiff(path))
    assert "it is truncated" in looked
    assert read
    assert unchecked == ""  # it did not come to that


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_chunks_beyond_the_end_of_an_hdf5_file_are_found(compression: str | None, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("data", data=noise(40, 64), chunks=(10, 64), compression=compression)
        offsets = [dataset.id.get_chunk_info(i).byte_offset for i in range(4)]
    looked, unchecked, read = look_and_read(lambda: Hdf5Reader(path, "data"))
    assert (looked, unchecked, read) == ("", "the compressed chunks" if compression else "", "")
    data = bytearray(path.read_bytes())
    place = data.find(offsets[2].to_bytes(8, "little"))  # in the index of chunks
    data[place : place + 8] = (len(data) + 1000).to_bytes(8, "little")
    path.write_bytes(data)
    looked, _, read = look_and_read(lambda: Hdf5Reader(path, "data"))
    assert "beyond the end of the file" in looked
    assert read


def test_ids_that_may_be_negative_are_said_to_be_unchecked(
    copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(copy_golden("obj2d_label"))
    with h5py.File("labels.h5") as file:
        (name,) = file
        labels, tags = file[name][()].astype(np.int32), dict(file[name].attrs)
    labels.flat[5] = -1
    with h5py.File("negative.h5", "w") as file:
        file["data"] = labels
        file["data"].attrs.update(tags)
    words = ["--project=project.ilp", "--raw_data=raw.h5", "--label_image=negative.h5"]
    document = explain(capsys, *words)
    assert document["status"] == 0, json.dumps(document["lanes"][0]["error"])
    assert "whether ids of Label Image are negative" in document["lanes"][0]["unchecked"]
    assert cli.main(["--headless", *words]) == 1
    assert "must not hold negative ids" in capsys.readouterr().err


def test_a_damaged_png_is_unchecked_and_fails_later(
    copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(copy_golden("px2d_gray"))
    data = bytearray(PICTURES["png"][1](noise(160, 200)))
    start = data.index(b"IDAT")
    (length,) = np.frombuffer(data[start - 4 : start], ">u4")
    data[start + 40] ^= 0xFF
    data[start + 4 + int(length) :][:4] = zlib.crc32(data[start : start + 4 + int(length)]).to_bytes(4, "big")
    Path("bad.png").write_bytes(data)
    document = explain(capsys, "--project=project.ilp", "bad.png")
    assert (document["status"], document["lanes"][0]["unchecked"]) == (0, ["the PNG data of Raw Data"])
    assert cli.main(["--headless", "--project=project.ilp", "bad.png"]) == 1
