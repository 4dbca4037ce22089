"""Fixtures that several test folders use, and marks that depend on the folder."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
from support.backends import AVAILABLE, ON_THE_HOST, also_on_the_host
from support.cuda_host.host_device import HostDevice
from support.cuda_host.machines import MakeDevice, parameters
from support.forests_read_once import read_or_recall
from support.golden import GOLDEN, REPOSITORY, SHARED, golden_cases, golden_folders

from pixelforest import kernels
from pixelforest.engine.project import forest
from pixelforest.kernels.contract import Backend, KernelError
from pixelforest.kernels.cuda.backend import compose_backend

# Their tests run CUDA kernels without a GPU, or need one.
SLOW_FOLDERS = ("cuda", "emulated", "parity", "ptx")
# What a developer's own settings would change.
_ENVIRONMENT = ("LAZYFLOW_THREADS", "LAZYFLOW_TOTAL_RAM_MB", "SLURM_CPUS_PER_TASK", "XDG_CONFIG_HOME", "COLUMNS")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add options of ``make ptx``."""
    group = parser.getgroup("pixelforest")
    group.addoption(
        "--ptx", action="append", default=[], metavar="ARCHITECTURE[:SEED]",
        help="interpret the PTX of an architecture; with a seed in random order (default: compute_90, compute_75:1)",
    )  # fmt: skip
    group.addoption("--plans", type=int, default=1, metavar="N", help="number of random feature plans on each machine")


def pytest_configure(config: pytest.Config) -> None:
    """Undo settings of a shell that processes started by tests would inherit."""
    # SIGINT is ignored by processes in the background.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Without bytecode files every process compiles the whole package: 0.4 s each, and tests start hundreds.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False


def pytest_collection() -> None:
    """Nothing that collection makes is garbage; looking for some takes a tenth of the time."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Nor is it looked at while tests run."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of ``SLOW_FOLDERS`` are not part of the fast set; see also ``sampled``."""
    cases: dict[tuple[str, str, bool], list[pytest.Function]] = {}
    for item in items:
        needs_gpu = "gpu" in item.keywords
        if item.path.parent.name in SLOW_FOLDERS and not needs_gpu:
            item.add_marker(pytest.mark.slow)
        if "make_device" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.ptx)
        if isinstance(item, pytest.Function) and sampled_count(item) and "slow" not in item.keywords:
            cases.setdefault((item.parent.nodeid, item.originalname, needs_gpu), []).append(item)
    for group in cases.values():
        count = sampled_count(group[0])
        fast = {i * (len(group) - 1) // max(1, count - 1) for i in range(count)}
        for i, item in enumerate(group):
            if i not in fast:
                item.add_marker(pytest.mark.slow)


def sampled_count(item: pytest.Function) -> int:
    """Number of cases in the fast set, by a mark or by the attribute ``sampled`` of a suite's class; 0: all."""
    mark = item.get_closest_marker("sampled")
    return mark.args[0] if mark else getattr(item.cls, "sampled", {}).get(item.originalname, 0)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Folders without a test of the fast set are not imported for it."""
    is_fast = {"not slow", "not gpu"} <= set(config.getoption("markexpr").split(" and "))
    return True if is_fast and collection_path.name in SLOW_FOLDERS and collection_path.is_dir() else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Captured names that are not UTF-8 could not be sent from a worker to the process that collects the reports."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrise by recorded runs under tests/golden, and by stand-ins for a device.

    Kernels of a test that takes ``make_device`` run on each of them; small tests of suites run on the one for backends.
    """
    if getattr(metafunc.cls, "has_stand_in", False) and getattr(metafunc.function, "is_small", False):
        metafunc.definition.add_marker(also_on_the_host)
    if "make_device" in metafunc.fixturenames:
        machines = parameters(metafunc.config.getoption("ptx"))
        metafunc.parametrize("make_device", machines, indirect=True, scope="session")
    if "golden_case" in metafunc.fixturenames:
        cases = [case for folder in golden_folders() for case in golden_cases(folder)]
        metafunc.parametrize(
            "golden_case", [pytest.param(case, id=case.name, marks=pytest.mark.golden) for case in cases]
        )


@pytest.fixture(scope="session")
def make_device(request: pytest.FixtureRequest) -> MakeDevice:
    """Makes a stand-in for a device, with the fields of ``HostDevice`` that are given."""
    return request.param


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    """Recorded cases that are not part of the project; skips where they are absent."""
    if not SHARED.is_dir():
        pytest.skip(f"there is no folder {SHARED}")
    return SHARED


@pytest.fixture(scope="session", autouse=True)
def _own_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test sees the configuration files and environment of whoever runs it."""
    home = tmp_path_factory.mktemp("home", numbered=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        patch.setenv("USERPROFILE", str(home))
        for name in _ENVIRONMENT:
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session", autouse=True)
def _forests_are_read_once() -> Iterator[None]:
    """Forests of equal project files are read once; tests/engine/project/conftest.py turns this off."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forest, "_read_forests", read_or_recall)
        yield


@pytest.fixture
def work_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the current directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def copy_golden(tmp_path: Path) -> Callable[[str], Path]:
    """Copies a folder of tests/golden, without the expected files, to where a test may write; returns the copy."""

    def copy(name: str) -> Path:
        source = GOLDEN / name
        assert source.is_dir(), f"{source} is missing"
        return Path(shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("expected")))

    return copy


@pytest.fixture
def unwritable_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in which nothing can be created; skips where permissions do not bind, as for the superuser."""
    folder = tmp_path / "unwritable"
    folder.mkdir()
    folder.chmod(0o500)
    try:
        if os.access(folder, os.W_OK):
            pytest.skip("this user may write everywhere")
        yield folder
    finally:
        folder.chmod(0o700)


@pytest.fixture(scope="session", params=AVAILABLE)
def backend(request: pytest.FixtureRequest) -> Backend:
    """Every available backend, one after the other; a device that is not here is skipped with its reason."""
    if request.param == ON_THE_HOST:
        return compose_backend([HostDevice()])
    if request.param == "cpu":
        return kernels.load("cpu")
    try:
        return kernels.load(request.param)
    except (ImportError, KernelError) as error:
        pytest.skip(f"no {request.param} backend here: {error}")
