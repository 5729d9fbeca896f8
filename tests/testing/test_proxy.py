"""The proxies carry bytes faithfully, spoil them as told, and record what they were asked."""

from __future__ import annotations

import pytest
import trio

from relay_trio.testing.certificates import client_context, server_context
from relay_trio.testing.fake_client import FakeClient, connect
from relay_trio.testing.fake_upstream import open_fake_upstream, refused_address
from relay_trio.testing.http_text import BodyEnd
from relay_trio.testing.link import EndedBy
from relay_trio.testing.proxy import Cut, ProxyManner, Weather, open_fault_proxy, open_http_proxy
from relay_trio.testing.shapes import chat

pytestmark = pytest.mark.anyio

# ---- Spoiled connections


async def test_clear_weather_changes_nothing() -> None:
    """Without weather the answer is whole, over TLS too, and both ends close with the client."""
    async with (
        open_fake_upstream(tls=server_context()) as upstream,
        open_fault_proxy(upstream.url) as proxy,
        connect(proxy.address, tls=client_context()) as client,
    ):
        await client.send(chat())
        await client.read_head()
        assert (await client.read_events()).data[-1] == "[DONE]"
        client.close()
        await upstream.wait_no_connections()

        assert proxy.opened == 1


@pytest.mark.parametrize(
    ("weather", "seconds"), [(Weather(latency_s=3), 3.0), (Weather(latency_s=1, dribble=100), 14.0)]
)
async def test_slow_weather_takes_time(weather: Weather, seconds: float) -> None:
    """Each read is late by the latency; dribbled, each piece of it."""
    async with (
        open_fake_upstream("one-write") as upstream,
        open_fault_proxy(upstream.url, down=weather) as proxy,
        connect(proxy.address) as client,
    ):
        start = trio.current_time()
        await client.send(chat(stream=False))
        response = await client.read_response()

        assert response.body.complete
        size = client.link.bytes_received
        assert trio.current_time() - start == (seconds if weather.dribble is None else -(-size // 100))


@pytest.mark.parametrize(
    ("cut", "end"),
    [(Cut.CLOSE, BodyEnd.TRUNCATED), (Cut.RESET, BodyEnd.RESET), (Cut.HALF_CLOSE, BodyEnd.TRUNCATED)],
)
async def test_cuts_the_answer(cut: Cut, end: BodyEnd) -> None:
    """After so many bytes the client sees the cut, and exactly so many bytes."""
    async with (
        open_fake_upstream() as upstream,
        open_fault_proxy(upstream.url, down=Weather(cut_after=600, cut=cut)) as proxy,
        connect(proxy.address) as client,
    ):
        await client.send(chat())
        response = await client.read_response()

        assert response.body.end is end
        assert client.link.bytes_received == 600
        client.close()
        await upstream.wait_no_connections()


async def test_hangs_the_answer() -> None:
    """After so many bytes nothing comes any more, and nothing is closed."""
    async with (
        open_fake_upstream() as upstream,
        open_fault_proxy(upstream.url, down=Weather(cut_after=600, cut=Cut.HANG)) as proxy,
        connect(proxy.address) as client,
    ):
        await client.send(chat())
        with trio.move_on_after(1000) as waited:
            await client.read_response()

        assert waited.cancelled_caught
        assert client.link.bytes_received == 600
        assert client.link.ended_by is None


async def test_cuts_the_request() -> None:
    """The other direction has its own weather."""
    async with (
        open_fake_upstream() as upstream,
        open_fault_proxy(upstream.url, up=Weather(cut_after=10, cut=Cut.RESET)) as proxy,
        connect(proxy.address) as client,
    ):
        await client.send(chat())

        assert await client.wait_closed() is EndedBy.PEER_RESET
        await upstream.wait_no_connections()
        assert upstream.request_count == 0


async def test_a_target_that_refuses_is_a_reset() -> None:
    """When nobody listens behind the proxy, its client is reset."""
    async with open_fault_proxy(refused_address()) as proxy, connect(proxy.address) as client:
        assert await client.wait_closed() is EndedBy.PEER_RESET


# ---- HTTP proxies


async def ask_for_tunnel(client: FakeClient, target: str, *fields: str) -> int:
    await client.send("\r\n".join([f"CONNECT {target} HTTP/1.1", f"host: {target}", *fields, "", ""]).encode())
    return (await client.take_head()).status


async def test_tunnels() -> None:
    """CONNECT makes a tunnel in which TLS goes end to end; the line is recorded."""
    async with open_fake_upstream(tls=server_context()) as upstream, open_http_proxy() as proxy:
        target = f"127.0.0.1:{upstream.address[1]}"
        async with connect(proxy.url) as client:
            assert await ask_for_tunnel(client, target) == 200
            await client.link.start_tls_as_client(client_context(), "127.0.0.1")
            await client.send(chat(stream=False))
            assert (await client.read_response()).status == 200
        await upstream.wait_no_connections()

        assert proxy.lines == [f"CONNECT {target} HTTP/1.1"]


async def test_forwards_absolute_urls() -> None:
    """A request in absolute form reaches the server in its own form, without the proxy's fields."""
    async with open_fake_upstream() as upstream, open_http_proxy() as proxy, connect(proxy.url) as client:
        await client.request("GET", f"{upstream.url}/v1/models?a=1", [("Proxy-Connection", "keep-alive")])

        assert (await client.read_response()).status == 200
        assert upstream.requests[0].target == "/v1/models?a=1"
        assert upstream.requests[0].get("proxy-connection") is None


async def test_wants_credentials() -> None:
    """Without the right credentials the answer is 407; with them the tunnel stands."""
    async with open_fake_upstream() as upstream, open_http_proxy(credentials="user:pass") as proxy:
        target = f"127.0.0.1:{upstream.address[1]}"
        statuses = []
        for fields in ([], ["proxy-authorization: Basic eDp5"], ["Proxy-Authorization: Basic dXNlcjpwYXNz"]):
            async with connect(proxy.url) as client:
                statuses.append(await ask_for_tunnel(client, target, *fields))

        assert statuses == [407, 407, 200]
        assert proxy.asked[2].get("proxy-authorization") == "Basic dXNlcjpwYXNz"


@pytest.mark.parametrize(
    ("manner", "said"),
    [
        (ProxyManner.REFUSE_407, b"HTTP/1.1 407 "),
        (ProxyManner.REFUSE_502, b"HTTP/1.1 502 "),
        (ProxyManner.HANG, b""),
        (ProxyManner.BREAK, b""),
        (ProxyManner.GARBAGE, b"\x00\xff220 "),
        (ProxyManner.SILENT_TUNNEL, b"HTTP/1.1 200 "),
    ],
)
async def test_refuses_in_its_manner(manner: ProxyManner, said: bytes) -> None:
    """Each manner of refusing says what it should; HANG and SILENT_TUNNEL stay, the others end."""
    async with open_http_proxy(manner) as proxy, connect(proxy.url) as client:
        await client.send(b"CONNECT 127.0.0.1:1 HTTP/1.1\r\n\r\n")
        got = b""
        with trio.move_on_after(1000) as waited:
            got = await client.link.receive() if manner is not ProxyManner.BREAK else b""
            await client.wait_closed()

        assert got.startswith(said)
        assert waited.cancelled_caught is (manner in {ProxyManner.HANG, ProxyManner.SILENT_TUNNEL})
        assert (client.link.ended_by is EndedBy.PEER_RESET) is (manner is ProxyManner.BREAK)


async def test_a_tunnel_to_nowhere_is_reset() -> None:
    """When the target cannot be reached, or what was asked is no HTTP, the client is reset."""
    host, port = refused_address()
    async with open_http_proxy() as proxy:
        for asked in (f"CONNECT {host}:{port} HTTP/1.1\r\n\r\n", "what\r\nno field\r\n\r\n"):
            async with connect(proxy.url) as client:
                await client.send(asked.encode())
                assert await client.wait_closed() is EndedBy.PEER_RESET
