"""Components of a slab, joins across faces, and label images, compared with a simple search voxel by voxel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ...kernels.contract import Backend, KernelError
from ..label_slabs import TYPES, Storage, label_whole, random_values
from ..long_paths import spiral
from ..reference import labels as reference
from .small import small

# Rows shorter than, as long as and longer than the 64 voxels that are compared at once.
SHAPES = ((1, 1, 1), (1, 1, 200), (1, 9, 1), (7, 1, 1), (1, 13, 63), (1, 5, 64), (1, 4, 65), (3, 5, 30), (4, 3, 129))


class LabelSuite:
    """Components of a slab, joins across faces, and label images, compared with a simple search voxel by voxel."""

    @pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s)))
    @pytest.mark.parametrize("share", [0.2, 0.6, 0.9])
    def test_a_slab_equals_the_plain_search(self, backend: Backend, shape: tuple[int, int, int], share: float) -> None:
        values = random_values(shape, "uint8", share=share)
        expected = reference.label_components(values)
        found, count = label_whole(backend, values)
        np.testing.assert_array_equal(found, expected)
        assert count == expected.max()

    @small
    @pytest.mark.parametrize("dtype", TYPES)
    def test_every_type_is_compared_by_value(self, backend: Backend, dtype: str) -> None:
        values = random_values((2, 6, 150), dtype, share=0.7, values=1 if dtype == "bool" else 3)
        np.testing.assert_array_equal(label_whole(backend, values)[0], reference.label_components(values))

    @small
    @pytest.mark.parametrize("swap", [">u2", ">f4"])
    def test_byte_order_does_not_matter(self, backend: Backend, swap: str) -> None:
        values = random_values((2, 6, 70), "uint8", share=0.7, values=3)
        np.testing.assert_array_equal(label_whole(backend, values.astype(swap))[0], label_whole(backend, values)[0])

    @small
    def test_floats_compare_as_numbers_do(self, backend: Backend) -> None:
        values = np.array([[[-0.0, 0.0, 1.5, 1.5, -1.5, np.nan, np.nan, np.inf, np.inf, -0.0]]], np.float32)
        assert label_whole(backend, values)[0].tolist() == [[[0, 0, 1, 1, 2, 3, 4, 5, 5, 0]]]

    @small
    def test_values_that_touch_and_differ_are_apart(self, backend: Backend) -> None:
        values = np.array([[[1, 1, 2], [2, 1, 2], [2, 2, 2]]], np.uint8)
        assert label_whole(backend, values)[0].tolist() == [[[1, 1, 2], [2, 1, 2], [2, 2, 2]]]

    @small
    def test_diagonal_neighbours_are_apart(self, backend: Backend) -> None:
        assert label_whole(backend, np.eye(5, dtype=np.uint8)[np.newaxis])[1] == 5
        values = np.zeros((2, 2, 2), np.uint8)
        values[0, 0, 0] = values[1, 1, 1] = values[1, 0, 1] = 1
        assert label_whole(backend, values)[1] == 2

    @pytest.mark.parametrize("value", [0, 1])
    def test_slabs_of_one_value(self, backend: Backend, value: int) -> None:
        labels, count = label_whole(backend, np.full((3, 4, 100), value, np.uint8))
        assert count == value
        assert (labels == value).all()

    def test_a_spiral_is_one_component(self, backend: Backend) -> None:
        assert label_whole(backend, spiral(41)[np.newaxis])[1] == 1

    def test_slabs_that_are_not_contiguous(self, backend: Backend) -> None:
        values = random_values((6, 10, 140), "uint16", share=0.6, values=3)[::2, ::-1, ::2]
        np.testing.assert_array_equal(label_whole(backend, values)[0], reference.label_components(values))

    def test_complex_values_are_refused(self, backend: Backend) -> None:
        with pytest.raises(KernelError, match="complex64"):
            backend.labels.label_slab(np.zeros((1, 2, 2), np.complex64), Storage())

    @small
    @pytest.mark.parametrize("shape", [(1, 700, 900), (60, 70, 80)], ids=["flat", "solid"])
    @pytest.mark.parametrize("share", [0.1, 0.45, 0.7])
    def test_ids_equal_those_of_another_library(
        self, backend: Backend, shape: tuple[int, int, int], share: float
    ) -> None:
        values = random_values(shape, "uint8", share=share, values=2)
        flat = shape[0] == 1
        cc3d = pytest.importorskip("cc3d", reason="connected-components-3d is not installed")
        expected = cc3d.connected_components(values[0] if flat else values, connectivity=4 if flat else 6)
        np.testing.assert_array_equal(label_whole(backend, values)[0].reshape(expected.shape), expected)

    @small
    @pytest.mark.parametrize("axis", [0, 1])
    def test_two_slabs_join_where_they_meet(self, backend: Backend, axis: int) -> None:
        shape = (6, 7, 90) if axis == 0 else (1, 8, 150)
        values = random_values(shape, "uint8", share=0.8, values=2)
        whole = reference.label_components(values)
        a, b = np.split(values, [3], axis=axis)
        slabs = [backend.labels.label_slab(part, Storage()) for part in (a, b)]
        faces = (a[-1:], b[:1]) if axis == 0 else (a[-1:, -1:], b[:1, :1])
        numbers = backend.labels.join_slabs(slabs[0], slabs[1], axis, *faces)
        assert len(numbers[0]) == len(numbers[1]) > 0
        bases = (0, slabs[0].count)
        ids = np.arange(bases[1] + slabs[1].count + 1)
        backend.labels.unite(ids, bases[0], numbers[0], bases[1], numbers[1])
        assert backend.labels.number_components(ids) == whole.max()
        found, sizes = np.zeros(shape, np.uint32), np.zeros(whole.max() + 1, np.int64)
        for slab, base, part in zip(slabs, bases, np.split(found, [3], axis=axis), strict=True):
            backend.labels.write_labels(slab, ids, base, part)
            backend.labels.add_sizes(slab, ids, base, sizes)
        np.testing.assert_array_equal(found, whole)
        np.testing.assert_array_equal(sizes[1:], np.bincount(whole.reshape(-1))[1:])

    @small
    def test_ids_go_beyond_32_bits_before_they_are_numbered(self, backend: Backend, tmp_path: Path) -> None:
        """A frame of many slabs needs such ids. The array of parents is a file of which one page is touched."""
        slab = backend.labels.label_slab(np.ones((1, 1, 3), np.uint8), Storage())
        base = 2**32 + 5
        ids = np.memmap(tmp_path / "ids", np.int64, "w+", shape=(base + 2,))
        ids[base + 1] = 7
        labels = np.zeros((1, 1, 3), np.uint32)
        backend.labels.write_labels(slab, ids, base, labels)
        assert labels.tolist() == [[[7, 7, 7]]]

    @small
    def test_dropped_components_are_not_written(self, backend: Backend) -> None:
        slab = backend.labels.label_slab(np.array([[[1, 0, 1, 0, 1]]], np.uint8), Storage())
        ids = np.arange(4)
        backend.labels.drop_ids(ids, np.array([True, True, False, True]))
        labels = np.zeros((1, 1, 5), np.uint32)
        backend.labels.write_labels(slab, ids, 0, labels)
        assert labels.tolist() == [[[1, 0, 0, 0, 3]]]

    @small
    def test_overlaps_are_found_and_dropped_components_have_none(self, backend: Backend) -> None:
        cores = backend.labels.label_slab(np.array([[[0, 1, 0, 1, 0, 0, 1, 1]]], np.uint8), Storage())
        final = backend.labels.label_slab(np.array([[[1, 1, 0, 1, 1, 0, 0, 1]]], np.uint8), Storage())
        marks = np.zeros(4, np.uint8)
        backend.labels.mark_overlaps(cores, np.array([0, 1, 0, 3]), 0, final, np.arange(4), 0, marks)
        assert marks.tolist() == [0, 1, 0, 1]

    @pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"])
    def test_label_images_are_numbered_by_first_sight(self, backend: Backend, dtype: str) -> None:
        rng = np.random.default_rng(1)
        most = np.iinfo(dtype).max
        values = rng.choice(np.array([0, 0, 0, 1, 2, 77, most - 1, most], dtype), (3, 9, 11))
        table = backend.labels.new_value_table()
        labels = np.zeros(values.shape, np.uint32)
        for part, out in zip(values, labels, strict=True):
            table.renumber(part, out)
        expected, originals = reference.renumber(values)
        np.testing.assert_array_equal(labels, expected)
        assert table.originals.tolist() == originals

    def test_a_label_image_with_a_value_for_every_voxel(self, backend: Backend) -> None:
        values = np.random.default_rng(2).permutation(200_000).reshape(2, 100, 1000).astype(np.uint64) << np.uint64(20)
        table = backend.labels.new_value_table()
        labels = np.zeros(values.shape, np.uint32)
        table.renumber(values, labels)
        flat = values.reshape(-1)
        np.testing.assert_array_equal(table.originals, flat[flat != 0])
        np.testing.assert_array_equal(labels.reshape(-1)[flat != 0], np.arange(1, flat.size))

    def test_values_that_are_not_integers_are_no_labels(self, backend: Backend) -> None:
        with pytest.raises(KernelError, match="float32"):
            backend.labels.new_value_table().renumber(np.zeros((1, 2, 2), np.float32), np.zeros((1, 2, 2), np.uint32))
