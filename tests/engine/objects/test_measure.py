"""A frame's features: ilastik's recorded tables, its published numbers, slabs and threads, and what is left out."""

from __future__ import annotations

import csv
import tracemalloc
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from pixelforest.box import Box
from pixelforest.engine.errors import InputMismatch, MemoryTooSmall, ProjectError
from pixelforest.engine.objects.feature_catalogue import CATALOGUE, display_name
from pixelforest.engine.objects.label import LabelFrame
from pixelforest.engine.objects.measure import ObjectFeatures, measure_frame
from pixelforest.engine.objects.quantities import bytes_per_object
from pixelforest.engine.project.hdf5 import open_project
from pixelforest.engine.project.object_features import Features, read_object_features
from pixelforest.engine.resources import Resources
from pixelforest.kernels import load
from pixelforest.kernels.contract import Backend

STANDARD, SKELETON, DEFAULT = "Standard Object Features", "2D Skeleton Features", "Default features"
HULL_2D, HULL_3D = "2D Convex Hull Features", "3D Convex Hull Features"
GOLDEN = Path(__file__).resolve().parents[2] / "golden"
FRAME = [
    "000000000000",
    "011100020000",
    "011100020000",
    "011110022200",
    "000010000200",
    "000000000200",
    "003333300000",
    "033000330000",
    "033000330000",
    "003333300000",
    "000000000000",
]


def measure(
    labels: np.ndarray, raw: np.ndarray, wanted: Features, backend: Backend, *, threads: int = 2,
    voxels: int | None = None, memory_bytes: int = 1 << 28,
) -> ObjectFeatures:  # fmt: skip
    """Features of a frame in memory, (z, y, x) and (z, y, x, c)."""

    def read(box: Box) -> np.ndarray:
        return raw[box.slices()].astype(np.float32)

    return measure_frame(
        read, LabelFrame(labels.astype(np.uint32), int(labels.max())), raw.shape[3], wanted,
        resources=Resources(backend, threads, memory_bytes), voxels=voxels,
    )  # fmt: skip


def everything(dimensions: int, channels: int, margin: tuple[int, ...]) -> dict[str, dict[str, tuple[int, ...] | None]]:
    """All features there are for such an image."""
    plugins = [STANDARD, HULL_2D, SKELETON] if dimensions == 2 else [STANDARD, HULL_3D]
    return {
        plugin: {
            name: margin if entry.is_local else None
            for name, entry in CATALOGUE[plugin].items()
            if entry.needs.holds(channels)
        }
        for plugin in plugins
    }


@pytest.fixture
def flat() -> tuple[np.ndarray, np.ndarray]:
    """The published 2-d example: labels and raw, (1, y, x) and (1, y, x, 1)."""
    labels = np.array([[[int(v) for v in row] for row in FRAME]], np.uint32)
    y, x = np.mgrid[0:11, 0:12]
    return labels, ((7 * x + 13 * y + 3 * x * y) % 50)[None, :, :, None].astype(np.float32)


PUBLISHED_2D = {
    "Count": [[11], [7], [18]],
    "Coord<Maximum>": [[5, 5], [10, 6], [8, 10]],
    "RegionCenter": [[2.363636, 2.272727], [8, 3], [4, 7.5]],
    "RegionRadii": [[1.221511, 0.7576455], [1.430512, 0.4892333], [2, 1.166667]],
    "RegionAxes": [
        [0.7855106, 0.6188482, 0.6188482, -0.7855106],
        [0.5847103, -0.8112422, 0.8112422, 0.5847103],
        [-1, 0, 0, 1],
    ],
    "Variance": [[200.7769], [110.5306], [171.8056]],
    "Skewness": [[-0.1673843], [-0.2261616], [-0.1706352]],
    "Kurtosis": [[-1.356487], [-0.8241078], [-0.9917541]],
    "Quantiles": [
        [2, 2.509375, 5.132812, 22.92188, 37.11719, 39.02188, 43],
        [1, 1.503125, 13.03906, 17.35156, 32.67188, 32.86875, 33],
        [3, 3.09375, 15.73438, 21.125, 35.32031, 39.95625, 47],
    ],
    "Global<Minimum>": [[1]] * 3,
    "Global<Maximum>": [[47]] * 3,
    "Central<PowerSum<3>>": [[-5238.149], [-1839.673], [-6916.667]],
    "Coord<ArgMinWeight>": [[2, 2], [7, 3], [3, 6]],
    "Coord<ArgMaxWeight>": [[3, 1], [7, 1], [2, 7]],
    "Coord<Principal<PowerSum<4>>>": [[56.44601, 8.891838], [55.29559, 0.9044121], [456, 51.125]],
    "Coord<Principal<Kurtosis>>": [[-0.6951054, -0.5467898], [-1.113633, -0.7447005], [-1.416667, -1.466889]],
    "Weighted<RegionCenter>": [[2.361446, 2.092369], [8.131387, 2.751825], [3.939394, 7.587413]],
    "Weighted<RegionRadii>": [[1.245601, 0.7552126], [1.508089, 0.3971921], [2.139879, 1.094563]],
    "Weighted<RegionAxes>": [
        [0.67542, -0.7374332, 0.7374332, 0.67542],
        [0.5754503, -0.8178367, 0.8178367, 0.5754503],
        [0.9999996, 0.0008774683, 0.0008774683, -0.9999996],
    ],
    "Weighted<Coord<Principal<Skewness>>>": [
        [0.6584657, -0.1280595], [-0.1586468, 0.005332546], [0.06161546, 0.09013358],
    ],
    "Mean in neighborhood": [[20.85], [28.1], [20.1875]],
    "Variance in neighborhood": [[195.3275], [247.89], [222.2148]],
    "Kurtosis in neighborhood": [[-1.069454], [-1.242342], [-1.285221]],
    "Sum in neighborhood": [[417], [562], [646]],
    "Sum in object and neighborhood": [[666], [699], [1075]],
    "Skewness in object and neighborhood": [[0.04355829], [-0.2076622], [0.07821491]],
    "Maximum in object and neighborhood": [[47], [49], [47]],
}  # fmt: skip
PUBLISHED_HULL = {
    "HullVolume": [[16], [15], [28]],
    "Convexity": [[0.6875], [0.4666667], [0.6428571]],
    "DefectCount": [[2], [2], [5]],
    "DefectVolumeVariance": [[0.5], [0], [5]],
    "DefectVolumeSkewness": [[0], [0], [2.236068]],
    "DefectVolumeKurtosis": [[0], [0], [5]],
    "DefectDisplacementMean": [[1.782937], [1.581139], [1.341641]],
    "HullCenter": [[2.5, 2.5], [8, 3], [4, 7.5]],
    "DefectCenter": [[2.8, 3], [8, 3], [4, 7.5]],
}


def assert_published(found: Mapping[str, np.ndarray], expected: Mapping[str, object]) -> None:
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-6, atol=1e-7, err_msg=name)


def test_published_numbers_2d(flat: tuple[np.ndarray, np.ndarray], backend: Backend) -> None:
    found = measure(*flat, everything(2, 1, (2, 2)), backend).values
    assert_published(found[STANDARD], PUBLISHED_2D)
    assert_published(found[HULL_2D], PUBLISHED_HULL)
    assert np.flatnonzero(found[STANDARD]["Histogram"][1]).tolist() == [0, 16, 22, 30, 44]
    assert np.flatnonzero(found[STANDARD]["Histogram in neighborhood"][0])[:5].tolist() == [0, 2, 4, 9, 12]
    assert found[SKELETON]["Branch Count"].tolist() == [[4], [2], [0]]


def test_published_numbers_of_two_channels(flat: tuple[np.ndarray, np.ndarray], backend: Backend) -> None:
    labels, raw = flat
    y, x = np.mgrid[0:11, 0:12]
    second = ((5 * x + 11 * y) % 17)[None, :, :, None].astype(np.float32)
    found = measure(labels, np.concatenate([raw, second], axis=3), everything(2, 2, (2, 2)), backend).values[STANDARD]
    expected = {
        "Covariance": [
            [200.7769, 18.90909, 18.90909, 23.81818],
            [110.5306, 26.04082, 26.04082, 22.81633],
            [171.8056, 0.8981481, 0.8981481, 20.60802],
        ],
        "PrincipalAxes": [
            [0.994464, 0.105078, 0.105078, -0.994464],
            [0.964326, 0.2647175, 0.2647175, -0.964326],
            [0.9999824, 0.005939916, 0.005939916, -0.9999824],
        ],
        "Principal<Minimum>": [[-20.2632, -8.135212], [-19.87538, -9.040898], [-20.88082, -7.848276]],
        "Principal<Maximum>": [[20.2509, 6.06131], [14.15966, 4.213864], [23.13029, 7.931665]],
        "Principal<Skewness>": [[-0.1754309, -0.3862845], [-0.2911229, -1.490973], [-0.172366, 0.1010981]],
        "Principal<Kurtosis>": [[-1.375613, -1.146123], [-0.6138433, 1.092015], [-0.9916675, -1.024581]],
    }
    assert_published(found, expected)
    assert "Histogram" not in found


@pytest.mark.parametrize(
    ("margin", "sums", "variances"),
    [((2, 2, 1), [167, 249], [51.4949, 43.8475]), ((2, 2, 2), [372, 451], [46.67188, 47.01512])],
)
def test_published_numbers_3d(
    backend: Backend, margin: tuple[int, int, int], sums: list[float], variances: list[float]
) -> None:
    z, y, x = np.mgrid[0:4, 0:5, 0:6]
    labels = np.zeros((4, 5, 6), np.uint32)
    labels[0:2, 0:2, 0:3] = labels[1, 1, 3] = 1
    labels[2:4, 3:5, 1:5] = 2
    labels[3, 3, 4] = 0
    raw = ((3 * x + 7 * y + 11 * z + x * y * z) % 23)[..., None].astype(np.float32)
    found = measure(labels, raw, everything(3, 1, margin), backend).values
    expected = {
        "RegionCenter": [[1.153846, 0.5384615, 0.5384615], [2.4, 3.533333, 2.466667]],
        "RegionRadii": [[0.9565319, 0.5007268, 0.4803845], [1.085971, 0.5163978, 0.4744592]],
        "RegionAxes": [
            [0.9882292, -0.1529805, 0, 0.1081735, 0.6987836, 0.7071068, 0.1081735, 0.6987836, -0.7071068],
            [-0.9968514, 0, 0.07929288, -0.05606854, 0.7071068, -0.7048804, 0.05606854, 0.7071068, 0.7048804],
        ],
        "Quantiles": [
            [0, 2.801563, 5.929688, 10.14062, 14.00781, 18.11563, 22],
            [1, 1.890625, 5.972656, 10.14062, 14.99609, 21.14062, 22],
        ],
        "Weighted<RegionCenter>": [[1.129771, 0.610687, 0.7022901], [2.230303, 3.50303, 2.6]],
        "Coord<Principal<Skewness>>": [[0.2886028, -0.1441192, 0], [-0.1105681, 0, -0.0001685553]],
        "Sum in neighborhood": np.array(sums)[:, None],
        "Variance in neighborhood": np.array(variances)[:, None],
    }
    assert_published(found[STANDARD], expected)
    hull = {
        "Convexity": [[0.8125], [0.9375]],
        "DefectCount": [[1], [1]],
        "DefectDisplacementMean": [[1.868807], [1.768867]],
        "DefectCenter": [[3, 0.3333333, 0.3333333], [4, 3, 3]],
    }
    assert_published(found[HULL_3D], hull)


def recorded_columns(case: str) -> dict[str, list[str]]:
    with (GOLDEN / case / "expected/objects_table.csv").open(encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    return dict(zip(head, zip(*rows, strict=True), strict=True))


@pytest.mark.golden
@pytest.mark.parametrize("voxels", [None, 3000], ids=["one slab", "many slabs"])
@pytest.mark.parametrize(
    ("case", "raw_name"),
    [
        ("obj2d_seg", "raw.png"),
        ("obj3d_seg", "raw.h5"),
        ("obj2dt_seg", "raw.h5"),
        ("obj2d_label", "raw.h5"),
        ("obj2d_pred", "raw.h5"),
    ],
)
def test_recorded_tables(
    golden_image: Callable[[str, str], np.ndarray], backend: Backend, case: str, raw_name: str, voxels: int | None
) -> None:
    """Every cell, to the last bit of its float32, for which the recorded text stands."""
    with open_project(GOLDEN / case / "project.ilp") as file:
        wanted = read_object_features(file).computed
    raw, ids = golden_image(case, raw_name), golden_image(case, "expected/object_identities.h5")[..., 0]
    expected = recorded_columns(case)
    row = cells = 0
    for pixels, labels in zip(raw, ids, strict=True):
        found = measure(labels, pixels, wanted, backend, voxels=voxels)
        for plugin in sorted(wanted):
            for name, values in found.values[plugin].items():
                for k, column in enumerate(values.T):
                    shown = display_name(name) if values.shape[1] == 1 else f"{display_name(name)}_{k}"
                    if shown not in expected:
                        assert name.endswith(" in object and neighborhood"), shown
                        continue
                    recorded = np.array(expected[shown][row : row + found.count], np.float64).astype(np.float32)
                    np.testing.assert_array_equal(column, recorded, err_msg=shown)
                    cells += len(column)
        row += found.count
    assert row == len(expected["object_id"])
    assert cells > 0


@pytest.mark.sampled(1)
@pytest.mark.parametrize(("threads", "voxels"), [(1, None), (2, 1), (3, 70), (5, 200)])
@pytest.mark.parametrize(("shape", "channels"), [((1, 21, 23), 1), ((1, 21, 23), 3), ((7, 8, 9), 1)])
def test_slabs_and_threads_change_nothing(
    backend: Backend, shape: tuple[int, int, int], channels: int, threads: int, voxels: int | None
) -> None:
    rng = np.random.default_rng(5)
    blocks = (np.indices(shape)[1] // 3) * 100 + np.indices(shape)[2] // 4 + 1
    _, compact = np.unique(blocks * (rng.random(shape) < 0.6), return_inverse=True)
    raw = rng.integers(0, 255, (*shape, channels)).astype(np.uint8)
    wanted = everything(2 if shape[0] == 1 else 3, channels, (3, 4, 2)[: 2 + (shape[0] > 1)])
    first = measure(compact.reshape(shape), raw, wanted, backend, threads=2).values
    other = measure(compact.reshape(shape), raw, wanted, backend, threads=threads, voxels=voxels).values
    for plugin, features in first.items():
        assert list(features) == list(other[plugin])
        for name, values in features.items():
            assert values.tobytes() == other[plugin][name].tobytes(), name


def test_default_features_are_always_there(flat: tuple[np.ndarray, np.ndarray], backend: Backend) -> None:
    labels, _ = flat

    def read(box: Box) -> np.ndarray:
        raise AssertionError("no feature needs the image")

    found = measure_frame(read, LabelFrame(labels, 3), 1, {}, resources=Resources(backend, 1, 1 << 20))
    assert set(found.values) == {DEFAULT}
    for values in found.values[DEFAULT].values():
        assert values.dtype == np.float64
    assert found.values[DEFAULT]["Count"].tolist() == [[11], [7], [18]]


def test_measured_features_have_ilastiks_types(flat: tuple[np.ndarray, np.ndarray], backend: Backend) -> None:
    found = measure(*flat, everything(2, 1, (2, 2)), backend)
    for plugin, features in found.values.items():
        for values in features.values():
            assert values.dtype == (np.float64 if plugin == DEFAULT else np.float32)
            assert values.shape[0] == found.count == 3


def test_no_objects_are_measured(backend: Backend) -> None:
    labels, raw = np.zeros((1, 4, 5), np.uint32), np.zeros((1, 4, 5, 1), np.uint8)
    found = measure(labels, raw, everything(2, 1, (2, 2)), backend)
    assert found.count == 0
    assert found.values[STANDARD]["Histogram"].shape == (0, 64)
    assert found.values[DEFAULT]["RegionCenter"].shape == (0, 2)
    assert not [name for name in found.values[STANDARD] if "neighborhood" in name]


def test_neighbourhood_that_is_empty_for_all(backend: Backend) -> None:
    """An object that fills its window has nothing around it: then these features have no columns."""
    wanted = {STANDARD: {"Mean in neighborhood": (1, 1), "Mean in object and neighborhood": (1, 1), "Mean": None}}
    found = measure(np.ones((1, 4, 5)), np.ones((1, 4, 5, 1), np.uint8), wanted, backend).values[STANDARD]
    assert {name: values.shape for name, values in found.items()} == {
        "Mean": (1, 1), "Mean in neighborhood": (1, 0), "Mean in object and neighborhood": (1, 1),
    }  # fmt: skip


def test_neighbourhood_that_is_empty_for_some(backend: Backend) -> None:
    labels = np.zeros((2, 3, 3), np.uint32)
    labels[0], labels[1, 1, 1] = 1, 2  # margin 1 along z: its pitch keeps object 1 within its plane
    wanted = {STANDARD: {"Mean in neighborhood": (3, 3, 1), "Mean": None}}
    found = measure(labels, np.ones((2, 3, 3, 1), np.uint8), wanted, backend).values[STANDARD]
    assert set(found) == {"Mean"}


def test_the_largest_margin_counts_for_all_features(flat: tuple[np.ndarray, np.ndarray], backend: Backend) -> None:
    """The largest counts for all; without any there are no such features."""
    wanted = {STANDARD: {"Mean in neighborhood": (1, 2), "Sum in neighborhood": (2,)}}
    found = measure(*flat, wanted, backend).values[STANDARD]
    assert found["Sum in neighborhood"][:, 0].tolist() == [417, 562, 646]
    assert found["Mean in neighborhood"][0, 0] == np.float32(20.85)
    assert not measure(*flat, {STANDARD: {"Mean in neighborhood": (0, 0)}}, backend).values[STANDARD]
    one = measure(*flat, {STANDARD: {"Sum in neighborhood": (0, 3)}}, backend).values[STANDARD]
    assert one["Sum in neighborhood"][:, 0].tolist() == [249, 137, 429]  # the objects themselves


def test_features_that_cannot_be_measured_are_refused(flat: tuple[np.ndarray, np.ndarray], backend: Backend) -> None:
    labels, raw = flat
    with pytest.raises(ProjectError, match="Spherical Texture"):
        measure(labels, raw, {"Spherical Texture": {"Spherical Texture": None}}, backend)
    with pytest.raises(InputMismatch, match="3-D"):
        measure(labels, raw, {HULL_3D: {"Convexity": None}}, backend)
    solid = np.repeat(labels, 2, axis=0), np.repeat(raw, 2, axis=0)
    with pytest.raises(InputMismatch, match="set for 2 axes"):
        measure(*solid, {STANDARD: {"Mean in neighborhood": (2, 2)}}, backend)
    with pytest.raises(MemoryTooSmall, match="memory"):
        measure(labels, raw, {SKELETON: {"Diameter": None}}, backend, memory_bytes=500)


def test_errors_of_reading_come_through(flat: tuple[np.ndarray, np.ndarray], backend: Backend) -> None:
    calls = []

    def read(box: Box) -> np.ndarray:
        calls.append(box)
        if len(calls) > 2:
            raise OSError("gone")
        return np.zeros((*box.shape, 1), np.float32)

    with pytest.raises(OSError, match="gone"):
        measure_frame(
            read, LabelFrame(flat[0], 3), 1, {STANDARD: {"Mean": None}},
            resources=Resources(backend, 2, 1 << 20), voxels=12,
        )  # fmt: skip


def test_without_defects_the_defect_centre_is_left_over_from_the_object_before(backend: Backend) -> None:
    """As an offset from the bounding box; the first object finds the last one's HullCenter."""
    labels = np.zeros((1, 12, 20), np.uint32)
    labels[0, 1:3, 1:4] = 1  # full
    labels[0, 1:4, 6:9] = 2
    labels[0, 3, 6:8] = 0  # one defect of two pixels
    labels[0, 5, 10] = 3  # full
    labels[0, 7:9, 2:4] = 4  # full
    labels[0, 8:11, 8:13] = 5
    labels[0, 10, 8] = 0
    raw = np.ones((*labels.shape, 1), np.float32)
    found = measure(labels, raw, {HULL_2D: {"DefectCenter": None, "DefectCount": None}}, backend).values[HULL_2D]
    assert found["DefectCount"][:, 0].tolist() == [0, 1, 0, 0, 1]
    assert found["DefectCenter"].tolist() == [[1 + 2, 1 + 1], [6.5, 3], [10.5, 7], [2.5, 9], [8, 10]]


# ------------------------------------------------------------------------------------------------------------- memory


def scattered(dimensions: int, across: int) -> LabelFrame:
    """Objects of one voxel, each in a free surrounding, ``across`` of them along every axis."""
    shape = (1, *(3 * across,) * 2) if dimensions == 2 else (3 * across,) * 3
    labels = np.zeros(shape, np.uint32)
    places = labels[0, 1::3, 1::3] if dimensions == 2 else labels[1::3, 1::3, 1::3]
    places[...] = np.arange(1, places.size + 1).reshape(places.shape)
    return LabelFrame(labels, places.size)


FEW: Features = {STANDARD: {"Count": None, "Mean": None, "Variance": None}}
SELECTIONS = [
    pytest.param(2, 1, everything(2, 1, (1, 1)), id="all, flat"),
    pytest.param(2, 3, everything(2, 3, (1, 1)), id="all, flat, channels"),
    pytest.param(3, 1, everything(3, 1, (1, 1, 1)), id="all, solid"),
    pytest.param(3, 2, everything(3, 2, (1, 1, 1)), id="all, solid, channels"),
    pytest.param(2, 1, FEW, id="few"),
    pytest.param(2, 1, {}, id="default ones"),
    pytest.param(3, 1, {HULL_3D: everything(3, 1, (1, 1, 1))[HULL_3D]}, id="hulls"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("dimensions", "channels", "wanted"), SELECTIONS)
def test_what_objects_take_is_foreseen(dimensions: int, channels: int, wanted: Features) -> None:
    """NumPy's tables on the CPU never take more, nor so much less that images would be refused without need."""
    backend = load("cpu")
    labels = scattered(dimensions, 130 if dimensions == 2 else 25)
    raw = np.random.default_rng(0).integers(0, 255, (*labels.labels.shape, channels), np.uint8)

    def run(labels: LabelFrame, raw: np.ndarray) -> ObjectFeatures:
        return measure_frame(
            lambda box: raw[box.slices()].astype(np.float32), labels, channels, wanted,
            resources=Resources(backend, 2, 1 << 30), voxels=2000,
        )  # fmt: skip

    small = scattered(dimensions, 3)
    run(small, np.ones((*small.labels.shape, channels), np.uint8))  # compiles what is not compiled yet
    tracemalloc.start()
    found = run(labels, raw)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.count == labels.count
    each = bytes_per_object(wanted, dimensions=dimensions, channels=channels, voxels=raw.size // channels)
    assert peak <= labels.count * each <= 1.45 * peak


def test_more_objects_than_the_memory_holds_are_refused_before_anything_is_read(backend: Backend) -> None:
    labels = scattered(2, 40)

    def read(box: Box) -> np.ndarray:
        pytest.fail("nothing was to be read")

    wanted = everything(2, 1, (1, 1))
    needed = labels.count * bytes_per_object(wanted, dimensions=2, channels=1, voxels=labels.labels.size)
    message = r"^the features of 1600 objects take 4 MiB \(\d+ bytes each\), .* 4 MiB are left for them; allow more"
    with pytest.raises(MemoryTooSmall, match=message):
        measure_frame(read, labels, 1, wanted, resources=Resources(backend, 1, needed - (1 << 18)))


def test_what_objects_leave_of_the_memory_decides_about_slabs(backend: Backend) -> None:
    labels = scattered(2, 40)
    shapes = []

    def read(box: Box) -> np.ndarray:
        shapes.append(box.shape)
        return np.ones((*box.shape, 1), np.float32)

    needed = labels.count * bytes_per_object(FEW, dimensions=2, channels=1, voxels=labels.labels.size)
    for left in (1 << 20, 1 << 14):
        measure_frame(read, labels, 1, FEW, resources=Resources(backend, 1, needed + left))
    assert (shapes[0], shapes[-1]) == ((1, 120, 120), (1, 8, 120))


def test_a_million_objects_fit_two_gigabytes() -> None:
    """With size, box, centre, moments, extremes, histogram, quantiles, radii and axes, and the ids of 8192 x 8192."""
    names = ("Count", "Coord<Minimum>", "Coord<Maximum>", "RegionCenter", "Mean", "Variance", "Skewness", "Kurtosis",
             "Minimum", "Maximum", "Histogram", "Quantiles", "RegionRadii", "RegionAxes")  # fmt: skip
    wanted: Features = {STANDARD: dict.fromkeys(names)}
    assert 10**6 * bytes_per_object(wanted, dimensions=2, channels=1, voxels=1 << 26) + 4 * (1 << 26) < 1.5e9
