"""Opened images in canonical axes. Several files may become one image, whose axes are decided by axes_rule.py."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from ...box import Box
from ...frozen import frozen
from ..axes import CANONICAL, box_from_canonical, canonical_shape, to_canonical
from ..errors import InputError, UsageError, setting
from ..formats import (
    find_input_format,
    find_input_format_of_file,
    find_input_format_of_folder,
    find_input_format_of_name,
    find_remote_format,
    input_formats,
    is_image_extension,
)
from ..formats.spec import ImageInfo, ImageReader, InputFormat
from ..storage.object_storage import RemotePath, is_url
from .arguments import POSIX, Source, expand_argument, make_nickname, plain_argument, split_internal
from .axes_rule import AxesRule
from .lanes import InputOptions
from .stack import Slice, StackReader

if TYPE_CHECKING:
    from ..project.lanes import TrainingImage

logger = logging.getLogger("pixelforest.inputs")

MAX_DESCRIBED = 50  # images of a file
MAX_KNOWN = 20_000  # files of one image, each with about 1 kB of what is known about it


class InputImage:
    """One opened image of a lane, in canonical axes.

    path_text    argument it was opened from
    nickname     name used in the names of its results
    dataset_dir  folder of its first file; for an image behind a URL, that of the project
    files        all files it is made of; none behind a URL
    set_files    files of an image that is spread over several, such as a multi-file OME-TIFF; else none
    axes         its letters in file order
    shape        (t, z, y, x, c)
    drange       stored range of values; (0, 255) for uint8 without one
    chunks       canonical shape of the file's storage unit; None if rows can be read at no extra cost
    scales       levels of resolution of the file; None if there is only one
    file_axes    letters stated by the file, or guessed from its shape; has_own_axes: True if the file states them
    held_bytes   memory of the whole image once it is read, for files that cannot be read in parts
    siblings     internal paths of all images of its file, if there are several
    unchecked    parts that ``verify`` cannot check without decoding; empty if none
    file_shape   its shape in file order
    sources      number of files or datasets that were stacked
    axes_option  spells --input_axes with given letters for its role
    ref          opens it again; an image in memory has none
    on_read      receives every box that is read with its voxels, from any thread; None: nobody does
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
        ref: ImageRef | None = None,
        dataset_dir: Path | None = None,
    ) -> None:
        self._reader = reader
        if ref is not None:
            self.ref = ref
        self.file_shape, self.sources, self.axes_option = info.shape, len(sources), axes_option
        self.file_axes, self.has_own_axes = reader.info.axes, reader.info.own_axes
        self.held_bytes, self.siblings = reader.held_bytes, reader.siblings
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
        self.on_read: Callable[[Box, np.ndarray], None] | None = None

    def read(self, box: Box) -> np.ndarray:
        """Read the voxels of a canonical box as (t, z, y, x, c). Threads may read at once. Raises InputError."""
        if not Box.whole(self.shape).contains(box):
            raise ValueError(f"{box} is not inside an image of shape {self.shape}")
        voxels = to_canonical(self._reader.read(box_from_canonical(box, self.axes)), self.axes)
        if self.on_read is not None:
            self.on_read(box, voxels)
        return voxels

    @property
    def source_names(self) -> tuple[str, ...]:
        """Files or datasets that it is made of, or the URL."""
        return tuple(map(str, self._sources)) or (self.path_text,)

    def verify(self) -> None:
        """Raise the InputError that reading would raise, as far as it is known without decoding pixels."""
        self._reader.verify()

    @property
    def unchecked(self) -> str:
        return self._reader.unchecked

    def read_frame(self, time: int, box: Box) -> np.ndarray:
        """Read the voxels (z, y, x, c) of a box (z, y, x) at one time point, all channels. Raises InputError."""
        whole = Box((time, *box.start, 0), (time + 1, *box.stop, self.shape[4]))
        frame: np.ndarray = self.read(whole)[0]
        return frame

    def close(self) -> None:
        """Release all files; may be called twice."""
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


@frozen
class ImageRef:
    """An image that was opened, as a value that can be pickled: enough to open it again.

    argument, role_index, training, options  as for ``open_image``
    known    what formats learnt about its files or datasets
    folder   folder that relative paths are relative to
    sources  files or datasets that the argument named then; none behind a URL
    format   name of their format; "" behind a URL
    """

    argument: str
    role_index: int
    training: TrainingImage | None
    options: InputOptions
    known: Mapping[Source, object]
    folder: Path
    sources: tuple[Source, ...]
    format: str

    def reopen(self) -> InputImage:
        """Open the image again, in less time where its files have not changed. Logs nothing; raises InputError."""
        return open_image(
            self.argument,
            role_index=self.role_index,
            training=self.training,
            options=self.options,
            announce=False,
            folder=self.folder,
            before=self,
        )


@contextmanager
def reopen_images(refs: Mapping[str, ImageRef]) -> Iterator[dict[str, InputImage]]:
    """Open the images of a lane again, by role, within the context. Raises InputError."""
    with ExitStack() as stack:
        yield {role: stack.enter_context(ref.reopen()) for role, ref in refs.items()}


class _Opener:
    """Opens files of one format, those that were opened before in less time.

    known   source -> what the format learnt about it; grows with every image that is opened
    """

    def __init__(self, file_format: InputFormat, known: Mapping[Source, object]) -> None:
        self.file_format = file_format
        self.known = dict(known)

    def open(self, source: Source) -> ImageReader:
        known = self.known.get(source)
        reader = None if known is None else self.file_format.reopen(known)
        if reader is None:
            reader = self.file_format.open(source.file, source.internal)
            if reader.known is not None and len(self.known) < MAX_KNOWN:
                self.known[source] = reader.known
        return reader


def _open_behind_url(
    argument: str,
    role_index: int,
    training: TrainingImage | None,
    options: InputOptions,
    log: Callable[..., None],
    folder: Path,
) -> InputImage:
    """Open one OME-Zarr image or N5 dataset on a server."""
    ((external, internal), *_) = split_internal(argument, POSIX)
    place = RemotePath(external)
    chosen = find_remote_format(place.suffix.lower().removeprefix("."))
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
        ref=ImageRef(argument, role_index, training, options, {}, folder, (), ""),
        dataset_dir=options.project_dir.absolute(),
    )


def open_image(
    argument: str,
    *,
    role_index: int,
    training: TrainingImage | None,
    options: InputOptions,
    announce: bool = True,
    folder: Path | None = None,
    before: ImageRef | None = None,
) -> InputImage:
    """Open the image that an argument names.

    Parameters
    ----------
    argument
        One lane's input for a role: a file, a list, a pattern or a URL.
    role_index
        Position of the role among those of the workflow.
    training
        Image of this role in the project's last lane, whose axes are applied by default.
    options
        Options for reading.
    announce
        False for an image that was opened before: its log lines are not repeated.
    folder
        Folder that relative paths are relative to; None: the current directory.
    before
        The image as it was opened before: its files are not searched for again, nor looked at for their format.

    Returns
    -------
    InputImage
        The opened image; the caller closes it.

    Raises
    ------
    InputNotFound, InputMismatch, InputError
        If the image does not exist, does not fit, or cannot be read.
    UsageError
        For options that do not apply.
    """
    if options.stack_along not in CANONICAL:
        raise UsageError(f"{setting('stack_along')}={options.stack_along}: choose one of {', '.join(CANONICAL)}")
    folder = folder or Path.cwd()
    log = logger.log if announce else _say_nothing
    if before is not None and before.sources:
        sources, file_format = before.sources, find_input_format_of_name(before.format)
    else:
        argument = plain_argument(argument, cwd=folder, is_image=_is_image)
        if is_url(argument):
            return _open_behind_url(argument, role_index, training, options, log, folder)
        expansion = expand_argument(argument, cwd=folder, list_images=_list_images, is_image=_is_image)
        if expansion.warning:
            log(logging.WARNING, "%s: %s", argument, expansion.warning)
        sources = expansion.sources
        file_format = _format_of(sources[0].file)
        if sources[0].file.is_file() and _extension(sources[0].file) not in file_format.extensions:
            log(logging.INFO, "%s: it is read as %s, which it contains", argument, file_format.name)
    if options.allow_missing_planes and file_format.open_incomplete is not None:
        file_format = replace(file_format, open=file_format.open_incomplete)
    if options.has_labels and file_format.open_labels is not None:
        file_format = replace(file_format, open=file_format.open_labels)
    opener = _Opener(file_format, {} if before is None else before.known)
    slices = _merge_parts(argument, sources, opener, log)
    rule = _axes_rule(argument, role_index, training, options, log, sources=len(slices))
    if len(slices) == 1:
        reader, axes = _open_single(slices[0], opener, rule)
    else:
        if options.preconvert_stacks:
            log(
                logging.INFO,
                "%s is not needed: the files of %s are read slice by slice",
                setting("preconvert_stacks"),
                argument,
            )
        reader, axes = _open_stack(slices, opener, options.stack_along, rule)
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
        ref=ImageRef(argument, role_index, training, options, opener.known, folder, sources, file_format.name),
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
    argument: str, sources: Sequence[Source], opener: _Opener, log: Callable[..., None]
) -> Sequence[Source]:
    """Merge sources that are files of the same image, such as a multi-file OME-TIFF, into one source per image.

    Only done if the first source is such an image: stacks of thousands of plain files are not opened once more.
    """
    if len(sources) == 1 or opener.file_format.stack == "picture":
        return sources
    kept: list[Source] = []
    parts: set[str] = set()
    for source in sources:
        if os.path.realpath(source.file) in parts:
            continue
        with opener.open(source) as reader:
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


def _open_single(source: Source, opener: _Opener, rule: AxesRule) -> tuple[ImageReader, str]:
    reader = opener.open(source)
    try:
        _check_sizes(reader.info, source)
        rule.log_guess(reader.info)
        return reader, rule.choose_for_image(reader.info)
    except BaseException:
        reader.close()
        raise


def _open_stack(sources: Sequence[Source], opener: _Opener, along: str, rule: AxesRule) -> tuple[ImageReader, str]:
    with opener.open(sources[0]) as reader:
        first, files, warnings = reader.info, reader.files, reader.warnings
    _check_sizes(first, sources[0])
    rule.log_guess(first)
    slices = [Slice(str(s), partial(opener.open, s), s.file) for s in sources]
    stack = StackReader(slices, first, axis=along, kind=opener.file_format.stack)
    try:
        of_slices = rule.axes_of_slices(stack.info, stack.first)
        if of_slices is None:
            axes = rule.choose_for_stack(stack.info, stack.first, is_swapped=stack.is_swapped)
        else:
            stack = StackReader(slices, first, axis=along, kind=opener.file_format.stack, axes=of_slices)
            axes = stack.info.axes
    except BaseException:
        stack.close()
        raise
    stack.files = (*files, *stack.files)
    stack.warnings = (*(f"{sources[0]}: {line}" for line in warnings), *stack.warnings)
    return stack, axes


def _with_axes(info: ImageInfo, axes: str) -> ImageInfo:
    """Replace the axis letters of an image; facts about the old axes are dropped."""
    return info if axes == info.axes else replace(info, axes=axes, axis_units={}, resolution={}, scales=None)


def _check_sizes(info: ImageInfo, source: Source | str) -> None:
    for letter, length in zip(info.axes, info.shape, strict=True):
        if not length:
            raise InputError(f"{source} is empty: its axis {letter} has length 0 (shape {info.shape})")


@frozen
class FileContents:
    """Images of a file, or of a folder that holds images.

    format   name of its format
    images   internal path, or "" -> facts about the image, or the reason why it cannot be read; None for those beyond
             the first ``MAX_DESCRIBED``
    """

    format: str
    images: Mapping[str, ImageInfo | InputError | None]


def names_images(argument: str) -> bool:
    """Return True for a file of images, an image in it, or a folder; False for a project."""
    container, _ = split_internal(argument)[0]
    extension = _extension(Path(container))
    is_file = extension not in ("", "ilp") and is_image_extension(extension)
    return is_file or Path(argument).expanduser().is_dir()


def list_contents(argument: str) -> FileContents:
    """Describe the images of a file or folder, or the one of an internal path. Raises InputError, InputNotFound."""
    file, internal = Path(os.path.abspath(os.path.expanduser(argument))), ""
    if not file.exists():
        ways = [(Path(a), b) for a, b in split_internal(str(file))]
        file, internal = next((way for way in ways if way[0].is_file()), ways[0])
    file_format = _format_of(file)
    if internal:
        names: Sequence[str] = [internal]
    else:
        names = [""] if file_format.list_images is None else file_format.list_images(file)
    found: dict[str, ImageInfo | InputError | None] = dict.fromkeys(names)
    for name in names[:MAX_DESCRIBED]:
        try:
            with file_format.open(file, name) as reader:
                found[name] = reader.info
        except InputError as error:
            if len(names) == 1:
                raise
            found[name] = error
    return FileContents(file_format.name, found)


def _say_nothing(level: int, message: str, *arguments: object) -> None:
    """Discard a log line: a logger that logs nothing."""


def _format_of(file: Path) -> InputFormat:
    """Find the format of a file by its content or extension. Raises InputError that lists the known ones."""
    is_file = file.is_file()
    if not is_file:
        of_folder = find_input_format_of_folder(file)
        if of_folder is not None:
            return of_folder
        if file.is_dir():
            raise InputError(f"cannot read {file}: it is a folder; name the image in it")
    found = find_input_format_of_file(file) if is_file else find_input_format(_extension(file))
    if found is None:
        known = sorted({extension for f in input_formats() for extension in f.extensions})
        raise InputError(
            f"cannot read {file}: it has an unrecognized format; the ones that can be read: {', '.join(known)}"
        )
    return found


def _extension(file: Path) -> str:
    return file.suffix.lower().removeprefix(".")


def _is_image(folder: Path) -> bool:
    return find_input_format_of_folder(folder) is not None


def _list_images(file: Path) -> Sequence[str]:
    list_images = _format_of(file).list_images
    return [] if list_images is None else list_images(file)
