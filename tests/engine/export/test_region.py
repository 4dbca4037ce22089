"""Sub-regions: their three readings, None, negative stops, clipping."""

from __future__ import annotations

import pytest

from pixelforest.box import Box
from pixelforest.engine.errors import ExportError, UsageError, setting
from pixelforest.engine.export.region import Cutout, describe_region, parse_list, parse_region, resolve_region

SHAPE = (1, 1, 73, 187, 2)


def resolve(text: str, pipeline: str = "yxc", file: str = "cyx", shape=SHAPE):
    return resolve_region(parse_region(text), pipeline_axes=pipeline, file_axes=file, shape=shape)


def test_pipeline_order_comes_first() -> None:
    box, reading, warnings = resolve("[(10,20,0),(50,100,1)]")
    assert box == Box((0, 0, 10, 20, 0), (1, 1, 50, 100, 1))
    assert reading == "pipeline order yxc"
    assert warnings == ()


def test_all_five_axes() -> None:
    box, reading, _ = resolve("[(0,0,10,20,0), (1,1,50,100,1)]")
    assert box == Box((0, 0, 10, 20, 0), (1, 1, 50, 100, 1))
    assert "tzyxc" in reading


def test_order_of_the_file() -> None:
    box, reading, _ = resolve("[(20,10),(100,50)]", file="xy")
    assert box == Box((0, 0, 10, 20, 0), (1, 1, 50, 100, 2))
    assert reading == "order of the input file xy"
    box, reading, _ = resolve("[(0,1,20,10),(1,2,100,50)]", file="zcxy")
    assert box == Box((0, 0, 10, 20, 1), (1, 1, 50, 100, 2))


def test_none_and_negative_stops() -> None:
    box, _, warnings = resolve("[(10, None, None), (-3, None, -1)]")
    assert box == Box((0, 0, 10, 0, 0), (1, 1, 70, 187, 1))
    assert warnings == ()


def test_excess_is_cut_off_with_a_warning() -> None:
    box, _, warnings = resolve("[(-4,20,0),(500,100,3)]")
    assert box == Box((0, 0, 0, 20, 0), (1, 1, 73, 100, 2))
    assert len(warnings) == 1
    assert "y=73, x=187, c=2" in warnings[0]
    assert "y 0:73, x 20:100, c 0:2" in warnings[0]


@pytest.mark.parametrize("text", ["[(50,20,0),(50,100,1)]", "[(80,20,0),(90,100,1)]", "[(10,20,0),(-90,100,1)]"])
def test_an_empty_region_names_the_axis(text: str) -> None:
    with pytest.raises(ExportError, match="empty along y"):
        resolve(text)


def test_a_wrong_number_of_entries_lists_the_readings() -> None:
    with pytest.raises(ExportError, match=r"4 entries.*3 \(yxc\).*3 \(cyx\).*5 \(tzyxc\)"):
        resolve("[(0,0,0,0),(1,1,1,1)]")


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("10,20", UsageError, "expected a list"),
        ("[(1,2),(3,4)", UsageError, "expected a list"),
        ("{}", UsageError, "expected a list"),
        ("[(1,2),(3,0)]", UsageError, "stop of 0"),
        ("[(1.0,2),(3,4)]", UsageError, "not a position"),
        ("[(1,true),(3,4)]", UsageError, "not a position"),
        ("[(1,2),(3,4),(5,6)]", ExportError, "start and stop tuples"),
        ("[1,2]", ExportError, "start and stop tuples"),
        ("[(1,2),(3,4,5)]", ExportError, "same dimensionality"),
    ],
)
def test_malformed_regions(text: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        parse_region(text)


def test_lists_keep_ints_and_floats_apart() -> None:
    assert [type(v) for v in parse_list("(0,255)", setting("x"))] == [int, int]
    assert [type(v) for v in parse_list("(0.0, 255.0)", setting("x"))] == [float, float]
    assert parse_list("[ None , (1 , 2) ]", setting("x")) == [None, [1, 2]]
    for text in ("(0.,1.)", "(NaN,1)", "(-Infinity,1)", "[" * 100_000):
        with pytest.raises(UsageError, match="x: expected a list"):
            parse_list(text, setting("x"))


def test_a_stored_region_is_named_as_such() -> None:
    cutout = Cutout((5, 0, 0), (5, None, None), "the region stored in the project")
    with pytest.raises(ExportError, match="stored in the project is empty along y"):
        resolve_region(cutout, pipeline_axes="yxc", file_axes="yxc", shape=SHAPE)


def test_no_region_is_everything() -> None:
    box, _, _ = resolve_region(None, pipeline_axes="yxc", file_axes="yxc", shape=SHAPE)
    assert box == Box.whole(SHAPE)
    assert describe_region(box, "yxc") == "y 0:73, x 0:187, c 0:2"
