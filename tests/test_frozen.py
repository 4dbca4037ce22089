"""Frozen records equal standard frozen dataclasses in everything that their users see."""

from __future__ import annotations

import dataclasses
import inspect
import pickle
from typing import ClassVar

import pytest

from pixelforest.frozen import frozen


@frozen
class Point:
    x: int
    y: int = 2
    names: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Standard:
    x: int
    y: int = 2
    names: list[str] = dataclasses.field(default_factory=list)


@frozen(eq=False)
class Same:
    x: int


@frozen(kw_only=True)
class Named(Point):
    z: int = 3


@dataclasses.dataclass(frozen=True)
class Extended(Point):
    """As a plug-in extends a record."""

    z: int = 3


def test_values_decide_about_equality_and_hash() -> None:
    assert Point(1) == Point(1, 2)
    assert Point(1) != Point(2)
    assert Point(1) != Named(x=1)
    assert hash(Point(1, names=())) == hash(dataclasses.astuple(Point(1, names=())))  # type: ignore[arg-type]
    assert Same(1) != Same(1)


@pytest.mark.parametrize("kind", [Point, Named, Extended, Same])
@pytest.mark.parametrize("name", ["x", "other"])
def test_no_attribute_is_assigned(kind: type, name: str) -> None:
    point = kind(x=1)
    with pytest.raises(dataclasses.FrozenInstanceError, match=name):
        setattr(point, name, 5)
    with pytest.raises(dataclasses.FrozenInstanceError, match=name):
        delattr(point, name)
    assert point.x == 1


def test_signature_fields_text_and_copies_are_those_of_the_standard_library() -> None:
    assert str(inspect.signature(Point)) == str(inspect.signature(Standard))
    assert str(inspect.signature(Point.__init__)) == str(inspect.signature(Standard.__init__))
    assert repr(Point(1)) == repr(Standard(1)).replace("Standard", "Point")
    assert [field.name for field in dataclasses.fields(Point)] == [field.name for field in dataclasses.fields(Standard)]
    assert dataclasses.replace(Point(1), y=5) == Point(1, 5)
    assert dataclasses.asdict(Named(x=1)) == {"x": 1, "y": 2, "names": [], "z": 3}
    assert pickle.loads(pickle.dumps(Point(1))) == Point(1)
    assert Point(1).names is not Point(1).names


def test_an_extension_takes_the_fields_of_its_base_first() -> None:
    @frozen
    class Checked(Point):
        """A base that has made no object yet, and a step after the fields are there."""

        z: int = 3

        def __post_init__(self) -> None:
            if self.z < 0:
                raise ValueError(self.z)

    assert Checked(1, 2, [], 4) == Checked(x=1, z=4)
    assert Checked(1, names=[5]).names == [5]
    with pytest.raises(ValueError, match="-1"):
        Checked(1, z=-1)
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'x'"):
        Checked()  # type: ignore[call-arg]


def test_keyword_only_fields_are_not_positional() -> None:
    assert Named(1, z=4).z == 4
    with pytest.raises(TypeError):
        Named(1, 2, [], 4)  # type: ignore[misc]


def test_annotations_are_kept_and_those_of_no_field_make_none() -> None:
    @frozen
    class Marked:
        count: int
        limit: ClassVar[int] = 3
        _: dataclasses.KW_ONLY
        name: str = ""

    assert Marked.__annotations__["count"] == "int"
    assert {each.name: each.type for each in dataclasses.fields(Marked)} == {"count": "int", "name": "str"}
    assert str(inspect.signature(Marked)) == "(count: 'int', *, name: 'str' = '') -> None"
