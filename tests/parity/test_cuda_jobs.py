"""Whole CUDA backend on the host stand-in: bytes equal to the CPU's, with several or failing devices and little memory.

The jobs are those of support/tile_jobs.py."""

from __future__ import annotations

import logging
import threading
from collections import Counter

import numpy as np
import pytest
from support.cuda_host.faults import FaultyDevice
from support.cuda_host.host_device import HostDevice
from support.cuda_host.jobs import CPU, KINDS, REGIONS, assert_cpu_bytes, expected, limit_tiles
from support.tile_jobs import SHAPES, Image, assert_same_part, classify, make_image, make_mask, make_project

from pixelforest.box import Box
from pixelforest.engine.pixels.classify import RawKind, ResultRequest, prepare_classifier
from pixelforest.kernels.contract import Conversion, DeviceFailed, DeviceOutOfMemory
from pixelforest.kernels.cuda import launch
from pixelforest.kernels.cuda.backend import compose_backend
from pixelforest.kernels.cuda.tiles import TILES_IN_FLIGHT


def kind_of(shape: tuple[int, ...]) -> RawKind:
    return RawKind.of(shape, np.dtype(np.uint8))


def warnings_of_kernels(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Warnings about devices; others are about the image, which has no annotations."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.WARNING and record.name == "pixelforest.kernels"
    ]


@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_result_has_the_cpus_bytes(kind: str, masked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    limit_tiles(monkeypatch)
    device = HostDevice()
    assert_cpu_bytes(kind, compose_backend([device]), masked=masked)
    assert {"select_channels", "most_probable", "uncertainty"} <= set(device.launches)


def test_tiles_are_dealt_to_all_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    limit_tiles(monkeypatch)
    devices = [HostDevice(), HostDevice(), HostDevice(index=1)]
    assert_cpu_bytes("flat", compose_backend(devices), threads=4)
    assert all("most_probable" in device.launches for device in devices)


def test_a_device_given_twice_plans_with_half_of_its_memory() -> None:
    preferences = {}
    for count in (1, 2):
        backend = compose_backend([HostDevice(total_bytes=1 << 28) for _ in range(count)])
        classifier = prepare_classifier(make_project("solid"), backend, kind_of((1, 4000, 4000, 4000, 1)))
        preferences[count] = classifier.preferred_tiles({"Probabilities": ResultRequest()}, 8)
    assert np.prod(preferences[2].largest) <= 0.6 * np.prod(preferences[1].largest)
    assert (preferences[1].at_once, preferences[2].at_once) == (TILES_IN_FLIGHT, 2 * TILES_IN_FLIGHT)


def test_several_threads_read_for_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Results are the same, and half of the threads read at most."""
    limit_tiles(monkeypatch)
    names, plain = set[str](), Image.read

    def read(image: Image, box: Box) -> np.ndarray:
        names.add(threading.current_thread().name)
        return plain(image, box)

    monkeypatch.setattr(Image, "read", read)
    for devices, threads, readers in ((1, 2, 1), (1, 4, 2), (2, 16, 4)):
        names.clear()
        backend = compose_backend([HostDevice(index=i) for i in range(devices)])
        classifier = prepare_classifier(make_project("solid"), backend, kind_of((1, 40, 400, 400, 1)))
        assert classifier.preferred_tiles({"Probabilities": ResultRequest()}, threads).readers == readers
        assert_cpu_bytes("flat", backend, threads=threads, names=("Probabilities",))
        assert len({name for name in names if name.startswith("read_")}) in range(1, readers + 1) or readers == 1


def test_the_tiles_that_are_asked_for_fit_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not one array is refused where the tiles are planned with the memory there is."""
    device = HostDevice(total_bytes=3 << 20)
    assert_cpu_bytes("solid", compose_backend([device]), threads=4)


# --------------------------------------------------------------------------------------------------- too little memory


@pytest.mark.parametrize("kind", ["flat", "solid"])
def test_tiles_that_do_not_fit_are_split(
    kind: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Every array may be the one that has no room: while features are made, in the forest, among the results."""
    region = REGIONS[kind]
    count = FaultyDevice()
    assert_cpu_bytes(kind, compose_backend([count]), threads=1)
    wanted = expected(kind)
    for at in sorted({*np.linspace(4, count.arrays, 6).astype(int).tolist()}):
        caplog.clear()
        device = FaultyDevice(full_at_array=at)
        monkeypatch.setattr("pixelforest.kernels.cuda.tiles.MIN_PIECE_VOXELS", 16)
        found = classify(kind, compose_backend([device]), region=region, threads=1)
        assert_same_part(found, wanted, Box((0, 0, 0, 0), region.shape))
        assert len(warnings_of_kernels(caplog)) == 1
        assert "there is no room for this array; tiles are split" in caplog.text


def test_what_is_split_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values that do not fit their type, in the pieces of a tile that the mask cuts too."""
    monkeypatch.setattr("pixelforest.kernels.cuda.tiles.MIN_PIECE_VOXELS", 16)
    region = REGIONS["flat"]
    tile, pixels = Box(region.start[1:], region.stop[1:]), make_image("flat")[0]
    active = make_mask("flat")[0][tile.slices()][..., 0] > 0
    conversion = Conversion(np.dtype(np.float32), np.dtype(np.int8), (0.0, 1.0), (-20, 400))
    requests = {"Probabilities": ResultRequest((1, 4), conversion), "Features": ResultRequest((0, 3), conversion)}
    made = []
    for backend in (CPU, compose_backend([FaultyDevice(full_at_array=20)])):
        classifier = prepare_classifier(make_project("flat"), backend, kind_of(SHAPES["flat"]))
        source = tile.grow(classifier.halo).clip(SHAPES["flat"][1:4])
        made.append(classifier.results(tile, pixels[source.slices()], source.start, active, requests))
    for name in requests:
        assert made[1][name].values.tobytes() == np.ascontiguousarray(made[0][name].values).tobytes()
        assert made[1][name].overflow_count == made[0][name].overflow_count > 0


def test_a_device_without_any_room(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(DeviceOutOfMemory, match="host stand-in has"):
        classify("flat", compose_backend([HostDevice(total_bytes=9000)]), region=REGIONS["flat"])
    caplog.clear()
    found = classify("flat", compose_backend([HostDevice(total_bytes=9000)], falls_back=True), region=REGIONS["flat"])
    assert_same_part(found, expected("flat"), Box((0, 0, 0, 0), REGIONS["flat"].shape))
    assert "not even for a small tile; the CPU goes on" in caplog.text


# -------------------------------------------------------------------------------------------------- devices that fail


@pytest.mark.parametrize("at", [1, 9, 40, 80])
def test_the_cpu_goes_on_where_a_device_fails(
    at: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    limit_tiles(monkeypatch)
    device = FaultyDevice(fails_at_launch=at)
    assert_cpu_bytes("flat", compose_backend([device], falls_back=True), threads=3)
    warnings = warnings_of_kernels(caplog)
    assert warnings == [
        "host stand-in (cuda:0) failed (an illegal address was met); the CPU goes on with what is left, with the same "
        "result"
    ]


def test_the_other_device_goes_on(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    limit_tiles(monkeypatch)
    devices = [FaultyDevice(fails_at_launch=5), HostDevice(index=1)]
    assert_cpu_bytes("flat", compose_backend(devices, falls_back=True), threads=4)
    assert "another device goes on" in caplog.text
    assert Counter(devices[1].launches)["most_probable"] > 4


def test_a_device_that_was_asked_for_is_not_replaced() -> None:
    for devices in ([FaultyDevice(fails_at_launch=9)], [FaultyDevice(fails_at_launch=9), HostDevice(index=1)]):
        with pytest.raises(DeviceFailed, match="an illegal address was met"):
            classify("flat", compose_backend(devices), region=REGIONS["flat"], threads=2)


# ------------------------------------------------------------------------------------------------------------ start-up


def test_kernels_are_compiled_before_the_first_tile_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the moment the plan is known, each once."""
    monkeypatch.setattr(launch.cache, "folders", lambda: iter(()))
    monkeypatch.setattr("pixelforest.kernels.cuda.tiles.begin", launch.prepare)  # which waits
    device = HostDevice(optimise=False)
    backend = compose_backend([device])
    classifier = prepare_classifier(make_project("flat"), backend, kind_of((1, 1, 45, 300, 2)))
    begun = dict(launch._loaded[device])
    assert {file.name for file, _ in begun} == {"features.cu", "filters.cu", "forest.cu"}
    classifier.preferred_tiles({"Probabilities": ResultRequest()}, 2)
    begun = dict(launch._loaded[device])
    assert {file.name for file, _ in begun} == {"features.cu", "filters.cu", "forest.cu", "results.cu"}
    pixels = make_image("flat")[0]
    classifier.results(Box((0, 0, 0), (1, 45, 300)), pixels, (0, 0, 0), None, {"Probabilities": ResultRequest()})
    assert {file.name for file, _ in launch._loaded[device].keys() - begun.keys()} == {"sources.cu"}
    assert len(device.compiled) == len(launch._loaded[device])


def test_a_device_that_cannot_compile_says_so_where_a_tile_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch.cache, "folders", lambda: iter(()))
    monkeypatch.setattr(HostDevice, "compile", lambda *arguments: (_ for _ in ()).throw(DeviceFailed("no compiler")))
    with pytest.raises(DeviceFailed, match="no compiler"):
        classify("flat", compose_backend([HostDevice()]), region=REGIONS["flat"])
    found = classify("flat", compose_backend([HostDevice()], falls_back=True), region=REGIONS["flat"])
    assert_same_part(found, expected("flat"), Box((0, 0, 0, 0), REGIONS["flat"].shape))
