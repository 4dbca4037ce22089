"""Reports, logs and results that name a device, a pipe or a descriptor replaced it; closed streams crashed."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import pytest

from pixelforest import cli
from pixelforest.engine.errors import ExportError
from pixelforest.engine.storage import special_files
from pixelforest.engine.storage.atomic_write import Target

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pipes and descriptors of POSIX")
ARGV = ["--project=project.ilp", "--device=cpu", "--quiet", "--threads=1"]


@pytest.fixture
def work(copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = copy_golden("px2d_gray")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[tuple[Path, Callable[[], bytes]]]:
    """A named pipe, and what was read from it once the writer has left."""
    path = tmp_path / "pipe.h5"
    os.mkfifo(path)
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(path.read_bytes()), daemon=True)
    reader.start()

    def read() -> bytes:
        reader.join(60)
        return found[0]

    yield path, read
    assert stat.S_ISFIFO(path.stat().st_mode)


def run(*words: str) -> int:
    return cli.main([*ARGV, *words, "raw.png"])


def test_a_result_goes_into_a_pipe(work: Path, pipe: tuple[Path, Callable[[], bytes]]) -> None:
    path, read = pipe
    assert run("--output_format=hdf5", f"--output_filename_format={path}") == 0
    (work / "got.h5").write_bytes(read())
    with h5py.File("got.h5") as file:
        assert file["exported_data"].shape == (160, 200, 2)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("option", ["--report_json", "--logfile", "--redirect_output"])
def test_a_report_and_a_log_go_into_a_pipe(option: str, work: Path, pipe: tuple[Path, Callable[[], bytes]]) -> None:
    path, read = pipe
    words = [w for w in ARGV if w != "--quiet"]
    assert cli.main([*words, f"{option}={path}", "--output_filename_format=o", "raw.png"]) == 0
    text = read().decode()
    assert json.loads(text)["status"] == 0 if option == "--report_json" else "Opening Project: project.ilp" in text


@pytest.mark.sampled(1)
@pytest.mark.parametrize("option", ["--report_json", "--logfile", "--redirect_output", "--output_filename_format"])
def test_an_open_descriptor_is_written_from_where_it_is(option: str, work: Path) -> None:
    """It may be a plain file, which is neither replaced nor emptied."""
    with open("all.txt", "w+b") as file:
        file.write(b"before\n")
        file.flush()
        identity = os.fstat(file.fileno()).st_ino
        words = ["--output_filename_format=o"] if option != "--output_filename_format" else []
        words += ["--output_format=png", "--export_source=Simple Segmentation", f"{option}=/dev/fd/{file.fileno()}"]
        assert run(*words) == 0
    assert os.stat("all.txt").st_ino == identity
    content = Path("all.txt").read_bytes()
    assert content.startswith(b"before\n")
    if option == "--output_filename_format":
        assert content[7:15] == b"\x89PNG\r\n\x1a\n"
    elif option == "--report_json":
        assert json.loads(content[7:])["status"] == 0


@pytest.mark.parametrize("is_link", [False, True])
def test_a_device_stays_what_it_is(is_link: bool, work: Path) -> None:
    null = work / "null.png"
    if is_link:
        null.symlink_to("/dev/null")
    words = ["--output_format=png", "--export_source=Simple Segmentation", "--report_json=/dev/null"]
    assert run(*words, f"--output_filename_format={null if is_link else '/dev/null'}") == 0
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert null.is_symlink() == is_link
    assert not list(Path("/dev").glob("*.part"))


@pytest.mark.sampled(1)
@pytest.mark.parametrize("extension", ["csv", "h5"])
def test_a_table_goes_into_a_descriptor(
    extension: str, copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(copy_golden("obj2d_label"))
    os.mkfifo(f"table.{extension}")
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(Path(f"table.{extension}").read_bytes()), daemon=True)
    reader.start()
    words = ["--raw_data", "raw.h5/data", "--label_image", "labels.h5/data"]
    assert cli.main([*ARGV, f"--table_filename=table.{extension}", *words]) == 0
    reader.join(60)
    assert found[0].startswith(b"object_id,timestep" if extension == "csv" else b"\x89HDF")
    assert stat.S_ISFIFO(os.stat(f"table.{extension}").st_mode)
    assert not list(Path().glob(".*.part"))
    with open("all.txt", "wb") as file:
        assert cli.main([*ARGV, f"--table_filename=/dev/fd/{file.fileno()}", *words]) == 0
    assert Path("all.txt").read_bytes().startswith(b"object_id,timestep")


def test_more_than_a_pipe_holds(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    target = Target(path)
    assert target.temporary.parent != tmp_path
    target.temporary.write_bytes(b"0123456789" * 50_000)
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(path.read_bytes()), daemon=True)
    reader.start()
    target.commit()
    reader.join(60)
    assert found == [b"0123456789" * 50_000]
    assert not target.temporary.exists()


def test_a_pipe_that_nobody_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(special_files, "READER_WAIT_S", 0.0)
    os.mkfifo(tmp_path / "pipe")
    target = Target(tmp_path / "pipe", "--report_json")
    with pytest.raises(ExportError, match="nobody has opened this pipe to read it"):
        target.commit()
    target.discard()


def test_descriptors_that_cannot_be_written(work: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with open("case.json", "rb") as file:
        assert run("--output_filename_format=/dev/fd/987") == 1
        assert run(f"--output_filename_format=/dev/fd/{file.fileno()}") == 1
    first, second = capfd.readouterr().err.splitlines()
    assert first == "pixelforest: error: cannot write /dev/fd/987: no file is open as descriptor 987"
    assert re.search(r"cannot write /dev/fd/\d+: descriptor \d+ is open for reading only", second)


@pytest.mark.slow
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_closed_streams_are_no_error(closed: str, work: Path) -> None:
    """Nor does a result get the number of one, and with it what is printed."""
    words = [*ARGV[:2], "--output_format=numpy", "--output_filename_format=o", "raw.png"]
    command = f"'{sys.executable}' -m pixelforest {' '.join(words)}"
    done = subprocess.run(f"{command} {closed}", shell=True, capture_output=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    shutil.move("o.npy", "first.npy")
    assert run("--output_format=numpy", "--output_filename_format=o") == 0
    assert Path("first.npy").read_bytes() == Path("o.npy").read_bytes()


def test_a_trained_project_goes_into_a_pipe(work: Path, pipe: tuple[Path, Callable[[], bytes]]) -> None:
    path, read = pipe
    assert cli.main(["train", "--project=project.ilp", f"--output={path}", "--trees=2"]) == 0
    (work / "got.ilp").write_bytes(read())
    assert cli.main(["--project=got.ilp", "--output_filename_format=o", "raw.png"]) == 0
    assert cli.main(["train", "--project=project.ilp", "--output=/dev/null", "--trees=2"]) == 0
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


@pytest.mark.parametrize("words", [["info"], ["explain"], [], ["--retrain"], ["train", "--output=new.ilp"]])
def test_a_pipe_or_a_device_is_no_project(words: list[str], work: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Opening a pipe would wait for somebody to write into it."""
    os.mkfifo("pipe.ilp")
    inputs = [] if words[:1] in (["info"], ["train"]) else ["raw.png"]
    for project in ("pipe.ilp", "/dev/null"):
        assert cli.main([*words, f"--project={project}", "--quiet", *inputs]) == 1
        (line,) = capfd.readouterr().err.splitlines()
        shown = Path(project).absolute() if words[:1] == ["train"] else project
        assert line == (
            f"pixelforest: error: '{shown}' is a device, a pipe or a socket, not a project file; give the .ilp file "
            "itself"
        )
