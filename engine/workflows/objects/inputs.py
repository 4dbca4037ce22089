"""Inputs of object classification: names of their roles, and checks that they fit the project and each other."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np

from ...axes import size_text
from ...errors import InputMismatch, setting
from ...inputs.axes_advice import Needs, advise, advise_channels, needs_of
from ...inputs.images import InputImage
from ...objects.feature_catalogue import check_features, name_values
from ...objects.threshold import check_thresholding
from ...project import ObjectProject, pixel_project
from ...project.thresholding import TWO_LEVELS, ThresholdSettings
from ..pixel import flow as pixel_classification

RAW, ATLAS = "Raw Data", "Atlas"
SEGMENTATION, PREDICTION, LABEL = "Segmentation Image", "Prediction Maps", "Label Image"
SOURCES = (SEGMENTATION, PREDICTION, LABEL)

logger = logging.getLogger("pixelforest.objects")


def pixel_images(images: Mapping[str, InputImage]) -> dict[str, InputImage]:
    """Select the inputs of the pixel stage: the atlas is its prediction mask."""
    roles = {RAW: pixel_project.RAW, ATLAS: pixel_project.MASK}
    return {roles[role]: image for role, image in images.items() if role in roles}


def check_lane(project: ObjectProject, images: Mapping[str, InputImage]) -> None:
    """Refuse a lane that does not fit the project before anything is computed. Raises InputMismatch, ProjectError."""
    check_images(project, images)
    _check_width(project, images[RAW])


def check_images(project: ObjectProject, images: Mapping[str, InputImage]) -> None:
    """Refuse images whose objects cannot be found or measured, whatever the classifier.

    Raises InputMismatch, ProjectError.
    """
    raw = images[RAW]
    for role in project.roles:
        if role in SOURCES and role not in images:
            option = role.lower().replace(" ", "_")
            raise InputMismatch(f"there is no {role} for {raw.path_text}; name it with {setting(option)}")
    for role, image in images.items():
        if image.shape[:4] != raw.shape[:4]:
            raise InputMismatch(
                f"Shapes do not match: {role} ({image.path_text}) has the size {size_text(image.shape)}, {RAW} "
                f"({raw.path_text}) {size_text(raw.shape)}; they must agree except for channels"
            )
    for axis, size in zip("yx", raw.shape[2:4], strict=True):
        if size == 1:
            raise InputMismatch(
                f"{raw.path_text} has one pixel along {axis}; objects can only be measured in images of at least two "
                f"pixels along x and y; {_advise(raw, _needs(project), 'use larger images')}"
            )
    _check_source(project, images)
    if project.pixels is not None:
        pixel_classification.check_lane(project.pixels, pixel_images(images))
    dimensions = dimensions_of(raw)
    check_features(project.features.measured(everything=True), dimensions=dimensions, channels=raw.shape[4])


def _check_source(project: ObjectProject, images: Mapping[str, InputImage]) -> None:
    """Check the prediction maps or the segmentation that the objects are made of."""
    for role in (SEGMENTATION, LABEL):
        image = images.get(role)
        if image is not None and image.shape[4] != 1:
            raise InputMismatch(
                f"{role} {image.path_text} has {image.shape[4]} channels "
                f"({size_text(image.shape)}), but one is needed; "
                f"{_advise(image, Needs(is_flat=image.shape[1] == 1, channels=1), advise_channels(image.shape[4], 1))}"
            )
    labels = images.get(LABEL)
    if labels is not None and labels.dtype.kind not in "iu":
        raise InputMismatch(
            f"{LABEL} {labels.path_text} holds {labels.dtype}, but ids are integers; store it as uint8, uint16 or "
            "uint32, or use a project for segmentations"
        )
    if project.thresholds is not None:
        if project.pixels is not None:
            channels = max(1, len(project.pixels.classifier.label_names))
        else:
            channels = images[PREDICTION].shape[4]
            _warn_of_raw_thresholds(project.thresholds, images[PREDICTION])
        check_thresholding(project.thresholds, images[RAW].shape[1:4], channels)


def _warn_of_raw_thresholds(settings: ThresholdSettings, maps: InputImage) -> None:
    """Warn about integers of unknown range: ilastik thresholds them unscaled; only uint8 counts as 0 to 255."""
    if maps.drange is not None or maps.dtype.kind not in "iu":
        return
    used = [f"{n:g}" for n in ((settings.high, settings.low) if settings.method in TWO_LEVELS else (settings.low,))]
    limits = np.iinfo(maps.dtype)
    logger.warning(
        "%s %s hold %s without a stated range, so the project's threshold%s compared with the stored values themselves "
        "(%d to %d), not with probabilities from 0 to 1; store the maps as float32, or with their range: the attribute "
        "drange in HDF5, N5 and OME-Zarr, which exports have by themselves, as TIFF exports of pixelforest do",
        PREDICTION,
        maps.path_text,
        maps.dtype,
        f"s {' and '.join(used)} are" if len(used) > 1 else f" {used[0]} is",
        limits.min,
        limits.max,
    )


def dimensions_of(raw: InputImage) -> int:
    """Number of spatial dimensions of an image, 2 or 3."""
    return 3 if raw.shape[1] > 1 else 2


def _check_width(project: ObjectProject, raw: InputImage) -> None:
    """Check that the features have as many values as the classifier reads; it depends on channels and dimensions."""
    width = len(name_values(project.features.selected, dimensions=dimensions_of(raw), channels=raw.shape[4]))
    if width != project.classifier.column_count:
        otherwise = f"it needs {RAW} with as many channels and dimensions as the training images"
        raise InputMismatch(
            f"the object classifier was trained on {project.classifier.column_count} values an object, but "
            f"{raw.path_text} ({size_text(raw.shape)}) yields {width}; {_advise(raw, _needs(project), otherwise)}"
        )


def _needs(project: ObjectProject) -> Needs:
    """Depth and channels of the training images."""
    images = [lane.images[RAW] for lane in project.lanes if RAW in lane.images]
    return needs_of(next((image for image in reversed(images) if image.sizes()), None))


def _advise(image: InputImage, needs: Needs, otherwise: str) -> str:
    return advise(
        needs, image.axes, image.file_shape, axes_option=image.axes_option, sources=image.sources, otherwise=otherwise
    )


def id_dtype(images: Mapping[str, InputImage]) -> np.dtype:
    """Type of Object Identities: that of the label image, widened as in ilastik."""
    if LABEL not in images or images[LABEL].dtype == np.uint16:
        return np.dtype(np.uint32)
    return images[LABEL].dtype
