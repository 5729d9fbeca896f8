"""A link ends in the way it was told to, and says afterwards who ended it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from relay_trio.testing.fake_client import dial
from relay_trio.testing.fake_upstream import open_listener
from relay_trio.testing.link import MAX_AHEAD_BYTES, EndedBy, Link, PeerGone

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def pair_of_links() -> AsyncIterator[tuple[Link, Link]]:
    """Join two links. No fixture: pytest holds what a fixture gave until after the oracle has looked."""
    async with open_listener("127.0.0.1", 0) as listener:
        one = await dial(*listener.socket.getsockname()[:2])
        two = Link(await listener.accept())
        yield one, two
        one.close()
        two.close()


async def test_finish_lets_the_last_word_arrive() -> None:
    """What was said before `finish` arrives, then FIN, at once, although the peer's own bytes were never read."""
    async with pair_of_links() as (one, two):
        await two.send(b"x" * 60_000)
        start = trio.current_time()
        async with trio.open_nursery() as nursery:
            await one.send(b"bye")
            nursery.start_soon(one.finish)
            assert await two.receive() == b"bye"
            assert await two.receive() == b""
            assert trio.current_time() == start
            two.close()

        assert (one.ended_by, two.ended_by) == (EndedBy.CLOSED, EndedBy.PEER_CLOSED)


async def test_finish_does_not_wait_for_ever() -> None:
    """A peer that does not close in turn is left after two seconds."""
    async with pair_of_links() as (one, two):
        start = trio.current_time()
        await one.finish()

        assert trio.current_time() - start == 2.0
        assert two.ended_by is None


async def test_a_reset_is_seen_as_one() -> None:
    """After `reset` the peer can neither read nor write nor half-close, and knows why."""
    async with pair_of_links() as (one, two):
        one.reset()
        with pytest.raises(PeerGone):
            await two.receive()
        with pytest.raises(PeerGone):
            await two.send(b"x")
        with pytest.raises(PeerGone):
            await two.half_close()

        assert (one.ended_by, two.ended_by) == (EndedBy.RESET, EndedBy.PEER_RESET)
        assert two.peer_first
        assert not one.peer_first


async def test_half_close_fails_on_a_connection_that_is_gone() -> None:
    """A FIN that cannot be sent says so."""
    async with pair_of_links() as (one, two):
        one.reset()
        with pytest.raises(PeerGone):
            await two.half_close()

        assert two.ended_by is EndedBy.PEER_RESET


async def test_a_pause_takes_its_time_whatever_comes() -> None:
    """Bytes that come during a pause are kept up to a bound; the pause is as long as it was to be."""
    async with pair_of_links() as (one, two):
        start = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.send, b"x" * 2 * MAX_AHEAD_BYTES)
            await two.pause(10)
            assert trio.current_time() - start == 10
            assert MAX_AHEAD_BYTES <= len(two.ahead) < 2 * MAX_AHEAD_BYTES
            while two.bytes_received < 2 * MAX_AHEAD_BYTES:
                await two.receive()


async def test_a_pause_ends_when_the_peer_leaves() -> None:
    """Who waits in a pause learns at once that the peer has gone."""
    async with pair_of_links() as (one, two):
        start = trio.current_time()
        async with trio.open_nursery() as nursery:

            async def leave() -> None:
                await trio.sleep(3)
                one.close()

            nursery.start_soon(leave)
            with pytest.raises(PeerGone):
                await two.pause(10)

        assert trio.current_time() - start == 3


async def test_reads_in_exact_pieces() -> None:
    """`read_until`, `read_some` and `at_end` take what they say and leave the rest."""
    async with pair_of_links() as (one, two):
        await one.send(b"line\r\nrest")
        assert await two.read_until(b"\r\n", 100) == b"line\r\n"
        assert not await two.at_end()
        assert await two.read_some(2) == b"re"
        assert await two.receive() == b"st"
        await one.half_close()
        assert await two.at_end()
        with pytest.raises(PeerGone):
            await two.read_some(1)


async def test_a_line_has_a_bound() -> None:
    """A line that does not end is not read for ever."""
    async with pair_of_links() as (one, two):
        await one.send(b"x" * 1000)
        with pytest.raises(ValueError, match="within 100 bytes"):
            await two.read_until(b"\n", 100)
