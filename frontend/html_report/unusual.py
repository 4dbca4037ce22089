"""Inputs that lie far outside their batch, in words.

A number is compared with the quartiles of all inputs, as in a box plot. It must also differ by an amount that a person
would see, since the quartiles of very similar images are close together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import permutations
from math import log
from statistics import median, quantiles
from typing import Any

from pixelforest.frozen import frozen

MIN_BATCH = 5  # inputs; fewer have no usual values
WHISKER = 1.5  # interquartile ranges, as in a box plot
MIN_SHARE = 0.05  # of voxels or objects, or of the uncertainty
MIN_FACTOR = 1.5  # of brightness, contrast, sharpness and number of objects
MAX_PERMUTED = 4  # channels whose orders are tried
MIN_DISTANCE = 0.15  # of channels from the usual ones, as the logarithm of a factor
_QUANTITIES = ("mean", "deviation", "sharpness")


@frozen
class Mark:
    """Unusual property of an input.

    short     a few words for the table
    sentence  with its value and the usual ones
    """

    short: str
    sentence: str


@frozen
class _Quantity:
    """Quantity that is compared, in general or of each channel.

    take     (numbers of an input, channel) -> value, None if it has none
    is_ratio  values are compared by their factors
    low, high  words for values far below and above the others
    """

    name: str
    take: Callable[[Mapping[str, Any], int], float | None]
    low: str
    high: str
    write: Callable[[float], str]
    is_ratio: bool = False
    of_channels: bool = False

    def place(self, value: float) -> float:
        """Return the value where distances are compared: factors become differences."""
        return log(value) if self.is_ratio else value


@frozen
class _Finding:
    """Value far outside of the batch, and the usual one."""

    words: str
    quantity: _Quantity
    channel: int
    value: float
    usual: float


def find_unusual(samples: Sequence[Mapping[str, Any] | None]) -> list[list[Mark]]:
    """Compare the numbers of inputs, None for inputs without; returns the marks of each."""
    marks: list[list[Mark]] = [[] if numbers is None else _find_blank(numbers) for numbers in samples]
    batch = {i: numbers for i, numbers in enumerate(samples) if numbers is not None}
    if len(batch) < MIN_BATCH:
        return marks
    explained = {i for i, found in enumerate(marks) if found}  # what their channels look like follows from that
    for i, mark in _find_swapped(batch):
        marks[i].append(mark)
        explained.add(i)
    findings: dict[int, list[_Finding]] = {i: [] for i in batch}
    for quantity in _quantities(list(batch.values())):
        channels = max(len(numbers["channels"]) for numbers in batch.values()) if quantity.of_channels else 1
        for channel in range(channels):
            for i, finding in _compare(quantity, channel, batch):
                if not (quantity.of_channels and i in explained):
                    findings[i].append(finding)
    for i, found in findings.items():
        marks[i] += _word(found, len(batch[i]["channels"]))
    return marks


def _find_blank(numbers: Mapping[str, Any]) -> list[Mark]:
    channels = numbers["channels"]
    blank = [i for i, each in enumerate(channels) if each["minimum"] is not None and each["minimum"] == each["maximum"]]
    if not blank:
        return []
    values = ", ".join(f"{channels[i]['minimum']:g}" for i in blank)
    short = "blank" if len(blank) == len(channels) else f"blank{_name_channels(blank)}"
    return [Mark(short, f"{short}: every sampled pixel is {values}")]


def _compare(
    quantity: _Quantity, channel: int, batch: Mapping[int, Mapping[str, Any]]
) -> Iterator[tuple[int, _Finding]]:
    """Find the values that are outside of the whiskers of a box plot, and by more than a person would overlook."""
    taken = {i: value for i, numbers in batch.items() if (value := quantity.take(numbers, channel)) is not None}
    if len(taken) < MIN_BATCH:
        return
    places = {i: quantity.place(value) for i, value in taken.items()}
    first, middle, third = quantiles(places.values(), n=4, method="inclusive")
    least, reach = log(MIN_FACTOR) if quantity.is_ratio else MIN_SHARE, WHISKER * (third - first)
    low, high = min(first - reach, middle - least), max(third + reach, middle + least)
    usual = median(taken.values())
    for i, place in places.items():
        if not low <= place <= high:
            words = quantity.low if place < low else quantity.high
            yield i, _Finding(words, quantity, channel, taken[i], usual)


def _word(findings: Sequence[_Finding], channels: int) -> Iterator[Mark]:
    """Describe the findings about an input; those about several channels together."""
    for words in dict.fromkeys(finding.words for finding in findings):
        alike = [finding for finding in findings if finding.words == words]
        quantity = alike[0].quantity
        which = _name_channels([finding.channel for finding in alike]) if quantity.of_channels and channels > 1 else ""
        values, usual = (
            ", ".join(quantity.write(value) for value in row)
            for row in ([each.value for each in alike], [each.usual for each in alike])
        )
        short = words if len(alike) == channels else words + which
        yield Mark(short, f"{words}{which}: {quantity.name} is {values}; the median of all inputs is {usual}")


def _name_channels(channels: Sequence[int]) -> str:
    return f" (channel{'' if len(channels) == 1 else 's'} {', '.join(str(i + 1) for i in channels)})"


def _quantities(batch: Sequence[Mapping[str, Any]]) -> Iterator[_Quantity]:
    for name in sorted({each["name"] for numbers in batch for each in numbers["classes"]}):
        yield _Quantity(
            f"the share of {name}", partial(_share_of, name), f"little {name}", f"much {name}", "{:.1%}".format
        )
    yield _Quantity("the mean uncertainty", _uncertainty_of, "very certain", "uncertain", "{:.3f}".format)
    yield _Quantity(
        "the number of objects", _objects_of, "few objects", "many objects", lambda n: f"{n - 1:.0f}", is_ratio=True
    )
    for key, low, high, name in (
        ("mean", "dark", "bright", "the mean"),
        ("deviation", "low contrast", "high contrast", "the standard deviation"),
        ("sharpness", "blurred, maybe out of focus", "sharper or noisier", "the sharpness"),
    ):
        take = partial(_of_channel, key)
        yield _Quantity(name, take, low, high, "{:.4g}".format, is_ratio=True, of_channels=True)


def _share_of(name: str, numbers: Mapping[str, Any], _: int) -> float | None:
    """Share of a class, from 0 to 1; None if nothing was classified."""
    counts = {each["name"]: each.get("voxels", each.get("objects", 0)) for each in numbers["classes"]}
    total = sum(counts.values())
    return counts[name] / total if total and name in counts else None


def _uncertainty_of(numbers: Mapping[str, Any], _: int) -> float | None:
    return None if numbers["uncertainty"] is None else numbers["uncertainty"]["mean"]


def _objects_of(numbers: Mapping[str, Any], _: int) -> float | None:
    """Number of objects and one, so that it is positive."""
    return None if numbers["objects"] is None else numbers["objects"]["count"] + 1.0


def _of_channel(key: str, numbers: Mapping[str, Any], channel: int) -> float | None:
    """Return a positive number of a channel; None if it has none."""
    channels = numbers["channels"]
    value = channels[channel].get(key) if channel < len(channels) else None
    return value if value is not None and value > 0 else None


def _find_swapped(batch: Mapping[int, Mapping[str, Any]]) -> Iterator[tuple[int, Mark]]:
    """Find inputs whose channels look like those of the others in another order."""
    count = max(len(numbers["channels"]) for numbers in batch.values())
    if not 2 <= count <= MAX_PERMUTED:
        return
    described = {i: vectors for i, numbers in batch.items() if (vectors := _vectors(numbers, count)) is not None}
    if len(described) < MIN_BATCH:
        return
    usual = [
        [median(vectors[channel][k] for vectors in described.values()) for k in range(len(_QUANTITIES))]
        for channel in range(count)
    ]
    as_given = tuple(range(count))
    orders = list(permutations(as_given))
    distances = {i: {order: _distance(vectors, usual, order) for order in orders} for i, vectors in described.items()}
    # Channels that look alike in every input have no order to find.
    typical = median(found[as_given] for found in distances.values())
    for i, found in distances.items():
        best = min(orders, key=lambda order, found=found: found[order])  # type: ignore[misc]
        if best != as_given and found[as_given] > MIN_DISTANCE + 4 * typical and 2 * found[best] < found[as_given]:
            order = ", ".join(str(channel + 1) for channel in best)
            yield (
                i,
                Mark("channels swapped?", f"channels swapped? they look like channels {order} of the other inputs"),
            )


def _vectors(numbers: Mapping[str, Any], count: int) -> list[list[float]] | None:
    if len(numbers["channels"]) != count:
        return None
    rows = []
    for channel in range(count):
        values = [_of_channel(key, numbers, channel) for key in _QUANTITIES]
        if None in values:
            return None
        rows.append([log(value) for value in values if value is not None])
    return rows


def _distance(vectors: Sequence[Sequence[float]], usual: Sequence[Sequence[float]], order: Sequence[int]) -> float:
    """Mean absolute difference of channels from the usual ones in an order."""
    pairs = [(a, b) for k, row in zip(order, vectors, strict=True) for a, b in zip(row, usual[k], strict=True)]
    return sum(abs(a - b) for a, b in pairs) / len(pairs)
