"""Workers of a Dask cluster; the only module that imports distributed.

A worker computes one task at a time, whatever its number of threads: a resource that it is given for this run counts
them. A few more may wait for their files to come to disk.
Only small facts come back, and are released at once, so that a worker that dies loses nothing but its task in work.
Tasks are submitted, and their outcomes fetched, several at a time: every request takes the scheduler milliseconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import pickle
import shutil
import signal
import tempfile
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Self

from ... import __version__
from ..errors import BackendFailed, BackendUnavailable, setting
from ..jobs import ClusterSettings
from ..requests import MPI

# Where Dask would write its default settings on import, below the user's home.
os.environ.setdefault("DASK_CONFIG", os.path.join(os.devnull, "none"))

try:
    import dask

    dask.config.set({"logging": {"distributed": "critical", "asyncio": "critical"}})  # errors are told by the run
    # The scheduler keeps so many messages to each worker, which contain the tasks, of about 4 kB.
    dask.config.set({"distributed.admin.low-level-log-length": 10})
    # Of processes that are started here: they observe themselves 100, 50 and 2 times a second, which takes 5 % of a
    # processor each.
    dask.config.set({"distributed.worker.profile.enabled": False, "distributed.admin.tick.interval": "1s"})
    dask.config.set({"distributed.admin.system-monitor.interval": "5s"})
    dask.config.set({"distributed.admin.system-monitor.log-length": 100})  # instead of 7200 for each of 15 numbers
    # glibc would give every large buffer back to the system and clear its pages again: 6 % of the time of a block.
    dask.config.set({"distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None})
    import distributed
    from dask.utils import key_split
except ImportError as error:
    raise BackendUnavailable(
        f"{setting('scheduler')} needs Dask: pip install 'pixelforest[cluster]' ({error})"
    ) from None

from .cluster_work import Outcome, Task, WorkerRun
from .turns import Turns

logger = logging.getLogger("pixelforest.cluster")

CONNECT_S = 30.0
COUNT_PERIOD_S = 1.0  # between two looks at how many workers there are
GREET_PERIOD_S = 5.0  # between two looks for new workers
COLLECT_S = 0.1  # after a task has ended, for others that end at about the same time; each worker has one that waits
ANNOUNCE_S = 0.05  # between two looks at a worker that is being started
STOP_S = 0.5  # until the tasks in work have ended at their next tile
MAX_KEYS = 5000  # of tasks, which Dask has in its memory
MAX_TRIES = 3  # of a task whose workers died more often than the scheduler tolerates
_VERSION = "__import__('pixelforest').__version__"  # evaluated by workers of any version
_turns = Turns()  # one task at a time
_runs: dict[str, WorkerRun] = {}  # of this worker


class DaskWorkers:
    """Context manager with the workers that compute the tasks of a run. Not thread-safe."""

    def __init__(self, settings: ClusterSettings, run: WorkerRun) -> None:
        self._settings, self._token = settings, os.urandom(6).hex()
        self._run = run
        self._done: SimpleQueue[Any] = SimpleQueue()
        self._tasks: dict[str, tuple[Any, Task, int]] = {}  # key of the future -> future, task, number of the try
        self._waiting: list[tuple[Task, int]] = []  # to be submitted: task, number of the try
        self._ended: deque[tuple[Any, Outcome | _Unknown]] = deque()
        self._lost: BackendFailed | None = None
        self._workers: frozenset[str] = frozenset()
        self._known: set[str] = set()
        self._counted_s = self._greeted_s = 0.0
        self._submitted = 0
        self._cluster: Any = None
        self._folder: str | None = None

    def __enter__(self) -> Self:
        """Connect. Raises BackendUnavailable, also if a worker is of another version."""
        try:
            self._client = self._connect()
            self._greet(is_first=True)
            plugin = _RunPlugin(self._token, pickle.dumps(self._run), self._settings.local_count)
            self._client.register_plugin(plugin, name=plugin.name)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _connect(self) -> Any:
        settings = self._settings
        if settings.local_count:
            return self._start_local(settings.local_count)
        if settings.scheduler == MPI:
            return distributed.Client(timeout=CONNECT_S, set_as_default=False)  # its address is in Dask's settings
        is_file = "://" not in settings.scheduler
        options = {"scheduler_file": settings.scheduler} if is_file else {"address": settings.scheduler}
        if is_file and not Path(settings.scheduler).exists():
            raise BackendUnavailable(
                f"there is no scheduler file {settings.scheduler}; has the scheduler been started?"
            )
        try:
            return distributed.Client(**options, timeout=CONNECT_S, set_as_default=False)
        except (OSError, ValueError) as error:
            raise BackendUnavailable(f"cannot connect to the scheduler {settings.scheduler}: {error}") from None

    def _start_local(self, count: int) -> Any:
        self._folder = tempfile.mkdtemp(prefix="pixelforest-workers-")
        dask.config.set({"distributed.scheduler.allowed-failures": 10})
        self._cluster = distributed.LocalCluster(
            n_workers=count,
            threads_per_worker=max(1, (self._settings.threads or 1) // count),
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            memory_limit=0,  # the memory budget of the run holds
            local_directory=self._folder,
            silence_logs=logging.CRITICAL,
        )
        return distributed.Client(self._cluster, set_as_default=False)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Disconnect; tasks in work are stopped."""
        client = getattr(self, "_client", None)
        if client is not None:
            with contextlib.suppress(Exception):
                if self._tasks:
                    self._stop(client)
            with contextlib.suppress(Exception):
                if self._cluster is None:
                    client.unregister_worker_plugin(_plugin_name(self._token))
            with contextlib.suppress(Exception):
                client.close(timeout=1)
        if self._cluster is not None:
            with contextlib.suppress(Exception):
                self._end_local()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _end_local(self) -> None:
        """End the processes that this one has started; they have nothing to do any more, and close slowly."""
        for nanny in self._cluster.workers.values():
            nanny.auto_restart = False
            with contextlib.suppress(Exception):
                os.kill(nanny.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
        self._cluster.close()

    def _stop(self, client: Any) -> None:
        client.cancel([future for future, _, _ in self._tasks.values()], force=True)
        client.run(_stop_run, self._token, on_error="ignore")
        deadline = time.monotonic() + STOP_S
        while time.monotonic() < deadline and any(client.run(_is_busy, on_error="ignore").values()):
            time.sleep(STOP_S / 20)

    def count(self) -> int:
        """Number of workers, up to a second ago."""
        return len(self._look())

    def _look(self) -> frozenset[str]:
        if time.monotonic() - self._counted_s >= COUNT_PERIOD_S:
            self._counted_s = time.monotonic()
            self._workers = frozenset(self._client.nthreads())
        return self._workers

    def submit(self, task: Task, *, attempt: int = 1) -> None:
        """Hand a task to the next worker that is free, once ``next`` is called."""
        self._waiting.append((task, attempt))

    def _submit_waiting(self) -> None:
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        first, self._submitted = self._submitted, self._submitted + len(waiting)
        name = _plugin_name(self._token)
        futures = self._client.map(
            _compute,
            [self._token] * len(waiting),
            [pickle.dumps(task) for task, _ in waiting],  # the scheduler forwards bytes and needs nothing to read them
            key=[f"{name}-{first + i}" for i in range(len(waiting))],
            resources={name: 1},
            pure=False,
        )
        for future, (task, attempt) in zip(futures, waiting, strict=True):
            self._tasks[future.key] = (future, task, attempt)
            future.add_done_callback(self._done.put)
        if first // MAX_KEYS < self._submitted // MAX_KEYS:
            self._forget_keys()

    def _forget_keys(self) -> None:
        """Empty the cache of names in which Dask keeps 100 000 keys, of 200 bytes each, here and in the scheduler."""
        key_split.cache_clear()
        with contextlib.suppress(Exception):
            self._client.run_on_scheduler(key_split.cache_clear)

    def next(self, timeout_s: float) -> list[tuple[Task, Outcome]]:
        """Wait for tasks that have ended; none after a while. Raises BackendFailed without the scheduler."""
        if self._lost is not None:
            raise self._lost
        self._greet()
        self._submit_waiting()
        if not self._ended:
            self._fetch(timeout_s)
        ended: list[tuple[Task, Outcome]] = []
        while self._ended:
            try:
                ended += self._take(*self._ended.popleft())
            except BackendFailed as error:
                if not ended:
                    raise
                self._lost = error  # what has ended before comes first
                break
        return ended

    def _take(self, future: Any, fetched: Outcome | _Unknown) -> list[tuple[Task, Outcome]]:
        """Release a task that has ended, and return its outcome; nothing if it is tried again. Raises BackendFailed."""
        _, task, attempt = self._tasks.pop(future.key)
        outcome: Outcome
        try:
            outcome = future.result(timeout=CONNECT_S) if isinstance(fetched, _Unknown) else fetched
        except distributed.KilledWorker as error:
            if attempt < MAX_TRIES:
                self.submit(task, attempt=attempt + 1)
                return []
            outcome = BackendFailed(f"the workers that computed this died each time: {error}")
        except (distributed.CancelledError, OSError, TimeoutError):
            raise BackendFailed(
                f"the connection to the scheduler {self._settings.scheduler} was lost; the same command continues"
            ) from None
        except Exception as error:
            outcome = BackendFailed(f"a worker failed: {type(error).__name__}: {error}")
        finally:
            future.release()
        return [(task, outcome)]

    def _fetch(self, timeout_s: float) -> None:
        """Wait for tasks that have ended, and fetch their outcomes at once."""
        ended = []
        with contextlib.suppress(Empty):
            ended.append(self._done.get(timeout=timeout_s))
            collected_s = time.monotonic() + COLLECT_S
            # One is left until others are submitted: with the last task, the scheduler would end their group, and it
            # keeps a description of every group.
            while len(ended) < len(self._tasks) - 1:
                ended.append(self._done.get(timeout=max(0.0, collected_s - time.monotonic())))
        if not ended:
            return  # nothing is asked for: an empty request costs as much as any
        good = [future for future in ended if future.status == "finished"]
        outcomes: dict[str, Outcome] = {}
        with contextlib.suppress(Exception):  # asked for one by one, each has its own error
            outcomes = dict(zip((future.key for future in good), self._client.gather(good), strict=True))
        self._ended.extend((future, outcomes.get(future.key, _Unknown())) for future in ended)

    def _greet(self, *, is_first: bool = False) -> None:
        """Compare the versions of new workers. Raises BackendUnavailable if one differs when the run starts."""
        if time.monotonic() - self._greeted_s < GREET_PERIOD_S:
            return
        self._greeted_s = time.monotonic()
        new = self._look() - self._known
        if not new:
            if is_first:
                logger.info("The cluster has no worker yet; the run begins when one arrives")
            return
        self._known |= new
        versions = self._client.run(eval, _VERSION, workers=sorted(new), on_error="return")
        others = {address: found for address, found in versions.items() if found != __version__}
        for line in _describe_others(others):
            if is_first:
                raise BackendUnavailable(line)
            logger.warning("%s; it gets nothing to do", line)


class _Unknown:
    """Stands for an outcome that has not been fetched."""


def _describe_others(others: dict[str, Any]) -> Iterable[str]:
    for address, found in others.items():
        what = f"has pixelforest {found}" if isinstance(found, str) else f"cannot import pixelforest ({found})"
        yield f"worker {address} {what}, and this is pixelforest {__version__}; install the same version everywhere"


def _plugin_name(token: str) -> str:
    return f"pixelforest-{token}"


class _RunPlugin(distributed.WorkerPlugin):  # type: ignore[misc]
    """Makes a run known to every worker, also to those that arrive later."""

    def __init__(self, token: str, run: bytes, local_count: int) -> None:
        self.name, self.token, self.version = _plugin_name(token), token, __version__
        self.run, self.local_count = run, local_count

    async def setup(self, worker: Any) -> None:
        """Prepare a worker, which gets no tasks if that fails."""
        if self.version != __version__:
            raise BackendUnavailable(f"this worker has pixelforest {__version__}, the run is of {self.version}")
        if self.local_count:  # Ctrl-C reaches all processes of the terminal; the run stops its workers itself
            with contextlib.suppress(ValueError):
                signal.signal(signal.SIGINT, signal.SIG_IGN)
        run: WorkerRun = pickle.loads(self.run)
        limit_bytes = worker.memory_manager.memory_limit
        run.start(threads=worker.state.nthreads, limit_bytes=limit_bytes, workers=self.local_count)
        _runs[self.token] = run
        await worker.set_resources(**{self.name: 1})
        self.announcing = asyncio.ensure_future(_announce(worker))

    async def teardown(self, worker: Any) -> None:
        """Forget the run."""
        _stop_run(self.token)
        _runs.pop(self.token, None)


async def _announce(worker: Any) -> None:
    """Let the scheduler assign tasks that found no worker: it does when one is ready, not when one gets a resource."""
    while worker.status in (distributed.Status.undefined, distributed.Status.init, distributed.Status.starting):
        await asyncio.sleep(ANNOUNCE_S)
    if worker.status == distributed.Status.running:
        worker.status = distributed.Status.paused
        worker.status = distributed.Status.running


def _compute(token: str, task: bytes) -> Outcome:
    worker, name, has_passed_on = distributed.get_worker(), _plugin_name(token), False

    def let_next() -> None:
        nonlocal has_passed_on
        if pass_on():
            has_passed_on = True
            worker.loop.add_callback(_change_room, worker, name, 1)
            distributed.secede()

    with _turns.taken(token) as pass_on:  # of several runs, too
        try:
            return _runs[token].compute(pickle.loads(task), let_next)
        finally:
            if has_passed_on:
                worker.loop.add_callback(_change_room, worker, name, -1)


def _change_room(worker: Any, name: str, count: int) -> None:
    """Change the number of tasks that a worker may have in work; the scheduler need not know."""
    worker.state.available_resources[name] += count


def _stop_run(token: str) -> None:
    if token in _runs:
        _runs[token].stop()


def _is_busy() -> bool:
    return _turns.is_busy
