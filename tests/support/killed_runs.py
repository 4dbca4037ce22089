"""Runs in processes of their own that kill themselves, as by ``kill -9``, in a state that a test names."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

# argv: module:Class.method, "before" or "after", number of the call, file for the names of lanes that are computed, and
# the words of the command line.
PROGRAM = """
import importlib, os, signal, sys
place, moment, count, started, *words = sys.argv[1:]
from pixelforest import cli
from pixelforest.engine.run import batch

if place:
    module, _, path = place.partition(":")
    *parents, name = path.split(".")
    owner = importlib.import_module(f"pixelforest.engine.{module}")
    for parent in parents:
        owner = getattr(owner, parent)
    original, calls = getattr(owner, name), []

    def call(*args, **options):
        calls.append(1)
        if moment == "before" and len(calls) == int(count):
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **options)
        if moment == "after" and len(calls) == int(count):
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, call)

compute = batch._Batch._compute

def compute_noted(self, lane, resources):
    with open(started, "a") as file:
        file.write(f"{lane.name}\\n")
    return compute(self, lane, resources)

batch._Batch._compute = compute_noted
sys.exit(cli.main(words))
"""


def run_killed(state: tuple[str, str, int], started: Path, words: Sequence[str]) -> int:
    """Run a command line that is killed before or after the n-th call of a function; returns the status.

    started  file to which the name of every lane that is computed is appended
    """
    place, moment, count = state
    argv = [sys.executable, "-c", PROGRAM, place, moment, str(count), str(started), *words]
    return subprocess.run(argv, check=False, stdout=subprocess.DEVNULL, env=os.environ.copy()).returncode


KILLED = -signal.SIGKILL if sys.platform != "win32" else 1


def contents(folder: Path) -> dict[str, bytes]:
    """Everything in a folder but records and what killed runs left: relative path -> bytes."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
        if not any(part == ".pixelforest-resume" or part.endswith(".part") for part in file.parts)
    }
