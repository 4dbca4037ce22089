"""``pixelforest report`` joins reports of runs, and ``--report_multiqc`` writes what MultiQC takes."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pixelforest import cli
from pixelforest.frontend.html_report.join import join_reports, read_report

RUN = ["--project=project.ilp", "--quiet", "--output_filename_format=out/{nickname}"]
NAMES = ["a.png", "b.png", "c.png"]


@pytest.fixture
def gray(copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = copy_golden("px2d_gray")
    monkeypatch.chdir(folder)
    for name in NAMES:
        shutil.copy("raw.png", name)
    return folder


def run(name: str, *words: str, status: int = 0) -> dict[str, Any]:
    assert cli.main([*RUN, f"--report_json={name}.json", f"--report_html={name}.html", *words]) == status
    report: dict[str, Any] = json.loads(Path(f"{name}.json").read_text(encoding="utf-8"))
    return report


def test_shards_become_one_page(gray: Path) -> None:
    run("part1", "--shard=1/2", *NAMES)
    run("part2", "--shard=2/2", *NAMES)
    run("whole", *NAMES)
    assert cli.main(["report", "part1.json", "part2.json", "--output=all.html", "--quiet"]) == 0
    joined, whole = (Path(name).read_text(encoding="utf-8") for name in ("all.html", "whole.html"))
    assert joined.count('src="data:image/') == whole.count('src="data:image/') == 12
    assert [joined.index(f'id="input-{i}"') for i in (1, 2, 3)] == sorted(
        joined.index(f'id="input-{i}"') for i in (1, 2, 3)
    )
    assert joined.count("SHA-256 of the project") == 2


def test_an_input_is_taken_from_the_run_that_computed_it(gray: Path) -> None:
    first = run("first", "--resume", *NAMES[:2])
    second = run("second", "--resume", *NAMES)
    assert [lane["state"] for lane in second["lanes"]] == ["skipped", "skipped", "done"]
    joined = join_reports([first, second])
    assert [lane["state"] for lane in joined["lanes"]] == ["done"] * 3
    assert all(lane["sample"] for lane in joined["lanes"])


def test_an_error_that_a_later_run_has_mended_is_left_out(gray: Path) -> None:
    first = run("first", "a.png", "d.png", status=3)
    shutil.copy("raw.png", "d.png")
    second = run("second", "a.png", "d.png")
    assert join_reports([first])["error"] == first["error"]
    assert join_reports([first, second])["error"] is None


def test_inputs_of_different_batches_get_numbers_of_their_own(gray: Path) -> None:
    reports = [run("first", "a.png"), run("second", "b.png")]
    assert [lane["lane"] for lane in join_reports(reports)["lanes"]] == [1, 2]


def test_other_files_are_refused(gray: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("other.json").write_text("{}", encoding="utf-8")
    for name, words in (
        ("other.json", "is not a report"),
        ("raw.png", "is not a report"),
        ("gone.json", "No such file"),
    ):
        assert cli.main(["report", name, "--output=all.html"]) == 2
        assert words in capsys.readouterr().err
    assert not Path("all.html").exists()
    assert cli.main(["report", "other.json"]) == 2
    assert "--output" in capsys.readouterr().err


def test_reports_are_not_replaced_by_the_page(gray: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("first", "a.png")
    before = Path("first.json").read_bytes()
    assert cli.main(["report", "first.json", "--output=first.json"]) == 1
    assert "choose another name with --output" in capsys.readouterr().err
    assert Path("first.json").read_bytes() == before
    assert read_report(Path("first.json"))["status"] == 0


def test_multiqc_files(gray: Path) -> None:
    assert cli.main([*RUN, "--report_multiqc=qc", *NAMES]) == 0
    table = json.loads(Path("qc/pixelforest_inputs_mqc.json").read_text(encoding="utf-8"))
    bars = json.loads(Path("qc/pixelforest_classes_mqc.json").read_text(encoding="utf-8"))
    assert (table["plot_type"], bars["plot_type"]) == ("table", "bargraph")
    assert list(table["data"]) == list(bars["data"]) == NAMES
    assert table["data"]["a.png"]["state"] == "done"
    assert set(table["data"]["a.png"]) < set(table["headers"])
    assert float(table["headers"]["uncertainty"]["format"].format(0.04455)) == 0.045
    assert sum(bars["data"]["a.png"].values()) == 160 * 200
    assert set(bars["categories"]) == {"Background", "Cell"}
    pictures = sorted(Path("qc").glob("*_mqc.jpg"))
    assert len(pictures) == 3
    with Image.open(pictures[0]) as picture:
        assert picture.size == (200, 160)


def test_the_page_of_the_documentation_can_be_built_anew(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All kinds of projects in one page; dates and seconds differ."""
    monkeypatch.syspath_prepend(repository / "docs")
    import build_report_page

    built, kept = build_report_page.build(), build_report_page.PAGE.read_text(encoding="utf-8")
    for page in (built, kept):
        assert page.count('<details class="input-details"') == 12
        assert "3 inputs marked as unusual" in page
        assert str(Path.home()) not in page
    classes = [re.findall("(?:Pixels|Objects): [^<]*", page) for page in (built, kept)]
    assert classes[0] == classes[1]
    assert len(classes[0]) == 12
