"""Source of a second stage on the device: channels of the image, then the probabilities of the first; see stages.cu."""

from __future__ import annotations

import numpy as np

from ..contract import Voxels
from .device import Device, DeviceArray, Strided
from .launch import Compilation, KernelFile
from .results import THREADS, ClassColumns, count_blocks
from .strided import gather

STAGES = KernelFile("stages.cu")


def stage_kernels(dtype: np.dtype) -> tuple[Compilation, ...]:
    """List the kernels to compile for images of a dtype."""
    return ((STAGES, (f"SOURCE={dtype.name}",)),)


COMMON_STAGES = tuple(kernel for name in ("uint8", "uint16", "float32") for kernel in stage_kernels(np.dtype(name)))
"""Kernels for the types that most images have."""


def stack_stages(
    device: Device,
    source: DeviceArray,
    first: Voxels,
    probabilities: DeviceArray,
    classes: ClassColumns,
    dtype: np.dtype,
) -> DeviceArray:
    """Stack channels of the image and a first stage's probabilities: (c, z, y, x) float32. Does not wait.

    source         (c, z, y, x) float32 of the first stage, with its halo
    first          position of the probabilities' first voxel in it
    probabilities  (z, y, x, k) float32
    dtype          type of the image
    """
    channels, _, height, width = source.shape
    z, y, x, known = probabilities.shape
    voxels, added = z * y * x, len(classes.columns)
    steps = (source.shape[1] * height * width, height * width, width, 1)
    place = sum(a * step for a, step in zip(first, steps[1:], strict=True))
    out = device.empty((channels + added, z, y, x), np.float32)
    gather(device, Strided(source, place, steps, (channels, z, y, x), source.dtype), out.view(0, (channels, z, y, x)))
    kernel = STAGES.kernel(device, "append_probabilities", *(defines for _, defines in stage_kernels(dtype)))
    kernel(
        count_blocks(voxels),
        (THREADS, 1, 1),
        (
            probabilities,
            np.int64(voxels),
            np.int32(known),
            device.upload(np.array(classes.columns, np.int32)),
            np.int32(added),
            out.view(channels * voxels, (added, z, y, x)),
        ),
    )
    return out
