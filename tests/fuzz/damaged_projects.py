"""Named cases whose projects are damaged or hostile."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path

import h5py
import numpy as np

from tests.fuzz.cases import Case
from tests.fuzz.corpus import PROJECTS, project_start
from tests.fuzz.damaged import COMMON, OUT, Damaged, project_case, put

_SETTINGS = "ObjectClassification__ExportSettings"
_HYSTERESIS = "obj2d_pred_hyst"
_ALLOW = "--allow.project.urls"


def _settings(data: bytes) -> Callable[[h5py.File], None]:
    return put(**{_SETTINGS: np.void(data)})


def _nested_keys() -> bytes:
    """Tuples of two times the tuple before: a hash takes 2^40 steps."""
    pairs = b"".join(b"(g%d\ng%d\ntp%d\n0" % (i, i, i + 1) for i in range(40))
    return b"(NNtp0\n0" + pairs + b"}g40\nNs."


def _deep_keys() -> bytes:
    """Tuples 300 000 deep: a hash recurses in C."""
    return b"}" + b"(" * 300_000 + b"N" + b"t" * 300_000 + b"Ns."


def _table_at(path: str) -> Callable[[h5py.File], None]:
    stored = ({"file type": "csv", "file path": path, "compression": {}}, ["Count"])
    return _settings(pickle.dumps(stored, protocol=0))


def _heaps(file: h5py.File) -> None:
    """Bytes that look like a text heap at every 32 bytes of 256 KiB, each up to the end."""
    total = 256 * 1024
    records = b"".join(
        struct.pack("<HHIQ", 1, 0, 0, 16) + b"GCOL\x01\0\0\0" + struct.pack("<Q", total - (32 * k + 16))
        for k in range(total // 32)
    )
    file["zz"] = np.frombuffer(records, np.uint8)
    del file["workflowName"]
    text = file.create_dataset("workflowName", (1,), h5py.string_dtype(), maxshape=(None,), chunks=(1,))
    text[0] = "Pixel Classification"


def _stored_template(template: str, stored_format: str = "hdf5") -> Case:
    edit = put(Prediction_Export__OutputFilenameFormat=template, Prediction_Export__OutputFormat=stored_format)
    return project_case("a stored template", "px2d_gray", edit, "--fail_fast")


def _gone(name: str) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        del file[name]
        file.create_group(name)

    return edit


def _many_labels(file: h5py.File) -> None:
    labels = file["PixelClassification/LabelSets"]
    labels.create_group("labels999999")


def _escapes(file: h5py.File) -> None:
    escape = b"\x1b]0;x\x07\x1b[2J\x1b[31mFAKE\x1b[0m\x9b31m\r\n  OK"
    put(PixelClassification__LabelNames=np.array([escape, b"=1+1"], "S60"), ilastikVersion=b"1.4.3" + escape)(file)
    put(Prediction_Export__OutputFilenameFormat=b"out/" + escape)(file)


def _formulas(file: h5py.File) -> None:
    put(ObjectClassification__LabelNames=np.array([b'=HYPERLINK("http://x","y")', b"@b"], "S40"))(file)


def _table(name: str, project: str, edit: Callable[[h5py.File], None], *words: str) -> Case:
    return project_case(name, project, edit, OUT, "--export_source=Object Predictions", *words)


def _nothing_executable(folder: Path) -> str:
    strange = [path.name for path in folder.rglob("*") if path.suffix == ".sh" or path.name == ".bashrc"]
    return f"{strange[0]} was written" if strange else ""


def _project_kept(folder: Path) -> str:
    return "" if (folder / "raw.h5").read_bytes()[:4] == b"\x89HDF" else "an input was replaced"


def _exactly(name: str) -> Callable[[Path], str]:
    return lambda folder: "" if (folder / name).is_file() else f"{name} was not written"


def _named_table() -> Case:
    start = project_start("obj2d_seg")
    return Case("a table", start.files, (*COMMON, OUT, "--table_filename=out/x.csv", *PROJECTS["obj2d_seg"]))


def _first_class_unlabelled(file: h5py.File) -> None:
    path = "ObjectClassification/ClassifierForests/known_labels"
    count = int(file[path].shape[0])
    del file[path]
    file[path] = np.arange(2, count + 1, dtype=np.uint32)


def _unknown_plugin(file: h5py.File) -> None:
    file.create_group("ObjectExtraction/Features/Spherical Texture/Spherical Texture")


def _trees_of_nan(file: h5py.File) -> None:
    forest = file["PixelClassification/ClassifierForests/Forest0000"]
    for name in forest:
        if name.startswith("Tree_"):
            forest[name]["parameters"][...] = np.nan


def _left_by_killed_runs() -> Case:
    """An old store that was moved aside, and unfinished files; the run puts the store back and then replaces it."""
    start = project_start("px2d_gray")
    name = "out/raw_Probabilities.zarr"
    aside = "out/.raw_Probabilities.zarr.0123456789ab.old"
    left = {
        f"{aside}/.zgroup": b'{"zarr_format": 2}',
        "out/.raw_Probabilities.zarr.0123456789ab.part/0/0.0.0": b"half",
        "out/.raw_Probabilities.h5.0123456789ab.part": b"half",
    }
    words = ("--output_format=single-scale OME-Zarr", "--overwrite", OUT)
    return Case(f"{name} moved aside", {**start.files, **left}, (*COMMON, *words, *PROJECTS["px2d_gray"]))


def _store_in_place(folder: Path) -> str:
    names = {path.name for path in (folder / "out").iterdir()}
    if "raw_Probabilities.zarr" not in names:
        return "there is no store"
    return "the old store is still there" if any(name.endswith(".old") for name in names) else ""


def _table_over(content: bytes) -> Case:
    start = project_start("obj2d_seg")
    words = (*COMMON, "--table_filename=notes.csv", *PROJECTS["obj2d_seg"])
    return Case("a table over a file", {**start.files, "notes.csv": content}, words)


def _log_into(name: str) -> Case:
    start = project_start("px2d_gray")
    return Case(f"a log in {name}", start.files, (*COMMON, OUT, f"--logfile={name}", *PROJECTS["px2d_gray"]))


def _kept(name: str, begins: bytes) -> Callable[[Path], str]:
    return lambda folder: "" if (folder / name).read_bytes().startswith(begins) else f"{name} was changed"


def _image_kept(folder: Path) -> str:
    same = (folder / "raw.png").read_bytes() == project_start("px2d_gray").files["raw.png"]
    return "" if same else "the image was changed"


def _threshold(name: str, value: object) -> Damaged:
    make = partial(project_case, f"{name} is {value}", _HYSTERESIS, put(**{f"ThresholdTwoLevels__{name}": value}))
    return Damaged(make, 1, "ThresholdTwoLevels")


PROJECT_CASES: dict[str, Damaged] = {
    "103 a table of exactly that name": Damaged(_named_table, 0, check=_exactly("out/x.csv")),
    "107 a windows path": Damaged(
        partial(_stored_template, r"C:\Users\me\out\{nickname}_{result_type}.h5"), 1, "--output_filename_format"
    ),
    "110 a class without an object": Damaged(
        partial(_table, "a class without an object", "obj2dt_seg", _first_class_unlabelled), 0
    ),
    "112 what killed runs left": Damaged(_left_by_killed_runs, 0, "put back", check=_store_in_place),
    "114 a threshold of nan": _threshold("LowThreshold", float("nan")),
    "114 a negative threshold": _threshold("HighThreshold", -0.5),
    "114 an infinite threshold": _threshold("HighThreshold", float("inf")),
    "114 no thresholds": Damaged(
        partial(project_case, "no thresholds", _HYSTERESIS, _gone("ThresholdTwoLevels")), 1, "ThresholdTwoLevels"
    ),
    "114 a scale of nearly nothing": Damaged(
        partial(
            project_case,
            "a tiny scale",
            "px2d_gray",
            put(FeatureSelections__Scales=np.array([1e-300, 0.7, 1.0, 1.6, 3.5, 5.0, 10.0])),
        ),
        1,
        "Scales",
    ),
    "114 trees of nan": Damaged(
        partial(project_case, "trees of nan", "px2d_gray", _trees_of_nan), 1, "Forest0000/Tree_"
    ),
    "114 a smoothing of nan": _threshold("SmootherSigma__x", float("nan")),
    "119 features of an unknown plugin": Damaged(
        partial(_table, "an unknown plugin", "obj2d_seg", _unknown_plugin, "--table_filename=out/t.csv"), 0, "lacks"
    ),
    "201 nested keys": Damaged(partial(_table, "nested keys", _HYSTERESIS, _settings(_nested_keys()))),
    "201 deep keys": Damaged(partial(_table, "deep keys", _HYSTERESIS, _settings(_deep_keys()))),
    "202 a giant width": Damaged(partial(_stored_template, "{nickname:>4000000000}"), 1),
    "202 a giant precision": Damaged(partial(_stored_template, "{x_start:.999999999f}"), 1),
    "202 many heaps": Damaged(partial(project_case, "many heaps", "px2d_gray", _heaps)),
    "202 label 999999": Damaged(partial(project_case, "label 999999", "px2d_gray", _many_labels)),
    "202 blocks of nothing": Damaged(
        partial(
            project_case,
            "blocks of 0",
            _HYSTERESIS,
            put(**{f"Blockwise_Object_Classification__BlockShape3dDict__{axis}": 0 for axis in "xyz"}),
            OUT,
            "--export_source=Blockwise Object Predictions",
        )
    ),
    "203 a table as a script": Damaged(
        partial(_table, "x.sh", _HYSTERESIS, _table_at("{dataset_dir}/x.sh")), check=_nothing_executable
    ),
    "203 a table as a hidden file": Damaged(
        partial(_table, ".bashrc", _HYSTERESIS, _table_at("{dataset_dir}/.bashrc")), check=_nothing_executable
    ),
    "203 a table over an input": Damaged(
        partial(_table, "raw.h5", _HYSTERESIS, _table_at("{dataset_dir}/raw.h5")), check=_project_kept
    ),
    "203 a stored url": Damaged(partial(_stored_template, "http://127.0.0.1:9/{nickname}", "dvid"), 1, _ALLOW),
    "203 a stored bucket": Damaged(
        partial(_stored_template, "s3://bucket/{nickname}", "single-scale OME-Zarr"), 1, _ALLOW
    ),
    "203 a hidden folder": Damaged(partial(_stored_template, ".git/hooks/{nickname}"), 1, "hidden folder"),
    "203 a path over an image": Damaged(
        partial(_stored_template, "{dataset_dir}/raw", "png"), 1, "is an input", check=_image_kept
    ),
    "203 a path upwards": Damaged(partial(_stored_template, "out/../out/{nickname}"), 0, r"WARNING.*\.\."),
    "204 formulas": Damaged(
        partial(_table, "formulas", _HYSTERESIS, _formulas, "--table_filename=out/t.csv"), 0, "--safe_csv"
    ),
    "206 a device as project": Damaged(
        lambda: Case("a device", {}, ("--headless", "--project=/dev/null", "a.png")), 1, "not a project file"
    ),
    "206 a report to a device": Damaged(
        partial(project_case, "a report", "px2d_gray", put(), OUT, "--report_json=/dev/null"), 0
    ),
    "307 a log in the image": Damaged(partial(_log_into, "raw.png"), 2, "--logfile", check=_image_kept),
    "307 a log in the project": Damaged(partial(_log_into, "project.ilp"), 2, check=_kept("project.ilp", b"\x89HDF")),
    "307 a table over notes": Damaged(
        partial(_table_over, b"mine"), 1, "other contents", check=_kept("notes.csv", b"mine")
    ),
    "307 a table over a table": Damaged(partial(_table_over, b"a;b\n1;2\n"), 0),
    "204 escapes": Damaged(partial(project_case, "escapes", "px2d_gray", _escapes, "--print_labels_by_slice")),
}
