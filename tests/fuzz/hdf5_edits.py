"""Edits of HDF5 files that stay HDF5: what a hostile or broken program could have stored."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tests.fuzz.random_bytes import damage

Generator = np.random.Generator

_NUMBERS = (0, 1, -1, 2, 7, 255, 256, 65536, 2**31 - 1, -(2**31), 2**32 - 1, 2**63 - 1, 10**6)
_FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-300, 1e300, 3.4e38, float("nan"), float("inf"), float("-inf"), 1e-45)
_TEXTS = (
    "",
    " ",
    "\0",
    "a\nb",
    "\x1b[31mred\x1b[0m",
    "\u202e",
    "x" * 70_000,
    "../../up",
    "a/b",
    ".hidden",
    "{nickname:>4000000000}",
    "{nickname!r}{0}{",
    "{x:.999999999f}",
    "C:\\data\\{nickname}.h5",
    "=1+1",
    "None",
    "True",
    "-1",
    "1e999",
    "(lp0\n.",
    "[" * 3000,
    "Object Classification",
    "Pixel Classification",
    "zyxct",
    "hdf5",
    "png sequence",
)


def _items(file: h5py.File, kind: type) -> list[str]:
    names: list[str] = []
    file.visititems(lambda name, node: names.append(name) if isinstance(node, kind) else None)
    return sorted(names)


def _pick(names: list[Any], random: Generator) -> Any:
    return names[int(random.integers(len(names)))]


def _pick_name(names: list[str], random: Generator) -> str:
    """A name; those that differ only by numbers or the name of a feature count as one, or most would be trees."""
    kinds: dict[str, list[str]] = {}
    for name in names:
        of_feature = re.match(r"(.*?Features)/", name)
        kind = f"{of_feature[1]} {name.count('/')}" if of_feature else re.sub(r"\d+", "#", name)
        kinds.setdefault(kind, []).append(name)
    return str(_pick(kinds[_pick(sorted(kinds), random)], random))


def _replace(file: h5py.File, name: str, value: Any) -> None:
    attributes = dict(file[name].attrs)
    del file[name]
    dataset = file.create_dataset(name, data=value)
    for key, stored in attributes.items():
        dataset.attrs[key] = stored


def _extreme(array: np.ndarray, random: Generator) -> np.ndarray:
    """The array with one or all of its values replaced by one that is extreme for numbers of its type."""
    changed = np.array(array)
    if array.dtype.kind == "b":
        value: Any = bool(random.integers(2))
    elif array.dtype.kind in "iu":
        limits = np.iinfo(array.dtype)
        value = min(max(int(_pick(list(_NUMBERS), random)), limits.min), limits.max)
    else:
        with np.errstate(over="ignore"):
            value = array.dtype.type(_pick(list(_FLOATS), random))
    if changed.shape and random.random() < 0.7:
        changed.flat[int(random.integers(changed.size))] = value
    else:
        changed[...] = value
    return changed


def change_value(file: h5py.File, random: Generator) -> str:
    """Extreme numbers, or another text."""
    name = _pick_name(_items(file, h5py.Dataset), random)
    value = file[name][()]
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biuf":
        array = np.asarray(value)
        if array.size:
            _replace(file, name, _extreme(array, random))
        return f"value of {name}"
    _replace(file, name, _pick(list(_TEXTS), random))
    return f"text of {name}"


def change_opaque(file: h5py.File, random: Generator) -> str:
    """Bytes of what only ilastik reads, such as pickles."""
    names = [name for name in _items(file, h5py.Dataset) if file[name].dtype.kind == "V" and file[name].shape == ()]
    if not names:
        return change_text(file, random)
    name = _pick_name(names, random)
    data, how = damage(bytes(file[name][()]), random)
    _replace(file, name, np.void(data or b"."))
    return f"{how} of {name}"


def change_text(file: h5py.File, random: Generator) -> str:
    """One of the texts, of which a project has few."""
    names = [name for name in _items(file, h5py.Dataset) if file[name].dtype.kind in "OS"]
    if not names:
        return change_value(file, random)
    name = _pick_name(names, random)
    stored = file[name][()]
    if isinstance(stored, bytes) and random.random() < 0.5:
        text = bytearray(stored or b" ")
        text[int(random.integers(len(text)))] = int(random.integers(1, 256))
        _replace(file, name, np.bytes_(bytes(text)))
    else:
        _replace(file, name, _pick(list(_TEXTS), random))
    return f"text of {name}"


def change_kind(file: h5py.File, random: Generator) -> str:
    """Another type: numbers as texts, texts as numbers, integers as floats, structures."""
    name = _pick_name(_items(file, h5py.Dataset), random)
    value = file[name][()]
    array = np.asarray(value)
    others: list[Any] = [b"text", "text", np.float16(1), np.uint8(1), np.complex64(1), np.bool_(True), h5py.Empty("f4")]
    others.append(np.zeros(3, [("a", "i4"), ("b", "f8")]))
    if array.dtype.kind in "biuf":
        with np.errstate(all="ignore"):
            others += [array.astype(kind) for kind in ("i1", "u8", "f2", "f8", ">f4", ">i4")] * 2
    _replace(file, name, _pick(others, random))
    return f"type of {name}"


def change_shape(file: h5py.File, random: Generator) -> str:
    """Another shape: empty, a single number, longer, shorter, more dimensions, or declared and never written."""
    name = _pick_name(_items(file, h5py.Dataset), random)
    array = np.asarray(file[name][()])
    if array.dtype.kind not in "biuf" or not array.size:
        return change_value(file, random)
    shapes: list[Callable[[], np.ndarray]] = [
        lambda: array.ravel()[:0],
        lambda: array.ravel()[0],
        lambda: array.ravel()[:-1],
        lambda: np.concatenate([array.ravel(), array.ravel()]),
        lambda: array[np.newaxis],
        lambda: array.T,
        lambda: array.ravel(),
        lambda: np.zeros((0, *array.shape[1:]), array.dtype),
        lambda: np.zeros((1,) * 7, array.dtype),
    ]
    if random.random() < 0.2:
        dtype = file[name].dtype
        del file[name]
        sizes = _pick([(2**40,), (2**31, 2**31), (10**6, 10**6, 3), (5 * 10**8,)], random)
        file.create_dataset(name, sizes, dtype, chunks=tuple(min(n, 64) for n in sizes))
        return f"never written, large {name}"
    _replace(file, name, _pick(shapes, random)())
    return f"shape of {name}"


def delete(file: h5py.File, random: Generator) -> str:
    """A group or a dataset is gone."""
    name = _pick_name(_items(file, h5py.Group) + _items(file, h5py.Dataset), random)
    del file[name]
    return f"no {name}"


def swap_kinds(file: h5py.File, random: Generator) -> str:
    """A group where a dataset was, or the other way round."""
    name = _pick_name(_items(file, h5py.Group) + _items(file, h5py.Dataset), random)
    is_group = isinstance(file[name], h5py.Group)
    del file[name]
    if is_group:
        file[name] = 1
    else:
        file.create_group(name)
    return f"group or dataset {name}"


def add_link(file: h5py.File, random: Generator) -> str:
    """A link in place of something: into a circle, to nothing, to the root, into another file."""
    name = _pick_name(_items(file, h5py.Group) + _items(file, h5py.Dataset), random)
    links: list[Any] = [
        h5py.SoftLink(f"/{name}"),
        h5py.SoftLink("/nowhere"),
        h5py.SoftLink("/"),
        h5py.ExternalLink("project.ilp", f"/{name}"),
        h5py.ExternalLink("/etc/passwd", "/"),
        h5py.ExternalLink("gone.h5", "/a"),
        file["/"],
    ]
    del file[name]
    file[name] = _pick(links, random)
    return f"link at {name}"


def change_attribute(file: h5py.File, random: Generator) -> str:
    """Another value or type of an attribute; where there are none, one that means something to readers."""
    owners = [name for name in _items(file, h5py.Group) + _items(file, h5py.Dataset) if len(file[name].attrs)]
    values: list[Any] = [*_TEXTS, *_NUMBERS, *_FLOATS, np.zeros((3, 3)), h5py.Empty("i4"), np.array([1.0, np.nan])]
    if not owners or random.random() < 0.1:
        owner, key = (
            _pick_name(_items(file, h5py.Dataset), random),
            _pick(["axistags", "drange", "display_mode"], random),
        )
    else:
        owner = _pick_name(owners, random)
        key = _pick(sorted(file[owner].attrs), random)
    value = _pick(values, random)
    if isinstance(value, str) and len(value) > 60_000:
        value = value[:60_000]  # what an attribute can hold
    file[owner].attrs[key] = value.replace("\0", "0") if isinstance(value, str) else value
    return f"attribute {key} of {owner}"


def rename(file: h5py.File, random: Generator) -> str:
    """Another name, so that numbered names have gaps or are no numbers."""
    name = _pick_name(_items(file, h5py.Group) + _items(file, h5py.Dataset), random)
    new = _pick(["lane0001", "lane9999", "labels999999", "block9999", "Forest9999", "x", "known_labels"], random)
    parent = name.rpartition("/")[0]
    target = f"{parent}/{new}" if parent else new
    if target not in file:
        file.move(name, target)
    return f"{name} is {new}"


EDITS: tuple[Callable[[h5py.File, Generator], str], ...] = (
    change_value,
    change_value,
    change_value,
    change_text,
    change_text,
    change_opaque,
    change_kind,
    change_shape,
    change_shape,
    delete,
    delete,
    swap_kinds,
    add_link,
    change_attribute,
    rename,
)


def edit(path: Path, random: Generator) -> str:
    """Edit a file in place, once or some times; returns what was done."""
    done = []
    with h5py.File(path, "r+") as file:
        for _ in range(int(random.choice([1, 1, 1, 2, 3]))):
            done.append(_pick(list(EDITS), random)(file, random))
    return ", ".join(done)
