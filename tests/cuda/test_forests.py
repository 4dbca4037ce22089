"""The choice between our own kernels and nvForest."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from contract.builders import random_forest
from cuda_host.host_device import HostDevice
from cuda_host.stacks import make_stack, smooth_features

from pixelforest.kernels.contract import DeviceUnavailable
from pixelforest.kernels.cuda import nvforest
from pixelforest.kernels.cuda.forest import CudaForest
from pixelforest.kernels.cuda.forests import CHOICES, check_choice, load_forests

needs_nvforest = pytest.mark.skipif(
    nvforest.find_missing() is not None, reason=f"nvForest is not here: {nvforest.find_missing()}"
)


@pytest.mark.parametrize("choice", ["auto", "native"])
@pytest.mark.parametrize("pure", [True, False], ids=["pure", "mixed"])
def test_auto_is_native_whatever_the_leaves(choice: str, pure: bool, caplog: pytest.LogCaptureFixture) -> None:
    forests = [random_forest(np.random.default_rng(0), trees=3, columns=2, classes=2, pure=pure)]
    with caplog.at_level(logging.WARNING):
        loaded = load_forests([HostDevice(), HostDevice(index=1)], forests, choice)
    assert [type(each) for each in loaded] == [CudaForest, CudaForest]
    assert [each.device.index for each in loaded] == [0, 1]
    assert not caplog.records


@needs_nvforest
@pytest.mark.parametrize("pure", [True, False], ids=["pure", "mixed"])
def test_nvforest_warns_once_if_its_last_digits_may_differ(pure: bool, caplog: pytest.LogCaptureFixture) -> None:
    forests = [random_forest(np.random.default_rng(0), trees=7, columns=2, classes=3, pure=pure)]
    features = smooth_features((1, 8, 16), 2)
    with caplog.at_level(logging.WARNING):
        devices = [HostDevice(), HostDevice()]
        loaded = load_forests(devices, forests, "nvforest", place="cpu")
        answers = [
            device.download(each.predict(make_stack(device, features, (1, 8, 16))))
            for device, each in zip(devices, loaded, strict=True)
        ]
    assert (answers[0] == answers[1]).all()
    assert len(caplog.records) == (0 if pure else 1)


def test_what_is_missing_is_said_before_anything_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvforest, "find_missing", lambda: "treelite is not installed")
    with pytest.raises(DeviceUnavailable, match=r"--forest=nvforest: treelite is not installed; install pixelforest"):
        check_choice("nvforest")
    for choice in ("auto", "native"):
        check_choice(choice)


def test_other_words_are_refused() -> None:
    with pytest.raises(ValueError, match="there is no forest 'fil'; choose one of: auto, native, nvforest"):
        check_choice("fil")


def test_the_command_line_offers_the_same_words() -> None:
    from pixelforest.cli import FORESTS
    from pixelforest.engine import backends

    assert FORESTS == backends.FORESTS == CHOICES
