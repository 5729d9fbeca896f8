"""What is open in this process, asked of the kernel, of trio and of the garbage collector: not of our own counters.

The law: a snapshot before, a snapshot after, and `difference` names what is left over. Where a source does not exist
(descriptors on Windows, tasks outside a trio run) its part is empty on both sides.
"""

from __future__ import annotations

import gc
import os
import socket
import ssl
import stat
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path

import attrs
import trio
import trio.testing

CLEAN_UP_S = 6.0
"""How long the relay may take to clean up (5 s) and a second more; seconds of trio's clock."""

FIRST_LOOK_AGAIN_S = 0.01

Descriptor = tuple[int, str]
"""A number and what it stands for: `(7, "socket:[4711]")`. The same number may be another socket later."""


@attrs.frozen
class Snapshot:
    """What was open at one moment."""

    descriptors: Mapping[Descriptor, str] = attrs.field(repr=False)
    """Descriptor to description."""
    tasks: Counter[str]
    """Live trio tasks by name."""
    nurseries: Counter[str]
    """Open nurseries by the name of the task that holds them."""
    objects: Counter[str]
    """Live Python objects of the kinds that must not pile up."""

    @classmethod
    def take(cls) -> Snapshot:
        """Collect garbage, then look."""
        gc.collect()
        tasks, nurseries = tasks_and_nurseries()
        return cls(descriptors(), tasks, nurseries, objects())

    @property
    def kinds(self) -> Counter[str]:
        """Open descriptors by kind: socket, pipe, epoll, file, other."""
        return Counter(kind_of(target) for _, target in self.descriptors)


def difference(before: Snapshot, after: Snapshot) -> str:
    """Return a line for each thing that is open after and was not before; "" if nothing is left over."""
    return "\n".join(
        [
            *(f"descriptor {text}" for key, text in after.descriptors.items() if key not in before.descriptors),
            *more_of("task", before.tasks, after.tasks),
            *more_of("nursery in", before.nurseries, after.nurseries),
            *more_of("object", before.objects, after.objects),
        ]
    )


def more_of(what: str, before: Counter[str], after: Counter[str]) -> list[str]:
    """Return a line for each name that is counted more often than before."""
    return [f"{what} {name}: {count} more" for name, count in sorted((after - before).items())]


# ---- Descriptors: the kernel's word


def descriptors() -> dict[Descriptor, str]:
    """Return the open descriptors of this process and what they are."""
    found = ((number, target) for number in _numbers() if (target := _target(number)) is not None)
    return {(number, target): f"{number} {_describe(number, target)}" for number, target in found}


def kind_of(target: str) -> str:
    """Return the kind of a descriptor from what it stands for."""
    for mark, kind in (("socket:", "socket"), ("pipe:", "pipe"), ("eventpoll", "epoll"), ("/", "file")):
        if mark in target:
            return kind
    return "other"


def _numbers() -> list[int]:
    folder = next((name for name in ("/proc/self/fd", "/dev/fd") if Path(name).is_dir()), None)
    return [] if folder is None else sorted(map(int, os.listdir(folder)))  # noqa: PTH208 - numbers, not paths


def _target(number: int) -> str | None:
    try:
        if sys.platform == "linux":
            return os.readlink(f"/proc/self/fd/{number}")  # noqa: PTH115 - `socket:[1]` is no path
        return _target_from_stat(os.fstat(number))
    except OSError:
        return None  # it was the descriptor of the listing itself


def _target_from_stat(found: os.stat_result) -> str:
    for test, kind in ((stat.S_ISSOCK, "socket"), (stat.S_ISFIFO, "pipe"), (stat.S_ISREG, "/file")):
        if test(found.st_mode):
            return f"{kind}:[{found.st_dev}:{found.st_ino}]"
    return f"other:[{found.st_dev}:{found.st_ino}]"


def _describe(number: int, target: str) -> str:
    if kind_of(target) != "socket":
        return target
    try:
        with closing(socket.socket(fileno=os.dup(number))) as sock:
            return f"{target} {sock.getsockname()} -> {_peer_name(sock)}"
    except OSError:
        return target


def _peer_name(sock: socket.socket) -> object:
    try:
        return sock.getpeername()
    except OSError:
        return "nobody"


# ---- Tasks and nurseries: trio's word


def tasks_and_nurseries() -> tuple[Counter[str], Counter[str]]:
    """Return the live tasks by name, and the open nurseries by the name of their task."""
    tasks: Counter[str] = Counter()
    nurseries: Counter[str] = Counter()
    for task in walk_tasks():
        tasks[task.name] += 1
        nurseries[task.name] += len(task.child_nurseries)
    return tasks, +nurseries


def walk_tasks() -> Iterator[trio.lowlevel.Task]:
    """Yield every task of the current trio run; nothing outside one."""
    root = trio.lowlevel.current_root_task() if trio.lowlevel.in_trio_run() else None
    waiting = [] if root is None else [root]
    while waiting:
        task = waiting.pop()
        yield task
        waiting.extend(child for nursery in task.child_nurseries for child in nursery.child_tasks)


# ---- Objects: the garbage collector's word

WATCHED: tuple[tuple[type, str], ...] = (
    (ssl.SSLSocket, "ssl.SSLSocket"),
    (socket.socket, "socket.socket"),
    (trio.socket.SocketType, "trio.socket"),
    (trio.SocketStream, "trio.SocketStream"),
    (ssl.SSLObject, "ssl.SSLObject"),
    (trio.SSLStream, "trio.SSLStream"),
    (trio.Nursery, "trio.Nursery"),
    (trio.CancelScope, "trio.CancelScope"),
)


def objects() -> Counter[str]:
    """Return the number of live objects of each watched type, subclasses included."""
    counted: Counter[str] = Counter()
    for found, count in Counter(map(type, gc.get_objects())).items():
        name = next((name for watched, name in WATCHED if issubclass(found, watched)), None)
        if name is not None:
            counted[name] += count
    return counted


# ---- The judgement


async def wait_settled(before: Snapshot, within_s: float = CLEAN_UP_S) -> str:
    """Wait until nothing is left over, `within_s` seconds at most; return the last difference."""
    await trio.testing.wait_all_tasks_blocked()
    deadline, pause_s = trio.current_time() + within_s, FIRST_LOOK_AGAIN_S
    while (left := difference(before, Snapshot.take())) and trio.current_time() < deadline:
        await trio.sleep(pause_s)
        await trio.lowlevel.checkpoint()  # until its next step trio's loop holds the sleep's own Cancelled and scope
        pause_s *= 2
    return left


@asynccontextmanager
async def nothing_left_open(within_s: float = CLEAN_UP_S) -> AsyncIterator[Snapshot]:
    """Raise AssertionError if the block leaves anything open that was not open before.

    The block's exception, if it has one, comes first.
    """
    before = Snapshot.take()
    yield before
    left = await wait_settled(before, within_s)
    if left:
        raise AssertionError(f"left open:\n{left}")
