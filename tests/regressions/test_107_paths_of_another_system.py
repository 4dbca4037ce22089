r"""A project saved on Windows wrote its results to a file called `C:\Users\me\out\raw.h5` in the current folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.stored_settings import store, store_table

from pixelforest import cli
from pixelforest.engine.errors import ExportError
from pixelforest.engine.export.stored_places import StoredPlace

CopyGolden = Callable[[str], Path]
OF_WINDOWS = (
    r"C:\Users\me\out\{nickname}_{result_type}.h5",
    "D:/out/{nickname}",
    r"\\server\share\{nickname}",
    r"out\{nickname}",
    r"{dataset_dir}\{nickname}_{result_type}",
)


def check(template: str, *, is_windows: bool) -> None:
    StoredPlace(template, "output path", "--output_filename_format").check_template(is_windows=is_windows)


@pytest.mark.parametrize("template", OF_WINDOWS)
def test_paths_of_windows_elsewhere(template: str) -> None:
    with pytest.raises(ExportError, match=r"is a path of Windows; .*output_filename_format"):
        check(template, is_windows=False)


@pytest.mark.parametrize("template", ["/home/me/out/{nickname}", "/{nickname}"])
def test_paths_of_other_systems_on_windows(template: str) -> None:
    with pytest.raises(ExportError, match=r"another system; .*output_filename_format"):
        check(template, is_windows=True)


@pytest.mark.parametrize("template", ["out/a.h5:hidden", "{nickname}:x", "C:/out/a:b"])
def test_a_colon_in_a_name_means_another_stream_on_windows(template: str) -> None:
    with pytest.raises(ExportError, match="colon"):
        check(template, is_windows=True)


@pytest.mark.parametrize("template", ["C:/out/{nickname}", r"C:\out\{x_start:05d}", "{dataset_dir}/{nickname}", "out"])
def test_paths_of_windows_on_windows(template: str) -> None:
    check(template, is_windows=True)


@pytest.mark.parametrize("template", ["/out/{nickname}", "{dataset_dir}/{nickname}", "{x_start:05d}", "ab:c", "out/x"])
def test_paths_of_other_systems_there(template: str) -> None:
    check(template, is_windows=False)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("words", [(), ("--dry_run",)])
def test_a_run_is_refused_and_an_option_overrules(
    words: tuple[str, ...], copy_golden: CopyGolden, work_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copy_golden("px2d_gray")
    store(folder / "project.ilp", OutputFilenameFormat=OF_WINDOWS[0])
    before = sorted(work_folder.rglob("*"))
    argv = [f"--project={folder / 'project.ilp'}", str(folder / "raw.png"), *words]
    assert cli.main(argv) == 1
    assert "--output_filename_format" in capsys.readouterr().err
    assert sorted(work_folder.rglob("*")) == before
    assert cli.main([*argv, "--output_filename_format=x.h5"]) == 0


def test_a_table_is_refused_and_an_option_overrules(
    copy_golden: CopyGolden, work_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copy_golden("obj2d_seg")
    store_table(folder / "project.ilp", r"C:\Users\me\{nickname}.csv")
    before = sorted(work_folder.rglob("*"))
    argv = [f"--project={folder / 'project.ilp'}", "--raw_data", str(folder / "raw.png")]
    argv += ["--segmentation_image", str(folder / "seg.png")]
    assert cli.main([*argv, "--table_only"]) == 1
    assert "--table_filename" in capsys.readouterr().err
    assert sorted(work_folder.rglob("*")) == before
    assert cli.main([*argv, "--table_filename=t.csv"]) == 0
    assert Path("t.csv").is_file()
