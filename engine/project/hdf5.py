"""Project file as typed values: text, numbers, arrays. The only module of ``project/`` that uses HDF5.

The file is not trusted. Links that lead out of it, virtual and external storage are refused, sizes are checked before
memory is allocated, no pickle is ever loaded, and every error of HDF5 becomes a ProjectError that names the file and
the path in it. Files are opened for reading and are never locked.
"""

from __future__ import annotations

from contextlib import suppress
from math import isfinite, prod
from pathlib import Path
from typing import Any, Literal, Self

import h5py  # type: ignore[import-untyped]  # ships neither stubs nor a py.typed marker
import numpy as np

from ...frozen import frozen
from ..errors import ProjectError, ProjectNotFound
from .text_heap import TextHeap

# Limit of the bytes read from one file: this many times its size, plus a constant. Real projects are stored without
# compression; recompressed ones shrink by a factor of 10 to 30.
READ_FACTOR = 64
READ_ALLOWANCE = 1 << 20
# Soft links followed before a path counts as circular.
MAX_SOFT_LINKS = 16
# Strings are read this many at a time: their real length is only known afterwards.
TEXTS_AT_ONCE = 64
# An empty list is stored as one dummy element, or as one row of a table of colours or of a box.
MAX_DUMMIES = 8
MAX_ATTRIBUTE_BYTES = 1 << 20
# Names of classes, of inputs and of feature columns: real projects have hundreds, thousands of columns at most.
MAX_TEXTS = 1 << 18

# Exceptions of h5py and HDF5 for invalid files. UnicodeDecodeError is a ValueError.
_FAILURES = (
    OSError,
    RuntimeError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    ArithmeticError,
    MemoryError,
    SystemError,
)

# Stored types whose bytes are those of an array of this type; HDF5 converts all others.
_PLAIN = tuple(
    (getattr(h5py.h5t, name), np.dtype(code))
    for name, code in (
        ("STD_I32LE", "<i4"),
        ("IEEE_F64LE", "<f8"),
        ("STD_U32LE", "<u4"),
        ("STD_I64LE", "<i8"),
        ("STD_U8LE", "<u1"),
    )
)

Kind = Literal["integers", "numbers", "booleans"]
_KINDS: dict[Kind, str] = {"integers": "iu", "numbers": "iuf", "booleans": "biu"}


@frozen
class _Dataset:
    """Properties of a dataset before its values are read.

    shape  None: it has no extent
    chunk  None: it is not stored in chunks
    plain  offset of its values in the file, contiguous as in an array; None: only HDF5 can read them
    """

    id: Any
    shape: tuple[int, ...] | None
    dtype: np.dtype
    chunk: tuple[int, ...] | None
    plain: int | None = None

    @property
    def count(self) -> int:
        """Declared number of elements."""
        return 0 if self.shape is None else prod(self.shape)


class ProjectFile:
    """An open project file. Paths are those inside the file, without a leading slash."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            if not path.exists():
                raise ProjectNotFound(f"project file '{path}' does not exist")
            if path.is_dir():
                raise ProjectError(f"'{path}' is a folder, not a project file; give the .ilp file")
            if not path.is_file():  # opening a pipe would wait for a writer
                raise ProjectError(
                    f"'{path}' is a device, a pipe or a socket, not a project file; give the .ilp file itself"
                )
            self.size_bytes = path.stat().st_size
            self._file = _open_unlocked(path)
            self._stream = open(path, "rb")  # noqa: SIM115  # closed with this object
            creation = self._file.id.get_create_plist()
            self._base, widths = creation.get_userblock(), creation.get_sizes()
            self._heap = TextHeap(self._stream, self.size_bytes, self._base, *widths)
        except ProjectError:
            raise
        except _FAILURES as error:
            raise ProjectError(_opening_failed(path, error)) from error
        self._root = self._file.id
        self._groups: dict[str, Any] = {}
        self._heap_is_checked = False
        self._bytes_left = READ_ALLOWANCE + READ_FACTOR * self.size_bytes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the file; may be called twice."""
        self._groups.clear()
        self._stream.close()
        try:
            self._file.close()
        except _FAILURES as error:
            raise ProjectError(self._message("", str(error))) from error

    def error(self, path: str, what: str) -> ProjectError:
        """Create a ProjectError that names this file and a path in it."""
        return ProjectError(self._message(path, what))

    # -- structure ----------------------------------------------------------------------------------------------

    def has(self, path: str) -> bool:
        """Return True if there is a dataset or a group at ``path``."""
        with self._reading(path):
            return self._object(path) is not None

    def has_group(self, path: str) -> bool:
        """Return True if there is a group at ``path``."""
        with self._reading(path):
            return isinstance(self._object(path), h5py.h5g.GroupID)

    def has_dataset(self, path: str) -> bool:
        """Return True if there is a dataset at ``path``."""
        with self._reading(path):
            return isinstance(self._object(path), h5py.h5d.DatasetID)

    def has_applet(self, group: str) -> bool:
        """Return True if ``group`` has a StorageVersion; without one ilastik treats the whole group as absent."""
        return self.has(f"{group}/StorageVersion")

    def groups(self, path: str) -> tuple[str, ...]:
        """Names of the groups inside the group ``path``, sorted; empty if there is no such group."""
        return self._members(path, h5py.h5g.GroupID)

    def datasets(self, path: str) -> tuple[str, ...]:
        """Names of the datasets inside the group ``path``, sorted; empty if there is no such group."""
        return self._members(path, h5py.h5d.DatasetID)

    def shape(self, path: str) -> tuple[int, ...] | None:
        """Declared shape of a dataset, which may exceed the stored data; None if there is none."""
        with self._reading(path):
            found = self._object(path)
            return found.shape if isinstance(found, h5py.h5d.DatasetID) else None

    # -- text ---------------------------------------------------------------------------------------------------

    def text(self, path: str) -> str | None:
        """Read a string of any string type; None if there is no such dataset. Never a pickle's content."""
        with self._reading(path):
            found = self._dataset(path)
            if found is None:
                return None
            if found.count != 1:
                raise self.error(path, f"holds {found.count} values where one text belongs")
            return self._decoded(self._strings(found, path)[0])

    def opaque(self, path: str) -> bytes | None:
        """Read one string or opaque value as bytes; None if there is no such dataset."""
        with self._reading(path):
            found = self._dataset(path)
            if found is None:
                return None
            if found.count != 1:
                raise self.error(path, f"holds {found.count} values where one belongs")
            return self._strings(found, path)[0]

    def texts(self, path: str) -> tuple[str, ...] | None:
        """Read a list of strings; empty where the file marks it ``isEmpty``, None if there is no such dataset."""
        with self._reading(path):
            found = self._dataset(path)
            if found is None:
                return None
            if self._is_flagged_empty(found, path):
                return ()
            return tuple(self._decoded(value) for value in self._strings(found, path))

    # -- numbers ------------------------------------------------------------------------------------------------

    def array(self, path: str, kind: Kind, *, max_bytes: int = 1 << 31) -> np.ndarray | None:
        """Read a numeric dataset in native byte order and its stored width; None if there is no such dataset.

        kind       "integers", "numbers" (integers or floats) or "booleans" (also integers, which become booleans)
        max_bytes  limit of the size, whatever the size of the file
        An array marked ``isEmpty`` is returned without elements.
        """
        with self._reading(path):
            found = self._dataset(path)
            if found is None:
                return None
            dtype = found.dtype
            if dtype.kind not in _KINDS[kind]:
                raise self.error(path, f"holds values of type {dtype} where {kind} belong")
            if self._is_flagged_empty(found, path):
                return np.empty(0, dtype)
            values = self._values(found, path, max_bytes)
            if kind == "booleans":
                return self._booleans(values, path)
            return values.astype(dtype.newbyteorder("="), copy=False)

    def number(self, path: str) -> float | int | None:
        """Read one number, an int where the file holds an integer; None if there is no such dataset."""
        values = self.array(path, "numbers", max_bytes=1 << 10)
        if values is None or values.size == 0:
            return None
        if values.size != 1:
            raise self.error(path, f"holds {values.size} numbers where one belongs")
        value: float | int = values.reshape(-1)[0].item()
        return value

    def integer(self, path: str) -> int | None:
        """Read one integer, also if the file holds it as a float; None if there is no such dataset."""
        value = self.number(path)
        if value is not None and (not isfinite(value) or value != int(value)):
            raise self.error(path, f"holds {value} where a whole number belongs")
        return None if value is None else int(value)

    # -- attributes ---------------------------------------------------------------------------------------------

    def attribute_text(self, path: str, name: str) -> str | None:
        """Read a string attribute of the object at ``path``; None if the object has none of this name."""
        value = self._attribute(path, name)
        if value is None:
            return None
        if isinstance(value, np.ndarray) and value.size == 1:
            value = value.reshape(-1)[0]
        if not isinstance(value, str | bytes):
            raise self.error(path, f"its attribute {name} is not a text")
        return self._decoded(value)

    def attribute_number(self, path: str, name: str) -> float | None:
        """Read a numeric attribute of the object at ``path``; None if the object has none of this name."""
        value = self._attribute(path, name)
        if value is None:
            return None
        array = np.asarray(value)
        if array.dtype.kind not in "biuf" or array.size != 1:
            raise self.error(path, f"its attribute {name} is not a number")
        return float(array.reshape(-1)[0])

    # -- inside -------------------------------------------------------------------------------------------------

    def _reading(self, path: str) -> _Reading:
        """Turn every exception of HDF5 while ``path`` is read into a ProjectError."""
        return _Reading(self, path)

    def _message(self, path: str, what: str) -> str:
        place = f"project '{self.path}', {path}: {what}" if path else f"project '{self.path}': {what}"
        return _one_line(place)

    def _object(self, path: str, links: int = 0, *, is_dataset: bool = False) -> Any:
        """Open the object at ``path`` as an h5py identifier; None if a part of the path does not exist.

        is_dataset  a guess that makes datasets cheaper to open; other objects are found, too
        """
        here, place, rest = self._root, "", path
        folder, _, name = path.rpartition("/")
        if f"/{folder}" in self._groups:
            here, place, rest = self._groups[f"/{folder}"], f"/{folder}", name
        parts = [part for part in rest.split("/") if part not in ("", ".")]
        for i, part in enumerate(parts):
            above, place = place, f"{place}/{part}"
            if place in self._groups:
                here = self._groups[place]
                continue
            if not isinstance(here, h5py.h5g.GroupID):
                return None
            key = part.encode("utf-8", "surrogateescape")
            link = _link_type(here, key)
            if link is None:
                return None
            if link == h5py.h5l.TYPE_SOFT:
                if links == MAX_SOFT_LINKS:
                    raise self.error(path, "is a circle of links")
                target = here.links.get_val(key).decode("utf-8", "surrogateescape")
                start = "" if target.startswith("/") else above
                return self._object("/".join([start, target, *parts[i + 1 :]]), links + 1, is_dataset=is_dataset)
            if link != h5py.h5l.TYPE_HARD:
                raise self.error(place[1:], "is a link to another file, which is never followed; copy the data into it")
            here = _open(here, key, is_dataset=is_dataset and i == len(parts) - 1)
            if isinstance(here, h5py.h5g.GroupID):
                self._groups[place] = here
        return here

    def _members(self, path: str, kind: type) -> tuple[str, ...]:
        with self._reading(path):
            group = self._object(path)
            if not isinstance(group, h5py.h5g.GroupID):
                return ()
            names = sorted(name.decode("utf-8", "surrogateescape") for name in group)
            return tuple(name for name in names if isinstance(self._object(f"{path}/{name}"), kind))

    def _dataset(self, path: str) -> _Dataset | None:
        """Open a dataset whose values are in this file; None if there is nothing at ``path``."""
        found = self._object(path, is_dataset=True)
        if found is None:
            return None
        if not isinstance(found, h5py.h5d.DatasetID):
            raise self.error(path, "is not a dataset")
        offset = found.get_offset()
        if offset is not None:  # contiguous in this file, as ilastik stores nearly everything
            stored = found.get_type()
            plain = next((dtype for known, dtype in _PLAIN if known.equal(stored)), None)
            if plain is not None:
                return _Dataset(found, found.shape, plain, None, offset)
            return _Dataset(found, found.shape, stored.dtype, None)
        creation = found.get_create_plist()
        layout = creation.get_layout()
        if layout == h5py.h5d.VIRTUAL or creation.get_external_count() > 0:
            raise self.error(path, "takes its values from another file, which is never followed")
        chunk = creation.get_chunk() if layout == h5py.h5d.CHUNKED else None
        return _Dataset(found, found.shape, found.dtype, chunk)

    def _values(self, found: _Dataset, path: str, max_bytes: int) -> np.ndarray:
        """Read all values of a dataset of fixed-size elements."""
        if found.shape is None:
            return np.empty(0, found.dtype)
        size = found.count * found.dtype.itemsize
        if size == 0:
            return np.empty(found.shape, found.dtype)
        stored = int(found.id.get_storage_size())
        if stored == 0 or (found.chunk is None and stored < size):
            raise self.error(path, f"declares {size} bytes, of which {stored} are in the file; the file is damaged")
        if size > max_bytes:
            raise self.error(path, f"declares {size} bytes, where at most {max_bytes} make sense")
        # A chunk is decompressed whole, and it may be larger than the dataset.
        self._spend(max(size, prod(found.chunk or ()) * found.dtype.itemsize), path)
        if found.plain is not None:
            return self._plain_values(found, found.plain, size)
        values = np.empty(found.shape, found.dtype)
        found.id.read(h5py.h5s.ALL, h5py.h5s.ALL, values)
        return values

    def _booleans(self, values: np.ndarray, path: str) -> np.ndarray:
        """Convert integers and HDF5's enumerations, which can hold any byte, to booleans."""
        numbers = values.view(np.uint8) if values.dtype.kind == "b" else values
        if not np.isin(numbers, (0, 1)).all():
            raise self.error(path, "holds values other than 0 and 1 where booleans belong; the file is damaged")
        return values.astype(bool)

    def _plain_values(self, found: _Dataset, start: int, size: int) -> np.ndarray:
        """Read ``size`` bytes of the file as an array: HDF5 takes ten times as long for a few numbers."""
        if start + size > self.size_bytes:
            raise ValueError(f"{size} bytes at {start} are beyond the end of the file")
        values = np.empty(found.shape or (), found.dtype)
        self._stream.seek(start)
        if self._stream.readinto(values.data) != size:
            raise ValueError("the file has become shorter")
        return values

    def _strings(self, found: _Dataset, path: str) -> list[bytes]:
        """Read all strings of a dataset as stored: fixed-length or variable-length strings, or opaque bytes."""
        dtype, shape = found.dtype, found.shape or ()
        if found.count > MAX_TEXTS:
            raise self.error(path, f"declares {found.count} texts, where at most {MAX_TEXTS} make sense")
        if dtype.kind in "SV" and dtype.fields is None and dtype.subdtype is None:
            return [bytes(value).rstrip(b"\0") for value in self._values(found, path, 1 << 26).reshape(-1)]
        if h5py.check_string_dtype(dtype) is None:
            raise self.error(path, f"holds values of type {dtype} where text belongs")
        if len(shape) > 1:
            raise self.error(path, f"holds a table of shape {shape} where a list of texts belongs")
        if found.count == 0:
            return []
        self._spend(found.count * dtype.itemsize, path)
        texts: list[bytes] = []
        for start in range(0, found.count, TEXTS_AT_ONCE):
            piece = self._text_piece(found, start, min(start + TEXTS_AT_ONCE, found.count))
            self._spend(sum(len(text) for text in piece), path)
            texts.extend(text.split(b"\0", 1)[0] for text in piece)
        return texts

    def _text_piece(self, found: _Dataset, start: int, stop: int) -> list[bytes]:
        """Read the variable-length strings ``start`` to ``stop`` of a list."""
        offset = found.id.get_offset()
        if offset is not None:
            return self._heap.read_pointers(offset + start * self._heap.pointer_bytes, stop - start)
        self._check_heap()
        dataset = h5py.Dataset(found.id)
        return [bytes(text) for text in (dataset[start:stop] if found.shape else [dataset[()]])]

    def _check_heap(self) -> None:
        """Check all heaps once; required before HDF5 itself reads a variable-length string."""
        if not self._heap_is_checked:
            self._heap.check_all()
            self._heap_is_checked = True

    def _is_flagged_empty(self, found: _Dataset, path: str) -> bool:
        """Return True for an empty list, which ilastik stores as one dummy element and this attribute."""
        return (
            found.count <= MAX_DUMMIES
            and h5py.h5a.exists(found.id, b"isEmpty")
            and bool(self.attribute_number(path, "isEmpty"))
        )

    def _attribute(self, path: str, name: str) -> Any:
        with self._reading(path):
            found = self._object(path)
            if found is None or not h5py.h5a.exists(found, name.encode()):
                return None
            attribute = h5py.h5a.open(found, name.encode())
            if attribute.get_storage_size() > MAX_ATTRIBUTE_BYTES:
                raise self.error(path, f"its attribute {name} has {attribute.get_storage_size()} bytes")
            self._spend(attribute.get_storage_size(), path)
            if h5py.check_string_dtype(attribute.dtype) is not None:
                self._check_heap()
            elif attribute.dtype.kind not in "biuf":  # h5py crashes on some of the other types
                raise self.error(path, f"its attribute {name} holds values of type {attribute.dtype}")
            holder = h5py.Dataset if isinstance(found, h5py.h5d.DatasetID) else h5py.Group
            return holder(found).attrs[name]

    def _decoded(self, value: str | bytes) -> str:
        return (
            value.decode("utf-8", "replace")
            if isinstance(value, bytes)
            else value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        )

    def _spend(self, size: int, path: str) -> None:
        """Count bytes against the limit for a file of this size."""
        self._bytes_left -= size
        if self._bytes_left < 0:
            raise self.error(path, f"declares {size} bytes, far more than a file of {self.size_bytes} bytes can hold")


class _Reading:
    """Context of ``ProjectFile._reading``. Not made by contextlib, since a large project has thousands of them."""

    def __init__(self, file: ProjectFile, path: str) -> None:
        self._file, self._path = file, path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if isinstance(error, _FAILURES) and not isinstance(error, ProjectError):
            raise self._file.error(self._path, f"cannot be read ({error}); the file is damaged") from error


def _link_type(group: Any, name: bytes) -> int | None:
    """Type of a member's link; None if the group has no such member."""
    try:
        kind: int = group.links.get_info(name).type
    except _FAILURES:
        if not group.links.exists(name):
            return None
        raise
    return kind


def _open(group: Any, name: bytes, *, is_dataset: bool) -> Any:
    """Open a member as an identifier. Raises h5py's exceptions."""
    if is_dataset:
        with suppress(*_FAILURES):  # no dataset, or damaged: the other function tells
            return h5py.h5d.open(group, name)
    return h5py.h5o.open(group, name)


def open_project(path: Path | str) -> ProjectFile:
    """Open a project for reading, without a lock. Raises ProjectNotFound or ProjectError."""
    return ProjectFile(Path(path))


def _open_unlocked(path: Path) -> Any:
    try:
        return h5py.File(path, "r", locking=False)
    except OSError as error:
        # This process has it open with a lock; HDF5 then shares the file and requires the same setting.
        if "locking flag values don't match" not in str(error):
            raise
        return h5py.File(path, "r")


def _opening_failed(path: Path, error: BaseException) -> str:
    if isinstance(error, PermissionError):
        return f"project file '{path}' cannot be opened: permission denied"
    text = _one_line(str(error))
    if "file signature not found" in text:
        return f"'{path}' is not an HDF5 file, hence not an ilastik project; give the .ilp file ilastik saved"
    if "truncated file" in text:
        return f"project file '{path}' is truncated ({text}); get a complete copy"
    return f"project file '{path}' cannot be opened ({text}); the file is damaged"


def _one_line(text: str) -> str:
    return " ".join(text.encode("utf-8", "backslashreplace").decode("utf-8").split())
