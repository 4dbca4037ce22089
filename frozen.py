"""Frozen dataclasses that are quick to define."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, FrozenInstanceError, dataclass, field, fields, is_dataclass
from functools import cache
from inspect import get_annotations
from operator import attrgetter
from typing import Any, TypeVar, dataclass_transform, overload

T = TypeVar("T", bound=type)


@overload
def frozen(cls: T, /) -> T: ...


@overload
def frozen(*, eq: bool = True, kw_only: bool = False) -> Any: ...


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: Any = None, /, *, eq: bool = True, kw_only: bool = False) -> Any:
    """Make a class a dataclass whose objects do not change, as ``dataclass(frozen=True)`` does.

    The standard decorator compiles six functions for every class, 0.8 ms a class, and a run defines a hundred classes
    before it reads its first pixel. Here only ``__init__`` is compiled, when the first object is made; the other
    methods are the same functions for all classes.

    Parameters
    ----------
    eq
        Compare objects and compute their hashes by their fields; without it, each object equals only itself.
    kw_only
        All fields are keyword-only.

    Notes
    -----
    ``dataclasses.fields``, ``replace``, ``asdict`` and ``inspect.signature`` treat such a class like any other frozen
    dataclass, and ``dataclass(frozen=True)`` can extend it. Every field takes part in comparison and text.
    """
    if cls is None:
        return lambda found: _define(found, eq=eq, kw_only=kw_only)
    return _define(cls, eq=eq, kw_only=kw_only)


def _define(cls: Any, *, eq: bool, kw_only: bool) -> Any:
    is_extension = any(is_dataclass(base) for base in cls.__mro__[1:])  # dataclass requires it to be frozen as its base
    annotations = get_annotations(cls)
    # The standard decorator parses each annotation that is a text three times, a third of all its work.
    cls.__annotations__ = {name: kind if _is_no_field(kind) else object for name, kind in annotations.items()}
    made = dataclass(init=False, eq=False, repr=False, frozen=is_extension, kw_only=kw_only)(cls)
    made.__annotations__ = annotations
    made.__dataclass_fields__ = {each.name: each for each in fields(made)}  # without class variables
    for name, each in made.__dataclass_fields__.items():
        each.type = annotations.get(name, each.type)
    made.__dataclass_params__.frozen = made.__dataclass_params__.init = True
    methods = {"__setattr__": _set_once, "__delattr__": _refuse_to_delete}
    own = {"__init__": _Init(made), "__repr__": _repr} | ({"__eq__": _equals, "__hash__": _hash} if eq else {})
    for name, method in (methods | {name: own[name] for name in own if name not in cls.__dict__}).items():
        setattr(made, name, method)
    return made


def _is_no_field(annotation: object) -> bool:
    """Return True if an annotation may be one of those that make no field: ClassVar, InitVar, KW_ONLY."""
    return not isinstance(annotation, str) or "Var" in annotation or "KW_ONLY" in annotation


class _Factory:
    """Default value in a signature of a field that is made anew for every object."""

    def __repr__(self) -> str:
        return "<factory>"


_FACTORY = _Factory()


class _Init:
    """Descriptor that compiles ``__init__`` of a class when it is first asked for: every second class never is."""

    def __init__(self, owner: type) -> None:
        self._owner = owner

    def __get__(self, instance: object, owner: type) -> Any:
        self._owner.__init__ = _compile_init(self._owner)  # type: ignore[misc]
        return getattr(owner if instance is None else instance, "__init__")  # noqa: B009  # it is another one now


def _compile_init(cls: Any) -> Any:
    """Compile a function that takes a class's fields, as the standard library's does, and stores them at once."""
    values: dict[str, Any] = {}
    positional: list[str] = ["self"]
    by_name: list[str] = []
    items: list[str] = []
    for name, each in cls.__dataclass_fields__.items():
        default, item = "", name
        if each.default is not MISSING:
            default, values[f"_{name}"] = f"=_{name}", each.default
        elif each.default_factory is not MISSING:
            default, values[f"_{name}"], values[f"_make_{name}"] = f"=_{name}", _FACTORY, each.default_factory
            item = f"_make_{name}() if {name} is _{name} else {name}"
        (by_name if each.kw_only else positional).append(name + default)
        items.append(f"{name!r}: {item}")
    parameters = ", ".join([*positional, *(["*"] if by_name else []), *by_name])
    after = "; self.__post_init__()" if hasattr(cls, "__post_init__") else ""
    exec(f"def __init__({parameters}): self.__dict__.update({{{', '.join(items)}}}){after}", values)
    init = values["__init__"]
    init.__qualname__, init.__module__ = f"{cls.__qualname__}.__init__", cls.__module__
    init.__annotations__ = {name: each.type for name, each in cls.__dataclass_fields__.items()} | {"return": None}
    return init


def _repr(self: Any) -> str:
    texts = (f"{name}={getattr(self, name)!r}" for name in self.__dataclass_fields__)
    return f"{type(self).__qualname__}({', '.join(texts)})"


def _set_once(self: Any, name: str, value: object) -> None:
    if name in self.__dict__ or name not in self.__dataclass_fields__:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")
    self.__dict__[name] = value


def _refuse_to_delete(self: Any, name: str) -> None:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _equals(self: Any, other: object) -> bool:
    values = _getter(type(self))
    return values(self) == values(other) if type(other) is type(self) else NotImplemented


def _hash(self: Any) -> int:
    return hash(_getter(type(self))(self))


def _make_getter(cls: Any) -> Callable[[Any], object]:
    names = tuple(cls.__dataclass_fields__)
    return attrgetter(*names) if len(names) > 1 else lambda record: tuple(getattr(record, name) for name in names)


# Class -> function that returns the values of an object's fields; records are keys of caches for every image.
_getter: Callable[[type], Callable[[Any], object]] = cache(_make_getter)
