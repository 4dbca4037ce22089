"""Commands and code of the pages: every one is valid, and those of the first pages run."""

from __future__ import annotations

import ast
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.golden import REPOSITORY

from pixelforest import cli
from pixelforest.frontend.options import parse_command_line

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
GOLDEN = REPOSITORY / "tests" / "golden" / "px2d_gray"
FIRST_RESULTS, FROM_ILASTIK = (REPOSITORY / "docs" / "start" / f"{n}.md" for n in ("first-results", "from-ilastik"))
COMMAND = re.compile(r"\s*(?:\$ )?(?:(?:srun|mpirun|docker)\b.*? )?(?:\S*/)?(?:pixelforest|run_ilastik\.sh) +(.*)")


def blocks_of(page: Path, *languages: str) -> list[str]:
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^( *)```(\S*)\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL)
    return [block for _, language, block in blocks if language in languages]


def commands_of(page: Path, *languages: str) -> Iterator[list[str]]:
    """Command lines of our programs in the blocks of a page, as words, without the program."""
    for block in blocks_of(page, *(languages or ("", "bash", "console"))):
        for line in block.replace("\\\n", " ").splitlines():
            command = COMMAND.fullmatch(line)
            if command is not None and "…" not in line and not line.startswith("docker build"):
                yield shlex.split(command[1], comments=True)


def test_every_command_of_a_page_is_valid() -> None:
    invalid, count = [], 0
    for page in PAGES:
        for words in commands_of(page):
            count += 1
            action = cli.SUBCOMMANDS.get(words[0], cli.run_project)
            try:
                parse_command_line(cli._options_of(action), words[1:] if words[0] in cli.SUBCOMMANDS else words)
            except Exception as error:
                invalid.append(f"{page.name}: {' '.join(words)}: {error}")
    assert not invalid
    assert count > 40


def test_every_python_block_of_a_page_is_python() -> None:
    for page in PAGES:
        for block in blocks_of(page, "python", "py"):
            ast.parse(block, page.name)


def test_the_first_results_are_written(work_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(GOLDEN, Path("tests/golden/px2d_gray"))
    commands = list(commands_of(FIRST_RESULTS, "console"))
    assert [words[0] for words in commands].count("explain") == 1
    for words in commands:
        assert cli.main(words) == 0
    assert sorted(path.name for path in Path("results").iterdir()) == ["raw_probabilities.h5", "raw_segmentation.png"]
    assert np.unique(np.asarray(Image.open("results/raw_segmentation.png"))).tolist() == [0, 255]


def test_a_result_is_compared_with_ilastiks_as_the_page_says(work_folder: Path) -> None:
    shutil.copy(GOLDEN / "project.ilp", "project.ilp")
    shutil.copy(GOLDEN / "raw.png", "raw.png")
    shutil.copy(GOLDEN / "expected" / "probabilities.h5", "ilastik.h5")
    (words,) = commands_of(FROM_ILASTIK, "console")
    assert cli.main(words) == 0
    (block,) = blocks_of(FROM_ILASTIK, "python")
    exec(compile(block, FROM_ILASTIK.name, "exec"), {})
