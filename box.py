"""Half-open n-dimensional regions of an image, and the operations that tiles need."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from math import prod

from .frozen import frozen


@frozen
class Box:
    """Region ``start <= position < stop`` along every axis. Empty if a stop does not exceed its start."""

    start: tuple[int, ...]
    stop: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.start) != len(self.stop):
            raise ValueError(f"a box needs as many starts as stops: {self.start}, {self.stop}")

    @classmethod
    def whole(cls, shape: Sequence[int]) -> Box:
        """Create the box that covers an array of this shape."""
        return cls((0,) * len(shape), tuple(int(n) for n in shape))

    @property
    def ndim(self) -> int:
        return len(self.start)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple([b - a if b > a else 0 for a, b in zip(self.start, self.stop, strict=True)])

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def is_empty(self) -> bool:
        return self.size == 0

    def slices(self) -> tuple[slice, ...]:
        """Slices that cut this box out of an array whose first element is at the origin."""
        return tuple(map(slice, self.start, self.stop))

    def grow(self, margin: Sequence[int]) -> Box:
        """Enlarge the box by ``margin[i]`` on both sides of axis i; the result may leave the image."""
        return Box(
            tuple(a - m for a, m in zip(self.start, margin, strict=True)),
            tuple(b + m for b, m in zip(self.stop, margin, strict=True)),
        )

    def intersect(self, other: Box) -> Box:
        """Intersect two boxes; empty (start = stop) along an axis where they do not overlap."""
        start = tuple(max(a, b) for a, b in zip(self.start, other.start, strict=True))
        stop = tuple(max(s, min(a, b)) for s, a, b in zip(start, self.stop, other.stop, strict=True))
        return Box(start, stop)

    def clip(self, shape: Sequence[int]) -> Box:
        """Clip this box to an array of this shape."""
        return self.intersect(Box.whole(shape))

    def shift(self, offset: Sequence[int]) -> Box:
        return Box(
            tuple(a + o for a, o in zip(self.start, offset, strict=True)),
            tuple(b + o for b, o in zip(self.stop, offset, strict=True)),
        )

    def relative_to(self, origin: Sequence[int]) -> Box:
        """Translate this box to the coordinates of an array whose first element is at ``origin``."""
        return self.shift(tuple(-o for o in origin))

    def contains(self, other: Box) -> bool:
        return all(a <= c and d <= b for a, b, c, d in zip(self.start, self.stop, other.start, other.stop, strict=True))

    def split(self, shape: Sequence[int]) -> Iterator[Box]:
        """Cut the box into pieces of at most ``shape``, counted from its start, last axis fastest."""
        ranges = [range(a, b, max(1, n)) for a, b, n in zip(self.start, self.stop, shape, strict=True)]
        for corner in product(*ranges):
            yield Box(corner, tuple(min(c + n, b) for c, n, b in zip(corner, shape, self.stop, strict=True)))
