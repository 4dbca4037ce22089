"""Results behind URLs in blocks: ``--resume`` after a kill, ``--blocks`` and ``--finish``."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import cluster_preload as preload
from support.golden import GOLDEN
from support.killed_runs import KILLED, PROGRAM, SMALL_BLOCKS, UNDISTURBED, State, run_until
from support.object_server import empty_bucket, serving, stored

from pixelforest import cli
from pixelforest.engine.formats.support import ome_zarr_layout
from pixelforest.engine.storage import chunks
from pixelforest.engine.storage.object_storage import RemotePath
from pixelforest.engine.storage.remote_run import RemoteRunFolder
from pixelforest.engine.tiling import blocks
from pixelforest.engine.workflows.objects import shared_frame

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="Windows knows no SIGKILL")]
COMPUTED = Path("computed")
IMAGE = str(GOLDEN / "px3d" / "raw.h5" / "data")
REGION = "--cutout_subregion=[(0, 0, 0, None), (24, 48, 48, None)]"
COUNT = 8  # blocks of the region
FORMATS = {
    "0.5": ["--output_format=single-scale OME-Zarr", "--ome_zarr_version=0.5"],
    "levels": ["--output_format=multi-scale OME-Zarr"],
    "n5": ["--output_format=compressed n5"],
}
RUNS = ".pixelforest-runs/"
STATES = {
    "a block is recorded": (State("run.block_run:LaneRun.add", "after", 5), 0),
    "a block is stored, its record is not": (State("run.block_run:LaneRun.add", "before", 5), 1),
    "the result is about to appear": (State("storage.object_storage:RemoteTarget.commit", "before", 1), 0),
    "the result is in place, its record is not": (State("run.done_lanes:DoneLanes.complete", "before", 1), 0),
    "the result is in place, the run is not removed": (State("run.done_lanes:DoneLanes.complete", "after", 1), 0),
}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with serving() as address:
        yield address


@pytest.fixture
def bucket(server: str, work_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An empty bucket; small chunks and blocks in this process, as in those of ``run_until``."""
    monkeypatch.setattr(blocks, "BLOCK_VOXELS", 1 << 13)
    monkeypatch.setattr(ome_zarr_layout, "CHUNK_BYTES", 1 << 13)
    monkeypatch.setattr(ome_zarr_layout, "SHARDED_ABOVE", 16)
    monkeypatch.setattr(ome_zarr_layout, "SHARD_CHUNKS", 2)
    monkeypatch.setitem(chunks.chunk_shape.__kwdefaults__, "chunk_bytes", 1 << 13)
    return empty_bucket(server, monkeypatch)


def words(*more: str, out: str = "out") -> list[str]:
    argv = [f"--project={GOLDEN / 'px3d' / 'project.ilp'}", f"--output_filename_format=s3://results/{out}/image"]
    return [*argv, REGION, "--device=cpu", "--threads=1", *more, IMAGE]


def run(state: State, *more: str) -> tuple[int, str]:
    return run_until(state, words(*more), computed=COMPUTED, is_small=True)


def computed() -> Counter[str]:
    return Counter(COMPUTED.read_text().splitlines())


def assert_undisturbed(bucket: Any, options: list[str]) -> None:
    """Compare with a run as a whole; nothing but the result is left."""
    assert cli.main(words(*options, out="undisturbed")) == 0
    assert stored(bucket, "out/") == stored(bucket, "undisturbed/") != {}


@pytest.mark.parametrize(("state", "repeats"), STATES.values(), ids=STATES)
@pytest.mark.parametrize("format", FORMATS)
def test_a_killed_image_continues(
    format: str, state: State, repeats: int, bucket: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--resume", *FORMATS[format]]
    status, text = run(state, *options)
    assert status == KILLED, text
    status, text = run(UNDISTURBED, *options)
    assert status == 0, text
    assert_undisturbed(bucket, FORMATS[format])
    assert len(computed()) == COUNT
    assert computed().total() == COUNT + repeats
    assert cli.main(words(*options)) == 0
    assert "1 of 1 inputs are done already" in capsys.readouterr().out


@pytest.mark.parametrize("format", FORMATS)
def test_parts_at_the_same_time_make_the_image(format: str, bucket: Any, capsys: pytest.CaptureFixture[str]) -> None:
    options = FORMATS[format]
    argv = [[UNDISTURBED, f"computed{i}", *words(f"--blocks={i}/2", *options)] for i in (1, 2)]
    assert cli.main(words("--finish", *options)) == 1
    assert f"{COUNT} blocks are missing" in capsys.readouterr().err
    assert stored(bucket, "out/") == {}
    parts = [subprocess.Popen([sys.executable, "-c", SMALL_BLOCKS + PROGRAM, json.dumps(each)]) for each in argv]
    assert [part.wait() for part in parts] == [0, 0]
    assert cli.main(words("--finish", *options)) == 0
    assert_undisturbed(bucket, options)
    for option in ("--finish", "--blocks=1/2", "--resume"):
        assert cli.main(words(option, *options)) == 0


def test_records_of_many_blocks(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than an object takes."""
    monkeypatch.setattr("pixelforest.engine.storage.remote_run.RECORDS_PER_OBJECT", 3)
    assert cli.main(words("--blocks=1/1", *FORMATS["n5"])) == 0
    assert len([key for key in stored(bucket, f"out/{RUNS}") if key.endswith(".jsonl")]) == 3
    assert cli.main(words("--finish", *FORMATS["n5"])) == 0
    assert_undisturbed(bucket, FORMATS["n5"])


@pytest.mark.parametrize("count", [2, 3, 7])
def test_records_of_blocks_that_end_together(count: int, bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As from the workers of a cluster."""
    monkeypatch.setattr("pixelforest.engine.storage.remote_run.RECORDS_PER_OBJECT", 3)
    folder = RemoteRunFolder(RemotePath("s3://results/out/image.n5"), "0123", {})
    records = [{"block": i} for i in range(count + 1)]
    folder.add(*records[:count])
    folder.add(records[count])
    assert sorted(folder.records(), key=lambda record: record["block"]) == records


def test_small_images_are_skipped_one_by_one(bucket: Any, capsys: pytest.CaptureFixture[str]) -> None:
    argv = [f"--project={GOLDEN / 'px2d_gray' / 'project.ilp'}", "--output_format=n5", "--resume"]
    argv.append("--output_filename_format=s3://results/{nickname}")
    for name in "ab":
        Path(f"{name}.png").write_bytes((GOLDEN / "px2d_gray" / "raw.png").read_bytes())
    assert cli.main([*argv, "a.png"]) == 0
    capsys.readouterr()
    assert cli.main([*argv, "a.png", "b.png"]) == 0
    assert "1 of 2 inputs are done already" in capsys.readouterr().out
    assert {key.partition("/")[0] for key in stored(bucket, "")} == {"a.n5", "b.n5"}
    bucket.objects.filter(Prefix="a.n5/").delete()
    assert cli.main([*argv, "a.png", "b.png"]) == 0
    assert "1 of 2 inputs are done already" in capsys.readouterr().out


def test_other_settings_are_refused_with_what_differs(bucket: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words("--blocks=1/2", *FORMATS["n5"])) == 0
    before = stored(bucket, "")
    assert cli.main(words("--resume", *FORMATS["n5"], "--export_dtype=float64")) == 1
    error = capsys.readouterr().err
    assert "was begun by another run; these differ: Probabilities: type (float32, now float64)" in error
    assert "remove s3://results/out/.pixelforest-runs/image.n5." in error
    assert stored(bucket, "") == before
    assert cli.main(words("--resume", *FORMATS["n5"])) == 0
    assert cli.main(words("--resume", *FORMATS["n5"], "--export_dtype=float64")) == 1
    assert "is the result of another run; these differ" in capsys.readouterr().err
    assert cli.main(words("--overwrite", *FORMATS["n5"], "--export_dtype=float64")) == 0
    assert cli.main(words("--resume", *FORMATS["n5"])) == 1, "its record went with it"


@pytest.mark.parametrize("format", ["levels", "n5"])
def test_what_is_there_is_not_replaced(format: str, bucket: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words(*FORMATS[format])) == 0
    before = stored(bucket, "")
    assert cli.main(words("--resume", "--overwrite", *FORMATS[format])) == 1
    assert "something exists there, which runs that can be continued do not replace" in capsys.readouterr().err
    assert stored(bucket, "") == before


def test_blocks_whose_result_was_removed_are_computed_again(bucket: Any) -> None:
    assert run(State("run.block_run:LaneRun.add", "after", 3), "--resume", *FORMATS["n5"])[0] == KILLED
    bucket.objects.filter(Prefix="out/image.n5/").delete()
    status, text = run(UNDISTURBED, "--resume", *FORMATS["n5"])
    assert (status, "was removed, so all blocks are computed again" in text) == (0, True), text
    assert_undisturbed(bucket, FORMATS["n5"])


@pytest.mark.parametrize(
    ("more", "part"),
    [
        (["--resume", "--export_source=Labels"], "--resume: Labels is made from the whole image"),
        (["--blocks=1/2", "--output_filename_format=http://127.0.0.1:1/x"], "http is for reading"),
    ],
)
def test_results_that_cannot_be_continued(
    more: list[str], part: str, bucket: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*words(*FORMATS["n5"])[:-1], *more, IMAGE]) == 1
    assert part in capsys.readouterr().err
    assert stored(bucket, "") == {}


def test_samples_of_blocks_are_kept_beside_their_records(bucket: Any) -> None:
    folder = RemoteRunFolder(RemotePath("s3://results/out.n5"), "run", {})
    folder.add({"block": 1})
    folder.put_sample(1, b"sample")
    assert folder.records() == [{"block": 1}]
    assert (folder.sample(1), folder.sample(2)) == (b"sample", None)
    folder.remove()
    assert stored(bucket, "") == {}


# ------------------------------------------------------------------------------------------------------------ objects


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Steps that this process computes."""
    found = Counter[str]()

    def noted(compute: Callable[..., Any]) -> Callable[..., Any]:
        def compute_noted(step: Any, *more: Any) -> Any:
            found[preload.name_of(step)] += 1
            return compute(step, *more)

        return compute_noted

    for step in (shared_frame.FindStep, shared_frame.MeasureStep):
        monkeypatch.setattr(step, "compute", noted(step.compute))
    return found


def object_words(format: str, *more: str, out: str = "out") -> list[str]:
    argv = ["--project=project.ilp", "--export_source=Object Identities,Object Probabilities", "--device=cpu"]
    argv += [f"--output_filename_format=s3://results/{out}/{{result_type}}", f"--table_filename={out}.csv"]
    return [*argv, *FORMATS[format], *more, "--raw_data", "raw.h5/data", "--segmentation_image", "seg.h5/data"]


def assert_objects_undisturbed(bucket: Any, format: str) -> None:
    """Compare with a run as a whole; nothing but the results and the table is left."""
    assert cli.main(object_words(format, out="undisturbed")) == 0
    assert stored(bucket, "out/") == stored(bucket, "undisturbed/") != {}
    assert Path("out.csv").read_bytes() == Path("undisturbed.csv").read_bytes()


@pytest.mark.parametrize(
    ("state", "done"),
    [
        (State("storage.step_files:RemoteStepFiles.save", "after", 3), 3),
        (State("storage.step_files:RemoteStepFiles.save", "before", 4), 3),
        (State("storage.object_storage:RemoteTarget.commit", "after", 1), None),
        (State("run.done_lanes:DoneLanes.complete", "before", 1), None),
        (State("storage.remote_run:RemoteResult.put_record", "after", 1), None),
        (State("run.done_lanes:DoneLanes.complete", "after", 1), None),
    ],
)
@pytest.mark.parametrize("format", FORMATS)
def test_killed_objects_continue(
    format: str,
    state: State,
    done: int | None,
    bucket: Any,
    steps: Counter[str],
    copy_golden: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Images, of which one may be complete, and a table in a file; steps that are done are not computed again."""
    monkeypatch.chdir(copy_golden("obj3d_seg"))
    argv = object_words(format, "--resume")
    status, text = run_until(state, argv, computed=COMPUTED, is_small=True)
    assert status == KILLED, text
    assert cli.main(argv) == 0
    again = steps.copy()
    assert cli.main(object_words(format, "--blocks=1/1", out="parts")) == 0
    count = (steps - again).total()
    assert again.total() == (0 if done is None else count - done)
    assert_objects_undisturbed(bucket, format)
    before = steps.copy()
    assert cli.main(argv) == 0
    assert steps == before


def test_parts_of_objects(
    bucket: Any,
    steps: Counter[str],
    copy_golden: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(copy_golden("obj3d_seg"))
    assert cli.main(object_words("n5", "--blocks=2/2")) == 0
    assert cli.main(object_words("n5", "--finish")) == 1
    assert "steps are missing; start those of --blocks=I/N again" in capsys.readouterr().err
    assert cli.main(object_words("n5", "--blocks=1/2")) == 0
    assert cli.main(object_words("n5", "--finish")) == 0
    assert max(steps.values()) == 1
    assert_objects_undisturbed(bucket, "n5")
    Path("out.csv").unlink()
    assert cli.main(object_words("n5", "--finish")) == 1
    assert "something exists there, which runs that can be continued do not replace" in capsys.readouterr().err


def test_a_result_that_another_has_put_there_is_kept(
    bucket: Any,
    copy_golden: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Though a run of this one has begun."""
    monkeypatch.chdir(copy_golden("obj3d_seg"))
    assert cli.main(object_words("levels", "--blocks=1/1")) == 0
    assert cli.main(object_words("levels")) == 0
    before = stored(bucket, "out/")
    assert cli.main(object_words("levels", "--finish")) == 1
    assert "something exists there" in capsys.readouterr().err
    assert stored(bucket, "out/") == before
