"""Every layout of an HDF5 dataset reads as h5py reads it, whichever way its voxels come out of the file."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from pixelforest.box import Box
from pixelforest.engine.errors import InputError
from pixelforest.engine.formats.images.hdf5 import INPUT
from pixelforest.engine.formats.support import hdf5_fast_read as hdf5_pixels
from pixelforest.engine.formats.support.hdf5_fast_read import open_voxels
from pixelforest.engine.storage import file_reads
from pixelforest.engine.storage import thread_limit as concurrency

SHAPE = (37, 45, 52)
CHUNKS = (16, 20, 24)
MIXED = np.random.default_rng(5).integers(0, 2**15, SHAPE)
SMOOTH = np.broadcast_to(np.arange(SHAPE[2]) // 5 * 7, SHAPE)
BOXES = [
    Box.whole(SHAPE),
    Box((0, 0, 0), (1, 1, 1)),
    Box((15, 19, 23), (17, 21, 25)),
    Box((36, 44, 51), SHAPE),
    Box((3, 0, 7), (3, 5, 9)),  # empty
    *Box.whole(SHAPE).split((11, 13, 17)),
]

LAYOUTS: dict[str, dict[str, object]] = {
    "contiguous": {},
    "chunked": {"chunks": CHUNKS},
    "gzip": {"chunks": CHUNKS, "compression": "gzip"},
    "gzip 9": {"chunks": CHUNKS, "compression": 9},
    "gzip and shuffle": {"chunks": CHUNKS, "compression": "gzip", "shuffle": True},
    "shuffle": {"chunks": CHUNKS, "shuffle": True},
    "fletcher32": {"chunks": CHUNKS, "fletcher32": True},
    "gzip and fletcher32": {"chunks": CHUNKS, "compression": "gzip", "fletcher32": True},
    "lzf": {"chunks": CHUNKS, "compression": "lzf"},
    "lzf and shuffle": {"chunks": CHUNKS, "compression": "lzf", "shuffle": True},
    "small chunks": {"chunks": (2, 3, 4)},
    "small gzip chunks": {"chunks": (2, 3, 4), "compression": "gzip"},
    "a chunk larger than the image": {"chunks": (64, 64, 64), "maxshape": (None, None, None)},
}
DTYPES = ["u1", ">u2", "<i8", "<f4", ">f8", "?"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "image.h5"


@pytest.fixture(autouse=True)
def _small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every way is taken for small images too, and every cache overflows."""
    monkeypatch.setattr(hdf5_pixels, "_MIN_CHUNK_BYTES", 4096)
    monkeypatch.setattr(hdf5_pixels, "_CACHE_BYTES", 60_000)
    monkeypatch.setattr(file_reads, "_BUFFER_BYTES", 5000)
    monkeypatch.setattr(file_reads, "_GAP_BYTES", 500)


def check_reads(path: Path, name: str = "data") -> None:
    """Box by box, what the reader returns is what h5py returns."""
    with h5py.File(path, "r") as file:
        expected = file[name][()]
    with INPUT.open(path, name) as reader:
        for box in BOXES:
            voxels = reader.read(box)
            assert voxels.dtype == reader.info.dtype
            assert voxels.dtype.isnative
            np.testing.assert_array_equal(voxels, expected[box.slices()].astype(voxels.dtype))


@pytest.mark.sampled(6)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_read(path: Path, layout: str, dtype: str) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=MIXED.astype(dtype), **LAYOUTS[layout])
    check_reads(path)


@pytest.mark.parametrize("layout", ["chunked", "gzip", "gzip and shuffle"])
def test_one_thread(path: Path, layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(concurrency, "_limit", 1)
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=MIXED, **LAYOUTS[layout])
    check_reads(path)


@pytest.mark.parametrize(
    ("layout", "way"),
    [
        ("contiguous", "_StoredArray"),
        ("chunked", "_StoredChunks"),
        ("gzip", "_PackedChunks"),
        ("gzip and shuffle", "_PackedChunks"),
        ("gzip and fletcher32", "_Plain"),
        ("lzf", "_Plain"),
        ("small chunks", "_Plain"),
    ],
)
def test_the_way_that_is_taken(path: Path, layout: str, way: str) -> None:
    """Without this, the other tests could all pass by reading through HDF5."""
    with h5py.File(path, "w") as file:
        found = open_voxels(file.create_dataset("data", data=MIXED.astype("u2"), **LAYOUTS[layout]), "it")
        assert type(found).__name__ == way
        found.close()


LIMITED = """
import resource, sys
from pathlib import Path
import numpy as np
from pixelforest.box import Box
from pixelforest.engine.formats.images.hdf5 import INPUT
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, resource.RLIM_INFINITY))
for name in ("contiguous", "chunked"):
    with INPUT.open(Path(sys.argv[1]), name) as reader:
        assert (reader.read(Box((1000, 5, 5), (1001, 9, 9))) == 7).all()
print("read")
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits addresses as Linux does")
def test_a_limit_on_addresses(path: Path) -> None:
    """Mapping the file would not fit: it has 8 GB of addresses, though hardly any on the disk."""
    with h5py.File(path, "w") as file:
        file.create_dataset("contiguous", (2048, 2048, 2048), "u1")[1000, :9, :9] = 7
        file.create_dataset("chunked", (2048, 2048, 2048), "u1", chunks=(64, 64, 64))[1000, :9, :9] = 7
    modules = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", LIMITED, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **modules}, check=False)
    assert (done.returncode, done.stdout) == (0, "read\n"), done.stderr


@pytest.mark.parametrize("layout", ["contiguous", "chunked"])
def test_a_system_without_room_for_another_open_file(path: Path, layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then HDF5 reads the voxels from the file that it has open."""
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=MIXED, **LAYOUTS[layout])

    def refuse(*arguments: Any, **more: Any) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(hdf5_pixels, "OpenFile", refuse)
    check_reads(path)


@pytest.mark.parametrize("filters", [(), ("szip",), ("scaleoffset",), ("scaleoffset", "gzip"), ("nbit",)])
def test_filters_of_hdf5(path: Path, filters: tuple[str, ...]) -> None:
    """Datasets that only HDF5 unpacks."""
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_chunk(CHUNKS)
    for name in filters:
        if name == "szip":
            if not h5py.h5z.get_filter_info(h5py.h5z.FILTER_SZIP) & h5py.h5z.FILTER_CONFIG_ENCODE_ENABLED:
                pytest.skip("this HDF5 cannot write szip")
            settings.set_szip(h5py.h5z.SZIP_NN_OPTION_MASK, 8)
        elif name == "scaleoffset":
            settings.set_scaleoffset(h5py.h5z.SO_INT, 0)
        elif name == "gzip":
            settings.set_deflate(4)
        else:
            settings.set_filter(h5py.h5z.FILTER_NBIT, h5py.h5z.FLAG_MANDATORY, ())
    with h5py.File(path, "w") as file:
        space = h5py.h5s.create_simple(SHAPE)
        made = h5py.Dataset(h5py.h5d.create(file.id, b"data", h5py.h5t.STD_I32BE, space, settings))
        made[...] = MIXED
    check_reads(path)


def test_numbers_of_odd_precision(path: Path) -> None:
    """12 of 16 bits, shifted: HDF5 converts them, their bytes alone mean something else."""
    kind = h5py.h5t.STD_U16LE.copy()
    kind.set_precision(12)
    kind.set_offset(3)
    with h5py.File(path, "w") as file:
        space = h5py.h5s.create_simple(SHAPE)
        made = h5py.h5d.create(file.id, b"data", kind, space)
        made.write(h5py.h5s.ALL, h5py.h5s.ALL, np.ascontiguousarray(MIXED % 4096, np.uint16))
    check_reads(path)
    with INPUT.open(path, "data") as reader:
        np.testing.assert_array_equal(reader.read(Box.whole(SHAPE)), MIXED % 4096)


def test_enumerations_are_read_as_integers(path: Path) -> None:
    with h5py.File(path, "w") as file:
        kind = h5py.enum_dtype({"LOW": 0, "HIGH": 42}, basetype="i2")
        file.create_dataset("data", data=(MIXED % 2 * 42).astype("i2"), dtype=kind, chunks=CHUNKS)
    check_reads(path)


@pytest.mark.sampled(5)
@pytest.mark.parametrize("layout", ["contiguous", "chunked", "gzip", "gzip and shuffle", "lzf"])
@pytest.mark.parametrize("written", ["nothing", "a corner", "a part of a chunk"])
def test_missing_chunks_are_the_fill_value_without_the_hdf5_library(path: Path, layout: str, written: str) -> None:
    with h5py.File(path, "w") as file:
        data = file.create_dataset("data", SHAPE, "i2", fillvalue=-9, **LAYOUTS[layout])
        if written == "a corner":
            data[:16, :20, :24] = MIXED[:16, :20, :24]
        elif written == "a part of a chunk":
            data[30:35, 41:43, 50:] = 5
    check_reads(path)


def test_chunks_stored_without_their_filters(path: Path) -> None:
    """A filter that does not shrink a chunk may be left out for it alone."""
    with h5py.File(path, "w") as file:
        data = file.create_dataset("data", data=SMOOTH.astype("u2"), chunks=CHUNKS, compression="gzip")
        plain = np.ascontiguousarray(MIXED[16:32, 20:40, 24:48], np.uint16)
        data.id.write_direct_chunk((16, 20, 24), plain.tobytes(), filter_mask=1)
    check_reads(path)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("layout", ["contiguous", "chunked", "gzip"])
def test_versions_and_user_blocks(path: Path, layout: str, libver: str) -> None:
    """Other indices of chunks (``latest``), and places that are counted from behind a user block."""
    with h5py.File(path, "w", libver=libver, userblock_size=1024) as file:
        file.create_dataset("data", data=MIXED.astype("u2"), **LAYOUTS[layout])
        file.create_dataset("growing", data=MIXED.astype("u2"), chunks=CHUNKS, maxshape=(None, *SHAPE[1:]))
    check_reads(path)
    check_reads(path, "growing")
    bare = path.with_name("bare.h5")
    with h5py.File(bare, "w", libver=libver) as file:
        file.create_dataset("data", data=MIXED.astype("u2"), **LAYOUTS[layout])
        file.create_dataset("growing", data=MIXED.astype("u2"), chunks=CHUNKS, maxshape=(None, *SHAPE[1:]))
    check_reads(bare)
    check_reads(bare, "growing")


def test_virtual_datasets(path: Path) -> None:
    with h5py.File(path.with_name("source.h5"), "w") as file:
        file.create_dataset("half", data=MIXED[:20].astype("u2"), chunks=CHUNKS)
    layout = h5py.VirtualLayout(SHAPE, "u2")
    layout[:20] = h5py.VirtualSource("source.h5", "half", shape=(20, *SHAPE[1:]))
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("data", layout, fillvalue=3)
    check_reads(path)


def test_behind_an_external_link(path: Path) -> None:
    """The voxels are looked for in the file that has them."""
    with h5py.File(path.with_name("other.h5"), "w") as file:
        file.create_dataset("there", data=MIXED.astype("u2"), chunks=CHUNKS)
    with h5py.File(path, "w") as file:
        file.create_dataset("decoy", data=np.zeros(5000))
        file["data"] = h5py.ExternalLink("other.h5", "there")
    check_reads(path)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("layout", ["contiguous", "chunked", "gzip"])
def test_threads_read_pixels_of_hdf5_at_once(path: Path, layout: str) -> None:
    data = MIXED.astype("u2")
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=data, **LAYOUTS[layout])
    wrong: list[Box] = []
    with INPUT.open(path, "data") as reader:

        def work(offset: int) -> None:
            for box in BOXES[offset:] + BOXES[:offset]:
                if not np.array_equal(reader.read(box), data[box.slices()]):
                    wrong.append(box)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong


def test_threads_that_need_a_chunk_share_its_decompression(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=MIXED, **LAYOUTS["gzip"])
    plain, unpacked, others = hdf5_pixels._PackedChunks._unpack_one, list[tuple[int, ...]](), threading.Event()

    def unpack(chunks: Any, corner: tuple[int, ...]) -> np.ndarray:
        unpacked.append(corner)
        others.wait(20)
        return plain(chunks, corner)

    monkeypatch.setattr(hdf5_pixels, "_CACHE_BYTES", 1 << 26)
    monkeypatch.setattr(hdf5_pixels._PackedChunks, "_unpack_one", unpack)
    found: dict[int, np.ndarray] = {}
    with INPUT.open(path, "data") as reader:

        def read(number: int) -> None:
            if number == 3:
                others.set()
            found[number] = reader.read(BOXES[2])

        threads = [threading.Thread(target=read, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(found) == 4
    assert all(np.array_equal(each, MIXED[BOXES[2].slices()]) for each in found.values())
    assert len(unpacked) == len(set(unpacked)) == 8


class TestDamage:
    @pytest.mark.parametrize("layout", ["contiguous", "chunked"])
    def test_cut_short_while_it_is_read(self, path: Path, layout: str) -> None:
        """Reading past the end of a mapped file would end the process."""
        with h5py.File(path, "w") as file:
            file.create_dataset("data", data=MIXED, **LAYOUTS[layout])
        with INPUT.open(path, "data") as reader:
            reader.read(BOXES[1])
            with path.open("r+b") as stream:
                stream.truncate(20_000)
            with pytest.raises(InputError, match=r"image\.h5/data: the file was cut short"):
                reader.read(BOXES[0])

    @pytest.mark.parametrize("layout", ["contiguous", "chunked"])
    def test_cut_short_between_two_pieces(self, path: Path, layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
        with h5py.File(path, "w") as file:
            file.create_dataset("data", data=MIXED, **LAYOUTS[layout])
        read = file_reads.OpenFile._read_at

        def read_and_cut(file: file_reads.OpenFile, start: int, memory: memoryview) -> int:
            count = read(file, start, memory[:4000])
            os.truncate(path, 20_000)
            return count

        monkeypatch.setattr(file_reads.OpenFile, "_read_at", read_and_cut)
        with INPUT.open(path, "data") as reader, pytest.raises(InputError, match="the file was cut short"):
            reader.read(BOXES[0])

    def test_an_index_that_names_chunks_outside_the_image(self, path: Path) -> None:
        """HDF5 never looks for them; nor is anything written beyond the list of places."""
        with h5py.File(path, "w", libver="earliest") as file:
            file.create_dataset("data", data=np.ones((8, 64, 64), np.uint16), chunks=(4, 64, 64))
        size = 4 * 64 * 64 * 2
        content = path.read_bytes()
        damaged = content.replace(
            struct.pack("<IIQQQQ", size, 0, 4, 0, 0, 0), struct.pack("<IIQQQQ", size, 0, 4000, 0, 0, 0)
        )
        assert damaged != content
        path.write_bytes(damaged)
        with h5py.File(path) as file:
            expected = file["data"][...]
        with INPUT.open(path, "data") as reader:
            assert np.array_equal(reader.read(Box.whole((8, 64, 64))), expected)

    @pytest.mark.parametrize("layout", ["contiguous", "chunked", "gzip"])
    def test_pixels_are_not_read_after_close(self, path: Path, layout: str) -> None:
        with h5py.File(path, "w") as file:
            file.create_dataset("data", data=MIXED, **LAYOUTS[layout])
        reader = INPUT.open(path, "data")
        reader.read(BOXES[2])
        reader.close()
        reader.close()
        with pytest.raises(InputError, match="cannot read"):
            reader.read(BOXES[2])

    @pytest.mark.parametrize(
        "damage",
        [
            pytest.param(lambda content: b"\xff" * len(content), id="not zlib"),
            pytest.param(lambda content: content[: len(content) // 2].ljust(len(content), b"\0"), id="cut"),
            pytest.param(lambda content: content[:-1] + bytes([content[-1] ^ 1]), id="checksum"),
        ],
    )
    def test_packed_chunk(self, path: Path, damage: Callable[[bytes], bytes]) -> None:
        with h5py.File(path, "w") as file:
            dataset = file.create_dataset("data", data=MIXED, chunks=CHUNKS, compression="gzip")
            place = dataset.id.get_chunk_info(0)
        content = bytearray(path.read_bytes())
        part = slice(place.byte_offset, place.byte_offset + place.size)
        content[part] = damage(bytes(content[part]))
        path.write_bytes(content)
        with INPUT.open(path, "data") as reader:
            with pytest.raises(InputError, match=r"cannot read .*image\.h5/data: "):
                reader.read(BOXES[0])
            last = Box((32, 40, 48), SHAPE)
            np.testing.assert_array_equal(reader.read(last), MIXED[last.slices()])

    @pytest.mark.parametrize("size", [48, 16 * 20 * 24 * 4, 2**24])
    def test_a_packed_chunk_of_another_size(self, path: Path, size: int) -> None:
        """HDF5 reads as much as there is of a stream that unpacks to less than a chunk, and the first bytes of more."""
        with h5py.File(path, "w") as file:
            data = file.create_dataset("data", data=SMOOTH.astype("u2"), chunks=CHUNKS, compression="gzip")
            data.id.write_direct_chunk((0, 0, 0), zlib.compress(b"\1" * size))
        with INPUT.open(path, "data") as reader:
            assert (reader.read(Box((0, 0, 0), (1, 1, 24))) == 257).all()
