"""Who may import whom, and who may open files: read from the source, so that nothing hides behind a condition."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = "pixelforest"

# Lower layers first; a module imports from its own layer and those below. Everything of the engine stands in one of
# them, by the longest name that fits.
LAYERS = (
    ("box",),
    ("kernels",),
    ("engine.errors", "engine.axes", "engine.public_text", "engine.quotes", "engine.terminal_text"),
    ("engine.config", "engine.machine", "engine.messages", "engine.progress"),
    ("engine.storage",),
    ("engine.formats",),
    ("engine.project", "engine.inputs", "engine.backends", "engine.resources"),
    ("engine.tiling",),
    ("engine.pixels", "engine.objects", "engine.export"),
    ("engine.workflows",),
    ("engine.jobs",),
    ("engine.run",),
    ("engine",),
    ("frontend",),
    ("cli",),
    ("__main__",),
)
# Device libraries and the only folder that may import them.
DEVICE_LIBRARIES = ("cupy", "cupyx", "cuda", "numba.cuda", "nvforest", "treelite", "cucim")
DEVICE_FOLDER = "kernels.cuda"
# Who opens files, beside engine/formats.
FILE_OPENERS = {
    "engine.project.hdf5": "project files",
    "engine.config": "the user's settings, not image data",
    "engine.machine": "/proc and /sys, to learn about memory and CPUs",
}
OPENING_LIBRARIES = ("h5py", "tifffile", "imagecodecs", "PIL", "tensorstore", "zipfile")
OPENING_CALLS = {"open", "read_bytes", "write_bytes", "read_text", "write_text"}
OPENING_CALLS |= {f"np.{name}" for name in ("load", "save", "savez", "memmap", "fromfile")}


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(
        [
            *REPOSITORY.glob("*.py"),
            *(path for folder in ("engine", "frontend", "kernels") for path in REPOSITORY.glob(f"{folder}/**/*.py")),
        ]
    ):
        if path.name not in ("setup.py", "conftest.py"):
            parts = list(path.relative_to(REPOSITORY).with_suffix("").parts)
            yield ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts), path


MODULES = dict(modules())
ALL = [pytest.param(name, id=name) for name in MODULES]
ENGINE = [pytest.param(name, id=name) for name in MODULES if name.startswith("engine")]


def imports_of(name: str) -> set[str]:
    """Absolute names of all imported modules and members, with our own package's prefix taken off."""
    path = MODULES[name]
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            found |= {f"{source}.{alias.name}" if source else alias.name for alias in node.names}
    return {each.removeprefix(f"{PACKAGE}.") for each in found}


def is_within(name: str, parent: str) -> bool:
    return name == parent or name.startswith(f"{parent}.")


def layer_of(name: str) -> int | None:
    """Index of the layer of one of our own names; None for other libraries."""
    fitting = [(len(prefix), i) for i, layer in enumerate(LAYERS) for prefix in layer if is_within(name, prefix)]
    return max(fitting)[1] if fitting else None


@pytest.mark.parametrize("name", ALL)
def test_imports_run_one_way(name: str) -> None:
    if name == "__init__":
        assert imports_of(name) == set(), "the package itself imports nothing"
        return
    own = layer_of(name)
    assert own is not None, f"{name} stands in no layer"
    if name == "engine":
        return  # only hands names on, when they are asked for
    upward = {each for each in imports_of(name) if (layer := layer_of(each)) is not None and layer > own}
    assert not upward, f"{name} imports from layers above its own"


@pytest.mark.parametrize("name", [each for each in MODULES if is_within(each, "kernels")])
def test_kernels_import_nothing_of_the_engine(name: str) -> None:
    assert not [each for each in imports_of(name) if is_within(each, "engine")]


@pytest.mark.parametrize("name", ENGINE)
def test_only_backends_import_kernels(name: str) -> None:
    """The door; kernels.contract and kernels.shared are vocabulary that both sides speak."""
    inside = {each for each in imports_of(name) if is_within(each, "kernels")}
    words = {each for each in inside if is_within(each, "kernels.contract") or is_within(each, "kernels.shared")}
    assert name == "engine.backends" or inside == words


@pytest.mark.parametrize("name", ALL)
def test_only_the_device_folder_imports_device_libraries(name: str) -> None:
    if not is_within(name, DEVICE_FOLDER):
        assert not [each for each in imports_of(name) for library in DEVICE_LIBRARIES if is_within(each, library)]


def test_one_module_imports_the_forest_library() -> None:
    importing = {name for name in MODULES for each in imports_of(name) if is_within(each, "nvforest")}
    assert importing == {f"{DEVICE_FOLDER}.nvforest"}


@pytest.mark.parametrize("name", [each for each in MODULES if is_within(each, "engine")])
def test_only_formats_and_the_project_open_files(name: str) -> None:
    if is_within(name, "engine.formats") or is_within(name, "engine.storage") or name in FILE_OPENERS:
        return
    assert not [each for each in imports_of(name) for library in OPENING_LIBRARIES if is_within(each, library)]
    calls = [
        node for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))) if isinstance(node, ast.Call)
    ]
    opening = {f"line {call.lineno}: {called_name(call)}" for call in calls if called_name(call) in OPENING_CALLS}
    assert not opening


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
