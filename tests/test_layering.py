"""Imports and opening of files that the layers permit, read from the source, including code behind conditions."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path

from support.sources import nodes_of

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = "pixelforest"

# Lower layers first; a module imports from its own layer and those below. Everything of the engine stands in one of
# them, by the longest name that fits.
LAYERS = (
    ("box", "frozen"),
    ("kernels",),
    ("engine.errors", "engine.axes", "engine.public_text", "engine.quotes", "engine.requests", "engine.terminal_text"),
    ("engine.config", "engine.machine", "engine.messages", "engine.plug_ins", "engine.progress"),
    ("engine.storage",),
    ("engine.formats",),
    ("engine.project", "engine.inputs", "engine.backends", "engine.resources"),
    ("engine.tiling",),
    ("engine.pixels", "engine.objects", "engine.export"),
    ("engine.workflows",),
    ("engine.sampling",),
    ("engine.training",),
    ("engine.jobs", "engine.job_notes", "engine.arrays", "engine.retraining"),
    ("engine.run",),
    ("engine",),
    ("frontend",),
    ("cli",),
    ("testing",),
    ("__main__",),
)
# Device libraries and the only folder that may import them.
DEVICE_LIBRARIES = ("cupy", "cupyx", "cuda", "numba.cuda", "nvforest", "treelite", "cucim")
DEVICE_FOLDER = "kernels.cuda"
# Who opens files, beside engine/formats.
FILE_OPENERS = {
    "engine.project.hdf5": "project files",
    "engine.project.hdf5_writer": "trained projects",
    "engine.config": "the user's settings, not image data",
    "engine.machine": "/proc and /sys, to learn about memory and CPUs",
}
OPENING_LIBRARIES = ("h5py", "tifffile", "imagecodecs", "PIL", "tensorstore", "zipfile")
IMPORTS = (ast.Import, ast.ImportFrom)
OPENING_CALLS = {"open", "read_bytes", "write_bytes", "read_text", "write_text"}
OPENING_CALLS |= {f"np.{name}" for name in ("load", "save", "savez", "memmap", "fromfile")}


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(
        [
            *REPOSITORY.glob("*.py"),
            *(
                path
                for folder in ("engine", "frontend", "kernels", "testing")
                for path in REPOSITORY.glob(f"{folder}/**/*.py")
            ),
        ]
    ):
        if path.name not in ("setup.py", "conftest.py"):
            parts = list(path.relative_to(REPOSITORY).with_suffix("").parts)
            yield ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts), path


MODULES = dict(modules())
ENGINE = [name for name in MODULES if name == "engine" or name.startswith("engine.")]


@cache
def imports_of(name: str) -> set[str]:
    """Absolute names of all imported modules and members, with our own package's prefix taken off."""
    package = name.split(".") if MODULES[name].name == "__init__.py" else name.split(".")[:-1]
    found = set()
    for node in nodes_of(MODULES[name]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            found |= {f"{source}.{alias.name}" if source else alias.name for alias in node.names}
    return {each.removeprefix(f"{PACKAGE}.") for each in found}


def is_within(name: str, parent: str) -> bool:
    return name == parent or name.startswith(f"{parent}.")


@cache
def layer_of(name: str) -> int | None:
    """Index of the layer of one of our own names; None for other libraries."""
    fitting = [(len(prefix), i) for i, layer in enumerate(LAYERS) for prefix in layer if is_within(name, prefix)]
    return max(fitting)[1] if fitting else None


def test_the_package_itself_imports_nothing() -> None:
    """But for type checkers, and when one of its names is used."""
    assert [node for node in ast.parse(MODULES["__init__"].read_text("utf-8")).body if isinstance(node, IMPORTS)] == []


def test_every_module_is_in_a_layer() -> None:
    assert [name for name in MODULES if name != "__init__" and layer_of(name) is None] == []


def test_imports_run_one_way() -> None:
    """But for ``engine``, which only hands names on, when they are asked for."""
    upward = [
        f"{name} imports {each}"
        for name in set(MODULES) - {"__init__", "engine"}
        for each in imports_of(name)
        if rank(each) > rank(name)
    ]
    assert upward == []


def rank(name: str) -> int:
    """Number of the layer; other libraries are below all of ours."""
    layer = layer_of(name)
    return -1 if layer is None else layer


def test_kernels_import_nothing_of_the_engine() -> None:
    kernels = [name for name in MODULES if is_within(name, "kernels")]
    assert kernels
    assert importing(kernels, ["engine"]) == []


def test_only_backends_import_kernels() -> None:
    """The door; kernels.contract and kernels.shared are vocabulary that both sides speak."""
    others = [name for name in ENGINE if name != "engine.backends"]
    words = importing(others, ["kernels.contract", "kernels.shared"])
    assert words
    assert sorted(set(importing(others, ["kernels"])) - set(words)) == []


def test_only_the_device_folder_imports_device_libraries() -> None:
    assert importing([name for name in MODULES if not is_within(name, DEVICE_FOLDER)], DEVICE_LIBRARIES) == []


def importing(names: Iterable[str], prefixes: Sequence[str]) -> list[str]:
    """``a imports b`` for every module a of ``names`` and every b within one of the prefixes."""
    return [
        f"{name} imports {each}"
        for name in names
        for each in sorted(imports_of(name))
        if any(is_within(each, prefix) for prefix in prefixes)
    ]


def test_only_the_suites_for_plug_ins_import_pytest() -> None:
    users = {name for name in MODULES for each in imports_of(name) if is_within(each, "pytest")}
    assert users
    assert all(is_within(name, "testing") for name in users)


def test_nothing_imports_the_suites_for_plug_ins() -> None:
    assert importing([name for name in MODULES if not is_within(name, "testing")], ["testing"]) == []


def test_one_module_imports_the_cluster_library() -> None:
    """A run without a cluster does not import that module."""
    users = {name for name in MODULES for each in imports_of(name) if is_within(each, "distributed")}
    assert users == {"engine.run.dask_cluster"}
    source = ast.parse(MODULES["engine.run.cluster"].read_text("utf-8"))
    early = [node for node in source.body if isinstance(node, IMPORTS) and "dask_cluster" in ast.unparse(node)]
    assert early == []
    users = {name for name in MODULES for each in imports_of(name) if each.partition(".")[0] in ("dask_mpi", "mpi4py")}
    assert users == {"engine.run.mpi_ranks"}


def test_one_module_imports_napari() -> None:
    """No other module imports that one: napari does, which the manifest of the plug-in tells its name."""
    widget = "frontend.napari_plugin.widget"
    users = {name for name in MODULES for each in imports_of(name) if each.partition(".")[0] in ("napari", "qtpy")}
    assert users == {widget}
    assert importing(MODULES, [widget]) == []


def test_one_module_imports_the_forest_library() -> None:
    users = {name for name in MODULES for each in imports_of(name) if is_within(each, "nvforest")}
    assert users == {f"{DEVICE_FOLDER}.nvforest"}


def test_only_formats_and_the_project_open_files() -> None:
    folders = ("engine.formats", "engine.storage")
    others = [
        name for name in ENGINE if name not in FILE_OPENERS and not any(is_within(name, folder) for folder in folders)
    ]
    assert others
    assert importing(others, OPENING_LIBRARIES) == []
    assert [place for name in others for place in opening_calls(name)] == []


def opening_calls(name: str) -> list[str]:
    calls = [node for node in nodes_of(MODULES[name]) if isinstance(node, ast.Call)]
    return [f"{name}:{call.lineno} {called_name(call)}" for call in calls if called_name(call) in OPENING_CALLS]


def called_name(call: ast.Call) -> str:
    """open, x.read_bytes -> read_bytes, np.load; a method ``open`` is one of our own formats'."""
    if isinstance(call.func, ast.Name):
        return call.func.id
    if not isinstance(call.func, ast.Attribute) or call.func.attr == "open":
        return ""
    owner = call.func.value
    return f"np.{call.func.attr}" if isinstance(owner, ast.Name) and owner.id == "np" else call.func.attr


def test_every_exception_to_the_file_rule_is_needed() -> None:
    assert set(FILE_OPENERS) <= set(MODULES)


def test_what_tests_share_is_in_support() -> None:
    """Nothing imports conftest.py or another test module."""
    imports = re.compile(r"^\s*(?:from|import) .*\b(?:conftest|test_\w+)\b.*", re.MULTILINE)
    paths = sorted((REPOSITORY / "tests").glob("**/*.py"))
    found = [f"{path}: {each[0].strip()}" for path in paths for each in imports.finditer(path.read_text("utf-8"))]
    assert paths
    assert found == []
