"""Bad input: one line, a status, no half-written file, untouched inputs. And
that a dry run foretells it.

The parts have their own tests; here whole runs of the command line are looked at. What is wrong with options alone is
in tests/cli, and folders that cannot be written to by ordinary users are in tests/cli/test_runs.py.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from PIL import Image
from support.golden import GOLDEN

from pixelforest import cli
from pixelforest.engine.formats.images import hdf5
from pixelforest.engine.workflows.pixel import workflow as pixel_workflow

RECORDED = GOLDEN / "px2d_gray" / "expected" / "probabilities.h5"
HALO = 60  # voxels; no filter of px2d_gray reaches further
NOBODY = 65534
IS_ROOT_ON_LINUX = sys.platform == "linux" and os.geteuid() == 0


@dataclass(frozen=True)
class Outcome:
    """End of a run: its status and the lines on stderr."""

    status: int
    errors: list[str]


@dataclass(frozen=True)
class Scene:
    """A folder with a project and a good image, in which something bad can be placed."""

    folder: Path
    capsys: pytest.CaptureFixture[str]

    @property
    def project(self) -> Path:
        return self.folder / "project.ilp"

    @property
    def good(self) -> Path:
        return self.folder / "raw.png"

    @property
    def out(self) -> Path:
        return self.folder.parent / "out"

    def run(self, *argv: str | Path, project: Path | None = None, template: str | Path = "") -> Outcome:
        """Run the command line; the inputs must be as before afterwards."""
        before = contents(self.folder)
        words = [f"--project={project or self.project}"]
        words += [f"--output_filename_format={template or self.out / '{nickname}.h5'}"]
        status = cli.main(["--headless", *words, *map(str, argv)])
        assert contents(self.folder) == before
        return Outcome(status, self.capsys.readouterr().err.splitlines())

    def foretells(self, *argv: str | Path, project: Path | None = None, template: str | Path = "") -> Outcome:
        """Run the same command line dry: nothing at all may change."""
        before = sorted((path, path.lstat().st_mtime_ns) for path in self.folder.parent.rglob("*"))
        outcome = self.run("--dry_run", *argv, project=project, template=template)
        assert sorted((path, path.lstat().st_mtime_ns) for path in self.folder.parent.rglob("*")) == before
        return outcome

    def fails(
        self,
        *argv: str | Path,
        status: int = 1,
        project: Path | None = None,
        template: str | Path = "",
        is_foreseen: bool = True,
    ) -> str:
        """Run what must fail: one line on stderr and nothing written. Returns the line, with the scene's place as ….

        is_foreseen   a dry run fails with the same line and status; False: only voxels can tell
        """
        foretold = self.foretells(*argv, project=project, template=template)
        outcome = self.run(*argv, project=project, template=template)
        assert foretold == (outcome if is_foreseen else Outcome(0, []))
        assert outcome.status == status
        assert len(outcome.errors) == 1, outcome.errors
        assert outcome.errors[0].startswith("pixelforest: error: ")
        assert "unexpected" not in outcome.errors[0]
        assert not self.out.exists() or list(self.out.rglob("*")) == []
        return outcome.errors[0].replace(str(self.folder.parent), "…")


def contents(folder: Path) -> dict[str, str]:
    """Name -> digest of every file in a folder."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def without_time(line: str) -> str:
    return line.partition(" lane ")[2]


def result(path: Path) -> np.ndarray:
    with h5py.File(path, "r") as file:
        array: np.ndarray = file["exported_data"][()]
        return array


@pytest.fixture
def scene(copy_golden: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> Scene:
    return Scene(copy_golden("px2d_gray"), capsys)


# ------------------------------------------------------------------------------------------------------------- projects


def keep_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def remove_classifier(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["PixelClassification/ClassifierForests"], file["PixelClassification/LabelSets"]


def rename_workflow(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["workflowName"]
        file["workflowName"] = b"Carving"


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("damage", "parts"),
    [
        (Path.unlink, ("bad.ilp", "does not exist")),
        (lambda path: path.write_text("a shopping list"), ("bad.ilp", "not an HDF5 file")),
        (lambda path: path.write_bytes(b""), ("bad.ilp",)),
        (keep_half, ("bad.ilp", "truncated")),
        (remove_classifier, ("bad.ilp", "no labels to train from")),
        (rename_workflow, ("bad.ilp", "Carving", "Pixel Classification")),
    ],
    ids=["missing", "not HDF5", "empty", "truncated", "no classifier and no labels", "unsupported workflow"],
)
def test_a_bad_project(scene: Scene, damage: Callable[[Path], object], parts: tuple[str, ...]) -> None:
    bad = scene.folder / "bad.ilp"
    shutil.copy(scene.project, bad)
    damage(bad)
    line = scene.fails(scene.good, project=bad)
    for part in parts:
        assert part in line


# --------------------------------------------------------------------------------------------------------------- images


def no_file(path: Path) -> None:
    pass


def noise(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(5000))


def folder(path: Path) -> None:
    path.mkdir()


def cut(path: Path) -> None:
    gray = np.random.default_rng(0).integers(0, 255, (80, 90), np.uint8)
    if path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["data"] = gray[..., None]
    elif path.suffix == ".npy":
        np.save(path, gray[..., None])
    elif path.suffix == ".tif":
        tifffile.imwrite(path, gray[..., None])
    else:
        Image.fromarray(gray).save(path)
    keep_half(path)


def array_of(*shape: int) -> Callable[[Path], None]:
    def save(path: Path) -> None:
        if path.suffix == ".npy":
            np.save(path, np.zeros(shape, np.uint8))
        elif path.suffix == ".h5":
            with h5py.File(path, "w") as file:
                file["data"] = np.zeros(shape, np.uint8)
        else:
            Image.fromarray(np.zeros(shape, np.uint8)).save(path)

    return save


def far_too_large(path: Path) -> None:
    """The file says it holds terabytes."""
    if path.suffix == ".npy":
        header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (9999999, 9999999, 1), }"
        path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + header.ljust(117) + b"\n" + bytes(100))
    elif path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file.create_dataset("data", shape=(2**31, 2**31, 1), dtype="u1", chunks=(64, 64, 1))
    elif path.suffix == ".tif":
        tifffile.imwrite(path, np.zeros((32, 32), np.uint8), metadata=None)
        with tifffile.TiffFile(path, mode="r+") as file:
            for name in ("ImageWidth", "ImageLength"):
                file.pages[0].tags[name].overwrite(4_000_000)
    else:
        path.write_bytes(b"P5 99999 99999 255\n123")


COPY = "copy or save it again"
# What is bad -> the file, how it is made, what the line about it must say.
BAD_IMAGES = {
    "missing": ("bad.png", no_file, ("no file matches …/px2d_gray/bad.png",)),
    "not an image": ("bad.png", noise, ("cannot read …/px2d_gray/bad.png", "PNG", "save it as PNG or TIFF")),
    "a folder": ("bad.png", folder, ("bad.png", "it is a folder")),
    "a kind nobody knows": ("bad.xyz", noise, ("bad.xyz", "can be read: bif, bmp, btf")),
    "truncated png": ("bad.png", cut, ("cannot read …/px2d_gray/bad.png", COPY)),
    "truncated tiff": ("bad.tif", cut, ("cannot read …/px2d_gray/bad.tif", "truncated", COPY)),
    "truncated npy": ("bad.npy", cut, ("cannot read …/px2d_gray/bad.npy", "cut short", COPY)),
    "truncated HDF5": ("bad.h5", cut, ("cannot read …/px2d_gray/bad.h5", "truncated", COPY)),
    "three channels": (
        "bad.png",
        array_of(80, 90, 3),
        ("bad.png has 3 channel(s)", "trained on 1", "save the image as gray"),
    ),
    "a volume": (
        "bad.npy",
        array_of(20, 80, 90, 1),
        ("bad.npy", "(20, 80, 90, 1)", "axes yxc", "trained on such images"),
    ),
    "no rows": ("bad.npy", array_of(0, 90, 1), ("bad.npy is empty", "axis y")),
    "no columns": ("bad.h5", array_of(80, 0, 1), ("bad.h5", "is empty", "axis x")),
    "smaller than a filter": ("bad.png", array_of(7, 300), ("too small", "scale", "7 pixels along y")),
    "a size beyond the npy file": ("bad.npy", far_too_large, ("bad.npy", "impossible size", "9999999", COPY)),
    "a size beyond the HDF5 file": ("bad.h5", far_too_large, ("bad.h5", "impossible size", "2147483648", COPY)),
    "a size beyond the TIFF file": ("bad.tif", far_too_large, ("bad.tif", "truncated", COPY)),
    "a size beyond the PNM file": ("bad.pgm", far_too_large, ("bad.pgm", "99999 x 99999", "truncated", COPY)),
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize(("name", "make", "parts"), BAD_IMAGES.values(), ids=BAD_IMAGES)
def test_a_bad_image(scene: Scene, name: str, make: Callable[[Path], None], parts: tuple[str, ...]) -> None:
    make(scene.folder / name)
    line = scene.fails(scene.folder / name)
    for part in parts:
        assert part in line


def test_bad_images_among_good_ones(scene: Scene) -> None:
    """The good ones are complete, whatever is wrong with the others."""
    bad = []
    for number, (name, make, _) in enumerate(BAD_IMAGES.values()):
        path = scene.folder / f"bad{number}{Path(name).suffix}"
        make(path)
        bad.append(path)
    shutil.copy(scene.good, scene.folder / "last.png")
    foretold = scene.foretells(scene.good, *bad, scene.folder / "last.png")
    outcome = scene.run(scene.good, *bad, scene.folder / "last.png")
    assert (outcome.status, foretold.status) == (3, 3)
    assert foretold.errors[-1].endswith("; 2 would be done")
    assert sorted(map(without_time, foretold.errors[:-1])) == sorted(map(without_time, outcome.errors[:-1]))
    assert len(outcome.errors) == len(bad) + 1
    for number, path in enumerate(bad):  # one line each; those that were found while planning come first
        assert sum(f"lane {number + 2} ({path}): " in line for line in outcome.errors) == 1
    assert not any("unexpected" in line for line in outcome.errors)
    assert outcome.errors[-1].startswith(f"pixelforest: error: {len(bad)} of {len(bad) + 2} inputs failed (")
    assert outcome.errors[-1].endswith("; 2 are done")
    assert sorted(path.name for path in scene.out.iterdir()) == ["last.h5", "raw.h5"]
    recorded = result(RECORDED)
    for path in scene.out.iterdir():
        assert np.array_equal(result(path), recorded)


@contextlib.contextmanager
def as_ordinary_user(folder: Path) -> Iterator[None]:
    """Permissions bind meanwhile, also where the tests run as the superuser; the folder stays within reach."""
    parents = [path for path in folder.parents if path.name.startswith(("pytest", "popen", "test"))]
    modes = {path: path.stat().st_mode for path in parents}
    for path in parents:
        path.chmod(0o755)
    os.seteuid(os.geteuid() or NOBODY)
    try:
        yield
    finally:
        os.seteuid(os.getuid())
        for path, mode in modes.items():
            path.chmod(mode)


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")
def test_an_image_that_may_not_be_read(scene: Scene) -> None:
    assert scene.run(scene.good).status == 0  # everything is imported now, wherever it is installed
    (scene.out / "raw.h5").unlink()
    scene.good.chmod(0)
    with as_ordinary_user(scene.folder):
        status = cli.main([f"--project={scene.project}", f"--output_filename_format={scene.out}/x.h5", str(scene.good)])
    scene.good.chmod(0o600)
    errors = scene.capsys.readouterr().err.splitlines()
    assert (status, len(errors)) == (1, 1)
    assert errors[0] == f"pixelforest: error: cannot read {scene.good}: Permission denied"
    assert list(scene.out.iterdir()) == []


def test_a_mask_of_another_size(scene: Scene, copy_golden: Callable[[str], Path]) -> None:
    masked = Scene(copy_golden("px2d_mask"), scene.capsys)
    Image.fromarray(np.ones((30, 40), np.uint8)).save(masked.folder / "small.png")
    line = masked.fails("--raw_data", masked.good, "--prediction_mask", masked.folder / "small.png")
    assert "the prediction mask …/px2d_mask/small.png has the size y=30 x x=40" in line


@pytest.fixture
def doomed(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An image that vanishes before it is computed: images are opened when all lanes are planned, and in their turn."""
    doomed = scene.folder.parent / "doomed.png"
    shutil.copy(scene.good, doomed)
    check = pixel_workflow.check_lane

    def check_and_remove(project: object, images: dict) -> None:
        check(project, images)
        doomed.unlink(missing_ok=True)

    monkeypatch.setattr(pixel_workflow, "check_lane", check_and_remove)
    return doomed


def test_an_image_that_vanishes_before_it_is_computed(scene: Scene, doomed: Path) -> None:
    outcome = scene.run(doomed)
    assert (outcome.status, len(outcome.errors)) == (1, 1)
    assert "doomed.png" in outcome.errors[0]


def test_other_images_are_done_when_one_vanishes(scene: Scene, doomed: Path) -> None:
    good = [scene.folder / f"good{number}.png" for number in range(2)]
    for path in good:
        shutil.copy(scene.good, path)
    outcome = scene.run(doomed, *good)
    assert outcome.status == 3
    assert "doomed.png" in outcome.errors[0]
    assert sorted(path.name for path in scene.out.iterdir()) == ["good0.h5", "good1.h5"]


# ------------------------------------------------------------------------------------------ numbers that are no numbers


@pytest.mark.sampled(1)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_no_numbers(scene: Scene, value: float) -> None:
    """A voxel with a NaN feature has no probabilities: class 1, uncertainty 1. Far away nothing changes."""
    image = np.asarray(Image.open(scene.good)).astype(np.float32).reshape(160, 200, 1)
    np.save(scene.folder / "clean.npy", image)
    image[3, 4] = image[5, 20] = value
    np.save(scene.folder / "spoilt.npy", image)
    sources = "Probabilities,Simple Segmentation,Uncertainty"
    template = scene.out / "{nickname}_{result_type}.h5"
    outcome = scene.run(
        f"--export_source={sources}", scene.folder / "clean.npy", scene.folder / "spoilt.npy", template=template
    )
    assert (outcome.status, len(outcome.errors)) == (0, 1)
    assert "spoilt.npy: " in outcome.errors[0]
    assert " voxels have no class" in outcome.errors[0]
    for source, at_the_pixel in zip(sources.split(","), (0, 1, 1), strict=True):
        clean, spoilt = (result(scene.out / f"{name}_{source}.h5") for name in ("clean", "spoilt"))
        assert (spoilt[[3, 5], [4, 20]] == at_the_pixel).all()
        assert np.array_equal(spoilt[5 + HALO :], clean[5 + HALO :])
        assert np.array_equal(spoilt[:, 20 + HALO :], clean[:, 20 + HALO :])
        assert not np.isnan(spoilt.astype(np.float32)).any()


# ----------------------------------------------------------------------------------------------- files others have open


@pytest.fixture
def lock() -> Iterator[Callable[[Path], None]]:
    """Makes another process hold an HDF5 file open for writing until the test ends."""
    script = "import h5py, sys; f = h5py.File(sys.argv[1], 'r+'); print('open', flush=True); sys.stdin.read()"
    holders = []

    def hold(path: Path) -> None:
        holder = subprocess.Popen(
            [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        holders.append(holder)
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"

    yield hold
    for holder in holders:
        holder.communicate("")


@pytest.mark.slow
def test_inputs_that_others_have_open_are_read(scene: Scene, lock: Callable[[Path], None]) -> None:
    """Both the project and the image; another process writes to neither, it only holds its lock."""
    image = np.asarray(Image.open(scene.good)).reshape(160, 200, 1)
    with h5py.File(scene.folder / "raw.h5", "w") as file:
        file["data"] = image
    lock(scene.folder / "raw.h5")
    lock(scene.project)
    outcome = scene.run(scene.folder / "raw.h5")
    assert (outcome.status, outcome.errors) == (0, [])
    recorded = result(RECORDED)
    assert np.array_equal(result(scene.out / "raw.h5"), recorded)


def test_a_result_that_others_have_open(
    scene: Scene, lock: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hdf5, "_LOCK_WAIT_OPEN_S", 0.2)
    results = scene.folder / "results.h5"
    with h5py.File(results, "w") as file:
        file["exported_data"] = np.arange(5)
    lock(results)
    line = scene.fails(scene.good, template=results)
    assert "results.h5" in line
    assert "another program has it open" in line


# --------------------------------------------------------------------------------------------- places that take nothing


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a small file system of its own, with the given options; skips where that is not allowed."""
    place = tmp_path / "mounted"
    place.mkdir()
    is_mounted = False

    def mount_it(options: str) -> Path:
        nonlocal is_mounted
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], check=False, capture_output=True, text=True
        )
        if done.returncode:
            pytest.skip(f"cannot mount here: {done.stderr.strip()}")
        is_mounted = True
        return place

    if not IS_ROOT_ON_LINUX or shutil.which("mount") is None:
        pytest.skip("only the superuser of Linux may mount")
    yield mount_it
    if is_mounted:
        subprocess.run(["umount", str(place)], check=True)


FORMATS = {
    "hdf5": "h5",
    "compressed hdf5": "h5",
    "numpy": "npy",
    "multipage tiff": "tiff",
    "tiff": "tiff",
    "png": "png",
}


def test_a_folder_on_a_disk_that_is_read_only(scene: Scene, mount: Callable[[str], Path]) -> None:
    place = mount("ro")
    line = scene.fails(scene.good, template=place / "x.h5")
    assert "…/mounted" in line
    assert "ead-only" in line


@pytest.mark.sampled(1)
@pytest.mark.parametrize("name", FORMATS)
def test_a_full_disk(scene: Scene, mount: Callable[[str], Path], name: str) -> None:
    place = mount("size=16k")
    source = "Simple Segmentation" if name in ("tiff", "png") else "Probabilities"
    image = scene.good
    if name in ("tiff", "png"):  # enough of it
        np.save(scene.folder / "large.npy", np.random.default_rng(0).integers(0, 255, (700, 800, 1), np.uint8))
        image = scene.folder / "large.npy"
    argv = (f"--export_source={source}", f"--output_format={name}", image)
    # how small voxels become when they are compressed, and the fill of a picture, show only in the end
    line = scene.fails(
        *argv, template=place / f"x.{FORMATS[name]}", is_foreseen=name in ("hdf5", "numpy", "multipage tiff")
    )
    assert f"cannot write …/mounted/x.{FORMATS[name]}: the disk is full" in line
    assert list(place.iterdir()) == []


def test_a_full_disk_amid_a_sequence(
    copy_golden: Callable[[str], Path], scene: Scene, mount: Callable[[str], Path]
) -> None:
    """The slices that were written are gone as well."""
    series = Scene(copy_golden("px2dt"), scene.capsys)
    place = mount("size=8k")
    argv = ("--export_source=Simple Segmentation", "--output_format=png sequence", series.folder / "raw_tyx.h5/data")
    line = series.fails("--input_axes=tyx", *argv, template=place / "x_{slice_index}.png", is_foreseen=False)
    assert "the disk is full" in line
    assert list(place.iterdir()) == []


def test_a_disk_that_fills_up_in_a_batch(scene: Scene, mount: Callable[[str], Path]) -> None:
    """Images that fit are complete; the others leave nothing."""
    place = mount("size=600k")
    names = [f"image{number}.png" for number in range(4)]
    for name in names:
        shutil.copy(scene.good, scene.folder / name)
    argv = ["--output_format=numpy", "--threads=1", *(scene.folder / name for name in names)]
    foretold = scene.foretells(*argv, template=place / "{nickname}.npy")
    outcome = scene.run(*argv, template=place / "{nickname}.npy")
    assert (foretold.status, outcome.status) == (3, 3)
    assert len(outcome.errors) == 3
    assert sorted(path.name for path in place.iterdir()) == ["image0.npy", "image1.npy"]
    recorded = result(RECORDED)
    assert all(np.array_equal(np.load(path), recorded) for path in place.iterdir())


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of POSIX")
@pytest.mark.parametrize("name", ["compressed hdf5", "numpy"])
def test_a_quota(scene: Scene, name: str) -> None:
    """As far as a process can give one to itself: no file may grow beyond some kilobytes."""
    script = """\
import resource, signal, sys
from pixelforest.cli import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (8000, resource.RLIM_INFINITY))
sys.exit(main())"""
    argv = [f"--project={scene.project}", f"--output_format={name}", f"--output_filename_format={scene.out}/x"]
    before = contents(scene.folder)
    done = subprocess.run(
        [sys.executable, "-c", script, *argv, str(scene.good)], check=False, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"pixelforest: error: cannot write {scene.out / 'x'}")
    assert list(scene.out.parent.rglob("x*")) == []
    assert contents(scene.folder) == before


# ----------------------------------------------------------------------------------------- results that would overwrite


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    ("template", "output_format", "parts"),
    [
        ("raw.png", "png", ("raw.png", "is an input")),
        ("{nickname}.png", "png", ("raw.png", "is an input")),
        ("../px2d_gray/raw.png", "png", ("raw.png", "is an input")),
        ("link.png", "png", ("is an input",)),
        ("trained.h5", "hdf5", ("trained.h5", "is the project")),
    ],
)
def test_a_result_in_the_place_of_an_input(
    scene: Scene, template: str, output_format: str, parts: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(scene.folder)
    Path("link.png").symlink_to("raw.png")
    shutil.copy("project.ilp", "trained.h5")
    argv = ("--export_source=Simple Segmentation", f"--output_format={output_format}", "raw.png")
    line = scene.fails(*argv, template=template, project=Path("trained.h5"))
    for part in parts:
        assert part in line


def test_a_run_of_two_lanes_with_one_name(scene: Scene) -> None:
    (scene.folder / "sub").mkdir()
    shutil.copy(scene.good, scene.folder / "sub" / "raw.png")
    line = scene.fails(scene.good, scene.folder / "sub" / "raw.png")
    assert "lanes 1 and 2" in line
    assert "raw.h5" in line
    assert "{nickname}" in line or "{dataset_dir}" in line


def test_two_lanes_with_one_name_in_a_sequence_of_results(scene: Scene) -> None:
    line = scene.fails(
        "--export_source=Probabilities,Uncertainty", scene.good, scene.good, template=scene.out / "x_{result_type}.h5"
    )
    assert "lanes 1 and 2" in line


def test_an_unknown_option_is_found_before_anything_is_done(scene: Scene) -> None:
    line = scene.fails("--outptu_format=png", scene.good, status=2)
    assert "did you mean --output_format?" in line
