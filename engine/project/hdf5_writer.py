"""Writing of a trained classifier into a copy of a project, which replaces the file of its name in one step.

The original is never opened for writing. Everything but the classifier, its factory and the time stays as it is.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]  # ships neither stubs nor a py.typed marker
import numpy as np

from ...frozen import frozen
from ..errors import ProjectError, setting
from ..storage.atomic_write import Target, export_errors
from .forest import GROUP, PARALLEL_FORESTS

OUTPUT = setting("output")
SEED = "pixelforest_seed"  # attribute of the classifier's group; ilastik does not read it
_PICKLED_TYPE = f"clazyflow.classifiers.parallelVigraRfLazyflowClassifier\n{PARALLEL_FORESTS}\np0\n."
_FACTORY = """\
ccopy_reg
_reconstructor
p0
(clazyflow.classifiers.parallelVigraRfLazyflowClassifier
ParallelVigraRfLazyflowClassifierFactory
p1
c__builtin__
object
p2
Ntp3
Rp4
(dp5
VVERSION
p6
I2
sV_num_trees
p7
I{trees}
sV_label_proportion
p8
{proportion}sV_variable_importance_path
p9
NsV_variable_importance_enabled
p10
I00
sV_kwargs
p11
(dp12
sV_num_forests
p13
I{forests}
sb."""
_FAILURES = (OSError, RuntimeError, KeyError, ValueError)


@frozen
class TrainedClassifier:
    """A classifier to be stored.

    forests        write one forest each into an empty group of h5py
    known_labels   label of each class; feature_names: of each column
    trees          number of trees of all forests
    proportion     share of the labels that were used; None: all
    """

    forests: Sequence[Callable[[Any], None]]
    known_labels: Sequence[int]
    feature_names: Sequence[str]
    trees: int
    seed: int
    proportion: float | None


def write_trained_project(source: Path, path: Path, classifier: TrainedClassifier) -> None:
    """Write a copy of a project with another classifier. Raises ExportError, ProjectError."""
    with _new_project(source, path) as file:
        _replace_classifier(file, classifier)
        _put(file, "time", time.ctime())


def check_not_open(path: Path) -> None:
    """Raise ProjectError if another program has opened a project for writing, as ilastik does."""
    try:
        h5py.File(path, "r", locking=True).close()
    except OSError as error:
        if "lock file" in str(error):
            raise ProjectError(
                f"project '{path}' is open in another program, such as ilastik; save and close it there, and run again"
            ) from None


@contextmanager
def _new_project(source: Path, path: Path) -> Iterator[Any]:
    """Open a copy of ``source`` that gets the name ``path`` at the end of the context, if nothing was raised."""
    target = Target(path, OUTPUT)
    try:
        with export_errors(path, OUTPUT):
            shutil.copyfile(source, target.temporary)
            try:
                with h5py.File(target.temporary, "r+", locking=False) as file:
                    yield file
                    file.flush()
            except _FAILURES as error:
                raise _as_os_error(error) from error
        target.commit()
    finally:
        target.discard()


def _as_os_error(error: Exception) -> OSError:
    """Return the error of the operating system that an exception of HDF5 mentions."""
    found = re.search(r"errno = (\d+)", str(error))
    number = int(found[1]) if found else getattr(error, "errno", None)
    return OSError(number, str(error)) if number else OSError(str(error))


def _replace_classifier(file: Any, classifier: TrainedClassifier) -> None:
    place = f"{GROUP}/ClassifierForests"
    if place in file:
        del file[place]
    group = file.create_group(place)
    group.attrs[SEED] = classifier.seed
    group["known_labels"] = np.array(classifier.known_labels, np.uint32)
    names = [name.encode() for name in classifier.feature_names]
    group.create_dataset("feature_names", data=names, dtype=h5py.string_dtype("ascii"))
    group["pickled_type"] = _PICKLED_TYPE.encode()
    for number, write in enumerate(classifier.forests):
        write(group.create_group(f"Forest{number:04d}"))
    proportion = "N" if classifier.proportion is None else f"F{classifier.proportion!r}\n"
    text = _FACTORY.format(trees=classifier.trees, proportion=proportion, forests=len(classifier.forests))
    _put(file, f"{GROUP}/ClassifierFactory", text)


def _put(file: Any, place: str, text: str) -> None:
    """Store a string as ilastik does, replacing an existing one."""
    if place in file:
        del file[place]
    file[place] = text.encode()
