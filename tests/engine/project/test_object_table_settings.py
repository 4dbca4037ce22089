"""Stored table settings: the text of pickles of every age is read, nothing in it is ever carried out."""

from __future__ import annotations

import pickle
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixelforest.engine.errors import ProjectError
from pixelforest.engine.project import StoredTableSettings, open_project
from pixelforest.engine.project.table_settings import PATH, read_table_settings

CSV = {"file type": "csv", "file path": "{dataset_dir}/{nickname}.csv", "compression": {}}
H5 = {
    "file type": "h5",
    "file path": "t.h5",
    "compression": {"compression": "gzip", "shuffle": "1", "compression_opts": 4},
    "normalize": True,
    "margin": 3,
    "include raw": False,
}


def stored(tmp_path: Path, content: bytes, *, style: str = "void") -> StoredTableSettings | None:
    path = tmp_path / "p.ilp"
    with h5py.File(path, "w") as file:
        if style == "void":
            file[PATH] = np.void(content)
            file[PATH].attrs["version"] = 1
        else:
            file.create_dataset(PATH, data=content, dtype=h5py.string_dtype("ascii"))
    with open_project(path) as file:
        return read_table_settings(file)


def settings_of(tmp_path: Path, settings: Any, features: Any, *, protocol: int = 0) -> StoredTableSettings | None:
    return stored(tmp_path, pickle.dumps((settings, features), protocol))


def test_a_csv_table(tmp_path: Path) -> None:
    found = settings_of(tmp_path, CSV, ["Count", "Mean in neighborhood"])
    assert found == StoredTableSettings("csv", "{dataset_dir}/{nickname}.csv", ("Count", "Mean in neighborhood"))


def test_an_hdf5_table(tmp_path: Path) -> None:
    found = settings_of(tmp_path, H5, ["Count"])
    compression = {"compression": "gzip", "compression_opts": 4, "shuffle": True}
    assert found == StoredTableSettings("h5", "t.h5", ("Count",), compression, margin=3)


def test_the_raw_image_as_a_whole(tmp_path: Path) -> None:
    found = settings_of(tmp_path, H5 | {"include raw": True}, [])
    assert found is not None
    assert found.includes_raw


def test_what_python_2_wrote(tmp_path: Path) -> None:
    text = (
        b"((dp1\nS'file type'\np2\nS'csv'\np3\nsS'file path'\np4\nVt\\u00e4.csv\np5\nsS'compression'\np6\n(dp7\ns"
        b"(lp8\nS'Count'\np9\naS\"Hole Count\"\np10\natp11\n."
    )
    assert stored(tmp_path, text, style="text") == StoredTableSettings("csv", "tä.csv", ("Count", "Hole Count"))


def test_names_beyond_ascii(tmp_path: Path) -> None:
    found = settings_of(tmp_path, CSV | {"file path": "größe_Δ\\n😀.csv"}, [])
    assert found is not None
    assert found.file_path == "größe_Δ\\n😀.csv"


@pytest.mark.parametrize("features", [(), ["Count", 3, None]])
def test_only_texts_are_features(tmp_path: Path, features: Any) -> None:
    found = settings_of(tmp_path, CSV, features)
    assert found is not None
    assert found.features == tuple(name for name in features if isinstance(name, str))


@pytest.mark.parametrize("style", ["void", "text"])
def test_never_set_up(tmp_path: Path, style: str) -> None:
    assert stored(tmp_path, pickle.dumps((None, None), 0), style=style) is None


def test_not_stored_at_all(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "p.ilp", "w"):
        pass
    with open_project(tmp_path / "p.ilp") as file:
        assert read_table_settings(file) is None


class _Trap:
    """Unpickling this leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("place", ["settings", "features", "whole"])
def test_nothing_is_carried_out(tmp_path: Path, protocol: int, place: str) -> None:
    trap = _Trap(tmp_path / "sprung")
    settings, features = (trap, []) if place == "settings" else (CSV, [trap])
    content = pickle.dumps(trap if place == "whole" else (settings, features), protocol)
    with pytest.raises(ProjectError, match="does not write: it uses the operation"):
        stored(tmp_path, content)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    "settings",
    [
        CSV | {"file type": "exe"},
        CSV | {"file path": ""},
        CSV | {"file path": 3},
        {"file type": "csv"},
        ["csv"],
        "csv",
        H5 | {"margin": -1},
        H5 | {"margin": 1 << 40},
        H5 | {"margin": float("nan")},
    ],
)
def test_settings_without_sense_are_refused(tmp_path: Path, settings: Any) -> None:
    with pytest.raises(ProjectError, match=f"{PATH}: stores settings of the object table that ilastik does not write"):
        settings_of(tmp_path, settings, ["Count"])


@pytest.mark.parametrize("protocol", [1, 2, 5])
def test_newer_pickles_are_not_text(tmp_path: Path, protocol: int) -> None:
    with pytest.raises(ProjectError, match="it uses the operation"):
        settings_of(tmp_path, CSV, ["Count"], protocol=protocol)


@pytest.mark.parametrize(
    "compression",
    [{"compression": "szip"}, {"compression": 3}, {"compression": "gzip", "compression_opts": 99}, None, "gzip"],
)
def test_compressions_h5py_would_not_take(tmp_path: Path, compression: Any) -> None:
    found = settings_of(tmp_path, H5 | {"compression": compression}, [])
    assert found is not None
    assert "compression_opts" not in found.compression


@pytest.mark.slow
@given(content=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    with suppress(ProjectError):
        found = stored(folder, b"((dp1\n" + content + b"\n.")
        assert found is None or isinstance(found, StoredTableSettings)
