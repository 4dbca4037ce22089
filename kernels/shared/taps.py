"""Weights of the 1-d Gaussian filters and their derivatives, made once on the host and handed to every backend.

Only the centre and one side are stored: ``taps[k]`` weighs the pair of voxels at distance k. An even order adds the
pair, order 1 subtracts the left voxel from the right one.
"""

from __future__ import annotations

import math

import numpy as np

from .exponential import exponential

PRESMOOTHER_WINDOW = 3.5  # sigmas; ilastik's window_size_smoother
FEATURE_WINDOW = 2.0  # sigmas; ilastik's window of every feature filter


def radius_voxels(sigma: float, window_size: float) -> int:
    """Half-width of the filter in voxels, the same for orders 0, 1 and 2. 0 means that the filter copies its input."""
    return 0 if abs(sigma) < 1e-6 else math.floor(window_size * sigma + 0.5)


def gaussian_taps(sigma: float, order: int, window_size: float) -> np.ndarray:
    """Taps 0..radius of a Gaussian (order 0) or of its first or second derivative.

    Returns (radius + 1,) float32. They are rounded to float32 after the raw value, after the removal of the mean
    (order 2) and after normalisation, with every sum in double, because ilastik's filter library rounds there. A radius
    of 0 gives [1]: ilastik copies the line then, whatever the order.
    """
    radius = radius_voxels(sigma, window_size)
    if radius == 0:
        return np.ones(1, np.float32)
    taps = np.array([_raw_tap(x, sigma, order) for x in range(radius + 1)], np.float32)
    if order == 2:
        taps = np.array([float(t) - _sum(taps, 0) / (2 * radius + 1) for t in taps], np.float32)
    norm = _sum(taps, order)
    taps = np.array([float(t) / norm for t in taps], np.float32)
    if order == 1:
        taps = -taps
        taps[0] = 0
    return taps


def _raw_tap(x: int, sigma: float, order: int) -> float:
    gauss = math.exp(-(x * x) / (2 * sigma * sigma))
    if order == 0:
        return gauss / (math.sqrt(2 * math.pi) * sigma)
    scale = -1 / (math.sqrt(2 * math.pi) * sigma**3)
    return x * gauss * scale if order == 1 else (1 - (x / sigma) ** 2) * gauss * scale


def _sum(taps: np.ndarray, order: int) -> float:
    """Moment that normalisation sets to 1: of the constant, of x, or of x²/2; in double, from the centre outwards."""
    total = float(taps[0]) if order == 0 else 0.0
    for x in range(1, len(taps)):
        total += {0: 2.0, 1: -2.0 * x, 2: float(x * x)}[order] * float(taps[x])
    return total


def threshold_taps(sigma: float) -> np.ndarray:
    """Taps 0..radius of the Gaussian that smooths prediction maps before a threshold, (radius + 1,) float64.

    Unlike those of the features' filters, they stay in double and reach at least one voxel to either side.
    """
    radius = max(1, radius_voxels(sigma, FEATURE_WINDOW))
    taps = np.array([exponential(-(x * x) / (2 * sigma * sigma)) for x in range(radius + 1)])
    taps /= np.concatenate([taps[:0:-1], taps]).sum()
    return taps
