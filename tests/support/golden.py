"""Recorded runs of ilastik, and the folders they are in.

`tests/golden/` is part of the project: a file missing there is a failure. More recorded runs may be in a folder
`shared` next to the checkout; tests that need it are skipped without it.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]
REPOSITORY = TESTS.parent
GOLDEN = TESTS / "golden"
SHARED = REPOSITORY.parent / "shared"


@dataclass(frozen=True)
class GoldenCase:
    """One recorded run of ilastik.

    folder    holds the project, the inputs and expected/
    args      what followed --project, with {out} for the folder of the results
    outputs   what was written: records with "file" (in folder), "dataset", "shape", "dtype", "axes"
    """

    name: str
    folder: Path
    project: str
    args: tuple[str, ...]
    outputs: tuple[dict[str, Any], ...] = field(compare=False)
    exit_status: int = 0


def golden_folders() -> list[Path]:
    """The folders under tests/golden, by name."""
    return sorted(path.parent for path in GOLDEN.glob("*/case.json"))


def golden_cases(folder: Path) -> list[GoldenCase]:
    """The recorded runs of one folder under tests/golden; records that share a command are one run."""
    runs: dict[str, list[dict[str, Any]]] = {}
    for record in json.loads((folder / "case.json").read_text(encoding="utf-8"))["expected"]:
        runs.setdefault(record["command"], []).append(record)
    return [_golden_case(folder, command, records) for command, records in runs.items()]


def _golden_case(folder: Path, command: str, records: list[dict[str, Any]]) -> GoldenCase:
    words = [word for word in shlex.split(command)[1:] if word != "--headless"]
    project = next(word.split("=", 1)[1] for word in words if word.startswith("--project="))
    args = [word.replace("expected/", "{out}/") for word in words if not word.startswith("--project=")]
    name = f"{folder.name}-{Path(records[0]['file']).stem}"
    return GoldenCase(name, folder, project, tuple(args), tuple(records), records[0].get("exit_status", 0))
