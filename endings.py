"""How a command ends: exceptions, interrupts and readers that leave become an exit status and at most one line."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from pixelforest.console import PROGRAM, Console
from pixelforest.engine.errors import UsageError
from pixelforest.engine.messages import describe_error

STATUS_OK, STATUS_FAILED, STATUS_USAGE = 0, 1, 2


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived. Like an interrupt from the keyboard, it passes by every ``except Exception``."""


def run_guarded(work: Callable[[], int], console: Console) -> int:
    """The status that ``work`` returns; every exception becomes one line and a status, with a traceback only for
    ``--debug``.
    """
    logger = logging.getLogger(PROGRAM)
    try:
        with _signals():
            return work()
    except (Exception, KeyboardInterrupt) as error:
        if isinstance(error, Exception):
            logger.debug("the error below came from here", exc_info=True)
        status, message = ending(error)
        console.fail(message)
        return status


def ending(error: BaseException) -> tuple[int, str]:
    """The exit status of a run that this ended, and its last word."""
    if isinstance(error, Terminated):
        return 128 + signal.SIGTERM, "terminated; no unfinished file was left behind"
    if isinstance(error, KeyboardInterrupt):
        return 128 + signal.SIGINT, "interrupted; no unfinished file was left behind"
    return STATUS_USAGE if isinstance(error, UsageError) else STATUS_FAILED, describe_error(error)


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """SIGINT and SIGTERM end the run once, by an exception; what arrives while it cleans up is ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        for each in before:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt if number == signal.SIGINT else Terminated

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    if before[signal.SIGINT] is signal.SIG_IGN:  # started in the background of a script: keep it so
        del before[signal.SIGINT]
    try:
        for number in before:
            signal.signal(number, stop)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def let_go_of_closed_pipes() -> None:
    """Spare the interpreter its complaint at exit if the reader of stdout or stderr has left."""
    for stream in (sys.stdout, sys.stderr):
        if stream is None:  # it was closed before this process began
            continue
        try:
            stream.flush()
        except BrokenPipeError:
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        except ValueError:  # closed
            pass
