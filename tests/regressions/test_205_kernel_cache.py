"""Object code had mode 0664 under umask 002, parents were not looked at, and a link swapped in time got through."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pixelforest.kernels.shared import cache, trust

pytestmark = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="owners and modes as on POSIX")
NAME = "cpu-1/sub/file"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder of the cache, with one above it that is not made yet."""
    place = tmp_path / "above" / "kernels"
    monkeypatch.setattr(cache, "folders", lambda: iter([place]))
    return place


@pytest.fixture
def umask_002() -> Iterator[None]:
    before = os.umask(0o002)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.mark.usefixtures("umask_002")
def test_nothing_is_open_to_the_group_under_umask_002(folder: Path) -> None:
    assert cache.write(NAME, b"code") == folder
    assert mode(folder / NAME) == 0o644
    for each in (folder.parent, folder, folder / "cpu-1", folder / "cpu-1" / "sub"):
        assert mode(each) == 0o755
    assert cache.read(NAME) == b"code"
    assert [path.name for path in (folder / "cpu-1" / "sub").iterdir()] == ["file"]


@pytest.mark.parametrize("bits", [0o664, 0o646, 0o666])
def test_a_file_that_others_can_write_is_made_anew(folder: Path, bits: int) -> None:
    cache.write(NAME, b"code")
    (folder / NAME).chmod(bits)
    assert cache.read(NAME) is None
    assert cache.write(NAME, b"new") == folder
    assert (cache.read(NAME), mode(folder / NAME)) == (b"new", 0o644)


@pytest.mark.parametrize("bits", [0o775, 0o757, 0o1777])
@pytest.mark.parametrize("inner", ["cpu-1/sub", "cpu-1", "."])
def test_every_folder_of_the_cache_is_closed(folder: Path, inner: str, bits: int) -> None:
    cache.write(NAME, b"code")
    (folder / inner).chmod(bits)
    assert cache.read(NAME) is None
    assert cache.write(NAME, b"code") is None
    (folder / inner).chmod(0o755)
    assert cache.read(NAME) == b"code"


@pytest.mark.parametrize(("bits", "is_trusted"), [(0o777, False), (0o757, False), (0o1777, True), (0o711, True)])
def test_so_is_every_folder_above_it_but_sticky_ones(folder: Path, bits: int, *, is_trusted: bool) -> None:
    cache.write(NAME, b"code")
    folder.parent.chmod(bits)
    assert (cache.read(NAME) is not None) == is_trusted
    assert (cache.write(NAME, b"code") is not None) == is_trusted
    folder.parent.chmod(0o755)


@pytest.mark.parametrize("is_private", [True, False])
def test_a_group_of_one_may_write_above_it(folder: Path, monkeypatch: pytest.MonkeyPatch, *, is_private: bool) -> None:
    monkeypatch.setattr(trust, "_is_private_group", lambda user, group: is_private)
    cache.write(NAME, b"code")
    folder.parent.chmod(0o775)
    assert cache.read(NAME) == (b"code" if is_private else None)


def test_the_group_of_an_installation_may_write_to_it_but_not_to_its_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever can write to the package's own folders can change its code anyway."""
    place = tmp_path / "package" / "__pycache__" / "kernels"
    monkeypatch.setattr(cache, "folders", lambda: iter([place]))
    monkeypatch.setattr(cache, "_in_package", lambda: place)
    monkeypatch.setattr(trust, "_is_private_group", lambda user, group: False)
    assert cache.write(NAME, b"code") == place
    (tmp_path / "package").chmod(0o775)
    place.parent.chmod(0o775)
    assert cache.read(NAME) == b"code"
    place.chmod(0o775)
    assert cache.read(NAME) is None


@pytest.mark.parametrize("who", ["file", "folder"])
def test_what_belongs_to_another_user_is_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch, who: str) -> None:
    cache.write(NAME, b"code")
    real, stranger = os.fstat, folder / NAME if who == "file" else folder.parent
    inode = stranger.stat().st_ino

    def fstat(descriptor: int) -> os.stat_result:
        found = real(descriptor)
        fields = list(found)
        if found.st_ino == inode:
            fields[4] = 54321  # st_uid
        return os.stat_result(fields)

    monkeypatch.setattr(os, "fstat", fstat)
    assert cache.read(NAME) is None


@pytest.mark.parametrize("inner", ["cpu-1", "cpu-1/sub", NAME])
def test_links_inside_of_the_cache_are_not_followed(folder: Path, tmp_path: Path, inner: str) -> None:
    cache.write(NAME, b"code")
    (folder / inner).rename(tmp_path / "moved")
    (folder / inner).symlink_to(tmp_path / "moved")
    assert cache.read(NAME) is None


def test_a_link_above_the_cache_is_as_good_as_what_it_leads_to(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.write(NAME, b"code")
    (tmp_path / "link").symlink_to(folder.parent)
    monkeypatch.setattr(cache, "folders", lambda: iter([tmp_path / "link" / "kernels"]))
    assert cache.read(NAME) == b"code"
    folder.parent.chmod(0o777)
    assert cache.read(NAME) is None


def test_a_fifo_in_place_of_a_file_makes_nobody_wait(folder: Path) -> None:
    cache.write(NAME, b"code")
    (folder / NAME).unlink()
    os.mkfifo(folder / NAME)
    assert cache.read(NAME) is None


@pytest.mark.slow
def test_a_link_that_is_swapped_while_it_is_read_never_gets_through(folder: Path, tmp_path: Path) -> None:
    """The same name is a good folder and a link to one that others can write to, in turns."""
    cache.write(NAME, b"good")
    evil = tmp_path / "evil"
    evil.mkdir()
    (evil / "file").write_bytes(cache._digest(NAME, b"evil") + b"evil")
    evil.chmod(0o777)
    place, kept, link = folder / "cpu-1" / "sub", tmp_path / "kept", tmp_path / "link"
    link.symlink_to(evil)
    is_over = threading.Event()

    def swap() -> None:
        while not is_over.is_set():
            place.rename(kept)
            link.rename(place)
            place.rename(link)
            kept.rename(place)

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        found = {cache.read(NAME) for _ in range(2000)}
    finally:
        is_over.set()
        swapper.join()
    assert found <= {b"good", None}
    assert cache.read(NAME) == b"good"


def test_what_a_killed_process_left_is_written_over(folder: Path) -> None:
    cache.write(NAME, b"code")
    partial = folder / f"{NAME}.{os.getpid()}-{threading.get_ident()}.part"
    partial.write_bytes(b"half")
    partial.chmod(0o666)
    assert cache.write(NAME, b"new") == folder
    assert (cache.read(NAME), partial.exists()) == (b"new", False)


def test_doctor_says_why_a_folder_is_not_used(folder: Path) -> None:
    cache.write(NAME, b"code")
    assert cache.describe_folders() == str(folder)
    folder.chmod(0o777)
    assert cache.describe_folders() == f"{folder} (not used: {folder} can be changed by other users)"
