"""CuPy device with a fake CuPy that runs kernels on the host; and the names it uses in the real CuPy."""

from __future__ import annotations

import gc
import importlib
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from support.cuda_host.build import SHIM_NUMBER
from support.cuda_host.fake_cupy import Machine, make_cupy
from support.cuda_host.jobs import REGIONS, assert_cpu_bytes, expected, limit_tiles
from support.tile_jobs import assert_same_part, classify

from pixelforest import kernels
from pixelforest.box import Box
from pixelforest.kernels.contract import DeviceFailed, DeviceOutOfMemory, DeviceUnavailable
from pixelforest.kernels.cuda import backend as cuda_backend
from pixelforest.kernels.cuda import survey
from pixelforest.kernels.cuda.backend import compose_backend
from pixelforest.kernels.cuda.launch import FOLDER, KernelFile
from pixelforest.kernels.shared import cache

MODULE = "pixelforest.kernels.cuda.cupy_device"
SCALE = 'extern "C" __global__ void scale(float* x, int n, float by) {\n'
SCALE += "    const int i = blockIdx.x * blockDim.x + threadIdx.x;\n    if (i < n) x[i] *= by;\n}\n"

Load = Callable[..., tuple[Any, Machine]]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Import the module on a fake machine. Returns both."""

    def make(**machine: int) -> tuple[ModuleType, Machine]:
        made = Machine(**machine)
        for name, module in make_cupy(made).items():
            monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.delitem(sys.modules, MODULE, raising=False)
        return importlib.import_module(MODULE), made

    yield make
    sys.modules.pop(MODULE, None)


def test_without_cupy_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    with pytest.raises(DeviceUnavailable, match=r"CuPy cannot be imported.*pixelforest\[cuda13\].*\[cuda12\]"):
        importlib.import_module(MODULE)
    sys.modules.pop(MODULE, None)


@pytest.mark.parametrize(
    ("machine", "message"),
    [
        ({"driver": 0}, "there is no NVIDIA driver"),
        ({"driver": 12080}, r"driver is too old \(driver for CUDA 12.8, CuPy 14.2.0 for CUDA 13.2\)"),
        ({"count": 0}, "shows no GPU; CUDA_VISIBLE_DEVICES"),
    ],
)
def test_machines_without_a_gpu(load: Load, machine: dict[str, int], message: str) -> None:
    module, _ = load(**machine)
    with pytest.raises(DeviceUnavailable, match=message):
        module.open_devices()


def test_devices_are_opened_by_number(load: Load) -> None:
    module, _ = load(count=3)
    assert [device.index for device in module.open_devices()] == [0, 1, 2]
    assert [device.index for device in module.open_devices((2, 0, 0))] == [2, 0, 0]
    with pytest.raises(DeviceUnavailable, match="there is no CUDA device 3; there are 0 to 2"):
        module.open_devices((3,))
    (device,) = module.open_devices((1,))
    assert (device.name, device.architecture, device.compiler) == ("made-up GPU", "sm_90", f"NVRTC 13.{SHIM_NUMBER}")
    assert (device.multiprocessors, device.total_bytes, device.free_bytes()) == (2, 1 << 30, 1 << 30)
    assert device.threads_per_multiprocessor == 1536
    assert device.shared_bytes_per_block == 99 << 10
    assert module.open_devices((1,)) == (device,), "a later run uses the same memory and kernels"


def test_a_device_that_cannot_be_used_leaves_the_others(load: Load, caplog: pytest.LogCaptureFixture) -> None:
    module, machine = load(count=3)
    machine.busy = {1}
    assert [device.index for device in module.open_devices()] == [0, 2]
    assert caplog.messages == ["CUDA device 1 cannot be used: error 46; the run uses the others"]
    assert dict(survey._devices())["GPU 1"] == "CUDA device 1 cannot be used: error 46"
    assert dict(survey._devices())["GPU 2"].startswith("made-up GPU, sm_90, 2 multiprocessors, 1.0 of 1.0 GiB free")
    with pytest.raises(DeviceUnavailable, match="CUDA device 1 cannot be used: error 46"):
        module.open_devices((0, 1))
    machine.busy = set()
    assert [device.index for device in module.open_devices()] == [0, 1, 2]


def test_devices_of_which_none_can_be_used(load: Load) -> None:
    module, machine = load(count=2)
    machine.busy = {0, 1}
    with pytest.raises(DeviceUnavailable, match="CUDA device 0 cannot be used: error 46; CUDA device 1 cannot be used"):
        module.open_devices()


def test_modules_are_not_unloaded_in_the_context_of_another_device(load: Load) -> None:
    """CuPy unloads a module when its last reference goes, whatever device is current then: at exit, any."""
    module, machine = load(count=2)
    (device,) = module.open_devices((1,))
    binary = device.load(device.compile(SCALE, "scale.cu", ()))
    binary.kernel("scale")
    del device, binary
    module._open_once.cache_clear()
    gc.collect()
    assert machine.unloaded == []


def test_a_device_that_was_not_asked_for_is_not_touched(load: Load) -> None:
    """A context takes some hundred MB, and GPU 0 may be another process's alone."""
    module, machine = load(count=3)
    (device,) = module.open_devices((2,))

    def use() -> None:
        device.synchronize()
        with device.timer():
            device.download(device.upload(np.zeros(10, np.float32)))

    for work in (device.synchronize, device.free_bytes, use):
        thread = threading.Thread(target=work)  # whose current device is 0
        thread.start()
        thread.join()
    assert machine.contexts == {2}


def test_a_thread_waits_for_one_device_after_the_other(load: Load) -> None:
    module, _ = load(count=2)
    first, second = module.open_devices()
    for device in (first, second, first):
        device.free_bytes()
        other = second if device is first else first
        other.synchronize()
        with device.timer() as timer:
            pass
        assert timer.milliseconds == 1.5


@pytest.mark.parametrize(("capability", "compiled"), [(89, 86), (121, 120), (103, 100)])
def test_newer_devices_take_binaries_of_older_ones(load: Load, capability: int, compiled: int) -> None:
    module, _ = load()
    assert module._architecture("a GPU", capability) == f"sm_{compiled}"


@pytest.mark.parametrize("capability", [70, 130])
def test_devices_the_compiler_does_not_know(load: Load, capability: int) -> None:
    module, _ = load()
    with pytest.raises(DeviceUnavailable, match=rf"NVRTC 13.\d+ does not compile for a GPU \(sm_{capability}\)"):
        module._architecture("a GPU", capability)


def test_arrays_go_there_and_back(load: Load) -> None:
    module, machine = load()
    (device,) = module.open_devices()
    for array in (np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.zeros((0, 3), np.float32), np.array([True])):
        there = device.upload(array)
        assert (there.shape, there.dtype, there.nbytes) == (array.shape, array.dtype, array.nbytes)
        back = device.download(there)
        assert back.dtype == array.dtype
        assert np.array_equal(back, array)
    assert not device.download(device.zeros((5,), np.float64)).any()
    part = device.upload(np.arange(10, dtype=np.float32)).view(4, (2, 2))
    assert device.download(part).tolist() == [[4, 5], [6, 7]]
    assert device.download(part.view(0, (16,), np.uint8)).view(np.float32).tolist() == [4, 5, 6, 7]
    with pytest.raises(ValueError, match="do not fit"):
        part.view(3, (2,))
    assert part.__cuda_array_interface__["data"][0] == part.memory.ptr
    del there, part
    assert machine.used[0] == 0


def test_what_is_uploaded_may_change_at_once(load: Load) -> None:
    """The copy is under way when the call returns; its pinned memory is not used again too early."""
    module, _ = load()
    (device,) = module.open_devices()
    array = np.zeros(1000, np.float32)
    copies = []
    for i in range(20):
        array[:] = i
        copies.append(device.upload(array))
    assert [float(device.download(copy)[500]) for copy in copies] == [float(i) for i in range(20)]


def test_pinned_memory_is_used_again(load: Load) -> None:
    module, machine = load()
    (device,) = module.open_devices()
    for count in range(300_000, 340_000, 1000):
        device.download(device.upload(np.zeros(count, np.uint8)))
    assert sum(machine.pinned) <= 4 * 340_000 * 9 // 8
    result = device.download(device.upload(np.arange(1000)))
    device.download(device.upload(np.zeros(1000, int)))
    assert np.array_equal(result, np.arange(1000)), "the memory of a result belongs to it"


def test_pinned_memory_that_is_short_is_named(load: Load) -> None:
    module, machine = load()
    machine.pinned_limit = 1 << 20
    (device,) = module.open_devices()
    there = device.upload(np.ones(1 << 19, np.uint8))
    assert device.download(there).all()
    with pytest.raises(DeviceOutOfMemory, match="no room for 1048577 bytes of pinned host memory, which a copy needs"):
        device.upload(np.ones((1 << 20) + 1, np.uint8))
    assert device.download(device.upload(np.ones(1 << 18, np.uint8))).all()


def test_kernels_and_time(load: Load) -> None:
    module, machine = load()
    (device,) = module.open_devices()
    kernel = device.load(device.compile(SCALE, "scale.cu", ())).kernel("scale")
    there = device.upload(np.ones(100, np.float32))
    with device.timer() as timer:
        kernel((1, 1, 1), (128, 1, 1), (there, np.int32(100), np.float32(3)))
    assert timer.milliseconds == 1.5
    assert (device.download(there) == 3).all()
    for shared_bytes in (1000, 60_000, 50_000, 70_000):
        kernel((1, 1, 1), (128, 1, 1), (there, np.int32(100), np.float32(3)), shared_bytes=shared_bytes)
    assert machine.shared_bytes == [60_000, 70_000]
    with pytest.raises(DeviceFailed, match="there is no kernel 'scales'"):
        device.load(device.compile(SCALE, "scale.cu", ())).kernel("scales")
    with pytest.raises(DeviceFailed, match=r"scale.cu does not compile for sm_90"):
        device.compile(SCALE + "}", "scale.cu", ())


def test_what_a_thread_allows_a_kernel_no_other_takes_away(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shared memory of a block: two threads find that it is not enough, the one that needs less comes last."""
    module, machine = load()
    (device,) = module.open_devices()
    binary = device.load(device.compile(SCALE, "scale.cu", ()))
    assert binary.kernel("scale") is binary.kernel("scale")
    kernel, more_is_set = binary.kernel("scale"), threading.Event()
    set_attribute = module.driver.funcSetAttribute
    there = device.upload(np.ones(1, np.float32))

    def start(shared_bytes: int) -> None:
        kernel((1, 1, 1), (32, 1, 1), (there, np.int32(1), np.float32(1)), shared_bytes=shared_bytes)

    def set_late(*arguments: int) -> None:
        """The first one; while it is at work the other thread comes to the same point."""
        other.start()
        more_is_set.wait(0.2)
        set_attribute(*arguments)

    other = threading.Thread(target=start, args=(60_000,))
    monkeypatch.setattr(module.driver, "funcSetAttribute", set_late)
    start(90_000)
    monkeypatch.setattr(module.driver, "funcSetAttribute", set_attribute)
    other.join()
    assert machine.shared_bytes == [90_000]
    start(90_000)
    device.synchronize()


def test_errors_are_those_of_the_contract(load: Load) -> None:
    module, machine = load(memory=1000)
    (device,) = module.open_devices()
    with pytest.raises(DeviceOutOfMemory, match="made-up GPU has no room for 1001 bytes"):
        device.empty((1001,), np.uint8)
    there = device.empty((10,), np.uint8)
    machine.fails = 700
    with pytest.raises(DeviceFailed, match="the device failed: error 700"):
        device.download(there)


def test_each_thread_has_a_stream_on_each_device(load: Load) -> None:
    module, _ = load(count=2)
    devices = module.open_devices()
    seen = {}

    def work(number: int) -> None:
        for device in devices:
            array = device.upload(np.full(10, number, np.float32))
            seen[number, device.index] = (device.stream(), float(device.download(array)[0]))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(stream) for stream, _ in seen.values()}) == 6
    assert all(value == number for (number, _), (_, value) in seen.items())
    assert all(stream.device_id == index for (_, index), (stream, _) in seen.items())


@pytest.mark.parametrize("kind", list(REGIONS))
def test_a_whole_job(kind: str, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies and kernels that wait in their streams, on two devices and several threads."""
    limit_tiles(monkeypatch)
    module, _ = load(count=2)
    backend = compose_backend(module.open_devices((0, 1, 1)))
    assert_cpu_bytes(kind, backend, masked=True, threads=4)
    assert backend.describe() == "cuda:0,1,1 (made-up GPU)"


def test_a_fault_in_the_middle_of_a_job(load: Load, caplog: pytest.LogCaptureFixture) -> None:
    module, machine = load()
    machine.fails = 700
    found = classify("flat", compose_backend(module.open_devices(), falls_back=True), region=REGIONS["flat"])
    assert_same_part(found, expected("flat"), Box((0, 0, 0, 0), REGIONS["flat"].shape))
    assert "the CPU goes on" in caplog.text


def test_the_real_cupy_has_what_the_made_up_one_has() -> None:
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    for name, module in make_cupy(Machine()).items():
        real = importlib.import_module(name) if name in ("cupy", "cupy.cuda") else cupy
        for part in name.split(".")[1:] if real is cupy else []:
            real = getattr(real, part)
        missing = {each for each in vars(module) if not each.startswith("__")} - set(dir(real))
        assert not missing, name
    for kind, names in {
        cupy.cuda.Stream: ("use", "synchronize"),
        cupy.cuda.Event: ("record", "synchronize", "done"),
        cupy.cuda.Module: ("load", "get_function"),
        cupy.cuda.MemoryPool: ("malloc", "free_bytes"),
        cupy.cuda.MemoryPointer: ("ptr", "__add__"),
        cupy.cuda.Function: ("ptr",),
    }.items():
        assert set(names) <= set(dir(kind)), kind


def test_kernels_are_compiled_for_devices_that_are_not_here(
    load: Load, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As for an image: the machine that makes it has no GPU. A run on such a device compiles nothing then."""
    monkeypatch.setattr(cache, "folders", lambda: iter([tmp_path]))
    module, _ = load(driver=0)
    monkeypatch.setattr(cuda_backend, "common_kernels", lambda: [(KernelFile("filters.cu"), ())])
    assert kernels.warm("cuda", architectures=("sm_90", "sm_80")) == 1
    assert {path.parent.name for path in tmp_path.rglob("filters-*")} == {"sm_80", "sm_90"}
    with pytest.raises(DeviceUnavailable, match=r"does not compile for sm_70; it knows sm_75, sm_80, sm_86, sm_90"):
        kernels.warm("cuda", architectures=("sm_86", "sm_70"))
    assert not (tmp_path / "sm_86").exists()
    with pytest.raises(DeviceUnavailable, match="there is no NVIDIA driver"):
        kernels.warm("cuda")
    module, _ = load()
    (device,) = module.open_devices()
    monkeypatch.setattr(module, "_compile", None)
    KernelFile("filters.cu").module(device)


def test_every_common_kernel_is_there_once() -> None:
    found = cuda_backend.common_kernels()
    assert len(set(found)) == len(found)
    assert {file.name for file, _ in found} == {path.name for path in FOLDER.glob("*.cu")} - {"nvforest.cu"}
