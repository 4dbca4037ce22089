"""Results never depend on how an image is cut, on the number of threads, or on the run."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tile_jobs import (
    NAMES,
    PLENTY,
    SHAPES,
    Export,
    Image,
    assert_same_part,
    classify,
    make_image,
    make_mask,
    make_project,
    whole,
)

from pixelforest.box import Box
from pixelforest.engine.pixels.classify import PixelClassifier, RawKind, ResultRequest, prepare_classifier
from pixelforest.engine.pixels.results import RESULTS
from pixelforest.engine.resources import Resources
from pixelforest.engine.workflows.pixel.flow import RAW, classify_lane, result_infos
from pixelforest.kernels.contract import Backend, Conversion, TileResult
from pixelforest.kernels.shared.conversion import convert


@st.composite
def regions(draw: st.DrawFn, kind: str, *, most: bool = False) -> Box:
    """A part (t, z, y, x) of the image; ``most``: at least its middle third along every axis."""
    start, stop = [], []
    for n in SHAPES[kind][:4]:
        a = draw(st.integers(0, n // 3 if most else n - 1))
        start.append(a)
        stop.append(draw(st.integers(max(a + 1, 2 * n // 3 if most else 0), n)))
    return Box(tuple(start), tuple(stop))


@pytest.mark.sampled(1)
@pytest.mark.parametrize("kind", SHAPES)
@settings(max_examples=8, deadline=None)
@given(data=st.data(), threads=st.integers(1, 5))
def test_plan_and_threads_do_not_matter(kind: str, backend: Backend, data: st.DataObject, threads: int) -> None:
    region = data.draw(regions(kind, most=True))
    tile = data.draw(st.tuples(st.integers(1, 20), st.integers(5, 60), st.integers(5, 80)), label="tile")
    chunk = data.draw(st.tuples(st.integers(1, 20), st.integers(3, 60), st.integers(3, 80)), label="chunk")
    found = classify(kind, backend, region=region, threads=threads, tile=tile, chunk=chunk)
    assert_same_part(found, whole(kind, backend), region)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("kind", SHAPES)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_tile_alone(kind: str, backend: Backend, data: st.DataObject) -> None:
    region = data.draw(regions(kind))
    tile = Box(region.start[1:], region.stop[1:])
    time = region.start[0]
    found = classify_tile(kind, backend, tile, time)
    at_time = Box((time, *tile.start), (time + 1, *tile.stop))
    assert_same_part(found, whole(kind, backend), at_time)


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("corner", ["first", "middle", "last"])
def test_a_single_voxel(kind: str, backend: Backend, corner: str) -> None:
    shape = SHAPES[kind][1:4]
    at = {"first": (0, 0, 0), "middle": tuple(n // 2 for n in shape), "last": tuple(n - 1 for n in shape)}[corner]
    tile = Box(at, tuple(a + 1 for a in at))
    found = classify_tile(kind, backend, tile, 0)
    assert_same_part(found, whole(kind, backend), Box((0, *tile.start), (1, *tile.stop)))


def classify_tile(kind: str, backend: Backend, tile: Box, time: int) -> dict[str, np.ndarray]:
    """Every result of one tile (z, y, x) as it is made."""
    requests = {name: ResultRequest() for name in NAMES}
    return {name: found.values for name, found in make_results(kind, backend, tile, time, requests).items()}


def make_results(
    kind: str, backend: Backend, tile: Box, time: int, requests: Mapping[str, ResultRequest]
) -> dict[str, TileResult]:
    """One tile without the workflow, with exactly the halo the classifier asks for."""
    shape = SHAPES[kind]
    classifier: PixelClassifier = prepare_classifier(  # type: ignore[arg-type]
        make_project(kind), backend, RawKind.of(shape, make_image(kind).dtype)
    )
    source = tile.grow(classifier.halo).clip(shape[1:4])
    pixels = make_image(kind)[time][source.slices()]
    return classifier.results(tile, pixels, source.start, None, requests)


TARGETS = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64", "int64", "uint64")
RANGES = ((None, None), ((0.1, 0.7), (0, 300)), ((0, 1), (-7.5, 3e9)))


@pytest.mark.sampled(2)
@pytest.mark.parametrize("clip", [False, True], ids=["wraps", "clips"])
@pytest.mark.parametrize("kind", SHAPES)
def test_parts_of_results_converted_by_the_backend(kind: str, clip: bool, backend: Backend) -> None:
    """The same bytes and the same count as converting the whole result afterwards."""
    shape = SHAPES[kind][1:4]
    tile = Box(tuple(n // 3 for n in shape), tuple(n // 3 + n // 5 + 1 for n in shape))
    for target in TARGETS:
        for ranges in RANGES:
            requests = {}
            for result in RESULTS:
                channels = whole(kind, backend)[result.name].shape[-1]
                conversion = Conversion(np.dtype(result.dtype), np.dtype(target), *ranges, clip)
                requests[result.name] = ResultRequest((channels // 2, channels), conversion)
            for name, found in make_results(kind, backend, tile, 0, requests).items():
                request = requests[name]
                part = whole(kind, backend)[name][(0, *tile.slices(), slice(*request.channels))]
                expected, overflow_count = convert(np.ascontiguousarray(part), request.conversion)
                assert found.values.dtype == expected.dtype
                assert np.ascontiguousarray(found.values).tobytes() == expected.tobytes(), (name, target, ranges)
                assert found.overflow_count == overflow_count


@pytest.mark.sampled(1)
@pytest.mark.parametrize("kind", SHAPES)
def test_twice_the_same(kind: str, backend: Backend) -> None:
    everything = Box.whole(SHAPES[kind][:4])
    for _ in range(2):
        assert_same_part(classify(kind, backend, threads=4, tile=(5, 17, 33)), whole(kind, backend), everything)


@pytest.mark.parametrize("kind", SHAPES)
def test_results_do_not_depend_on_what_else_is_exported(kind: str, backend: Backend) -> None:
    everything = Box.whole(SHAPES[kind][:4])
    for name in NAMES:
        assert_same_part(classify(kind, backend, threads=2, names=(name,)), whole(kind, backend), everything)


def test_time_points_do_not_mix(backend: Backend) -> None:
    values = whole("flat", backend)["Features"]
    assert (values[0] != values[1]).any()
    first = classify("flat", backend, region=Box((0, 0, 0, 0), (1, *SHAPES["flat"][1:4])))
    assert_same_part(first, whole("flat", backend), Box((0, 0, 0, 0), (1, *SHAPES["flat"][1:4])))


@pytest.mark.parametrize("kind", SHAPES)
def test_masked_voxels(kind: str, backend: Backend) -> None:
    """Probabilities 0, segmentation 1, uncertainty 1; features are not masked, and the others stay as they were."""
    masked, plain = whole(kind, backend, masked=True), whole(kind, backend)
    active = make_mask(kind)[..., 0] > 0
    assert (masked["Probabilities"][~active] == 0).all()
    assert (masked["Simple Segmentation"][~active] == 1).all()
    assert (masked["Uncertainty"][~active] == 1).all()
    for name in ("Probabilities", "Simple Segmentation", "Uncertainty"):
        np.testing.assert_array_equal(masked[name][active], plain[name][active])
    np.testing.assert_array_equal(masked["Features"], plain["Features"])


@pytest.mark.parametrize("kind", SHAPES)
def test_masks_do_not_depend_on_tiles(kind: str, backend: Backend) -> None:
    """The plan decides if a whole tile is masked out and skipped; results do not depend on it."""
    everything = Box.whole(SHAPES[kind][:4])
    names = ("Probabilities", "Simple Segmentation", "Uncertainty")
    found = classify(kind, backend, threads=3, tile=(4, 30, 20), mask=make_mask(kind), names=names)
    assert_same_part(found, whole(kind, backend, masked=True), everything)


def test_a_class_the_forest_does_not_know(backend: Backend) -> None:
    probabilities = whole("flat", backend)["Probabilities"]
    assert probabilities.shape[-1] == 4
    assert (probabilities[..., 2] == 0).all()
    assert (probabilities[..., 3] > 0).any()
    assert not (whole("flat", backend)["Simple Segmentation"] == 3).any()


@pytest.mark.parametrize("kind", SHAPES)
def test_only_the_halo_is_read(kind: str, backend: Backend) -> None:
    """A part of an image costs no reading beyond the part and its halo."""
    project, raw = make_project(kind), Image(make_image(kind))
    shape = SHAPES[kind]
    region = Box((0, *(n // 2 for n in shape[1:4]), 0), (1, *(n // 2 + 1 for n in shape[1:4]), 1))
    exports = {"Uncertainty": Export(result_infos(project, {RAW: raw})["Uncertainty"], region)}
    classify_lane(project, {RAW: raw}, exports, resources=Resources(backend, 2, PLENTY), on_progress=lambda n: None)
    halo = prepare_classifier(project, backend, RawKind.of(shape, raw.dtype)).halo  # type: ignore[arg-type]
    expected = region.grow((0, *halo, 0)).clip(shape)
    assert raw.reads == [Box((*expected.start[:4], 0), (*expected.stop[:4], shape[4]))]
