"""Threads and memory: which wish wins, what control groups grant, how sizes are written."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from pixelforest.engine import machine
from pixelforest.engine.errors import UsageError
from pixelforest.engine.machine import (
    GIB,
    MIB,
    choose_memory,
    choose_threads,
    format_size,
    format_size_up,
    free_memory,
    parse_size,
    usable_cpus,
)

MEMINFO = "MemTotal:       16000000 kB\nMemFree:         1000000 kB\nMemAvailable:    8000000 kB\n"


def tree(root: Path, files: dict[str, str]) -> Path:
    """A made-up /proc and /sys."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.fixture
def sixteen_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    if hasattr(os, "sched_getaffinity"):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
    monkeypatch.setattr(os, "cpu_count", lambda: 16)


@pytest.fixture
def eleven_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("granted_cpus", "usable_cpus"):
        monkeypatch.setattr(machine, name, lambda: 11)


@pytest.mark.usefixtures("eleven_cpus")
@pytest.mark.parametrize(
    ("asked", "environment", "config", "expected"),
    [
        pytest.param(3, {"LAZYFLOW_THREADS": "5"}, 7, 3, id="option wins"),
        pytest.param(None, {"LAZYFLOW_THREADS": "5"}, 7, 5, id="environment before file"),
        pytest.param(None, {}, 7, 7, id="file"),
        pytest.param(None, {"LAZYFLOW_THREADS": "-1"}, 7, 7, id="-1 is not set"),
        pytest.param(None, {"LAZYFLOW_THREADS": ""}, 7, 7, id="empty is not set"),
        pytest.param(0, {}, None, 1, id="0 is the calling thread"),
        pytest.param(None, {"LAZYFLOW_THREADS": "0"}, 7, 1, id="0 in the environment"),
    ],
)
def test_threads_come_from_the_first_that_is_set(
    asked: int | None, environment: dict[str, str], config: int | None, expected: int
) -> None:
    assert choose_threads(asked, config=config, environment=environment) == expected


@pytest.mark.usefixtures("eleven_cpus")
def test_no_more_threads_than_processors() -> None:
    assert choose_threads(64, environment={}) == 11
    assert choose_threads(environment={"LAZYFLOW_THREADS": "64"}) == 11
    assert choose_threads(config=64, environment={}) == 11


@pytest.mark.usefixtures("eleven_cpus")
def test_threads_without_a_wish_are_the_usable_cpus() -> None:
    assert choose_threads(environment={}) == 11


@pytest.mark.usefixtures("eleven_cpus")
@pytest.mark.parametrize(("granted", "expected"), [("3", 3), ("99", 11), ("0", 11), ("", 11), ("2(x3)", 11)])
def test_threads_of_a_batch_job_are_those_of_its_task(granted: str, expected: int) -> None:
    environment = {"SLURM_CPUS_PER_TASK": granted}
    assert choose_threads(environment=environment) == expected
    assert choose_threads(5, environment=environment) == 5


def test_threads_that_are_no_number_name_the_variable() -> None:
    with pytest.raises(UsageError, match="LAZYFLOW_THREADS must be a whole number, not 'four'"):
        choose_threads(environment={"LAZYFLOW_THREADS": "four"})


def test_negative_threads_are_refused() -> None:
    with pytest.raises(UsageError, match="LAZYFLOW_THREADS is -3"):
        choose_threads(environment={"LAZYFLOW_THREADS": "-3"})


@pytest.mark.usefixtures("sixteen_cpus")
@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param({}, 16, id="no control groups"),
        pytest.param(
            {"proc/self/cgroup": "0::/job/step\n", "sys/fs/cgroup/job/cpu.max": "250000 100000\n"},
            3,
            id="v2, outer group",
        ),
        pytest.param({"proc/self/cgroup": "0::/job\n", "sys/fs/cgroup/job/cpu.max": "max 100000\n"}, 16, id="v2 max"),
        pytest.param(
            {"proc/self/cgroup": "0::/not/here\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}, 1, id="v2 in a container"
        ),
        pytest.param(
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/job\n0::/\n",
                "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us": "400000\n",
                "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us": "100000\n",
            },
            4,
            id="v1",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "4:cpu:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            16,
            id="v1 without a quota",
        ),
        pytest.param({"proc/self/cgroup": "nonsense\n\n"}, 16, id="unreadable"),
    ],
)
def test_usable_cpus_respect_quotas(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    assert usable_cpus(tree(tmp_path, files)) == expected


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no affinity on this system")
def test_usable_cpus_respect_affinity(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {4, 7})
    assert usable_cpus(tmp_path) == 2


@pytest.mark.parametrize(
    ("asked", "environment", "config_mb", "expected"),
    [
        pytest.param(GIB, {"LAZYFLOW_TOTAL_RAM_MB": "4000"}, 3000, GIB, id="option wins"),
        pytest.param(None, {"LAZYFLOW_TOTAL_RAM_MB": "4000"}, 3000, 4000 * MIB, id="environment before file"),
        pytest.param(None, {}, 3000, 3000 * MIB, id="file"),
        pytest.param(None, {"LAZYFLOW_TOTAL_RAM_MB": "0"}, 3000, 3000 * MIB, id="0 is not set"),
        pytest.param(None, {"LAZYFLOW_TOTAL_RAM_MB": "500"}, None, 500 * MIB, id="smallest"),
    ],
)
def test_memory_comes_from_the_first_that_is_set(
    asked: int | None, environment: dict[str, str], config_mb: int | None, expected: int
) -> None:
    assert choose_memory(asked, config_mb=config_mb, environment=environment) == expected


@pytest.mark.parametrize("megabytes", ["1", "16", "499", "-8"])
def test_memory_in_gigabytes_by_mistake_is_refused(megabytes: str) -> None:
    with pytest.raises(UsageError, match=f"RAM is limited to {megabytes} MB. Remember to specify RAM in MB, not GB"):
        choose_memory(environment={"LAZYFLOW_TOTAL_RAM_MB": megabytes})


def test_memory_by_default_is_a_share_of_the_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "free_memory", lambda: 10 * GIB)
    assert choose_memory(environment={}) == 8 * GIB


def test_memory_by_default_is_never_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "free_memory", lambda: 0)
    assert choose_memory(environment={}) == machine.MIN_DEFAULT_BYTES


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param({"proc/meminfo": MEMINFO}, 8000000 * 1024, id="no control groups"),
        pytest.param(
            {
                "proc/meminfo": MEMINFO,
                "proc/self/cgroup": "0::/job\n",
                "sys/fs/cgroup/job/memory.max": f"{3 * GIB}\n",
                "sys/fs/cgroup/job/memory.current": f"{2 * GIB}\n",
                "sys/fs/cgroup/job/memory.stat": f"anon {GIB}\ninactive_file {GIB // 2}\n",
            },
            GIB + GIB // 2,
            id="v2 without its file cache",
        ),
        pytest.param(
            {
                "proc/meminfo": MEMINFO,
                "proc/self/cgroup": "0::/job/step\n",
                "sys/fs/cgroup/job/step/memory.max": "max\n",
                "sys/fs/cgroup/job/memory.max": f"{GIB}\n",
            },
            GIB,
            id="v2, outer group",
        ),
        pytest.param(
            {
                "proc/meminfo": MEMINFO,
                "proc/self/cgroup": "4:memory:/job\n",
                "sys/fs/cgroup/memory/job/memory.limit_in_bytes": f"{2 * GIB}\n",
                "sys/fs/cgroup/memory/job/memory.usage_in_bytes": f"{GIB}\n",
            },
            GIB,
            id="v1",
        ),
        pytest.param(
            {
                "proc/meminfo": MEMINFO,
                "proc/self/cgroup": "4:memory:/\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            },
            8000000 * 1024,
            id="v1 without a limit",
        ),
    ],
)
def test_free_memory_respects_limits(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    assert free_memory(tree(tmp_path, files)) == expected


def test_free_memory_is_found_on_this_machine() -> None:
    assert free_memory() > 16 * MIB
    assert sys.platform != "linux" or free_memory(Path("/")) < 2**50


@pytest.mark.skipif(not hasattr(os, "sysconf"), reason="no pages on this system")
@pytest.mark.usefixtures("sixteen_cpus")
def test_a_limit_on_addresses_is_shared_by_threads_and_tiles(tmp_path: Path) -> None:
    """ulimit -v counts what is set aside for a thread's stack and heap, whether it is used or not."""
    row = f"Max address space         {1536 * MIB}           unlimited            bytes     \n"
    taken = 336 * MIB // os.sysconf("SC_PAGE_SIZE")
    files = {
        "proc/meminfo": MEMINFO,
        "proc/self/limits": f"Limit  Soft Limit  Hard Limit  Units\n{row}",
        "proc/self/statm": f"{taken} 1 1 1 0 1 0\n",
    }
    root = tree(tmp_path, files)
    assert free_memory(root) == 600 * MIB
    assert usable_cpus(root) == 8
    (root / "proc/self/limits").write_text(row.replace(f"{1536 * MIB}", "unlimited"))
    assert (free_memory(root), usable_cpus(root)) == (8000000 * 1024, 16)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8G", 8 * GIB),
        ("500MB", 500 * MIB),
        ("1.5 GiB", GIB + GIB // 2),
        ("2t", 2048 * GIB),
        ("1024k", MIB),
        (" 3gb ", 3 * GIB),
    ],
)
def test_sizes_are_read(text: str, expected: int) -> None:
    assert parse_size(text) == expected


@pytest.mark.parametrize("text", ["", "8", "8000", "-8G", "G", "8 gigs", "eight", "0G", "1e3M"])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"size|memory"):
        parse_size(text)


def test_sizes_are_written_for_people() -> None:
    assert format_size(20 * GIB) == "20.0 GiB"
    assert format_size(512 * MIB) == "512 MiB"


def test_sizes_to_request_are_rounded_up() -> None:
    assert format_size_up(20 * GIB + 1) == "20.01 GiB"
    assert format_size_up(512 * MIB + 1) == "513 MiB"
    assert format_size_up(-1) == "0 MiB"
