"""``--distributed``: images computed by the processes that mpirun starts."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest
from support import cluster_preload as preload
from support.golden import GOLDEN
from support.killed_runs import SMALL_BLOCKS, contents

from pixelforest import cli

if find_spec("dask_mpi") is None or find_spec("mpi4py") is None:
    pytest.skip("dask-mpi and mpi4py are not installed", allow_module_level=True)
PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
MPIRUN = shutil.which("mpiexec", path=PATH)
# In a process of its own: MPI is started by its import, and can be only once.
HAS_MPI = subprocess.run([sys.executable, "-c", "from mpi4py import MPI"], check=False, capture_output=True)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(MPIRUN is None or HAS_MPI.returncode != 0, reason="there is no library of MPI, or no mpiexec"),
]

IMAGE = str(GOLDEN / "px3d" / "raw.h5" / "data")
COUNT = 8  # blocks of the region
REGION = "--cutout_subregion=[(0, 0, 0, None), (24, 48, 48, None)]"
RANK = f"""{SMALL_BLOCKS}
from pixelforest.__main__ import start
start()
"""
# The run takes the blocks that ended first, says so, and waits for a signal.
HELD_RANK = f"""
import pathlib, time
from pixelforest.engine.run.block_run import SharedBlocks
add = SharedBlocks.add

def add_and_wait(*args):
    add(*args)
    pathlib.Path("held").touch()
    while True:
        time.sleep(0.01)

SharedBlocks.add = add_and_wait
{RANK}"""


def words(*more: str, out: str = "out") -> list[str]:
    argv = ["--headless", f"--project={GOLDEN / 'px3d' / 'project.ilp'}", REGION, "--device=cpu", "--threads=1"]
    return [*argv, f"--output_filename_format={out}/{{nickname}}.h5", *more, IMAGE]


def start(count: int, argv: list[str], *, program: str = RANK) -> subprocess.Popen[str]:
    """Start a command line in this number of processes; what they compute is noted in a file."""
    env = {**os.environ, preload.COMPUTED: os.path.abspath("computed"), preload.KILL: os.path.abspath("kill")}
    env["DASK_DISTRIBUTED__WORKER__PRELOAD"] = preload.__file__
    command = [str(MPIRUN), "-n", str(count), sys.executable, "-c", program, *argv]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def run(count: int, argv: list[str]) -> tuple[int, str]:
    process = start(count, argv)
    text = process.communicate()[0]
    return process.returncode, text


def run_alone() -> dict[str, bytes]:
    """Return the files of a process of its own, without a cluster."""
    argv = words("--output_format=compressed n5", out="alone")
    program = f"{SMALL_BLOCKS}\nimport sys\nfrom pixelforest import cli\nsys.exit(cli.main(sys.argv[1:]))"
    subprocess.run([sys.executable, "-c", program, *argv], check=True, capture_output=True)
    return contents(Path("alone"))


def computed() -> Counter[str]:
    return Counter(Path("computed").read_text().splitlines())


@pytest.mark.parametrize("count", [3, 4])
def test_an_image_has_the_bytes_of_one_process(count: int, work_folder: Path) -> None:
    """It is N5, whatever the format, as in ilastik."""
    more = ["--distributed", "--distributed_block_roi={'x': 16, 'y': 16, 'z': 16}", "--output_format=tiff"]
    status, text = run(count, words(*more))
    assert status == 0, text
    assert text.count("Completed Batch Processing") == 1
    assert text.count("--output_format has no effect with --distributed") == 1
    assert text.count("--distributed_block_roi has no effect") == 1
    assert contents(Path("out")) == run_alone()
    assert len(computed()) == computed().total() == COUNT


def test_a_run_in_which_an_input_fails_ends(work_folder: Path) -> None:
    """Formats of one writer are possible, too."""
    shutil.copy(GOLDEN / "px2d_gray" / "raw.png", "a.png")
    Path("b.png").write_bytes(b"no picture")
    argv = [f"--project={GOLDEN / 'px2d_gray' / 'project.ilp'}", "--output_format=numpy", "--device=cpu"]
    argv += ["--scheduler=mpi", "--output_filename_format=out/{nickname}", "a.png", "b.png"]
    status, text = run(3, argv)
    assert status == 3, text
    assert text.count("1 of 2 inputs failed") == 1
    assert list(contents(Path("out"))) == ["a.npy"]
    status, text = run(3, ["--scheduler=mpi", "--project=missing.ilp", "a.png"])
    assert status == 1, text
    assert text.count("missing.ilp") == 2  # the line of ilastik that it is opened, and the error


def test_an_interrupted_run_ends_and_continues(work_folder: Path) -> None:
    process = start(3, words("--distributed"), program=HELD_RANK)
    while not Path("held").exists():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    text = process.communicate()[0]
    assert process.returncode != 0
    assert "interrupted; the same command with --resume continues" in text
    status, text = run(3, words("--distributed"))
    assert status == 0, text
    assert contents(Path("out")) == run_alone()
    assert len(computed()) == COUNT
    assert computed().total() <= COUNT + 2  # of one worker, a block in work and one that waits


def test_too_few_processes_are_refused(work_folder: Path) -> None:
    status, text = run(1, words("--distributed"))
    assert status == 1, text
    assert "--distributed needs at least 3 processes" in text
    assert "mpirun -n 3; --scheduler=local:N needs no MPI" in text
    assert not Path("out").exists()


def test_without_the_packages_one_line_says_so(
    work_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "dask_mpi", None)
    assert cli.main(words("--distributed")) == 1
    error = capsys.readouterr().err
    assert "--distributed needs MPI and dask-mpi: pip install 'pixelforest[mpi]', and start it with mpirun" in error
    assert "--scheduler=local:N needs neither" in error
