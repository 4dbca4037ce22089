"""Objects of one image in parts: ``--blocks`` and ``--finish`` for Object Classification, without a connection."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest
from support.killed_runs import KILLED, State, contents, run_until

from pixelforest import cli
from pixelforest.engine.project.table_settings import PATH
from pixelforest.engine.tiling import blocks
from pixelforest.engine.workflows.objects import shared_frame

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows knows no SIGKILL")
INPUTS = {
    "obj3d_seg": ["--raw_data", "raw.h5/data", "--segmentation_image", "seg.h5/data"],
    "obj2dt_pred_hyst_all": ["--raw_data", "raw.h5/data", "--prediction_maps", "pred.h5/data"],
    "obj2d_label": ["--raw_data", "raw.h5/data", "--label_image", "labels.h5/data"],
}
RESULTS = "Object Identities,Object Predictions,Object Probabilities"


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slabs as in the processes of ``run_until``."""
    monkeypatch.setattr(blocks, "BLOCK_VOXELS", 1 << 13)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Steps that this process computes."""
    steps = Counter[str]()

    def noted(compute: Callable[..., Any]) -> Callable[..., Any]:
        def compute_noted(step: Any, *more: Any) -> Any:
            box = step.slab if isinstance(step, shared_frame.FindStep) else (step.part.box, len(step.part.ids))
            steps[f"{step.key} {box}"] += 1
            return compute(step, *more)

        return compute_noted

    for step in (shared_frame.FindStep, shared_frame.MeasureStep):
        monkeypatch.setattr(step, "compute", noted(step.compute))
    return steps


@pytest.fixture
def place(copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    return lambda folder: monkeypatch.chdir(copy_golden(folder))


def words(folder: str, *more: str, out: str = "out", results: str = RESULTS) -> list[str]:
    argv = ["--project=project.ilp", f"--export_source={results}", "--output_format=numpy", "--device=cpu"]
    argv += [f"--output_filename_format={out}/{{result_type}}", f"--table_filename={out}/t.csv", "--threads=1"]
    return [*argv, *more, *INPUTS[folder]]


def hidden() -> list[str]:
    return sorted(name for name in os.listdir("out") if name.startswith(".") and name != ".pixelforest-resume")


@pytest.mark.sampled(1)
@pytest.mark.parametrize("folder", INPUTS)
def test_parts_in_any_order_make_images_and_table(
    folder: str,
    place: Callable[[str], None],
    computed: Counter[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In every format; nothing is computed twice, and the last process computes no step."""
    place(folder)
    assert cli.main(words(folder, out="alone")) == 0
    assert cli.main(words(folder, "--blocks=3/3")) == 0
    assert cli.main(words(folder, "--blocks=2/3")) == 0
    assert hidden() == [name for name in hidden() if name.endswith(".run")] != []
    capsys.readouterr()
    assert cli.main(words(folder, "--finish")) == 1
    assert "steps are missing; start those of --blocks=I/N again that have not ended" in capsys.readouterr().err
    assert not [name for name in os.listdir("out") if not name.startswith(".")]
    assert cli.main(words(folder, "--blocks=1/3")) == 0
    steps = computed.copy()
    assert {name.split("-")[0] for name in steps} >= {"find", "measure"}
    assert max(steps.values()) == 1
    # Slabs of two planes make giants of all objects of the volume, which share a part.
    assert sum(name.startswith("measure") for name in steps) >= (1 if folder == "obj3d_seg" else 3)
    assert cli.main(words(folder, "--finish")) == 0
    assert computed == steps
    assert contents(Path("out")) == contents(Path("alone"))
    assert len(contents(Path("out"))) == 4
    assert hidden() == []
    for option in ("--blocks=1/3", "--finish", "--resume"):
        assert cli.main(words(folder, option)) == 0
    assert computed == steps


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("place_of_kill", ["storage.step_files:StepFiles.save", "storage.step_files:make_durable"])
def test_a_part_that_was_killed_continues(
    moment: str, place_of_kill: str, place: Callable[[str], None], computed: Counter[str]
) -> None:
    place("obj3d_seg")
    assert cli.main(words("obj3d_seg", out="alone")) == 0
    state = State(place_of_kill, moment, 3)
    status, text = run_until(state, words("obj3d_seg", "--blocks=1/1"), computed=Path("unused"), is_small=True)
    assert status == KILLED, text
    done = 2 if (place_of_kill.endswith("save") and moment == "before") else 3
    assert len(list(Path("out").glob(".*.run/steps/*.npz"))) == done
    assert cli.main(words("obj3d_seg", "--blocks=1/1")) == 0
    assert len(list(Path("out").glob(".*.run/steps/*.npz"))) == computed.total() + done
    assert cli.main(words("obj3d_seg", "--finish")) == 0
    assert contents(Path("out")) == contents(Path("alone"))


@pytest.mark.slow
def test_the_folder_of_a_complete_run_is_removed_later(place: Callable[[str], None]) -> None:
    place("obj2d_label")
    assert cli.main(words("obj2d_label", "--blocks=1/1")) == 0
    state = State("run.done_lanes:DoneLanes.complete", "after", 1)
    assert run_until(state, words("obj2d_label", "--finish"), computed=Path("unused"), is_small=True)[0] == KILLED
    assert len(hidden()) == 1
    assert cli.main(words("obj2d_label", "--resume")) == 0
    assert hidden() == []


def test_a_run_without_parts_computes_what_is_missing(place: Callable[[str], None], computed: Counter[str]) -> None:
    place("obj3d_seg")
    assert cli.main(words("obj3d_seg", out="alone")) == 0
    assert cli.main(words("obj3d_seg", "--blocks=1/2")) == 0
    next(iter(Path("out").glob(".*.run/steps/find*.npz"))).write_bytes(b"damaged")
    assert cli.main(words("obj3d_seg", "--resume")) == 0
    assert contents(Path("out")) == contents(Path("alone"))
    assert sorted(computed.values())[-2:] == [1, 2], "one step was damaged"
    assert hidden() == []


def test_ids_alone_need_no_measuring(place: Callable[[str], None], computed: Counter[str]) -> None:
    place("obj2d_label")
    with h5py.File("project.ilp", "r+") as file:
        del file[PATH]
    argv = [word for word in words("obj2d_label", results="Object Identities") if not word.startswith("--table")]
    for more in (["--output_filename_format=alone/a"], ["--blocks=1/2"], ["--blocks=2/2"], ["--finish"]):
        assert cli.main([*argv, *more]) == 0
    assert {name.split("-")[0] for name in computed} == {"find"}
    assert Path("alone/a.npy").read_bytes() == Path("out/Object Identities.npy").read_bytes()


def test_another_setting_is_refused(place: Callable[[str], None], capsys: pytest.CaptureFixture[str]) -> None:
    place("obj3d_seg")
    assert cli.main(words("obj3d_seg", "--blocks=1/2")) == 0
    assert cli.main(words("obj3d_seg", "--blocks=2/2", "--export_dtype=float64")) == 1
    assert "was begun by another run; these differ: Object Identities: type" in capsys.readouterr().err
