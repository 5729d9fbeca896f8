"""Each misbehaving client does what its name says, seen from the server's side."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio

from relay_trio.testing import shapes
from relay_trio.testing.certificates import client_context, server_context
from relay_trio.testing.fake_upstream import FakeUpstream, open_fake_upstream
from relay_trio.testing.http_text import BodyEnd
from relay_trio.testing.link import EndedBy
from relay_trio.testing.shapes import Leave, chat, post

pytestmark = pytest.mark.anyio

LEFT = {EndedBy.PEER_CLOSED, EndedBy.PEER_RESET}


@pytest.fixture
async def server() -> AsyncIterator[FakeUpstream]:
    async with open_fake_upstream() as upstream:
        yield upstream


async def ended_by(server: FakeUpstream) -> EndedBy | None:
    with trio.fail_after(100):
        await server.wait_no_connections()
    return server.connections.ended[0].ended_by


# ---- Those that leave


@pytest.mark.parametrize("how", Leave)
async def test_leaves_before_head(how: Leave) -> None:
    """The whole request is there, no byte of an answer was sent, and the client is gone."""
    async with open_fake_upstream("silent-before-head") as server:
        await shapes.leaves_before_head(server.url, chat(), lambda: server.wait_requests(1), how)

        assert await ended_by(server) is (EndedBy.PEER_RESET if how is Leave.RESET else EndedBy.PEER_CLOSED)
        assert server.requests[0].complete


async def test_leaves_mid_stream() -> None:
    """It leaves when it has read so many events; the server sees it while it is about to send more."""
    async with open_fake_upstream("slow-body") as server:
        start = trio.current_time()
        await shapes.leaves_mid_stream(server.url, chat(), after_events=3)

        assert await ended_by(server) in LEFT
        assert trio.current_time() - start == 3


async def test_leaves_during_upload(server: FakeUpstream) -> None:
    """The server gets all of the body but its last bytes."""
    request = post("/v1/files", b"x" * 1000)
    await shapes.leaves_during_upload(server.url, request, lambda: server.wait_body_bytes(900), missing=100)

    assert await ended_by(server) in LEFT
    assert (server.requests[0].body_size, server.requests[0].complete) == (900, False)


# ---- Those that stall


async def test_never_reads() -> None:
    """The server cannot get rid of a long answer."""
    async with open_fake_upstream("endless-body;interval=0") as server:
        async with shapes.never_reads(server.url, chat()) as client:
            await server.wait_requests(1)
            await trio.sleep(1000)
            assert len(server.connections.live) == 1
            assert client.link.bytes_received == 0
        assert await ended_by(server) in LEFT


async def test_says_nothing(server: FakeUpstream) -> None:
    """It is connected, and that is all."""
    with trio.move_on_after(1000):
        await shapes.says_nothing(server.url)

    assert (server.connections.opened, server.request_count) == (1, 0)


@pytest.mark.parametrize(
    ("shape", "heads", "whole"),
    [
        (shapes.sends_half_a_head, 1, False),
        (shapes.sends_half_a_request, 1, False),
    ],
)
async def test_stops_in_the_middle(server: FakeUpstream, shape: object, heads: int, *, whole: bool) -> None:
    """Half of it is sent, and then nothing for a thousand seconds."""
    with trio.move_on_after(1000) as waited:
        await shape(server.url, post("/v1/embeddings", b" " * 5000))  # type: ignore[operator]

    assert waited.cancelled_caught
    assert server.request_count == heads
    assert server.requests[0].complete is whole


async def test_dawdles(server: FakeUpstream) -> None:
    """A byte a second takes as many seconds as there are bytes: of all, or of the body alone."""
    request = post("/v1/embeddings", b'{"input": "x"}')
    all_of_it = await shapes.sends_a_byte_a_second(server.url, request)
    body_alone = await shapes.sends_body_a_byte_a_second(server.url, request, 2.0)

    assert (all_of_it.status, body_alone.status) == (200, 200)
    assert all_of_it.after_s == len(request) - 1
    assert body_alone.after_s == 2.0 * (14 - 1)


# ---- Those that break the rules


async def test_sends_too_much_head(server: FakeUpstream) -> None:
    """A header field of a MiB, or five thousand fields: more than the fake takes, and as many as it counts."""
    assert (await shapes.sends_huge_header(server.url, chat())).status == 400
    assert (await shapes.sends_many_headers(server.url, chat(), count=3000)).status == 200
    assert sum(name.startswith(b"x-field") for name, _ in server.requests[-1].headers) == 3000


async def test_sends_huge_body(server: FakeUpstream) -> None:
    """The body is as large as it was told to be; an early answer stops it."""
    assert (await shapes.sends_huge_body(server.url, "/v1/embeddings", 10_000_000)).status == 200
    assert server.requests[0].body_size == 10_000_000

    server.script.enqueue("early-answer;status=413")
    reaction = await shapes.sends_huge_body(server.url, "/v1/embeddings", 10_000_000_000)
    assert reaction.status == 413


async def test_sends_endless_chunks(server: FakeUpstream) -> None:
    """Chunks come until the limit, and no last one."""
    with trio.move_on_after(1000):
        await shapes.sends_endless_chunks(server.url, post("/v1/files", b""), limit=1_000_000)

    assert server.requests[0].body_size >= 1_000_000
    assert server.requests[0].body_end is BodyEnd.TRUNCATED or not server.requests[0].complete


@pytest.mark.parametrize(
    "shape", [shapes.sends_both_lengths, shapes.sends_bad_chunk], ids=["both lengths", "bad chunk"]
)
async def test_breaks_the_framing(server: FakeUpstream, shape: object) -> None:
    """The fake refuses the request and names what was wrong."""
    reaction = await shape(server.url, chat())  # type: ignore[operator]

    assert reaction.status == 400
    assert len(server.complaints) == 1
    assert ("both" in server.complaints[0]) is (shape is shapes.sends_both_lengths)
    assert ("zz" in server.complaints[0]) is (shape is shapes.sends_bad_chunk)


async def test_speaks_no_http(server: FakeUpstream) -> None:
    """Garbage and HTTP/2 are not what the fake speaks."""
    assert (await shapes.sends_garbage(server.url)).status == 400
    assert (await shapes.sends_http2_preface(server.url)).status == 400
    assert "PRI" in server.complaints[1]


# ---- Those that are odd but right


async def test_speaks_http10(server: FakeUpstream) -> None:
    """The answer ends with the connection."""
    reaction = await shapes.speaks_http10(server.url, chat())

    assert (reaction.status, reaction.ended_by) == (200, EndedBy.PEER_CLOSED)
    assert server.requests[0].version == "HTTP/1.0"


@pytest.mark.parametrize("shape", [shapes.sends_byte_by_byte, shapes.sends_chunked, shapes.expects_continue])
async def test_sends_the_same_in_another_way(server: FakeUpstream, shape: object) -> None:
    """However it is sent, the same body arrives."""
    reaction = await shape(server.url, chat(stream=False))  # type: ignore[operator]

    assert reaction.status == 200
    assert server.requests[0].body == chat(stream=False).partition(b"\r\n\r\n")[2]


async def test_keeps_its_body_when_it_is_not_told_to_continue() -> None:
    """A final answer in place of 100 is the answer; the body is never sent."""
    async with open_fake_upstream("early-answer;status=401") as server:
        reaction = await shapes.expects_continue(server.url, chat())

        assert reaction.status == 401
        assert server.requests[0].body_size == 0


async def test_half_closes() -> None:
    """FIN comes right behind the request; the answer is read to its end by who still listens."""
    async with open_fake_upstream("silent-before-head") as server:
        reaction = await shapes.half_closes(server.url, chat())

        assert reaction.response is None
        assert await ended_by(server) is EndedBy.PEER_CLOSED


async def test_goes_over_tls() -> None:
    """Every shape can speak TLS."""
    async with open_fake_upstream(tls=server_context()) as server:
        reaction = await shapes.sends_chunked(server.url, chat(), tls=client_context())
        await shapes.leaves_mid_stream(server.url, chat(), 1, Leave.RESET, tls=client_context())

        assert reaction.status == 200
        assert await ended_by(server) in LEFT
