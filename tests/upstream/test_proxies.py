"""On the way to a provider stands a proxy: it tunnels, it wants a password, it refuses, hangs, breaks, or lies."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from upstream_rig import Rig, open_rig, route_by

from relay_trio.errors import LimitReached, RelayError, UpstreamFailed
from relay_trio.testing.certificates import client_context, server_context
from relay_trio.testing.fake_upstream import FakeUpstream, open_fake_upstream, open_listener, refused_address
from relay_trio.testing.proxy import Cut, HttpProxy, ProxyManner, Weather, open_fault_proxy, open_http_proxy
from relay_trio.upstream.httpx_transport import HttpxSender
from relay_trio.upstream.transport import Sender

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("nothing_left_open")]

CHAT = "/v1/chat/completions"

SENDERS = pytest.mark.parametrize("by", ["native", "httpx"])


def sender_by(by: str, rig: Rig, proxy: str | None) -> Sender:
    """Return our transport, or httpx's behind the same interface."""
    return rig.transport if by == "native" else HttpxSender(rig.balance, rig.route, proxy)


@asynccontextmanager
async def open_way(
    by: str, manner: ProxyManner = ProxyManner.TUNNEL, *, tls: bool = True, behaviour: str = "answer"
) -> AsyncIterator[tuple[Rig, Sender, HttpProxy, FakeUpstream]]:
    """Open a provider, a proxy before it, and what sends through the proxy."""
    async with (
        open_fake_upstream(behaviour, tls=server_context() if tls else None) as upstream,
        open_http_proxy(manner) as proxy,
        open_rig(proxy=proxy.url) as rig,
    ):
        yield rig, sender_by(by, rig, proxy.url), proxy, upstream


@SENDERS
async def test_https_goes_through_a_tunnel(by: str) -> None:
    """The proxy is asked to CONNECT, and sees nothing of what is said in the tunnel."""
    async with open_way(by) as (rig, sender, proxy, upstream):
        answered = await rig.ask(upstream.url + CHAT, sender=sender)

        assert answered.status == 200
        assert proxy.lines == [f"CONNECT {upstream.url.removeprefix('https://')} HTTP/1.1"]
        assert upstream.requests[0].get("host") == upstream.url.removeprefix("https://")


@SENDERS
async def test_http_is_asked_of_the_proxy_itself(by: str) -> None:
    """In clear text the request names the whole address (RFC 9112, 3.2.2)."""
    async with open_way(by, tls=False) as (rig, sender, proxy, upstream):
        assert (await rig.ask(upstream.url + CHAT, sender=sender)).status == 200
        assert proxy.lines == [f"POST {upstream.url}{CHAT} HTTP/1.1"]


async def test_a_tunnel_is_used_again() -> None:
    """One CONNECT for many requests; without the proxy the connection is another."""
    async with open_way("native") as (rig, sender, proxy, upstream):
        for _ in range(3):
            await rig.ask(upstream.url + CHAT, sender=sender)
        rig.route = route_by()
        await rig.ask(upstream.url + CHAT, sender=sender)

        assert len(proxy.lines) == 1
        assert [request.connection for request in upstream.requests] == [1, 1, 1, 2]
        rig.assert_at_rest(idle=2)


@SENDERS
@pytest.mark.parametrize("tls", [True, False], ids=["tls", "clear"])
async def test_the_password_is_for_the_proxy_alone(by: str, *, tls: bool) -> None:
    """Who the proxy lets through is its own business: the provider does not see it."""
    async with (
        open_fake_upstream(tls=server_context() if tls else None) as upstream,
        open_http_proxy(credentials="relay:s%cret") as proxy,
    ):
        url = proxy.url.replace("http://", "http://relay:s%25cret@")
        async with open_rig(proxy=url) as rig:
            answered = await rig.ask(upstream.url + CHAT, sender=sender_by(by, rig, url))

    assert answered.status == 200
    assert upstream.requests[0].get("proxy-authorization") is None


@SENDERS
async def test_a_wrong_password_is_told_as_the_proxys_refusal(by: str) -> None:
    """A proxy's 407 is no answer of the provider's."""
    async with open_fake_upstream(tls=server_context()) as upstream, open_http_proxy(credentials="a:b") as proxy:
        url = proxy.url.replace("http://", "http://a:wrong@")
        async with open_rig(proxy=url) as rig:
            with pytest.raises(UpstreamFailed) as raised:
                await rig.ask(upstream.url + CHAT, sender=sender_by(by, rig, url))

    assert (raised.value.code, raised.value.phase) == ("upstream_connect_failed", "connect")
    assert upstream.request_count == 0


FAILS_AT_ONCE = [ProxyManner.REFUSE_407, ProxyManner.REFUSE_502, ProxyManner.BREAK, ProxyManner.GARBAGE]
HANGS = [ProxyManner.HANG, ProxyManner.SILENT_TUNNEL]


@SENDERS
@pytest.mark.parametrize("manner", [*FAILS_AT_ONCE, *HANGS], ids=lambda manner: manner.name.lower())
async def test_a_proxy_that_fails_is_a_failed_connection(by: str, manner: ProxyManner) -> None:
    """Refused, broken or nonsense is told at once; one that hangs ends at the connect limit. Nothing stays open."""
    async with open_way(by, manner) as (rig, sender, proxy, upstream):
        with pytest.raises(RelayError) as raised:
            await rig.ask(upstream.url + CHAT, sender=sender)
        error = raised.value

        assert isinstance(error, LimitReached if manner in HANGS else UpstreamFailed)
        assert getattr(sender, "in_flight", 0) == 0
        assert error.phase == "connect"
        assert trio.current_time() == pytest.approx(10 if manner in HANGS else 0, abs=0.01)
        assert proxy.url.removeprefix("http://") not in error.message
        rig.assert_at_rest()


@SENDERS
@pytest.mark.parametrize("manner", HANGS, ids=lambda manner: manner.name.lower())
async def test_cancelled_in_the_proxys_hands_it_leaves_nothing(by: str, manner: ProxyManner) -> None:
    """While the proxy is asked for the tunnel, and while TLS begins in it."""
    async with open_way(by, manner) as (rig, sender, _, upstream):
        with trio.move_on_after(1) as scope:
            await rig.ask(upstream.url + CHAT, sender=sender)

        assert scope.cancelled_caught
        rig.assert_at_rest()


@SENDERS
async def test_a_proxy_that_is_not_there_is_a_failed_connection(by: str) -> None:
    """Nobody listens at the proxy's address."""
    host, port = refused_address()
    url = f"http://{host}:{port}"
    async with open_fake_upstream() as upstream, open_rig(proxy=url) as rig:
        with pytest.raises(UpstreamFailed) as raised:
            await rig.ask(upstream.url + CHAT, sender=sender_by(by, rig, url))

        assert raised.value.phase == "connect"
        rig.assert_at_rest()


async def test_a_proxy_whose_answer_has_no_end_is_refused() -> None:
    """Its head is bounded as a provider's is."""

    async def babble(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.send_all(b"HTTP/1.1 200 OK\r\n" + b"x-more: and more\r\n" * 2000)
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        listener = open_listener("127.0.0.1", 0)
        nursery.start_soon(trio.serve_listeners, babble, [listener])
        host, port = listener.socket.getsockname()
        async with open_rig(proxy=f"http://{host}:{port}") as rig:
            with pytest.raises(UpstreamFailed, match="The proxy broke off"):
                await rig.ask("https://provider.example" + CHAT)
            rig.assert_at_rest()
        nursery.cancel_scope.cancel(reason="seen")


# A way that spoils what it carries


@SENDERS
@pytest.mark.parametrize("tls", [True, False], ids=["tls", "clear"])
async def test_a_way_that_dribbles_changes_nothing(by: str, *, tls: bool) -> None:
    """Seven bytes at a time, each a while on its way, in both directions: also the handshake survives it."""
    slow = Weather(latency_s=0.001, dribble=7)
    async with (
        open_fake_upstream(tls=server_context() if tls else None) as upstream,
        open_fault_proxy(upstream.url, up=slow, down=slow) as way,
        open_rig() as rig,
    ):
        url = f"{'https' if tls else 'http'}://{way.address[0]}:{way.address[1]}{CHAT}"
        answered = await rig.ask(url, sender=sender_by(by, rig, None))

        assert answered.body.endswith(b"data: [DONE]\n\n")


@SENDERS
@pytest.mark.parametrize("cut", [Cut.CLOSE, Cut.RESET, Cut.HALF_CLOSE], ids=lambda cut: cut.name.lower())
@pytest.mark.parametrize("after", [0, 1, 100, 600, 2000])
@pytest.mark.parametrize("tls", [True, False], ids=["tls", "clear"])
async def test_a_way_that_is_cut_is_a_failure(by: str, cut: Cut, after: int, *, tls: bool) -> None:
    """Wherever the answer is cut off, no part of it passes for a whole one, and nothing stays open."""
    async with (
        open_fake_upstream(tls=server_context() if tls else None) as upstream,
        open_fault_proxy(upstream.url, down=Weather(cut_after=after, cut=cut)) as way,
        open_rig() as rig,
    ):
        url = f"{'https' if tls else 'http'}://{way.address[0]}:{way.address[1]}{CHAT}"
        with pytest.raises(UpstreamFailed):
            await rig.ask(url, sender=sender_by(by, rig, None))

        rig.assert_at_rest()


@SENDERS
async def test_a_way_that_hangs_in_the_handshake_ends_at_the_connect_limit(by: str) -> None:
    """A few bytes of it came, then nothing."""
    async with (
        open_fake_upstream(tls=server_context()) as upstream,
        open_fault_proxy(upstream.url, down=Weather(cut_after=50, cut=Cut.HANG)) as way,
        open_rig() as rig,
    ):
        with pytest.raises(LimitReached) as raised:
            await rig.ask(f"https://{way.address[0]}:{way.address[1]}{CHAT}", sender=sender_by(by, rig, None))

        assert raised.value.setting == "RELAY_CONNECT_TIMEOUT"
        assert client_context().check_hostname
        rig.assert_at_rest()


# SOCKS, which only httpx speaks


async def serve_socks(stream: trio.SocketStream, target: tuple[str, int], *, refuse: bool, hang: bool) -> None:
    """Be a SOCKS5 server (RFC 1928) that knows one target."""
    async with stream:
        await stream.receive_some(262)
        if hang:
            await trio.sleep_forever()
        await stream.send_all(b"\x05\x00")
        await stream.receive_some(262)
        await stream.send_all(b"\x05" + (b"\x05" if refuse else b"\x00") + b"\x00\x01\x7f\x00\x00\x01\x00\x00")
        if refuse:
            return
        async with await trio.open_tcp_stream(*target) as upstream, trio.open_nursery() as nursery:
            nursery.start_soon(pump, stream, upstream)
            await pump(upstream, stream)
            nursery.cancel_scope.cancel(reason="one side has ended")


async def pump(source: trio.SocketStream, sink: trio.SocketStream) -> None:
    try:
        async for data in source:
            await sink.send_all(data)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return


@asynccontextmanager
async def open_socks(upstream: FakeUpstream, *, refuse: bool = False, hang: bool = False) -> AsyncIterator[str]:
    """Run a SOCKS server for the length of the block; yield its URL."""
    async with trio.open_nursery() as nursery:
        listener = open_listener("127.0.0.1", 0)

        async def serve(stream: trio.SocketStream) -> None:
            await serve_socks(stream, upstream.address, refuse=refuse, hang=hang)

        nursery.start_soon(trio.serve_listeners, serve, [listener])
        host, port = listener.socket.getsockname()
        yield f"socks5h://{host}:{port}"
        nursery.cancel_scope.cancel(reason="the SOCKS server's block has ended")


async def test_socks_carries_to_a_provider() -> None:
    """Names are looked up on the other side (`socks5h`)."""
    async with open_fake_upstream() as upstream, open_socks(upstream) as url, open_rig() as rig:
        sender = HttpxSender(rig.balance, rig.route, url)
        answered = await rig.ask(f"http://provider.example:80{CHAT}", sender=sender)

        assert answered.body.endswith(b"data: [DONE]\n\n")
        assert upstream.requests[0].get("host") == "provider.example"


async def test_a_socks_server_that_refuses_leaves_nothing() -> None:
    """That socket httpcore forgets; we do not."""
    async with open_fake_upstream() as upstream, open_socks(upstream, refuse=True) as url, open_rig() as rig:
        with pytest.raises(UpstreamFailed) as raised:
            await rig.ask(f"http://provider.example:80{CHAT}", sender=HttpxSender(rig.balance, rig.route, url))

        assert raised.value.phase == "connect"
        rig.assert_at_rest()


async def test_a_socks_server_that_hangs_ends_at_the_connect_limit() -> None:
    """Its greeting is a part of connecting."""
    async with open_fake_upstream() as upstream, open_socks(upstream, hang=True) as url, open_rig() as rig:
        with pytest.raises(LimitReached) as raised:
            await rig.ask(f"http://provider.example:80{CHAT}", sender=HttpxSender(rig.balance, rig.route, url))

        assert (raised.value.phase, raised.value.limit_s) == ("connect", 10)
        rig.assert_at_rest()
