"""Tables of objects for pandas and pyarrow."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from support.array_inputs import golden_array, load_golden

from pixelforest.engine.arrays.objects import Table
from pixelforest.engine.errors import ExportError


@pytest.fixture(scope="module")
def table() -> Table:
    image, segmentation = golden_array("obj2d_seg"), golden_array("obj2d_seg", "seg.png")
    made: Table = load_golden("obj2d_seg").predict_objects(image, segmentation=segmentation).table
    return made


def test_pandas(table: Table) -> None:
    pytest.importorskip("pandas", reason="pandas is not installed")
    frame = table.to_pandas()
    assert (list(frame.columns), len(frame)) == (list(table), table.row_count)
    for name, values in table.items():
        np.testing.assert_array_equal(frame[name].to_numpy(), values, err_msg=name)
    assert frame["Size in pixels"].dtype == np.float32


def test_pyarrow(table: Table) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    found = table.to_arrow()
    assert (found.column_names, found.num_rows) == (list(table), table.row_count)
    for name, values in table.items():
        np.testing.assert_array_equal(found[name].to_numpy(), values, err_msg=name)


@pytest.mark.parametrize(
    ("method", "package", "extra"), [("to_pandas", "pandas", "pandas"), ("to_arrow", "pyarrow", "parquet")]
)
def test_a_missing_library_is_named(
    method: str, package: str, extra: str, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ExportError, match=rf"^{package} cannot be imported .*pixelforest\[{extra}\]'$"):
        getattr(table, method)()
