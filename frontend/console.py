"""Output of a running command: log lines on two streams, a log file, the progress bar, the final message.

Lines of INFO and below go to stdout as ``INFO logger: message``; warnings and errors go to stderr with time, module,
process and thread, which is also the format of the log file.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

from pixelforest.engine.errors import PixelforestError, UsageError, as_flag
from pixelforest.engine.messages import describe_record
from pixelforest.engine.progress import Progress
from pixelforest.engine.public_text import public_text, shorten
from pixelforest.engine.terminal_text import printable, printable_lines
from pixelforest.frozen import frozen

if TYPE_CHECKING:
    from .run_display import RunDisplay

PROGRAM = "pixelforest"
LOG_CHOICES = ("auto", "ilastik")
LOGFILE_BYTES = 50 * 10**6
LOGFILE_BACKUPS = 5
# Third-party loggers that are too verbose at DEBUG.
# tifffile logs the defect of a damaged file before it raises; the error is enough.
_CHATTY = {"PIL": logging.WARNING, "h5py": logging.WARNING, "tifffile": logging.CRITICAL}
ExceptionInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
_DETAILED = "%(levelname)s %(asctime)s %(module)s %(process)d %(threadName)s %(message)s"


@frozen
class ConsoleSettings:
    """Verbosity and destinations of the output.

    dry_run       stdout is for the explanation; the log goes to stderr
    json          the explanation is machine-readable
    report_json   path of the machine-readable report of a run; report_html: of the one with pictures
    report_multiqc  folder of the files for MultiQC
    log           one of LOG_CHOICES; None: the first
    """

    debug: bool = False
    quiet: bool = False
    no_progress: bool = False
    logfile: str | None = None
    redirect_output: str | None = None
    process_name: str | None = None
    dry_run: bool = False
    json: bool = False
    report_json: str | None = None
    report_html: str | None = None
    report_multiqc: str | None = None
    log: str | None = None

    @property
    def is_terse(self) -> bool:
        """Show warnings and errors only."""
        return self.quiet or (self.dry_run and not self.debug)


class _StreamHandler(logging.Handler):
    """Handler that writes to the current sys.stdout or sys.stderr; hides the bar first; silent without a reader."""

    def __init__(self, stream_name: str, progress: Progress) -> None:
        super().__init__()
        self.stream_name = stream_name
        self._progress = progress
        self._is_open = True

    def emit(self, record: logging.LogRecord) -> None:
        if not self._is_open or getattr(record, "only_in_file", False):
            return
        self._progress.hide()
        self._is_open = write_line(getattr(sys, self.stream_name), self.format(record))


class _Formatter(logging.Formatter):
    """Formatter of messages in one line without credentials in URLs; tracebacks keep their lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        record.message = describe_record(record, as_flag)
        if record.levelno >= logging.WARNING:  # lines of INFO are read by scripts
            record.message = shorten(record.message)
        return printable(super().formatMessage(record))

    def formatException(self, ei: ExceptionInfo) -> str:  # noqa: N802
        text, error = super().formatException(ei), ei[1]
        while error is not None:
            if isinstance(error, PixelforestError):
                text = text.replace(str(error), error.render(as_flag))
            error = error.__cause__ or error.__context__
        return text

    def format(self, record: logging.LogRecord) -> str:
        return printable_lines(public_text(super().format(record)))


def write_line(stream: TextIO | None, text: str, *, has_colours: bool = False) -> bool:
    """Write a line at once; all output passes here, without credentials in URLs and without control characters.

    has_colours  the text consists of printable parts and of sequences that set colours, which stay

    Returns False if the stream has no reader any more, or was never open.
    """
    if stream is None:
        return False
    text = public_text(text)
    try:
        stream.write((text if has_colours else printable_lines(text)) + "\n")
        stream.flush()
    except UnicodeEncodeError:
        encoding = stream.encoding or "ascii"
        text = text.encode(encoding, "backslashreplace").decode(encoding)
        return write_line(stream, text, has_colours=has_colours)
    except (OSError, ValueError):  # no reader, full disk, or closed
        return False
    return True


class Console:
    """Context manager that installs the log handlers and removes them again."""

    def __init__(self, settings: ConsoleSettings) -> None:
        self.settings = settings
        self.progress = Progress()
        self._handlers: list[_StreamHandler] = []
        self._cleanup = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._redirect(stack)
            is_terminal = sys.stderr is not None and sys.stderr.isatty() and not self.settings.redirect_output
            self.progress = Progress(
                terminal=sys.stderr if is_terminal else None,
                is_shown=not (self.settings.quiet or self.settings.no_progress),
            )
            stack.callback(self.progress.finish)
            self._install(stack)
            self._cleanup = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._cleanup.close()

    def set_debug(self) -> None:
        """Show DEBUG lines from now on."""
        logging.getLogger().setLevel(logging.DEBUG)

    def display_run(self, *, started_as_ilastik: bool) -> RunDisplay | None:
        """Show the run to people instead of ilastik's log; None where scripts may read the log.

        On a terminal, unless the log is requested or ilastik's script was started. Lines of a log file, and of a
        standard output that is no terminal, stay.
        """
        settings = self.settings
        is_terminal = self.progress.is_on_terminal and not settings.redirect_output
        if (
            not is_terminal
            or started_as_ilastik
            or settings.log == LOG_CHOICES[1]
            or settings.debug
            or settings.is_terse
        ):
            return None
        from .run_display import RunDisplay

        display = RunDisplay(sys.stderr, self.progress)
        for handler in self._handlers[:2]:
            if handler.stream_name == "stderr" or (sys.stdout is not None and sys.stdout.isatty()):
                logging.getLogger().removeHandler(handler)
        logging.getLogger().addHandler(display)
        self._cleanup.callback(logging.getLogger().removeHandler, display)
        return display

    def fail(self, message: str) -> None:
        """Write the final message of a failed run: one line on stderr and in the log file."""
        self.progress.hide()
        write_line(sys.stderr, f"{PROGRAM}: error: {printable(shorten(message))}")
        logging.getLogger(PROGRAM).error("%s", message, extra={"only_in_file": True})

    def _redirect(self, stack: contextlib.ExitStack) -> None:
        if self.settings.redirect_output:
            stream = stack.enter_context(_open_append(self.settings.redirect_output, "--redirect_output"))
            stack.enter_context(contextlib.redirect_stdout(stream))
            stack.enter_context(contextlib.redirect_stderr(stream))

    def _install(self, stack: contextlib.ExitStack) -> None:
        prefix = f"{self.settings.process_name} ".replace("%", "%%") if self.settings.process_name else ""
        detailed = _Formatter(prefix + _DETAILED)
        out = _StreamHandler("stderr" if self.settings.dry_run else "stdout", self.progress)
        err = _StreamHandler("stderr", self.progress)
        out.addFilter(lambda record: record.levelno < logging.WARNING)
        out.setLevel(logging.WARNING if self.settings.is_terse else logging.NOTSET)
        out.setFormatter(_Formatter(f"{prefix}%(levelname)s %(name)s: %(message)s"))
        err.setLevel(logging.WARNING)
        err.setFormatter(detailed)
        self._handlers = [out, err]
        handlers: list[logging.Handler] = [out, err]
        if self.settings.logfile and self.settings.logfile not in (os.devnull, "/dev/null"):
            handlers.append(_open_logfile(self.settings.logfile, detailed))

        root = logging.getLogger()
        before = root.level
        stack.callback(root.setLevel, before)
        root.setLevel(logging.DEBUG if self.settings.debug else logging.INFO)
        for name, level in _CHATTY.items():
            logging.getLogger(name).setLevel(level)
        for handler in handlers:
            root.addHandler(handler)
            stack.callback(handler.close)
            stack.callback(root.removeHandler, handler)
        show = warnings.showwarning
        stack.callback(setattr, warnings, "showwarning", show)
        warnings.showwarning = _log_warning


def _log_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: object = None,
    line: object = None,
) -> None:
    logging.getLogger("py.warnings").warning("%s:(%s): %s: %s", filename, lineno, category.__name__, message)


def _open_append(name: str, option: str) -> TextIO:
    """Open a file to append to, or a device, pipe or descriptor to write into."""
    try:
        path = Path(name).expanduser()
        if _may_be_special(path):
            from pixelforest.engine.storage.special_files import is_special, open_text

            if is_special(path):
                return open_text(path)
        if path.is_file() and path.stat().st_size:
            from pixelforest.engine.storage.file_kinds import holds_log

            if not holds_log(path):
                raise UsageError(f"{option}: {name} is not a log, so nothing is appended to it; choose another name")
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a", encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UsageError(f"{option}: {name} cannot be written: {error.strerror or error}") from error


def _may_be_special(path: Path) -> bool:
    return path.is_relative_to("/dev") or path.is_relative_to("/proc") or (path.exists() and not path.is_file())


def _open_logfile(name: str, formatter: logging.Formatter) -> logging.Handler:
    stream = _open_append(name, "--logfile")
    handler: logging.Handler
    if _may_be_special(Path(name).expanduser()):
        handler = _LineHandler(stream)
    else:
        stream.close()
        from logging.handlers import RotatingFileHandler

        handler = RotatingFileHandler(
            Path(name).expanduser(),
            maxBytes=LOGFILE_BYTES,
            backupCount=LOGFILE_BACKUPS,
            encoding="utf-8",
            errors="backslashreplace",
        )
    handler.setFormatter(formatter)
    return handler


class _LineHandler(logging.Handler):
    """Handler that writes lines to a stream as long as it has a reader, and closes the stream with itself."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._is_open = True

    def emit(self, record: logging.LogRecord) -> None:
        self._is_open = self._is_open and write_line(self._stream, self.format(record))

    def close(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.close()
        super().close()
