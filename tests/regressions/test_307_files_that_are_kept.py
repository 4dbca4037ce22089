"""A log was appended to the image, the project or the table that its option named; a table replaced any file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from pixelforest import cli
from pixelforest.engine.errors import ExportError
from pixelforest.engine.export.tables import check_contents
from pixelforest.engine.formats import table_formats
from pixelforest.engine.formats.table_spec import TableFormat

RUN = ["--project=project.ilp", "--device=cpu", "--raw_data=raw.png", "--segmentation_image=seg.png"]
TABLE = "--table_filename=t.csv"
NEW = ["train", "--new=new.ilp", "--raw_data=raw.png", "--labels=points.csv", "--trees=2"]
OTHER_KINDS = {
    "spare.png": None,
    "volume.h5": None,
    "empty.npy": None,
    "report.json": b'{\n  "schema": "pixelforest/report/1"\n}\n',
    "picture.pgm": b"P2\n2 2 255\n1 2 3 4\n",
    "objects.csv": b"object_id,timestep\n1,0\n",
    "varimp.txt": b"Feature Name, Class #0\n",
    "job.sh": b"#!/bin/sh\nexit 0\n",
    "a.xml": b"<OME/>\n",
}


@pytest.fixture
def folder(copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a project with objects, its inputs, and files of other kinds."""
    place = copy_golden("obj2d_seg")
    monkeypatch.chdir(place)
    for name, content in OTHER_KINDS.items():
        Path(name).write_bytes(Path("raw.png").read_bytes() if content is None else content)
    np.save("empty.npy", np.zeros(3))
    with h5py.File("volume.h5", "w") as file:
        file["data"] = np.zeros(3)
    Path("points.csv").write_text("x,y,class\n1,1,1\n9,9,2\n")
    return place


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def refusal(words: list[str], status: int, folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The only line of a command that ends with this status before it has written anything."""
    before = contents(folder)
    assert cli.main(words) == status
    assert contents(folder) == before
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.sampled(3)
@pytest.mark.parametrize("option", ["--logfile", "--redirect_output"])
@pytest.mark.parametrize("name", OTHER_KINDS)
def test_a_log_is_appended_to_logs_only(
    option: str, name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refusal([*RUN, TABLE, f"{option}={name}"], 2, folder, capsys)
    assert (
        line == f"pixelforest: error: {option}: {name} is not a log, so nothing is appended to it; choose another name"
    )


@pytest.mark.parametrize("words", [[*RUN, TABLE], ["explain", *RUN], ["info", "project.ilp"], NEW, ["doctor"]])
def test_so_of_every_command(words: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "spare.png is not a log" in refusal([*words, "--logfile=spare.png"], 2, folder, capsys)


@pytest.mark.parametrize(
    ("words", "log", "other"),
    [
        ([*RUN, TABLE], "raw.png", "--raw_data"),
        ([*RUN, TABLE], "./seg.png", "--segmentation_image"),
        ([*RUN, TABLE], "project.ilp", "--project"),
        ([*RUN, TABLE], "t.csv", "--table_filename"),
        ([*RUN, TABLE, "--report_json=r.json"], "r.json", "--report_json"),
        ([*RUN, TABLE, "--configfile=my.ini"], "my.ini", "--configfile"),
        (["--project=project.ilp", TABLE, "raw.png"], "raw.png", "an input"),
        (NEW, "points.csv", "--labels"),
        (NEW, "new.ilp", "--new"),
    ],
)
@pytest.mark.parametrize("option", ["--logfile", "--redirect_output"])
def test_a_log_is_no_other_file_of_the_command(
    words: list[str], log: str, other: str, option: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refusal([*words, f"{option}={log}"], 2, folder, capsys)
    assert option in line
    assert other in line
    assert f"{folder / log} is named by " in line


@pytest.mark.parametrize(
    "words", [["--table_filename=x", "--report_json=x"], ["--table_filename=x", "--report_json=./x", "--quiet"]]
)
def test_two_results_are_two_files(words: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "is named by" in refusal([*RUN, *words], 2, folder, capsys)


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["--table_filename={nickname}.csv", "--logfile=raw.csv"], "raw.csv"),
        (["--output_filename_format=o", "--redirect_output=o.h5", "--export_object_prediction_img"], "o.h5"),
        (["--table_filename={nickname}.csv", "--report_json=raw.csv"], "raw.csv"),
    ],
)
def test_no_result_gets_the_name_of_a_log_by_its_template(
    words: list[str], name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*RUN, *words]) == 1
    said = capsys.readouterr().err + (Path(name).read_text() if Path(name).exists() else "")
    assert f"the output {folder / name} is a log or report of this run" in said


def test_texts_that_may_be_logs_go_on(folder: Path) -> None:
    Path("mine.log").write_text("begun by my script\n")
    Path("latin.log").write_bytes(b"Gr\xf6\xdfe\r\n\x1b[31mred\n")
    Path("empty.log").touch()
    for name, runs in (("mine.log", 1), ("latin.log", 1), ("empty.log", 1), ("new.log", 2)):
        before = Path(name).read_bytes() if Path(name).exists() else b""
        for _ in range(runs):
            assert cli.main([*RUN, TABLE, f"--logfile={name}", f"--redirect_output={name}"]) == 0
        after = Path(name).read_bytes()
        assert after.startswith(before)
        assert after.count(b"Opening Project") == 2 * runs


@pytest.mark.parametrize("table", [pytest.param(each, id=each.name) for each in table_formats()])
def test_a_table_replaces_tables_only(table: TableFormat, folder: Path) -> None:
    for name in ("spare.png", "volume.h5", "report.json", "job.sh", "picture.pgm"):
        with pytest.raises(ExportError, match="there is a file with other contents"):
            check_contents(Path(name), table)
    Path("empty").touch()
    for name in ("empty", "new"):
        check_contents(Path(name), table)


def test_a_run_refuses_it_before_and_replaces_any_csv(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refusal([*RUN, "--quiet", "--table_filename=spare.png"], 1, folder, capsys)
    assert line.endswith("choose another name with --table_filename, or remove the file")
    Path("t.csv").write_text("number;area\n1;2\n")
    for name in ("t.csv", "t.csv", "t.h5", "t.h5"):
        assert cli.main([*RUN, f"--table_filename={name}"]) == 0


def test_a_table_of_importance_replaces_its_like(
    copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder := copy_golden("px2d_gray"))
    words = ["train", "--project=project.ilp", "--output=new.ilp", "--trees=2", "--variable_importance_path=."]
    Path("varimp.txt").write_text("mine\n")
    assert "varimp.txt: there is a file with other contents" in refusal(words, 1, folder, capsys)
    Path("varimp.txt").unlink()
    for _ in range(2):
        assert cli.main(words) == 0
