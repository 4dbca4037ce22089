"""Output of a dry run, for tests that then run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pixelforest import cli


def explain(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    """The document about a command line, whose status is that of the dry run."""
    capsys.readouterr()
    status = cli.main(["--headless", "--dry_run", "--json", *argv])
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert document["status"] == status
    return document


def foretold_files(document: dict[str, Any]) -> set[Path]:
    """Every file of the lanes that would be done."""
    lanes = [lane for lane in document["lanes"] if lane["state"] == "ok"]
    images = {Path(file) for lane in lanes for result in lane["results"] for file in result["files"]}
    return images | {Path(lane["table"]["path"]) for lane in lanes if lane["table"]}
