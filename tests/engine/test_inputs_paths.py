"""Input arguments: lists, internal paths, patterns, the order of stacks, nicknames."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pixelforest.engine.errors import InputError, InputMismatch, InputNotFound
from pixelforest.engine.inputs.arguments import (
    POSIX,
    WINDOWS,
    Expansion,
    PathStyle,
    Source,
    expand_argument,
    make_nickname,
    split_internal,
    split_list,
)

DATASETS = ("s0", "s1", "sub/s2", "raw[1]")


@pytest.mark.parametrize(
    ("argument", "style", "parts"),
    [
        ("a.png", POSIX, ("a.png",)),
        ("a.png:b.png", POSIX, ("a.png", "b.png")),
        (":a.png::b.png:", POSIX, ("a.png", "b.png")),
        ("a.png:1.png", POSIX, ("a.png", "1.png")),
        ("m.h5/s0:m.h5/s1", POSIX, ("m.h5/s0", "m.h5/s1")),
        ("http://host:8000/x", POSIX, ("http://host:8000/x",)),
        ("http://host:8000/x:a.png", POSIX, ("http://host:8000/x", "a.png")),
        ("a.png:https://host/x", POSIX, ("a.png", "https://host/x")),
        ("precomputed://https://host:80/x", POSIX, ("precomputed://https://host:80/x",)),
        ("a.png;b.png", POSIX, ("a.png;b.png",)),
        (r"C:\a.png;D:\b.png", WINDOWS, (r"C:\a.png", r"D:\b.png")),
        ("C:/a.png;b.png;", WINDOWS, ("C:/a.png", "b.png")),
        ("http://host:8000/x;C:\\a.png", WINDOWS, ("http://host:8000/x", "C:\\a.png")),
    ],
)
def test_split_list(argument: str, style: PathStyle, parts: tuple[str, ...]) -> None:
    assert split_list(argument, style) == parts


@pytest.mark.parametrize(
    ("part", "style", "ways"),
    [
        ("a.png", POSIX, [("a.png", "")]),
        ("dir/a.h5", POSIX, [("dir/a.h5", "")]),
        ("a.h5/", POSIX, [("a.h5", "")]),
        ("a.h5/volume/data", POSIX, [("a.h5", "volume/data")]),
        ("a.H5//volume///data/", POSIX, [("a.H5", "volume/data")]),
        ("a.npz/x", POSIX, [("a.npz", "x")]),
        ("a.n5/x", POSIX, [("a.n5", "x")]),
        ("p.ilp/Input Data/local", POSIX, [("p.ilp", "Input Data/local")]),
        ("/path/f.h5_x.h5/data", POSIX, [("/path/f.h5_x.h5", "data")]),
        ("/data.h5files/a.png", POSIX, [("/data.h5files/a.png", "")]),
        ("d.h5/f.h5/data", POSIX, [("d.h5/f.h5", "data"), ("d.h5", "f.h5/data")]),
        ("s_*.h5/s?", POSIX, [("s_*.h5", "s?")]),
        (r"a.h5\data", POSIX, [(r"a.h5\data", "")]),
        (r"C:\a.h5\data", WINDOWS, [(r"C:\a.h5", "data")]),
        (r"C:\x\a.h5\volume\data", WINDOWS, [(r"C:\x\a.h5", "volume/data")]),
        ("C:/x/a.h5/volume/data", WINDOWS, [("C:/x/a.h5", "volume/data")]),
        (r"\\server\share\a.hdf5", WINDOWS, [(r"\\server\share\a.hdf5", "")]),
        (r"C:\a.png", WINDOWS, [(r"C:\a.png", "")]),
    ],
)
def test_split_internal(part: str, style: PathStyle, ways: list[tuple[str, str]]) -> None:
    assert split_internal(part, style) == tuple(ways)


def expand(argument: str, cwd: Path) -> Expansion:
    return expand_argument(argument, cwd=cwd, list_images=lambda _: DATASETS)


def found(argument: str, cwd: Path) -> list[str]:
    """The sources of an argument, relative to the folder."""
    return [os.path.relpath(str(source), cwd).replace(os.sep, "/") for source in expand(argument, cwd).sources]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files to be found, in a folder whose name looks like a pattern."""
    folder = tmp_path / "da[t]a"
    (folder / "sub").mkdir(parents=True)
    for name in ("s_1.png", "s_2.png", "s_10.png", ".s_0.png", "a.png", "1.png", "a[1].png", "m.h5", "n.h5", "b.tif"):
        (folder / name).touch()
    (folder / "sub" / "c.png").touch()
    (folder / "s_dir.png").mkdir()
    return folder


class TestExpansion:
    @pytest.mark.parametrize(
        ("argument", "expected"),
        [
            ("a.png", ["a.png"]),
            ("sub/../a.png", ["a.png"]),
            ("s_*.png", ["s_1.png", "s_10.png", "s_2.png"]),
            ("s_?.png", ["s_1.png", "s_2.png"]),
            ("s_[1]*.png", ["s_1.png", "s_10.png"]),
            ("su*/c.png", ["sub/c.png"]),
            ("s_2.png:a.png", ["a.png", "s_2.png"]),
            ("a.png:1.png", ["1.png", "a.png"]),
            ("s_1*.png:sub/*.png", ["s_1.png", "s_10.png", "sub/c.png"]),
            ("a[1].png", ["a[1].png"]),
            ("m.h5", ["m.h5"]),
            ("m.h5/any/thing", ["m.h5/any/thing"]),
            ("m.h5/s*", ["m.h5/s0", "m.h5/s1", "m.h5/sub/s2"]),
            ("m.h5/s?", ["m.h5/s0", "m.h5/s1"]),
            ("m.h5/raw[1]", ["m.h5/raw[1]"]),
            ("?.h5/s0", ["m.h5/s0", "n.h5/s0"]),
            ("m.h5/s1:m.h5/s0", ["m.h5/s0", "m.h5/s1"]),
        ],
    )
    def test_patterns_find_their_files(self, folder: Path, argument: str, expected: list[str]) -> None:
        assert found(argument, folder) == expected

    def test_absolute_paths_and_folders_of_others(self, folder: Path) -> None:
        assert found(f"{folder}/a.png", folder) == ["a.png"]
        assert found("../da[[]t]a/s_?.png", folder) == ["s_1.png", "s_2.png"]
        assert found("../da[t]a/s_?.png", folder) == ["s_1.png", "s_2.png"]
        assert found(f"{folder}/su[b]/?.png", folder) == ["sub/c.png"]

    def test_home_is_expanded_in_inputs(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(folder / "sub"))
        monkeypatch.setenv("USERPROFILE", str(folder / "sub"))
        assert found("~/c.png", folder) == ["sub/c.png"]
        assert found("~/?.png:a.png", folder) == ["a.png", "sub/c.png"]

    @pytest.mark.skipif(os.pathsep != ":", reason="a colon cannot be part of a name here")
    def test_an_existing_name_is_not_split(self, folder: Path) -> None:
        (folder / "12:30.png").touch()
        (folder / "12:30.h5").touch()
        assert found("12:30.png", folder) == ["12:30.png"]
        assert found("12:30.h5/s0", folder) == ["12:30.h5/s0"]

    def test_a_container_is_found_by_what_exists(self, folder: Path) -> None:
        assert expand("m.h5/x.h5/data", folder).sources == (Source(folder / "m.h5", "x.h5/data"),)
        (folder / "x.h5").mkdir()
        (folder / "x.h5" / "a.png").touch()
        assert expand("x.h5/a.png", folder).sources == (Source(folder / "x.h5" / "a.png"),)

    @pytest.mark.parametrize("argument", ["nope.png", "nope*.png", "a.png:nope.png", "", ":", "sub/nope.h5/data"])
    def test_nothing_found(self, folder: Path, argument: str) -> None:
        with pytest.raises(InputNotFound, match=r"no file matches .*looked in"):
            expand(argument, folder)

    def test_all_that_is_missing_is_named(self, folder: Path) -> None:
        with pytest.raises(InputNotFound, match=r"matches x\.png, y\*\.png"):
            expand("x.png:a.png:y*.png", folder)

    def test_no_dataset_found(self, folder: Path) -> None:
        with pytest.raises(InputNotFound, match=r"no dataset in .*m\.h5 matches 'q\*'; it has: s0, s1"):
            expand("m.h5/q*", folder)

    def test_several_kinds_of_files(self, folder: Path) -> None:
        with pytest.raises(InputMismatch, match=r"several kinds \(\.png, \.tif\)"):
            expand("a.png:b.tif", folder)

    def test_urls_are_not_parts_of_a_list(self, folder: Path) -> None:
        with pytest.raises(InputError, match="argument of its own"):
            expand("a.png:https://host:80/a.zarr", folder)


class TestOrderWarning:
    @pytest.mark.parametrize("argument", ["s_*.png", "s_10.png:s_2.png"])
    def test_by_number(self, folder: Path, argument: str) -> None:
        warning = expand(argument, folder).warning
        assert "lexicographic order" in warning
        assert "pad the numbers" in warning

    def test_given_order(self, folder: Path) -> None:
        assert "not in the order given" in expand("s_1.png:a.png", folder).warning

    @pytest.mark.parametrize("argument", ["s_?.png", "a.png", "a.png:s_1.png", "m.h5/s?"])
    def test_as_expected(self, folder: Path, argument: str) -> None:
        assert expand(argument, folder).warning == ""


@pytest.mark.parametrize(
    ("sources", "nickname"),
    [
        (["g.png"], "g"),
        (["tome.ome.tif"], "tome.ome"),
        (["st_0.png", "st_1.png"], "st_"),
        (["b.h5|y/z"], "b-y-z"),
        (["hs_0.h5|v", "hs_1.h5|v"], "hs_-v"),
        (["m.h5|s0", "m.h5|s1"], "m-s"),
        (["m.h5|vol/a", "m.h5|vol/b"], "m-vol-"),
        (["rgbst_0.png", "st_0.png"], "dir"),
        (["a*b.png"], "ab"),
        (["noextension"], "noextension"),
    ],
)
def test_the_nickname_is_made_of_all_sources(sources: list[str], nickname: str) -> None:
    cut = [(Path("/some/dir") / name.partition("|")[0], name.partition("|")[2]) for name in sources]
    assert make_nickname([Source(file, internal) for file, internal in cut]) == nickname


def test_nickname_without_anything_in_common() -> None:
    assert make_nickname([Source(Path("/a/x.png")), Source(Path("/b/y.png"))]) == "stack_at-x"


def test_nickname_leaves_out_what_was_not_asked_for() -> None:
    assert make_nickname([Source(Path("/a/x.h5"), "volume/data")], auto_selected=True) == "x"
