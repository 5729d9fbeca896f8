"""Clients that leave, stall, dawdle or break the rules: none of them holds anything, and each is told what was wrong.

All through the whole relay over real sockets, on the virtual clock.
"""

from __future__ import annotations

import gc
import json
import sys
import tracemalloc
from pathlib import Path

import pytest
import trio
from stand import (
    CHAT,
    PROVIDER_KEY,
    STREAM,
    UNARY,
    UPLOADS,
    Stand,
    error_of,
    open_stand,
    open_with,
    send_what_is_taken,
    upload,
)

import adaptors
import relay_trio.testing
from relay_trio.errors import Ended
from relay_trio.settings.digests import digest_of, format_digest
from relay_trio.testing import shapes
from relay_trio.testing.certificates import authority, client_context
from relay_trio.testing.fake_client import FakeClient, connect
from relay_trio.testing.fake_upstream import open_deaf_address, open_fake_upstream
from relay_trio.testing.http_text import BodyEnd
from relay_trio.testing.link import EndedBy
from relay_trio.testing.oracle import Snapshot
from relay_trio.testing.relay import CLIENT_KEY
from relay_trio.testing.shapes import Leave, never_reads, post, with_fields

pytestmark = pytest.mark.anyio

LEAVES = pytest.mark.parametrize("how", list(Leave), ids=lambda how: how.name.lower())
SECURE = pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])

LIVEZ = b"GET /livez HTTP/1.1\r\nhost: relay.test\r\n\r\n"


@pytest.fixture(autouse=True)
def _nothing_left_open(nothing_left_open: Snapshot) -> None:
    """Hold every test here against the oracle."""


def after(seconds: float) -> shapes.Moment:
    """Return a moment so many seconds from when it is waited for."""

    async def moment() -> None:
        await trio.sleep(seconds)

    return moment


async def gone_within_a_second(stand: Stand, left_at: float) -> None:
    """The provider's connection is closed, the line says why, nothing is held: a second after the client left."""
    await stand.upstream.wait_no_connections()
    line = await stand.line()
    assert trio.current_time() - left_at <= 1
    assert (line["status"], line["outcome"]) == (499, "client_disconnected")
    assert line["left_open"] == 0
    await stand.rest()


# ---- Those that leave (guarantee G3)


@LEAVES
@SECURE
@pytest.mark.parametrize("request_bytes", [STREAM, UNARY], ids=["stream", "unary"])
async def test_a_client_that_leaves_before_the_head_ends_the_work(
    tmp_path: Path, how: Leave, request_bytes: bytes, *, tls: bool
) -> None:
    """FIN, RST and FIN with ears open alike: with a silent provider nothing else would tell."""
    context = client_context() if tls else None
    async with open_stand(tmp_path, "silent-before-head", tls=tls) as stand:

        async def moment() -> None:
            await stand.upstream.wait_requests(1)
            await trio.sleep(5)

        await shapes.leaves_before_head(stand.address, request_bytes, moment, how, tls=context)
        await gone_within_a_second(stand, 5.0)


@pytest.mark.parametrize("reason", [Ended.CLIENT_DISCONNECTED, Ended.CANCELLED_BY_OPERATOR])
async def test_the_providers_connection_is_closed_before_the_task_gets_its_turn(tmp_path: Path, reason: Ended) -> None:
    """Under load a turn comes late, and until it does the provider would write for nobody."""
    async with open_stand(tmp_path, "silent-mid-body") as stand, connect(stand.address) as client:
        await client.send(STREAM)
        await client.read_head()
        services = stand.relay.running.services
        (scope,) = services.registry
        assert services.balance.upstream_connections.live == 1
        scope.cancel(reason)
        assert services.balance.upstream_connections.live == 0
        await stand.upstream.wait_no_connections()
        assert (await stand.line())["outcome"] == reason.value


@LEAVES
@SECURE
@pytest.mark.parametrize("behaviour", ["silent-mid-body", "endless-drip", "endless-body"])
async def test_a_client_that_leaves_mid_stream_ends_the_work(
    tmp_path: Path, how: Leave, behaviour: str, *, tls: bool
) -> None:
    """Whatever the provider is doing at that moment."""
    context = client_context() if tls else None
    async with open_stand(tmp_path, behaviour, tls=tls) as stand:
        await shapes.leaves_mid_stream(stand.address, STREAM, 2, how, tls=context)
        await gone_within_a_second(stand, trio.current_time())


@LEAVES
async def test_a_client_that_leaves_during_its_upload_ends_the_work(tmp_path: Path, how: Leave) -> None:
    """The provider's connection is closed in the middle of the body: it must not take half a file for a whole one."""
    async with open_stand(tmp_path) as stand:
        size = 300_000
        await shapes.leaves_during_upload(
            stand.address, upload(size), lambda: stand.upstream.wait_body_bytes(size - 1), how
        )
        await gone_within_a_second(stand, trio.current_time())
        assert not stand.upstream.requests[-1].complete


@LEAVES
async def test_a_client_that_leaves_while_its_body_is_read_reaches_no_provider(tmp_path: Path, how: Leave) -> None:
    """A body that is read whole is passed on whole or not at all."""
    async with open_stand(tmp_path) as stand:
        await shapes.leaves_during_upload(stand.address, UNARY, after(3), how)
        await gone_within_a_second(stand, 3.0)
        assert stand.upstream.request_count == 0


async def test_a_client_that_leaves_while_a_connection_is_made_ends_the_work(tmp_path: Path) -> None:
    """The log names the reason, not the exception group in which it arrives there."""
    async with open_deaf_address() as (host, port), open_fake_upstream() as upstream:
        toml = (
            f'[[channels]]\nname="main"\nadaptor="openai"\nbase_url="http://{host}:{port}"\napi_keys=["{PROVIDER_KEY}"]'
        )
        async with open_with(tmp_path, toml) as relay:
            stand = Stand(relay, upstream)
            await shapes.leaves_before_head(stand.address, UNARY, after(4))
            await gone_within_a_second(stand, 4.0)


async def test_a_client_that_leaves_during_a_tls_handshake_of_ours_ends_the_work(tmp_path: Path) -> None:
    """The other half of connecting."""
    async with open_stand(tmp_path, "tls-hangs", tls=True) as stand:
        await shapes.leaves_before_head(stand.address, UNARY, after(4), tls=client_context())
        await gone_within_a_second(stand, 4.0)


async def test_a_client_that_leaves_while_an_error_body_is_read_ends_the_work(tmp_path: Path) -> None:
    """An error answer is read inside the scope like everything else (guarantee G4)."""
    async with open_stand(tmp_path, "silent-mid-body;status=503") as stand:
        await shapes.leaves_before_head(stand.address, UNARY, after(2))
        await gone_within_a_second(stand, 2.0)


async def test_a_client_that_leaves_while_models_are_listed_ends_the_work(tmp_path: Path) -> None:
    """The questions to the providers are helpers in its nursery."""
    async with open_stand(tmp_path, "silent-before-head") as stand:
        request = post("/v1/models", b"", key=CLIENT_KEY).replace(b"POST", b"GET")
        await shapes.leaves_before_head(stand.address, request, after(2))
        await gone_within_a_second(stand, 2.0)


async def test_a_client_that_leaves_behind_pipelined_bytes_ends_the_work(tmp_path: Path) -> None:
    """Bytes that nobody reads yet hide no FIN, and the second request never begins."""
    async with open_stand(tmp_path, "silent-before-head") as stand:
        await shapes.leaves_before_head(stand.address, UNARY + UNARY + UNARY[:20], after(2))
        await gone_within_a_second(stand, 2.0)
        assert stand.upstream.request_count == 1


@pytest.mark.skipif(sys.platform != "linux", reason="the portable hub sees no FIN behind what waits unread")
async def test_a_client_that_leaves_with_much_unread_pipelined_ends_the_work(tmp_path: Path) -> None:
    """Also with more waiting than one read takes. Where it is more than the kernel takes, no FIN is sent yet."""
    async with open_stand(tmp_path, "silent-before-head") as stand, connect(stand.address) as client:
        with trio.move_on_after(1):
            await client.send(UNARY * 400)
        await stand.upstream.wait_requests(1)
        client.close()
        await gone_within_a_second(stand, trio.current_time())
        assert stand.upstream.request_count == 1


async def test_a_client_that_takes_its_answer_and_leaves_is_served(tmp_path: Path) -> None:
    """The end of an answer may be what makes it leave: that is no disconnect."""
    async with open_stand(tmp_path) as stand:
        for request in (UNARY, STREAM):
            assert (await stand.ask(request)).status == 200
        await stand.line(2)
        assert {line["outcome"] for line in stand.relay.finished()} == {"completed"}


async def test_a_client_that_leaves_without_a_request_is_no_request(tmp_path: Path) -> None:
    """Port scanners and balancers connect and go: no log line, nothing held."""
    async with open_stand(tmp_path) as stand:
        for leave in (FakeClient.close, FakeClient.reset):
            async with connect(stand.address) as client:
                leave(client)
        async with connect(stand.address) as client:
            await client.send(UNARY[:40])
        await stand.rest()
        assert stand.relay.finished() == []


# ---- Those that stop reading


async def test_a_tls_client_that_stops_reading_for_ever_is_ended(tmp_path: Path) -> None:
    """A half-written TLS record cannot be given up: the connection is aborted within the clean-up (guarantee G1)."""
    async with (
        open_stand(tmp_path, "endless-body;interval=0", tls=True) as stand,
        never_reads(stand.address, STREAM, tls=client_context()),
    ):
        line = await stand.line()
        assert (line["phase"], line["setting"]) == ("client_write", "RELAY_CLIENT_WRITE_TIMEOUT")
        ended_at = trio.current_time()
        await stand.rest()
        assert trio.current_time() - ended_at <= 5


async def test_a_client_that_does_not_read_slows_its_provider_down(tmp_path: Path) -> None:
    """Guarantee G7: what the provider sends stays with the provider, not in our memory."""
    async with (
        open_stand(tmp_path, "endless-body;interval=0", limits="client_write = 600") as stand,
        never_reads(stand.address, STREAM),
    ):
        await trio.sleep(10)
        (link,) = stand.upstream.connections.live.values()
        sent = link.bytes_sent
        await trio.sleep(300)
        assert link.bytes_sent <= sent + 1024 * 1024
        assert link.bytes_sent < 64 * 1024 * 1024


# ---- TLS


async def test_a_tls_handshake_that_hangs_is_ended_by_the_heads_clock(tmp_path: Path) -> None:
    """20 s from the accept, in the middle of the handshake, without a word."""
    async with open_stand(tmp_path, tls=True) as stand, connect(stand.address) as client:
        await client.send(b"\x16\x03\x01\x02\x00\x01")
        assert await client.wait_closed() in {EndedBy.PEER_CLOSED, EndedBy.PEER_RESET}
        assert trio.current_time() == pytest.approx(20, abs=0.6)
        assert stand.relay.finished() == []


async def test_clear_text_on_a_tls_port_ends_the_connection(tmp_path: Path) -> None:
    """It is no handshake."""
    async with open_stand(tmp_path, tls=True) as stand, connect(stand.address) as client:
        await client.send(UNARY)
        assert await client.wait_closed() in {EndedBy.PEER_CLOSED, EndedBy.PEER_RESET}
        await stand.rest()


async def test_tls_agrees_on_http11_only(tmp_path: Path) -> None:
    """HTTP/2 is not offered, whatever the client would like."""
    context = client_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    async with open_stand(tmp_path, tls=True) as stand, connect(stand.address, tls=context) as client:
        assert client.link.stream.selected_alpn_protocol() == "http/1.1"  # type: ignore[attr-defined] # it is TLS
        await client.send(UNARY)
        assert (await client.read_response()).status == 200


async def test_an_answer_that_only_its_end_ends_is_closed_by_tls(tmp_path: Path) -> None:
    """HTTP/1.0 over TLS: without close_notify its client could not tell a whole answer from a cut one."""
    async with open_stand(tmp_path, tls=True) as stand, connect(stand.address, tls=client_context()) as client:
        client.link.stream._https_compatible = False  # type: ignore[attr-defined] # trio's way to be strict
        await client.send(STREAM.replace(b"HTTP/1.1", b"HTTP/1.0", 1))
        response = await client.read_response()
        assert response.body.end is BodyEnd.COMPLETE
        assert response.body.data.endswith(b"data: [DONE]\n\n")


async def test_a_new_certificate_is_shown_without_a_restart(tmp_path: Path) -> None:
    """A pair that does not fit yet changes nothing, is reported once, and live connections go on."""
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    write_certificate(chain, key)
    environ = {"RELAY_TLS_CERT": str(chain), "RELAY_TLS_KEY": str(key)}
    async with open_fake_upstream() as upstream:
        toml = f'[[channels]]\nname="main"\nadaptor="openai"\nbase_url="{upstream.base_url()}"\napi_keys=["{PROVIDER_KEY}"]'
        async with open_with(tmp_path, toml, environ) as relay:
            stand = Stand(relay, upstream)
            async with connect(stand.address, tls=client_context()) as old:
                first = await shown(stand)
                chain.write_bytes(b"half a certificate")
                await trio.sleep(10)
                assert await shown(stand) == first
                assert len(relay.lines("certificate_rejected")) == 1
                write_certificate(chain, key)
                await trio.sleep(2)
                assert await shown(stand) != first
                assert len(relay.lines("certificate_loaded")) == 1
                await old.send(UNARY)
                assert (await old.read_response()).status == 200


def write_certificate(chain: Path, key: Path) -> None:
    """Write a new pair."""
    issued = authority().issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(str(key))
    chain.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))


async def shown(stand: Stand) -> bytes:
    """Return the certificate that the relay shows to a new connection."""
    async with connect(stand.address, tls=client_context()) as client:
        shown_now: bytes = client.link.stream.getpeercert(binary_form=True)  # type: ignore[attr-defined] # it is TLS
        return shown_now


# ---- Pipelining


async def test_pipelined_requests_are_answered_in_order(tmp_path: Path) -> None:
    """One after the other, the slow one first, each whole."""
    async with open_stand(tmp_path) as stand:
        stand.upstream.script.enqueue("late-head;interval=30", "answer", "late-body;interval=5")
        answers = await shapes.pipelines(stand.address, [UNARY, STREAM, LIVEZ, UNARY, LIVEZ])
        assert [answer.status for answer in answers] == [200] * 5
        assert answers[0].json()["object"] == "chat.completion"
        assert answers[1].body.data.endswith(b"data: [DONE]\n\n")
        assert answers[2].json() == {"status": "alive"}
        assert answers[3].json()["id"] > answers[0].json()["id"]
        assert answers[4].json() == {"status": "alive"}
        await stand.line(3)
        await stand.rest()


async def test_what_is_wrong_in_a_pipeline_is_told_behind_what_is_right(tmp_path: Path) -> None:
    """The answers before it arrive whole."""
    async with open_stand(tmp_path) as stand, connect(stand.address) as client:
        await client.send(UNARY + LIVEZ + b"GARBAGE\r\n\r\n")
        assert [(await client.read_response()).status for _ in range(3)] == [200, 200, 400]
        assert await client.wait_closed() is EndedBy.PEER_CLOSED
        await stand.line(2)
        await stand.rest()


async def test_a_flood_of_pipelined_requests_is_not_read_ahead(tmp_path: Path) -> None:
    """Guarantee G7: at most one read's worth waits in our memory while the first is being answered."""
    async with open_stand(tmp_path, "silent-before-head") as stand, connect(stand.address) as client:
        with trio.move_on_after(30):
            await client.send(UNARY * 200_000)
        assert client.link.bytes_sent == 0, "the send did not finish"
        (connection,) = stand.relay.running.connections.live
        assert len(connection._parser.requests) < 400
        client.reset()
        await stand.upstream.wait_no_connections()


# ---- Heads and bodies that are too much


async def test_a_huge_header_is_431(tmp_path: Path) -> None:
    """32 KiB of head at most."""
    async with open_stand(tmp_path) as stand:
        reaction = await shapes.sends_huge_header(stand.address, UNARY, size=40_000)
        assert_refused(reaction, 431)
        assert stand.upstream.request_count == 0
        line = await stand.line()
        assert (line["status"], line["outcome"], line["ended_with"]) == (431, "rejected", "request_head_too_large")
        await stand.rest()


async def test_a_header_of_a_mebibyte_is_431_before_it_has_come(tmp_path: Path) -> None:
    """It is not collected first."""
    async with open_stand(tmp_path) as stand:
        reaction = await shapes.sends_huge_header(stand.address, UNARY)
        assert reaction.status in {431, None}, "a reset may overtake the answer to a client that is still sending"
        await stand.line()
        await stand.rest()


async def test_a_huge_target_is_431(tmp_path: Path) -> None:
    """The request line is part of the head."""
    async with open_stand(tmp_path) as stand:
        async with connect(stand.address) as client:
            await client.send(UNARY.replace(b"/v1/chat", b"/v1/" + b"x" * 40_000, 1))
            assert (await client.read_response()).status == 431
        await stand.rest()


@pytest.mark.parametrize(("fields", "status"), [(100, 200), (101, 431)])
async def test_a_head_has_100_fields_at_most(tmp_path: Path, fields: int, status: int) -> None:
    """One more is 431."""
    own = UNARY.partition(b"\r\n\r\n")[0].count(b"\r\n")
    async with open_stand(tmp_path) as stand:
        reaction = await shapes.sends_many_headers(stand.address, UNARY, fields - own)
        assert reaction.status == status


async def test_a_body_that_announces_too_much_is_413_at_once(tmp_path: Path) -> None:
    """Before a byte of it is read; the limit is named."""
    async with open_stand(tmp_path, relay='max_body_bytes = "1MiB"') as stand:
        reaction = await shapes.sends_huge_body(stand.address, CHAT, 8 * 1024 * 1024, key=CLIENT_KEY)
        assert reaction.status == 413
        assert reaction.response is not None
        assert "1048576" in error_of(reaction.response)["message"]
        assert stand.upstream.request_count == 0
        await stand.line()
        await stand.rest()


@pytest.mark.parametrize("path", [CHAT, UPLOADS])
async def test_a_body_that_grows_too_large_is_413(tmp_path: Path, path: str) -> None:
    """In chunks it announces nothing: it is counted as it comes, also where it streams through."""
    relay = 'max_body_bytes = "1MiB"\nmax_upload_bytes = "1MiB"'
    async with open_stand(tmp_path, relay=relay) as stand:
        request = post(path, b"", key=CLIENT_KEY)
        if path == UPLOADS:
            request = request.replace(b"application/json", b"application/octet-stream")
        reaction = await shapes.sends_endless_chunks(stand.address, request, 2 * 1024 * 1024)
        assert reaction.status == 413
        await stand.upstream.wait_no_connections()
        assert not any(request.complete for request in stand.upstream.requests)
        await stand.line()
        await stand.rest()


# ---- Framing that is wrong, or a smuggler's


HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer " + CLIENT_KEY.encode() + b"\r\n"
CHUNK = b"5\r\nhello\r\n"

WRONG: dict[str, bytes] = {
    "garbage": bytes(range(256)) * 8 + b"\r\n\r\n",
    "no-version": b"GET /livez\r\n\r\n",
    "version-9": b"GET /livez HTTP/9.9\r\nhost: x\r\n\r\n",
    "both-lengths": HEAD + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n" + CHUNK + b"0\r\n\r\n",
    "both-lengths-reversed": HEAD + b"transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n" + CHUNK + b"0\r\n\r\n",
    "two-lengths": HEAD + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
    "length-negative": HEAD + b"content-length: -5\r\n\r\n",
    "length-signed": HEAD + b"content-length: +5\r\n\r\nhello",
    "length-listed": HEAD + b"content-length: 5, 5\r\n\r\nhello",
    "length-hex": HEAD + b"content-length: 0x5\r\n\r\nhello",
    "length-huge": HEAD + b"content-length: 99999999999999999999999\r\n\r\n",
    "unknown-coding": HEAD + b"transfer-encoding: gzip\r\n\r\nhello",
    "chunked-not-last": HEAD + b"transfer-encoding: chunked, gzip\r\n\r\n" + CHUNK + b"0\r\n\r\n",
    "chunk-not-a-number": HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
    "second-chunk-not-a-number": HEAD + b"transfer-encoding: chunked\r\n\r\n" + CHUNK + b"zz\r\n\r\n",
    "chunk-too-long": HEAD + b"transfer-encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n",
    "chunk-size-huge": HEAD + b"transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\nhello",
    "chunk-bare-lf": HEAD + b"transfer-encoding: chunked\r\n\r\n5\nhello\n0\n\n",
    "space-before-colon": HEAD + b"content-length : 5\r\n\r\nhello",
    "space-in-name": HEAD + b"x y: 1\r\n\r\n",
    "folded": HEAD + b"x-a: 1\r\n 2\r\n\r\n",
    "nul-in-value": HEAD + b"x-a: 1\x002\r\n\r\n",
    "cr-in-value": HEAD + b"x-a: 1\rx-b: 2\r\n\r\n",
    "no-colon": HEAD + b"x-a\r\n\r\n",
    "space-in-target": b"GET /livez /x HTTP/1.1\r\nhost: x\r\n\r\n",
}
"""What no parser may take for a request, since another one may take it for two (RFC 9112, section 11.2)."""


@pytest.mark.parametrize("name", WRONG)
async def test_wrong_framing_is_400_and_the_end_of_the_connection(tmp_path: Path, name: str) -> None:
    """It reaches no provider, what follows it is nobody's request, and it has one log line."""
    async with open_stand(tmp_path) as stand, connect(stand.address) as client:
        await client.send(WRONG[name] + LIVEZ)
        response = await client.read_response()
        assert response.status == 400
        assert response.head.get("connection") == "close"
        assert error_of(response)["code"] == "bad_http"
        assert await client.wait_closed() in {EndedBy.PEER_CLOSED, EndedBy.PEER_RESET}
        assert stand.upstream.request_count == 0
        line = await stand.line()
        assert (line["status"], line["outcome"], line["ended_with"]) == (400, "rejected", "bad_http")
        await stand.rest()


async def test_a_bad_chunk_in_an_upload_is_400_and_no_whole_file(tmp_path: Path) -> None:
    """The provider that had the first chunk sees its connection close."""
    async with open_stand(tmp_path) as stand:
        request = upload(100_000)
        reaction = await shapes.sends_bad_chunk(stand.address, request)
        assert reaction.status == 400
        await stand.upstream.wait_no_connections()
        assert not any(asked.complete for asked in stand.upstream.requests)
        await stand.line()
        await stand.rest()


async def test_http2_by_prior_knowledge_is_refused_in_words(tmp_path: Path) -> None:
    """505, and what to use."""
    async with open_stand(tmp_path) as stand:
        reaction = await shapes.sends_http2_preface(stand.address)
        assert_refused(reaction, 505)
        assert reaction.response is not None
        assert "HTTP/1.1" in error_of(reaction.response)["message"]


# ---- Odd, but right


async def test_a_request_may_come_a_byte_at_a_time(tmp_path: Path) -> None:
    """Each in a packet of its own."""
    async with open_stand(tmp_path) as stand:
        assert (await shapes.sends_byte_by_byte(stand.address, UNARY)).status == 200


async def test_a_body_may_come_in_chunks(tmp_path: Path) -> None:
    """The provider gets it with its length, byte for byte."""
    async with open_stand(tmp_path) as stand:
        assert (await shapes.sends_chunked(stand.address, UNARY)).status == 200
        (asked,) = stand.upstream.requests
        assert asked.body == UNARY.partition(b"\r\n\r\n")[2]
        assert asked.get("content-length") == str(len(asked.body))


async def test_http10_without_keep_alive_is_closed_behind_its_answer(tmp_path: Path) -> None:
    """A stream has no chunks then: its end is the connection's."""
    async with open_stand(tmp_path) as stand:
        for request in (UNARY, STREAM):
            reaction = await shapes.speaks_http10(stand.address, request)
            assert reaction.response is not None
            assert reaction.status == 200
            assert reaction.response.head.get("transfer-encoding") is None
            assert reaction.response.head.get("connection") == "close"
            assert reaction.response.body.complete
            assert reaction.ended_by in {EndedBy.PEER_CLOSED, None}


async def test_http10_with_keep_alive_is_kept(tmp_path: Path) -> None:
    """Where the answer has a length."""
    async with open_stand(tmp_path) as stand, connect(stand.address) as client:
        request = with_fields(UNARY, b"connection: keep-alive\r\n").replace(b"HTTP/1.1", b"HTTP/1.0", 1)
        for _ in range(2):
            await client.send(request)
            response = await client.read_response()
            assert response.status == 200
            assert response.head.get("connection") == "keep-alive"
        assert stand.relay.live()["client_connections"] == 1


async def test_a_failed_stream_over_http10_ends_with_its_error_event(tmp_path: Path) -> None:
    """There is no last chunk to leave out: the event is all that tells."""
    async with open_stand(tmp_path, "reset-mid-body") as stand:
        reaction = await shapes.speaks_http10(stand.address, STREAM)
        assert reaction.response is not None
        assert b'"error"' in reaction.response.body.data
        assert b"[DONE]" not in reaction.response.body.data


async def test_connection_close_is_obeyed(tmp_path: Path) -> None:
    """And said back."""
    async with open_stand(tmp_path) as stand, connect(stand.address) as client:
        await client.send(with_fields(UNARY, b"connection: close\r\n"))
        response = await client.read_response()
        assert (response.status, response.head.get("connection")) == (200, "close")
        assert await client.wait_closed() is EndedBy.PEER_CLOSED


async def test_head_has_the_head_of_get_and_no_body(tmp_path: Path) -> None:
    """And the connection goes on."""
    async with open_stand(tmp_path) as stand, connect(stand.address) as client:
        await client.request("GET", "/livez")
        got = await client.read_response()
        await client.request("HEAD", "/livez")
        headed = await client.read_response()
        assert (headed.status, headed.body.data) == (200, b"")
        assert headed.head.get("content-length") == got.head.get("content-length") == str(len(got.body.data))
        await client.request("GET", "/livez")
        assert (await client.read_response()).json() == {"status": "alive"}


async def test_a_client_that_waits_to_be_told_to_go_on_is_told(tmp_path: Path) -> None:
    """100, then its body, then the answer; the provider never sees `Expect`."""
    async with open_stand(tmp_path) as stand:
        for request in (UNARY, upload(1000)):
            reaction = await shapes.expects_continue(stand.address, request)
            assert reaction.status == 200
            assert stand.upstream.requests[-1].get("expect") is None


async def test_a_client_with_a_wrong_key_is_not_told_to_go_on(tmp_path: Path) -> None:
    """A 401 needs no body, and the connection cannot go on without it."""
    async with open_stand(tmp_path) as stand:
        reaction = await shapes.expects_continue(stand.address, UNARY.replace(CLIENT_KEY.encode(), b"sk-wrong"))
        assert reaction.status == 401
        assert reaction.response is not None
        assert reaction.response.head.get("connection") == "close"
        assert (await stand.line())["outcome"] == "rejected"
        await stand.rest()


async def test_a_body_that_did_not_wait_for_100_is_read_all_the_same(tmp_path: Path) -> None:
    """Who has sent it all needs no 100 (RFC 9110, 10.1.1)."""
    async with open_stand(tmp_path) as stand, connect(stand.address) as client:
        await client.send(with_fields(UNARY, b"expect: 100-continue\r\n"))
        head = await client.read_head()
        assert (head.status, head.interim) == (200, ())


async def test_an_absolute_target_means_its_path(tmp_path: Path) -> None:
    """As a client behind a proxy writes it (RFC 9112, 3.2.2)."""
    async with open_stand(tmp_path) as stand, connect(stand.address) as client:
        await client.send(UNARY.replace(b"POST /v1", b"POST http://relay.test/v1", 1))
        assert (await client.read_response()).status == 200
        await client.send(LIVEZ.replace(b"/livez", b"http://relay.test/livez", 1))
        assert (await client.read_response()).json() == {"status": "alive"}


@pytest.mark.parametrize("target", [b"relay.test:443", b"*", b"http://relay.test", b"//", b"/%zz", b"/\xc3\xa9"])
async def test_a_target_that_is_no_path_of_ours_is_no_crash(tmp_path: Path, target: bytes) -> None:
    """404 or its kin, in a sentence."""
    method = b"CONNECT" if b":443" in target else b"OPTIONS" if target == b"*" else b"GET"
    async with open_stand(tmp_path) as stand:
        response = await stand.ask(b"%b %b HTTP/1.1\r\nhost: x\r\n\r\n" % (method, target))
        assert response.status in {400, 404, 405}
        error_of(response)
        await stand.rest()


async def test_a_websocket_is_declined_in_words(tmp_path: Path) -> None:
    """501 until its day."""
    async with open_stand(tmp_path) as stand, connect(stand.address) as client:
        fields = f"authorization: Bearer {CLIENT_KEY}\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
        await client.send(f"GET /v1/realtime?model=m HTTP/1.1\r\nhost: x\r\n{fields}\r\n".encode())
        response = await client.read_response()
        assert response.status == 501
        assert "WebSocket" in error_of(response)["message"]


async def test_an_offer_of_h2c_is_passed_over(tmp_path: Path) -> None:
    """Curl --http2 makes one; we go on with HTTP/1.1, as is a server's right (RFC 9110, 7.8)."""
    fields = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"
    async with open_stand(tmp_path) as stand:
        for request in (UNARY, STREAM):
            response = await stand.ask(with_fields(request, fields))
            assert response.status == 200
            assert response.body.complete
            assert stand.upstream.requests[-1].get("http2-settings") is None
            assert stand.upstream.requests[-1].get("upgrade") is None


# ---- Answers that come early


async def test_a_providers_early_answer_is_passed_on_and_both_connections_close(tmp_path: Path) -> None:
    """What was left of the body would be taken for the next request."""
    async with open_stand(tmp_path, "early-answer;status=413") as stand:
        async with connect(stand.address) as client, trio.open_nursery() as nursery:
            nursery.start_soon(send_what_is_taken, client, upload(3_000_000)[:-1_000_000])
            assert (await client.read_response()).status == 413
            await client.wait_closed()
        await stand.upstream.wait_no_connections()
        stand.upstream.script.always = "answer"
        assert (await stand.ask(UNARY)).status == 200
        assert stand.upstream.connections.opened == 2
        assert list(stand.upstream.complaints) == []
        await stand.rest()


async def test_a_small_rest_of_a_body_costs_no_connection(tmp_path: Path) -> None:
    """Up to 64 KiB that come within a second are read past: a 401 must not cost a handshake."""
    async with open_stand(tmp_path) as stand, connect(stand.address) as client:
        request = post(CHAT, b"x" * 30_000, key="sk-wrong")
        await client.send(request[:500])
        assert (await client.read_response()).status == 401
        await client.send(request[500:] + UNARY)
        assert (await client.read_response()).status == 200
        await stand.line(2)


async def test_a_large_rest_of_a_body_is_not_read(tmp_path: Path) -> None:
    """More than that, and the connection ends; the answer arrives before it."""
    async with open_stand(tmp_path) as stand:
        reaction = await shapes.sends_huge_body(stand.address, CHAT, 50 * 1024 * 1024, key="sk-wrong")
        assert reaction.status == 401
        await stand.line()
        await stand.rest()


async def test_a_connection_goes_on_after_errors(tmp_path: Path) -> None:
    """Every error whose body was read leaves the connection usable, the provider's errors and ours."""
    async with open_stand(tmp_path, channel='models = ["fake-small"]') as stand, connect(stand.address) as client:
        wanted = [401, 404, 404, 405, 400, 400, 429, 200]
        stand.upstream.script.enqueue("answer;status=429", "answer")
        unknown = post("/v1/nothing", b"{}", key=CLIENT_KEY)
        no_model = UNARY.replace(b"fake-small", b"dall-e-444")
        wrong_method = unknown.replace(b"POST /v1/nothing", b"PATCH /v1/models")
        bad_json = post(CHAT, b"{", key=CLIENT_KEY)
        nameless = post(CHAT, b'{"messages": []}', key=CLIENT_KEY)
        wrong_key = UNARY.replace(CLIENT_KEY.encode(), b"sk-wrong")
        for request in (wrong_key, unknown, no_model, wrong_method, bad_json, nameless, UNARY, UNARY):
            await client.send(request)
            response = await client.read_response()
            assert response.status == wanted.pop(0)
            if response.status != 200:
                error_of(response)
        await stand.line(8)


# ---- Slots and the queue


FULL = "max_concurrency = 2\nmax_queue = 1"


async def test_who_finds_the_relay_full_is_told_how_full_it_is(tmp_path: Path) -> None:
    """503 with Retry-After and the numbers, at once."""
    async with open_stand(tmp_path, "silent-before-head", relay=FULL) as stand:
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(stand.ask, UNARY)
            await stand.upstream.wait_requests(2)
            nursery.start_soon(stand.ask, UNARY)
            await trio.sleep(1)
            response = await stand.ask(UNARY)
            assert response.status == 503
            assert "(queue 1/1, slots 2/2)" in error_of(response)["message"]
            assert response.head.get("retry-after") == "1"
            assert (await stand.line())["outcome"] == "rejected"
            assert stand.relay.running.services.admission.statistics().queued == 1
            nursery.cancel_scope.cancel()
        await stand.upstream.wait_no_connections()
        await stand.rest()


async def test_slots_are_given_in_the_order_of_asking(tmp_path: Path) -> None:
    """First come, first served."""
    async with open_stand(tmp_path, "late-head;interval=2", relay="max_concurrency = 1\nmax_queue = 9") as stand:
        async with trio.open_nursery() as nursery:
            for number in range(6):
                nursery.start_soon(stand.ask, UNARY.replace(b"Say something", b"Say nr. %5d" % number))
                await trio.sleep(0.1)
        asked = [json.loads(request.body)["messages"][0]["content"] for request in stand.upstream.requests]
        assert asked == sorted(asked)
        assert len(asked) == 6
        await stand.line(6)
        await stand.rest()


async def test_who_leaves_the_queue_leaves_nothing(tmp_path: Path) -> None:
    """Neither a slot nor a place: the next in line is served, and who left reached no provider."""
    async with open_stand(tmp_path, "late-head;interval=10", relay="max_concurrency = 1") as stand:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stand.ask, UNARY)
            await stand.upstream.wait_requests(1)
            await shapes.leaves_before_head(stand.address, UNARY, after(3))
            line = await stand.line()
            assert (line["outcome"], line["phase"], line["status"]) == ("client_disconnected", "queue", 499)
            assert (await stand.ask(UNARY)).status == 200
        assert stand.upstream.request_count == 2
        await stand.line(3)
        await stand.rest()


NARROW_KEY = f"""
    [[keys]]
    name = "narrow"
    digest = "{format_digest(digest_of("sk-narrow-key-0123456789"))}"
    concurrency = 1
"""
"""A table that may follow a channel's."""

NARROW = UNARY.replace(CLIENT_KEY.encode(), b"sk-narrow-key-0123456789")


async def test_a_key_at_its_own_limit_is_429(tmp_path: Path) -> None:
    """The relay is not full, the key is: other keys go on, and so does this one once its request is over."""
    async with open_stand(tmp_path, "late-head;interval=20", channel=NARROW_KEY) as stand:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stand.ask, NARROW)
            await stand.upstream.wait_requests(1)
            response = await stand.ask(NARROW)
            assert response.status == 429
            assert "(1/1)" in error_of(response)["message"]
            assert response.head.get("retry-after") == "1"
            assert (await stand.ask(UNARY)).status == 200
        assert (await stand.ask(NARROW)).status == 200
        await stand.line(4)
        await stand.rest()


async def test_a_keys_limit_holds_for_those_that_wait_too(tmp_path: Path) -> None:
    """Two of its requests in the queue would both get a slot one day."""
    async with open_stand(
        tmp_path, "late-head;interval=20", relay="max_concurrency = 2\nmax_queue = 9", channel=NARROW_KEY
    ) as stand:
        statuses: list[int] = []

        async def ask() -> None:
            statuses.append((await stand.ask(NARROW)).status)

        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(stand.ask, UNARY)
            await stand.upstream.wait_requests(2)
            for _ in range(3):
                nursery.start_soon(ask)
        assert sorted(statuses) == [200, 429, 429]
        await stand.rest()


async def test_bodies_share_a_budget_of_memory(tmp_path: Path) -> None:
    """What does not fit waits on the queue's clock, then 503; what fits goes on (guarantee G7)."""
    relay = 'max_buffered_bytes = "1MiB"\nmax_body_bytes = "1MiB"'
    async with open_stand(tmp_path, "silent-before-head", relay=relay) as stand:
        big = post(CHAT, b'{"model": "fake-small", "messages": []}'.ljust(600 * 1024), key=CLIENT_KEY)
        async with connect(stand.address) as holder:
            await holder.send(big)
            await stand.upstream.wait_requests(1)
            response = await stand.ask(big)
            assert response.status == 503
            assert error_of(response)["setting"] == "RELAY_QUEUE_TIMEOUT"
            stand.upstream.script.always = "answer"
            assert (await stand.ask(UNARY)).status == 200
        assert (await stand.ask(big)).status == 200
        await stand.line(4)
        await stand.rest()
        assert stand.relay.running.services.budget.used == 0


@pytest.mark.parametrize("path", [CHAT, "/v1/messages", "/v1/responses"])
async def test_a_body_is_held_no_longer_than_it_may_be_sent_again(path: str, tmp_path: Path) -> None:
    """A stream may last for an hour: once content has left nobody else is asked, and others have room for their bodies."""
    relay = 'max_buffered_bytes = "1MiB"\nmax_body_bytes = "1MiB"'
    async with (
        open_stand(tmp_path, "silent-mid-body", relay=relay) as stand,
        connect(stand.address) as reader,
        connect(stand.address) as other,
    ):
        tracemalloc.start()
        try:
            await reader.send(long_ask(path, 600 * 1024))
            await reader.read_head()
            first = await reader.read_event()
            assert first is not None
            assert blocks_of_the_relay(at_least=300 * 1024) == []
        finally:
            tracemalloc.stop()
        assert stand.relay.running.services.budget.used == 0
        await other.send(long_ask(path, 700 * 1024))
        await other.read_head()
        assert await other.read_event() is not None, "both are live"
        assert stand.relay.running.services.budget.used == 0


def long_ask(path: str, size: int) -> bytes:
    """Return a request of this size, most of it one message."""
    messages = "input" if path.endswith("/responses") else "messages"
    body = {
        "model": "fake-small",
        "stream": True,
        "max_tokens": 5,
        messages: [{"role": "user", "content": "x" * size}],
    }
    return post(path, json.dumps(body).encode(), key=CLIENT_KEY)


def blocks_of_the_relay(*, at_least: int) -> list[str]:
    """Return where the large blocks of memory were made that the relay still holds; the fakes keep what they are sent."""
    gc.collect()
    product = [f"{package.__path__[0]}/" for package in (relay_trio, adaptors)]
    fakes = f"{relay_trio.testing.__path__[0]}/"
    made = [trace.traceback[0] for trace in tracemalloc.take_snapshot().traces if trace.size >= at_least]
    ours = [place for place in made if place.filename.startswith(tuple(product))]
    return [str(place) for place in ours if not place.filename.startswith(fakes)]


async def test_without_a_slot_no_body_is_read(tmp_path: Path) -> None:
    """A request in the queue costs its head's memory, no more."""
    async with open_stand(tmp_path, "silent-before-head", relay="max_concurrency = 1") as stand:
        async with connect(stand.address) as holder, connect(stand.address) as waiting:
            await holder.send(UNARY)
            await stand.upstream.wait_requests(1)
            with trio.move_on_after(10):
                await waiting.send(post(CHAT, b"x" * 20_000_000, key=CLIENT_KEY))
            assert waiting.link.bytes_sent == 0, "the send did not finish"
            assert stand.relay.running.services.budget.used < 200_000
            waiting.reset()
        await stand.upstream.wait_no_connections()
        await stand.line(2)
        await stand.rest()


# ---- What they share


def assert_refused(reaction: shapes.Reaction, status: int) -> None:
    """The client was told, in JSON, and its connection ended with FIN."""
    assert reaction.status == status
    assert reaction.response is not None
    assert reaction.response.head.get("connection") == "close"
    error_of(reaction.response)
