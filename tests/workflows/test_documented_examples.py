"""Documented commands, of ilastik's documentation and of --help, run as they stand.

Also the endings nobody types: interrupts of a real computation. The computation of signals with a stand-in, and what
the bar and the log show, is in tests/cli.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from PIL import Image
from support.golden import GOLDEN

from pixelforest import cli
from pixelforest.frontend.options_table import EXAMPLES

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="signals and shell scripts of POSIX")
DEADLINE_S = 120


def result(path: Path | str) -> np.ndarray:
    with h5py.File(path, "r") as file:
        array: np.ndarray = file["exported_data"][()]
        return array


def recorded(name: str, source: str = "probabilities") -> np.ndarray:
    return result(GOLDEN / name / "expected" / f"{source}.h5")


@pytest.fixture
def planes(work_folder: Path) -> Path:
    """The current folder, with a project for gray pictures and two of those."""
    shutil.copy(GOLDEN / "px2d_gray" / "project.ilp", "MyProject.ilp")
    shutil.copy(GOLDEN / "px2d_gray" / "raw.png", "my_next_image.png")
    with Image.open("my_next_image.png") as image:
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save("my_next_image2.png")
    return work_folder


@pytest.fixture
def stacks(work_folder: Path) -> Path:
    """The current folder, with a project for volumes and two stacks of pictures.

    The recorded project was trained on a file without channels; here it says that it was trained on a stack.
    """
    shutil.copy(GOLDEN / "px3d" / "project.ilp", "MyProject.ilp")
    with h5py.File("MyProject.ilp", "r+") as file:
        info = file["Input Data/infos/lane0000/Raw Data"]
        axes = json.loads(info["axistags"][()])["axes"]
        axes.append({"key": "c", "typeFlags": 1, "resolution": 0, "description": ""})
        del info["axistags"], info["shape"]
        info["axistags"] = json.dumps({"axes": axes}).encode()
        info["shape"] = (40, 48, 56, 1)
    with h5py.File(GOLDEN / "px3d" / "raw.h5", "r") as file:
        volume = file["data"][()]
    for z, plane in enumerate(volume):
        Image.fromarray(plane).save(f"my_next_stack_{z:03}.png")
        Image.fromarray(plane[:, ::-1]).save(f"my_other_stack_{z:03}.png")
    return work_folder


def files() -> list[str]:
    return sorted(path.name for path in Path().iterdir())


# ------------------------------------------------------------------------------------------------------------- commands


def test_several_images(planes: Path) -> None:
    before = files()
    argv = ["--headless", "--project=MyProject.ilp", "my_next_image.png", "my_next_image2.png"]
    assert cli.main(argv) == 0
    assert sorted(set(files()) - set(before)) == [
        "my_next_image2_Probabilities.h5",
        "my_next_image_Probabilities.h5",
    ]
    assert np.array_equal(result("my_next_image_Probabilities.h5"), recorded("px2d_gray"))
    assert result("my_next_image2_Probabilities.h5").shape == (160, 200, 2)
    assert not np.array_equal(result("my_next_image2_Probabilities.h5"), recorded("px2d_gray"))


def test_quoted_stacks(stacks: Path) -> None:
    """Each pattern is one volume; its name is what its files have in common."""
    before = files()
    argv = ["--headless", "--project=MyProject.ilp", "my_next_stack_*.png", "my_other_stack_*.png"]
    assert cli.main(argv) == 0
    written = sorted(set(files()) - set(before))
    assert written == ["my_next_stack_0_Probabilities.h5", "my_other_stack_0_Probabilities.h5"]
    assert np.array_equal(result(written[0]), recorded("px3d"))
    assert result(written[1]).shape == recorded("px3d").shape


def test_format_and_names(planes: Path) -> None:
    argv = ["--headless", "--project=MyProject.ilp", "--output_format=tiff"]
    argv += ["--output_filename_format=results/deep/{nickname}_results.tiff", "my_next_image.png", "my_next_image2.png"]
    assert cli.main(argv) == 0
    written = sorted(Path("results/deep").iterdir())
    assert [path.name for path in written] == ["my_next_image2_results.tiff", "my_next_image_results.tiff"]
    assert np.array_equal(np.moveaxis(planar(tifffile.imread(written[1])), 0, -1), recorded("px2d_gray"))


def planar(image: np.ndarray) -> np.ndarray:
    """Channels first, wherever they are."""
    return image if image.shape[0] == 2 else np.moveaxis(image, -1, 0)


def test_a_path_from_the_root_and_all_placeholders(planes: Path, tmp_path: Path) -> None:
    (planes / "sub").mkdir()
    shutil.move("my_next_image.png", "sub/my_next_image.png")
    template = "{dataset_dir}/{nickname}_{result_type}_{x_start}-{x_stop}_{y_start:04}_{roi}.h5"
    argv = ["--headless", "--project=MyProject.ilp", "--export_source=Simple Segmentation"]
    argv += ["--cutout_subregion=[(10, 20, 0), (50, 80, 1)]", f"--output_filename_format={template}"]
    assert cli.main([*argv, str(planes / "sub" / "my_next_image.png")]) == 0
    (written,) = Path("sub").glob("*.h5")
    assert written.name.startswith("my_next_image_Simple Segmentation_20-80_0010_")
    assert np.array_equal(result(written), recorded("px2d_gray", "simple_segmentation")[10:50, 20:80])


def test_a_region_with_five_entries(planes: Path) -> None:
    """As the documentation writes it: an entry for each of t, z, y, x and c."""
    argv = ["--headless", "--project=MyProject.ilp", "--output_filename_format=r.h5"]
    argv += ["--cutout_subregion=[(0,0,0,0,0), (1,1,100,20,2)]", "my_next_image.png"]
    assert cli.main(argv) == 0
    assert np.array_equal(result("r.h5"), recorded("px2d_gray")[:100, :20])


def test_bytes_for_other_programs(planes: Path) -> None:
    argv = ["--headless", "--project=MyProject.ilp", "--export_dtype=uint8", "--pipeline_result_drange=(0.0, 1.0)"]
    argv += ["--export_drange=(0, 255)", "--output_axis_order=cyx", "--output_internal_path=/volume/data"]
    assert cli.main([*argv, "--output_filename_format=r.h5", "my_next_image.png"]) == 0
    with h5py.File("r.h5", "r") as file:
        found = file["volume/data"][()]
    assert found.dtype == np.uint8
    assert np.array_equal(found, np.moveaxis(np.rint(recorded("px2d_gray") * np.float32(255)), -1, 0))


def test_a_sequence_of_pictures(stacks: Path) -> None:
    argv = ["--headless", "--project=MyProject.ilp", "--export_source=Simple Segmentation"]
    argv += ["--output_format=png sequence", "--output_filename_format=out/slice_{slice_index}.png"]
    assert cli.main([*argv, "my_next_stack_*.png"]) == 0
    written = sorted(Path("out").iterdir())
    assert [path.name for path in written] == [f"slice_{z:02}.png" for z in range(40)]
    found = np.stack([np.asarray(Image.open(path)) for path in written])
    assert np.array_equal(found, recorded("px3d", "simple_segmentation")[..., 0])


def test_paths_inside_files(work_folder: Path) -> None:
    shutil.copy(GOLDEN / "px3d" / "raw.h5", "my_file.h5")
    with h5py.File("my_file.h5", "r+") as file:
        file.move("data", "internal/path/to/dataset")
    argv = ["--headless", f"--project={GOLDEN / 'px3d' / 'project.ilp'}", "--output_filename_format=r.h5"]
    assert cli.main([*argv, "my_file.h5/internal/path/to/dataset"]) == 0
    assert np.array_equal(result("r.h5"), recorded("px3d"))


@pytest.mark.slow
def test_examples_of_the_help(planes: Path) -> None:
    """Every example of --help for pictures runs, on files of the names it uses."""
    shutil.copy("my_next_image.png", "next.png")
    shutil.copy("my_next_image.png", "next2.png")
    Path("my_next_image.png").unlink()
    Path("my_next_image2.png").unlink()
    ran = 0
    for command in EXAMPLES.replace("\\\n", " ").splitlines()[1:]:
        words = shlex.split(command.replace("/tmp/results", "results"))
        assert words[0] == "pixelforest"
        if words[-1] not in ("next.png", "next2.png", "*.png"):  # for projects of other kinds
            continue
        pictures = sorted(str(path) for path in Path().glob("*.png"))  # what a shell makes of *.png
        argv = [path for word in words[1:] for path in (pictures if word == "*.png" else [word])]
        assert cli.main(argv) == 0, command
        ran += 1
    assert ran == 5


# -------------------------------------------------------------------------------------------------------------- scripts


@POSIX
def test_a_script_for_ilastik_only_changes_a_path(planes: Path, repository: Path) -> None:
    """Arguments with blanks and quotes arrive as they were, and so does the status."""
    script = repository / "scripts" / "run_ilastik.sh"
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    shutil.copy("my_next_image.png", "an image's copy.png")
    argv = ["sh", str(script), "--headless", "--project=MyProject.ilp", "--export_source=Simple Segmentation"]
    argv += ["--output_filename_format=o/{nickname} $HOME.h5"]
    argv += ["an image's copy.png", "gone.png"]
    done = subprocess.run(argv, capture_output=True, text=True, env=environment, check=False)
    assert np.array_equal(result("o/an image's copy $HOME.h5"), recorded("px2d_gray", "simple_segmentation"))
    assert done.returncode == 3
    assert done.stderr.endswith("pixelforest: error: 1 of 2 inputs failed (gone.png); 1 are done\n")


# -------------------------------------------------------------------------------------------------------- interruptions


@POSIX
@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"])
@pytest.mark.parametrize(
    ("name", "extension"), [("compressed hdf5", "h5"), ("hdf5", "h5"), ("numpy", "npy"), ("multipage tiff", "tiff")]
)
def test_an_interrupt_amid_a_computation(
    planes: Path, number: signal.Signals, status: int, name: str, extension: str, large_image: Path
) -> None:
    """It comes when tiles have been written: nothing is left, neither under the final name nor under another."""
    argv = ["-m", "pixelforest", "--project=MyProject.ilp", f"--output_format={name}", "--memory=200MB"]
    argv += [f"--output_filename_format=o/{{nickname}}.{extension}", str(large_image)]
    with subprocess.Popen(
        [sys.executable, *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        wait_for_tiles(process, Path("o"))
        process.send_signal(number)
        started = time.monotonic()
        out, errors = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == status
    assert time.monotonic() - started < 20
    ended = "interrupted" if number == signal.SIGINT else "terminated"
    assert errors == f"pixelforest: error: {ended}; no unfinished file was left behind\n"
    assert "Completed" not in out
    assert list(planes.rglob("o/*")) == []


def wait_for_tiles(process: subprocess.Popen[str], folder: Path) -> None:
    """Return as soon as something has been written to the disk; fail if the run ends before."""
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        assert process.poll() is None, "the run was over before it could be interrupted"
        if folder.is_dir() and any(path.stat().st_blocks > 8 for path in list(folder.iterdir())):
            time.sleep(0.2)
            return
        time.sleep(0.01)
    pytest.fail("nothing was written in time")


@pytest.fixture(scope="module")
def large_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough work for some seconds."""
    path = tmp_path_factory.mktemp("large") / "large.npy"
    tile = np.asarray(Image.open(GOLDEN / "px2d_gray" / "raw.png")).reshape(160, 200, 1)
    np.save(path, np.tile(tile, (25, 20, 1)))
    return path


@POSIX
def test_an_interrupt_leaves_what_was_there(planes: Path, large_image: Path) -> None:
    """An older result under the final name and the other datasets of its container survive."""
    Path("o").mkdir()
    with h5py.File("o/large.h5", "w") as file:
        file["exported_data"] = np.arange(5)
        file["other"] = np.arange(7)
    before = Path("o/large.h5").read_bytes()
    argv = ["-m", "pixelforest", "--project=MyProject.ilp", "--output_format=hdf5", "--memory=200MB"]
    argv += ["--output_filename_format=o/{nickname}.h5", str(large_image)]
    with subprocess.Popen([sys.executable, *argv], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        end = time.monotonic() + DEADLINE_S
        while len(list(Path("o").iterdir())) < 2 and time.monotonic() < end:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 143
    assert [path.name for path in Path("o").iterdir()] == ["large.h5"]
    assert Path("o/large.h5").read_bytes() == before


@pytest.mark.slow
@POSIX
def test_an_interrupt_amid_a_batch_keeps_what_is_done(planes: Path, large_image: Path) -> None:
    argv = ["-m", "pixelforest", "--project=MyProject.ilp", "--memory=200MB", "--threads=1"]
    argv += ["--output_filename_format=o/{nickname}.h5", "my_next_image.png", str(large_image)]
    with subprocess.Popen([sys.executable, *argv], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        end = time.monotonic() + DEADLINE_S
        while not Path("o/my_next_image.h5").exists() and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 130
    assert [path.name for path in Path("o").iterdir()] == ["my_next_image.h5"]
    assert np.array_equal(result("o/my_next_image.h5"), recorded("px2d_gray"))
