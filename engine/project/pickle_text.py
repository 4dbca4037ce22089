"""Values of a pickle of protocol 0, read without unpickling.

The standard library splits the bytes into operations and imports nothing that they name. The few operations accepted
here make lists, dictionaries, tuples, strings, numbers, booleans and None. Since the pickle decides their nesting,
depth and number of operations are bounded, and no container is hashed, compared or copied.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

MAX_BYTES = 1 << 20
MAX_OPERATIONS = 1 << 16
MAX_DEPTH = 16
_SCALARS = frozenset(("UNICODE", "STRING", "INT", "LONG", "FLOAT", "NONE"))
_MARK = "MARK"


class PickleTextError(Exception):
    """The pickle contains something that is not supported here."""


@dataclass
class _Part:
    """A value under construction.

    depth      levels of values inside it: 0 for a string or a number
    is_placed  True if another value contains it, so that it may no longer change: its depth counts there
    """

    value: Any
    depth: int = 0
    is_placed: bool = False


def read_pickle_text(content: bytes) -> Any:
    """Read the value that a pickle of protocol 0 describes. Raises PickleTextError.

    Dictionary keys are strings. A value that the pickle uses twice is one object.
    """
    if len(content) > MAX_BYTES:
        raise PickleTextError(f"it has {len(content)} bytes, more than {MAX_BYTES}")
    from pickletools import genops  # slow to import, and needed for few projects

    machine = _Machine()
    try:
        for count, (operation, argument, _) in enumerate(genops(content)):
            if count == MAX_OPERATIONS:
                raise PickleTextError(f"it has more than {MAX_OPERATIONS} operations")
            if operation.name == "STOP":
                return machine.result()
            machine.apply(operation.name, argument)
    except (ValueError, IndexError, KeyError, DeprecationWarning) as error:
        # UnicodeDecodeError is a ValueError. An unknown escape sequence in a string is a warning, which Python raises
        # where it was started so.
        raise PickleTextError(f"it is damaged ({type(error).__name__})") from None
    raise PickleTextError("it ends too early")


class _Machine:
    """Stack of values, and the memo of values for later operations."""

    def __init__(self) -> None:
        self._stack: list[_Part | None] = []  # None: a mark
        self._memo: dict[int, _Part] = {}
        self._operations: dict[str, Callable[[], None]] = {
            _MARK: lambda: self._stack.append(None),
            "POP": lambda: self._drop(),
            "LIST": lambda: self._make(list),
            "TUPLE": lambda: self._make(tuple),
            "DICT": lambda: self._make_dict(),
            "APPEND": lambda: self._append(),
            "SETITEM": lambda: self._set_item(),
        }

    def apply(self, name: str, argument: Any) -> None:
        """Carry out one operation. Raises PickleTextError, IndexError or KeyError."""
        if name in _SCALARS:
            self._stack.append(_Part(argument))
        elif name == "PUT":
            if not 0 <= argument < MAX_OPERATIONS:
                raise PickleTextError(f"it numbers a value {argument}")
            self._memo[argument] = self._top()
        elif name == "GET":
            self._stack.append(self._memo[argument])
        elif name in self._operations:
            self._operations[name]()
        else:
            raise PickleTextError(f"it uses the operation {name}, where only plain values belong")

    def result(self) -> Any:
        """Return the only remaining value."""
        value = self._pop().value
        if self._stack:
            raise PickleTextError("it leaves values over")
        return value

    def _drop(self) -> None:
        self._stack.pop()

    def _top(self) -> _Part:
        part = self._stack[-1]
        if part is None:
            raise PickleTextError("it asks for a value where there is none")
        return part

    def _pop(self) -> _Part:
        part = self._top()
        self._stack.pop()
        return part

    def _items(self) -> list[_Part]:
        """Pop all values since the last mark, and the mark."""
        items = []
        while (part := self._stack.pop()) is not None:
            items.append(part)
        return items[::-1]

    def _make(self, kind: Callable[[list[Any]], Any]) -> None:
        items = self._items()
        made = _Part(None)
        made.value = kind([_placed_in(made, item) for item in items])
        self._stack.append(made)

    def _make_dict(self) -> None:
        items = self._items()
        made = _Part({})
        for key, value in zip(items[::2], items[1::2], strict=True):
            made.value[_key(key)] = _placed_in(made, value)
        self._stack.append(made)

    def _append(self) -> None:
        item, holder = self._pop(), self._open(list)
        holder.value.append(_placed_in(holder, item))

    def _set_item(self) -> None:
        item, key, holder = self._pop(), self._pop(), self._open(dict)
        holder.value[_key(key)] = _placed_in(holder, item)

    def _open(self, kind: type) -> _Part:
        """Return the value on top, which must be of this kind and may still change."""
        holder = self._top()
        if not isinstance(holder.value, kind) or holder.is_placed:
            raise PickleTextError(
                f"it adds to a value that is not of the type {kind.__name__} or is already part of another one"
            )
        return holder


def _key(part: _Part) -> str:
    """Convert a value to a key. Not a number: the hashes of numbers can be chosen to collide."""
    if not isinstance(part.value, str):
        raise PickleTextError(f"it uses a {type(part.value).__name__} as the key of a dictionary")
    return part.value


def _placed_in(holder: _Part, item: _Part) -> Any:
    """Make ``item`` a part of ``holder`` and return its value."""
    if item is holder:
        raise PickleTextError("it holds a value that is a part of itself")
    holder.depth = max(holder.depth, item.depth + 1)
    if holder.depth > MAX_DEPTH:
        raise PickleTextError(f"it nests values more than {MAX_DEPTH} deep")
    item.is_placed = True
    return item.value
