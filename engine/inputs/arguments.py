"""Interpretation of an input argument: its parts, the files and datasets they name, and the resulting nickname.

    ARGUMENT = PART[:PART...]         (; on Windows)
    PART     = external path[/internal path], both with shell wildcards

Opening the files is the task of engine/inputs/images.py, their axes that of axes_rule.py.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from ...frozen import frozen
from ..errors import InputError, InputMismatch, InputNotFound
from ..formats import own_container_extensions, own_input_extensions, plugged_container_extensions
from ..quotes import unquote

_SCHEMES = r"(?:[A-Za-z][A-Za-z0-9+.-]*://)*[A-Za-z][A-Za-z0-9+.-]*"


@frozen
class PathStyle:
    """Path syntax of an operating system: separators of the parts of a list and of folders."""

    separator: str
    slashes: str

    @property
    def extension(self) -> re.Pattern[str]:
        """Return the pattern of the extension of a file or folder, at the end of a path or in the middle."""
        return re.compile(rf"\.([^.\n{re.escape(self.slashes)}]+)(?=[{re.escape(self.slashes)}]|$)")


POSIX = PathStyle(":", "/")
WINDOWS = PathStyle(";", "\\/")
NATIVE = WINDOWS if os.sep == "\\" else POSIX


@frozen
class Source:
    """One image to read: an absolute path of a file, and the internal path in it or ""."""

    file: Path
    internal: str = ""

    def __str__(self) -> str:
        return f"{self.file}/{self.internal}" if self.internal else str(self.file)


@frozen
class Expansion:
    """All sources of an argument in stacking order, and a warning about that order, if any."""

    sources: tuple[Source, ...]
    warning: str = ""


def split_list(argument: str, style: PathStyle = NATIVE) -> tuple[str, ...]:
    """Split a list into its parts; a URL's ``://`` and port do not end a part, and empty parts are dropped."""
    parts: list[str] = []
    for piece in argument.split(style.separator):
        previous = parts[-1] if parts else ""
        is_scheme = piece.startswith("//") and re.fullmatch(_SCHEMES, previous)
        is_port = re.match(r"\d{1,5}\b", piece) and re.search(r"://[^/]*$", previous)
        if parts and style.separator == ":" and (is_scheme or is_port):
            parts[-1] = f"{previous}:{piece}"
        else:
            parts.append(piece)
    return tuple(p for p in parts if p)


def split_internal(part: str, style: PathStyle = NATIVE) -> tuple[tuple[str, str], ...]:
    """List all splits of a part into (external, internal path), the longest external path first.

    The internal path has forward slashes, none of them at its ends. A part without a container gives (part, "").
    """
    ways = [(part[:end], part[end:]) for end in reversed(_container_ends(part, style))] or [(part, "")]
    return tuple((external, re.sub(f"[{re.escape(style.slashes)}]+", "/", rest).strip("/")) for external, rest in ways)


def _container_ends(part: str, style: PathStyle) -> list[int]:
    """Positions behind the names of containers; plug-ins are asked about extensions that no own format has."""
    found = [(match.end(), match[1].lower()) for match in style.extension.finditer(part)]
    own = own_container_extensions()
    ends = [end for end, extension in found if extension in own]
    if ends or all(extension in own_input_extensions() for _, extension in found):
        return ends
    plugged = plugged_container_extensions()
    return [end for end, extension in found if extension in plugged]


def expand_argument(
    argument: str,
    *,
    cwd: Path,
    list_images: Callable[[Path], Sequence[str]],
    is_image: Callable[[Path], bool] = lambda folder: False,
) -> Expansion:
    """Find all images that an argument names.

    Parameters
    ----------
    argument
        Parts of one lane's input, as typed.
    cwd
        Folder that relative parts are relative to.
    list_images
        Container -> names of the datasets in it; called only if an internal path has wildcards.
    is_image
        Return True if a folder is an image or a part of one, also if it does not exist.

    Returns
    -------
    Expansion
        The sources in stacking order.

    Raises
    ------
    InputNotFound
        For parts that match nothing.
    InputMismatch
        For files of different kinds in one argument.
    """
    if "://" in argument:
        raise InputError(f"cannot read {argument}: a URL must be an argument of its own")
    whole = _literal(argument, cwd, is_image)
    is_one = whole is not None and NATIVE.separator not in whole[1]
    parts = (
        (argument,) if is_one else tuple(plain_argument(p, cwd=cwd, is_image=is_image) for p in split_list(argument))
    )
    found: list[Source] = []
    missing: list[str] = []
    for part in parts:
        sources = _expand_part(part, cwd, list_images, is_image, whole if is_one else None)
        found += sources
        if not sources:
            missing.append(part)
    if missing or not found:
        what = ", ".join(missing) or repr(argument)
        raise InputNotFound(
            f"no file matches {what} (looked in {cwd}; a pattern matches neither folders nor sub-folders)"
        )
    extensions = sorted({s.file.suffix.lower() for s in found})
    if len(extensions) > 1:
        raise InputMismatch(f"one image cannot be made of files of several kinds ({', '.join(extensions)}): {argument}")
    ordered = tuple(sorted(found, key=str))
    return Expansion(ordered, _order_warning(found, ordered, explicit=len(parts) > 1))


def plain_argument(argument: str, *, cwd: Path, is_image: Callable[[Path], bool] = lambda folder: False) -> str:
    """Remove quotes and blanks around an argument, unless a file of exactly that name exists."""
    plain = unquote(argument).strip()
    return argument if plain == argument or _literal(argument, cwd, is_image) is not None else plain


def make_nickname(sources: Sequence[Source], *, auto_selected: bool = False) -> str:
    """Make the nickname used in names of results: common start of the file names, then of the dataset names.

    auto_selected  True if the internal path was found rather than given: it is left out
    """
    stems = [str(s.file.with_suffix("")) for s in sources]
    if sources[0].file.name.lower().endswith(".zarr.zip"):
        stems = [stem[: -len(".zarr")] for stem in stems]
    name = Path(_common_start(stems)).name or f"stack_at-{Path(stems[0]).name}"
    internal = "" if auto_selected else _common_start([s.internal for s in sources]).replace("/", "-")
    return (f"{name}-{internal}" if internal else name).replace("*", "")


def _common_start(texts: Sequence[str]) -> str:
    """Longest common prefix of all texts, regardless of folders."""
    return os.path.commonprefix(list(texts))  # noqa: RUF071  # character by character is intended


def _expand_part(
    part: str,
    cwd: Path,
    list_images: Callable[[Path], Sequence[str]],
    is_image: Callable[[Path], bool],
    literal: tuple[str, str] | None,
) -> list[Source]:
    """Find the images of a part; ``literal``: the result of ``_literal`` for it, where known."""
    literal = literal or _literal(part, cwd, is_image)

    def is_plain(text: str) -> bool:
        """Return True for a folder that is no image: it may have the extension of one."""
        path = _absolute(text, cwd)
        return path.is_dir() and not is_image(path)

    ways = [*split_internal(part), (part, "")]
    external, internal = literal or next(way for way in ways if way[0] == part or not is_plain(way[0]))
    files = [_absolute(external, cwd)] if literal else _match_files(external, cwd, is_image)
    return [source for file in files for source in _match_datasets(file, internal, list_images)]


def _literal(part: str, cwd: Path, is_image: Callable[[Path], bool]) -> tuple[str, str] | None:
    """Return (external, internal) if a file of exactly that name exists; then no character of the name is special."""
    if not part:
        return None
    ways = split_internal(part)
    for external, internal in ways if (part, "") in ways else ((part, ""), *ways):
        path = _absolute(external, cwd)
        if path.is_file() or (path.is_dir() and is_image(path)):
            return external, internal
    # Any other folder, and a level that an image does not have: the reader's error is more specific.
    path = _absolute(part, cwd)
    return (part, "") if path.is_dir() or (not glob.has_magic(part) and is_image(path)) else None


def _absolute(text: str, cwd: Path) -> Path:
    return Path(os.path.normpath(cwd / os.path.expanduser(text)))


def _match_files(pattern: str, cwd: Path, is_image: Callable[[Path], bool]) -> list[Path]:
    if not glob.has_magic(pattern):
        return []
    # cwd is passed separately: brackets in its name are not wildcards.
    matches = glob.glob(_escape_folders(os.path.expanduser(pattern), cwd), root_dir=cwd)
    return [path for path in (_absolute(match, cwd) for match in matches) if path.is_file() or is_image(path)]


def _escape_folders(pattern: str, cwd: Path) -> str:
    """Escape the leading folders of a pattern as far as folders of exactly that name exist."""
    *folders, name = Path(pattern).parts
    escaped = Path()
    for index, folder in enumerate(folders):
        if glob.has_magic(folder) and not (cwd / Path(*folders[: index + 1])).is_dir():
            return str(escaped / Path(*folders[index:], name))
        escaped /= glob.escape(folder)
    return str(escaped / name)


def _match_datasets(file: Path, internal: str, list_images: Callable[[Path], Sequence[str]]) -> list[Source]:
    if not glob.has_magic(internal):
        return [Source(file, internal)]
    names = list_images(file)
    matches = [n for n in names if n == internal] or [n for n in names if fnmatchcase(n, internal)]
    if not matches:
        raise InputNotFound(f"no dataset in {file} matches {internal!r}; it has: {', '.join(names) or 'none'}")
    return [Source(file, name) for name in matches]


def _order_warning(found: Sequence[Source], ordered: Sequence[Source], *, explicit: bool) -> str:
    """Return a warning if the lexicographic order of a stack differs from the numeric or the given one, else ""."""
    if len(ordered) == 1:
        return ""
    names = [str(s) for s in ordered]
    if sorted(names, key=_natural) != names:
        meant = sorted(names, key=_natural)
        return (
            f"the {len(names)} files are stacked in lexicographic order: {Path(names[0]).name} is first and "
            f"{Path(names[-1]).name} last (by number it would be {Path(meant[0]).name} and {Path(meant[-1]).name}); "
            "pad the numbers with zeros to change that"
        )
    if explicit and list(found) != list(ordered):
        return f"the {len(names)} files are stacked in lexicographic order, not in the order given"
    return ""


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort key that reads digits as numbers."""
    return [(int(p), "") if p.isdecimal() else (-1, p) for p in re.split(r"(\d+)", name)]
