"""Reports of several runs joined into one: those of shards, and of runs that continue others."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pixelforest.engine.errors import UsageError

_SCHEMA = "pixelforest/report/1"
# The most telling state of an input wins.
_RANK = {"done": 3, "failed": 2, "not done": 1, "skipped": 0}


def read_report(path: Path) -> Mapping[str, Any]:
    """Read a JSON report. Raises UsageError for another file."""
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read the report {path}: {error.strerror}") from None
    except ValueError:
        raise UsageError(f"{path} is not a report: it is no JSON document; --report_json of a run writes one") from None
    if not isinstance(report, dict) or report.get("schema") != _SCHEMA:
        raise UsageError(f"{path} is not a report of a run, whose schema is {_SCHEMA}; --report_json writes one")
    return report


def join_reports(reports: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Join reports. An input of several runs is taken from the one that computed it; numbers are given anew if needed.

    ``parts`` of the joined report are the reports.
    """
    chosen: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    for report in reports:
        for lane in report["lanes"]:
            key = (report["project"], lane["lane"], *sorted(lane["inputs"].items()))
            if key not in chosen or _weigh(lane) > _weigh(chosen[key]):
                chosen[key] = lane
    lanes = sorted(chosen.values(), key=lambda lane: lane["lane"])
    if len({lane["lane"] for lane in lanes}) < len(lanes):
        lanes = [{**lane, "lane": number} for number, lane in enumerate(lanes, 1)]
    is_done = all(lane["state"] in ("done", "skipped") for lane in lanes)
    errors = dict.fromkeys(report["error"] for report in reports if report["error"])
    projects = dict.fromkeys(report["project"] for report in reports if report["project"])
    return {
        "version": reports[-1]["version"],
        "error": None if is_done or not errors else "; ".join(errors),
        "project": ", ".join(projects) or None,
        "seconds": sum(report["seconds"] for report in reports),
        "threads": None,
        "shard": None,
        "lanes": lanes,
        "parts": list(reports),
    }


def _weigh(lane: Mapping[str, Any]) -> tuple[int, bool]:
    return _RANK.get(lane["state"], 0), bool(lane.get("sample"))
