"""SIGTERM did nothing while a thread, a library or a process was waited for; every wait ends within two seconds."""

from __future__ import annotations

import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.golden import GOLDEN

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows knows no such signals")

LIMIT_S = 2.0
# This machine may be busy with other tests: what a process needs for nothing at all is added to the limit.
MAX_SLOWNESS_S = 8.0
START = "import sys; from pixelforest.__main__ import start; sys.argv[0] = 'pixelforest'; "


@pytest.fixture
def work(copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = copy_golden("px2d_gray")
    monkeypatch.chdir(folder)
    return folder


def begin(code: str, *words: str) -> subprocess.Popen[str]:
    """A run of the program in which something was changed first."""
    argv = [sys.executable, "-c", START + textwrap.dedent(code) + "\nstart()", *words]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def terminate(process: subprocess.Popen[str]) -> tuple[float, str]:
    """Send SIGTERM; the seconds until the end, and what was printed as an error. The status is that of SIGTERM."""
    with process:
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        try:
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    # A process that has no handlers yet, or none any more, is ended by the system: a shell says 143 of both.
    assert process.returncode in (143, -signal.SIGTERM), errors
    assert "Traceback" not in errors
    return time.monotonic() - started, errors


def wait_until(is_there: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 100
    while not is_there():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)


# Something that waits for ever, in the place of one function.
WAITS = {
    "reading the project": """
        import time
        from pixelforest.engine import workflows
        def read_project(path):
            open("begun", "w").close()
            while True: time.sleep(100)
        workflows.read_project = read_project""",
    "a lock in the main thread": """
        import threading
        from pixelforest.engine.run import batch
        def check_job(*arguments):
            lock = threading.Lock()
            lock.acquire()
            open("begun", "w").close()
            lock.acquire()
        batch.check_job = check_job""",
    "a library in the main thread": """
        import ctypes
        from pixelforest.engine.workflows.pixel import workflow as pixel_classification
        def classify_lane(*arguments, **options):
            open("begun", "w").close()
            while True: ctypes.CDLL(None).usleep(900_000_000) or ctypes.CDLL(None).pause()
        pixel_classification.classify_lane = classify_lane""",
    "a library in a thread for tiles": """
        import time
        from pixelforest.engine.tiling.stream import stream_tiles
        from pixelforest.engine.workflows.pixel import workflow as pixel_classification
        def wait(tile, source):
            open("begun", "w").close()
            while True: time.sleep(100)
        def classify_lane(*arguments, **options):
            stream_tiles(range(9), lambda tile: tile, wait, threads=2)
        pixel_classification.classify_lane = classify_lane""",
    "lanes side by side": """
        import time
        from pixelforest.engine.workflows.pixel import workflow as pixel_classification
        def classify_lane(*arguments, **options):
            open("begun", "w").close()
            while True: time.sleep(100)
        pixel_classification.classify_lane = classify_lane""",
    "putting a result in place": """
        import os, time
        replace = os.replace
        def wait(source, destination, **folders):
            while "report" not in str(destination) and not folders:  # the kernel cache gives folders
                open("begun", "w").close()
                time.sleep(100)
            replace(source, destination, **folders)
        os.replace = wait""",
    "a library that turns what is raised into an error of its own": """
        import time
        from pixelforest.engine import workflows
        def read_project(path):
            try:
                open("begun", "w").close()
                time.sleep(100)
            except BaseException:
                raise ImportError("see the advice on how to install it") from None
        workflows.read_project = read_project""",
    "a library whose import fails while a lane is checked": """
        import time
        from pixelforest.engine.run import check
        def open_image(*arguments, **options):
            try:
                open("begun", "w").close()
                time.sleep(100)
            except BaseException as error:
                raise ImportError("initialization failed") from error
        check.open_image = open_image""",
    "a file system that does not answer": """
        import time
        from pixelforest.engine.storage.atomic_write import Target
        create = Target._create_temporary
        def wait(self):
            create(self)
            while "report" not in str(self.path):
                open("begun", "w").close()
                time.sleep(100)
        Target._create_temporary = wait""",
}


@pytest.mark.sampled(1)
@pytest.mark.parametrize("wait", WAITS)
def test_every_wait_ends(wait: str, work: Path) -> None:
    shutil.copy("raw.png", "second.png")
    words = ["--project=project.ilp", "--device=cpu", "--threads=2", "--report_json=report.json"]
    process = begin(WAITS[wait], *words, "--output_filename_format=o/{nickname}", "raw.png", "second.png")
    wait_until(lambda: Path("begun").exists(), process)
    seconds, errors = terminate(process)
    assert seconds < LIMIT_S + MAX_SLOWNESS_S
    assert errors.splitlines()[-1] == "pixelforest: error: terminated; no unfinished file was left behind"
    assert list(work.glob("o/*")) == []
    assert json.loads(Path("report.json").read_text())["status"] == 143


# The same in training: while trees grow in a thread, while the main thread waits, while the project is put in place.
TRAINING_WAITS = {
    "trees that grow": """
        import time
        from pixelforest.engine.training import forest
        def wait(*arguments, **options):
            open("begun", "w").close()
            while True: time.sleep(100)
        forest._finish = wait""",
    "reading labels": """
        import time
        from pixelforest.engine.training import pixel_training
        def wait(*arguments, **options):
            open("begun", "w").close()
            while True: time.sleep(100)
        pixel_training.read_draft = wait""",
    "writing the project": """
        import time
        from pixelforest.engine.storage.atomic_write import Target
        def wait(self):
            open("begun", "w").close()
            while True: time.sleep(100)
        Target.commit = wait""",
}


@pytest.mark.sampled(1)
@pytest.mark.parametrize("wait", TRAINING_WAITS)
def test_every_wait_of_training_ends(wait: str, work: Path) -> None:
    before = Path("project.ilp").read_bytes()
    words = ["train", "--project=project.ilp", "--output=project.ilp", "--trees=20", "--threads=2"]
    process = begin(TRAINING_WAITS[wait], *words)
    wait_until(lambda: Path("begun").exists(), process)
    seconds, errors = terminate(process)
    assert seconds < LIMIT_S + MAX_SLOWNESS_S
    assert errors.splitlines()[-1] == "pixelforest: error: terminated; no unfinished file was left behind"
    assert Path("project.ilp").read_bytes() == before
    assert not list(work.glob(".*"))


# ---------------------------------------------------------------------------------------------------- random moments


@pytest.fixture(scope="module")
def phases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with projects and inputs for runs of a second or two."""
    folder = tmp_path_factory.mktemp("phases")
    for name in ("px2d_gray", "obj2d_label", "autocontext_2d"):
        shutil.copytree(GOLDEN / name, folder / name, ignore=shutil.ignore_patterns("expected"))
    tile = np.asarray(Image.open(GOLDEN / "px2d_gray" / "raw.png")).reshape(160, 200, 1)
    np.save(folder / "large.npy", np.tile(tile, (8, 8, 1)))
    return folder


def commands(folder: Path) -> dict[str, list[str]]:
    pixels = [f"--project={folder}/px2d_gray/project.ilp", "--device=cpu", "--memory=200MB"]
    large = str(folder / "large.npy")
    of_objects = json.loads((folder / "obj2d_label" / "case.json").read_text())["expected"][0]["command"]
    objects = [word for word in shlex.split(of_objects)[1:] if word != "--headless" and "expected/" not in word]
    out = "--output_filename_format=o/{nickname}"
    table = ["--table_filename=o/table.csv", "--export_object_prediction_img", "--output_filename_format=o/{nickname}"]
    return {
        "hdf5": [*pixels, "--output_format=compressed hdf5", "--output_filename_format=o/{nickname}", large],
        "n5": [*pixels, "--output_format=n5", "--output_filename_format=o/{nickname}", large],
        "zarr": [*pixels, "--output_format=multi-scale OME-Zarr", "--output_filename_format=o/{nickname}", large],
        "tiff": [*pixels, "--output_format=multipage tiff", "--output_filename_format=o/{nickname}", large],
        "objects": [*[w for w in objects if not w.startswith(("--output", "--table", "--export"))], *table],
        "autocontext": [f"--project={folder}/autocontext_2d/project.ilp", f"{folder}/autocontext_2d/raw.png", out],
        "blocks": [*pixels, "--resume", "--output_format=n5", out, large],
        "retrain": [*pixels, "--retrain", "--tree_count=200", out, f"{folder}/px2d_gray/raw.png"],
        "train": ["train", f"--project={folder}/px2d_gray/project.ilp", "--output=o/new.ilp", "--trees=200"],
        "explain": ["explain", *pixels, large],
        "info": ["info", f"{folder}/px2d_gray/project.ilp"],
        "doctor": ["doctor", "--device=cpu"],
    }


NAMES = ("hdf5", "n5", "zarr", "tiff", "objects", "autocontext", "blocks", "retrain", "train")
NAMES += ("explain", "info", "doctor")


def check_random_moments(name: str, folder: Path, work: Path, *, count: int, seed: int) -> None:
    """Ended at moments spread over the whole run: nothing but what is complete is left."""
    words = commands(folder)[name]
    environment = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    where = folder / "obj2d_label" if name == "objects" else work
    shutil.rmtree(where / "o", ignore_errors=True)

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "pixelforest", *words], cwd=where, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env={**os.environ, **environment},
        )  # fmt: skip

    started = time.monotonic()
    with start() as whole:
        _, errors = whole.communicate(timeout=200)
    assert whole.returncode == 0, errors
    duration = time.monotonic() - started
    complete = {path.relative_to(where) for path in where.glob("o/*")}
    moments = random.Random(seed)
    for _ in range(count):
        shutil.rmtree(where / "o", ignore_errors=True)
        process = start()
        time.sleep(moments.uniform(0, duration))
        if process.poll() is not None:
            process.communicate()
            continue
        seconds, _ = terminate_or_done(process)
        assert seconds < LIMIT_S + MAX_SLOWNESS_S
        left = {path.relative_to(where) for path in where.glob("o/*")}
        assert left <= complete
        assert not list(where.rglob("*.part"))


def terminate_or_done(process: subprocess.Popen[str]) -> tuple[float, str]:
    """The same for a process that may be over by the time the signal arrives."""
    with process:
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        try:
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode in (143, -signal.SIGTERM, 0), errors
    assert "Traceback" not in errors
    return time.monotonic() - started, errors


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("name", NAMES)
def test_random_moments_of_every_phase(name: str, phases: Path, work_folder: Path) -> None:
    check_random_moments(name, phases, work_folder, count=12, seed=2)


@pytest.mark.parametrize(
    "finalizer",
    [
        pytest.param("class Held:\n    __del__ = lambda self: end()\nHeld()", id="finalizer"),
        pytest.param("class Held: pass\nheld = Held()\nreference = weakref.ref(held, end)\ndel held", id="weakref"),
    ],
)
def test_an_exception_that_python_cannot_pass_on_is_raised_again(finalizer: str) -> None:
    code = """
import os, signal, sys, time, weakref
from pixelforest.frontend import exit_status
from pixelforest.frontend.console import Console, ConsoleSettings

exit_status.FORCE_AFTER_S = 100
def end(*_):
    os.kill(os.getpid(), signal.SIGTERM)
    for _ in range(100): pass  # the handler runs here
def work():
    exec(FINALIZER)
    try:
        time.sleep(60)
    finally:
        print("cleaned up", flush=True)
    return 0
sys.exit(exit_status.run_guarded(work, Console(ConsoleSettings())))
"""
    code = f"FINALIZER = {finalizer!r}\n{code}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert done.returncode == 143
    assert done.stdout == "cleaned up\n"
    assert "terminated" in done.stderr
    assert "ignored" not in done.stderr
    assert "Traceback" not in done.stderr
