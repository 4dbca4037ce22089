"""Autocontext: how its images are checked, and what its results are; see ``pixels.lane`` for the work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from ....kernels.contract import as_voxels
from ...axes import size_text
from ...errors import InputMismatch
from ...export.images import ResultInfo
from ...export.tile_sinks import TileDemand, TileSink
from ...inputs.images import InputImage
from ...pixels.autocontext import ALL_STAGES, INPUT, LABELS_OF_STAGE, OF_STAGE, prepare_context, warn_of_inputs
from ...pixels.feature_plan import check_size, plan_features
from ...pixels.lane import classify_pixels, plan_pixels
from ...pixels.results import PROBABILITIES
from ...project.autocontext_project import STAGES, AutocontextProject
from ...project.pixel_project import RAW
from ...resources import Resources
from ...tiling.work_plan import WorkPlan
from ..pixel import flow as pixel_classification
from ..pixel.flow import work_voxels

__all__ = ["check_lane", "classify_lane", "plan_work", "result_infos", "work_voxels"]


def classify_lane(
    project: AutocontextProject,
    images: Mapping[str, InputImage],
    exports: Mapping[str, TileSink],
    *,
    resources: Resources,
    on_progress: Callable[[int], None],
    table: None = None,
) -> None:
    """Compute the exports' regions of one lane; see ``pixel.flow.classify_lane``."""
    warn_of_inputs(images)
    classify_pixels(
        project,
        prepare_context,
        images,
        exports,
        {name: project.stages[stage - 1] for name, stage in LABELS_OF_STAGE.items()},
        is_masked=False,
        resources=resources,
        on_progress=on_progress,
    )


def plan_work(
    project: AutocontextProject,
    images: Mapping[str, InputImage],
    exports: Mapping[str, TileDemand],
    *,
    has_table: bool,
    resources: Resources,
) -> WorkPlan:
    """Plan the work of ``classify_lane``. Raises its errors about the classifiers and the memory."""
    return plan_pixels(project, prepare_context, images, exports, resources)


def check_lane(project: AutocontextProject, images: Mapping[str, InputImage]) -> None:
    """Refuse a lane that does not fit the project before anything is computed. Raises InputMismatch."""
    raw = images[RAW]
    first, second = project.stages
    pixel_classification.check_lane(first, {RAW: raw})
    check_size(second.features, as_voxels(raw.shape[1:4]), raw.path_text)
    channels = _channels(project, raw)
    plan = plan_features(second.features, channels=channels[1], depth=raw.shape[1])
    if plan.width != second.classifier.column_count:
        raise InputMismatch(
            f"stage 2 was trained on {second.classifier.column_count} feature columns, but {raw.path_text} "
            f"({size_text(raw.shape)}) with the {channels[1] - channels[0]} classes of stage 1 yields {plan.width}; "
            "train both stages again in ilastik and save"
        )


def result_infos(project: AutocontextProject, images: Mapping[str, InputImage]) -> dict[str, ResultInfo]:
    """Describe the results of a lane: name of the result -> its dtype, channels and metadata."""
    raw = images[RAW]
    of_stage = {
        stage: pixel_classification.describe_results(project.stages[stage - 1], raw, channels=channels)
        for stage, channels in zip(STAGES, _channels(project, raw), strict=True)
    }
    own = ResultInfo(
        name=INPUT,
        dtype=raw.dtype,
        channels=raw.shape[4],
        drange=raw.drange,
        display_mode="default",
        is_labels=False,
        is_local=True,
    )
    infos = {
        name: replace(own if result is None else of_stage[stage][result.name], name=name)
        for name, (stage, result) in OF_STAGE.items()
    }
    all_channels = sum(of_stage[stage][PROBABILITIES].channels for stage in STAGES)
    names = tuple(name for stage in project.stages for name in stage.classifier.label_names)
    infos[ALL_STAGES] = replace(of_stage[1][PROBABILITIES], name=ALL_STAGES, channels=all_channels, channel_names=names)
    return infos


def _channels(project: AutocontextProject, raw: InputImage) -> tuple[int, int]:
    """Channels that each stage sees."""
    channels = raw.shape[4]
    return channels, channels + max(1, len(project.stages[0].classifier.label_names))
