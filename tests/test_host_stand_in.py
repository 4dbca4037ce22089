"""Tests of the stand-in: it runs kernels like a GPU and detects errors that would fail on one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from support.cuda_host.host_device import HostArray, HostDevice

from pixelforest.kernels.contract import DeviceFailed, DeviceOutOfMemory
from pixelforest.kernels.cuda.launch import read_source

SOURCE = """
extern "C" __global__ void __launch_bounds__(64) add(const float* __restrict__ a, float* b, int n, float c) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) b[i] = __fmaf_rn(a[i], c, b[i]);
}
extern "C" __global__ void reverse_blocks(const int* values, int* out) {
    DYNAMIC_SHARED(int, line);
    const int i = threadIdx.x, n = blockDim.x;
    line[i] = values[blockIdx.x * n + i];
    __syncthreads();
    out[blockIdx.x * n + i] = line[n - 1 - i];
}
extern "C" __global__ void exchange(const int* values, int* out, unsigned* votes) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    int v = values[i];
    for (int step = 16; step; step >>= 1) v += __shfl_xor_sync(0xffffffffu, v, step);
    out[i] = v * 1000 + __shfl_sync(0xffffffffu, values[i], 3) + 10 * __shfl_up_sync(0xffffffffu, values[i], 1);
    votes[i] = __ballot_sync(0xffffffffu, values[i] & 1);
}
extern "C" __global__ void some_leave(int* out) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x & 31;
    if (warp == 1) return;
    int found = 0;
    if (lane < 12) found = __popc(__ballot_sync(0xfffu, lane > 9));
    else found = 100 + __popc(__ballot_sync(0xfffff000u, lane >= 12));
    for (int k = 0; k < warp; k++) __syncwarp();
    __syncthreads();
    out[threadIdx.x] = found;
}
extern "C" __global__ void atomics(int* a, unsigned long long* b, float* c, double* d, unsigned* e) {
    atomicAdd(a, 2);
    atomicMin(b, (unsigned long long)threadIdx.x + (1ull << 40));
    atomicAdd(b + 1, 1ull << 33);
    atomicAdd(c, 0.5f);
    atomicAdd(d, 0.25);
    atomicOr(e, 1u << threadIdx.x % 32);
}
extern "C" __global__ void half_barrier(int* out) {
    __shared__ int seen;
    if (threadIdx.x < 16) __syncthreads();
    else __syncwarp(0xffffffffu);
    out[threadIdx.x] = seen;
}
extern "C" __global__ void lane_of_nobody(int* out) {
    if (threadIdx.x < 8) out[threadIdx.x] = __shfl_sync(0xffu, (int)threadIdx.x, 9);
}
extern "C" __global__ void overrun(float* out, long long n) { out[n] = 1; }
extern "C" __global__ void reads_outside(const float* in, float* out, long long n) { out[threadIdx.x] = in[n]; }
extern "C" __global__ void shared_overrun(int* out) {
    DYNAMIC_SHARED(int, line);
    line[blockDim.x] = 1;
    out[0] = line[blockDim.x];
}
#define COPY(NAME, T) extern "C" __global__ void NAME(const T* from, T* to) { to[threadIdx.x] = from[threadIdx.x]; }
COPY(copy_bytes, unsigned char)
COPY(copy_pairs, float2)
extern "C" __global__ void bits(const int* values, int* out) {
    const int v = values[threadIdx.x];
    const int kept = __float_as_int(__int_as_float(v)) == v;
    out[threadIdx.x] = __popc(v) + 100 * __ffs(v) + 10000 * __clz(v) + 1000000 * kept;
}
"""

Launch = Callable[..., None]


@pytest.fixture(scope="module")
def device() -> HostDevice:
    return HostDevice()


@pytest.fixture(scope="module")
def module(device: HostDevice):
    return device.load(device.compile(read_source("arithmetic.cuh") + SOURCE, "shim.cu", ()))


def arrays(device: HostDevice, *values: np.ndarray) -> Sequence[HostArray]:
    return [device.upload(each) for each in values]


@pytest.mark.slow
def test_threads_of_a_kernel_without_barriers(device: HostDevice, module) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 1000)).astype(np.float32)
    first, second = arrays(device, a, b)
    module.kernel("add")((16, 1, 1), (64, 1, 1), [first, second, np.int32(999), np.float32(0.3)])
    expected = (a.astype(np.float64) * np.float64(np.float32(0.3)) + b).astype(np.float32)
    expected[999] = b[999]
    np.testing.assert_array_equal(device.download(second), expected)


def test_barriers_and_dynamic_shared_memory(device: HostDevice, module) -> None:
    values = np.arange(5 * 96, dtype=np.int32)
    source, out = arrays(device, values, np.zeros_like(values))
    module.kernel("reverse_blocks")((5, 1, 1), (96, 1, 1), [source, out], shared_bytes=96 * 4)
    np.testing.assert_array_equal(device.download(out), values.reshape(5, 96)[:, ::-1].ravel())


def test_lanes_exchange_inside_their_warp(device: HostDevice, module) -> None:
    values = np.random.default_rng(1).integers(0, 9, 192).astype(np.int32)
    source, out, votes = arrays(device, values, np.zeros_like(values), np.zeros(192, np.uint32))
    module.kernel("exchange")((2, 1, 1), (96, 1, 1), [source, out, votes])
    warps = values.reshape(-1, 32)
    up = np.concatenate([warps[:, :1], warps[:, :-1]], axis=1)
    expected = warps.sum(axis=1)[:, None] * 1000 + warps[:, 3:4] + 10 * up
    np.testing.assert_array_equal(device.download(out), expected.ravel())
    powers = 1 << np.arange(32, dtype=np.uint64)
    odd = ((warps & 1) * powers).sum(axis=1)
    np.testing.assert_array_equal(device.download(votes), np.repeat(odd, 32))


def test_threads_that_left_hold_nobody_up(device: HostDevice, module) -> None:
    (out,) = arrays(device, np.full(128, -1, np.int32))
    module.kernel("some_leave")((1, 1, 1), (128, 1, 1), [out])
    found = device.download(out).reshape(4, 32)
    np.testing.assert_array_equal(found[1], -1)
    for warp in (0, 2, 3):
        np.testing.assert_array_equal(found[warp], [2] * 12 + [120] * 20)


def test_atomic_operations_add_up(device: HostDevice, module) -> None:
    a, b, c, d, e = arrays(
        device,
        np.zeros(1, np.int32),
        np.array([2**50, 0], np.uint64),
        np.zeros(1, np.float32),
        np.zeros(1),
        np.zeros(1, np.uint32),
    )
    module.kernel("atomics")((2, 1, 1), (48, 1, 1), [a, b, c, d, e])
    assert device.download(a).tolist() == [192]
    assert device.download(b).tolist() == [2**40, 96 << 33]
    assert (device.download(c)[0], device.download(d)[0]) == (48.0, 24.0)
    assert device.download(e).tolist() == [2**32 - 1]


def test_bit_functions_count_as_on_a_gpu(device: HostDevice, module) -> None:
    values = np.array([0, 1, 2, -1, 1 << 20], np.int32)
    source, out = arrays(device, values, values)
    module.kernel("bits")((1, 1, 1), (5, 1, 1), [source, out])
    assert device.download(out).tolist() == [1320000, 1310101, 1300201, 1000132, 1112101]


def test_kernels_made_by_macros(device: HostDevice, module) -> None:
    for name, dtype in (("copy_bytes", np.uint8), ("copy_pairs", np.float64)):
        source, out = arrays(device, np.arange(7, dtype=dtype), np.zeros(7, dtype))
        module.kernel(name)((1, 1, 1), (7, 1, 1), [source, out])
        assert device.download(out).tolist() == list(range(7))


@pytest.mark.parametrize(
    ("kernel", "threads", "dtypes", "message"),
    [
        ("half_barrier", 32, ["int32"], "waits for ever: of 32 threads 0 have left, 16 wait for the block, 16 for"),
        ("lane_of_nobody", 32, ["int32"], "reads from lane 9, which takes no part"),
        ("shared_overrun", 8, ["int32"], "writes behind its shared memory"),
        ("add", 65, ["float32", "float32"], "larger than the kernel's launch bounds of 64"),
        ("overrun", 1, ["float32"], "writes 4 bytes at 256 of an array of 256 bytes"),
        ("reads_outside", 40, ["float32", "float32"], "reads 4 bytes outside of all arrays"),
        ("add", 1025, ["float32", "float32"], "cannot be started with blocks"),
        ("add", 1, ["float64", "float32"], "argument 0 is float64 for const float*"),
        ("add", 1, ["float32"], "takes 4 arguments, not 3"),
    ],
)
def test_what_no_gpu_forgives(
    device: HostDevice, module, kernel: str, threads: int, dtypes: Sequence[str], message: str
) -> None:
    scalars = {"add": [np.int32(0), np.float32(0)], "overrun": [np.int64(64)], "reads_outside": [np.int64(1 << 22)]}
    given = [device.zeros((64,), dtype) for dtype in dtypes]
    with pytest.raises(DeviceFailed) as caught:
        module.kernel(kernel)((1, 1, 1), (threads, 1, 1), [*given, *scalars.get(kernel, [])], shared_bytes=4 * threads)
    assert message in str(caught.value)
    test_barriers_and_dynamic_shared_memory(device, module)  # the library still works


def test_a_scalar_of_another_type_is_refused(device: HostDevice, module) -> None:
    a = device.zeros((4,), np.float32)
    with pytest.raises(DeviceFailed, match="argument 2 is int64 for int"):
        module.kernel("add")((1, 1, 1), (4, 1, 1), [a, a, np.int64(4), np.float32(0)])
    with pytest.raises(DeviceFailed, match="there is no kernel 'subtract'"):
        module.kernel("subtract")


def test_source_that_does_not_compile(device: HostDevice) -> None:
    with pytest.raises(DeviceFailed, match=r"wrong\.cu does not compile"):
        device.compile('extern "C" __global__ void f(int* a) { a = b; }', "wrong.cu", ())


def test_memory_is_counted(device: HostDevice) -> None:
    small = HostDevice(total_bytes=1000)
    first = small.empty((100,), np.float32)
    part = first.view(10, (5, 2), np.int32)
    with pytest.raises(DeviceOutOfMemory, match="has 600 bytes left, not 604"):
        small.zeros((151,), np.float32)
    del first
    assert small.free_bytes() == 600
    del part
    assert small.free_bytes() == 1000
    with pytest.raises(ValueError, match="do not fit"):
        small.empty((4,), np.int32).view(2, (3,))


def test_threads_of_the_host_share_a_library(device: HostDevice, module) -> None:
    failed = []

    def run() -> None:
        try:
            for _ in range(20):
                test_barriers_and_dynamic_shared_memory(device, module)
        except BaseException as error:
            failed.append(error)

    workers = [threading.Thread(target=run) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failed
