"""Passwords and signatures in URLs were shown by `explain` and kept in the report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pixelforest import cli
from pixelforest.engine.errors import InputError, InputNotFound
from pixelforest.engine.public_text import public_text

KEY = "geh3im"
PROJECT = "--project=project.ilp"
OUT, DVID = "--output_filename_format", "--output_format=dvid"
# Hosts that no network knows.
COMMANDS = {
    "user of an image": [PROJECT, f"https://user:{KEY}@host.invalid/a.zarr"],
    "user without a name": [PROJECT, f"https://:{KEY}@host.invalid/a.zarr"],
    "token as user": [PROJECT, f"https://{KEY}@host.invalid/a.zarr"],
    "picture": [PROJECT, f"https://user:{KEY}@host.invalid/a.png"],
    "several": [PROJECT, f"https://user:{KEY}@host.invalid/a.png:https://user:{KEY}@host.invalid/b.png"],
    "query": [PROJECT, f"https://host.invalid/a.zarr?token={KEY}"],
    "signed": [PROJECT, f"https://host.invalid/a.zarr?X-Amz-Credential=a&X-Amz-Signature={KEY}"],
    "fragment": [PROJECT, f"https://host.invalid/a.zarr#key={KEY}"],
    "slash in it": [PROJECT, f"https://user:ab/{KEY}@host.invalid/a.zarr"],
    "at sign in it": [PROJECT, f"https://user:ab@{KEY}@host.invalid/a.zarr"],
    "scheme that nobody knows": [PROJECT, f"ftp://user:{KEY}@host.invalid/a.zarr"],
    "bucket": [PROJECT, f"s3://key:{KEY}@bucket/a.zarr"],
    "project": [f"--project=https://user:{KEY}@host.invalid/project.ilp", "raw.png"],
    "role": [PROJECT, "--raw_data", f"https://user:{KEY}@host.invalid/a.zarr"],
    "role that is not there": [PROJECT, "--segmentation_image", f"https://user:{KEY}@host.invalid/a.zarr"],
    "two kinds of inputs": [PROJECT, f"https://u:{KEY}@h.invalid/a.zarr", "--raw_data", f"https://u:{KEY}@h.invalid/b"],
    "dvid": [PROJECT, DVID, f"{OUT}=http://u:{KEY}@h.invalid/api/node/a/b", "raw.png"],
    "dvid query": [PROJECT, DVID, f"{OUT}=http://h.invalid/api/node/a/b?t={KEY}", "raw.png"],
    "output": [PROJECT, "--output_format=n5", f"{OUT}=s3://u:{KEY}@bucket/x", "raw.png"],
    "output of another format": [PROJECT, "--output_format=png", f"{OUT}=s3://u:{KEY}@b/x", "raw.png"],
    "configuration": [PROJECT, f"--configfile=https://u:{KEY}@h.invalid/ilastik.ini", "raw.png"],
    "unknown option": [PROJECT, f"--raw_date=https://u:{KEY}@h.invalid/a"],
}  # fmt: skip


@pytest.fixture
def work(copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = copy_golden("px2d_gray")
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", COMMANDS)
def test_they_are_shown_and_kept_nowhere(name: str, work: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = [*COMMANDS[name], "--device=cpu", "--debug", "--logfile=log.txt"]
    assert cli.main([*words, "--report_json=report.json"]) != 0
    for more in (["--dry_run"], ["--dry_run", "--json"]):
        assert cli.main([*words, *more]) != 0
    captured = capfd.readouterr()
    assert KEY not in captured.out + captured.err
    for file in ("log.txt", "report.json"):
        assert not Path(file).exists() or KEY not in Path(file).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://user:pw@host/a b", "https://…@host/a b"),
        ("https:/user:pw@host/a", "https:/…@host/a"),
        ("see 'https://h/a?token=x', or that", "see 'https://h/a?…', or that"),
        ("cannot open https://h/a?t=x: no answer", "cannot open https://h/a?…: no answer"),
        ("https://host:8000/a@b", "https://host:8000/a@b"),
        ("https://host:8000/api/node/x", "https://host:8000/api/node/x"),
        ("C:/data/a@b.png and mail@example.org", "C:/data/a@b.png and mail@example.org"),
        ("/data/what?.png #1", "/data/what?.png #1"),
        ("s3://bucket/a.zarr/0", "s3://bucket/a.zarr/0"),
    ],
)
def test_only_keys_are_left_out(text: str, shown: str) -> None:
    assert public_text(text) == shown


def test_exceptions_of_the_engine_have_none() -> None:
    assert str(InputError("https://u:pw@host/x")) == "https://…@host/x"
    assert str(InputNotFound("https://u:pw@host/x")) == "https://…@host/x"
