"""Digest of the sources that the library of kernels is compiled from. Imports neither numba nor a compiler."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ..signatures import NEEDS, entries_of

if TYPE_CHECKING:
    from .targets import Target

_CPU = Path(__file__).parents[1]
_FOLDERS = (_CPU / "loops", _CPU / "simd", _CPU / "build")
# Kernels contain constants of these.
_SHARED = ("polynomials.py", "program.py")
NUMBA_VERSION = "0.68.1"  # another one may compile other code; pyproject.toml and setup.py require it
_MARK = b"pixelforest kernels of sources "


def mark() -> bytes:
    """Text that a library contains if it was built from the present sources."""
    files = [file for folder in _FOLDERS for file in sorted(folder.glob("*.py"))]
    digest = hashlib.sha256()
    for file in [*files, _CPU / "signatures.py", *(_CPU.parent / "shared" / name for name in _SHARED)]:
        digest.update(file.name.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return _MARK + digest.hexdigest().encode()


def is_current(library: Path) -> bool:
    """Return True if a library exists and was built from the present sources."""
    try:
        return mark() in library.read_bytes()
    except FileNotFoundError:
        return False


def digest_unit(unit: str, target: Target) -> str:
    """Digest of all that the object code of one unit depends on."""
    entries = [entry for each in (unit, *NEEDS.get(unit, ())) for entry in entries_of(each)]
    files = {_CPU / "loops" / f"{entry.module}.py" for entry in entries}
    found: set[Path] = set()
    while files:
        file = files.pop()
        found.add(file)
        files |= _parse(file)[1] - found
    compilers = (_CPU / "build" / f"{name}.py" for name in ("compiler", "jit"))
    parts = (
        [_parse(file)[0] for file in (*sorted(found), *compilers)],
        [(entry.name, entry.arguments, entry.result) for entry in entries],
        (target.triple, target.processor, target.features),
        NUMBA_VERSION,
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


@cache
def _parse(file: Path) -> tuple[str, set[Path]]:
    """Code of a file without comments and line breaks, and the files of this project that it imports from."""
    import ast

    tree = ast.parse(file.read_bytes())
    statements = (each for each in ast.walk(tree) if isinstance(each, ast.ImportFrom))
    relative = ((file.parents[each.level - 1], each.module or "") for each in statements if each.level)
    imported = {folder / f"{name.replace('.', '/')}.py" for folder, name in relative}
    return ast.dump(tree), {each for each in imported if each.is_file()}
