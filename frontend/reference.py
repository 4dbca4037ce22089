"""Man page and command-line reference of the documentation, generated from the table of options."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .options import Option

EXIT_STATUSES = (
    ("0", "everything was done"),
    ("1", "the run failed"),
    ("2", "usage error: the command line is invalid"),
    ("3", "some inputs failed, the others are complete"),
    ("130", "ended by SIGINT"),
    ("143", "ended by SIGTERM"),
)


def make_man_page(*, program: str, version: str, usage: str, examples: str, options: Sequence[Option]) -> str:
    """Return the man page as troff text."""
    lines = [
        f'.TH {program.upper()} 1 "" "{program} {version}" "User Commands"',
        ".SH NAME",
        f"{program} \\- run trained ilastik projects without ilastik",
        ".SH SYNOPSIS",
        ".nf",
        *map(_troff, (line[len("usage: ") :] for line in usage.split("\n\n")[0].splitlines())),
        ".fi",
        ".SH DESCRIPTION",
        *map(_troff, usage.split("\n\n")[1].splitlines()),
    ]
    for group, members in _groups(options):
        lines.append(f'.SH "{_troff(group.upper())}"')
        for option in members:
            lines += [".TP", f".B {_troff(option.usage)}", _troff(_help(option))]
    lines += [".SH EXIT STATUS"]
    for status, meaning in EXIT_STATUSES:
        lines += [".TP", f".B {status}", _troff(meaning)]
    lines += [".SH EXAMPLES", ".nf", *map(_troff, examples.splitlines()[1:]), ".fi"]
    return "\n".join(lines) + "\n"


def make_reference(*, program: str, usage: str, examples: str, options: Sequence[Option]) -> str:
    """Return the page of the documentation that lists every option, as Markdown."""
    lines = [
        "# Command line",
        "",
        "<!-- Written by `python docs/build_reference.py`; do not edit. -->",
        "",
        "```text",
        usage.split("\n\n")[0],
        "```",
        "",
        *usage.split("\n\n")[1].splitlines(),
    ]
    for group, members in _groups(options):
        lines += ["", f"## {group}", ""]
        for option in members:
            lines.append(f"- `{option.usage}`: {_help(option)}")
    refused = [option for option in options if option.refused]
    if refused:
        lines += ["", "## Options of ilastik that are refused", ""]
        lines += [f"- `{option.name}`: {option.refused}" for option in refused]
    lines += ["", "## Exit status", "", "| status | meaning |", "|---|---|"]
    lines += [f"| {status} | {meaning} |" for status, meaning in EXIT_STATUSES]
    lines += ["", "## Examples", "", "```bash", *(line.removeprefix("  ") for line in examples.splitlines()[1:]), "```"]
    return "\n".join(lines) + "\n"


def _groups(options: Sequence[Option]) -> Iterator[tuple[str, list[Option]]]:
    shown = [option for option in options if option.is_shown]
    for group in dict.fromkeys(option.group for option in shown):
        yield group, [option for option in shown if option.group == group]


def _help(option: Option) -> str:
    return option.help + (f" Default: {option.default}." if option.default else "")


def _troff(text: str) -> str:
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + escaped if escaped.startswith((".", "'")) else escaped
