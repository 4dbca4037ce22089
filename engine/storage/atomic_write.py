"""Atomic writing of a file or folder: written under a temporary name next to it, then put in place in one step.

Errors of the operating system become one clear line, and are predicted as far as possible without writing.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import OUTPUT_FILES, ExportError, Setting
from .live_targets import live_targets
from .special_files import check_special, copy_into, is_special

__all__ = [
    "KEPT_SUFFIX",
    "FolderTarget",
    "Target",
    "check_file_place",
    "check_folder_place",
    "copy_file",
    "existing_folder",
    "export_errors",
    "kept_path",
    "other_contents",
    "put_folder",
    "write_bytes_file",
    "write_text_file",
]

_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
KEPT_SUFFIX = ".blocks"
MAX_HELD_FILES = 64  # temporary files kept open to identify them; a sequence has more than a process may open
# An open file cannot be renamed on Windows.
_CAN_HOLD = os.name == "posix"


@contextmanager
def export_errors(path: object, option: Setting = OUTPUT_FILES) -> Iterator[None]:
    """Turn an OSError raised inside into an ExportError that names ``path``, the reason, and what to change."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            reason = f"the disk is full; free some space or choose another folder with {option}"
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            reason = f"{str(error.strerror).lower()}; choose another folder with {option}"
        elif error.errno == errno.EFBIG:
            reason = (
                "the file would be larger than this disk or a limit on file sizes (ulimit -f) allows; raise the limit, "
                f"or choose another disk with {option}"
            )
        elif error.errno in (errno.ENOTDIR, errno.EEXIST):
            reason = f"there is a file where a folder is needed; choose another folder with {option}"
        elif error.errno == errno.ENAMETOOLONG:
            reason = f"the name is too long; choose a shorter one with {option}"
        else:
            reason = error.strerror or str(error)
        raise ExportError(f"cannot write {path}: {reason}") from error


def check_file_place(path: Path, option: Setting = OUTPUT_FILES, *, begins: bytes = b"") -> None:
    """Raise the ExportError that a ``Target`` would end with, as far as it can be known without writing.

    begins  bytes that every file of this kind begins with: another file was named by mistake and is not replaced
    """
    with export_errors(path, option):
        if is_special(path):
            check_special(path)
            return
        _refuse_folder(path)
        _check_writable(path)
        if begins and path.is_file():
            with open(path, "rb") as file:
                found = file.read(len(begins))
            if found not in (b"", begins):
                raise other_contents(path, option)


def other_contents(path: Path, option: Setting) -> ExportError:
    """Make the error for a file of another kind, which is not replaced."""
    return ExportError(
        f"cannot write {path}: there is a file with other contents; choose another name with {option}, or remove the "
        "file"
    )


def check_folder_place(path: Path, option: Setting = OUTPUT_FILES) -> None:
    """The same for a ``FolderTarget``."""
    with export_errors(path, option):
        _refuse_file(path)
        _check_writable(path)


def kept_path(path: Path, run: str) -> Path:
    """Path of what becomes ``path``, for a run that several processes continue; ``run`` is the same in all of them."""
    return path.with_name(f".{path.stem[:60]}.{run}{KEPT_SUFFIX}")


def existing_folder(path: Path) -> Path:
    """Find the nearest existing parent of a path, in which missing folders would be created. It may be a file."""
    folder = path.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def _refuse_folder(path: Path) -> None:
    if path.is_dir():
        raise ExportError(f"cannot write {path}: there is a folder of that name")


def _refuse_file(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise ExportError(f"cannot write {path}: there is a file of that name")


def _check_writable(path: Path) -> None:
    """Raise the OSError that creating something at ``path`` would raise because of permissions."""
    folder = existing_folder(path)
    if not folder.is_dir():
        raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    own = {"effective_ids": True} if os.access in os.supports_effective_ids else {}
    if not os.access(folder, os.W_OK | os.X_OK, **own):
        number = errno.EROFS if _is_read_only(folder) else errno.EACCES
        raise OSError(number, os.strerror(number))
    if _is_kept_by_others(path, folder):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def _is_read_only(folder: Path) -> bool:
    """Return True for a read-only file system."""
    return hasattr(os, "statvfs") and bool(os.statvfs(folder).f_flag & os.ST_RDONLY)


def _is_kept_by_others(path: Path, folder: Path) -> bool:
    """Return True for another user's file in a folder such as /tmp, where only the owner may replace it."""
    if not hasattr(os, "geteuid") or not path.exists():
        return False
    user, place = os.geteuid(), folder.stat()
    return bool(place.st_mode & stat.S_ISVTX) and user not in (0, place.st_uid, path.lstat().st_uid)


class Target:
    """One file being written.

    The temporary file exists from the start, so a folder that cannot be written to is detected before anything is
    computed. Missing folders are created. A device, a pipe or a descriptor is never replaced: the finished file is
    copied into it.

    option   option by which the user chose the path
    run      names the temporary file, which is kept until it is committed; "": a random name, and it is discarded
    """

    _held_files = 0
    _counting = threading.Lock()

    def __init__(self, path: Path, option: Setting = OUTPUT_FILES, *, run: str = "") -> None:
        self.path = path
        self.option = option
        self._is_kept = bool(run)
        self._is_special = is_special(path)
        folder = _folder_for_any() if self._is_special else path.parent
        unfinished = folder / f".{path.stem[:60]}.{os.urandom(6).hex()}.part"
        self.temporary = kept_path(path, run) if run else unfinished
        self._created: list[Path] = []
        self._held: int | None = None
        self._identity: tuple[int, int] | None = None
        with export_errors(path, option):
            self._check_place()
            try:
                live_targets.add(self)
                self._create_folders()
                self._create_temporary()
                self._hold()
            except BaseException:  # a signal's exception too
                self.discard()
                raise

    def _check_place(self) -> None:
        if not self._is_special:
            _refuse_folder(self.path)

    def _create_temporary(self) -> None:
        self.temporary.touch(exist_ok=False)

    def _remove_temporary(self) -> None:
        self.temporary.unlink(missing_ok=True)

    def _may_hold(self) -> bool:
        return Target._held_files < MAX_HELD_FILES

    def _hold(self) -> None:
        """Keep the created file open, so that no other file can have its identity."""
        with Target._counting:
            if not _CAN_HOLD or not self._may_hold():
                return
            with suppress(OSError):  # limit of open files: then it is identified by its name only
                self._held = os.open(self.temporary, os.O_RDONLY)
                Target._held_files += 1
        if self._held is not None:
            found = os.fstat(self._held)
            self._identity = found.st_dev, found.st_ino

    def _let_go(self) -> None:
        with Target._counting:
            held, self._held = self._held, None
            if held is not None:
                Target._held_files -= 1
                os.close(held)

    def check_alive(self) -> None:
        """Raise ExportError if the temporary file or folder was removed or replaced."""
        try:
            found = os.lstat(self.temporary)
        except (FileNotFoundError, NotADirectoryError):
            raise self._lost("it is gone") from None
        except OSError as error:
            raise self._lost(str(error.strerror).lower()) from error
        if self._identity is not None and (found.st_dev, found.st_ino) != self._identity:
            raise self._lost("another one has its name")

    def _lost(self, what: str) -> ExportError:
        return ExportError(
            f"cannot complete {self.path}: {self.temporary} was removed while it was being written ({what}); "
            f"exclude names that end in {self.temporary.suffix} from any clean-up of old files during a run, and run "
            "again"
        )

    def _create_folders(self) -> None:
        missing = []
        folder = self.temporary.parent
        while not folder.exists():
            missing.append(folder)
            folder = folder.parent
        for folder in reversed(missing):
            self._created.append(folder)  # before it exists, so that an interrupt between the two leaves nothing
            try:
                folder.mkdir()
            except FileExistsError:
                self._created.remove(folder)
        self.temporary.parent.mkdir(parents=True, exist_ok=True)  # a file in the way fails here

    def commit(self) -> Path:
        """Put the finished file under its final name, replacing an existing one. Raises ExportError."""
        self.check_alive()
        with export_errors(self.path, self.option):
            self._put_in_place()
        live_targets.remove(self)
        self._let_go()
        return self.path

    def _put_in_place(self) -> None:
        if is_special(self.path):
            copy_into(self.temporary, self.path)
            self._remove_temporary()
        else:
            os.replace(self.temporary, self.path)

    def discard(self) -> None:
        """Remove the temporary file and the folders created for it, if they are empty. Never raises.

        One that is kept is only closed.
        """
        if not self._is_kept:
            with suppress(OSError):
                self._remove_temporary()
        if self._is_kept or not os.path.lexists(self.temporary):  # else it is tried again at the end of the process
            live_targets.remove(self)
        with suppress(OSError):
            self._let_go()
        for folder in reversed(self._created):
            with suppress(OSError):
                folder.rmdir()


def _folder_for_any() -> Path:
    import tempfile  # with random numbers and digests, 8 ms, and few runs come here

    return Path(tempfile.gettempdir())


def copy_file(source: Path, path: Path, option: Setting = OUTPUT_FILES) -> None:
    """Give a finished file a second name; the copy appears in one step. Raises ExportError."""
    target = Target(path, option)
    try:
        with export_errors(path, option):
            import shutil  # with compressions, 4 ms, and few runs come here

            shutil.copyfile(source, target.temporary)
        target.commit()
    finally:
        target.discard()


def write_text_file(path: Path, text: str, option: Setting = OUTPUT_FILES, *, begins: bytes = b"") -> None:
    """Write a text file in UTF-8; it appears in one step. Raises ExportError. ``begins``: see ``check_file_place``."""
    if begins:
        check_file_place(path, option, begins=begins)
    write_bytes_file(path, text.encode(), option)


def write_bytes_file(path: Path, data: bytes, option: Setting = OUTPUT_FILES) -> None:
    """Write a file; it appears in one step. Raises ExportError."""
    target = Target(path, option)
    try:
        with export_errors(path, option):
            target.temporary.write_bytes(data)
        target.commit()
    finally:
        target.discard()


class FolderTarget(Target):
    """One folder being written. It exists from the start under its temporary name."""

    def __init__(self, path: Path, option: Setting = OUTPUT_FILES, *, run: str = "") -> None:
        from .exchange import recover_folder

        with export_errors(path, option):
            recover_folder(path)
        super().__init__(path, option, run=run)

    def _check_place(self) -> None:
        _refuse_file(self.path)

    def _create_temporary(self) -> None:
        self.temporary.mkdir(exist_ok=self._is_kept)

    def _remove_temporary(self) -> None:
        _remove_folder(self.temporary)

    def _may_hold(self) -> bool:
        return True

    def adopt(self, folder: Path) -> None:
        """Use a finished folder of the same file system in place of the one being written. Raises OSError."""
        self.temporary.rmdir()
        os.rename(folder, self.temporary)
        self._let_go()
        self._hold()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Raise ExportError if the folder was removed during the context, in place of any error that this caused."""
        self.check_alive()
        try:
            yield
        except ExportError:
            self.check_alive()
            raise

    def check_holds(self, names: Iterable[tuple[str, str]]) -> None:
        """Raise ExportError unless every file that was written is still there.

        names   (folder relative to this one, name in it), grouped by folder, so that each is listed once
        """
        self.check_alive()
        folder, present, count, missing = None, frozenset[str](), 0, 0
        for where, name in names:
            if where != folder:
                folder, present = where, self._list(where)
            count += 1
            missing += name not in present
        if missing:
            raise self._lost(f"{missing} of the {count} files in it are gone")

    def _list(self, folder: str) -> frozenset[str]:
        try:
            return frozenset(os.listdir(self.temporary / folder))
        except (FileNotFoundError, NotADirectoryError):
            return frozenset()

    def _put_in_place(self) -> None:
        put_folder(self.temporary, self.path, may_exchange=not self._is_kept)


def put_folder(new: Path, path: Path, *, may_exchange: bool = True) -> None:
    """Put a folder in place, in one step where the system can exchange two folders. Raises OSError.

    may_exchange  False: at no time is there an older folder under the name of the new one
    """
    from .exchange import exchange, replace_in_two_steps

    if not path.exists():
        os.rename(new, path)
    elif may_exchange and exchange(new, path):
        _remove_folder(new)
    else:
        with live_targets.indivisible():
            aside = replace_in_two_steps(new, path)
        _remove_folder(aside)


def _remove_folder(folder: Path) -> None:
    import shutil  # with compressions, 4 ms, and few runs come here

    shutil.rmtree(folder, ignore_errors=True)
