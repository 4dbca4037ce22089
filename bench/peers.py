"""Other libraries for the same work: every feature of a plan, and the same forest.

A peer that is not installed is left out. Filters get pixelforest's taps, so that results are comparable; they differ in
rounding, and by LAPACK's eigenvalues instead of a closed form in 3-D.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from inspect import signature
from typing import Any

import numpy as np

from pixelforest.engine.project.forest import Classifier
from pixelforest.engine.project.tree_arrays import StoredTree
from pixelforest.kernels.contract import FeaturePlan, ScalePlan
from pixelforest.kernels.shared.nodes import exact_float32_threshold
from pixelforest.kernels.shared.program import GRADIENT_OF_TENSOR, NARROW_GAUSSIAN
from pixelforest.kernels.shared.taps import FEATURE_WINDOW, PRESMOOTHER_WINDOW, gaussian_taps

# A separable filter: an image (y, x) or (z, y, x) and for each of its axes taps from the left end to the right.
Separable = Callable[[np.ndarray, Sequence[np.ndarray]], np.ndarray]


@dataclass(frozen=True)
class FeaturePeer:
    """Library with separable filters.

    dimensions   of the images it supports
    set_threads  None if it has no threads
    """

    name: str
    separable: Separable
    dimensions: tuple[int, ...]
    set_threads: Callable[[int], None] | None = None

    def features(self, image: np.ndarray, plan: FeaturePlan) -> np.ndarray:
        """Compute all columns of a plan for one channel: (y, x) or (z, y, x) float32 -> (…, f) float32."""
        out = np.empty((*image.shape, plan.width), np.float32)
        for scale in plan.scales:
            for column, values in _scale_columns(image, scale, self.separable):
                out[..., column] = values
        return out


def feature_peers() -> list[FeaturePeer]:
    """List the installed libraries."""
    found = []
    ndimage, cv2 = _import("scipy.ndimage"), _import("cv2")
    if ndimage is not None:
        found.append(FeaturePeer("SciPy ndimage", partial(_scipy_filter, ndimage), (2, 3)))
    if cv2 is not None:
        found.append(FeaturePeer("OpenCV sepFilter2D", partial(_opencv_filter, cv2), (2,), cv2.setNumThreads))
    return found


def label_peers() -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Map names of installed libraries to connected components of a segmentation (z, y, x) with one value."""
    found: dict[str, Callable[[np.ndarray], np.ndarray]] = {}
    cc3d, ndimage = _import("cc3d"), _import("scipy.ndimage")
    if cc3d is not None:
        found["connected-components-3d"] = partial(_cc3d_labels, cc3d)
    if ndimage is not None:
        found["SciPy ndimage"] = lambda frame: np.asarray(ndimage.label(frame)[0])
    return found


def _cc3d_labels(cc3d: Any, frame: np.ndarray) -> np.ndarray:
    flat = frame.shape[0] == 1
    values = frame[0] if flat else frame
    labels = cc3d.connected_components(values, connectivity=4 if flat else 6, out_dtype=np.uint32)
    return np.asarray(labels).reshape(frame.shape)


def cupy_labels() -> Callable[[np.ndarray], tuple[Callable[[], Any], Callable[[Any], np.ndarray]]] | None:
    """Connected components by CuPy on the device; None if it is missing.

    Takes a segmentation (z, y, x). Returns the work, whose ids stay on the device, and their download.
    """
    cupy, ndimage = _import("cupy"), _import("cupyx.scipy.ndimage")
    if cupy is None or ndimage is None:
        return None

    def prepare(frame: np.ndarray) -> tuple[Callable[[], Any], Callable[[Any], np.ndarray]]:
        values = cupy.asarray(frame)

        def work() -> Any:
            found = ndimage.label(values)[0]
            cupy.cuda.get_current_stream().synchronize()  # the events that time this are on another stream
            return found

        return work, cupy.asnumpy

    return prepare


def cucim_statistics() -> Callable[[np.ndarray, np.ndarray], Callable[[], dict[str, np.ndarray]]] | None:
    """Statistics by cuCIM; None if it is missing.

    Takes labels and an image, both (y, x). Returns the work: columns with our names, as (objects, values) on the host.
    """
    cupy, skimage = _import("cupy"), _import("cucim.skimage.measure")
    if cupy is None or skimage is None:
        return None

    def prepare(labels: np.ndarray, raw: np.ndarray) -> Callable[[], dict[str, np.ndarray]]:
        on_device = cupy.asarray(labels.astype(np.int32)), cupy.asarray(raw.astype(np.float32))
        wanted = ("area", "bbox", "centroid", "intensity_mean", "intensity_min", "intensity_max")

        def work() -> dict[str, np.ndarray]:
            table = skimage.regionprops_table(*on_device, properties=wanted)

            def column(*names: str) -> np.ndarray:
                return np.stack([cupy.asnumpy(table[name]) for name in names], axis=1)

            return {
                "Count": column("area"),
                "Coord<Minimum>": column("bbox-1", "bbox-0"),
                "Coord<Maximum>": column("bbox-3", "bbox-2"),
                "RegionCenter": column("centroid-1", "centroid-0"),
                "Mean": column("intensity_mean"),
                "Minimum": column("intensity_min"),
                "Maximum": column("intensity_max"),
            }

        return work

    return prepare


def scikit_image_features() -> Callable[[np.ndarray, int], np.ndarray] | None:
    """Features chosen by scikit-image over the same range of scales: other columns. (image, threads) -> (…, f)."""
    feature = _import("skimage.feature")
    if feature is None:
        return None
    function = feature.multiscale_basic_features
    word = "workers" if "workers" in signature(function).parameters else "num_workers"  # its name until 0.25
    return lambda image, threads: function(image, sigma_min=0.7, sigma_max=10, num_sigma=6, **{word: threads})


def scikit_learn_forest(classifier: Classifier) -> Any:
    """Convert the stored trees to a scikit-learn forest with the same predictions; None if it is not installed."""
    ensemble, tree = _import("sklearn.ensemble"), _import("sklearn.tree")
    if ensemble is None or tree is None:
        return None
    classes, columns = classifier.class_count, classifier.column_count
    forest = ensemble.RandomForestClassifier()
    trees = [t for f in classifier.forests for t in f.trees]
    forest.estimators_ = [_scikit_learn_tree(t, columns, classes, tree) for t in trees]
    forest.n_estimators, forest.n_features_in_, forest.n_outputs_ = len(trees), columns, 1
    forest.classes_, forest.n_classes_ = np.arange(classes), classes
    return forest


def _scikit_learn_tree(stored: StoredTree, columns: int, classes: int, tree: Any) -> Any:
    example = tree.DecisionTreeClassifier(max_depth=1).fit(np.array([[0.0], [1.0]]), [0, 1]).tree_
    count = len(stored.feature)
    nodes = np.zeros(count, example.__getstate__()["nodes"].dtype)
    is_leaf = stored.feature < 0
    nodes["left_child"], nodes["right_child"] = stored.left, stored.right
    nodes["feature"] = np.where(is_leaf, -2, stored.feature)
    # scikit-learn goes left at x <= threshold: the next float32 below our threshold, which x must be less than.
    below = np.nextafter(exact_float32_threshold(stored.threshold), np.float32(-np.inf))
    nodes["threshold"] = np.where(is_leaf, -2.0, below)
    nodes["n_node_samples"], nodes["weighted_n_node_samples"] = 1, 1
    made = type(example)(columns, np.array([classes], np.intp), 1)
    values = np.ascontiguousarray(stored.probabilities[:, np.newaxis, :], np.float64)
    made.__setstate__({"max_depth": count, "node_count": count, "nodes": nodes, "values": values})
    estimator = tree.DecisionTreeClassifier()
    estimator.tree_, estimator.n_features_in_, estimator.n_outputs_ = made, columns, 1
    estimator.classes_, estimator.n_classes_ = np.arange(classes), classes
    return estimator


def _import(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        return None


def _scipy_filter(ndimage: Any, image: np.ndarray, taps: Sequence[np.ndarray]) -> np.ndarray:
    for axis in reversed(range(image.ndim)):
        image = ndimage.correlate1d(image, taps[axis], axis, output=np.float32, mode="mirror")
    return image


def _opencv_filter(cv2: Any, image: np.ndarray, taps: Sequence[np.ndarray]) -> np.ndarray:
    result: np.ndarray = cv2.sepFilter2D(image, -1, taps[1], taps[0], borderType=cv2.BORDER_REFLECT_101)
    return result


def _full_taps(sigma: float, order: int, window_size: float) -> np.ndarray:
    half = gaussian_taps(sigma, order, window_size)
    return np.concatenate([-half[:0:-1] if order == 1 else half[:0:-1], half])


class _Derivatives:
    """Derivatives of one image; each is computed once."""

    def __init__(self, image: np.ndarray, separable: Separable) -> None:
        self._image, self._separable = image, separable
        self._known: dict[tuple[float, tuple[int, ...]], np.ndarray] = {}

    def get(self, sigma: float, *along: int) -> np.ndarray:
        """Return the Gaussian's derivative along the named axes."""
        orders = tuple(along.count(axis) for axis in range(self._image.ndim))
        if (sigma, orders) not in self._known:
            taps = [_full_taps(sigma, order, FEATURE_WINDOW) for order in orders]
            self._known[sigma, orders] = self._separable(self._image, taps)
        return self._known[sigma, orders]


def _scale_columns(image: np.ndarray, scale: ScalePlan, separable: Separable) -> list[tuple[int, np.ndarray]]:
    """Compute (column, values) of one scale."""
    axes, sigma = range(image.ndim), scale.feature_sigma
    smooth = _full_taps(scale.presmoothing_sigma, 0, PRESMOOTHER_WINDOW)
    made = _Derivatives(separable(image, [smooth] * image.ndim), separable)
    pairs = [(a, b) for a in axes for b in axes if a <= b]
    found: list[tuple[int, np.ndarray]] = []
    for operation, column in scale.columns.items():
        if operation == "gaussian":
            values = [made.get(sigma)]
        elif operation == "difference_of_gaussians":
            values = [made.get(sigma) - made.get(NARROW_GAUSSIAN * sigma)]
        elif operation == "gradient_magnitude":
            values = [np.sqrt(_sum([np.square(made.get(sigma, a)) for a in axes]))]
        elif operation == "laplacian":
            values = [_sum([made.get(sigma, a, a) for a in axes])]
        elif operation == "hessian":
            values = _eigenvalues([made.get(sigma, a, b) for a, b in pairs])
        else:
            gradient = [made.get(GRADIENT_OF_TENSOR * sigma, a) for a in axes]
            taps = [_full_taps(sigma, 0, FEATURE_WINDOW)] * image.ndim
            values = _eigenvalues([separable(gradient[a] * gradient[b], taps) for a, b in pairs])
        found += [(column + i, v) for i, v in enumerate(values)]
    return found


def _sum(parts: Sequence[np.ndarray]) -> np.ndarray:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _eigenvalues(entries: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Eigenvalues of symmetric matrices given by their upper triangle, largest first."""
    if len(entries) == 3:
        yy, yx, xx = entries
        mean, half_gap = (yy + xx) * np.float32(0.5), (xx - yy) * np.float32(0.5)
        root = np.sqrt(half_gap * half_gap + yx * yx)
        return [mean + root, mean - root]
    zz, zy, zx, yy, yx, xx = entries
    matrices = np.stack([zz, zy, zx, zy, yy, yx, zx, yx, xx], axis=-1).reshape(*zz.shape, 3, 3)
    values = np.linalg.eigvalsh(matrices)
    return [values[..., i] for i in (2, 1, 0)]
