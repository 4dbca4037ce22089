"""Comparison of pixelforest's command line with ilastik's, file to file, whole processes.

If $ILASTIK names ilastik's start script, both run here in turn, and their files are compared value by value. Otherwise
only pixelforest runs, and the recorded table is shown too; it was measured on another day and maybe another machine, so
read both heads before comparing. Both get the same number of threads.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from cases import Case, chosen_cases, list_cases, make_parser, parse
from data import Material, prepare
from measure import Report, Timing, join_timings, run_process, usable_processors

RECORDED = Path(__file__).parent / "results" / "ilastik-1.4.3.dev28.json"
DATASET = "exported_data"
_COMPARED_AT_ONCE = 1 << 24  # values


@dataclass(frozen=True)
class Program:
    """Command line to be measured. ``environment`` is added to this process's own."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str]

    def run(self, case: Case, material: Material, folder: Path) -> Timing:
        """Run the program once; its results are ``{nickname}.h5`` in ``folder``. Ends the bench if it fails."""
        folder.mkdir(exist_ok=True)
        for path in folder.iterdir():
            path.unlink()
        words = [
            *("--headless", f"--project={material.project.path}", "--output_format=hdf5"),
            *(f"--export_source={case.result}", f"--output_filename_format={folder / '{nickname}.h5'}"),
        ]
        return run_process([*self.command, *words, *material.images], environment=self.environment)


def main(words: Sequence[str] | None = None) -> int:
    defaults = ("start", "2d-2048", "2d-4096", "3d-128", "3d-256")
    parser = make_parser(__doc__, defaults=defaults, quick=("2d-quick",))
    options = parse(parser, words)
    cases = chosen_cases(options)
    script = os.environ.get("ILASTIK")
    if options.dry_run:
        print(
            f"compared with {script}"
            if script
            else f"compared with the recorded table {RECORDED.name}; set ILASTIK to run it"
        )
        list_cases(cases)
        return 0
    threads = options.threads or usable_processors()
    repeats = options.repeats or (1 if options.quick else 5)
    environment = {"LAZYFLOW_THREADS": str(threads)}
    ours = Program("pixelforest", (sys.executable, "-m", "pixelforest"), environment)
    theirs = Program("ilastik", (script,), environment) if script and not options.no_peers else None
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))
    report = Report("against_ilastik", options.json)
    if theirs is None:
        report.note(
            f"{recorded['program']}, recorded {recorded['date']}: {recorded['machine']}, {recorded['settings']}"
        )
        report.note(f"  its projects: {recorded['project']}")
    for case in cases:
        material = prepare(case, options)
        with tempfile.TemporaryDirectory(prefix="pixelforest-bench-") as folder:
            _measure(report, case, material, Path(folder), ours, theirs, recorded, threads=threads, repeats=repeats)
    return 0


def _measure(
    report: Report,
    case: Case,
    material: Material,
    folder: Path,
    ours: Program,
    theirs: Program | None,
    recorded: dict[str, Any],
    *,
    threads: int,
    repeats: int,
) -> None:
    report.begin(
        f"{case.name}: {case.describe()}",
        name=case.name,
        shape=case.shape,
        files=case.files,
        result=case.result,
        checksum=material.checksum,
        project=str(material.project.path),
    )
    settings = f"{threads} thread{'s' if threads > 1 else ''}"
    programs = [ours] if theirs is None else [ours, theirs]
    timings: dict[str, list[Timing]] = {program.name: [] for program in programs}
    if repeats > 1:
        for program in programs:
            program.run(case, material, folder / program.name)  # fills the file cache, compiles kernels if necessary
    for _ in range(repeats):
        for program in programs:
            timings[program.name].append(program.run(case, material, folder / program.name))
    own = join_timings(timings[ours.name])
    report.row("pixelforest", own, settings=settings, voxels=case.voxels)
    if theirs is not None:
        other = join_timings(timings[theirs.name])
        note = other.compared_with(own)
        report.row("ilastik", other, settings=settings, voxels=case.voxels, note=note)
        _compare(report, folder / ours.name, folder / theirs.name, files=case.files if case.shape else 0)
        return
    found = [row for row in recorded["rows"] if row["case"] == case.name]
    if not found:
        report.note("ilastik: nothing recorded for this case")
        return
    row = found[0]
    runs = f"median of {row['runs']}" if row["runs"] else "runs not counted"
    note = f"{row['median'] / own.median:.1f} times ours; {runs}"
    report.recorded_row("ilastik, recorded", row, voxels=case.voxels, note=note, recorded=recorded["date"])


def _compare(report: Report, ours: Path, theirs: Path, *, files: int) -> None:
    """Compare every file that either wrote value by value, including bit patterns."""
    names = sorted({p.name for folder in (ours, theirs) for p in folder.iterdir()})
    differing, values, largest = 0, 0, 0.0
    for name in names:
        if not ((ours / name).exists() and (theirs / name).exists()):
            raise SystemExit(f"only one of the two wrote {name}")
        with h5py.File(ours / name, "r") as a, h5py.File(theirs / name, "r") as b:
            left, right = a[DATASET], b[DATASET]
            if left.shape != right.shape or left.dtype != right.dtype:
                raise SystemExit(f"{name}: {left.shape} {left.dtype} and {right.shape} {right.dtype}")
            rows = max(1, _COMPARED_AT_ONCE // max(1, int(np.prod(left.shape[1:]))))
            for first in range(0, left.shape[0], rows):
                one, other = left[first : first + rows], right[first : first + rows]
                values += one.size
                unequal = (one != other) & ~((one != one) & (other != other))
                differing += int(unequal.sum())
                if unequal.any():
                    gap = np.abs(one[unequal].astype(np.float64) - other[unequal])
                    largest = max(largest, float(gap.max()))
    if len(names) != files:
        raise SystemExit(f"{files} results were to be compared, {len(names)} were written")
    report.note(
        f"{values} values compared, {differing} differ, by at most {largest:.3g}",
        values=values,
        differing=differing,
        largest=largest,
    )


if __name__ == "__main__":
    sys.exit(main())
