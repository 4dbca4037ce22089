"""Workbench of the object operations on a GPU: components, smoothing before a threshold; statistics of cuCIM.

Needs one NVIDIA GPU; without one it prints a message and exits with status 1. A single call measures everything:

    python bench/cuda_objects.py --json rows.jsonl

Rows with "on the device" are timed by device events, with input and output in device memory; the others go from host to
host. Every row is first compared with the CPU backend bit by bit, or with the peer. ``limit`` is the share of the time
that moving the bytes would take at the rate of a copy on this device.

Variants of labels, none timed on a GPU yet:
- bricks of 32x16x16 voxels in shared memory, then their faces; runs are downloaded; in use
- runs joined across rows without bricks: moves less, but each union is an atomic in global memory, one a voxel of noise
- ids of voxels downloaded instead of runs: 4 bytes a voxel, against 0.6 for a run every 20 voxels
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent / "kernels"))

import numpy as np
from cases import Case, chosen_cases, list_cases, make_parser, parse
from data import make_segmentations
from measure import Report, Timing, time_work, usable_processors
from objects import make_frame, measure
from peers import cucim_statistics, cupy_labels

from pixelforest.engine.objects.label import label_components
from pixelforest.engine.project.object_features import STANDARD
from pixelforest.engine.resources import Resources
from pixelforest.engine.storage.scratch import Scratch
from pixelforest.kernels import load
from pixelforest.kernels.contract import Backend, DeviceUnavailable, MapPlan, Voxels, as_voxels
from pixelforest.kernels.cuda import labels, threshold
from pixelforest.kernels.cuda.backend import compose_backend
from pixelforest.kernels.cuda.device import Device
from pixelforest.kernels.cuda.launch import KernelFile
from pixelforest.kernels.shared.taps import threshold_taps

SIGMA = 1.0  # ilastik's default
FLUSHED_BYTES = 1 << 27  # more than any cache of a device
PLENTY = 1 << 35


def main(words: Sequence[str] | None = None, device: Device | None = None) -> int:
    parser = make_parser(__doc__, defaults=("2d-8192", "3d-512"), quick=("2d-quick", "3d-quick"))
    options = parse(parser, words)
    cases = chosen_cases(options)
    if options.dry_run:
        list_cases(cases)
        return 0
    try:
        device = device or _first_device()
    except DeviceUnavailable as error:
        print(f"nothing measured: {error}", file=sys.stderr)
        return 1
    bench = _Bench(
        Report("cuda_objects", options.json),
        device,
        repeats=options.repeats or (1 if options.quick else 7),
        threads=options.threads or usable_processors(),
        has_peers=not options.no_peers,
    )
    for case in cases:
        bench.labels(case)
        bench.smoothing(case)
        if case.dimensions == 2:
            bench.statistics(case)
    return 0


def _first_device() -> Device:
    from pixelforest.kernels.cuda.cupy_device import open_devices

    return open_devices([0])[0]


class _Bench:
    """Device, rate of its copies, and the report for rows."""

    def __init__(self, report: Report, device: Device, *, repeats: int, threads: int, has_peers: bool) -> None:
        self.report, self.device, self.repeats, self.threads = report, device, repeats, threads
        self.has_peers = has_peers
        self.cpu, self.gpu = load("cpu"), compose_backend([device])
        self.copied = self._copy_rate(1 << 28 if repeats > 1 else 1 << 16)
        self.report.note(f"{device.name}, {device.architecture}: a copy moves {self.copied / 1e9:.0f} GB/s")

    def labels(self, case: Case) -> None:
        for kind, frame in make_segmentations(case).items():
            expected = self._label(self.cpu, frame)
            same = np.array_equal(self._label(self.gpu, frame), expected)
            self.report.begin(f"{case.name}: components of {kind}", name=case.name, shape=frame.shape, kind=kind)
            values, shape = self.device.upload(frame.reshape(-1)), as_voxels(frame.shape)
            runs = labels.find_runs(self.device, values, shape).start.shape[0]
            timing = self._time(lambda values=values, shape=shape: labels.find_runs(self.device, values, shape))
            floor = _moved_bytes(shape, 1, runs) / self.copied, "copy"
            note = f"{_verdict(same, 'ids')}, {expected.max()} objects, {runs} runs"
            self.report.row("values to runs, on the device", timing, voxels=frame.size, floor=floor, note=note)
            for name, backend in (("GPU", self.gpu), ("CPU", self.cpu)):
                timing = time_work(lambda b=backend, f=frame: self._label(b, f), repeats=self.repeats)
                settings = f"{self.threads} threads, {name}"
                self.report.row("values to ids, on the host", timing, settings=settings, voxels=frame.size)
            peer = cupy_labels() if self.has_peers else None
            if peer is not None:
                on_device, to_host = peer(frame)
                note = _verdict(_is_same_partition(to_host(on_device()), expected), "components")
                self.report.row(
                    "CuPy ndimage.label, on the device", self._time(on_device), voxels=frame.size, note=note
                )

    def smoothing(self, case: Case) -> None:
        shape = as_voxels((1,) * (3 - len(case.shape)) + case.shape)
        maps = np.random.default_rng(3).integers(0, 256, (*shape, 2), np.uint8)
        taps = [threshold_taps(SIGMA) if n > 1 else None for n in shape]
        plan = MapPlan((0,), (0.0, 255.0), (taps[0], taps[1], taps[2]))
        whole = ((0, 0, 0), ((0, 0, 0), shape), shape)
        found, expected = (backend.labels.smooth_maps(maps, *whole, plan)[0] for backend in (self.gpu, self.cpu))
        same = np.array_equal(found.view(np.uint32), expected.view(np.uint32))
        self.report.begin(f"{case.name}: smoothing of 1 of 2 maps, sigma {SIGMA}", name=case.name, shape=shape)
        on_device, passes = self.device.upload(maps), sum(t is not None for t in taps)
        floor = expected.size * (2 + 4 + 8 * passes) / self.copied, "copy"
        timing = self._time(lambda: threshold.smooth_on_device(self.device, on_device, 0, *whole, plan))
        note = _verdict(same, "bits")
        self.report.row("on the device", timing, voxels=expected.size, floor=floor, note=note)
        for name, backend in (("GPU", self.gpu), ("CPU", self.cpu)):
            timing = time_work(lambda b=backend: b.labels.smooth_maps(maps, *whole, plan), repeats=self.repeats)
            self.report.row("on the host", timing, settings=f"1 thread, {name}", voxels=expected.size)

    def statistics(self, case: Case) -> None:
        frame, raw = make_frame(case)
        title = f"{case.name}: statistics of {frame.count} objects"
        self.report.begin(title, name=case.name, shape=case.shape, objects=frame.count)
        ours = measure(frame, raw, self.threads).values[STANDARD]
        timing = time_work(lambda: measure(frame, raw, self.threads), repeats=self.repeats)
        note = "all columns of kernels/objects.py"
        self.report.row("pixelforest", timing, settings=f"{self.threads} threads, CPU", voxels=raw.size, note=note)
        peer = cucim_statistics() if self.has_peers else None
        if peer is None:
            return
        on_device = peer(frame.labels[0], raw[0, :, :, 0])
        table = on_device()
        note = ", ".join(f"{name} {_deviation(table[name], ours[name])}" for name in table)
        self.report.row("cuCIM regionprops_table, on the device", self._time(on_device), voxels=raw.size, note=note)

    def _label(self, backend: Backend, frame: np.ndarray) -> np.ndarray:
        """Label a frame as the engine does, including slabs."""
        with Scratch(PLENTY) as scratch:
            return label_components(
                lambda box: frame[box.slices()],
                frame.shape,
                frame.dtype,
                resources=Resources(backend, self.threads, scratch.memory_bytes),
                scratch=scratch,
            ).labels

    def _time(self, work: Callable[[], object]) -> Timing:
        """Measure seconds by device events, after one warm-up run, with caches flushed before each."""
        work()
        seconds = []
        for _ in range(self.repeats):
            self.device.zeros((FLUSHED_BYTES if self.repeats > 1 else 1,), np.uint8)
            self.device.synchronize()
            with self.device.timer() as timer:
                work()
            seconds.append(timer.milliseconds / 1e3)
        return Timing(tuple(seconds))

    def _copy_rate(self, nbytes: int) -> float:
        """Measure the bytes a second that a copy kernel reads and writes."""
        n = nbytes // 4
        values, out = self.device.zeros((n,), np.float32), self.device.empty((n,), np.float32)
        kernel = KernelFile("threshold.cu").kernel(self.device, "pick_channel", ("VALUE=float",))
        sizes = (np.uint32(n), np.int32(1), np.int32(0), np.int32(0), np.float32(0), np.float32(1))
        return 2 * nbytes / self._time(lambda: kernel((-(-n // 256), 1, 1), (256, 1, 1), (values, out, *sizes))).best


def _moved_bytes(shape: Voxels, value_bytes: int, runs: int) -> float:
    """Bytes that ``labels.find_runs`` reads and writes on the device, counted as in that module's docstring."""
    voxels = math.prod(shape)
    faces = (value_bytes + 4) * (1 / 4 if shape[0] > 1 else 2 / labels.BRICK_ROWS) + 4
    per_run = 12 * runs + 3 * min(4 * voxels, 32 * runs)
    return voxels * (value_bytes + 4 + faces + 3 * value_bytes) + per_run


def _verdict(same: bool, what: str) -> str:
    return f"same {what}" if same else f"NOT THE SAME {what}"


def _is_same_partition(a: np.ndarray, b: np.ndarray) -> bool:
    """Return True if two label images have the same objects, whatever their numbers."""
    if not np.array_equal(a > 0, b > 0) or a.max() != b.max():
        return False
    number = np.zeros(int(a.max()) + 1, np.int64)
    number[a] = b
    return bool(np.array_equal(number[a], b))


def _deviation(a: Any, b: Any) -> str:
    if np.array_equal(a, b):
        return "the same"
    scale = np.maximum(np.abs(b), 1e-30)
    return f"off by up to {float(np.nanmax(np.abs(a - b) / scale)):.0e}"


if __name__ == "__main__":
    raise SystemExit(main())
