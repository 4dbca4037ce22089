"""Choice among variants of a kernel by timing them on the device, once for each device and each kind of work.

All variants compute the same bits, so a choice affects nothing but time. It is cached with the compiled kernels, under
a name derived from everything that times depend on. What the cache holds is not trusted: only names of variants are
accepted.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable, Collection, Mapping

from ..shared import cache
from .device import Device
from .launch import kept_name

ROUNDS = 3  # of all variants in turn; the shortest time counts: the first one may wait for compilation or other tiles

logger = logging.getLogger("pixelforest.kernels")


def read_choice(device: Device, work: str, variants: Collection[str]) -> str | None:
    """Return the variant that an earlier run found to be the fastest for this kind of work, None if it is not known."""
    content = cache.read(_name(device, work))
    with contextlib.suppress(UnicodeDecodeError):
        if content is not None and (name := content.decode()) in variants:
            logger.info("%s: %s, the fastest in an earlier run", _title(device, work), name)
            return name
    return None


def time_variants(device: Device, work: str, variants: Mapping[str, Callable[[], object]]) -> str:
    """Time variants on the calling thread's stream and cache the fastest one; of equal ones the first. Waits.

    variants  name -> function that launches it
    Raises DeviceFailed.
    """
    times = dict.fromkeys(variants, math.inf)
    for _ in range(ROUNDS):
        for name, launch in variants.items():
            with device.timer() as timer:
                launch()
            times[name] = min(times[name], timer.milliseconds)
    fastest = min(times, key=lambda name: times[name])
    is_kept = cache.write(_name(device, work), fastest.encode()) is not None
    shown = ", ".join(f"{name} {milliseconds:.2f} ms" for name, milliseconds in times.items())
    kept = "kept for later runs" if is_kept else "not kept, since no cache can be written"
    logger.info("%s: %s, timed on the first tile (%s); %s", _title(device, work), fastest, shown, kept)
    return fastest


def _name(device: Device, work: str) -> str:
    return kept_name(device, "choice", (work, device.name, str(device.multiprocessors)))


def _title(device: Device, work: str) -> str:
    return f"{work.partition(':')[0]} on {device.name} (cuda:{device.index})"
