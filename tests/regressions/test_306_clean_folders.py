"""``clean`` removed from one folder before it missed another, without a word; an empty name was the current folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from pixelforest import cli


def put_leftover(folder: Path, name: str = "result") -> Path:
    path = folder / f".{name}.0123456789ab.part"
    path.touch()
    os.utime(path, (0, 0))
    return path


def test_all_folders_are_checked_before_one_is_cleaned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    left = put_leftover(tmp_path)
    assert cli.main(["clean", str(tmp_path), str(tmp_path / "missing")]) == 1
    assert capsys.readouterr() == ("", f"pixelforest: error: there is no folder {tmp_path / 'missing'}\n")
    assert left.exists()


@pytest.mark.parametrize("name", ["", '""'])
def test_an_empty_name_is_no_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    left = put_leftover(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["clean", name]) == 2
    assert "clean takes folders" in capsys.readouterr().err
    assert left.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows allows no such names")
def test_a_name_may_have_line_breaks(tmp_path: Path) -> None:
    left = put_leftover(tmp_path, "a\nb")
    assert cli.main(["clean", str(tmp_path)]) == 0
    assert not left.exists()
