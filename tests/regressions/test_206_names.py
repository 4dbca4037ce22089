"""Names that are no UTF-8 ended a run with an encoding error in the report, the log and some formats."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.odd_names import NAME, only_where_there_are_such_names

from pixelforest import cli
from pixelforest.box import Box
from pixelforest.engine.formats import output_formats, table_formats
from pixelforest.engine.inputs.images import open_image
from pixelforest.engine.inputs.lanes import InputOptions
from pixelforest.engine.storage import chunk_store
from pixelforest.engine.storage.chunk_store import open_array

pytestmark = only_where_there_are_such_names
SHOWN = r"n\xff\xfe"
ARGV = ["--device=cpu", "--threads=1"]
SINGLE = [name for name, f in output_formats().items() if f.extension and not f.sequence]
SEQUENCES = ["png sequence", "tiff sequence"]


@pytest.fixture
def work(copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with such a name: a project and an image that have it too."""
    folder = copy_golden("px2d_gray")
    odd = folder / NAME
    odd.mkdir()
    shutil.move(folder / "project.ilp", odd / f"{NAME}.ilp")
    shutil.move(folder / "raw.png", odd / f"{NAME}.png")
    monkeypatch.chdir(folder)
    return odd


def run(*words: str) -> int:
    return cli.main([f"--project={NAME}/{NAME}.ilp", *ARGV, *words, f"{NAME}/{NAME}.png"])


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", SINGLE)
def test_every_format(name: str, work: Path) -> None:
    words = ["--export_source=Simple Segmentation"]
    if name == "hdr":  # holds three channels only
        words = ["--export_source=Features", "--cutout_subregion=[(0,0,0),(160,200,3)]"]
    assert run(f"--output_format={name}", *words, "--output_filename_format={dataset_dir}/o/{nickname}") == 0
    (file,) = (work / "o").iterdir()
    assert file.stem == NAME


@pytest.mark.parametrize("name", SEQUENCES)
def test_sequences_keep_odd_names(name: str, work: Path) -> None:
    words = ["--export_source=Probabilities", "--output_axis_order=cyx", f"--output_format={name}"]
    assert run(*words, "--output_filename_format={dataset_dir}/o/{nickname}_{slice_index}") == 0
    assert all(file.name.startswith(NAME) for file in (work / "o").iterdir())


@pytest.mark.sampled(1)
@pytest.mark.parametrize("name", ["n5", "single-scale OME-Zarr", "hdf5", "numpy", "multipage tiff"])
def test_what_was_written_is_read_again(name: str, work: Path) -> None:
    template = "--output_filename_format={dataset_dir}/o/{nickname}"
    assert run(f"--output_format={name}", "--export_source=Probabilities", template) == 0
    assert run("--output_format=numpy", "--export_source=Probabilities", "--output_filename_format=plain.npy") == 0
    (file,) = [path for path in (work / "o").iterdir() if path.suffix == f".{output_formats()[name].extension}"]
    argument = f"{file}/exported_data" if output_formats()[name].container else str(file)
    with open_image(argument, role_index=0, training=None, options=InputOptions()) as image:
        found = image.read(Box.whole(image.shape))
    assert np.array_equal(np.moveaxis(found.squeeze(), np.argmin(found.squeeze().shape), -1), np.load("plain.npy"))


def test_an_array_of_a_store(work: Path) -> None:
    """tensorstore takes names in UTF-8 only; a folder is led to by another path then."""
    metadata = {"zarr_format": 2, "shape": [4], "chunks": [2], "dtype": "<i4", "compressor": None, "fill_value": 0,
                "filters": None, "order": "C"}  # fmt: skip
    array = open_array("zarr", work / "a" / "b", metadata, create=True)
    array[:].write(np.arange(1, 5, dtype=np.int32)).result()
    assert {path.name for path in (work / "a" / "b").iterdir()} == {".zarray", "0", "1"}


def test_reports_and_logs_show_their_bytes(work: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["--output_filename_format={dataset_dir}/o", f"--report_json={NAME}/r.json", f"--logfile={NAME}/log.txt"]
    assert run(*words) == 0
    report = json.loads((work / "r.json").read_text(encoding="utf-8"))
    assert report["project"].endswith(rf"{SHOWN}/{SHOWN}.ilp")
    assert report["lanes"][0]["inputs"] == {"Raw Data": rf"{SHOWN}/{SHOWN}.png"}
    assert report["lanes"][0]["outputs"][0].endswith(rf"{SHOWN}/o.h5")
    assert rf"Opening Project: {SHOWN}/{SHOWN}.ilp" in (work / "log.txt").read_text(encoding="utf-8")
    assert rf"Opening Project: {SHOWN}/{SHOWN}.ilp" in capfd.readouterr().out
    assert run("--dry_run", "--json") == 0
    assert json.loads(capfd.readouterr().out)["project"]["path"].endswith(rf"{SHOWN}/{SHOWN}.ilp")


@pytest.mark.sampled(1)
@pytest.mark.parametrize("table", [t.name for t in table_formats() if not t.find_missing()])
def test_tables_keep_odd_names(table: str, copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = copy_golden("obj2d_label")
    monkeypatch.chdir(folder)
    (chosen,) = [t for t in table_formats() if t.name == table]
    path = folder / NAME / f"{NAME}.{chosen.extensions[0]}"
    words = ["--raw_data", "raw.h5/data", "--label_image", "labels.h5/data"]
    assert cli.main(["--project=project.ilp", *ARGV, f"--table_filename={path}", *words]) == 0
    assert path.stat().st_size > 1000


def test_an_open_array_stays_that_of_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The descriptor of the oldest folder was closed, and its number led to another folder."""
    monkeypatch.setattr(chunk_store, "_descriptors", {})
    monkeypatch.setattr(chunk_store, "MAX_DESCRIPTORS", 3)
    metadata = {"zarr_format": 2, "shape": [4], "chunks": [4], "dtype": "|u1", "order": "C", "fill_value": 0}
    metadata |= {"compressor": None, "filters": None}
    arrays = []
    for i in range(3):
        folder = tmp_path / f"{i}{NAME}"
        folder.mkdir()
        arrays.append(chunk_store.open_array("zarr", folder, metadata, create=True))
        arrays[-1].write(np.full(4, i, np.uint8)).result()
        again = chunk_store.open_array("zarr", folder)
        assert again.read().result().tolist() == [i] * 4
    (tmp_path / f"3{NAME}").mkdir()
    with pytest.raises(ValueError, match="rename them"):
        chunk_store.chunk_reader(tmp_path / f"3{NAME}")
    assert [array.read().result().tolist() for array in arrays] == [[0] * 4, [1] * 4, [2] * 4]
    for descriptor in chunk_store._descriptors.values():
        os.close(descriptor)
