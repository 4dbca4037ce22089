"""HDF5 as input: which dataset, its axes and pixel types, and files that are damaged or want to lead elsewhere."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest

from pixelforest.box import Box
from pixelforest.engine.axes import axistags_json
from pixelforest.engine.errors import InputError, InputNotFound
from pixelforest.engine.formats.images.hdf5 import INPUT

VOLUME = np.arange(4 * 5 * 6, dtype=np.uint16).reshape(4, 5, 6)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "image.h5"


def write(path: Path, name: str = "data", data: np.ndarray = VOLUME, **attributes: object) -> Path:
    with h5py.File(path, "a") as file:
        dataset = file.create_dataset(name, data=data)
        for key, value in attributes.items():
            dataset.attrs[key] = value
    return path


class TestDatasets:
    def test_only_dataset_needs_no_name(self, path: Path) -> None:
        write(path, "volume/data")
        write(path, "settings", np.zeros(3))
        with INPUT.open(path, "") as reader:
            assert reader.info.shape == VOLUME.shape
            np.testing.assert_array_equal(reader.read(Box.whole(VOLUME.shape)), VOLUME)

    def test_several_datasets_need_a_name(self, path: Path) -> None:
        write(path, "a")
        write(path, "b/c")
        with pytest.raises(InputError, match=r"several datasets; append .*image\.h5/a\. It has: a, b/c"):
            INPUT.open(path, "")
        with INPUT.open(path, "/b/c/") as reader:
            assert reader.info.shape == VOLUME.shape

    def test_none_at_all(self, path: Path) -> None:
        write(path, "line", np.zeros(3))
        with pytest.raises(InputError, match="no datasets with 2 to 5 dimensions"):
            INPUT.open(path, "")

    def test_wrong_name_lists_what_is_there(self, path: Path) -> None:
        write(path, "volume/data")
        with pytest.raises(InputNotFound, match=r"'volume/daat' in .* is not there; the file has: volume/data"):
            INPUT.open(path, "volume/daat")
        with pytest.raises(InputNotFound, match="is a group"):
            INPUT.open(path, "volume")
        with pytest.raises(InputNotFound, match="is not there"):
            INPUT.open(path, "volume/data/deeper")

    def test_long_lists_are_cut(self, path: Path) -> None:
        for index in range(15):
            write(path, f"d{index:02d}")
        with pytest.raises(InputError, match="d09 and 5 more"):
            INPUT.open(path, "")

    def test_images_of_an_hdf5_file_are_listed(self, path: Path) -> None:
        for name, shape in {"a": (2, 2), "g/b": (2,) * 5, "line": (3,), "six": (1,) * 6}.items():
            write(path, name, np.zeros(shape))
        assert INPUT.list_images is not None
        assert list(INPUT.list_images(path)) == ["a", "g/b"]

    @pytest.mark.parametrize("shape", [(), (3,), (1,) * 6])
    def test_hdf5_images_have_2_to_5_dimensions(self, path: Path, shape: tuple[int, ...]) -> None:
        write(path, "data", np.zeros(shape))
        with pytest.raises(InputError, match="2 to 5"):
            INPUT.open(path, "data")


class TestAxes:
    @pytest.mark.parametrize(
        ("attributes", "expected", "own"),
        [
            pytest.param({"axistags": axistags_json("cyx")}, "cyx", True, id="axistags"),
            pytest.param({"axistags": np.bytes_(axistags_json("tyx"))}, "tyx", True, id="fixed length"),
            pytest.param({"axistags": np.array([axistags_json("tyx")], dtype=object)}, "tyx", True, id="array of one"),
            pytest.param({"axistags": axistags_json("zyx").replace('"z"', '"?"')}, "zyx", False, id="unknown axis"),
            pytest.param({"axes": ["x", "y", "c"]}, "cyx", True, id="reversed list"),
            pytest.param({"axes": "XYT"}, "tyx", True, id="reversed text"),
            pytest.param({"axes": ["energy", "x", "y"]}, "zyx", False, id="other words"),
            pytest.param({"axistags": axistags_json("cyx"), "axes": ["x", "y", "z"]}, "cyx", True, id="both"),
            pytest.param({}, "zyx", False, id="guessed"),
        ],
    )
    def test_axes_of_hdf5_come_from_attributes(
        self, path: Path, attributes: dict[str, object], expected: str, own: bool
    ) -> None:
        write(path, **attributes)
        with INPUT.open(path, "") as reader:
            assert (reader.info.axes, reader.info.own_axes) == (expected, own)

    @pytest.mark.parametrize("tags", [axistags_json("yx"), axistags_json("zyx").replace('"z"', '"y"'), "{}", "[1"])
    def test_axistags_that_do_not_fit(self, path: Path, tags: str) -> None:
        write(path, axistags=tags)
        with INPUT.open(path, "") as reader:
            assert "axistags" in reader.info.axes_problem
            assert (reader.info.axes, reader.info.own_axes) == ("zyx", False)

    def test_metadata_of_hdf5_are_read(self, path: Path) -> None:
        units = json.dumps({"x": "um", "y": "µm", "q": "?"})
        tags = axistags_json("zyx", {"x": 0.25})
        write(path, axistags=tags, drange=np.array([2, 9]), display_mode="grayscale", axis_units=units)
        with INPUT.open(path, "") as reader:
            info = reader.info
        assert info.drange == (2.0, 9.0)
        assert info.display_mode == "grayscale"
        assert info.axis_units == {"x": "um", "y": "µm"}
        assert info.resolution == {"x": 0.25}

    def test_senseless_metadata_is_left_aside(self, path: Path) -> None:
        write(path, drange=np.zeros(3), display_mode=7, axis_units="[3]")
        with INPUT.open(path, "") as reader:
            assert (reader.info.drange, reader.info.display_mode, reader.info.axis_units) == (None, None, {})


class TestPixels:
    @pytest.mark.parametrize(
        ("stored", "read"),
        [("u1", "u1"), (">u2", "u2"), (">f4", "f4"), (">f8", "f8"), ("i8", "i8"), ("?", "u1"), ("f2", "f4")],
    )
    def test_every_number_type_of_hdf5_is_read(self, path: Path, stored: str, read: str) -> None:
        data = (np.arange(24).reshape(4, 6) % 2).astype(stored)
        write(path, data=data)
        with INPUT.open(path, "") as reader:
            voxels = reader.read(Box((1, 2), (4, 6)))
            assert reader.info.dtype == voxels.dtype == np.dtype(read)
            assert voxels.dtype.isnative
        np.testing.assert_array_equal(voxels, data[1:4, 2:6].astype(read))

    @pytest.mark.parametrize("stored", ["c8", "S3", "longdouble", [("a", "i4"), ("b", "f4")]])
    def test_refused_types(self, path: Path, stored: object) -> None:
        write(path, data=np.zeros((3, 4), np.dtype(stored)))
        with pytest.raises(InputError, match="integers and floats of up to 64 bits"):
            INPUT.open(path, "data")

    def test_chunks_are_told(self, path: Path) -> None:
        with h5py.File(path, "w") as file:
            file.create_dataset("data", data=VOLUME, chunks=(1, 5, 3), compression="gzip")
        with INPUT.open(path, "") as reader:
            assert reader.info.chunks == (1, 5, 3)

    def test_threads_read_hdf5_at_once(self, path: Path) -> None:
        data = np.random.default_rng(0).integers(0, 255, (64, 64, 8), np.uint8)
        with h5py.File(path, "w") as file:
            file.create_dataset("data", data=data, chunks=(16, 16, 8), compression="gzip")
        wrong = []
        with INPUT.open(path, "") as reader:

            def work(offset: int) -> None:
                for box in list(Box.whole(data.shape).split((13, 17, 8)))[offset:]:
                    if not np.array_equal(reader.read(box), data[box.slices()]):
                        wrong.append(box)

            threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert not wrong

    def test_missing_chunks_are_the_fill_value(self, path: Path) -> None:
        with h5py.File(path, "w") as file:
            file.create_dataset("data", shape=(10**6, 10**6), dtype="u1", chunks=(512, 512), fillvalue=7)
        with INPUT.open(path, "") as reader:
            assert (reader.read(Box((999_000, 5), (999_003, 9))) == 7).all()


class TestDamage:
    def test_a_missing_hdf5_file_is_not_found(self, path: Path) -> None:
        with pytest.raises(InputNotFound, match=r"no file .*image\.h5"):
            INPUT.open(path, "")

    def test_a_folder_is_no_hdf5_file(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="folder"):
            INPUT.open(tmp_path, "")

    def test_a_file_that_is_no_hdf5_is_not_read(self, path: Path) -> None:
        path.write_bytes(b"\x89PNG" * 100)
        with pytest.raises(InputError, match="not an HDF5 file, or damaged"):
            INPUT.open(path, "")

    def test_a_truncated_hdf5_file_is_not_read(self, path: Path) -> None:
        write(path)
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(InputError, match=r"damaged \(truncated file: .*\); copy or save it again$"):
            INPUT.open(path, "")

    def test_damaged_chunk_names_the_dataset(self, path: Path) -> None:
        with h5py.File(path, "w") as file:
            dataset = file.create_dataset("data", data=VOLUME, chunks=VOLUME.shape, compression="gzip")
            place = dataset.id.get_chunk_info(0)
        content = bytearray(path.read_bytes())
        content[place.byte_offset : place.byte_offset + place.size] = b"\xff" * place.size
        path.write_bytes(content)
        with (
            INPUT.open(path, "") as reader,
            pytest.raises(InputError, match=r"cannot read .*image\.h5/data: .*; copy or save it again"),
        ):
            reader.read(Box.whole(VOLUME.shape))

    def test_hdf5_images_of_impossible_size_are_refused(self, path: Path) -> None:
        with h5py.File(path, "w") as file:
            file.create_dataset("data", shape=(2**31, 2**31), dtype="u1", chunks=(64, 64))
        with pytest.raises(InputError, match="impossible size, 2147483648 x 2147483648"):
            INPUT.open(path, "")

    def test_unknown_filter(self, path: Path) -> None:
        settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        settings.set_chunk((2, 2))
        settings.set_filter(31999, h5py.h5z.FLAG_OPTIONAL, ())
        with h5py.File(path, "w") as file:
            space = h5py.h5s.create_simple((4, 4))
            h5py.h5d.create(file.id, b"data", h5py.h5t.NATIVE_UINT8, space, settings)
        with pytest.raises(InputError, match=r"\(31999\), which needs a plugin"):
            INPUT.open(path, "data")

    def test_hdf5_is_not_read_after_close(self, path: Path) -> None:
        reader = INPUT.open(write(path), "")
        reader.close()
        reader.close()
        with pytest.raises(InputError, match="cannot read"):
            reader.read(Box.whole(VOLUME.shape))

    def test_a_file_locked_by_another_writer_is_read(self, path: Path) -> None:
        write(path)
        first = INPUT.open(path, "")
        with h5py.File(path, "r", locking=False) as other, INPUT.open(path, "") as second:
            assert other["data"].shape == second.info.shape == first.info.shape
        first.close()


class TestLinks:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """A folder with an image, inside one with another image that is none of its business."""
        folder = tmp_path / "images"
        folder.mkdir()
        write(tmp_path / "private.h5")
        write(folder / "neighbour.h5", "volume/data")
        return folder

    def test_soft_links_are_followed(self, path: Path) -> None:
        write(path, "a/b")
        with h5py.File(path, "a") as file:
            file["absolute"] = h5py.SoftLink("/a/b")
            file["a/relative"] = h5py.SoftLink("b")
        for name in ("absolute", "a/relative"):
            with INPUT.open(path, name) as reader:
                assert reader.info.shape == VOLUME.shape

    def test_circles_end(self, path: Path) -> None:
        with h5py.File(path, "w") as file:
            file["a"] = h5py.SoftLink("/b")
            file["b"] = h5py.SoftLink("/a")
            file["self"] = h5py.ExternalLink("image.h5", "/self")
        for name in ("a", "self"):
            with pytest.raises(InputError, match="circle"):
                INPUT.open(path, name)

    def test_external_link_in_the_folder(self, folder: Path) -> None:
        with h5py.File(folder / "a.h5", "w") as file:
            file["link"] = h5py.ExternalLink("neighbour.h5", "/volume")
        with INPUT.open(folder / "a.h5", "link/data") as reader:
            np.testing.assert_array_equal(reader.read(Box.whole(VOLUME.shape)), VOLUME)

    @pytest.mark.parametrize("target", ["../private.h5", "ABSOLUTE", "symlink.h5"])
    def test_external_link_out_of_the_folder(self, folder: Path, target: str) -> None:
        private = folder.parent / "private.h5"
        if target == "symlink.h5":
            (folder / target).symlink_to(private)
        with h5py.File(folder / "a.h5", "w") as file:
            file["link"] = h5py.ExternalLink(str(private) if target == "ABSOLUTE" else target, "/data")
        with pytest.raises(InputError, match="outside the folder"):
            INPUT.open(folder / "a.h5", "link")

    def test_external_link_to_nowhere(self, folder: Path) -> None:
        with h5py.File(folder / "a.h5", "w") as file:
            file["link"] = h5py.ExternalLink("gone.h5", "/data")
        with pytest.raises(InputNotFound, match=r"gone\.h5, which does not exist"):
            INPUT.open(folder / "a.h5", "link")

    def test_virtual_dataset(self, folder: Path) -> None:
        self.add_virtual(folder / "a.h5", "neighbour.h5", "volume/data")
        with INPUT.open(folder / "a.h5", "virtual") as reader:
            np.testing.assert_array_equal(reader.read(Box.whole(VOLUME.shape)), VOLUME)

    @pytest.mark.parametrize(
        ("file_name", "dataset", "message"),
        [
            ("../private.h5", "data", "outside the folder"),
            ("gone.h5", "data", "does not exist"),
            ("neighbour.h5", "nothing", "is not there"),
            ("trap.h5", "link", "leads through a link"),
        ],
    )
    def test_virtual_dataset_that_leads_astray(self, folder: Path, file_name: str, dataset: str, message: str) -> None:
        with h5py.File(folder / "trap.h5", "w") as file:
            file["link"] = h5py.ExternalLink("../private.h5", "/data")
        self.add_virtual(folder / "a.h5", file_name, dataset)
        with pytest.raises(InputError, match=message):
            INPUT.open(folder / "a.h5", "virtual")

    def test_virtual_dataset_over_a_pattern_of_files(self, path: Path) -> None:
        unlimited = h5py.h5s.UNLIMITED
        space = h5py.h5s.create_simple((4, 5), (unlimited, 5))
        space.select_hyperslab((0, 0), (unlimited, 1), (1, 1), (1, 5))
        settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        settings.set_virtual(space, b"part%b.h5", b"data", h5py.h5s.create_simple((1, 5)))
        with h5py.File(path, "w") as file:
            h5py.h5d.create(file.id, b"data", h5py.h5t.NATIVE_UINT8, space, settings)
        with pytest.raises(InputError, match=r"sources are a pattern, part%b\.h5/data"):
            INPUT.open(path, "data")

    def test_external_storage(self, folder: Path) -> None:
        (folder / "secret.txt").write_bytes(b"x" * 12)
        with h5py.File(folder / "a.h5", "w") as file:
            file.create_dataset("data", (3, 4), "u1", external=[("secret.txt", 0, 12)])
        with pytest.raises(InputError, match="kept outside the HDF5 file"):
            INPUT.open(folder / "a.h5", "data")

    @staticmethod
    def add_virtual(path: Path, file_name: str, dataset: str) -> None:
        layout = h5py.VirtualLayout(VOLUME.shape, VOLUME.dtype)
        layout[:] = h5py.VirtualSource(file_name, dataset, VOLUME.shape)
        with h5py.File(path, "a") as file:
            file.create_virtual_dataset("virtual", layout)
