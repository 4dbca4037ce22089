"""``--input_list``: inputs in a text file or a table."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pixelforest import cli
from pixelforest.engine.errors import InputError, UsageError
from pixelforest.engine.inputs.lanes import list_lanes
from pixelforest.engine.jobs import Request, resolve_job

ROLES = ("Raw Data", "Segmentation Image")
NAMES = {"raw_data": "Raw Data", "segmentation_image": "Segmentation Image", "binary_data": "Segmentation Image"}


def lanes_of(path: Path, text: str) -> list[dict[str, str]]:
    path.write_text(text, encoding="utf-8")
    lanes = list_lanes(path, ROLES, NAMES)
    assert [lane.index for lane in lanes] == list(range(len(lanes)))
    return [dict(lane.arguments) for lane in lanes]


def test_a_line_is_an_input_of_the_main_role(tmp_path: Path) -> None:
    text = "\ufeffa b.png\n\n# a comment\r\n  s_*.png:t.png  \ndata.h5/a,b"
    expected = [{"Raw Data": name} for name in ("a b.png", "s_*.png:t.png", "data.h5/a,b")]
    assert lanes_of(tmp_path / "list.txt", text) == expected


@pytest.mark.parametrize("separator", [",", ";", "\t"], ids=["comma", "semicolon", "tab"])
@pytest.mark.parametrize("heading", ["raw_data,segmentation_image", "Raw Data, Binary-Data"])
def test_a_table_has_a_column_for_each_role(tmp_path: Path, separator: str, heading: str) -> None:
    text = f"{heading}\na.png,m.png\n\nb.png,\n".replace(",", separator) + f'"c{separator}d.png"{separator}n.png'
    assert lanes_of(tmp_path / "list.csv", text) == [
        {"Raw Data": "a.png", "Segmentation Image": "m.png"},
        {"Raw Data": "b.png"},
        {"Raw Data": f"c{separator}d.png", "Segmentation Image": "n.png"},
    ]


def test_an_empty_list_has_no_lanes(tmp_path: Path) -> None:
    assert lanes_of(tmp_path / "list.txt", "\n# nothing\n") == []


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        pytest.param("list.csv", "raw,mask\na,b", "must name the roles of its columns, out of raw_data", id="no roles"),
        pytest.param("list.csv", "raw_data,raw_data\na,b", "must name the roles", id="a role twice"),
        pytest.param("list.txt", "raw_data,segmentation_image\na", "line 2: there are 1 fields, but 2", id="short row"),
        pytest.param(
            "list.txt", "raw_data,segmentation_image\n\n,b", "line 3: there is no Raw Data", id="no main role"
        ),
    ],
)
def test_invalid_lists_are_usage_errors(tmp_path: Path, name: str, text: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        lanes_of(tmp_path / name, text)


def test_a_list_that_is_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="it is not a text"):
        lanes_of(tmp_path / "list.txt", "a\0b")
    with pytest.raises(InputError, match="there is no file"):
        list_lanes(tmp_path / "gone.txt", ROLES, NAMES)


def test_names_keep_bytes_that_are_not_utf_8(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"\xff.png\n")
    (lane,) = list_lanes(tmp_path / "list.txt", ROLES, NAMES)
    assert lane.arguments["Raw Data"].encode("utf-8", "surrogateescape") == b"\xff.png"


def test_a_list_excludes_other_inputs(tmp_path: Path, copy_golden: Callable[[str], Path]) -> None:
    project = str(copy_golden("px2d_gray") / "project.ilp")
    (tmp_path / "list.txt").write_text("a.png", encoding="utf-8")
    with pytest.raises(UsageError, match=r"others are not \(b\.png\)"):
        resolve_job(Request(project=project, input_list=str(tmp_path / "list.txt"), inputs=("b.png",)))


def test_reports_and_resumed_runs_know_the_rows(
    copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(copy_golden("px2d_gray"))
    for name in "ab":
        shutil.copy("raw.png", f"{name}.png")
    argv = ["--project=project.ilp", "--output_format=numpy", "--output_filename_format=out/{nickname}", "--threads=1"]
    argv += ["--device=cpu", "--report_json=report.json", "--resume", "--input_list=list.csv"]
    Image.fromarray(np.ones_like(np.asarray(Image.open("raw.png")))).save("mask.png")
    Path("list.csv").write_text("raw_data,prediction_mask\na.png,mask.png\nb.png,\n", encoding="utf-8")
    assert cli.main(argv) == 0
    assert Path("out/a.npy").read_bytes() == Path("out/b.npy").read_bytes()
    Path("out/b.npy").unlink()
    assert cli.main(argv) == 0
    lanes = json.loads(Path("report.json").read_text(encoding="utf-8"))["lanes"]
    assert [(lane["lane"], lane["inputs"], lane["state"]) for lane in lanes] == [
        (1, {"Raw Data": "a.png", "Prediction Mask": "mask.png"}, "skipped"),
        (2, {"Raw Data": "b.png"}, "done"),
    ]
