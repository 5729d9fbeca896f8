"""Memory that a busy hour needed goes back to the system when the process has become quiet, and never before."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import trio

from relay_trio.scopes.ebb import Ebb

pytestmark = pytest.mark.anyio


@attrs.define(eq=False)
class Process:
    """What the ebb looks at: how busy it is, and its memory, of which `free_mb` can be given back."""

    sockets: int = 0
    memory_mb: float | None = 50.0
    free_mb: float = 0.0
    times: int = 0
    said: list[dict[str, Any]] = attrs.field(factory=list)

    def give_back(self) -> None:
        self.times += 1
        assert self.memory_mb is not None
        self.memory_mb -= self.free_mb
        self.free_mb = 0.0

    def info(self, event: str, **fields: object) -> None:
        self.said.append({"event": event, **fields})

    def ebb(self) -> Ebb:
        return Ebb(lambda: self.sockets, lambda: self.memory_mb, self.give_back, self)


async def watch(ebb: Ebb, seconds: float = 60.0) -> None:
    with trio.move_on_after(seconds):
        await ebb.run()


async def flood(process: Process, ebb: Ebb) -> None:
    """Be at rest, then at the height, then quiet again with 100 MiB more, most of it free."""
    await watch(ebb, 1)
    process.sockets = 10_000
    process.memory_mb, process.free_mb = 150.0, 90.0
    await watch(ebb)
    assert process.times == 0, "thousands of streams are alive"
    process.sockets = 20


async def test_what_is_free_is_given_back_once_it_is_quiet() -> None:
    """And not while streams are alive, which a collection would stop."""
    process = Process()
    ebb = process.ebb()
    await flood(process, ebb)
    await watch(ebb, 5)

    assert (process.times, process.memory_mb) == (1, 60.0)
    assert process.said[0]["event"] == "memory_given_back"
    assert (process.said[0]["rss_mb_before"], process.said[0]["rss_mb"]) == (150.0, 60.0)


async def test_it_is_done_again_while_it_helps_and_no_longer() -> None:
    """What idle connections held is free later; what cannot be given back is not asked for again and again."""
    process = Process()
    ebb = process.ebb()
    await flood(process, ebb)
    process.free_mb = 30.0
    await watch(ebb, 5)
    process.free_mb = 20.0
    await watch(ebb, 600)

    assert process.memory_mb == 100.0
    assert process.times == 3, "30 MiB, 20, and the one that found nothing more"


@pytest.mark.parametrize("memory_mb", [65.0, None], ids=["little", "unknown"])
async def test_nothing_is_done_for_little_or_where_memory_is_not_told(memory_mb: float | None) -> None:
    """A few MiB more are no reason to stop the loop; and not every platform says how many."""
    process = Process(memory_mb=50.0 if memory_mb else None)
    ebb = process.ebb()
    await watch(ebb, 1)
    process.memory_mb = memory_mb
    await watch(ebb, 600)

    assert process.times == 0


@pytest.mark.usefixtures("nothing_left_open")
async def test_trio_forgets_the_scopes_that_have_ended() -> None:
    """Each would keep its piece of memory until its deadline, fifteen minutes after a request that took one."""
    process = Process()
    ebb = process.ebb()
    await flood(process, ebb)
    with trio.fail_after(800):  # a deadline that stands before the others: trio drops ended ones from the front only
        for _ in range(900):
            with trio.CancelScope(deadline=trio.current_time() + 900):
                await trio.lowlevel.checkpoint()
        deadlines = trio._core._run.GLOBAL_RUN_CONTEXT.runner.deadlines
        assert len(deadlines._heap) >= 900
        await watch(ebb, 5)

        assert len(deadlines._heap) < 10
