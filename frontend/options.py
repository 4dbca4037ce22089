"""Definition of a command-line option, and the parser of a command line by a table of options.

The table itself is in options_table.py. Nothing here knows a particular option, opens a file or imports anything heavy.
"""

from __future__ import annotations

import textwrap
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from pixelforest.engine.errors import UsageError
from pixelforest.engine.quotes import unquote
from pixelforest.frozen import frozen

TRUE_WORDS = ("1", "yes", "true", "on")
FALSE_WORDS = ("0", "no", "false", "off")


class Takes(Enum):
    """Kind of values that follow an option."""

    NOTHING = "nothing"
    VALUE = "one value"
    PATHS = "one or more paths, up to the next option; given again, they are appended"
    BOOLEAN = "a word such as true or off, or nothing, which means true"


@frozen
class Option:
    """One row of the table of options.

    name      as it is written in the help; dashes and underscores are the same
    parse     makes the field's value of the typed text; raises ValueError that says what is wrong
    is_path   the value names a file, or is a part of a name: blanks at its ends belong to it
    writes    a run writes to the file of this name; appends: it appends to it
    default   what holds without the option, in words; left out of the help if empty
    is_shown  False leaves it out of the help
    refused   why it is not available; typing it is an error that says so
    """

    name: str
    group: str
    help: str
    takes: Takes = Takes.VALUE
    metavar: str = "VALUE"
    default: str = ""
    choices: tuple[str, ...] = ()
    parse: Callable[[str], object] = str
    is_path: bool = False
    writes: bool = False
    appends: bool = False
    is_shown: bool = True
    refused: str = ""

    @property
    def key(self) -> str:
        """Name by which it is compared, and the field it sets: no leading dashes, underscores inside."""
        return _key(self.name)

    @property
    def usage(self) -> str:
        """Usage as shown in the help: --name VALUE."""
        shown = "{" + ",".join(self.choices) + "}" if self.choices else self.metavar
        tail = {
            Takes.NOTHING: "",
            Takes.VALUE: f" {shown}",
            Takes.PATHS: f" {shown} [{shown} ...]",
            Takes.BOOLEAN: " [true|false]",
        }
        return self.name + tail[self.takes]


@dataclass(eq=False, repr=False)
class CommandLine:
    """A parsed command line.

    values      key -> value, for the options that were typed
    paths       key of an option that takes paths -> what was given, in order
    positional  what belongs to no option
    """

    values: dict[str, object] = field(default_factory=dict)
    paths: dict[str, list[str]] = field(default_factory=dict)
    positional: list[str] = field(default_factory=list)


def _key(name: str) -> str:
    return name.lstrip("-").replace("-", "_")


def is_asked(name: str, argv: Sequence[str]) -> bool:
    """Return True if the flag is among the options, even of an otherwise invalid command line."""
    options = argv[: list(argv).index("--")] if "--" in argv else argv
    return name in options


def parse_command_line(table: Sequence[Option], argv: Sequence[str]) -> CommandLine:
    """Parse a command line. Raises UsageError that names the option and, if misspelled, the likely one.

    Options may appear anywhere, as ``--name value`` or ``--name=value``, and be abbreviated as long as they are unique.
    If an option is given twice the last one counts, except if it takes paths. ``--`` ends the options.
    Quotes around a value, or around an option with its value, are removed. Those around input files stay: a file may
    have such a name, which is decided when it is opened.
    """
    result = CommandLine()
    rest = deque(argv)
    while rest:
        token = rest.popleft()
        if unquote(token).startswith("--"):
            token = unquote(token)
        if token == "--":
            result.positional += rest
            break
        if not token.startswith("-") or token == "-":
            result.positional.append(token)
            continue
        name, has_value, value = token.partition("=")
        option = find_option(table, name)
        if option.refused:
            raise UsageError(f"{option.name} is not available: {option.refused}")
        typed = [value] if has_value else _following(option, rest)
        if has_value and option.takes is Takes.NOTHING:
            raise UsageError(f"{option.name} takes no value, but got {value!r}")
        if option.takes is Takes.PATHS:
            result.paths.setdefault(option.key, []).extend(typed)
        else:
            result.values[option.key] = _value(option, typed)
    return result


def find_option(table: Sequence[Option], name: str) -> Option:
    """Find the option for a typed name: the exact one, or the only one that starts with it. Raises UsageError.

    An option and others whose names go on after its own, such as ``--classes`` and ``--classes_2``, are one.
    """
    key = _key(name)
    by_key = {option.key: option for option in table}
    if not name.startswith("--"):
        hint = f"; did you mean -{name}?" if key in by_key else "; after -- a file name may start with a dash"
        raise UsageError(f"unknown option {name}{hint}")
    if key in by_key:
        return by_key[key]
    candidates = [option for option in table if key and option.key.startswith(key)]
    shortest = min(candidates, key=lambda option: len(option.key), default=None)
    if shortest is not None and all(option.key.startswith(shortest.key) for option in candidates):
        return shortest
    if candidates:
        names = ", ".join(option.name for option in candidates)
        raise UsageError(f"ambiguous option: {name} could match {names}")
    from difflib import get_close_matches

    similar = get_close_matches(key, by_key, n=1, cutoff=0.6)
    hint = f"; did you mean {by_key[similar[0]].name}?" if similar else "; --help lists all options"
    raise UsageError(f"unknown option {name}{hint}")


def _following(option: Option, rest: deque[str]) -> list[str]:
    """Remove the option's values from the front of the remaining tokens."""
    typed: list[str] = []
    if option.takes is Takes.BOOLEAN:
        if rest and _word(rest[0]) in TRUE_WORDS + FALSE_WORDS:
            typed.append(rest.popleft())
    elif option.takes is Takes.VALUE:
        if rest and not rest[0].startswith("--"):
            typed.append(rest.popleft())
    elif option.takes is Takes.PATHS:
        while rest and (rest[0] == "-" or not rest[0].startswith("-")):
            typed.append(rest.popleft())
    if not typed and option.takes in (Takes.VALUE, Takes.PATHS):
        raise UsageError(f"{option.name} needs a value: {option.usage}")
    return typed


def _value(option: Option, typed: list[str]) -> object:
    if option.takes is Takes.NOTHING:
        return True
    if option.takes is Takes.BOOLEAN:
        word = _word(typed[0]) if typed else "true"
        if word not in TRUE_WORDS + FALSE_WORDS:
            words = ", ".join(TRUE_WORDS + FALSE_WORDS)
            raise UsageError(f"invalid value {typed[0]!r} for {option.name}; try one of: {words}")
        return word in TRUE_WORDS
    text = unquote(typed[0])
    if not option.is_path:
        text = text.strip()
    if option.choices and text not in option.choices:
        from difflib import get_close_matches

        similar = get_close_matches(text.lower(), option.choices, n=1)
        hint = f"; did you mean {similar[0]}?" if similar else ""
        choices = ", ".join(option.choices)
        raise UsageError(f"invalid value {typed[0]!r} for {option.name}; choose one of: {choices}{hint}")
    try:
        return option.parse(text)
    except ValueError as error:
        raise UsageError(f"invalid value {typed[0]!r} for {option.name}: {error}") from None


def _word(text: str) -> str:
    return unquote(text).strip().lower()


def format_help(table: Iterable[Option], *, width: int) -> str:
    """Format the options by group, in the table's order, without hidden ones."""
    indent = " " * 6
    lines: list[str] = []
    group = None
    for option in table:
        if not option.is_shown:
            continue
        if option.group != group:
            group = option.group
            lines += ["", f"{group}:"]
        text = option.help + (f" Default: {option.default}." if option.default else "")
        lines.append(f"  {option.usage}")
        lines += textwrap.wrap(text, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
    return "\n".join(lines).lstrip("\n")
