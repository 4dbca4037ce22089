"""Opening of one dataset of an untrusted HDF5 file.

HDF5 lets a file refer to other files: external links, virtual datasets, external storage. This is allowed only for
links and virtual datasets whose target is in the folder of the file or below it, so that an image from an unknown
source cannot include unrelated files of the user.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import h5py  # type: ignore[import-untyped]  # ships neither stubs nor a py.typed marker

from ...errors import InputError, InputNotFound, MemoryTooSmall, damaged_input
from ...storage.pixel_types import check_image

# Exceptions of h5py for damaged files.
HDF5_ERRORS = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, EOFError)

_CHUNK_CACHE_BYTES = 64 * 2**20  # holds the chunks that neighbouring tiles share through their halos
_CHUNK_CACHE_SLOTS = 10_007
_MAX_PLACES = 1_000_000  # of chunks, looked up in some seconds
_MAX_LINKS = 16  # followed one after the other before a path counts as circular
_MAX_NAMES = 10  # listed in a message
_SAVE_ANEW = "save the pixels anew in one file"


def reason(error: BaseException) -> str:
    """Return HDF5's message of an error in one line, without h5py's text around it."""
    text = " ".join(str(error.args[-1] if error.args else error).split())
    inner = re.search(r"^(?:Unable to|Can't)[^(]*\((.*)\)$", text)
    return inner[1] if inner else text or type(error).__name__


def list_datasets(path: Path) -> tuple[str, ...]:
    """List the sorted names, without a leading slash, of all datasets in the file with 2 to 5 dimensions."""
    with open_file(path) as file:
        return _dataset_names(file, path)


@contextlib.contextmanager
def wrapped(what: str) -> Iterator[None]:
    """Turn every exception of h5py into an InputError about ``what``."""
    try:
        yield
    except InputError:
        raise
    except MemoryError as error:
        raise MemoryTooSmall(
            f"cannot read {what}: the memory does not suffice to unpack one of its chunks; save it with smaller ones"
        ) from error
    except HDF5_ERRORS as error:
        raise damaged_input(what, reason(error)) from error


def open_file(path: Path) -> h5py.File:
    """Open for reading without locking, so that any number of processes may. Raises InputError, InputNotFound."""
    if not path.exists():
        raise InputNotFound(f"there is no file {path}")
    if path.is_dir():
        raise InputError(f"{path} is a folder, not an HDF5 file; name the file")
    try:
        return h5py.File(
            path,
            "r",
            locking=False,
            rdcc_nbytes=_CHUNK_CACHE_BYTES,
            rdcc_nslots=_CHUNK_CACHE_SLOTS,
            rdcc_w0=0.0,  # a completely read chunk stays as long as any other: the next tile's halo needs it again
        )
    except PermissionError as error:
        raise InputError(f"cannot read {path}: {os.strerror(error.errno or 0)}") from error
    except HDF5_ERRORS as error:
        raise damaged_input(path, f"not an HDF5 file, or damaged ({reason(error)})") from error


class OpenDataset:
    """A dataset with all files that were opened to reach it.

    ``internal`` may be empty if the file has exactly one dataset of 2 to 5 dimensions. The dataset is checked: it has 2
    to 5 dimensions, numeric pixels, a plausible size, no external storage and only available filters. Raises
    InputError, InputNotFound.
    """

    def __init__(self, path: Path, internal: str) -> None:
        self._files: list[h5py.File] = []
        self._path = path
        try:
            file = self._open(path)
            with wrapped(f"{path}"):
                name = internal.strip("/") or _only_dataset(file, path)
            self.label = f"{path}/{name}"
            with wrapped(self.label):
                found = self._follow(file, name, links_left=_MAX_LINKS, leave_file=True)
                if not isinstance(found, h5py.Dataset):
                    kind = "a group" if isinstance(found, h5py.Group) else "not there"
                    names = _joined(_dataset_names(file, path))
                    raise InputNotFound(f"dataset {name!r} in {path} is {kind}; the file has: {names}")
                self.dataset = found
                self._check_shape()
                self._check_storage(found, links_left=_MAX_LINKS)
                self._bytes = os.stat(found.file.filename).st_size
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close all files; may be called twice."""
        while self._files:
            with contextlib.suppress(*HDF5_ERRORS):
                self._files.pop().close()

    def verify(self) -> str:
        """Return the part that only decoding can check, or "". Raises InputError for a truncated file."""
        with wrapped(self.label):
            if self.dataset.is_virtual:
                return "the sources of the virtual dataset"
            if self.dataset.chunks is None:
                self._verify_end(self.dataset.id.get_offset() or 0, self.dataset.id.get_storage_size())
                return ""
            is_filtered = self.dataset.id.get_create_plist().get_nfilters() > 0
            if not hasattr(self.dataset.id, "chunk_iter") or self.dataset.id.get_num_chunks() > _MAX_PLACES:
                return "the chunks"
            self.dataset.id.chunk_iter(lambda chunk: self._verify_end(chunk.byte_offset, chunk.size))
            return "the compressed chunks" if is_filtered else ""

    def _verify_end(self, start: int, size: int) -> None:
        if start + size > self._bytes:
            raise damaged_input(
                self.label, f"some of its data lies beyond the end of the file ({self._bytes} bytes); it is truncated"
            )

    def _open(self, path: Path) -> h5py.File:
        file = open_file(path)
        self._files.append(file)
        return file

    def _follow(self, file: h5py.File, path: str, *, links_left: int, leave_file: bool) -> object:
        """Find the object at ``path``, or None. Links are resolved here and never by HDF5."""
        if not links_left:
            raise InputError(f"cannot read {self._path}: links in it lead in a circle at {path!r}; {_SAVE_ANEW}")
        node: object = file["/"]
        for part in (p for p in path.split("/") if p not in ("", ".")):
            if not isinstance(node, h5py.Group):
                return None
            link = node.get(part, getlink=True)
            if link is None:
                return None
            if isinstance(link, h5py.ExternalLink):
                if not leave_file:
                    raise InputError(
                        f"cannot read {self._path}: a virtual dataset leads through a link to {link.filename}; "
                        f"{_SAVE_ANEW}"
                    )
                other = self._open(self._neighbour(link.filename, f"the link {part!r}"))
                node = self._follow(other, link.path, links_left=links_left - 1, leave_file=True)
            elif isinstance(link, h5py.SoftLink):
                target = link.path if link.path.startswith("/") else f"{node.name}/{link.path}"
                node = self._follow(node.file, target, links_left=links_left - 1, leave_file=leave_file)
            else:
                node = node[part]
        return node

    def _neighbour(self, name: str, what: str) -> Path:
        """Find the file ``name`` that the input refers to, if it is in the input's folder or below."""
        folder = Path(os.path.realpath(self._path.parent))
        target = Path(os.path.realpath(folder / name))
        if not target.is_relative_to(folder):
            raise InputError(
                f"cannot read {self._path}: {what} leads to {target}, outside the folder of the file; "
                f"copy both files into one folder, or {_SAVE_ANEW}"
            )
        if not target.is_file():
            raise InputNotFound(
                f"cannot read {self._path}: {what} leads to {target}, which does not exist; bring that file there, too"
            )
        return target

    def _check_shape(self) -> None:
        check_image(self.label, self.dataset.shape or (), self.dataset.dtype)

    def _check_storage(self, dataset: h5py.Dataset, *, links_left: int) -> None:
        """Refuse pixels in external files and pixels with unavailable filters, also in sources of virtual datasets."""
        if dataset.external:
            raise InputError(
                f"cannot read {self.label}: its pixels are kept outside the HDF5 file, in {dataset.external[0][0]!r}; "
                f"{_SAVE_ANEW}"
            )
        settings = dataset.id.get_create_plist()
        for index in range(settings.get_nfilters()):
            code, _, _, name = settings.get_filter(index)
            if not _has_filter(code):
                raise InputError(
                    f"cannot read {self.label}: it is compressed with {name.decode(errors='replace') or 'filter'} "
                    f"({code}), which needs a plugin: pip install hdf5plugin, or save it with gzip"
                )
        if not dataset.is_virtual:
            return
        if not links_left:
            raise InputError(f"cannot read {self.label}: its virtual sources lead in a circle; {_SAVE_ANEW}")
        for file_name, source_name in sorted({(v.file_name, v.dset_name) for v in dataset.virtual_sources()}):
            if "%b" in file_name or "%b" in source_name:
                raise InputError(
                    f"cannot read {self.label}: its virtual sources are a pattern, {file_name}/{source_name}; "
                    f"{_SAVE_ANEW}"
                )
            inside = file_name in (".", dataset.file.filename)
            file = dataset.file if inside else self._open(self._neighbour(file_name, "a virtual source"))
            source = self._follow(file, source_name, links_left=links_left - 1, leave_file=False)
            if not isinstance(source, h5py.Dataset):
                raise InputNotFound(
                    f"cannot read {self.label}: its virtual source {file_name}/{source_name} is not there; bring that "
                    "file there, too"
                )
            self._check_storage(source, links_left=links_left - 1)
            if not inside:
                self._files.pop().close()


def _dataset_names(file: h5py.File, path: Path) -> tuple[str, ...]:
    names: list[str] = []

    def collect(name: str | bytes, node: object) -> None:
        # A name that is not UTF-8 is returned as bytes; it cannot be requested either.
        if isinstance(name, str) and isinstance(node, h5py.Dataset) and 2 <= len(node.shape or ()) <= 5:
            names.append(name)

    with wrapped(str(path)):
        file.visititems(collect)
    return tuple(sorted(names))


def _only_dataset(file: h5py.File, path: Path) -> str:
    names = _dataset_names(file, path)
    if not names:
        raise InputError(f"{path} contains no datasets with 2 to 5 dimensions; choose another file")
    if len(names) > 1:
        raise InputError(
            f"{path} contains several datasets; append the internal path of one to the file name, "
            f"as in {path}/{names[0]}. It has: {_joined(names)}"
        )
    return names[0]


def _joined(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return ", ".join(names[:_MAX_NAMES]) + more or "no datasets with 2 to 5 dimensions"


def _has_filter(code: int) -> bool:
    if h5py.h5z.filter_avail(code):
        return True
    with contextlib.suppress(ImportError):
        importlib.import_module("hdf5plugin")  # registers its filters; not a dependency
    return bool(h5py.h5z.filter_avail(code))
