"""``dataclass``, ``field`` and ``replace`` as in the standard library, for types that are cheap to define.

``dataclasses`` writes six functions for every type while its module is imported, 1 ms a type on a slow machine, a
quarter of the time in which a small job was done. Here nothing is written until the first object is made, and then
only ``__init__``; the other methods are the same functions for all types. ``dataclasses.fields``, ``replace`` and the
like work with these types too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass, field, replace

    __all__ = ["dataclass", "field", "replace"]
else:

    class _Made:
        """The default of a field that is made anew for every object."""

        def __init__(self, default_factory):
            self.make = default_factory

    _NONE = _Made(None)  # the default of a field that has none

    class _Fields:
        """``__dataclass_fields__``: what ``dataclasses`` knows about a type, found out when somebody asks."""

        def __get__(self, instance, owner):
            import dataclasses

            given = {
                name: dataclasses.field(default_factory=default.make) if isinstance(default, _Made) else default
                for name, default in owner.__record_defaults__.items()
                if default is not _NONE
            }
            types = {name: _annotation(owner, name) for name in owner.__record_defaults__}
            twin = type(owner.__name__, (), {"__annotations__": types, **given})
            fields = dataclasses.dataclass(init=False, repr=False, eq=False)(twin).__dataclass_fields__
            owner.__dataclass_fields__ = fields
            return fields

    def field(*, default_factory):
        """A field whose default is made anew for every object."""
        return _Made(default_factory)

    def dataclass(cls=None, /, *, frozen=False, eq=True, order=False):
        """As ``dataclasses.dataclass``, for types whose fields are all plain ones."""
        if cls is None:
            return lambda found: dataclass(found, frozen=frozen, eq=eq, order=order)
        own = cls.__annotations__  # of this very class, empty if it has none
        defaults = dict(getattr(cls, "__record_defaults__", {}))
        for name in own:
            defaults[name] = cls.__dict__.get(name, _NONE)
            if isinstance(defaults[name], _Made) and name in cls.__dict__:
                delattr(cls, name)
        cls.__record_defaults__ = defaults
        cls.__match_args__ = tuple(defaults)
        cls.__dataclass_fields__ = _Fields()
        cls.__init__ = _first_init(cls, frozen)
        methods = {"__repr__": _repr}
        if eq:
            methods["__eq__"] = _eq
            cls.__hash__ = _hash if frozen else None
        if order:
            methods |= {"__lt__": _lt, "__le__": _le, "__gt__": _gt, "__ge__": _ge}
        if frozen:
            methods |= {"__setattr__": _refuse_to_set, "__delattr__": _refuse_to_delete}
        for name, method in methods.items():
            if name not in cls.__dict__:
                setattr(cls, name, method)
        return cls

    def replace(record, /, **changes):
        """The same record with other values in some fields."""
        values = {name: getattr(record, name) for name in record.__record_defaults__}
        return type(record)(**(values | changes))

    def _annotation(owner, name):
        kinds = (getattr(base, "__annotations__", {}) for base in owner.__mro__)
        return next(each[name] for each in kinds if name in each)

    def _first_init(cls, frozen):
        """An ``__init__`` that writes the one which takes its place."""

        def first(self, *arguments, **named):
            cls.__init__ = init = _write_init(cls, frozen)
            init(self, *arguments, **named)

        return first

    def _write_init(cls, frozen):
        names = {"_none": _NONE, "_set": object.__setattr__}
        parameters, lines = ["self"], []
        for name, default in cls.__record_defaults__.items():
            value = name
            if default is _NONE:
                parameters.append(name)
            elif isinstance(default, _Made):
                names[f"_make_{name}"] = default.make
                parameters.append(f"{name}=_none")
                value = f"_make_{name}() if {name} is _none else {name}"
            else:
                names[f"_default_{name}"] = default
                parameters.append(f"{name}=_default_{name}")
            lines.append(f"_set(self, {name!r}, {value})" if frozen else f"self.{name} = {value}")
        if hasattr(cls, "__post_init__"):
            lines.append("self.__post_init__()")
        body = "\n  ".join(lines or ["pass"])
        exec(f"def __init__({', '.join(parameters)}):\n  {body}", names)
        init = names["__init__"]
        init.__qualname__ = f"{cls.__qualname__}.__init__"
        return init

    def _values(record):
        return tuple([getattr(record, name) for name in record.__record_defaults__])

    def _repr(self):
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__record_defaults__)
        return f"{type(self).__qualname__}({shown})"

    def _eq(self, other):
        return _values(self) == _values(other) if other.__class__ is self.__class__ else NotImplemented

    def _hash(self):
        return hash(_values(self))

    def _lt(self, other):
        return _values(self) < _values(other) if other.__class__ is self.__class__ else NotImplemented

    def _le(self, other):
        return _values(self) <= _values(other) if other.__class__ is self.__class__ else NotImplemented

    def _gt(self, other):
        return _values(self) > _values(other) if other.__class__ is self.__class__ else NotImplemented

    def _ge(self, other):
        return _values(self) >= _values(other) if other.__class__ is self.__class__ else NotImplemented

    def _refuse_to_set(self, name, value):
        from dataclasses import FrozenInstanceError

        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def _refuse_to_delete(self, name):
        from dataclasses import FrozenInstanceError

        raise FrozenInstanceError(f"cannot delete field {name!r}")
