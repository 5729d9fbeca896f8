"""Streams pass through without waking anybody, as long as nothing has to be waited for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
import trio
from parts import Wire, exchange, scope
from stand import STREAM, open_stand

from adaptors.failure import AnswerFailed
from adaptors.values import Usage
from adaptors.wires.openai_errors import broken_answer
from relay_trio.relay.deliver import Passing
from relay_trio.relay.exchange import MAX_HELD_BYTES, Exchange
from relay_trio.testing.fake_client import connect
from relay_trio.testing.oracle import Snapshot

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _nothing_left_open(nothing_left_open: Snapshot) -> None:
    """Hold every test here against the oracle."""


@attrs.define(eq=False)
class Letters:
    """An answer whose capital letters are content; `.` ends it, `!` breaks it."""

    content_seen: bool = False
    complete: bool = False
    usage: Usage | None = None
    stored_id: str | None = None
    sequence: int = 0

    def chunks(self, data: bytes) -> Iterator[bytes]:
        """Yield each letter."""
        for letter in data.decode():
            if letter == "!":
                raise AnswerFailed(broken_answer("It broke."))
            self.content_seen = self.content_seen or letter.isupper()
            self.complete = self.complete or letter == "."
            yield letter.encode()

    def end(self) -> Iterator[bytes]:
        """Yield nothing."""
        yield from ()

    def whole(self, body: bytes) -> bytes:
        """Return the body."""
        return body


def passing(wire: Wire) -> tuple[Passing, Exchange, Letters]:
    one, answer = exchange(scope(), wire), Letters()
    one.streaming = True
    return Passing(one, answer), one, answer


async def test_a_piece_that_the_client_takes_has_left_at_once() -> None:
    """Opening pieces with the first that says something."""
    wire = Wire()
    stream, one, _ = passing(wire)
    assert stream.take(b"ab")
    assert wire.bodies == []
    assert stream.take(b"C")
    assert stream.take(b"d")
    assert wire.bodies == [b"abC", b"d"]
    assert (one.record.chunks_in, one.record.chunks_out, one.scope.bytes_out) == (3, 2, 4)
    assert one.record.first_event_s is not None


async def test_what_the_client_has_not_taken_is_waited_for() -> None:
    """The next piece is not read before."""
    wire = Wire(all_sent=True, takes_all=False)
    stream, _, _ = passing(wire)
    assert not stream.take(b"A")
    assert wire.bodies == [b"A"]
    await stream.settle()
    assert wire.all_sent
    assert wire.bodies == [b"A"]


async def test_a_piece_that_comes_while_a_keepalive_is_written_follows_it() -> None:
    """Nothing is written into the middle of another write."""
    wire = Wire(stuck=True)
    stream, one, _ = passing(wire)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.keepalive)
        await trio.testing.wait_all_tasks_blocked()
        assert not stream.take(b"A")
        assert wire.bodies == []
        nursery.start_soon(stream.settle)
        await trio.testing.wait_all_tasks_blocked()
        assert wire.bodies == []
        wire.unstick()
    assert wire.bodies == [b": keep-alive\n\n", b"A"]


async def test_the_end_is_the_tasks_to_send() -> None:
    """With the pieces before it, and the end of the body."""
    wire = Wire()
    stream, one, answer = passing(wire)
    assert stream.take(b"A")
    assert not stream.take(b"b.")
    assert answer.complete
    assert wire.bodies == [b"A"]
    await stream.settle()
    assert (wire.bodies, wire.ended, one.finished) == ([b"A", b"b."], True, True)


async def test_what_came_before_a_failure_is_the_clients() -> None:
    """And then the failure is raised, in the task."""
    wire = Wire()
    stream, _, _ = passing(wire)
    assert not stream.take(b"AB!")
    with pytest.raises(AnswerFailed, match="It broke"):
        await stream.settle()
    assert wire.bodies == [b"AB"]


async def test_an_opening_that_failed_reaches_nobody() -> None:
    """Another attempt may follow."""
    wire = Wire()
    stream, one, _ = passing(wire)
    assert not stream.take(b"ab!")
    with pytest.raises(AnswerFailed):
        await stream.settle()
    assert (wire.bodies, one.head_sent) == ([], False)


async def test_too_much_opening_is_content() -> None:
    """Whatever it says it is."""
    wire = Wire()
    stream, one, _ = passing(wire)
    assert stream.take(b"a" * (MAX_HELD_BYTES + 1))
    assert (len(wire.bodies[0]), one.content_sent) == (MAX_HELD_BYTES + 1, True)


async def test_a_client_that_broke_is_told_to_the_task() -> None:
    """As the OSError that it is."""
    stream, _, _ = passing(Wire(fails_with=BrokenPipeError()))
    with pytest.raises(BrokenPipeError):
        stream.take(b"A")


class Steps(trio.abc.Instrument):
    """Counts the turns of each task."""

    def __init__(self) -> None:
        self.of: dict[trio.lowlevel.Task, int] = {}

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """Count one."""
        self.of[task] = self.of.get(task, 0) + 1


@pytest.mark.parametrize("limits", ["", "idle = 30"], ids=["total-only", "idle-clock"])
async def test_pieces_do_not_wake_the_requests_task(tmp_path: Path, limits: str) -> None:
    """On the hub of Linux: sixty pieces, a second apart, and the task has had its turns at the beginning and at the end only."""
    steps = Steps()
    async with open_stand(tmp_path, "slow-body;words=60", limits=limits) as stand:
        async with connect(stand.address) as client:
            await client.send(STREAM)
            await client.read_head()
            (live,) = stand.relay.running.services.registry
            task = live.task
            assert task is not None
            trio.lowlevel.add_instrument(steps)
            try:
                data = (await client.read_events()).data
            finally:
                trio.lowlevel.remove_instrument(steps)
        await stand.rest()
    assert data[-1] == "[DONE]"
    assert len(data) > 60
    assert steps.of[task] < 10
