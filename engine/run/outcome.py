"""How the lanes of a job ended, or would end, and the exit status that follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import Spell, UsageError, as_field
from ..messages import describe_error


@dataclass(frozen=True)
class LaneResult:
    """How one lane ended: with files, or with an error.

    name      its main input, as it was given
    files     what was written, or would be; a URL is a text
    device    where it was computed
    warnings  lines about this lane that were logged as warnings
    """

    index: int
    name: str
    files: tuple[Path | str, ...] = ()
    error: Exception | None = None
    device: str | None = None
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class BatchReport:
    """How all lanes of a job ended, in their order.

    skipped      how many were not begun, because one before them failed and the job was to stop then
    is_forecast  True if nothing was computed: the report says how the job would end
    """

    lanes: tuple[LaneResult, ...] = ()
    skipped: int = 0
    is_forecast: bool = False

    @property
    def files(self) -> tuple[Path | str, ...]:
        """Everything that was written."""
        return tuple(file for lane in self.lanes for file in lane.files)

    @property
    def failed(self) -> tuple[LaneResult, ...]:
        return tuple(lane for lane in self.lanes if lane.error is not None)

    @property
    def status(self) -> int:
        """The exit status: 0 all lanes are done, 1 failed, 2 could not be meant, 3 some failed, the others are done."""
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
