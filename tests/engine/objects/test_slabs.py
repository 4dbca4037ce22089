"""Objects found and measured slab by slab equal those of a whole frame, bit for bit, whatever the thickness."""

from __future__ import annotations

import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixelforest.box import Box
from pixelforest.engine.errors import InputMismatch, MemoryTooSmall
from pixelforest.engine.objects.feature_catalogue import CATALOGUE
from pixelforest.engine.objects.grouped_measure import group_objects, measure_in_groups
from pixelforest.engine.objects.label import LabelFrame, cut_frame, label_components, renumber_labels
from pixelforest.engine.objects.measure import ObjectFeatures, measure_frame, size_tables
from pixelforest.engine.objects.slab_labels import ObjectNumbering, SlabLabels, SlabObjects, find_objects
from pixelforest.engine.objects.slab_measure import measure_by_slabs, plan_parts
from pixelforest.engine.objects.slab_sources import ComponentSource, LabelSource, SlabSource, ThresholdSource
from pixelforest.engine.objects.threshold import MapThresholds, threshold_frame
from pixelforest.engine.project.object_features import HULL_2D, HULL_3D, SKELETON, STANDARD, Features
from pixelforest.engine.project.thresholding import ThresholdSettings
from pixelforest.engine.resources import Resources
from pixelforest.engine.storage.scratch import Scratch
from pixelforest.engine.tiling.layers import Read
from pixelforest.kernels import load
from pixelforest.kernels.contract import as_voxels
from pixelforest.testing.labelled_frames import KINDS, make_labels, make_raw

BACKEND = load("cpu")
RESOURCES = Resources(BACKEND, 2, 1 << 28)
EXAMPLES = settings(deadline=None, max_examples=25)
SHAPES = {"rows": (1, 23, 17), "planes": (9, 8, 7)}
# Plane by plane; a comb has teeth that only the last plane or row joins, a spiral is one long object.
COMB = ["1010101", "1010101", "1010101", "1111111"]
SPIRAL = ["1111111", "0000001", "1111101", "1000101", "1011101", "1000001", "1111111"]
SHARED = ["1002200", "1002002", "1111002", "0000002", "3332222"]


def reader(array: np.ndarray) -> Read:
    return lambda box: array[box.slices()]


def drawing(rows: list[str], *, is_flat: bool) -> np.ndarray:
    """Rows of one plane, or planes of one row."""
    values = np.array([[int(v) for v in row] for row in rows], np.uint8)
    return values[None] if is_flat else np.repeat(values[:, None], 2, axis=1)


def everything(shape: tuple[int, ...], channels: int, margin: int) -> Features:
    is_flat = shape[0] == 1
    return {
        plugin: {
            name: (margin,) * (2 if is_flat else 3) if entry.is_local else None
            for name, entry in CATALOGUE[plugin].items()
            if entry.needs.holds(channels)
        }
        for plugin in ((STANDARD, HULL_2D, SKELETON) if is_flat else (STANDARD, HULL_3D))
    }


def find(source: SlabSource, thickness: int) -> tuple[SlabObjects, LabelFrame]:
    objects = find_objects(source, cut_frame(source.shape, thickness), RESOURCES)
    return objects, objects.frame(0, np.uint16)


def measure(frame: LabelFrame, raw: np.ndarray, wanted: Features, resources: Resources = RESOURCES) -> ObjectFeatures:
    assert isinstance(frame.labels, SlabLabels)
    with Scratch(1 << 28) as scratch:
        return measure_by_slabs(reader(raw), frame.labels, raw.shape[3], wanted, resources=resources, scratch=scratch)


def assert_same(found: ObjectFeatures, expected: ObjectFeatures) -> None:
    assert found.count == expected.count
    assert {plugin: set(values) for plugin, values in found.values.items()} == {
        plugin: set(values) for plugin, values in expected.values.items()
    }
    for plugin, values in expected.values.items():
        for name, wanted in values.items():
            own = found.values[plugin][name]
            assert (own.shape, own.dtype, own.tobytes()) == (wanted.shape, wanted.dtype, wanted.tobytes()), name


def assert_groups_change_nothing(
    whole: LabelFrame, raw: np.ndarray, wanted: Features, expected: ObjectFeatures
) -> None:
    """For groups of all sizes that the memory may demand."""
    shape, channels = as_voxels(raw.shape[:3]), raw.shape[3]
    all_bytes = whole.count * size_tables(shape, channels, wanted)
    for share in (1, 2, 8):
        resources = Resources(BACKEND, 2, all_bytes // share + whole.count * 1000 + (1 << 16))
        with Scratch(1 << 10) as scratch:  # most features are mapped from files
            found = measure_in_groups(reader(raw), whole, channels, wanted, resources=resources, scratch=scratch)
            assert_same(found, expected)


def assert_slabs_change_nothing(values: np.ndarray, raw: np.ndarray, wanted: Features, *, is_labels: bool) -> None:
    """For every thickness: ids, original ids, features."""
    shape, source = as_voxels(values.shape), LabelSource if is_labels else ComponentSource
    with Scratch(1 << 28) as scratch:
        number = renumber_labels if is_labels else label_components
        whole = number(reader(values), shape, values.dtype, resources=RESOURCES, scratch=scratch)
        expected = measure_frame(reader(raw), whole, raw.shape[3], wanted, resources=RESOURCES)
        for thickness in range(1, max(shape[:2]) + 1 if shape[0] == 1 else shape[0] + 1):
            _, frame = find(source(reader(values), shape, values.dtype, BACKEND), thickness)
            np.testing.assert_array_equal(frame.labels[Box.whole(shape).slices()], whole.labels)
            assert frame.count == whole.count
            if is_labels:
                assert frame.original_ids is not None
                assert whole.original_ids is not None
                np.testing.assert_array_equal(frame.original_ids, whole.original_ids)
            assert_same(measure(frame, raw, wanted), expected)
        if whole.count:
            assert_groups_change_nothing(whole, raw, wanted, expected)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_no_thickness_changes_ids_or_features(shape: tuple[int, int, int], kind: str) -> None:
    values = make_labels(kind, shape).astype(np.uint16)
    wanted = everything(shape, 1, 2)
    assert_slabs_change_nothing(values, make_raw(shape, 1, "float"), wanted, is_labels=kind == "scattered")


@pytest.mark.slow
@EXAMPLES
@given(
    st.one_of(
        st.tuples(st.just(1), st.integers(2, 25), st.integers(2, 12)),
        st.tuples(st.integers(2, 9), st.integers(2, 7), st.integers(2, 7)),
    ),
    st.sampled_from(KINDS),
    st.integers(0, 999),
    st.integers(1, 3),
    st.integers(0, 3),
    st.booleans(),
)
def test_random_frames(
    shape: tuple[int, int, int], kind: str, seed: int, channels: int, margin: int, is_labels: bool
) -> None:
    values = make_labels(kind, shape, seed=seed).astype(np.uint16)
    wanted = everything(shape, channels, margin)
    assert_slabs_change_nothing(values, make_raw(shape, channels, seed=seed), wanted, is_labels=is_labels)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("is_flat", [True, False], ids=["rows", "planes"])
@pytest.mark.parametrize("rows", [COMB, SPIRAL, SHARED], ids=["comb", "spiral", "shared"])
def test_objects_that_join_late(rows: list[str], is_flat: bool) -> None:
    values = drawing(rows, is_flat=is_flat)
    wanted = everything(values.shape, 1, 1)
    for is_labels in (False, True):
        assert_slabs_change_nothing(values, make_raw(as_voxels(values.shape), 1), wanted, is_labels=is_labels)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_frame_that_is_one_object(shape: tuple[int, int, int]) -> None:
    """Its neighbourhood is empty, which removes the features of all neighbourhoods."""
    assert_slabs_change_nothing(np.ones(shape, np.uint8), make_raw(shape, 2), everything(shape, 2, 1), is_labels=False)


def test_an_empty_neighbourhood_removes_the_feature_for_objects_of_all_slabs() -> None:
    """Only voxels above and below are near enough; a column through all planes has none."""
    shape = (12, 5, 5)
    values = np.zeros(shape, np.uint8)
    values[:, 1, 1] = values[5, 3, 3] = values[9, 3, 3] = 1
    wanted: Features = {STANDARD: {"Mean in neighborhood": (1, 1, 2), "Mean in object and neighborhood": (1, 1, 2)}}
    assert_slabs_change_nothing(values, make_raw(shape, 1), wanted, is_labels=False)
    _, frame = find(ComponentSource(reader(values), shape, values.dtype, BACKEND), 3)
    assert measure(frame, make_raw(shape, 1), wanted).values[STANDARD].keys() == {"Mean in object and neighborhood"}


def test_frames_without_objects() -> None:
    values = np.zeros((4, 5, 6), np.uint8)
    for is_labels in (False, True):
        assert_slabs_change_nothing(values, make_raw((4, 5, 6), 1), everything((4, 5, 6), 1, 1), is_labels=is_labels)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("method", ["simple", "hysteresis"])
@pytest.mark.parametrize("core_channel", [0, 1])
@pytest.mark.parametrize("shape", [(1, 34, 30), (11, 10, 12)], ids=SHAPES)
def test_thresholds(method: str, core_channel: int, shape: tuple[int, int, int]) -> None:
    maps = np.random.default_rng(5).random((*shape, 2)).astype(np.float32)
    sums = method == "hysteresis" and core_channel  # the final threshold is then compared with sums of both maps
    chosen = ThresholdSettings(method, 2, 90, 0.63, 1.18 if sums else 0.59, (0.5, 0.5, 0.6), 0, core_channel)
    with Scratch(1 << 28) as scratch:
        mask = threshold_frame(reader(maps), shape, 2, chosen, None, resources=RESOURCES, scratch=scratch)
        whole = label_components(reader(mask), shape, np.uint32, resources=RESOURCES, scratch=scratch)
        assert 1 < whole.count < mask.max()  # some are dropped
        for thickness in range(1, max(shape[:2]) + 1):
            source = ThresholdSource(reader(maps), MapThresholds(shape, chosen, None, BACKEND))
            _, frame = find(source, thickness)
            np.testing.assert_array_equal(frame.labels[Box.whole(shape).slices()], whole.labels)
            assert frame.count == whole.count


def test_every_object_is_measured_once_giants_apart() -> None:
    values = np.zeros((40, 12, 12), np.uint8)
    values[::3, ::3, ::3] = 1  # one voxel each
    values[2:38, 10:, 1:] = 2  # two giants, close to each other,
    values[3:36, 7:9, 1:] = 3
    values[12:40, 0, 0] = 4  # and one elsewhere
    objects, _ = find(ComponentSource(reader(values), (40, 12, 12), values.dtype, BACKEND), 6)
    assert (np.diff(objects.first_owned) >= 0).all()
    assert objects.first_owned[-1] == objects.count + 1
    parts = list(plan_parts(objects, (1, 1, 1)))
    assert sorted(np.concatenate([part.ids for part in parts]).tolist()) == list(range(1, objects.count + 1))
    slabs, giants = [p for p in parts if p.box.shape[0] <= 11], [p for p in parts if p.box.shape[0] > 11]
    assert len(slabs) == 7
    assert [(len(p.ids), p.inner, p.box) for p in giants] == [
        (2, Box((2, 7, 1), (38, 12, 12)), Box((0, 5, 0), (40, 12, 12))),
        (1, Box((12, 0, 0), (40, 1, 1)), Box((10, 0, 0), (40, 3, 12))),
    ]


def test_groups_are_consecutive_ids_and_as_large_as_they_may() -> None:
    starts = np.repeat([0, 1, 1, 2, 5, 6, 7, 7], 3)
    boxes = np.array([[0, y, 0, 1, y + 1, 1] for y in starts], np.int32)
    found = group_objects((1, 8, 4), boxes, 12)
    assert [slab.shape[1] for slab in found.slabs] == [4, 4]
    assert found.first_owned.tolist() == [1, 13, 25]
    assert len(group_objects((1, 8, 4), boxes, 24).slabs) == 1
    assert len(group_objects((1, 8, 4), boxes, 1).slabs) == 8  # a row is never cut


def test_what_a_slab_reports_is_a_value() -> None:
    """Another process may find the objects of a slab: its report can be pickled, and comes in any order."""
    values = make_labels("blobs", (8, 9, 10)).astype(np.uint8)
    source = ComponentSource(reader(values), (8, 9, 10), values.dtype, BACKEND)
    slabs = cut_frame((8, 9, 10), 3)
    numbering = ObjectNumbering(source, BACKEND)
    for index, slab in reversed(list(enumerate(slabs))):
        numbering.add(index, pickle.loads(pickle.dumps(source.find(slab, source.read(slab)))))
    found = numbering.number(slabs)
    np.testing.assert_array_equal(found.boxes, find(source, 3)[0].boxes)


def test_negative_labels_are_refused_with_their_place() -> None:
    values = np.zeros((6, 4, 4), np.int16)
    values[4, 1, 2] = -7
    with pytest.raises(InputMismatch, match=r"there is -7; the first one stands at \(z, y, x\) = \(4, 1, 2\)"):
        find(LabelSource(reader(values), (6, 4, 4), values.dtype, BACKEND), 2)


def test_more_objects_than_the_memory_holds_are_refused() -> None:
    values = make_labels("noise", (6, 30, 30)).astype(np.uint16)
    _, frame = find(ComponentSource(reader(values), (6, 30, 30), values.dtype, BACKEND), 2)
    with pytest.raises(MemoryTooSmall, match=f"the features of {frame.count} objects"):
        measure(frame, make_raw((6, 30, 30), 1), everything((6, 30, 30), 1, 1), Resources(BACKEND, 1, 1 << 14))


@pytest.mark.slow
def test_the_frame_is_never_in_memory() -> None:
    """Numbers, labels of parts and features of 10 million voxels that exist only while they are read."""
    shape, wanted = (160, 256, 256), everything((2, 2, 2), 1, 1)
    ball = np.zeros((4, 32, 32), np.uint8)
    ball[1:3, 8:24, 8:24] = 1

    def read(box: Box) -> np.ndarray:
        z = (np.arange(box.start[0], box.stop[0]) % 4)[:, None, None]
        y = (np.arange(box.start[1], box.stop[1]) % 32)[None, :, None]
        x = (np.arange(box.start[2], box.stop[2]) % 32)[None, None, :]
        return ball[z, y, x]

    def read_raw(box: Box) -> np.ndarray:
        return read(box)[..., None].astype(np.float32)

    def run(shape: tuple[int, int, int]) -> ObjectFeatures:
        source = ComponentSource(read, shape, np.dtype(np.uint8), BACKEND)
        resources = Resources(BACKEND, 1, 1 << 25)
        objects = find_objects(source, cut_frame(shape, 4), resources)
        labels = objects.frame(0, np.uint32).labels
        assert isinstance(labels, SlabLabels)
        with Scratch(1 << 22) as scratch:
            return measure_by_slabs(read_raw, labels, 1, wanted, resources=resources, scratch=scratch)

    run((8, 256, 256))  # compiles what is not compiled yet
    tracemalloc.start()
    found = run(shape)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.count == 40 * 64
    features = sum(each.nbytes for values in found.values.values() for each in values.values())
    slab = 4 * 256 * 256
    assert peak - features < 60 * slab < 4 * 160 * 256 * 256
