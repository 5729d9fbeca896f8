"""httpx.AsyncClient over our transport: the API for everything off the hot path, over the same pool."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import trio
from upstream_rig import Rig, open_rig

from relay_trio.testing.certificates import server_context, untrusted_context
from relay_trio.testing.fake_upstream import FakeUpstream, open_deaf_address, open_fake_upstream, refused_address

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("nothing_left_open")]

CHAT = "/v1/chat/completions"
ASKED = {"model": "fake-small", "messages": [{"role": "user", "content": "Say something."}]}


@asynccontextmanager
async def open_client(
    behaviour: str = "answer", *, tls: bool = False, timeout: float | None = 30
) -> AsyncIterator[tuple[httpx.AsyncClient, FakeUpstream, Rig]]:
    """Open a provider and a client that speaks to it."""
    context = server_context() if tls else None
    async with (
        open_fake_upstream(behaviour, tls=context, receive_buffer=4096) as upstream,
        open_rig() as rig,
        httpx.AsyncClient(transport=rig.transport, base_url=upstream.url, timeout=timeout) as client,
    ):
        yield client, upstream, rig


@pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])
async def test_it_is_an_httpx_client(*, tls: bool) -> None:
    """Methods, bodies, headers, JSON, status: as over any transport; connections are kept."""
    async with open_client(tls=tls) as (client, upstream, rig):
        listed = await client.get("/v1/models", params={"limit": "2"})
        asked = await client.post(CHAT, json=ASKED, headers={"x-mine": "1"})
        deleted = await client.delete("/v1/files/file-1")

        assert listed.json()["object"] == "list"
        assert asked.json()["choices"][0]["message"]["content"].startswith("The quick brown")
        assert deleted.status_code in {200, 404}
        assert [request.method for request in upstream.requests] == ["GET", "POST", "DELETE"]
        assert upstream.requests[0].query == "limit=2"
        assert json.loads(upstream.requests[1].body) == ASKED
        assert upstream.requests[1].get("x-mine") == "1"
        assert upstream.requests[1].all("content-length") == [str(upstream.requests[1].body_size)]
        assert upstream.requests[1].all("host") == [upstream.url.partition("://")[2]]
        assert upstream.connections.opened == 1
        rig.assert_at_rest(idle=1)


async def test_a_stream_comes_piece_by_piece() -> None:
    """As the provider sends it."""
    async with open_client("slow-body;words=2") as (client, _, rig):
        async with client.stream("POST", CHAT, json={**ASKED, "stream": True}) as response:
            times = [round(trio.current_time()) async for _ in response.aiter_raw()]

        assert times == [1, 2, 3, 4, 5]
        rig.assert_at_rest(idle=1)


async def test_a_stream_that_is_left_is_closed() -> None:
    """Its connection is not read to the end for the sake of the pool."""
    async with open_client("endless-body") as (client, upstream, rig):
        async with client.stream("POST", CHAT, json={**ASKED, "stream": True}) as response:
            assert response.status_code == 200

        rig.assert_at_rest()
        await upstream.wait_no_connections()


@pytest.mark.parametrize("behaviour", ["silent-before-head", "silent-mid-body", "endless-drip", "never-reads"])
async def test_a_cancelled_call_leaves_nothing(behaviour: str) -> None:
    """The close that httpx awaits is cancelled too: ours has closed before it."""
    async with open_client(behaviour, timeout=None) as (client, upstream, rig):
        content = b"x" * 20_000_000 if behaviour == "never-reads" else json.dumps(ASKED).encode()
        with trio.move_on_after(2) as scope:
            await client.post(CHAT, content=content)

        assert scope.cancelled_caught
        rig.assert_at_rest()
        await upstream.wait_no_connections()


@pytest.mark.parametrize(
    ("behaviour", "tls", "error", "after_s"),
    [
        ("silent-before-head", False, httpx.ReadTimeout, 3),
        ("silent-mid-head", True, httpx.ReadTimeout, 3),
        ("silent-mid-body", False, httpx.ReadTimeout, 3),
        ("silent-after-head", True, httpx.ReadTimeout, 3),
        ("tls-hangs", True, httpx.ConnectTimeout, 3),
        ("never-reads", False, httpx.WriteTimeout, 3),
        ("close-after-request", False, httpx.RemoteProtocolError, 0),
        ("reset-mid-body", False, httpx.RemoteProtocolError, 0),
        ("truncated-length", True, httpx.RemoteProtocolError, 0),
        ("garbage", False, httpx.RemoteProtocolError, 0),
        ("tls-garbage", True, httpx.ConnectError, 0),
        ("reset-on-accept", True, httpx.ConnectError, 0),
    ],
)
async def test_failures_are_httpx_errors(
    behaviour: str, error: type[httpx.TransportError], after_s: float, *, tls: bool
) -> None:
    """Of httpx's own kinds, in httpx's own time; the request is in them."""
    async with open_client(behaviour, tls=tls, timeout=3) as (client, _, rig):
        content = b"x" * 20_000_000 if behaviour == "never-reads" else json.dumps(ASKED).encode()
        with pytest.raises(error) as raised:
            await client.post(CHAT, content=content)

        assert type(raised.value) is error
        assert raised.value.request.url.path == CHAT
        assert trio.current_time() == pytest.approx(after_s, abs=0.05)
        rig.assert_at_rest()


async def test_the_shorter_of_two_limits_holds() -> None:
    """A client may shorten our connect limit (10 s), not lengthen it."""
    async with open_deaf_address() as (host, port), open_rig() as rig:
        client = httpx.AsyncClient(transport=rig.transport)
        with pytest.raises(httpx.ConnectTimeout):
            await client.get(f"http://{host}:{port}/", timeout=2)
        assert trio.current_time() == pytest.approx(2)
        with pytest.raises(httpx.ConnectTimeout):
            await client.get(f"http://{host}:{port}/", timeout=None)
        assert trio.current_time() == pytest.approx(2 + 10)


async def test_nobody_there_is_a_connect_error() -> None:
    """Refused at once."""
    host, port = refused_address()
    async with open_rig() as rig:
        with pytest.raises(httpx.ConnectError):
            await httpx.AsyncClient(transport=rig.transport).get(f"http://{host}:{port}/")


async def test_a_stranger_is_a_connect_error() -> None:
    """A certificate that nobody trusts."""
    async with open_fake_upstream(tls=untrusted_context()) as upstream, open_rig() as rig:
        with pytest.raises(httpx.ConnectError, match="certificate"):
            await httpx.AsyncClient(transport=rig.transport).get(upstream.url)


@pytest.mark.parametrize("behaviour", ["gzip-answer", "deflate-answer", "chunked", "one-byte-writes", "interim"])
async def test_odd_answers_are_read(behaviour: str) -> None:
    """What compression there is, httpx undoes."""
    async with open_client(behaviour) as (client, _, rig):
        response = await client.post(CHAT, json=ASKED)

        assert response.json()["object"] == "chat.completion"
        rig.assert_at_rest(idle=1)


async def test_closing_the_client_closes_the_pool() -> None:
    """`aclose` of the transport is httpx's to call."""
    async with open_fake_upstream() as upstream, open_rig() as rig:
        async with httpx.AsyncClient(transport=rig.transport) as client:
            await client.get(upstream.url + "/v1/models")
            rig.assert_at_rest(idle=1)
        rig.assert_at_rest()
        await upstream.wait_no_connections()
