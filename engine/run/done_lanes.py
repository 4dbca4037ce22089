"""Records of the lanes that are done, beside their results, by which a later run skips them (``--resume``).

The folder of a lane's first result has a ledger in ``.pixelforest-resume``. A record counts as long as the files that
it names are as they were left; what was removed or changed since is computed again. Results behind URLs contain their
records.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any

from ..errors import OUTPUT_FILES, ExportError, InputError, as_marked, setting
from ..export.images import ExportPlan
from ..jobs import Job
from ..storage.atomic_write import export_errors
from ..storage.durable import make_durable, sync_folder
from ..storage.ledger import Ledger
from ..storage.object_storage import RemotePath
from ..storage.remote_run import RemoteResult, find_remote_runs
from ..storage.run_folder import find_runs
from ..storage.special_files import is_special
from .check import LaneCheck
from .fingerprint import Fingerprint, describe_differences, fingerprint

FOLDER = ".pixelforest-resume"


class DoneLanes:
    """Records of the lanes of a job. Lanes may end in any thread.

    conflict   error about the first lane that was done with other settings; None: there is none
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._ledgers: dict[Path, Ledger] = {}
        self._records: dict[Path, dict[str, list[dict[str, Any]]]] = {}
        self._runs: dict[Path, dict[str, list[Fingerprint]]] = {}
        self._parts: dict[int, Fingerprint] = {}
        self._lock = Lock()
        self.conflict: ExportError | None = None

    def look_up(self, found: LaneCheck) -> None:
        """Find out what earlier runs have done of a lane. Raises ExportError if no records of it can be kept."""
        _check_places(found)
        parts = self._parts[found.lane.index] = fingerprint(self._job, found)
        if is_remote(found):
            self._look_up_remote(found, parts)
            return
        results = _results(found)
        folder, key = _place(found)
        records = self._records_of(folder).get(key, [])
        states = _states(results)
        present = [record for record in records if states and record.get("files") == states]
        found.is_done = any(record.get("parts") == parts for record in present)
        found.is_begun = any(record.get("parts") == parts and "files" not in record for record in records)
        others = [record["parts"] for record in present if isinstance(record.get("parts"), dict)]
        runs = self._runs_of(folder).get(key, [])
        found.has_run = parts in runs
        if found.is_done or self.conflict is not None:
            return
        if others:
            self._refuse_others(results[0], others[-1], parts)
        for started in runs:
            if started != parts:
                self.conflict = ExportError(
                    f"cannot resume: {results[0]} was begun by another run; these differ: "
                    f"{describe_differences(started, parts)}; pixelforest clean {setting('resumable')} "
                    f"{folder} removes what that run has done, {OUTPUT_FILES} chooses another place"
                )

    def _look_up_remote(self, found: LaneCheck, parts: Fingerprint) -> None:
        first = RemotePath(str(found.files[0]))
        records = [remote_result(plan).record() for plan in found.exports.values()]
        found.is_done = all(record == self._record_of(found) for record in records)
        if found.is_done or self.conflict is not None:
            return
        others = [each["parts"] for each in records if each and isinstance(each.get("parts"), dict)]
        if others and others[0] != parts:
            self._refuse_others(first, others[0], parts)
            return
        key = self.key_of(found)
        for folder, started in find_remote_runs(first):
            other = started.get("parts")
            if started.get("lane") != key or not isinstance(other, dict):
                continue
            found.has_run |= other == parts
            if other != parts:
                self.conflict = ExportError(
                    f"cannot resume: {first} was begun by another run; these differ: "
                    f"{describe_differences(other, parts)}; remove {folder} and {first} to compute it again, "
                    f"{OUTPUT_FILES} chooses another place"
                )

    def _refuse_others(self, result: Path | RemotePath, old: Fingerprint, new: Fingerprint) -> None:
        again = f"without {setting('resume')} everything is computed again"
        if self._job.cluster is not None:  # it implies --resume
            again = "remove it to compute it again"
        self.conflict = ExportError(
            f"cannot resume: {result} is the result of another run; these differ: {describe_differences(old, new)}; "
            f"{again}, {OUTPUT_FILES} chooses another place"
        )

    def fingerprint_of(self, found: LaneCheck) -> Fingerprint:
        """Fingerprint of a lane that was looked up."""
        return self._parts[found.lane.index]

    def key_of(self, found: LaneCheck) -> str:
        """Name of a lane in records beside its first result."""
        return _key(found, str(found.files[0]).rpartition("/")[2]) if is_remote(found) else _place(found)[1]

    def begin(self, found: LaneCheck) -> None:
        """Record that the files of a lane are about to appear. Raises ExportError."""
        if not is_remote(found):
            self._add(found, {})

    def complete(self, found: LaneCheck, *, are_durable: bool = False) -> None:
        """Record that a lane is done, once its files are on disk. Raises ExportError.

        are_durable  True: everything is on disk but the names under which results were put in place
        """
        if is_remote(found):
            make_durable(_table_files(found))
            for plan in found.exports.values():
                remote_result(plan).put_record(self._record_of(found))
            return
        results = _results(found)
        with export_errors(results[0]):
            if are_durable:
                for folder in {result.parent for result in results}:
                    sync_folder(folder)
            else:
                make_durable(results)
        self._add(found, {"files": _states(results)})

    def close(self) -> None:
        """Close the ledgers; may be called twice."""
        for ledger in self._ledgers.values():
            ledger.close()

    def _record_of(self, found: LaneCheck) -> dict[str, Any]:
        """Return the record of a complete lane whose images are behind URLs; its table is a file."""
        states = _states(_table_files(found))
        return {"parts": self._parts[found.lane.index], **({"files": states} if found.table else {})}

    def _add(self, found: LaneCheck, more: Mapping[str, Any]) -> None:
        folder, key = _place(found)
        with self._lock:
            ledger = self._ledgers.setdefault(folder, Ledger(folder / FOLDER))
            with export_errors(ledger.folder):
                ledger.add({"lane": key, "parts": self._parts[found.lane.index], **more})

    def _records_of(self, folder: Path) -> dict[str, list[dict[str, Any]]]:
        if folder not in self._records:
            by_lane: dict[str, list[dict[str, Any]]] = {}
            for record in Ledger(folder / FOLDER).read():
                by_lane.setdefault(str(record.get("lane")), []).append(record)
            self._records[folder] = by_lane
        return self._records[folder]

    def _runs_of(self, folder: Path) -> dict[str, list[Fingerprint]]:
        if folder not in self._runs:
            by_lane: dict[str, list[Fingerprint]] = {}
            for facts in find_runs(folder):
                if isinstance(facts.get("parts"), dict):
                    by_lane.setdefault(str(facts.get("lane")), []).append(facts["parts"])
            self._runs[folder] = by_lane
        return self._runs[folder]


def _results(found: LaneCheck) -> list[Path]:
    """Files and folders of a lane's results; of a container that is a folder, the datasets."""
    images = [place for plan in found.exports.values() for place in result_places(plan)]
    return [*images, *_table_files(found)]


def _table_files(found: LaneCheck) -> list[Path]:
    return [file.absolute() for file in (found.table.files if found.table else ())]


def result_places(plan: ExportPlan) -> list[Path]:
    """Return the absolute paths of the files or folders of a result; in a container that is a folder, its dataset."""
    is_inside = plan.format.container and plan.format.is_folder
    return [Path(file, plan.internal_path if is_inside else "").absolute() for file in plan.files]


def is_remote(found: LaneCheck) -> bool:
    """Return True if the images of a lane are results behind URLs; a table is a file."""
    files = [file for plan in found.exports.values() for file in plan.files]
    return bool(files) and all(isinstance(file, str) for file in files)


def remote_result(plan: ExportPlan, run: str = "") -> RemoteResult:
    """Return a result behind a URL, as the run that makes it sees it. Raises ExportError."""
    try:
        return RemoteResult(str(plan.path), plan.internal_path if plan.format.container else "", run=run)
    except InputError as error:
        raise ExportError(error.render(as_marked)) from None


def _check_places(found: LaneCheck) -> None:
    for file in _table_files(found) if is_remote(found) else found.files:
        if not isinstance(file, Path) or is_special(file):
            raise ExportError(
                f"{setting('resume')} continues runs whose results are files or folders, which {file} is not"
            )


def _place(found: LaneCheck) -> tuple[Path, str]:
    """Folder of the records of a lane, and its key in them."""
    first = Path(found.files[0]).absolute()
    return first.parent, _key(found, first.name)


def _key(found: LaneCheck, name: str) -> str:
    plan = next(iter(found.exports.values()), None)
    return name if plan is None else f"{name}/{plan.internal_path}".rstrip("/")


def _states(results: Iterable[Path]) -> dict[str, list[int]]:
    """Size and time of change of each result that is there; of folders, the time only."""
    states = {}
    for result in results:
        with suppress(OSError):
            status = os.stat(result)
            states[result.name] = [0 if stat.S_ISDIR(status.st_mode) else status.st_size, status.st_mtime_ns]
    return states
