"""Steps of object classification on one time point whose labels fit neither memory nor disk."""

from __future__ import annotations

from functools import partial

import numpy as np

from ....frozen import frozen
from ...objects.label import LabelFrame, cut_frame
from ...objects.measure import ObjectFeatures
from ...objects.slab_labels import SlabLabels, find_objects
from ...objects.slab_measure import measure_by_slabs
from ...objects.slab_sources import ComponentSource, LabelSource, SlabSource, ThresholdSource
from ...objects.threshold import MapThresholds, check_thresholding
from ...project.object_features import Features
from ...project.thresholding import ThresholdSettings
from ...tiling.layers import LayeredReads, Read
from .frame import LABEL_SHARE, THRESHOLD_SHARE, Frame, Segmentation
from .inputs import LABEL, PREDICTION, SEGMENTATION

# Labels of slabs that are kept take at most 1 / LABELS_SHARE of the memory.
LABELS_SHARE = 4


@frozen
class SlabFrame(Frame):
    """Frame whose objects are found and measured slab by slab; labels are computed again where they are needed.

    thickness  of the slabs, in planes or, in a frame of one plane, rows
    """

    thickness: int

    def threshold(
        self, reads: LayeredReads, channels: int, settings: ThresholdSettings, drange: tuple[float, float] | None
    ) -> Segmentation:
        """Threshold prediction maps; the growing of cores (ipht) needs the whole frame, in the scratch."""
        if settings.method == "ipht":
            return super().threshold(reads, channels, settings, drange)
        ids = np.dtype(np.uint32)
        maps = self.meter.watch(reads, THRESHOLD_SHARE)
        found = self.number(self._threshold_source(maps, channels, settings, drange), ids)
        return Segmentation(lambda box: found.labels[box.slices()], ids, labels=found)

    def find_objects(self, reads: LayeredReads, dtype: np.dtype) -> LabelFrame:
        """Find the objects of a segmentation, or of the lane's label image."""
        return self.number(self._label_source(self.meter.watch(reads, LABEL_SHARE), dtype), dtype)

    def measure_image(self, read: Read, labels: LabelFrame, wanted: Features, held_bytes: int) -> ObjectFeatures:
        """Measure the wanted features in the image."""
        assert isinstance(labels.labels, SlabLabels)
        return measure_by_slabs(
            lambda box: read(box).astype(np.float32, copy=False),
            labels.labels,
            self.lane.raw.shape[4],
            wanted,
            resources=self.lane.resources.minus(held_bytes),
            scratch=self.scratch,
        )

    def number(self, source: SlabSource, dtype: np.dtype) -> LabelFrame:
        """Find and number the objects of a source; ``dtype``: of their original ids, if they have any."""
        slabs = cut_frame(self.lane.shape, self.thickness)
        return find_objects(source, slabs, self.lane.work).frame(self.kept_bytes, dtype)

    @property
    def kept_bytes(self) -> int:
        """Memory for labels that are kept of slabs."""
        return self.lane.work.memory_bytes // LABELS_SHARE

    def open_source(self) -> SlabSource:
        """Open the source of the objects of a project whose objects are made from an input."""
        images, settings = self.lane.images, self.lane.project.thresholds
        if settings is not None:
            maps = images[PREDICTION]
            return self._threshold_source(partial(maps.read_frame, self.time), maps.shape[4], settings, maps.drange)
        image = images[SEGMENTATION] if SEGMENTATION in images else images[LABEL]
        return self._label_source(lambda box: image.read_frame(self.time, box)[..., 0], image.dtype)

    def _threshold_source(
        self, maps: Read, channels: int, settings: ThresholdSettings, drange: tuple[float, float] | None
    ) -> ThresholdSource:
        lane = self.lane
        check_thresholding(settings, lane.shape, channels)
        return ThresholdSource(maps, MapThresholds(lane.shape, settings, drange, lane.resources.backend))

    def _label_source(self, read: Read, dtype: np.dtype) -> SlabSource:
        source = LabelSource if LABEL in self.lane.images else ComponentSource
        return source(read, self.lane.shape, dtype, self.lane.resources.backend)
