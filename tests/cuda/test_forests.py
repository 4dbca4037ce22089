"""Choice between our own kernels and nvForest."""

from __future__ import annotations

import logging
from functools import partial

import numpy as np
import pytest
from support.cuda_host.host_device import HostDevice
from support.cuda_host.stacks import assert_equal_bits, make_stack, smooth_features

from pixelforest.kernels import load
from pixelforest.kernels.contract import DeviceUnavailable
from pixelforest.kernels.cuda import nvforest
from pixelforest.kernels.cuda.backend import compose_backend
from pixelforest.kernels.cuda.forest import CudaForest
from pixelforest.kernels.cuda.forest_choice import CHOICES, check_choice
from pixelforest.kernels.cuda.nvforest import NvForest
from pixelforest.kernels.cuda.tiles import ForestChoice, LoadedForest
from pixelforest.kernels.shared.nodes import pack_forest
from pixelforest.testing.kernel_inputs import random_forest


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("pure", [True, False], ids=["pure", "mixed"])
def test_only_nvforest_and_leaves_of_several_classes_make_a_warning(
    choice: str, pure: bool, caplog: pytest.LogCaptureFixture
) -> None:
    forests = [random_forest(np.random.default_rng(0), trees=3, columns=2, classes=2, pure=pure)]
    place = {"nvforest": "cpu"}.get(choice, "gpu")
    with caplog.at_level(logging.WARNING):
        backend = compose_backend([HostDevice(), HostDevice(index=1)], forests=ForestChoice(choice, place))
        backend.pixels.load_forest(forests, use="tiles")
    assert len(caplog.records) == (1 if choice == "nvforest" and not pure else 0)


@pytest.mark.parametrize("choice", [c for c in CHOICES if c != "nvforest" or nvforest.find_missing() is None])
@pytest.mark.parametrize("pure", [True, False], ids=["pure", "mixed"])
def test_the_choice_is_what_walks(choice: str, pure: bool) -> None:
    forests = [random_forest(np.random.default_rng(0), trees=13, columns=3, classes=3, pure=pure)]
    device, features = HostDevice(), smooth_features((1, 9, 31), 3)
    made = ForestChoice(choice, "cpu").load(
        device,
        LoadedForest(tuple(forests), pack_forest(forests), partial(load("cpu").pixels.load_forest, use="tiles")),
        3,
    )
    assert type(made) is (NvForest if choice == "nvforest" else CudaForest), "auto is native whatever the leaves"
    found = device.download(made.predict(make_stack(device, features, (1, 9, 31)))).reshape(len(features), -1)
    if choice != "nvforest" or pure:
        assert_equal_bits(found, features, forests)


def test_what_is_missing_is_said_before_anything_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvforest, "find_missing", lambda: "treelite is not installed")
    with pytest.raises(
        DeviceUnavailable, match="nvForest cannot be used: treelite is not installed; install pixelforest"
    ):
        check_choice("nvforest")
    for choice in ("auto", "native"):
        check_choice(choice)


def test_other_words_are_refused() -> None:
    with pytest.raises(ValueError, match="there is no forest 'fil'; choose one of: auto, native, nvforest"):
        check_choice("fil")


def test_the_command_line_offers_the_same_words() -> None:
    from pixelforest.engine.requests import FORESTS

    assert FORESTS == CHOICES
