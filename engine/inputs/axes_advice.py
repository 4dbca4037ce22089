"""Advice about an image whose axes or channels do not fit a project, given only if it resolves the mismatch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from ...frozen import frozen
from ..errors import setting

if TYPE_CHECKING:
    from ..project.lanes import TrainingImage

__all__ = ["Needs", "advise", "advise_channels", "needs_of"]

# Orders that are suggested where the one of the training image does not fit, the likely ones first.
_SUGGESTED = ("yx", "yxc", "cyx", "zyx", "tyx", "zyxc", "czyx", "zcyx", "tyxc", "tcyx", "tzyxc", "tczyx")

_MAX_CHANNELS = 4  # a longer axis is not assumed to hold colors


@frozen
class Needs:
    """Kind of images that a project can process.

    axes      letters of the training image in the order of its file
    is_flat   True if it has no depth; None if that is not known
    channels  their number; None if that is not known
    """

    axes: str = ""
    is_flat: bool | None = None
    channels: int | None = None

    def fit(self, axes: str, shape: Sequence[int]) -> bool:
        """Return True if an image of this shape, read with these axes, has the required depth and channels."""
        if len(axes) != len(shape):
            return False
        sizes = dict(zip(axes, shape, strict=True))
        return (
            {"x", "y"} <= set(axes)
            and (self.is_flat is None or self.is_flat == (sizes.get("z", 1) == 1))
            and (self.channels is None or self.channels == sizes.get("c", 1))
        )

    def suggest_axes(self, shape: Sequence[int], *, current: str) -> str:
        """Axes with which an image of this shape fits, or "" if there are none but ``current``.

        Time is suggested only to projects that know it, and y and x are never the axes that look like channels.
        """
        is_tiny = sum(n > _MAX_CHANNELS for n in shape) < 2
        for axes in (self.axes, *_SUGGESTED):
            if axes == current or not self.fit(axes, shape) or ("t" in axes and "t" not in self.axes):
                continue
            sizes = dict(zip(axes, shape, strict=True))
            if is_tiny or min(sizes["y"], sizes["x"]) > _MAX_CHANNELS:
                return axes
        return ""


def needs_of(training: TrainingImage | None) -> Needs:
    """Kind of images that fit a training image, as far as the project tells."""
    if training is None or not training.axes:
        return Needs()
    sizes = training.sizes()
    channels = sizes.get("c", 1) if sizes or "c" not in training.axes else None
    return Needs(training.axes, sizes.get("z", 1) == 1 if sizes else "z" not in training.axes, channels)


def advise(
    needs: Needs,
    axes: str,
    shape: Sequence[int],
    *,
    axes_option: Callable[[str], str],
    sources: int,
    otherwise: str,
) -> str:
    """Advice for an image that does not fit: an option that makes it fit, or ``otherwise``.

    axes, shape   of the image as it was read, in file order
    axes_option   how --input_axes is spelled with given letters
    sources       number of files or datasets that were stacked
    """
    if sources > 1:
        advice = _advise_on_stack(needs, dict(zip(axes, shape, strict=True)), sources)
        if advice or axes.index("x") < axes.index("y"):  # letters for a swapped stack would be confusing
            return advice or otherwise
    suggested = needs.suggest_axes(shape, current=axes)
    return f"{axes_option(suggested)} reads it like the training images" if suggested else otherwise


def _advise_on_stack(needs: Needs, sizes: Mapping[str, int], sources: int) -> str:
    """Advice for a stack of flat images that should not be stacked, or stacked along another axis; "" for others.

    sizes   of the stack by axis
    """
    depth, channels = sizes.get("z", 1), sizes.get("c", 1)
    needed = channels if needs.channels is None else needs.channels
    if needs.is_flat and depth == sources:
        if channels == needed:
            return (
                f"its {sources} parts were stacked into one image; to process them one by one, give them as separate "
                "arguments (a pattern without quotes)"
            )
        if channels * sources == needed:
            return f"{setting('stack_along')}=c makes channels of its {sources} parts"
    is_along_c = channels == needed * sources
    is_along_t = channels == needed and sizes.get("t", 1) == sources
    if needs.is_flat is False and depth == 1 and (is_along_c or is_along_t):
        return f"{setting('stack_along')}=z makes a volume of its {sources} parts"
    return ""


def advise_channels(found: int, needed: int) -> str:
    """Advice for an image with another number of channels than needed, none of whose other axes are channels."""
    if (found, needed) in ((4, 3), (2, 1)):
        return f"if the last one is an alpha channel, save the image without it, as {'RGB' if needed == 3 else 'gray'}"
    if found in (2, 3, 4) and needed == 1:
        return "save the image as gray, without colors or a color palette"
    if (found, needed) == (1, 3):
        return "save the image as RGB, or use a project trained on gray images"
    return "use images with as many channels as the training images"
