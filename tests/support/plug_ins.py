"""Packages outside of pixelforest that add something to it, in a folder as pip would leave it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path


def install(site: Path, entry_points: str, files: Mapping[str, str], *, package: str = "made-up") -> Path:
    """Write the files of a package and its entry points ("[group]", then "name = module"); returns the folder."""
    for name, text in files.items():
        path = site / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    metadata = site / f"{package.replace('-', '_')}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(entry_points)
    return site


def run(site: Path | None, *arguments: object, status: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the program, with a folder of installed packages or without; it has to end with this status."""
    path = os.pathsep.join(filter(None, [str(site or ""), os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(
        [sys.executable, "-m", "pixelforest", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == status, done.stderr
    return done
