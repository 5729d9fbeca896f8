"""httpx's own transport behind the interface of ours: the same requests, limits, phases and closes."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from upstream_rig import BODY, CONNECT, HEADERS, SEND, Rig, open_rig, uploaded

from relay_trio.errors import LimitReached, UpstreamFailed
from relay_trio.scopes.phase import Limit
from relay_trio.testing.certificates import server_context, untrusted_context, wrong_name_context
from relay_trio.testing.fake_upstream import FakeUpstream, open_deaf_address, open_fake_upstream
from relay_trio.upstream import httpx_transport
from relay_trio.upstream.httpx_transport import HttpxSender

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("nothing_left_open")]

CHAT = "/v1/chat/completions"
BIG = 20_000_000
MakeTls = Callable[[], ssl.SSLContext] | None


@attrs.frozen
class Bench:
    """A provider, and httpx on the way to it."""

    rig: Rig
    sender: HttpxSender
    upstream: FakeUpstream

    def assert_at_rest(self) -> None:
        """Nothing is in use."""
        assert self.sender.in_flight == 0
        self.rig.assert_at_rest()


@asynccontextmanager
async def open_bench(behaviour: str = "answer", tls: MakeTls = None) -> AsyncIterator[Bench]:
    """Open a provider that behaves so, and what sends to it."""
    context = None if tls is None else tls()
    async with open_fake_upstream(behaviour, tls=context, receive_buffer=4096) as upstream, open_rig() as rig:
        yield Bench(rig, HttpxSender(rig.balance, rig.route, None), upstream)


async def test_the_request_is_the_same_as_ours() -> None:
    """Host and framing as our transport has them; nothing of httpx's own is added."""
    async with open_bench() as bench:
        for sender in (bench.rig.transport, bench.sender):
            await bench.rig.ask(bench.upstream.url + CHAT + "?a=b%20c", sender=sender)
            await bench.rig.ask(bench.upstream.url + "/v1/models", method=b"GET", body=None, sender=sender)
            await bench.rig.ask(bench.upstream.url + "/v1/responses/x/cancel", body=None, sender=sender)
        seen = [
            (request.method, request.target, sorted((name.lower(), value) for name, value in request.headers))
            for request in bench.upstream.requests
        ]

        assert seen[:3] == seen[3:]
        assert bench.upstream.requests[3].body == BODY


@pytest.mark.parametrize("tls", [None, server_context], ids=["clear", "tls"])
@pytest.mark.parametrize("length", [None, 200_000], ids=["chunked", "length"])
async def test_an_upload_arrives_whole(tls: MakeTls, length: int | None) -> None:
    """Piece by piece, in the client's framing."""
    pieces = [bytes([number]) * 1000 for number in range(200)]
    async with open_bench(tls=tls) as bench:
        upload = uploaded(*pieces, pause_s=0.01, length=length)
        answered = await bench.rig.ask(bench.upstream.url + "/v1/echo", upload=upload, sender=bench.sender)

        assert answered.status == 200
        assert bench.upstream.requests[0].body == b"".join(pieces)
        bench.assert_at_rest()


async def test_each_request_has_a_connection_of_its_own() -> None:
    """Kept ones are not safe with httpx."""
    async with open_bench() as bench:
        reused = [(await bench.rig.ask(bench.upstream.url + CHAT, sender=bench.sender)).reused for _ in range(3)]

        assert reused == [False] * 3
        assert [request.connection for request in bench.upstream.requests] == [1, 2, 3]
        await bench.upstream.wait_no_connections()


async def test_a_silent_connection_is_kept_awake() -> None:
    """As our own transport keeps it."""
    async with open_fake_upstream() as upstream:
        host, port = upstream.url.removeprefix("http://").split(":")
        stream = await httpx_transport._Sockets().connect_tcp(host, int(port))
        assert stream.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) != 0
        await stream.aclose()


async def test_phases_are_told_apart() -> None:
    """Connecting, sending and waiting are three clocks, as with our own transport."""
    async with open_bench("late-head;interval=30", server_context) as bench:
        await bench.rig.ask(bench.upstream.url + CHAT, sender=bench.sender)
        bench.rig.clock.enter("over")

        assert bench.rig.clock.spent["headers"] == pytest.approx(30)
        assert {"connect", "send"} <= set(bench.rig.clock.spent)


@pytest.mark.parametrize(
    ("behaviour", "tls", "limit"),
    [
        ("tls-hangs", server_context, CONNECT),
        ("never-reads", None, SEND),
        ("never-reads", server_context, SEND),
        ("silent-before-head", None, HEADERS),
        ("silent-mid-head", server_context, HEADERS),
        ("endless-interim", None, HEADERS),
    ],
)
async def test_each_phase_has_its_limit(behaviour: str, tls: MakeTls, limit: Limit) -> None:
    """The error names the phase, the seconds and the setting, and nothing stays open."""
    body = b"x" * BIG if limit is SEND else BODY
    async with open_bench(behaviour, tls) as bench:
        with pytest.raises(LimitReached) as raised:
            await bench.rig.ask(bench.upstream.url + CHAT, body=body, sender=bench.sender)
        error = raised.value

        assert trio.current_time() == pytest.approx(limit.seconds, abs=0.1)
        assert (error.limit_s, error.setting) == (limit.seconds, limit.setting)
        assert error.phase == bench.rig.clock.current
        bench.assert_at_rest()


async def test_an_address_that_does_not_answer_ends_at_the_connect_limit() -> None:
    """As with our own."""
    async with open_deaf_address() as (host, port), open_rig() as rig:
        with pytest.raises(LimitReached) as raised:
            await rig.ask(f"http://{host}:{port}{CHAT}", sender=HttpxSender(rig.balance, rig.route, None))

        assert raised.value.setting == CONNECT.setting
        rig.assert_at_rest()


@pytest.mark.parametrize("tls", [wrong_name_context, untrusted_context], ids=["name", "untrusted"])
async def test_a_certificate_that_is_not_right_is_refused(tls: MakeTls) -> None:
    """With the same context as ours."""
    async with open_bench(tls=tls) as bench:
        with pytest.raises(UpstreamFailed) as raised:
            await bench.rig.ask(bench.upstream.url + CHAT, sender=bench.sender)

        assert (raised.value.phase, raised.value.code) == ("connect", "upstream_connect_failed")
        assert bench.upstream.request_count == 0
        bench.assert_at_rest()


CANCELLED_IN = {
    "connecting TLS": ("tls-hangs", server_context, BODY),
    "sending": ("never-reads", None, b"x" * BIG),
    "sending over TLS": ("never-reads", server_context, b"x" * BIG),
    "waiting for the head": ("silent-before-head", server_context, BODY),
    "waiting for the body": ("silent-after-head", None, BODY),
    "in the middle of the body": ("silent-mid-body", server_context, BODY),
    "reading what never ends": ("endless-body;interval=0.01", None, BODY),
}


@pytest.mark.parametrize("where", CANCELLED_IN)
async def test_cancelled_anywhere_it_leaves_nothing(where: str) -> None:
    """Whatever httpx would have left open."""
    behaviour, tls, body = CANCELLED_IN[where]
    async with open_bench(behaviour, tls) as bench:
        with trio.move_on_after(1) as scope:
            await bench.rig.ask(bench.upstream.url + CHAT, body=body, sender=bench.sender)

        assert scope.cancelled_caught
        bench.assert_at_rest()
        await bench.upstream.wait_no_connections()
        assert trio.current_time() < 2


@pytest.mark.parametrize("behaviour", ["slow-body", "endless-body", "silent-mid-body", "answer"])
async def test_an_answer_that_is_left_is_closed_at_once(behaviour: str) -> None:
    """However much of it was read, and without waiting for the rest."""
    async with open_bench(behaviour, server_context) as bench:
        response = await bench.rig.send(bench.upstream.url + CHAT, sender=bench.sender)
        await response.receive()
        left_at = trio.current_time()
        await response.aclose()
        await response.aclose()

        assert trio.current_time() == left_at
        bench.assert_at_rest()
        await bench.upstream.wait_no_connections()


async def test_an_upload_whose_client_breaks_off_closes_the_connection() -> None:
    """Its error passes through as it is."""

    async def broken() -> bytes:
        raise trio.BrokenResourceError("the client is gone")

    async with open_bench() as bench:
        upload = attrs.evolve(uploaded(), next_piece=broken)
        with pytest.raises(trio.BrokenResourceError, match="the client is gone"):
            await bench.rig.ask(bench.upstream.url + "/v1/echo", upload=upload, sender=bench.sender)

        bench.assert_at_rest()
