"""A Dask cluster of the processes that mpirun has started (``--distributed``); the only module that imports MPI.

Every process runs the same command line. The first becomes the scheduler, the second runs the job, and all others are
workers until it has ended.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import tempfile
from collections.abc import Iterator
from typing import Any

from ..errors import BackendUnavailable, setting
from ..machine import choose_threads, usable_cpus

RUN_RANK = 1
MIN_RANKS = 3  # scheduler, run, worker


@contextlib.contextmanager
def cluster_of_ranks() -> Iterator[bool]:
    """Take the part of this process in the cluster; True if that is to run the job, else its part is over.

    Raises BackendUnavailable if mpirun has started too few processes, or none.
    """
    from . import dask_cluster  # noqa: F401  # first, since it keeps Dask from writing its settings

    try:
        import dask_mpi
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # a RuntimeError: there is no library of MPI
        raise BackendUnavailable(
            f"{setting('distributed')} needs MPI and dask-mpi: pip install 'pixelforest[mpi]', and start it with "
            f"mpirun ({str(error).splitlines()[0]}); {setting('scheduler', 'local:N')} needs neither"
        ) from None
    ranks = MPI.COMM_WORLD
    if ranks.size < MIN_RANKS:
        raise BackendUnavailable(
            f"{setting('distributed')} needs at least {MIN_RANKS} processes, for the scheduler, the run and a worker, "
            f"and there {'is one' if ranks.size == 1 else 'are two'}: start it with mpirun -n {MIN_RANKS}; "
            f"{setting('scheduler', 'local:N')} needs no MPI"
        )
    is_run = ranks.rank == RUN_RANK
    if not is_run:  # mpirun passes signals to all; the run ends first, and then the others
        for handler in logging.getLogger().handlers:  # the run tells what workers find
            handler.setLevel(logging.CRITICAL + 1)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
    with tempfile.TemporaryDirectory(prefix="pixelforest-workers-", ignore_cleanup_errors=True) as folder:
        dask_mpi.initialize(
            nthreads=_choose_threads(ranks),
            dashboard=False,
            dashboard_address=":0",  # of the scheduler's health page: any port
            local_directory=folder,
            exit=False,
        )
    try:
        yield is_run
    finally:
        if is_run:
            with contextlib.suppress(Exception):  # the scheduler may be gone
                dask_mpi.send_close_signal()


def _choose_threads(ranks: Any) -> int:
    """Divide processors among the workers that may use the same ones."""
    affinity = getattr(os, "sched_getaffinity", lambda _: ())(0)
    places: list[object] = ranks.allgather((socket.gethostname(), sorted(affinity)))
    sharing = places[RUN_RANK + 1 :].count(places[ranks.rank])
    return min(choose_threads(), max(1, usable_cpus() // max(1, sharing)))
