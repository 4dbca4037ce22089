"""Arguments and options of the inputs, as typed, assigned to lanes and roles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from ...frozen import frozen
from ..axes import is_axis_order
from ..errors import UsageError, setting
from ..quotes import split_entries
from ..requests import InputRequest, role_key

if TYPE_CHECKING:
    from ..project.lanes import TrainingImage

# Former name of a role on ilastik's command line -> present name.
_ROLE_ALIASES = {"binary_data": "segmentation_image"}


@frozen
class InputOptions:
    """Options for reading the images of all lanes.

    input_axes                 axis letters by role, or one entry for all roles; None instead of letters: not given
    ignore_training_axistags   take the axes from the files
    stack_along                axis along which several files become one image
    preconvert_stacks          accepted and without effect: stacks are read slice by slice anyway
    project_dir                used as the folder of an image behind a URL
    has_labels                 the image has labels: numbers of palette colours are read instead of the colours
    allow_missing_planes       read zeros for planes that a file's metadata mention and no file contains
    role_count                 number of roles up to the last one with an image
    """

    input_axes: tuple[str | None, ...] | None = None
    ignore_training_axistags: bool = False
    stack_along: str = "z"
    preconvert_stacks: bool = False
    project_dir: Path = Path()
    has_labels: bool = False
    allow_missing_planes: bool = False
    role_count: int = 1

    def axes_of_role(self, role_index: int) -> str | None:
        """Axis letters given for a role, or None."""
        given = self.input_axes or ()
        if len(given) == 1:
            return given[0]
        return given[role_index] if role_index < len(given) else None

    def spell_axes(self, role_index: int, axes: str) -> str:
        """Spell the option that gives one role these letters and leaves the others unchanged."""
        if self.role_count == 1:
            return f"{setting('input_axes')}={axes}"
        entries = [self.axes_of_role(index) or "None" for index in range(self.role_count)]
        entries[role_index] = axes
        return f"{setting('input_axes')}={','.join(entries)}"


@frozen
class LaneArguments:
    """Input arguments of one lane by role. A role without an image is not included; the main role always is."""

    index: int
    arguments: Mapping[str, str]


def choose_lanes(request: InputRequest, roles: Sequence[str]) -> tuple[LaneArguments, ...]:
    """Combine the inputs of a request into lanes. Raises UsageError, and InputError for a list that cannot be read."""
    if request.input_list is None:
        return pair_lanes(arguments_by_role(request, roles), roles)
    if request.inputs or request.inputs_by_role:
        given = request.inputs[0] if request.inputs else f"{setting(request.inputs_by_role[0][0])}"
        raise UsageError(f"some inputs are in {setting('input_list')}, others are not ({given}); put all in the list")
    return list_lanes(Path(request.input_list).expanduser(), roles, _role_names(roles))


def _role_names(roles: Sequence[str]) -> dict[str, str]:
    """Map the spellings of roles as options to roles."""
    names = {role_key(role): role for role in roles}
    return names | {alias: names[key] for alias, key in _ROLE_ALIASES.items() if key in names and alias not in names}


def count_roles(lanes: Sequence[LaneArguments], roles: Sequence[str]) -> int:
    """Number of roles up to the last one that a lane has an image for."""
    return max((index + 1 for index, role in enumerate(roles) for lane in lanes if role in lane.arguments), default=1)


def deal_lanes(lanes: tuple[LaneArguments, ...], shard: tuple[int, int] | None) -> tuple[LaneArguments, ...]:
    """Select the lanes of a shard: every n-th, so that neighbours, often of similar size, go to different shards."""
    if shard is None:
        return lanes
    part, parts = shard
    return lanes[part - 1 :: parts]


def arguments_by_role(request: InputRequest, roles: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Map roles to their arguments. Raises UsageError for a role the project lacks, or inputs given both ways."""
    names = _role_names(roles)
    for key, _ in request.inputs_by_role:
        if key not in names:
            options = ", ".join(f"{setting(role_key(role))}" for role in roles)
            raise UsageError(f"{setting(key)} is not an input of this project; its inputs are: {options}")
    if request.inputs and request.inputs_by_role:
        given = ", ".join(f"{setting(key)}" for key, _ in request.inputs_by_role)
        raise UsageError(
            f"some inputs were given with {given}, others without an option ({request.inputs[0]}); "
            f"put all images of the main role behind {setting(role_key(roles[0]))}"
        )
    if request.inputs:
        return {roles[0]: request.inputs}
    found: dict[str, tuple[str, ...]] = {}
    for key, paths in request.inputs_by_role:
        found[names[key]] = found.get(names[key], ()) + paths
    return found


def parse_input_axes(text: str, roles: Sequence[str]) -> tuple[str | None, ...]:
    """Parse the value of ``--input_axes``: one entry for all roles, or one per role.

    Parameters
    ----------
    text
        Entries separated by commas, each of them axis letters or the word None. Blanks and quotes around entries are
        ignored.
    roles
        All roles of the workflow.

    Returns
    -------
    tuple of str or None
        The entries; None where the file or the project decides.

    Raises
    ------
    UsageError
        For letters that are no axis order, or more entries than roles.
    """
    entries = tuple(None if entry == "None" else entry for entry in split_entries(text))
    for entry in entries:
        if entry is not None and not (is_axis_order(entry) and {"x", "y"} <= set(entry)):
            raise UsageError(
                f"{setting('input_axes')}={text}: {entry!r} is not an axis order; use distinct letters out of t, z, "
                "y, x, c that "
                "include x and y, as in zyxc, and commas between roles"
            )
    if len(entries) > len(roles):
        raise UsageError(
            f"{setting('input_axes')}={text}: {len(entries)} values for {len(roles)} roles ({', '.join(roles)})"
        )
    return entries


def pair_lanes(arguments_by_role: Mapping[str, Sequence[str]], roles: Sequence[str]) -> tuple[LaneArguments, ...]:
    """Combine the arguments of all roles by position; a role may have fewer than the main one.

    Parameters
    ----------
    arguments_by_role
        Role name -> arguments; "" for arguments without a role, which go to the main one.
    roles
        All roles of the workflow, the main one first.

    Returns
    -------
    tuple of LaneArguments
        The lanes in order.

    Raises
    ------
    UsageError
        For an unknown role, arguments with and without a role at once, or a lane without the main role.
    """
    given = {role: list(arguments) for role, arguments in arguments_by_role.items() if arguments}
    unknown = sorted(set(given) - {"", *roles})
    if unknown:
        raise UsageError(f"there is no input role {unknown[0]!r}; the roles are: {', '.join(roles)}")
    if "" in given:
        if len(given) > 1:
            raise UsageError("You can only have trailing file paths if no other role was set by name")
        given = {roles[0]: given[""]}
    lanes = []
    for index, row in enumerate(zip_longest(*(given.get(role, []) for role in roles))):
        arguments = {role: argument for role, argument in zip(roles, row, strict=True) if argument is not None}
        if roles[0] not in arguments:
            other = next(iter(arguments))
            raise UsageError(
                f"You must provide values for {roles[0]} for every lane: lane {index + 1} has only {other} "
                f"({arguments[other]})"
            )
        lanes.append(LaneArguments(index, arguments))
    return tuple(lanes)


def list_lanes(path: Path, roles: Sequence[str], names: Mapping[str, str]) -> tuple[LaneArguments, ...]:
    """Read the lanes of a list: one input a line, or a table with a column for each role.

    Parameters
    ----------
    path
        Text file. It is a table if its first line has only names of roles.
    roles
        All roles of the workflow, the main one first.
    names
        Spelling of a role as an option -> role.

    Returns
    -------
    tuple of LaneArguments
        The lanes in the order of the lines.

    Raises
    ------
    UsageError
        For a CSV without names of roles, rows of other lengths, and rows without the main role.
    InputError, InputNotFound
        If the list cannot be read.
    """
    from ..formats.support.input_list import read_lines, split_rows

    lines = read_lines(path)
    rows = split_rows(lines)
    headings = [names.get(role_key(field)) for field in rows[0][1]] if rows else []
    columns = [each for each in headings if each is not None]
    if len(columns) < len(headings) or len(set(columns)) < len(columns):
        if path.suffix.lower() in (".csv", ".tsv"):
            known = ", ".join(map(role_key, roles))
            raise UsageError(
                f"{setting('input_list')}={path}: its first row must name the roles of its columns, out of {known}"
            )
        return tuple(LaneArguments(index, {roles[0]: line.strip()}) for index, (_, line) in enumerate(lines))
    return tuple(
        LaneArguments(index, _arguments_of_row(fields, columns, roles[0], f"{path}, line {number}"))
        for index, (number, fields) in enumerate(rows[1:])
    )


def _arguments_of_row(fields: Sequence[str], columns: Sequence[str], main: str, place: str) -> dict[str, str]:
    if len(fields) != len(columns):
        raise UsageError(f"{place}: there are {len(fields)} fields, but {len(columns)} columns")
    arguments = {role: field.strip() for role, field in zip(columns, fields, strict=True) if field.strip()}
    if main not in arguments:
        raise UsageError(f"{place}: there is no {main}, which every row needs")
    return arguments


def describe_axes_choice(options: InputOptions, training: Sequence[TrainingImage | None]) -> str:
    """Compose the log line about the source of the axes.

    Parameters
    ----------
    options
        Options for reading.
    training
        Images of the project's last lane, one entry per role in order; empty without lanes.
    """

    def letters(entries: Sequence[str | None]) -> str:
        return "[" + ", ".join(" ".join(e) if e else "None" for e in entries) + "]"

    if any(options.input_axes or ()):
        return f"Forcing input axes to {letters(options.input_axes or ())}"
    if options.ignore_training_axistags or not any(training):
        return "Using axistags from input files"
    return f"Using axistags from previous lane: {letters([t.axes if t else None for t in training])}"
