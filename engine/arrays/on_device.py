"""Arrays in the memory of a GPU: computed there, and nothing of them is copied to the host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

from ...box import Box
from ...kernels.contract import DeviceUnavailable, KernelError, as_voxels
from ...kernels.contract.arrays import ArrayBackend
from ..axes import to_canonical
from ..errors import BackendFailed, InputMismatch, UsageError, setting
from ..pixels.autocontext import INPUTS, ContextClassifier, prepare_context, warn_of_inputs
from ..pixels.classify import PixelClassifier, RawKind, ResultRequest, prepare_classifier
from ..project import PixelProject, Project
from ..project.autocontext_project import KIND as AUTOCONTEXT
from ..project.autocontext_project import AutocontextProject
from ..project.pixel_project import MASK, NAME
from ..resources import Resources
from ..tiling.halo import source_box
from ..tiling.stream import stream_tiles
from .images import ArrayLane
from .kinds import name_kind
from .results import ResultPlan

DeviceClassifier = PixelClassifier | ContextClassifier


def check_on_device(project: Project, lane: ArrayLane, plans: Mapping[str, ResultPlan], resources: Resources) -> None:
    """Check that the results of an image in the memory of a device can be computed there.

    Raises InputMismatch if the backend, the project or a result needs the host, UsageError for results of another type
    than their own.
    """
    main, backend = lane.given[lane.main], resources.backend
    what = f"{main.argument} ({name_kind(main.data)}) is in the memory of a device"
    if backend.arrays is None:
        raise InputMismatch(
            f"{what}, but the model computes on {backend.describe()}; load it with {setting('device')}='cuda' on a "
            "machine where that works, or copy the image to the host, such as with cupy.asnumpy"
        )
    if project.workflow not in (NAME, AUTOCONTEXT.name):
        raise InputMismatch(
            f"{what}, but {project.workflow} measures objects on the host; copy the image to it, such as with "
            "cupy.asnumpy"
        )
    for plan in plans.values():
        if plan.info.name in INPUTS:
            raise InputMismatch(f"{what}, and {plan.info.name} is this image itself")
        if not plan.info.is_local:
            raise InputMismatch(f"{what}, but {plan.info.name} is stored in the project; give an image on the host")
        if not plan.conversion.is_identity:
            raise UsageError(
                f"{setting('export_dtype')}={plan.dtype} is for images on the host; convert the result with astype"
            )


def predict_on_device(
    project: Project, lane: ArrayLane, plans: Mapping[str, ResultPlan], out: Sequence[Any], resources: Resources
) -> list[Any]:
    """Compute results of arrays in the memory of a device.

    Parameters
    ----------
    project
        The project.
    lane
        Inputs, all of them on the device.
    plans
        Plans of the results by name.
    out
        Arrays on the device for the results; none: they are made.
    resources
        Backend and threads.

    Returns
    -------
    list
        The results, in the order of the plans, on the device of the image.

    Raises
    ------
    InputMismatch, UsageError
        As ``check_on_device``, and for arrays on different devices.
    BackendFailed
        If the device fails.
    """
    check_on_device(project, lane, plans, resources)
    backend = resources.backend
    assert backend.arrays is not None
    try:
        with backend.restoring():
            return _compute(project, lane, plans, out, backend.arrays, resources)
    except DeviceUnavailable as error:
        raise InputMismatch(f"{lane.given[lane.main].argument}: {error}") from None
    except KernelError as error:
        raise BackendFailed(f"{backend.describe()}: {error}") from error


def _compute(
    project: Project,
    lane: ArrayLane,
    plans: Mapping[str, ResultPlan],
    out: Sequence[Any],
    arrays: ArrayBackend,
    resources: Resources,
) -> list[Any]:
    image, given = lane.image, lane.given
    adopted = arrays.adopt([given[lane.main].data, *(given[role].data for role in (MASK,) if role in given), *out])
    source = to_canonical(adopted[0], image.axes)
    mask = to_canonical(adopted[1], lane.images[MASK].axes) if MASK in given else None
    kind = RawKind.of(image.shape, image.dtype)
    classifier: DeviceClassifier
    if isinstance(project, AutocontextProject):
        warn_of_inputs(lane.images)
        mask, classifier = None, prepare_context(project, resources.backend, kind)
    else:
        assert isinstance(project, PixelProject)
        classifier = prepare_classifier(project, resources.backend, kind)
    made = adopted[-len(out) :] if out else [arrays.empty(p.shape, p.dtype, adopted[0]) for p in plans.values()]
    targets = {name: to_canonical(each, plan.axes) for (name, plan), each in zip(plans.items(), made, strict=True)}

    def write(tile: Box, nothing: None) -> None:
        around = source_box(tile, (0, *classifier.halo, 0), image.shape)
        here = Box(tile.start[:4], tile.stop[:4]).slices()
        classifier.write_results(
            Box(tile.start[1:4], tile.stop[1:4]),
            source[around.slices()][0],
            as_voxels(around.start[1:4]),
            None if mask is None else mask[here][0],
            {name: target[here][0] for name, target in targets.items()},
        )

    tiles, threads = _plan_tiles(classifier, image.shape, list(plans), resources.threads)
    stream_tiles(tiles, lambda tile: None, write, threads=threads)
    return list(out) or made


def _plan_tiles(
    classifier: DeviceClassifier, shape: Sequence[int], names: Sequence[str], threads: int
) -> tuple[list[Box], int]:
    """Plan tiles (t, z, y, x, c) of one time point, of about equal sizes, and the number of threads for them."""
    preference = classifier.preferred_tiles(dict.fromkeys(names, ResultRequest()), threads)
    if preference is None:
        return list(Box.whole(shape).split((1, *shape[1:]))), 1
    counts = [ceil(n / most) for n, most in zip(shape[1:4], preference.largest, strict=True)]
    sizes = [ceil(n / count) for n, count in zip(shape[1:4], counts, strict=True)]
    return list(Box.whole(shape).split((1, *sizes, shape[4]))), preference.at_once
