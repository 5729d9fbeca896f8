"""The transport by itself: what it sends, what it keeps, what it gives up, and that nothing of a request stays open."""

from __future__ import annotations

import hashlib
import socket
import ssl
from collections.abc import Callable

import pytest
import trio
import trio.testing
from upstream_rig import BODY, CONNECT, HEADERS, SEND, Rig, open_rig, receive_all, uploaded

from relay_trio.errors import AnswerBroken, LimitReached, UpstreamFailed
from relay_trio.scopes.phase import Limit
from relay_trio.sockets import Hub, HubSocket, PortableHub, open_hub
from relay_trio.testing.certificates import expired_context, server_context, untrusted_context, wrong_name_context
from relay_trio.testing.conversation import Conversation, Fault, Misbehaviour, Nature, Stage
from relay_trio.testing.fake_upstream import FakeUpstream, open_deaf_address, open_fake_upstream, refused_address
from relay_trio.testing.http_text import Framing
from relay_trio.testing.script import Act
from relay_trio.upstream import pool as pools

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("nothing_left_open")]

CHAT = "/v1/chat/completions"
BIG = 20_000_000
"""More than the sockets' buffers hold."""

TLS = pytest.mark.parametrize("tls", [None, server_context], ids=["clear", "tls"])
MakeTls = Callable[[], ssl.SSLContext] | None


def context(make: MakeTls) -> ssl.SSLContext | None:
    return None if make is None else make()


def attached(rig: Rig) -> list[HubSocket]:
    """Return the sockets that the rig's hub watches."""
    sockets: dict[int, HubSocket] = rig.hub._sockets  # type: ignore[attr-defined] # an oracle looks inside
    return list(sockets.values())


def connections_of(upstream: FakeUpstream) -> list[int]:
    """Return the number of the connection on which each request came."""
    return [request.connection for request in upstream.requests]


# What is sent


async def test_the_head_says_where_to_and_how_much() -> None:
    """Host and framing are the transport's, the rest is the caller's."""
    async with open_fake_upstream() as upstream, open_rig() as rig:
        await rig.ask(upstream.url + CHAT + "?a=b%20c")
        await rig.ask(upstream.url + "/v1/models", method=b"GET", body=None)
        await rig.ask(upstream.url + "/v1/responses/x/cancel", body=None)
        asked, listed, cancelled = upstream.requests

        assert (asked.method, asked.target) == ("POST", CHAT + "?a=b%20c")
        assert [name for name, _ in asked.headers] == [b"host", b"content-type", b"content-length"]
        assert asked.get("host") == upstream.url.removeprefix("http://")
        assert asked.body == BODY
        assert listed.get("content-length") is None
        assert cancelled.get("content-length") == "0"


@TLS
@pytest.mark.parametrize("hub", [open_hub, PortableHub], ids=["best", "portable"])
async def test_a_large_body_arrives_whole(tls: MakeTls, hub: Callable[[], Hub]) -> None:
    """It is sent as the provider takes it, and nothing else is mistaken for an answer meanwhile."""
    body = b"x" * BIG
    async with open_fake_upstream(tls=context(tls)) as upstream, open_rig(hub) as rig:
        await rig.ask(upstream.url + "/v1/echo", body=body)

        assert upstream.requests[0].body_size == BIG
        assert upstream.requests[0].body_sha256 == hashlib.sha256(body).hexdigest()
        rig.assert_at_rest(idle=1)


@TLS
@pytest.mark.parametrize("length", [None, 300_000], ids=["chunked", "length"])
async def test_an_upload_arrives_whole(tls: MakeTls, length: int | None) -> None:
    """Pieces go up as they come, in the client's framing."""
    upload = uploaded(*[bytes([number]) * 1000 for number in range(200)], b"y" * 100_000, pause_s=0.1, length=length)
    async with open_fake_upstream(tls=context(tls)) as upstream, open_rig() as rig:
        await rig.ask(upstream.url + "/v1/echo", upload=upload)
        (request,) = upstream.requests

        expected = b"".join(bytes([number]) * 1000 for number in range(200)) + b"y" * 100_000
        assert request.body == expected
        assert request.get("content-length") == (None if length is None else "300000")
        assert request.get("transfer-encoding") == ("chunked" if length is None else None)


async def test_an_upload_goes_over_a_connection_of_its_own() -> None:
    """It cannot be sent again, so no old connection is risked for it; afterwards it serves others."""
    async with open_fake_upstream() as upstream, open_rig() as rig:
        await rig.ask(upstream.url + CHAT)
        response = await rig.send(upstream.url + "/v1/echo", upload=uploaded(b"piece"))
        await receive_all(response)
        (sock,) = (sock for sock in attached(rig) if sock.on_hangup is None)
        assert sock.on_readable is None  # nobody waits for an early answer any more
        await response.aclose()
        await rig.ask(upstream.url + CHAT)

        assert connections_of(upstream) == [1, 2, 2]


# Answers that come before the request is sent


@TLS
async def test_an_early_answer_is_heard_while_the_client_is_silent(tls: MakeTls) -> None:
    """The provider has refused: nobody waits for the rest of the upload."""
    async with open_fake_upstream("early-answer;status=413", tls=context(tls)) as upstream, open_rig() as rig:
        answered = await rig.ask(upstream.url + "/v1/echo", upload=uploaded(b"x" * 10, b"y" * 10, pause_s=1000))

        assert answered.status == 413
        assert trio.current_time() < 2
        rig.assert_at_rest()


@TLS
async def test_an_early_answer_is_heard_while_the_body_stalls(tls: MakeTls) -> None:
    """A large body that the provider does not read is given up when it answers, and so is the connection."""
    async with open_fake_upstream(tls=context(tls), receive_buffer=4096) as upstream, open_rig() as rig:
        upstream.script.by_path = {"echo": "early-answer;status=413"}
        response = await rig.send(upstream.url + "/v1/echo", body=b"x" * BIG)
        await response.aclose()

        assert response.status == 413
        rig.assert_at_rest()


@pytest.mark.parametrize("how", ["whole", "upload"])
async def test_a_connection_on_which_a_request_was_cut_short_serves_no_other(how: str) -> None:
    """What is sent next would be read as the rest of the body."""
    async with open_rig() as rig, trio.open_nursery() as nursery:
        listener = trio.SocketListener(await _listening())
        accepted: list[trio.SocketStream] = []
        nursery.start_soon(trio.serve_listeners, lambda stream: _refuse_early(stream, accepted), [listener])
        host, port = listener.socket.getsockname()
        url = f"http://{host}:{port}/v1/echo"
        for _ in range(2):
            if how == "whole":
                answered = await rig.ask(url, body=b"x" * BIG)
            else:
                answered = await rig.ask(url, upload=uploaded(b"x" * 100, b"y" * 100, pause_s=1000))
            assert (answered.status, answered.body, answered.reused) == (413, b"no!", False)
            rig.assert_at_rest()
        nursery.cancel_scope.cancel(reason="seen")
    assert len(accepted) == 2


async def _listening() -> trio.socket.SocketType:
    sock = trio.socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    await sock.bind(("127.0.0.1", 0))
    sock.listen()
    return sock


async def _refuse_early(stream: trio.SocketStream, accepted: list[trio.SocketStream]) -> None:
    accepted.append(stream)
    async with stream:
        await stream.receive_some(200)
        await stream.send_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nno!")
        await trio.sleep_forever()


@TLS
async def test_an_interim_answer_stops_no_upload(tls: MakeTls) -> None:
    """100 and 102 are no answers: every byte still goes up."""
    pieces = [bytes([number]) * 65536 for number in range(40)]
    async with open_rig() as rig, open_fake_upstream(tls=context(tls)) as upstream:
        upstream.script.always = "answer"
        upload = uploaded(*pieces, pause_s=0.25)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_talk_into, upstream)
            answered = await rig.ask(upstream.url + "/v1/echo", upload=upload)

        assert answered.status == 200
        assert upstream.requests[0].body == b"".join(pieces)


async def _talk_into(upstream: FakeUpstream) -> None:
    """Send interim answers while the request's body is being read."""
    for _ in range(5):
        await trio.sleep(1)
        for link in upstream.connections.live.values():
            await link.send(b"HTTP/1.1 102 Processing\r\n\r\n")


# What is kept


async def test_a_connection_is_used_again() -> None:
    """One request after another goes over the same one; the pool says so."""
    async with open_fake_upstream() as upstream, open_rig() as rig:
        reused = [(await rig.ask(upstream.url + CHAT)).reused for _ in range(3)]

        assert reused == [False, True, True]
        assert upstream.connections.opened == 1
        assert (rig.pool.statistics().made, rig.pool.statistics().reused) == (1, 2)
        assert repr(rig.pool) == "<Pool 0 in use, 1 idle>"


@TLS
async def test_a_silent_connection_is_kept_awake(tls: MakeTls) -> None:
    """TCP asks after a minute of silence, so that no NAT forgets an answer that is being thought about."""
    async with open_fake_upstream(tls=context(tls)) as upstream, open_rig() as rig:
        await rig.ask(upstream.url + CHAT)
        (sock,) = attached(rig)
        assert sock.raw.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) != 0
        if hasattr(socket, "TCP_KEEPIDLE"):
            assert sock.raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60


async def test_requests_at_the_same_time_have_connections_of_their_own() -> None:
    """And the last one that was used is the first to be used again."""
    async with open_fake_upstream("late-head;interval=1") as upstream, open_rig() as rig:
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(rig.ask, upstream.url + CHAT)
        rig.assert_at_rest(idle=5)
        for _ in range(3):
            await rig.ask(upstream.url + CHAT)

        assert sorted(connections_of(upstream)[:5]) == [1, 2, 3, 4, 5]
        assert len(set(connections_of(upstream)[5:])) == 1


async def test_the_pool_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above its bound the connection that has been idle for longest is closed."""
    monkeypatch.setattr(pools, "MAX_IDLE_PER_ORIGIN", 2)
    async with open_fake_upstream("late-head;interval=1") as upstream, open_rig() as rig:
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(rig.ask, upstream.url + CHAT)

        rig.assert_at_rest(idle=2)


async def test_what_is_idle_for_too_long_is_closed() -> None:
    """After RELAY_POOL_IDLE_TIMEOUT; what was used meanwhile stays."""
    async with open_fake_upstream("late-head;interval=1") as upstream, open_rig() as rig:
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(rig.ask, upstream.url + CHAT)
        await trio.sleep(60)
        await rig.ask(upstream.url + CHAT)
        await trio.sleep(32)
        rig.assert_at_rest(idle=1)
        await trio.sleep(60)
        rig.assert_at_rest()
        assert not rig.pool._idle  # nor is the origin remembered
        await upstream.wait_no_connections()


async def test_origins_do_not_share() -> None:
    """A connection serves its own origin only."""
    async with open_fake_upstream() as one, open_fake_upstream() as other, open_rig() as rig:
        for upstream in (one, other, one, other):
            await rig.ask(upstream.url + CHAT)

        assert (connections_of(one), connections_of(other)) == ([1, 1], [1, 1])
        rig.assert_at_rest(idle=2)


@pytest.mark.parametrize(
    "behaviour",
    ["close-announced", "close-delimited", "http10", "length-too-small", "stray-bytes", "body-after-204", "empty-200"],
)
async def test_what_cannot_serve_again_is_closed(behaviour: str) -> None:
    """The end of the connection is the end of the answer, or something stands behind the answer."""
    async with open_fake_upstream(behaviour) as upstream, open_rig() as rig:
        for _ in range(2):
            await rig.ask(upstream.url + CHAT)
            await trio.testing.wait_all_tasks_blocked()

        assert connections_of(upstream) == ([1, 1] if behaviour == "empty-200" else [1, 2])


async def test_an_answer_that_is_not_read_to_its_end_costs_the_connection() -> None:
    """Closing it is cheaper than reading on, and sure."""
    async with open_fake_upstream("slow-body") as upstream, open_rig() as rig:
        response = await rig.send(upstream.url + CHAT)
        await response.receive()
        await response.aclose()
        await response.aclose()

        rig.assert_at_rest()
        await upstream.wait_no_connections()
        with pytest.raises(trio.ClosedResourceError):
            await response.receive()


async def test_an_answer_to_head_has_no_body() -> None:
    """Whatever length it announces."""
    async with open_fake_upstream() as upstream, open_rig() as rig:
        answered = await rig.ask(upstream.url + "/v1/models", method=b"HEAD", body=None)

        assert (answered.status, answered.body) == (200, b"")
        assert int(answered.headers[b"content-length"]) > 0


async def test_interim_answers_are_passed_over() -> None:
    """What comes behind them is the answer, with its own header fields only."""
    async with open_fake_upstream("interim") as upstream, open_rig() as rig:
        answered = await rig.ask(upstream.url + CHAT)

        assert answered.status == 200
        assert b"link" not in answered.headers
        rig.assert_at_rest(idle=1)


# What is proven


@TLS
async def test_an_answer_that_ends_with_its_connection_is_whole(tls: MakeTls) -> None:
    """In clear text the FIN proves it, over TLS the word that goes before."""
    async with open_fake_upstream("close-delimited", tls=context(tls)) as upstream, open_rig() as rig:
        answered = await rig.ask(upstream.url + CHAT)

        assert answered.body.endswith(b"data: [DONE]\n\n")


async def cut_without_a_word(c: Conversation) -> None:
    """Send half of an answer that ends with its connection, and a bare FIN."""
    await c.send_until_fault(Framing.CLOSE)
    await c.link.half_close()
    await c.silence()


async def test_a_bare_end_of_tls_proves_nothing() -> None:
    """Anybody on the way can send a FIN: what it cuts is not taken for an answer."""
    async with open_fake_upstream(cut_without_a_word, tls=server_context()) as upstream, open_rig() as rig:
        with pytest.raises(UpstreamFailed) as raised:
            await rig.ask(upstream.url + CHAT)

        assert raised.value.code == "upstream_connection_broke"


@pytest.mark.parametrize("hub", [open_hub, PortableHub], ids=["best", "portable"])
async def test_a_reset_proves_nothing(hub: Callable[[], Hub]) -> None:
    """Nor does it where a hub met it first."""

    async def cut(c: Conversation) -> None:
        await c.send_until_fault(Framing.CLOSE)
        await c.link.pause(1)
        c.link.reset()

    async with open_fake_upstream(cut) as upstream, open_rig(hub) as rig:
        with pytest.raises(UpstreamFailed):
            await rig.ask(upstream.url + CHAT)


# What ends it


@pytest.mark.parametrize(
    ("behaviour", "tls", "after_s", "limit", "phase"),
    [
        ("tls-hangs", server_context, 10, CONNECT, "connect"),
        ("never-reads", None, 20, SEND, "send"),
        ("never-reads", server_context, 20, SEND, "send"),
        ("silent-before-head", None, 40, HEADERS, "headers"),
        ("silent-mid-head", server_context, 40, HEADERS, "headers"),
        ("endless-interim", None, 40, HEADERS, "headers"),
    ],
)
async def test_each_phase_has_its_limit(behaviour: str, tls: MakeTls, after_s: float, limit: Limit, phase: str) -> None:
    """The error names the phase, the seconds and the setting, and nothing stays open."""
    body = b"x" * BIG if phase == "send" else BODY
    async with open_fake_upstream(behaviour, tls=context(tls), receive_buffer=4096) as upstream, open_rig() as rig:
        with pytest.raises(LimitReached) as raised:
            await rig.ask(upstream.url + CHAT, body=body)
        error = raised.value

        assert trio.current_time() == pytest.approx(after_s, abs=0.1)
        assert (error.phase, error.limit_s, error.setting) == (phase, limit.seconds, limit.setting)
        assert rig.clock.current == phase
        rig.assert_at_rest()


async def test_an_address_that_does_not_answer_ends_at_the_connect_limit() -> None:
    """The kernel would try for two minutes."""
    async with open_deaf_address() as (host, port), open_rig() as rig:
        with pytest.raises(LimitReached) as raised:
            await rig.ask(f"http://{host}:{port}{CHAT}")

        assert raised.value.phase == "connect"
        assert trio.current_time() == pytest.approx(10)
        rig.assert_at_rest()


async def test_sending_with_progress_has_no_limit() -> None:
    """A provider that reads slowly is not one that has stalled."""

    async def reads_slowly(c: Conversation) -> None:
        while c.link.bytes_received < BIG:
            await trio.sleep(15)
            enough = c.link.bytes_received + 2_000_000
            while c.link.bytes_received < min(enough, BIG):
                await c.link.receive()
        await c.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        await c.link.finish()

    slow = Misbehaviour("reads-slowly", Stage.CONNECTED, Nature.SLOW, reads_slowly)
    async with open_fake_upstream(receive_buffer=4096) as upstream, open_rig() as rig:
        upstream.script.queue.append(Act(Fault(slow.name), slow))
        answered = await rig.ask(upstream.url + CHAT, body=b"x" * BIG)

        assert answered.body == b"ok"
        assert trio.current_time() > SEND.seconds * 3


CANCELLED_IN = {
    "connecting TLS": ("tls-hangs", server_context, BODY),
    "sending": ("never-reads", None, b"x" * BIG),
    "sending over TLS": ("never-reads", server_context, b"x" * BIG),
    "waiting for the head": ("silent-before-head", None, BODY),
    "in the middle of the head": ("silent-mid-head", server_context, BODY),
    "waiting for the body": ("silent-after-head", None, BODY),
    "in the middle of the body": ("silent-mid-body", server_context, BODY),
    "reading what never ends": ("endless-body;interval=0.01", None, BODY),
}


@pytest.mark.parametrize("where", CANCELLED_IN)
async def test_cancelled_anywhere_it_leaves_nothing(where: str) -> None:
    """Whatever it waits for: the connection is closed, the counts are even, and the provider sees it leave at once."""
    behaviour, tls, body = CANCELLED_IN[where]
    async with open_fake_upstream(behaviour, tls=context(tls), receive_buffer=4096) as upstream, open_rig() as rig:
        with trio.move_on_after(1) as scope:
            await rig.ask(upstream.url + CHAT, body=body)

        assert scope.cancelled_caught
        rig.assert_at_rest()
        await upstream.wait_no_connections()
        assert trio.current_time() < 2


async def test_cancelled_while_an_upload_waits_for_its_client_it_leaves_nothing() -> None:
    """The client's silence is not the provider's."""
    async with open_fake_upstream() as upstream, open_rig() as rig:
        with trio.move_on_after(1) as scope:
            await rig.ask(upstream.url + "/v1/echo", upload=uploaded(b"x", pause_s=1000))

        assert scope.cancelled_caught
        rig.assert_at_rest()
        await upstream.wait_no_connections()


async def test_an_upload_whose_client_breaks_off_closes_the_connection() -> None:
    """Its error passes through as it is."""

    async def broken() -> bytes:
        raise trio.BrokenResourceError("the client is gone")

    async with open_fake_upstream() as upstream, open_rig() as rig:
        upload = uploaded()
        with pytest.raises(trio.BrokenResourceError, match="the client is gone"):
            await rig.ask(upstream.url + "/v1/echo", upload=type(upload)(broken, None))

        rig.assert_at_rest()


# Connecting


@pytest.mark.parametrize(
    "make", [wrong_name_context, expired_context, untrusted_context], ids=["name", "expired", "untrusted"]
)
async def test_a_certificate_that_is_not_right_is_refused(make: Callable[[], ssl.SSLContext]) -> None:
    """Before anything of the request is sent; the error says why in words of ours."""
    async with open_fake_upstream(tls=make()) as upstream, open_rig() as rig:
        with pytest.raises(UpstreamFailed, match="its certificate was not accepted") as raised:
            await rig.ask(upstream.url + CHAT)

        assert (raised.value.phase, raised.value.code) == ("connect", "upstream_connect_failed")
        assert upstream.request_count == 0
        rig.assert_at_rest()


async def test_a_connection_that_is_refused_says_so() -> None:
    """Without the address: that is the operator's, not the client's."""
    host, port = refused_address()
    async with open_rig() as rig:
        with pytest.raises(UpstreamFailed, match=r"^The provider could not be reached \(connection refused\)\.$"):
            await rig.ask(f"http://{host}:{port}{CHAT}")
        rig.assert_at_rest()


class Names(trio.abc.HostnameResolver):
    """Answers for names as a name server would: two of them, the first one dead."""

    async def getaddrinfo(self, host: object, port: object, *_: object) -> list[tuple[object, ...]]:  # type: ignore[override] # it is asked for TCP addresses only
        if host == b"nowhere.example":
            raise socket.gaierror(socket.EAI_NONAME, "not known")
        stream = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
        return [(*stream, (address, port)) for address in ("127.0.0.77", "127.0.0.1")]

    async def getnameinfo(self, sockaddr: object, flags: int) -> tuple[str, str]:
        raise NotImplementedError


async def test_a_name_that_is_not_found_says_so() -> None:
    """Also that is told in our words."""
    trio.socket.set_custom_hostname_resolver(Names())
    async with open_rig() as rig:
        with pytest.raises(UpstreamFailed, match="its name was not found"):
            await rig.ask("http://nowhere.example:80" + CHAT)
        rig.assert_at_rest()


async def test_the_next_address_of_a_name_is_tried() -> None:
    """Where one address is dead another may live (RFC 8305)."""
    trio.socket.set_custom_hostname_resolver(Names())
    async with open_fake_upstream() as upstream, open_rig() as rig:
        answered = await rig.ask(f"http://provider.example:{upstream.address[1]}{CHAT}")

        assert answered.status == 200
        assert upstream.requests[0].get("host") == f"provider.example:{upstream.address[1]}"


@pytest.mark.parametrize("behaviour", ["giant-header", "many-headers", "giant-status-line", "endless-head"])
async def test_a_head_is_bounded(behaviour: str) -> None:
    """In bytes and in fields."""
    async with open_fake_upstream(behaviour) as upstream, open_rig() as rig:
        with pytest.raises(AnswerBroken) as raised:
            await rig.ask(upstream.url + CHAT)

        assert raised.value.phase == "headers"
        rig.assert_at_rest()


async def test_switching_protocols_is_no_answer() -> None:
    """Nobody asked for another protocol."""

    async def switch(c: Conversation) -> None:
        await c.send(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n\x00\x00\x00")
        await c.silence()

    async with open_fake_upstream(switch) as upstream, open_rig() as rig:
        with pytest.raises(AnswerBroken):
            await rig.ask(upstream.url + CHAT)
        rig.assert_at_rest()


async def test_reading_goes_piece_by_piece() -> None:
    """A stream is not held up: each event is there when it was sent."""
    async with open_fake_upstream("slow-body;words=3") as upstream, open_rig() as rig:
        response = await rig.send(upstream.url + CHAT)
        times = []
        while await response.receive():
            times.append(round(trio.current_time()))
        await response.aclose()

        assert times == [1, 2, 3, 4, 5, 6]
        assert rig.transport.pool.statistics().idle == 1
