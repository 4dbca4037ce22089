"""Places that cannot be written to are known before, with the words of the attempt."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest

from pixelforest.engine.errors import ExportError, setting
from pixelforest.engine.storage import atomic_write as module
from pixelforest.engine.storage.atomic_write import (
    FolderTarget,
    Target,
    check_file_place,
    check_folder_place,
    export_errors,
)


def message_of(action, *arguments: object) -> str:
    with pytest.raises(ExportError) as caught:
        action(*arguments)
    return str(caught.value)


@pytest.mark.parametrize("name", ["folder", "file/x", "file/sub/x", "a" * 300])
def test_a_file_that_cannot_be_there(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    foretold = message_of(check_file_place, tmp_path / name)
    assert sorted(tmp_path.rglob("*")) == before
    if len(name) < 255:  # a name too long is short enough under its temporary name
        assert message_of(Target, tmp_path / name) == foretold


@pytest.mark.parametrize("name", ["file", "file/x"])
def test_a_folder_that_cannot_be_there(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    assert message_of(FolderTarget, tmp_path / name) == message_of(check_folder_place, tmp_path / name)


@pytest.mark.parametrize("name", ["new", "sub/sub/new", "old"])
def test_a_place_that_is_good_stays_as_it_is(tmp_path: Path, name: str) -> None:
    (tmp_path / "old").touch()
    before = sorted(tmp_path.rglob("*"))
    check_file_place(tmp_path / name)
    assert sorted(tmp_path.rglob("*")) == before
    Target(tmp_path / name).commit()


def test_a_folder_without_permission(unwritable_folder: Path) -> None:
    assert message_of(check_file_place, unwritable_folder / "x") == message_of(Target, unwritable_folder / "x")


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")
def test_a_file_of_somebody_else_in_a_shared_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").touch()
    tmp_path.chmod(0o1777)
    check_file_place(tmp_path / "x")
    monkeypatch.setattr(module.os, "geteuid", lambda: os.getuid() + 12345)
    assert "choose another folder with output_filename_format" in message_of(check_file_place, tmp_path / "x")
    check_file_place(tmp_path / "y")


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.ENOSPC, "the disk is full; free some space"),
        (errno.EFBIG, "raise the limit, or choose another disk"),
        (errno.EROFS, "choose another folder with table_filename"),
        (errno.ENAMETOOLONG, "choose a shorter one"),
    ],
)
def test_the_words_of_the_system_say_what_to_do(number: int, hint: str) -> None:
    with pytest.raises(ExportError, match=hint) as caught, export_errors(Path("x"), setting("table_filename")):
        raise OSError(number, os.strerror(number))
    assert str(caught.value).startswith("cannot write x: ")
