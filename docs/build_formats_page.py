"""Generate the tables of docs/formats.md: ``python docs/build_formats_page.py``, from the root of the project.

Limits of formats come from the registry, the programs that read them back from the tests. The text around the tables is
written by hand.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
PAGE = REPOSITORY / "docs" / "formats.md"
sys.path.insert(0, str(REPOSITORY / "tests"))

from reference.second_readers import SECOND_READERS  # noqa: E402

from pixelforest.engine.formats import input_formats, output_formats, table_formats  # noqa: E402
from pixelforest.engine.formats.spec import InputFormat, OutputFormat  # noqa: E402

_TYPES = ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float32", "float64")
_BLOCK = re.compile(r"(<!-- begin (\w+) -->\n).*?(<!-- end \2 -->)", re.DOTALL)


def build_page(page: str) -> str:
    """Return the page with its tables regenerated."""
    tables: dict[str, Callable[[], str]] = {"inputs": _inputs, "results": _results, "tables": _tables}
    return _BLOCK.sub(lambda match: f"{match[1]}{tables[match[2]]()}{match[3]}", page)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _inputs() -> str:
    rows = ([f.name, ", ".join(f"`.{e}`" for e in f.extensions), _describe_containers(f)] for f in input_formats())
    return _table(["format", "extensions", "takes an internal path"], rows)


def _describe_containers(f: InputFormat) -> str:
    if not f.container_extensions or f.container_extensions == f.extensions:
        return "yes" if f.container_extensions else "no"
    return ", ".join(f"`.{e}`" for e in f.container_extensions)


def _results() -> str:
    head = ["`--output_format`", "extension", "pixel types", "dimensions", "channels", "streams", "memory", "read by"]
    return _table(head, (_result_row(f) for f in output_formats().values()))


def _result_row(f: OutputFormat) -> list[str]:
    return [
        f"`{f.name}`",
        f"`.{f.extension}`" if f.extension else "",
        _describe_types(f),
        {None: "any", 2: "2"}.get(f.limits.max_dims, f"{f.limits.max_dims}"),
        "any" if f.limits.channels is None else ", ".join(str(n) for n in sorted(f.limits.channels)),
        "yes" if f.streams else "no",
        "partially written slices" if f.sequence else "partially written chunks" if f.streams else "the whole result",
        SECOND_READERS[f.extension].name if f.extension else "a server in the tests",
    ]


def _describe_types(f: OutputFormat) -> str:
    if f.limits.dtypes is None or f.limits.dtypes == frozenset(_TYPES):
        return "all"
    missing = [t for t in _TYPES if t not in f.limits.dtypes]
    held = ", ".join(t for t in _TYPES if t in f.limits.dtypes)
    text = f"all but {', '.join(missing)}" if len(missing) <= 3 else held
    return f"{text}; others become uint8" if f.limits.stretches else text


def _tables() -> str:
    rows = ([f.name, ", ".join(f"`.{e}`" for e in f.extensions), f.summary] for f in table_formats())
    return _table(["format", "extensions", "contents"], rows)


if __name__ == "__main__":
    PAGE.write_text(build_page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
