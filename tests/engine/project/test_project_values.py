"""A project is a value: equal, with an equal hash, wherever it was read or unpickled."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from pixelforest.engine.pixels.classify import RawKind, prepare_classifier
from pixelforest.engine.project.content import ByContent
from pixelforest.engine.resources import Resources
from pixelforest.engine.workflows import read_project
from pixelforest.kernels import load

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
PROJECTS = ("px2d_gray", "px2d_rgb", "obj2d_pred", "obj2d_seg", "pcoc2d")


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", PROJECTS)
def test_a_project_is_equal_after_pickling(name: str) -> None:
    project = read_project(GOLDEN / name / "project.ilp")
    copy = pickle.loads(pickle.dumps(project))
    assert copy is not project
    assert copy == project
    assert hash(copy) == hash(project)
    assert copy.classifier == project.classifier


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", PROJECTS)
def test_a_project_that_is_read_twice_is_equal(name: str) -> None:
    path = GOLDEN / name / "project.ilp"
    assert read_project(path) == read_project(path)


def test_other_projects_and_other_trees_are_not_equal() -> None:
    project, other = (read_project(GOLDEN / name / "project.ilp") for name in ("px2d_gray", "px2d_rgb"))
    assert project != other
    first, *trees = project.classifier.forests[0].trees
    threshold = first.threshold.copy()
    threshold[0] = np.nextafter(threshold[0], np.inf)
    forest = replace(project.classifier.forests[0], trees=(replace(first, threshold=threshold), *trees))
    classifier = replace(project.classifier, forests=(forest, *project.classifier.forests[1:]))
    assert classifier != project.classifier
    assert replace(project, classifier=classifier) != project


WORKER = """
import pickle, sys

import numpy as np

from pixelforest.engine.pixels.classify import RawKind, prepare_classifier

raw = RawKind.of((1, 1, 60, 70, 1), np.dtype(np.uint8))
found = [pickle.loads(sys.stdin.buffer.read(int(size))) for size in sys.argv[1:]]
made = [prepare_classifier(p, r.backend, raw) for p, r in found]
assert found[0][0] is not found[1][0]
assert made[0] is made[1], "loaded once"
print(found[0][0].content)
"""


@pytest.mark.slow
def test_caches_of_another_process_know_a_project_that_comes_twice() -> None:
    project, resources = read_project(GOLDEN / "px2d_gray" / "project.ilp"), Resources(load("cpu"), 1, 1 << 28)
    texts = [pickle.dumps((project, resources)) for _ in range(2)]
    done = subprocess.run(
        [sys.executable, "-c", WORKER, *(str(len(text)) for text in texts)],
        input=b"".join(texts), capture_output=True, check=False, env=dict(os.environ),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().strip() == project.content


def test_a_classifier_is_loaded_once_for_equal_projects() -> None:
    backend = load("cpu")
    one, other = (read_project(GOLDEN / "px2d_gray" / "project.ilp") for _ in range(2))
    raw = RawKind.of((1, 1, 60, 70, 1), np.dtype(np.uint8))
    made = [prepare_classifier(project, backend, raw) for project in (one, other)]
    assert made[0] is made[1]


@dataclass(frozen=True, eq=False)
class Odd(ByContent):
    value: object


def test_values_without_a_content_are_refused() -> None:
    with pytest.raises(TypeError, match="a record with a object cannot be compared by its content"):
        _ = Odd(object()).content


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (("ab", "c"), ("a", "bc")), ((1, 2), [1, 2]), (1, 1.0), (1, True), ("1", 1), (((1,), 2), (1, (2,))),
        (np.zeros(2, "i4"), np.zeros(1, "i8")), (np.zeros((2, 1)), np.zeros((1, 2))),
    ],
    ids=str,
)  # fmt: skip
def test_values_that_look_alike_are_not_equal(a: object, b: object) -> None:
    assert Odd(a) == Odd(a)
    assert Odd(a) != Odd(b)
