"""Formats that one module outside of the package brings: read, written and listed by the program."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from support.golden import GOLDEN
from support.plug_ins import install, run

PILE = """
from pathlib import Path

import numpy as np

from pixelforest.engine.formats.spec import (
    ImageInfo, ImageReader, ImageWriter, InputFormat, Limits, OutputFormat
)
from pixelforest.engine.formats.table_spec import TableFormat, TableWriter

Path(__file__).with_name("was_loaded").touch()


class PileReader(ImageReader):
    def __init__(self, path, internal):
        with np.load(path) as file:
            self._voxels = file[internal]
        self.info = ImageInfo(self._voxels.shape, self._voxels.dtype, "zyxc"[-self._voxels.ndim:], own_axes=False)

    def read(self, box):
        return self._voxels[box.slices()]

    def close(self):
        pass


class PileWriter(ImageWriter):
    def __init__(self, path, internal, spec):
        self._path, self._voxels = path, np.zeros(spec.shape, spec.dtype)

    def write(self, box, data):
        self._voxels[box.slices()] = data

    def finish(self):
        self._path.parent.mkdir(exist_ok=True)
        with self._path.open("wb") as file:
            np.savez(file, result=self._voxels)
        return [self._path]

    def abort(self):
        pass


def list_datasets(path):
    with np.load(path) as file:
        return file.files


class TabWriter(TableWriter):
    def __init__(self, path, columns, compression):
        self._path, self._columns, self._lines = path, columns, ["\\t".join(column.name for column in columns)]

    def write(self, columns):
        for row in zip(*columns):
            values = [v if c.texts is None else c.texts[int(v)] for v, c in zip(row, self._columns)]
            self._lines.append("\\t".join(map(str, values)))

    def finish(self):
        self._path.write_text("\\n".join(self._lines) + "\\n")
        return self._path

    def abort(self):
        pass


INPUT = InputFormat(
    "pile", ("pile",), PileReader, list_images=list_datasets, container_extensions=("pile",)
)
OUTPUTS = (OutputFormat("pile of arrays", "pile", PileWriter, Limits(), "a pile of NumPy arrays"),)
TABLE = TableFormat("tabs", ("tsv",), TabWriter, "text with tabs")
"""


@pytest.fixture
def plug_in(tmp_path: Path) -> Path:
    return install(tmp_path / "site", "[pixelforest.formats]\npile = pile_format\n", {"pile_format.py": PILE})


def run_pixels(plug_in: Path | None, image: object, result: Path, kind: str, status: int = 0) -> str:
    project = GOLDEN / "px2d_gray" / "project.ilp"
    done = run(
        plug_in,
        f"--project={project}",
        "--device=cpu",
        f"--output_format={kind}",
        f"--output_filename_format={result}",
        "--input_axes=yx",
        image,
        status=status,
    )
    return done.stderr


@pytest.fixture
def pile(tmp_path: Path) -> Path:
    path = tmp_path / "image.pile"
    image = np.random.default_rng(1).integers(0, 255, (2, 40, 48), dtype=np.uint8)
    with path.open("wb") as file:
        np.savez(file, first=image[0], second=image[1])
    np.save(tmp_path / "second.npy", image[1])
    return path


@pytest.mark.sampled(1)
@pytest.mark.parametrize("dataset", ["second", "sec*"])
def test_a_format_from_outside_is_read_and_written(tmp_path: Path, plug_in: Path, pile: Path, dataset: str) -> None:
    run_pixels(plug_in, tmp_path / "second.npy", tmp_path / "expected.npy", "numpy")
    assert not (plug_in / "was_loaded").exists(), "a run with own formats loads no plug-in"
    run_pixels(plug_in, f"{pile}/{dataset}", tmp_path / "result", "pile of arrays")
    with np.load(tmp_path / "result.pile") as file:
        np.testing.assert_array_equal(file["result"], np.load(tmp_path / "expected.npy"))


@pytest.mark.slow
def test_without_its_plug_in_a_format_is_refused(tmp_path: Path, pile: Path) -> None:
    shown = run_pixels(None, tmp_path / "second.npy", tmp_path / "result", "pile of arrays", status=2)
    assert "there is no output format 'pile of arrays'" in shown
    shown = run_pixels(None, pile, tmp_path / "result", "numpy", status=1)
    assert "unrecognized format" in shown


def test_a_format_from_outside_is_listed(plug_in: Path) -> None:
    lines = run(plug_in, "formats").stdout.splitlines()
    assert any(line.split("  ")[0] == "pile of arrays" and "a pile of NumPy arrays" in line for line in lines)


@pytest.mark.parametrize(("name", "owner"), [("pile", "made-up"), ("hdf5", "pixelforest")])
def test_a_second_format_of_one_name_is_left_out(tmp_path: Path, plug_in: Path, name: str, owner: str) -> None:
    other = PILE.replace('"pile", ("pile",)', f'"{name}", ("other",)').replace("pile of arrays", "another pile")
    install(plug_in, "[pixelforest.formats]\nsecond = z_format\n", {"z_format.py": other}, package="their-piles")
    done = run(plug_in, "formats")
    assert "pile of arrays" in done.stdout
    assert "another pile" not in done.stdout
    (line,) = done.stderr.splitlines()
    assert "the plug-in z_format of the package their-piles is not used" in line
    assert line.endswith(f": {owner} reads a format of the same name, {name}; uninstall one")


@pytest.mark.slow
def test_a_table_from_outside(tmp_path: Path, plug_in: Path) -> None:
    folder = GOLDEN / "obj2d_seg"
    inputs = [f"--raw_data={folder / 'raw.png'}", f"--segmentation_image={folder / 'seg.png'}"]
    rows = {}
    for name, separator in (("t.csv", ","), ("t.tsv", "\t")):
        run(plug_in, f"--project={folder / 'project.ilp'}", f"--table_filename={tmp_path / name}", *inputs)
        with (tmp_path / name).open(newline="") as file:
            rows[name] = [row["object_id"] for row in csv.DictReader(file, delimiter=separator)]
    assert rows["t.csv"]
    assert rows["t.csv"] == rows["t.tsv"]


def test_a_plug_in_that_cannot_be_loaded_is_left_out_with_a_warning(plug_in: Path) -> None:
    (plug_in / "pile_format.py").write_text("import a_library_that_is_not_there\n")
    done = run(plug_in, "formats")
    assert "hdf5" in done.stdout
    assert "pile" not in done.stdout
    assert "the plug-in pile (pile_format) cannot be loaded: No module named 'a_library_that_is_not_there'" in (
        done.stdout + done.stderr
    )
