"""End of a command: exceptions, interrupts and closed pipes become an exit status and at most one line."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Any

from pixelforest.engine.errors import UsageError, as_flag
from pixelforest.engine.messages import describe_error
from pixelforest.frontend.console import PROGRAM, Console

STATUS_OK, STATUS_FAILED, STATUS_USAGE = 0, 1, 2
FORCE_AFTER_S = 1.0  # after a signal; ending takes less than two seconds in total
STEP_LIMIT_S = 0.25
REPEAT_AFTER_S = 0.02  # of an exception that was lost


class Terminated(KeyboardInterrupt):
    """Exception for SIGTERM. Like KeyboardInterrupt, it is not caught by ``except Exception``."""


def run_guarded(work: Callable[[], int], console: Console) -> int:
    """Run ``work`` and return its status; every exception becomes one line and a status.

    A traceback is shown only with ``--debug``.
    """
    logger = logging.getLogger(PROGRAM)
    try:
        with _signals(console):
            return work()
    except (Exception, KeyboardInterrupt) as error:
        if _received or not isinstance(error, Exception):
            _discard_unfinished()
        else:
            logger.debug("the error below came from here", exc_info=True)
        status, message = ending(error)
        console.fail(message)
        return status


def ending(error: BaseException) -> tuple[int, str]:
    """Exit status and final message of a run that ended with this error.

    Libraries convert exceptions of signals to others: NumPy to an ImportError while it is imported.
    """
    if _received and not isinstance(error, KeyboardInterrupt):
        error = KeyboardInterrupt() if _received[0] == signal.SIGINT else Terminated()
    if isinstance(error, Terminated):
        return 128 + signal.SIGTERM, f"terminated; {_rest()}"
    if isinstance(error, KeyboardInterrupt):
        return 128 + signal.SIGINT, f"interrupted; {_rest()}"
    return STATUS_USAGE if isinstance(error, UsageError) else STATUS_FAILED, describe_error(error, as_flag)


def _rest() -> str:
    """Tell what becomes of unfinished results."""
    module = _run_folders()
    if module is not None and module.was_kept():
        return "the same command with --resume continues"
    return "no unfinished file was left behind"


def _run_folders() -> Any:
    """Module of runs that can be continued, if this process has imported it."""
    return sys.modules.get("pixelforest.engine.storage.run_folder")


@contextlib.contextmanager
def _signals(console: Console) -> Iterator[None]:
    """End the run once by an exception on SIGINT or SIGTERM; further signals during the cleanup are ignored.

    A run that has not ended soon after that, because a thread or a library is blocked, is ended by force.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        _received.append(number)
        for each in before:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt if number == signal.SIGINT else Terminated

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    if before[signal.SIGINT] is signal.SIG_IGN:  # started in the background of a script: keep it so
        del before[signal.SIGINT]
    _received.clear()
    if (module := _run_folders()) is not None:
        module.forget_kept()
    try:
        with _Watch(before, stop, console) if os.name == "posix" else contextlib.nullcontext():
            for number in before:
                signal.signal(number, stop)
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Watch:
    """Context manager with a thread that is notified of signals, even while the main thread is inside a library.

    The exception of a signal is lost if it is raised where Python cannot pass it on: in a finalizer or in the callback
    of a weak reference. It is then raised again. The thread ends the process if the context is not left in time.
    """

    def __init__(self, numbers: Iterable[int], stop: Callable[[int, FrameType | None], None], console: Console) -> None:
        self._numbers, self._stop, self._console = frozenset(numbers), stop, console
        self._is_over = threading.Event()
        self._is_lost, self._main = False, threading.get_ident()
        self._thread = threading.Thread(target=self._wait, name="signals", daemon=True)

    def __enter__(self) -> None:
        self._source, self._sink = os.pipe()
        os.set_blocking(self._sink, False)
        self._before = signal.set_wakeup_fd(self._sink, warn_on_full_buffer=False)
        self._report, sys.unraisablehook = sys.unraisablehook, self._notice_lost
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        sys.unraisablehook = self._report
        signal.set_wakeup_fd(self._before)
        self._is_over.set()
        os.write(self._sink, b"\0")
        self._thread.join()
        os.close(self._source)
        os.close(self._sink)

    def _notice_lost(self, unraisable: sys.UnraisableHookArgs) -> None:
        if _received and unraisable.exc_type in (KeyboardInterrupt, Terminated):
            signal.signal(_received[0], self._stop)
            self._is_lost = True
        else:
            self._report(unraisable)

    def _wait(self) -> None:
        while (number := os.read(self._source, 1)[0]) not in self._numbers:
            if number == 0:
                return
        deadline = time.monotonic() + FORCE_AFTER_S
        while not self._is_over.wait(REPEAT_AFTER_S):
            if time.monotonic() >= deadline:
                _end_by_force(number, self._console)
            if self._is_lost:
                self._is_lost = False
                signal.pthread_kill(self._main, number)


def _end_by_force(number: int, console: Console) -> None:
    """End the process without waiting for other threads; temporary files are removed."""
    status, message = ending(KeyboardInterrupt() if number == signal.SIGINT else Terminated())
    for step in list(_last_steps):
        _in_time(lambda step=step: step(status, message))  # type: ignore[misc]
    _discard_unfinished()
    _in_time(lambda: console.fail(message))
    _discard_unfinished()  # other threads may have created files meanwhile
    os._exit(status)


def _discard_unfinished() -> None:
    """Remove temporary files that are left: an exception of a signal can come between any two steps of a cleanup."""
    module = sys.modules.get("pixelforest.engine.storage.live_targets")
    if module is not None:
        with contextlib.suppress(Exception):
            module.live_targets.discard_all()


def _in_time(step: Callable[[], None]) -> None:
    """Run a step with a time limit: it may need a lock that a blocked thread holds."""
    thread = threading.Thread(target=step, daemon=True)
    thread.start()
    thread.join(STEP_LIMIT_S)


_received: list[int] = []  # the signal that ends this run
_last_steps: list[Callable[[int, str], None]] = []


@contextlib.contextmanager
def last_step(step: Callable[[int, str], None]) -> Iterator[None]:
    """Register ``step(status, message)`` to run if the process is ended by force within the context."""
    _last_steps.append(step)
    try:
        yield
    finally:
        _last_steps.remove(step)


def let_go_of_closed_pipes() -> None:
    """Suppress the interpreter's error at exit if the reader of stdout or stderr is gone."""
    for stream in (sys.stdout, sys.stderr):
        if stream is None:  # closed before this process started
            continue
        try:
            stream.flush()
        except BrokenPipeError:
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        except (OSError, ValueError):  # a full disk, closed
            pass
