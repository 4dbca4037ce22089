"""What an input argument means: its parts, the files and datasets they name, and the nickname that follows.

    ARGUMENT = PART[:PART...]         (; on Windows)
    PART     = external path[/internal path], both with shell wildcards

Opening the files, and what their axes are, is decided in engine/inputs/images.py.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from ..errors import InputError, InputMismatch, InputNotFound
from ..formats import own_container_extensions, own_input_extensions, plugged_container_extensions
from ..quotes import unquote

_SCHEMES = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*://)*[A-Za-z][A-Za-z0-9+.-]*")


@dataclass(frozen=True)
class PathStyle:
    """How an operating system writes paths: what stands between parts of a list, and between folders."""

    separator: str
    slashes: str

    @property
    def extension(self) -> re.Pattern[str]:
        """Matches the extension of a file or folder, at the end of a path or in the middle."""
        return re.compile(rf"\.([^.\n{re.escape(self.slashes)}]+)(?=[{re.escape(self.slashes)}]|$)")


POSIX = PathStyle(":", "/")
WINDOWS = PathStyle(";", "\\/")
NATIVE = WINDOWS if os.sep == "\\" else POSIX


@dataclass(frozen=True)
class Source:
    """One image to read: an absolute file, and the internal path in it or ""."""

    file: Path
    internal: str = ""

    def __str__(self) -> str:
        return f"{self.file}/{self.internal}" if self.internal else str(self.file)


@dataclass(frozen=True)
class Expansion:
    """All sources an argument stands for, in the order they are stacked, and a warning about that order, if any."""

    sources: tuple[Source, ...]
    warning: str = ""


def split_list(argument: str, style: PathStyle = NATIVE) -> tuple[str, ...]:
    """The parts of a list; a URL's ``://`` and port do not end a part, and empty parts are dropped."""
    parts: list[str] = []
    for piece in argument.split(style.separator):
        previous = parts[-1] if parts else ""
        is_scheme = piece.startswith("//") and _SCHEMES.fullmatch(previous)
        is_port = re.match(r"\d{1,5}\b", piece) and re.search(r"://[^/]*$", previous)
        if parts and style.separator == ":" and (is_scheme or is_port):
            parts[-1] = f"{previous}:{piece}"
        else:
            parts.append(piece)
    return tuple(p for p in parts if p)


def split_internal(part: str, style: PathStyle = NATIVE) -> tuple[tuple[str, str], ...]:
    """Every way to cut a part into (external, internal path), the longest external path first.

    The internal path has forward slashes and none at its ends. A part without a container in it gives (part, "").
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
    """Find everything an argument names. Relative parts are relative to ``cwd``.

    list_images  container -> names of the datasets in it; only asked if an internal path has wildcards
    is_image     True if a folder is an image or a part of one, also if it does not exist
    Raises InputNotFound for parts that match nothing, InputMismatch for files of different kinds in one argument.
    """
    if "://" in argument:
        raise InputError(f"cannot read {argument}: images are read from files, not from the network")
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
    """The argument without quotes and blanks around it, unless a file of exactly that name exists."""
    plain = unquote(argument).strip()
    return argument if plain == argument or _literal(argument, cwd, is_image) is not None else plain


def make_nickname(sources: Sequence[Source], *, auto_selected: bool = False) -> str:
    """The name results are called after: what the files' names have in common, then what the datasets' names have.

    auto_selected  True if the internal path was found and not asked for: it is left out
    """
    stems = [str(s.file.with_suffix("")) for s in sources]
    name = Path(_common_start(stems)).name or f"stack_at-{Path(stems[0]).name}"
    internal = "" if auto_selected else _common_start([s.internal for s in sources]).replace("/", "-")
    return (f"{name}-{internal}" if internal else name).replace("*", "")


def _common_start(texts: Sequence[str]) -> str:
    """The letters all texts begin with; folders do not matter."""
    return os.path.commonprefix(list(texts))  # noqa: RUF071  # letter by letter is what is meant


def _expand_part(
    part: str,
    cwd: Path,
    list_images: Callable[[Path], Sequence[str]],
    is_image: Callable[[Path], bool],
    literal: tuple[str, str] | None,
) -> list[Source]:
    """The images of a part; ``literal``: what ``_literal`` says of it, where that is known."""
    literal = literal or _literal(part, cwd, is_image)
    external, internal = literal or split_internal(part)[0]
    files = [_absolute(external, cwd)] if literal else _match_files(external, cwd, is_image)
    return [source for file in files for source in _match_datasets(file, internal, list_images)]


def _literal(part: str, cwd: Path, is_image: Callable[[Path], bool]) -> tuple[str, str] | None:
    """(external, internal) if a file of exactly that name exists; then nothing in the name is special."""
    if not part:
        return None
    ways = split_internal(part)
    for external, internal in ways if (part, "") in ways else ((part, ""), *ways):
        path = _absolute(external, cwd)
        if path.is_file() or (path.is_dir() and is_image(path)):
            return external, internal
    # Any other folder, and a level that an image does not have: whoever reads it can say what is wrong.
    path = _absolute(part, cwd)
    return (part, "") if path.is_dir() or (not glob.has_magic(part) and is_image(path)) else None


def _absolute(text: str, cwd: Path) -> Path:
    return Path(os.path.normpath(cwd / os.path.expanduser(text)))


def _match_files(pattern: str, cwd: Path, is_image: Callable[[Path], bool]) -> list[Path]:
    if not glob.has_magic(pattern):
        return []
    # cwd is passed apart: brackets in its own name are not wildcards.
    matches = glob.glob(_escape_folders(os.path.expanduser(pattern), cwd), root_dir=cwd)
    return [path for path in (_absolute(match, cwd) for match in matches) if path.is_file() or is_image(path)]


def _escape_folders(pattern: str, cwd: Path) -> str:
    """The pattern with its leading folders escaped as far as folders of exactly that name exist."""
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
    """What to say if the lexicographic order of a stack is not the one that was meant."""
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
    """A sort key that reads digits as numbers."""
    return [(int(p), "") if p.isdigit() else (-1, p) for p in re.split(r"(\d+)", name)]
