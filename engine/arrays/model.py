"""A project loaded once, and its predictions for arrays."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from ...box import Box
from ...kernels.contract import KernelError, Voxels
from ..axes import box_from_canonical
from ..backends import open_backend
from ..errors import BackendFailed, UsageError, setting
from ..export.tables import TableExport
from ..inputs.images import InputImage
from ..machine import choose_memory, choose_threads, parse_size
from ..project import Project, ProjectSummary
from ..resources import Resources
from ..workflows import describe_project, load_workflow, read_project
from ..workflows.protocol import Workflow
from .arguments import name_roles, naming_arguments
from .images import ArrayLane, check_places, open_lane
from .kinds import is_dask_task
from .results import (
    ArraySink,
    ResultPlan,
    check_lazy,
    check_targets,
    choose_names,
    choose_region,
    make_targets,
    plan_result,
)

if TYPE_CHECKING:
    from .objects import Objects

_OBJECT_RESULTS = ("Object Identities", "Object Predictions", "Object Probabilities")


def load(
    project: str | Path, *, device: str = "auto", threads: int | None = None, memory: int | str | None = None
) -> Model:
    """Load a trained project.

    Parameters
    ----------
    project
        The .ilp file. It is read once and closed again.
    device
        ``auto``, ``cpu``, ``cuda`` or ``cuda:0,1``, as ``--device``.
    threads
        Number of threads of a call; None: as many as the machine grants, and one in a task of a Dask cluster.
    memory
        Memory that a call may use, in bytes or as a text such as ``"8G"``; None: most of what is free.

    Returns
    -------
    Model
        The project, ready for images.

    Raises
    ------
    ProjectNotFound, ClassifierMissing, ProjectError
        If the project cannot be used.
    UsageError
        For an invalid number of threads or amount of memory.

    Examples
    --------
    >>> import pixelforest as pf
    >>> model = pf.load("MyProject.ilp", threads=2)
    >>> model.results[:2]
    ('Probabilities', 'Simple Segmentation')
    """
    with naming_arguments():
        return Model(read_project(Path(project).expanduser()), device=device, threads=threads, memory=memory)


def _ignore(voxels: int) -> None:
    """Take progress that nobody watches."""


class _Share:
    """Counter of finished voxels that reports their share of the total."""

    def __init__(self, total: int, report: Callable[[float], object]) -> None:
        self._total, self._report = total, report
        self._done, self._lock = 0, Lock()

    def add(self, voxels: int) -> None:
        with self._lock:
            self._done += voxels
            share = min(1.0, self._done / self._total)
        self._report(share)


class Model:
    """A trained project that predicts arrays. Made by ``load``.

    Threads may share one. It can be pickled, with its project, and sent to other processes, forked ones included;
    each opens the device for itself.

    Attributes
    ----------
    project
        The project.
    """

    def __init__(self, project: Project, *, device: str, threads: int | None, memory: int | str | None) -> None:
        self.project = project
        self._device, self._threads, self._is_given = device, choose_threads(threads), threads is not None
        self._memory_bytes = choose_memory(_parse_memory(memory))
        self._opened: tuple[tuple[int, int], Resources] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {
            "project": self.project,
            "_device": self._device,
            "_threads": self._threads,
            "_is_given": self._is_given,
            "_memory_bytes": self._memory_bytes,
            "_opened": None,
        }

    def __repr__(self) -> str:
        return f"<Model of the {self.project.workflow} project {self.project.path}>"

    @property
    def results(self) -> tuple[str, ...]:
        """Names of the results, the default first."""
        return tuple(self._workflow.result_names(self.project))

    @property
    def device(self) -> str:
        """Device that computes; it is opened to find out."""
        with naming_arguments():
            return self._resources.backend.describe()

    @property
    def info(self) -> ProjectSummary:
        """Everything that ``pixelforest info`` shows; the file is read again."""
        return describe_project(self.project.path)

    def predict(
        self,
        image: Any,
        *,
        axes: str | None = None,
        mask: Any = None,
        results: Any = None,
        dtype: Any = None,
        region: Any = None,
        out: Any = None,
        segmentation: Any = None,
        prediction: Any = None,
        labels: Any = None,
        atlas: Any = None,
        on_progress: Callable[[float], object] | None = None,
    ) -> Any:
        """Compute results of an image.

        Parameters
        ----------
        image
            Anything with ``shape``, ``dtype`` and slices: an array of NumPy, xarray or Dask, a memory map, or a dataset
            of h5py, Zarr or TensorStore, which is read in tiles and may be larger than memory. For Pixel Classification
            and Autocontext also an array in the memory of a GPU, such as CuPy's, with a model on this GPU.
        axes
            A letter out of t, z, y, x, c for each axis of the image. None: the dimensions of an xarray.DataArray, else
            the axes of the training image, where axes of length 1 make no difference.
        mask
            Prediction mask: voxels where it is 0 get probability 0. It has the size of the image, with or without
            channels, as all further inputs.
        results
            Name of a result, in any case, or a sequence of names. None: the first one of ``self.results``.
        dtype
            Type that values are converted to, as by ``--export_dtype``. None: the result's own.
        region
            Slices of the image, one for each of its axes: the part that is computed, with the values that it has in the
            whole. No more than this part and its halo is read, unless a result depends on the whole image. None: all.
        out
            Array that the result is written to, or a tuple of one for each of several: anything with ``__setitem__``.
            Chunks and shards of h5py, Zarr and TensorStore are written as wholes.
        segmentation, prediction, labels, atlas
            Further inputs of projects that classify objects.
        on_progress
            Called with the share that is done, from 0 to 1, as the work proceeds, from any thread. An exception that it
            raises ends the call. Not called for arrays of Dask without ``out``, nor for those in the memory of a GPU.

        Returns
        -------
        array, or tuple of arrays for a sequence of names
            With the axes of the image. Results with channels have them along c, last if the image has no c; results of
            one value per voxel have no c. DataArrays have the image's coordinates and attributes, and names of classes
            along c. For an array of Dask the results are computed when they are needed, block by block, and do not
            depend on the blocks. For an array in the memory of a GPU the results are arrays of CuPy on the
            same GPU; nothing is copied to the host. With ``out``: those arrays. Everything else is a NumPy array.

        Raises
        ------
        InputMismatch
            If an array does not fit the project or the image.
        UsageError, ExportError
            For unknown names, types and arguments.
        MemoryTooSmall
            If the results or the smallest tiles do not fit the memory.
        BackendUnavailable, BackendFailed
            If the device cannot be used.

        Examples
        --------
        >>> p = model.predict(image, axes="yx")
        >>> p.shape == (*image.shape, 2), p.dtype
        (True, dtype('float32'))
        >>> seg, unc = model.predict(image, results=("Simple Segmentation", "Uncertainty"), mask=image > 20)
        >>> seg.shape == image.shape
        True
        """
        with naming_arguments():
            lane = self._open(
                axes=axes, image=image, mask=mask, segmentation=segmentation, prediction=prediction, labels=labels,
                atlas=atlas,
            )  # fmt: skip
            names, is_single = choose_names(results, self.results)
            plans = self._plan(lane, names, dtype, None if region is None else choose_region(region, lane.image))
            if out is not None:
                out = check_targets(out, list(plans.values()), is_single=is_single)
            check_places(lane, out or ())
            if lane.given[lane.main].is_on_device:
                if region is not None:
                    raise UsageError("region is for images on the host; take a part of the result")
                from .on_device import predict_on_device

                found = predict_on_device(self.project, lane, plans, out or (), self._resources)
            elif lane.given[lane.main].is_dask and out is None:
                from .lazy import predict_lazily

                check_lazy(plan.info for plan in plans.values())
                whole = self._plan(lane, names, dtype)
                parts = [box_from_canonical(plan.region, plan.axes).slices() for plan in plans.values()]
                found = [each[part] for each, part in zip(predict_lazily(self, lane, whole), parts, strict=True)]
            elif out is None:
                found = list(make_targets(list(plans.values()), self._memory_bytes))
                self._compute(lane.images, plans, found, on_progress=on_progress)
            else:
                found = out
                self._compute(lane.images, plans, found, on_progress=on_progress)
            wrapped = found if out is not None else self._wrap(lane, plans, found)
            return wrapped[0] if is_single else tuple(wrapped)

    def predict_objects(
        self,
        image: Any,
        *,
        axes: str | None = None,
        segmentation: Any = None,
        prediction: Any = None,
        labels: Any = None,
        atlas: Any = None,
        out: Any = None,
        on_progress: Callable[[float], object] | None = None,
    ) -> Objects:
        """Find, measure and classify the objects of an image.

        Parameters
        ----------
        image, axes
            As for ``predict``. An array of Dask is computed at once, a part at a time.
        segmentation, prediction, labels
            What the objects are made of, as the project requires: a segmentation, prediction maps, or a label image.
            Projects with a pixel stage need none.
        atlas
            Image whose values at the objects' centres become a column of the table.
        out
            Tuple of three arrays that ids, classes and probabilities are written to, as for ``predict``.
        on_progress
            As for ``predict``.

        Returns
        -------
        Objects
            Images of ids, classes and probabilities, and the table. With ``out`` the images are those arrays, else
            NumPy arrays, or DataArrays if the image is one. ``predict`` computes one of them alone.

        Raises
        ------
        UsageError
            If the project does not classify objects.
        InputMismatch, MemoryTooSmall, BackendUnavailable, BackendFailed
            As for ``predict``.

        Examples
        --------
        >>> objects = model.predict_objects(image)
        >>> objects.labels.shape == image.shape
        True
        """
        from .objects import Objects, TableInMemory

        with naming_arguments():
            if not set(_OBJECT_RESULTS) <= set(self.results):
                raise UsageError(
                    f"this project ({self.project.workflow}) does not classify objects; use predict, which computes "
                    f"{', '.join(self.results)}"
                )
            lane = self._open(
                axes=axes, image=image, segmentation=segmentation, prediction=prediction, labels=labels, atlas=atlas
            )
            plans = self._plan(lane, _OBJECT_RESULTS, None)
            if out is not None:
                out = check_targets(out, list(plans.values()), is_single=False)
            check_places(lane, out or ())
            if lane.given[lane.main].is_on_device:
                from .on_device import check_on_device

                check_on_device(self.project, lane, plans, self._resources)
            targets = out or make_targets(list(plans.values()), self._memory_bytes)
            table = TableInMemory()
            self._compute(lane.images, plans, targets, table, on_progress=on_progress)
            ids, predictions, probabilities = targets if out is not None else self._wrap(lane, plans, targets)
            return Objects(ids, predictions, probabilities, table.table)

    def prepare(
        self, image: Any, *, axes: str | None = None, results: Any = None, **inputs: Any
    ) -> tuple[InputImage, dict[str, ResultPlan]]:
        """Return what ``predict`` with these arguments would read and make, by name of the result; nothing is read.

        Parameters
        ----------
        image, axes, results
            As for ``predict``.
        **inputs
            Further inputs, as for ``predict``.

        Raises
        ------
        InputMismatch, UsageError, ExportError
            As ``predict`` would.
        """
        with naming_arguments():
            lane = self._open(axes=axes, image=image, **inputs)
            return lane.image, self._plan(lane, choose_names(results, self.results)[0], None)

    @cached_property
    def _workflow(self) -> Workflow:
        return load_workflow(self.project.workflow)

    @property
    def _resources(self) -> Resources:
        """Device, threads and memory; opened once in every process."""
        opened, threads = self._opened, self._threads
        if not self._is_given and is_dask_task():  # its worker computes several at a time
            threads = 1
        here = os.getpid(), threads
        if opened is None or opened[0] != here:
            backend = open_backend(self._device, threads=threads)
            # Two threads may both open it; either one is good.
            opened = self._opened = here, Resources(backend, threads, self._memory_bytes)
        return opened[1]

    def _open(self, *, axes: str | None, **values: Any) -> ArrayLane:
        lane = open_lane(self.project, name_roles(values, self.project.roles), axes)
        self._workflow.check_lane(self.project, lane.images)
        return lane

    def _plan(
        self, lane: ArrayLane, names: tuple[str, ...], dtype: Any, region: Box | None = None
    ) -> dict[str, ResultPlan]:
        infos = self._workflow.result_infos(self.project, lane.images)
        plans = {name: plan_result(infos[name], lane.image, dtype) for name in names}
        return plans if region is None else {name: plan.within(region) for name, plan in plans.items()}

    def _wrap(self, lane: ArrayLane, plans: Mapping[str, ResultPlan], found: list[Any]) -> list[Any]:
        given, axes = lane.given[lane.main], lane.image.axes
        return [
            given.wrap(each, plan.axes, axes, plan.info, plan.region)
            for each, plan in zip(found, plans.values(), strict=True)
        ]

    def _compute(
        self,
        images: Mapping[str, InputImage],
        plans: Mapping[str, ResultPlan],
        targets: Sequence[Any],
        table: TableExport | None = None,
        *,
        on_progress: Callable[[float], object] | None,
    ) -> None:
        sinks = {name: ArraySink(plan, target) for (name, plan), target in zip(plans.items(), targets, strict=True)}
        watch = _ignore
        if on_progress is not None:
            total = self._workflow.work_voxels(self.project, images, sinks, has_table=table is not None)
            watch = _Share(total, on_progress).add
        self._classify(images, sinks, self._resources, table, watch)

    def find_halo(self, images: Mapping[str, InputImage], plans: Mapping[str, ResultPlan]) -> Voxels:
        """Halo of results along z, y, x."""
        demands = {name: ArraySink(plan, None) for name, plan in plans.items()}
        return self._workflow.plan_work(self.project, images, demands, has_table=False, resources=self._resources).halo

    def compute_block(self, images: Mapping[str, InputImage], sinks: Mapping[str, ArraySink]) -> None:
        """Compute a part of an image on the calling thread, in this thread's share of the memory."""
        with naming_arguments():
            self._classify(images, sinks, self._resources.share(self._threads))

    def _classify(
        self,
        images: Mapping[str, InputImage],
        sinks: Mapping[str, ArraySink],
        resources: Resources,
        table: TableExport | None = None,
        on_progress: Callable[[int], None] = _ignore,
    ) -> None:
        """Compute results into sinks. Raises BackendFailed if the device fails."""
        try:
            with resources.backend.restoring():
                self._workflow.classify_lane(
                    self.project, images, sinks, resources=resources, on_progress=on_progress, table=table
                )
        except KernelError as error:
            text = f"{resources.backend.describe()}: {error}; {setting('device', 'cpu')} computes the same without it"
            raise BackendFailed(text) from error
        for sink in sinks.values():
            sink.finish()


def _parse_memory(memory: int | str | None) -> int | None:
    if not isinstance(memory, str):
        return memory
    try:
        return parse_size(memory)
    except ValueError as error:
        raise UsageError(f"{setting('memory')}: {error}") from None
