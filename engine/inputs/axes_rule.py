"""Precedence of axis information for one input.

The option --input_axes comes first, then the letters that the file states itself, then those of the training image.
Axes of length 1 make no difference.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ...frozen import frozen
from ..errors import InputError, InputMismatch, Text, setting
from ..formats.spec import ImageInfo
from .axes_advice import advise, needs_of

if TYPE_CHECKING:
    from ..project.lanes import TrainingImage

__all__ = ["AxesRule"]


@frozen
class AxesRule:
    """The choice of axes for one argument.

    The letters of a file that states its own are never overruled by the project, only by the option.

    Parameters
    ----------
    argument
        One lane's input for a role, for messages.
    given
        Letters of --input_axes in file order, or None.
    training
        Image of the role in the project, or None.
    is_trained
        False if --ignore_training_axistags was given.
    axes_option
        Letters -> --input_axes with them, as the reader of a message writes it.
    log
        (level, message, arguments), as ``logging.Logger.log``.
    sources
        Number of files or datasets that are stacked.
    """

    argument: str
    given: str | None
    training: TrainingImage | None
    is_trained: bool
    axes_option: Callable[[str], str]
    log: Callable[..., None]
    sources: int = 1

    @property
    def trained(self) -> str | None:
        """The letters of the training image, if they are applied."""
        return None if self.training is None or not self.is_trained else self.training.axes or None

    def choose_for_image(self, info: ImageInfo) -> str:
        """Choose the axes of a single image.

        Parameters
        ----------
        info
            Facts about the image.

        Returns
        -------
        str
            One letter out of t, z, y, x, c for each axis, in file order.

        Raises
        ------
        InputMismatch
            If the letters do not fit its number of axes, or x or y is not among them.
        InputError
            If what the file states about its axes cannot be true, and no letters are given.
        """
        if self.given is not None:
            if len(self.given) != len(info.shape):
                raise self._misfit(info.shape, f"{setting('input_axes')}={self.given} does not fit")
            return self._checked(self.given)
        self._check_stated(info)
        return self._checked(self._trained_or_own(info, own=info.axes if info.own_axes else ""))

    def choose_for_stack(self, stack: ImageInfo, first: ImageInfo, *, is_swapped: bool) -> str:
        """Choose the axes of a complete stack.

        Parameters
        ----------
        stack, first
            Facts about the stack and about its first slice.
        is_swapped
            True if axes x and y of the stack are swapped with respect to its files.

        Returns
        -------
        str
            One letter for each axis of the stack, in its order.

        Raises
        ------
        InputMismatch, InputError
            As for ``choose_for_image``.
        """
        if self.given is not None:
            if is_swapped and self.given.index("y") < self.given.index("x"):
                self.log(
                    logging.WARNING,
                    "%s: pictures stacked along c have x before y; with %s x and y of the result are "
                    "swapped (%s would keep them)",
                    self.argument,
                    setting("input_axes", self.given),
                    setting("input_axes", stack.axes),
                )
            return self._checked(self.given)
        self._check_stated(first)
        if is_swapped:
            return stack.axes
        # The letter of an axis that the stack itself added is not stated by any file.
        is_longer = len(stack.shape) > len(first.shape)
        own = (stack.axes[1:] if is_longer else stack.axes) if first.own_axes else ""
        return self._checked(self._trained_or_own(stack, own=own))

    def axes_of_slices(self, stack: ImageInfo, first: ImageInfo) -> str | None:
        """Return the given axes if they describe one slice and not the complete stack.

        Parameters
        ----------
        stack, first
            Facts about the stack and about its first slice.

        Returns
        -------
        str or None
            Letters of a slice in file order; None if none are given, or they describe the complete stack.

        Raises
        ------
        InputMismatch
            If they describe neither.
        """
        if self.given is None or len(self.given) == len(stack.shape):
            return None
        if len(self.given) != len(first.shape):
            raise self._misfit(
                stack.shape, f"{setting('input_axes')}={self.given} fits neither it nor one slice {first.shape}"
            )
        return self.given

    def log_guess(self, info: ImageInfo) -> None:
        """Log the guessed axes of a file that states none."""
        if not info.own_axes and not info.axes_problem:
            self.log(logging.INFO, "Could not find stored axistags. Inferred %s from dataset shape.", info.axes)

    def _trained_or_own(self, info: ImageInfo, *, own: str) -> str:
        """Choose the letters of the training image or the file's own.

        own   letters that the file states, which are the last ones of ``info.axes``; "" if it states none
        """
        trained = self.trained
        if trained is None:
            return info.axes
        if len(trained) != len(info.shape):
            return self._without_unit_axes(info, own, trained)
        if not trained.endswith(own):
            is_other = set(info.axes) != set(trained)
            self.log(
                logging.WARNING,
                "%s says that its axes are %s; it is read so and not as %s like the training image%s",
                self.argument,
                info.axes,
                trained,
                Text(f" ({self.axes_option(trained)} would do that)")
                if is_other and needs_of(self.training).fit(trained, info.shape)
                else "",
            )
            return info.axes
        return trained

    def _without_unit_axes(self, info: ImageInfo, own: str, trained: str) -> str:
        """The axes of an image with more or fewer axes than the training image. Raises InputMismatch."""
        axes = _match_stated(info, own, trained) if own else _match_silent(info, trained)
        if axes is None:
            needs = needs_of(self.training)
            advice = f"use an image with the axes {trained}, or a project trained on such images"
            if needs.fit(info.axes, info.shape):
                advice = f"{setting('ignore_training_axistags')} reads it as {info.axes}"
            else:
                advice = advise(
                    needs,
                    info.axes,
                    info.shape,
                    axes_option=self.axes_option,
                    sources=self.sources,
                    otherwise=advice,
                )
            raise self._misfit(
                info.shape, f"it is read as {info.axes}, while the project was trained with axes {trained}; {advice}"
            )
        self.log(
            logging.INFO,
            "%s is read as %s; the training image has the axes %s, and axes of length 1 make no difference",
            self.argument,
            axes,
            trained,
        )
        return axes

    def _check_stated(self, info: ImageInfo) -> None:
        """Raise InputError if the file's statement about its axes cannot be true."""
        if info.axes_problem:
            example = self.axes_option(
                self.trained if self.trained and len(self.trained) == len(info.shape) else info.axes
            )
            raise InputError(
                f"cannot read {self.argument}: {info.axes_problem}; say what its axes are with "
                f"{setting('input_axes')}, as in "
                f"{example}"
            )

    def _misfit(self, shape: Sequence[int], what: str) -> InputMismatch:
        return InputMismatch(
            f"The given axis interpretation does not match the data shape: {self.argument} has shape {tuple(shape)}; "
            f"{what}"
        )

    def _checked(self, axes: str) -> str:
        if not {"x", "y"} <= set(axes):
            raise InputMismatch(f"{self.argument} has the axes {axes}; data must always have at least the axes x and y")
        return axes


def _match_stated(info: ImageInfo, own: str, trained: str) -> str | None:
    """The letters of an image, if it has no axis longer than 1 that the training image lacks.

    The first axis of a stack, whose letter no file states, takes the only letter that is left for it.
    """
    longer = [a for a, n in zip(info.axes, info.shape, strict=True) if n > 1 and a not in trained]
    if not longer:
        return info.axes
    left = [a for a in trained if a not in own]
    is_first_open = len(own) < len(info.axes)
    return left[0] + own if is_first_open and longer == [info.axes[0]] and len(left) == 1 else None


def _match_silent(info: ImageInfo, trained: str) -> str | None:
    """The letters of the training image for a file that states none, with axes of length 1 added or left out."""
    extra = len(info.shape) - len(trained)
    if extra < 0:
        kept = [a for a in trained if a in info.axes]
        if len(kept) != len(info.axes):
            kept = [a for a in trained if a != "c"]
        return "".join(kept) if len(kept) == len(info.axes) else None
    foreign = [i for i, (a, n) in enumerate(zip(info.axes, info.shape, strict=True)) if n == 1 and a not in trained]
    if len(foreign) != extra:
        return None
    letters = iter(trained)
    return "".join(a if i in foreign else next(letters) for i, a in enumerate(info.axes))
