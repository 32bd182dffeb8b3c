"""CPUs and memory available to this process, within the limits of its container."""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
_most_cpus: int | None = None
_NO_LIMIT = 1 << 60
"""A memory limit above this means none: version 1 of control groups writes almost 2**63."""


def limit_cpus(count: int) -> None:
    """Let this process use no more CPUs than this, where nobody else limits it.

    A scheduler such as Ray counts the CPUs of its processes without a control group for each. To be
    called before a network is loaded.
    """
    global _most_cpus  # noqa: PLW0603 - it is a property of the process
    _most_cpus = max(1, count)


def cpu_limit() -> int | None:
    """Return what ``limit_cpus`` has set, at most the CPUs there are; None: it was not called."""
    return None if _most_cpus is None else available_cpus()


def available_cpus(cgroup: Path = CGROUP) -> int:
    """Return the number of CPUs that this process may use concurrently, at least 1."""
    affinity = hasattr(os, "sched_getaffinity")
    cpus = len(os.sched_getaffinity(0)) if affinity else os.cpu_count() or 1
    share = cpu_share(cgroup)
    limits = [cpus] if share is None else [cpus, math.ceil(share)]
    return max(1, min([*limits, _most_cpus or cpus]))


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


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").split()
    except OSError:
        return []
