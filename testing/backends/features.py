"""Feature operations: numbers recorded from ilastik, and equality with the definitions to the last bit."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from ...kernels.contract import OPERATIONS, Backend, FeaturePlan, Voxels
from ..kernel_inputs import (
    assert_same_bits,
    assert_same_values,
    compute_features,
    identity_plan,
    make_plan,
    open_stack,
    random_image,
)
from ..reference import features as reference

RECORDED_ORDER = (
    "gaussian",
    "laplacian",
    "gradient_magnitude",
    "difference_of_gaussians",
    "structure_tensor",
    "hessian",
)
# Image v(y, x) = (7x + 11y + xy) mod 31, 12 x 12; rows: operation, then scale, then eigenvalue; at three positions.
RECORDED_2D_SCALES = (0.3, 0.7, 1.0, 1.6)
RECORDED_2D_POSITIONS = ((0, 0, 0), (0, 5, 6), (0, 11, 3))
RECORDED_2D = """
    0.275370747   3.46710515   19.558073
    10.9164524    13.2876987   13.3146439
    12.5331535    14.2272682   14.1046858
    12.7945061    14.4872503   14.4305248
    35.7790337    59.7704163   -56.2124214
    12.2303028    4.95647621   1.46893871
    1.43751538    1.22182643   1.3601352
    0.83997792    0.855682492  1.1043185
    0             3.60050273   2.48471403
    0             0.801902831  1.7497189
    0             0.153859004  1.03617036
    0             0.125613987  0.840781748
    0.137206569   0.230625391  -0.217414856
    1.69765186    0.738956451  0.127433777
    0.519931793   0.38113308   0.389225006
    0.266584396   0.256545067  0.316693306
    2.70827913    31.1182232   771.267334
    0             0            0
    5.3512907     4.05659294   2.7105422
    0.858496904   0.768962145  0.469451904
    1.59310031    1.47306037   1.33254409
    0.0739299655  0.215771616  0.448927671
    0.718122602   0.702006578  0.870758891
    0.0274038017  0.0756888986 0.300409704
    21.857914     36.5171165   -26.6177177
    13.9211197    23.2532978   -29.5947037
    6.2761364     5.0361557    1.50435829
    5.95416641    -0.0796794891 -0.0354195833
    1.71346104    1.57105196   0.804915369
    -0.275945663  -0.349225521 0.555219829
    1.09708941    1.06079578   0.648993969
    -0.25711146   -0.205113351 0.455324531
"""
# Volume v(z, y, x) = (5x + 7y + 3z + xyz) mod 29, 8 x 9 x 10.
RECORDED_3D_SCALES = (1.0, 1.6)
RECORDED_3D_POSITIONS = ((0, 0, 0), (3, 4, 5))
RECORDED_3D = """
    13.3413725   14.9675808
    13.8140669   14.8010607
    2.91067314   -0.709061563
    1.33322895   -0.58150667
    0            0.509731531
    0            0.389820009
    1.07740307   -0.175868988
    0.481243134  -0.16339016
    1.21613681   0.634820163
    0.567206264  0.493246287
    0.291122526  0.158416361
    0.365333915  0.258951724
    0.101063199  0.18829526
    0.0728226677 0.0486612916
    1.33288777   0.516050696
    0.895260036  -0.347264141
    0.682525337  -0.877848148
    0.740946293  0.223300606
    0.4048599    -0.222809985
    0.187422752  -0.581997275
"""
SCALES = (0.2, 0.3, 0.37, 0.45, 0.5, 0.6, 0.7, 1.0, 1.6, 3.5, 5.0, 10.0)
# Around every width at which the x pass begins to fuse more positions: radius 1, 2, 4 and 35.
WIDTHS = (*range(63, 71), *range(95, 101), *range(127, 132), 160)
DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64")


def smallest_line(scale: float) -> int:
    """The shortest line that ilastik accepts for a scale."""
    return math.ceil(3.5 * scale) + 1


def assert_equals_reference(backend: Backend, image: np.ndarray, plan: FeaturePlan) -> None:
    assert_same_values(compute_features(backend, image, plan), reference.feature_stack(image, plan))


def recorded_image_2d() -> np.ndarray:
    y, x = np.mgrid[:12, :12]
    return ((7 * x + 11 * y + x * y) % 31).astype(np.uint8)[None, None]


def recorded_image_3d() -> np.ndarray:
    z, y, x = np.mgrid[:8, :9, :10]
    return ((5 * x + 7 * y + 3 * z + x * y * z) % 29).astype(np.uint8)[None]


def box_id(tile: tuple[Voxels, Voxels]) -> str:
    return ",".join(f"{a}:{b}" for a, b in zip(*tile, strict=True))


def cut(tile: tuple[Voxels, Voxels]) -> tuple[slice, ...]:
    return tuple(slice(a, b) for a, b in zip(*tile, strict=True))


class FeatureSuite:
    """Feature operations: numbers recorded from ilastik, and equality with the definitions to the last bit."""

    @pytest.mark.parametrize("implementation", ["backend", "reference"])
    @pytest.mark.parametrize(
        ("image", "scales", "slicewise", "positions", "table"),
        [
            pytest.param(recorded_image_2d(), RECORDED_2D_SCALES, True, RECORDED_2D_POSITIONS, RECORDED_2D, id="2d"),
            pytest.param(recorded_image_3d(), RECORDED_3D_SCALES, False, RECORDED_3D_POSITIONS, RECORDED_3D, id="3d"),
        ],
    )
    def test_recorded_features(
        self,
        backend: Backend,
        image: np.ndarray,
        scales: tuple[float, ...],
        slicewise: bool,
        positions: tuple[Voxels, ...],
        table: str,
        implementation: str,
    ) -> None:
        plan = make_plan([(s, slicewise) for s in scales], operations=RECORDED_ORDER)
        if implementation == "backend":
            found = compute_features(backend, image, plan)
        else:
            found = reference.feature_stack(image, plan)
        expected = np.array(table.split(), np.float32).reshape(-1, len(positions)).T
        np.testing.assert_array_equal(np.array([found[p] for p in positions]), expected)

    @pytest.mark.parametrize("scale", SCALES)
    def test_smallest_flat_image(self, backend: Backend, scale: float) -> None:
        n = smallest_line(scale)
        assert_equals_reference(backend, random_image((1, 1, n, n)), make_plan([(scale, True)]))

    @pytest.mark.parametrize("scale", SCALES)
    def test_smallest_volume(self, backend: Backend, scale: float) -> None:
        n = smallest_line(scale)
        assert_equals_reference(backend, random_image((1, n, n, n)), make_plan([(scale, False)]))

    @pytest.mark.parametrize("width", WIDTHS)
    def test_flat_widths_around_the_fused_range(self, backend: Backend, width: int) -> None:
        plan = make_plan([(0.7, True), (1.0, True), (10.0, True)])
        assert_equals_reference(backend, random_image((1, 1, 36, width)), plan)

    @pytest.mark.parametrize("width", [66, 67, 68, 98, 131])
    def test_solid_widths_around_the_fused_range(self, backend: Backend, width: int) -> None:
        assert_equals_reference(backend, random_image((1, 7, 8, width)), make_plan([(0.7, False), (1.6, False)]))

    @pytest.mark.parametrize(
        ("shape", "scales"),
        [
            ((1, 1, 41, 301), [(0.3, True), (1.6, True)]),
            ((1, 1, 67, 520), [(1.0, True)]),
            ((1, 3, 41, 301), [(1.0, True)]),
            ((1, 11, 35, 131), [(1.0, False)]),
            ((1, 17, 9, 260), [(0.7, False)]),
        ],
        ids=lambda v: "x".join(map(str, v)) if isinstance(v, tuple) else None,
    )
    def test_images_beyond_one_cell(
        self, backend: Backend, shape: tuple[int, ...], scales: list[tuple[float, bool]]
    ) -> None:
        """Larger than what any backend takes at once in its cache, with a rest along every axis."""
        assert_equals_reference(backend, random_image(shape), make_plan(scales))

    @pytest.mark.parametrize("operation", OPERATIONS)
    @pytest.mark.parametrize("slicewise", [True, False], ids=["2d", "3d"])
    @pytest.mark.parametrize("scale", [0.2, 0.37, 0.7, 1.0, 3.5])
    def test_one_operation_alone(self, backend: Backend, operation: str, slicewise: bool, scale: float) -> None:
        """Without the others, whose intermediates and halos it shares when all are selected."""
        image = random_image((1, 15, 16, 75), dtype="uint16")
        assert_equals_reference(backend, image, make_plan([(scale, slicewise)], operations=[operation]))

    @pytest.mark.parametrize("pair", list(itertools.combinations(OPERATIONS, 2)), ids="-".join)
    def test_two_operations(self, backend: Backend, pair: tuple[str, str]) -> None:
        image = random_image((1, 6, 7, 70))
        assert_equals_reference(backend, image, make_plan([(0.5, True), (1.0, False)], operations=pair))

    def test_operations_in_another_order(self, backend: Backend) -> None:
        image = random_image((2, 6, 7, 21))
        assert_equals_reference(backend, image, make_plan([(1.0, False)], channels=2, operations=OPERATIONS[::-1]))

    @pytest.mark.parametrize("channels", [1, 2, 3, 5])
    def test_features_of_several_channels_equal_the_reference(self, backend: Backend, channels: int) -> None:
        image = random_image((channels, 1, 13, 21))
        assert_equals_reference(backend, image, make_plan([(0.7, True), (1.6, True)], channels=channels))

    def test_scales_in_2d_and_in_3d_side_by_side(self, backend: Backend) -> None:
        scales = [(0.3, False), (0.7, True), (1.0, True), (1.6, False), (3.5, True)]
        assert_equals_reference(backend, random_image((2, 9, 15, 71)), make_plan(scales, channels=2))

    def test_slicewise_scales_need_no_depth(self, backend: Backend) -> None:
        assert_equals_reference(backend, random_image((1, 2, 15, 16)), make_plan([(3.5, True)]))

    @pytest.mark.parametrize("shape", [(1, 1, 5, 6), (1, 1, 7, 5), (1, 5, 9, 7), (1, 7, 5, 33), (1, 6, 65, 9)])
    def test_odd_sizes(self, backend: Backend, shape: tuple[int, ...]) -> None:
        assert_equals_reference(backend, random_image(shape), make_plan([(1.0, shape[1] == 1)]))

    @pytest.mark.parametrize("slicewise", [True, False], ids=["2d", "3d"])
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_input_dtypes(self, backend: Backend, dtype: str, slicewise: bool) -> None:
        """Converted to float32 as they are; integers above 2^24 and doubles are rounded."""
        image = random_image((1, 6, 7, 70), dtype=dtype)
        assert_equals_reference(backend, image, make_plan([(0.7, slicewise), (1.0, slicewise)]))

    def test_doubles_beyond_float32_become_infinite(self, backend: Backend) -> None:
        image = np.array([1e300, -1e300, 1e-300, 3.4028236e38]).reshape(1, 1, 1, 4)
        found = compute_features(backend, image, identity_plan(1))[0, 0, :, 0]
        with np.errstate(over="ignore"):
            np.testing.assert_array_equal(found, image[0, 0, 0].astype(np.float32))

    @pytest.mark.parametrize("dtype", [">u2", "<u2", ">f4", ">f8", "bool"])
    def test_byte_orders_and_booleans(self, backend: Backend, dtype: str) -> None:
        image = (random_image((1, 1, 9, 11)) % 2).astype(dtype)
        assert_equals_reference(backend, image, make_plan([(1.0, True)]))

    def test_sources_that_are_not_contiguous(self, backend: Backend) -> None:
        image = random_image((7, 9, 66, 2)).transpose(3, 0, 1, 2)[:, :, ::-1]
        assert_equals_reference(backend, image, make_plan([(1.0, False)], channels=2))

    @pytest.mark.parametrize("slicewise", [True, False], ids=["2d", "3d"])
    @pytest.mark.parametrize("value", [0.0, 7.0, -3.5, 1e30])
    def test_features_of_constant_images_equal_the_reference(
        self, backend: Backend, value: float, slicewise: bool
    ) -> None:
        """No gradient: matrices of zeros, and eigenvalues that are equal."""
        image = np.full((1, 6, 7, 70), value, np.float32)
        assert_equals_reference(backend, image, make_plan([(1.0, slicewise)]))

    def test_matrices_with_one_pair_of_entries(self, backend: Backend) -> None:
        """A saddle, constant along z, where the original's arc tangent is wrong; the mistake is part of the result."""
        y, x = np.mgrid[:12, :20]
        image = np.broadcast_to(((x - 8) * (y - 4)).astype(np.float32), (1, 7, 12, 20))
        plan = make_plan([(1.0, False)], operations=["hessian"])
        found = compute_features(backend, image, plan)
        assert_same_values(found, reference.feature_stack(image, plan))
        assert found[3, 6, 10, 0] > 1.1 * found[3, 6, 10, 1] + found[3, 6, 10, 2]

    @pytest.mark.parametrize("slicewise", [True, False], ids=["2d", "3d"])
    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38], ids=["nan", "inf", "minus-inf", "near-overflow"])
    def test_values_that_are_not_finite_spread(self, backend: Backend, bad: float, slicewise: bool) -> None:
        image = random_image((1, 11, 12, 75), dtype="float32")
        image[0, 5, 6, 30] = bad
        image[0, 0, 0, 0] = bad
        plan = make_plan([(0.3, slicewise), (1.0, slicewise), (1.6, slicewise)])
        found = compute_features(backend, image, plan)
        assert_same_values(found, reference.feature_stack(image, plan))
        assert np.isfinite(found).any()

    @pytest.mark.parametrize("scale", [1e-30, 1e-40, 1e20], ids=["tiny", "denormal", "huge"])
    def test_features_of_extreme_values_equal_the_reference(self, backend: Backend, scale: float) -> None:
        """Denormal numbers are not flushed to zero, and nothing is scaled; huge ones overflow as in float32."""
        image = (random_image((1, 6, 7, 70), dtype="float32").astype(np.float64) * scale).astype(np.float32)
        assert_equals_reference(backend, image, make_plan([(0.7, True), (1.0, False)]))

    @pytest.mark.parametrize(
        "tile",
        [
            ((0, 20, 0), (1, 21, 133)),
            ((0, 0, 0), (1, 1, 133)),
            ((0, 44, 0), (1, 45, 133)),
            ((0, 0, 70), (1, 45, 71)),
            ((0, 0, 132), (1, 45, 133)),
            ((0, 11, 95), (1, 12, 96)),
            ((0, 0, 0), (1, 1, 1)),
            ((0, 44, 132), (1, 45, 133)),
            ((0, 7, 5), (1, 29, 101)),
            ((0, 3, 39), (1, 42, 97)),
        ],
        ids=box_id,
    )
    def test_tiles_of_a_flat_image(self, backend: Backend, tile: tuple[Voxels, Voxels]) -> None:
        image = random_image((2, 1, 45, 133))
        plan = make_plan([(0.5, True), (1.0, True), (3.5, True), (10.0, True)], channels=2)
        whole = compute_features(backend, image, plan)
        assert_same_bits(compute_features(backend, image, plan, tile), whole[cut(tile)])

    @pytest.mark.parametrize(
        "tile",
        [
            ((4, 0, 0), (5, 15, 101)),
            ((0, 0, 0), (1, 15, 101)),
            ((11, 14, 0), (12, 15, 101)),
            ((0, 0, 64), (12, 15, 65)),
            ((0, 7, 0), (12, 8, 101)),
            ((5, 6, 7), (6, 7, 8)),
            ((11, 14, 100), (12, 15, 101)),
            ((2, 3, 5), (10, 12, 97)),
        ],
        ids=box_id,
    )
    def test_tiles_of_a_volume(self, backend: Backend, tile: tuple[Voxels, Voxels]) -> None:
        image = random_image((1, 12, 15, 101))
        plan = make_plan([(0.5, False), (1.0, False), (3.5, True), (1.6, False)])
        whole = compute_features(backend, image, plan)
        assert_same_bits(compute_features(backend, image, plan, tile), whole[cut(tile)])

    def test_more_halo_than_needed_changes_nothing(self, backend: Backend) -> None:
        image = random_image((1, 1, 40, 90))
        plan = backend.pixels.load_plan(make_plan([(1.6, True)]))
        tile = ((0, 10, 20), (1, 30, 70))
        source = backend.pixels.to_device(image)
        stack = backend.pixels.feature_stack(source, (0, 0, 0), tile, (1, 40, 90), plan)
        found = backend.pixels.to_host(backend.pixels.features(stack))
        assert_same_bits(found, compute_features(backend, image, make_plan([(1.6, True)]), tile))

    @pytest.mark.parametrize("operation", OPERATIONS)
    def test_halo_is_exactly_what_is_read(self, backend: Backend, operation: str) -> None:
        """Voxels outside the halo do not matter, the outermost ones inside do."""
        plan = make_plan([(1.6, False)], operations=[operation])
        mz, my, mx = backend.pixels.source_halo(backend.pixels.load_plan(plan))
        image = random_image((1, 2 * mz + 3, 2 * my + 3, 2 * mx + 3), dtype="float32")
        middle = (mz + 1, my + 1, mx + 1)
        before = compute_features(backend, image, plan)[middle]
        for axis, halo in ((1, mz), (2, my), (3, mx)):
            changed = image.copy()
            np.moveaxis(changed, axis, 0)[[0, -1]] += 1e4
            np.testing.assert_array_equal(compute_features(backend, changed, plan)[middle], before)
            changed = image.copy()
            np.moveaxis(changed, axis, 0)[1] += 1e6
            assert (compute_features(backend, changed, plan)[middle] != before).any(), f"halo {halo} along axis {axis}"

    def test_stack_can_be_asked_twice(self, backend: Backend) -> None:
        image = random_image((1, 5, 9, 70))
        stack = open_stack(backend, image, make_plan([(1.0, False)]))
        assert stack.shape == (5, 9, 70, 10)
        first = backend.pixels.to_host(backend.pixels.features(stack))
        assert_same_bits(backend.pixels.to_host(backend.pixels.features(stack)), first)

    def test_sources_stay_as_they_were(self, backend: Backend) -> None:
        image = random_image((1, 5, 9, 70), dtype="float32")
        copy = image.copy()
        compute_features(backend, image, make_plan([(1.0, False)]))
        assert_same_bits(image, copy)
