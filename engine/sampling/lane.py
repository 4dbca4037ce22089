"""Sample of one lane: gathered by receivers of its tiles, then summed up as numbers and small pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np

from ...box import Box
from ...frozen import frozen
from ...kernels.contract import ClassCounter, PixelBackend
from ..export.tile_sinks import TileDemand, TileSink
from ..inputs.images import InputImage
from ..project import Project
from ..project.colours import OKABE_ITO
from ..requests import COUNTS_ONLY
from ..storage.packed_arrays import pack_arrays, unpack_arrays
from ..storage.thumbnails import encode_image, encode_map
from ..workflows.protocol import ClassView, Workflow
from .objects import ObjectSample
from .plane import Plane
from .sinks import LEVELS, ProbabilitySample, ResultSample, SampleSink

MAX_CHANNELS = 16  # of which facts are gathered
MAX_CLASSES = 255
BINS = 32
# Sides of pictures, in pixels. An input takes less than 100 kB of a page, so that a page of MANY has 10 MB.
SIDE, SMALL_SIDE, MANY = 384, 256, 100
MAX_BYTES = 72 << 10  # of a lane's pictures, a third more as text
_SHOWN_SHARE = 0.002  # of the samples may be darker, or brighter, than what a picture shows
_RANGE_STEP = 8  # samples that the darkest and brightest value are found in
_OPAQUE, _CLEAR = 255, 0


@frozen
class LaneSample:
    """Facts about one lane, as plain values, and its pictures by name, encoded; a value that can be pickled."""

    numbers: Mapping[str, Any]
    pictures: Mapping[str, bytes]


class LaneSampler:
    """Receiver of what a lane reads and computes; adds its sinks to those of the exports.

    observer  receives the objects; None: the view has none
    """

    def __init__(
        self,
        view: ClassView | None,
        raw: InputImage,
        exports: Mapping[str, TileDemand],
        *,
        side: int = SIDE,
        counts_only: bool = False,
    ) -> None:
        """Begin the sample of an opened image, which is watched while it is read.

        view     classes that the results show; None: there are none
        exports  demands of what is exported, by name of the result
        counts_only  True: classes are counted, and the image is not watched
        """
        if counts_only and view is not None:
            view = replace(view, uncertainty="")
        self._counts_only = counts_only
        self._raw, self._view = raw, view if view is not None and 0 < len(view.names) <= MAX_CLASSES else None
        self._region = _common_region(raw, exports)
        self._plane = plane = Plane(self._region, side)
        channels = min(raw.shape[4], MAX_CHANNELS)
        self._image = np.zeros((*plane.shape, channels), raw.dtype)
        self._next = np.zeros_like(self._image)  # the neighbours of the samples along x
        self._is_read = np.zeros((*plane.shape, 1), bool)
        if not counts_only:
            raw.on_read = self._take
        self._classes = self._uncertainty = None
        self.observer = None
        self.is_whole = True  # otherwise parts are missing, and sums would be wrong
        if self._view is not None:
            self._classes = ResultSample(self._view.segmentation, plane, len(self._view.names))
            if self._view.uncertainty:
                self._uncertainty = ResultSample(self._view.uncertainty, plane, 0)
            if self._view.of_objects:
                self.observer = ObjectSample(raw, len(self._view.names), has_crops=not counts_only)

    def add_sinks(
        self, exports: Mapping[str, TileSink], block: Box | None = None, *, pixels: PixelBackend | None = None
    ) -> dict[str, TileSink]:
        """Return the exports, each that is sampled replaced, and sinks of results that are only sampled.

        block   (t, z, y, x) of which the exports are a part; None: they are the whole
        pixels  part of the backend that computes them; if it is a ``ClassCounter``, exported probabilities are sampled
        """
        sinks = dict(exports)
        if self._view is None or (self._counts_only and self._view.of_objects):
            return sinks
        region = self._region if block is None else block
        if (sink := self._probability_sink(exports, region, pixels)) is not None:
            return {**sinks, self._view.probabilities: sink}
        if self._view.of_objects:  # painting the plane suffices: objects are counted elsewhere
            region = region.intersect(self._plane.region)
        for sample in self._samples():
            name, export = sample.name, exports.get(sample.name)
            if export is not None or not region.is_empty:
                own = region if export is None else Box(export.region.start[:4], export.region.stop[:4])
                sinks[name] = SampleSink(sample, own, export)
        return sinks

    def pack(self, block: Box, sinks: Mapping[str, TileSink]) -> bytes:
        """Return the part of the sample in a block (t, z, y, x) that its sinks have received, for ``restore``."""
        arrays: dict[str, np.ndarray] = {}
        for sink in sinks.values():
            if isinstance(sink, SampleSink):
                arrays.update({f"{name} counts": counts for name, counts in sink.counts.items()})
        for name, picture, shift in self._pictures():
            places = self._plane.places(block, shift=shift)
            if places is not None:
                arrays[name] = picture[places]
        return pack_arrays(arrays)

    def restore(self, block: Box, packed: bytes | None) -> None:
        """Take the part of a block that another process has packed; None, or a damaged one, counts as missing."""
        arrays = unpack_arrays(packed or b"")
        if arrays is None:
            self.is_whole = False
            return
        try:
            for name, picture, shift in self._pictures():
                places = self._plane.places(block, shift=shift)
                if places is not None:
                    picture[places] = arrays[name]
            for sample in self._samples():
                if (counts := arrays.get(f"{sample.name} counts")) is not None:
                    sample.add_counts(counts)
        except (ValueError, KeyError, TypeError):  # of another size or kind
            self.is_whole = False

    def _probability_sink(
        self, exports: Mapping[str, TileSink], region: Box, pixels: PixelBackend | None
    ) -> SampleSink | None:
        """Return the sink of exported probabilities that fills all samples; None: results are to be computed for them.

        A device computes those itself: it would have to copy unconverted probabilities to the host.
        """
        assert self._view is not None
        assert self._classes is not None
        export, count = exports.get(self._view.probabilities), len(self._view.names)
        if export is None or count < 2 or not hasattr(pixels, "count_classes"):
            return None
        if (export.region.start[:4], export.region.stop[:4]) != (region.start, region.stop):
            return None
        sample = ProbabilitySample(cast(ClassCounter, pixels), self._plane, self._classes, self._uncertainty)
        return SampleSink(sample, region, export, channels=count)

    def _samples(self) -> Iterator[ResultSample]:
        """Yield the samples of results."""
        return (sample for sample in (self._classes, self._uncertainty) if sample is not None)

    def _pictures(self) -> Iterator[tuple[str, np.ndarray, int]]:
        """Yield what is sampled in the plane, (y, x, c), with its name and the distance of its pixels along x."""
        if not self._counts_only:
            yield "image", self._image, 0
            yield "read", self._is_read, 0
            yield "next", self._next, 1
            yield from ((f"{sample.name} plane", sample.samples, 0) for sample in self._samples())

    def finish(self) -> LaneSample:
        """Sum up, and release the image."""
        self._raw.on_read = None
        raw, view = self._raw, self._view
        if self._counts_only:
            return LaneSample({"classes": [] if view is None else self._describe_classes(view)}, {})
        t, z = self._plane.region.start[:2]
        numbers: dict[str, Any] = {
            "shape": list(raw.shape),
            "axes": raw.axes,
            "dtype": str(raw.dtype),
            "voxels": self._region.size,
            "plane": {"t": t, "z": z, "step": self._plane.step, "shape": list(self._plane.shape)},
            "channels": [self._describe_channel(c) for c in range(self._image.shape[2])] if self._is_read.any() else [],
            "classes": [],
            "uncertainty": None,
            "objects": None,
        }
        if view is not None:
            numbers["classes"] = self._describe_classes(view)
        if self._uncertainty is not None and (counts := self._uncertainty.counts).any():
            levels = np.arange(LEVELS) / (LEVELS - 1)
            numbers["uncertainty"] = {
                "mean": round(float(counts @ levels / counts.sum()), 5),
                "histogram": counts.reshape(BINS, -1).sum(axis=1).tolist(),
            }
        if self.observer is not None and view is not None:
            numbers["objects"] = _describe_objects(self.observer, len(view.names))
        return LaneSample(numbers, self._draw(numbers))

    def _take(self, box: Box, voxels: np.ndarray) -> None:
        """Take voxels of the image, as they are read; boxes may overlap."""
        if box.start[4]:
            return
        places = self._plane.put(box, voxels, self._image)
        if places is not None:
            self._is_read[places] = True
        self._plane.put(box, voxels, self._next, shift=1)

    # ------------------------------------------------------------------------------------------------------- numbers

    def _describe_channel(self, channel: int) -> Mapping[str, Any]:
        values, weights = _distinct(self._read_samples(channel))
        if not values.size:
            return {"minimum": None, "maximum": None, "mean": None, "deviation": None, "sharpness": None}
        low, high = float(values.min()), float(values.max())
        mean = float(np.average(values, weights=weights))
        deviation = float(np.average((values - mean) ** 2, weights=weights)) ** 0.5
        return {
            "minimum": low,
            "maximum": high,
            "mean": float(f"{mean:.6g}"),
            "deviation": float(f"{deviation:.6g}"),
            "sharpness": self._measure_sharpness(channel, deviation),
            "histogram": _count_bins(values, low, high, weights) if high > low else None,
        }

    def _measure_sharpness(self, channel: int, deviation: float) -> float | None:
        """Mean squared difference of neighbours along x over that of pixels far from each other; 1 for noise."""
        if not deviation > 0:
            return None
        used: Any = (slice(None), slice(self._plane.neighbours))
        if not self._is_read[used].all():
            used = self._is_read[..., 0] & (np.arange(self._plane.shape[1]) < self._plane.neighbours)
        samples = self._image[..., channel][used].astype(np.float64).reshape(-1)
        if not samples.size:
            return None
        difference = samples - self._next[..., channel][used].reshape(-1)
        found = float(np.mean(difference * difference)) / (2 * deviation * deviation)
        return float(f"{found:.4g}") if np.isfinite(found) else None

    def _describe_classes(self, view: ClassView) -> list[dict[str, Any]]:
        assert self._classes is not None
        counts = self._classes.counts if self.observer is None else np.append(0, self.observer.counts)
        unit = "voxels" if self.observer is None else "objects"
        return [
            {"name": name, "colour": "#{:02x}{:02x}{:02x}".format(*colour), unit: int(counts[i])}
            for i, (name, colour) in enumerate(zip(view.names, view.colours, strict=True), 1)
        ]

    # ------------------------------------------------------------------------------------------------------ pictures

    def _draw(self, numbers: Mapping[str, Any]) -> dict[str, bytes]:
        if not self._is_read.any():
            return {}
        ranges = self._ranges()
        pictures = self._draw_planes(ranges, numbers, 1)
        step = 1
        while sum(map(len, pictures.values())) > MAX_BYTES and min(self._plane.shape) > 2 * step:
            step *= 2
            pictures = self._draw_planes(ranges, numbers, step)
        if self.observer is not None and self._view is not None:
            for i, crop in enumerate(self.observer.crops):
                pixels = _as_picture(crop.pixels, ranges)
                pictures[f"object {i + 1}"] = encode_image(
                    _outline(pixels, crop.mask, self._view.colours[crop.class_index])
                )
        return pictures

    def _draw_planes(
        self, ranges: Sequence[tuple[float, float]], numbers: Mapping[str, Any], step: int
    ) -> dict[str, bytes]:
        pictures = {"image": encode_image(_as_picture(self._image[::step, ::step], ranges))}
        if self._view is not None and self._classes is not None:
            classes = self._classes.picture(step)
            opaque = [(0, 0, 0, _CLEAR), *((*colour, _OPAQUE) for colour in self._view.colours)]
            pictures["classes"] = encode_map(classes, opaque)
            pictures["outlines"] = encode_map(_draw_outlines(classes), opaque)
        if numbers["uncertainty"] is not None and self._uncertainty is not None:
            pictures["uncertainty"] = encode_image(self._uncertainty.picture(2 * step))
        return pictures

    def _read_samples(self, channel: int) -> np.ndarray:
        """Return the samples of a channel that are read, in one line."""
        samples = self._image[..., channel]
        return samples.reshape(-1) if self._is_read.all() else samples[self._is_read[..., 0]]

    def _ranges(self) -> list[tuple[float, float]]:
        """Darkest and brightest value of each channel that the pictures show."""
        if self._image.dtype == np.uint8 and self._image.shape[2] == 3:
            return [(0.0, 255.0)] * 3
        ranges = []
        for channel in range(min(3, self._image.shape[2])):
            values = self._read_samples(channel)[::_RANGE_STEP]
            values = values[np.isfinite(values)] if values.dtype.kind == "f" else values
            if not values.size:
                ranges.append((0.0, 1.0))
                continue
            skipped = int(values.size * _SHOWN_SHARE)
            ends = np.partition(values, [skipped, values.size - 1 - skipped])
            ranges.append((float(ends[skipped]), float(ends[-1 - skipped])))
        return ranges


@frozen
class SampleSettings:
    """Settings of the samples of a run: maximum side of the pictures, and the colours, as Job.samples."""

    side: int
    colours: str


def choose_settings(lanes: int, colours: str) -> SampleSettings:
    """Choose the settings of a run with this number of lanes."""
    return SampleSettings(SIDE if lanes <= MANY else SMALL_SIDE, colours)


def begin_sample(
    workflow: Workflow,
    project: Project,
    raw: InputImage,
    exports: Mapping[str, TileDemand],
    settings: SampleSettings,
    *,
    has_table: bool,
) -> LaneSampler:
    """Begin to sample a lane of a project; arguments as for ``LaneSampler``."""
    view_classes = getattr(workflow, "view_classes", None)  # not every workflow has pictures
    view = None if view_classes is None else view_classes(project, list(exports), has_table)
    if view is not None and settings.colours == "okabe-ito":
        view = replace(view, colours=tuple(OKABE_ITO[i % len(OKABE_ITO)] for i in range(len(view.names))))
    return LaneSampler(view, raw, exports, side=settings.side, counts_only=settings.colours == COUNTS_ONLY)


def find_edges(numbers: np.ndarray) -> np.ndarray:
    """Find the pixels (y, x) whose right or lower neighbour has another number."""
    edges = np.zeros(numbers.shape, bool)
    edges[:, :-1] |= numbers[:, :-1] != numbers[:, 1:]
    edges[:-1] |= numbers[:-1] != numbers[1:]
    return edges


def _draw_outlines(classes: np.ndarray) -> np.ndarray:
    """Draw lines between classes (y, x), each as the later class: the first one is often the background. 0: no line."""
    later = classes.copy()
    np.maximum(later[:, :-1], classes[:, 1:], out=later[:, :-1])
    np.maximum(later[:-1], classes[1:], out=later[:-1])
    later *= find_edges(classes).view(np.uint8)
    return later


def _common_region(raw: InputImage, exports: Mapping[str, TileDemand]) -> Box:
    """Return the box (t, z, y, x) of what is computed."""
    regions = [export.region for export in exports.values()]
    if not regions:
        return Box.whole(raw.shape[:4])
    start = tuple(min(region.start[i] for region in regions) for i in range(4))
    return Box(start, tuple(max(region.stop[i] for region in regions) for i in range(4)))


def _as_picture(voxels: np.ndarray, ranges: Sequence[tuple[float, float]]) -> np.ndarray:
    """Convert (y, x, c) to a gray or, with several channels, coloured picture of uint8."""
    shown = np.zeros((*voxels.shape[:2], 3 if len(ranges) > 1 else 1), np.uint8)
    for channel, (low, high) in enumerate(ranges):
        values = voxels[..., channel]
        if values.dtype != np.uint8:
            values = _scale(values, low, high)
        elif (low, high) != (0.0, 255.0):
            values = _scale(np.arange(256, dtype=np.uint8), low, high).astype(np.uint8).take(values)
        shown[..., channel] = values
    return shown if shown.shape[2] == 3 else shown[..., 0]


def _scale(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Map low to 0 and high to 255."""
    scale = np.float32(255.0 / (high - low) if high > low else 0.0)
    return np.asarray(np.nan_to_num((values.astype(np.float32) - np.float32(low)) * scale).clip(0, 255))


def _outline(pixels: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Draw the outline of an object into a picture (y, x) or (y, x, 3)."""
    drawn = np.repeat(pixels[..., np.newaxis], 3, axis=2) if pixels.ndim == 2 else pixels.copy()
    drawn[find_edges(mask)] = colour
    return drawn


def _describe_objects(sample: ObjectSample, classes: int) -> Mapping[str, Any]:
    values = sample.values()
    return {
        "count": int(sample.counts.sum()),
        "sizes": _histograms(values[:, 0], np.log2(values[:, 1].clip(1)), classes),
        "intensities": _histograms(values[:, 0], values[:, 2], classes),
        "samples": [{"time": crop.time, "id": crop.number, "class": crop.class_index + 1} for crop in sample.crops],
    }


def _distinct(values: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the finite values as doubles; of small integers each only once, with its number."""
    if values.dtype.kind == "u" and values.itemsize <= 2:
        counts = np.bincount(values)
        found = np.flatnonzero(counts)
        return found.astype(np.float64), counts[found]
    values = values.astype(np.float64)
    return values[np.isfinite(values)], None


def _count_bins(values: np.ndarray, low: float, high: float, weights: np.ndarray | None = None) -> list[int]:
    """Return the numbers of values in BINS bins between two limits, which is faster than NumPy's histogram."""
    places = ((values - low) * (BINS / (high - low))).astype(np.intp).clip(0, BINS - 1)
    return [int(count) for count in np.bincount(places, weights, minlength=BINS)]


def _histograms(classes: np.ndarray, values: np.ndarray, count: int) -> Mapping[str, Any] | None:
    """Return one histogram for each class over a common range; None if there are no values."""
    is_good = np.isfinite(values)
    if not is_good.any():
        return None
    low, high = float(values[is_good].min()), float(values[is_good].max())
    high = high if high > low else low + 1
    rows = [_count_bins(values[is_good & (classes == i)], low, high) for i in range(count)]
    return {"minimum": round(low, 4), "maximum": round(high, 4), "counts": rows}
