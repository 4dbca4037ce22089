"""The configuration file: where it is looked for, what it says, how it is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from pixelforest.engine.config import Config, find_config, read_config
from pixelforest.engine.errors import UsageError


def write(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("platform", "environment", "place"),
    [
        pytest.param("linux", {}, ".config/ilastik/ilastik.ini", id="linux"),
        pytest.param("linux", {"XDG_CONFIG_HOME": "{home}/xdg"}, "xdg/ilastik/ilastik.ini", id="linux, moved"),
        pytest.param("darwin", {}, "Library/Application Support/ilastik/ilastik.ini", id="macos"),
        pytest.param("win32", {}, "AppData/Local/ilastik/ilastik.ini", id="windows"),
        pytest.param("win32", {"LOCALAPPDATA": "{home}/local"}, "local/ilastik/ilastik.ini", id="windows, moved"),
    ],
)
def test_the_users_file_is_found(tmp_path: Path, platform: str, environment: dict[str, str], place: str) -> None:
    environment = {name: value.format(home=tmp_path) for name, value in environment.items()}
    assert find_config(home=tmp_path, environment=environment, platform=platform) is None
    path = write(tmp_path / place)
    assert find_config(home=tmp_path, environment=environment, platform=platform) == path


def test_the_old_file_wins(tmp_path: Path) -> None:
    write(tmp_path / ".config/ilastik/ilastik.ini")
    old = write(tmp_path / ".ilastikrc")
    assert find_config(home=tmp_path, environment={}, platform="linux") == old


def test_a_given_file_wins_over_all(tmp_path: Path) -> None:
    write(tmp_path / ".ilastikrc")
    given = write(tmp_path / "site.ini")
    assert find_config(str(given), home=tmp_path) == given


def test_a_given_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ilastik config file .*gone.ini does not exist or is not a file"):
        find_config(str(tmp_path / "gone.ini"))


def test_no_file_is_all_defaults() -> None:
    assert read_config(None) == Config()


def test_all_keys_are_read(tmp_path: Path) -> None:
    path = write(
        tmp_path / "i.ini",
        "[ilastik]\ndebug: true\noutput_format: png\noutput_filename_format: /out/{nickname}_100%\n"
        "[lazyflow]\nthreads: 3\ntotal_ram_mb: 2000\n",
    )
    assert read_config(path) == Config(
        path=path,
        debug=True,
        output_format="png",
        output_filename_format="/out/{nickname}_100%",
        threads=3,
        total_ram_mb=2000,
    )


def test_ilastiks_own_defaults_are_no_wishes(tmp_path: Path) -> None:
    path = write(tmp_path / "i.ini", "[ilastik]\ndebug: false\n[lazyflow]\nthreads: -1\ntotal_ram_mb: 0\n")
    assert read_config(path) == Config(path=path)


def test_keys_without_effect_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "i.ini", "[ilastik]\nlogging_config: l.json\noutput_fromat: png\n[other]\nx: 1\n")
    notes = read_config(path).notes
    assert len(notes) == 2
    assert "logging_config has no effect" in notes[0]
    assert "output_fromat is not a known setting" in notes[1]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        pytest.param("[lazyflow]\nthreads: many\n", r"i.ini: \[lazyflow\] threads must be a whole number", id="number"),
        pytest.param("[ilastik]\ndebug: perhaps\n", r"i.ini: \[ilastik\] debug must be true or false", id="flag"),
        pytest.param("threads: 3\n", r"i.ini cannot be read: .*no section headers", id="no section"),
        pytest.param("[a]\n[a]\n", r"i.ini cannot be read: .*already exists", id="section twice"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint) as caught:
        read_config(write(tmp_path / "i.ini", text))
    assert "\n" not in str(caught.value)


def test_a_home_that_is_closed_to_us_has_no_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(self: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "is_file", closed)
    assert find_config(None, home=tmp_path, environment={}) is None
