"""Frames whose labels fit neither memory nor disk: the same files as usual, computed slab by slab."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from support.forecast import explain
from support.golden import GOLDEN, GoldenCase, golden_cases, golden_folders

from pixelforest import cli
from pixelforest.engine.project import ObjectProject
from pixelforest.engine.resources import Resources
from pixelforest.engine.workflows.objects import flow, workflow
from pixelforest.engine.workflows.objects.shared_frame import Step
from pixelforest.engine.workflows.objects.slab_frame import SlabFrame

FOLDERS = [folder for folder in golden_folders() if folder.name.startswith(("obj", "pcoc"))]
THICKNESSES = (1, 7, 64)
find = SlabFrame.find_objects


def run(case: GoldenCase, folder: Path, *options: str) -> list[Path]:
    """Run a recorded command in a copy of its folder; returns the files that it wrote."""
    copy = shutil.copytree(case.folder, folder, ignore=shutil.ignore_patterns("expected"))
    before = set(folder.rglob("*"))
    (copy / "out").mkdir()
    args = [word.replace("{out}", str(copy / "out")) for word in case.args]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(copy)
        assert cli.main(["--headless", f"--project={case.project}", *args, *options]) == case.exit_status
    return sorted(path for path in set(folder.rglob("*")) - before if path.is_file())


def read(path: Path) -> dict[str, np.ndarray]:
    """All datasets of a file, or its bytes."""
    if path.suffix != ".h5":
        return {"": np.frombuffer(path.read_bytes(), np.uint8)}
    found = {}
    with h5py.File(path, "r") as file:
        file.visititems(lambda name, node: found.update({name: node[()]}) if isinstance(node, h5py.Dataset) else None)
    return found


def assert_same_files(found: list[Path], expected: list[Path]) -> None:
    assert found
    assert [path.name for path in found] == [path.name for path in expected]
    for own, whole in zip(found, expected, strict=True):
        values, wanted = read(own), read(whole)
        assert values.keys() == wanted.keys()
        for name in wanted:
            assert (values[name].dtype, values[name].tobytes()) == (wanted[name].dtype, wanted[name].tobytes()), name


def force_slabs(monkeypatch: pytest.MonkeyPatch, thickness: int) -> None:
    monkeypatch.setattr(flow, "choose_thickness", lambda *args: thickness)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("folder", FOLDERS, ids=[folder.name for folder in FOLDERS])
def test_recorded_runs_by_slabs(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All results and the table of every recorded project, with pictures of the objects."""
    for number, case in enumerate(golden_cases(folder)):
        options = () if "--table_only" in case.args else ("--table_filename={dataset_dir}/t.h5",)
        expected = run(case, tmp_path / f"{number}", *options)
        with pytest.MonkeyPatch.context() as patch:
            force_slabs(patch, THICKNESSES[number % len(THICKNESSES)])
            assert_same_files(run(case, tmp_path / f"{number}s", *options), expected)


class Helpers:
    """Processes that open everything anew: they know what a pickle contains, and end in another order."""

    def __init__(self, project: ObjectProject, resources: Resources) -> None:
        self.project, self.resources = project, resources

    def choose_slab_voxels(self, suiting: int) -> int:
        return suiting

    def count(self) -> int:
        return 2

    def compute(self, steps: Iterable[Step], on_wait: Callable[[], None]) -> Iterator[tuple[int, Any]]:
        for index, step in reversed(list(enumerate(steps))):
            on_wait()
            sent = pickle.loads(pickle.dumps(step))
            found = sent.compute(self.project, self.resources, lambda voxels: None)
            yield index, pickle.loads(pickle.dumps(found))


@pytest.mark.sampled(1)
@pytest.mark.parametrize("name", ["obj2d_label", "obj2d_pred", "obj2d_seg", "obj2dt_pred_hyst_all", "obj3d_seg"])
def test_steps_of_other_processes(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (case,) = [case for case in golden_cases(GOLDEN / name) if case.name == f"{name}-object_probabilities"]
    options = ("--table_filename={dataset_dir}/t.h5",)
    expected = run(case, tmp_path / "whole", *options)

    def classify(project: ObjectProject, images: Any, exports: Any, *, resources: Resources, **more: Any) -> None:
        helpers = Helpers(project, resources)
        flow.classify_lane(project, images, exports, resources=resources, helpers=helpers, **more)

    monkeypatch.setattr(workflow, "classify_lane", classify)
    assert_same_files(run(case, tmp_path / "steps", *options), expected)


def test_labels_that_fit_neither_memory_nor_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A series of slabs is foretold and computed; where there is room, labels of the frame are kept."""
    shape, rng = (64, 96, 96), np.random.default_rng(0)
    segmentation = np.zeros(shape, np.uint8)
    for z, y, x in rng.integers(0, [60, 90, 90], (20, 3)):
        segmentation[z : z + 4, y : y + 6, x : x + 6] = 1
    for name, values in (("raw", rng.integers(0, 255, shape, np.uint8)), ("seg", segmentation)):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file.create_dataset("data", data=values, chunks=(16, 32, 32))
    monkeypatch.chdir(tmp_path)
    argv = [f"--project={GOLDEN / 'obj3d_seg' / 'project.ilp'}", "--export_source=Object Identities", "--threads=1"]
    argv += ["--raw_data", "raw.h5/data", "--segmentation_image", "seg.h5/data"]

    def run(name: str, memory: str) -> list[Path]:
        files = [tmp_path / name / "o.h5", tmp_path / name / "t.csv"]
        options = [f"--memory={memory}", f"--output_filename_format={files[0]}", f"--table_filename={files[1]}"]
        assert cli.main(["--headless", *options, *argv]) == 0
        return files

    expected = run("whole", "100M")
    usage, opened = type(shutil.disk_usage(".")), []
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10**9, 10**9, 1000))
    monkeypatch.setattr(SlabFrame, "find_objects", lambda *args: opened.append(1) or find(*args))
    assert_same_files(run("slabs", "4M"), expected)
    assert opened == [1]
    (lane,) = explain(capsys, *argv, "--memory=4M")["lanes"]
    assert lane["work"]["scratch_bytes"] == 0
    assert (lane["work"]["tile"]["y"], lane["work"]["tile"]["x"]) == shape[1:]
    assert 1 < lane["work"]["tiles"] == -(-shape[0] // lane["work"]["tile"]["z"])
    (lane,) = explain(capsys, *argv, "--memory=100M")["lanes"]
    assert (lane["work"]["tiles"], lane["work"]["tile"]["z"]) == (1, shape[0])
