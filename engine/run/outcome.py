"""Outcomes of the lanes of a job, real or predicted, and the resulting exit status."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ...frozen import frozen
from ..errors import Spell, UsageError, as_field
from ..messages import describe_error

if TYPE_CHECKING:  # few runs are sampled
    from ..sampling.lane import LaneSample


@frozen
class LaneResult:
    """Outcome of one lane: files or an error.

    name      its main input, as it was given
    files     files that were written, or would be; a URL is a str
    device    device it was computed on
    is_skipped  True if an earlier run has written the files
    warnings  lines about this lane that were logged as warnings
    sample    facts and pictures for a report; None: none were gathered
    """

    index: int
    name: str
    files: tuple[Path | str, ...] = ()
    error: Exception | None = None
    device: str | None = None
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()
    is_skipped: bool = False
    sample: LaneSample | None = None


@frozen
class BatchReport:
    """Outcomes of all lanes of a job.

    Parameters
    ----------
    lanes
        Outcome of each lane, in order.
    skipped
        Number of lanes not started because an earlier one failed and the job stops at the first error.
    is_forecast
        True if nothing was computed and the outcomes are predictions.
    """

    lanes: tuple[LaneResult, ...] = ()
    skipped: int = 0
    is_forecast: bool = False

    @property
    def files(self) -> tuple[Path | str, ...]:
        """Paths and URLs of all written files."""
        return tuple(file for lane in self.lanes if not lane.is_skipped for file in lane.files)

    @property
    def skipped_files(self) -> tuple[Path | str, ...]:
        """Paths of the files that an earlier run has written."""
        return tuple(file for lane in self.lanes if lane.is_skipped for file in lane.files)

    @property
    def failed(self) -> tuple[LaneResult, ...]:
        return tuple(lane for lane in self.lanes if lane.error is not None)

    @property
    def status(self) -> int:
        """Exit status: 0 all lanes are complete, 1 failed, 2 usage error, 3 some failed and the others are complete."""
        if not self.failed:
            return 0
        if self.skipped == 0 and len(self.failed) < len(self.lanes):
            return 3
        return 2 if all(isinstance(lane.error, UsageError) for lane in self.failed) else 1

    @property
    def message(self) -> str:
        """The last word on a run that did not go well; empty if it did."""
        return self.describe(as_field)

    def describe(self, spell: Spell) -> str:
        """Return the same with settings spelled for the reader."""
        if not self.failed:
            return ""
        first = self.failed[0]
        if len(self.lanes) + self.skipped == 1 and first.error is not None:
            return describe_error(first.error, spell)
        done = len(self.lanes) - len(self.failed)
        failed, are, were = (
            ("would fail", "would be", "would not be") if self.is_forecast else ("failed", "are", "were not")
        )
        rest = f", {self.skipped} {were} begun" if self.skipped else ""
        names = ", ".join(lane.name for lane in self.failed[:3]) + (", …" if len(self.failed) > 3 else "")
        return (
            f"{len(self.failed)} of {len(self.lanes) + self.skipped} inputs {failed} ({names}); {done} {are} done{rest}"
        )
