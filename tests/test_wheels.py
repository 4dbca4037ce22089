"""Wheels that ``make wheels`` has built for all platforms: names and contents."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest
from support.golden import REPOSITORY
from support.wheels import PLATFORMS

from pixelforest.kernels.cpu.build import binaries, inspection, library, targets

FOLDER = os.environ.get("WHEELS")
pytestmark = pytest.mark.skipif(not FOLDER, reason="WHEELS names no folder of wheels; make wheels builds them")


def read_wheel(name: str) -> dict[str, bytes]:
    """Files of the wheel for a target."""
    (path,) = Path(str(FOLDER)).glob(f"pixelforest-*-py3-none-{PLATFORMS[name]}.whl")
    with ZipFile(path) as wheel:
        return {each: wheel.read(each) for each in wheel.namelist()}


def test_there_is_one_wheel_for_each_platform() -> None:
    names = {path.name for path in Path(str(FOLDER)).glob("*.whl")}
    assert {name.split("-py3-none-")[1] for name in names} == {f"{tags}.whl" for tags in PLATFORMS.values()}
    assert PLATFORMS.keys() == targets.TARGETS.keys()


@pytest.mark.parametrize("name", PLATFORMS)
def test_a_wheel_has_the_library_of_its_platform_and_not_its_sources(name: str) -> None:
    target, files = targets.TARGETS[name], read_wheel(name)
    ((path, content),) = [each for each in files.items() if "/kernels/cpu/kernels." in each[0]]
    assert path.endswith(f"/pixelforest/kernels/cpu/{target.library}")
    assert inspection.inspect(content, library.exported_names()) == PLATFORMS[name]
    assert binaries.read_binary(content).platform[0] == target.system
    assert not [each for each in files if re.search("/kernels/cpu/(build|loops|simd)/", each)]


@pytest.mark.parametrize("name", PLATFORMS)
def test_a_wheel_says_that_any_python_will_do(name: str) -> None:
    (metadata,) = [content for each, content in read_wheel(name).items() if each.endswith(".dist-info/WHEEL")]
    tags = {line.split(": ")[1] for line in metadata.decode().splitlines() if line.startswith("Tag: ")}
    assert tags == {f"py3-none-{platform}" for platform in PLATFORMS[name].split(".")}


@pytest.mark.parametrize("name", PLATFORMS)
def test_a_wheel_contains_no_path_of_the_machine_that_built_it(name: str) -> None:
    for path, content in read_wheel(name).items():
        for folder in (REPOSITORY, Path(sys.prefix)):
            assert os.fsencode(folder) not in content, path
        if "/kernels." in path:
            assert b".py" not in content
            assert b"/tmp/" not in content


def test_wheels_differ_in_their_libraries_only() -> None:
    wheels = [read_wheel(name) for name in PLATFORMS]
    first, *others = ({path: files[path] for path in files if not is_for_one_platform(path)} for files in wheels)
    assert all(other == first for other in others)


def is_for_one_platform(path: str) -> bool:
    return "/kernels/cpu/kernels." in path or path.rpartition("/")[2] in ("RECORD", "WHEEL")
