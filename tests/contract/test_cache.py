"""Cache of compiled kernels: several backends, concurrent processes and threads, unusable folders."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pixelforest.kernels.shared import cache

WRITER = """
import sys
from pathlib import Path
from pixelforest.kernels.shared import cache
places = [Path(sys.argv[1])]
cache.folders = lambda: iter(places)
data = bytes(range(256)) * 4000
for _ in range(40):
    assert cache.write("cuda-version/file", data) is not None
    assert cache.read("cuda-version/file") == data
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder that replaces the package's own, the first writable one."""
    folder = tmp_path / "package"
    monkeypatch.setattr(cache, "_in_package", lambda: folder)
    monkeypatch.delenv("PIXELFOREST_CACHE_DIR", raising=False)
    return folder


def grow_old(folder: Path) -> None:
    long_ago = time.time() - 7 * 24 * 3600
    os.utime(folder, (long_ago, long_ago))


def test_a_backend_drops_its_own_old_versions_only(package: Path) -> None:
    for name in ("cpu-1/file", "cuda-1/sm_90/file", "cuda-2/sm_90/file"):
        assert cache.write(name, b"code") == package
    (package / "cpu-2-more").mkdir()
    for folder in package.iterdir():
        grow_old(folder)
    cache.write("cuda-3/sm_90/file", b"code")
    assert {folder.name for folder in package.iterdir()} == {"cpu-1", "cpu-2-more", "cuda-3"}
    grow_old(package / "cuda-3")
    cache.write("cpu-2/file", b"code")
    assert {folder.name for folder in package.iterdir()} == {"cpu-2", "cpu-2-more", "cuda-3"}


def test_versions_that_may_be_in_use_stay(package: Path) -> None:
    for name in ("cuda-1/file", "cuda-2/file"):
        cache.write(name, b"code")
    assert {folder.name for folder in package.iterdir()} == {"cuda-1", "cuda-2"}


def test_other_folders_keep_all_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: Path) -> None:
    """Several installations may share them."""
    monkeypatch.setenv("PIXELFOREST_CACHE_DIR", str(tmp_path / "shared"))
    folder = cache.write("cuda-1/file", b"code")
    assert folder == tmp_path / "shared" / "pixelforest-kernels"
    grow_old(folder / "cuda-1")
    cache.write("cuda-2/file", b"code")
    assert {path.name for path in folder.iterdir()} == {"cuda-1", "cuda-2"}
    assert not package.exists()


def test_what_cannot_be_written_goes_to_the_next_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    places = [tmp_path / "file" / "below", tmp_path / "second"]
    monkeypatch.setattr(cache, "folders", lambda: iter(places))
    assert cache.write("cuda-version/file", b"code") == places[1]
    assert cache.read("cuda-version/file") == b"code"
    monkeypatch.setattr(cache, "folders", lambda: iter(places[:1]))
    assert cache.write("cuda-version/file", b"code") is None


@pytest.mark.parametrize("damage", [lambda whole: whole[: len(whole) // 2], lambda whole: whole[:-1] + b"!"])
def test_a_damaged_file_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[bytes], bytes]
) -> None:
    monkeypatch.setattr(cache, "folders", lambda: iter([tmp_path]))
    cache.write("cuda-version/file", b"code")
    file = tmp_path / "cuda-version" / "file"
    file.write_bytes(damage(file.read_bytes()))
    assert cache.read("cuda-version/file") is None


@pytest.mark.slow
def test_threads_and_processes_write_the_same_file_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Concurrent readers see a complete file; no other file is left."""
    monkeypatch.setattr(cache, "folders", lambda: iter([tmp_path]))
    data, faults = bytes(range(256)) * 4000, list[str]()

    def write() -> None:
        for _ in range(40):
            if cache.write("cuda-version/file", data) != tmp_path or cache.read("cuda-version/file") != data:
                faults.append("not kept, or not whole")

    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    others = [subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], env=environment) for _ in range(2)]
    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [other.wait() for other in others] == [0, 0]
    assert faults == []
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["file"]


@pytest.mark.skipif(os.name == "nt", reason="owners and modes as on POSIX")
def test_a_temporary_folder_is_the_last_resort_and_must_be_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: Path
) -> None:
    """As with a read-only home and installation: what lies below a file cannot be made, not even by the superuser."""
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setattr(cache, "_in_package", lambda: tmp_path / "file" / "package")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "home"))
    monkeypatch.setattr(cache, "_user_cache", lambda: tmp_path / "file" / "home")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = cache.write("cuda-1/file", b"code")
    assert folder == tmp_path / f"pixelforest-kernels-{os.getuid()}"
    assert cache.read("cuda-1/file") == b"code"
    folder.chmod(0o777)
    assert cache.read("cuda-1/file") is None
    assert cache.write("cuda-1/file", b"code") is None
    folder.rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").chmod(0o755)
    folder.symlink_to(tmp_path / "elsewhere")
    assert cache.read("cuda-1/file") is None


def test_folders_are_described_for_people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "folders", lambda: iter([tmp_path, tmp_path / "none"]))
    assert cache.describe_folders() == f"{tmp_path}; {tmp_path / 'none'} (not there yet)"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no umask")
def test_the_temporary_folder_is_private_under_any_umask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders that are open to the group are not trusted; umask 002 makes such ones where nothing is said."""
    monkeypatch.setattr(
        cache, "folders", lambda: iter([cache._temporary()] if cache._is_private(cache._temporary()) else [])
    )
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = os.umask(0o002)
    try:
        assert cache.write("cpu-1/sub/file", b"code") == cache._temporary()
    finally:
        os.umask(before)
    assert cache.read("cpu-1/sub/file") == b"code"
    assert cache.write("cpu-1/other", b"code") == cache._temporary()
