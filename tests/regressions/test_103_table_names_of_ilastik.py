"""Pipelines made for ilastik look for `X_table.csv` after `--table_filename=X.csv` and found nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.stored_settings import store_table

from pixelforest import cli

CopyGolden = Callable[[str], Path]


@pytest.fixture
def objects(copy_golden: CopyGolden, work_folder: Path) -> Path:
    return copy_golden("obj2d_seg")


def arguments(folder: Path, *options: str) -> list[str]:
    argv = [f"--project={folder / 'project.ilp'}", *options, "--raw_data", str(folder / "raw.png")]
    return [*argv, "--segmentation_image", str(folder / "seg.png")]


def files_of(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file())


@pytest.fixture(params=["run_ilastik.sh", "ilastik.bat"])
def stand_in(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if one of the scripts had started this process."""
    monkeypatch.setenv("PIXELFOREST_STARTED_AS", request.param)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="a shell script")
def test_the_script_gives_both_names_and_the_log_says_both(objects: Path, repository: Path) -> None:
    script = repository / "scripts" / "run_ilastik.sh"
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    argv = arguments(objects, "--headless", "--table_filename=./s1_object_features.csv")
    done = subprocess.run(["sh", str(script), *argv], capture_output=True, text=True, check=True, env=environment)
    names = ["s1_object_features.csv", "s1_object_features_table.csv"]
    assert files_of(Path.cwd()) == names
    assert all(f"Wrote {Path.cwd() / name}\n" in done.stdout for name in names)
    assert Path(names[0]).read_bytes() == Path(names[1]).read_bytes() != b""


def test_the_scripts_say_who_they_are(repository: Path) -> None:
    for name in cli.STAND_INS:
        assert f"PIXELFOREST_STARTED_AS={name}" in (repository / "scripts" / name).read_text(encoding="utf-8")


def test_a_link_called_like_the_script_is_one(objects: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/run_ilastik.sh"])
    assert cli.main(arguments(objects, "--table_filename=t.csv")) == 0
    assert files_of(Path.cwd()) == ["t.csv", "t_table.csv"]


def test_pixelforest_itself_writes_one_file(objects: Path) -> None:
    assert cli.main(arguments(objects, "--table_filename=t.csv")) == 0
    assert files_of(Path.cwd()) == ["t.csv"]


@pytest.mark.sampled(1)
@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize(
    ("typed", "written"),
    [
        ("t.csv", ["t.csv", "t_table.csv"]),
        ("t.txt", ["t.txt", "t_table.txt"]),
        ("{nickname}.csv", ["raw.csv", "raw_table.csv"]),
        ("t.h5", ["t.h5"]),
        ("t", ["t"]),
    ],
)
def test_the_name_that_ilastik_gives(objects: Path, typed: str, written: list[str]) -> None:
    assert cli.main(arguments(objects, f"--table_filename={typed}")) == 0
    assert files_of(Path.cwd()) == written


@pytest.mark.usefixtures("stand_in")
def test_a_table_set_up_in_the_project_has_its_name_already(objects: Path) -> None:
    store_table(objects / "project.ilp", "t.csv")
    assert cli.main(arguments(objects, "--table_only")) == 0
    assert files_of(Path.cwd()) == ["t_table.csv"]


@pytest.mark.usefixtures("stand_in")
def test_every_lane_has_both(objects: Path) -> None:
    (objects / "b.png").write_bytes((objects / "raw.png").read_bytes())
    seg = str(objects / "seg.png")
    argv = [f"--project={objects / 'project.ilp'}", "--table_filename=t.csv"]
    argv += ["--raw_data", str(objects / "raw.png"), str(objects / "b.png"), "--segmentation_image", seg, seg]
    assert cli.main(argv) == 0
    assert files_of(Path.cwd()) == ["t-0.csv", "t-0_table.csv", "t-1.csv", "t-1_table.csv"]


@pytest.mark.usefixtures("stand_in")
def test_the_second_name_overwrites_no_input(objects: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (objects / "raw.png").rename(objects / "r_table.png")
    (objects / "raw.png").write_bytes((objects / "r_table.png").read_bytes())
    argv = arguments(objects, f"--table_filename={objects}/r.png")
    argv[argv.index(str(objects / "raw.png"))] = str(objects / "r_table.png")
    assert cli.main(argv) == 1
    assert "r_table.png is an input" in capsys.readouterr().err


@pytest.mark.usefixtures("stand_in")
def test_explain_names_both(objects: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["explain", *arguments(objects, "--table_filename=t.csv", "--json")]) == 0
    table = json.loads(capsys.readouterr().out)["lanes"][0]["table"]
    assert (Path(table["path"]).name, Path(table["also"]).name) == ("t.csv", "t_table.csv")
    assert cli.main(["explain", *arguments(objects, "--table_filename=t.csv")]) == 0
    assert str(Path.cwd() / "t_table.csv") in capsys.readouterr().out
