"""The public suites of ``pixelforest.testing``, for every format of images that is written or read.

A file is read back by a library other than the code that wrote it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from reference.second_readers import SECOND_READERS
from support.formats import FORMATS

from pixelforest.engine.axes import to_canonical
from pixelforest.engine.errors import ExportError, UsageError
from pixelforest.engine.formats import output_format, output_formats
from pixelforest.engine.formats.spec import OutputFormat
from pixelforest.engine.formats.support.picture_writers import fold_plane, stretch_to_uint8
from pixelforest.testing.formats import OutputFormatSuite
from pixelforest.testing.images import make_image, make_spec, open_writer

each_format = pytest.mark.parametrize("chosen", FORMATS, ids=[f.name for f in FORMATS])
LOSSY_STEP = 40  # of a noise picture as JPEG at quality 75
HDR_STEP = 1 / 128  # of the largest channel of a pixel, which shares its exponent with the others


class TestOutputFormats(OutputFormatSuite):
    formats = FORMATS
    sampled: ClassVar = {
        "test_every_type_is_kept_or_stretched": 100,
        "test_boxes_may_come_in_any_order_from_any_thread": 40,
        "test_every_number_of_channels_it_promises": 40,
    }

    def read(self, file: Path, chosen: OutputFormat) -> np.ndarray:
        return SECOND_READERS[chosen.extension].read(file)

    def expected(self, array: np.ndarray, axes: str, chosen: OutputFormat) -> np.ndarray:
        fixed_axes = chosen.fixed_axes or ("tzcyx" if chosen.name == "multipage tiff sequence" else None)
        if fixed_axes:
            return np.squeeze(np.transpose(to_canonical(array, axes), ["tzyxc".index(a) for a in fixed_axes]))
        if chosen.limits.max_dims is None:
            return np.squeeze(array)
        plane = fold_plane(array, axes)
        if chosen.limits.dtypes is not None and array.dtype.name not in chosen.limits.dtypes:
            plane, _ = stretch_to_uint8(plane)
        return np.squeeze(plane)

    def check(self, found: np.ndarray, expected: np.ndarray, chosen: OutputFormat) -> None:
        if chosen.extension in ("jpg", "jpeg"):
            assert np.abs(found.astype(float) - expected).mean() < LOSSY_STEP
        elif chosen.extension == "hdr":
            positive = np.maximum(expected, 0)
            assert (np.abs(found - positive) <= HDR_STEP * positive.max(axis=-1, keepdims=True)).all()
        else:
            super().check(found, expected, chosen)


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


KILLED = """
import sys, time
from pathlib import Path
from pixelforest.box import Box
from support.formats import FORMATS
from pixelforest.testing import images
writers = []
for number, chosen in enumerate(FORMATS):
    array, axes = images.make_image(chosen)
    writers.append(images.open_writer(Path(sys.argv[1]) / str(number), chosen, images.make_spec(array, axes)))
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
    suite = TestOutputFormats()
    files = suite.write_whole(folder, chosen, array, axes)
    suite.check_files(files, chosen, array, axes)
    assert sorted(folder.iterdir()) == sorted([*left, *files])


@each_format
def test_an_image_in_a_folder_that_cannot_be_written_to(chosen: OutputFormat, unwritable_folder: Path) -> None:
    array, axes = make_image(chosen)
    with pytest.raises(ExportError, match=r"cannot|permission"):
        open_writer(unwritable_folder, chosen, make_spec(array, axes))
