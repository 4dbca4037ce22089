"""Commands run in processes of their own, forked off one that has imported everything: a few milliseconds each."""

from __future__ import annotations

import gc
import os
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MAX_GROWTH_BYTES = 500 * 2**20
HANG_S = 10.0
_KILL_GROWTH_BYTES = 2 * 2**30  # what grows further is ended for the sake of the machine
_POLL_S = 0.005
_BUSY_FACTOR = 4  # how much longer what waits may take than what computes
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_MAX_OUTPUT_BYTES = 1 << 20
_CRASHED = 99
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Ending:
    """End of a command.

    status        of the process; negative: the signal that ended it
    seconds       of wall time
    growth_bytes  of resident memory, beyond what the process had when it was forked
    """

    status: int
    seconds: float
    growth_bytes: int
    stdout: str
    stderr: str
    is_hung: bool


def prepare() -> None:
    """Import what runs import, once. Libraries that start threads when they are imported are left to the forks."""
    import h5py  # noqa: F401
    import imagecodecs  # noqa: F401
    import numpy  # noqa: F401
    import tifffile  # noqa: F401
    from PIL import BmpImagePlugin, GifImagePlugin  # noqa: F401

    import pixelforest.cli
    import pixelforest.engine.run.explain
    import pixelforest.engine.workflows.objects.flow
    import pixelforest.frontend.text_explain
    import pixelforest.kernels.cpu.host.measure
    import pixelforest.kernels.cpu.host.neighbourhood  # noqa: F401
    from pixelforest import kernels
    from pixelforest.engine.formats import input_formats, output_formats

    input_formats(), output_formats()
    kernels.load("cpu")
    assert threading.active_count() == 1
    gc.collect()
    gc.freeze()


def run_command(words: Sequence[str], folder: Path, outputs: Path, *, hang_s: float = HANG_S) -> Ending:
    """Run ``pixelforest`` with these words in a folder.

    outputs  a folder for what it prints
    """
    out, err = outputs / "stdout", outputs / "stderr"
    start = time.monotonic()
    pid = os.fork()
    if not pid:
        _be_the_command(words, folder, out, err)
    before = _resident_bytes(str(pid))
    status, usage, is_hung = _await(pid, hang_s, before)
    seconds = time.monotonic() - start
    growth = max(0, usage.ru_maxrss * 1024 - before)
    return Ending(status, seconds, growth, _read(out), _read(err), is_hung)


def _be_the_command(words: Sequence[str], folder: Path, out: Path, err: Path) -> None:
    """Work of the fork; never returns."""
    status = _CRASHED
    try:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, 1 << 30))
        os.chdir(folder)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(os.open(out, flags), 1)
        os.dup2(os.open(err, flags), 2)
        from pixelforest.cli import main

        status = main(list(words))
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(status)


def _await(pid: int, hang_s: float, before: int) -> tuple[int, resource.struct_rusage, bool]:
    """Wait for a fork to end; end it if it is late or too large.

    One that has not computed for half of the time may have had no processor on a busy machine, and gets more time.
    """
    start = time.monotonic()
    is_hung = False
    while True:
        found, code, usage = os.wait4(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(code), usage, is_hung
        seconds = time.monotonic() - start
        is_late = seconds > hang_s and (_spent_seconds(pid) > hang_s / 2 or seconds > _BUSY_FACTOR * hang_s)
        if is_late or _resident_bytes(str(pid)) - before > _KILL_GROWTH_BYTES:
            is_hung = is_late
            os.kill(pid, signal.SIGKILL)
            _, code, usage = os.wait4(pid, 0)
            return os.waitstatus_to_exitcode(code), usage, is_hung
        time.sleep(_POLL_S)


def _spent_seconds(pid: int) -> float:
    """Results that a process has computed so far."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
    except (OSError, IndexError):  # it has just ended
        return 0.0


def _resident_bytes(process: str) -> int:
    try:
        return int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1]) * _PAGE_BYTES
    except (OSError, IndexError):  # it has just ended
        return 0


def _read(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(_MAX_OUTPUT_BYTES).decode("utf-8", "backslashreplace")
