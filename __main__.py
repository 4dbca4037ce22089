"""``pixelforest`` and ``python -m pixelforest``: the command line, and what an interrupt means before it is there."""

import atexit
import gc
import os
import signal
import sys
import threading
from types import FrameType

# A short run makes 40 000 to 80 000 objects that all stay; at Python's 700 they are looked through dozens of times, at
# 50 000 still once, which takes 20 ms.
GARBAGE_THRESHOLD = 200_000


def start() -> None:
    """The program: run the command line and end the process with its status."""
    status = main()
    is_watched = sys.getprofile() is not None or sys.gettrace() is not None
    is_interrupted = status in (128 + signal.SIGINT, 128 + signal.SIGTERM)  # threads may wait for anything then
    if (is_interrupted or all(thread.daemon for thread in _other_threads())) and not is_watched:
        # Nothing waits for this process but its end; taking every module and object apart takes 30 ms.
        atexit._run_exitfuncs()
        os._exit(status)
    sys.exit(status)


def _other_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread is not threading.main_thread()]


def main() -> int:
    """Run the command line; returns the exit status."""
    _occupy_standard_streams()
    _expect_interrupts()
    gc.set_threshold(GARBAGE_THRESHOLD, *gc.get_threshold()[1:])
    # OpenBLAS would start a thread a processor, each of which spins for 40 ms; nothing here multiplies matrices.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from pixelforest.cli import main as run

    return run()


def _occupy_standard_streams() -> None:
    """Put the null device in the place of streams that were closed before this process began (``>&-``).

    Otherwise the next file that is opened, such as a result, would get their number, and what is printed.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            descriptor = os.open(os.devnull, os.O_RDWR)
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  # until the process ends


def _expect_interrupts() -> None:
    """An interrupt while modules are imported, or after the work, is a line and a status instead of a traceback.

    A run has handlers of its own. Nothing is caught where interrupts are ignored, as in the background of a script.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        # Nothing that could be in the middle of an import or hold a lock: no print, no exception.
        os.write(2, b"pixelforest: error: interrupted\n")
        os._exit(128 + signal.SIGINT)

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, stop)


if __name__ == "__main__":
    start()
