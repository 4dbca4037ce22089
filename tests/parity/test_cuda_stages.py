"""Autocontext on the host stand-in: the bits of the CPU, and stage 1 stays on the device unless it is exported."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from support.context_jobs import SHAPES, classify, make_image, make_project, make_stage
from support.cuda_host.faults import FaultyDevice
from support.cuda_host.host_device import HostArray, HostDevice

from pixelforest import kernels
from pixelforest.box import Box
from pixelforest.engine.pixels.autocontext import prepare_context
from pixelforest.engine.pixels.classify import RawKind, ResultRequest
from pixelforest.engine.project.autocontext_project import AutocontextProject
from pixelforest.kernels.cuda import pixel_backend, tiles
from pixelforest.kernels.cuda.backend import compose_backend

CPU = kernels.load("cpu")
SECOND = tuple(f"{name} Stage 2" for name in ("Probabilities", "Simple Segmentation", "Uncertainty"))
REGIONS = {"flat": Box((0, 0, 20, 60), (1, 1, 55, 150)), "mixed": Box((0, 2, 5, 0), (1, 8, 30, 40))}


@dataclass(eq=False)
class CountingDevice(HostDevice):
    """Device that records the shapes of arrays (z, y, x, c) or (c, z, y, x) that are copied to it and from it."""

    uploads: list[tuple[int, ...]] = field(default_factory=list)
    downloads: list[tuple[int, ...]] = field(default_factory=list)

    def upload(self, array: np.ndarray) -> HostArray:
        self.uploads += [array.shape] if array.ndim == 4 else []
        return super().upload(array)

    def download(self, array: HostArray) -> np.ndarray:
        self.downloads += [array.shape] if array.dtype != np.uint64 else []
        return super().download(array)


def limit_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the backend prefer small tiles, so that a job has several."""
    for name, tile in {"FLAT_TILE": (1, 20, 40), "SOLID_TILE": (4, 15, 25)}.items():
        for each in (name, f"MIN_{name}"):
            monkeypatch.setattr(pixel_backend, each, tile)


def assert_cpu_bytes(
    kind: str, *devices: HostDevice, names: tuple[str, ...] = SECOND, dtype: str = "uint8", **options: Any
) -> None:
    project, raw, region = make_project(kind), make_image(kind, dtype), REGIONS[kind]
    found = classify(project, raw, compose_backend(devices, **options), names=names, region=region, threads=2)
    expected = classify(project, raw, CPU, names=names, region=region)
    for name, values in found.items():
        assert values.tobytes() == expected[name].tobytes(), name


@pytest.mark.parametrize("kind", SHAPES)
def test_the_first_stage_stays_on_the_device(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    limit_tiles(monkeypatch)
    device = CountingDevice()
    assert_cpu_bytes(kind, device)
    count = device.launches.count("append_probabilities")
    assert count > 4
    # Of each tile: the channels of the image to the device; two probabilities, the class and the uncertainty back.
    channels = SHAPES[kind][4]
    assert [shape[0] for shape in device.uploads] == [channels] * count
    assert sorted(shape[3] for shape in device.downloads) == sorted([2, 1, 1] * count)
    assert sum(int(np.prod(shape[:3])) for shape in device.downloads) == 3 * REGIONS[kind].size


@pytest.mark.parametrize("name", ["Probabilities Stage 1", "Probabilities All Stages"])
def test_probabilities_that_are_exported_come_to_the_host(name: str) -> None:
    device = CountingDevice()
    assert_cpu_bytes("mixed", device, names=(SECOND[0], name))
    assert 3 in {shape[3] for shape in device.downloads}


def test_features_and_classes_of_the_second_stage() -> None:
    device = CountingDevice()
    assert_cpu_bytes("mixed", device, names=("Features Stage 2", SECOND[1]), dtype="int16")
    assert {shape[3] for shape in device.downloads} == {1, make_project("mixed").stages[1].classifier.column_count}


@pytest.mark.parametrize("dtype", ["uint16", "int32", "uint64", "int64", "float32", "float64"])
def test_types_of_images(dtype: str) -> None:
    assert_cpu_bytes("mixed", HostDevice(), names=SECOND[:1], dtype=dtype)


def test_classes_that_no_annotation_has() -> None:
    """The forest of stage 1 knows three of four classes."""
    project = make_project("mixed")
    first, _ = project.stages
    known = replace(first.classifier, known_labels=(1, 2, 4), label_names=("one", "two", "three", "four"))
    second = make_stage("mixed", 1 + 4, 2, (1.0, 1.6))
    odd = AutocontextProject(**project.shared(), stages=(replace(first, classifier=known), second))
    raw, region = make_image("mixed", "uint8"), REGIONS["mixed"]
    found, expected = (
        classify(odd, raw, backend, names=SECOND, region=region) for backend in (compose_backend([HostDevice()]), CPU)
    )
    for name in SECOND:
        assert found[name].tobytes() == expected[name].tobytes(), name


@pytest.mark.parametrize("kind", SHAPES)
def test_tiles_that_do_not_fit_are_split(
    kind: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Any array may be the one that has no room, in both stages and between them."""
    monkeypatch.setattr(tiles, "MIN_PIECE_VOXELS", 64)
    count = FaultyDevice()
    assert_cpu_bytes(kind, count, names=SECOND[:1])
    for at in sorted({*np.linspace(8, count.arrays, 6).astype(int).tolist()}):
        caplog.clear()
        assert_cpu_bytes(kind, FaultyDevice(full_at_array=at), names=SECOND[:1])
        assert caplog.text.count("there is no room for this array; tiles are split") == 1


def test_the_cpu_goes_on_where_a_device_fails(caplog: pytest.LogCaptureFixture) -> None:
    assert_cpu_bytes("flat", FaultyDevice(fails_at_launch=30), falls_back=True)
    assert "the CPU goes on with what is left" in caplog.text


def test_tiles_are_planned_for_the_memory_of_both_stages() -> None:
    """Here stage 1 has all features, and stage 2 one."""
    scales = (0.7, 1.6)
    first, second = make_stage("mixed", 6, 3, scales), make_stage("mixed", 6 + 3, 2, scales)
    one = ((True, False), *((False, False),) * 5)
    second = replace(second, features=replace(second.features, matrix=one))
    project = AutocontextProject(**first.shared(), stages=(first, second))
    backend = compose_backend([HostDevice(total_bytes=1 << 30)])
    context = prepare_context(project, backend, RawKind(6, (2000, 2000, 2000), np.dtype(np.uint8)))
    alone = context.stages[1].preferred_tiles({"Probabilities": ResultRequest()}, 4)
    both = context.preferred_tiles({SECOND[0]: ResultRequest()}, 4)
    assert alone is not None
    assert both is not None
    assert np.prod(both.largest) < np.prod(alone.largest)
