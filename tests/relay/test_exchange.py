"""The client's side of a request: its body in, its answer out, two points of no return, one door for errors."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from functools import partial

import pytest
import trio
import trio.testing
from parts import Wire, answered, exchange, scope

from adaptors.dialects.openai import CHAT
from adaptors.failure import FailureKind
from relay_trio.errors import BodyTooLarge, BodyTooSlow, Ended, LimitReached, UpstreamFailed
from relay_trio.relay.admission import BufferBudget, Reservation
from relay_trio.relay.exchange import MAX_HELD_BYTES, Exchange
from relay_trio.scopes.balance import Count
from relay_trio.scopes.phase import Limit, limit_reached
from relay_trio.testing.oracle import Snapshot

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _nothing_left_open(nothing_left_open: Snapshot) -> None:
    """Hold every test here against the oracle."""


def reservation(size: int = 10**6) -> Reservation:
    return BufferBudget(size, Limit(30, "RELAY_QUEUE_TIMEOUT"), Count()).reservation()


# ---- The body comes in


async def test_a_whole_body_is_its_pieces_joined() -> None:
    """And counted, in memory too."""
    one = exchange(scope(), Wire(pieces=[b"ab", b"", b"cde"]))
    with reservation() as held:
        assert await one.read_whole(5, held) == b"abcde"
        assert held.held == 5
    assert one.scope.bytes_in == 5


async def test_an_announced_body_is_refused_before_it_is_read() -> None:
    """And room for it is taken before it comes."""
    wire = Wire(pieces=[b"x" * 10])
    with reservation() as held:
        with pytest.raises(BodyTooLarge, match="9 bytes"):
            await exchange(scope(), wire, headers=[(b"content-length", b"10")]).read_whole(9, held)
        assert wire.pieces == [b"x" * 10]
        with pytest.raises(BodyTooLarge, match="holds in memory"):
            await exchange(scope(), wire, headers=[(b"content-length", b"10000000")]).read_whole(10**9, held)


@pytest.mark.parametrize("way", ["whole", "upload"])
async def test_a_body_is_counted_as_it_comes(way: str) -> None:
    """What it announced does not matter."""
    one = exchange(scope(), Wire(pieces=[b"x" * 6, b"x" * 6]))
    with reservation() as held:
        read = partial(one.read_whole, 10, held) if way == "whole" else one.uploader(10)
        if way == "upload":
            assert await read() == b"x" * 6
        with pytest.raises(BodyTooLarge):
            await read()


async def test_an_upload_is_its_pieces_and_then_the_end() -> None:
    """Empty pieces on the way are no end; after the end there is only the end."""
    next_piece = exchange(scope(), Wire(pieces=[b"ab", b"", b"c"])).uploader(100)
    assert [await next_piece() for _ in range(4)] == [b"ab", b"c", b"", b""]


async def test_a_slow_body_is_told_by_its_own_limit() -> None:
    """Not by what was left of it."""
    one = exchange(scope(), Wire(pieces=[b"ab"], waits=True), body=Limit(10, "RELAY_BODY_TIMEOUT"))
    with reservation() as held, pytest.raises(BodyTooSlow, match=r"10 s \(limit RELAY_BODY_TIMEOUT\)") as raised:
        await one.read_whole(100, held)
    assert (raised.value.limit_s, raised.value.setting) == (10, "RELAY_BODY_TIMEOUT")
    assert one.scope.clock.current == "body"


# ---- A whole answer goes out


async def test_a_whole_answer_has_its_length_and_our_id() -> None:
    """One head, one body, and it is complete."""
    wire = Wire()
    one = exchange(scope(), wire)
    await one.answer(201, [(b"x-a", b"1")], b"body")
    assert wire.heads == [(201, {b"x-a": b"1", b"content-length": b"4", b"x-request-id": b"req_1"})]
    assert (wire.bodies, wire.ended, one.record.status, one.scope.bytes_out) == ([b"body"], True, 201, 4)


async def test_a_body_that_is_passed_on_is_content_from_its_head_on() -> None:
    """Nothing can be tried again then."""
    wire = Wire()
    one = exchange(scope(), wire)
    one.start_body(206, [])
    assert one.content_sent
    await one.send_piece(b"a")
    assert not wire.ended
    await one.finish(b"b")
    assert (wire.bodies, wire.ended) == ([b"a", b"b"], True)


# ---- A stream goes out


async def test_opening_events_leave_with_the_first_content() -> None:
    """In one write, behind a head that proxies pass at once."""
    wire = Wire()
    one = exchange(scope(), wire)
    one.set_stream_headers([(b"x-provider", b"1"), (b"cache-control", b"max-age=3600")])
    assert one.hold(b"open ")
    assert one.hold(b"more ")
    assert (wire.heads, wire.bodies) == ([], [])
    await one.send_events(b"content")
    ((status, fields),) = wire.heads
    assert status == 200
    assert fields[b"content-type"].startswith(b"text/event-stream")
    assert (fields[b"cache-control"], fields[b"x-accel-buffering"], fields[b"x-provider"]) == (b"no-cache", b"no", b"1")
    assert wire.bodies == [b"open more content"]
    await one.finish_events(b" end")
    assert (wire.bodies[-1], wire.ended) == (b" end", True)


async def test_what_an_attempt_held_goes_with_it() -> None:
    """The next one opens anew."""
    wire = Wire()
    one = exchange(scope(), wire)
    one.hold(b"first ")
    one.drop_held()
    one.hold(b"second ")
    await one.finish_events(b"content")
    assert wire.bodies == [b"second content"]


async def test_no_more_is_held_than_its_bound() -> None:
    """What is more is content, whatever it says it is (guarantee G7)."""
    one = exchange(scope(), Wire())
    assert one.hold(b"x" * MAX_HELD_BYTES)
    assert not one.hold(b"x")
    one.drop_held()
    assert one.hold(b"x")


# ---- Keep-alive


async def test_a_keepalive_sends_the_head_and_is_no_content() -> None:
    """Another attempt may still follow."""
    wire = Wire()
    one = exchange(scope(), wire)
    await one.keepalive()
    assert wire.bodies == [b": keep-alive\n\n"]
    assert (one.head_sent, one.content_sent, one.record.keepalives) == (True, False, 1)


async def test_what_is_held_is_the_better_sign_of_life() -> None:
    """But then this answer has begun, and no other may."""
    wire = Wire()
    one = exchange(scope(), wire)
    one.hold(b"open")
    await one.keepalive()
    assert (wire.bodies, one.content_sent) == ([b"open"], True)
    await one.send_events(b"content")
    assert wire.bodies == [b"open", b"content"]


async def test_a_keepalive_comes_after_so_much_silence() -> None:
    """First after one time, then after another; sending starts it anew, and the end ends it."""
    one = exchange(scope(), Wire())
    one.streaming = True
    assert one.keepalive_due() == float("inf")
    one.keepalive_after, one.keepalive_interval = 10, 15
    assert one.keepalive_due() == trio.current_time() + 10
    await trio.sleep(10)
    await one.keepalive()
    assert one.keepalive_due() == trio.current_time() + 15
    await trio.sleep(4)
    await one.send_events(b"content")
    assert one.keepalive_due() == trio.current_time() + 15
    await one.finish_events(b"")
    assert one.keepalive_due() == float("inf")


async def test_nothing_comes_between_a_keepalive_and_its_end() -> None:
    """Events, the end and errors wait until it is written; and it does not cut into any of them."""
    for send in sends():
        gate = Gate()
        one = exchange(scope(), gate)
        one.streaming = True
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.keepalive)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(send, one)
            await trio.testing.wait_all_tasks_blocked()
            assert gate.bodies == []
            gate.open.set()
        assert gate.bodies[0] == b": keep-alive\n\n"
        assert len(gate.bodies) == 2


async def test_a_keepalive_waits_for_nobody() -> None:
    """While something is being written the connection is awake."""
    for send in sends():
        gate = Gate()
        one = exchange(scope(), gate)
        one.streaming = True
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send, one)
            await trio.testing.wait_all_tasks_blocked()
            await one.keepalive()
            gate.open.set()
        assert len(gate.bodies) == 1
        assert b"keep-alive" not in gate.bodies[0]


def sends() -> list[Callable[[Exchange], Awaitable[None]]]:
    """Return what else may be on its way."""

    async def events(one: Exchange) -> None:
        await one.send_events(b"data: 1\n\n")

    async def end(one: Exchange) -> None:
        await one.finish_events(b"data: [DONE]\n\n")

    async def error(one: Exchange) -> None:
        await one.fail(UpstreamFailed("It broke."))

    return [events, end, error]


class Gate(Wire):
    """A wire whose bodies wait until it is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open = trio.Event()

    async def send(self, data: bytes, *, more: bool) -> None:
        await self.open.wait()
        await super().send(data, more=more)


async def test_a_finished_stream_is_not_kept_awake() -> None:
    """Not a byte follows the end."""
    wire = Wire()
    one = exchange(scope(), wire)
    await one.finish_events(b"all")
    await one.keepalive()
    assert wire.bodies == [b"all"]


async def test_a_keepalive_to_a_client_that_left_ends_the_request() -> None:
    """With the reason that it has."""
    one = exchange(scope(), Wire(fails_with=BrokenPipeError()))
    await one.keepalive()
    assert one.scope.cancelled_for is Ended.CLIENT_DISCONNECTED


async def test_a_keepalive_to_a_client_that_stalls_is_a_limit() -> None:
    """It is the request's failure, by the clock's own name."""
    stalled = limit_reached("client_write", Limit(60, "RELAY_CLIENT_WRITE_TIMEOUT"))
    one = exchange(scope(), Wire(fails_with=stalled))
    with pytest.raises(LimitReached):
        await one.keepalive()
    async with one.scope as live:
        live.start_soon(one.keepalive, name="keep-alive")
        await trio.sleep_forever()
    assert live.crash is stalled
    live.crash = None
    stalled.__traceback__ = None  # what it holds would count as left open


# ---- Errors go out


async def test_before_the_head_an_error_is_an_answer() -> None:
    """With its status, in the dialect of the client, without our keys."""
    wire = Wire()
    one = exchange(scope(), wire)
    one.streaming = True
    one.hold(b"opening events of the attempt that failed")
    await one.fail(answered(FailureKind.RATE_LIMITED, 429))
    ((status, fields),) = wire.heads
    assert (status, fields[b"content-type"], fields[b"x-request-id"]) == (429, b"application/json", b"req_1")
    assert json.loads(wire.bodies[0])["error"]["message"] == "The provider says no."
    assert wire.ended


async def test_in_a_stream_an_error_is_its_last_event() -> None:
    """What was held comes before it, and the end that says success does not come."""
    wire = Wire()
    one = exchange(scope(), wire)
    one.streaming = True
    await one.keepalive()
    one.hold(b"data: opening\n\n")
    await one.fail(UpstreamFailed("It broke.", phase="answer"))
    opening, event = wire.bodies[-1].split(b"\n\n", 1)
    assert opening == b"data: opening"
    assert json.loads(event.removeprefix(b"data: "))["error"]["message"] == "It broke."
    assert not wire.ended


async def test_in_another_body_an_error_is_only_its_missing_end() -> None:
    """There is no place in it for words."""
    wire = Wire()
    one = exchange(scope(), wire)
    one.start_body(200, [])
    await one.send_piece(b"half")
    await one.fail(UpstreamFailed("It broke."))
    assert b"".join(wire.bodies) == b"half"
    assert not wire.ended


async def test_a_complete_answer_is_spoilt_by_no_error() -> None:
    """What failed behind it is for the log."""
    wire = Wire()
    one = exchange(scope(), wire)
    await one.answer(200, [], b"ok")
    await one.fail(UpstreamFailed("Too late."))
    assert (wire.bodies, wire.ended) == ([b"ok"], True)


async def test_an_error_event_carries_the_streams_next_number() -> None:
    """Where a wire numbers its events; the dialect is asked with it."""
    numbers: list[int] = []

    class Numbering:
        name, error_format, error_content_type = CHAT.name, CHAT.error_format, CHAT.error_content_type
        stream_content_type = CHAT.stream_content_type

        def error_event(self, _report: object, sequence: int) -> bytes:
            numbers.append(sequence)
            return b"event: error\ndata: {}\n\n"

    one = exchange(scope(), Wire(), dialect=Numbering())  # type: ignore[arg-type] # all that is asked of it here
    one.streaming = True
    one.follow(lambda: 17)
    await one.send_events(b"event: a\ndata: {}\n\n")
    await one.fail(UpstreamFailed("It broke."))
    assert numbers == [17]
