"""The protocol that a kind of project fulfils, and its parts of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from ...frozen import frozen
from ..export.images import ResultInfo
from ..export.tables import TableExport, TableSettings
from ..export.tile_sinks import TileDemand, TileSink
from ..inputs.images import InputImage
from ..project import Project, ProjectFile, WorkflowKind
from ..requests import TableRequest
from ..resources import Resources
from ..tiling.work_plan import WorkPlan


@frozen
class ClassView:
    """Results in which the classes of a run can be seen, for reports.

    names, colours  of the classes; a colour is red, green and blue from 0 to 255
    segmentation    result whose values are numbers of classes, from 1
    uncertainty     result for their uncertainty; empty: there is none
    probabilities   result that the two can be computed from, as those of pixels; empty: there is none
    of_objects      True if classes are those of objects, and 0 in the segmentation is background
    """

    names: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...]
    segmentation: str
    uncertainty: str = ""
    of_objects: bool = False
    probabilities: str = ""


class PartEnded(Exception):  # not an error
    """A job has computed its part of the last steps of a frame."""


class Workflow(Protocol):
    """Everything that is particular to some kinds of projects.

    The module ``workflow`` of a folder here, or of a plug-in, provides these functions; the folder itself has
    ``KINDS``, the kinds of projects that it runs. ``project`` is always the value that ``read`` returned, and
    ``images`` maps roles to opened images.

    A workflow whose lanes several processes can compute together also has ``find_division_obstacle(project, results)``,
    which returns the reason why some results cannot be computed like that, or an empty string. Its ``classify_lane``
    takes ``helpers``, processes that compute steps (``objects.shared_frame.Helpers``), and its ``compute_part`` only
    computes the steps of a job, which ``helpers`` keep; they raise PartEnded after the last one.

    A workflow whose results are shown in reports with pictures also has ``view_classes(project, results, has_table)``,
    which returns the ``ClassView`` of a run that exports these results anyway, or None. If it has objects, its
    ``classify_lane`` takes ``observer``, a further receiver of them (``objects.rows.ObjectSink``).
    """

    def read(self, file: ProjectFile, project: Project, kind: WorkflowKind) -> Project:
        """Read a project of one of these kinds.

        Parameters
        ----------
        file
            The open project file.
        project
            The part that all kinds share.
        kind
            Kind that the file states.

        Returns
        -------
        Project
            A value of the workflow's own subclass, with the fields of ``project``.

        Raises
        ------
        ClassifierMissing
            If the project is not trained.
        ProjectError
            If it is damaged.
        """

    def describe(self, file: ProjectFile, kind: WorkflowKind) -> tuple[tuple[str, str], ...]:
        """Return facts for ``pixelforest info`` beyond those of all projects, as (label, text). Raises ProjectError."""

    def explain(self, project: Project) -> Mapping[str, Any]:
        """Return the project's entries in the document of ``pixelforest explain``, as plain values."""

    def result_names(self, project: Project) -> Sequence[str]:
        """Return the names of the results that can be exported, the default first."""

    def resolve_table(self, project: Project, request: TableRequest, *, lane_count: int) -> TableSettings | None:
        """Resolve the table of objects.

        Parameters
        ----------
        project
            The project.
        request
            The table's part of the request.
        lane_count
            Number of lanes of the job; with several, the names of tables are numbered.

        Returns
        -------
        TableSettings or None
            The table to write, if any.

        Raises
        ------
        UsageError
            If a table is requested that the project cannot have.
        ExportError
            If its format or path cannot be used.
        """

    def table_notes(self, project: Project, table: TableSettings) -> Sequence[str]:
        """Return lines about the table for the log."""

    def count_table_columns(self, project: Project, images: Mapping[str, InputImage], settings: TableSettings) -> int:
        """Return the number of columns of a lane's table."""

    def result_infos(self, project: Project, images: Mapping[str, InputImage]) -> Mapping[str, ResultInfo]:
        """Describe every result of a lane, by name."""

    def check_lane(self, project: Project, images: Mapping[str, InputImage]) -> None:
        """Raise InputMismatch if the images do not fit the project or each other."""

    def work_voxels(
        self, project: Project, images: Mapping[str, InputImage], exports: Mapping[str, TileDemand], *, has_table: bool
    ) -> int:
        """Return the total number of voxels that ``classify_lane`` will report."""

    def plan_work(
        self,
        project: Project,
        images: Mapping[str, InputImage],
        exports: Mapping[str, TileDemand],
        *,
        has_table: bool,
        resources: Resources,
    ) -> WorkPlan:
        """Plan the work of ``classify_lane``.

        Parameters
        ----------
        project, resources
            As for ``classify_lane``.
        images
            As for ``classify_lane``; they may be closed.
        exports
            Demands of the exports, by name of the result.
        has_table
            True if a table is written.

        Returns
        -------
        WorkPlan
            Tiles, memory and estimated time.

        Raises
        ------
        MemoryTooSmall, ProjectError
            If ``classify_lane`` would raise them because of the memory or the classifiers.
        """

    def classify_lane(
        self,
        project: Project,
        images: Mapping[str, InputImage],
        exports: Mapping[str, TileSink],
        *,
        resources: Resources,
        on_progress: Callable[[int], None],
        table: TableExport | None = None,
    ) -> None:
        """Compute one lane: write the exports' regions, and start and fill the table.

        Parameters
        ----------
        project
            The project.
        images
            Opened images by role.
        exports
            Receivers of the results by name; the caller finishes them.
        resources
            Backend, threads and memory.
        on_progress
            Receives the number of voxels just finished. An exception that it raises ends the work.
        table
            Table to start and fill, finished by the caller; None: no table.
        """
