"""Every misbehaviour does on the wire what its name says."""

from __future__ import annotations

import gzip
import re
import ssl
import zlib

import attrs
import pytest
import trio

from relay_trio.testing.certificates import client_context, server_context
from relay_trio.testing.conversation import Fault, Nature, Stage
from relay_trio.testing.fake_client import FakeClient, connect
from relay_trio.testing.fake_upstream import FakeUpstream, open_fake_upstream
from relay_trio.testing.http_text import BodyEnd, Malformed
from relay_trio.testing.link import EndedBy, PeerGone
from relay_trio.testing.misbehaviours import MISBEHAVIOURS, find, listing
from relay_trio.testing.shapes import chat, post

pytestmark = pytest.mark.anyio

PATIENCE_S = 3500
"""Longer than the slowest good answer: 3 KB at a byte a second."""

ENOUGH_BYTES = 400_000


@attrs.frozen
class Witness:
    """What a client saw: all bytes, and how they ended: fin, reset, or silence (the connection is open, nothing comes)."""

    raw: bytes
    end: str
    after_s: float


async def witness(client: FakeClient, request: bytes) -> Witness:
    """Send the request and watch what comes, until it ends or it is clear that it does not."""
    raw, end, start = bytearray(), "silence", trio.current_time()
    with trio.move_on_after(PATIENCE_S):
        try:
            await client.send(request)
            while len(raw) < ENOUGH_BYTES and (data := await client.link.receive()):
                raw += data
            end = "fin" if len(raw) < ENOUGH_BYTES else "more"
        except PeerGone:
            end = "reset"
    return Witness(bytes(raw), end, trio.current_time() - start)


async def witness_of(behaviour: str, *, stream: bool, tls: ssl.SSLContext | None = None) -> Witness:
    """Ask a fresh upstream that always behaves so."""
    async with open_fake_upstream(behaviour, tls=tls) as upstream:
        async with connect(upstream.url, tls=tls and client_context()) as client:
            seen = await witness(client, chat(stream=stream))
        with trio.fail_after(PATIENCE_S):
            await upstream.wait_no_connections()
        assert not upstream.complaints
    return seen


HEAD = rb"^HTTP/1\.1 200 OK\r\ncontent-type: text/event-stream.*?\r\n\r\n"
WHOLE = rb"finish_reason\":\"stop\".*data: \[DONE\]\n\n\r\n0\r\n\r\n"
SOME = HEAD + rb".*?\"role\":\"assistant\".*?\"The\""

STREAMS: dict[str, tuple[str, bytes]] = {
    "close-on-accept": ("reset", b"^$"),
    "reset-on-accept": ("reset", b"^$"),
    "tls-hangs": ("silence", b"^$"),
    "tls-closes": ("fin", b"^$"),
    "tls-resets": ("reset", b"^$"),
    "tls-garbage": ("fin", rb"^HTTP/1\.1 400"),
    "never-reads": ("silence", b"^$"),
    "reset-during-head": ("reset", b"^$"),
    "close-during-head": ("fin", b"^$"),
    "never-reads-body": ("silence", b"^$"),
    "reset-during-body": ("reset", b"^$"),
    "early-answer": ("fin", rb"^HTTP/1\.1 200 OK.*connection: close\r\n\r\n\{.*\}$"),
    "early-answer-reset": ("reset", rb"^HTTP/1\.1 200 OK.*connection: close\r\n\r\n\{.*\}$"),
    "close-after-request": ("fin", b"^$"),
    "reset-after-request": ("reset", b"^$"),
    "close-mid-head": ("fin", rb"^HTTP/1\.1 200 OK(?!.*\r\n\r\n)"),
    "reset-mid-head": ("reset", rb"^HTTP/1\.1 200 OK(?!.*\r\n\r\n)"),
    "close-after-head": ("fin", HEAD + b"$"),
    "reset-after-head": ("reset", HEAD + b"$"),
    "reset-mid-body": ("reset", SOME + b"(?!.*quick)"),
    "truncated-length": ("fin", rb"content-length: \d{4}\r\n.*\"The\"(?!.*quick)"),
    "truncated-chunked": ("fin", rb"chunked\r\n.*\"The\"(?!.*quick).*\n\n\r\n$"),
    "truncated-mid-chunk": ("fin", rb"chunked\r\n.*\"The\"(?!.*quick).*\r\n1000\r\n.{10}$"),
    "truncated-without-notice": ("fin", rb"chunked\r\n.*\"The\"(?!.*quick).*\n\n\r\n$"),
    "close-announced": ("fin", rb"\r\nconnection: close\r\n\r\n.*" + WHOLE),
    "close-unannounced": ("fin", HEAD + b".*" + WHOLE),
    "reset-unannounced": ("reset", HEAD + b".*" + WHOLE),
    "close-on-reuse": ("silence", HEAD + b".*" + WHOLE),
    "reset-on-reuse": ("silence", HEAD + b".*" + WHOLE),
    "stray-bytes": ("silence", WHOLE + rb"HTTP/1\.1 408 "),
    "silent-before-head": ("silence", b"^$"),
    "silent-mid-head": ("silence", rb"^HTTP/1\.1 200 OK(?!.*\r\n\r\n)"),
    "silent-after-head": ("silence", HEAD + b"$"),
    "silent-mid-body": ("silence", SOME + b"(?!.*quick)"),
    "silent-before-end": ("silence", HEAD + rb".*data: \[DONE\]\n\n\r\n$"),
    "late-head": ("silence", HEAD + b".*" + WHOLE),
    "late-body": ("silence", HEAD + b".*" + WHOLE),
    "drip-head": ("silence", HEAD + b".*" + WHOLE),
    "drip-body": ("silence", HEAD + rb"1\r\nd\r\n1\r\na\r\n1\r\nt\r\n.*0\r\n\r\n$"),
    "slow-body": ("silence", HEAD + b".*" + WHOLE),
    "endless-body": ("more", SOME + b".*x{60000}"),
    "endless-drip": ("silence", SOME + rb".*(1\r\n:\r\n){100}"),
    "endless-comments": ("silence", HEAD + rb"(e\r\n: keep-alive\n\n\r\n){100}"),
    "endless-head": ("more", rb"^HTTP/1\.1 200 OK(?!.*\r\n\r\n).*x-field-5-99: more"),
    "endless-interim": ("silence", rb"^(HTTP/1\.1 102 Processing\r\n\r\n){100}"),
    "endless-trailers": ("more", rb"data: \[DONE\]\n\n\r\n0\r\nx-trailer-0: x.*x-trailer-99: x(?!.*\r\n\r\n)"),
    "garbage": ("fin", b"^\x00\x01\x02"),
    "bad-status-line": ("fin", rb"^HTTP/1\.1 OK 200\r\n"),
    "bad-version": ("fin", rb"^HTTP/9\.9 200 OK\r\n"),
    "bad-header-line": ("fin", rb"\r\nthis is no header field\r\n\r\n.*\[DONE\]\n\n$"),
    "nul-in-header": ("fin", rb"\r\nx-odd: a\x00b\r\n\r\n"),
    "giant-header;size=300000": ("fin", rb"\r\nx-giant: x{60000}"),
    "many-headers": ("fin", rb"\r\nx-field-4999: 1\r\n\r\n"),
    "giant-status-line;size=300000": ("fin", rb"^HTTP/1\.1 200 x{60000}"),
    "bad-chunk-size": ("fin", SOME + rb"(?!.*quick).*\r\nzz\r\nhello"),
    "negative-chunk-size": ("fin", SOME + rb"(?!.*quick).*\r\n-5\r\nhello"),
    "huge-chunk-size": ("fin", SOME + rb"(?!.*quick).*\r\nf{17}\r\nhello"),
    "giant-chunk-line;size=300000": ("fin", SOME + rb"(?!.*quick).*\r\n5;x{60000}"),
    "chunk-too-long": ("fin", SOME + rb"(?!.*quick).*\r\n5\r\nhello, world\r\n"),
    "length-too-small": ("fin", rb"content-length: \d{4}\r\n\r\n.*data: \[DONE\]\n\n$"),
    "length-too-large": ("silence", rb"content-length: \d{4}\r\n\r\n.*data: \[DONE\]\n\n$"),
    "length-invalid": ("fin", rb"content-length: many\r\n"),
    "length-negative": ("fin", rb"content-length: -1\r\n"),
    "lengths-differ": ("fin", rb"content-length: (\d+)\r\ncontent-length: (?!\1)\d+\r\n"),
    "length-and-chunked": ("silence", rb"chunked\r\ncontent-length: \d+\r\n\r\n.*" + WHOLE),
    "body-after-204": ("fin", rb"^HTTP/1\.1 204 No Content\r\n.*\r\n\r\ndata: "),
    "close-delimited": ("fin", rb"connection: close\r\n\r\ndata: .*data: \[DONE\]\n\n$"),
    "http10": ("fin", rb"^HTTP/1\.0 200 OK.*data: \[DONE\]\n\n$"),
    "chunked": ("silence", HEAD + b".*" + WHOLE),
    "fixed-length": ("silence", rb"content-length: \d{4}\r\n\r\ndata: .*data: \[DONE\]\n\n$"),
    "interim": ("silence", rb"^HTTP/1\.1 100 .*HTTP/1\.1 102 .*HTTP/1\.1 103 .*HTTP/1\.1 200 .*" + WHOLE),
    "trailers": ("silence", rb"0\r\nx-checksum: 1234\r\n\r\n$"),
    "chunk-extensions": ("silence", rb"[0-9a-f]+;signature=\"a;b\"\r\ndata: "),
    "one-byte-chunks": ("silence", HEAD + rb"1\r\nd\r\n1\r\na\r\n.*\r\n0\r\n\r\n$"),
    "one-byte-writes": ("silence", rb"content-length: \d{4}\r\n\r\ndata: .*data: \[DONE\]\n\n$"),
    "one-write": ("silence", HEAD + b".*" + WHOLE),
    "duplicate-headers": ("silence", rb"x-twice: one\r\nx-twice: two\r\n.*" + WHOLE),
    "folded-header": ("silence", rb"x-folded: one\r\n two\r\n\r\ndata: .*\[DONE\]\n\n$"),
    "bare-line-feeds": ("silence", rb"^HTTP/1\.1 200 OK\ncontent-type: .*\n\ndata: .*\[DONE\]\n\n$"),
    "answer": ("silence", HEAD + b".*" + WHOLE),
    "retry-after-seconds": ("silence", rb"^HTTP/1\.1 429 .*retry-after: 20\r\n.*rate_limit_exceeded"),
    "retry-after-ms": ("silence", rb"^HTTP/1\.1 429 .*retry-after-ms: 20000\r\n.*rate_limit_exceeded"),
    "retry-after-date": ("silence", rb"^HTTP/1\.1 429 .*retry-after: \w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT\r\n"),
    "retry-after-garbage": ("silence", rb"^HTTP/1\.1 429 .*retry-after: soon\r\n"),
    "insufficient-quota": ("silence", rb"^HTTP/1\.1 429 .*\"insufficient_quota\"\}\}$"),
    "overloaded-529": ("silence", rb"^HTTP/1\.1 529 .*overloaded_error"),
    "html-503": ("silence", rb"^HTTP/1\.1 503 .*text/html.*<html>"),
    "empty-error": ("silence", rb"^HTTP/1\.1 503 .*content-length: 0\r\n\r\n$"),
    "text-error": ("silence", rb"^HTTP/1\.1 503 .*text/plain.*\r\n\r\nupstream connect error$"),
    "redirect": ("silence", rb"^HTTP/1\.1 302 .*location: /v1/chat/completions\r\n"),
    "error-in-200": ("silence", rb"^HTTP/1\.1 200 .*application/json.*\r\n\r\n\{\"error\":"),
    "error-event": ("silence", SOME + rb"(?!.*quick).*data: \{\"error\":.*\r\n0\r\n\r\n$"),
    "error-event-first": ("silence", HEAD + rb"[0-9a-f]+\r\ndata: \{\"error\":.*\r\n0\r\n\r\n$"),
    "response-failed": ("silence", SOME + rb"(?!.*quick).*data: \{\"error\":.*\r\n0\r\n\r\n$"),
    "html-200": ("silence", rb"^HTTP/1\.1 200 .*text/html.*<html>"),
    "html-as-json": ("silence", HEAD + rb"[0-9a-f]+\r\n<!doctype html>"),
    "json-for-stream": ("silence", rb"^HTTP/1\.1 200 .*application/json.*\r\n\r\n\{\"id\":\"chatcmpl.*\}$"),
    "stream-for-json": ("silence", HEAD + b".*" + WHOLE),
    "empty-200": ("silence", HEAD + rb"0\r\n\r\n$"),
    "bad-json": ("silence", SOME + rb"(?!.*quick).*system_fing\w*\n\n\r\n0\r\n\r\n$"),
    "garbage-in-body": ("silence", SOME + rb"(?!.*quick).*\xff\xfe.*\r\n0\r\n\r\n$"),
    "giant-line;size=300000": ("silence", SOME + rb".*\"content\":\"\r\n.*x{60000}.*data: \[DONE\]\n\n\r\n0\r\n\r\n$"),
    "no-terminal-event": ("silence", SOME + rb"(?!.*(quick|stop|DONE)).*\r\n0\r\n\r\n$"),
    "no-done": ("silence", SOME + rb"(?!.*DONE).*\"stop\".*\r\n0\r\n\r\n$"),
    "torn-last-event": ("silence", SOME + rb".*data: \[DONE\]\r\n0\r\n\r\n$"),
    "stream-in-other-spelling": ("silence", HEAD + rb"[0-9a-f]+\r\n\xef\xbb\xbf: hello\r\n\r\n.*data:\[DONE\]\r\n\r\n"),
    "gzip-answer": ("silence", rb"content-encoding: gzip\r\n.*\x1f\x8b.*\r\n0\r\n\r\n$"),
    "deflate-answer": ("silence", rb"content-encoding: deflate\r\n.*\r\n0\r\n\r\n$"),
    "gzip-truncated": ("silence", rb"content-encoding: gzip\r\n.*\x1f\x8b.*\r\n0\r\n\r\n$"),
    "gzip-corrupt": ("silence", rb"content-encoding: gzip\r\n.*data: \[DONE\]"),
    "gzip-bomb;size=2097152": ("silence", rb"content-encoding: gzip\r\n.*\x1f\x8b.*\r\n0\r\n\r\n$"),
    "unknown-encoding": ("silence", rb"content-encoding: x-secret\r\n.*data: \[DONE\]"),
    "binary-for-json": ("silence", rb"application/octet-stream.*\x00\x01\x02"),
}
"""What a client that asked for a stream sees of each: how it ends, and a pattern of all bytes that came."""

TLS_HANDSHAKE = {
    "close-on-accept": "reset",
    "reset-on-accept": "reset",
    "tls-hangs": "silence",
    "tls-closes": "fin",
    "tls-resets": "reset",
    "tls-garbage": "garbage",
}
"""Those over TLS: how the handshake ends."""


def test_every_misbehaviour_is_watched() -> None:
    """There is no name in the table without an expectation here, and none the other way round."""
    assert {Fault.parse(written).name for written in STREAMS} == set(MISBEHAVIOURS)


@pytest.mark.parametrize("behaviour", STREAMS)
async def test_does_what_it_says(behaviour: str) -> None:
    """Asked for a stream in clear text, it sends these bytes and ends so."""
    seen = await witness_of(behaviour, stream=True)

    end, pattern = STREAMS[behaviour]
    assert seen.end == end
    assert end != "fin" or seen.after_s == (1.0 if behaviour == "early-answer" else 0.0)
    assert re.search(pattern, seen.raw, re.DOTALL), seen.raw[:2000]


@pytest.mark.parametrize("behaviour", [name for name in STREAMS if name not in TLS_HANDSHAKE])
async def test_does_the_same_over_tls(behaviour: str) -> None:
    """Over TLS the bytes and the end are those of clear text."""
    seen = await witness_of(behaviour, stream=True, tls=server_context())

    end, pattern = STREAMS[behaviour]
    assert seen.end == end
    assert re.search(pattern, seen.raw, re.DOTALL), seen.raw[:2000]


@pytest.mark.parametrize("behaviour", TLS_HANDSHAKE)
async def test_spoils_the_handshake(behaviour: str) -> None:
    """What happens before TLS happens to the handshake: it hangs, or it fails."""
    async with open_fake_upstream(behaviour, tls=server_context()) as upstream:
        end = "silence"
        with trio.move_on_after(PATIENCE_S):
            try:
                async with connect(upstream.url, tls=client_context()):
                    end = "established"
            except PeerGone as exc:
                end = _how_the_handshake_failed(exc)

        assert end == TLS_HANDSHAKE[behaviour]
        await upstream.wait_no_connections()
        took_the_hello = upstream.connections.ended[0].bytes_received > 0
        assert took_the_hello is behaviour.startswith("tls-")


def _how_the_handshake_failed(exc: PeerGone) -> str:
    broken = exc.__cause__
    assert broken is not None
    text = repr(broken.__cause__)
    return "garbage" if "WRONG_VERSION" in text else "reset" if "reset" in text else "fin"


UNARY = [
    "answer",
    "truncated-length",
    "reset-mid-body",
    "silent-mid-body",
    "silent-before-end",
    "drip-body",
    "endless-body",
    "bad-json",
    "error-event",
    "no-terminal-event",
    "gzip-answer",
    "giant-line;size=300000",
]


@pytest.mark.parametrize("status", [200, 429, 503])
@pytest.mark.parametrize("behaviour", UNARY)
async def test_goes_with_every_status(behaviour: str, status: int) -> None:
    """A fault can strike an error answer as well as a good one: the status is the one that was asked for."""
    seen = await witness_of(f"{behaviour};status={status}", stream=False)

    assert seen.raw.startswith(b"HTTP/1.1 %d " % status)
    assert (b'{"error"' in seen.raw) is (status >= 400 or behaviour == "error-event") or "gzip" in behaviour


@pytest.mark.parametrize(
    ("behaviour", "seconds"),
    [
        ("late-head", 600),
        ("late-head;interval=30", 30),
        ("late-body", 600),
        ("slow-body", 13),
        ("slow-body;interval=0.5;words=50", 26.5),
        ("answer;interval=2", 24),
        ("answer", 0),
    ],
)
async def test_takes_its_time(behaviour: str, seconds: float) -> None:
    """What is slow is as slow as its interval says, and whole in the end."""
    async with open_fake_upstream(behaviour) as upstream, connect(upstream.url) as client:
        start = trio.current_time()
        await client.send(chat())
        await client.read_head()
        events = await client.read_events()

        assert events.data[-1] == "[DONE]"
        assert trio.current_time() - start == pytest.approx(seconds)


OTHER_BYTES = {
    "no-done",
    "torn-last-event",
    "stream-in-other-spelling",
    "gzip-answer",
    "deflate-answer",
    "early-answer",
}
"""Right, but not byte for byte: looked at elsewhere."""


@pytest.mark.parametrize(
    "name",
    [
        row.name
        for row in MISBEHAVIOURS.values()
        if row.nature in {Nature.WHOLE, Nature.SLOW} and row.name not in OTHER_BYTES
    ],
)
async def test_odd_forms_hold_the_right_answer(name: str) -> None:
    """However odd the form, who reads HTTP right gets the answer that an honest provider gives, byte for byte."""
    bodies = []
    for behaviour in ("answer", name):
        async with open_fake_upstream(behaviour) as upstream, connect(upstream.url) as client:
            await client.send(chat())
            bodies.append((await client.read_response()).body)

    assert bodies[1].complete
    assert bodies[1].data == bodies[0].data


@pytest.mark.parametrize("name", [row.name for row in MISBEHAVIOURS.values() if row.nature is Nature.ENDLESS])
async def test_what_never_ends_lets_time_pass(name: str) -> None:
    """Between two sends the clock goes on, so that a deadline gets its turn; with `interval=0` it does not."""
    seen = await witness_of(name, stream=True)

    assert seen.after_s >= 5
    if seen.end == "more":
        assert (await witness_of(f"{name};interval=0", stream=True)).after_s == 0


async def test_drips_a_byte_a_second() -> None:
    """A dripping head takes a second for each byte, a dripping body one between two."""
    for name in ("drip-head", "drip-body"):
        async with open_fake_upstream(f"{name};words=1") as upstream, connect(upstream.url) as client:
            start = trio.current_time()
            await client.send(chat(stream=False))
            response = await client.read_response()
            size = client.link.bytes_received - len(response.body.data)

            assert trio.current_time() - start == (size if name == "drip-head" else len(response.body.data) - 1)


async def test_resets_an_idle_connection_a_second_later() -> None:
    """The answer is whole, and the reset comes when the connection is idle."""
    seen = await witness_of("reset-unannounced", stream=False)

    assert (seen.end, seen.after_s) == ("reset", 1.0)


@pytest.mark.parametrize("name", [row.name for row in MISBEHAVIOURS.values() if row.nature is Nature.SILENT])
async def test_silence_stays_silent(name: str) -> None:
    """What is silent does not wake up when more is asked of it on the same connection."""
    async with open_fake_upstream(name) as upstream, connect(upstream.url) as client:
        once = await witness(client, chat())
        again = await witness(client, chat())

        assert (once.end, again) == ("silence", Witness(b"", "silence", PATIENCE_S))
        assert upstream.request_count <= 1


@pytest.mark.parametrize("behaviour", ["never-reads", "never-reads-body"])
async def test_never_reading_stalls_the_sender(behaviour: str) -> None:
    """A body larger than the sockets' buffers cannot be sent; when the sender leaves, its leaving is seen in the end."""
    async with open_fake_upstream(behaviour, receive_buffer=4096) as upstream:
        async with connect(upstream.url) as client:
            with trio.move_on_after(PATIENCE_S) as stalled:
                await client.send(post("/v1/embeddings", b" " * 16 * 1024 * 1024))

            assert stalled.cancelled_caught
            assert upstream.request_count == (0 if behaviour == "never-reads" else 1)
        await upstream.wait_no_connections()
        assert upstream.connections.ended[0].peer_first


@pytest.mark.parametrize("behaviour", ["close-on-reuse", "reset-on-reuse"])
async def test_strikes_on_reuse(behaviour: str) -> None:
    """The first request is answered, the second on the same connection gets no byte; another connection works."""
    async with open_fake_upstream() as upstream:
        upstream.script.enqueue(behaviour)
        async with connect(upstream.url) as client:
            await client.send(chat(stream=False))
            assert (await client.read_response()).status == 200
            seen = await witness(client, chat(stream=False))
        async with connect(upstream.url) as client:
            await client.send(chat(stream=False))
            assert (await client.read_response()).status == 200

        assert seen == Witness(b"", "fin" if behaviour.startswith("close") else "reset", seen.after_s)
        assert upstream.request_count == 3


async def test_answers_before_the_body_is_sent() -> None:
    """The answer is whole although half of the request's body was never sent."""
    async with open_fake_upstream("early-answer;status=503") as upstream, connect(upstream.url) as client:
        request = post("/v1/files", b"x" * 100_000)
        await client.send(request[:-50_000])
        response = await client.read_response()

        assert response.status == 503
        assert response.json()["error"]["code"] == "server_is_overloaded"
        assert upstream.requests[0].body_size == 0


async def test_compressed_answers_unpack_to_the_answer() -> None:
    """Gzip and deflate answers are the same events; the truncated one lacks its end; the bomb is 2 MiB of string."""
    bodies = {}
    for name in ("answer", "gzip-answer", "deflate-answer", "gzip-truncated", "gzip-bomb;size=2097152"):
        async with open_fake_upstream(name) as upstream, connect(upstream.url) as client:
            await client.send(chat())
            bodies[name] = (await client.read_response()).body

    assert all(body.end is BodyEnd.COMPLETE for body in bodies.values())
    assert gzip.decompress(bodies["gzip-answer"].data) == bodies["answer"].data
    assert zlib.decompress(bodies["deflate-answer"].data) == bodies["answer"].data
    with pytest.raises(EOFError):
        gzip.decompress(bodies["gzip-truncated"].data)
    bomb = bodies["gzip-bomb;size=2097152"].data
    assert gzip.decompress(bomb) == b'"' + b"x" * 2097152 + b'"'
    assert len(bomb) < 5000


async def test_responses_streams_fail_in_their_own_words() -> None:
    """On /responses the error event is the flat one with a sequence number, and `response.failed` ends it."""
    for name, kind in (("error-event", "error"), ("response-failed", "response.failed")):
        async with open_fake_upstream(name) as upstream, connect(upstream.url) as client:
            await client.post_json("/v1/responses", {"model": "m", "input": "hi", "stream": True})
            await client.read_head()
            last = (await client.read_events()).events[-1]

        assert last.name == last.json()["type"] == kind
        assert last.json()["sequence_number"] == 2


async def test_after_says_when_a_fault_strikes() -> None:
    """`after` pieces of the body go out first, and never the whole body."""
    counts = []
    for after in (0, 1, 5, 1000):
        async with open_fake_upstream(f"truncated-chunked;after={after}") as upstream, connect(upstream.url) as client:
            await client.send(chat())
            await client.read_head()
            stream = await client.read_events()
            counts.append(len(stream.events))
            assert stream.end is BodyEnd.TRUNCATED

    assert counts == [0, 1, 5, 12]  # of thirteen: role, ten words, finish_reason, [DONE]


async def test_a_silent_upstream_sees_its_peer_leave() -> None:
    """While it is silent it notices at once that the peer has left, and the record says so."""
    async with open_fake_upstream("silent-mid-body") as upstream:
        async with connect(upstream.url) as client:
            await client.send(chat())
            await client.read_head()
            left_at = trio.current_time()
        await upstream.wait_no_connections()

        (record,) = upstream.connections.ended
        assert record.ended_by in {EndedBy.PEER_CLOSED, EndedBy.PEER_RESET}
        assert record.closed_at == left_at


def test_the_written_form_says_everything() -> None:
    """A fault can be written as a model name or a path and read back; what does not exist is refused by name."""
    fault = Fault("drip-body", status=429, stream=True, after=3, interval=0.5, size=10, words=7, retry_after=1.5)

    assert Fault.parse(str(fault)) == fault
    assert str(Fault("answer")) == "fault:answer"
    with pytest.raises(ValueError, match="no parameter 'speed'"):
        Fault.parse("answer;speed=1")
    with pytest.raises(LookupError, match="truncated-length"):
        find("truncate-length")


def test_every_row_is_told_in_a_line() -> None:
    """The list names each behaviour with its stage, its nature and a sentence."""
    lines = listing().splitlines()

    assert len(lines) == len(MISBEHAVIOURS)
    assert all(row.summary.endswith(".") for row in MISBEHAVIOURS.values())
    assert {row.nature for row in MISBEHAVIOURS.values()} == set(Nature)
    assert {row.stage for row in MISBEHAVIOURS.values()} == set(Stage)


async def ask(upstream: FakeUpstream) -> None:
    async with connect(upstream.url) as client:
        await client.send(chat())
        await client.read_head()


async def test_malformed_heads_do_not_pass_the_client() -> None:
    """The fake client is strict: it refuses what is no HTTP instead of guessing."""
    for name in ("garbage", "bad-status-line", "bad-header-line", "lengths-differ", "length-and-chunked"):
        async with open_fake_upstream(name) as upstream:
            with pytest.raises((Malformed, PeerGone)):
                await ask(upstream)
