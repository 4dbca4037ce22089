"""Processes with emulated GPUs.

    python -m support.emulated_gpu.run -m pixelforest doctor --device=cuda

runs Python with emulated GPUs and ends with status 99 if something was found. Settings are in the environment:

EMULATED_GPUS, EMULATED_CAPABILITY, EMULATED_MULTIPROCESSORS, EMULATED_MEMORY
                          number of devices (1), and of each: 90, 75 and the like (90), 8, bytes (4 GiB); tiles of
                          recorded images do not occupy 8, so that they do not time variants of kernels
EMULATED_PINNED           bytes of pinned memory that there are
EMULATED_BUSY             devices of another process, as bits
EMULATED_FAILING_LAUNCH   number of the launch that meets an illegal address
EMULATED_LATE=0           streams work at once; otherwise as late as possible
EMULATED_SEED             of a random order of warps; 0 (default): in order
EMULATED_RACES=0          races are not searched for
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.emulated_gpu.build import build, find_missing

STARTUP = Path(__file__).with_name("startup")
STATUS_OF_FINDINGS = 99


@dataclass(frozen=True)
class Done:
    """A process that has ended.

    findings  misuse of CUDA that a device would not notice, and faults of kernels
    use       what it used, see describe_use in gpus.cpp; empty for a process that was killed
    """

    status: int
    output: str
    findings: tuple[str, ...]
    use: dict[str, Any]


def environment(log: Path, **settings: int) -> dict[str, str]:
    """Environment of a process with emulated GPUs; settings are those above, such as ``memory=1 << 20``."""
    library = build()
    ptx = library.parent / "emulated-ptx"
    ptx.mkdir(exist_ok=True)
    paths = [str(STARTUP), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "EMULATED_LIBRARY": str(library),
        "EMULATED_PTX": str(ptx),
        "EMULATED_LOG": str(log),
        **{f"EMULATED_{name.upper()}": str(value) for name, value in settings.items()},
    }


def run(arguments: Sequence[str], folder: Path, *, capture: bool = True, **settings: int) -> Done:
    """Run Python with these arguments and emulated GPUs. ``folder``: for the log."""
    log = folder / "emulated.log"
    log.write_text("")
    done = subprocess.run(
        [sys.executable, *arguments],
        env=environment(log, **settings),
        stdout=subprocess.PIPE if capture else None,
        stderr=subprocess.STDOUT if capture else None,
        text=True,
        check=False,
    )
    lines = log.read_text().split("\n")
    reports = [json.loads(line.removeprefix("REPORT ")) for line in lines if line.startswith("REPORT ")]
    text = "\n".join(line for line in lines if not line.startswith("REPORT "))
    findings = tuple(filter(None, (each.strip() for each in text.split("FINDING "))))
    return Done(done.returncode, done.stdout or "", findings, reports[-1] if reports else {})


def main() -> int:
    """Run Python with the arguments of this process."""
    if reason := find_missing():
        print(f"GPUs cannot be emulated: {reason}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        done = run(sys.argv[1:], Path(folder), capture=False)
    for finding in done.findings:
        print(f"FINDING {finding}", file=sys.stderr)
    return STATUS_OF_FINDINGS if done.findings else done.status


if __name__ == "__main__":
    sys.exit(main())
