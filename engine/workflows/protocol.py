"""The protocol that a kind of project fulfils, and its parts of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from ..export.images import ExportPlan, ImageExport, ResultInfo, TileDemand
from ..export.tables import TableExport, TableOptions, TableRequest
from ..inputs.images import InputImage
from ..project import Project, ProjectFile, WorkflowKind
from ..resources import Resources
from ..tiling.work_plan import WorkPlan


class Workflow(Protocol):
    """Everything that is particular to some kinds of projects.

    The module ``workflow`` of a folder in this one, or of a plug-in, provides these functions; the folder itself has
    ``KINDS``, the kinds of projects that it runs. ``project`` is always what ``read`` returned.
    """

    def read(self, file: ProjectFile, project: Project, kind: WorkflowKind) -> Project:
        """Read a project of one of these kinds.

        project  the part that all kinds share
        Raises ClassifierMissing if it is not trained, ProjectError if it is damaged.
        """

    def describe(self, file: ProjectFile, kind: WorkflowKind) -> tuple[tuple[str, str], ...]:
        """Facts that ``pixelforest info`` shows beyond those of all projects, as (label, text). Raises ProjectError."""

    def explain(self, project: Project) -> Mapping[str, Any]:
        """Entries of the project in the document of ``pixelforest explain``, as plain values."""

    def result_names(self, project: Project) -> Sequence[str]:
        """Names of the results that can be exported, the default first."""

    def resolve_table(self, project: Project, asked: TableOptions, *, lane_count: int) -> TableRequest | None:
        """The table to write, or None. Raises UsageError for a table that was asked for and does not exist."""

    def table_notes(self, project: Project, table: TableRequest) -> Sequence[str]:
        """Lines about the table for the log."""

    def count_table_columns(self, project: Project, images: Mapping[str, InputImage], request: TableRequest) -> int:
        """Number of columns of a lane's table."""

    def result_infos(self, project: Project, images: Mapping[str, InputImage]) -> Mapping[str, ResultInfo]:
        """Everything that can be exported for a lane, by name."""

    def check_lane(self, project: Project, images: Mapping[str, InputImage]) -> None:
        """Raise InputMismatch if the images do not fit the project or each other."""

    def work_voxels(
        self, project: Project, images: Mapping[str, InputImage], exports: Mapping[str, ExportPlan], *, has_table: bool
    ) -> int:
        """Number of voxels that ``classify_lane`` will report."""

    def plan_work(
        self,
        project: Project,
        images: Mapping[str, InputImage],
        exports: Mapping[str, TileDemand],
        *,
        has_table: bool,
        resources: Resources,
    ) -> WorkPlan:
        """Plan the work of ``classify_lane`` with the same arguments. Raises its errors about memory.

        images   may be closed
        """

    def classify_lane(
        self,
        project: Project,
        images: Mapping[str, InputImage],
        exports: Mapping[str, ImageExport],
        *,
        resources: Resources,
        on_progress: Callable[[int], None],
        table: TableExport | None = None,
    ) -> None:
        """Write the exports' regions; start and fill the table. An exception of ``on_progress`` ends the work."""
