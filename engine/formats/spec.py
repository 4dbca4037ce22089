"""What a format file provides: how to read one image, how to write one, how to write a table, and what it can hold.

A file of images/ sets ``INPUT`` (an InputFormat, or None) and ``OUTPUTS`` (a tuple of OutputFormat), one of tables/
sets ``TABLE`` (a TableFormat); a plug-in's module sets any of them. The registry in ``formats/__init__.py`` collects
them; choices, help texts and the shared tests follow from that list. Readers and writers keep the axes of the file;
canonical axes are the callers' business.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from ...box import Box
from ..storage.atomic_write import check_file_place
from ..storage.object_storage import RemotePath

SEQUENCE = " sequence"  # end of the names of formats that write a file per slice


@dataclass(frozen=True)
class Scales:
    """The levels of resolution that an image is one of.

    active        the level that is read
    shapes        level -> axis letter -> size, the largest level first
    translation   axis letter -> physical position of the first voxel, where it is not 0
    """

    active: str
    shapes: Mapping[str, Mapping[str, int]]
    translation: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ImageInfo:
    """What is known about an image before a voxel is read.

    axes         letters in file order, guessed from the shape where the file is silent
    own_axes     True if the file itself says which axes it has; False if ``axes`` is the guess from its shape
    axes_problem what is wrong with what the file says about its axes, as the end of a sentence; else "". Such an image
                 can only be read with axes that somebody names
    drange       stored data range, or None
    axis_units   axis letter -> unit text, empty if unknown
    resolution   axis letter -> pixel size, empty if unknown
    chunks       the file's storage unit, in file order; None if it can be read row by row at no extra cost
    scales       the levels of resolution of the file; None if it has only one
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    axes: str
    own_axes: bool
    drange: tuple[float, float] | None = None
    display_mode: str | None = None
    axis_units: Mapping[str, str] = field(default_factory=dict)
    resolution: Mapping[str, float] = field(default_factory=dict)
    chunks: tuple[int, ...] | None = None
    scales: Scales | None = None
    axes_problem: str = ""


class ImageReader(ABC):
    """One open image. ``read`` may be called from several threads at once.

    held_bytes   memory the whole image takes once a part of it was read; 0 if parts are read from the file
    unchecked    what ``verify`` leaves to decoding, such as "the PNG data"; empty if nothing
    warnings     lines to tell the user about what is read, such as planes that are missing
    files        all files that are read, if there are others besides the one that was opened
    known        what ``InputFormat.reopen`` opens the same image with, a value that can be pickled; None: nothing
    """

    info: ImageInfo
    known: object = None
    held_bytes: int = 0
    unchecked: str = ""
    warnings: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()

    @abstractmethod
    def read(self, box: Box) -> np.ndarray:
        """The voxels of ``box`` (file axes), in the file's dtype, native byte order. Raises InputError."""

    def verify(self) -> None:  # noqa: B027  # most files tell no more than when they are opened
        """Raise the InputError that reading would end with, as far as it can be known without decoding pixels.

        ``unchecked`` names the rest, and is complete once this has returned.
        """

    @abstractmethod
    def close(self) -> None:
        """Release the file; may be called twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True)
class InputFormat:
    """How files of one kind are recognised and opened.

    extensions    lower case, without the dot
    open          (file, internal path or "") -> ImageReader; raises InputError, InputNotFound
    list_images   for containers: file -> internal paths of all datasets with 2 to 5 dimensions; None for plain files
    stack         how several of these files combine along an axis: "picture" or "array"
    is_image      for images that are folders: True if a folder is one of them, or a part of one
    open_remote   ``open`` for what lies behind a URL; None: files only
    open_incomplete   ``open`` that reads zeros where the file promises voxels that no file holds; None: there are none
    container_extensions   those of its extensions behind which an internal path may follow; needs list_images
    reopen        ``open`` in less time, with what a reader of the same image had as ``known``; None where the file is
                  another by now
    opens_any_url   True for the one format that opens a URL whose extension is no format's; plug-ins are not asked
    """

    name: str
    extensions: tuple[str, ...]
    open: Callable[[Path, str], ImageReader]
    list_images: Callable[[Path], Sequence[str]] | None = None
    stack: str = "array"
    is_image: Callable[[Path], bool] = lambda folder: False
    open_remote: Callable[[RemotePath, str], ImageReader] | None = None
    open_incomplete: Callable[[Path, str], ImageReader] | None = None
    container_extensions: tuple[str, ...] = ()
    reopen: Callable[[object], ImageReader | None] = lambda known: None
    opens_any_url: bool = False


@dataclass(frozen=True)
class ImageSpec:
    """What is going to be written, in output axes.

    offset       start of the exported region along each output axis; numbers the slices of sequences
    display_mode, drange (two numbers in ``dtype``), axis_units, resolution: stored where the format has room for them
    is_labels    True if values are numbers of classes or objects, which must not be mixed
    scales       the levels of the image that the result was made of, for formats that keep several
    version      of the format, where it has several; "": the usual one
    may_replace  True if what stands under the final name may go, where a format asks for that
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    axes: str
    offset: tuple[int, ...]
    drange: tuple[float, float] | None = None
    display_mode: str | None = None
    axis_units: Mapping[str, str] = field(default_factory=dict)
    resolution: Mapping[str, float] = field(default_factory=dict)
    is_labels: bool = False
    scales: Scales | None = None
    version: str = ""
    may_replace: bool = False

    @property
    def nbytes(self) -> int:
        """Size of the whole image in memory."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize


class ImageWriter(ABC):
    """One image being written. Nothing exists under the final name before ``finish``.

    ``write`` takes disjoint boxes (output axes) that together cover the image, in any order, from several threads at
    once. ``chunks`` is the box shape a streaming format likes best, None if it does not matter.
    """

    chunks: tuple[int, ...] | None = None

    @abstractmethod
    def write(self, box: Box, data: np.ndarray) -> None:
        """Store ``data`` (output axes, the spec's dtype) at ``box``; may keep it until finish. Raises ExportError."""

    @abstractmethod
    def finish(self) -> list[Path]:
        """Complete the file, put it under its final name, and return the files written. Raises ExportError."""

    @abstractmethod
    def abort(self) -> None:
        """Remove everything temporary; what stood under the final name before is untouched. Never raises."""


@dataclass(frozen=True)
class Limits:
    """What a format can hold.

    dtypes        numpy names it stores as they are; None: all of the ten export types
    stretches     True if another dtype is stretched to uint8 by the file's own minimum and maximum, not refused
    max_dims      non-channel axes longer than 1; None: any number
    channels      allowed numbers of channels; None: any
    """

    dtypes: frozenset[str] | None = None
    stretches: bool = False
    max_dims: int | None = None
    channels: frozenset[int] | None = None


@dataclass(frozen=True)
class OutputFormat:
    """How results are written under one name of ``--output_format``.

    extension     without the dot; forced onto the output path; "": the path stays as it is
    open          (final path, internal path, spec) -> ImageWriter; raises ExportError
    open_url      the same for an output path that is a URL; None: it is written to files only
    sequence      True if one file per slice is written and the path needs ``{slice_index}``
    streams       True if no more than a few chunks are held in memory
    container     True if ``internal path`` names a dataset inside the file
    fixed_axes    the axis order inside the file if the format imposes one, whatever order was asked for
    unit          spec -> shape, in output axes, of what is stored as one piece and held until complete; None: nothing
                  is held, or it is not known before the file is open
    check_place   (final path, internal path, spec): raises the ExportError that ``open`` would end with, as far as that
                  can be known without writing; asked before computing. A sequence: for each of its files
    check_url     the same for (URL, internal path, spec)
    least_bytes   what the files of a result take on the disk at least; 0: that depends on its voxels
    is_result     (path where something exists, internal path): True if it may be an earlier result of this format, so
                  that a project that stores this path may replace it. The user's own paths are not asked about
    is_folder     True if the result is a folder
    """

    name: str
    extension: str
    open: Callable[[Path, str, ImageSpec], ImageWriter]
    limits: Limits
    summary: str = ""
    sequence: bool = False
    streams: bool = False
    container: bool = False
    fixed_axes: str | None = None
    open_url: Callable[[str, str, ImageSpec], ImageWriter] | None = None
    unit: Callable[[ImageSpec], tuple[int, ...] | None] = lambda spec: None
    check_place: Callable[[Path, str, ImageSpec], None] = lambda path, internal, spec: check_file_place(path)
    check_url: Callable[[str, str, ImageSpec], None] = lambda url, internal, spec: None
    least_bytes: Callable[[ImageSpec], int] = lambda spec: 0
    is_result: Callable[[Path, str], bool] = lambda path, internal: False
    is_folder: bool = False


@dataclass(frozen=True)
class TableColumn:
    """One column of a table.

    dtype   of its values; of a column of texts, whose values are indices into ``texts``: an integer type
    texts   what a column of texts can hold; None for a column of numbers
    """

    name: str
    dtype: np.dtype
    texts: tuple[str, ...] | None = None


class TableWriter(ABC):
    """One table being written, rows in order. Nothing exists under the final name before ``finish``."""

    @abstractmethod
    def write(self, columns: Sequence[np.ndarray]) -> None:
        """Append rows: one array a column, all equally long, in the columns' types. Raises ExportError."""

    def write_image(self, name: str, box: Box, data: np.ndarray) -> None:
        """Store a part of a picture that belongs to the table. Raises ExportError.

        name   as in ``add_image``
        """
        raise NotImplementedError("this format holds no images")

    def add_image(self, name: str, shape: Sequence[int], dtype: np.dtype, *, axes: str, kind: str) -> None:
        """Make room for a picture that belongs to the table.

        name   a path inside the file
        kind   "image" or "labeling"
        Raises ExportError; NotImplementedError where the format holds no images.
        """
        raise NotImplementedError("this format holds no images")

    @abstractmethod
    def finish(self) -> Path:
        """Complete the file, put it under its final name, and return that. Raises ExportError."""

    @abstractmethod
    def abort(self) -> None:
        """Remove everything temporary; what stood under the final name before is untouched. Never raises."""


@dataclass(frozen=True)
class TableFormat:
    """How tables are written into files with one of these extensions.

    extensions     lower case, without the dot
    open           (final path, columns, compression by h5py's names) -> TableWriter; raises ExportError
    holds_images   pictures of the objects can be stored beside the rows
    find_missing   what has to be installed before this format can be written, as pip takes it; "" if nothing
    is_result      see OutputFormat
    is_plain_text  True if spreadsheets open it as they open what people type, formulas included
    """

    name: str
    extensions: tuple[str, ...]
    open: Callable[[Path, Sequence[TableColumn], Mapping[str, object]], TableWriter]
    summary: str = ""
    holds_images: bool = False
    find_missing: Callable[[], str] = lambda: ""
    is_result: Callable[[Path, str], bool] = lambda path, internal: False
    is_plain_text: bool = False
