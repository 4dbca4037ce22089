"""Timing, the machine's limits, and the printed table. Other modules decide what to measure.

Wall seconds are shown with CPU seconds, which tell on a shared machine how reliable they are.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

PACKAGES = (
    "pixelforest",
    "numpy",
    "numba",
    "h5py",
    "scipy",
    "opencv-python-headless",
    "scikit-learn",
    "scikit-image",
    "connected-components-3d",
)
SHORTEST = 1e-6  # seconds; a smaller difference of two timings is meaningless
_FLUSHED_BYTES = 64 << 20  # more than the last cache of most processors
# A process that executes another program passes on its peak, so a process that was never large starts the program.
_LAUNCHER = """
import json, os, subprocess, sys, time
addresses, limit = int(sys.argv[1]), None
if addresses:
    import resource
    limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (addresses, addresses))
start = time.perf_counter()
with open(os.devnull, "wb") as nowhere:
    child = subprocess.Popen(sys.argv[2:], stdout=nowhere, stderr=subprocess.PIPE, preexec_fn=limit)
    error = child.stderr.read()
    if hasattr(os, "wait4"):
        _, status, used = os.wait4(child.pid, 0)
        code, cpu = os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime
        peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    else:
        code, cpu, peak = child.wait(), None, None
wall = time.perf_counter() - start
print(json.dumps([code, wall, cpu, peak, error.decode(errors="replace")[-2000:]]))
"""


@dataclass(frozen=True)
class Timing:
    """Repeated measurements of one piece of work, in seconds.

    cpu         of all threads together; empty if unknown
    peak_bytes  largest resident set, of a whole process only
    """

    wall: tuple[float, ...]
    cpu: tuple[float, ...] = ()
    peak_bytes: int | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.wall)

    @property
    def best(self) -> float:
        return min(self.wall)

    def compared_with(self, own: Timing) -> str:
        """Describe this time as a multiple of ours: wall, and CPU if both are known."""
        text = f"{self.median / own.median:.1f} times ours"
        if self.cpu and own.cpu and statistics.median(own.cpu) > 0:
            text += f" ({statistics.median(self.cpu) / statistics.median(own.cpu):.1f} in CPU)"
        return text

    def minus(self, other: Timing) -> Timing:
        """Subtract a part that was measured alone, run by run."""
        wall = tuple(max(a - b, SHORTEST) for a, b in zip(self.wall, other.wall, strict=True))
        return Timing(wall, tuple(max(a - b, 0.0) for a, b in zip(self.cpu, other.cpu, strict=True)))


def time_work(work: Callable[[], object], *, repeats: int) -> Timing:
    """Run once as warm-up, then ``repeats`` times, with the caches flushed before each."""
    work()
    wall, cpu = [], []
    for _ in range(repeats):
        _flush_caches()
        wall_start, cpu_start = time.perf_counter(), time.process_time()
        work()
        cpu.append(time.process_time() - cpu_start)
        wall.append(time.perf_counter() - wall_start)
    return Timing(tuple(wall), tuple(cpu))


def time_process(command: Sequence[str], *, repeats: int, environment: Mapping[str, str] | None = None) -> Timing:
    """Run a program ``repeats`` times, from its start to its end. Ends the bench if it fails."""
    return join_timings([run_process(command, environment=environment) for _ in range(repeats)])


def run_process(
    command: Sequence[str], *, environment: Mapping[str, str] | None = None, address_bytes: int = 0
) -> Timing:
    """Run a program once. Ends the bench if it fails. address_bytes: limit as of ulimit -v; 0: none."""
    launcher = [sys.executable, "-S", "-E", "-c", _LAUNCHER, str(address_bytes), *command]
    # Bytecode of modules is cached, as for users; without it, Python would compile them all at every start.
    own = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(launcher, env={**own, **(environment or {})}, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{command[0]} could not be started: {done.stderr.strip()[-500:]}")
    code, wall, cpu, peak, error = json.loads(done.stdout)
    if code:
        raise SystemExit(f"{' '.join(command)} ended with {code}: {error.strip()}")
    return Timing((wall,), () if cpu is None else (cpu,), peak)


def join_timings(timings: Sequence[Timing]) -> Timing:
    """Join several runs to one measurement."""
    peaks = [t.peak_bytes for t in timings if t.peak_bytes is not None]
    return Timing(
        tuple(w for t in timings for w in t.wall), tuple(c for t in timings for c in t.cpu), max(peaks, default=None)
    )


@cache
def _flushing_buffer() -> np.ndarray:
    return np.zeros(_FLUSHED_BYTES, np.uint8)


def _flush_caches() -> None:
    buffer = _flushing_buffer()
    buffer += 1


@dataclass(frozen=True)
class Limits:
    """Rates of this machine per second with a number of threads, measured now.

    memory, cache   bytes moved by ``a + f * b`` over arrays far larger than, and far smaller than, the caches
    operations      float32 additions, products or fused multiply-adds in vectors of 8
    """

    threads: int
    memory: float
    cache: float
    operations: float

    def floor(self, *, moved_bytes: float = 0.0, operations: float = 0.0) -> tuple[float, str]:
        """Minimum seconds of a piece of work, and the resource that limits it."""
        return max((moved_bytes / self.memory, "memory"), (operations / self.operations, "vector unit"))

    def best_of(self, other: Limits) -> Limits:
        """Maximum of each rate of two measurements with the same number of threads."""
        return Limits(
            self.threads,
            max(self.memory, other.memory),
            max(self.cache, other.cache),
            max(self.operations, other.operations),
        )

    def describe(self) -> str:
        """Describe the limits in one line for the table's head."""
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        return (
            f"{threads}: memory {self.memory / 1e9:.1f} GB/s, cache {self.cache / 1e9:.0f} GB/s, "
            f"{self.operations / 1e9:.0f} G float32 operations/s"
        )


def measure_limits(threads: int, *, quick: bool = False) -> Limits:
    """Measure the machine's limits with this number of threads: the best of a few attempts."""
    import probes

    attempts = 2 if quick else 20
    large, small, rounds = (1 << 20 if quick else 1 << 24), 2048, 100_000 if quick else 2_000_000
    arrays = [np.ones((3, large // threads), np.float32) for _ in range(threads)]
    lines = [np.ones((3, small), np.float32) for _ in range(threads)]

    def best(work: Callable[[int], object]) -> float:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, range(threads)))
            seconds = []
            for _ in range(attempts):
                start = time.perf_counter()
                list(pool.map(work, range(threads)))
                seconds.append(time.perf_counter() - start)
        return min(seconds)

    memory = best(lambda i: probes.triad(*arrays[i], 0.5, 1))
    cached = best(lambda i: probes.triad(*lines[i], 0.5, rounds // 100))
    vector = best(lambda i: probes.multiply_add(rounds, 0.5, 1.0))
    return Limits(
        threads,
        memory=12 * (large // threads) * threads / memory,
        cache=12 * small * (rounds // 100) * threads / cached,
        operations=probes.multiply_adds_of(rounds) * threads / vector,
    )


def usable_processors() -> int:
    """Number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe_machine() -> dict[str, Any]:
    """Describe the machine and its load, to be stored with each row."""
    machine: dict[str, Any] = {
        "processor": _processor_name(),
        "processors": usable_processors(),
        "system": f"{platform.system()} {platform.machine()}",
    }
    if hasattr(os, "getloadavg"):
        machine["load_before"] = round(os.getloadavg()[0], 2)
    return machine


def describe_versions() -> dict[str, str]:
    """List the versions of Python and of the measured packages, and the commit of the checkout."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    commit = _git("rev-parse", "--short", "HEAD")
    if commit:
        versions["commit"] = commit + ("+changes" if _git("status", "--porcelain", "--untracked-files=no") else "")
    return versions


def _git(*words: str) -> str:
    try:
        done = subprocess.run(["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


@dataclass
class Report:
    """Printer of measured rows, which also appends them to a file of JSON lines.

    case   name -> value, stored with every row that follows
    """

    bench: str
    path: Path | None = None
    case: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.machine, self.versions = describe_machine(), describe_versions()
        self.date = datetime.now(timezone.utc).isoformat(timespec="seconds")  # noqa: UP017  # one spelling everywhere
        load = self.machine.get("load_before", 0)
        busy = f", load {load}: others use this machine, compare CPU seconds" if load > 0.5 else ""
        print(f"{self.date}  {self.machine['processor']}, {self.machine['processors']} processors{busy}")
        print(", ".join(f"{name} {number}" for name, number in self.versions.items()))

    def begin(self, title: str, **case: Any) -> None:
        """Start the table of a case."""
        self.case = case
        print(f"\n{title}")
        print(f"{'':50} {'median s':>9} {'min s':>9} {'CPU s':>9} {'Mvoxel/s':>9} {'limit':>6}  note")

    def row(
        self,
        name: str,
        timing: Timing,
        *,
        settings: str = "",
        voxels: int = 0,
        floor: tuple[float, str] | None = None,
        note: str = "",
        **extra: Any,
    ) -> None:
        """Add one measured row.

        voxels   amount of work, for the rate; floor: minimum time of the work, from Limits.floor
        """
        is_told = timing.median > SHORTEST
        share = 100 * floor[0] / timing.median if floor and is_told else None
        limit = f"of {floor[1]}" if floor and is_told else "" if is_told else "too short to tell"
        cpu = statistics.median(timing.cpu) if timing.cpu else None
        rate = voxels / timing.median / 1e6 if voxels and is_told else None
        self._print(
            f"{name}, {settings}" if settings else name,
            (timing.median, timing.best, cpu, rate, share),
            [limit, "" if timing.peak_bytes is None else f"peak {timing.peak_bytes / 1e9:.2f} GB", note],
        )
        record = {
            "name": name,
            "settings": settings,
            "wall": timing.wall,
            "cpu": timing.cpu,
            "peak_bytes": timing.peak_bytes,
            "voxels": voxels,
            "floor": floor,
            "note": note,
            **extra,
        }
        self.write(record)

    def recorded_row(self, name: str, row: Mapping[str, Any], *, voxels: int, note: str, **extra: Any) -> None:
        """Add a row measured elsewhere: its median, best (None: unknown), cpu and peak_gb."""
        rate = voxels / row["median"] / 1e6 if voxels else None
        notes = [f"peak {row['peak_gb']:.2f} GB", note]
        self._print(name, (row["median"], row["best"], row["cpu"], rate, None), notes)
        self.write({"name": name, "row": row, "note": note, **extra})

    def _print(self, label: str, numbers: Sequence[float | None], notes: Sequence[str]) -> None:
        """Print a row. numbers: median, best and CPU seconds, million voxels a second, percent of the limit."""
        forms = ("9.3f", "9.3f", "9.3f", "9.2f", "5.1f")
        cells = [f"{'':{f[0]}}" if n is None else f"{n:{f}}" for n, f in zip(numbers, forms, strict=True)]
        percent = " " if numbers[-1] is None else "%"
        print(f"{label:50} {' '.join(cells)}{percent}  " + "; ".join(n for n in notes if n), flush=True)

    def note(self, text: str, **record: Any) -> None:
        """Print a line that is no measurement; it is stored only with a record."""
        print(text, flush=True)
        if record:
            self.write({"name": text, **record})

    def write(self, record: Mapping[str, Any]) -> None:
        """Store a record with the machine, the versions and the case."""
        if self.path is None:
            return
        whole = {"bench": self.bench, "date": self.date, "case": self.case, **record}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**whole, "machine": self.machine, "versions": self.versions}) + "\n")
