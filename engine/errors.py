"""Every exception the engine raises, in one tree.

PixelforestError
├── UsageError (ValueError)             the request names something unknown or contradicts itself; exit status 2
├── ProjectError                        the project file cannot be used
│   ├── ProjectNotFound (FileNotFoundError)
│   └── ClassifierMissing               no usable trained classifier in it
├── InputError                          an input cannot be read
│   ├── InputNotFound (FileNotFoundError)
│   └── InputMismatch (ValueError)      it can be read, but does not fit the project, the option or another input
├── ExportError                         a result cannot be written, or its format cannot hold it
├── BackendUnavailable                  the requested device or library is not available
├── BackendFailed                       the device failed while it was computing
└── MemoryTooSmall (MemoryError)        the budget is too small for the smallest unit of work

A message says what was asked, what was found, where, and what to do about it, in one line. It names settings by
``setting("input_axes")``: ``input_axes`` in Python, ``--input_axes`` on a terminal. Only cli.py turns these into an
exit status.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Self

from ..frozen import frozen

# Noncharacters of Unicode, which no text from outside should contain: they mark the name of a setting in a message.
_BEGIN, _END = "\ufdd0", "\ufdd1"
_MARKED = f"{_BEGIN}(\\w+){_END}"

Spell = Callable[[str], str]
"""Spelling of a setting's name where a message is shown."""


def as_field(name: str) -> str:
    """Spell a setting as the field of a request."""
    return name


def as_flag(name: str) -> str:
    """Spell a setting as an option of the command line."""
    return f"--{name}"


def as_marked(name: str) -> str:
    """Keep a setting marked, for a message that becomes a part of another error's message."""
    return f"{_BEGIN}{name}{_END}"


@frozen
class Setting:
    """A setting that a message names, with a value if the message proposes or quotes one.

    In an f-string it is marked, so that the message can be spelled later; as ``str`` it is plain.
    """

    name: str
    value: object = None

    def __str__(self) -> str:
        return self._text(as_field)

    def __format__(self, specification: str) -> str:
        return self._text(as_marked)

    def _text(self, spell: Spell) -> str:
        return spell(self.name) + ("" if self.value is None else f"={self.value}")


def setting(name: str, value: object = None) -> Setting:
    """Return a setting to be named in the message of an error."""
    return Setting(name, value)


OUTPUT_FILES = setting("output_filename_format")  # most advice about outputs names it


class Text(str):
    """Text of a note, a warning or a line of the log that names settings.

    In an f-string they are marked, so that they can be spelled later; otherwise the text is plain. A log record keeps
    them if the text, or a setting, is one of its arguments (``messages.describe_record``).
    """

    marked: str

    def __new__(cls, marked: str) -> Self:
        """Make a text from an f-string that contains settings."""
        text = super().__new__(cls, render_settings(marked, as_field))
        text.marked = marked
        return text

    def __format__(self, specification: str) -> str:
        return self.marked

    def __getnewargs__(self) -> tuple[str]:
        return (self.marked,)


def render_settings(text: str, spell: Spell) -> str:
    """Spell the settings that a text names."""
    text = text.marked if isinstance(text, Text) else text
    return re.sub(_MARKED, lambda found: spell(found[1]), text) if _BEGIN in text else text


class PixelforestError(Exception):
    """Base of all errors that the user can do something about."""

    def __str__(self) -> str:
        """Message in Python's spelling, without keys in URLs."""
        return self.render(as_field)

    def render(self, spell: Spell) -> str:
        """Return the message with its settings spelled for the reader, without keys in URLs and overlong values."""
        from .public_text import public_text, shorten

        return shorten(public_text(render_settings(super().__str__(), spell)))


class UsageError(PixelforestError, ValueError):
    """An option, a name or a combination that does not exist."""


class ProjectError(PixelforestError):
    """The project file is damaged, hostile, of an unknown kind, or lacks something needed."""


class ProjectNotFound(ProjectError, FileNotFoundError):
    """There is no file at the project's path."""


class ClassifierMissing(ProjectError):
    """The project holds no trained classifier that can be used."""


class InputError(PixelforestError):
    """An input image cannot be read."""


class InputNotFound(InputError, FileNotFoundError):
    """No file matches an input argument."""


def damaged_input(what: object, problem: object) -> InputError:
    """Make the error about an input that is truncated or damaged."""
    return InputError(f"cannot read {what}: {problem}; copy or save it again")


def unreadable_input(what: object, error: BaseException) -> InputError:
    """Make the error about an input that the system does not open or that a library cannot read."""
    if isinstance(error, OSError) and error.strerror:
        return InputError(f"cannot read {what}: {error.strerror}")
    return damaged_input(what, " ".join(str(error).split()) or type(error).__name__)


class InputMismatch(InputError, ValueError):
    """An input was read but does not fit the project, the options or the other inputs of its lane."""


class ExportError(PixelforestError):
    """A result cannot be written to the requested place or in the requested format."""


class BackendUnavailable(PixelforestError):
    """The requested device or library is not usable on this machine."""


class BackendFailed(PixelforestError):
    """The device reported a fault or ran out of memory during a computation."""


class MemoryTooSmall(PixelforestError, MemoryError):
    """The memory budget does not hold the smallest possible unit of work."""


def raise_if_interrupted(error: BaseException) -> None:
    """Raise the interrupt that ``error`` was made from, if there is one.

    Extension modules turn what a signal raises while they are imported into an ImportError.
    """
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, KeyboardInterrupt):
            raise found
        found = found.__cause__ or found.__context__
