"""The fake upstream answers well unless told otherwise, records what it gets, and leaves nothing behind."""

from __future__ import annotations

import hashlib
import signal
import socket
import sys
from functools import partial

import pytest
import trio
import trio.testing

from relay_trio.testing.certificates import client_context, server_context
from relay_trio.testing.conversation import Conversation
from relay_trio.testing.fake_client import connect, dial
from relay_trio.testing.fake_upstream import (
    FakeUpstream,
    main,
    open_deaf_address,
    open_fake_upstream,
    refused_address,
)
from relay_trio.testing.http_text import Framing
from relay_trio.testing.link import EndedBy
from relay_trio.testing.script import Script
from relay_trio.testing.shapes import chat, pipelines, post

pytestmark = pytest.mark.anyio


async def status_of(upstream: FakeUpstream, request: bytes) -> int:
    async with connect(upstream.url) as client:
        await client.send(request)
        return (await client.read_response()).status


# ---- Who gets what


async def test_queued_behaviours_come_one_each() -> None:
    """The first request fails, the second is refused, the third works: as the list says."""
    async with open_fake_upstream() as upstream:
        upstream.script.enqueue("answer;status=503", "answer;status=429", "answer")

        assert [await status_of(upstream, chat()) for _ in range(4)] == [503, 429, 200, 200]


async def test_queued_behaviours_can_spoil_a_connection() -> None:
    """What happens at accept takes its turn in the same list."""
    async with open_fake_upstream() as upstream:
        upstream.script.enqueue("answer;status=429", "reset-on-accept", "answer;status=503")
        first = await status_of(upstream, chat())
        async with connect(upstream.url) as client:
            spoiled = await client.wait_closed()

        assert (first, spoiled) == (429, EndedBy.PEER_RESET)
        assert await status_of(upstream, chat()) == 503


async def test_the_path_chooses() -> None:
    """A base URL can carry the behaviour of everything beneath it; the path that is recorded is without it."""
    async with open_fake_upstream() as upstream:
        base = upstream.base_url("answer;status=418")
        status = await status_of(upstream, chat(path=base.removeprefix(upstream.url) + "/chat/completions"))

        assert status == 418
        assert upstream.requests[0].target == "/fault:answer;status=418/v1/chat/completions"
        assert upstream.requests[0].path == "/v1/chat/completions"
        assert upstream.base_url() == upstream.url + "/v1"


async def test_a_header_chooses() -> None:
    """The header x-fake-behaviour chooses for its request."""
    async with open_fake_upstream() as upstream:
        request = post("/v1/embeddings", b"{}", extra=[("x-fake-behaviour", "answer;status=404")])

        assert await status_of(upstream, request) == 404


async def test_the_model_chooses() -> None:
    """A model that is named like a behaviour gets it, in a JSON body as in a form."""
    async with open_fake_upstream() as upstream:
        form = b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nfault:answer;status=403\r\n--x--\r\n'
        multipart = post("/v1/audio/transcriptions", form).replace(
            b"application/json", b"multipart/form-data; boundary=x"
        )

        assert await status_of(upstream, chat(model="fault:answer;status=402")) == 402
        assert await status_of(upstream, multipart) == 403


async def test_the_table_by_path_chooses() -> None:
    """A pattern of the path chooses where nothing nearer does."""
    script = Script("answer;status=500", by_path={r"/models$": "answer"})
    async with open_fake_upstream(script) as upstream:
        assert await status_of(upstream, b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n") == 200
        assert await status_of(upstream, chat()) == 500
        assert await status_of(upstream, chat(model="fault:answer;status=502")) == 502


async def test_a_behaviour_can_be_a_function() -> None:
    """A test may write its own behaviour."""

    async def says_teapot(c: Conversation) -> None:
        await c.send_in_place(418, (), b"short and stout")

    async with open_fake_upstream(says_teapot) as upstream, connect(upstream.url) as client:
        await client.send(chat())

        assert (await client.read_response()).body.data == b"short and stout"


async def test_a_mistake_in_a_behaviour_fails_the_test() -> None:
    """An exception of a test's own behaviour is not swallowed."""

    async def breaks(_c: Conversation) -> None:
        raise ZeroDivisionError

    with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
        await _ask_until_closed(breaks)


async def _ask_until_closed(behaviour: object) -> None:
    async with open_fake_upstream(behaviour) as upstream, connect(upstream.url) as client:  # type: ignore[arg-type]
        await client.send(chat())
        await client.wait_closed()
        await trio.sleep_forever()


# ---- What is recorded


async def test_records_a_request_as_it_came() -> None:
    """Method, target, fields in their order and spelling, body, and when it arrived."""
    async with open_fake_upstream() as upstream, connect(upstream.url) as client:
        await trio.sleep(7)
        await client.send(
            b"PUT /v1/things?a=1&b HTTP/1.1\r\nHost: x\r\nX-A: 1\r\nx-a:  2 \r\ncontent-length: 3\r\n\r\n{ }"
        )
        answer = (await client.read_response()).json()
        request = upstream.requests[0]

        assert (request.method, request.target, request.path, request.query) == (
            *("PUT", "/v1/things?a=1&b"),
            *("/v1/things", "a=1&b"),
        )
        assert request.headers == ((b"Host", b"x"), (b"X-A", b"1"), (b"x-a", b"2"), (b"content-length", b"3"))
        assert (request.get("x-A"), request.all("x-a"), request.get("none")) == ("1", ["1", "2"], None)
        assert (request.body, request.json(), request.complete, request.framing) == (b"{ }", {}, True, Framing.LENGTH)
        assert request.arrived_at == trio.current_time()
        assert answer["body_sha256"] == request.body_sha256 == hashlib.sha256(b"{ }").hexdigest()


async def test_records_chunks_and_trailers() -> None:
    """A chunked body is recorded without its chunks, with its trailers."""
    async with open_fake_upstream() as upstream, connect(upstream.url) as client:
        await client.send(b"POST /v1/files HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        await client.send(b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nx-sum: 1\r\n\r\n")
        await client.read_response()
        request = upstream.requests[0]

        assert (request.body, request.trailers, request.framing) == (b"abcde", ((b"x-sum", b"1"),), Framing.CHUNKED)


async def test_records_an_upload_that_broke_off() -> None:
    """What arrived of a request is there, and that it is not whole."""
    async with open_fake_upstream() as upstream:
        async with connect(upstream.url) as client:
            await client.send(post("/v1/files", b"x" * 1000)[:-400])
            await upstream.wait_body_bytes(600)
        await upstream.wait_no_connections()

        assert (upstream.requests[0].complete, upstream.requests[0].body_size) == (False, 600)


async def test_counts_connections_and_says_who_ended_them() -> None:
    """Opened, live and closed are counted; each record says who ended it, and when."""
    async with open_fake_upstream() as upstream:
        async with connect(upstream.url) as one, connect(upstream.url) as two:
            await upstream.wait_connections(2)
            assert (upstream.connections.opened, len(upstream.connections.live), upstream.connections.closed) == (
                2,
                2,
                0,
            )
            one.close()
            await upstream.wait_until(lambda: upstream.connections.closed == 1)
            await trio.sleep(5)
            two.reset()
            await upstream.wait_no_connections()
        first, second = upstream.connections.ended

        assert (first.ended_by, second.ended_by) == (EndedBy.PEER_CLOSED, EndedBy.PEER_RESET)
        assert first.peer_first
        assert second.peer_first
        assert first.closed_at is not None
        assert second.closed_at == first.closed_at + 5


@pytest.mark.parametrize(
    ("behaviour", "how"),
    [
        ("close-announced", EndedBy.CLOSED),
        ("close-unannounced", EndedBy.CLOSED),
        ("reset-unannounced;interval=0", EndedBy.RESET),
    ],
)
async def test_says_when_it_was_the_one_to_end(behaviour: str, how: EndedBy) -> None:
    """A connection that the fake ended is recorded so, although its peer closes a moment later."""
    async with open_fake_upstream(behaviour) as upstream:
        async with connect(upstream.url) as client:
            await client.send(chat())
            await client.wait_closed()
        await upstream.wait_no_connections()

        assert upstream.connections.ended[0].ended_by is how
        assert not upstream.connections.ended[0].peer_first


async def test_complains_of_what_is_no_http() -> None:
    """A request that breaks the rules is answered 400 and noted."""
    broken = [
        b"what?\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: two\r\n\r\n",
        b"GET / HTTP/1.1\r\nno field\r\n\r\n",
    ]
    async with open_fake_upstream() as upstream:
        assert [await status_of(upstream, request) for request in broken] == [400] * 5
        assert len(upstream.complaints) == 5


# ---- HTTP as it should be


async def test_keeps_a_connection_for_the_next_request() -> None:
    """Several requests go over one connection, as they do when they are pipelined."""
    async with open_fake_upstream() as upstream:
        answers = await pipelines(upstream.url, [chat(stream=False), chat(), chat(stream=False)])

        assert [answer.status for answer in answers] == [200, 200, 200]
        assert upstream.connections.opened == 1
        assert [request.connection for request in upstream.requests] == [1, 1, 1]


@pytest.mark.parametrize("line", [b"connection: close\r\n", b""], ids=["close", "http10"])
async def test_closes_when_the_client_asks_for_it(line: bytes) -> None:
    """`Connection: close` and HTTP/1.0 end the connection after the answer."""
    version = b"HTTP/1.1" if line else b"HTTP/1.0"
    async with open_fake_upstream() as upstream, connect(upstream.url) as client:
        await client.send(b"GET /v1/models %b\r\nhost: x\r\n%b\r\n" % (version, line))
        response = await client.read_response()

        assert response.json()["data"][0]["id"] == "fake-small"
        assert await client.wait_closed() is EndedBy.PEER_CLOSED


async def test_answers_head_without_a_body() -> None:
    """HEAD gets the head alone, and the connection goes on."""
    async with open_fake_upstream() as upstream, connect(upstream.url) as client:
        for _ in range(2):
            await client.request("HEAD", "/v1/models")
            response = await client.read_response()
            assert (response.status, response.body.data) == (200, b"")


async def test_tells_to_continue() -> None:
    """`Expect: 100-continue` is answered before the body comes."""
    async with open_fake_upstream() as upstream, connect(upstream.url) as client:
        await client.send(b"POST /v1/x HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
        assert (await client.take_head()).status == 100
        await client.send(b"ok")

        assert (await client.read_response()).json()["body_size"] == 2


async def test_speaks_tls() -> None:
    """With a TLS context the address is https and the answers are the same."""
    async with open_fake_upstream(tls=server_context()) as upstream:
        assert upstream.url.startswith("https://127.0.0.1:")
        async with connect(upstream.url, tls=client_context()) as client:
            await client.send(chat())
            await client.read_head()
            assert (await client.read_events()).data[-1] == "[DONE]"


async def test_serves_many_at_once() -> None:
    """A hundred clients that wait are all live at the same moment."""
    async with open_fake_upstream("late-head;interval=60") as upstream, trio.open_nursery() as nursery:
        start = trio.current_time()
        for _ in range(100):
            nursery.start_soon(status_of, upstream, chat())
        await upstream.wait_requests(100)
        assert len(upstream.connections.live) == 100
        nursery.cancel_scope.deadline = start + 61
        await upstream.wait_no_connections()

        assert trio.current_time() - start == 60


async def test_ends_with_its_block() -> None:
    """At the end of the block live connections are closed, and nobody listens any more."""
    async with open_fake_upstream("silent-before-head") as upstream:
        link = await dial(*upstream.address)
        await link.send(chat())
        await upstream.wait_requests(1)
    await link.wait_peer_gone()
    link.close()

    with pytest.raises(OSError, match="refused"):
        await dial(*upstream.address)


# ---- Addresses


async def test_a_deaf_address_hangs() -> None:
    """A connect to a full queue neither succeeds nor fails; only a clock ends it."""
    async with open_deaf_address() as address:
        with trio.move_on_after(100) as waited:
            await dial(*address)

    assert waited.cancelled_caught


async def test_a_refused_address_refuses() -> None:
    """A connect to a closed port fails at once."""
    with pytest.raises(OSError, match="refused"):
        await dial(*refused_address())


async def test_listens_on_ipv6_too() -> None:
    """The host may be an IPv6 address, where there is one."""
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    async with open_fake_upstream(host="::1") as upstream:
        assert upstream.url.startswith("http://[::1]:")
        assert await status_of(upstream, chat()) == 200


# ---- As a process


@pytest.mark.real_clock
async def test_runs_as_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """`python -m relay_trio.testing.fake_upstream` prints its address, behaves as told, and ends on SIGTERM."""
    command = [sys.executable, "-m", "relay_trio.testing.fake_upstream", "--behaviour", "answer;status=429"]
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    async with trio.open_nursery() as nursery:
        ours, theirs = socket.socketpair()
        process = await nursery.start(partial(trio.run_process, command, stdout=theirs))
        theirs.close()
        with trio.fail_after(30), trio.socket.from_stdlib_socket(ours) as output:
            url = (await output.recv(1000)).decode().strip()
            async with connect(url) as client:
                await client.send(chat())
                assert (await client.read_response()).status == 429
            process.send_signal(signal.SIGTERM)

    assert process.returncode == 0


def test_lists_its_behaviours(capsys: pytest.CaptureFixture[str]) -> None:
    """`--list` prints the table."""
    main(["--list"])

    assert "silent-before-head" in capsys.readouterr().out
