"""Comparison of a run's files with those of ilastik: every element, and the metadata.

Differences are failures, but for these, each named below: the noise of sums over several forests, the last voxels of a
volume, features of cut-outs, and classes whose recorded probabilities tie.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import tifffile
from PIL import Image

# ilastik adds the probabilities of its stored forests in the order in which they finish, so the last bit of the sum
# varies from run to run. One unit in the last place of a float32 near 1 is 1.2e-7.
FOREST_NOISE = 1.2e-7

# ilastik computes the last n mod 8 voxels of eigenvalues of a volume with the C library instead of its vector code.
LAST_VOXELS = 7

# With a cut-out, ilastik filters only a surrounding of it that is too small for exact borders: last bits of the
# features differ from those of the whole image, which are ours. In 8-bit images by 1e-4 and relatively by 1e-5; few
# voxels by more.
CUT_ABSOLUTE, CUT_RELATIVE = 1e-4, 1e-5
CUT_SHARE = 1e-3

# JPEG loses what this bounds, in gray values; encoders round differently.
JPEG_MEAN = 3.0


@dataclass(frozen=True)
class Allowed:
    """Known differences that a run may show.

    forest_noise   the result is made of probabilities
    cut            it was recorded with a cut-out
    """

    forest_noise: bool = False
    cut: bool = False


NOTHING = Allowed()


def assert_same_values(found: np.ndarray, expected: np.ndarray, allowed: Allowed = NOTHING) -> None:
    """All elements are equal, NaN to NaN, but for what is allowed. Channels are last."""
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    gap = _gap(found, expected)
    is_float = expected.dtype.kind == "f"
    differs = gap > (FOREST_NOISE if allowed.forest_noise and is_float else 0.0)
    count = int(differs.sum())
    if count == 0 or _is_tail(differs):
        return
    if allowed.cut and is_float:
        largest = max(1.0, float(np.nanmax(np.abs(expected))) / 255)
        loose = CUT_ABSOLUTE * largest + CUT_RELATIVE * np.abs(expected.astype("f8"))
        count = int((gap > loose).sum())
        if count <= CUT_SHARE * gap.size:
            return
    raise AssertionError(f"{count} of {gap.size} elements differ, by up to {gap.max():.3g}; first at {_first(differs)}")


def assert_same_classes(found: np.ndarray, expected: np.ndarray, probabilities: np.ndarray) -> None:
    """Classes are equal, but where the recorded probabilities of the best two tie: which of them ilastik gave a voxel
    there depended on the order in which its forests finished in that very run."""
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    differs = (found != expected)[..., 0]
    if not differs.any() or _is_tail(differs[..., None]):
        return
    best = np.sort(probabilities[differs].astype("f8"), axis=-1)
    gap = best[:, -1] - best[:, -2]
    assert (gap <= FOREST_NOISE).all(), f"{(gap > FOREST_NOISE).sum()} voxels without a tie have another class"


def assert_same_dataset(found: h5py.Dataset, expected: h5py.Dataset, allowed: Allowed) -> None:
    """Values, axes, range and display mode are equal. Not compared: chunks, since recorded files were packed again."""
    assert_same_values(found[()], expected[()], allowed)
    assert_same_attributes(found, expected)


def assert_same_attributes(found: h5py.Dataset, expected: h5py.Dataset) -> None:
    """The attributes ilastik wrote are there, with the same content."""
    assert sorted(found.attrs) == sorted(expected.attrs)
    for key in expected.attrs:
        ours, theirs = found.attrs[key], expected.attrs[key]
        if key == "axistags":
            assert json.loads(ours) == json.loads(theirs)
        else:
            assert np.array_equal(ours, theirs), f"{key} is {ours}, expected {theirs}"
            assert np.asarray(ours).dtype == np.asarray(theirs).dtype, key


def assert_same_picture(found: Path, expected: Path) -> None:
    """Pictures and TIFF stacks hold the same pixels; JPEG nearly so."""
    ours, theirs = _read_picture(found), _read_picture(expected)
    if expected.suffix in (".jpg", ".jpeg"):
        assert ours.shape == theirs.shape
        assert np.abs(ours.astype("f8") - theirs).mean() < JPEG_MEAN
    else:
        assert_same_values(ours, theirs)


def _read_picture(path: Path) -> np.ndarray:
    if path.suffix in (".tif", ".tiff"):
        return np.squeeze(tifffile.imread(path))
    with Image.open(path) as image:
        return np.squeeze(np.asarray(image))


def _gap(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    ours, theirs = found.astype("f8"), expected.astype("f8")
    same = (found == expected) | (np.isnan(ours) & np.isnan(theirs))
    with np.errstate(invalid="ignore"):
        gap = np.where(same, 0.0, np.abs(ours - theirs))
    return np.where(np.isnan(gap), np.inf, gap)


def _is_tail(differs: np.ndarray) -> bool:
    """True if only the last voxels of a volume differ."""
    if differs.ndim < 4:
        return False
    voxels = np.flatnonzero(differs.reshape(-1, differs.shape[-1]).any(axis=1))
    total = differs.size // differs.shape[-1]
    return voxels.size > 0 and bool(voxels.min() >= total - LAST_VOXELS)


def _first(differs: np.ndarray) -> tuple[int, ...]:
    return tuple(int(i) for i in np.argwhere(differs)[0])


def assert_same_cells(found: Path, expected: Path) -> None:
    """Every cell ilastik wrote is there, as the same text; the order of its columns is random."""
    ours, theirs = read_table(found), read_table(expected)
    assert set(ours) == set(theirs)
    assert {name: ours[name] for name in theirs} == theirs


def read_table(path: Path) -> dict[str, tuple[str, ...]]:
    with open(path, newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    assert len(set(head)) == len(head)
    return dict(zip(head, zip(*rows, strict=True), strict=True))
