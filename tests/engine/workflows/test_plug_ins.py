"""A kind of project that one folder outside of the package brings, run, explained and described by the program."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from support.plug_ins import install, run

KINDS = """
from pixelforest.engine.project import WorkflowKind

KINDS = (WorkflowKind("Bright Pixels", "BrightPixelsWorkflow", ("Raw Data",), "Prediction Export"),)
"""

WORKFLOW = """
from dataclasses import dataclass

import numpy as np

from pixelforest.box import Box
from pixelforest.engine.errors import UsageError
from pixelforest.engine.export.images import ResultInfo
from pixelforest.engine.project import Project
from pixelforest.engine.tiling.work_plan import WorkPlan


@dataclass(frozen=True, eq=False)
class BrightProject(Project):
    limit: int


def read(file, project, kind):
    return BrightProject(**project.shared(), limit=int(file.number("Bright Pixels/limit")))


def describe(file, kind):
    return (("limit", str(int(file.number("Bright Pixels/limit")))),)


def explain(project):
    return {"bright": {"limit": project.limit}}


def result_names(project):
    return ("Bright",)


def resolve_table(project, request, *, lane_count):
    if request.table_filename is not None or request.table_only:
        raise UsageError("bright pixels have no table")


def table_notes(project, table):
    return []


def count_table_columns(project, images, request):
    return 0


def result_infos(project, images):
    return {"Bright": ResultInfo("Bright", np.dtype("uint8"), 1, (0, 1))}


def check_lane(project, images):
    pass


def work_voxels(project, images, exports, *, has_table):
    return exports["Bright"].region.size


def plan_work(project, images, exports, *, has_table, resources):
    return WorkPlan(tiles=1, tile=images["Raw Data"].shape[1:4], halo=(0, 0, 0), memory_bytes=1)


def classify_lane(project, images, exports, *, resources, on_progress, table=None):
    raw, export = images["Raw Data"], exports["Bright"]
    values = raw.read(Box((0,) * 5, raw.shape))[..., :1]
    export.write(export.region, (values > project.limit).astype("uint8"))
    on_progress(export.region.size)
"""


@pytest.fixture
def plug_in(tmp_path: Path) -> Path:
    files = {"bright_pixels/__init__.py": KINDS, "bright_pixels/workflow.py": WORKFLOW}
    return install(tmp_path / "site", "[pixelforest.workflows]\nbright = bright_pixels\n", files)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    path = tmp_path / "bright.ilp"
    with h5py.File(path, "w") as file:
        file["ilastikVersion"] = "1.4.0"
        file["workflowName"] = "Bright Pixels"
        file["Bright Pixels/limit"] = 7
    return path


def test_a_kind_of_project_from_outside_is_run_explained_and_described(
    tmp_path: Path, plug_in: Path, project: Path
) -> None:
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    np.save(tmp_path / "image.npy", image)
    run(plug_in, f"--project={project}", "--input_axes=yx", "--output_format=numpy", tmp_path / "image.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "image_Bright.npy").squeeze(), image > 7)

    explained = run(plug_in, "explain", "--json", f"--project={project}", "--input_axes=yx", tmp_path / "image.npy")
    document = json.loads(explained.stdout)
    assert document["project"]["bright"] == {"limit": 7}
    assert [result["name"] for result in document["lanes"][0]["results"]] == ["Bright"]

    described = run(plug_in, "info", project)
    assert "Bright Pixels" in described.stdout
    assert "limit:           7" in described.stdout


def test_without_its_plug_in_a_kind_of_project_is_refused(project: Path) -> None:
    done = run(None, f"--project={project}", status=1)
    assert "workflow 'Bright Pixels' is not supported" in done.stderr


def test_a_plug_in_that_cannot_be_loaded_is_left_out_with_a_warning(plug_in: Path, project: Path) -> None:
    (plug_in / "bright_pixels" / "__init__.py").write_text("import a_library_that_is_not_there\n")
    done = run(plug_in, f"--project={project}", status=1)
    assert "the plug-in bright (bright_pixels) cannot be loaded: No module named 'a_library_that_is_not_there'" in (
        done.stderr
    )
    assert "workflow 'Bright Pixels' is not supported" in done.stderr
