"""Bench of a volume beyond 2^31 voxels with thousands of scattered objects, from an HDF5 segmentation to the table.

The command line runs, and its anonymous memory is measured. The objects are known: size, bounding box, centre, sum and
extremes are computed from each one's own small array, the id from its first voxel. Every row of the table is compared
with them and, if images are written, so is every object's part of the ids. The project is the recorded one
of tests/golden/obj3d_seg: all standard features of object and neighbourhood, and the convex hull.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from cases import Case, chosen_cases, list_cases, make_parser, parse
from data import data_folder
from measure import Report, Timing, usable_processors

PROJECT = Path(__file__).resolve().parents[1] / "tests" / "golden" / "obj3d_seg" / "project.ilp"
SPACING = 40  # voxels from object to object
GAP = 4  # planes between cells of the lattice, left free for objects larger than a cell
CHUNK = (64, 64, 64)
MEMORY = "3G"
SAMPLE_PERIOD_S = 0.02
IDENTITIES = "Object Identities"


@dataclass(frozen=True)
class Thing:
    """Object: position of its box (z, y, x), and the mask of its voxels in the box."""

    start: tuple[int, int, int]
    mask: np.ndarray

    @property
    def stop(self) -> tuple[int, int, int]:
        z, y, x = (a + n for a, n in zip(self.start, self.mask.shape, strict=True))
        return z, y, x

    def first_voxel(self, shape: Sequence[int]) -> int:
        """Position of the first voxel in scan order; more than 32 bits in a large volume."""
        z, y, x = (int(a) + int(b) for a, b in zip(self.start, np.argwhere(self.mask)[0], strict=True))
        return (z * shape[1] + y) * shape[2] + x


def main(words: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__, defaults=("3d-sparse",), quick=("3d-sparse-quick",))
    parser.add_argument("--memory", default=MEMORY, help=f"what the run may plan with; default {MEMORY}")
    options = parse(parser, words)
    cases = chosen_cases(options)
    if options.dry_run:
        list_cases(cases)
        return 0
    threads = options.threads or usable_processors()
    report = Report("sparse_volume", options.json)
    for case in cases:
        if case.dimensions != 3:
            report.note(f"{case.name}: only volumes are made here")
            continue
        things = make_things(case.shape)
        folder = data_folder(options.data)
        raw, segmentation = write_volume(folder, case.shape, things)
        stored = (raw.stat().st_size + segmentation.stat().st_size) / 1e9
        title = f"{case.name}: {case.voxels / 2**31:.3f} x 2^31 voxels, {len(things)} objects, {stored:.2f} GB of HDF5"
        report.begin(title, name=case.name, shape=case.shape, objects=len(things), memory=options.memory)
        for with_images in (False, True):
            with tempfile.TemporaryDirectory(prefix="pixelforest-bench-", dir=folder) as place:
                run = _Run(case, things, raw, segmentation, Path(place), threads, options.memory, with_images)
                run.measure(report)
    return 0


# ------------------------------------------------------------------------------------------------------- the volume


def make_things(shape: Sequence[int]) -> list[Thing]:
    """Make different shapes in most cells of a lattice, and bars and a frame in the gaps, in order of their ids."""
    rng = np.random.default_rng(2147483648)
    things = [
        Thing((z + a, y + b, x + c), mask)
        for z in range(GAP, shape[0] - SPACING + 1, SPACING)
        for y in range(GAP, shape[1] - SPACING + 1, SPACING)
        for x in range(GAP, shape[2] - SPACING + 1, SPACING)
        for mask in [_make_mask(rng)]
        for a, b, c in [rng.integers(0, SPACING - GAP - np.array(mask.shape) + 1).tolist()]
    ]
    last = [(n // SPACING - 1) * SPACING for n in shape]
    things += [
        Thing((0, 0, 0), np.ones((shape[0], 2, 2), np.bool_)),
        Thing((last[0], 4, 0), np.ones((2, shape[1] - 4, 2), np.bool_)),
        Thing((last[0], last[1], 4), np.ones((2, 2, shape[2] - 4), np.bool_)),
        Thing((0, 0, 4), _frame(min(500, shape[1]), min(500, shape[2] - 4))),
    ]
    return sorted(things, key=lambda thing: thing.first_voxel(shape))


def _make_mask(rng: np.random.Generator) -> np.ndarray:
    """Make a cuboid, an ellipsoid, an open box or an angle."""
    size = rng.integers(3, SPACING - GAP - 2, 3)
    whole = np.ones(size, np.bool_)
    kind = int(rng.integers(4))
    if kind == 1:
        z, y, x = (((np.arange(n) - (n - 1) / 2) / (n / 2)) ** 2 for n in size)
        whole = z[:, None, None] + y[:, None] + x <= 1
        whole = whole[whole.any((1, 2))][:, whole.any((0, 2))][:, :, whole.any((0, 1))]
    elif kind == 2:
        whole[1:, 1:-1, 1:-1] = False
    elif kind == 3:
        whole[1:, 1:, 1:] = False
    return whole


def _frame(height: int, width: int) -> np.ndarray:
    mask = np.zeros((1, height, width), np.bool_)
    mask[:, [0, -1]] = mask[:, :, [0, -1]] = True
    return mask


def intensities(start: Sequence[int], shape: Sequence[int]) -> np.ndarray:
    """Make the raw image of any box, uint8; it never repeats exactly, but compresses well."""
    z, y, x = (np.arange(a, a + n) for a, n in zip(start, shape, strict=True))
    planes, rows = (z // 3 * 5).astype(np.uint8), (y // 5 * 3 + y // 64).astype(np.uint8)
    values: np.ndarray = planes[:, None, None] + rows[:, None] + (x // 7 * 2).astype(np.uint8)
    return values


def write_volume(folder: Path, shape: Sequence[int], things: Sequence[Thing]) -> tuple[Path, Path]:
    """Write raw image and segmentation, compressed, if they are missing."""
    name = f"sparse_{'x'.join(map(str, shape))}"
    paths = folder / f"{name}_raw.h5", folder / f"{name}_segmentation.h5"
    if all(path.exists() for path in paths):
        return paths
    unfinished = [path.with_suffix(f".{os.getpid()}") for path in paths]
    try:
        with h5py.File(unfinished[0], "w") as raw, h5py.File(unfinished[1], "w") as segmentation:
            chunks = tuple(min(c, n) for c, n in zip(CHUNK, shape, strict=True))
            sets = [
                file.create_dataset("data", shape, np.uint8, chunks=chunks, compression="lzf", shuffle=False)
                for file in (raw, segmentation)
            ]
            for z in range(0, shape[0], CHUNK[0]):
                stop = min(z + CHUNK[0], shape[0])
                numbers = np.zeros((stop - z, *shape[1:]), np.uint32)
                _draw(numbers, z, things)
                sets[0][z:stop] = intensities((z, 0, 0), numbers.shape)
                sets[1][z:stop] = numbers > 0
        for temporary, path in zip(unfinished, paths, strict=True):
            os.replace(temporary, path)
    finally:
        for temporary in unfinished:
            temporary.unlink(missing_ok=True)
    return paths


def _draw(slab: np.ndarray, z: int, things: Sequence[Thing]) -> None:
    """Write the numbers, from 1, of the objects that reach into a slab of planes from z on."""
    for number, thing in enumerate(things, 1):
        low, high = max(thing.start[0], z), min(thing.stop[0], z + len(slab))
        if low < high:
            part = thing.mask[low - thing.start[0] : high - thing.start[0]]
            place = slab[low - z : high - z, thing.start[1] : thing.stop[1], thing.start[2] : thing.stop[2]]
            place[part] = number


# ---------------------------------------------------------------------------------------------------------- the run


@dataclass(frozen=True)
class _Run:
    """One run of the command line. with_images: Object Predictions and Object Identities as well as the table."""

    case: Case
    things: Sequence[Thing]
    raw: Path
    segmentation: Path
    folder: Path
    threads: int
    memory: str
    with_images: bool

    @property
    def table(self) -> Path:
        return self.folder / "objects.csv"

    @property
    def command(self) -> list[str]:
        images: list[str] = []
        if self.with_images:
            images += [f"--export_source={IDENTITIES},Object Predictions", "--output_format=compressed hdf5"]
            images += [f"--output_filename_format={self.folder / '{result_type}.h5'}"]
        return [
            *(sys.executable, "-m", "pixelforest", "--headless", "--quiet", "--no_progress", f"--project={PROJECT}"),
            *(f"--memory={self.memory}", f"--threads={self.threads}", f"--table_filename={self.table}", *images),
            *("--raw_data", f"{self.raw}/data", "--segmentation_image", f"{self.segmentation}/data"),
        ]

    def measure(self, report: Report) -> None:
        timing, anonymous = _run_and_watch(self.command, self.folder)
        rows = self._compare_table()
        name = "table, identities and predictions" if self.with_images else "table"
        note = f"{rows} rows as computed independently"
        if self.with_images:
            note += f"; every voxel of the ids of {self._compare_ids()} objects"
        if anonymous is not None:
            note = f"anonymous peak {anonymous / 1e9:.2f} GB; {note}"
        settings = f"--memory={self.memory}, {self.threads} thread{'s' if self.threads > 1 else ''}"
        report.row(
            name, timing, settings=settings, voxels=self.case.voxels, note=note, anonymous_bytes=anonymous, rows=rows
        )

    def _compare_table(self) -> int:
        """Compare every row with its known object and count them. Ends the bench if one differs."""
        count = 0
        with open(self.table, newline="", encoding="utf-8") as file:
            for count, (row, thing) in enumerate(zip(csv.DictReader(file), self.things, strict=True), 1):
                for column, value in _known(count, thing):
                    if not np.isclose(float(row[column]), value, rtol=1e-6, atol=0):
                        raise SystemExit(f"NOT THE SAME: {column} of object {count} is {row[column]}, not {value}")
        return count

    def _compare_ids(self) -> int:
        """Compare every voxel of the image of ids and count the objects. Ends the bench if one differs."""
        with h5py.File(self.folder / f"{IDENTITIES}.h5") as file:
            ids = file["exported_data"]
            for z in range(0, ids.shape[0], ids.chunks[0]):
                expected = np.zeros((min(ids.chunks[0], ids.shape[0] - z), *ids.shape[1:3]), np.uint32)
                _draw(expected, z, self.things)
                if not np.array_equal(ids[z : z + len(expected), ..., 0], expected):
                    raise SystemExit(f"NOT THE SAME: the ids of the planes from {z} on are others")
        return len(self.things)


def _known(number: int, thing: Thing) -> Iterator[tuple[str, float]]:
    """Compute (column, value) of an object from its own array alone."""
    yield "object_id", number - 1
    yield "labelimage_oid", number
    z, y, x = np.nonzero(thing.mask)
    yield "Size in pixels", len(z)
    for i, (axis, places) in enumerate(((2, x), (1, y), (0, z))):
        yield f"Bounding Box Minimum_{i}", thing.start[axis] + int(places.min())
        yield f"Bounding Box Maximum_{i}", thing.start[axis] + int(places.max()) + 1
        yield f"Center of the object_{i}", thing.start[axis] + float(places.mean())
    values = intensities(thing.start, thing.mask.shape)[thing.mask].astype(np.int64)
    yield "Total Intensity", int(values.sum())
    yield "Mean Intensity", float(values.mean())
    yield "Minimum intensity", int(values.min())
    yield "Maximum intensity", int(values.max())
    yield "Convex Hull Area", thing.mask.size


def _run_and_watch(command: Sequence[str], folder: Path) -> tuple[Timing, int | None]:
    """Run a program once. Returns its times and, if the system tells, its maximum anonymous memory."""
    errors = folder / "errors.txt"
    with open(errors, "wb") as stream:
        start = time.perf_counter()
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stream)
        peak = [0]
        watcher = threading.Thread(target=_watch, args=(child.pid, peak, done := threading.Event()))
        watcher.start()
        if hasattr(os, "wait4"):
            _, status, used = os.wait4(child.pid, 0)
            child.returncode, cpu = os.waitstatus_to_exitcode(status), (used.ru_utime + used.ru_stime,)
        else:
            child.wait()
            cpu = ()
        wall = time.perf_counter() - start
        done.set()
        watcher.join()
    if child.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {child.returncode}: {errors.read_text()[-2000:]}")
    return Timing((wall,), cpu), peak[0] or None


def _watch(pid: int, peak: list[int], done: threading.Event) -> None:
    """Record the maximum anonymous memory of a process in peak[0], in bytes; 0 if there is no /proc."""
    while not done.wait(SAMPLE_PERIOD_S):
        try:
            lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
        except OSError:
            return
        for line in lines:
            if line.startswith("RssAnon:"):
                peak[0] = max(peak[0], 1024 * int(line.split()[1]))


if __name__ == "__main__":
    sys.exit(main())
