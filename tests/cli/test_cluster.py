"""``--scheduler``: inputs and blocks computed by the workers of a Dask cluster, which come, go, and die."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import h5py
import pytest
from support import cluster_preload as preload
from support.golden import GOLDEN
from support.killed_runs import KILLED, UNDISTURBED, State, contents, run_until
from support.object_server import empty_bucket, serving, stored
from support.remote_images import open_writer

from pixelforest import __version__, cli
from pixelforest.box import Box
from pixelforest.engine import Request, resolve_job
from pixelforest.engine.formats.support import ome_zarr_layout
from pixelforest.engine.run import cluster_work
from pixelforest.engine.run.block_run import LevelTask, SharedBlocks
from pixelforest.engine.run.cluster_work import StepTask, Task
from pixelforest.engine.storage import chunks, thread_limit
from pixelforest.engine.tiling import blocks
from pixelforest.engine.workflows.objects import shared_frame

os.environ.setdefault("DASK_CONFIG", os.path.join(os.devnull, "none"))
# Imported by tests only: it takes most of a second, in every process that collects.
if importlib.util.find_spec("distributed") is None:
    pytest.skip("Dask's distributed is not installed", allow_module_level=True)
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows knows no SIGKILL")

IMAGE = str(GOLDEN / "px3d" / "raw.h5" / "data")
COUNT = 8  # blocks of the region
REGION = "--cutout_subregion=[(0, 0, 0, None), (24, 48, 48, None)]"
WINDOW = 6  # blocks that two workers have got at most
STEPS_WINDOW = 4
FORMATS = {
    "0.5": ["--output_format=single-scale OME-Zarr", "--ome_zarr_version=0.5"],
    "levels": ["--output_format=multi-scale OME-Zarr"],
    "n5": ["--output_format=compressed n5"],
}
# A scheduler and two workers in one process, which takes a fifth of the time of three programs and two nannies.
ONE_PROCESS = """
import sys, threading
from distributed import LocalCluster
options = {"host": "127.0.0.1", "protocol": "tcp", "dashboard_address": None, "worker_dashboard_address": None}
folder, file = sys.argv[1:]
cluster = LocalCluster(n_workers=2, threads_per_worker=2, processes=False, local_directory=folder,
    scheduler_kwargs={"scheduler_file": file}, **options)
threading.Event().wait()
"""


class Cluster:
    """A scheduler and its workers."""

    def __init__(self, folder: Path) -> None:
        self.computed, self.kill, self.file = folder / "computed", folder / "kill", folder / "scheduler.json"
        self._stack = ExitStack()
        # Nothing but what is given here: workers are started where the user's folders are not.
        self._env = {**os.environ, preload.COMPUTED: str(self.computed), preload.KILL: str(self.kill)}
        self._env["DASK_DISTRIBUTED__WORKER__PRELOAD"] = preload.__file__
        self._folder = folder
        self._workers = str(folder / "workers")

    def start_together(self) -> None:
        """Start a scheduler and two workers in one process."""
        self._start("-c", ONE_PROCESS, self._workers, str(self.file))

    def start_scheduler(self) -> None:
        """Start a scheduler without workers."""
        options = ["--host=127.0.0.1", "--port=0", "--dashboard-address=127.0.0.1:0"]
        self._start("-m", "dask", "scheduler", f"--scheduler-file={self.file}", *options)

    def add_worker(self, *, version: str = __version__, threads: int = 2, **environment: str) -> None:
        """Start a worker with two threads, and its nanny."""
        options = [f"--scheduler-file={self.file}", f"--nthreads={threads}", "--no-dashboard"]
        folder = f"--local-directory={self._workers}"
        self._start("-m", "dask", "worker", *options, folder, version=version, **environment)

    def client(self) -> Any:
        import distributed

        return distributed.Client(scheduler_file=str(self.file), set_as_default=False)

    def workers(self) -> list[str]:
        with self.client() as client:
            return list(client.scheduler_info(n_workers=-1)["workers"])

    def wait_for_workers(self, count: int) -> None:
        with self.client() as client:
            client.wait_for_workers(count, timeout=120)

    def wait_until_idle(self) -> None:
        """Wait for the end of what workers compute for a run that was killed."""
        with self.client() as client:
            while client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)):
                pass
            while any(client.run(lambda dask_worker: len(dask_worker.state.tasks)).values()):
                pass

    def _start(self, *argv: str, version: str = __version__, **environment: str) -> None:
        with (self._folder / "log").open("ab") as log:
            env = {**self._env, preload.VERSION: version, **environment}
            process = subprocess.Popen([sys.executable, *argv], env=env, stdout=log, stderr=log, cwd=self._folder)
        self._stack.callback(process.wait)
        self._stack.callback(process.terminate)

    def close(self) -> None:
        self._stack.close()


@contextmanager
def started(folder: Path) -> Iterator[Cluster]:
    cluster = Cluster(folder)
    try:
        yield cluster
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def in_one_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A scheduler and two workers in one process."""
    with started(tmp_path_factory.mktemp("cluster")) as cluster:
        cluster.start_together()
        cluster.wait_for_workers(2)
        yield cluster


@pytest.fixture(scope="module")
def with_nannies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A scheduler and two workers, each a program, started again if they die."""
    with started(tmp_path_factory.mktemp("cluster")) as cluster:
        cluster.start_scheduler()
        for _ in range(2):
            cluster.add_worker()
        cluster.wait_for_workers(2)
        yield cluster


@pytest.fixture
def cluster(in_one_process: Cluster) -> Cluster:
    """The cluster in one process, with nothing computed yet."""
    in_one_process.computed.write_text("")
    return in_one_process


@pytest.fixture
def mortal(with_nannies: Cluster) -> Cluster:
    """The cluster whose workers may be killed, with nothing computed yet."""
    with_nannies.computed.write_text("")
    return with_nannies


@pytest.fixture(autouse=True)
def _small(work_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small chunks and blocks, as in the workers."""
    monkeypatch.setattr(blocks, "BLOCK_VOXELS", 1 << 13)
    monkeypatch.setattr(ome_zarr_layout, "CHUNK_BYTES", 1 << 13)
    monkeypatch.setattr(ome_zarr_layout, "SHARDED_ABOVE", 16)
    monkeypatch.setattr(ome_zarr_layout, "SHARD_CHUNKS", 2)
    monkeypatch.setitem(chunks.chunk_shape.__kwdefaults__, "chunk_bytes", 1 << 13)


def words(*more: str, out: str = "out") -> list[str]:
    argv = [f"--project={GOLDEN / 'px3d' / 'project.ilp'}", f"--output_filename_format={out}/{{nickname}}", REGION]
    return [*argv, "--device=cpu", "--threads=1", *more, IMAGE]


def computed(cluster: Cluster) -> Counter[str]:
    return Counter(cluster.computed.read_text().splitlines())


def hidden() -> list[str]:
    return sorted(name for name in os.listdir("out") if name.startswith(".") and name != ".pixelforest-resume")


# -------------------------------------------------------------------------------------------------------- one image


@pytest.mark.sampled(1)
@pytest.mark.parametrize("format", FORMATS)
def test_an_image_in_blocks_has_the_bytes_of_one_process(format: str, cluster: Cluster) -> None:
    assert cli.main(words(*FORMATS[format], out="alone")) == 0
    assert cli.main(words(*FORMATS[format], f"--scheduler={cluster.file}")) == 0
    assert contents(Path("out")) == contents(Path("alone"))
    assert computed(cluster).total() == len(computed(cluster)) == COUNT
    assert hidden() == []


@pytest.mark.parametrize("threads", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_worker_computes_the_next_block_while_files_come_to_disk(threads: int, tmp_path: Path) -> None:
    """The first file of the worker comes to disk once a second block has begun; relative paths stay what they are."""
    with started(tmp_path) as cluster:
        cluster.start_scheduler()
        cluster.add_worker(threads=threads, **{preload.SLOW_DISK: str(tmp_path / "overlapped")})
        cluster.wait_for_workers(1)
        assert cli.main(words(*FORMATS["n5"], out="alone")) == 0
        assert cli.main(words(*FORMATS["n5"], f"--scheduler={cluster.file}")) == 0
        assert contents(Path("out")) == contents(Path("alone"))
        assert computed(cluster).total() == COUNT
        assert (tmp_path / "overlapped").read_text() == "2 blocks have begun"


def test_pictures_of_blocks_are_those_of_one_process(cluster: Cluster) -> None:
    def sample(*more: str, out: str) -> Any:
        argv = words(*FORMATS["n5"], "--report_json=report.json", "--report_html=report.html", *more, out=out)
        assert cli.main(argv) == 0
        return json.loads(Path("report.json").read_text(encoding="utf-8"))["lanes"][0]["sample"]

    alone = sample(out="alone")
    assert alone["pictures"]
    assert sample(f"--scheduler={cluster.file}", out="out") == alone
    assert computed(cluster).total() == COUNT


@pytest.mark.slow
def test_the_scheduler_keeps_nothing_of_tasks(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """One description of their group, and of the last keys."""
    from pixelforest.engine.run import dask_cluster

    monkeypatch.setattr(dask_cluster, "MAX_KEYS", COUNT // 2)

    def kept() -> tuple[int, int]:
        with cluster.client() as client:
            spans = client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.extensions["spans"].spans))
            return spans, client.run_on_scheduler(dask_cluster.key_split.cache_info).currsize

    spans, _ = kept()
    for count in (1, 2):
        assert cli.main(words(*FORMATS["n5"], f"--scheduler={cluster.file}", out=f"out{count}")) == 0
        assert kept()[0] == spans + count
        assert kept()[1] <= WINDOW
    assert computed(cluster).total() == 2 * COUNT


def test_smaller_levels_are_made_by_workers(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Level after level, each in parts, and those of one part by the run."""
    from pixelforest.engine.run.dask_cluster import DaskWorkers

    monkeypatch.setattr(blocks, "BLOCK_VOXELS", 1 << 11)
    options = [*FORMATS["levels"], "--export_source=Probabilities,Simple Segmentation"]
    options.append("--export_dtype=uint8")
    assert cli.main(words(*options, out="alone/{result_type}")) == 0
    submit, levels = DaskWorkers.submit, list[int]()

    def submit_noted(self: DaskWorkers, task: Task, *, attempt: int = 1) -> None:
        levels.append(task.level if isinstance(task, LevelTask) else 0)
        submit(self, task, attempt=attempt)

    monkeypatch.setattr(DaskWorkers, "submit", submit_noted)
    assert cli.main(words(*options, f"--scheduler={cluster.file}", out="out/{result_type}")) == 0
    assert contents(Path("out")) == contents(Path("alone"))
    assert levels == sorted(levels)
    assert Counter(levels)[0] == computed(cluster).total() == len(computed(cluster))
    assert Counter(levels)[1] > 4
    assert Path("out/Probabilities/raw-data.zarr/s2").is_dir()


@pytest.mark.slow
def test_a_worker_that_is_killed_repeats_its_block(mortal: Cluster) -> None:
    """Its nanny starts it again."""
    assert cli.main(words(*FORMATS["n5"], out="alone")) == 0
    mortal.kill.touch()
    assert cli.main(words(*FORMATS["n5"], f"--scheduler={mortal.file}")) == 0
    assert not mortal.kill.exists()
    assert contents(Path("out")) == contents(Path("alone"))
    assert len(computed(mortal)) == COUNT
    assert computed(mortal).total() == COUNT + 1


@pytest.mark.slow
def test_a_run_whose_process_is_killed_continues(cluster: Cluster) -> None:
    assert cli.main(words(*FORMATS["n5"], out="alone")) == 0
    argv = words(*FORMATS["n5"], f"--scheduler={cluster.file}")
    state = State("run.block_run:SharedBlocks.add", "after", 1)
    status, text = run_until(state, argv, computed=Path("unused"), is_small=True)
    assert status == KILLED, text
    assert cli.main(argv) == 0
    assert contents(Path("out")) == contents(Path("alone"))
    assert len(computed(cluster)) == COUNT
    assert computed(cluster).total() <= COUNT + WINDOW


@pytest.mark.slow
def test_an_interrupted_run_says_how_to_continue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With processes of this machine, which end with it."""
    log = tmp_path / "computed"
    monkeypatch.setenv(preload.COMPUTED, str(log))
    monkeypatch.setenv(preload.KILL, str(tmp_path / "kill"))
    monkeypatch.setenv("DASK_DISTRIBUTED__WORKER__PRELOAD", preload.__file__)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    assert cli.main(words(*FORMATS["n5"], out="alone")) == 0
    argv = words(*FORMATS["n5"], "--scheduler=local:2")
    state = State("run.block_run:SharedBlocks.add", "after", 1, signal.SIGINT)
    status, text = run_until(state, argv, computed=Path("unused"), is_small=True)
    assert status == 130, text
    assert "interrupted; the same command with --resume continues" in text
    assert run_until(UNDISTURBED, argv, computed=Path("unused"), is_small=True)[0] == 0
    assert contents(Path("out")) == contents(Path("alone"))
    found = Counter(log.read_text().splitlines())
    assert len(found) == COUNT
    assert found.total() <= COUNT + WINDOW
    assert list(home.iterdir()) == []


def when_recorded(monkeypatch: pytest.MonkeyPatch, steps: dict[int, Callable[[], object]]) -> None:
    """Call each step when so many blocks are recorded; the run waits for it, its workers do not."""
    add, calls = SharedBlocks.add, itertools.count(1)

    def add_noted(self: SharedBlocks, results: Mapping[int, Mapping[str, tuple[str, int]]]) -> None:
        add(self, results)
        for _ in results:
            steps.get(next(calls), lambda: None)()

    monkeypatch.setattr(SharedBlocks, "add", add_noted)


@pytest.mark.slow
def test_workers_come_and_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None is there at first; a second one joins, and then the first one is retired, as by ``adapt()``."""
    assert cli.main(words(*FORMATS["n5"], out="alone")) == 0
    from pixelforest.engine.run.dask_cluster import DaskWorkers

    first: list[str] = []
    with started(tmp_path) as cluster:
        cluster.start_scheduler()

        def join() -> None:
            first.extend(cluster.workers())
            cluster.add_worker()
            cluster.wait_for_workers(2)

        def leave() -> None:
            with cluster.client() as client:
                client.retire_workers(first)

        assert cluster.workers() == []  # and the scheduler is there
        submit, calls = DaskWorkers.submit, itertools.count()

        def submit_noted(self: DaskWorkers, task: Task, *, attempt: int = 1) -> None:
            submit(self, task, attempt=attempt)
            if next(calls) == 0:
                assert self.count() == 0
                cluster.add_worker()

        monkeypatch.setattr(DaskWorkers, "submit", submit_noted)
        when_recorded(monkeypatch, {2: join, 4: leave})
        assert cli.main(words(*FORMATS["n5"], f"--scheduler={cluster.file}")) == 0
        assert len(first) == len(cluster.workers()) == 1
        assert first != cluster.workers()
        assert contents(Path("out")) == contents(Path("alone"))
        assert len(computed(cluster)) == COUNT
        assert computed(cluster).total() <= COUNT + 1  # the block in work where the first worker left


@pytest.mark.slow
def test_a_later_worker_of_another_version_gets_nothing_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pixelforest.engine.run import dask_cluster

    monkeypatch.setattr(dask_cluster, "COUNT_PERIOD_S", 0.0)
    monkeypatch.setattr(dask_cluster, "GREET_PERIOD_S", 0.0)
    with started(tmp_path) as cluster:
        cluster.start_scheduler()
        cluster.add_worker()
        cluster.wait_for_workers(1)

        def join() -> None:
            cluster.add_worker(version="0.0.1")
            cluster.wait_for_workers(2)

        when_recorded(monkeypatch, {1: join})
        assert cli.main(words(*FORMATS["n5"], f"--scheduler={cluster.file}")) == 0
        assert computed(cluster).total() == len(computed(cluster)) == COUNT
    error = capsys.readouterr().err
    assert f"has pixelforest 0.0.1, and this is pixelforest {__version__}" in error
    assert "it gets nothing to do" in error


@pytest.mark.slow
def test_an_image_behind_a_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers read it from there, and write results to there or to the disk."""
    with serving() as address:
        bucket = empty_bucket(address, monkeypatch)
        with h5py.File(GOLDEN / "px3d" / "raw.h5") as file:
            array = file["data"][:24, :48, :48]
        array = array.reshape(1, *array.shape[:3], 1)
        writer = open_writer("single-scale OME-Zarr", array)
        writer.write(Box.whole(array.shape), array)
        writer.finish()
        argv = [f"--project={GOLDEN / 'px3d' / 'project.ilp'}", "--device=cpu", "--threads=1", *FORMATS["n5"]]
        argv.append("s3://results/deep/out.zarr")
        for folder in ("alone", "s3://results/near"):
            assert cli.main([*argv, f"--output_filename_format={folder}/{{nickname}}"]) == 0
        with started(tmp_path) as cluster:
            cluster.start_scheduler()
            cluster.add_worker()
            cluster.wait_for_workers(1)
            argv.append(f"--scheduler={cluster.file}")
            assert cli.main([*argv, "--output_filename_format=out/{nickname}"]) == 0
            assert computed(cluster).total() == len(computed(cluster)) == COUNT
            cluster.computed.write_text("")
            for _ in range(2):  # the second one finds it done
                assert cli.main([*argv, "--output_filename_format=s3://results/far/{nickname}"]) == 0
            assert computed(cluster).total() == len(computed(cluster)) == COUNT
        assert contents(Path("out")) == contents(Path("alone"))
        assert stored(bucket, "far/") == stored(bucket, "near/") != {}


# ------------------------------------------------------------------------------------------------------------ batches


@pytest.mark.sampled(1)
@pytest.mark.parametrize("format", ["compressed hdf5", "png", "numpy"])
def test_whole_inputs_in_every_format(
    format: str, cluster: Cluster, copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with the paths of a folder that is not the workers', and an input that fails."""
    monkeypatch.chdir(copy_golden("px2d_gray"))
    names = [f"{name}.png" for name in "abcd"]
    for name in names:
        shutil.copy("raw.png", name)
    Path("c.png").write_bytes(b"no picture")
    argv = ["--project=project.ilp", f"--output_format={format}", "--export_dtype=uint8", *names]
    assert cli.main([*argv, "--output_filename_format=alone/{nickname}"]) == 3
    argv.append("--output_filename_format=out/{nickname}")
    assert cli.main([*argv, f"--scheduler={cluster.file}"]) == 3
    found, expected = contents(Path("out")), contents(Path("alone"))
    assert len(found) == 3
    assert found.keys() == expected.keys()
    if format == "compressed hdf5":  # a file has the times of its datasets
        for name in found:
            with h5py.File(f"out/{name}") as one, h5py.File(f"alone/{name}") as other:
                assert one["exported_data"][()].tobytes() == other["exported_data"][()].tobytes()
    else:
        assert found == expected
    assert computed(cluster).total() == 3
    assert cli.main([*argv, f"--scheduler={cluster.file}"]) == 3
    assert computed(cluster).total() == 3


def test_tables_of_objects(
    cluster: Cluster, copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(copy_golden("obj2d_seg"))
    argv = ["--project=project.ilp", "--table_only"]
    shutil.copy("raw.png", "a.png")
    argv += ["--raw_data", "raw.png", "a.png", "--segmentation_image", "seg.png", "seg.png"]
    for out, more in (("alone", []), ("out", [f"--scheduler={cluster.file}"])):
        assert cli.main([*argv, f"--table_filename={out}/{{nickname}}.csv", *more]) == 0
    assert contents(Path("out")) == contents(Path("alone"))
    assert len(contents(Path("out"))) == computed(cluster).total() == 2


@pytest.mark.slow
def test_a_worker_that_is_killed_repeats_its_input(
    mortal: Cluster, copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(copy_golden("px2d_gray"))
    shutil.copy("raw.png", "a.png")
    argv = ["--project=project.ilp", "--output_format=numpy", "a.png", "raw.png"]
    mortal.kill.touch()
    assert cli.main([*argv, "--output_filename_format=out/{nickname}", f"--scheduler={mortal.file}"]) == 0
    assert not mortal.kill.exists()
    assert computed(mortal).total() == 3
    assert Path("out/a.npy").read_bytes() == Path("out/raw.npy").read_bytes()


def test_an_error_of_a_worker_is_that_of_the_input(
    cluster: Cluster,
    copy_golden: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A damaged chunk, which nothing but reading finds."""
    monkeypatch.chdir(copy_golden("px2d_gray"))
    data = Path("raw.png").read_bytes()
    Path("bad.png").write_bytes(data[: len(data) // 2])
    argv = ["--project=project.ilp", "--output_format=numpy", "bad.png", "raw.png"]
    texts = []
    for more in ([], [f"--scheduler={cluster.file}"]):
        assert cli.main([*argv, "--output_filename_format=out/{nickname}", *more]) == 3
        texts.append([line.partition("MainThread")[2] for line in capsys.readouterr().err.splitlines()[-2:]])
    assert texts[0] == texts[1]


# ------------------------------------------------------------------------------------------------- objects of one image


OBJECTS = {
    "obj3d_seg": ["--raw_data", "raw.h5/data", "--segmentation_image", "seg.h5/data"],
    "obj2dt_pred_hyst_all": ["--raw_data", "raw.h5/data", "--prediction_maps", "pred.h5/data"],
    "obj2d_label": ["--raw_data", "raw.h5/data", "--label_image", "labels.h5/data"],
}


def object_words(folder: str, *more: str) -> list[str]:
    names = "Object Identities,Object Predictions,Object Probabilities"
    return ["--project=project.ilp", f"--export_source={names}", "--output_format=numpy", *more, *OBJECTS[folder]]


@pytest.mark.sampled(1)
@pytest.mark.parametrize("folder", OBJECTS)
def test_objects_of_one_image(
    folder: str, cluster: Cluster, copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers find and measure; images and table, of whatever format, are those of one process. Nothing is repeated."""
    monkeypatch.chdir(copy_golden(folder))
    for out, more in (("alone", []), ("out", [f"--scheduler={cluster.file}"])):
        places = [f"--output_filename_format={out}/{{result_type}}", f"--table_filename={out}/t.csv"]
        assert cli.main(object_words(folder, *places, *more)) == 0
    assert contents(Path("out")) == contents(Path("alone"))
    assert len(contents(Path("out"))) == 4
    steps = computed(cluster)
    assert max(steps.values()) == 1
    assert {name.split()[0] for name in steps} == {"FindStep", "MeasureStep"}
    assert sum(name.startswith("FindStep") for name in steps) >= 8
    assert cli.main(object_words(folder, *places, f"--scheduler={cluster.file}")) == 0
    assert computed(cluster) == steps, "it is done"


@pytest.mark.slow
def test_objects_behind_a_url(
    cluster: Cluster, copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images; the table is a file."""
    monkeypatch.chdir(copy_golden("obj3d_seg"))
    with serving() as address:
        bucket = empty_bucket(address, monkeypatch)
        for out, more in (("alone", []), ("out", [f"--scheduler={cluster.file}"])):
            places = [f"--output_filename_format=s3://results/{out}/{{result_type}}", f"--table_filename={out}.csv"]
            argv = object_words("obj3d_seg", *places, "--output_format=n5", *more)
            assert cli.main(argv) == 0
        assert stored(bucket, "out/") == stored(bucket, "alone/") != {}
        steps = computed(cluster)
        assert max(steps.values()) == 1
        assert cli.main(argv) == 0
        assert computed(cluster) == steps, "it is done"
    assert Path("out.csv").read_bytes() == Path("alone.csv").read_bytes()


@pytest.mark.slow
def test_a_worker_that_is_killed_repeats_its_step(
    mortal: Cluster, copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(copy_golden("obj3d_seg"))
    assert cli.main(object_words("obj3d_seg", "--output_filename_format=alone/{result_type}")) == 0
    mortal.kill.touch()
    argv = object_words("obj3d_seg", "--output_filename_format=out/{result_type}", f"--scheduler={mortal.file}")
    assert cli.main(argv) == 0
    assert not mortal.kill.exists()
    assert contents(Path("out")) == contents(Path("alone"))
    assert sorted(computed(mortal).values())[-2:] == [1, 2]


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names of the steps that this process hands to workers, or computes itself."""
    from pixelforest.engine.run.dask_cluster import DaskWorkers

    names, submit = set[str](), DaskWorkers.submit

    def submit_noted(self: DaskWorkers, task: Task, *, attempt: int = 1) -> None:
        assert isinstance(task, StepTask)
        names.add(preload.name_of(task.step))
        submit(self, task, attempt=attempt)

    def noted(compute: Callable[..., Any]) -> Callable[..., Any]:
        def compute_noted(step: Any, *more: Any) -> Any:
            names.add(preload.name_of(step))
            return compute(step, *more)

        return compute_noted

    monkeypatch.setattr(DaskWorkers, "submit", submit_noted)
    for step in (shared_frame.FindStep, shared_frame.MeasureStep):
        monkeypatch.setattr(step, "compute", noted(step.compute))
    return names


@pytest.mark.slow
@pytest.mark.parametrize("done", [3, 40])
@pytest.mark.parametrize("more", ["--scheduler", "--resume"])
def test_objects_whose_process_is_killed_continue(
    more: str,
    done: int,
    cluster: Cluster,
    missing: set[str],
    copy_golden: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With slabs as before, though there are other workers, or none: only steps in work are computed twice."""
    monkeypatch.chdir(copy_golden("obj2dt_pred_hyst_all"))
    places = ["--output_filename_format={0}/{{result_type}}", "--table_filename={0}/t.csv"]
    alone, out = ([each.format(name) for each in places] for name in ("alone", "out"))
    assert cli.main(object_words("obj2dt_pred_hyst_all", *alone)) == 0
    argv = object_words("obj2dt_pred_hyst_all", *out, f"--scheduler={cluster.file}")
    state = State("storage.step_files:StepFiles.save", "after", done)
    status, text = run_until(state, argv, computed=Path("unused"), is_small=True)
    assert status == KILLED, text
    cluster.wait_until_idle()
    before = computed(cluster)
    (steps,) = Path("out").glob(".*.run/steps")
    assert len(list(steps.glob("[!.]*.npz"))) == done
    monkeypatch.setattr("pixelforest.engine.run.cluster.StepWorkers.count", lambda self: 1)
    assert cli.main(argv if more == "--scheduler" else object_words("obj2dt_pred_hyst_all", *out, more)) == 0
    assert contents(Path("out")) == contents(Path("alone"))
    assert len(contents(Path("out"))) == 4
    assert max(before.values()) == 1
    twice = before.keys() & missing
    assert len(before) - len(twice) == done, "what was done is not computed again"
    assert len(twice) <= STEPS_WINDOW, "what was in work"
    if more == "--scheduler":
        after = computed(cluster) - before
        assert after == Counter(missing)
    assert not list(Path("out").glob(".*.run"))
    missing.clear()
    assert cli.main(argv) == 0
    assert missing == set(), "it is done"


@pytest.mark.slow
def test_workers_complete_what_parts_have_begun(
    cluster: Cluster, missing: set[str], copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(copy_golden("obj3d_seg"))
    assert cli.main(object_words("obj3d_seg", "--output_filename_format=alone/{result_type}")) == 0
    argv = object_words("obj3d_seg", "--output_filename_format=out/{result_type}")
    assert cli.main([*argv, "--blocks=1/2"]) == 0
    before = missing.copy()
    missing.clear()
    assert cli.main([*argv, f"--scheduler={cluster.file}"]) == 0
    assert contents(Path("out")) == contents(Path("alone"))
    assert set(computed(cluster)) == missing
    assert not before & missing


@pytest.mark.parametrize(
    ("folder", "inputs", "result", "part"),
    [
        (
            "obj2d_pred_ipht",
            OBJECTS["obj2dt_pred_hyst_all"],
            "Object Predictions",
            "Hysteresis (IPHT) grows objects through the whole image",
        ),
        ("pcoc2d", ["raw.png"], "Object Predictions", "the pixel stage of this project is computed by one process"),
        (
            "obj2d_seg",
            ["--raw_data", "raw.png", "--segmentation_image", "seg.png"],
            "Blockwise Object Predictions",
            "Blockwise Object Predictions is made by one process",
        ),
    ],
)
def test_steps_that_need_the_whole_image_are_explained(
    folder: str,
    inputs: list[str],
    result: str,
    part: str,
    copy_golden: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(copy_golden(folder))
    argv = ["--project=project.ilp", f"--export_source={result}", "--scheduler=tcp://127.0.0.1:1", *inputs]
    for command in (["explain", *argv], argv):
        assert cli.main(command) == 1
        output = capsys.readouterr()
        assert f"--scheduler: {part}" in output.out + output.err


@pytest.mark.parametrize(("workers", "expected"), [(0, 1), (2, 3)])
def test_libraries_of_a_worker_use_its_threads_only(
    workers: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--threads is for each worker, and with local:N divided before."""
    monkeypatch.setattr(thread_limit, "_limit", None)
    monkeypatch.setattr(cluster_work, "choose_threads", int)
    request = Request(project=str(GOLDEN / "px3d" / "project.ilp"), inputs=(IMAGE,), scheduler="tcp://h:1", threads=1)
    run = cluster_work.WorkerRun(resolve_job(request), Path.cwd())
    run.start(threads=3, limit_bytes=None, workers=workers)
    assert thread_limit.thread_limit() == expected


# ------------------------------------------------------------------------------------------------------------ refused


@pytest.mark.slow
def test_a_worker_of_another_version_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with started(tmp_path) as cluster:
        cluster.start_scheduler()
        cluster.add_worker(version="0.0.1")
        cluster.wait_for_workers(1)
        assert cli.main(words(*FORMATS["n5"], f"--scheduler={cluster.file}")) == 1
        error = capsys.readouterr().err
        assert f"has pixelforest 0.0.1, and this is pixelforest {__version__}; install the same version" in error
        assert not cluster.computed.exists()


def test_without_the_package_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "pixelforest.engine.run.dask_cluster", raising=False)
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert cli.main(words(*FORMATS["n5"], "--scheduler=tcp://127.0.0.1:1")) == 1
    assert "--scheduler needs Dask: pip install 'pixelforest[cluster]'" in capsys.readouterr().err


def test_a_scheduler_that_is_not_there(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from pixelforest.engine.run import dask_cluster

    monkeypatch.setattr(dask_cluster, "CONNECT_S", 1.0)
    assert cli.main(words(*FORMATS["n5"], "--scheduler=tcp://127.0.0.1:1")) == 1
    assert "cannot connect to the scheduler tcp://127.0.0.1:1" in capsys.readouterr().err


def test_results_of_another_run_are_kept(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    argv = words(*FORMATS["n5"], f"--scheduler={cluster.file}")
    assert cli.main(argv) == 0
    assert cli.main([*argv, "--export_dtype=float64"]) == 1
    assert "remove it to compute it again" in capsys.readouterr().err


@pytest.mark.sampled(1)
@pytest.mark.parametrize("format", ["compressed hdf5", "multipage tiff", "numpy"])
def test_formats_of_one_writer_are_refused_for_one_image(format: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words(f"--output_format={format}", "--scheduler=tcp://127.0.0.1:1")) == 1
    error = capsys.readouterr().err
    assert f"--scheduler: one process writes {format} as a whole" in error
    assert "multi-scale OME-Zarr" in error
    assert not Path("out").exists()


def test_inputs_that_share_a_file_are_refused(
    copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(copy_golden("px2d_gray"))
    shutil.copy("raw.png", "a.png")
    argv = ["--project=project.ilp", "--output_format=hdf5", "--output_filename_format=all.h5"]
    argv += ["--output_internal_path={nickname}", "--scheduler=tcp://127.0.0.1:1", "a.png", "raw.png"]
    assert cli.main(argv) == 1
    assert "--scheduler every input needs a file of its own" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "status", "part"),
    [
        (["--scheduler=host"], 2, "expected an address such as tcp://host:8786"),
        (["--scheduler=local:0"], 2, "expected an address"),
        (["--scheduler=local:2", "--blocks=1/2"], 2, "divides images itself; give it without --blocks"),
        (["--scheduler=no.json"], 1, "there is no scheduler file no.json"),
    ],
)
def test_clusters_that_cannot_be_meant(
    more: list[str], status: int, part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words(*more, *FORMATS["n5"])) == status
    assert part in capsys.readouterr().err
