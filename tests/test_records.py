"""Records behave as the standard library's dataclasses of the same fields."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from pixelforest import records


def define(decorate: Callable[..., Any], field: Callable[..., Any]) -> tuple[type, type, type]:
    """A frozen type, one that inherits from it, and a plain one."""

    @decorate(frozen=True, order=True)
    class Point:
        x: int
        y: int = 2

        def __post_init__(self) -> None:
            if self.x < 0:
                raise ValueError("negative")

    @decorate(frozen=True)
    class Named(Point):
        name: str = "none"
        more: dict[str, int] = field(default_factory=dict)

    @decorate
    class Plain:
        values: list[int] = field(default_factory=list)

    return Point, Named, Plain


OURS = define(records.dataclass, records.field)
THEIRS = define(dataclasses.dataclass, dataclasses.field)


@records.dataclass(frozen=True)
class Kept:
    """At the top of a module, as pickle wants it."""

    value: int


def outcome(action: Callable[[], object]) -> object:
    try:
        return action()
    except Exception as error:
        return type(error)


CASES: dict[str, Callable[[Any, Any, Any], object]] = {
    "text": lambda point, named, plain: (repr(point(1)), repr(named(1, name="a")), repr(plain([3]))),
    "equal": lambda point, named, plain: (point(1) == point(1, 2), point(1) == point(2), point(1) == named(1)),
    "other types": lambda point, named, plain: (point(1) == (1, 2), plain() != 0),
    "hash": lambda point, named, plain: {point(1): 5}[point(1, 2)],
    "no hash": lambda point, named, plain: hash(plain()),
    "order": lambda point, named, plain: sorted([point(2), point(1, 5), point(1, 3)])[0].y,
    "order of other types": lambda point, named, plain: point(1) < named(2),
    "all orders": lambda point, named, plain: (point(1) <= point(1), point(1) > point(2), point(1) >= point(1)),
    "missing": lambda point, named, plain: point(),
    "too many": lambda point, named, plain: point(1, 2, 3),
    "unknown": lambda point, named, plain: point(1, z=3),
    "checked": lambda point, named, plain: point(-1),
    "set": lambda point, named, plain: setattr(point(1), "x", 2),
    "delete": lambda point, named, plain: delattr(point(1), "x"),
    "plain set": lambda point, named, plain: setattr(plain(), "values", [1]),
    "factory": lambda point, named, plain: named(1).more is named(1).more,
    "default": lambda point, named, plain: (point.y, hasattr(plain, "values")),
    "copy": lambda point, named, plain: copy.deepcopy(named(1, more={"a": 1})).more,
    "match": lambda point, named, plain: named.__match_args__,
}


@pytest.mark.parametrize("name", CASES)
def test_they_behave_as_dataclasses(name: str) -> None:
    action = CASES[name]
    ours, theirs = define(records.dataclass, records.field), THEIRS  # types of which no object was made yet
    assert outcome(lambda: action(*ours)) == outcome(lambda: action(*theirs))


def test_dataclasses_knows_them() -> None:
    for ours, theirs in zip(define(records.dataclass, records.field), THEIRS, strict=True):
        assert dataclasses.is_dataclass(ours)
        assert [(f.name, f.type) for f in dataclasses.fields(ours)] == [
            (f.name, f.type) for f in dataclasses.fields(theirs)
        ]
    named = OURS[1](1, more={"a": 2})
    assert dataclasses.asdict(named) == {"x": 1, "y": 2, "name": "none", "more": {"a": 2}}
    assert dataclasses.replace(named, y=5) == records.replace(named, y=5) == OURS[1](1, 5, more={"a": 2})


def test_they_can_be_pickled() -> None:
    assert pickle.loads(pickle.dumps(Kept(4))) == Kept(4)
