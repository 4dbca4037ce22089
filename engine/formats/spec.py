"""Specification of a format of images: reader, writer, and the limits of files. For tables see table_spec.py.

A file of images/ sets ``INPUT`` (an InputFormat, or None) and ``OUTPUTS`` (a tuple of OutputFormat), and so may a
plug-in's module. The registry in ``formats/__init__.py`` collects them; choices, help texts and the shared tests follow
from that list. Readers and writers keep the axes of the file; callers convert to canonical axes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Self

import numpy as np

from ...box import Box
from ...frozen import frozen
from ..storage.atomic_write import check_file_place
from ..storage.object_storage import RemotePath

SEQUENCE = " sequence"  # end of the names of formats that write a file per slice


@frozen
class Scales:
    """Levels of resolution that an image is one of.

    Parameters
    ----------
    active
        Name of the level that is read.
    shapes
        Level -> axis letter -> size, the largest level first.
    translation
        Axis letter -> physical position of the first voxel, in the unit of the axis, where it is not 0.
    """

    active: str
    shapes: Mapping[str, Mapping[str, int]]
    translation: Mapping[str, float] = field(default_factory=dict)


@frozen
class ImageInfo:
    """Facts about an image that are known before a voxel is read.

    Parameters
    ----------
    shape, dtype
        Of the stored array, in file order.
    axes
        Letters in file order, guessed from the shape if the file states none.
    own_axes
        True if the file itself states its axes; False if ``axes`` is a guess.
    drange
        Stored range of the values (smallest, largest), or None.
    display_mode
        Stored hint for viewers, or None.
    axis_units
        Axis letter -> unit as stored, such as "µm" or "s"; empty if unknown.
    resolution
        Axis letter -> pixel size in the unit of the axis; empty if unknown.
    chunks
        Storage unit of the file, in file order; None if rows can be read at no extra cost.
    scales
        Levels of resolution of the file; None if it has only one.
    axes_problem
        Defect of the axes stated in the file, as the end of a sentence; else "". Such an image can only be read with
        axes given by the user.
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
    """Reader of one open image. ``read`` may be called from several threads at once.

    Attributes
    ----------
    info
        Facts about the image.
    held_bytes
        Memory of the whole image once a part of it is read; 0 if parts are read from the file.
    unchecked
        Parts that only decoding checks, such as "the PNG data"; empty if none. Complete after ``verify``.
    warnings
        Lines for the user about the data, such as missing planes.
    files
        All files that are read, if there are others besides the opened one.
    siblings
        Internal paths of all images of the file, if there are several; they are listed for the user.
    known
        Value that ``InputFormat.reopen`` opens the same image with; it can be pickled. None if there is none.
    """

    info: ImageInfo
    known: object = None
    held_bytes: int = 0
    unchecked: str = ""
    warnings: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    siblings: tuple[str, ...] = ()

    @abstractmethod
    def read(self, box: Box) -> np.ndarray:
        """Read the voxels of a box.

        Parameters
        ----------
        box
            Region in file axes, within the image.

        Returns
        -------
        numpy.ndarray
            The voxels in file axes, of the box's shape, in the file's dtype and native byte order.

        Raises
        ------
        InputError
            If they cannot be read.
        """

    def verify(self) -> None:  # noqa: B027  # most files are checked completely when opened
        """Check the file as far as possible without decoding pixels.

        Raises
        ------
        InputError
            The error that reading would raise.
        """

    @abstractmethod
    def close(self) -> None:
        """Release the file; may be called twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


@frozen
class InputFormat:
    """Description of how files of one kind are recognised and opened.

    Parameters
    ----------
    name
        Name of the format.
    extensions
        Lower case, without the dot.
    open
        (file, internal path or "") -> ImageReader. Raises InputError, InputNotFound.
    list_images
        For containers: file -> internal paths of all datasets with 2 to 5 dimensions; None for other files.
    stack
        Combination of several files along an axis: "picture" or "array".
    is_image
        For images that are folders: returns True if a folder is one of them, or a part of one.
    open_remote
        ``open`` for images behind a URL; None: files only.
    open_incomplete
        ``open`` that reads zeros for voxels declared in metadata but in no file; None: not supported.
    open_labels
        ``open`` that reads the values as stored where ``open`` applies a palette or scales them; None: it does neither.
    container_extensions
        Those of its extensions that an internal path may follow; needs ``list_images``.
    reopen
        Faster ``open``, with ``ImageReader.known`` of the same image; None where the file has changed.
    opens_any_url
        True for the one format that opens a URL whose extension belongs to no format; plug-ins are not asked.
    is_content
        (first bytes of a file) -> True if they are those of this format, whatever the extension of the file. None: its
        extensions alone decide, also if the bytes are those of another format.
    """

    name: str
    extensions: tuple[str, ...]
    open: Callable[[Path, str], ImageReader]
    list_images: Callable[[Path], Sequence[str]] | None = None
    stack: str = "array"
    is_image: Callable[[Path], bool] = lambda folder: False
    open_remote: Callable[[RemotePath, str], ImageReader] | None = None
    open_incomplete: Callable[[Path, str], ImageReader] | None = None
    open_labels: Callable[[Path, str], ImageReader] | None = None
    container_extensions: tuple[str, ...] = ()
    reopen: Callable[[object], ImageReader | None] = lambda known: None
    opens_any_url: bool = False
    is_content: Callable[[bytes], bool] | None = None


@frozen
class ImageSpec:
    """Description of an image to write, in output axes.

    Parameters
    ----------
    shape, dtype, axes
        Of the whole file.
    offset
        Start of the exported region along each output axis; numbers the slices of sequences.
    drange, display_mode, axis_units, resolution
        Metadata, stored if the format supports them; ``drange`` is two numbers in ``dtype``.
    is_labels
        True if values are numbers of classes or objects, which must not be mixed.
    scales
        Levels of the image that the result was made of, for formats that store several.
    version
        Version of the format, if it has several; "": the default one.
    may_replace
        True if existing data under the final name may be replaced, for formats that ask.
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
    """Writer of one image. Nothing exists under the final name before ``finish``.

    ``write`` takes disjoint boxes (output axes) that together cover the image, in any order, from several threads at
    once.

    Attributes
    ----------
    chunks
        Shape of boxes that a streaming format prefers; None if it does not matter.
    """

    chunks: tuple[int, ...] | None = None

    @abstractmethod
    def write(self, box: Box, data: np.ndarray) -> None:
        """Store a box; the voxels may be kept in memory until ``finish``.

        Parameters
        ----------
        box
            Region in output axes.
        data
            Its voxels, in output axes and the dtype of the spec.

        Raises
        ------
        ExportError
            If they cannot be written.
        """

    @abstractmethod
    def finish(self) -> list[Path]:
        """Complete the file and put it under its final name.

        Returns
        -------
        list of Path
            The files written; none behind a URL.

        Raises
        ------
        ExportError
            If the file cannot be completed, or voxels are missing.
        """

    @abstractmethod
    def abort(self) -> None:
        """Remove everything temporary; existing data under the final name are untouched. Never raises."""


class BlockWriter(ImageWriter):
    """Writer of an image that several processes fill, or one after another.

    Each process writes some blocks, which are boxes of whole ``OutputFormat.unit``, and one of them finishes. What was
    written is kept until then, even if all processes are killed. ``abort`` removes nothing.
    """

    @abstractmethod
    def settle(self, box: Box) -> str:
        """Wait until a block that was written is on disk.

        Parameters
        ----------
        box
            The block in output axes.

        Returns
        -------
        str
            Facts about its files for ``restore``.

        Raises
        ------
        ExportError
            If it could not be written.
        """

    @abstractmethod
    def restore(self, box: Box, files: str) -> None:
        """Count a block that another writer has settled as written.

        Parameters
        ----------
        box
            The block in output axes.
        files
            Value that ``settle`` returned.

        Raises
        ------
        ValueError
            If it does not describe this block.
        """

    def level_shapes(self) -> Sequence[tuple[Sequence[int], Sequence[int]]]:
        """Return shape and unit (t, z, y, x) of the smaller copies of the image that the file contains, in order.

        Each is made from the copy before, the first one from the image, by ``finish`` or part by part before.
        """
        return ()

    def make_part(self, level: int, part: Box) -> str:
        """Make a part of a smaller copy, when all of the copy before is on disk.

        Parameters
        ----------
        level
            Number of the copy, from 1.
        part
            Box (t, z, y, x) of whole units, with all channels.

        Returns
        -------
        str
            Facts about its files for ``restore_part``.

        Raises
        ------
        ExportError
            If it could not be made.
        """
        raise NotImplementedError

    def restore_part(self, level: int, part: Box, files: str) -> None:
        """Count a part of a smaller copy that another writer has made; arguments as for ``make_part``."""
        raise NotImplementedError


@frozen
class Limits:
    """Limits of the images that a format can hold.

    Parameters
    ----------
    dtypes
        NumPy names of types stored without change; None: all of the ten export types.
    stretches
        True if another dtype is stretched to uint8 by the file's own minimum and maximum, instead of refused.
    max_dims
        Maximum number of non-channel axes longer than 1; None: any.
    channels
        Allowed numbers of channels; None: any.
    """

    dtypes: frozenset[str] | None = None
    stretches: bool = False
    max_dims: int | None = None
    channels: frozenset[int] | None = None


@frozen
class OutputFormat:
    """Description of how results are written under one name of ``--output_format``.

    Parameters
    ----------
    name
        Value of the option.
    extension
        Without the dot; forced onto the output path. "": the path stays unchanged.
    open
        (final path, internal path, spec) -> ImageWriter. Raises ExportError.
    limits
        Images that the format can hold.
    summary
        One line for the list of formats.
    sequence
        True if one file per slice is written and the path needs ``{slice_index}``.
    streams
        True if no more than a few chunks are held in memory.
    container
        True if the internal path names a dataset inside the file.
    fixed_axes
        Axis order inside the file if the format imposes one, whatever order is requested.
    open_url
        ``open`` for an output path that is a URL; None: files only.
    unit
        spec -> shape, in output axes, of the unit that is held in memory until it is complete; None: none is held, or
        it is not known before the file is open.
    check_place
        (final path, internal path, spec): raises the ExportError that ``open`` would raise, as far as it is known
        without writing. Called before the computation; for a sequence, for each of its files.
    check_url
        The same for (URL, internal path, spec).
    least_bytes
        spec -> minimum size on disk of the files of a result; 0 if it depends on the voxels.
    is_result
        (existing path, internal path): returns True if it may be an earlier result of this format, which a project that
        stores this path may replace. Not called for the user's own paths.
    is_folder
        True if the result is a folder.
    open_blocks
        (final path, internal path, spec, name of the run) -> BlockWriter, which continues what other processes have
        written under this name; None: one process writes the whole result. Raises ExportError.
    open_url_blocks
        ``open_blocks`` for an output path that is a URL.
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
    open_blocks: Callable[[Path, str, ImageSpec, str], BlockWriter] | None = None
    open_url_blocks: Callable[[str, str, ImageSpec, str], BlockWriter] | None = None

    def __reduce__(self) -> tuple[Callable[[str], OutputFormat], tuple[str]]:
        """Pickle the name: the process that reads it finds the format by itself."""
        from . import output_format

        return output_format, (self.name,)
