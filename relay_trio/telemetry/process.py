"""What the operating system knows about this process: its memory and its descriptors.

Each number has one definition, and is None where the platform does not tell it cheaply: no number is better than one
that means something else. Nothing here is for the request path: listing 20,000 descriptors takes 20 ms.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import mmap
import os
import re
import stat
import sys
from pathlib import Path
from types import ModuleType

import attrs

MIB = 1024 * 1024

_PROC_FD = "/proc/self/fd"
_LISTINGS = (_PROC_FD, "/dev/fd")
"""Linux; macOS and the BSDs."""

_RELEASE_THAT_TELLS = (6, 2)
"""Since this Linux the size of that directory is the number of open descriptors (proc_pid_fd(5)). Of an older one, or of
what only looks like Linux, it may be anything."""

_STATM = Path("/proc/self/statm")
_LIMITS_TO_TRY = (1_048_576, 65_536, 10_240)
"""Where the hard limit says "unlimited", the kernel still has one: macOS refuses more than kern.maxfilesperproc."""


@attrs.frozen
class Memory:
    """The process's memory in MiB, and how often the garbage collector ran."""

    alloc_mb: float | None
    """Resident and private: what the interpreter and its libraries have allocated and touched. Linux only."""
    sys_mb: float | None
    """Obtained from the operating system as data, heap and stack, touched or not (VmData + VmStk). Linux only."""
    rss_mb: float | None
    """Resident now, shared libraries included. On macOS the highest value so far: only that is to be had cheaply."""
    num_gc: int
    """Runs of the cyclic garbage collector since the start, all generations together."""


@attrs.frozen
class Descriptors:
    """How many file descriptors are open, and how many may be. None: this platform does not tell, or has no limit."""

    open: int | None
    limit: int | None


def memory() -> Memory:
    """The memory now; costs some 20 us."""
    runs = sum(generation["collections"] for generation in gc.get_stats())
    try:
        size_of_page = mmap.PAGESIZE / MIB
        _, resident, shared, _, _, data, _ = map(int, _STATM.read_text(encoding="ascii").split())
    except (OSError, ValueError):
        return Memory(None, None, _peak_resident_mb(), runs)
    return Memory(
        alloc_mb=round((resident - shared) * size_of_page, 1),
        sys_mb=round(data * size_of_page, 1),
        rss_mb=round(resident * size_of_page, 1),
        num_gc=runs,
    )


def give_back_memory() -> None:
    """Collect what is unreachable, and give what is free then back to the system, as far as it can be told to.

    The full collection also empties the interpreter's lists of free objects. malloc_trim(3) is glibc's: musl and macOS
    give memory back by themselves, or not at all.
    """
    gc.collect()
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415 - 10 ms of every start for what many a process never does

        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


def descriptors() -> Descriptors:
    """Open descriptors and the limit; the descriptor that the listing itself needs is not counted."""
    return Descriptors(_count_open(), descriptor_limit())


def socket_descriptors() -> int | None:
    """How many of the open descriptors are sockets. Linux only; elsewhere None. Looks at each: 2 us a descriptor."""
    try:
        return sum(map(_is_socket, os.listdir(_PROC_FD)))  # noqa: PTH208 - the names are all that is wanted
    except OSError:
        return None


class SocketCounter:
    """Counts this process's sockets, without a look at each as long as there are as many as there should be.

    Beside sockets a process has a few files and pipes. If these are as many as at the last look, the number of all
    descriptors says how many sockets there are, and Linux tells that one at once.
    """

    def __init__(self) -> None:
        self._others: int | None = None

    def count(self, expected: int) -> int | None:
        """Return how many there are. Linux only; elsewhere None."""
        open_now = _count_open()
        if open_now is not None and open_now - expected == self._others:
            return expected
        return self.look()

    def look(self) -> int | None:
        """Look at each and return how many there are. Linux only; elsewhere None."""
        found, open_now = socket_descriptors(), _count_open()
        self._others = None if found is None or open_now is None else open_now - found
        return found


def descriptor_limit() -> int | None:
    """How many descriptors this process may open. None: no limit, or none that can be asked for (Windows)."""
    resource = _resource()
    if resource is None:
        return None
    soft = int(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    return None if soft == resource.RLIM_INFINITY else soft


def raise_descriptor_limit() -> int | None:
    """Raise the soft limit to the hard one, or as near as the kernel lets us; the limit that holds now."""
    resource = _resource()
    if resource is not None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = _LIMITS_TO_TRY if hard == resource.RLIM_INFINITY else (hard,)
        for limit in wanted:
            if soft != resource.RLIM_INFINITY and limit > soft and _set_limit(resource, limit, hard):
                break
    return descriptor_limit()


def _set_limit(resource: ModuleType, soft: int, hard: int) -> bool:
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        return True
    return False


def _resource() -> ModuleType | None:
    """The module, which Windows lacks."""
    try:
        return importlib.import_module("resource")
    except ImportError:
        return None


def _peak_resident_mb() -> float | None:
    resource = _resource()
    if resource is None:
        return None
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2): bytes there, KiB on the BSDs
    return round(float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * unit / MIB, 1)


def _count_open() -> int | None:
    if _kernel_tells():
        with contextlib.suppress(OSError):
            return os.stat(_PROC_FD).st_size  # noqa: PTH116 - as the listings are, a name
    for directory in _LISTINGS:
        with contextlib.suppress(OSError):
            return len(os.listdir(directory)) - 1  # noqa: PTH208 - the names are all that is wanted
    return None


def _kernel_tells() -> bool:
    if sys.platform != "linux":
        return False
    release = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return release is not None and tuple(map(int, release.groups())) >= _RELEASE_THAT_TELLS


def _is_socket(descriptor: str) -> bool:
    """Whether a descriptor is a socket; the listing's own one is gone by the time it is looked at."""
    try:
        return stat.S_ISSOCK(os.fstat(int(descriptor)).st_mode)
    except OSError:
        return False
