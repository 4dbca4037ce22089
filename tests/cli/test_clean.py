"""``pixelforest clean``: what killed runs left is removed, what a live process may own is kept."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.killed_runs import KILLED, State, run_until

from pixelforest import cli
from pixelforest.engine.storage import leftovers
from pixelforest.engine.storage.atomic_write import FolderTarget, Target
from pixelforest.engine.storage.leftovers import MIN_AGE_S, clean_folder
from pixelforest.engine.storage.live_targets import RENEW_PERIOD_S, live_targets


def age(path: Path, seconds: float = MIN_AGE_S + 60) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then), follow_symlinks=False)


def clean(*words: str) -> int:
    return cli.main(["clean", *words])


@pytest.mark.sampled(1)
@pytest.mark.skipif(sys.platform == "win32", reason="Windows knows no SIGKILL")
@pytest.mark.parametrize("format", ["numpy", "single-scale OME-Zarr"])
def test_what_a_killed_run_left_is_removed_an_hour_later(
    format: str, copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(copy_golden("px2d_gray"))
    argv = ["--project=project.ilp", f"--output_format={format}", "--output_filename_format=out/deep/{nickname}"]
    state = State("export.tile_sinks:ImageExport.write_converted", "after", 1)
    assert run_until(state, [*argv, "raw.png"], computed=Path("computed"))[0] == KILLED
    (left,) = Path("out/deep").iterdir()
    assert clean("out") == 0
    assert left.exists()
    assert f"kept {left} (" in capsys.readouterr().out
    age(left)
    assert clean("out", "--dry_run") == 0
    assert f"would remove {left} (" in capsys.readouterr().out
    assert left.exists()
    assert clean("out") == 0
    assert "removed 1 unfinished files and folders" in capsys.readouterr().out
    assert not left.exists()


@pytest.mark.parametrize("kind", [Target, FolderTarget])
def test_what_a_live_process_writes_is_kept(kind: type[Target], tmp_path: Path) -> None:
    """However long it takes: modification times are renewed."""
    target = kind(tmp_path / "result")
    try:
        age(target.temporary)
        live_targets.renew()
        (found,) = clean_folder(tmp_path, is_dry=False)
        assert (found.path, found.problem) == (target.temporary, "a live process may own it")
        target.commit()
    finally:
        target.discard()
    assert (tmp_path / "result").exists()
    assert MIN_AGE_S >= 3 * RENEW_PERIOD_S


def test_only_names_of_unfinished_results_are_touched(tmp_path: Path) -> None:
    kept = ["a.part", ".a.part", ".a.0123456789xy.part", "a.0123456789ab.part", ".only.0123456789ab.old", "s0/0/1"]
    gone = [".a.0123456789ab.part", "deep/.b.c.h5.0123456789ab.part", ".there.zarr.0123456789ab.old"]
    for name in [*kept, *gone, "there.zarr"]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
        age(path)
    assert {str(each.path.relative_to(tmp_path)) for each in clean_folder(tmp_path, is_dry=False)} == set(gone)
    assert all((tmp_path / name).exists() for name in kept)
    assert not any((tmp_path / name).exists() for name in gone)


def test_links_are_removed_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").write_text("x")
    link = tmp_path / ".a.0123456789ab.part"
    link.symlink_to("real")
    age(link)
    assert [each.problem for each in clean_folder(tmp_path, is_dry=False)] == [""]
    assert (tmp_path / "real" / "file").exists()
    assert not link.is_symlink()


def test_ages_are_those_of_the_file_servers_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine's clock is two hours ahead of it."""
    left = tmp_path / ".a.0123456789ab.part"
    left.touch()
    now = time.time()
    monkeypatch.setattr(leftovers.time, "time", lambda: now + 7200)
    (found,) = clean_folder(tmp_path, is_dry=False)
    assert found.problem == "a live process may own it"
    assert [path.name for path in tmp_path.iterdir()] == [left.name]


def test_what_cannot_be_removed_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    left = tmp_path / ".a.0123456789ab.part"
    left.touch()
    age(left)

    def refuse(path: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(leftovers, "_remove", refuse)
    assert clean(str(tmp_path)) == 1
    captured = capsys.readouterr()
    assert "operation not permitted" in captured.out
    assert "some could not be removed" in captured.err


@pytest.mark.parametrize(
    ("words", "status", "part"), [((), 2, "clean takes folders, --dry_run"), (("gone",), 1, "no folder")]
)
def test_folders_that_are_missing(
    words: tuple[str, ...], status: int, part: str, work_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert clean(*words) == status
    assert part in capsys.readouterr().err
