"""Loops of ``host.measure``: both passes over a slab, and the quantities derived from their sums."""

from __future__ import annotations

import math

import numpy as np

from ..build.jit import njit
from .accumulators import (
    add_axis_moments,
    add_channel_moments,
    add_channels,
    add_coordinates,
    add_extremes,
    add_histogram,
    add_moments,
    add_values,
    add_weight_moments,
    add_weights,
)
from .powers import power


@njit(nogil=True, cache=True)
def first_pass(labels, pixels, start, part, parts, shift, wanted, coordinates, values, extremes, weights, channels):
    """Add the objects of one part in a slab. labels (z, y, x), pixels (z * y * x, c) or of no channels.

    start   (z, y) of the slab's first line in the frame; the slab has whole lines
    wanted  flags: coordinates, scatter, values, extremes, weights, channels; then the tables of each
    """
    # Tuples are unpacked once, outside the loop, where numba would count references to all their arrays.
    count, low, high, position_sum, scatter = coordinates
    seen, total, second, smallest, largest = values
    least, most, least_at, most_at = extremes
    weight, weighted_sum, weighted_scatter = weights
    channel_seen, channel_total, channel_scatter = channels
    has_bounds, has_scatter, has_values, has_extremes, has_weights, has_channels = (
        wanted[0] != 0, wanted[1] != 0, wanted[2] != 0, wanted[3] != 0, wanted[4] != 0, wanted[5] != 0
    )  # fmt: skip
    depth, height, width = labels.shape
    is_flat = (weighted_scatter if has_weights else scatter).shape[1] == 3
    deviation = np.empty(max(pixels.shape[1], 1))
    for line in range(depth * height):
        z, y = line // height, line % height
        at_z, at_y = start[0] + z, start[1] + y
        base = line * width
        x1 = 0
        while x1 < width:
            x0 = x1
            label = labels[z, y, x0]
            x1 += 1
            while x1 < width and labels[z, y, x1] == label:
                x1 += 1
            if label == 0 or (label >> shift) % parts != part:
                continue
            i = np.int64(label) - 1
            if has_bounds:
                add_coordinates(i, at_z, at_y, x0, x1, is_flat, has_scatter, count, low, high, position_sum, scatter)
            if has_values:
                add_values(i, pixels, base, x0, x1, seen, total, second, smallest, largest)
            if has_extremes:
                add_extremes(i, at_z, at_y, pixels, base, x0, x1, least, most, least_at, most_at)
            if has_weights:
                add_weights(i, at_z, at_y, pixels, base, x0, x1, is_flat, weight, weighted_sum, weighted_scatter)
            if has_channels:
                add_channels(i, pixels, base, x0, x1, channel_seen, channel_total, channel_scatter, deviation)


@njit(nogil=True, cache=True)
def second_pass(labels, pixels, start, part, parts, shift, wanted, axis, moments, histogram, weights, channels):
    """Add objects as ``first_pass``; tables: axis moments, moments, histogram, weight moments, channel moments."""
    centre, axes, axis_third, axis_fourth = axis
    mean, third, fourth = moments
    lower, scale, bins, left = histogram
    weighted_centre, weighted_axes, weighted_third, weighted_fourth = weights
    channel_mean, principal, least, most, principal_third, principal_fourth = channels
    has_axis, has_moments, has_histogram, has_weights, has_channels = (
        wanted[0] != 0, wanted[1] != 0, wanted[2] != 0, wanted[3] != 0, wanted[4] != 0
    )  # fmt: skip
    depth, height, width = labels.shape
    for line in range(depth * height):
        z, y = line // height, line % height
        at_z, at_y = start[0] + z, start[1] + y
        base = line * width
        x1 = 0
        while x1 < width:
            x0 = x1
            label = labels[z, y, x0]
            x1 += 1
            while x1 < width and labels[z, y, x1] == label:
                x1 += 1
            if label == 0 or (label >> shift) % parts != part:
                continue
            i = np.int64(label) - 1
            if has_axis:
                add_axis_moments(i, at_z, at_y, x0, x1, centre, axes, axis_third, axis_fourth)
            if has_moments:
                add_moments(i, pixels, base, x0, x1, mean, third, fourth)
            if has_histogram:
                add_histogram(i, pixels, base, x0, x1, lower, scale, bins, left)
            if has_weights:
                add_weight_moments(
                    i, at_z, at_y, pixels, base, x0, x1, weighted_centre, weighted_axes, weighted_third,
                    weighted_fourth,
                )  # fmt: skip
            if has_channels:
                add_channel_moments(
                    i, pixels, base, x0, x1, channel_mean, principal, least, most, principal_third, principal_fourth
                )


@njit(nogil=True, cache=True, error_model="numpy")
def describe_moments(weight, second, third, fourth, first, stop, skewness, kurtosis):
    """Compute skewness and excess kurtosis from sums of powers; weight (n,) counts or weights, the others (n, k)."""
    for i in range(first, stop):
        n = np.float64(weight[i])
        for k in range(second.shape[1]):
            m = second[i, k]
            skewness[i, k] = math.sqrt(n) * third[i, k] / power(m, 1.5)
            kurtosis[i, k] = n * fourth[i, k] / (m * m) - 3.0


@njit(nogil=True, cache=True, error_model="numpy")
def interpolate_quantiles(count, bins, left, smallest, largest, lower, scale, levels, first, stop, quantiles):
    """Interpolate quantiles in the cumulative histogram, clipped to the object's own minimum and maximum."""
    n = bins.shape[1]
    place = np.empty(2 * n + 4)
    reached = np.empty(2 * n + 4)
    last = len(levels) - 1
    for i in range(first, stop):
        j = i if len(lower) > 1 else 0
        low, factor = lower[j], scale[j]
        total = np.float64(count[i])
        minimum, maximum = np.float64(smallest[i, 0]), np.float64(largest[i, 0])
        so_far = np.float64(left[i])
        points = 1
        place[0], reached[0] = factor * (minimum - low), 0.0
        if left[i] > 0:
            place[1], reached[1] = 0.0, so_far
            points = 2
        for k in range(n):
            if bins[i, k] == 0:
                continue
            if place[points - 1] <= k:
                place[points], reached[points] = k, so_far
                points += 1
            so_far += np.float64(bins[i, k])
            place[points], reached[points] = k + 1.0, so_far
            points += 1
        if so_far < total:  # voxels that rounding put above the last bin
            if place[points - 1] != n:
                place[points], reached[points] = n, so_far
                points += 1
            points += 1
        place[points - 1], reached[points - 1] = factor * (maximum - low), total
        quantiles[i, 0], quantiles[i, last] = minimum, maximum
        segment = 0
        for q in range(1, last):
            target = total * levels[q]
            while segment < points - 2 and not (reached[segment] < target <= reached[segment + 1]):
                segment += 1
            share = (target - reached[segment]) / (reached[segment + 1] - reached[segment])
            at = share * (place[segment + 1] - place[segment]) + place[segment]
            quantiles[i, q] = 1.0 / factor * at + low


@njit(nogil=True, cache=True)
def count_as_float32(bins, first, stop):
    """Convert rows of uint32 counts to float32 in place."""
    as_floats = bins.view(np.float32)
    for i in range(first, stop):
        for k in range(bins.shape[1]):
            as_floats[i, k] = np.float32(bins[i, k])
