"""What holds for every output format, whatever it is: the same tests run through the whole registry.

A file is read back by a library other than the code that wrote it.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from reference.second_readers import SECOND_READERS
from support.format_cases import FORMATS, make_image, make_spec, open_writer

from pixelforest.box import Box
from pixelforest.engine.axes import to_canonical
from pixelforest.engine.errors import ExportError, UsageError
from pixelforest.engine.formats import output_format, output_formats
from pixelforest.engine.formats.spec import OutputFormat
from pixelforest.engine.formats.support.picture_writers import fold_plane, stretch_to_uint8

DTYPES = ["uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float32", "float64"]
each_format = pytest.mark.parametrize("chosen", FORMATS, ids=[f.name for f in FORMATS])
LOSSY_STEP = 40  # of a noise picture as JPEG at quality 75
HDR_STEP = 1 / 128  # of the largest channel of a pixel, which shares its exponent with the others


def expected_content(array: np.ndarray, axes: str, chosen: OutputFormat) -> np.ndarray:
    """What an independent reader should find, without axes of length 1."""
    fixed_axes = chosen.fixed_axes or ("tzcyx" if chosen.name == "multipage tiff sequence" else None)
    if fixed_axes:
        order = ["tzyxc".index(a) for a in fixed_axes]
        return np.squeeze(np.transpose(to_canonical(array, axes), order))
    if chosen.limits.max_dims is None:
        return np.squeeze(array)
    plane = fold_plane(array, axes)
    if chosen.limits.dtypes is not None and array.dtype.name not in chosen.limits.dtypes:
        plane, _ = stretch_to_uint8(plane)
    return np.squeeze(plane)


def write_whole(folder: Path, chosen: OutputFormat, array: np.ndarray, axes: str) -> list[Path]:
    writer = open_writer(folder, chosen, make_spec(array, axes))
    writer.write(Box.whole(array.shape), array)
    return writer.finish()


def check_files(files: list[Path], chosen: OutputFormat, array: np.ndarray, axes: str) -> None:
    read = SECOND_READERS[chosen.extension].read
    if chosen.sequence:
        contents = [expected_content(array[i : i + 1], axes, chosen) for i in range(array.shape[0])]
    else:
        contents = [expected_content(array, axes, chosen)]
    assert len(files) == len(contents)
    for file, expected in zip(files, contents, strict=True):
        found = np.squeeze(read(file))
        assert found.shape == expected.shape
        if chosen.extension in ("jpg", "jpeg"):
            assert np.abs(found.astype(float) - expected).mean() < LOSSY_STEP
        elif chosen.extension == "hdr":
            expected = np.maximum(expected, 0)
            assert (np.abs(found - expected) <= HDR_STEP * expected.max(axis=-1, keepdims=True)).all()
        else:
            assert found.dtype == expected.dtype
            assert np.array_equal(found, expected)


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def contents_of(results: list[Path]) -> dict[Path, bytes]:
    """Everything that was written; a result may be a folder of files."""
    files = [file for path in results for file in ([path] if path.is_file() else files_below(path))]
    return {file: file.read_bytes() for file in files}


# --- the tests ---------------------------------------------------------------------------------------------------


def test_names_are_what_the_command_line_takes() -> None:
    pictures = {"bmp", "gif", "hdr", "jpeg", "jpg", "pbm", "pgm", "png", "pnm", "ppm", "ras", "tif", "tiff", "xv"}
    pictures.add("multipage tiff")
    names = pictures | {f"{name} sequence" for name in pictures} | {"hdf5", "compressed hdf5", "numpy"}
    names |= {"n5", "compressed n5", "single-scale OME-Zarr", "multi-scale OME-Zarr"}
    assert names <= set(output_formats())
    for name, chosen in output_formats().items():
        assert output_format(name) is chosen
        assert chosen.summary
        assert not chosen.extension or chosen.extension in SECOND_READERS
    with pytest.raises(UsageError, match="no output format 'h5'"):
        output_format("h5")


# Other types are refused before a writer is opened: tests/engine/export.
TYPES = [
    pytest.param(f, dtype, id=f"{f.name}-{dtype}")
    for f in FORMATS
    for dtype in DTYPES
    if f.limits.dtypes is None or dtype in f.limits.dtypes or f.limits.stretches
]


@pytest.mark.sampled(100)
@pytest.mark.parametrize(("chosen", "dtype"), TYPES)
def test_every_type_is_kept_or_stretched(chosen: OutputFormat, dtype: str, tmp_path: Path) -> None:
    array, axes = make_image(chosen, dtype)
    check_files(write_whole(tmp_path, chosen, array, axes), chosen, array, axes)


CHANNELS = [
    pytest.param(f, n, id=f"{f.name}-{n}")
    for f in FORMATS
    for n in (1, 2, 3, 4, 7)
    if f.limits.channels is None or n in f.limits.channels
]


@pytest.mark.sampled(40)
@pytest.mark.parametrize(("chosen", "channels"), CHANNELS)
def test_every_number_of_channels_it_promises(chosen: OutputFormat, channels: int, tmp_path: Path) -> None:
    array, axes = make_image(chosen, channels=channels)
    check_files(write_whole(tmp_path, chosen, array, axes), chosen, array, axes)


@pytest.mark.sampled(40)
@each_format
@pytest.mark.parametrize("piece", [(1, 1, 4, 5, 2), (2, 2, 11, 3, 1), (1, 2, 3, 13, 7)], ids=str)
def test_boxes_may_come_in_any_order_from_any_thread(chosen: OutputFormat, piece, tmp_path: Path) -> None:
    array, axes = make_image(chosen)
    writer = open_writer(tmp_path, chosen, make_spec(array, axes))
    boxes = list(Box.whole(array.shape).split(piece[-array.ndim :]))
    random.Random(1).shuffle(boxes)
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(writer.write, box, np.array(array[box.slices()])) for box in boxes]:
            done.result()
    check_files(writer.finish(), chosen, array, axes)


SINGLE_FILES = [f for f in FORMATS if not f.sequence]  # a sequence needs its three axes


@pytest.mark.parametrize("chosen", SINGLE_FILES, ids=[f.name for f in SINGLE_FILES])
@pytest.mark.parametrize("sizes", [{"y": 1}, {"x": 1}, {"y": 1, "x": 1}], ids=str)
def test_short_axes(chosen: OutputFormat, sizes: dict[str, int], tmp_path: Path) -> None:
    array, axes = make_image(chosen)
    array = array[tuple(slice(0, sizes.get(a)) for a in axes)]
    check_files(write_whole(tmp_path, chosen, array, axes), chosen, array, axes)


@each_format
def test_any_order_of_axes(chosen: OutputFormat, tmp_path: Path) -> None:
    array, axes = make_image(chosen)
    # of a sequence the first axis stays in front: it numbers the files
    order = [0, *range(array.ndim - 1, 0, -1)] if chosen.sequence else list(range(array.ndim))[::-1]
    turned = np.transpose(array, order)
    turned_axes = "".join(axes[i] for i in order)
    files = write_whole(tmp_path, chosen, turned, turned_axes)
    check_files(files, chosen, turned, turned_axes)


@each_format
def test_nothing_appears_before_finish_and_nothing_stays_after_abort(chosen: OutputFormat, tmp_path: Path) -> None:
    array, axes = make_image(chosen)
    folder = tmp_path / "not" / "yet" / "there"
    writer = open_writer(folder, chosen, make_spec(array, axes))
    first, *_ = Box.whole(array.shape).split((1, *array.shape[1:]))
    writer.write(first, array[first.slices()])
    assert not list(folder.glob(f"out*.{chosen.extension}"))
    writer.abort()
    assert files_below(tmp_path) == []
    writer.abort()  # never raises


KILLED = """
import sys, time
from pathlib import Path
from pixelforest.box import Box
from support import format_cases as suite
writers = []
for number, chosen in enumerate(suite.FORMATS):
    array, axes = suite.make_image(chosen)
    writers.append(suite.open_writer(Path(sys.argv[1]) / str(number), chosen, suite.make_spec(array, axes)))
    writers[-1].write(Box.whole(array.shape), array)
print("written", flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def left_by_a_killed_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each format, in which a process was killed that had written every voxel and completed nothing."""
    folder = tmp_path_factory.mktemp("killed")
    modules = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, sys.path)])}
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(folder)], stdout=subprocess.PIPE, text=True, env={**os.environ, **modules}
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "written\n"
        finally:
            process.kill()
    return folder


@each_format
def test_a_killed_run_leaves_nothing_under_a_final_name(chosen: OutputFormat, left_by_a_killed_run: Path) -> None:
    """Only what is hidden and named as unfinished, which is in no later run's way."""
    folder = left_by_a_killed_run / str(FORMATS.index(chosen))
    left = list(folder.iterdir())
    assert all(path.name.startswith(".out") and path.name.endswith(".part") for path in left), left
    array, axes = make_image(chosen)
    files = write_whole(folder, chosen, array, axes)
    check_files(files, chosen, array, axes)
    assert sorted(folder.iterdir()) == sorted([*left, *files])


@each_format
def test_abort_leaves_what_was_there(chosen: OutputFormat, tmp_path: Path) -> None:
    array, axes = make_image(chosen)
    files = write_whole(tmp_path, chosen, array, axes)
    before = contents_of(files)
    writer = open_writer(tmp_path, chosen, make_spec(array, axes))
    writer.write(Box.whole(array.shape), np.zeros_like(array))
    writer.abort()
    assert sorted(files_below(tmp_path)) == sorted(contents_of(files))
    if chosen.container:
        check_files(files, chosen, array, axes)  # the container itself may have been touched
    else:
        assert contents_of(files) == before


@each_format
def test_an_older_result_is_replaced(chosen: OutputFormat, tmp_path: Path) -> None:
    array, axes = make_image(chosen)
    write_whole(tmp_path, chosen, np.zeros_like(array), axes)
    files = write_whole(tmp_path, chosen, array, axes)
    check_files(files, chosen, array, axes)
    assert sorted(files_below(tmp_path)) == sorted(contents_of(files))


@each_format
def test_an_image_in_a_folder_that_cannot_be_made(chosen: OutputFormat, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    array, axes = make_image(chosen)
    with pytest.raises(ExportError):
        open_writer(tmp_path / "file" / "sub", chosen, make_spec(array, axes))
    assert files_below(tmp_path) == [tmp_path / "file"]


@each_format
def test_an_image_in_a_folder_that_cannot_be_written_to(chosen: OutputFormat, unwritable_folder: Path) -> None:
    array, axes = make_image(chosen)
    with pytest.raises(ExportError, match=r"cannot|permission"):
        open_writer(unwritable_folder, chosen, make_spec(array, axes))


@each_format
def test_preferred_boxes_fit_the_image(chosen: OutputFormat, tmp_path: Path) -> None:
    array, axes = make_image(chosen)
    writer = open_writer(tmp_path, chosen, make_spec(array, axes))
    if writer.chunks is not None:
        assert len(writer.chunks) == array.ndim
        assert all(1 <= n <= size for n, size in zip(writer.chunks, array.shape, strict=True))
    writer.abort()


@each_format
def test_offsets_and_metadata_are_taken_or_ignored(chosen: OutputFormat, tmp_path: Path) -> None:
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
    check_files(writer.finish(), chosen, array, axes)
