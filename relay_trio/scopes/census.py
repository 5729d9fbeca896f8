"""What there really is: trio's task tree and the process's descriptors, counted without asking our own counters.

The balance says what we think we opened and closed. The census looks; the difference is unaccounted, and at rest it is
zero (guarantee G2).
"""

from __future__ import annotations

import gc
import linecache
from collections.abc import Iterable, Sequence
from types import AsyncGeneratorType, CoroutineType, FrameType, GeneratorType
from typing import Any

import attrs
import trio

from relay_trio.scopes.nursery import NurseryRegistry

_MAX_STACK = 64
_ADDRESSES_TRIED = 4
"""How many sockets a request may own that nobody has been told of, while it connects: trio tries a name's addresses side
by side (RFC 8305), and gives us the one that won."""


@attrs.frozen
class Census:
    """What was found: live tasks of the whole process, and sockets where the system tells."""

    tasks: int
    nurseries: int
    sockets: int | None


def _count(nurseries: Iterable[trio.Nursery]) -> tuple[int, int]:
    """Return how many tasks have begun in and below these nurseries, and how many nurseries that is, with themselves.

    Thousands of tasks are gone through in one turn of the loop, since they would change between two: 1 us for each.
    """
    tasks = found = 0
    waiting = list(nurseries)
    while waiting:
        found += 1
        for task in waiting.pop().child_tasks:
            tasks += _has_begun(task)
            waiting.extend(task.child_nurseries)
    return tasks, found


def _has_begun(task: trio.lowlevel.Task) -> bool:
    """Say whether a task has run at all: before that it cannot have counted itself anywhere."""
    coroutine = task.coro
    return coroutine.cr_suspended or coroutine.cr_running


def count_tasks() -> int:
    """Return how many tasks there are, those included that have not begun: trio knows it without a walk."""
    return trio.lowlevel.current_statistics().tasks_living


def take_census(sockets: int | None) -> Census:
    """Count tasks and nurseries by walking trio's tree; `sockets` is what the system said of descriptors."""
    root = trio.lowlevel.current_root_task()
    assert root is not None, "asked for from within trio"
    tasks, nurseries = _count(root.child_nurseries)
    return Census(1 + tasks, nurseries, sockets)


@attrs.frozen
class Known:
    """What the counts say is there, to hold a census against.

    `connecting` is how many requests may own sockets that no count has yet: `_ADDRESSES_TRIED` each.
    """

    tasks: int
    nurseries: int
    sockets: int
    connecting: int

    @classmethod
    def now(cls, registry: NurseryRegistry, *, sockets: int, services: int) -> Known:
        """Take what is known now: counted sockets, tasks that services have started for a while, and the requests'.

        What a request has started below its helpers (trio's own tasks while it connects, for one) is in no count, but
        is owned: it hangs in the request's nursery and ends with it.
        """
        balance = registry.balance
        tasks = balance.tasks.live + balance.client_connections.live + services
        nurseries = connecting = 0
        for scope in registry:
            begun, open_now = _count(scope.nurseries_within())
            tasks += begun - sum(map(_has_begun, scope.helpers))
            nurseries += open_now
            connecting += scope.clock.current in _CONNECTING and scope.name in _CALLING_OUT
        return cls(tasks, nurseries, sockets, connecting)


_CONNECTING = frozenset({"starting", "connect"})
"""Model lists are asked for in helpers of a request that itself has not begun with anything."""
_CALLING_OUT = frozenset({"request", "alert"})
"""The names of scopes that make connections; a monitoring request makes none."""


@attrs.frozen
class Baseline:
    """What a process at rest holds beside what is counted: hypercorn's own tasks, listeners, the log's pipe."""

    tasks: int
    nurseries: int
    sockets: int | None

    @classmethod
    def at_rest(cls, census: Census, known: Known) -> Baseline:
        """Take what is there once the start is over."""
        return cls(
            tasks=census.tasks - known.tasks,
            nurseries=census.nurseries - known.nurseries,
            sockets=None if census.sockets is None else census.sockets - known.sockets,
        )

    @classmethod
    def least(cls, looks: Sequence[Baseline]) -> Baseline:
        """Take the least of several looks: what is only there in some of them was passing by."""
        sockets = [look.sockets for look in looks if look.sockets is not None]
        return cls(
            tasks=min(look.tasks for look in looks),
            nurseries=min(look.nurseries for look in looks),
            sockets=min(sockets, default=None),
        )


def unaccounted(census: Census, baseline: Baseline, known: Known) -> dict[str, int]:
    """Return by kind what is there and in nobody's count. Less than nothing is told too: then a count is wrong."""
    found = {
        "tasks": census.tasks - baseline.tasks - known.tasks,
        "nurseries": census.nurseries - baseline.nurseries - known.nurseries,
    }
    if census.sockets is not None and baseline.sockets is not None:
        beyond = census.sockets - baseline.sockets - known.sockets
        explained = -known.connecting <= beyond <= _ADDRESSES_TRIED * known.connecting
        found["sockets"] = 0 if explained else beyond
    return found


def await_stack(task: trio.lowlevel.Task) -> list[str]:
    """Return where a task waits: one line for each frame, outermost first. No values, so no prompt and no key."""
    lines: list[str] = []
    coroutine: Any = task.coro
    while coroutine is not None and len(lines) < _MAX_STACK:
        frame = _first_of(coroutine, ("cr_frame", "gi_frame", "ag_frame"))
        if frame is None:
            coroutine = _hidden_in(coroutine)
        else:
            lines.append(_line_of(frame))
            coroutine = _first_of(coroutine, ("cr_await", "gi_yieldfrom", "ag_await"))
    return lines


def _first_of(coroutine: object, names: tuple[str, ...]) -> Any:
    return next((found for name in names if (found := getattr(coroutine, name, None)) is not None), None)


def _hidden_in(awaited: object) -> object | None:
    """Return the coroutine or generator that an object is a wrapper of: what `__await__` gives names it nowhere."""
    held = (
        one for one in gc.get_referents(awaited) if isinstance(one, CoroutineType | GeneratorType | AsyncGeneratorType)
    )
    return next(held, None)


def _line_of(frame: FrameType) -> str:
    code = frame.f_code
    source = linecache.getline(code.co_filename, frame.f_lineno).strip()
    return f"{code.co_filename}:{frame.f_lineno} {code.co_qualname}: {source}"
