"""No library works beside the threads that were asked for: processor time counted thread by thread, not speed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from support.golden import GOLDEN

from pixelforest.engine.machine import granted_cpus

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are told apart by Linux's /proc")
PROJECT = GOLDEN / "px2d_gray" / "project.ilp"
RAW = GOLDEN / "px2d_gray" / "raw.png"
# A thread that a library keeps waiting may have been charged for being started: ticks of 10 ms.
STARTED_TICKS = 2
# Threads end before the process does, so their time is read again and again.
RUN = """
import json, os, sys, threading
from pixelforest.__main__ import main

def ticks():
    found = {}
    for task in os.listdir("/proc/self/task"):
        try:
            text = open(f"/proc/self/task/{task}/stat").read()
        except OSError:
            continue
        fields = text.rpartition(")")[2].split()
        found[int(task)] = int(fields[11]) + int(fields[12])
    return found

seen, own, stop = {}, set(), threading.Event()

def watch():
    own.add(threading.get_native_id())
    while not stop.wait(0.02):
        for task, used in ticks().items():
            seen[task] = max(used, seen.get(task, 0))
        known.update({t.native_id: t.name for t in threading.enumerate()})

known = {}
watcher = threading.Thread(target=watch, daemon=True)
watcher.start()
status = main()
stop.set()
watcher.join()
for task, used in ticks().items():
    seen[task] = max(used, seen.get(task, 0))
print(json.dumps([status, [[known.get(t, ""), used] for t, used in seen.items() if t not in own]]))
"""


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Large enough for tens of ticks and a tile for each of several threads."""
    path = tmp_path_factory.mktemp("threads") / "large.h5"
    pixels = np.tile(np.asarray(Image.open(RAW)), (4, 4))
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=pixels[:512, :1024], chunks=(128, 128), compression="gzip")
    return path


def used_ticks(picture: Path, folder: Path, threads: int, output: str) -> dict[str, int]:
    """Ticks of each thread of Python's by its name; "" is what libraries started on their own."""
    words = ["--headless", f"--project={PROJECT}", "--quiet", f"--threads={threads}", f"--output_format={output}"]
    words += [f"--output_filename_format={folder}/result", "--input_axes=yx", f"{picture}/data"]
    # Nothing in the environment may be needed to keep libraries quiet.
    plain = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    done = subprocess.run([sys.executable, "-c", RUN, *words], capture_output=True, text=True, env=plain, check=False)
    assert done.returncode == 0, done.stderr
    status, found = json.loads(done.stdout.splitlines()[-1])
    assert status == 0, done.stderr
    used: dict[str, int] = {}
    for name, ticks in found:
        used[name] = used.get(name, 0) + ticks
    return used


@pytest.mark.slow
@pytest.mark.parametrize("output", ["compressed hdf5", "multipage tiff", "tiff"])
def test_one_thread_is_one_thread(output: str, picture: Path, tmp_path: Path) -> None:
    used = used_ticks(picture, tmp_path, 1, output)
    main = used.pop("MainThread")
    assert main > 20  # it did compute
    assert sum(used.values()) <= STARTED_TICKS, used


@pytest.mark.skipif(granted_cpus() < 2, reason="threads need processors")
def test_threads_that_were_asked_for_share_the_work(picture: Path, tmp_path: Path) -> None:
    asked = min(3, granted_cpus())
    used = used_ticks(picture, tmp_path, asked, "compressed hdf5")
    workers = {name: ticks for name, ticks in used.items() if name.startswith("tile")}
    assert len(workers) == asked
    assert all(ticks > 0 for ticks in workers.values()), used
    assert used.get("", 0) <= STARTED_TICKS, used
