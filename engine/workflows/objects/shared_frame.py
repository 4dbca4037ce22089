"""Object classification of one time point by several processes: others find and measure, this one does the rest.

A step is a value that any process computes from the project and references to the images; what it returns is small.
Numbering, the steps that need all objects, the forest, images and the table are left to the process that divides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

import numpy as np

from ....box import Box
from ....frozen import frozen
from ...inputs.images import ImageRef, reopen_images
from ...objects.label import LabelFrame, cut_frame
from ...objects.measure import ObjectFeatures, Rows
from ...objects.slab_labels import ObjectNumbering, SlabIds, SlabLabels
from ...objects.slab_measure import Part, measure_divided, measure_part, needs_range
from ...objects.slab_sources import SlabFacts, SlabSource
from ...project import ObjectProject
from ...project.object_features import Features
from ...resources import Resources
from ...storage.scratch import Scratch
from ...tiling.frame_progress import FrameMeter
from ...tiling.layers import Read
from .frame import LABEL_SHARE, MEASURE_SHARE, Lane
from .packed_steps import pack_facts, pack_rows, unpack_facts, unpack_rows
from .slab_frame import SlabFrame


@frozen
class FrameRef:
    """A time point of a lane as a value: enough for another process to open it."""

    images: Mapping[str, ImageRef]
    time: int
    thickness: int

    @property
    def key(self) -> str:
        """Name of the frame, and of its division."""
        return f"{self.time}-{self.thickness}"

    @contextmanager
    def open(
        self, project: ObjectProject, resources: Resources, on_progress: Callable[[int], None]
    ) -> Iterator[SlabFrame]:
        """Open it in this process."""
        with reopen_images(self.images) as images:
            lane = Lane(project, images, resources)
            with Scratch(lane.scratch_bytes) as scratch:
                yield SlabFrame(lane, self.time, scratch, FrameMeter(on_progress, 0), self.thickness)


class Step(Protocol):
    """Part of the work on a frame; a value that can be pickled."""

    def compute(self, project: ObjectProject, resources: Resources, on_progress: Callable[[int], None]) -> Any:
        """Compute it in this process."""


@frozen(eq=False)
class FindStep:
    """Components of one slab, as ``SlabFacts``."""

    frame: FrameRef
    slab: Box
    is_last: bool = False

    @property
    def key(self) -> str:
        """Name of its kind and frame."""
        return f"find-{self.frame.key}"

    def pack(self, value: SlabFacts) -> dict[str, np.ndarray]:
        """Name the arrays of its value."""
        return pack_facts(value)

    def unpack(self, arrays: dict[str, np.ndarray]) -> SlabFacts:
        """Return the value that was packed."""
        return unpack_facts(arrays)

    def compute(self, project: ObjectProject, resources: Resources, on_progress: Callable[[int], None]) -> SlabFacts:
        """Find the components."""
        with self.frame.open(project, resources, on_progress) as frame:
            source = frame.open_source()
            return source.find(self.slab, source.read(self.slab))


@frozen(eq=False)
class MeasureStep:
    """Features of the objects of one part, as ``Rows``; arguments as for ``slab_measure.measure_part``."""

    frame: FrameRef
    part: Part
    ids: SlabIds
    wanted: Features
    value_range: tuple[float, float] | None
    is_last: bool

    @property
    def key(self) -> str:
        """Name of its kind and frame."""
        return f"{'measure' if self.is_last else 'range'}-{self.frame.key}"

    def pack(self, value: Rows) -> dict[str, np.ndarray]:
        """Name the arrays of its value."""
        return pack_rows(value)

    def unpack(self, arrays: dict[str, np.ndarray]) -> Rows:
        """Return the value that was packed."""
        return unpack_rows(arrays)

    def compute(self, project: ObjectProject, resources: Resources, on_progress: Callable[[int], None]) -> Rows:
        """Measure the objects."""
        with self.frame.open(project, resources, on_progress) as frame, frame.open_raw() as reads:
            lane = frame.lane
            read = frame.meter.watch(reads, MEASURE_SHARE)
            return measure_part(
                lambda box: read(box).astype(np.float32, copy=False),
                self.ids.labels(frame.open_source(), frame.kept_bytes),
                self.part,
                lane.raw.shape[4],
                self.wanted,
                resources=lane.work,
                scratch=frame.scratch,
                value_range=self.value_range,
            )


class Helpers(Protocol):
    """Other processes that compute steps."""

    def choose_slab_voxels(self, suiting: int) -> int:
        """Return the size of slabs: one that suits this process, unless others have computed steps, or may."""

    def count(self) -> int:
        """Return their number at the moment."""

    def compute(self, steps: Iterable[Step], on_wait: Callable[[], None]) -> Iterator[tuple[int, Any]]:
        """Yield what the steps return, with the number of each, in any order; ``on_wait`` is called regularly."""


@frozen
class SharedFrame(SlabFrame):
    """Frame whose slabs other processes find and measure."""

    helpers: Helpers

    def number(self, source: SlabSource, dtype: np.dtype) -> LabelFrame:
        """Find and number the objects of a source; ``dtype``: of their original ids, if they have any."""
        slabs = cut_frame(self.lane.shape, self.thickness)
        numbering = ObjectNumbering(source, self.lane.resources.backend)
        count = self.meter.counter(LABEL_SHARE)
        for index, facts in self._compute(FindStep(self._ref, slab) for slab in slabs):
            numbering.add(index, facts)
            count(slabs[index].size)
        return numbering.number(slabs).frame(self.kept_bytes, dtype)

    def measure_image(self, read: Read, labels: LabelFrame, wanted: Features, held_bytes: int) -> ObjectFeatures:
        """Measure the wanted features in the image."""
        assert isinstance(labels.labels, SlabLabels)
        objects = labels.labels.objects
        count = self.meter.counter(MEASURE_SHARE)
        has_range = needs_range(wanted)

        def measure(
            parts: Sequence[Part], wanted: Features, value_range: tuple[float, float] | None
        ) -> Iterator[tuple[Part, Rows]]:
            is_last = value_range is not None or not has_range
            steps = (
                MeasureStep(self._ref, part, objects.ids_in(part.inner), wanted, value_range, is_last) for part in parts
            )
            for index, rows in self._compute(steps):
                count(parts[index].box.size)
                yield parts[index], rows

        memory_bytes = self.lane.resources.minus(held_bytes).memory_bytes
        return measure_divided(objects, self.lane.raw.shape[4], wanted, memory_bytes=memory_bytes, measure=measure)

    @property
    def _ref(self) -> FrameRef:
        images = {role: image.ref for role, image in self.lane.images.items()}
        return FrameRef(images, self.time, self.thickness)

    def _compute(self, steps: Iterable[Step]) -> Iterator[tuple[int, Any]]:
        return self.helpers.compute(steps, partial(self.meter.counter(0.0), 0))
