"""Chunk shapes, and boxes of any shape put together to whole chunks."""

from __future__ import annotations

import json
import random
import threading

import numpy as np
import pytest

from pixelforest.box import Box
from pixelforest.engine.storage.chunks import ChunkAssembler, chunk_shape


@pytest.mark.parametrize(
    ("shape", "axes", "itemsize", "expected"),
    [
        pytest.param((12, 100, 200, 2), "zyxc", 4, (12, 100, 106, 1), id="thin stack"),
        pytest.param((600, 700), "yx", 4, (358, 357), id="plane"),
        pytest.param((1024, 1344, 1), "yxc", 1, (716, 715, 1), id="one byte"),
        pytest.param((64, 64, 64, 2), "zyxc", 4, (50, 51, 50, 1), id="cube"),
        pytest.param((1, 1, 2, 73, 187), "tzcyx", 4, (1, 1, 1, 73, 187), id="smaller than a chunk"),
        pytest.param((9, 4000, 1), "tyc", 8, (1, 4000, 1), id="time is never joined"),
        pytest.param((3, 10**6, 10**6), "cyx", 8, (1, 253, 252), id="double"),
    ],
)
def test_chunk_shape(shape: tuple[int, ...], axes: str, itemsize: int, expected: tuple[int, ...]) -> None:
    assert chunk_shape(shape, axes, itemsize) == expected


@pytest.mark.golden
def test_chunk_shapes_are_the_recorded_ones(shared_folder) -> None:
    compared = 0
    for path in (shared_folder / "golden").glob("*/cases.json"):
        for case in json.loads(path.read_text(encoding="utf-8")):
            for output in case.get("outputs") or []:
                for record in (output.get("datasets") or {}).values():
                    if record.get("axes") and record.get("chunks"):
                        itemsize = np.dtype(record["dtype"]).itemsize
                        assert list(chunk_shape(record["shape"], record["axes"], itemsize)) == record["chunks"]
                        compared += 1
    assert compared > 50


@pytest.mark.parametrize("piece", [(3, 4, 2), (1, 11, 2), (7, 11, 2), (2, 3, 1)])
def test_boxes_of_any_shape_become_whole_chunks(piece: tuple[int, ...]) -> None:
    image = np.arange(7 * 11 * 2, dtype=np.uint16).reshape(7, 11, 2)
    assembler = ChunkAssembler(image.shape, (3, 4, 1), image.dtype)
    boxes = list(Box.whole(image.shape).split(piece))
    random.Random(0).shuffle(boxes)
    padded = np.zeros((9, 12, 2), image.dtype)
    seen = []
    for box in boxes:
        for corner, chunk in assembler.add(box, image[box.slices()]):
            assert chunk.shape == (3, 4, 1)
            assert chunk.flags.c_contiguous
            padded[Box(corner, tuple(np.add(corner, chunk.shape).tolist())).slices()] = chunk
            seen.append(corner)
    assert len(seen) == len(set(seen)) == 3 * 3 * 2
    assert assembler.missing == 0
    np.testing.assert_array_equal(padded[:7, :11], image)
    assert not padded[7:].any()
    assert not padded[:, 11:].any()


def test_threads_share_chunks() -> None:
    image = np.arange(40 * 40, dtype=np.uint32).reshape(40, 40)
    assembler = ChunkAssembler(image.shape, (16, 16), image.dtype)
    boxes = list(Box.whole(image.shape).split((3, 7)))
    result = np.zeros((48, 48), image.dtype)

    def work(start: int) -> None:
        for box in boxes[start::4]:
            for (y, x), chunk in assembler.add(box, image[box.slices()]):
                result[y : y + 16, x : x + 16] = chunk

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert assembler.missing == 0
    np.testing.assert_array_equal(result[:40, :40], image)


def test_voxels_that_do_not_fit_their_box_are_refused() -> None:
    assembler = ChunkAssembler((4, 4), (2, 2), np.dtype(np.uint8))
    with pytest.raises(ValueError, match="do not fit"):
        list(assembler.add(Box((0, 0), (2, 2)), np.zeros((2, 3), np.uint8)))
    with pytest.raises(ValueError, match="do not fit"):
        list(assembler.add(Box((3, 3), (5, 5)), np.zeros((2, 2), np.uint8)))
