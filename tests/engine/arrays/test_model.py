"""Arrays in, arrays out: kinds of arrays, axes, types, targets, refusals, processes and threads."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import patch

import h5py
import numpy as np
import pytest
import tensorstore
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from support.array_inputs import golden_array, load_golden
from support.golden import GOLDEN

import pixelforest
from pixelforest.engine.errors import ExportError, InputMismatch, MemoryTooSmall, UsageError
from pixelforest.engine.tiling import plan

GRAY, VOLUME, RGB, MASKED = "px2d_gray", "px3d", "px2d_rgb", "px2d_mask"
SEGMENTED = "obj2d_seg"
EVERYTHING = ("Probabilities", "Simple Segmentation", "Uncertainty", "Features", "Labels")


def gray() -> np.ndarray:
    return golden_array(GRAY)


def volume() -> np.ndarray:
    return golden_array(VOLUME, "raw.h5/data")


def assert_same(found: Any, expected: Any) -> None:
    assert (type(found), found.dtype, found.shape) == (np.ndarray, expected.dtype, expected.shape)
    assert found.tobytes() == np.ascontiguousarray(expected).tobytes()


# ------------------------------------------------------------------------------------------------------ names and axes


def test_one_name_gives_an_array_and_a_sequence_a_tuple() -> None:
    model = load_golden(GRAY)
    alone = model.predict(gray(), results="simple  segmentation")
    (in_tuple,) = model.predict(gray(), results=["Simple Segmentation"])
    assert_same(alone, in_tuple)
    default, probabilities = model.predict(gray()), model.predict(gray(), results="Probabilities")
    assert_same(default, probabilities)
    assert len(model.predict(gray(), results="Probabilities,Uncertainty")) == 2


def test_results_of_one_value_have_no_channels() -> None:
    shapes = [each.shape for each in load_golden(GRAY).predict(gray(), results=EVERYTHING)]
    assert shapes == [(160, 200, 2), (160, 200), (160, 200), (160, 200, 56), (160, 200)]


def test_channels_stay_where_the_image_has_them() -> None:
    model, image = load_golden(RGB), golden_array(RGB)
    p, s = model.predict(image, results=EVERYTHING[:2])
    moved, segmented = model.predict(image.transpose(2, 1, 0), axes="cxy", results=EVERYTHING[:2])
    assert_same(moved.transpose(2, 1, 0), p)
    assert_same(segmented.T, s)


def test_axes_of_length_1_make_no_difference() -> None:
    model = load_golden(GRAY)
    expected = model.predict(gray())
    assert_same(model.predict(gray()[..., np.newaxis]), expected)
    assert_same(model.predict(gray()[np.newaxis], axes="tyx")[0], expected)
    assert_same(model.predict(gray()[np.newaxis, np.newaxis], axes="TZYX")[0, 0], expected)


# -------------------------------------------------------------------------------------------------- layouts and stores


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    "change",
    [np.asfortranarray, np.array, lambda a: np.flip(np.flip(a).copy()), lambda a: np.repeat(a, 2, axis=2)[:, :, ::2]],
    ids=["Fortran", "C, writable", "reversed", "strided"],
)
def test_the_layout_makes_no_difference(change: Any) -> None:
    model = load_golden(VOLUME)
    assert_same(model.predict(change(volume())), model.predict(volume()))


@pytest.mark.parametrize("dtype", ["bool", ">u2", "float16", "int64", "float64"])
def test_types_are_read_as_from_files(dtype: str) -> None:
    image = (gray() // 64).astype(dtype)
    native = np.ascontiguousarray(image, {"bool": "u1", ">u2": "u2", "float16": "f4"}.get(dtype, dtype))
    model = load_golden(GRAY)
    assert_same(model.predict(image), model.predict(native))


def test_lists_are_arrays() -> None:
    image = gray()[:40, :50]
    assert_same(load_golden(GRAY).predict(image.tolist()), load_golden(GRAY).predict(image.astype(np.int64)))


def stores(folder: Path, shape: tuple[int, ...], dtype: Any, chunks: tuple[int, ...]) -> dict[str, Any]:
    """An empty store of every kind that is indexed like an array."""
    spec = {"driver": "zarr3", "kvstore": {"driver": "memory"}}
    kept = tensorstore.ChunkLayout(write_chunk_shape=[2 * n for n in chunks], read_chunk_shape=chunks)
    return {
        "h5py": h5py.File(folder / "a.h5", "w").create_dataset("a", shape, dtype, chunks=chunks, compression="gzip"),
        "h5py, contiguous": h5py.File(folder / "b.h5", "w").create_dataset("a", shape, dtype),
        "zarr": zarr.create_array({}, shape=shape, dtype=dtype, chunks=chunks),
        "zarr, shards": zarr.create_array(
            {}, shape=shape, dtype=dtype, chunks=chunks, shards=tuple(2 * n for n in chunks)
        ),
        "tensorstore": tensorstore.open(
            spec, create=True, shape=shape, dtype=np.dtype(dtype), chunk_layout=kept
        ).result(),
        "memmap": np.memmap(folder / "a.bin", dtype, "w+", shape=shape),
    }


@pytest.mark.slow
def test_stores_are_read_and_written_in_parts(tmp_path: Path) -> None:
    """Several threads write, and chunks cross the tiles: each voxel arrives."""
    image = np.tile(volume(), (1, 2, 3))
    model = pixelforest.load(GOLDEN / VOLUME / "project.ilp", device="cpu", threads=4, memory="64M")
    expected = model.predict(image)
    inputs = stores(tmp_path, image.shape, image.dtype, (7, 30, 33))
    (tmp_path / "out").mkdir()
    outputs = stores(tmp_path / "out", expected.shape, expected.dtype, (7, 30, 33, 1))
    for name, store in inputs.items():
        store[...] = image
        out = outputs[name]
        assert model.predict(store, out=out) is out, name
        assert np.array(out[...]).tobytes() == expected.tobytes(), name


@pytest.mark.slow
@settings(max_examples=6, deadline=None)
@given(
    threads=st.integers(1, 5),
    tile=st.tuples(st.integers(8, 40), st.integers(12, 48), st.integers(17, 56)),
    chunks=st.tuples(*(st.integers(11, n) for n in (40, 48, 56)), st.integers(1, 2)),
)
def test_tiles_threads_and_chunks_make_no_difference(
    threads: int, tile: tuple[int, int, int], chunks: tuple[int, ...]
) -> None:
    names = ("Probabilities", "Simple Segmentation", "Features")
    expected = load_golden(VOLUME).predict(volume(), results=names)
    model = pixelforest.load(GOLDEN / VOLUME / "project.ilp", device="cpu", threads=threads)
    store = zarr.create_array({}, shape=expected[0].shape, dtype="float32", chunks=chunks)
    with patch.object(plan, "SOLID_TILE", tile):
        found = model.predict(volume(), results=names)
        model.predict(volume(), out=store)
    for each, other in zip(found, expected, strict=True):
        assert_same(each, other)
    assert_same(store[...], expected[0])


def test_out_may_be_anything_with_setitem() -> None:
    class Sink:
        def __init__(self) -> None:
            self.data = np.zeros((160, 200, 2), np.float32)

        def __setitem__(self, place: Any, values: np.ndarray) -> None:
            self.data[place] = values

    model, sink = load_golden(GRAY, threads=2), Sink()
    assert model.predict(gray(), out=sink) is sink
    assert_same(sink.data, model.predict(gray()))


def test_a_store_larger_than_the_memory_is_read_in_tiles() -> None:
    class Counted:
        """A volume of 4 GB that is made when it is read."""

        shape, dtype, largest = (1024, 2048, 2048), np.dtype(np.uint8), 0

        def __getitem__(self, place: tuple[slice, ...]) -> np.ndarray:
            part = np.ones([each.stop - each.start for each in place], np.uint8)
            Counted.largest = max(Counted.largest, part.size)
            return part

    class Stopped(Exception):
        pass

    class Stop:
        def __setitem__(self, place: Any, values: np.ndarray) -> None:
            raise Stopped

    model = pixelforest.load(GOLDEN / VOLUME / "project.ilp", device="cpu", threads=1, memory="256M")
    with pytest.raises(MemoryTooSmall, match=r"the results take 32.00 GiB.* with out"):
        model.predict(Counted())
    with pytest.raises(Stopped):
        model.predict(Counted(), out=Stop())
    assert 0 < Counted.largest < 16 << 20


def test_the_type_of_results() -> None:
    model = load_golden(GRAY)
    doubled, numbers = model.predict(gray(), results=EVERYTHING[:2], dtype="float64")
    assert_same(doubled.astype(np.float32), model.predict(gray()))
    assert numbers.dtype == np.float64
    assert model.predict(gray(), results="Simple Segmentation", dtype=np.int16).dtype == np.int16


def test_values_that_do_not_fit_a_type_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    objects = load_golden(SEGMENTED)
    image, segmentation = golden_array(SEGMENTED), golden_array(SEGMENTED, "seg.png")
    many = np.tile(segmentation, (3, 3))
    ids = objects.predict(np.tile(image, (3, 3)), segmentation=many, results="Object Identities", dtype=np.uint8)
    assert ids.dtype == np.uint8
    assert "values do not fit uint8 and wrapped around" in caplog.text


def test_masks_of_any_type() -> None:
    model, image, mask = load_golden(MASKED), golden_array(MASKED), golden_array(MASKED, "mask.png")
    expected = model.predict(image, mask=mask)
    assert not expected[mask == 0].any()
    assert_same(model.predict(image, mask=mask > 0), expected)
    assert_same(model.predict(image, mask=(mask > 0)[..., np.newaxis]), expected)


def test_predictions_are_accepted_as_inputs_of_objects() -> None:
    """Segmentations have the image's axes without c, as predict returns them."""
    pixels, objects = load_golden(GRAY), load_golden(SEGMENTED)
    image = golden_array(SEGMENTED)
    segmentation = pixels.predict(image, results="Simple Segmentation")
    found = objects.predict_objects(image, segmentation=segmentation)
    channels = objects.predict_objects(image[..., np.newaxis], segmentation=segmentation)
    assert found.table.row_count > 0
    assert_same(found.labels, channels.labels)
    assert_same(found.predictions, objects.predict(image, segmentation=segmentation))
    assert_same(found.probabilities, channels.probabilities)


def test_images_without_objects(caplog: pytest.LogCaptureFixture) -> None:
    image = golden_array(SEGMENTED)
    found = load_golden(SEGMENTED).predict_objects(image, segmentation=np.zeros_like(image))
    assert (found.table.row_count, found.labels.any(), found.predictions.any()) == (0, False, False)
    assert found.table["Predicted Class"].shape == (0,)
    assert "has no objects" in caplog.text


def test_the_table_is_a_mapping_of_columns(tmp_path: Path) -> None:
    image, segmentation = golden_array(SEGMENTED), golden_array(SEGMENTED, "seg.png")
    model = load_golden(SEGMENTED)
    table = model.predict_objects(image, segmentation=segmentation).table
    assert len(dict(table)) == len(table) > 200
    assert set(map(len, table.values())) == {table.row_count}
    assert set(table["Predicted Class"]) <= set(model.info.objects.class_names)
    assert table.write(tmp_path / "a.h5") == tmp_path / "a.h5"
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["table"].shape == (table.row_count,)
    with pytest.raises(ExportError, match="there is a folder of that name"):
        table.write(tmp_path)


# ---------------------------------------------------------------------------------------------------------- refusals


class OnDevice:
    """An array as CuPy, PyTorch and Numba show theirs."""

    shape, dtype = (64, 64), np.dtype(np.uint8)
    __cuda_array_interface__: ClassVar = {"shape": shape, "typestr": "|u1", "data": (0, True), "version": 3}

    def __getitem__(self, place: Any) -> Any:
        raise AssertionError("no silent copy")


class OnOtherDevice:
    shape, dtype = (8, 8), np.dtype(np.uint8)

    def __dlpack_device__(self) -> tuple[int, int]:
        return 10, 0  # ROCm

    def __getitem__(self, place: Any) -> Any:
        raise AssertionError("no silent copy")


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"image": None}, UsageError, "image is None"),
        ({"image": "raw.png"}, InputMismatch, "image is 'raw.png', the name of a file"),
        ({"image": np.zeros((99, 99)), "mask": Path("m.png")}, InputMismatch, "mask is 'm.png', the name of a file"),
        ({"image": np.zeros(4)}, InputMismatch, r"image has the shape \(4,\)"),
        ({"image": np.zeros((0, 4))}, InputMismatch, "none of length 0"),
        ({"image": np.zeros((9, 9), complex)}, InputMismatch, "image: pixels of type complex128"),
        ({"image": np.zeros((9, 9), "U3")}, InputMismatch, "image: pixels of type"),
        ({"image": np.zeros((99, 99)), "axes": "qx"}, UsageError, "axes='qx' is no axis order"),
        ({"image": np.zeros((99, 99)), "axes": "zyx"}, InputMismatch, "axes=zyx does not fit"),
        ({"image": np.zeros((99, 99)), "axes": "zx"}, InputMismatch, "always have at least the axes x and y"),
        ({"image": np.zeros((99, 99, 3))}, InputMismatch, "image has 3 channel"),
        ({"image": np.zeros((3, 99, 99)), "axes": "cyx"}, InputMismatch, "image has 3 channel"),
        ({"image": np.zeros((30, 99, 99)), "axes": "zyx"}, InputMismatch, "the project was trained on 2-D images"),
        ({"image": np.zeros((99, 99)), "mask": np.zeros((9, 99))}, InputMismatch, "prediction mask"),
        ({"image": np.zeros((99, 99)), "mask": np.zeros(9)}, InputMismatch, "mask has the shape"),
        ({"image": np.zeros((99, 99)), "mask": np.zeros((2, 2, 9, 9))}, InputMismatch, "needs the axes yx or yxc"),
        ({"image": np.zeros((99, 99)), "labels": np.zeros((9, 9))}, UsageError, "labels is not an input of this"),
        ({"image": np.zeros((99, 99)), "results": "Nothing"}, ExportError, "invalid option for results: 'Nothing'"),
        ({"image": np.zeros((99, 99)), "results": ()}, ExportError, "results: give one or more"),
        ({"image": np.zeros((99, 99)), "dtype": "uint8"}, UsageError, "dtype=uint8 would leave 0 and 1"),
        ({"image": np.zeros((99, 99)), "dtype": "foo"}, UsageError, "dtype=foo: choose one of uint8"),
        ({"image": np.zeros((99, 99)), "out": np.zeros((99, 99))}, UsageError, r"the result has \(99, 99, 2\)"),
        ({"image": np.zeros((99, 99)), "out": np.zeros((99, 99, 2))}, UsageError, "has the type float64"),
        ({"image": np.zeros((99, 99)), "out": 3}, UsageError, "out for Probabilities is a int"),
        ({"image": np.zeros((99, 99)), "out": 3, "results": ["Features"]}, UsageError, "a tuple of 1 arrays"),
        ({"image": OnDevice()}, InputMismatch, r"image \(.*OnDevice\) is in the memory of a device, but"),
        ({"image": np.zeros((8, 8)), "mask": OnOtherDevice()}, InputMismatch, "mask .* in the memory of a device"),
    ],
)  # fmt: skip
def test_refusals_name_the_argument(arguments: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text) as caught:
        load_golden(GRAY).predict(**arguments)
    assert "--" not in str(caught.value)


def test_refusals_of_objects_name_the_argument() -> None:
    image = golden_array(SEGMENTED)
    with pytest.raises(InputMismatch, match=r"there is no Segmentation Image for image; name it with segmentation$"):
        load_golden(SEGMENTED).predict_objects(image)
    with pytest.raises(UsageError, match=r"\(Pixel Classification\) does not classify objects; use predict"):
        load_golden(GRAY).predict_objects(image)
    with pytest.raises(InputMismatch, match="segmentation"):
        load_golden(SEGMENTED).predict_objects(image, segmentation=image[:9])


def test_refusals_of_load_name_the_argument() -> None:
    project = GOLDEN / GRAY / "project.ilp"
    with pytest.raises(UsageError, match=r"^memory: 'much' is not a size"):
        pixelforest.load(project, memory="much")
    with pytest.raises(UsageError, match=r"^threads is -3"):
        pixelforest.load(project, threads=-3)
    with pytest.raises(UsageError, match="there is no device 'abacus'"):
        pixelforest.load(project, device="abacus").predict(gray())
    with pytest.raises(FileNotFoundError):
        pixelforest.load("no such project.ilp")
    with pytest.raises(MemoryTooSmall, match="raise memory"):
        pixelforest.load(project, memory=1 << 20).predict(gray(), out=np.zeros((160, 200, 2), np.float32))


# ------------------------------------------------------------------------------------------------ threads and processes


def test_threads_share_a_model() -> None:
    model = pixelforest.load(GOLDEN / GRAY / "project.ilp", device="cpu", threads=2)
    images = [np.roll(gray(), i, axis=0)[: 100 + i] for i in range(8)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(model.predict, images))
    for image, each in zip(images, found, strict=True):
        assert_same(each, load_golden(GRAY).predict(image))


def test_a_pickled_model_is_the_same() -> None:
    model = load_golden(GRAY)
    expected = model.predict(gray())
    again = pickle.loads(pickle.dumps(model))
    assert again.project == model.project
    assert_same(again.predict(gray()), expected)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("method", [m for m in ("fork", "spawn") if m in multiprocessing.get_all_start_methods()])
def test_other_processes_compute_with_it(method: str) -> None:
    model = pixelforest.load(GOLDEN / SEGMENTED / "project.ilp", device="cpu", threads=2)
    image, segmentation = golden_array(SEGMENTED), golden_array(SEGMENTED, "seg.png")
    expected = model.predict(image, segmentation=segmentation)
    with multiprocessing.get_context(method).Pool(2) as pool:
        found = pool.map(partial(model.predict, segmentation=segmentation), [image, image])
    for each in found:
        assert_same(each, expected)


@pytest.mark.slow
def test_nothing_global_changes() -> None:
    """No handlers, levels, signal handlers or environment."""
    code = f"""
import logging, os, signal, threading
before = (dict(os.environ), signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))
import numpy, pixelforest
model = pixelforest.load({str(GOLDEN / GRAY / "project.ilp")!r}, threads=2)
model.predict(numpy.zeros((99, 99), "u1"))
assert before == (dict(os.environ), signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))
loggers = [logging.getLogger(name) for name in logging.root.manager.loggerDict]
assert not [each for each in [logging.root, *loggers] if each.handlers]
assert logging.root.level == logging.WARNING
assert threading.active_count() == 1
print("end")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("end\n", "")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_an_interrupt_ends_a_call() -> None:
    code = f"""
import numpy, pixelforest, sys
model = pixelforest.load({str(GOLDEN / VOLUME / "project.ilp")!r}, threads=2)
model.predict(numpy.zeros((20, 40, 40), "u1"))
class Endless:
    shape, dtype = (2048, 1024, 1024), numpy.dtype("u1")
    def __getitem__(self, place):
        print("reading", flush=True)
        return numpy.zeros([each.stop - each.start for each in place], "u1")
class Nothing:
    def __setitem__(self, place, values): pass
try:
    model.predict(Endless(), out=Nothing())
except KeyboardInterrupt:
    print("interrupted", model.predict(numpy.zeros((20, 40, 40), "u1")).shape)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "reading\n"
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=120)
    assert out.endswith("interrupted (20, 40, 40, 2)\n"), error
    assert (process.returncode, error) == (0, "")


def test_the_log_says_nothing_of_usual_calls(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        load_golden(GRAY).predict(gray())
    assert caplog.text == ""


def test_a_model_describes_itself() -> None:
    model = load_golden(GRAY)
    assert model.results == EVERYTHING
    assert (model.info.class_names, model.info.channels) == (("Background", "Cell"), 1)
    assert "Pixel Classification" in repr(model)
    assert os.fspath(model.project.path) in repr(model)
