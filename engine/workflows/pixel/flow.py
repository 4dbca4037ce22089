"""Pixel Classification: how its images are checked, and what its results are; see ``pixels.lane`` for the work."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from ....box import Box
from ....kernels.contract import as_voxels
from ...axes import pipeline_axes, size_text
from ...errors import InputMismatch
from ...export.images import ResultInfo
from ...export.tile_sinks import TileDemand, TileSink
from ...inputs.axes_advice import Needs, advise, advise_channels
from ...inputs.images import InputImage
from ...pixels.classify import prepare_classifier
from ...pixels.feature_plan import check_size, plan_features
from ...pixels.lane import classify_pixels, common_region, plan_pixels
from ...pixels.results import LABELS, PROBABILITIES, RESULTS
from ...project import PixelProject
from ...project.pixel_project import MASK, RAW
from ...resources import Resources
from ...tiling.work_plan import WorkPlan


def classify_lane(
    project: PixelProject,
    images: Mapping[str, InputImage],
    exports: Mapping[str, TileSink],
    *,
    resources: Resources,
    on_progress: Callable[[int], None],
    table: None = None,
) -> None:
    """Compute the exports' regions of one lane and write every finished tile into every export.

    images       by role; exports by the name of their result (see pixels/results.py), all of the same region
    on_progress  receives the number of voxels just finished
    table        always None: there are no objects
    """
    classify_pixels(
        project,
        prepare_classifier,
        images,
        exports,
        {LABELS: project},
        is_masked=True,
        resources=resources,
        on_progress=on_progress,
    )


def plan_work(
    project: PixelProject,
    images: Mapping[str, InputImage],
    exports: Mapping[str, TileDemand],
    *,
    has_table: bool,
    resources: Resources,
) -> WorkPlan:
    """Plan the work of ``classify_lane``. Raises its errors about the classifier and the memory."""
    return plan_pixels(project, prepare_classifier, images, exports, resources)


def work_voxels(
    project: PixelProject, images: Mapping[str, InputImage], exports: Mapping[str, TileDemand], *, has_table: bool
) -> int:
    """Total number of voxels that ``classify_lane`` will report."""
    region = common_region(exports.values())
    return Box(region.start[:4], region.stop[:4]).size


def check_lane(project: PixelProject, images: Mapping[str, InputImage]) -> None:
    """Refuse a lane that does not fit the project before anything is computed. Raises InputMismatch."""
    raw, mask = images[RAW], images.get(MASK)
    _check_dimensions(project, raw)
    _check_channels(project, raw)
    check_size(project.features, as_voxels(raw.shape[1:4]), raw.path_text)
    if mask is not None and mask.shape[:4] != raw.shape[:4]:
        raise InputMismatch(
            f"the prediction mask {mask.path_text} has the size {size_text(mask.shape)}, the image {raw.path_text} "
            f"{size_text(raw.shape)}; they must agree except for channels"
        )


def result_infos(project: PixelProject, images: Mapping[str, InputImage]) -> dict[str, ResultInfo]:
    """Describe the results of a lane: name of the result -> its dtype, channels and metadata."""
    return describe_results(project, images[RAW], channels=images[RAW].shape[4])


def describe_results(project: PixelProject, image: InputImage, *, channels: int) -> dict[str, ResultInfo]:
    """Describe the results of a stage that sees an image with this number of channels."""
    plan = plan_features(project.features, channels=channels, depth=image.shape[1])
    classes = max(1, len(project.classifier.label_names))
    return {
        r.name: ResultInfo(
            name=r.name,
            dtype=np.dtype(r.dtype),
            channels=r.channels(classes, plan.width),
            drange=r.drange or image.drange,
            display_mode=r.display_mode,
            is_labels=r.is_labels,
            is_scalar=r.is_scalar,
            is_local=r.kernel is not None,
            channel_names=project.classifier.label_names if r.name == PROBABILITIES else (),
        )
        for r in RESULTS
    }


def _check_dimensions(project: PixelProject, raw: InputImage) -> None:
    """Check the depth: a project trained on volumes takes volumes, one trained on flat images flat ones."""
    needs = _needs(project, raw)
    is_flat = raw.shape[1] == 1
    if needs.is_flat is None or needs.is_flat == is_flat:
        return
    kinds = {True: "2-D images", False: "3-D volumes"}
    advice = _advise(raw, needs, otherwise=f"use a project trained on {kinds[is_flat]}")
    raise InputMismatch(
        f"the project was trained on {kinds[needs.is_flat]}, but {raw.path_text} is one of the {kinds[is_flat]} "
        f"(axes {pipeline_axes(dict(zip('tzyxc', raw.shape, strict=True)))}, size {size_text(raw.shape)}); {advice}"
    )


def _check_channels(project: PixelProject, raw: InputImage) -> None:
    """Check the number of channels: the classifier has a fixed number of columns, the same for each channel."""
    columns = project.classifier.column_count
    plan = plan_features(project.features, channels=raw.shape[4], depth=raw.shape[1])
    if plan.width == columns:
        return
    per_channel = plan.width // raw.shape[4]
    if per_channel and columns % per_channel == 0:
        needed = columns // per_channel
        raise InputMismatch(
            f"All input images must have the same number of channels. {raw.path_text} has {raw.shape[4]} channel(s), "
            f"but the project was trained on {needed}; "
            f"{_advise(raw, _needs(project, raw), otherwise=advise_channels(raw.shape[4], needed))}"
        )
    raise InputMismatch(
        f"the classifier was trained on {columns} feature columns, but {raw.path_text} ({size_text(raw.shape)}) yields "
        f"{plan.width}; 2-D and 3-D images need projects of their own"
    )


def _needs(project: PixelProject, raw: InputImage) -> Needs:
    """Depth and channels that the project needs, by its training images and its classifier."""
    images = [lane.images[RAW] for lane in project.lanes if RAW in lane.images]
    trained = next((image for image in reversed(images) if image.sizes()), None)
    is_flat = None if trained is None else trained.sizes().get("z", 1) == 1
    depth = raw.shape[1] if is_flat is None else 1 if is_flat else 2
    per_channel = plan_features(project.features, channels=1, depth=depth).width
    columns = project.classifier.column_count
    channels = columns // per_channel if per_channel and columns % per_channel == 0 else None
    return Needs("" if trained is None else trained.axes, is_flat, channels)


def _advise(raw: InputImage, needs: Needs, *, otherwise: str) -> str:
    return advise(
        needs, raw.axes, raw.file_shape, axes_option=raw.axes_option, sources=raw.sources, otherwise=otherwise
    )
