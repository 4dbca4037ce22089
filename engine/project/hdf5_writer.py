"""Writing of projects: a trained classifier in a copy of a project, and what all new projects have.

A copy replaces the file of its name in one step; the original is never opened for writing. Everything in it but the
classifier, its factory and the time stays as it is.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import h5py  # type: ignore[import-untyped]  # ships neither stubs nor a py.typed marker
import numpy as np

from ...frozen import frozen
from ..axes import axistags_json
from ..errors import ExportError, ProjectError, setting
from ..storage.atomic_write import Target, export_errors
from ..storage.late_errors import open_with_late_errors
from .forest import PARALLEL_FORESTS

OUTPUT = setting("output")
SEED = "pixelforest_seed"  # attribute of the classifier's group; ilastik does not read it
_PICKLED_TYPE = f"clazyflow.classifiers.parallelVigraRfLazyflowClassifier\n{PARALLEL_FORESTS}\np0\n."
# Properties of new datasets and of links to them, as h5py chooses them.
_WITHOUT_TIMES, _WITH_GROUPS = h5py.h5p.create(h5py.h5p.DATASET_CREATE), h5py.h5p.create(h5py.h5p.LINK_CREATE)
_WITHOUT_TIMES.set_obj_track_times(False)
_WITH_GROUPS.set_create_intermediate_group(True)
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
_COLORS = (
    (255, 225, 25), (0, 130, 200), (230, 25, 75), (60, 180, 75), (245, 130, 48), (145, 30, 180), (70, 240, 240),
    (240, 50, 230), (210, 245, 60), (250, 190, 190), (0, 128, 128), (230, 190, 255), (170, 110, 40), (128, 0, 0),
)  # fmt: skip
_FAILURES = (OSError, RuntimeError, KeyError, ValueError)


@frozen
class TrainedClassifier:
    """A classifier to be stored.

    forests        write one forest each into an empty group of h5py
    known_labels   label of each class
    feature_names  of each column; None in projects of objects, which store neither them nor a factory
    trees          number of trees of all forests
    proportion     share of the labels that were used; None: all
    """

    forests: Sequence[Callable[[Any], None]]
    known_labels: Sequence[int]
    feature_names: Sequence[str] | None
    trees: int
    seed: int
    proportion: float | None


@frozen(eq=False)
class NewLane:
    """An image of a new project.

    path    relative to the project's folder; axes, shape: in the order of its file
    """

    path: str
    nickname: str
    axes: str
    shape: tuple[int, ...]


def put_header(file: Any, workflow: str, roles: Sequence[str]) -> Any:
    """Store the kind of a project and the roles of its inputs; returns the group of the inputs."""
    for name, text in (("ilastikVersion", "1.4.0"), ("workflowName", workflow), ("time", time.ctime())):
        put_text(file, name, text)
    inputs = file.create_group("Input Data")
    put_text(inputs, "StorageVersion", "0.2")
    put_texts(inputs, "Role Names", roles)
    inputs.create_group("local_data")
    return inputs


def put_class_names(group: Any, names: Sequence[str]) -> None:
    """Store the names and colors of the classes of an applet."""
    put_names(group, names)
    colors = np.array([_COLORS[i % len(_COLORS)] for i in range(len(names))])
    for key in ("LabelColors", "PmapColors"):
        group[key] = colors
        group[key].attrs["isEmpty"] = False


def put_names(group: Any, names: Sequence[str]) -> None:
    """Store the names of the classes of an applet."""
    group["LabelNames"] = np.array([name.encode() for name in names])
    group["LabelNames"].attrs["isEmpty"] = False


def put_lane(inputs: Any, number: int, roles: Sequence[str], images: Mapping[str, NewLane]) -> None:
    """Store a row of inputs, by role; roles without an image have an empty group."""
    group = inputs.create_group(f"infos/lane{number:04d}")
    for role in roles:
        info = group.create_group(role)
        if role in images:
            _put_image(info, images[role], f"{number} {role} {images[role].path}")


def _put_image(info: Any, lane: NewLane, key: str) -> None:
    """Store an image. ``key`` differs from image to image: ilastik's identifiers are random, these are repeatable."""
    is_absolute = Path(lane.path).is_absolute()
    for name, text in (
        ("__class__", "FilesystemDatasetInfo" if is_absolute else "RelativeFilesystemDatasetInfo"),
        ("filePath", lane.path),
        ("nickname", lane.nickname),
        ("axistags", axistags_json(lane.axes)),
        ("axis_units", "null"),
        ("datasetId", str(uuid5(NAMESPACE_URL, key))),
        ("location", "FileSystem"),
        ("display_mode", "default"),
        ("working_scale", ""),
    ):
        put_text(info, name, text)
    info["shape"] = np.array(lane.shape)
    info["allowLabels"] = True
    info["normalizeDisplay"] = False
    info["scale_locked"] = False


def write_trained_project(source: Path, path: Path, classifiers: Mapping[str, TrainedClassifier]) -> None:
    """Write a copy of a project with other classifiers, by their groups. Raises ExportError, ProjectError."""
    with changing_copy(source, path) as file:
        for group, classifier in classifiers.items():
            _replace_classifier(file[group], classifier)
        put_text(file, "time", time.ctime())


def check_not_open(path: Path) -> None:
    """Raise ProjectError if another program has opened a project for writing, as ilastik does."""
    if not path.is_file():  # opening a pipe would wait for somebody who writes into it
        return
    try:
        h5py.File(path, "r", locking=True).close()
    except OSError as error:
        if "lock file" in str(error):
            raise ProjectError(
                f"project '{path}' is open in another program, such as ilastik; save and close it there, and run again"
            ) from None


def check_replaceable(path: Path) -> None:
    """Raise ExportError if there is a file that is no project: it was named by mistake, such as a training image."""
    if not path.is_file() or not path.stat().st_size:
        return
    try:
        with h5py.File(path, "r", locking=False) as file:
            is_project = "ilastikVersion" in file or "workflowName" in file
    except _FAILURES:
        is_project = False
    if not is_project:
        raise ExportError(
            f"cannot write {path}: there is a file that is no ilastik project; choose another name with {OUTPUT}, or "
            "remove the file"
        )


@contextmanager
def changing_copy(source: Path, path: Path) -> Iterator[Any]:
    """Open a copy of ``source`` that gets the name ``path`` at the end of the context, if nothing was raised."""
    target = Target(path, OUTPUT)
    try:
        with export_errors(path, OUTPUT):
            shutil.copyfile(source, target.temporary)
        with writing(target.temporary, path, "r+") as file:
            yield file
        target.commit()
    finally:
        target.discard()


@contextmanager
def writing(place: Path, path: Path, mode: str) -> Iterator[Any]:
    """Open ``place`` for writing, with errors that name ``path``."""
    with export_errors(path, OUTPUT):
        try:
            with open_with_late_errors(place, f"{mode[0]}+") as opened, h5py.File(opened, mode) as file:
                yield file
        except _FAILURES as error:
            raise _as_os_error(error) from error


def _as_os_error(error: Exception) -> OSError:
    """Return the error of the operating system that an exception of HDF5 mentions."""
    found = re.search(r"errno = (\d+)", str(error))
    number = int(found[1]) if found else getattr(error, "errno", None)
    return OSError(number, str(error)) if number else OSError(str(error))


def _replace_classifier(stage: Any, classifier: TrainedClassifier) -> None:
    for stale in ("ClassifierForests", "CachedProbabilities"):  # ilastik would use the cache instead of the forests
        if stale in stage:
            del stage[stale]
    group = stage.create_group("ClassifierForests")
    group.attrs[SEED] = classifier.seed
    group["known_labels"] = np.array(classifier.known_labels, np.uint32)
    group["pickled_type"] = _PICKLED_TYPE.encode()
    for number, write in enumerate(classifier.forests):
        write(group.create_group(f"Forest{number:04d}"))
    if classifier.feature_names is None:
        return
    put_texts(group, "feature_names", classifier.feature_names)
    proportion = "N" if classifier.proportion is None else f"F{classifier.proportion!r}\n"
    text = _FACTORY.format(trees=classifier.trees, proportion=proportion, forests=len(classifier.forests))
    put_text(stage, "ClassifierFactory", text)


def put_array(group: Any, place: str, values: np.ndarray) -> None:
    """Store an array with the bytes of ``group[place] = values``, in half the time: forests have hundreds of arrays."""
    data = np.ascontiguousarray(values)
    kind, shape = h5py.h5t.py_create(data.dtype, logical=True), h5py.h5s.create_simple(data.shape)
    created = h5py.h5d.create(group.id, None, kind, shape, _WITHOUT_TIMES)
    created.write(h5py.h5s.ALL, h5py.h5s.ALL, data)
    h5py.h5o.link(created, group.id, place.encode(), lcpl=_WITH_GROUPS)


def put_text(file: Any, place: str, text: str) -> None:
    """Store a string as ilastik does, replacing an existing one."""
    if place in file:
        del file[place]
    file[place] = text.encode()


def put_texts(group: Any, name: str, texts: Sequence[str]) -> None:
    """Store a list of strings as ilastik does."""
    group.create_dataset(name, data=[text.encode() for text in texts], dtype=h5py.string_dtype("ascii"))
