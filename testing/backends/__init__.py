"""Suites that every backend passes: equality with the definitions in ``testing.reference``, to the last bit.

A test class gets its backend from a fixture of that name::

    @pytest.fixture(scope="module")
    def backend():
        return open_backend()

    class TestMetal(BackendSuite):
        pass
"""

from __future__ import annotations

from .eigensystem import EigensystemSuite
from .features import FeatureSuite
from .filters import FilterSuite
from .forest import ForestSuite
from .forest_rows import ForestRowsSuite
from .hull import HullSuite
from .labels import LabelSuite
from .neighbourhood import NeighbourhoodSuite
from .objects import ObjectSuite
from .skeleton import SkeletonSuite
from .small import small
from .stages import StageSuite
from .threshold import ThresholdSuite

__all__ = [
    "BackendSuite",
    "EigensystemSuite",
    "FeatureSuite",
    "FilterSuite",
    "ForestRowsSuite",
    "ForestSuite",
    "HullSuite",
    "LabelBackendSuite",
    "LabelSuite",
    "NeighbourhoodSuite",
    "ObjectBackendSuite",
    "ObjectSuite",
    "PixelBackendSuite",
    "SkeletonSuite",
    "StageSuite",
    "ThresholdSuite",
    "small",
]


class PixelBackendSuite(FilterSuite, FeatureSuite, ForestSuite, ForestRowsSuite, StageSuite):
    """Tests of the part for pixels."""


class LabelBackendSuite(LabelSuite, ThresholdSuite):
    """Tests of the part for labels."""


class ObjectBackendSuite(EigensystemSuite, ObjectSuite, NeighbourhoodSuite, HullSuite, SkeletonSuite):
    """Tests of the part for objects."""


class BackendSuite(PixelBackendSuite, LabelBackendSuite, ObjectBackendSuite):
    """Tests of a whole backend."""
