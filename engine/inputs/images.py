"""Lanes, roles and the images behind them: what is read for an argument of the command line, and with which axes.

Decided here: which argument belongs to which lane, and how several files become one image. Which axes it has is decided
by axes_choice.py. Out of the door comes canonical data only.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import zip_longest
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np

from ...box import Box
from ..axes import CANONICAL, box_from_canonical, canonical_shape, is_axis_order, to_canonical
from ..errors import InputError, UsageError, setting
from ..formats import input_formats
from ..formats.spec import ImageInfo, ImageReader, InputFormat
from ..quotes import split_entries
from ..storage.object_storage import RemotePath, is_url
from .arguments import POSIX, Source, expand_argument, make_nickname, plain_argument, split_internal
from .axes_rule import AxesRule
from .stack import Slice, StackReader

if TYPE_CHECKING:
    from ..project.lanes import TrainingImage

logger = logging.getLogger("pixelforest.inputs")


@dataclass(frozen=True)
class InputOptions:
    """How the images of all lanes are to be read.

    input_axes                 axis letters by role, or one entry for all roles; None instead of letters: not given
    ignore_training_axistags   take the axes from the files
    stack_along                the axis along which several files become one image
    preconvert_stacks          accepted and without effect: stacks are read slice by slice anyway
    project_dir                stands in for the folder of an image behind a URL
    allow_missing_planes       read zeros for planes that a file's metadata promise and no file holds
    role_count                 number of roles up to the last one that an image is given for
    """

    input_axes: tuple[str | None, ...] | None = None
    ignore_training_axistags: bool = False
    stack_along: str = "z"
    preconvert_stacks: bool = False
    project_dir: Path = Path()
    allow_missing_planes: bool = False
    role_count: int = 1

    def axes_of_role(self, role_index: int) -> str | None:
        """The letters given for a role, or None."""
        given = self.input_axes or ()
        if len(given) == 1:
            return given[0]
        return given[role_index] if role_index < len(given) else None

    def spell_axes(self, role_index: int, axes: str) -> str:
        """The option that gives one role these letters and leaves the others as they are."""
        if self.role_count == 1:
            return f"{setting('input_axes')}={axes}"
        entries = [self.axes_of_role(index) or "None" for index in range(self.role_count)]
        entries[role_index] = axes
        return f"{setting('input_axes')}={','.join(entries)}"


@dataclass(frozen=True)
class LaneArguments:
    """The input arguments of one lane by role. A role without an image is not in it; the main role always is."""

    index: int
    arguments: Mapping[str, str]


def parse_input_axes(text: str, roles: Sequence[str]) -> tuple[str | None, ...]:
    """The value of ``--input_axes``: one entry for all roles, or one a role, each axis letters or the word None.

    Blanks and quotes around entries do not count. Raises UsageError.
    """
    entries = tuple(None if entry == "None" else entry for entry in split_entries(text))
    for entry in entries:
        if entry is not None and not (is_axis_order(entry) and {"x", "y"} <= set(entry)):
            raise UsageError(
                f"{setting('input_axes')}={text}: {entry!r} is no axis order; write distinct letters out of t, z, "
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

    arguments_by_role  role name -> arguments; "" stands for arguments without a role, which go to the main one
    roles              all roles of the workflow, the main one first
    Raises UsageError for an unknown role, both kinds of arguments at once, or a lane without the main role.
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


def describe_axes_choice(options: InputOptions, training: Sequence[TrainingImage | None]) -> str:
    """The log line that says whose axes are applied.

    training  the images of the project's last lane, one entry a role in the order of the roles; empty without lanes
    """

    def letters(entries: Sequence[str | None]) -> str:
        return "[" + ", ".join(" ".join(e) if e else "None" for e in entries) + "]"

    if any(options.input_axes or ()):
        return f"Forcing input axes to {letters(options.input_axes or ())}"
    if options.ignore_training_axistags or not any(training):
        return "Using axistags from input files"
    return f"Using axistags from previous lane: {letters([t.axes if t else None for t in training])}"


class InputImage:
    """One opened image of a lane, in canonical axes.

    path_text    the argument it was opened from
    nickname     what its results are called after
    dataset_dir  the folder of its first file; of an image behind a URL, that of the project
    files        all files it is made of; none behind a URL
    set_files    those of an image that is spread over several files, such as a multi-file OME-TIFF; else none
    axes         its letters in file order
    shape        (t, z, y, x, c)
    drange       stored range of values; (0, 255) for uint8 without one
    chunks       canonical shape of the file's storage unit; None if rows can be read at no extra cost
    scales       the levels of resolution it is one of; None if there is only one
    file_axes    what the file says about its letters, or what its shape suggests; has_own_axes: the file does say it
    held_bytes   memory the whole image takes once it is read, for files that cannot be read in parts
    unchecked    what ``verify`` could not check, since only decoding tells; empty if nothing
    file_shape   its shape in file order
    sources      number of files or datasets that were stacked
    axes_option  spells --input_axes with given letters for its role
    """

    def __init__(
        self,
        reader: ImageReader,
        info: ImageInfo,
        sources: Sequence[Source],
        *,
        path_text: str,
        nickname: str,
        axes_option: Callable[[str], str],
        dataset_dir: Path | None = None,
    ) -> None:
        self._reader = reader
        self.file_shape, self.sources, self.axes_option = info.shape, len(sources), axes_option
        self.file_axes, self.has_own_axes = reader.info.axes, reader.info.own_axes
        self.held_bytes = reader.held_bytes
        self.path_text = path_text
        self.nickname = nickname
        self.dataset_dir = dataset_dir or sources[0].file.parent
        self._sources = tuple(sources)
        self.set_files = reader.files
        self.files = tuple(dict.fromkeys((*(s.file for s in sources), *reader.files)))
        self.axes = info.axes
        self.shape = canonical_shape(info.shape, info.axes)
        self.dtype = info.dtype
        self.drange = (0.0, 255.0) if info.drange is None and info.dtype == np.uint8 else info.drange
        self.display_mode = info.display_mode
        self.axis_units = dict(info.axis_units)
        self.resolution = dict(info.resolution)
        self.chunks = None if info.chunks is None else canonical_shape(info.chunks, info.axes)
        self.scales = info.scales

    def read(self, box: Box) -> np.ndarray:
        """The voxels of a canonical box as (t, z, y, x, c). Several threads may read at once. Raises InputError."""
        if not Box.whole(self.shape).contains(box):
            raise ValueError(f"{box} is not inside an image of shape {self.shape}")
        return to_canonical(self._reader.read(box_from_canonical(box, self.axes)), self.axes)

    @property
    def source_names(self) -> tuple[str, ...]:
        """The files or datasets that it is made of, or the URL."""
        return tuple(map(str, self._sources)) or (self.path_text,)

    def verify(self) -> None:
        """Raise the InputError that reading would end with, as far as it can be known without decoding pixels."""
        self._reader.verify()

    @property
    def unchecked(self) -> str:
        return self._reader.unchecked

    def read_frame(self, time: int, box: Box) -> np.ndarray:
        """The voxels (z, y, x, c) of a box (z, y, x) at one time point, all channels. Raises InputError."""
        whole = Box((time, *box.start, 0), (time + 1, *box.stop, self.shape[4]))
        frame: np.ndarray = self.read(whole)[0]
        return frame

    def close(self) -> None:
        """Release all files; may be called twice."""
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _open_behind_url(
    argument: str,
    role_index: int,
    training: TrainingImage | None,
    options: InputOptions,
    log: Callable[..., None],
) -> InputImage:
    """One OME-Zarr image or N5 dataset on a server."""
    ((external, internal), *_) = split_internal(argument, POSIX)
    place = RemotePath(external)
    able = {e: f for f in input_formats() if f.open_remote is not None for e in f.extensions}
    chosen = able.get(place.suffix.lower().removeprefix("."), able["zarr"])
    assert chosen.open_remote is not None
    rule = _axes_rule(argument, role_index, training, options, log)
    reader = chosen.open_remote(place, internal)
    try:
        _check_sizes(reader.info, argument)
        rule.log_guess(reader.info)
        axes = rule.choose_for_image(reader.info)
    except BaseException:
        reader.close()
        raise
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", (internal or place.name).rpartition("/")[2])
    return InputImage(
        reader,
        _with_axes(reader.info, axes),
        (),
        path_text=argument,
        nickname=Path(name).stem,
        axes_option=rule.axes_option,
        dataset_dir=options.project_dir.absolute(),
    )


def open_image(
    argument: str,
    *,
    role_index: int,
    training: TrainingImage | None,
    options: InputOptions,
    announce: bool = True,
) -> InputImage:
    """Open what an argument names. Relative paths are relative to the current directory.

    training  the image of this role in the project's last lane, whose axes are applied by default
    announce  False for an image that was opened before: what there is to say about it has been logged
    Raises InputNotFound, InputMismatch, InputError, and UsageError for options that make no sense.
    """
    if options.stack_along not in CANONICAL:
        raise UsageError(f"{setting('stack_along')}={options.stack_along}: choose one of {', '.join(CANONICAL)}")
    argument = plain_argument(argument, cwd=Path.cwd(), is_image=_is_image)
    if is_url(argument):
        return _open_behind_url(argument, role_index, training, options, logger.log if announce else _say_nothing)
    expansion = expand_argument(argument, cwd=Path.cwd(), list_images=_list_images, is_image=_is_image)
    log = logger.log if announce else _say_nothing
    if expansion.warning:
        log(logging.WARNING, "%s: %s", argument, expansion.warning)
    sources = expansion.sources
    file_format = _format_of(sources[0].file)
    if options.allow_missing_planes and file_format.open_incomplete is not None:
        file_format = replace(file_format, open=file_format.open_incomplete)
    slices = _merge_parts(argument, sources, file_format, log)
    rule = _axes_rule(argument, role_index, training, options, log, sources=len(slices))
    if len(slices) == 1:
        reader, axes = _open_single(slices[0], file_format, rule)
    else:
        if options.preconvert_stacks:
            log(logging.INFO, "--preconvert_stacks is not needed: the files of %s are read slice by slice", argument)
        reader, axes = _open_stack(slices, file_format, options.stack_along, rule)
        log(logging.INFO, "%s: %d images are stacked into one, with axes %s", argument, len(slices), axes)
    if reader.files:
        log(logging.INFO, "%s: it is read from %s", argument, _list_names(reader.files))
    for line in reader.warnings:
        log(logging.WARNING, "%s: %s", argument, line)
    nickname = make_nickname(sources, auto_selected=len(sources) == 1 and not sources[0].internal)
    return InputImage(
        reader,
        _with_axes(reader.info, axes),
        sources,
        path_text=argument,
        nickname=nickname,
        axes_option=rule.axes_option,
    )


def _axes_rule(
    argument: str,
    role_index: int,
    training: TrainingImage | None,
    options: InputOptions,
    log: Callable[..., None],
    *,
    sources: int = 1,
) -> AxesRule:
    return AxesRule(
        argument,
        options.axes_of_role(role_index),
        training,
        is_trained=not options.ignore_training_axistags,
        axes_option=partial(options.spell_axes, role_index),
        log=log,
        sources=sources,
    )


def _merge_parts(
    argument: str, sources: Sequence[Source], file_format: InputFormat, log: Callable[..., None]
) -> Sequence[Source]:
    """One source for each image where several of them are files of the same image, such as a multi-file OME-TIFF.

    Only looked for if the first source is such an image: stacks of thousands of plain files are not opened once more.
    """
    if len(sources) == 1 or file_format.stack == "picture":
        return sources
    kept: list[Source] = []
    parts: set[str] = set()
    for source in sources:
        if os.path.realpath(source.file) in parts:
            continue
        with file_format.open(source.file, source.internal) as reader:
            files = reader.files
        if not files and not kept:
            return sources
        kept.append(source)
        parts.update(os.path.realpath(file) for file in files)
    if len(kept) < len(sources):
        log(
            logging.WARNING,
            "%s: its %d files are parts of %s, so that each part is read once and not the whole once a file",
            argument,
            len(sources),
            "one image" if len(kept) == 1 else f"{len(kept)} images, which are stacked",
        )
    return kept


def _list_names(files: Sequence[Path]) -> str:
    names = ", ".join(file.name for file in files[:3])
    return f"{len(files)} files: {names}{', …' if len(files) > 3 else ''}"


def _open_single(source: Source, file_format: InputFormat, rule: AxesRule) -> tuple[ImageReader, str]:
    reader = file_format.open(source.file, source.internal)
    try:
        _check_sizes(reader.info, source)
        rule.log_guess(reader.info)
        return reader, rule.choose_for_image(reader.info)
    except BaseException:
        reader.close()
        raise


def _open_stack(
    sources: Sequence[Source], file_format: InputFormat, along: str, rule: AxesRule
) -> tuple[ImageReader, str]:
    with file_format.open(sources[0].file, sources[0].internal) as reader:
        first, files, warnings = reader.info, reader.files, reader.warnings
    _check_sizes(first, sources[0])
    rule.log_guess(first)
    slices = [Slice(str(s), partial(file_format.open, s.file, s.internal), s.file) for s in sources]
    stack = StackReader(slices, first, axis=along, kind=file_format.stack)
    try:
        of_slices = rule.axes_of_slices(stack.info, first)
        if of_slices is None:
            axes = rule.choose_for_stack(stack.info, first, is_swapped=stack.is_swapped)
        else:
            stack = StackReader(slices, first, axis=along, kind=file_format.stack, axes=of_slices)
            axes = stack.info.axes
    except BaseException:
        stack.close()
        raise
    stack.files = (*files, *stack.files)
    stack.warnings = (*(f"{sources[0]}: {line}" for line in warnings), *stack.warnings)
    return stack, axes


def _with_axes(info: ImageInfo, axes: str) -> ImageInfo:
    """The same image under other letters; what was known about the old axes does not hold for them."""
    return info if axes == info.axes else replace(info, axes=axes, axis_units={}, resolution={}, scales=None)


def _check_sizes(info: ImageInfo, source: Source | str) -> None:
    for letter, length in zip(info.axes, info.shape, strict=True):
        if not length:
            raise InputError(f"{source} is empty: its axis {letter} has length 0 (shape {info.shape})")


def _say_nothing(level: int, message: str, *arguments: object) -> None:
    """Stands in for a logger."""


def _format_of(file: Path) -> InputFormat:
    """The format of a file, by its extension. Raises InputError that lists the ones there are."""
    if not file.is_file():
        for file_format in input_formats():
            if file_format.is_image(file):
                return file_format
        if file.is_dir():
            raise InputError(f"cannot read {file}: it is a folder; name the image in it")
    extension = file.suffix.lower().removeprefix(".")
    known = _formats_of_files()
    if extension not in known:
        raise InputError(
            f"cannot read {file}: it has an unrecognized format; the ones that can be read: {', '.join(sorted(known))}"
        )
    return known[extension]


@cache
def _formats_of_files() -> dict[str, InputFormat]:
    """Extension -> the format of such files."""
    return {e: f for f in input_formats() for e in f.extensions}


def _is_image(folder: Path) -> bool:
    return any(f.is_image(folder) for f in input_formats())


def _list_images(file: Path) -> Sequence[str]:
    list_images = _format_of(file).list_images
    return [] if list_images is None else list_images(file)
