"""OME-Zarr stores that zarr-python opens were refused with a raw message: text as fill value, LZ4, filters."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr
from support.zarr_stores import Change, change_metadata, write_image

from pixelforest.box import Box
from pixelforest.engine.errors import InputError
from pixelforest.engine.formats.images.ome_zarr import OmeZarrReader

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import numcodecs.zarr3

VOLUME = (np.arange(7 * 9 * 10) % 251).astype(np.uint16).reshape(7, 9, 10) * 200


def read(root: Path) -> np.ndarray:
    with OmeZarrReader(root, "") as reader:
        return reader.read(Box.whole(reader.info.shape))


def update(**members: object) -> Change:
    return lambda metadata: metadata.update(members)


@pytest.mark.parametrize(
    ("change", "codecs"),
    [
        pytest.param(update(fill_value="0"), {}, id="fill value as text"),
        pytest.param(update(fill_value=True), {}, id="fill value true"),
        pytest.param(lambda m: m.pop("fill_value"), {}, id="no fill value"),
        pytest.param(lambda m: m.pop("filters"), {}, id="no filters"),
        pytest.param(update(filters=[]), {}, id="empty filters"),
        pytest.param(lambda m: m.pop("order"), {}, id="no order"),
        pytest.param(update(dtype="uint16"), {}, id="type by name"),
        pytest.param(lambda m: m["compressor"].update(checksum=False), {"compressors": numcodecs.Zstd()}, id="zstd"),
        pytest.param(lambda m: m["compressor"].update(level=-1), {"compressors": numcodecs.Zlib()}, id="zlib level"),
        pytest.param(
            lambda m: m["compressor"].update(typesize=2), {"compressors": numcodecs.Blosc()}, id="blosc type size"
        ),
        pytest.param(
            lambda m: m["compressor"].pop("blocksize"),
            {"compressors": numcodecs.Blosc(), "filters": [numcodecs.Shuffle(1)]},
            id="shuffle of single bytes",
        ),
    ],
)
def test_metadata_are_mended(tmp_path: Path, change: Change, codecs: dict[str, Any]) -> None:
    write_image(tmp_path / "a.zarr", VOLUME, change=change, **codecs)
    np.testing.assert_array_equal(read(tmp_path / "a.zarr"), VOLUME)


@pytest.mark.sampled(5)
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<u2", ">u2", "<f4", "|u1"])
@pytest.mark.parametrize(
    "codecs",
    [
        pytest.param({"compressors": numcodecs.LZ4()}, id="lz4"),
        pytest.param({"compressors": numcodecs.LZMA()}, id="lzma"),
        *(
            pytest.param({"compressors": c, "filters": [numcodecs.Shuffle(2)]}, id=f"shuffle and {c.codec_id}")
            for c in (numcodecs.Zlib(), numcodecs.GZip(), numcodecs.BZ2(), numcodecs.Zstd(), numcodecs.Blosc())
        ),
        pytest.param({"compressors": None, "filters": [numcodecs.Shuffle(4)]}, id="shuffle alone"),
    ],
)
def test_codecs_that_tensorstore_lacks(tmp_path: Path, codecs: dict[str, Any], dtype: str, order: str) -> None:
    voxels = VOLUME.astype(dtype)
    write_image(tmp_path / "a.zarr", voxels, order=order, **codecs)
    found = read(tmp_path / "a.zarr")
    assert found.dtype == voxels.dtype.newbyteorder("=")
    np.testing.assert_array_equal(found, voxels)


@pytest.mark.parametrize("codec", ["LZ4", "Zlib", "BZ2", "LZMA"])
def test_codecs_of_numcodecs_in_zarr_3(tmp_path: Path, codec: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compressor = getattr(numcodecs.zarr3, codec)()
    write_image(tmp_path / "a.zarr", VOLUME, version=3, compressors=[compressor])
    np.testing.assert_array_equal(read(tmp_path / "a.zarr"), VOLUME)


@pytest.mark.parametrize("compressor", [numcodecs.Zlib(), numcodecs.LZ4()], ids=["library", "decoded here"])
@pytest.mark.parametrize(("fill_value", "number"), [("7", 7), (9, 9), (None, 0)])
def test_missing_chunks_have_the_fill_value(tmp_path: Path, compressor: Any, fill_value: object, number: int) -> None:
    write_image(tmp_path / "a.zarr", VOLUME, chunks=(4, 9, 10), compressors=compressor)
    change_metadata(tmp_path / "a.zarr", update(fill_value=fill_value))
    shutil.rmtree(tmp_path / "a.zarr" / "0" / "1")
    found = read(tmp_path / "a.zarr")
    np.testing.assert_array_equal(found[:4], VOLUME[:4])
    assert (found[4:] == number).all()


def test_a_part_is_read_from_the_chunks_it_touches(tmp_path: Path) -> None:
    write_image(tmp_path / "a.zarr", VOLUME, chunks=(2, 3, 4), compressors=numcodecs.LZ4())
    (tmp_path / "a.zarr" / "0" / "0" / "0" / "0").write_bytes(b"damaged")
    with OmeZarrReader(tmp_path / "a.zarr", "") as reader:
        assert reader.info.chunks == (2, 3, 4)
        np.testing.assert_array_equal(reader.read(Box((3, 2, 5), (6, 8, 10))), VOLUME[3:6, 2:8, 5:10])
        with pytest.raises(InputError, match=r"a\.zarr/0: .*a chunk is damaged \(lz4: ") as caught:
            reader.read(Box((0, 0, 0), (1, 1, 1)))
    assert "\n" not in str(caught.value)


def test_an_unknown_codec_is_named_and_the_advice_works(tmp_path: Path) -> None:
    root = tmp_path / "a.zarr"
    filters = [numcodecs.Delta("u2"), numcodecs.PackBits()]
    write_image(root, VOLUME, compressors=numcodecs.Zlib(), filters=filters[:1])
    with pytest.raises(
        InputError, match=r"stored with the codec delta, which is not decoded here; store it again with"
    ):
        read(root)
    stored = zarr.open_array(root / "0", mode="r")[...]
    shutil.rmtree(root)
    write_image(root, stored, compressors=numcodecs.Blosc())
    np.testing.assert_array_equal(read(root), VOLUME)


@pytest.mark.parametrize("is_sharded", [False, True])
def test_an_unknown_codec_of_zarr_3(tmp_path: Path, is_sharded: bool) -> None:
    root = tmp_path / "a.zarr"
    write_image(root, VOLUME, version=3, chunks=(2, 3, 5), **({"shards": (4, 6, 10)} if is_sharded else {}))
    strange = {"name": "numcodecs.telepathy", "configuration": {}}

    def change(metadata: dict[str, Any]) -> None:
        codecs = metadata["codecs"][0]["configuration"]["codecs"] if is_sharded else metadata["codecs"]
        codecs.append(strange)

    change_metadata(root, change, version=3)
    with pytest.raises(InputError, match=r"with the codec (numcodecs\.)?telepathy, .*with blosc, zstd or gzip"):
        read(root)


def test_chunks_of_impossible_size_are_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "a.zarr", VOLUME, compressors=numcodecs.LZ4())
    change_metadata(tmp_path / "a.zarr", update(chunks=[2**20, 2**20, 2**20]))
    with pytest.raises(InputError, match="too large to be read"):
        read(tmp_path / "a.zarr")


@pytest.mark.parametrize(
    "members",
    [{"chunks": [4, 5]}, {"chunks": "many"}, {"chunks": [0, 5, 5]}, {"dtype": "|O"}, {"dimension_separator": "/../"}],
)
def test_damaged_metadata_of_a_codec_of_ours(tmp_path: Path, members: dict[str, Any]) -> None:
    write_image(tmp_path / "a.zarr", VOLUME, compressors=numcodecs.LZ4())
    change_metadata(tmp_path / "a.zarr", update(**members))
    with pytest.raises(InputError, match="cannot read"):
        read(tmp_path / "a.zarr")


@pytest.mark.parametrize("codec", [numcodecs.LZ4(), numcodecs.LZMA()], ids=lambda codec: codec.codec_id)
@pytest.mark.parametrize("content", [b"", b"\x00" * 40, b"\xff" * 4000], ids=["empty", "zeros", "ones"])
def test_damaged_chunks_are_errors(tmp_path: Path, codec: Any, content: bytes) -> None:
    write_image(tmp_path / "a.zarr", VOLUME, compressors=codec)
    (tmp_path / "a.zarr" / "0" / "0" / "0" / "0").write_bytes(content)
    with pytest.raises(InputError, match="a chunk is damaged"):
        read(tmp_path / "a.zarr")
