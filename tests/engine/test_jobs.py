"""From a request to a job: which settings win, what is refused, what is only noted."""

from __future__ import annotations

from pathlib import Path

import pytest

from pixelforest.engine.errors import ExportError, ProjectNotFound, UsageError
from pixelforest.engine.inputs.lanes import arguments_by_role
from pixelforest.engine.jobs import Request, resolve_job
from pixelforest.engine.machine import granted_cpus
from pixelforest.engine.requests import role_key

ROLES = ("Raw Data", "Prediction Mask")
GRAY = Path(__file__).resolve().parent.parent / "golden" / "px2d_gray" / "project.ilp"


def request(**fields: object) -> Request:
    return Request(project=str(GRAY), **fields)  # type: ignore[arg-type]


def test_roles_are_spelled_as_options() -> None:
    assert [role_key(role) for role in (*ROLES, "Half-Size Image")] == [
        "raw_data",
        "prediction_mask",
        "half_size_image",
    ]


def test_inputs_without_a_role_go_to_the_main_one() -> None:
    assert arguments_by_role(Request(inputs=("a.png", "b.png")), ROLES) == {"Raw Data": ("a.png", "b.png")}


def test_inputs_keep_their_roles() -> None:
    asked = Request(inputs_by_role=(("prediction_mask", ("m.png",)), ("raw_data", ("a.png",))))
    assert arguments_by_role(asked, ROLES) == {"Raw Data": ("a.png",), "Prediction Mask": ("m.png",)}


def test_both_kinds_of_inputs_are_refused() -> None:
    asked = Request(inputs=("b.png",), inputs_by_role=(("raw_data", ("a.png",)),))
    with pytest.raises(UsageError, match=r"given with raw_data, others without an option \(b.png\)"):
        arguments_by_role(asked, ROLES)


def test_a_role_of_another_workflow_is_refused() -> None:
    asked = Request(inputs_by_role=(("segmentation_image", ("a.png",)),))
    with pytest.raises(
        UsageError, match="segmentation_image is not an input of this project; its inputs are: raw_data"
    ):
        arguments_by_role(asked, ROLES)


def test_a_job_without_wishes_has_the_defaults() -> None:
    job = resolve_job(request(inputs=("a.png",)))
    assert [dict(lane.arguments) for lane in job.lanes] == [{"Raw Data": "a.png"}]
    assert [settings.source for settings in job.export] == ["Probabilities"]
    assert job.export[0].format.name == "compressed hdf5"
    assert job.device == "auto"
    assert job.threads >= 1
    assert job.memory_bytes > 0
    assert job.notes == ()


def test_what_was_typed_wins_over_the_project(work_folder: Path) -> None:
    job = resolve_job(request(output_format="png sequence", output_filename_format="out/{nickname}_{slice_index}"))
    assert job.export[0].format.name == "png sequence"
    assert job.export[0].base_dir == work_folder


def test_numbers_come_from_the_configuration_file(tmp_path: Path) -> None:
    config = tmp_path / "i.ini"
    config.write_text("[ilastik]\ndebug: true\nsurprise: 1\n[lazyflow]\nthreads: 3\ntotal_ram_mb: 700\n")
    job = resolve_job(request(configfile=str(config)))
    assert (job.threads, job.memory_bytes, job.debug) == (min(3, granted_cpus()), 700 * 2**20, True)
    assert len(job.notes) == 1
    assert "surprise" in job.notes[0]
    assert resolve_job(request(configfile=str(config), threads=1)).threads == 1


def test_the_environment_wins_over_the_configuration_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "i.ini"
    config.write_text("[lazyflow]\nthreads: 3\n")
    monkeypatch.setenv("LAZYFLOW_THREADS", "2")
    assert resolve_job(request(configfile=str(config))).threads == min(2, granted_cpus())


def test_a_project_without_stored_settings_takes_those_of_the_configuration_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    from pixelforest.engine import project, workflows

    read = workflows.read_project
    monkeypatch.setattr(
        workflows, "read_project", lambda path: replace(read(path), export=project.StoredExportSettings())
    )
    config = tmp_path / "i.ini"
    config.write_text("[ilastik]\noutput_format: numpy\noutput_filename_format: {nickname}_out\n")
    settings = resolve_job(request(configfile=str(config))).export[0]
    assert (settings.format.name, settings.filename_format) == ("numpy", "{nickname}_out")


def test_the_projects_path_may_start_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(GRAY.parent))
    monkeypatch.setenv("USERPROFILE", str(GRAY.parent))
    assert resolve_job(Request(project="~/project.ilp")).project.workflow == "Pixel Classification"


def test_a_missing_project() -> None:
    with pytest.raises(ProjectNotFound, match=r"gone\.ilp"):
        resolve_job(Request(project="gone.ilp"))


@pytest.mark.parametrize("option", ["table_filename", "table_only"])
def test_a_table_is_refused_where_there_are_no_objects(option: str) -> None:
    with pytest.raises(UsageError, match=f"{option}: Pixel Classification projects have no objects"):
        resolve_job(request(**{option: "t.csv"}))


@pytest.mark.parametrize(
    "option", ["export_object_prediction_img", "export_object_probability_img", "export_pixel_probability_img"]
)
def test_flags_for_images_of_objects_are_noted(option: str) -> None:
    assert resolve_job(request(**{option: True})).notes == (
        f"{option} has no effect: Pixel Classification projects have no such image",
    )


def test_a_label_to_search_for_needs_the_search() -> None:
    assert resolve_job(request(label_search_value=2)).notes == (
        "label_search_value has no effect without print_labels_by_slice",
    )
    assert resolve_job(request(label_search_value=2, print_labels_by_slice=True)).notes == ()


def test_results_are_found_by_name_in_any_case() -> None:
    job = resolve_job(request(export_source=" uncertainty,Simple segmentation"))
    assert [settings.source for settings in job.export] == ["Uncertainty", "Simple Segmentation"]


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"export_source": "Nothing"}, ExportError),
        ({"output_format": "docx"}, UsageError),
        ({"input_axes": "yxq"}, UsageError),
        ({"input_axes": "yx,yx,yx"}, UsageError),
        ({"cutout_subregion": "everything"}, UsageError),
    ],
)
def test_wishes_that_cannot_be_meant_are_refused_before_an_image_is_opened(
    fields: dict[str, str], kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        resolve_job(request(inputs=("gone.png",), **fields))
