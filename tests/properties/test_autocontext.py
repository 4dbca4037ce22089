"""Autocontext: every result equals that of two plain classifications, one after the other, of the whole image."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.context_jobs import COMPUTED, DTYPES, SHAPES, classify, make_image, make_project
from support.golden import GOLDEN
from support.tile_jobs import PLENTY, Export, Image

from pixelforest.box import Box
from pixelforest.engine.pixels.autocontext import ContextImage
from pixelforest.engine.pixels.results import RESULTS
from pixelforest.engine.project import PixelProject
from pixelforest.engine.project.autocontext_project import AutocontextProject
from pixelforest.engine.resources import Resources
from pixelforest.engine.workflows import read_project
from pixelforest.engine.workflows.pixel import flow as pixel_classification
from pixelforest.engine.workflows.pixel.flow import RAW
from pixelforest.kernels import load
from pixelforest.kernels.contract import Backend
from pixelforest.kernels.shared.stages import as_raw_type


def classify_stage(project: PixelProject, raw: np.ndarray) -> dict[str, np.ndarray]:
    """Every result of a stage, computed as that of a project of its own."""
    images = {RAW: Image(raw)}
    infos = pixel_classification.result_infos(project, images)  # type: ignore[arg-type]
    names = [result.name for result in RESULTS if result.kernel]
    exports = {name: Export(infos[name], Box.whole(raw.shape[:4])) for name in names}
    pixel_classification.classify_lane(
        project, images, exports, resources=Resources(load("cpu"), 1, PLENTY), on_progress=lambda n: None
    )  # type: ignore[arg-type]
    return {name: export.data for name, export in exports.items()}


def as_stored(probabilities: np.ndarray, dtype: str) -> np.ndarray:
    """The specification's conversion, value by value in exact integers."""
    if dtype.startswith("float"):
        return probabilities.astype(dtype)
    info = np.iinfo(dtype)
    wide = np.float32 if info.bits < 32 else np.float64
    found = np.empty(probabilities.shape, dtype)
    for place, p in np.ndenumerate(probabilities):
        whole = int(wide(info.max - info.min) * wide(p) - wide(info.min))
        if dtype == "int32":
            whole = info.min  # beyond every int32
        found[place] = (whole - info.min) % (1 << info.bits) + info.min
    return found


@cache
def expected(kind: str, dtype: str) -> dict[str, np.ndarray]:
    return two_runs(make_project(kind), make_image(kind, dtype))


def two_runs(project: AutocontextProject, raw: np.ndarray) -> dict[str, np.ndarray]:
    first = classify_stage(project.stages[0], raw)
    context = as_stored(first["Probabilities"], str(raw.dtype))
    second = classify_stage(project.stages[1], np.concatenate([raw, context], axis=-1))
    results = {f"{name} Stage 1": values for name, values in first.items()}
    results |= {f"{name} Stage 2": values for name, values in second.items()}
    both = np.concatenate([first["Probabilities"], second["Probabilities"]], axis=-1)
    return results | {"Input Stage 1": raw, "Input Stage 2": raw, "Probabilities All Stages": both}


def assert_same(found: dict[str, np.ndarray], kind: str, dtype: str, region: Box | None = None) -> None:
    for name, values in found.items():
        whole = expected(kind, dtype)[name]
        part = np.ascontiguousarray(whole if region is None else whole[region.slices()])
        assert values.dtype == part.dtype
        assert values.tobytes() == part.tobytes(), name


@pytest.mark.sampled(1)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", SHAPES)
def test_results_are_those_of_two_runs(kind: str, dtype: str) -> None:
    assert set(expected(kind, dtype)) == set(COMPUTED)
    assert_same(classify(make_project(kind), make_image(kind, dtype), load("cpu")), kind, dtype)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("kind", SHAPES)
@settings(max_examples=12, deadline=None)
@given(data=st.data(), threads=st.integers(1, 4))
def test_tiles_and_threads_do_not_matter(kind: str, data: st.DataObject, threads: int) -> None:
    shape = SHAPES[kind]
    start = data.draw(st.tuples(*(st.integers(0, n - 1) for n in shape[:4])))
    stop = data.draw(st.tuples(*(st.integers(a + 1, n) for a, n in zip(start, shape, strict=False))))
    tile = data.draw(st.tuples(st.integers(1, 12), st.integers(4, 60), st.integers(4, 80)))
    region = Box(start, stop)
    found = classify(
        make_project(kind), make_image(kind, "uint8"), load("cpu"), region=region, threads=threads, tile=tile
    )
    assert_same(found, kind, "uint8", region)


@pytest.mark.slow
@pytest.mark.parametrize("kind", SHAPES)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_what_stage_2_is_trained_on_is_what_it_is_given(kind: str, data: st.DataObject) -> None:
    raw, stage = make_image(kind, "int16"), make_project(kind).stages[0]
    image = ContextImage(Image(raw), stage, load("cpu"))  # type: ignore[arg-type]
    whole = np.concatenate([raw, as_stored(expected(kind, "int16")["Probabilities Stage 1"], "int16")], axis=-1)
    assert image.shape == whole.shape
    start = data.draw(st.tuples(*(st.integers(0, n - 1) for n in raw.shape[:4])))
    rest = zip(start[1:], raw.shape[1:4], strict=True)
    stop = data.draw(st.tuples(*(st.integers(a + 1, n) for a, n in rest)))
    box = Box((*start, 0), (start[0] + 1, *stop, whole.shape[4]))
    assert image.read(box).tobytes() == np.ascontiguousarray(whole[box.slices()]).tobytes()


@pytest.mark.sampled(1)
@pytest.mark.parametrize("name", COMPUTED)
def test_a_result_alone_is_that_of_all(name: str) -> None:
    found = classify(make_project("mixed"), make_image("mixed", "int16"), load("cpu"), names=(name,), tile=(4, 17, 30))
    assert_same(found, "mixed", "int16")


def test_a_device_gives_the_bytes_of_the_cpu(backend: Backend) -> None:
    raw = np.ascontiguousarray(make_image("mixed", "uint16")[:, :5, :30, :40])
    project = make_project("mixed")
    found, wanted = (classify(project, raw, each, tile=(4, 20, 30)) for each in (backend, load("cpu")))
    for name, values in found.items():
        assert values.tobytes() == wanted[name].tobytes(), name


@pytest.mark.parametrize("dtype", DTYPES)
def test_probabilities_take_the_type_of_the_image(dtype: str) -> None:
    trees = np.arange(101, dtype=np.float32) / np.float32(100)
    edges = np.array([0.5, np.nextafter(np.float32(1), np.float32(0)), 1 / 255], np.float32)
    probabilities = np.concatenate([trees, edges])
    found = as_raw_type(probabilities, np.dtype(dtype))
    assert found.dtype == dtype
    assert found.tobytes() == as_stored(probabilities, dtype).tobytes()


def test_values_that_ilastik_was_seen_to_hand_over() -> None:
    p = np.array([0, 0.5, 1], np.float32)
    assert as_raw_type(p, np.dtype(np.uint8)).tolist() == [0, 127, 255]
    assert as_raw_type(p, np.dtype(np.int16)).tolist() == [-32768, -1, 32767]
    assert as_raw_type(p, np.dtype(np.int8)).tolist() == [-128, -1, 127]
    assert as_raw_type(p, np.dtype(np.int32)).tolist() == [-(1 << 31)] * 3


def test_labels_of_each_stage_are_its_own() -> None:
    project = read_project(GOLDEN / "autocontext_2d" / "project.ilp")
    assert isinstance(project, AutocontextProject)
    first, second = (replace(stage) for stage in project.stages)
    assert (first.labels_group, second.labels_group) == ("PixelClassification", "PixelClassification01")
    assert first.classifier.label_names == ("Background", "Bright", "Dim")
    assert second.classifier.label_names == ("Outside", "Inside")
