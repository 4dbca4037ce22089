"""The lanes of a job: which run, what a failing one does to the others, what is left behind. Real inputs and files;
the computation is a stand-in that can be told to fail."""

from __future__ import annotations

import _thread
import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pixelforest.box import Box
from pixelforest.engine import jobs
from pixelforest.engine.errors import ExportError, InputMismatch, MemoryTooSmall, UsageError
from pixelforest.engine.export.images import ExportPlan, ResultInfo
from pixelforest.engine.export.tile_sinks import ImageExport
from pixelforest.engine.inputs.images import InputImage
from pixelforest.engine.progress import Progress
from pixelforest.engine.resources import Resources
from pixelforest.engine.run import batch, check
from pixelforest.engine.run.batch import BatchReport, LaneResult, run_batch
from pixelforest.engine.tiling.work_plan import WorkPlan

GRAY = Path(__file__).resolve().parents[2] / "golden" / "px2d_gray" / "project.ilp"


@dataclass
class FakeWorkflow:
    """Copies the first channel into every result; does what ``hooks`` say for an image of that nickname first."""

    hooks: dict[str, Callable[[], None]] = field(default_factory=dict)
    calls: list[tuple[str, int, int, str]] = field(default_factory=list)
    overflow_count: tuple[str, ...] = ()

    def result_infos(self, project: object, images: Mapping[str, InputImage]) -> Mapping[str, ResultInfo]:
        names = ("Probabilities", "Simple Segmentation", "Uncertainty")
        return {name: ResultInfo(name, np.dtype("uint8"), 1, (0, 255)) for name in names}

    def check_lane(self, project: object, images: Mapping[str, InputImage]) -> None:
        if images["Raw Data"].nickname in self.overflow_count:
            raise InputMismatch("it does not fit")

    def work_voxels(
        self, project: object, images: Mapping[str, InputImage], exports: Mapping[str, ExportPlan], *, has_table: bool
    ) -> int:
        return next(iter(exports.values())).region.size

    def plan_work(self, project: object, images: object, exports: object, **options: object) -> WorkPlan:
        return WorkPlan(tiles=1, tile=(1, 6, 8), halo=(0, 0, 0), memory_bytes=1)

    def classify_lane(
        self,
        project: object,
        images: Mapping[str, InputImage],
        exports: Mapping[str, ImageExport],
        *,
        resources: Resources,
        on_progress: Callable[[int], None],
        table: object = None,
    ) -> None:
        raw = images["Raw Data"]
        thread = threading.current_thread().name
        self.calls.append((raw.nickname, resources.threads, resources.memory_bytes, thread))
        self.hooks.get(raw.nickname, lambda: None)()
        box = Box((0, 0, 0, 0, 0), (*raw.shape[:4], 1))
        data = raw.read(box)
        for export in exports.values():
            export.write(box, data)
        on_progress(data.size)


@pytest.fixture
def workflow(monkeypatch: pytest.MonkeyPatch) -> FakeWorkflow:
    fake = FakeWorkflow()
    monkeypatch.setattr(batch, "load_workflow", lambda project: fake)
    monkeypatch.setattr(
        batch, "open_backend", lambda *device, **work: SimpleNamespace(name="cpu", describe=lambda: "CPU")
    )
    return fake


@pytest.fixture
def images(work_folder: Path) -> tuple[str, ...]:
    for number, name in enumerate("abcde"):
        Image.fromarray(np.full((6, 8), number + 1, np.uint8)).save(f"{name}.png")
    return tuple(f"{name}.png" for name in "abcde")


def make_job(*inputs: str, **changes: object) -> jobs.Job:
    """``threads`` is what the job has, however many processors there are."""
    fields = {"output_format": "numpy", "output_filename_format": "out/{nickname}", "memory": 2**30}
    changes.setdefault("threads", 1)
    names = set(jobs.Request.__dataclass_fields__) - {"threads"}
    wishes = {name: changes.pop(name) for name in list(changes) if name in names}
    return replace(jobs.resolve_job(jobs.Request(project=str(GRAY), inputs=inputs, **(fields | wishes))), **changes)


def raise_(error: BaseException) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


def written() -> list[str]:
    return sorted(path.name for path in Path("out").glob("*")) if Path("out").is_dir() else []


# ----------------------------------------------------------------------------------------------------- all goes well


@pytest.mark.parametrize("threads", [1, 3])
def test_every_lane_is_written(workflow: FakeWorkflow, images: tuple[str, ...], threads: int) -> None:
    report = run_batch(make_job(*images, threads=threads))
    assert report.status == 0
    assert report.message == ""
    assert [file.name for file in report.files] == ["a.npy", "b.npy", "c.npy", "d.npy", "e.npy"]
    assert [int(np.load(file).max()) for file in report.files] == [1, 2, 3, 4, 5]


def test_several_results_are_made_in_one_pass(workflow: FakeWorkflow, images: tuple[str, ...]) -> None:
    report = run_batch(make_job("a.png", export_source="Probabilities,Uncertainty"))
    assert written() == ["a_Probabilities.npy", "a_Uncertainty.npy"]
    assert len(workflow.calls) == 1
    assert report.status == 0


def test_small_lanes_run_side_by_side_with_a_thread_each(workflow: FakeWorkflow, images: tuple[str, ...]) -> None:
    together = threading.Barrier(2, timeout=30)  # breaks unless two lanes are in it at once
    workflow.hooks = {name: lambda: together.wait() and None for name in "ab"}  # type: ignore[misc]
    report = run_batch(make_job("a.png", "b.png", threads=2, memory=2**30))
    assert report.status == 0
    assert {(threads, memory) for _, threads, memory, _ in workflow.calls} == {(1, 2**29)}


def test_little_memory_is_not_shared(workflow: FakeWorkflow, images: tuple[str, ...]) -> None:
    run_batch(make_job("a.png", "b.png", threads=8, memory=300 * 2**20))
    assert {call[1:] for call in workflow.calls} == {(8, 300 * 2**20, "MainThread")}


def test_a_lane_that_needs_more_than_its_share_is_computed_alone(
    workflow: FakeWorkflow, images: tuple[str, ...]
) -> None:
    def need() -> None:
        if workflow.calls[-1][2] < 2**30:
            raise MemoryTooSmall("more")

    workflow.hooks = {"a": need}
    report = run_batch(make_job("a.png", threads=2, memory=2**30))
    assert report.status == 0
    report = run_batch(make_job("a.png", "b.png", threads=2, memory=2**30))
    assert report.status == 0
    assert written() == ["a.npy", "b.npy"]


def test_large_lanes_have_all_threads(
    workflow: FakeWorkflow, images: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "SMALL_LANE_VOXELS", 1)
    run_batch(make_job(*images, threads=2, memory=2**30))
    assert {call[1:] for call in workflow.calls} == {(2, 2**30, "MainThread")}


def test_a_single_lane_has_all_threads(workflow: FakeWorkflow, images: tuple[str, ...]) -> None:
    run_batch(make_job("a.png", threads=4))
    assert workflow.calls[0][1] == 4


def test_the_lines_scripts_match_on_come_in_order(
    workflow: FakeWorkflow, images: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run_batch(make_job("a.png", output_format="hdf5"))
    lines = [f"{record.name}: {record.getMessage()}" for record in caplog.records]
    expected = [
        "ilastik.app: config file location: <none>",
        f"ilastik.shell.projectManager: Opening Project: {GRAY}",
        "ilastik.workflows.pixelClassification.pixelClassificationWorkflow: Beginning Batch Processing",
        "ilastik.applets.dataSelection.dataSelectionApplet: Using axistags from previous lane: [y x c, None]",
        "ilastik.applets.batchProcessing.batchProcessingApplet: Exporting to "
        f"{Path('out/a.h5').absolute()}/exported_data",
        "lazyflow.operators.ioOperators.ioOperators.OpH5N5WriterBigDataset: Data shape: (6, 8, 1)",
        "ilastik.workflows.pixelClassification.pixelClassificationWorkflow: Completed Batch Processing",
        f"pixelforest.batch: Wrote {Path('out/a.h5').absolute()}",
    ]
    assert [line for line in lines if line in expected] == expected
    assert "pixelforest.batch: Using device CPU, 1 thread, 1.0 GiB of memory" in lines


def test_lines_about_inputs_come_once(
    workflow: FakeWorkflow, images: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    np.save("n.npy", np.zeros((4, 5, 1), np.uint8))
    run_batch(make_job("n.npy"))
    assert sum("Could not find stored axistags" in record.getMessage() for record in caplog.records) == 1


def test_no_inputs_are_no_error(workflow: FakeWorkflow, work_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    report = run_batch(make_job())
    assert report == BatchReport()
    assert report.status == 0
    assert "no input images" in caplog.text


def test_progress_counts_every_voxel(workflow: FakeWorkflow, images: tuple[str, ...]) -> None:
    class Counting(Progress):
        def start(self, total_voxels: int, *, skipped_voxels: int = 0) -> None:
            self.total, self.seen = total_voxels, skipped_voxels

        def add(self, voxels: int) -> None:
            self.seen += voxels

    progress = Counting()
    run_batch(make_job(*images, threads=2), progress=progress)
    assert progress.total == progress.seen == 5 * 48


# ---------------------------------------------------------------------------------------------------- a lane goes wrong


@pytest.mark.parametrize("threads", [1, 3])
def test_a_failing_lane_does_not_stop_the_others(
    workflow: FakeWorkflow, images: tuple[str, ...], threads: int, caplog: pytest.LogCaptureFixture
) -> None:
    workflow.hooks = {"b": raise_(InputMismatch("b is odd"))}
    report = run_batch(make_job(*images, "gone.png", threads=threads))
    assert report.status == 3
    assert written() == ["a.npy", "c.npy", "d.npy", "e.npy"]
    assert [lane.name for lane in report.failed] == ["b.png", "gone.png"]
    assert report.message == "2 of 6 inputs failed (b.png, gone.png); 4 are done"
    assert "lane 2 (b.png): b is odd" in caplog.text
    assert "lane 6 (gone.png): no file matches gone.png" in caplog.text
    assert "Completed Batch Processing" not in caplog.text


def test_fail_fast_stops_at_the_first(workflow: FakeWorkflow, images: tuple[str, ...]) -> None:
    workflow.hooks = {"a": raise_(InputMismatch("a is odd"))}
    report = run_batch(make_job("a.png", "b.png", fail_fast=True, threads=1))
    assert report.status == 1
    assert report.skipped == 1
    assert report.message == "1 of 2 inputs failed (a.png); 0 are done, 1 were not begun"
    assert written() == []


def test_fail_fast_stops_while_planning(workflow: FakeWorkflow, images: tuple[str, ...]) -> None:
    report = run_batch(make_job("gone.png", "b.png", fail_fast=True))
    assert (report.status, report.skipped, workflow.calls) == (1, 1, [])


def test_a_single_failing_lane_is_the_last_word(
    workflow: FakeWorkflow, images: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    workflow.hooks = {"a": raise_(InputMismatch("a is odd"))}
    report = run_batch(make_job("a.png"))
    assert (report.status, report.message) == (1, "a is odd")
    assert "a is odd" not in caplog.text


def test_a_lane_that_does_not_fit_is_never_computed(workflow: FakeWorkflow, images: tuple[str, ...]) -> None:
    workflow.overflow_count = ("a",)
    report = run_batch(make_job("a.png"))
    assert (report.status, report.message, workflow.calls) == (1, "it does not fit", [])
    assert not Path("out").exists()


def test_a_bug_in_a_lane_is_one_line(workflow: FakeWorkflow, images: tuple[str, ...]) -> None:
    workflow.hooks = {"a": raise_(ZeroDivisionError("division\nby zero"))}
    report = run_batch(make_job("a.png"))
    assert report.message == "unexpected ZeroDivisionError: division by zero; run with debug for the traceback"


def test_an_earlier_result_survives_a_failure(workflow: FakeWorkflow, images: tuple[str, ...]) -> None:
    run_batch(make_job("a.png"))
    before = Path("out/a.npy").read_bytes()
    workflow.hooks = {"a": raise_(InputMismatch("a is odd"))}
    assert run_batch(make_job("a.png")).status == 1
    assert Path("out/a.npy").read_bytes() == before
    assert written() == ["a.npy"]


def test_an_input_that_vanishes_after_planning(workflow: FakeWorkflow, images: tuple[str, ...]) -> None:
    workflow.hooks = {"a": Path("b.png").unlink}
    report = run_batch(make_job("a.png", "b.png"))
    assert report.status == 3
    assert [lane.name for lane in report.failed] == ["b.png"]
    assert written() == ["a.npy"]


def test_lanes_with_one_output_are_refused_before_computing(workflow: FakeWorkflow, images: tuple[str, ...]) -> None:
    with pytest.raises(ExportError, match="lanes 1 and 2 would both be written to"):
        run_batch(make_job("a.png", "b.png", output_filename_format="out/same"))
    assert workflow.calls == []
    assert not Path("out").exists()


@pytest.mark.parametrize("template", ["a", "{nickname}"])
def test_an_input_is_never_overwritten(workflow: FakeWorkflow, images: tuple[str, ...], template: str) -> None:
    before = Path("a.png").read_bytes()
    report = run_batch(make_job("a.png", output_format="png", output_filename_format=template))
    assert report.status == 1
    assert "is an input" in report.message
    assert Path("a.png").read_bytes() == before


# ------------------------------------------------------------------------------------------------------- interruptions


def test_an_interrupt_leaves_nothing_half_done(workflow: FakeWorkflow, images: tuple[str, ...]) -> None:
    workflow.hooks = {"b": raise_(KeyboardInterrupt())}
    with pytest.raises(KeyboardInterrupt):
        run_batch(make_job(*images))
    assert written() == ["a.npy"]


def test_an_interrupt_ends_lanes_that_run_side_by_side(workflow: FakeWorkflow, images: tuple[str, ...]) -> None:
    """The lanes that run end at their next tile and leave nothing; later ones do not begin."""
    goes_on = threading.Event()

    def wait_for_the_interrupt() -> None:
        assert goes_on.wait(timeout=30)

    def interrupt() -> None:
        threading.Timer(0.5, goes_on.set).start()
        _thread.interrupt_main()
        wait_for_the_interrupt()

    workflow.hooks = {"a": wait_for_the_interrupt, "b": interrupt}
    with pytest.raises(KeyboardInterrupt):
        run_batch(make_job(*images, threads=2))
    assert written() == []
    assert {call[0] for call in workflow.calls} == {"a", "b"}


def test_an_interrupt_while_lanes_are_handed_out(
    workflow: FakeWorkflow, images: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lane that began before the others were handed out ends like them all."""
    begun, goes_on = threading.Event(), threading.Event()

    def wait_for_the_interrupt() -> None:
        begun.set()
        assert goes_on.wait(timeout=30)

    class InterruptedPool(ThreadPoolExecutor):
        def submit(self, *args: Any, **options: Any) -> Future[Any]:
            if begun.is_set():
                threading.Timer(0.5, goes_on.set).start()
                raise KeyboardInterrupt
            future = super().submit(*args, **options)
            assert begun.wait(timeout=30)
            return future

    monkeypatch.setattr(batch, "ThreadPoolExecutor", InterruptedPool)
    workflow.hooks = {"a": wait_for_the_interrupt}
    with pytest.raises(KeyboardInterrupt):
        run_batch(make_job(*images, threads=2))
    assert written() == []
    assert {call[0] for call in workflow.calls} == {"a"}


# -------------------------------------------------------------------------------------------------------- exit statuses


@pytest.mark.parametrize(
    ("errors", "skipped", "status"),
    [
        ([None, None], 0, 0),
        ([None, InputMismatch("x")], 0, 3),
        ([InputMismatch("x")], 0, 1),
        ([InputMismatch("x"), UsageError("y")], 0, 1),
        ([UsageError("y")], 0, 2),
        ([None, InputMismatch("x")], 1, 1),
        ([], 0, 0),
    ],
)
def test_exit_status(errors: list[Exception | None], skipped: int, status: int) -> None:
    lanes = tuple(LaneResult(i, f"{i}.png", error=error) for i, error in enumerate(errors))
    assert BatchReport(lanes, skipped).status == status
