"""Every bench still runs: it lists its cases, and measures a small one without its peers having to be installed."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

BENCH = Path(__file__).resolve().parents[1] / "bench"
# Script -> its quick case.
SCRIPTS = {
    "pipeline.py": "2d-quick",
    "arrays.py": "2d-quick",
    "formats.py": "3d-quick",
    "table.py": "2d-quick",
    "against_ilastik.py": "2d-quick",
    "large_image.py": "2d-quick",
    "curves.py": "2d-quick",
    "sparse_volume.py": "3d-sparse-quick",
    "objects_run.py": "objects-quick",
    "kernels/features.py": "2d-quick",
    "kernels/forest.py": "2d-quick",
    "kernels/labels.py": "2d-quick",
    "kernels/objects.py": "2d-quick",
}


def run(script: str, *words: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "ILASTIK"}
    done = subprocess.run(
        [sys.executable, str(BENCH / script), *words], capture_output=True, text=True, encoding="utf-8", env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


@pytest.mark.parametrize("script", SCRIPTS)
def test_dry_run_lists_cases_and_measures_nothing(script: str, tmp_path: Path) -> None:
    out = run(script, "--dry-run", f"--data={tmp_path / 'data'}")
    assert SCRIPTS[script].removesuffix("-quick") in out
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("script", SCRIPTS)
def test_quick_run_stores_rows_with_machine_versions_and_case(script: str, data: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    out = run(script, "--quick", "--threads=1", f"--data={data}", f"--json={rows}")
    assert "NOT THE SAME" not in out  # what peers that are installed answer
    records = [json.loads(line) for line in rows.read_text(encoding="utf-8").splitlines()]
    timed = [record for record in records if "wall" in record]
    assert timed
    for record in timed:
        assert record["case"]["name"] == SCRIPTS[script]
        assert record["machine"]["processors"] >= 1
        assert "numpy" in record["versions"]
        assert all(seconds > 0 for seconds in record["wall"])


def test_levels_of_x86_are_listed() -> None:
    assert re.fullmatch(r"v3, v4, v4-256: \d+ kernels in \d+ units\n", run("levels.py", "--dry-run"))


@pytest.mark.skipif(platform.machine() != "x86_64" or shutil.which("objdump") is None, reason="reads code for x86-64")
def test_code_for_avx512_rounds_as_that_for_avx2() -> None:
    """A unit with fused multiply-adds and divisions gets no more of the former and no approximation of the latter."""
    out = run("levels.py", "--static", "--level=v4", "--unit=hull")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in out.splitlines() if line.startswith("| ")]
    _, v3, v4 = (dict(zip(rows[0], row, strict=True)) for row in rows)
    assert (v3["level"], v4["level"]) == ("v3", "v4")
    assert int(v4["fma"]) == int(v3["fma"]) > 0
    assert int(v4["zmm"]) > int(v3["zmm"]) == 0
    assert v4["approximations"] == "0"
    assert "no level has multiply-adds or approximations that v3 lacks" in out


def test_training_is_timed_beside_what_vigra_took() -> None:
    assert len(run("training.py", "--dry-run").splitlines()) == 6
    (row,) = run("training.py", "--quick", "--trees=5", "--threads=1").splitlines()
    assert "5000 samples" in row
    assert "vigra (recorded)    14 CPU ms a tree" in row


@pytest.mark.skipif(sys.platform == "win32", reason="Windows knows no SIGKILL")
def test_a_killed_batch_gives_the_same_files() -> None:
    assert len(run("resume.py", "--dry-run").splitlines()) == 2
    out = run("resume.py", "--quick")
    assert "recorded twice: 0; inputs: 12; the same files" in out
    assert "NOT THE SAME" not in out


def test_runs_with_and_without_a_page_are_compared() -> None:
    assert len(run("report.py", "--dry-run").splitlines()) == 1
    out = run("report.py", "--quick")
    assert "2 images of 96x96" in out
    assert len(out.splitlines()) == 5


@pytest.mark.slow
def test_blocks_of_a_fake_kernel_are_distributed() -> None:
    pytest.importorskip("distributed")
    assert run("cluster.py", "overhead", "--dry-run").splitlines() == [f"{n} processes, [2, 8] blocks" for n in (1, 2)]
    out = run("cluster.py", "simulate", "--count=20", "--workers=2", "--seconds=0.01")
    assert "20 blocks of 10 ms on 2 workers" in out
    assert "more for a block: scheduler" in out


def test_the_table_has_a_row_for_each_kind_of_work(data: Path) -> None:
    cases = ("start", "2d-pictures-quick", "2d-objects-quick")
    out = run("table.py", "--quick", "--no-peers", f"--data={data}", *(f"--case={name}" for name in cases))
    rows = [line for line in out.splitlines() if line.startswith("| ")]
    assert [len(row.split("|")) for row in rows] == [len(rows[0].split("|"))] * 4
    assert "(each)" in rows[2]
    assert "kernels/forest.py: variants tried" in out


@pytest.mark.slow
def test_scattered_objects_in_a_volume_of_many_slabs_are_as_computed_independently(data: Path, tmp_path: Path) -> None:
    """The bench's 2.2 G voxels, reduced to 16 million, with so little memory that ids lie in a file."""
    rows = tmp_path / "rows.jsonl"
    run("sparse_volume.py", "--case=3d-sparse-256", "--memory=256MB", f"--data={data}", f"--json={rows}")
    records = [json.loads(line) for line in rows.read_text(encoding="utf-8").splitlines()]
    assert [record["rows"] for record in records if "wall" in record] == [220, 220]
    for record in records:
        assert record.get("anonymous_bytes") is None or record["anonymous_bytes"] < 2**29


def test_curves_are_drawn_from_the_records(data: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    run("curves.py", "--quick", "--series=tiles", f"--data={data}", f"--json={rows}")
    run("draw.py", f"--records={rows}", f"--out={tmp_path / 'images'}")
    text = (tmp_path / "images" / "tiles.svg").read_text(encoding="utf-8")
    points = [json.loads(line)["at"] for line in rows.read_text(encoding="utf-8").splitlines() if '"wall"' in line]
    assert text.count("<circle") == len(set(points)) > 1
    assert "2d-quick" in text


def test_the_agreement_of_training_is_measured_for_recorded_projects() -> None:
    assert run("training_agreement.py", "--dry-run", "--case=px3d") == "px3d\n"
    lines = run("training_agreement.py", "--quick", "--threads=1").splitlines()
    assert [line.split(" | ")[1] for line in lines[-3:]] == [
        "two of pixelforest",
        "pixelforest and ilastik",
        "two of ilastik, recorded",
    ]


def test_a_slide_gives_the_results_of_plain_tiff() -> None:
    assert len(run("slides.py", "--dry-run").splitlines()) == 2
    assert run("slides.py", "--quick").count("results of slide.svs and plain.tif: the same") == 2
