"""What the supervisor owes to the clock alone, on a virtual one."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import cast

import pytest
import structlog
import trio
import trio.testing

from relay_trio.edge.supervisor import START_LIMIT_S, Runtime, Supervisor, WorkerPlan, _Worker
from relay_trio.edge.worker_seat import READY, WorkerSeat
from relay_trio.telemetry.log import configure
from relay_trio.telemetry.log_writer import MemoryLog
from relay_trio.telemetry.redaction import Redactor

pytestmark = pytest.mark.anyio


class LongLived:
    """A process that lives until it is killed."""

    pid = 4711

    def __init__(self) -> None:
        self.killed_at: float | None = None

    def kill(self) -> None:
        self.killed_at = trio.current_time()


@pytest.mark.parametrize(
    ("said", "killed_after_s"), [(READY, None), (b"", START_LIMIT_S), (None, START_LIMIT_S)], ids=repr
)
async def test_only_the_start_has_a_limit(said: bytes | None, killed_after_s: float | None) -> None:
    """A worker that gave its word may live for ever; one that closed the link, or says nothing, is killed in time."""
    before = structlog.get_config()
    configure(MemoryLog(), Redactor())
    ours, theirs = socket.socketpair()
    process = LongLived()
    started = trio.current_time()
    worker = _Worker(
        WorkerSeat(0, Path(), (), -1), cast("trio.Process", process), trio.socket.from_stdlib_socket(ours), started
    )
    supervisor = Supervisor(WorkerPlan(1, (), (), 0), MemoryLog(), Runtime(Path(), -1))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor._await_ready, worker)
        if said == b"":
            theirs.close()
        elif said is not None:
            theirs.send(said)
        await trio.testing.wait_all_tasks_blocked()
        await trio.sleep(100 * START_LIMIT_S)
        nursery.cancel_scope.cancel(reason="the test is over")
    theirs.close()
    structlog.configure(**before)
    assert process.killed_at == (None if killed_after_s is None else pytest.approx(started + killed_after_s))
    assert worker.serves is (said == READY)
