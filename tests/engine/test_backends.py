"""Backend that a device option opens, and the error where it is not available."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

import pytest

from pixelforest import kernels
from pixelforest.engine import backends
from pixelforest.engine.backends import CPU_VOXELS_PER_S, GPU_START_S, is_short, open_backend
from pixelforest.engine.errors import BackendUnavailable, UsageError
from pixelforest.kernels.contract import DeviceUnavailable

LONG = int(GPU_START_S * CPU_VOXELS_PER_S)


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, object]]]:
    """Record of the backends that are loaded, with their options; none is really opened."""
    calls: list[tuple[str, dict[str, object]]] = []

    def load(name: str, **options: object) -> str:
        calls.append((name, options))
        return name

    monkeypatch.setattr(backends.kernels, "load", load)
    return calls


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    load = kernels.load

    def refuse(name: str, **options: object) -> object:
        if name == "cuda":
            raise DeviceUnavailable("there is no NVIDIA driver on this machine")
        return load(name, **options)

    monkeypatch.setattr(backends.kernels, "load", refuse)


def test_a_machine_without_a_driver_does_not_even_import_the_gpus_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    def find_no_library(name: str) -> None:
        raise OSError(name)

    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.setitem(sys.modules, "pixelforest.kernels.cuda.backend", None)  # importing it would fail
    monkeypatch.setattr("ctypes.CDLL", find_no_library)
    with pytest.raises(DeviceUnavailable, match="there is no NVIDIA driver"):
        kernels.load("cuda")
    assert open_backend("auto", voxels=LONG).name == "cpu"


@pytest.mark.parametrize(
    ("device", "indices", "falls_back"),
    [("cuda", None, False), ("cuda:1", (1,), False), ("cuda:0,0", (0, 0), False), ("auto", None, True)],
)
def test_devices_by_number(loaded: list, device: str, indices: object, falls_back: bool) -> None:
    open_backend(device, voxels=LONG)
    assert loaded == [("cuda", {"indices": indices, "falls_back": falls_back, "forest": "auto", "tunes": True})]


def test_the_cpu_is_the_cpu(loaded: list) -> None:
    open_backend("cpu", voxels=LONG)
    assert loaded == [("cpu", {})]


def test_short_jobs_do_not_wait_for_a_gpu(loaded: list, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    open_backend("auto", voxels=LONG - 1)
    open_backend("auto", voxels=LONG, threads=8)
    assert [name for name, _ in loaded] == ["cpu", "cpu"]
    assert caplog.messages[0].startswith("Using the CPU: this job is done before a GPU has started")
    assert is_short(LONG - 1, 1)
    assert not is_short(LONG, 1)


@pytest.mark.parametrize(("device", "forest"), [("cuda", "auto"), ("auto", "nvforest")])
def test_a_gpu_that_was_asked_for_is_taken_for_short_jobs_too(loaded: list, device: str, forest: str) -> None:
    open_backend(device, forest, voxels=1)
    assert loaded[0][0] == "cuda"


def test_without_a_gpu_auto_is_the_cpu_and_says_why(no_gpu: None, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert open_backend("auto", voxels=LONG).name == "cpu"
    assert caplog.messages == ["Using the CPU: there is no NVIDIA driver on this machine"]


def test_without_a_gpu_cuda_fails_with_the_reason(no_gpu: None) -> None:
    with pytest.raises(BackendUnavailable, match=r"device=cuda:0: there is no NVIDIA driver.*device=cpu works"):
        open_backend("cuda:0")
    with pytest.raises(BackendUnavailable, match=r"forest=nvforest: there is no NVIDIA driver"):
        open_backend("auto", "nvforest")


@pytest.mark.parametrize(
    ("call", "message"),
    [(lambda: open_backend("gpu"), "no device 'gpu'"), (lambda: open_backend("cpu", "fast"), "no forest 'fast'")],
)
def test_other_words(call: Callable[[], object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()
