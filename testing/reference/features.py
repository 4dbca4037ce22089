"""Every pixel feature as its definition says, for whole images and one voxel after the other in NumPy's float32.

Slow and plain on purpose: no tiles, no shared intermediates, nothing of the product's own tables. Volumes are (z, y, x)
float32; an image is (c, z, y, x) of any dtype.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .fma import fused_multiply_add

AXES = {"z": 0, "y": 1, "x": 2}
PRESMOOTHING_WINDOW = 3.5
FEATURE_WINDOW = 2.0
F = np.float32


def radius(sigma: float, window: float) -> int:
    """Voxels on each side of the centre of a filter."""
    return 0 if abs(sigma) < 1e-6 else math.floor(window * sigma + 0.5)


def taps(sigma: float, order: int, window: float) -> list[np.float32]:
    """Centre and right half of the filter; [1] where it has no width, which copies the line for every order."""
    r = radius(sigma, window)
    if r == 0:
        return [F(1)]
    root = math.sqrt(2 * math.pi)
    raw: list[np.float32] = []
    for x in range(r + 1):
        g = math.exp(-(x**2) / (2 * sigma**2))
        if order == 0:
            raw.append(F(g / (root * sigma)))
        elif order == 1:
            raw.append(F(x * g * (-1 / (root * sigma**3))))
        else:
            raw.append(F((1 - (x / sigma) ** 2) * g * (-1 / (root * sigma**3))))
    c = [float(tap) for tap in raw]
    if order == 2:
        mean = (c[0] + sum(2 * tap for tap in c[1:])) / (2 * r + 1)
        c = [float(F(tap - mean)) for tap in c]
    moment = {
        0: lambda: c[0] + sum(2 * tap for tap in c[1:]),
        1: lambda: -2 * sum(x * c[x] for x in range(1, r + 1)),
        2: lambda: sum(x * x * c[x] for x in range(1, r + 1)),
    }[order]()
    normal = [F(tap / moment) for tap in c]
    return [F(0), *(-tap for tap in normal[1:])] if order == 1 else normal


def is_fused(width: int, r: int) -> np.ndarray:
    """For every x of a line: does the x pass round once a tap there? (width,) bool."""
    end = (width - r) - (width - r) % 32
    begin = r + (-r) % 8
    least = begin + (-begin) % 32
    x = np.arange(width)
    return (x >= begin) & (x < end) if end > least else np.zeros(width, bool)


def shifted(volume: np.ndarray, axis: int, distance: int) -> np.ndarray:
    """Values ``distance`` voxels to the right of every voxel; the border mirrors without repeating the edge."""
    n = volume.shape[axis]
    position = np.abs(np.arange(n) + distance)
    return volume.take(np.where(position < n, position, 2 * (n - 1) - position), axis)


def filter_along(volume: np.ndarray, letter: str, weights: list[np.float32], *, odd: bool) -> np.ndarray:
    """Filter along one axis, with one rounding of each product or of each sum as the contract says."""
    if len(weights) == 1:
        return volume.copy()
    axis = AXES[letter]
    fused = is_fused(volume.shape[2], len(weights) - 1) if letter == "x" else np.ones(1, bool)
    once = twice = weights[0] * volume
    for k in range(1, len(weights)):
        right, left = shifted(volume, axis, k), shifted(volume, axis, -k)
        pair = right - left if odd else right + left
        if fused.any():
            once = fused_multiply_add(pair, weights[k], once)
        if not fused.all():
            twice = twice + weights[k] * pair
    return np.where(fused, once, twice)


def separable(
    volume: np.ndarray, sigma: float, axes: str, derivative: str = "", window: float = FEATURE_WINDOW
) -> np.ndarray:
    """A Gaussian along ``axes``, or its derivative along the letters of ``derivative``; x first, z last."""
    for letter in "xyz":
        if letter in axes:
            order = derivative.count(letter)
            volume = filter_along(volume, letter, taps(sigma, order, window), odd=order == 1)
    return volume


def gaussian(volume: np.ndarray, sigma: float, axes: str) -> list[np.ndarray]:
    """Gaussian smoothing."""
    return [separable(volume, sigma, axes)]


def laplacian(volume: np.ndarray, sigma: float, axes: str) -> list[np.ndarray]:
    """Sum of the second derivatives."""
    second = {a: separable(volume, sigma, axes, a + a) for a in axes}
    if axes == "yx":
        return [second["y"] + second["x"]]
    return [(second["x"] + second["y"]) + second["z"]]


def gradient_magnitude(volume: np.ndarray, sigma: float, axes: str) -> list[np.ndarray]:
    """Length of the gradient."""
    square = {a: separable(volume, sigma, axes, a) ** 2 for a in axes}
    if axes == "yx":
        return [np.sqrt(square["y"] + square["x"])]
    return [np.sqrt((square["x"] + square["y"]) + square["z"])]


def difference_of_gaussians(volume: np.ndarray, sigma: float, axes: str) -> list[np.ndarray]:
    """Difference of two Gaussians, the second with 0.66 of the sigma."""
    return [separable(volume, sigma, axes) - separable(volume, 0.66 * sigma, axes)]


def structure_tensor(volume: np.ndarray, sigma: float, axes: str) -> list[np.ndarray]:
    """Eigenvalues of the smoothed products of derivatives."""
    gradient = {a: separable(volume, 0.5 * sigma, axes, a) for a in axes}
    return eigenvalues({a + b: separable(gradient[a] * gradient[b], sigma, axes) for a, b in pairs(axes)}, axes)


def hessian(volume: np.ndarray, sigma: float, axes: str) -> list[np.ndarray]:
    """Eigenvalues of the second derivatives."""
    return eigenvalues({a + b: separable(volume, sigma, axes, a + b) for a, b in pairs(axes)}, axes)


def pairs(axes: str) -> list[tuple[str, str]]:
    """List the entries of a symmetric matrix."""
    return [(a, b) for i, a in enumerate(axes) for b in axes[i:]]


def eigenvalues(entry: dict[str, np.ndarray], axes: str) -> list[np.ndarray]:
    """Eigenvalues of symmetric matrices whose entries are named by two axes; largest first."""
    if axes == "yx":
        return eigenvalues_2x2(entry["yy"], entry["yx"], entry["xx"])
    return eigenvalues_3x3(*(entry[name] for name in ("zz", "zy", "zx", "yy", "yx", "xx")))


def eigenvalues_2x2(yy: np.ndarray, yx: np.ndarray, xx: np.ndarray) -> list[np.ndarray]:
    """Eigenvalues of symmetric 2 x 2 matrices, the larger first."""
    mean = (xx + yy) * F(0.5)
    half = (xx - yy) * F(0.5)
    root = np.sqrt(half * half + yx * yx)
    return [mean + root, mean - root]


def eigenvalues_3x3(*entries: np.ndarray) -> list[np.ndarray]:
    """Eberly's closed form; entries are zz, zy, zx, yy, yx, xx."""
    largest = np.max(np.abs(np.stack(entries)), axis=0)
    a00, a01, a02, a11, a12, a22 = (e / np.where(largest == 0, F(1), largest) for e in entries)
    c0 = (((a00 * a11 * a22 + F(2) * a01 * a02 * a12) - a00 * a12 * a12) - a11 * a02 * a02) - a22 * a01 * a01
    c1 = ((((a00 * a11 - a01 * a01) + a00 * a22) - a02 * a02) + a11 * a22) - a12 * a12
    c2 = (a00 + a11) + a22
    u = c2 * F(1 / 3)
    a = negative_part((c1 - c2 * u) * F(1 / 3))
    b = F(0.5) * (c0 + u * ((F(2) * u) * u - c1))
    q = negative_part(b * b + (a * a) * a)
    rho = np.sqrt(-a)
    angle = arc_tangent(np.sqrt(-q), b) * F(1 / 3)
    sine, cosine = sine_and_cosine(angle)
    root_3 = F(math.sqrt(3))
    r0 = u + (F(2) * rho) * cosine
    r1 = u - rho * (cosine + root_3 * sine)
    r2 = u - rho * (cosine - root_3 * sine)
    ordered = np.sort(np.stack([r0, r1, r2]), axis=0)
    return [ordered[i] * largest for i in (2, 1, 0)]


def negative_part(value: np.ndarray) -> np.ndarray:
    """min(0, value); a zero of either sign becomes +0, NaN stays."""
    return np.where(value >= 0, F(0), value)


def arc_tangent(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """atan2 as the original's polynomial has it, with its wrong answers for x = 0."""
    y_sign, x_sign = np.signbit(y), np.signbit(x)
    steep = np.abs(y) > np.abs(x)
    big = np.where(steep, np.abs(y), np.abs(x))
    small = np.where(steep, -np.abs(x), np.abs(y))
    turns = np.where(x_sign, F(-2), F(0)) + np.where(steep, F(1), F(0))
    s = small / big
    t = s * s
    p = F(0.0028236389625817537)
    for coefficient in (
        -0.01595690287649632,
        0.04250498861074448,
        -0.07489009201526642,
        0.10634793341159821,
        -0.1420273631811142,
        0.19992695748805999,
        -0.33333101868629456,
    ):
        p = p * t + F(coefficient)
    w = turns * F(math.pi / 2) + ((t * s) * p + s)
    w = np.where(x_sign, -w, w)
    w = np.where(big == 0, F(math.pi / 2), w)
    w = np.where(small == 0, np.where(x_sign, F(math.pi), F(0)), w)
    return np.where(y_sign, -w, w)


def sine_and_cosine(angle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cephes' single precision sine and cosine, all octants."""
    x = np.abs(angle)
    scaled = x * F(1.27323954473516)
    octant = np.where(np.isfinite(scaled), scaled, 0).astype(np.int32)
    octant = (octant + 1) & ~1
    j = octant.astype(F)
    x = ((x + j * F(-0.78515625)) + j * F(-2.4187564849853515e-4)) + j * F(-3.774894977445941e-8)
    z = x * x
    even = F(2.443315711809948e-5) * z + F(-1.388731625493765e-3)
    even = ((((even * z + F(4.166664568298827e-2)) * z) * z) - z * F(0.5)) + F(1)
    uneven = F(-1.9515295891e-4) * z + F(8.3321608736e-3)
    uneven = (((uneven * z + F(-1.6666654611e-1)) * z) * x) + x
    swapped = (octant & 2) != 0
    sine, cosine = np.where(swapped, even, uneven), np.where(swapped, uneven, even)
    sine = np.where(((octant & 4) != 0) != np.signbit(angle), -sine, sine)
    return sine, np.where((~(octant - 2) & 4) != 0, -cosine, cosine)


OPERATIONS: dict[str, Callable[[np.ndarray, float, str], list[np.ndarray]]] = {
    "gaussian": gaussian,
    "laplacian": laplacian,
    "gradient_magnitude": gradient_magnitude,
    "difference_of_gaussians": difference_of_gaussians,
    "structure_tensor": structure_tensor,
    "hessian": hessian,
}


def feature_stack(image: np.ndarray, plan: Any) -> np.ndarray:
    """All columns of a ``kernels.contract.FeaturePlan`` for a whole image, (z, y, x, f)."""
    out = np.full((*image.shape[1:], plan.width), -12345, F)
    with np.errstate(all="ignore"):
        volumes = np.ascontiguousarray(image).astype(F)
        for scale in plan.scales:
            axes = "yx" if scale.slicewise else "zyx"
            for channel, volume in enumerate(volumes):
                smoothed = separable(volume, scale.presmoothing_sigma, axes, window=PRESMOOTHING_WINDOW)
                for name, column in scale.columns.items():
                    columns = OPERATIONS[name](smoothed, scale.feature_sigma, axes)
                    for i, values in enumerate(columns):
                        out[..., column + channel * len(columns) + i] = values
    return out
