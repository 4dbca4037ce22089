"""Bench of features on a GPU: source conversion, pre-smoothing and fused kernels, scale by scale, by device events.

The stack stays on the device. All columns are compared with the CPU backend's bits before anything is timed. The limit
of a row is the bytes it must move at the speed of a copy, measured here: for a Gaussian two a pass and voxel, for a
fused kernel the smoothed image once and every column once. Goals on an H100 for all 37 features: 2500 Mpixel/s in 2-D,
1000 Mvoxel/s in 3-D.

Variants tried, with results. None has run on a GPU yet: registers and shared memory are those of ptxas for sm_90.
- all of a scale in one kernel: in 2-D 40 registers and 28 KB, in use; in 3-D 117 registers, 46 KB, two blocks of 256
  threads a multiprocessor
- in 2-D memory of its own for the smoothed products, 36 KB, so that a T4 holds one block instead of two: by
  bench/gpu_model.py 0.27 instead of 0.42 * 10^9 pixels a second on a T4, 1.88 instead of 2.04 on an RTX 4090, 2.36
  instead of 2.46 on an A100, the same from H100 on. In 3-D products and passes are needed at the same time
- in 3-D the structure tensor in a kernel of its own: 64 registers and four blocks for either, the smoothed image is
  read twice; in use
- planes before the gradient's z pass in shared memory: 117 registers; in registers they spilled on Blackwell
- the offsets of a block's voxels in shared memory: 6 registers less than in registers, where others spilled
- y passes of the Gaussian from global memory: not in use, each voxel would be loaded once for every eight of its
  neighbours
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
from cases import Case, chosen_cases, list_cases, make_parser, parse
from data import MAX_SIZES, enlarge, make_cells, selection
from measure import Report, Timing

from pixelforest.engine.pixels.feature_plan import plan_features
from pixelforest.kernels import load
from pixelforest.kernels.contract import DeviceUnavailable, FeaturePlan, Voxels
from pixelforest.kernels.cuda.device import Device
from pixelforest.kernels.cuda.features import (
    CudaPlan,
    derive_scale,
    feature_stack,
    features,
    load_plan,
    plan_kernels,
    stack_bytes,
)
from pixelforest.kernels.cuda.filters import Volume, grow_box, smooth, source_kernels, upload_source
from pixelforest.kernels.cuda.launch import prepare

CHECKED = {2: (75, 140), 3: (36, 37, 70)}  # no axis shorter than ilastik's minimum for its widest scale
FREE_SHARE = 0.8  # of the device's memory for a case; larger ones are cut along their first axis
GOALS = {2: 2.5e9, 3: 1.0e9}
_FLOAT = 4


def main(words: Sequence[str] | None = None, device: Device | None = None) -> int:
    """Run the bench. device: replaces the first GPU in tests."""
    parser = make_parser(__doc__, defaults=("2d-2048", "2d-4096", "3d-128", "3d-256"), quick=("2d-quick", "3d-quick"))
    options = parse(parser, words)
    cases = chosen_cases(options)
    if options.dry_run:
        list_cases(cases)
        return 0
    try:
        device = device or _open_device()
    except DeviceUnavailable as error:
        print(f"there is nothing to measure without a GPU: {error}", file=sys.stderr)
        return 1
    report = Report("cuda_features", options.json)
    bandwidth = measure_copies(device, floats=1 << (16 if options.quick else 28))
    report.note(f"{device.name}: copies move {bandwidth / 1e9:.0f} GB/s", device=device.name, bandwidth=bandwidth)
    is_same = [_check(report, device, dimensions) for dimensions in (2, 3)]
    for case in cases:
        _measure(report, device, case, bandwidth, options.repeats or (1 if options.quick else 7))
    return 0 if all(is_same) else 1


def measure_copies(device: Device, *, floats: int) -> float:
    """Measure the bytes a second that a pass of radius 0, which copies, reads and writes."""
    shape = (1, max(1, floats >> 12), min(floats, 1 << 12))
    volume = Volume(device.zeros(shape, np.float32), (0, 0, 0, *shape))
    taps = device.upload(np.ones(1, np.float32))
    timing = _time(device, lambda: smooth(device, volume, volume.box, shape, taps, 0, flat=True), 5)
    passes = 2
    return passes * 2 * volume.values.nbytes / timing.best


def _check(report: Report, device: Device, dimensions: int) -> bool:
    """Compare every column with the CPU backend's bit by bit."""
    shape = CHECKED[dimensions]
    image = make_cells(shape, seed=1)[0].reshape((1,) * (4 - dimensions) + shape)
    size: Voxels = image.shape[1:]
    plan, box = _plan(dimensions, size[0]), ((0, 0, 0), size)
    cpu = load("cpu")
    expected = cpu.pixels.to_host(
        cpu.pixels.features(
            cpu.pixels.feature_stack(cpu.pixels.to_device(image), (0, 0, 0), box, size, cpu.pixels.load_plan(plan))
        )
    )
    stack = feature_stack(device, upload_source(device, image), (0, 0, 0), box, size, load_plan(plan))
    found = device.download(features(stack))
    is_same = np.array_equal(found.view(np.uint32), expected.view(np.uint32))
    words = "have the CPU's bits" if is_same else "ARE NOT THE SAME AS THE CPU'S"
    report.note(f"{dimensions}-D: {plan.width} columns {words}")
    return is_same


def _measure(report: Report, device: Device, case: Case, bandwidth: float, repeats: int) -> None:
    plan = _plan(case.dimensions, 1 if case.dimensions == 2 else case.shape[0])
    loaded, in_one = load_plan(plan), load_plan(plan, split_solid=False)
    prepare(device, [*plan_kernels(loaded), *plan_kernels(in_one), *source_kernels(np.dtype(np.uint8))])
    shape = _fitting(device, case.shape, loaded)
    base = tuple(min(a, b) for a, b in zip(shape, MAX_SIZES[case.dimensions], strict=True))
    image = enlarge(make_cells(base, seed=7 + case.dimensions)[0], shape)
    volume = image.reshape((1,) * (4 - case.dimensions) + shape)
    size: Voxels = volume.shape[1:]
    voxels, box = int(volume.size), ((0, 0, 0), size)
    report.begin(
        f"{case.name}: {' x '.join(map(str, shape))} uint8, {plan.width} columns",
        name=case.name,
        shape=shape,
        device=device.name,
    )

    def row(name: str, work: Callable[[], object], floats: float, note: str = "") -> None:
        timing, moved = _time(device, work, repeats), floats * _FLOAT * voxels
        rate = f"{moved / timing.median / 1e9:.0f} GB/s"
        floor = (moved / bandwidth, "a copy's speed")
        report.row(name, timing, voxels=voxels, floor=floor, note="; ".join(n for n in (rate, note) if n))

    source = upload_source(device, volume)
    passes = case.dimensions
    smoothing = 2 * passes * len(loaded.scales)
    goal = f"goal {GOALS[case.dimensions] / 1e6:.0f} Mvoxel/s"
    row(
        "everything: Gaussians and features",
        lambda: feature_stack(device, source, (0, 0, 0), box, size, loaded),
        smoothing + len(loaded.scales) + plan.width,
        goal,
    )
    stack = feature_stack(device, source, (0, 0, 0), box, size, loaded)
    channel = Volume(source.view(0, size), (0, 0, 0, *size))
    all_taps = device.upload(loaded.packed.pre_taps)
    row_length = loaded.packed.pre_taps.shape[1]
    for number, (scale, wanted) in enumerate(zip(loaded.scales, plan.scales, strict=True)):
        name = f"scale {selection(case.dimensions).scales[number]}"
        taps = all_taps.view(number * row_length, (scale.pre_radius + 1,))
        pre_box = grow_box((0, 0, 0, *size), scale.halo, size)

        def presmooth(taps=taps, scale=scale, pre_box=pre_box):  # type: ignore[no-untyped-def]
            return smooth(device, channel, pre_box, size, taps, scale.pre_radius, flat=scale.flat)

        row(f"{name}: Gaussian of radius {scale.pre_radius}", presmooth, 2 * passes)
        pre = presmooth()
        columns = sum(_columns(operation, case.dimensions) for operation in wanted.columns)
        for other, launch in ((False, scale), (True, in_one.scales[number])):
            if other and len(launch.kernels) == len(scale.kernels):
                continue
            kernels = len(launch.kernels)

            def derive(pre=pre, launch=launch):  # type: ignore[no-untyped-def]
                derive_scale(device, pre, stack, (0, 0, 0), size, launch, 0)

            row(f"{name}: features in {kernels} kernel{'s' * (kernels > 1)}", derive, kernels + columns)
    row("(z, y, x, f) for export", lambda: features(stack), 2 * plan.width)


def _columns(operation: str, dimensions: int) -> int:
    return dimensions if operation in ("hessian", "structure_tensor") else 1


def _plan(dimensions: int, depth: int) -> FeaturePlan:
    return plan_features(selection(dimensions), channels=1, depth=depth)


def _fitting(device: Device, shape: tuple[int, ...], plan: CudaPlan) -> tuple[int, ...]:
    """Halve the case's shape along its first axis until it fits the device."""
    while True:
        size: Voxels = (*((1,) * (3 - len(shape))), *shape)  # type: ignore[assignment]
        if 2 * stack_bytes(plan, size, size) <= FREE_SHARE * device.free_bytes() or shape[0] < 128:
            return shape
        shape = (shape[0] // 2, *shape[1:])


def _time(device: Device, work: Callable[[], object], repeats: int) -> Timing:
    """Measure seconds by the device's events, after two warm-up runs."""
    seconds = []
    for run in range(repeats + 2):
        with device.timer() as timer:
            work()
        if run >= 2:
            seconds.append(timer.milliseconds / 1000)
    return Timing(tuple(seconds))


def _open_device() -> Device:
    from pixelforest.kernels.cuda.cupy_device import open_devices

    return open_devices((0,))[0]


if __name__ == "__main__":
    sys.exit(main())
