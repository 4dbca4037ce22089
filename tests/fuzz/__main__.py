"""``python -m tests.fuzz``: damaged cases by name and by chance, until the time is over; what does not hold is kept.

A finding is a file with the case's seed, number, command and files, to be run again with ``--replay``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz import forks
from tests.fuzz.cases import KINDS, Case, make_case, read_case, undamaged_cases
from tests.fuzz.damaged import all_cases
from tests.fuzz.verdicts import judge

_FIRST_RUN_S = 600.0  # kernels may have to be compiled


@dataclass(frozen=True)
class Place:
    """Places of a worker: the folder of a case, the folder of its output, a file for HDF5 to edit."""

    root: Path

    @property
    def folder(self) -> Path:
        return self.root / "case"

    @property
    def scratch(self) -> Path:
        return self.root / "edited.h5"


def main(argv: Sequence[str] | None = None) -> int:
    options = _parse(argv)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        os.environ["HOME"] = folder
        forks.prepare()
        if options.replay:
            return _replay(options.replay, Path(folder))
        findings = 0
        if not (options.skip_starts or options.number):
            findings += _check_starts(Path(folder), options.findings)
        if not (options.skip_named or options.number):
            findings += _check_named(Path(folder), options.findings)
        findings += _fuzz(options, Path(folder))
    if findings:
        print(f"{findings} findings in {options.findings}; run one again with --replay FILE", flush=True)
    return 1 if findings else 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make fuzz ARGS=...", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long, without the start (default: 60)")
    parser.add_argument("--cases", type=int, help="a number of random cases instead of a time")
    parser.add_argument("--seed", type=int, default=1, help="of the random cases (default: 1); 0: another each time")
    parser.add_argument("--number", type=int, help="only the random case of this number")
    parser.add_argument("--skip-starts", action="store_true", help="no undamaged cases before the others")
    parser.add_argument("--skip-named", action="store_true", help="no named cases before the random ones")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="processes at once")
    parser.add_argument("--kinds", default=",".join(KINDS), help=f"of {','.join(KINDS)}")
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"), help="folder for what does not hold")
    parser.add_argument("--replay", type=Path, help="run one finding again and show what it prints")
    options = parser.parse_args(argv)
    options.kinds = tuple(options.kinds.split(","))
    options.seed = options.seed or time.time_ns() % 10**9
    return options


def _replay(path: Path, folder: Path) -> int:
    case = read_case(path)
    print(case.label, "\npixelforest", *map(repr, case.words))
    explained, done, wrong = try_case(case, Place(folder), hang_s=forks.HANG_S)
    for name, ending in (("explain", explained), ("run", done)):
        print(f"\n{name}: status {ending.status}, {ending.seconds:.1f} s, {ending.growth_bytes >> 20} MiB more")
        print(ascii(ending.stderr).replace("\\n", "\n") if ending.stderr else "")
    print(*wrong or ["nothing is wrong"], sep="\n")
    return 1 if wrong else 0


def try_case(case: Case, place: Place, *, hang_s: float) -> tuple[forks.Ending, forks.Ending, list[str]]:
    """Explain a case, then run it in the same folder."""
    shutil.rmtree(place.folder, ignore_errors=True)
    place.folder.mkdir(parents=True)
    case.write(place.folder)
    words = [word for word in case.words if word not in ("--json", "--debug")]
    explained = forks.run_command(["--dry_run", "--json", *words], place.folder, place.root, hang_s=hang_s)
    done = forks.run_command(words, place.folder, place.root, hang_s=hang_s)
    return explained, done, judge(explained, done)


def _check_starts(folder: Path, findings: Path) -> int:
    """Undamaged cases must work; they compile what the others need. How many do not."""
    found = 0
    place = Place(folder / "starts")
    for case in undamaged_cases():
        _, done, wrong = try_case(case, place, hang_s=_FIRST_RUN_S)
        wrong = [line for line in wrong if " took " not in line and " grew " not in line]  # it may compile
        if done.status:
            wrong.append(f"the undamaged case ended with {done.status}: {done.stderr.strip()[-300:]}")
        found += _report(case, wrong, findings, f"start-{case.label}")
    return found


def _check_named(folder: Path, findings: Path) -> int:
    """Named cases must end as they should; how many do not."""
    found = 0
    place = Place(folder / "named")
    for name, damaged in all_cases().items():
        case = damaged.make()
        explained, done, wrong = try_case(case, place, hang_s=forks.HANG_S)
        found += _report(case, [*wrong, *damaged.judge(explained, done, place.folder)], findings, f"named-{name}")
    return found


def _fuzz(options: argparse.Namespace, folder: Path) -> int:
    """Random cases, dealt to workers by their numbers; how many do not hold."""
    start = time.monotonic()
    workers = []
    for index in range(1 if options.number else options.workers):
        reader, writer = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(reader)
            try:
                done, found = _work(options, index, Place(folder / f"worker{index}"))
                os.write(writer, f"{done} {found}".encode("ascii"))
            finally:
                os._exit(0)
        os.close(writer)
        workers.append((pid, reader))
    done = found = 0
    for pid, reader in workers:
        with os.fdopen(reader) as pipe:
            counts = pipe.read().split()
        os.waitpid(pid, 0)
        if len(counts) != 2:
            print("a worker of the fuzzer ended early", flush=True)
            found += 1
            continue
        done, found = done + int(counts[0]), found + int(counts[1])
    print(f"seed {options.seed}: {done} random cases in {time.monotonic() - start:.0f} s, {found} findings", flush=True)
    return found


def _work(options: argparse.Namespace, index: int, place: Place) -> tuple[int, int]:
    """One worker's cases; how many there were, and how many do not hold."""
    place.root.mkdir(parents=True)
    done = found = 0
    for number in _numbers(options, index):
        case = make_case(options.seed, number, place.scratch, options.kinds)
        _, _, wrong = try_case(case, place, hang_s=forks.HANG_S)
        if any(" took more than " in line for line in wrong):  # the machine may have been busy
            _, _, wrong = try_case(case, place, hang_s=2 * forks.HANG_S)
        done += 1
        name = f"{options.seed}-{number}"
        found += _report(case, wrong, options.findings, name, seed=options.seed, number=number)
    shutil.rmtree(place.root, ignore_errors=True)
    return done, found


def _numbers(options: argparse.Namespace, index: int) -> Iterator[int]:
    if options.number:
        yield options.number
        return
    end = time.monotonic() + options.seconds
    number = index + 1
    while number <= options.cases if options.cases else time.monotonic() < end:
        yield number
        number += options.workers


def _report(case: Case, wrong: list[str], findings: Path, name: str, **more: int) -> int:
    """Say and keep what is wrong with a case; 1 if something is."""
    if not wrong:
        return 0
    findings.mkdir(parents=True, exist_ok=True)
    path = findings / f"{''.join(c if c.isalnum() else '-' for c in name)}.json"
    path.write_text(case.to_json(wrong=wrong, **more), encoding="utf-8")
    print(f"{path}: {case.label[:200]!a}", *(f"    {line!a}"[:400] for line in wrong), sep="\n", flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main())
