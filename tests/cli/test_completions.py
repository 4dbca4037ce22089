"""Completions for shells: the scripts are valid, and offer the options that the help shows."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pixelforest import cli
from pixelforest.frontend.completions import SHELLS
from pixelforest.frontend.options_table import COMMANDS, OPTIONS

OFFERED = [option.name for option in OPTIONS if option.is_shown and not option.refused]
CALL = """
source "$1"; shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_pixelforest
printf '%s\\n' "${COMPREPLY[@]}"
"""
needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")


def script_of(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert cli.main(["completions", shell]) == 0
    return capsys.readouterr().out


def complete_in_bash(folder: Path, script: str, *words: str) -> list[str]:
    """Return what bash offers for the last word; the lines are those that the function puts into COMPREPLY."""
    file = folder / "completions.bash"
    file.write_text(script, encoding="utf-8")
    argv = ["bash", "--norc", "-c", CALL, "bash", str(file), *words]
    done = subprocess.run(argv, check=True, capture_output=True, text=True, cwd=folder)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_that_is_installed_accepts_its_script(
    shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    file = tmp_path / "script"
    file.write_text(script_of(shell, capsys), encoding="utf-8")
    done = subprocess.run([shell, "-n", str(file)], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@needs_bash
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        pytest.param(["--expo"], [name for name in OFFERED if name.startswith("--expo")], id="names"),
        pytest.param(["--project=p.ilp", "--dev"], ["--device"], id="second_word"),
        pytest.param(["--stack_along", ""], ["z", "t", "c"], id="values"),
        pytest.param(["--forest", "=", "n"], ["native", "nvforest"], id="values_behind_an_equals_sign"),
        pytest.param(["--forest", "="], ["auto", "native", "nvforest"], id="nothing_behind_an_equals_sign"),
        pytest.param(["--new_p"], [], id="refused_options"),
        pytest.param(["do"], ["doctor"], id="commands"),
        pytest.param(["--project", "pi"], ["picture.png"], id="files"),
    ],
)
def test_bash_offers(words: list[str], offered: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "picture.png").touch()
    assert complete_in_bash(tmp_path, script_of("bash", capsys), "pixelforest", *words) == offered


def test_zsh_gets_every_option_with_balanced_quotes_and_brackets(capsys: pytest.CaptureFixture[str]) -> None:
    script = script_of("zsh", capsys)
    lines = [line.strip() for line in script.splitlines() if line.strip().startswith(("'--", "'*--"))]
    form = re.compile(r"'\*?(--[a-z_]+)\[[^\[\]']+\](::?([^:'\[\]]|\\:|\[|\])+:(\([^()]+\)|_files))?' \\")
    assert [found[1] for line in lines if (found := form.fullmatch(line))] == OFFERED
    assert script.startswith("#compdef pixelforest\n")


def test_fish_gets_a_line_for_every_command_and_option(capsys: pytest.CaptureFixture[str]) -> None:
    lines = script_of("fish", capsys).splitlines()[1:]
    form = re.compile(r"complete -c pixelforest( [^']|'([^'\\]|\\.)*'|[^'])* -d '([^'\\]|\\.)+'")
    assert [line for line in lines if not form.fullmatch(line)] == []
    assert [found[1] for line in lines if (found := re.search(r" -a (\w+) -d", line))] == list(COMMANDS)
    assert ["--" + found[1] for line in lines if (found := re.search(r" -l (\w+)", line))] == OFFERED


def test_every_command_is_completed() -> None:
    assert set(COMMANDS) == set(cli.SUBCOMMANDS)


@pytest.mark.parametrize("words", [[], ["csh"], ["bash", "zsh"], ["bash", "--quiet"]])
def test_another_shell_is_a_usage_error(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completions", *words]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert all(shell in shown.err for shell in SHELLS)
