"""Suites that every format passes: images written, images read, tables written.

A test class names the formats and says how a file is read by other code than that which wrote it::

    class TestPiles(OutputFormatSuite):
        formats = my_package.piles.OUTPUTS

        def read(self, file, chosen):
            return np.load(file)["result"]
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from ..box import Box
from ..engine.errors import ExportError, InputError
from ..engine.formats.spec import InputFormat, OutputFormat
from ..engine.formats.table_spec import TableColumn, TableFormat
from .images import make_image, make_spec, open_writer

DTYPES = ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float32", "float64")


class OutputFormatSuite:
    """Tests of formats of images that are written to files."""

    formats: ClassVar[Sequence[OutputFormat]]

    def read(self, file: Path, chosen: OutputFormat) -> np.ndarray:
        """Read a file with axes in its own order."""
        raise NotImplementedError

    def expected(self, array: np.ndarray, axes: str, chosen: OutputFormat) -> np.ndarray:
        """Content that a reader should find, without axes of length 1: of a sequence, that of one file."""
        return np.squeeze(array)

    def check(self, found: np.ndarray, expected: np.ndarray, chosen: OutputFormat) -> None:
        """Compare a file's content with what it should be; a lossy format allows for its losses."""
        assert found.dtype == expected.dtype
        assert np.array_equal(found, expected)

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Parametrise by formats, their types, and their numbers of channels."""
        cases: dict[str, Any] = {}
        if "in_blocks" in metafunc.fixturenames:
            found = [each for each in self.formats if each.open_blocks is not None]
            metafunc.parametrize("in_blocks", found, ids=[each.name for each in found])
        for each in self.formats:
            if "dtype" in metafunc.fixturenames:  # others are refused before a writer is opened
                limits = each.limits
                dtypes = [t for t in DTYPES if limits.dtypes is None or t in limits.dtypes or limits.stretches]
                cases |= {f"{each.name}-{dtype}": (each, dtype) for dtype in dtypes}
            elif "channels" in metafunc.fixturenames:
                allowed = each.limits.channels
                numbers = [n for n in (1, 2, 3, 4, 7) if allowed is None or n in allowed]
                cases |= {f"{each.name}-{n}": (each, n) for n in numbers}
            elif not (each.sequence and "sizes" in metafunc.fixturenames):  # a sequence needs its three axes
                cases[each.name] = (each,)
        names = ["chosen", *(name for name in ("dtype", "channels") if name in metafunc.fixturenames)]
        if "chosen" in metafunc.fixturenames:
            metafunc.parametrize(names, cases.values(), ids=cases)

    def write_whole(self, folder: Path, chosen: OutputFormat, array: np.ndarray, axes: str) -> list[Path]:
        """Write an image in one piece."""
        writer = open_writer(folder, chosen, make_spec(array, axes))
        writer.write(Box.whole(array.shape), array)
        return writer.finish()

    def check_files(self, files: list[Path], chosen: OutputFormat, array: np.ndarray, axes: str) -> None:
        """Read files and compare them with the image that was written; a sequence numbers the first axis."""
        parts = [array[i : i + 1] for i in range(array.shape[0])] if chosen.sequence else [array]
        assert len(files) == len(parts)
        for file, part in zip(files, parts, strict=True):
            found, expected = np.squeeze(self.read(file, chosen)), self.expected(part, axes, chosen)
            assert found.shape == expected.shape
            self.check(found, expected, chosen)

    def test_it_is_described(self, chosen: OutputFormat) -> None:
        assert chosen.summary
        assert chosen.extension == chosen.extension.lower()

    def test_every_type_is_kept_or_stretched(self, chosen: OutputFormat, dtype: str, tmp_path: Path) -> None:
        array, axes = make_image(chosen, dtype)
        self.check_files(self.write_whole(tmp_path, chosen, array, axes), chosen, array, axes)

    def test_every_number_of_channels_it_promises(self, chosen: OutputFormat, channels: int, tmp_path: Path) -> None:
        array, axes = make_image(chosen, channels=channels)
        self.check_files(self.write_whole(tmp_path, chosen, array, axes), chosen, array, axes)

    @pytest.mark.parametrize("piece", [(1, 1, 4, 5, 2), (2, 2, 11, 3, 1), (1, 2, 3, 13, 7)], ids=str)
    def test_boxes_may_come_in_any_order_from_any_thread(
        self, chosen: OutputFormat, piece: tuple[int, ...], tmp_path: Path
    ) -> None:
        array, axes = make_image(chosen)
        writer = open_writer(tmp_path, chosen, make_spec(array, axes))
        boxes = list(Box.whole(array.shape).split(piece[-array.ndim :]))
        random.Random(1).shuffle(boxes)
        with ThreadPoolExecutor(4) as pool:
            for done in [pool.submit(writer.write, box, np.array(array[box.slices()])) for box in boxes]:
                done.result()
        self.check_files(writer.finish(), chosen, array, axes)

    def test_blocks_of_several_writers_make_the_same_image(self, in_blocks: OutputFormat, tmp_path: Path) -> None:
        """Two that end without finishing, and one that finishes what they have settled."""
        array, axes = make_image(in_blocks)
        spec, path, settled = make_spec(array, axes), tmp_path / f"blocks.{in_blocks.extension}", {}
        boxes = list(Box.whole(array.shape).split(in_blocks.unit(spec) or array.shape))
        assert in_blocks.open_blocks is not None
        for turn in range(2):
            writer = in_blocks.open_blocks(path, "exported_data", spec, "0123456789ab")
            for box in boxes[turn::2]:
                writer.write(box, array[box.slices()])
                settled[box] = writer.settle(box)
            writer.abort()
        assert not path.exists()
        writer = in_blocks.open_blocks(path, "exported_data", spec, "0123456789ab")
        for box in boxes:
            writer.restore(box, settled[box])
        self.check_files(writer.finish(), in_blocks, array, axes)
        assert list(tmp_path.iterdir()) == [path]

    @pytest.mark.parametrize("sizes", [{"y": 1}, {"x": 1}, {"y": 1, "x": 1}], ids=str)
    def test_short_axes(self, chosen: OutputFormat, sizes: dict[str, int], tmp_path: Path) -> None:
        array, axes = make_image(chosen)
        array = array[tuple(slice(0, sizes.get(a)) for a in axes)]
        self.check_files(self.write_whole(tmp_path, chosen, array, axes), chosen, array, axes)

    def test_any_order_of_axes(self, chosen: OutputFormat, tmp_path: Path) -> None:
        array, axes = make_image(chosen)
        # The first axis of a sequence numbers its files.
        order = [0, *range(array.ndim - 1, 0, -1)] if chosen.sequence else list(range(array.ndim))[::-1]
        turned = np.transpose(array, order)
        turned_axes = "".join(axes[i] for i in order)
        files = self.write_whole(tmp_path, chosen, turned, turned_axes)
        self.check_files(files, chosen, turned, turned_axes)

    def test_nothing_appears_before_finish_and_nothing_stays_after_abort(
        self, chosen: OutputFormat, tmp_path: Path
    ) -> None:
        array, axes = make_image(chosen)
        folder = tmp_path / "not" / "yet" / "there"
        writer = open_writer(folder, chosen, make_spec(array, axes))
        first, *_ = Box.whole(array.shape).split((1, *array.shape[1:]))
        writer.write(first, array[first.slices()])
        assert not list(folder.glob(f"out*.{chosen.extension}"))
        writer.abort()
        assert files_below(tmp_path) == []
        writer.abort()  # never raises

    def test_abort_leaves_what_was_there(self, chosen: OutputFormat, tmp_path: Path) -> None:
        array, axes = make_image(chosen)
        files = self.write_whole(tmp_path, chosen, array, axes)
        before = contents_of(files)
        writer = open_writer(tmp_path, chosen, make_spec(array, axes))
        writer.write(Box.whole(array.shape), np.zeros_like(array))
        writer.abort()
        assert sorted(files_below(tmp_path)) == sorted(contents_of(files))
        if chosen.container:
            self.check_files(files, chosen, array, axes)  # the container itself may have been touched
        else:
            assert contents_of(files) == before

    def test_an_older_result_is_replaced(self, chosen: OutputFormat, tmp_path: Path) -> None:
        array, axes = make_image(chosen)
        self.write_whole(tmp_path, chosen, np.zeros_like(array), axes)
        files = self.write_whole(tmp_path, chosen, array, axes)
        self.check_files(files, chosen, array, axes)
        assert sorted(files_below(tmp_path)) == sorted(contents_of(files))

    def test_an_image_in_a_folder_that_cannot_be_made(self, chosen: OutputFormat, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        array, axes = make_image(chosen)
        with pytest.raises(ExportError):
            open_writer(tmp_path / "file" / "sub", chosen, make_spec(array, axes))
        assert files_below(tmp_path) == [tmp_path / "file"]

    def test_preferred_boxes_fit_the_image(self, chosen: OutputFormat, tmp_path: Path) -> None:
        array, axes = make_image(chosen)
        writer = open_writer(tmp_path, chosen, make_spec(array, axes))
        if writer.chunks is not None:
            assert len(writer.chunks) == array.ndim
            assert all(1 <= n <= size for n, size in zip(writer.chunks, array.shape, strict=True))
        writer.abort()

    def test_offsets_and_metadata_are_taken_or_ignored(self, chosen: OutputFormat, tmp_path: Path) -> None:
        array, axes = make_image(chosen)
        spec = replace(
            make_spec(array, axes),
            offset=tuple(range(3, 3 + array.ndim)),
            drange=(0, 200),
            display_mode="grayscale",
            axis_units={"x": "µm", "y": "µm"},
            resolution={"x": 0.5, "y": 0.25},
        )
        writer = open_writer(tmp_path, chosen, spec)
        writer.write(Box.whole(array.shape), array)
        self.check_files(writer.finish(), chosen, array, axes)


class InputFormatSuite:
    """Tests of a format of images that are read from files."""

    chosen: ClassVar[InputFormat]

    def make(self, folder: Path) -> tuple[Path, str, np.ndarray]:
        """Write an image of at least two dimensions; return file, internal path or "", and voxels in file axes."""
        raise NotImplementedError

    def test_facts_are_those_of_the_image(self, tmp_path: Path) -> None:
        path, internal, expected = self.make(tmp_path)
        with self.chosen.open(path, internal) as reader:
            assert reader.info.shape == expected.shape
            assert reader.info.dtype == expected.dtype
            assert reader.info.dtype.isnative
            assert len(set(reader.info.axes)) == expected.ndim
            assert set(reader.info.axes) <= set("tzyxc")
            reader.verify()

    def test_every_box_is_its_part_of_the_image(self, tmp_path: Path) -> None:
        path, internal, expected = self.make(tmp_path)
        generator = random.Random(2)
        with self.chosen.open(path, internal) as reader:
            for _ in range(30):
                start = [generator.randrange(n) for n in expected.shape]
                stop = [generator.randint(a + 1, n) for a, n in zip(start, expected.shape, strict=True)]
                box = Box(tuple(start), tuple(stop))
                found = reader.read(box)
                assert found.dtype == expected.dtype
                np.testing.assert_array_equal(found, expected[box.slices()])

    def test_threads_may_read_at_once(self, tmp_path: Path) -> None:
        path, internal, expected = self.make(tmp_path)
        boxes = list(Box.whole(expected.shape).split((1,) * (expected.ndim - 1) + expected.shape[-1:]))
        with self.chosen.open(path, internal) as reader, ThreadPoolExecutor(4) as pool:
            for box, found in zip(boxes, pool.map(reader.read, boxes), strict=True):
                np.testing.assert_array_equal(found, expected[box.slices()])

    def test_it_may_be_closed_twice_and_opened_again(self, tmp_path: Path) -> None:
        path, internal, expected = self.make(tmp_path)
        reader = self.chosen.open(path, internal)
        known = reader.known
        reader.close()
        reader.close()
        with (known is not None and self.chosen.reopen(known)) or self.chosen.open(path, internal) as again:
            np.testing.assert_array_equal(again.read(Box.whole(expected.shape)), expected)

    def test_datasets_are_listed(self, tmp_path: Path) -> None:
        path, internal, _ = self.make(tmp_path)
        assert path.suffix.removeprefix(".").lower() in self.chosen.extensions
        assert set(self.chosen.container_extensions) <= set(self.chosen.extensions)
        if self.chosen.list_images is None:
            assert not self.chosen.container_extensions
        else:
            assert internal.strip("/") in [name.strip("/") for name in self.chosen.list_images(path)]

    def test_a_file_that_is_cut_off_is_an_input_error_or_read(self, tmp_path: Path) -> None:
        """Whatever the file holds, no other exception leaves the reader."""
        path, internal, expected = self.make(tmp_path)
        if path.is_dir():
            pytest.skip("the image is a folder")
        content = path.read_bytes()
        for length in sorted({0, 1, len(content) // 2, len(content) - 1}):
            path.write_bytes(content[:length])
            try:
                with self.chosen.open(path, internal) as reader:
                    reader.verify()
                    reader.read(Box.whole(expected.shape))
            except InputError:
                pass

    def test_a_file_that_is_missing_is_an_input_error(self, tmp_path: Path) -> None:
        with pytest.raises(InputError):
            self.chosen.open(tmp_path / f"nothing.{self.chosen.extensions[0]}", "")


COLUMNS = (
    TableColumn("object_id", np.dtype(np.int64)),
    TableColumn("Predicted Class", np.dtype(np.int64), ("Zelle", "größer")),
    TableColumn("single", np.dtype(np.float32)),
    TableColumn("double", np.dtype(np.float64)),
    TableColumn("large", np.dtype(np.uint64)),
)


def rows_of(count: int, first: int = 0) -> list[np.ndarray]:
    """Make values for ``COLUMNS``."""
    rng = np.random.default_rng(count)
    ids = np.arange(first, first + count, dtype=np.int64)
    single = rng.normal(size=count).astype(np.float32)
    single[::7] = np.nan
    return [ids, ids % 2, single, rng.normal(size=count) * 1e-9, np.full(count, 2**64 - 1, np.uint64)]


class TableFormatSuite:
    """Tests of formats of tables."""

    formats: ClassVar[Sequence[TableFormat]]

    def read(self, path: Path, table: TableFormat) -> dict[str, list[Any]]:
        """Read the columns of a file as Python values."""
        raise NotImplementedError

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Parametrise by formats; one whose library is missing is skipped."""
        if "table" not in metafunc.fixturenames:
            return
        cases = []
        for each in self.formats:
            missing = each.find_missing()
            skip = pytest.mark.skipif(bool(missing), reason=f"{missing} is not installed")
            cases.append(pytest.param(each, id=each.name, marks=skip))
        metafunc.parametrize("table", cases)

    def path_of(self, folder: Path, table: TableFormat) -> Path:
        """Path of a table in a folder."""
        return folder / f"t.{table.extensions[0]}"

    @pytest.mark.parametrize("pieces", [(5,), (4000, 3000, 1), (1, 0, 2), (0,), ()])
    def test_values_there_and_back(self, table: TableFormat, tmp_path: Path, pieces: tuple[int, ...]) -> None:
        path = self.path_of(tmp_path, table)
        writer = table.open(path, COLUMNS, {})
        written: list[list[np.ndarray]] = []
        for count in pieces:
            written.append(rows_of(count, sum(len(w[0]) for w in written)))
            writer.write(written[-1])
        assert not path.exists()
        assert writer.finish() == path
        found = self.read(path, table)
        assert list(found) == [column.name for column in COLUMNS]
        for i, column in enumerate(COLUMNS):
            expected = np.concatenate([w[i] for w in written]) if written else np.empty(0, column.dtype)
            if column.texts is not None:
                assert found[column.name] == [column.texts[v] for v in expected.tolist()]
            else:
                values = np.array(found[column.name], column.dtype)
                assert np.array_equal(values, expected, equal_nan=column.dtype.kind == "f")

    def test_columns_in_any_layout(self, table: TableFormat, tmp_path: Path) -> None:
        wide = np.arange(60, dtype=np.float32).reshape(20, 3)
        columns = [TableColumn(f"c_{i}", np.dtype(np.float32)) for i in range(3)]
        writer = table.open(self.path_of(tmp_path, table), columns, {})
        writer.write(list(wide.T))
        writer.finish()
        assert self.path_of(tmp_path, table).stat().st_size > 0

    def test_giving_up_leaves_what_was_there(self, table: TableFormat, tmp_path: Path) -> None:
        path = self.path_of(tmp_path / "new", table)
        writer = table.open(path, COLUMNS, {})
        writer.write(rows_of(3))
        writer.abort()
        writer.abort()
        assert list(tmp_path.iterdir()) == []
        path.parent.mkdir()
        path.write_text("before")
        writer = table.open(path, COLUMNS, {})
        writer.abort()
        assert path.read_text() == "before"
        assert list(path.parent.iterdir()) == [path]

    def test_folders_are_made_and_files_replaced(self, table: TableFormat, tmp_path: Path) -> None:
        path = self.path_of(tmp_path / "a" / "b", table)
        for count in (5, 2):
            writer = table.open(path, COLUMNS, {})
            writer.write(rows_of(count))
            writer.finish()
        assert len(self.read(path, table)["object_id"]) == 2
        assert list(path.parent.iterdir()) == [path]

    def test_a_table_in_a_folder_that_cannot_be_made(self, table: TableFormat, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(ExportError, match="cannot write"):
            table.open(self.path_of(tmp_path / "file", table), COLUMNS, {})

    def test_a_folder_of_that_name(self, table: TableFormat, tmp_path: Path) -> None:
        self.path_of(tmp_path, table).mkdir()
        with pytest.raises(ExportError, match="there is a folder of that name"):
            table.open(self.path_of(tmp_path, table), COLUMNS, {})


def files_below(folder: Path) -> list[Path]:
    """List the files in a folder and below it."""
    return [path for path in folder.rglob("*") if path.is_file()]


def contents_of(results: list[Path]) -> dict[Path, bytes]:
    """Read everything that was written; a result may be a folder of files."""
    files = [file for path in results for file in ([path] if path.is_file() else files_below(path))]
    return {file: file.read_bytes() for file in files}
