"""Text of ``pixelforest clean``: one line for each thing that a killed run left."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pixelforest.engine.errors import as_flag, render_settings
from pixelforest.engine.machine import format_size
from pixelforest.engine.progress import format_duration
from pixelforest.engine.storage.leftovers import Leftover


def describe_leftovers(found: Iterable[Leftover], *, is_dry: bool) -> Iterator[str]:
    """Yield a line for each, and a last one with totals."""
    removed, nbytes, kept = 0, 0, 0
    done = "would remove" if is_dry else "removed"
    for each in found:
        facts = f"{each.path} ({format_size(each.nbytes)}, unchanged for {format_duration(each.age_s)})"
        if each.problem:
            kept += 1
            yield f"kept {facts}: {render_settings(each.problem, as_flag)}"
        else:
            removed, nbytes = removed + 1, nbytes + each.nbytes
            yield f"{done} {facts}"
    yield f"{done} {removed} unfinished files and folders, {format_size(nbytes)}; kept {kept}"
