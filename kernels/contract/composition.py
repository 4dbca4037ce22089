"""A backend, composed of what computes pixels, labels and objects."""

from __future__ import annotations

from dataclasses import dataclass

from .labels import LabelBackend
from .objects import ObjectBackend
from .pixels import PixelBackend


@dataclass(frozen=True)
class Backend:
    """The operations of one device; those that gain nothing from it may be another backend's.

    name     the name of its folder: cpu, cuda
    """

    name: str
    pixels: PixelBackend
    labels: LabelBackend
    objects: ObjectBackend

    def describe(self) -> str:
        """Name the device in one phrase for the log."""
        return self.pixels.describe()

    def warm(self) -> None:
        """Compile what does not depend on a project, and keep it where the next process looks. Raises KernelError."""
        for part in (self.pixels, self.labels, self.objects):
            part.warm()
