"""Backend, composed of the parts for pixels, labels and objects."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from ...frozen import frozen
from .labels import LabelBackend
from .objects import ObjectBackend
from .pixels import PixelBackend

if TYPE_CHECKING:  # few processes have arrays in the memory of a GPU
    from .arrays import ArrayBackend


@frozen
class Backend:
    """Operations of one device; those that gain nothing from it may belong to another backend.

    Attributes
    ----------
    name
        Name of its folder: cpu, cuda.
    pixels, labels, objects
        Parts that implement three protocols.
    arrays
        Part for arrays of other libraries in the memory of its devices; None if it has none.
    """

    name: str
    pixels: PixelBackend
    labels: LabelBackend
    objects: ObjectBackend
    arrays: ArrayBackend | None = None

    def describe(self) -> str:
        """Name the device in one phrase for the log."""
        return self.pixels.describe()

    def warm(self) -> None:
        """Compile the kernels that do not depend on a project, and cache them. Raises KernelError."""
        for part in (self.pixels, self.labels, self.objects):
            part.warm()

    def restoring(self) -> AbstractContextManager[None]:
        """Restore what other libraries use on the calling thread, see ``ArrayBackend.restoring``."""
        return nullcontext() if self.arrays is None else self.arrays.restoring()
