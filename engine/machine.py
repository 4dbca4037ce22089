"""Number of threads and amount of memory that a run may use on this machine.

Precedence: command line, ilastik's environment variables, configuration file, limits of the operating system and its
control groups (containers, batch systems).
"""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from .errors import UsageError, setting
from .quotes import unquote

MIB = 2**20
GIB = 2**30
# Share of the free memory a run plans with. The rest is for the interpreter, libraries and the file cache.
FREE_MEMORY_SHARE = 0.8
MIN_DEFAULT_BYTES = 64 * MIB  # planned with when the system reports almost no free memory
UNKNOWN_MEMORY_BYTES = 2 * GIB  # planned with where the system reports nothing
MIN_RAM_MB = 500  # ilastik reads smaller values of LAZYFLOW_TOTAL_RAM_MB as gigabytes
_SIZE = r"(\d+(?:\.\d+)?)\s*([kmgt])(?:i?b)?"
# cgroup v1 reports a number of this order if there is no limit.
_NO_LIMIT_BYTES = 2**60
# Virtual address space reserved per thread: stack and malloc arena.
_THREAD_ADDRESS_BYTES = 72 * MIB


# ---------------------------------------------------------------------------------------------------------- threads


def choose_threads(
    asked: int | None = None, *, config: int | None = None, environment: Mapping[str, str] | None = None
) -> int:
    """Number of threads to work with, at least 1.

    asked        value of ``--threads``; config: ``threads`` in the configuration file; environment: LAZYFLOW_THREADS,
                 SLURM_CPUS_PER_TASK, which lowers what the machine grants
    0 means 1 (work in the calling thread), -1 and None mean not set. Never more than there are processors: the work is
    bound by computation. Raises UsageError on other negative numbers.
    """
    environment = os.environ if environment is None else environment
    wishes = (
        (setting("threads"), asked),
        ("LAZYFLOW_THREADS", _integer(environment, "LAZYFLOW_THREADS")),
        ("threads in the configuration file", config),
    )
    for source, count in wishes:
        if count is None or count == -1:
            continue
        if count < 0:
            raise UsageError(f"{source} is {count}; use a number of threads from 1, or 0 for a single one")
        return max(1, min(count, granted_cpus()))
    return min(usable_cpus(), _granted_by_slurm(environment) or sys.maxsize)


def _granted_by_slurm(environment: Mapping[str, str]) -> int | None:
    """CPUs that a batch job requested; not every cluster binds its jobs to them. None outside of such jobs."""
    text = environment.get("SLURM_CPUS_PER_TASK", "").strip()
    return int(text) if text.isdecimal() and int(text) > 0 else None


def usable_cpus(root: Path = Path("/")) -> int:
    """Number of CPUs this process can make use of: the granted ones, at most the threads that fit into half of a limit
    on the address space.

    root    folder that contains /proc and /sys; tests use a fake tree
    """
    room = _address_room(root)
    cpus = granted_cpus(root)
    return cpus if room is None else max(1, min(cpus, room // 2 // _THREAD_ADDRESS_BYTES))


def granted_cpus(root: Path = Path("/")) -> int:
    """Number of CPUs this process may use: its affinity, at most the quota of its control groups (rounded up)."""
    if sys.platform == "linux":
        cpus = len(os.sched_getaffinity(0))
    else:
        cpus = os.cpu_count() or 1
    quotas = [quota for quota in (_cpu_quota(folder) for folder in _cgroup_folders(root, "cpu")) if quota]
    return max(1, min([cpus, *(math.ceil(quota) for quota in quotas)]))


def _cpu_quota(folder: Path) -> float | None:
    """CPUs granted by one control group, v2 or v1; None without a limit."""
    words = _read_words(folder / "cpu.max")
    if not words:
        words = _read_words(folder / "cpu.cfs_quota_us") + _read_words(folder / "cpu.cfs_period_us")
    try:
        quota, period = (int(word) for word in words)
    except ValueError:  # "max", or there is no such file
        return None
    return quota / period if quota > 0 and period > 0 else None


# ----------------------------------------------------------------------------------------------------------- memory


def choose_memory(
    asked: int | None = None, *, config_mb: int | None = None, environment: Mapping[str, str] | None = None
) -> int:
    """Number of bytes a run may plan with.

    asked        value of ``--memory`` in bytes
    config_mb    ``total_ram_mb`` of the configuration file; environment: LAZYFLOW_TOTAL_RAM_MB; 0 in either: all
    Raises UsageError for numbers that look like gigabytes instead of megabytes.
    """
    if asked is not None:
        return asked
    environment = os.environ if environment is None else environment
    wishes = (
        ("LAZYFLOW_TOTAL_RAM_MB", _integer(environment, "LAZYFLOW_TOTAL_RAM_MB")),
        ("total_ram_mb in the configuration file", config_mb),
    )
    for source, megabytes in wishes:
        if not megabytes:
            continue
        if megabytes < MIN_RAM_MB:
            raise UsageError(
                f"In your current configuration, RAM is limited to {megabytes} MB. Remember to specify RAM in MB, "
                f"not GB. ({source}; it must be at least {MIN_RAM_MB}, or 0 for all)"
            )
        return megabytes * MIB
    return max(MIN_DEFAULT_BYTES, int(free_memory() * FREE_MEMORY_SHARE))


def parse_size(text: str) -> int:
    """Parse a size such as 8G, 500MB or 1.5 GiB (steps of 1024) to bytes. Raises ValueError, also without a unit."""
    match = re.fullmatch(_SIZE, text.strip(), re.IGNORECASE)
    if match is None:
        raise ValueError(f"{text!r} is not a size; use a number and a unit, such as 8G or 500MB")
    size = int(float(match[1]) * 1024 ** ("kmgt".index(match[2].lower()) + 1))
    if size <= 0:
        raise ValueError(f"{text!r} is not a memory size greater than zero")
    return size


def format_size(count: int) -> str:
    """Format a size for display: 18.6 GiB, 512 MiB, 3 KiB."""
    if count < MIB:
        return f"{count / 1024:.0f} KiB"
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count / MIB:.0f} MiB"


def format_size_up(count: float) -> str:
    """Format a size for an error, rounded up so that requesting it suffices: 18.63 GiB, 512 MiB."""
    return f"{math.ceil(count / GIB * 100) / 100:.2f} GiB" if count >= GIB else f"{math.ceil(max(count, 0) / MIB)} MiB"


def free_memory(root: Path = Path("/")) -> int:
    """Number of bytes available without swapping: as reported by the system, at most the remainder of the limits of
    this process's control groups, and half the remainder of a limit on the address space (``ulimit -v``)."""
    rooms = [room for room in (_cgroup_room(folder) for folder in _cgroup_folders(root, "memory")) if room is not None]
    addresses = _address_room(root)
    if addresses is not None:
        rooms.append(addresses // 2)
    free = _free_memory_of_system(root)
    return min([UNKNOWN_MEMORY_BYTES if free is None else free, *rooms])


def _address_room(root: Path) -> int | None:
    """Address space this process may still reserve, in bytes; None without a limit, or if the system reports none."""
    _, _, limits = _read_text(root / "proc" / "self" / "limits").partition("Max address space")
    limit = (limits.split(maxsplit=1) or [""])[0]
    taken = _read_words(root / "proc" / "self" / "statm")
    if not limit.isdigit() or not taken:
        return None
    return max(0, int(limit) - int(taken[0]) * os.sysconf("SC_PAGE_SIZE"))


def _cgroup_room(folder: Path) -> int | None:
    """Memory left in one control group, v2 or v1; None without a limit. Reclaimable file cache counts as free."""
    for limit_name, usage_name, cache_name in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        limit, usage = _read_words(folder / limit_name), _read_words(folder / usage_name)
        if limit and limit[0].isdigit() and int(limit[0]) < _NO_LIMIT_BYTES:
            used = int(usage[0]) if usage and usage[0].isdigit() else 0
            words = _read_words(folder / "memory.stat")
            cache = int(words[words.index(cache_name) + 1]) if cache_name in words else 0
            return max(0, int(limit[0]) - max(0, used - cache))
    return None


def _free_memory_of_system(root: Path) -> int | None:
    words = _read_words(root / "proc" / "meminfo")
    if "MemAvailable:" in words:
        return int(words[words.index("MemAvailable:") + 1]) * 1024
    if sys.platform == "win32":
        return _free_memory_of_windows()
    try:  # macOS has no cheap number for free memory: half of the installed memory
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, OSError, ValueError):
        return None


def _free_memory_of_windows() -> int | None:
    if sys.platform != "win32":
        return None
    import ctypes

    class MemoryStatus(ctypes.Structure):
        _fields_ = [
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            *((name, ctypes.c_ulonglong) for name in ("total", "free", "page_total", "page_free", "virtual", "rest")),
            ("extended", ctypes.c_ulonglong),
        ]

    status = MemoryStatus(length=ctypes.sizeof(MemoryStatus))
    return int(status.free) if ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)) else None


# --------------------------------------------------------------------------------------------------- control groups


def _cgroup_folders(root: Path, controller: str) -> Iterator[Path]:
    """The folders of this process's control groups that may limit ``controller``, v2 and v1, inner ones first.

    Inside a container the path named by /proc often does not exist; then the mount point holds the limits.
    """
    base = root / "sys" / "fs" / "cgroup"
    for line in _read_text(root / "proc" / "self" / "cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            mounts = [base, base / "unified"]
        elif controller in controllers.split(","):
            mounts = [base / controllers, base / controller]
        else:
            continue
        steps = [part for part in path.split("/") if part not in ("", ".", "..")]
        for mount in mounts:
            for depth in range(len(steps), -1, -1):
                yield mount.joinpath(*steps[:depth])


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def _read_words(path: Path) -> list[str]:
    return _read_text(path).split()


def _integer(environment: Mapping[str, str], name: str) -> int | None:
    text = unquote(environment.get(name, "")).strip()  # docker --env-file passes on quotes
    try:
        return int(text) if text else None
    except ValueError:
        raise UsageError(f"the environment variable {name} must be a whole number, not {text!r}") from None
