"""A case of a seed and a number: which start, which damage, which options."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzz import hdf5_edits, random_bytes
from tests.fuzz.corpus import PROJECTS, Start, image_kinds, image_start, project_start

Generator = np.random.Generator

KINDS = ("project", "image", "words")
_SHARES = (0.5, 0.4, 0.1)
_OUTPUTS = "--output_filename_format=out/{nickname}_{result_type}"
_EXTENSIONS = (
    "png",
    "jpg",
    "bmp",
    "gif",
    "pgm",
    "hdr",
    "ras",
    "xv",
    "tif",
    "npy",
    "npz",
    "h5",
    "ilp",
    "txt",
    "PNG",
    "",
)

# Options whose values come from users; some are right, most are not quite.
_VALUES: dict[str, tuple[str, ...]] = {
    "output_format": (
        *("hdf5", "compressed hdf5", "numpy", "multipage tiff", "png", "jpeg", "tif", "bmp", "gif", "hdr", "ras", "xv"),
        *("pbm", "pgm", "png sequence", "multipage tiff sequence", "n5", "compressed n5", "single-scale OME-Zarr"),
        *("multi-scale OME-Zarr", "blockwise hdf5", "dvid", "png sequenc", ""),
    ),
    "export_source": (
        *("Probabilities", "Simple Segmentation", "Uncertainty", "Features", "Labels", "Object Predictions"),
        *(
            "Object Probabilities",
            "Object Identities",
            "Blockwise Object Predictions",
            "probabilities",
            "Labels,,Labels",
        ),
    ),
    "export_dtype": ("uint8", "uint16", "uint32", "uint64", "int8", "int64", "float32", "float64", "float16", "bool"),
    "output_axis_order": ("yxc", "cyx", "xyzct", "tzyxc", "zyx", "xy", "yy", "", "abc", "zcyxt"),
    "input_axes": ("yx", "yxc", "xyc", "zyx", "tyxc", "None", "cyx", "xx", ",", "yxc,None", "zyxc"),
    "cutout_subregion": (
        *(
            "[(0,0,0),(10,10,1)]",
            "[(5,5),(9,9)]",
            "[(0,0,0),(None,None,None)]",
            "[(0,0,0),(0,0,0)]",
            "[(9,9,9),(1,1,1)]",
        ),
        *(
            "[(0,0,0,0),(2,9,9,1)]",
            "[(0,0,0,0,0),(1,1,9,9,1)]",
            "[(-5,0,0),(5,5,1)]",
            "[(0,0,0),(-1,-1,1)]",
            "[]",
            "(1,2)",
        ),
        *("[(0,0,0),(99999999999999999999,5,1)]", "[(0.5,0,0),(5,5,1)]", "[(" + "(" * 500),
    ),
    "pipeline_result_drange": ("(0,1)", "(0.0,1.0)", "(1,0)", "(0,0)", "(nan,1)", "(0,1e400)", "0,1", "(0", "None"),
    "export_drange": ("(0,255)", "(0,65535)", "(255,0)", "(0,inf)", "(-1,-2)", "(0,1,2)", "()"),
    "stack_along": ("t", "z", "c", "x", "q", ""),
    "output_filename_format": (
        *("out/{nickname}", "out/{nickname:>30}", "out/{nickname:>4000000000}", "out/{x_start:.999999999f}", "out/{0}"),
        *(
            "out/{nickname!r:^9}",
            "out/{",
            "out/}",
            "out/{nickname.__class__}",
            "out/{dataset_dir[0]}",
            "out/" + "a" * 300,
        ),
        *(
            "out/{slice_index}",
            "out/\x1b[31m",
            "out/a.h5/b",
            "",
            ".",
            "out/{result_type}{roi}",
            "raw.png",
            "project.ilp",
        ),
    ),
    "output_internal_path": ("volume/data", "/", "", "a//b", "../up", "{nickname}", "a" * 300, "."),
    "table_filename": (
        "out/t.csv",
        "out/t.h5",
        "out/t.parquet",
        "out/",
        "out/{nickname}",
        "",
        "project.ilp",
        "out/.t",
        "raw.png",
    ),
    "threads": ("1", "2", "0", "-1", "99999", "1e3", "x"),
    "memory": ("1G", "100M", "1K", "0", "-5G", "1e30", "99999999999T", "nan", "G"),
    "project": ("", "gone.ilp", ".", "raw.png", "/dev/null", "project.ilp/"),
    "logfile": ("out.log", "gone/out.log", "", ".", "project.ilp", "raw.png", "raw.h5"),
    "report_json": ("report.json", ".", "", "gone/r.json", "project.ilp"),
    "report_html": ("report.html", ".", "", "gone/r.html", "project.ilp"),
    "blocks": ("1/1", "1/2", "2/1"),
    "ome_zarr_version": ("0.4", "0.5", "0.3", ""),
    "shard": ("1/2", "2/2", "0/2", "3/2", "1/0", "x", "1/99999999999999999999"),
}
_FLAGS = ("clip", "overwrite", "fail_fast", "ignore_training_axistags", "print_labels_by_slice", "debug", "json")
_FLAGS += ("export_object_prediction_img", "export_object_probability_img", "export_pixel_probability_img", "readonly")


@dataclass(frozen=True)
class Case:
    """One command with the files it finds.

    files  name below the folder -> content
    words  after the name of the program
    """

    label: str
    files: Mapping[str, bytes]
    words: tuple[str, ...]

    def write(self, folder: Path) -> None:
        """Put the files where the command will run."""
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def to_json(self, **more: Any) -> str:
        """The case as a file that can be replayed, with more to know about it."""
        packed = {name: base64.b64encode(zlib.compress(data, 9)).decode("ascii") for name, data in self.files.items()}
        return json.dumps({"label": self.label, "words": self.words, **more, "files": packed}, indent=1)


def read_case(path: Path) -> Case:
    """A case that ``to_json`` made."""
    stored = json.loads(path.read_text(encoding="utf-8"))
    files = {name: zlib.decompress(base64.b64decode(text)) for name, text in stored["files"].items()}
    return Case(stored["label"], files, tuple(stored["words"]))


def make_case(seed: int, number: int, scratch: Path, kinds: tuple[str, ...] = KINDS) -> Case:
    """The case of this number; ``scratch`` is a file that HDF5 may edit."""
    random = np.random.default_rng([seed, number])
    shares = np.array([share for kind, share in zip(KINDS, _SHARES, strict=True) if kind in kinds])
    kind = [kind for kind in KINDS if kind in kinds][int(random.choice(len(shares), p=shares / shares.sum()))]
    if kind == "words":
        return _odd_words(random)
    if kind == "project":
        name = list(PROJECTS)[int(random.integers(len(PROJECTS)))]
        case = _damaged(project_start(name), "project.ilp", random, scratch, edited=0.75)
    else:
        kinds_of_images = image_kinds()
        start = image_start(kinds_of_images[int(random.integers(len(kinds_of_images)))])
        names = sorted(name for name in start.files if name != "project.ilp")
        name = names[int(random.integers(len(names)))]
        case = _damaged(start, name, random, scratch, edited=0.4 if name.endswith(".h5") else 0.0)
        if random.random() < 0.05:
            case = _renamed(case, name, random)
    if random.random() < 0.2:
        case = replace(case, words=(*case.words, *_odd_options(random, 1)))
    return case


def undamaged_cases() -> list[Case]:
    """Every start as it is."""
    starts = [project_start(name) for name in PROJECTS] + [image_start(kind) for kind in image_kinds()]
    return [Case(start.label, start.files, _words(start)) for start in starts]


def _words(start: Start) -> tuple[str, ...]:
    return ("--headless", "--project=project.ilp", "--device=cpu", "--threads=1", _OUTPUTS, *start.words)


def _damaged(start: Start, name: str, random: Generator, scratch: Path, *, edited: float) -> Case:
    """One file edited by HDF5 with this probability, else its bytes changed."""
    data = start.files[name]
    if random.random() < edited:
        scratch.write_bytes(data)
        try:
            how = hdf5_edits.edit(scratch, random)
        except (OSError, RuntimeError, ValueError, KeyError, TypeError, MemoryError) as error:
            how = f"an edit that HDF5 refused ({type(error).__name__})"  # what was edited before it stays
        data = scratch.read_bytes()
    else:
        data, how = random_bytes.damage(data, random)
    return Case(f"{start.label}: {name}: {how}", {**start.files, name: data}, _words(start))


def _renamed(case: Case, name: str, random: Generator) -> Case:
    """The same bytes under another extension."""
    new = f"b.{_EXTENSIONS[int(random.integers(len(_EXTENSIONS)))]}"
    files = {(new if key == name else key): data for key, data in case.files.items()}
    words = tuple(new if word.split("/")[0] == name else word for word in case.words)
    return Case(f"{case.label}, as {new}", files, words)


def _odd_words(random: Generator) -> Case:
    name = list(PROJECTS)[int(random.integers(len(PROJECTS)))]
    start = project_start(name)
    odd = _odd_options(random, int(random.integers(1, 4)))
    return Case(f"{name}: {' '.join(odd)[:200]}", start.files, (*_words(start), *odd))


def _odd_options(random: Generator, count: int) -> list[str]:
    words = []
    for _ in range(count):
        if random.random() < 0.2:
            words.append(f"--{_FLAGS[int(random.integers(len(_FLAGS)))]}")
            continue
        option = list(_VALUES)[int(random.integers(len(_VALUES)))]
        values = _VALUES[option]
        words.append(f"--{option}={values[int(random.integers(len(values)))]}")
    return words
