"""Steps of object classification on one time point whose labels fit neither memory nor disk."""

from __future__ import annotations

import numpy as np

from ....frozen import frozen
from ...objects.label import LabelFrame, cut_frame
from ...objects.measure import ObjectFeatures
from ...objects.slab_labels import (
    ComponentSource,
    LabelSource,
    SlabLabels,
    SlabSource,
    ThresholdSource,
    find_objects,
)
from ...objects.slab_measure import measure_by_slabs
from ...objects.threshold import MapThresholds, check_thresholding
from ...project.object_features import Features
from ...project.thresholding import ThresholdSettings
from ...tiling.layers import LayeredReads, Read
from .frame import LABEL_SHARE, THRESHOLD_SHARE, Frame, Segmentation
from .inputs import LABEL

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
        lane = self.lane
        check_thresholding(settings, lane.shape, channels)
        thresholds = MapThresholds(lane.shape, settings, drange, lane.resources.backend)
        ids = np.dtype(np.uint32)
        found = self._number(ThresholdSource(self.meter.watch(reads, THRESHOLD_SHARE), thresholds), ids)
        return Segmentation(lambda box: found.labels[box.slices()], ids, labels=found)

    def find_objects(self, reads: LayeredReads, dtype: np.dtype) -> LabelFrame:
        """Find the objects of a segmentation, or of the lane's label image."""
        source = LabelSource if LABEL in self.lane.images else ComponentSource
        read = self.meter.watch(reads, LABEL_SHARE)
        return self._number(source(read, self.lane.shape, dtype, self.lane.resources.backend), dtype)

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

    def _number(self, source: SlabSource, dtype: np.dtype) -> LabelFrame:
        lane = self.lane
        objects = find_objects(source, cut_frame(lane.shape, self.thickness), lane.work)
        return objects.frame(lane.work.memory_bytes // LABELS_SHARE, dtype)
