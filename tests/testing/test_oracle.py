"""The oracle names what is left open, and nothing else."""

from __future__ import annotations

import os
import socket
import ssl
from pathlib import Path

import pytest
import trio
import trio.testing

from relay_trio.testing.oracle import Snapshot, difference, nothing_left_open, wait_settled

pytestmark = pytest.mark.anyio


async def test_nothing_is_left_when_nothing_was_opened() -> None:
    """Two snapshots in a row differ in nothing."""
    before = Snapshot.take()

    assert difference(before, Snapshot.take()) == ""


async def test_names_an_open_socket_with_both_its_ends() -> None:
    """A socket that is left open is named with its addresses, as a descriptor and as an object."""
    before = Snapshot.take()
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        left = difference(before, Snapshot.take())
        ends = f"{client.getsockname()} -> {server.getsockname()}"

    assert ends in left
    assert "object socket.socket: 2 more" in left
    assert left.count("descriptor") == 2
    assert "-> nobody" in left


async def test_knows_one_descriptor_from_another_of_the_same_number(tmp_path: Path) -> None:
    """A number that was closed and opened again for something else counts as left over."""
    (tmp_path / "a").write_bytes(b"")
    (tmp_path / "b").write_bytes(b"")
    first = os.open(tmp_path / "a", os.O_RDONLY)
    before = Snapshot.take()
    os.close(first)
    second = os.open(tmp_path / "b", os.O_RDONLY)
    left = difference(before, Snapshot.take())
    os.close(second)

    assert first == second
    assert left == f"descriptor {second} {tmp_path / 'b'}"


async def test_tells_descriptors_by_kind() -> None:
    """Pipes and sockets are counted apart."""
    before = Snapshot.take().kinds
    ends = os.pipe()
    with socket.socket():
        more = Snapshot.take().kinds - before
    for end in ends:
        os.close(end)

    assert more == {"pipe": 2, "socket": 1}


async def test_names_a_task_and_its_nursery() -> None:
    """A task that still runs is named, and so is the nursery that waits for it."""
    before = Snapshot.take()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever, name="the forgotten one")
        await trio.testing.wait_all_tasks_blocked()
        left = difference(before, Snapshot.take())
        nursery.cancel_scope.cancel(reason="seen")

    assert "task the forgotten one: 1 more" in left
    assert "object trio.Nursery: 1 more" in left
    assert left.count("nursery in") == 1


@pytest.mark.parametrize("made", [trio.CancelScope, trio.socket.socket], ids=["scope", "socket"])
async def test_names_objects_that_are_still_held(made: type) -> None:
    """A cancel scope or a trio socket that somebody still holds is counted, open or not."""
    before = Snapshot.take()
    held = made()
    if isinstance(held, trio.socket.SocketType):
        held.close()
    left = difference(before, Snapshot.take())

    assert "1 more" in left


async def test_counts_tls_objects() -> None:
    """A TLS object that somebody still holds is counted."""
    before = Snapshot.take()
    held = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="x")

    assert "object ssl.SSLObject: 1 more" in difference(before, Snapshot.take())
    assert held.server_hostname == "x"


async def leave_a_task_for(seconds: float, before: Snapshot, within_s: float) -> str:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep, seconds)
        nursery.start_soon(trio.sleep_forever)
        left = await wait_settled(before, within_s)
        nursery.cancel_scope.cancel(reason="seen")
    return left


async def test_waits_for_what_is_being_cleaned_up() -> None:
    """What ends within the time for clean-up is not left over; what stays longer is."""
    before = Snapshot.take()

    assert "trio.sleep: 1 more" not in await leave_a_task_for(4, before, within_s=6)
    assert "trio.sleep: 1 more" in await leave_a_task_for(60, before, within_s=6)
    assert await wait_settled(before) == ""


async def test_the_block_that_leaves_something_open_fails() -> None:
    """`nothing_left_open` raises with the name of what is left."""
    with pytest.raises(AssertionError, match="left open:\ndescriptor"):
        async with nothing_left_open(within_s=1):
            held = trio.socket.socket()
    held.close()


async def test_outside_trio_there_are_no_tasks() -> None:
    """In a plain thread a snapshot has no tasks, and still has the descriptors."""
    snapshot = await trio.to_thread.run_sync(Snapshot.take)

    assert not snapshot.tasks
    assert snapshot.descriptors
