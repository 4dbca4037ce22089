"""npy and npz as input, npy as output."""

from __future__ import annotations

import errno
import io
import os
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest

from pixelforest.box import Box
from pixelforest.engine.errors import ExportError, InputError, InputNotFound
from pixelforest.engine.formats import output_format
from pixelforest.engine.formats.images import npy
from pixelforest.engine.formats.images.npy import INPUT
from pixelforest.engine.formats.spec import ImageSpec

VOLUME = np.arange(4 * 5 * 6, dtype=np.uint16).reshape(4, 5, 6)
BOX = Box((1, 0, 2), (3, 5, 6))
SPEC = ImageSpec(VOLUME.shape, VOLUME.dtype, "zyx", (0, 0, 0))


def npy_bytes(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


class TestNpy:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "image.npy"

    @pytest.mark.parametrize(
        "array",
        [
            pytest.param(VOLUME, id="C order"),
            pytest.param(np.asfortranarray(VOLUME), id="Fortran order"),
            pytest.param(VOLUME.astype(">f4"), id="big endian"),
            pytest.param(VOLUME % 2 == 0, id="truth values"),
            pytest.param(VOLUME.astype(np.float16), id="half precision"),
            pytest.param(VOLUME.astype(np.int64), id="int64"),
        ],
    )
    def test_npy_arrays_of_every_type_are_read(self, path: Path, array: np.ndarray) -> None:
        np.save(path, array)
        with INPUT.open(path, "") as reader:
            voxels = reader.read(BOX)
            assert (reader.info.axes, reader.info.own_axes, reader.info.chunks) == ("zyx", False, None)
            assert reader.info.dtype == voxels.dtype
        assert voxels.dtype.isnative
        assert voxels.dtype.kind in "uif"
        assert voxels.flags.writeable
        np.testing.assert_array_equal(voxels, array[BOX.slices()])

    def test_big_headers(self, path: Path) -> None:
        with path.open("wb") as stream:
            np.lib.format.write_array(stream, VOLUME, version=(2, 0))
        with INPUT.open(path, "") as reader:
            np.testing.assert_array_equal(reader.read(BOX), VOLUME[BOX.slices()])

    def test_threads_read_npy_at_once(self, path: Path) -> None:
        np.save(path, VOLUME)
        wrong = []
        with INPUT.open(path, "") as reader:

            def work() -> None:
                for box in Box.whole(VOLUME.shape).split((2, 2, 6)):
                    if not np.array_equal(reader.read(box), VOLUME[box.slices()]):
                        wrong.append(box)

            threads = [threading.Thread(target=work) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert not wrong

    def test_an_array_without_elements_is_opened(self, path: Path) -> None:
        """An axis of length 0 is reported where the axes have names."""
        np.save(path, np.zeros((3, 0, 4)))
        with INPUT.open(path, "") as reader:
            assert reader.info.shape == (3, 0, 4)

    @pytest.mark.parametrize(
        ("array", "message"),
        [
            (np.array([[{}, 1]], dtype=object), "object"),
            (np.zeros((3, 4), np.complex64), "complex64"),
            (np.zeros((3, 4), [("a", "i4")]), "cannot be used"),
            (np.zeros((3, 4), [("ж", "i4")]), "named fields"),
            (np.zeros(5), "1 dimensions; an image has 2 to 5"),
            (np.zeros((1,) * 6), "6 dimensions"),
        ],
    )
    @pytest.mark.filterwarnings("ignore:Stored array in format 3.0")
    def test_arrays_that_are_no_images_are_refused(self, path: Path, array: np.ndarray, message: str) -> None:
        np.save(path, array, allow_pickle=True)
        with pytest.raises(InputError, match=message):
            INPUT.open(path, "")

    def test_a_missing_npy_file_is_not_found(self, path: Path) -> None:
        with pytest.raises(InputNotFound, match=r"no file .*image\.npy"):
            INPUT.open(path, "")

    @pytest.mark.parametrize("content", [b"", b"\x93NUM", b"something else", b"\x93NUMPY\x01\x00\x10\x00{'descr': os}"])
    def test_not_npy(self, path: Path, content: bytes) -> None:
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"cannot read .*image\.npy: "):
            INPUT.open(path, "")

    def test_a_truncated_npy_file_is_not_read(self, path: Path) -> None:
        np.save(path, VOLUME)
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(InputError, match=r"cut short \(367 bytes, 368 declared"):
            INPUT.open(path, "")

    @pytest.mark.parametrize("shape", ["(1000000, 1000000, 1000000)", "(-4, 5)", "(99999999999999999999, 2)"])
    def test_npy_arrays_of_impossible_size_are_refused(self, path: Path, shape: str) -> None:
        path.write_bytes(npy_bytes(VOLUME).replace(b"(4, 5, 6), }" + b" " * 40, f"{shape}, }}".ljust(52).encode()))
        with pytest.raises(InputError, match="impossible size"):
            INPUT.open(path, "")

    def test_cut_short_after_opening(self, path: Path) -> None:
        np.save(path, np.zeros((64, 1024)))
        with INPUT.open(path, "") as reader:
            os.truncate(path, 5000)
            with pytest.raises(InputError, match="cut short"):
                reader.read(Box((60, 0), (64, 1024)))

    def test_removed_after_opening(self, path: Path) -> None:
        np.save(path, VOLUME)
        with INPUT.open(path, "") as reader:
            path.unlink()
            np.testing.assert_array_equal(reader.read(BOX), VOLUME[BOX.slices()])

    def test_npy_is_not_read_after_close(self, path: Path) -> None:
        np.save(path, VOLUME)
        reader = INPUT.open(path, "")
        reader.close()
        reader.close()
        with pytest.raises(InputError, match="closed"):
            reader.read(BOX)


class TestNpz:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "arrays.npz"

    @pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
    @pytest.mark.parametrize("array", [VOLUME, np.asfortranarray(VOLUME), VOLUME.astype(">i4"), VOLUME % 2 == 0])
    def test_npz_arrays_are_read_by_name(self, path: Path, save, array: np.ndarray) -> None:
        save(path, other=np.zeros(3), image=array)
        with INPUT.open(path, "/image") as reader:
            assert (reader.info.shape, reader.info.axes) == (array.shape, "zyx")
            voxels = reader.read(BOX)
            assert voxels.dtype == reader.info.dtype
        np.testing.assert_array_equal(voxels, array[BOX.slices()])

    def test_an_only_array_needs_no_name(self, path: Path) -> None:
        np.savez(path, image=VOLUME)
        with INPUT.open(path, "") as reader:
            np.testing.assert_array_equal(reader.read(BOX), VOLUME[BOX.slices()])

    def test_several_arrays_need_a_name(self, path: Path) -> None:
        np.savez(path, b=VOLUME, a=VOLUME)
        with pytest.raises(InputError, match=r"as in .*arrays\.npz/a\. It has: a, b"):
            INPUT.open(path, "")
        with pytest.raises(InputNotFound, match=r"no array 'c' .* it has: a, b"):
            INPUT.open(path, "c")

    def test_empty_archive(self, path: Path) -> None:
        np.savez(path)
        with pytest.raises(InputError, match="it holds no arrays"):
            INPUT.open(path, "")

    def test_arrays_of_an_npz_file_are_listed(self, path: Path) -> None:
        np.savez(path, b=VOLUME, a=VOLUME[0], line=np.zeros(3))
        assert INPUT.list_images is not None
        assert list(INPUT.list_images(path)) == ["a", "b"]

    def test_plain_files_have_no_names_inside(self, tmp_path: Path) -> None:
        assert INPUT.list_images is not None
        assert list(INPUT.list_images(tmp_path / "a.npy")) == [""]

    @pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    def test_more_declared_than_there_is(self, path: Path, compression: int) -> None:
        content = npy_bytes(np.zeros((4, 5, 6), np.uint16)).replace(b"(4, 5, 6), ", b"(4, 5, 60),")
        with zipfile.ZipFile(path, "w", compression) as archive:
            archive.writestr("image.npy", content)
        with pytest.raises(InputError, match="declares 2400 bytes, which the archive does not hold"):
            INPUT.open(path, "image")

    def test_damaged_member(self, path: Path) -> None:
        data = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)
        np.savez_compressed(path, image=data)
        content = bytearray(path.read_bytes())
        content[2000:2100] = bytes(100)
        path.write_bytes(content)
        with INPUT.open(path, "") as reader, pytest.raises(InputError, match=r"cannot read .*arrays\.npz/image: "):
            reader.read(Box((0, 0), (64, 64)))

    def test_a_truncated_npz_file_is_not_read(self, path: Path) -> None:
        np.savez(path, image=VOLUME)
        path.write_bytes(path.read_bytes()[:-30])
        for act in (lambda: INPUT.open(path, "image"), lambda: npy.list_arrays(path)):
            with pytest.raises(InputError, match="not a zip file"):
                act()

    def test_a_missing_npz_file_is_not_found(self, path: Path) -> None:
        for act in (lambda: INPUT.open(path, "image"), lambda: npy.list_arrays(path)):
            with pytest.raises(InputNotFound, match="no file"):
                act()


class TestWriter:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "result.npy"

    def test_tiles_from_several_threads(self, path: Path) -> None:
        writer = output_format("numpy").open(path, "", SPEC)
        boxes = list(Box.whole(VOLUME.shape).split((3, 2, 4)))
        threads = [
            threading.Thread(target=lambda box=box: writer.write(box, VOLUME[box.slices()])) for box in reversed(boxes)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not path.exists()
        assert writer.finish() == [path]
        assert os.listdir(path.parent) == [path.name]
        assert path.read_bytes() == npy_bytes(VOLUME)

    def test_replaces_what_was_there(self, path: Path) -> None:
        path.write_bytes(b"old")
        writer = output_format("numpy").open(path, "", SPEC)
        writer.write(Box.whole(VOLUME.shape), VOLUME)
        assert path.read_bytes() == b"old"
        writer.finish()
        np.testing.assert_array_equal(np.load(path), VOLUME)

    def test_a_link_to_an_npy_result_is_followed(self, tmp_path: Path, path: Path) -> None:
        path.symlink_to(tmp_path / "real.npy")
        writer = output_format("numpy").open(path, "", SPEC)
        writer.write(Box.whole(VOLUME.shape), VOLUME)
        writer.finish()
        assert path.is_symlink()
        np.testing.assert_array_equal(np.load(tmp_path / "real.npy"), VOLUME)

    def test_abort_keeps_what_was_there(self, path: Path) -> None:
        path.write_bytes(b"old")
        writer = output_format("numpy").open(path, "", SPEC)
        writer.write(BOX, VOLUME[BOX.slices()])
        writer.abort()
        writer.abort()
        assert path.read_bytes() == b"old"
        assert os.listdir(path.parent) == [path.name]
        with pytest.raises(ExportError, match="closed"):
            writer.write(BOX, VOLUME[BOX.slices()])

    def test_an_unfinished_npy_image_is_not_published(self, path: Path) -> None:
        writer = output_format("numpy").open(path, "", SPEC)
        with pytest.raises(ExportError, match="120 voxels were never written"):
            writer.finish()
        assert os.listdir(path.parent) == []

    def test_disk_full(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "posix_fallocate", fail, raising=False)
        with pytest.raises(ExportError, match="disk is full"):
            output_format("numpy").open(path, "", SPEC)
        assert os.listdir(path.parent) == []

    def test_file_systems_that_cannot_reserve(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object) -> None:
            raise OSError(errno.EOPNOTSUPP, "not supported")

        monkeypatch.setattr(os, "posix_fallocate", fail, raising=False)
        writer = output_format("numpy").open(path, "", SPEC)
        writer.write(Box.whole(VOLUME.shape), VOLUME)
        writer.finish()
        np.testing.assert_array_equal(np.load(path), VOLUME)
