"""Whole runs of the command line on recorded projects: where files go, what is left alone, what info tells."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from pixelforest import cli
from pixelforest.kernels.contract import DeviceUnavailable

GOLDEN = Path(__file__).resolve().parent.parent / "golden"


def read(path: Path, dataset: str = "exported_data") -> np.ndarray:
    with h5py.File(path, "r") as file:
        return file[dataset][()]


def test_the_simplest_command_writes_beside_the_input(copy_golden: Callable[[str], Path]) -> None:
    folder = copy_golden("px2d_gray")
    digest = hashlib.sha256((folder / "project.ilp").read_bytes()).hexdigest()
    assert cli.main(["--headless", f"--project={folder / 'project.ilp'}", str(folder / "raw.png")]) == 0
    result = read(folder / "raw_Probabilities.h5")
    assert np.array_equal(result, read(GOLDEN / "px2d_gray" / "expected" / "probabilities.h5"))
    assert hashlib.sha256((folder / "project.ilp").read_bytes()).hexdigest() == digest
    assert sorted(path.name for path in folder.iterdir()) == [
        "case.json",
        "project.ilp",
        "raw.png",
        "raw_Probabilities.h5",
    ]


def test_a_project_that_another_process_has_locked_can_be_used(
    copy_golden: Callable[[str], Path], work_folder: Path
) -> None:
    folder = copy_golden("px2d_gray")
    hold = "import h5py, sys; file = h5py.File(sys.argv[1], 'r+'); print('open', flush=True); sys.stdin.read()"
    argv = [sys.executable, "-c", hold, str(folder / "project.ilp")]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        assert cli.main([f"--project={folder / 'project.ilp'}", "--output_filename_format=o.h5"]) == 0
        other.communicate()


def test_a_mask_is_given_by_role(copy_golden: Callable[[str], Path], work_folder: Path) -> None:
    folder = copy_golden("px2d_mask")
    argv = [f"--project={folder / 'project.ilp'}", "--raw_data", str(folder / "raw.png")]
    argv += ["--prediction-mask", str(folder / "mask.png"), "--output_filename_format=m.h5"]
    assert cli.main(argv) == 0
    assert np.array_equal(read(Path("m.h5")), read(GOLDEN / "px2d_mask" / "expected" / "probabilities.h5"))


def test_several_results_and_inputs_in_one_run(copy_golden: Callable[[str], Path], work_folder: Path) -> None:
    folder = copy_golden("px2d_gray")
    (folder / "again.png").write_bytes((folder / "raw.png").read_bytes())
    argv = [f"--project={folder / 'project.ilp'}", "--export_source=Simple Segmentation,Uncertainty", "--threads=2"]
    argv += [
        "--output_filename_format=o/{nickname}_{result_type}.h5",
        str(folder / "raw.png"),
        str(folder / "again.png"),
    ]
    assert cli.main(argv) == 0
    for name in ("raw", "again"):
        for result, expected in (("Simple Segmentation", "simple_segmentation"), ("Uncertainty", "uncertainty")):
            recorded = read(GOLDEN / "px2d_gray" / "expected" / f"{expected}.h5")
            assert np.array_equal(read(Path(f"o/{name}_{result}.h5")), recorded)


def test_one_bad_file_among_good_ones(
    copy_golden: Callable[[str], Path], work_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copy_golden("px2d_gray")
    (folder / "cut.png").write_bytes((folder / "raw.png").read_bytes()[:2000])
    argv = [f"--project={folder / 'project.ilp'}", "--output_filename_format=o/{nickname}.h5"]
    assert cli.main([*argv, str(folder / "cut.png"), str(folder / "raw.png")]) == 3
    assert [path.name for path in Path("o").iterdir()] == ["raw.h5"]
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2
    assert "lane 1" in errors[0]
    assert errors[1] == f"pixelforest: error: 1 of 2 inputs failed ({folder / 'cut.png'}); 1 are done"


def test_a_project_alone_is_read_and_nothing_is_done(
    copy_golden: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([str(copy_golden("px2d_gray") / "project.ilp")]) == 0
    captured = capsys.readouterr()
    assert "Completed Batch Processing" in captured.out
    assert "no input images" in captured.err


def test_labels_by_slice(copy_golden: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    project = copy_golden("px3d") / "project.ilp"
    assert cli.main([f"--project={project}", "--print-labels-by-slice"]) == 0
    counted = [line for line in capsys.readouterr().out.splitlines() if "  z=" in line]
    assert cli.main([f"--project={project}", "--print-labels-by-slice", "--label-search-value=1"]) == 0
    first = [line for line in capsys.readouterr().out.splitlines() if "  z=" in line]

    def total(lines: list[str]) -> int:
        return sum(int(line.rsplit(" ", 1)[1]) for line in lines)

    assert len(counted) == len(first)
    assert 0 < total(first) < total(counted)


def test_info_tells_what_a_project_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info", str(GOLDEN / "px2d_rgb" / "project.ilp"), str(GOLDEN / "px3d_mixed" / "project.ilp")]) == 0
    text = capsys.readouterr().out
    for part in (
        "workflow:        Pixel Classification",
        "inputs:          Raw Data (--raw_data), Prediction Mask (--prediction_mask)",
        "3 channels",
        "31 trees in 3 forests",
        "filtered in:     mixed",
        "--output_format=compressed hdf5",
    ):
        assert part in text


def test_info_of_what_is_no_project(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "no.ilp").write_text("nothing of the kind")
    assert cli.main(["info", str(tmp_path / "no.ilp")]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_the_module_is_the_command(copy_golden: Callable[[str], Path]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pixelforest", "--version"], capture_output=True, text=True, check=True, cwd=GOLDEN
    )
    assert done.stdout == cli.VERSION_LINE + "\n"


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script")
def test_the_stand_in_for_ilastiks_script_forwards(repository: Path) -> None:
    script = repository / "scripts" / "run_ilastik.sh"
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    done = subprocess.run(
        ["sh", str(script), "--headless", "--version"], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout == cli.VERSION_LINE + "\n"


def test_a_folder_that_cannot_be_written_to(
    copy_golden: Callable[[str], Path], unwritable_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copy_golden("px2d_gray")
    argv = [f"--project={folder / 'project.ilp'}", f"--output_filename_format={unwritable_folder}/x.h5"]
    assert cli.main([*argv, str(folder / "raw.png")]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert str(unwritable_folder) in error


def test_an_output_folder_that_is_a_file(
    copy_golden: Callable[[str], Path], work_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copy_golden("px2d_gray")
    Path("file").touch()
    argv = [f"--project={folder / 'project.ilp'}", "--output_filename_format=file/x.h5", str(folder / "raw.png")]
    assert cli.main(argv) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "file" in error


def test_nvforest_on_the_cpu_is_a_contradiction(
    copy_golden: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copy_golden("px2d_gray")
    argv = [f"--project={folder / 'project.ilp'}", "--device=cpu", "--forest=nvforest", str(folder / "raw.png")]
    assert cli.main(argv) == 2
    assert "--forest=nvforest needs a GPU, but --device=cpu was given" in capsys.readouterr().err
    assert not (folder / "raw_Probabilities.h5").exists()


def test_nvforest_without_a_gpu_fails_with_the_reason(copy_golden: Callable[[str], Path]) -> None:
    folder = copy_golden("px2d_gray")
    argv = [f"--project={folder / 'project.ilp'}", "--forest=nvforest", "--quiet", str(folder / "raw.png")]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-m", "pixelforest", *argv], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "--forest=nvforest" in line
    assert not (folder / "raw_Probabilities.h5").exists()


@pytest.mark.parametrize("forest", ["auto", "native"])
def test_other_forests_change_nothing_on_the_cpu(forest: str, copy_golden: Callable[[str], Path]) -> None:
    folder = copy_golden("px2d_gray")
    assert cli.main([f"--project={folder / 'project.ilp'}", f"--forest={forest}", str(folder / "raw.png")]) == 0
    result = read(folder / "raw_Probabilities.h5")
    assert np.array_equal(result, read(GOLDEN / "px2d_gray" / "expected" / "probabilities.h5"))


@pytest.mark.parametrize(("words", "tunes"), [([], True), (["--no_tune"], False), (["--no-tune"], False)])
def test_kernels_are_timed_unless_the_user_says_not(
    words: list[str], tunes: bool, copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copy_golden("px2d_gray")
    loaded: list[tuple[str, dict[str, object]]] = []

    def load(name: str, **options: object) -> object:
        loaded.append((name, options))
        raise DeviceUnavailable("nothing is computed here")

    monkeypatch.setattr("pixelforest.engine.backends.kernels.load", load)
    assert cli.main([f"--project={folder / 'project.ilp'}", "--device=cuda", *words, str(folder / "raw.png")]) == 1
    ((name, options),) = loaded
    assert (name, options["tunes"]) == ("cuda", tunes)
