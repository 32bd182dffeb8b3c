"""CPUs and memory available to this process, within the limits of its container.

``OMP_NUM_THREADS`` limits the CPUs, too, for every engine: Ray sets it to the CPUs that an actor
has asked for, which would otherwise start as many threads as its machine has cores.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
_NO_LIMIT = 1 << 60
"""A limit above this means none: version 1 of control groups writes almost 2**63 for memory."""


def available_cpus(cgroup: Path = CGROUP) -> int:
    """Return the number of CPUs that this process may use concurrently, at least 1."""
    share = cpu_share(cgroup)
    limits = [
        cpus_of_process(),
        _NO_LIMIT if share is None else math.ceil(share),
        _openmp_threads(),
    ]
    return max(1, min(limits))


def cpus_of_process() -> int:
    """Return the number of CPUs that the kernel lets this process run on, whatever their share."""
    affinity = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if affinity else os.cpu_count() or 1


def cpu_share(cgroup: Path = CGROUP) -> float | None:
    """Return the CPU quota of a control group (version 1 or 2), in CPUs; None: no quota."""
    if words := _words(cgroup / "cpu.max"):
        quota, period = words
    else:
        quota = " ".join(_words(cgroup / "cpu" / "cpu.cfs_quota_us"))
        period = " ".join(_words(cgroup / "cpu" / "cpu.cfs_period_us"))
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else None


def memory_limit(cgroup: Path = CGROUP) -> int | None:
    """Return the memory limit of a control group (version 1 or 2) in bytes; None: no limit."""
    for file in ("memory.max", "memory/memory.limit_in_bytes"):
        for word in _words(cgroup / file):
            if word.isdigit() and int(word) < _NO_LIMIT:
                return int(word)
    return None


def memory_bytes(cgroup: Path = CGROUP) -> int:
    """Return the memory that this process may use: the machine's, or its control group's limit."""
    installed = _NO_LIMIT
    if hasattr(os, "sysconf"):
        installed = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(installed, memory_limit(cgroup) or installed)


def _openmp_threads() -> int:
    """Return the first number of ``OMP_NUM_THREADS``, which has one for each nested level."""
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(first) if first.isdecimal() and int(first) else _NO_LIMIT


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").split()
    except OSError:
        return []
