"""The interpreter of PTX itself: errors that it must find, arithmetic that is PTX's and not x86's, and its counts."""

from __future__ import annotations

import numpy as np
import pytest
from support.cuda_host import interpreter
from support.cuda_host.host_device import HostArray
from support.cuda_host.interpreter import CLASSES, Counts, Program, find_missing
from support.cuda_host.nvrtc import compile_source
from support.cuda_host.ptx_device import PtxDevice, PtxModule

from pixelforest.kernels.contract import DeviceFailed
from pixelforest.kernels.cuda.launch import OPTIONS

SOURCE = r"""
extern "C" __global__ void no_barrier(int* out) {
    __shared__ int line[64];
    line[threadIdx.x] = threadIdx.x;
    out[threadIdx.x] = line[63 - threadIdx.x];
}
extern "C" __global__ void with_barrier(int* out) {
    __shared__ int line[64];
    line[threadIdx.x] = threadIdx.x;
    __syncthreads();
    out[threadIdx.x] = line[63 - threadIdx.x];
}
extern "C" __global__ void no_warp_barrier(int* out) {
    __shared__ int line[64];
    line[threadIdx.x] = threadIdx.x;
    out[threadIdx.x] = line[threadIdx.x ^ 1];
}
extern "C" __global__ void with_warp_barrier(int* out) {
    __shared__ int line[64];
    line[threadIdx.x] = threadIdx.x;
    __syncwarp();
    out[threadIdx.x] = line[threadIdx.x ^ 1];
}
extern "C" __global__ void shuffle_is_no_barrier(int* out) {
    __shared__ int line[64];
    line[threadIdx.x] = threadIdx.x;
    const int other = __shfl_xor_sync(0xffffffffu, (int)threadIdx.x, 1);
    out[threadIdx.x] = line[other];
}
extern "C" __global__ void write_after_read(int* out) {
    __shared__ int line[64];
    line[threadIdx.x] = threadIdx.x;
    __syncthreads();
    const int v = line[(threadIdx.x + 33) % 64];
    line[threadIdx.x] = v;
    out[threadIdx.x] = v;
}
extern "C" __global__ void write_after_reads_of_a_warp(int* out) {
    __shared__ int sum;
    if (threadIdx.x == 0) sum = 5;
    __syncthreads();
    const int v = sum;
    if (threadIdx.x == 31) sum = 6;
    out[threadIdx.x] = v;
}
extern "C" __global__ void atomic_then_plain(int* out) {
    __shared__ int sum;
    if (threadIdx.x == 0) sum = 0;
    __syncthreads();
    atomicAdd(&sum, 1);
    out[threadIdx.x] = sum;
}
extern "C" __global__ void atomics(int* out) {
    __shared__ int sum;
    if (threadIdx.x == 0) sum = 0;
    __syncthreads();
    atomicAdd(&sum, 1);
    __syncthreads();
    atomicMax(out + threadIdx.x % 2, sum);
}
extern "C" __global__ void half_barrier(int* out) {
    if (threadIdx.x % 32 < 16) __syncthreads();
    else __syncthreads();
    out[threadIdx.x] = 1;
}
extern "C" __global__ void lonely_barrier(int* out) {
    if (threadIdx.x < 16) { __syncwarp(); out[threadIdx.x] = 1; }
    else { __syncthreads(); out[threadIdx.x] = 2; }
}
extern "C" __global__ void lane_of_nobody(int* out) {
    if (threadIdx.x < 8) out[threadIdx.x] = __shfl_sync(0xffu, (int)threadIdx.x, 9);
    else out[threadIdx.x] = 0;
}
extern "C" __global__ void branches_on_unwritten(int* out) {
    __shared__ int line[64];
    if (out[0] == 12345) line[threadIdx.x] = 1;
    if (line[threadIdx.x] > 5) out[threadIdx.x] = 3;
    else atomicAdd(out + 1, 7);
}
extern "C" __global__ void indexes_by_unwritten(int* out) {
    __shared__ int line[64];
    if (out[0] == 12345) line[threadIdx.x] = 1;
    out[line[threadIdx.x] & 63] = 3;
}
extern "C" __global__ void blocks_write(int* out) { out[threadIdx.x] = blockIdx.x; }
extern "C" __global__ void blocks_read_and_write(int* out) {
    const int v = out[0];
    out[1 + threadIdx.x + blockIdx.x * blockDim.x] = v;
    if (blockIdx.x == 1 && threadIdx.x == 5) out[0] = 1;
}
extern "C" __global__ void part_of_a_pair(float2* out) {
    if (threadIdx.x == 0) out[0] = make_float2(1, 2);
    else reinterpret_cast<float*>(out)[1] = 3;
}
extern "C" __global__ void not_aligned(const float* in, int* out) {
    const float4 v = *reinterpret_cast<const float4*>(in + 1 + 4 * threadIdx.x);
    out[threadIdx.x] = (int)(v.x + v.w);
}
extern "C" __global__ void shared_overrun(int* out) {
    __shared__ int line[64];
    line[threadIdx.x + (out[0] == 77)] = 1;
    __syncthreads();
    out[threadIdx.x] = line[threadIdx.x];
}
extern "C" __global__ void reads_behind(const int* in, int* out) { out[threadIdx.x] = in[threadIdx.x + 1]; }
extern "C" __global__ void reads_before(const int* in, int* out) { out[threadIdx.x] = in[(int)threadIdx.x - 1]; }
extern "C" __global__ void __launch_bounds__(32) bounded(int* out) { out[threadIdx.x] = 1; }
extern "C" __global__ void endless(int* out) { while (atomicAdd(out, 0) == 0) {} }
extern "C" __global__ void divides(const int* in, int* out) { out[threadIdx.x] = 7 / in[threadIdx.x]; }
extern "C" __global__ void convert(const float* in, int* out, unsigned* more, long long* wide) {
    out[threadIdx.x] = (int)in[threadIdx.x];
    more[threadIdx.x] = (unsigned)in[threadIdx.x];
    wide[threadIdx.x] = (long long)in[threadIdx.x];
}
extern "C" __global__ void shifts(const unsigned* in, unsigned* out, int* more) {
    out[threadIdx.x] = 0x80000001u << in[threadIdx.x];
    more[threadIdx.x] = (int)0x80000000 >> in[threadIdx.x];
}
extern "C" __global__ void zeros(const float* in, float* out) {
    out[threadIdx.x] = fminf(in[threadIdx.x], in[threadIdx.x + 4]);
    out[threadIdx.x + 4] = fmaxf(in[threadIdx.x], in[threadIdx.x + 4]);
}
extern "C" __global__ void exchange(const int* in, int* out) {
    const int v = in[threadIdx.x];
    out[threadIdx.x] = __shfl_sync(0xffffffffu, v, 3) + 10 * __shfl_up_sync(0xffffffffu, v, 1)
        + 100 * __shfl_down_sync(0xffffffffu, v, 1, 8) + 1000 * __shfl_xor_sync(0xffffffffu, v, 5)
        + 10000 * __popc(__ballot_sync(0xffffffffu, v & 1));
}
extern "C" __global__ void strided(const float* in, float* out, int stride) {
    __shared__ float line[1024];
    line[threadIdx.x * stride] = in[threadIdx.x * stride];
    __syncwarp();
    out[threadIdx.x] = line[threadIdx.x * stride];
}
"""

MISSING = find_missing()
pytestmark = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))


@pytest.fixture(scope="module", params=[0, 1], ids=["in order", "at random"])
def device(request: pytest.FixtureRequest) -> PtxDevice:
    return PtxDevice(seed=request.param)


@pytest.fixture(scope="module")
def module(device: PtxDevice) -> PtxModule:
    return device.load(device.compile(SOURCE, "checks.cu", OPTIONS))


def run(module: PtxModule, kernel: str, *arguments: HostArray | np.generic, threads: int = 64, blocks: int = 1) -> None:
    module.kernel(kernel)((blocks, 1, 1), (threads, 1, 1), arguments)


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        ("no_barrier", "a race: .*another thread"),
        ("no_warp_barrier", "a race: .*another thread"),
        ("shuffle_is_no_barrier", "a race: reads what another thread wrote"),
        ("write_after_read", "a race: "),
        ("write_after_reads_of_a_warp", "a race: .*another thread"),
        ("atomic_then_plain", "a race: reads what another thread wrote"),
        ("part_of_a_pair", "a race: writes what another thread wrote"),
        ("branches_on_unwritten", "a branch on unwritten memory"),
        ("indexes_by_unwritten", "an address computed from unwritten memory"),
        ("half_barrier", "lanes of a warp are at different barriers"),
        ("lonely_barrier", "waits forever"),
        ("lane_of_nobody", "takes no part"),
        ("bounded", "larger than the kernel's launch bounds of 32"),
    ],
)
def test_errors_inside_a_block(device: PtxDevice, module: PtxModule, kernel: str, message: str) -> None:
    with pytest.raises(DeviceFailed, match=message):
        run(module, kernel, device.zeros((64,), np.int32))


@pytest.mark.parametrize("kernel", ["with_barrier", "with_warp_barrier", "atomics"])
def test_kernels_without_errors(device: PtxDevice, module: PtxModule, kernel: str) -> None:
    out = device.zeros((64,), np.int32)
    run(module, kernel, out)
    expected = {
        "with_barrier": np.arange(64)[::-1],
        "with_warp_barrier": np.arange(64) ^ 1,
        "atomics": [64, 64, *[0] * 62],
    }
    assert device.download(out).tolist() == list(expected[kernel])


@pytest.mark.parametrize(
    ("kernel", "what"), [("blocks_write", "writes what another"), ("blocks_read_and_write", "another thread")]
)
def test_blocks_race(device: PtxDevice, module: PtxModule, kernel: str, what: str) -> None:
    with pytest.raises(DeviceFailed, match=f"a race: .*{what}"):
        run(module, kernel, device.zeros((129,), np.int32), blocks=2)


@pytest.mark.parametrize("kernel", ["reads_behind", "reads_before"])
def test_reads_outside_arrays(device: PtxDevice, module: PtxModule, kernel: str) -> None:
    with pytest.raises(DeviceFailed, match=r"outside of all arrays \(byte -?\d+ of an array of 256\)"):
        run(module, kernel, device.zeros((64,), np.int32), device.zeros((64,), np.int32))


def test_addresses_that_are_not_aligned(device: PtxDevice, module: PtxModule) -> None:
    with pytest.raises(DeviceFailed, match="not aligned"):
        run(module, "not_aligned", device.zeros((64,), np.float32), device.zeros((64,), np.int32), threads=4)


def test_writes_behind_shared_memory(device: PtxDevice, module: PtxModule) -> None:
    with pytest.raises(DeviceFailed, match=r"outside of shared memory \(byte 256 of 256\)"):
        run(module, "shared_overrun", device.upload(np.full(64, 77, np.int32)))


def test_results_that_were_not_written(device: PtxDevice) -> None:
    with pytest.raises(DeviceFailed, match=r"16 of 16 bytes of .* are downloaded unwritten"):
        device.download(device.empty((4,), np.int32))


def test_kernels_that_do_not_end(device: PtxDevice, module: PtxModule, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpreter, "MAX_INSTRUCTIONS", 10_000)
    with pytest.raises(DeviceFailed, match="does not end"):
        run(module, "endless", device.zeros((1,), np.int32))


def test_arguments_of_another_size(device: PtxDevice, module: PtxModule) -> None:
    with pytest.raises(DeviceFailed, match="argument 0 has 4 bytes for 8"):
        run(module, "bounded", np.int32(1))
    with pytest.raises(DeviceFailed, match="there is no kernel 'other'"):
        module.kernel("other")


def test_conversions_saturate(device: PtxDevice, module: PtxModule) -> None:
    values = np.array([1e10, -1e10, np.nan, 3.9, -3.9, 1e20, -1e20, np.inf], np.float32)
    out, more, wide = device.zeros((8,), np.int32), device.zeros((8,), np.uint32), device.zeros((8,), np.int64)
    run(module, "convert", device.upload(values), out, more, wide, threads=8)
    highest, lowest = 2**31 - 1, -(2**31)
    assert device.download(out).tolist() == [highest, lowest, 0, 3, -3, highest, lowest, highest]
    assert device.download(more).tolist() == [2**32 - 1, 0, 0, 3, 0, 2**32 - 1, 0, 2**32 - 1]
    assert device.download(wide).tolist() == [10**10, -(10**10), -(2**63), 3, -3, 2**63 - 1, -(2**63), 2**63 - 1]


def test_shifts_do_not_wrap(device: PtxDevice, module: PtxModule) -> None:
    out, more = device.zeros((4,), np.uint32), device.zeros((4,), np.int32)
    run(module, "shifts", device.upload(np.array([0, 1, 32, 40], np.uint32)), out, more, threads=4)
    assert device.download(out).tolist() == [0x80000001, 2, 0, 0]
    assert device.download(more).tolist() == [-(2**31), -(2**30), -1, -1]


def test_minima_of_zeros_and_nan(device: PtxDevice, module: PtxModule) -> None:
    given = np.array([0.0, -0.0, np.nan, 1.0, -0.0, 0.0, 2.0, np.nan], np.float32)
    out = device.zeros((8,), np.float32)
    run(module, "zeros", device.upload(given), out, threads=4)
    expected = np.array([-0.0, -0.0, 2.0, 1.0, 0.0, 0.0, 2.0, 1.0], np.float32)
    assert device.download(out).tobytes() == expected.tobytes()


def test_exchanges_between_lanes(device: PtxDevice, module: PtxModule) -> None:
    values = np.random.default_rng(1).integers(0, 10, 32).astype(np.int32)
    out = device.zeros((32,), np.int32)
    run(module, "exchange", device.upload(values), out, threads=32)
    lanes = np.arange(32)
    up, down = values[np.maximum(lanes - 1, 0)], values[np.where(lanes % 8 == 7, lanes, lanes + 1) % 32]
    expected = values[3] + 10 * up + 100 * down + 1000 * values[lanes ^ 5] + 10000 * (values % 2).sum()
    np.testing.assert_array_equal(device.download(out), expected)


def test_divisions_by_zero(device: PtxDevice, module: PtxModule) -> None:
    with pytest.raises(DeviceFailed, match="a division by zero"):
        run(module, "divides", device.zeros((4,), np.int32), device.zeros((4,), np.int32), threads=4)


def test_instructions_that_are_not_exact_are_refused() -> None:
    source = 'extern "C" __global__ void f(const float* a, float* b) { b[0] = a[0] / a[1]; }'
    fast = ("--std=c++17", "--fmad=false", "--prec-div=false")
    with pytest.raises(DeviceFailed, match="is not exact"):
        Program(compile_source(source, "f.cu", "compute_90", fast, major=13).ptx)
    Program(compile_source(source, "f.cu", "compute_90", OPTIONS, major=13).ptx)


def test_operations_that_the_assembler_may_contract_are_refused() -> None:
    source = 'extern "C" __global__ void f(const float* a, float* b) { b[0] = a[0] * a[1] + a[2]; }'
    made = compile_source(source, "f.cu", "compute_90", OPTIONS, major=13).ptx
    Program(made)
    with pytest.raises(DeviceFailed, match=r"unknown instruction: add\.f32"):
        Program(made.replace("add.rn.f32", "add.f32"))


@pytest.mark.parametrize(("stride", "sectors", "wavefronts"), [(1, 4, 1), (2, 8, 2), (32, 32, 32), (33, 32, 1)])
def test_sectors_and_bank_conflicts_are_counted(stride: int, sectors: int, wavefronts: int) -> None:
    """A warp reads 32 floats, `stride` apart, and writes 32 next to each other."""
    device = PtxDevice()
    module = device.load(device.compile(SOURCE.replace("line[1024]", "line[1056]"), "checks.cu", OPTIONS))
    source, out = device.zeros((1056,), np.float32), device.zeros((32,), np.float32)
    run(module, "strided", source, out, np.int32(stride), threads=32)
    run(module, "strided", source, out, np.int32(stride), threads=32)
    counts = device.counts["strided"]
    assert counts.launches == 2
    assert counts.transfers == dict.fromkeys(CLASSES, 0) | {
        "global_load": 2 * sectors,
        "global_store": 2 * 4,
        "shared_load": 2 * wavefronts,
        "shared_store": 2 * wavefronts,
    }
    assert all(counts.requests[name] == counts.instructions[name] for name in CLASSES if counts.requests[name])
    assert all(counts.bytes[name] == 128 * counts.requests[name] for name in CLASSES)
    assert counts.lanes == 32 * counts.all_instructions
    assert (counts.barriers, counts.divergent_branches, counts.instructions["barrier"]) == (0, 0, 2)


def test_barriers_and_partial_warps_are_counted() -> None:
    device = PtxDevice()
    module = device.load(device.compile(SOURCE, "checks.cu", OPTIONS))
    run(module, "with_barrier", device.zeros((64,), np.int32), threads=64)
    run(module, "strided", device.zeros((64,), np.float32), device.zeros((8,), np.float32), np.int32(1), threads=8)
    barriers, partial = device.counts["with_barrier"], device.counts["strided"]
    assert (barriers.barriers, barriers.instructions["barrier"]) == (1, 2)
    assert partial.lanes == 8 * partial.all_instructions
    both = Counts()
    both.add(barriers)
    both.add(partial)
    assert (both.launches, both.lanes) == (2, barriers.lanes + partial.lanes)
