"""HDF5 as output: the layout ilastik writes, containers that exist, and everything that can get in the way."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import threading
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from pixelforest.box import Box
from pixelforest.engine.errors import ExportError
from pixelforest.engine.formats import output_format
from pixelforest.engine.formats.images import hdf5
from pixelforest.engine.formats.spec import ImageSpec, ImageWriter

IMAGE = (np.random.default_rng(0).integers(0, 100, (7, 300, 310, 2)) / 100).astype(np.float32)
SPEC = ImageSpec(IMAGE.shape, IMAGE.dtype, "zyxc", (0, 0, 0, 0), drange=(0.0, 1.0), display_mode="grayscale")
SMALL = np.arange(20, dtype=np.uint8).reshape(4, 5)
SMALL_SPEC = ImageSpec(SMALL.shape, SMALL.dtype, "yx", (0, 0))


def open_writer(
    path: Path, internal: str = "exported_data", spec: ImageSpec = SMALL_SPEC, *, name: str = "compressed hdf5"
) -> ImageWriter:
    return output_format(name).open(path, internal, spec)


def export(path: Path, internal: str = "exported_data", data: np.ndarray = SMALL) -> None:
    writer = open_writer(path, internal, ImageSpec(data.shape, data.dtype, "yx", (0, 0)))
    writer.write(Box.whole(data.shape), data)
    assert writer.finish() == [path]


def read(path: Path, internal: str = "exported_data") -> np.ndarray:
    with h5py.File(path, "r") as file:
        return file[internal][...]


def names(path: Path) -> list[str]:
    found: list[str] = []
    with h5py.File(path, "r") as file:
        file.visit(found.append)
    return sorted(found)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "result.h5"


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5, "_LOCK_WAIT_OPEN_S", 0.2)
    monkeypatch.setattr(hdf5, "_LOCK_WAIT_FINISH_S", 0.2)


class TestLayout:
    @pytest.mark.sampled(2)
    @pytest.mark.parametrize("name", ["hdf5", "compressed hdf5"])
    @pytest.mark.parametrize("tile", [(7, 300, 310, 2), (3, 64, 100, 2), (7, 40, 310, 1)])
    def test_any_tiles_from_several_threads(self, path: Path, name: str, tile: tuple[int, ...]) -> None:
        boxes = list(Box.whole(IMAGE.shape).split(tile))
        random.Random(1).shuffle(boxes)
        writer = open_writer(path, spec=SPEC, name=name)
        assert not path.exists()

        def work(start: int) -> None:
            for box in boxes[start::3]:
                writer.write(box, IMAGE[box.slices()])

        threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert writer.finish() == [path]
        assert os.listdir(path.parent) == [path.name]
        with h5py.File(path, "r") as file:
            dataset = file["exported_data"]
            np.testing.assert_array_equal(dataset[...], IMAGE)
            assert dataset.chunks == writer.chunks == (7, 135, 135, 1)
            assert dataset.compression == ("gzip" if name.startswith("compressed") else None)
            assert dataset.compression_opts == (1 if name.startswith("compressed") else None)
            assert dataset.id.get_num_chunks() == 3 * 3 * 2

    def test_zeros_are_stored_and_edges_padded(self, path: Path) -> None:
        spec = ImageSpec((600, 700), np.dtype(np.uint32), "yx", (0, 0))
        writer = open_writer(path, spec=spec, name="hdf5")
        writer.write(Box((0, 0), (600, 700)), np.zeros((600, 700), np.uint32))
        writer.finish()
        with h5py.File(path, "r") as file:
            assert file["exported_data"].id.get_num_chunks() == 4
            assert file["exported_data"].id.get_storage_size() == 4 * 358 * 357 * 4

    def test_attributes_of_an_hdf5_result_are_ilastiks(self, path: Path) -> None:
        spec = ImageSpec(
            (4, 5), np.dtype(np.uint8), "yx", (0, 0), drange=(0.0, 255.0), display_mode="default",
            axis_units={"x": "um", "z": "s"}, resolution={"x": 0.5, "y": 2.0},
        )  # fmt: skip
        writer = open_writer(path, "a/b", spec)
        writer.write(Box.whole((4, 5)), SMALL)
        writer.finish()
        with h5py.File(path, "r") as file:
            attributes = file["a/b"].attrs
            assert sorted(attributes) == ["DIMENSION_LABELS", "axis_units", "axistags", "display_mode", "drange"]
            assert json.loads(attributes["axis_units"]) == {"x": "um"}
            assert [tag["resolution"] for tag in json.loads(attributes["axistags"])["axes"]] == [2, 0.5]
            assert attributes["drange"].dtype == np.uint8
            assert attributes["drange"].tolist() == [0, 255]
            assert [d.label for d in file["a/b"].dims] == ["y", "x"]

    def test_unknown_metadata_leaves_no_attribute(self, path: Path) -> None:
        export(path)
        with h5py.File(path, "r") as file:
            assert sorted(file["exported_data"].attrs) == ["DIMENSION_LABELS", "axistags"]

    @pytest.mark.golden
    @pytest.mark.parametrize(
        "recorded",
        [
            "golden/variants_2d3c/expected/default_source.h5",
            "golden/variants_2d3c/expected/dtype_uint8_drange.h5",
            "golden/variants_2d3c/expected/internal_path.h5",
            "golden/variants_api/expected/vol_tif_ignore_axistags.h5",
            "golden/api_PixelClass3D/expected/labels.h5",
            "fixtures/px2dt/expected/probabilities.h5",
        ],
    )
    def test_everything_but_the_packing_is_as_ilastik_wrote_it(
        self, path: Path, shared_folder: Path, recorded: str
    ) -> None:
        """Not compared: chunks and compression, since the recorded files were packed again."""
        with h5py.File(shared_folder / recorded, "r") as file:
            name = names(shared_folder / recorded)[-1]
            expected = file[name]
            axes = "".join(tag["key"] for tag in json.loads(expected.attrs["axistags"])["axes"])
            spec = ImageSpec(
                expected.shape,
                expected.dtype,
                axes,
                (0,) * len(axes),
                drange=tuple(expected.attrs["drange"].tolist()),
                display_mode=expected.attrs["display_mode"],
                axis_units=json.loads(expected.attrs.get("axis_units", "{}")),
                resolution={tag["key"]: tag["resolution"] for tag in json.loads(expected.attrs["axistags"])["axes"]},
            )
            writer = open_writer(path, name, spec)
            writer.write(Box.whole(spec.shape), expected[...])
            writer.finish()
            with h5py.File(path, "r") as written:
                self.compare(written[name], expected)

    @staticmethod
    def compare(written: h5py.Dataset, expected: h5py.Dataset) -> None:
        np.testing.assert_array_equal(written[...], expected[...])
        assert written.dtype == expected.dtype
        assert written.maxshape == expected.maxshape
        assert written.fillvalue == expected.fillvalue
        assert sorted(written.attrs) == sorted(expected.attrs)
        for key in expected.attrs:
            ours, theirs = written.attrs.get_id(key), expected.attrs.get_id(key)
            assert ours.get_type() == theirs.get_type(), key
            assert ours.shape == theirs.shape
            assert ours.get_space().get_simple_extent_type() == theirs.get_space().get_simple_extent_type()
            np.testing.assert_array_equal(written.attrs[key], expected.attrs[key])


class TestPlace:
    def test_folders_are_made(self, tmp_path: Path) -> None:
        export(tmp_path / "a" / "b" / "r.h5")
        np.testing.assert_array_equal(read(tmp_path / "a" / "b" / "r.h5"), SMALL)

    @pytest.mark.parametrize("internal", ["/volume/data", "volume//data/", "./volume/data"])
    def test_internal_path(self, path: Path, internal: str) -> None:
        export(path, internal)
        assert names(path) == ["volume", "volume/data"]

    @pytest.mark.parametrize("internal", ["", "/", "a/../b", ".."])
    def test_senseless_internal_path(self, path: Path, internal: str) -> None:
        with pytest.raises(ExportError, match="not the path of a dataset"):
            open_writer(path, internal)
        assert os.listdir(path.parent) == []

    def test_a_link_to_an_hdf5_result_is_followed(self, tmp_path: Path, path: Path) -> None:
        real = tmp_path / "elsewhere" / "real.h5"
        export(real, "old")
        path.symlink_to(real)
        export(path)
        assert path.is_symlink()
        assert names(real) == ["exported_data", "old"]

    def test_folder_in_the_way(self, path: Path) -> None:
        path.mkdir()
        with pytest.raises(ExportError, match="folder of that name"):
            open_writer(path)

    def test_file_where_a_folder_is_needed(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_text("not a folder")
        with pytest.raises(ExportError, match="cannot write"):
            open_writer(tmp_path / "a" / "r.h5")

    def test_folder_that_takes_no_files(self, unwritable_folder: Path) -> None:
        with pytest.raises(ExportError, match="cannot write"):
            open_writer(unwritable_folder / "r.h5")

    def test_abort_leaves_nothing(self, tmp_path: Path, path: Path) -> None:
        writer = open_writer(path)
        writer.write(Box((0, 0), (2, 5)), SMALL[:2])
        writer.abort()
        writer.abort()
        assert os.listdir(tmp_path) == []
        with pytest.raises(ExportError, match="cannot write"):
            writer.write(Box((2, 0), (4, 5)), SMALL[2:])

    def test_an_unfinished_hdf5_image_is_not_published(self, tmp_path: Path, path: Path) -> None:
        writer = open_writer(path)
        writer.write(Box((0, 0), (2, 5)), SMALL[:2])
        with pytest.raises(ExportError, match="20 voxels were never written"):
            writer.finish()
        assert os.listdir(tmp_path) == []


class TestContainer:
    def test_other_datasets_stay(self, path: Path) -> None:
        with h5py.File(path, "w") as file:
            file["raw/data"] = IMAGE[0, :5]
            file["raw"].attrs["note"] = "keep me"
            file["exported_data"] = np.zeros(3)
        export(path)
        export(path, "raw/result", SMALL * 2)
        with h5py.File(path, "r") as file:
            np.testing.assert_array_equal(file["raw/data"][...], IMAGE[0, :5])
            np.testing.assert_array_equal(file["exported_data"][...], SMALL)
            np.testing.assert_array_equal(file["raw/result"][...], SMALL * 2)
            assert file["raw"].attrs["note"] == "keep me"
            assert file["raw/result"].dims[0].label == "y"
        assert names(path) == ["exported_data", "raw", "raw/data", "raw/result"]
        assert os.listdir(path.parent) == [path.name]

    def test_running_again_does_not_let_the_file_grow(self, path: Path) -> None:
        export(path, "volume/data")
        size = path.stat().st_size
        for _ in range(3):
            export(path, "volume/data")
        assert path.stat().st_size == size

    def test_two_results_at_once_in_a_new_container(self, path: Path) -> None:
        writers = [open_writer(path, f"result{i}") for i in range(3)]
        for index, writer in enumerate(writers):
            writer.write(Box.whole(SMALL.shape), SMALL + index)
        for writer in writers:
            writer.finish()
        assert names(path) == ["result0", "result1", "result2"]
        np.testing.assert_array_equal(read(path, "result2"), SMALL + 2)

    def test_many_threads_with_one_container(self, path: Path) -> None:
        export(path, "first")
        failures = []

        def work(index: int) -> None:
            try:
                export(path, f"g{index % 2}/r{index}", SMALL + index)
            except ExportError as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        assert names(path) == sorted(["first", "g0", "g1", *(f"g{i % 2}/r{i}" for i in range(8))])

    def test_empty_file_is_replaced(self, path: Path) -> None:
        path.touch()
        export(path)
        np.testing.assert_array_equal(read(path), SMALL)

    @pytest.mark.parametrize("moment", ["before", "after some tiles"])
    def test_abort_keeps_the_old_dataset(self, path: Path, moment: str) -> None:
        export(path)
        export(path, "other")
        before = path.read_bytes()
        writer = open_writer(path)
        if moment != "before":
            writer.write(Box((0, 0), (4, 5)), SMALL)
        writer.abort()
        assert path.read_bytes() == before
        assert os.listdir(path.parent) == [path.name]

    def test_a_file_that_is_no_hdf5_is_not_written_to(self, path: Path) -> None:
        path.write_bytes(b"something else")
        with pytest.raises(ExportError, match="exists and is not an HDF5 file"):
            open_writer(path)
        assert path.read_bytes() == b"something else"
        assert os.listdir(path.parent) == [path.name]

    def test_a_truncated_hdf5_file_is_not_written_to(self, path: Path) -> None:
        export(path)
        path.write_bytes(path.read_bytes()[:-50])
        with pytest.raises(ExportError, match=r"exists and cannot be opened \(truncated file"):
            open_writer(path)

    def test_read_only(self, path: Path) -> None:
        export(path)
        path.chmod(0o400)
        if os.access(path, os.W_OK):
            pytest.skip("this user may write everywhere")
        with pytest.raises(ExportError, match="read-only"):
            open_writer(path)

    @pytest.mark.parametrize(
        ("internal", "message"),
        [
            ("data/deeper", "'data' in it is a dataset, not a group"),
            ("group", "there is a group"),
            ("link/x", "a link"),
        ],
    )
    def test_internal_paths_that_conflict_are_refused(self, path: Path, internal: str, message: str) -> None:
        with h5py.File(path, "w") as file:
            file["data"] = SMALL
            file["group/inner"] = SMALL
            file["link"] = h5py.ExternalLink("other.h5", "/")
        with pytest.raises(ExportError, match=message):
            open_writer(path, internal)
        assert os.listdir(path.parent) == [path.name]

    def test_conflict_that_arises_while_computing(self, path: Path) -> None:
        writer = open_writer(path, "a/b")
        writer.write(Box.whole(SMALL.shape), SMALL)
        export(path, "a")
        with pytest.raises(ExportError, match="'a' in it is a dataset"):
            writer.finish()
        assert os.listdir(path.parent) == [path.name]

    def test_leftovers_of_a_crash_are_removed(self, path: Path) -> None:
        with h5py.File(path, "w") as file:
            file["keep"] = SMALL
            file[".pixelforest-123-abc.partial"] = SMALL
        export(path)
        assert names(path) == ["exported_data", "keep"]

    def test_crash_while_swapping_keeps_the_old_dataset(self, path: Path) -> None:
        export(path)
        export(path, "other")
        script = """
import os, sys
from pathlib import Path
import numpy as np
from pixelforest.box import Box
from pixelforest.engine.formats.images import hdf5
from pixelforest.engine.formats.spec import ImageSpec
swap = hdf5._swap
def crash(*arguments):
    swap(*arguments)
    os._exit(9)
hdf5._swap = crash
data = np.full((4, 5), 77, np.uint8)
writer = hdf5.OUTPUTS[1].open(Path(sys.argv[1]), "exported_data", ImageSpec((4, 5), data.dtype, "yx", (0, 0)))
writer.write(Box.whole((4, 5)), data)
writer.finish()
"""
        assert subprocess.run([sys.executable, "-c", script, path], check=False).returncode == 9
        np.testing.assert_array_equal(read(path), SMALL)
        np.testing.assert_array_equal(read(path, "other"), SMALL)
        export(path, data=SMALL * 2)
        assert names(path) == ["exported_data", "other"]
        np.testing.assert_array_equal(read(path), SMALL * 2)


class TestOthersInTheWay:
    @pytest.fixture
    def locked(self, path: Path):
        """The container, held open for writing by another process."""
        export(path)
        script = "import h5py, sys; f = h5py.File(sys.argv[1], 'r+'); print('open', flush=True); sys.stdin.read()"
        with subprocess.Popen(
            [sys.executable, "-c", script, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "open\n"
            yield holder
            holder.communicate("")

    def test_locked_container(self, path: Path, locked: subprocess.Popen[str]) -> None:
        with pytest.raises(ExportError, match="another program has it open and locked"):
            open_writer(path)
        assert os.listdir(path.parent) == [path.name]

    def test_waits_for_a_lock_that_is_released(
        self, path: Path, locked: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(hdf5, "_LOCK_WAIT_OPEN_S", 10.0)
        timer = threading.Timer(0.3, lambda: locked.communicate(""))
        timer.start()
        open_writer(path).abort()
        timer.join()

    def test_disk_full_while_merging(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        export(path)
        export(path, "other")
        before = path.read_bytes()
        writer = open_writer(path)
        writer.write(Box.whole(SMALL.shape), SMALL)
        usage = namedtuple("usage", "total used free")
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(100, 100, 0))
        with pytest.raises(ExportError, match="disk is full"):
            writer.finish()
        assert path.read_bytes() == before
        assert os.listdir(path.parent) == [path.name]

    def test_disk_full_while_writing(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        class FullDisk:
            def write_direct_chunk(self, *_: object) -> None:
                raise OSError(
                    "Can't write data (file write failed: errno = 28, error message = 'No space left on device')"
                )

        writer = open_writer(path)
        monkeypatch.setattr(writer, "_dataset", SimpleNamespace(id=FullDisk()))
        with pytest.raises(ExportError, match=f"cannot write {path}: the disk is full"):
            writer.write(Box.whole(SMALL.shape), SMALL)
        writer.abort()
        assert os.listdir(path.parent) == []

    @pytest.mark.slow
    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs limits of POSIX")
    @pytest.mark.parametrize("step", [0, 1_000_000])
    def test_file_size_limit(self, path: Path, step: int) -> None:
        """A quota, as far as a process can give one to itself: writing or closing fails, and nothing is left over."""
        script = f"""
import os, resource, signal, sys
from pathlib import Path
import numpy as np
from pixelforest.box import Box
from pixelforest.engine.errors import ExportError
from pixelforest.engine.formats.images import hdf5
from pixelforest.engine.formats.spec import ImageSpec
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path = Path(sys.argv[1])
data = np.random.default_rng(0).integers(0, 255, (2000, 2000), np.uint8)
writer = hdf5.OUTPUTS[0].open(path, "exported_data", ImageSpec(data.shape, data.dtype, "yx", (0, 0)))
resource.setrlimit(resource.RLIMIT_FSIZE, (1000 + {step}, resource.RLIM_INFINITY))
try:
    writer.write(Box.whole(data.shape), data)
    writer.finish()
except ExportError as error:
    writer.abort()
    print(error)
    print(os.listdir(path.parent))
"""
        done = subprocess.run([sys.executable, "-c", script, path], check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        message, left = done.stdout.splitlines()
        assert message.startswith(
            f"cannot write {path}: the file would be larger than this disk or a limit on file sizes"
        )
        assert left == "[]"
        assert done.stderr == ""
