"""Choice of a forest's variant by timing: the same bits, the faster one kept, and no trust in what a cache holds."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from support.cuda_host.host_device import HostDevice, HostTimer
from support.cuda_host.stacks import assert_equal_bits, make_stack, smooth_features

from pixelforest.kernels.contract import ForestArrays
from pixelforest.kernels.cuda import tuning
from pixelforest.kernels.cuda.forest import CudaForest, candidate_launches, choose_variant
from pixelforest.kernels.cuda.tuning import ROUNDS
from pixelforest.kernels.shared import cache
from pixelforest.kernels.shared.nodes import pack_forest
from pixelforest.testing.kernel_inputs import random_forest

SHAPE, COLUMNS = (1, 64, 65), 3  # two waves of one multiprocessor
MILLISECONDS = {"direct_pure": 2.0, "entered_pure": 1.0}


@dataclass(eq=False)
class TimedDevice(HostDevice):
    """A stand-in on which kernels take given times."""

    multiprocessors: int = 1
    milliseconds: dict[str, float] = field(default_factory=lambda: dict(MILLISECONDS))
    timed: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def timer(self) -> Iterator[HostTimer]:
        timer, before = HostTimer(), len(self.launches)
        yield timer
        (name,) = self.launches[before:]
        self.timed.append(name)
        timer.milliseconds = self.milliseconds[name]


class OwnCache:
    """A cache in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, name: str) -> bytes | None:
        with self._in_folder():
            return cache.read(name)

    def write(self, name: str, data: bytes) -> Path | None:
        with self._in_folder():
            return cache.write(name, data)

    @contextlib.contextmanager
    def _in_folder(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PIXELFOREST_CACHE_DIR", str(self.folder))
            yield


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OwnCache:
    """Choices are kept where no other test has written; kernels are those of all tests."""
    made = OwnCache(tmp_path)
    monkeypatch.setattr(tuning, "cache", made)
    return made


@pytest.fixture
def forests() -> list[ForestArrays]:
    return [random_forest(np.random.default_rng(1), trees=7, columns=COLUMNS, classes=2, pure=True, depth=4)]


def predict(device: HostDevice, forests: list[ForestArrays], *, tunes: bool = True, shape: tuple = SHAPE) -> str:
    """Predict two tiles, compare them with the CPU's, and return the kernel of the second one."""
    forest = CudaForest(device, pack_forest(forests), tunes=tunes)
    features = smooth_features(shape, COLUMNS)
    for _ in range(2):
        found = device.download(forest.predict(make_stack(device, features, shape)))
        assert_equal_bits(found.reshape(len(features), -1), features, forests)
    return device.launches[-1]


def forest_lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Lines about forests; kernels of the host may be compiled in between."""
    return [line for line in caplog.messages if line.startswith("forest on ")]


@pytest.mark.parametrize("fastest", list(MILLISECONDS))
def test_the_faster_variant_is_taken_and_kept(
    fastest: str, forests: list[ForestArrays], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    device = TimedDevice(milliseconds=MILLISECONDS | {fastest: 0.5})
    assert predict(device, forests) == fastest
    assert sorted(device.timed) == sorted(list(MILLISECONDS) * ROUNDS), "the second tile is not timed"
    name = fastest.removesuffix("_pure")
    (line,) = forest_lines(caplog)
    assert line.startswith(f"forest on host stand-in (cuda:0): {name}, timed on the first tile (")
    assert f"{name} 0.50 ms" in line
    assert line.endswith("; kept for later runs")
    caplog.clear()
    later = TimedDevice(milliseconds={})
    assert predict(later, forests) == fastest
    assert later.timed == []
    assert forest_lines(caplog) == [f"forest on host stand-in (cuda:0): {name}, the fastest in an earlier run"]


def test_of_equal_times_the_expected_variant_is_taken(forests: list[ForestArrays]) -> None:
    device = TimedDevice(milliseconds=dict.fromkeys(MILLISECONDS, 1.0))
    assert predict(device, forests) == f"{choose_variant(pack_forest(forests), COLUMNS, device)}_pure"


@pytest.mark.parametrize(
    ("other", "shape"),
    [("name", SHAPE), ("architecture", SHAPE), ("trees", SHAPE), ("volume", (5, 29, 30))],
)
def test_a_choice_is_of_one_device_and_one_kind_of_work(
    other: str, shape: tuple, forests: list[ForestArrays], monkeypatch: pytest.MonkeyPatch
) -> None:
    predict(TimedDevice(), forests)
    device = TimedDevice()
    if other == "trees":
        forests = [random_forest(np.random.default_rng(2), trees=8, columns=COLUMNS, classes=2, pure=True, depth=4)]
    elif other != "volume":
        monkeypatch.setattr(device, other, "another")
    predict(device, forests, shape=shape)
    assert len(device.timed) == 2 * ROUNDS


@pytest.mark.parametrize("content", [b"", b"fast", b"entered\n", b"\xff\xfe", b"direct" * 1000])
def test_what_the_cache_holds_is_not_trusted(
    content: bytes, forests: list[ForestArrays], own_cache: OwnCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_cache, "read", lambda name: content)
    device = TimedDevice()
    assert predict(device, forests) == "entered_pure"
    assert len(device.timed) == 2 * ROUNDS


def test_a_damaged_file_is_timed_again(own_cache: OwnCache, forests: list[ForestArrays]) -> None:
    predict(TimedDevice(), forests)
    (path,) = own_cache.folder.rglob("choice-*")
    path.write_bytes(path.read_bytes()[:-1])
    device = TimedDevice()
    predict(device, forests)
    assert len(device.timed) == 2 * ROUNDS


def test_a_cache_that_cannot_be_written_is_no_error(
    forests: list[ForestArrays],
    own_cache: OwnCache,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(own_cache, "write", lambda name, data: None)
    assert predict(TimedDevice(), forests) == "entered_pure"
    assert caplog.messages[0].endswith("; not kept, since no cache can be written")


@pytest.mark.parametrize(("tunes", "shape"), [(False, SHAPE), (True, (1, 60, 60))], ids=["no_tune", "small tile"])
def test_without_times_the_choice_follows_from_shared_memory(
    tunes: bool, shape: tuple, forests: list[ForestArrays]
) -> None:
    device = TimedDevice()
    assert predict(device, forests, tunes=tunes, shape=shape) == "entered_pure"
    little = TimedDevice(shared_bytes_per_block=10 << 10)
    assert predict(little, forests, tunes=tunes, shape=shape) == "direct_pure"
    assert device.timed == little.timed == []


def test_a_small_tile_occupies_a_device_that_holds_few_threads(forests: list[ForestArrays]) -> None:
    device = TimedDevice(threads_per_multiprocessor=1024)  # as Turing's
    predict(device, forests, shape=(1, 60, 60))
    assert device.timed


def test_a_variant_without_room_is_not_timed(forests: list[ForestArrays]) -> None:
    packed, device = pack_forest(forests), TimedDevice()
    assert list(candidate_launches(device, packed, COLUMNS)) == ["entered", "direct"]
    assert list(candidate_launches(device, packed, 300)) == ["direct"]
