"""A worker finds its seat, says that it serves, and learns when its supervisor is gone."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio.testing

from relay_trio.edge.worker_seat import READY, SupervisorLink, WorkerSeat, take_seat

pytestmark = pytest.mark.anyio


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, SupervisorLink]]:
    """The supervisor's end, and the worker's."""
    ours, theirs = socket.socketpair()
    link = SupervisorLink(WorkerSeat(0, Path(), (), theirs.detach()))
    yield ours, link
    ours.close()
    link.close()


async def test_a_worker_says_once_that_it_serves(pair: tuple[socket.socket, SupervisorLink]) -> None:
    """One byte, without waiting."""
    ours, link = pair
    link.say_ready()
    assert ours.recv(10) == READY


async def test_the_end_of_the_supervisor_is_seen(pair: tuple[socket.socket, SupervisorLink]) -> None:
    """The worker waits as long as the other end is open, and no longer; speaking to nobody is no failure."""
    ours, link = pair
    gone = trio.Event()

    async def wait() -> None:
        assert not await link.wait_told_to_leave()
        gone.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        assert not gone.is_set()
        ours.close()
        await gone.wait()
    link.say_ready()


def test_the_seat_is_found_once(tmp_path: Path) -> None:
    """A worker takes its seat out of the environment, so that no child of its own believes it is a worker."""
    seat = WorkerSeat(3, tmp_path, (5, 6), 7)
    environment: dict[str, str] = {}
    assert take_seat(environment) is None
    seat.write(environment)
    assert not any(name.startswith("RELAY_") for name in environment)
    assert take_seat(environment) == seat
    assert environment == {}
    assert seat.metrics_directory == tmp_path / "metrics"


def test_the_inherited_sockets_are_not_inherited_further() -> None:
    """They accept what is meant for the relay; no child of a worker gets them."""
    server = socket.create_server(("127.0.0.1", 0))
    address, fd = server.getsockname(), server.detach()
    os.set_inheritable(fd, True)
    (listening,) = WorkerSeat(0, Path(), (fd,), -1).listening_sockets()
    with listening:
        assert listening.getsockname() == address
        assert not listening.get_inheritable()
