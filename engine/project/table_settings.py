"""Settings of the object table of a project: file, format, columns. ilastik stores them as a pickle, never loaded here.

A project whose settings are not the plain values that ilastik stores is refused: ignoring them would leave out the
table that it is set up to write.
"""

from __future__ import annotations

from dataclasses import field
from typing import Any

from ...frozen import frozen
from ..errors import ProjectError
from .hdf5 import ProjectFile

PATH = "ObjectClassification/ExportSettings"
FILE_TYPES = ("csv", "h5")
MAX_MARGIN = 1 << 16


@frozen
class StoredTableSettings:
    """Table that a project is set up to write.

    file_type      "csv" or "h5", regardless of the extension of the path
    file_path      a template with {dataset_dir} and {nickname}
    features       ids or display names of its features, without their plugins
    compression    of the HDF5 file: h5py's names -> values; empty: none
    margin         pixels around objects in pictures stored in an HDF5 file
    includes_raw   True if the raw image is stored once as a whole, instead of a piece for each object
    """

    file_type: str
    file_path: str
    features: tuple[str, ...]
    compression: dict[str, Any] = field(default_factory=dict)
    margin: int = 0
    includes_raw: bool = False


def read_table_settings(file: ProjectFile, path: str = PATH) -> StoredTableSettings | None:
    """Read the stored settings; None if the table was never set up. Raises ProjectError if they are not ilastik's."""
    content = file.opaque(path)
    if content is None:
        return None
    from .pickle_text import PickleTextError, read_pickle_text  # only projects with objects store any

    try:
        stored = read_pickle_text(content)
    except PickleTextError as error:
        raise _unreadable(file, path, str(error)) from None
    if not isinstance(stored, tuple) or len(stored) != 2:
        raise _unreadable(file, path, "they are not a pair of settings and features")
    settings, features = stored
    if not settings:
        return None
    if not isinstance(settings, dict) or not isinstance(features, list | tuple):
        raise _unreadable(file, path, "they are not a dictionary and a list of features")
    file_type, file_path = settings.get("file type"), settings.get("file path")
    if file_type not in FILE_TYPES:
        raise _unreadable(file, path, f"the file type is none of {', '.join(FILE_TYPES)}")
    if not isinstance(file_path, str) or not file_path:
        raise _unreadable(file, path, "the file path is not a string")
    margin, compression = settings.get("margin", 0), settings.get("compression")
    if not isinstance(margin, int) or not 0 <= margin < MAX_MARGIN:
        raise _unreadable(file, path, f"the margin is not an integer from 0 to {MAX_MARGIN - 1}")
    return StoredTableSettings(
        file_type=file_type,
        file_path=file_path,
        features=tuple(name for name in features if isinstance(name, str)),
        compression=_checked_compression(compression if isinstance(compression, dict) else {}),
        margin=margin,
        includes_raw=bool(settings.get("include raw", False)),
    )


def _unreadable(file: ProjectFile, path: str, why: str) -> ProjectError:
    return file.error(
        path,
        f"stores settings of the object table that ilastik does not write: {why}; "
        "configure the table export in ilastik again and save",
    )


def _checked_compression(stored: dict[Any, Any]) -> dict[str, Any]:
    """Select the settings passed to h5py: gzip with a level or lzf, and whether bytes are shuffled first."""
    method = stored.get("compression")
    if method not in ("gzip", "lzf"):
        return {}
    found: dict[str, Any] = {"compression": method}
    level = stored.get("compression_opts")
    if method == "gzip" and isinstance(level, int) and 0 <= level <= 9:
        found["compression_opts"] = int(level)
    if stored.get("shuffle") not in (None, False, 0, "", "False", "false", "0"):
        found["shuffle"] = True
    return found
