"""NumPy's files: .npy read by region and written through a memory map, arrays inside .npz.

A .npz is a zip archive. Its arrays are read by region if they are uncompressed (numpy.savez), and decompressed whole at
the first read otherwise (numpy.savez_compressed). Objects are never unpickled.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import warnings
import zlib
from math import prod
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from ....box import Box
from ....frozen import frozen
from ...axes import default_axes
from ...errors import ExportError, InputError, InputNotFound, MemoryTooSmall, damaged_input, unreadable_input
from ...storage.atomic_write import Target, check_file_place, export_errors
from ...storage.file_reads import OpenFile
from ...storage.pixel_types import check_image, pixel_type
from ...storage.special_files import resolve_links
from ..spec import ImageInfo, ImageReader, ImageSpec, ImageWriter, InputFormat, Limits, OutputFormat
from ..support.signature import begins_with

if TYPE_CHECKING:
    import zipfile

_SIGNATURE = b"\x93NUMPY"
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_PARSING = threading.Lock()  # filters of warnings belong to the whole process
_STORED = 0  # compression of a zip member
_LOCAL_HEADER_BYTES = 30  # of a zip member, before its name and extra field
_PIECE_BYTES = 2**24  # decompressed at a time
_MAX_DEFLATE_RATIO = 1100  # deflate reaches at most about 1032; a larger ratio means a false size


@frozen
class _Header:
    """Header of a .npy: the array's layout, and its offset in the file."""

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype
    offset: int

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize

    @property
    def end(self) -> int:
        return self.offset + self.nbytes


def _read_header(stream: IO[bytes], label: str) -> _Header:
    """Read and check the header of a .npy at the current position of ``stream``. Raises InputError."""
    try:
        version = np.lib.format.read_magic(stream)
        if version not in _HEADERS:
            raise ValueError(f"version {version[0]}.{version[1]} of the format is for arrays with named fields")
        with _PARSING, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # files of Python 2 are valid
            shape, fortran_order, dtype = _HEADERS[version](stream)
        header = _Header(tuple(int(n) for n in shape), bool(fortran_order), dtype, stream.tell())
    except Exception as error:  # NumPy's parser lets through whatever Python raises for damaged source text
        raise unreadable_input(label, error) from error
    check_image(label, header.shape, dtype)
    return header


def _array_info(header: _Header) -> ImageInfo:
    return ImageInfo(
        shape=header.shape, dtype=pixel_type(header.dtype), axes=default_axes(header.shape), own_axes=False
    )


class StoredReader(ImageReader):
    """Reader of an array stored uncompressed in a file. Several threads may read at once."""

    def __init__(self, path: Path, label: str, header: _Header) -> None:
        self.info = _array_info(header)
        self._header = header
        try:
            self._file = OpenFile(path, label)
        except OSError as error:
            raise unreadable_input(label, error) from error
        if self._file.size < header.end:
            self.close()
            raise damaged_input(label, f"it is cut short ({self._file.size} bytes, {header.end} declared)")

    def read(self, box: Box) -> np.ndarray:
        header = self._header
        if header.fortran_order:  # the first axis is the fastest one in the file
            swapped = Box(box.start[::-1], box.stop[::-1])
            voxels = self._file.read_box(header.offset, header.shape[::-1], header.dtype, swapped).T
        else:
            voxels = self._file.read_box(header.offset, header.shape, header.dtype, box)
        return np.ascontiguousarray(voxels, dtype=self.info.dtype)

    def close(self) -> None:
        self._file.close()


class PackedReader(ImageReader):
    """Reader of a compressed array of a .npz, which is decompressed whole at the first read and kept until closed."""

    unchecked = "the compressed array"

    def __init__(self, path: Path, member: zipfile.ZipInfo, label: str) -> None:
        self._path, self._member, self._label = path, member, label
        self._array: np.ndarray | None = None
        self._lock = threading.Lock()
        with _open_archive(path) as archive, archive.open(member) as stream:
            self._header = _read_header(stream, label)
        self.info = _array_info(self._header)
        if self._header.end != member.file_size or member.file_size > max(1, member.compress_size) * _MAX_DEFLATE_RATIO:
            raise damaged_input(label, f"it declares {self._header.nbytes} bytes, which the archive does not hold")

    def read(self, box: Box) -> np.ndarray:
        with self._lock:
            if self._array is None:
                self._array = self._unpack()
        return np.array(self._array[box.slices()], dtype=self.info.dtype, order="C")

    def close(self) -> None:
        self._array = None

    def _unpack(self) -> np.ndarray:
        header = self._header
        try:
            array = np.empty(header.shape, header.dtype, order="F" if header.fortran_order else "C")
            memory = array.reshape(-1, order="A").view(np.uint8)  # a flat view in memory order
            done = 0
            with _open_archive(self._path) as archive, archive.open(self._member) as stream:
                stream.read(header.offset)
                while done < memory.size and (piece := stream.read(min(_PIECE_BYTES, memory.size - done))):
                    memory[done : done + len(piece)] = np.frombuffer(piece, np.uint8)
                    done += len(piece)
        except MemoryError as error:
            raise MemoryTooSmall(
                f"cannot read {self._label}: compressed arrays are unpacked whole, and {header.nbytes} bytes of memory "
                "are not there; store it with numpy.savez or as .npy or HDF5"
            ) from error
        except _archive_errors() as error:
            raise unreadable_input(self._label, error) from error
        if done != memory.size:
            raise damaged_input(self._label, "it is cut short")
        return array


def _open_archive(path: Path) -> zipfile.ZipFile:
    import zipfile  # with other compressions, 5 ms, and few runs come here

    return zipfile.ZipFile(path)


def _archive_errors() -> tuple[type[Exception], ...]:
    """Exceptions of zipfile for damaged or encrypted archives and unknown compression."""
    import zipfile

    return (OSError, EOFError, ValueError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error)


def open_array(path: Path, internal: str) -> ImageReader:
    """Open a .npy, or the array ``internal`` of a .npz; that may be empty if there is only one."""
    if not path.exists():
        raise InputNotFound(f"there is no file {path}")
    try:
        if path.suffix.lower() != ".npz":
            with path.open("rb") as stream:
                header = _read_header(stream, str(path))
            return StoredReader(path, str(path), header)
        return _open_member(path, internal.strip("/"))
    except InputError:
        raise
    except _archive_errors() as error:
        raise unreadable_input(path, error) from error


def _open_member(path: Path, name: str) -> ImageReader:
    with _open_archive(path) as archive:
        members = {m.filename.removesuffix(".npy"): m for m in archive.infolist() if m.filename.endswith(".npy")}
    if not name:
        if len(members) != 1:
            names = sorted(members)
            if not names:
                raise InputError(f"cannot read {path}: it holds no arrays; choose another file")
            raise InputError(
                f"{path} holds several arrays; append the name of one, as in {path}/{names[0]}. "
                f"It has: {', '.join(names)}"
            )
        name = next(iter(members))
    if name not in members:
        raise InputNotFound(f"there is no array {name!r} in {path}; it has: {', '.join(sorted(members)) or 'none'}")
    member, label = members[name], f"{path}/{name}"
    if member.compress_type != _STORED or member.flag_bits & 1:
        return PackedReader(path, member, label)
    with path.open("rb") as stream:
        # The local header is authoritative about its own length; the central directory's may differ.
        stream.seek(member.header_offset)
        local = stream.read(_LOCAL_HEADER_BYTES)
        start = _LOCAL_HEADER_BYTES + int.from_bytes(local[26:28], "little") + int.from_bytes(local[28:30], "little")
        stream.seek(member.header_offset + start)
        header = _read_header(stream, label)
    if header.end - member.header_offset - start > member.file_size:
        raise damaged_input(label, f"it declares {header.nbytes} bytes, which the archive does not hold")
    return StoredReader(path, label, header)


def list_arrays(path: Path) -> tuple[str, ...]:
    """List the sorted names of the arrays in a .npz that can be images. A .npy has no names inside: ("",)."""
    if path.suffix.lower() != ".npz":
        return ("",)
    names: list[str] = []
    try:
        with _open_archive(path) as archive:
            for member in archive.infolist():
                if member.filename.endswith(".npy"):
                    name = member.filename.removesuffix(".npy")
                    with contextlib.suppress(InputError), archive.open(member) as stream:
                        _read_header(stream, f"{path}/{name}")
                        names.append(name)
    except FileNotFoundError as error:
        raise InputNotFound(f"there is no file {path}") from error
    except _archive_errors() as error:
        raise unreadable_input(path, error) from error
    return tuple(sorted(names))


class NpyWriter(ImageWriter):
    """Writer of a .npy through a memory map, in C order. Several threads may write at once."""

    def __init__(self, path: Path, internal: str, spec: ImageSpec) -> None:
        self._path = path
        self._map: np.memmap | None = None
        self._missing = prod(spec.shape)
        self._lock = threading.Lock()
        # A link is followed: what it points to is replaced, not the link.
        self._target = Target(resolve_links(path))
        try:
            with export_errors(path):
                self._reserve(spec)
                self._map = np.lib.format.open_memmap(self._target.temporary, "r+")
        except BaseException:
            self.abort()
            raise

    def _reserve(self, spec: ImageSpec) -> None:
        """Write the header and allocate the file's full size on disk.

        A disk that becomes full under a memory map ends the process, so all blocks are allocated before.
        """
        with self._target.temporary.open("wb") as stream:
            header = {"descr": np.lib.format.dtype_to_descr(spec.dtype), "fortran_order": False, "shape": spec.shape}
            np.lib.format.write_array_header_1_0(stream, header)
            start, size = stream.tell(), stream.tell() + spec.nbytes
            stream.flush()
            stream.truncate(size)
            if spec.nbytes and hasattr(os, "posix_fallocate"):
                try:
                    os.posix_fallocate(stream.fileno(), start, spec.nbytes)
                except OSError as error:
                    if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # a file system that cannot tell
                        raise

    def write(self, box: Box, data: np.ndarray) -> None:
        if self._map is None:
            raise ExportError(f"cannot write {self._path}: it was closed")
        self._map[box.slices()] = data
        with self._lock:
            self._missing -= box.size

    def finish(self) -> list[Path]:
        try:
            if self._missing:
                raise ExportError(f"cannot complete {self._path}: {self._missing} voxels were never written")
            with export_errors(self._path):
                if self._map is not None:
                    self._map.flush()
                    self._map = None
                self._target.commit()
        finally:
            self.abort()
        return [self._path]

    def abort(self) -> None:
        self._map = None
        self._target.discard()


INPUT = InputFormat(
    "numpy",
    ("npy", "npz"),
    open_array,
    list_images=list_arrays,
    container_extensions=("npz",),
    is_content=lambda head: head.startswith(_SIGNATURE),
)
OUTPUTS = (
    OutputFormat(
        "numpy",
        "npy",
        NpyWriter,
        Limits(),
        summary="NumPy array, no metadata",
        streams=True,
        check_place=lambda path, internal, spec: check_file_place(resolve_links(path)),
        least_bytes=lambda spec: spec.nbytes,
        is_result=begins_with(_SIGNATURE),
    ),
)
