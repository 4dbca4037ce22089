"""Defaults from ilastik's configuration file: its location, and the keys that have an effect here.

Options of the command line and environment variables take precedence over it; see jobs.py.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..frozen import frozen
from .errors import UsageError
from .quotes import unquote

if TYPE_CHECKING:
    from configparser import ConfigParser

# Keys of ilastik without a meaning here; every other key that is not read is reported in a line.
_WITHOUT_EFFECT = {"logging_config", "plugin_directories"}
_READ = {
    "ilastik": {"debug", "output_format", "output_filename_format"},
    "lazyflow": {"threads", "total_ram_mb"},
}


@frozen
class Config:
    """Settings of the configuration file; None for those it does not contain.

    path          file that was read, None if there is none
    total_ram_mb  None also for 0, which stands for all of the memory
    notes         one line for each entry that has no effect
    """

    path: Path | None = None
    debug: bool = False
    output_format: str | None = None
    output_filename_format: str | None = None
    threads: int | None = None
    total_ram_mb: int | None = None
    notes: tuple[str, ...] = ()


def find_config(
    explicit: str | None = None,
    *,
    home: Path | None = None,
    environment: Mapping[str, str] | None = None,
    platform: str = sys.platform,
) -> Path | None:
    """Find the configuration file: the given one, else ~/.ilastikrc, else the user's ilastik.ini, else None.

    Raises UsageError if ``explicit`` is not a file.
    """
    if explicit is not None:
        path = Path(explicit).expanduser()
        if not path.is_file():
            raise UsageError(f"ilastik config file {path} does not exist or is not a file")
        return path
    home = home or _home()
    if home is None:
        return None
    environment = os.environ if environment is None else environment
    candidates = (home / ".ilastikrc", _config_folder(home, environment, platform) / "ilastik.ini")
    return next((path for path in candidates if _is_file(path)), None)


def _is_file(path: Path) -> bool:
    """Return True if the file exists; False if its folder is not accessible, as other users' homes on clusters."""
    try:
        return path.is_file()
    except PermissionError:
        return False


def _home() -> Path | None:
    try:
        return Path.home()
    except RuntimeError:  # a process without a home, as in some containers
        return None


def _config_folder(home: Path, environment: Mapping[str, str], platform: str) -> Path:
    if platform == "win32":
        base = Path(environment.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif platform == "darwin":
        base = home / "Library" / "Application Support"
    else:
        base = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
    return base / "ilastik"


def read_config(path: Path | None) -> Config:
    """Read the configuration file. Raises UsageError, naming the file and the key, if it cannot be understood."""
    if path is None:
        return Config()
    import configparser

    # No interpolation: templates such as {nickname}_100% are plain text.
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(path.read_text(encoding="utf-8-sig"), source=str(path))
    except (OSError, UnicodeDecodeError, configparser.Error) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"the configuration file {path} cannot be read: {reason}") from error

    def text(section: str, key: str) -> str | None:
        value = unquote(parser.get(section, key, fallback="")).strip()
        return value or None

    def integer(section: str, key: str) -> int | None:
        value = text(section, key)
        try:
            return None if value is None else int(value)
        except ValueError:
            raise UsageError(f"{path}: [{section}] {key} must be a whole number, not {value!r}") from None

    threads, total_ram_mb = integer("lazyflow", "threads"), integer("lazyflow", "total_ram_mb")
    try:
        debug = parser.getboolean("ilastik", "debug", fallback=False)
    except ValueError:
        raise UsageError(f"{path}: [ilastik] debug must be true or false") from None
    return Config(
        path=path,
        debug=debug,
        output_format=text("ilastik", "output_format"),
        output_filename_format=text("ilastik", "output_filename_format"),
        threads=None if threads == -1 else threads,
        total_ram_mb=total_ram_mb or None,
        notes=tuple(_notes(path, parser)),
    )


def _notes(path: Path, parser: ConfigParser) -> list[str]:
    notes = []
    for section, known in _READ.items():
        for key in parser.options(section) if parser.has_section(section) else []:
            if key in _WITHOUT_EFFECT:
                notes.append(f"{path}: [{section}] {key} has no effect here")
            elif key not in known and key not in parser.defaults():
                notes.append(f"{path}: [{section}] {key} is not a known setting and has no effect")
    return notes
