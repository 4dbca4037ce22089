"""Entry point of ``pixelforest`` and ``python -m pixelforest``, including interrupts during the start."""

import atexit
import gc
import os
import platform
import signal
import sys
import threading
from types import FrameType

# A short run creates 40 000 to 80 000 objects that all stay; at Python's threshold of 700 the collector scans them
# dozens of times, at 50 000 still once, which takes 20 ms.
GARBAGE_THRESHOLD = 200_000


def start() -> None:
    """Run the command line and end the process with its status."""
    status = main()
    is_watched = sys.getprofile() is not None or sys.gettrace() is not None
    is_interrupted = status in (128 + signal.SIGINT, 128 + signal.SIGTERM)  # threads may be blocked then
    is_ranked = "mpi4py.MPI" in sys.modules  # mpirun kills all processes if one ends without telling it
    if (is_interrupted or all(thread.daemon for thread in _other_threads())) and not (is_watched or is_ranked):
        # Only the end of the process is left; freeing every module and object takes 30 ms.
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
    # OpenBLAS would start one thread per processor, each spinning for 40 ms; nothing here multiplies matrices.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # h5py reads the whole tuple of facts about the platform when it is imported, and Python would start the program
    # uname for this one.
    vars(platform.uname()).setdefault("processor", "")
    from pixelforest.cli import main as run

    return run()


def _occupy_standard_streams() -> None:
    """Open the null device for streams that were closed before this process started (``>&-``).

    Otherwise the next opened file, such as a result, would get their number, and the printed output.
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
    """Handle interrupts during imports, or after the work, with a line and a status instead of a traceback.

    A run installs its own handlers. Nothing is caught if interrupts are ignored, as in the background of a script.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        # Nothing that may be in the middle of an import or hold a lock: no print, no exception.
        os.write(2, b"pixelforest: error: interrupted\n")
        os._exit(128 + signal.SIGINT)

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, stop)


if __name__ == "__main__":
    start()
