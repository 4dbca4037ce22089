"""Progress over one frame: each step its share, all of it in the end, and a place where a run can be stopped."""

from __future__ import annotations

import numpy as np
import pytest

from pixelforest.box import Box
from pixelforest.engine.tiling.frame_progress import FrameMeter


def test_steps_report_their_share() -> None:
    seen: list[int] = []
    meter = FrameMeter(seen.append, 100)
    count = meter.counter(0.3)
    for _ in range(10):
        count(10)
    assert sum(seen) == 30
    count(50)
    assert sum(seen) == 30, "a step that goes over a frame twice reports no more"
    meter.finish()
    assert sum(seen) == 100
    meter.finish()
    assert sum(seen) == 100


def test_more_shares_than_a_whole_are_cut_off() -> None:
    seen: list[int] = []
    meter = FrameMeter(seen.append, 10)
    for _ in range(3):
        meter.counter(0.5)(10)
    meter.finish()
    assert sum(seen) == 10


def test_reading_is_counted() -> None:
    seen: list[int] = []
    meter = FrameMeter(seen.append, 8)
    read = meter.watch(lambda box: np.ones(box.shape), 0.5)
    assert read(Box((0, 0), (2, 4))).shape == (2, 4)
    assert seen == [4]


def test_a_run_can_be_stopped_while_it_reads() -> None:
    def stop(voxels: int) -> None:
        raise KeyboardInterrupt

    read = FrameMeter(stop, 8).watch(lambda box: np.ones(box.shape), 0.5)
    with pytest.raises(KeyboardInterrupt):
        read(Box((0, 0), (2, 4)))
