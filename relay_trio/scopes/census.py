"""What there really is: trio's task tree and the process's descriptors, counted without asking our own counters.

The balance says what we think we opened and closed. The census looks; the difference is unaccounted, and at rest it is
zero (guarantee G2).
"""

from __future__ import annotations

import linecache
from collections.abc import Iterator
from types import CoroutineType, FrameType
from typing import Any

import attrs
import trio

from relay_trio.scopes.balance import Balance
from relay_trio.scopes.nursery import NurseryRegistry

_MAX_STACK = 64


@attrs.frozen
class Census:
    """What was found: live tasks of the whole process, and sockets where the system tells."""

    tasks: int
    nurseries: int
    sockets: int | None


def all_tasks() -> Iterator[trio.lowlevel.Task]:
    """Yield every task of this trio run, parents first."""
    root = trio.lowlevel.current_root_task()
    waiting = [] if root is None else [root]
    while waiting:
        task = waiting.pop()
        yield task
        for nursery in task.child_nurseries:
            waiting.extend(nursery.child_tasks)


def take_census(sockets: int | None) -> Census:
    """Count tasks and nurseries by walking trio's tree; `sockets` is what the system said of descriptors."""
    tasks = nurseries = 0
    for task in all_tasks():
        tasks += 1
        nurseries += len(task.child_nurseries)
    return Census(tasks, nurseries, sockets)


@attrs.frozen
class Baseline:
    """What a process at rest holds beside what is counted: hypercorn's own tasks, listeners, the log's pipe."""

    tasks: int
    nurseries: int
    sockets: int | None

    @classmethod
    def at_rest(cls, census: Census, registry: NurseryRegistry, known_sockets: int) -> Baseline:
        """Take what is there once the start is over."""
        balance = registry.balance
        return cls(
            tasks=census.tasks - _counted_tasks(balance),
            nurseries=census.nurseries - len(registry),
            sockets=None if census.sockets is None else census.sockets - known_sockets,
        )


def unaccounted(census: Census, baseline: Baseline, registry: NurseryRegistry, known_sockets: int) -> dict[str, int]:
    """Return by kind what is there and in nobody's count. Less than nothing is told too: then a count is wrong."""
    found = {
        "tasks": census.tasks - baseline.tasks - _counted_tasks(registry.balance),
        "nurseries": census.nurseries - baseline.nurseries - len(registry),
    }
    if census.sockets is not None and baseline.sockets is not None:
        found["sockets"] = census.sockets - baseline.sockets - known_sockets
    return found


def _counted_tasks(balance: Balance) -> int:
    return balance.tasks.live + balance.client_connections.live


def await_stack(task: trio.lowlevel.Task) -> list[str]:
    """Return where a task waits: one line for each frame, outermost first. No values, so no prompt and no key."""
    lines: list[str] = []
    coroutine: Any = task.coro
    while coroutine is not None and len(lines) < _MAX_STACK:
        frame = _frame_of(coroutine)
        if frame is not None:
            lines.append(_line_of(frame))
        coroutine = (
            getattr(coroutine, "cr_await", None)
            or getattr(coroutine, "ag_await", None)
            or getattr(coroutine, "gi_yieldfrom", None)
        )
    return lines


def _frame_of(coroutine: CoroutineType[Any, Any, Any]) -> FrameType | None:
    for name in ("cr_frame", "gi_frame", "ag_frame"):
        frame: FrameType | None = getattr(coroutine, name, None)
        if frame is not None:
            return frame
    return None


def _line_of(frame: FrameType) -> str:
    code = frame.f_code
    source = linecache.getline(code.co_filename, frame.f_lineno).strip()
    return f"{code.co_filename}:{frame.f_lineno} {code.co_qualname}: {source}"
