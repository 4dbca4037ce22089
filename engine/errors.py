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

A message says what was asked, what was found, where, and what to do about it, in one line. Only cli.py turns
these into an exit status.
"""


class PixelforestError(Exception):
    """Base of all errors that the user can do something about."""

    def __str__(self) -> str:
        """Return the message, without credentials in URLs."""
        from .public_text import public_text

        return public_text(super().__str__())


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
