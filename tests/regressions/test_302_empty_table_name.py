"""``--table_filename=`` for a project without objects ended in "unexpected ValueError"."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pixelforest import cli


@pytest.mark.parametrize("words", [["--table_filename="], ["--table_filename=", "--export_object_prediction_img"]])
@pytest.mark.parametrize("action", ["explain", "--headless"])
def test_an_empty_table_name_is_refused_like_any_other(
    action: str,
    words: list[str],
    copy_golden: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(copy_golden("px2d_gray"))
    assert cli.main([action, "--project=project.ilp", *words, "raw.png"]) == 2
    assert "--table_filename: Pixel Classification projects have no objects" in capsys.readouterr().err


def test_an_empty_table_name_of_a_project_with_objects_is_one_line(
    copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(copy_golden("obj2d_seg"))
    words = ["--project=project.ilp", "--table_filename=", "--raw_data=raw.png", "--segmentation_image=seg.png"]
    assert cli.main(["--headless", *words]) == 1
    assert "the table path '' has no file name" in capsys.readouterr().err
