"""Properties of every command, whatever its files are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from tests.fuzz.forks import MAX_GROWTH_BYTES, Ending

STATUSES = (0, 1, 2, 3)
_SURPRISES = re.compile(r"Traceback \(most recent call last\)|\bunexpected [A-Z]\w*(?:Error|Exception|Warning)\b")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_LAST_WORD = "pixelforest: error: "


def judge(explained: Ending, done: Ending) -> list[str]:
    """Defects of an explanation and of the run that followed it, a line each."""
    return [
        *(f"explain {line}" for line in _judge_one(explained)),
        *(f"run {line}" for line in _judge_one(done)),
        *_compare(explained, done),
    ]


def _judge_one(ending: Ending) -> Iterator[str]:
    if ending.is_hung:
        yield f"took more than {ending.seconds:.0f} s"
    if ending.growth_bytes > MAX_GROWTH_BYTES:
        yield f"grew by {ending.growth_bytes >> 20} MiB"
    if ending.status not in STATUSES and not ending.is_hung:
        yield f"ended with status {ending.status}"
    surprise = _SURPRISES.search(ending.stderr)
    if surprise:
        yield f"says {surprise[0]}"
    control = _CONTROL.search(ending.stdout + ending.stderr)
    if control:
        yield f"prints the control character {control[0]!a}"
    if ending.status in (1, 2) and _LAST_WORD not in ending.stderr:
        yield f"failed without a line {_LAST_WORD!r}"
    if sum(line.startswith(_LAST_WORD) for line in ending.stderr.splitlines()) > 1:
        yield "has several last words"


def _compare(explained: Ending, done: Ending) -> Iterator[str]:
    """An explanation foretells the status, except for what it says it has not looked at."""
    if explained.status not in STATUSES or done.status not in STATUSES or explained.status == done.status:
        return
    if explained.status in (0, 3) and _unchecked(explained.stdout) and done.status in (1, 3):
        return
    last = done.stderr.strip().splitlines()[-1:] or [""]
    yield f"explain said {explained.status}, the run {done.status}: {last[0][:300]}"


def _unchecked(document: str) -> list[str]:
    try:
        lanes = json.loads(document)["lanes"]
    except (ValueError, KeyError, TypeError):
        return []
    return [text for lane in lanes for text in lane["unchecked"]]
