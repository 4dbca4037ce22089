"""Nested keys in the stored settings of a table hung a run that ignored SIGTERM, or ended it by recursion."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from pixelforest.cli import main
from pixelforest.engine.project.pickle_text import MAX_DEPTH, MAX_OPERATIONS, PickleTextError, read_pickle_text

SETTINGS = "ObjectClassification/ExportSettings"


def doubled_key(levels: int) -> bytes:
    """A dictionary whose key is a pair of a pair of … of the same pair: hashing it takes 2**levels steps."""
    pairs = b"".join(b"(g%d\ng%d\ntp%d\n0" % (i, i, i + 1) for i in range(levels))
    return b"(NNtp0\n0" + pairs + b"(g%d\nNd." % levels


def nested_key(levels: int) -> bytes:
    """A dictionary whose key is a tuple in a tuple in …: hashing it recurses as deep."""
    return b"(" + b"(" * levels + b"N" + b"t" * levels + b"Nd."


class CountedText(str):
    """Counts how often it is hashed."""

    hashed = 0

    def __hash__(self) -> int:
        type(self).hashed += 1
        return super().__hash__()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (doubled_key(10), "a tuple as the key"),
        (doubled_key(40), "nests values more than"),
        (nested_key(MAX_DEPTH), "a tuple as the key"),
        (nested_key(30_000), "nests values more than"),
        (b"(lp0\n" + b"(g0\nlp0\n" * 1000 + b".", "nests values more than"),
        (b"((lNd.", "a list as the key"),
        (b"(I1\nNd.", "an? int as the key"),
        (b"(F1.5\nNd.", "a float as the key"),
        (b"(lp0\ng0\na.", "a part of itself"),
        (b"(lp0\n(g0\ntg0\nNa.", "already part of another"),
        (b"(l" + b"Na" * MAX_OPERATIONS + b".", "operations"),
        (b"(l" + b"N" * (1 << 20) + b".", "bytes"),
        (b"NN.", "leaves values over"),
        (b"N", "damaged|ends too early"),
        (b"Na.", "damaged|no value|where there is none"),
        (b"Np%d\n." % ((1 << 61) - 1), "numbers a value"),
        (b"cos\nsystem\n(S'true'\ntR.", "GLOBAL"),
        (b"I" + b"9" * 5000 + b"\n.", "damaged"),
    ],
)
def test_what_is_not_plain_is_refused(content: bytes, why: str) -> None:
    with pytest.raises(PickleTextError, match=why):
        read_pickle_text(content)


@pytest.mark.parametrize(
    "value",
    [
        None,
        {"a": [1, 2.5, True, None, ("x", {})], "b": {}},
        ({"compression": {"shuffle": "1"}}, ["Count", "größe\n"]),
        [1 << 70, -3, False, float("inf")],
        [["shared"] * 2] * 3,
    ],
)
def test_plain_values_are_read(value: Any) -> None:
    assert read_pickle_text(pickle.dumps(value, 0)) == value


def test_only_the_texts_of_keys_are_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    import pickletools

    operations = list(pickletools.genops(pickle.dumps(({"k": ["v"] * 50}, ["f"] * 50), 0)))
    counted = [(op, CountedText(arg) if op.name == "UNICODE" else arg, at) for op, arg, at in operations]
    monkeypatch.setattr(pickletools, "genops", lambda content: counted)
    CountedText.hashed = 0
    assert read_pickle_text(b"") == ({"k": ["v"] * 50}, ["f"] * 50)
    assert CountedText.hashed == 1


@pytest.mark.sampled(1)
@pytest.mark.parametrize("content", [doubled_key(40), nested_key(100_000)], ids=["doubled", "nested"])
@pytest.mark.parametrize("command", ["run", "explain"])
def test_a_project_with_them_is_refused_in_a_line(
    copy_golden: Callable[[str], Path], content: bytes, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    case = copy_golden("obj2d_seg")
    with h5py.File(case / "project.ilp", "r+") as file:
        del file[SETTINGS]
        file[SETTINGS] = np.void(content)
    words = {"run": ["--headless"], "explain": ["explain"]}[command]
    inputs = [f"--raw_data={case / 'raw.png'}", f"--segmentation_image={case / 'seg.png'}"]
    assert main([*words, f"--project={case / 'project.ilp'}", *inputs]) == 1
    shown = capsys.readouterr()
    lines = [line for line in (shown.err + shown.out).splitlines() if SETTINGS in line]
    assert len(lines) == 1
    assert "configure the table export in ilastik again" in lines[0]
    assert "Traceback" not in shown.err
