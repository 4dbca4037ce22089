"""``pixelforest doctor``: what it says and its exit status."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.cuda_host.host_device import HostDevice

from pixelforest import cli
from pixelforest.engine import backends
from pixelforest.engine.run import doctor
from pixelforest.engine.run.doctor import examine
from pixelforest.kernels import load
from pixelforest.kernels.contract import Backend, DeviceFailed, DeviceUnavailable
from pixelforest.kernels.cuda.backend import compose_backend
from pixelforest.kernels.shared.self_test import SELF_TESTS, SelfTest, count_differences, digest

SMALL = replace(SELF_TESTS[1], name="small", image=(1, 36, 40))


@pytest.fixture(autouse=True)
def _one_small_test(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = digest(SMALL.run(load("cpu")))
    monkeypatch.setattr(doctor, "SELF_TESTS", (replace(SMALL, recorded=recorded),))


def give(monkeypatch: pytest.MonkeyPatch, backend: Backend | Exception) -> None:
    """Let the CUDA backend be this one, or fail to open."""

    def open_it(name: str, **options: object) -> Backend:
        if name == "cpu":
            return load("cpu")
        if isinstance(backend, Exception):
            raise backend
        return backend

    monkeypatch.setattr(backends.kernels, "load", open_it)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("test", SELF_TESTS, ids=[test.name for test in SELF_TESTS])
def test_the_cpu_has_the_recorded_bits(test: SelfTest) -> None:
    assert digest(test.run(load("cpu"))) == test.recorded


def test_without_a_gpu_all_is_well(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    give(monkeypatch, DeviceUnavailable("there is no NVIDIA driver"))
    assert cli.main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "self-test small: the recorded bits" in said.replace("small:  ", "small: ")
    assert "self-test:       not done: --device=cuda: there is no NVIDIA driver" in said
    for name in ("threads:", "memory to plan with:", "compiler:", "kernels kept in:", "driver and CuPy:", "nvForest:"):
        assert name in said
    assert "!!" not in said


def test_a_gpu_that_was_asked_for_must_be_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    give(monkeypatch, DeviceUnavailable("there is no NVIDIA driver"))
    assert cli.main(["doctor", "--device=cuda:0"]) == 1
    captured = capsys.readouterr()
    assert "!!self-test:       not done: --device=cuda:0: there is no NVIDIA driver" in captured.out
    assert captured.err == "pixelforest: error: a test failed; see the lines marked with !!\n"


def test_a_gpu_with_the_cpus_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, compose_backend([HostDevice()]))
    health = examine()
    assert health.status == 0
    assert "the CPU's bits" in health.parts["cuda"][-1].text


def test_wrong_bits_are_a_fault(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    give(monkeypatch, DeviceUnavailable("no"))
    monkeypatch.setattr(doctor, "SELF_TESTS", (replace(SMALL, recorded="0123456789abcdef"),))
    assert cli.main(["doctor", "--device=cpu"]) == 1
    assert "!!self-test small: bits differ from those recorded" in capsys.readouterr().out


def test_wrong_bits_of_a_gpu_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = compose_backend([HostDevice()])
    made = SMALL.run(backend)
    made[0].values[0, 0, 0, 0] += 1
    made[1].values[0, 0, :3] += 1
    monkeypatch.setattr(backend.pixels, "tile_results", lambda *arguments: made)
    give(monkeypatch, backend)
    health = examine("cuda")
    assert health.status == 1
    assert health.parts["cuda"][-1].text.startswith("4 values have other bits than the CPU's")
    assert count_differences(made, made) == 0


def test_a_gpu_that_fails_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = compose_backend([HostDevice()])

    def fail(*arguments: object) -> None:
        raise DeviceFailed("an illegal address was met")

    monkeypatch.setattr(backend.pixels, "tile_results", fail)
    give(monkeypatch, backend)
    health = examine("cuda")
    assert (health.status, health.parts["cuda"][-1].text) == (1, "failed: an illegal address was met")


def test_warming_up_is_asked_of_backends_that_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    warmed = []
    cpu, gpu = load("cpu"), compose_backend([HostDevice()])
    monkeypatch.setattr(Backend, "warm", lambda self: warmed.append(self.name))
    monkeypatch.setattr(backends.kernels, "load", lambda name, **options: cpu if name == "cpu" else gpu)
    health = examine(warm=True)
    assert warmed == ["cuda"]
    assert health.parts["cuda"][-2].text.startswith("compiled and kept")


def test_architectures_are_warmed_without_a_gpu(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    give(monkeypatch, DeviceUnavailable("there is no NVIDIA driver"))
    monkeypatch.setattr(Backend, "warm", lambda self: None)
    asked = []

    def warm(name: str, *, architectures: tuple[str, ...]) -> int:
        if architectures == ("sm_10",):
            raise DeviceUnavailable("NVRTC does not compile for sm_10")
        asked.append((name, *architectures))
        return 38

    monkeypatch.setattr(backends.kernels, "warm", warm)
    assert cli.main(["doctor", "--warm", "--architectures=sm_80,sm_90,sm_80"]) == 0
    assert asked == [("cuda", "sm_80"), ("cuda", "sm_90")]
    assert "38 files compiled and kept" in capsys.readouterr().out
    assert cli.main(["doctor", "--warm", "--architectures=sm_10"]) == 1
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("!!"))
    assert "nothing can be compiled for sm_10: NVRTC does not compile for sm_10" in line


@pytest.mark.parametrize(
    "argv",
    [
        ["doctor", "image.png"], ["doctor", "--threads=2"], ["--warm", "a.png"], ["--architectures=sm_80", "a.png"],
        ["doctor", "--architectures=sm_80"], ["doctor", "--warm", "--architectures=80"],
    ],
)  # fmt: skip
def test_what_does_not_go_with_it(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(argv) == 2
    error = capsys.readouterr().err
    assert "doctor" in error or "such as sm_80,sm_90" in error
