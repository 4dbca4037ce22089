"""All measurements on a GPU by one command: the most important first, ten minutes at most, every result kept at once.

    make gpu bench-gpu                    on a machine with a GPU: measurements, then the tests that need one
    python bench/on_gpu.py --seconds 300

Each step is a process of its own. One that fails, or that takes more than its share of the time, ends alone: its rows
so far are in the JSON file, its output is in the text file, and the next one begins.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

BENCH = Path(__file__).resolve().parent
FOLDER = BENCH.parent / "gpu-results"
SECONDS = 590.0
PYTHON = "{python}"
ROWS = "--json={rows}"


@dataclass(frozen=True)
class Step:
    """A process.

    words    of its command; {python}, {bench} and {rows} are replaced
    seconds  that it may take at most
    """

    name: str
    words: tuple[str, ...]
    seconds: float


def bench(name: str, script: str, *words: str, seconds: float) -> Step:
    """Make a step of a script of this folder."""
    return Step(name, (PYTHON, f"{{bench}}/{script}.py", *words, ROWS), seconds)


NEEDED = Step("the CPU's bits", (PYTHON, "-m", "pixelforest", "doctor", "--device=cuda"), 90)
"""Without it nothing else is worth its time."""
STEPS = (
    bench("whole images, 2-D", "cuda_pipeline", "--case=2d-8192", "--repeats=3", seconds=90),
    bench("both kernels of forests, 2-D", "cuda_forest", "--case=2d-2048", "--repeats=10", "--no-peers", seconds=90),
    bench("features, 2-D", "cuda_features", "--case=2d-2048", "--repeats=5", seconds=45),
    bench("whole images, 3-D", "cuda_pipeline", "--case=3d-512", "--repeats=2", seconds=90),
    bench("features, 3-D", "cuda_features", "--case=3d-128", "--repeats=5", seconds=45),
    bench("both kernels of forests, 3-D", "cuda_forest", "--case=3d-128", "--repeats=10", "--no-peers", seconds=90),
    bench("start", "cuda_startup", "--case=2d-512", "--repeats=3", seconds=60),
    bench("objects", "cuda_objects", "--case=2d-8192", "--repeats=3", seconds=60),
)
TESTS = Step("tests", (PYTHON, "-m", "pytest", "-m", "gpu", "-n", "4", "-q"), 300)
REST = (
    bench("larger images", "cuda_features", "--case=2d-4096", "--case=3d-256", seconds=60),
    bench("objects, 3-D", "cuda_objects", "--case=3d-512", "--repeats=3", seconds=90),
    bench("nvForest", "cuda_forest", "--case=2d-2048", "--repeats=5", seconds=90),
)


def main(
    words: Sequence[str] | None = None,
    *,
    needed: Step = NEEDED,
    steps: Sequence[Step] = STEPS,
    tests: Step = TESTS,
    rest: Sequence[Step] = REST,
) -> int:
    """Run all steps for which there is time. The steps: replaced by tests."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"time for everything (default: {SECONDS:.0f})")
    parser.add_argument("--tests", action="store_true", help="also run the tests that need a GPU")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="folder for rows and output (default: gpu-results)")
    parser.add_argument("--dry-run", action="store_true", help="list the steps")
    options = parser.parse_args(words)
    planned = [*steps, *([tests] if options.tests else []), *rest]
    if options.dry_run:
        for step in (needed, *planned):
            print(f"{step.name:32} {step.seconds:4.0f} s at most")
        return 0
    options.folder.mkdir(parents=True, exist_ok=True)
    stem = options.folder / time.strftime("%Y-%m-%dT%H-%M-%S")
    rows, log = stem.with_suffix(".jsonl"), stem.with_suffix(".txt")
    end = time.monotonic() + options.seconds
    outcomes = [run_step(needed, rows, log, end)]
    if outcomes[0] == "done":
        outcomes += [run_step(step, rows, log, end) for step in planned]
    else:
        planned = []
    say(log, "")
    for step, outcome in zip((needed, *planned), outcomes, strict=True):
        say(log, f"{step.name:32} {outcome}")
    say(log, f"rows: {rows}\noutput: {log}")
    return 0 if all(outcome == "done" for outcome in outcomes) else 1


def run_step(step: Step, rows: Path, log: Path, end: float) -> str:
    """Run a step until ``end`` at most, show and keep its output; returns what became of it."""
    started = time.monotonic()
    seconds = min(step.seconds, end - started)
    if seconds <= 0:
        return "no time left"
    say(log, f"\n==== {step.name}")
    words = [word.format(python=sys.executable, bench=BENCH, rows=rows) for word in step.words]
    with log.open("ab") as output:
        written = output.tell()
        process = subprocess.Popen(
            words, stdout=output, stderr=subprocess.STDOUT, cwd=BENCH.parent, start_new_session=True
        )
        try:
            status: int | None = process.wait(seconds)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    with log.open("rb") as output:
        output.seek(written)
        print(output.read().decode(errors="replace"), end="", flush=True)
    if status is None:
        return f"stopped after {seconds:.0f} s; what it had measured is kept"
    return "done" if status == 0 else f"failed with status {status}"


def say(log: Path, text: str) -> None:
    """Show and keep a line."""
    print(text, flush=True)
    with log.open("a", encoding="utf-8") as output:
        output.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
