"""A run killed between the two renames of a folder result left nothing under the final name."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import pytest
from support.store_results import make_array, open_store, write_store

from pixelforest.engine.errors import ExportError
from pixelforest.engine.storage import exchange as module
from pixelforest.engine.storage.atomic_write import FolderTarget
from pixelforest.engine.storage.exchange import exchange, find_aside, replace_in_two_steps

ALL_STORES = ("n5", "single-scale OME-Zarr")


@pytest.fixture
def two_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that cannot exchange two names."""
    monkeypatch.setattr(module, "_system_call", lambda: None)


def make_target(path: Path, text: str) -> FolderTarget:
    made = FolderTarget(path)
    (made.temporary / "content").write_text(text)
    return made


def content(path: Path) -> str:
    return (path / "content").read_text()


def test_folders_are_exchanged_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no moment at which nothing has the final name: no rename is made on the way."""
    make_target(tmp_path / "out", "old").commit()
    if not exchange(tmp_path / "out", tmp_path / "out"):
        pytest.skip("this file system cannot exchange names")
    new = make_target(tmp_path / "out", "new")

    def refuse(*paths: object) -> None:
        raise AssertionError(f"renamed {paths}")

    monkeypatch.setattr(os, "rename", refuse)
    new.commit()
    assert content(tmp_path / "out") == "new"
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.usefixtures("two_steps")
def test_without_exchange_a_folder_is_replaced_in_two_steps(tmp_path: Path) -> None:
    make_target(tmp_path / "out", "old").commit()
    make_target(tmp_path / "out", "new").commit()
    assert content(tmp_path / "out") == "new"
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("name", ["out", "out.zarr", "a b.n5", "n" * 236, "ä" * 118])
@pytest.mark.usefixtures("two_steps")
def test_the_next_run_puts_back_what_was_moved_aside(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / name
    make_target(path, "old").commit()
    (tmp_path / "out.zarr.n5").mkdir()  # a neighbour whose name begins alike
    killed = make_target(path, "new")

    class Killed(BaseException):
        pass

    rename = os.rename

    def die_after_the_first(source: Path, destination: Path) -> None:
        if Path(source) == killed.temporary:
            raise Killed
        if Path(destination) != path:  # nobody is there to put it back
            rename(source, destination)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", die_after_the_first)
        with pytest.raises(Killed):
            killed.commit()
    assert not path.exists()
    aside = find_aside(path)
    assert aside is not None
    assert content(aside) == "old"
    caplog.set_level(logging.WARNING)
    again = make_target(path, "newer")
    assert content(path) == "old"
    assert "was killed while it replaced this folder; the old one is put back" in caplog.text
    again.commit()
    assert content(path) == "newer"
    assert find_aside(path) is None


@pytest.mark.parametrize("name", ALL_STORES)
def test_a_store_that_was_moved_aside(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Recovered by the run that may replace it; without that word it counts as what stands there."""
    array = make_array()
    write_store(tmp_path, name, np.ones_like(array))
    place = tmp_path / "out.n5/data/x" if name == "n5" else tmp_path / "out.zarr"
    aside = place.with_name(f".{place.name}.0123456789ab.old")
    os.rename(place, aside)
    if name != "n5":  # datasets of a container are replaced without a word, as in ilastik
        with pytest.raises(ExportError, match=r"has left it as .*\.old; move that back"):
            open_store(tmp_path, name, array)
    writer = open_store(tmp_path, name, array, may_replace=True)
    assert place.is_dir()
    assert not aside.exists()
    assert "the old one is put back" in caplog.text
    writer.abort()
    assert place.is_dir()


def test_the_place_is_taken_back_by_another_run_in_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_target(tmp_path / "out", "old").commit()
    new = make_target(tmp_path / "out", "new")
    rename, done = os.rename, []

    def with_another_run(source: Path, destination: Path) -> None:
        rename(source, destination)
        if not done:
            done.append(source)
            FolderTarget(tmp_path / "out").discard()  # starts just now, and recovers

    monkeypatch.setattr(os, "rename", with_another_run)
    aside = replace_in_two_steps(new.temporary, tmp_path / "out")
    assert content(tmp_path / "out") == "new"
    assert content(aside) == "old"
    assert not new.temporary.exists()
