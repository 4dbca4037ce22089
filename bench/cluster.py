"""Bench of ``--scheduler``: what distributing costs beside computing, and how many blocks a scheduler can hand out.

``overhead``: a volume in this process, and by as many processes as threads; two sizes, so that the difference is
without the start of either. Processor times are those of all processes. ``simulate``: blocks of a fake kernel that
sleeps, on many workers of one process. The scheduler, the tasks, the window, and the records on disk are those of a
run; nothing is read or written.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("DASK_CONFIG", os.path.join(os.devnull, "none"))

import h5py
import numpy as np

from pixelforest.box import Box
from pixelforest.engine.jobs import ClusterSettings
from pixelforest.engine.run.block_run import BlockTask
from pixelforest.engine.run.cluster import _Distribution
from pixelforest.engine.run.cluster_work import BlockFacts, Outcome, Task
from pixelforest.engine.run.turns import Turns
from pixelforest.engine.storage.run_folder import RunFolder

GOLDEN = Path(__file__).resolve().parents[1] / "tests" / "golden"
BLOCK = (400, 256, 256)  # whole chunks of 50 planes; the two volumes are rows of blocks
IMAGE_BYTES = 2000  # of a task beside its numbers: references to images and plans of results
TICK_S = 0.25
IDLE_S = 5.0

# The volume is cut into blocks of this size, wherever it is computed.
RUN = """
import sys
from pixelforest.engine.tiling import blocks
blocks.BLOCK_VOXELS = int(sys.argv.pop(1))
from pixelforest.cli import main
sys.exit(main(sys.argv[1:]))
"""


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", choices=["overhead", "simulate", "serve"], help="serve: used by simulate")
    parser.add_argument("--processes", type=int, nargs="*", default=[1, 2], help="of overhead")
    parser.add_argument("--blocks", type=int, nargs=2, default=[2, 8], help="of overhead: sizes of the volume")
    parser.add_argument("--repeat", type=int, default=1, help="of overhead: in turn; medians count")
    parser.add_argument("--block", type=int, nargs=3, default=BLOCK, help="of overhead: shape of a block")
    parser.add_argument("--count", type=int, default=100_000, help="of simulate: blocks")
    parser.add_argument("--workers", type=int, default=50, help="of simulate")
    parser.add_argument("--seconds", type=float, default=0.05, help="of simulate: of the fake kernel")
    parser.add_argument("--log-length", type=int, default=10, help="of simulate: messages that the scheduler keeps")
    parser.add_argument("--dry-run", action="store_true", help="list the rows and measure nothing")
    parser.add_argument("--scheduler", help="of serve: its address")
    options = parser.parse_args(words)
    if options.part == "serve":
        asyncio.run(serve(options))
        return 0
    if options.dry_run:
        rows = [f"{n} processes, {options.blocks} blocks" for n in options.processes]
        print("\n".join(rows) if options.part == "overhead" else f"{options.count} blocks on {options.workers} workers")
        return 0
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(f"{os.cpu_count()} processors{load} at the start")
    with tempfile.TemporaryDirectory() as name:
        (measure_overhead if options.part == "overhead" else simulate)(Path(name), options)
    return 0


# ----------------------------------------------------------------------------------------------------------- overhead


def measure_overhead(folder: Path, options: argparse.Namespace) -> None:
    shape, rng = options.block, np.random.default_rng(1)
    images = []
    for count in options.blocks:
        images.append(folder / f"{count}.h5")
        with h5py.File(images[-1], "w") as file:
            file["data"] = rng.integers(0, 256, (shape[0] * count, *shape[1:]), np.uint8)
    print("| processes | blocks | time | here | cluster | start of it | a block here | of the cluster | more |")
    print("|---|---|---|---|---|---|---|---|---|")
    few, many = options.blocks
    for processes in options.processes:
        pairs: list[list[list[tuple[float, float]]]] = [[[] for _ in images] for _ in range(2)]
        for _ in range(options.repeat):  # in turn: the speed of a machine changes while it is measured
            for at, image in enumerate(images):
                for times, more in zip(pairs, ([], [f"--scheduler=local:{processes}"]), strict=True):
                    times[at].append(timed(folder, options, image, f"--threads={processes}", "--no_progress", *more))
        found = [
            [[statistics.median(each[kind] for each in times) for times in way] for kind in (0, 1)] for way in pairs
        ]
        for kind, name, at_once in ((0, "wall", processes), (1, "processor", 1)):
            here, there = found[0][kind], found[1][kind]
            each = [(times[1] - times[0]) / (many - few) * at_once for times in (here, there)]
            start = there[0] - here[0] - (each[1] - each[0]) * few / at_once
            shown = [" / ".join(f"{t:.1f} s" for t in times) for times in (here, there)]
            print(
                f"| {processes} | {few} / {many} | {name} | {shown[0]} | {shown[1]} | {start:.1f} s "
                f"| {each[0]:.2f} s | {each[1]:.2f} s | {100 * (each[1] / each[0] - 1):+.1f} % |",
                flush=True,
            )


def timed(folder: Path, options: argparse.Namespace, image: Path, *more: str) -> tuple[float, float]:
    """Seconds of a run that writes N5: wall, and processor of all its processes."""
    with tempfile.TemporaryDirectory(dir=folder) as out:
        limit = 2 * math.prod(options.block) - 1  # blocks are doubled as long as they stay below
        argv = [sys.executable, "-c", RUN, str(limit), "--headless", "--quiet", "--device=cpu"]
        argv += [f"--project={GOLDEN / 'px3d' / 'project.ilp'}", "--output_format=n5"]
        argv += [f"--output_filename_format={out}/{{nickname}}", *more, f"{image}/data"]
        os.sync()  # what was written before
        started_s, used_s = time.perf_counter(), processor_s()
        subprocess.run(argv, check=True, cwd=out)
        return time.perf_counter() - started_s, processor_s() - used_s


def processor_s() -> float:
    """Return processor seconds of the processes that this one has started and that have ended."""
    import resource  # Windows has none

    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


# --------------------------------------------------------------------------------------------------------- simulation


class FakeRun:
    """Stands for a WorkerRun; sleeps."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def start(self, **limits: object) -> None: ...

    def stop(self) -> None: ...

    def compute(self, task: Task, on_computed: Callable[[], object]) -> Outcome:
        time.sleep(self._seconds)
        return BlockFacts({"Probabilities": ("0123456789abcdef", 0)}, "CPU", self._seconds, ())


async def serve(options: argparse.Namespace) -> None:
    """Start workers, and wait for the scheduler to end."""
    import distributed

    from pixelforest.engine.run import dask_cluster

    dask_cluster._turns = Turns(options.workers)  # one process has all workers
    async with contextlib.AsyncExitStack() as stack:
        for i in range(options.workers):
            worker = distributed.Worker(
                options.scheduler, nthreads=1, name=str(i), memory_limit=0, heartbeat_interval=5
            )
            await stack.enter_async_context(worker)
        await worker.finished()


class Simulation(_Distribution):
    """The loop of a run, with its window and its records, over blocks of no lane."""

    def __init__(self, workers: Any, records: RunFolder, count: int, watch: Any) -> None:
        super().__init__((), workers, None, None, self)  # type: ignore[arg-type]
        self._count, self._folder, self._watch = count, records, watch
        self.done = 0

    def should_stop(self) -> bool:
        return False

    def _tasks(self) -> Iterator[Task]:
        for i in range(self._count):
            box = Box((0, i, 0, 0), (1, i + 1, 1, 1))
            yield BlockTask(0, i, box, {"x": os.urandom(IMAGE_BYTES)}, {}, {})  # type: ignore[dict-item]

    def _take(self, ended: Sequence[tuple[Task, Outcome]]) -> None:
        records = []
        for task, outcome in ended:
            assert isinstance(task, BlockTask), task
            assert isinstance(outcome, BlockFacts), outcome
            facts = {name: {"files": files, "overflow": count} for name, (files, count) in outcome.results.items()}
            records.append({"block": task.index, "results": facts})
        self._folder.add(*records)
        self.done += len(records)
        self._watch(self.done)


def idle_shares(*processes: Any) -> list[float]:
    """Return the share of a processor that each process takes while there is nothing to do but heartbeats."""
    before = [sum(process.cpu_times()[:2]) for process in processes]
    time.sleep(IDLE_S)
    return [(sum(process.cpu_times()[:2]) - s) / IDLE_S for process, s in zip(processes, before, strict=True)]


def simulate(folder: Path, options: argparse.Namespace) -> None:
    import psutil

    from pixelforest.engine.run.dask_cluster import DaskWorkers

    file = folder / "scheduler.json"
    env = {**os.environ, "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False"}
    env["DASK_DISTRIBUTED__ADMIN__LOW_LEVEL_LOG_LENGTH"] = str(options.log_length)
    address = ["--host=127.0.0.1", "--port=0", "--dashboard-address=127.0.0.1:0", f"--scheduler-file={file}"]
    with contextlib.ExitStack() as stack:

        def start(*argv: str) -> psutil.Process:
            process = subprocess.Popen([sys.executable, *argv], env=env, cwd=folder, stderr=subprocess.DEVNULL)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            return psutil.Process(process.pid)

        scheduler = start("-m", "dask", "scheduler", *address)
        while not file.exists():
            time.sleep(TICK_S)
        known = json.loads(file.read_text())["address"]
        server = start(__file__, "serve", f"--workers={options.workers}", f"--scheduler={known}")
        settings = ClusterSettings(known, None, None)
        with DaskWorkers(settings, FakeRun(options.seconds)) as workers:  # type: ignore[arg-type]
            while workers.count() < options.workers:
                time.sleep(TICK_S)
            here, marks = psutil.Process(), []
            idle = idle_shares(scheduler, here, server)
            steps = [max(1, options.count * share // 10) for share in (0, 1, 3, 5, 7, 9, 10)]

            def watch(done: int) -> None:
                if steps and done >= steps[0]:
                    while steps and done >= steps[0]:
                        steps.pop(0)
                    each = [sum(process.cpu_times()[:2]) for process in (scheduler, here, server)]
                    sizes = [process.memory_info().rss / 1e6 for process in (scheduler, here)]
                    marks.append((done, time.perf_counter(), each, sizes))
                    print(f"{done} blocks: scheduler {sizes[0]:.0f} MB, run {sizes[1]:.0f} MB", flush=True)

            records = RunFolder(folder / "result.zarr", "simulated", {})
            Simulation(workers, records, options.count, watch).run()
            records.remove()
    (first, began_s, cpu, _), (last, ended_s, more, _) = marks[0], marks[-1]
    blocks, wall_s = max(1, last - first), ended_s - began_s
    spent = [1e3 * (b - a - share * wall_s) / blocks for a, b, share in zip(cpu, more, idle, strict=True)]
    ideal_s = blocks * options.seconds / options.workers
    print(
        f"{options.count} blocks of {1e3 * options.seconds:.0f} ms on {options.workers} workers: {wall_s:.0f} s, "
        f"{blocks / wall_s:.0f} blocks a second; without overhead {ideal_s:.0f} s"
    )
    print(f"idle: scheduler {100 * idle[0]:.1f} %, {options.workers} workers {100 * idle[2]:.1f} % of a processor")
    print(
        f"more for a block: scheduler {spent[0]:.2f} ms, run {spent[1]:.2f} ms, worker {spent[2]:.2f} ms; "
        f"a task has {len(pickle.dumps(next(Simulation(None, records, 1, None)._tasks())))} bytes"
    )


if __name__ == "__main__":
    sys.exit(main())
