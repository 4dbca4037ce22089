"""Operations on pixels: feature stacks, forests and the results of tiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from .features import FeaturePlan
from .forest import ForestArrays, ForestUse
from .results import ResultPlan, TileResult
from .tile import TileJob, TilePreference, Voxels


class PixelBackend(Protocol):
    """Features and forests on a device. Methods may be called from several threads at once, in any order."""

    def describe(self) -> str:
        """Name the device in one phrase for the log."""
        ...

    def warm(self) -> None:
        """Compile the kernels that do not depend on a project, and cache them for later processes.

        Raises
        ------
        KernelError
            A kernel cannot be compiled or cached.
        """
        ...

    def load_plan(self, plan: FeaturePlan) -> Any:
        """Prepare a feature plan.

        Returns
        -------
        Any
            The plan in the backend's own form, for the other methods and for ``TileJob.plan``.

        Notes
        -----
        Kernels that the plan needs may be compiled in the background from here on.
        """
        ...

    def load_forest(self, forests: Sequence[ForestArrays], *, use: ForestUse) -> Any:
        """Prepare a classifier.

        Parameters
        ----------
        forests
            Stored forests in the order of their names.
        use
            "tiles" for ``tile_results``, "rows" for ``predict_rows``. Kernels of that use are prepared; a forest gives
            the same answers in the other one, after some compilation.

        Returns
        -------
        Any
            The classifier in the backend's own form, for ``TileJob.forest`` and ``predict_rows``.

        Raises
        ------
        ValueError
            The forests are too large for the node layout.
        """
        ...

    def source_halo(self, plan: Any) -> Voxels:
        """Halo along (z, y, x) that the source of a tile must hold around the tile, as far as the image reaches."""
        ...

    def tile_bytes(self, plan: Any, classes: int, tile: Voxels, source: Voxels) -> int:
        """Host memory in bytes that one worker needs for the features and probabilities of a tile.

        Parameters
        ----------
        plan
            From ``load_plan``.
        classes
            Number of classes of the project.
        tile, source
            Sizes along z, y, x of the tile without and with its halo.
        """
        ...

    def preferred_tiles(
        self, plan: Any, results: ResultPlan, image: Voxels, threads: int, *, first: Any = None
    ) -> TilePreference | None:
        """Tile sizes that suit the device.

        Parameters
        ----------
        plan
            From ``load_plan``.
        results
            Results of each tile.
        image
            Size of the image along z, y, x.
        threads
            Number of threads that ask for tiles.
        first
            Plan of the first stage, if the sources of the tiles are StagedSource.

        Returns
        -------
        TilePreference or None
            None if any tiles that suit a CPU will do.
        """
        ...

    def tile_results(self, job: TileJob[Any, Any]) -> tuple[TileResult, ...]:
        """Compute all wanted results of a tile. Waits for the device.

        Parameters
        ----------
        job
            The tile, with plans and forests that this backend has loaded. Nothing of a StagedSource needs to leave the
            device; on the host ``stack_stages`` in ``shared/stages.py`` computes it.

        Returns
        -------
        tuple of TileResult
            In the order of ``job.results.wanted``.

        Raises
        ------
        DeviceOutOfMemory
            Not even a small part of the tile fits.
        DeviceFailed
            The device failed, and no other device may take over.

        Notes
        -----
        Computes the feature stack, float32 class probabilities (0 for all classes where a feature is NaN), and from
        these what ``shared/results.py`` defines, bit for bit.
        """
        ...

    def predict_rows(self, rows: np.ndarray, forest: Any) -> np.ndarray:
        """Predict class probabilities of rows of features on the host. Waits for the device.

        Parameters
        ----------
        rows
            (n, f) float32.
        forest
            From ``load_forest``.

        Returns
        -------
        numpy.ndarray
            (n, k) float32.
        """
        ...


class ClassCounter(Protocol):
    """Part of a PixelBackend that computes in the memory of the host, for reports; others do not have it."""

    def count_classes(self, probabilities: np.ndarray, first: int, every: int) -> tuple[np.ndarray, np.ndarray]:
        """Count the voxels of each most probable class, and the uncertainties of some rows.

        Parameters
        ----------
        probabilities
            (z, y, x, classes) float32 from ``tile_results``, at least two classes.
        first, every
            Uncertainties are those of the rows first, first + every, … of each plane; first < every.

        Returns
        -------
        numpy.ndarray
            (classes + 1,) int64: number of voxels with each value of the result "segmentation".
        numpy.ndarray
            (256,) int64: number of values of the result "uncertainty", rounded to multiples of 1/255.
        """
        ...

    def sample_classes(self, plane: np.ndarray, rows: slice, columns: slice) -> tuple[np.ndarray, np.ndarray]:
        """Compute classes and uncertainties of samples.

        Parameters
        ----------
        plane
            (y, x, classes) float32, as for ``count_classes``.
        rows, columns
            Positions of the samples along y and x; with starts, stops and steps that are not negative.

        Returns
        -------
        numpy.ndarray
            (y, x) uint8, values of the result "segmentation".
        numpy.ndarray
            (y, x) float32, values of the result "uncertainty".
        """
        ...
