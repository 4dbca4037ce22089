"""Restrictions on paths stored in a project: an untrusted project must not choose where files are written.

Paths that the user chose by an option or a configuration file are not restricted.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from string import Formatter

from ...frozen import frozen
from ..errors import ExportError, Setting, Text, setting
from ..terminal_text import has_controls, printable

__all__ = ["StoredPlace", "check_stored_dataset"]

_DRIVE = re.compile(r"[A-Za-z]:")
_PERMIT = setting("allow_project_urls")


@frozen
class StoredPlace:
    """Template of a path as stored in the project.

    what           its purpose in words: "output path"
    option         option by which the user chooses another path
    may_be_url     True if the user allows results on servers that the project names
    is_explained   True if nothing is written, so no server that the project names is contacted
    """

    template: str
    what: str
    option: Setting
    may_be_url: bool = False
    is_explained: bool = False

    def check_template(self, *, is_windows: bool = os.name == "nt") -> None:
        """Raise ExportError for a template that is no path on this system, or that no dialog could have stored."""
        if has_controls(self.template):
            raise self._error("holds control characters")
        literals = "xx".join(_literals(self.template))  # two letters, since one before a colon would be a drive
        if not is_windows:
            if "\\" in self.template or _DRIVE.match(self.template):
                raise self._error("is a path of Windows")
        elif literals.startswith(("//", "\\\\")):
            if not self.may_be_url:
                raise self._error(f"names a server, which {_PERMIT} allows")
        elif literals.startswith("/"):
            raise self._error("is a path of another system")
        elif ":" in (literals[2:] if _DRIVE.match(literals) else literals):
            raise self._error("has a colon in a file name")

    def check_url(self, url: str) -> None:
        """Raise ExportError unless the user allows URLs of projects."""
        if not self.may_be_url:
            raise ExportError(
                f"the project asks to write to {url}; {_PERMIT} allows what projects name on servers, {self.option} "
                "chooses a place"
            )

    def describe_outside(self, text: str, dataset_dir: Path) -> Text:
        """Compose a log line if the template leads away from the images and the project; else empty.

        text          the template with its placeholders filled in
        dataset_dir   value of {dataset_dir}
        """
        first = next(iter(Formatter().parse(self.template)), None)
        is_beside_input = first is not None and first[:3] == ("", "dataset_dir", "")
        own = text.removeprefix(str(dataset_dir)) if is_beside_input else text
        if os.path.isabs(text) and not is_beside_input:
            how = "an absolute path"
        elif ".." in re.split(r"[\\/]" if os.name == "nt" else "/", own):
            how = "a path with '..'"
        else:
            return Text("")
        return Text(f"the {self._shown}, is {how} and is obeyed; {self.option} chooses another place")

    def check_path(
        self,
        path: Path,
        *,
        named: Iterable[Path],
        is_folder: bool,
        is_result: Callable[[Path], bool],
        format_name: str,
    ) -> None:
        """Raise ExportError for a path through a link or a hidden folder, or to an existing file that is no result.

        named      folders that the user named; they and those above may be links and hidden
        is_folder  True if the result is a folder; is_result: tests whether an existing file is a result of this format
        """
        path = path.absolute()
        trusted = {str(each) for folder in named for each in (folder.absolute(), *folder.absolute().parents)}
        typed = real = path.anchor
        parts = path.parts[1:]
        for index, part in enumerate(parts):
            typed = os.path.join(typed, part)
            if part == "..":
                real = os.path.dirname(real)
                continue
            real = os.path.join(real, part)
            # Links directly below the root, such as /tmp on macOS, are created by administrators only.
            is_trusted = typed in trusted or index == 0
            if _is_link(real):
                if not is_trusted or index == len(parts) - 1:
                    raise self._refusal(path, f"through the link {typed}")
                real = os.path.realpath(real)
            is_inside = index < len(parts) - 1 or is_folder
            if part.startswith(".") and is_inside and typed not in trusted:
                raise self._refusal(path, f"into the hidden folder {typed}")
        if os.path.lexists(path) and not is_result(path):
            raise self._refusal(path, f"where a file exists that is not a result of the format {format_name}")

    def _refusal(self, path: Path, where: str) -> ExportError:
        return ExportError(f"the project asks to write {path}, {where}; choose another place with {self.option}")

    def _error(self, why: str) -> ExportError:
        return ExportError(f"the {self._shown}, {why}; choose another one with {self.option}")

    @property
    def _shown(self) -> str:
        return f"{self.what} stored in the project, '{printable(self.template)}'"


def check_stored_dataset(name: str, *, is_folder: bool) -> None:
    """Raise ExportError for an invalid stored name of a dataset, or one that makes hidden folders."""
    parts = name.split("/")
    if has_controls(name) or "\\" in name or (is_folder and any(part.startswith(".") for part in parts)):
        raise ExportError(
            f"the dataset name stored in the project, '{printable(name)}', is none that can be written; choose another "
            f"one with {setting('output_internal_path')}"
        )


def _literals(template: str) -> list[str]:
    """List the texts of a template between its placeholders, with "" where a placeholder begins or ends it."""
    try:
        parts = list(Formatter().parse(template))
    except ValueError:  # reported when it is filled in
        return [template]
    return [text for text, *_ in parts] + ([""] if parts and parts[-1][1] is not None else [])


def _is_link(path: str) -> bool:
    is_junction = getattr(os.path, "isjunction", None)  # Python 3.12 and later
    return os.path.islink(path) or (is_junction is not None and bool(is_junction(path)))
