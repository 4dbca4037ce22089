"""One image in blocks: ``--resume`` within it after a kill in any state, ``--blocks`` and ``--finish``."""

from __future__ import annotations

import io
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.golden import GOLDEN
from support.killed_runs import KILLED, PROGRAM, SMALL_BLOCKS, UNDISTURBED, State, contents, run_until

from pixelforest import cli
from pixelforest.box import Box
from pixelforest.engine.errors import ExportError
from pixelforest.engine.formats.support import ome_zarr_layout
from pixelforest.engine.run import block_run, turns
from pixelforest.engine.run.turns import MAX_WAITING
from pixelforest.engine.storage import chunks
from pixelforest.engine.storage.leftovers import MIN_AGE_S
from pixelforest.engine.storage.store_writer import StoredArray
from pixelforest.engine.tiling import blocks
from pixelforest.engine.workflows.pixel import workflow as pixel_workflow

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows knows no SIGKILL")
COMPUTED = Path("computed")
IMAGE = str(GOLDEN / "px3d" / "raw.h5" / "data")
COUNT = 24  # blocks of its probabilities
FORMATS = {
    "0.4": ["--output_format=single-scale OME-Zarr"],
    "0.5": ["--output_format=single-scale OME-Zarr", "--ome_zarr_version=0.5"],
    "levels": ["--output_format=multi-scale OME-Zarr"],
    "n5": ["--output_format=compressed n5"],
}
# State -> number of blocks that are computed twice: those in work.
STATES = {
    "a block is recorded": (State("run.block_run:LaneRun.add", "after", 5), 0),
    "a block is on disk, its record is not": (State("run.block_run:LaneRun.add", "before", 5), 1),
    "in the middle of a block": (State("export.tile_sinks:ImageExport.write_converted", "before", 5), 1),
    "all blocks are recorded": (State("run.done_lanes:DoneLanes.begin", "before", 1), 0),
    "the result is about to appear": (State("export.tile_sinks:ImageExport.finish", "before", 1), 0),
    "the result is complete under another name": (State("storage.live_targets:LiveTargets.remove", "before", 1), 0),
    "the result is in place, its record is not": (State("run.done_lanes:DoneLanes.complete", "before", 1), 0),
    "the result is in place, the run is not removed": (State("run.done_lanes:DoneLanes.complete", "after", 1), 0),
}


@pytest.fixture(autouse=True)
def _small(work_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small chunks and blocks in this process, as in those of ``run_until``."""
    monkeypatch.setattr(blocks, "BLOCK_VOXELS", 1 << 13)
    monkeypatch.setattr(ome_zarr_layout, "CHUNK_BYTES", 1 << 13)
    monkeypatch.setattr(ome_zarr_layout, "SHARDED_ABOVE", 16)
    monkeypatch.setattr(ome_zarr_layout, "SHARD_CHUNKS", 2)
    monkeypatch.setitem(chunks.chunk_shape.__kwdefaults__, "chunk_bytes", 1 << 13)


def words(*more: str, out: str = "out") -> list[str]:
    argv = [f"--project={GOLDEN / 'px3d' / 'project.ilp'}", f"--output_filename_format={out}/{{nickname}}"]
    return [*argv, "--device=cpu", "--threads=1", *more, IMAGE]


def kill(state: State, *more: str) -> str:
    status, text = run_until(state, words(*more), computed=COMPUTED, is_small=True)
    assert status == KILLED, text
    return text


def go_on(*more: str) -> str:
    """Run to the end in this process, which notes what it computes; returns its log."""
    classify = pixel_workflow.classify_lane

    def classify_noted(project: Any, images: Any, exports: Any, **options: Any) -> None:
        with COMPUTED.open("a") as file:
            file.write(f"{images[project.roles[0]].nickname} {next(iter(exports.values())).region.start}\n")
        classify(project, images, exports, **options)

    log = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(log), redirect_stderr(log):
        patch.setattr(pixel_workflow, "classify_lane", classify_noted)
        status = cli.main(words(*more))
    assert status == 0, log.getvalue()
    return log.getvalue()


@cache
def undisturbed(format: str) -> dict[str, bytes]:
    """Contents of the result of a run as a whole; equal for all tests."""
    assert cli.main(words(*FORMATS[format], out="undisturbed")) == 0
    return contents(Path("undisturbed"))


def hidden(folder: str = "out") -> list[str]:
    return sorted(name for name in os.listdir(folder) if name.startswith(".") and name != ".pixelforest-resume")


def computed() -> Counter[str]:
    return Counter(COMPUTED.read_text().splitlines())


# -------------------------------------------------------------------------------------------------------------- resume


@pytest.mark.sampled(1)
@pytest.mark.parametrize(("state", "repeats"), STATES.values(), ids=STATES)
@pytest.mark.parametrize("format", FORMATS)
def test_a_killed_image_continues(format: str, state: State, repeats: int) -> None:
    kill(state, "--resume", *FORMATS[format])
    go_on("--resume", *FORMATS[format])
    assert contents(Path("out")) == undisturbed(format)
    assert len(computed()) == COUNT
    assert computed().total() == COUNT + repeats


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("place", ["_fill", "OmeZarrWriter._describe"])
def test_a_run_killed_while_it_makes_smaller_levels_computes_no_block_again(place: str, moment: str) -> None:
    kill(State(f"formats.images.ome_zarr:{place}", moment, 1), "--resume", *FORMATS["levels"])
    log = go_on("--resume", *FORMATS["levels"])
    assert f"{COUNT} of {COUNT} blocks are done already" in log
    assert computed().total() == COUNT
    assert contents(Path("out")) == undisturbed("levels")
    assert hidden() == []


@pytest.mark.slow
def test_an_image_killed_ten_times_repeats_what_was_in_work() -> None:
    for count in (1, 2, 3, 1, 2, 3, 1, 2, 3, 1):
        kill(State("export.tile_sinks:ImageExport.settle", "before", count), "--resume", *FORMATS["n5"])
    go_on("--resume", *FORMATS["n5"])
    assert computed().total() == COUNT + 10
    assert contents(Path("out")) == undisturbed("n5")


@pytest.mark.slow
def test_blocks_that_threads_compute_in_parallel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_run, "THREADS_PER_BLOCK", 1)
    monkeypatch.setattr(block_run, "MIN_BLOCK_BYTES", 1 << 20)
    monkeypatch.setattr("pixelforest.engine.jobs.choose_threads", lambda *args, **options: 4)
    assert cli.main(words("--resume", *FORMATS["0.5"])) == 0
    assert contents(Path("out")) == undisturbed("0.5")


def test_voxels_without_a_class_are_counted_once(capsys: pytest.CaptureFixture[str]) -> None:
    """In one warning for all blocks."""
    image = np.random.default_rng(1).uniform(0, 255, (40, 48, 56)).astype(np.float32)
    image[5, 5, 5] = image[35, 40, 50] = np.nan
    np.save("nan.npy", image)
    argv = [*words(*FORMATS["0.4"])[:-1], "--input_axes=zyx", "nan.npy"]

    def warnings(*more: str) -> list[str]:
        assert cli.main([*argv, *more]) == 0
        return re.findall(r"nan.npy: \d+ voxels have no class", capsys.readouterr().err)

    expected = warnings("--output_filename_format=undisturbed/{nickname}")
    assert len(expected) == 1
    assert warnings("--resume") == expected


@pytest.mark.sampled(1)
@pytest.mark.parametrize("threads", [1, 4])
def test_a_block_that_fails_keeps_the_others(
    threads: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(block_run, "THREADS_PER_BLOCK", 1)
    monkeypatch.setattr(block_run, "MIN_BLOCK_BYTES", 1 << 20)
    monkeypatch.setattr("pixelforest.engine.jobs.choose_threads", lambda *args, **options: threads)
    settle, calls = block_run.ImageExport.settle, []

    def settle_some(self: block_run.ImageExport, block: block_run.BlockSink) -> str:
        calls.append(1)
        if len(calls) == 7:
            raise OSError(28, "No space left on device")
        return settle(self, block)

    with monkeypatch.context() as patch:
        patch.setattr(block_run.ImageExport, "settle", settle_some)
        assert cli.main(words("--resume", *FORMATS["0.4"])) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert cli.main(words("--resume", *FORMATS["0.4"])) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "blocks are done already" in line]
    assert not line.endswith(": 0 of 24 blocks are done already")
    assert contents(Path("out")) == undisturbed("0.4")


@pytest.mark.parametrize("format", FORMATS)
def test_files_come_to_disk_while_the_next_block_is_computed(format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "LONG_S", 0.0)
    go_on("--resume", *FORMATS[format])
    assert contents(Path("out")) == undisturbed(format)
    assert computed().total() == len(computed()) == COUNT


def test_a_disk_that_fails_while_the_next_block_is_computed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run fails and says so; the same command continues."""
    monkeypatch.setattr(turns, "LONG_S", 0.0)
    settle, calls = StoredArray.settle_block, itertools.count(1)

    def fail_late(array: StoredArray, box: Box) -> str:
        if next(calls) == 3:
            raise ExportError("cannot write it: the disk is full")
        return settle(array, box)

    with monkeypatch.context() as patch:
        patch.setattr(StoredArray, "settle_block", fail_late)
        assert cli.main(words("--resume", *FORMATS["0.4"])) == 1
    assert "the disk is full" in capsys.readouterr().err
    go_on("--resume", *FORMATS["0.4"])
    assert contents(Path("out")) == undisturbed("0.4")
    assert computed().total() >= COUNT - 2 - 2 * MAX_WAITING, "blocks that are done are not computed again"
    assert computed().total() < COUNT


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_ended_keeps_its_blocks_and_says_so(number: int) -> None:
    state = State("run.block_run:LaneRun.add", "after", 5, number)
    status, text = run_until(state, words("--resume", *FORMATS["0.4"]), computed=COMPUTED, is_small=True)
    assert (status, "the same command with --resume continues" in text) == (128 + number, True)
    done = computed().total()
    go_on("--resume", *FORMATS["0.4"])
    assert computed().total() <= COUNT + 1
    assert len(computed()) == COUNT
    assert done < COUNT


@pytest.mark.slow
def test_several_results_and_values_that_do_not_fit() -> None:
    """The warning counts the values of all blocks, whoever computed them."""
    options = ["--export_source=Probabilities,Uncertainty,Simple Segmentation", *FORMATS["0.4"], "--export_dtype=uint8"]
    options += ["--pipeline_result_drange=(0,1)", "--export_drange=(0,300)"]

    def counts(text: str) -> list[str]:
        return re.findall(r"(\d+) values do not fit", text)

    _, text = run_until(UNDISTURBED, words(*options, out="undisturbed"), computed=Path("other"), is_small=True)
    assert counts(text)
    kill(State("run.block_run:LaneRun.add", "after", 3), "--resume", *options)
    assert counts(go_on("--resume", *options)) == counts(text)
    assert contents(Path("out")) == contents(Path("undisturbed"))


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("place", ["exchange:replace_in_two_steps", "atomic_write:put_folder"])
def test_an_older_store_is_replaced_once(place: str, moment: str) -> None:
    """It is there, or the new one is, whenever the run is killed."""
    options = [*FORMATS["0.4"], "--overwrite"]
    assert cli.main(words(*options, "--export_source=Uncertainty")) == 0
    assert cli.main(words(*options, out="undisturbed")) == 0
    old, new = contents(Path("out")), contents(Path("undisturbed"))
    kill(State(f"storage.{place}", moment, 1), "--resume", *options)
    assert {name: data for name, data in contents(Path("out")).items() if not name.startswith(".")} in (old, new)
    go_on("--resume", *options)
    assert computed().total() == COUNT
    assert {name: data for name, data in contents(Path("out")).items() if not name.startswith(".")} == new


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_dataset_is_added_to_a_container(moment: str) -> None:
    options = [*FORMATS["n5"], "--output_internal_path=group/{result_type}"]
    for out in ("out", "undisturbed"):
        assert cli.main(words(*options, "--export_source=Uncertainty", out=out)) == 0
    assert cli.main(words(*options, out="undisturbed")) == 0
    kill(State("formats.images.n5:put_folder", moment, 1), "--resume", *options)
    go_on("--resume", *options)
    assert computed().total() == COUNT
    assert contents(Path("out")) == contents(Path("undisturbed"))


@pytest.mark.slow
def test_both_stages_of_autocontext() -> None:
    case = GOLDEN / "autocontext_2d"

    def argv(out: str, *more: str) -> list[str]:
        options = [f"--project={case / 'project.ilp'}", f"--output_filename_format={out}/{{nickname}}", "--threads=1"]
        return [*options, *FORMATS["0.4"], "--device=cpu", *more, str(case / "raw.png")]

    assert cli.main(argv("undisturbed")) == 0
    state = State("run.block_run:LaneRun.add", "after", 1)
    assert run_until(state, argv("out", "--resume"), computed=COMPUTED, is_small=True)[0] == KILLED
    assert run_until(UNDISTURBED, argv("out", "--resume"), computed=COMPUTED, is_small=True)[0] == 0
    assert contents(Path("out")) == contents(Path("undisturbed"))
    assert computed().total() == len(computed()) > 1


@pytest.mark.slow
def test_another_setting_is_refused_until_the_run_is_removed(capsys: pytest.CaptureFixture[str]) -> None:
    kill(State("run.block_run:LaneRun.add", "after", 3), "--resume", *FORMATS["0.4"])
    left = hidden()
    assert [name.rpartition(".")[2] for name in left] in (["blocks", "run"], ["run", "blocks"])
    other = words("--resume", *FORMATS["0.4"], "--export_dtype=float64")
    assert cli.main(other) == 1
    error = capsys.readouterr().err
    assert "was begun by another run; these differ: Probabilities: type (float32, now float64)" in error
    assert f"pixelforest clean --resumable {Path('out').absolute()}" in error
    assert hidden() == left
    for name in left:
        age(Path("out", name))
    assert cli.main(["clean", "out"]) == 0
    assert capsys.readouterr().out.count("--resume continues it; --resumable removes it") == 2
    assert cli.main(["clean", "--resumable", "--dry_run", "out"]) == 0
    assert hidden() == left
    assert cli.main(["clean", "--resumable", "out"]) == 0
    assert hidden() == []
    assert cli.main(other) == 0


def age(path: Path) -> None:
    then = time.time() - MIN_AGE_S - 60
    os.utime(path, (then, then))


@pytest.mark.slow
def test_blocks_whose_folder_was_removed_are_computed_again() -> None:
    kill(State("run.block_run:LaneRun.add", "after", 3), "--resume", *FORMATS["0.4"])
    (folder,) = Path("out").glob(".*.blocks")
    shutil.rmtree(folder)
    assert "was removed, so all blocks are computed again" in go_on("--resume", *FORMATS["0.4"])
    assert computed().total() == COUNT + 3


@pytest.mark.slow
def test_a_file_that_was_removed_is_missed(capsys: pytest.CaptureFixture[str]) -> None:
    """A record does not replace the file."""
    kill(State("run.block_run:LaneRun.add", "after", 3), "--resume", *FORMATS["0.4"])
    next(path for path in Path("out").glob(".*.blocks/s0/0/0/0/0/*")).unlink()
    assert cli.main(words("--resume", *FORMATS["0.4"])) == 1
    assert "1 of the" in capsys.readouterr().err
    assert not list(Path("out").glob("*.zarr"))


@pytest.mark.slow
def test_hdf5_is_computed_again_as_a_whole() -> None:
    """A file that a killed process was writing cannot be trusted."""
    kill(State("export.tile_sinks:ImageExport.finish", "before", 1), "--resume", "--output_format=compressed hdf5")
    go_on("--resume", "--output_format=compressed hdf5")
    assert computed().total() == 2
    assert len(computed()) == 1
    assert Path("out/raw-data.h5").exists()


# --------------------------------------------------------------------------------------------------------------- parts


@pytest.mark.sampled(1)
@pytest.mark.parametrize("format", FORMATS)
def test_parts_in_any_order_make_the_image(format: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One of them is killed and started again; the image is completed when all are there."""
    options = FORMATS[format]
    go_on("--blocks=3/3", *options)
    kill(State("run.block_run:LaneRun.add", "after", 2), "--blocks=1/3", *options)
    go_on("--blocks=2/3", *options)
    assert not [name for name in os.listdir("out") if not name.startswith(".")]
    assert cli.main(words("--finish", *options)) == 1
    error = capsys.readouterr().err
    assert "6 blocks are missing (number 7, 10, 13, 16, 19, 22); start those of --blocks=I/N again" in error
    log = go_on("--blocks=1/3", *options)
    assert "6 blocks were computed, 0 are still missing" in log
    go_on("--finish", *options)
    assert contents(Path("out")) == undisturbed(format)
    assert computed() == dict.fromkeys(computed(), 1)
    assert len(computed()) == COUNT
    assert hidden() == []


@pytest.mark.slow
def test_parts_at_the_same_time() -> None:
    options = FORMATS["0.5"]
    argv = [[UNDISTURBED, f"computed{i}", *words(f"--blocks={i}/2", *options)] for i in (1, 2)]
    parts = [subprocess.Popen([sys.executable, "-c", SMALL_BLOCKS + PROGRAM, json.dumps(each)]) for each in argv]
    assert [part.wait() for part in parts] == [0, 0]
    go_on("--finish", *options)
    assert contents(Path("out")) == undisturbed("0.5")


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_finish_that_was_killed_is_repeated(moment: str) -> None:
    options = FORMATS["levels"]
    go_on("--blocks=1/1", *options)
    kill(State("storage.atomic_write:put_folder", moment, 1), "--finish", *options)
    go_on("--finish", *options)
    assert contents(Path("out")) == undisturbed("levels")
    assert "done already and are skipped" in go_on("--finish", *options)
    assert "done already and are skipped" in go_on("--blocks=1/2", *options)


@pytest.mark.slow
def test_a_run_without_parts_computes_what_is_missing() -> None:
    options = FORMATS["0.4"]
    go_on("--blocks=2/3", *options)
    assert f"8 of {COUNT} blocks are done already" in go_on("--resume", *options)
    assert contents(Path("out")) == undisturbed("0.4")


@pytest.mark.slow
def test_more_parts_than_blocks() -> None:
    assert "0 blocks were computed" in go_on(f"--blocks={COUNT + 1}/{COUNT + 1}", *FORMATS["0.4"])


def test_an_image_of_one_block_is_completed_without_saying_blocks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """By itself it is too small for blocks, so ``--resume`` has to see that it was begun in one."""
    monkeypatch.setattr(blocks, "BLOCK_VOXELS", 1 << 40)
    assert cli.main(words(*FORMATS["0.4"], out="whole")) == 0
    assert cli.main(words("--blocks=1/2", *FORMATS["0.4"])) == 0
    assert hidden() != []
    assert cli.main(words("--resume", *FORMATS["0.4"])) == 0
    assert hidden() == []
    assert contents(Path("out")) == contents(Path("whole"))
    before = contents(Path("out"))
    for option in ("--resume", "--finish", "--blocks=2/2"):
        assert cli.main(words(option, *FORMATS["0.4"])) == 0
    assert contents(Path("out")) == before


@pytest.mark.sampled(2)
@pytest.mark.parametrize("option", ["--blocks=1/2", "--finish"])
@pytest.mark.parametrize("format", ["compressed hdf5", "numpy", "multipage tiff"])
def test_formats_of_one_writer_are_refused_with_those_that_work(
    option: str, format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words(option, f"--output_format={format}")) == 1
    error = capsys.readouterr().err
    assert f"{option.partition('=')[0]}: one process writes {format} as a whole" in error
    assert "multi-scale OME-Zarr, n5" in error or "n5, compressed n5" in error
    assert not Path("out").exists()


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("more", "status", "part"),
    [
        (["--blocks=1/2", "--finish"], 2, "give one of the two"),
        (["--blocks=1/2", "--shard=1/2"], 2, "is for the blocks of one image"),
        (["--blocks=1/2", IMAGE], 2, "is for the blocks of one image, and 2 were given; --shard divides images"),
        (["--blocks=3/2"], 2, "expected part/parts"),
        (["--blocks=1/2", "--export_source=Labels"], 1, "Labels is made from the whole image"),
        (["--finish"], 1, "24 blocks are missing"),
    ],
)
def test_parts_that_cannot_be_meant(
    more: list[str], status: int, part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*words(*FORMATS["0.4"])[:-1], *more, IMAGE]) == status
    assert part in capsys.readouterr().err
    assert not Path("out").exists() or hidden() == []


@pytest.mark.parametrize("option", ["--blocks=1/2", "--finish"])
def test_objects_of_a_pixel_stage_are_not_made_in_parts(
    option: str, copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(copy_golden("pcoc2d"))
    assert cli.main(["--project=project.ilp", option, "--export_source=Object Predictions", "raw.png"]) == 1
    name = option.partition("=")[0]
    assert f"{name}: the pixel stage of this project is computed by one process" in capsys.readouterr().err


# -------------------------------------------------------------------------------------------------------------- blocks


@pytest.mark.parametrize(
    ("extent", "units", "expected"),
    [
        ((1, 40, 48, 56), [(1, 12, 12, 12)], (1, 12, 24, 24)),
        ((1, 1, 4000, 4000), [(1, 1, 64, 64)], (1, 1, 64, 128)),
        ((9, 8, 16, 16), [(1, 8, 16, 16)], (4, 8, 16, 16)),
        ((1, 100, 100, 100), [(1, 4, 4, 4), (1, 6, 6, 6)], (1, 12, 24, 24)),
        ((1, 5, 300, 300), [(1, 50, 50, 50)], (1, 5, 50, 50)),
    ],
)
def test_blocks_are_multiples_of_every_unit(
    extent: tuple[int, ...], units: list[tuple[int, ...]], expected: tuple[int, ...]
) -> None:
    shape = blocks.choose_block(extent, units)
    assert shape == expected
    for unit in units:
        assert all(n == m or n % u == 0 for n, m, u in zip(shape, extent, unit, strict=True))
