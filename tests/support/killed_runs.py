"""Runs in processes of their own that kill themselves, as by ``kill -9``, in a state that a test names."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

KILLED = -signal.SIGKILL if sys.platform != "win32" else 1

# argv: a JSON list of a place ("module:Class.method"), "before" or "after", the number of the call and the signal, a
# file for what is computed, and the words of the command line.
PROGRAM = """
import importlib, itertools, json, os, sys
(place, moment, count, number), computed, *words = json.loads(sys.argv[1])
from pixelforest import cli
from pixelforest.engine.run import batch
from pixelforest.engine.workflows.autocontext import workflow as autocontext_workflow
from pixelforest.engine.workflows.pixel import workflow as pixel_workflow

def note(text):
    with open(computed, "a") as file:
        file.write(f"{text}\\n")

if place:
    module, _, path = place.partition(":")
    *parents, name = path.split(".")
    owner = importlib.import_module(f"pixelforest.engine.{module}")
    for parent in parents:
        owner = getattr(owner, parent)
    original, calls = getattr(owner, name), itertools.count(1)  # each thread gets a number of its own

    def call(*args, **options):
        is_the_one = next(calls) == count
        if moment == "before" and is_the_one:
            os.kill(os.getpid(), number)
        result = original(*args, **options)
        if moment == "after" and is_the_one:
            os.kill(os.getpid(), number)
        return result

    setattr(owner, name, call)

def noted(classify):
    def classify_noted(project, images, exports, **options):
        export = next(iter(exports.values()))
        whole = images[project.roles[0]]
        note(f"{whole.nickname} {export.region.start}")
        return classify(project, images, exports, **options)
    return classify_noted

for workflow in (pixel_workflow, autocontext_workflow):
    workflow.classify_lane = noted(workflow.classify_lane)
sys.exit(cli.main(words))
"""
# Chunks of 8 kB, in files of their own or several in a shard, and blocks of several of them.
SMALL_BLOCKS = """
from pixelforest.engine.formats.support import ome_zarr_layout
from pixelforest.engine.run import turns
from pixelforest.engine.storage import chunks
from pixelforest.engine.tiling import blocks
blocks.BLOCK_VOXELS = 1 << 13
turns.LONG_S = 1e9  # one block is in work, on a slow machine, too
ome_zarr_layout.CHUNK_BYTES = 1 << 13
ome_zarr_layout.SHARDED_ABOVE = 16
ome_zarr_layout.SHARD_CHUNKS = 2
chunks.chunk_shape.__kwdefaults__["chunk_bytes"] = 1 << 13
"""


class State(NamedTuple):
    """Moment of a run: before or after the n-th call of a function of the engine, which gets a signal then."""

    place: str
    moment: str
    count: int
    number: int = signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL


UNDISTURBED = State("", "", 0)


def run_until(state: State, words: Sequence[str], *, computed: Path, is_small: bool = False) -> tuple[int, str]:
    """Run a command line that gets a signal in a state; returns the status, and what it wrote.

    computed  file to which a line is appended for every lane or block whose computation begins
    is_small  True for small chunks and blocks
    """
    program = SMALL_BLOCKS + PROGRAM if is_small else PROGRAM
    argv = [sys.executable, "-c", program, json.dumps([state, str(computed), *words])]
    done = subprocess.run(argv, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.returncode, done.stdout


def contents(folder: Path) -> dict[str, bytes]:
    """Everything in a folder but records and what killed runs left: relative path -> bytes."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
        if not any(part == ".pixelforest-resume" or part.endswith((".part", ".blocks")) for part in file.parts)
    }
