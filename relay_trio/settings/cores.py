"""How many cores this process may use: the machine's, less what affinity and the container's quota take away.

A container with two CPUs on a machine of 64 must not start 64 workers; os.cpu_count() knows nothing of either.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

_CGROUP_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
"""`<quota> <period>` in microseconds, or `max <period>` (kernel.org, admin-guide/cgroup-v2, "cpu.max")."""


def usable_cores(cpu_max: Path = _CGROUP_CPU_MAX) -> int:
    """Return the number of cores, at least 1."""
    return max(1, min(_scheduled_cores(), _quota(cpu_max)))


def _scheduled_cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _quota(cpu_max: Path) -> int:
    try:
        quota, period = cpu_max.read_text().split()
        return math.ceil(int(quota) / int(period))
    except (OSError, ValueError):  # no cgroup v2 here, or "max"
        return _scheduled_cores()
