"""Quotes that arrive as a part of a value were taken off every option, but not off input files; blanks off none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pixelforest import cli
from pixelforest.cli import build_request
from pixelforest.engine.config import read_config
from pixelforest.engine.inputs.lanes import parse_input_axes
from pixelforest.engine.machine import choose_memory
from pixelforest.engine.quotes import split_entries, unquote
from pixelforest.frontend.options import Option, Takes, parse_command_line
from pixelforest.frontend.options_table import OPTIONS

QUOTES = pytest.mark.parametrize("quote", ['"', "'"])
# A value that each option accepts where its own check would refuse "x".
VALUES = {
    "label_search_value": "1",
    "device": "cpu",
    "threads": "2",
    "memory": "2G",
    "architectures": "sm_80,sm_90",
    "shard": "1/2",
    "blocks": "1/2",
    "scheduler": "local:2",
    "tree_count": "10",
    "random_label_count": "3",
    "random_label_value": "1",
    "distributed_block_roi": "256",
    "label_proportion": "0.5",
    "seed": "3",
}
WITH_VALUE = [option for option in OPTIONS if option.takes is Takes.VALUE and not option.refused]


@pytest.fixture
def gray(copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = copy_golden("px2d_gray")
    monkeypatch.chdir(folder)
    return folder


def run(*argv: str) -> int:
    return cli.main(["--headless", "--quiet", "--output_format=numpy", "--output_filename_format=out", *argv])


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ('"a b"', "a b"),
        ("'a'", "a"),
        (' "a" ', "a"),
        (" a ", " a "),
        ('"a', '"a'),
        ('"a","b"', '"a","b"'),
        ('"', '"'),
        ('""', ""),
        ("", ""),
        ('"it\'s"', "it's"),
    ],
)
def test_quotes_come_off_in_pairs(text: str, plain: str) -> None:
    assert unquote(text) == plain


def test_entries_of_a_list_are_plain() -> None:
    assert split_entries("\"yxc\", 'None' , zyx") == ["yxc", "None", "zyx"]
    assert parse_input_axes('"yxc", None', ["Raw Data", "Prediction Mask"]) == ("yxc", None)


def a_value_of(option: Option) -> str:
    return option.choices[0] if option.choices else VALUES.get(option.key, "x")


@QUOTES
def test_every_value_may_be_quoted(quote: str) -> None:
    for option in WITH_VALUE:
        value = a_value_of(option)
        plain = parse_command_line(OPTIONS, [f"{option.name}={value}"]).values
        for typed in (f"{quote}{value}{quote}", f" {quote}{value}{quote} "):
            assert parse_command_line(OPTIONS, [f"{option.name}={typed}"]).values == plain
            assert parse_command_line(OPTIONS, [option.name, typed]).values == plain
        assert parse_command_line(OPTIONS, [f"{quote}{option.name}={value}{quote}"]).values == plain


def test_blanks_belong_to_paths_only() -> None:
    kept = []
    for option in WITH_VALUE:
        value = a_value_of(option)
        padded = parse_command_line(OPTIONS, [f"{option.name}= {value} "]).values[option.key]
        if padded == f" {value} ":
            kept.append(option.name)
        else:
            assert padded == parse_command_line(OPTIONS, [f"{option.name}={value}"]).values[option.key]
    assert kept == [option.name for option in WITH_VALUE if option.is_path]


@QUOTES
def test_a_boolean_may_be_quoted(quote: str) -> None:
    for argv in ([f"--readonly={quote}off{quote}"], ["--readonly", f"{quote}off{quote}"]):
        line = parse_command_line(OPTIONS, argv)
        assert (line.values, line.positional) == ({"readonly": False}, [])


@QUOTES
def test_a_quoted_project_without_an_option(quote: str) -> None:
    line = parse_command_line(OPTIONS, [f"{quote}my project.ilp{quote}"])
    assert build_request(line).project == "my project.ilp"


@pytest.mark.sampled(1)
@QUOTES
@pytest.mark.parametrize("role", [[], ["--raw_data"]], ids=["no role", "role"])
def test_a_quoted_image(gray: Path, quote: str, role: list[str]) -> None:
    Image.open("raw.png").save("my raw.png")
    for typed in (f"{quote}my raw.png{quote}", " my raw.png ", f"{quote}{gray / 'my raw.png'}{quote}"):
        Path("out.npy").unlink(missing_ok=True)
        assert run("--project=project.ilp", *role, typed) == 0
        assert Path("out.npy").exists()


def test_each_role_may_be_quoted(copy_golden: Callable[[str], Path]) -> None:
    folder = copy_golden("obj2d_seg")
    inputs = ["--raw_data", f'"{folder / "raw.png"}"', f"--segmentation_image='{folder / 'seg.png'}'"]
    assert cli.main([f"--project={folder / 'project.ilp'}", f'--table_filename="{folder}/t.csv"', *inputs]) == 0
    assert (folder / "t.csv").exists()


def test_a_quoted_pattern_and_quoted_parts_of_a_list(copy_golden: Callable[[str], Path], work_folder: Path) -> None:
    folder = copy_golden("px2d_rgb")
    for name in "abc":
        Image.fromarray(np.full((30, 40), ord(name), np.uint8)).save(f"{name}.png")
    project = f"--project={folder / 'project.ilp'}"
    for argument in ('"*.png"', "'a.png':\"b.png\": c.png"):
        Path("out.npy").unlink(missing_ok=True)
        assert run(project, "--stack_along=c", argument) == 0
        assert np.load("out.npy").shape[:2] == (40, 30)


def test_a_file_of_exactly_that_name_wins(gray: Path) -> None:
    Image.open("raw.png").crop((0, 0, 100, 90)).save(" raw.png")
    assert run("--project=project.ilp", " raw.png") == 0
    assert np.load("out.npy").shape[:2] == (90, 100)


def test_a_file_that_is_not_there_is_named_without_quotes(gray: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--project=project.ilp", '"gone.png"') == 1
    assert "no file matches gone.png (" in capsys.readouterr().err


@QUOTES
def test_values_of_the_configuration_file_and_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quote: str
) -> None:
    """docker --env-file hands quotes on, and people write them into ilastik.ini."""
    path = tmp_path / "ilastik.ini"
    lines = ["[ilastik]", f"output_format = {quote}numpy{quote}", "[lazyflow]", f"threads = {quote}3{quote}"]
    path.write_text("\n".join(lines), encoding="utf-8")
    config = read_config(path)
    assert (config.output_format, config.threads) == ("numpy", 3)
    monkeypatch.setenv("LAZYFLOW_TOTAL_RAM_MB", f"{quote}2000{quote}")
    assert choose_memory(None, config_mb=None) == 2000 * 2**20
